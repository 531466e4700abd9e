import type { SeededRandom } from '../seeded-random.js';

/** What is to become of a content that is sent. */
export type Planned =
  | { kind: 'order'; orderId: string; cents: number; at: number }
  | { kind: 'refund'; orderId: string; refundId: string; cents: number; at: number }
  /** It fails by what it says itself. */
  | { kind: 'failed'; reasons: string[] }
  /** The database can't hold it. */
  | { kind: 'refused' };

/** A content, which any number of messages may have. */
export type Content = Planned & { name: string };

/** A message that is to be sent. */
export interface PlannedMessage {
  /** ms from the start. */
  after: number;
  id: string;
  body: string;
  /** Of an order whether it claims to be worth what it is. */
  isRight: boolean;
  content: Content;
}

/** What the ids of orders begin with that the model of the database refuses. */
export const REFUSED = 'ORDREFUSED';

/** The edges of days and months in the business time zone among them. */
const TIMES = [
  '2026-01-31T22:59:59.999Z',
  '2026-01-31T23:00:00Z',
  '2026-02-14T12:30:00Z',
  '2026-02-28T23:30:00+01:00',
  '2026-03-01T00:00:00+01:00',
  '2026-03-28T20:15:00Z',
];
/** More than a year before all of them. */
const LONG_AGO = '2000-01-01T00:00:00Z';

/** Messages of a seed: orders good and bad, repeated, contradicting each other, and refunds before and after them. */
export function traffic(random: SeededRandom, withinMs: number): PlannedMessage[] {
  const messages: PlannedMessage[] = [];
  const send = (content: Content, event: object | string): void => {
    const copies = random.happens(0.25) ? random.between(2, 3) : 1;
    const { text, isRight } = typeof event === 'string' ? { text: event, isRight: true } : claiming(event, random);
    for (let copy = 0; copy < copies; copy++) {
      const body = text.endsWith('}') && random.happens(0.2) ? ` ${text}` : text;
      messages.push({ after: random.between(0, withinMs), id: `m${messages.length + 1}`, body, isRight, content });
    }
  };
  const count = random.between(4, 20);
  for (let number = 1; number <= count; number++) {
    const orderId = `ORD${number}`;
    const kind = random.next();
    if (kind < 0.12) {
      const { event, reasons } = aFailure(orderId, random);
      send({ name: `failed ${number}`, kind: 'failed', reasons }, event);
      continue;
    }
    const refused = random.happens(0.006);
    const order = anOrder(refused ? `${REFUSED}${number}` : orderId, random);
    const at = Date.parse(order.order_timestamp);
    const counts = { kind: 'order', orderId, cents: centsOf(order), at } as const;
    send({ name: orderId, ...(refused ? { kind: 'refused' } : counts) }, order);
    if (!refused && random.happens(0.15)) {
      const other = { ...order, items: [...order.items, anItem(random)] };
      send({ ...counts, name: `${orderId} otherwise`, cents: centsOf(other) }, other);
    }
    if (!refused && random.happens(0.3)) sendRefunds(orderId, random, send);
  }
  if (random.happens(0.2)) sendRefunds('ORDNEVER', random, send);
  return messages;
}

function sendRefunds(orderId: string, random: SeededRandom, send: (content: Content, event: object) => void): void {
  for (let left = random.between(1, 2); left > 0; left--) {
    const refundId = `R${random.between(1, 12)}-${orderId}`;
    const cents = 2 * random.between(1, 1_500) + left; // never the same twice for an order
    const amount = cents / 100;
    const time = random.happens(0.05) ? LONG_AGO : random.oneOf(TIMES);
    const name = `refund ${refundId} ${amount} ${Date.parse(time)}`;
    const event = { type: 'refund', refund_id: refundId, order_id: orderId, amount, refund_timestamp: time };
    send({ name, kind: 'refund', orderId, refundId, cents, at: Date.parse(time) }, event);
  }
}

function anOrder(orderId: string, random: SeededRandom) {
  const items = Array.from({ length: random.between(1, 3) }, () => anItem(random));
  return { order_id: orderId, user_id: `U${random.between(1, 5)}`, order_timestamp: random.oneOf(TIMES), items };
}

function anItem(random: SeededRandom) {
  return {
    product_id: `P${random.between(1, 4)}`,
    quantity: random.between(1, 4),
    price_per_unit: random.between(1, 2_000) / 100,
  };
}

function aFailure(orderId: string, random: SeededRandom): { event: object | string; reasons: string[] } {
  const order = anOrder(orderId, random);
  switch (random.between(1, 4)) {
    case 1:
      return { event: { ...order, items: [] }, reasons: ['missing_items'] };
    case 2:
      return { event: { ...order, user_id: 7 }, reasons: ['invalid_user_id'] };
    case 3:
      return { event: { ...order, order_timestamp: 'noon' }, reasons: ['invalid_order_timestamp'] };
    default:
      return { event: `{"order_id": "${orderId}"`, reasons: ['malformed_json'] };
  }
}

/** Prices are whole cents here. */
function centsOf({ items }: ReturnType<typeof anOrder>): number {
  return items.reduce((sum, { quantity, price_per_unit }) => sum + quantity * Math.round(100 * price_per_unit), 0);
}

/** With a claimed value that may be wrong. */
function claiming(event: object, random: SeededRandom): { text: string; isRight: boolean } {
  if (!('items' in event)) return { text: JSON.stringify(event), isRight: true };
  const cents = centsOf(event as ReturnType<typeof anOrder>);
  const claimed = cents === 0 || random.happens(0.3) ? cents + 1 : cents;
  return { text: JSON.stringify({ ...event, order_value: claimed / 100 }), isRight: claimed === cents };
}
