import type { Reason } from '../../src/domain/order-event.js';
import type { SeededRandom } from '../support/seeded-random.js';

/** What a body says besides: which content it is. The service keeps fields that it does not know. */
const MARK = 'chaos-mark-';
const USERS = 120;
const PRODUCTS = 40;
/** An order that a refund came before is sent so many rounds later at most, or never. */
const MAX_ROUNDS_LATER = 3;
/** Failed orders are retried so many rounds later at the earliest, when they are surely there. */
const ROUNDS_BEFORE_RETRY = 2;

/** A message to be sent. */
export interface Message {
  /** Of which content it is; a repetition has the mark of the first. */
  mark: number;
  body: string;
}

/** Of what kind a content is, and what is to become of it, by the contract of an order event. Money in cents. */
export type Content =
  /** One of all with the same order id counts; the others conflict. */
  | { kind: 'order'; orderId: string; userId: string; outcome: 'accepted' | 'corrected'; cents: number }
  | { kind: 'failed'; reasons: Reason[] }
  /** Waits until its order counts. Of the `rivals` of an order one counts, and the others fail with the reason. */
  | { kind: 'refund'; orderId: string; cents: number; fate: 'counts' | Reason; rival?: true };

/** A failed order that is asked to be judged again, mended. */
export interface Retry {
  /** Of the failed content. */
  of: number;
  /** The mended order, which is a content of its own. */
  mark: number;
  orderId: string;
  order: object;
}

/** The mark that a body has; null where it has none. */
export function markIn(body: string): number | null {
  const match = new RegExp(`${MARK}(\\d+)`).exec(body);
  return match && Number(match[1]);
}

interface Order {
  mark: number;
  body: Record<string, unknown>;
  content: Content & { kind: 'order' };
}

const FAILURES: { reasons: Reason[]; spoil: (order: Record<string, unknown>) => object; mendable: boolean }[] = [
  { reasons: ['missing_user_id'], spoil: (order) => ({ ...order, user_id: ' ' }), mendable: true },
  { reasons: ['invalid_user_id'], spoil: (order) => ({ ...order, user_id: 'X1' }), mendable: true },
  { reasons: ['missing_order_id'], spoil: ({ order_id: _, ...order }) => order, mendable: false },
  { reasons: ['invalid_order_id'], spoil: (order) => ({ ...order, order_id: 'A-17' }), mendable: false },
  { reasons: ['missing_items'], spoil: (order) => ({ ...order, items: [] }), mendable: true },
  { reasons: ['invalid_items'], spoil: (order) => ({ ...order, items: 'two of them' }), mendable: true },
  {
    reasons: ['missing_order_timestamp'],
    spoil: ({ order_timestamp: _, ...order }) => order,
    mendable: true,
  },
  {
    reasons: ['invalid_order_timestamp'],
    spoil: (order) => ({ ...order, order_timestamp: 'yesterday' }),
    mendable: true,
  },
  {
    reasons: ['order_timestamp_out_of_range'],
    spoil: (order) => ({ ...order, order_timestamp: '1999-05-01T00:00:00Z' }),
    mendable: true,
  },
  {
    reasons: ['order_timestamp_in_future'],
    spoil: (order) => ({ ...order, order_timestamp: '2099-05-01T00:00:00Z' }),
    mendable: true,
  },
  { reasons: ['unsupported_currency'], spoil: (order) => ({ ...order, currency: 'EUR' }), mendable: true },
  { reasons: ['non_positive_order_value'], spoil: (order) => ({ ...order, order_value: 0 }), mendable: true },
  {
    reasons: ['missing_user_id', 'invalid_quantity', 'negative_price_per_unit'],
    spoil: ({ user_id: _, ...order }) => ({
      ...order,
      items: [{ product_id: 'P-1', quantity: 1.5, price_per_unit: -1 }],
    }),
    mendable: true,
  },
];

/** Bodies that can't be read. */
const UNREADABLE: { reason: Reason; body: (mark: string) => string }[] = [
  { reason: 'malformed_json', body: (mark) => `{"order_id": "ORD-1", "mark": "${mark}", "items": [` },
  { reason: 'malformed_json', body: (mark) => `mark=${mark}&order_id=ORD-1` },
  { reason: 'not_an_object', body: (mark) => JSON.stringify(['ORD-1', mark]) },
  { reason: 'not_an_object', body: (mark) => JSON.stringify(JSON.stringify([mark])) },
];

/**
 * Makes messages of every kind, wholly from random numbers of a seed, and knows what is to become of each without asking
 * the rules of the service.
 */
export class Traffic {
  /** By their marks: all contents, also those that are not sent in the end. */
  readonly contents = new Map<number, Content>();
  private readonly orders: Order[] = [];
  private readonly messages: Message[] = [];
  private readonly held: { round: number; message: Message }[] = [];
  private readonly failed: { round: number; mark: number; order: Order }[] = [];
  /** Orders that have a rival or refunds, which are to have nothing else. */
  private readonly taken = new Set<string>();
  private marks = 0;

  constructor(private readonly random: SeededRandom) {}

  /** The messages of a round, in the order in which they are sent. */
  round(round: number, count: number): Message[] {
    const due = this.held.filter((each) => each.round <= round);
    for (const each of due) this.held.splice(this.held.indexOf(each), 1);
    const messages = due.map(({ message }) => message);
    while (messages.length < count) messages.push(...this.some(round));
    const shuffled = this.random.shuffled(messages);
    this.messages.push(...shuffled);
    return shuffled;
  }

  /** A failed order of an earlier round to be mended; null where there is none. Each is mended once. */
  retry(round: number): Retry | null {
    const candidates = this.failed.filter((each) => each.round <= round - ROUNDS_BEFORE_RETRY);
    if (candidates.length === 0) return null;
    const chosen = this.random.oneOf(candidates);
    this.failed.splice(this.failed.indexOf(chosen), 1);
    const mark = ++this.marks;
    const order = { ...chosen.order.body, mark: MARK + mark };
    this.contents.set(mark, chosen.order.content);
    return { of: chosen.mark, mark, orderId: chosen.order.content.orderId, order };
  }

  private some(round: number): Message[] {
    const { random } = this;
    const share = random.next();
    if (share < 0.62) return [this.add(this.anOrder(true))];
    if (share < 0.76) return [this.aFailure(round)];
    if (share < 0.86) return this.aRepetition();
    if (share < 0.9) return this.aConflict();
    if (share < 0.97) return this.refundsOf(this.untaken());
    return this.refundsBefore(round);
  }

  private add({ mark, body }: Order): Message {
    return { mark, body: JSON.stringify(body) };
  }

  /** @param known whether other messages may refer to it */
  private anOrder(known: boolean, orderId?: string): Order {
    const { random } = this;
    const mark = ++this.marks;
    const items = Array.from({ length: random.between(1, 3) }, () => ({
      product: `P-${random.between(1, PRODUCTS)}`,
      quantity: random.between(1, 5),
      cents: random.between(10, 20_000),
    }));
    const cents = items.reduce((sum, item) => sum + item.quantity * item.cents, 0);
    const userId = `U-${Math.ceil(USERS * random.next() ** 2) || 1}`;
    const id = orderId ?? `ORD-${String(mark).padStart(6, '0')}`;
    const claim = random.next();
    const body = {
      order_id: id,
      user_id: userId,
      order_timestamp: this.aTime(),
      ...(claim >= 0.05 && { order_value: claim < 0.12 ? (cents + random.between(1, 99)) / 100 : cents / 100 }),
      items: items.map((item) => ({
        product_id: item.product,
        quantity: item.quantity,
        price_per_unit: item.cents / 100,
      })),
      mark: MARK + mark,
    };
    const outcome = claim < 0.12 ? 'corrected' : 'accepted';
    const order: Order = { mark, body, content: { kind: 'order', orderId: id, userId, outcome, cents } };
    this.contents.set(mark, order.content);
    if (known) this.orders.push(order);
    return order;
  }

  /** In the two hundred days up to the middle of 2025, in UTC or with an offset. */
  private aTime(): string {
    const at = new Date(Date.UTC(2025, 5, 15) - this.random.below(200 * 24 * 3_600) * 1_000).toISOString();
    return this.random.happens(0.2) ? at.replace('.000Z', '+02:00') : at;
  }

  private aFailure(round: number): Message {
    const { random } = this;
    if (random.happens(0.15)) {
      const { reason, body } = random.oneOf(UNREADABLE);
      const mark = this.failing([reason]);
      return { mark, body: body(MARK + mark) };
    }
    if (random.happens(0.1)) {
      const mark = this.failing(['missing_refund_id', 'non_positive_amount']);
      const body = { type: 'refund', order_id: `ORD-OF-${mark}`, amount: 0, refund_timestamp: this.aTime() };
      return { mark, body: JSON.stringify({ ...body, mark: MARK + mark }) };
    }
    const order = this.anOrder(false);
    const { mark } = order;
    const { reasons, spoil, mendable } = random.oneOf(FAILURES);
    this.contents.set(mark, { kind: 'failed', reasons });
    if (mendable) this.failed.push({ round, mark, order });
    // The address keeps one without an id from being the same content as another one.
    return { mark, body: JSON.stringify({ ...spoil(order.body), shipping_address: `House ${mark}` }) };
  }

  private failing(reasons: Reason[]): number {
    const mark = ++this.marks;
    this.contents.set(mark, { kind: 'failed', reasons });
    return mark;
  }

  /** One of the messages so far again, as it was or written a little differently. */
  private aRepetition(): Message[] {
    const { random } = this;
    if (this.messages.length === 0) return [];
    // Mostly of late, where the first may still be on its way.
    const back = Math.floor(Math.min(this.messages.length, random.happens(0.7) ? 300 : Infinity) * random.next());
    const { mark, body } = this.messages[this.messages.length - 1 - back]!;
    const content = this.contents.get(mark)!;
    if (content.kind !== 'order' || this.taken.has(content.orderId) || random.happens(0.6)) return [{ mark, body }];
    // Written differently it is another failed message where another content of the order counts.
    this.taken.add(content.orderId);
    const order = JSON.parse(body) as { order_id: string };
    return [{ mark, body: JSON.stringify({ ...order, order_id: ` ${order.order_id.toLowerCase()} ` }) }];
  }

  /** Another content for the id of an order. */
  private aConflict(): Message[] {
    const order = this.untaken();
    if (!order) return [];
    this.taken.add(order.content.orderId);
    return Array.from({ length: this.random.between(1, 2) }, () =>
      this.add(this.anOrder(false, order.content.orderId)),
    );
  }

  private untaken(): Order | null {
    for (let attempt = 0; attempt < 20 && this.orders.length > 0; attempt++) {
      const order = this.random.oneOf(this.orders);
      if (!this.taken.has(order.content.orderId)) return order;
    }
    return null;
  }

  private refundsBefore(round: number): Message[] {
    const order = this.anOrder(false);
    const message = this.add(order);
    const later = this.random.between(1, MAX_ROUNDS_LATER);
    if (this.random.happens(0.85)) this.held.push({ round: round + later, message });
    return this.refundsOf(order);
  }

  /** Refunds of an order that come to the same in whatever order they come. */
  private refundsOf(order: Order | null): Message[] {
    if (!order) return [];
    const { orderId, cents } = order.content;
    this.taken.add(orderId);
    const part = (share: number): number => Math.max(1, Math.floor(cents * share));
    const refund = (amount: number, fate: 'counts' | Reason, rival?: true, id?: string): Message => {
      const mark = ++this.marks;
      this.contents.set(mark, { kind: 'refund', orderId, cents: amount, fate, ...(rival && { rival }) });
      const body = {
        type: 'refund',
        refund_id: id ?? `R-${mark}`,
        order_id: orderId,
        amount: amount / 100,
        refund_timestamp: this.aTime(),
        mark: MARK + mark,
      };
      return { mark, body: JSON.stringify(body) };
    };
    switch (this.random.below(5)) {
      case 0:
        return [refund(part(0.25), 'counts')];
      case 1:
        return [refund(part(0.25), 'counts'), refund(part(0.5), 'counts')];
      case 2:
        return [refund(cents, 'counts'), refund(cents + 1, 'refund_exceeds_order')];
      case 3:
        return [part(0.6), part(0.7)].map((amount) => refund(amount, 'refund_exceeds_order', true));
      default:
        return [part(0.2), part(0.3)].map((amount) => refund(amount, 'conflicting_duplicate', true, `R-of-${orderId}`));
    }
  }
}
