import type { SQSClient } from '@aws-sdk/client-sqs';
import { createHash } from 'node:crypto';
import { QueueSender } from '../../src/platform/queue/queue-sender.js';
import { sampleOrders } from '../../src/producer/sample-orders.rules.js';
import type { Reason } from '../../src/domain/order-event.js';
import type { LedgerQuery } from './ledger-audit.js';
import type { SeededRandom } from './seeded-random.js';

/** A message and what has to become of it. */
export interface Expected {
  body: string;
  /** Why it fails, in the order of the contract; empty where it counts, as what is odd but an order all the same does. */
  reasons: Reason[];
  /** The kind of poison that it is; null where it is nothing but a good order. */
  poison: string | null;
}

type Fields = Record<string, unknown>;

/** Makes a poison of one kind. @param order a valid order with an id of its own, which it may spoil */
type Maker = (order: Fields & { items: Fields[] }, random: SeededRandom) => Made;
type Made = { body: string; reasons: Reason[] };

const KIB = 1_024;
const MIB = 1_048_576;
/** SQS takes no more, by bytes of UTF-8. */
const LARGEST = MIB;

const failed = (order: unknown, ...reasons: Reason[]): Made => ({ body: JSON.stringify(order), reasons });
const counts = (order: unknown): Made => ({ body: JSON.stringify(order), reasons: [] });
const raw = (body: string, ...reasons: Reason[]): Made => ({ body, reasons });

/** A text with a field's value replaced by what JSON.stringify would not write. */
function withRaw(order: Fields, field: string, value: string): string {
  return JSON.stringify({ ...order, [field]: '%' }).replace(`"${field}":"%"`, `"${field}":${value}`);
}

function nested(levels: number): string {
  return '['.repeat(levels) + ']'.repeat(levels);
}

const WRONG_IDS = [7, true, {}, [], -0.5, ['ORD1']];
const WRONG_TEXTS = [7, false, { street: 'x' }, ['x']];

/** By field, or `items.` and the field of an item: what is of no type that it may have, and the reasons for that. */
const WRONG_TYPES: Record<string, { values: unknown[]; reasons: Reason[] }> = {
  order_id: { values: WRONG_IDS, reasons: ['invalid_order_id'] },
  user_id: { values: WRONG_IDS, reasons: ['invalid_user_id'] },
  order_timestamp: { values: [1_767_225_600, true, {}, [], 'now'], reasons: ['invalid_order_timestamp'] },
  // The items say what it is worth.
  order_value: { values: [true, {}, [10], 'ten', 'NaN'], reasons: [] },
  items: { values: ['P1', 7, true, {}], reasons: ['invalid_items'] },
  currency: { values: [7, true, {}, ['USD']], reasons: ['unsupported_currency'] },
  shipping_address: { values: WRONG_TEXTS, reasons: ['invalid_shipping_address'] },
  payment_method: { values: WRONG_TEXTS, reasons: ['invalid_payment_method'] },
  'items.product_id': { values: WRONG_IDS, reasons: ['invalid_product_id'] },
  'items.quantity': { values: ['two', true, {}, [2], 1.5, 'NaN'], reasons: ['invalid_quantity'] },
  'items.price_per_unit': { values: ['free', true, {}, [5], 'Infinity'], reasons: ['invalid_price_per_unit'] },
};

const REFUND_REASONS: Reason[] = [
  'invalid_refund_id',
  'invalid_order_id',
  'invalid_refund_timestamp',
  'invalid_amount',
  'unsupported_currency',
];

/** What costs little more than an order. */
const SMALL: Record<string, Maker> = {
  'JSON that breaks off': (order, random) => {
    const whole = JSON.stringify(order);
    return raw(whole.slice(0, random.between(whole.indexOf('"items"'), whole.length - 1)), 'malformed_json');
  },
  'JSON with single quotes': (order) => raw(JSON.stringify(order).replaceAll('"', "'"), 'malformed_json'),
  'JSON twice in one body': (order) => raw(JSON.stringify(order).repeat(2), 'malformed_json'),
  'no JSON at all': (order) => raw(`<order id="${String(order.order_id)}"/>`, 'malformed_json'),
  'a list instead of an object': (order) => failed([order], 'not_an_object'),
  'a text instead of an object': (order) => failed(JSON.stringify(String(order.order_id)), 'not_an_object'),
  NaN: (order) => raw(withRaw(order, 'order_value', 'NaN'), 'malformed_json'),
  Infinity: (order) => raw(withRaw(order, 'order_value', '-Infinity'), 'malformed_json'),
  'a claim of 1e308': (order) => raw(withRaw(order, 'order_value', '1e308')),
  'a claim of -1e308': (order) => raw(withRaw(order, 'order_value', '-1e308'), 'non_positive_order_value'),
  'a claim beyond a double': (order) => raw(withRaw(order, 'order_value', '1e309')),
  'a quantity of 1e308': (order) => {
    order.items[0]!.quantity = 1e308;
    return failed(order, 'quantity_too_large');
  },
  'a price of 1e308': (order) => {
    order.items[0]!.price_per_unit = 1e308;
    return failed(order, 'price_per_unit_too_large');
  },
  'a price of next to nothing': (order) => {
    for (const item of order.items) item.price_per_unit = '4.9e-324';
    return failed(order, 'non_positive_total');
  },
  'NUL escapes in ids': (order) => {
    order.items[0]!.product_id = '\0P1';
    return failed(
      { ...order, order_id: `${String(order.order_id)}\0`, user_id: 'U\u0000' },
      ...(['invalid_order_id', 'invalid_user_id', 'invalid_product_id'] as const),
    );
  },
  'NUL escapes in text': (order) => counts({ ...order, shipping_address: '\0', payment_method: '\0', '\0': '\0' }),
  'lone surrogates in ids': (order) => {
    order.items[0]!.product_id = 'P\udc00';
    return failed(
      { ...order, order_id: `${String(order.order_id)}\ud83d`, user_id: 'U\udfff' },
      ...(['invalid_order_id', 'invalid_user_id', 'invalid_product_id'] as const),
    );
  },
  'lone surrogates in text': (order) => counts({ ...order, shipping_address: '\ud83d', '\udc00': '\udc00\ud83d' }),
  // JSON.stringify writes an own property of that name, JSON.parse makes one.
  'fields in __proto__ only': (order) =>
    raw(
      `{"__proto__":${JSON.stringify(order)}}`,
      ...(['missing_order_id', 'missing_user_id', 'missing_order_timestamp', 'missing_items'] as const),
    ),
  'an item with its fields in __proto__': (order) => {
    const [item] = order.items;
    return raw(
      withRaw(order, 'items', `[{"__proto__":${JSON.stringify(item)}}]`),
      ...(['missing_product_id', 'missing_quantity', 'missing_price_per_unit'] as const),
    );
  },
  '__proto__ and constructor besides': (order) =>
    raw(
      `{"__proto__":{"order_id":null,"toString":1},"constructor":{"prototype":{"x":1}},${JSON.stringify(order).slice(1)}`,
    ),
  'wrong types in every field': (order) =>
    failed(
      {
        ...{ order_id: 7, user_id: [order.order_id], order_timestamp: {}, order_value: true, currency: 8 },
        ...{ shipping_address: {}, payment_method: [] },
        items: [{ product_id: {}, quantity: [], price_per_unit: false }, 'item', null],
      },
      ...(['invalid_order_id', 'invalid_user_id', 'invalid_order_timestamp', 'invalid_items'] as const),
      ...(['invalid_product_id', 'invalid_quantity', 'invalid_price_per_unit', 'unsupported_currency'] as const),
      ...(['invalid_shipping_address', 'invalid_payment_method'] as const),
    ),
  'a refund with wrong types in every field': (order) =>
    failed(
      {
        ...{ type: ' Refund ', refund_id: [order.order_id], order_id: 7, amount: {}, refund_timestamp: 9 },
        currency: false,
      },
      ...REFUND_REASONS,
    ),
  'ids of 10 kB': (order) => {
    const long = 'X'.repeat(10 * KIB);
    order.items[0]!.product_id = long;
    return failed(
      { ...order, order_id: String(order.order_id) + long, user_id: `U${long}` },
      ...(['invalid_order_id', 'invalid_user_id', 'invalid_product_id'] as const),
    );
  },
  'numbers of 10 kB': (order) => {
    order.items[0]!.price_per_unit = '9'.repeat(10 * KIB);
    return raw(withRaw(order, 'order_value', `0.${'1'.repeat(10 * KIB)}e-5`), 'invalid_price_per_unit');
  },
  'a time of 10 kB': (order) =>
    failed({ ...order, order_timestamp: `2026-01-15T12:00:00.${'1'.repeat(10 * KIB)}X` }, 'invalid_order_timestamp'),
  'deep nesting for an item': (order) => raw(withRaw(order, 'items', nested(1_000)), 'invalid_items'),
  'deep nesting besides': (order) => raw(withRaw(order, 'more', nested(1_000))),
  'deep nesting around it': (order) =>
    raw(`${'['.repeat(1_000)}${JSON.stringify(order)}${']'.repeat(1_000)}`, 'not_an_object'),
  'deep nesting without an end': (order) => raw(JSON.stringify(order) + '[{"a":'.repeat(1_000), 'malformed_json'),
  ...wrongTypes(),
};

/** What costs as much as thousands of orders: as long as SQS takes, or with as many items as the contract has. */
const HUGE: Record<string, Maker> = {
  '10,000 items': (order) => counts({ ...order, order_value: 50_000, items: itemsOf(10_000) }),
  '10,001 items': (order) => failed({ ...order, items: itemsOf(10_001) }, 'too_many_items'),
  '10,000 items that are none': (order) => failed({ ...order, items: Array(10_000).fill(null) }, 'invalid_items'),
  '10,000 items with the finest prices': (order) =>
    counts({
      ...order,
      items: Array.from({ length: 10_000 }, () => ({
        product_id: 'P001',
        quantity: 1,
        price_per_unit: `1.${'3'.repeat(40)}`,
      })),
    }),
  '1 MiB that is an order': (order) => raw(filled(order, 'note')),
  '1 MiB of an address': (order) => raw(filled(order, 'shipping_address')),
  '1 MiB of an order_id': (order) =>
    raw(filled({ ...order, order_id: '' }, 'order_id', String(order.order_id)), 'invalid_order_id'),
  '1 MiB that is no JSON': (order) => raw(String(order.order_id).padEnd(LARGEST, '{'), 'malformed_json'),
  '1 MiB of white space': (order) => raw(JSON.stringify(order).padStart(LARGEST, ' \t\n')),
  '1 MiB of nesting': (order) => {
    const around = withRaw(order, 'items', '').length;
    return raw(withRaw(order, 'items', nested((LARGEST - around) / 2)), 'invalid_items');
  },
  '1 MiB of fields': (order) => {
    let fields = '';
    for (let i = 0; fields.length < LARGEST - 2 * KIB; i++) fields += `"f${i}":${i},`;
    return raw(`{${fields}${JSON.stringify(order).slice(1)}`);
  },
};

/** Names of all kinds of poison. */
export const POISON_KINDS = { small: Object.keys(SMALL), huge: Object.keys(HUGE) };

/**
 * Good orders of which some are replaced by poison, each kind in its turn, shuffled. No two have the same content.
 * @param options.run stands in every order_id
 * @param options.poisoned share of the messages, 0 to 1
 * @param options.hugeEvery of how many poisons one is huge
 */
export function poisonedTraffic(
  options: { run: string; messages: number; poisoned: number; hugeEvery: number },
  random: SeededRandom,
): Expected[] {
  const { run: runId, messages, hugeEvery } = options;
  const bad = Math.round(messages * options.poisoned);
  const asOf = Date.parse('2026-01-31T12:00:00Z');
  const run = { count: messages - bad, invalidRate: 0, seed: random.below(2 ** 31), runId, asOf };
  const all: Expected[] = [...sampleOrders(run)].map(({ body }) => ({ body, reasons: [], poison: null }));
  for (let i = 0, small = 0, huge = 0; i < bad; i++) {
    const isHuge = i % hugeEvery === hugeEvery - 1;
    const poison = isHuge
      ? POISON_KINDS.huge[huge++ % POISON_KINDS.huge.length]!
      : POISON_KINDS.small[small++ % POISON_KINDS.small.length]!;
    const make = SMALL[poison] ?? HUGE[poison]!;
    all.push({ poison, ...make(anOrder(`ORD-${runId}-POISON-${i}`, random), random) });
  }
  return random.shuffled(all);
}

/** Puts messages on an orders queue. @returns them by the ids that they have there @throws Error where SQS refuses any */
export async function sendExpected(
  sqs: SQSClient,
  queueName: string,
  messages: Expected[],
): Promise<Map<string, Expected>> {
  const { messageIds, failed } = await new QueueSender(sqs, queueName).sendAll(messages.map(({ body }) => body));
  if (failed.length > 0) throw new Error(`SQS refused ${failed.length} messages: ${failed[0]!.message}`);
  return new Map(messageIds.map((id, i) => [id!, messages[i]!]));
}

interface StoredMessage {
  message_id: string;
  outcome: string;
  reasons: Reason[];
  digest: string;
}

/** What of the messages is not in the ledger once as it has to be, and what it holds besides. @param sent by their ids */
export async function misfits(query: LedgerQuery, sent: Map<string, Expected>): Promise<string[]> {
  const rows = await query<StoredMessage>(
    'select message_id, outcome, to_json(reasons) as reasons, md5(body) as digest from ledger',
  );
  const expected = new Map(sent);
  const found: string[] = [];
  for (const { message_id, outcome, reasons, digest } of rows) {
    const message = expected.get(message_id);
    expected.delete(message_id);
    const what = message?.poison ?? 'a good order';
    if (!message) found.push(`${message_id}, ${outcome}, is there twice or never was sent`);
    else if (String(reasons) !== String(message.reasons)) found.push(`${what}: ${outcome} for ${String(reasons)}`);
    else if ((outcome === 'failed') !== message.reasons.length > 0) found.push(`${what}: ${outcome}`);
    else if (digest !== createHash('md5').update(message.body).digest('hex')) found.push(`${what}: another body`);
  }
  for (const { poison } of expected.values()) found.push(`${poison ?? 'a good order'}: not there`);
  return found;
}

/** One of 10.00, of one of the users and with one of the products of the good orders: more of them would cost more. */
function anOrder(orderId: string, random: SeededRandom): Fields & { items: Fields[] } {
  return {
    order_id: orderId,
    user_id: `U${String(random.between(1, 100)).padStart(3, '0')}`,
    order_timestamp: `2026-01-${String(random.between(1, 28)).padStart(2, '0')}T12:00:00Z`,
    order_value: 10,
    items: [{ product_id: `P00${random.between(1, 6)}`, quantity: 2, price_per_unit: 5 }],
  };
}

function itemsOf(count: number): Fields[] {
  return Array.from({ length: count }, (_, i) => ({ product_id: `P00${1 + (i % 6)}`, quantity: 1, price_per_unit: 5 }));
}

/** As long as SQS takes, by a field that is filled up. */
function filled(order: Fields, field: string, beginning = ''): string {
  const rest = JSON.stringify({ ...order, [field]: '' }).length;
  return JSON.stringify({ ...order, [field]: beginning.padEnd(LARGEST - rest, 'x') });
}

function wrongTypes(): Record<string, Maker> {
  const makers: Record<string, Maker> = {};
  for (const [path, { values, reasons }] of Object.entries(WRONG_TYPES)) {
    for (const value of values) {
      makers[`${JSON.stringify(value)} for ${path}`] = (order) => {
        // What tells it from others that have lost their ids.
        if (path === 'order_id') order.shipping_address = order.order_id;
        if (path.startsWith('items.')) order.items[0]![path.slice('items.'.length)] = value;
        else order[path] = value;
        return failed(order, ...reasons);
      };
    }
  }
  return makers;
}
