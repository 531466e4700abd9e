import { hash, randomBytes } from 'node:crypto';
import { cents } from '../../src/domain/money.js';
import type { ValidatedMessage, OrderLine } from '../../src/domain/order-event.js';

/** What tells one judged message from another; the rest is the same for all. */
export type GivenMessage = Partial<ValidatedMessage> & {
  /** Stands for the content, of which the ledger only knows the hash; made from the other fields if absent. */
  content?: string;
  /** Stands for what else the body says. */
  wording?: string;
};

/** A message that the rules accepted, with an order of its own; say only what matters. */
export function aValidatedMessage({ content, wording = '', ...given }: GivenMessage = {}): ValidatedMessage {
  const order = {
    kind: 'order' as const,
    outcome: 'accepted' as const,
    reasons: [],
    orderId: `ORD${randomBytes(6).toString('hex').toUpperCase()}`,
    userId: 'U1',
    refundId: null,
    orderedAt: Date.UTC(2026, 0, 15, 12),
    value: cents(1_000),
    claimed: cents(1_000),
    lines: [aLine()],
    ...given,
  };
  const { orderId, userId, orderedAt, value, lines } = order;
  const said = content ?? JSON.stringify([orderId, userId, orderedAt, value, lines]);
  return {
    messageId: 'message',
    sentAt: Date.UTC(2026, 0, 15, 12, 0, 1),
    receivedAt: Date.UTC(2026, 0, 15, 12, 0, 2),
    body: JSON.stringify({ order_id: orderId, content, wording }),
    contentHash: hash('sha256', said, 'hex'),
    failureHash: hash('sha256', said + wording, 'hex'),
    ...order,
  };
}

/** A message that failed a rule. */
export function aFailedMessage(given: GivenMessage = {}): ValidatedMessage {
  return aValidatedMessage({ outcome: 'failed', reasons: ['missing_items'], value: null, lines: [], ...given });
}

/** A line of 10.00. */
export function aLine(given: Partial<OrderLine> = {}): OrderLine {
  return { product_id: 'P1', quantity: 2, price_per_unit: '5', cents: cents(1_000), ...given };
}

/** The argument of append_entries, for tests that call it without the ledger's own code. */
export function entriesArgument(messages: ValidatedMessage[]): string {
  return JSON.stringify(
    messages.map((message, i) => ({
      i,
      outcome: message.outcome,
      order_id: message.orderId,
      user_id: message.userId,
      ordered_at: message.orderedAt,
      value_cents: message.value,
      claimed_cents: message.claimed,
      lines: `{${message.lines.map((line) => `"(${line.product_id},${line.quantity},${line.price_per_unit},${line.cents})"`).join(',')}}`,
      reasons: message.reasons,
      content_hash: message.contentHash,
      failure_hash: message.failureHash,
      message_id: message.messageId,
      sent_at: message.sentAt,
      received_at: message.receivedAt,
      body: message.body,
    })),
  );
}
