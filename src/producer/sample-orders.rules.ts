import { cents, decimalOf, type Cents } from '../domain/money.js';

/** The ways in which sample orders are wrong; each takes its turn. All but `wrong_value` end as failed. */
export const INVALID_KINDS = [
  'bad_order_id',
  'bad_user_id',
  'zero_value',
  'wrong_value',
  'missing_fields',
  'bad_quantity',
  'malformed_json',
] as const;

type InvalidKind = (typeof INVALID_KINDS)[number];

/** What a run of sample orders consists of. The same run gives the same bytes. */
export interface SampleRun {
  count: number;
  /** Share of orders that are wrong in some way, 0 to 1. */
  invalidRate: number;
  /** A safe integer. Fixes everything about the orders but their ids and times. */
  seed: number;
  /** Letters, digits, `-` and `_`; stands in every order id in upper case, so that runs don't collide. */
  runId: string;
  /** ms UTC; the orders' times lie in the 180 days up to here. */
  asOf: number;
}

/** A body to send, and what stands in it; null where it does not have the field. */
export interface SampleOrder {
  order_id: string;
  user_id: string | null;
  order_value: number | null;
  body: string;
}

type SampleEvent = Record<string, unknown> & { items?: { quantity: unknown }[] };
type Random = () => number;

const DAY_MS = 24 * 60 * 60 * 1000;
const WINDOW_MS = 180 * DAY_MS;
const USERS = 100;
const MAX_LINES = 5;
const MAX_OF_A_PRODUCT = 5;
const PRODUCTS: { id: string; price: Cents }[] = [
  { id: 'P001', price: cents(1_299) },
  { id: 'P002', price: cents(2_450) },
  { id: 'P003', price: cents(499) },
  { id: 'P004', price: cents(8_995) },
  { id: 'P005', price: cents(15_000) },
  { id: 'P006', price: cents(349) },
];
const PAYMENT_METHODS = ['CARD', 'PAYPAL', 'BANK_TRANSFER', 'INVOICE'];
const ADDRESSES = [
  '12 Harbour Road, Bristol',
  '7 Rue des Lilas, Lyon',
  '48 Lindenstrasse, Hamburg',
  '310 Maple Avenue, Portland',
  '5 Via Roma, Torino',
];
const MISSING = [['user_id'], ['order_timestamp'], ['items'], ['user_id', 'items']];
const BAD_QUANTITIES = [0, -3, 1.5, 'two'];
/** Its multiples, modulo 1, spread evenly however many are taken, so that days and months fill alike. */
const GOLDEN_RATIO = 0.618_033_988_749_894_9;

/** The orders of a run, one after the other. An order does not depend on how many come after it. */
export function* sampleOrders(run: SampleRun): Generator<SampleOrder, void, undefined> {
  const firstDraw = randomFrom(run.seed, -1);
  const firstTime = firstDraw();
  const firstKind = Math.floor(firstDraw() * INVALID_KINDS.length);
  let invalid = 0;
  for (let index = 0; index < run.count; index++) {
    const random = randomFrom(run.seed, index);
    const time = run.asOf - ((firstTime + index * GOLDEN_RATIO) % 1) * WINDOW_MS;
    const event = validOrder(`ORD-${serial(run, index)}`, time, random);
    const due = Math.round((index + 1) * run.invalidRate);
    if (due === invalid) {
      yield sampleOf(event, JSON.stringify(event));
      continue;
    }
    yield spoil(event, INVALID_KINDS[(firstKind + invalid) % INVALID_KINDS.length]!, serial(run, index), random);
    invalid = due;
  }
}

function validOrder(orderId: string, time: number, random: Random): SampleEvent {
  const user = 1 + Math.floor(random() * USERS);
  const products = [...PRODUCTS];
  const lines = Array.from({ length: 1 + Math.floor(random() * MAX_LINES) }, () => ({
    product: products.splice(Math.floor(random() * products.length), 1)[0]!,
    quantity: 1 + Math.floor(random() * MAX_OF_A_PRODUCT),
  }));
  return {
    order_id: orderId,
    user_id: `U${String(user).padStart(3, '0')}`,
    order_timestamp: new Date(time).toISOString(),
    order_value: decimalOf(cents(lines.reduce((sum, { product, quantity }) => sum + quantity * product.price, 0))),
    items: lines.map(({ product, quantity }) => ({
      product_id: product.id,
      quantity,
      price_per_unit: decimalOf(product.price),
    })),
    shipping_address: oneOf(ADDRESSES, random),
    payment_method: oneOf(PAYMENT_METHODS, random),
  };
}

function spoil(event: SampleEvent, kind: InvalidKind, idSuffix: string, random: Random): SampleOrder {
  switch (kind) {
    case 'bad_order_id':
      event.order_id = `INV-${idSuffix}`;
      break;
    case 'bad_user_id':
      event.user_id = `X${String(event.user_id).slice(1)}`;
      break;
    case 'zero_value':
      event.order_value = 0;
      break;
    case 'wrong_value':
      event.order_value = decimalOf(
        cents(Math.round(Number(event.order_value) * 100) + 1 + Math.floor(random() * 5_000)),
      );
      break;
    case 'missing_fields':
      for (const field of oneOf(MISSING, random)) delete event[field];
      break;
    case 'bad_quantity':
      event.items![0]!.quantity = oneOf(BAD_QUANTITIES, random);
      break;
    case 'malformed_json': {
      // Cut off among its items, as a sender that dies in the middle leaves it: the fields before can be seen.
      const whole = JSON.stringify(event);
      const least = whole.indexOf('"items"');
      return sampleOf(event, whole.slice(0, least + Math.floor(random() * (whole.length - least))));
    }
  }
  return sampleOf(event, JSON.stringify(event));
}

function sampleOf(event: SampleEvent, body: string): SampleOrder {
  return {
    order_id: event.order_id as string,
    user_id: (event.user_id as string | undefined) ?? null,
    order_value: (event.order_value as number | undefined) ?? null,
    body,
  };
}

function serial(run: SampleRun, index: number): string {
  return `${run.runId.toUpperCase()}-${String(index + 1).padStart(6, '0')}`;
}

function oneOf<T>(choices: readonly T[], random: Random): T {
  return choices[Math.floor(random() * choices.length)]!;
}

/** Numbers in [0, 1) that depend on the seed and an order's index alone (mulberry32, by Tommy Ettinger). */
function randomFrom(seed: number, index: number): Random {
  const seed32 = Math.imul(seed >>> 0, 0x9e3779b1) ^ Math.imul(Math.floor(seed / 2 ** 32) >>> 0, 0x85ebca6b);
  let state = (seed32 + Math.imul(index, 0xc2b2ae35)) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
