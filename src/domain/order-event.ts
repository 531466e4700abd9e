import type { Cents } from './money.js';

/**
 * The contract of an order event: the JSON body of a message on the orders queue, its bounds, and the result of its
 * validation. Types and constants only; the rules are in validation/order-event.rules.ts and, for refunds,
 * validation/refund-event.rules.ts.
 */

/** Bounds of the fields. */
export const BOUNDS = {
  idLength: 128,
  quantity: 1_000_000,
  /** In currency units, not cents. */
  pricePerUnit: 1_000_000_000,
  items: 10_000,
  firstYear: 2000,
  lastYear: 2100,
  /** How far an order's or a refund's time may lie after the time its message was sent, in ms. */
  futureMs: 5 * 60 * 1000,
} as const;

/** The fields of an order event. What else a sender puts into one is kept, and means nothing. */
export const ORDER_FIELDS = [
  'order_id',
  'user_id',
  'order_timestamp',
  'order_value',
  'items',
  'currency',
  'shipping_address',
  'payment_method',
] as const;

/** What an event is about: an order, or (`type: "refund"`) money that is given back for one. */
export type EventKind = 'order' | 'refund';

/** Every reason for which an order event fails, with what it tells the sender. The codes are stable. */
export const REASONS = {
  malformed_json: 'The body is not JSON.',
  not_an_object: 'The body is JSON, but not an object.',
  missing_refund_id: 'refund_id is missing.',
  invalid_refund_id: 'refund_id must be printable ASCII of at most 128 characters.',
  missing_order_id: 'order_id is missing.',
  invalid_order_id: 'order_id must start with ORD and be printable ASCII of at most 128 characters.',
  missing_user_id: 'user_id is missing.',
  invalid_user_id: 'user_id must start with U and be printable ASCII of at most 128 characters.',
  missing_order_timestamp: 'order_timestamp is missing.',
  invalid_order_timestamp: 'order_timestamp is not an ISO 8601 date and time.',
  order_timestamp_out_of_range: 'order_timestamp must be in the years 2000 to 2100.',
  order_timestamp_in_future: 'order_timestamp is more than 5 minutes after the message was sent.',
  missing_refund_timestamp: 'refund_timestamp is missing.',
  invalid_refund_timestamp: 'refund_timestamp is not an ISO 8601 date and time.',
  refund_timestamp_out_of_range: 'refund_timestamp must be in the years 2000 to 2100.',
  refund_timestamp_in_future: 'refund_timestamp is more than 5 minutes after the message was sent.',
  missing_amount: 'amount is missing.',
  invalid_amount: 'amount is not a number.',
  non_positive_amount: 'amount must be greater than 0.',
  amount_too_fine: 'amount may have at most two decimal places.',
  amount_too_large: 'amount exceeds 100,000,000,000.00.',
  non_positive_order_value: 'order_value must be greater than 0.',
  missing_order_value: 'order_value is missing, and this service does not correct it.',
  invalid_order_value: 'order_value is not a number, and this service does not correct it.',
  order_value_mismatch:
    'order_value is not the sum of quantity times price_per_unit, and this service does not correct it.',
  order_value_too_large: 'The sum of quantity times price_per_unit exceeds the maximum order value of this service.',
  non_positive_total: 'The sum of quantity times price_per_unit must be greater than 0.',
  missing_items: 'items is missing or empty.',
  invalid_items: 'items must be a list of objects.',
  too_many_items: 'items may have at most 10,000 entries.',
  missing_product_id: 'An item has no product_id.',
  invalid_product_id: 'A product_id must be printable ASCII of at most 128 characters.',
  missing_quantity: 'An item has no quantity.',
  invalid_quantity: 'A quantity must be a whole number.',
  non_positive_quantity: 'A quantity must be greater than 0.',
  quantity_too_large: 'A quantity may be at most 1,000,000.',
  missing_price_per_unit: 'An item has no price_per_unit.',
  invalid_price_per_unit: 'A price_per_unit must be a number.',
  negative_price_per_unit: 'A price_per_unit must not be negative.',
  price_per_unit_too_large: 'A price_per_unit may be at most 1,000,000,000.',
  unsupported_currency: 'currency is not the one this service is configured for.',
  invalid_shipping_address: 'shipping_address must be text.',
  invalid_payment_method: 'payment_method must be text.',
  conflicting_duplicate: 'This order_id or refund_id was already counted with other content.',
  refund_exceeds_order: 'The refunds of this order would exceed what it is worth.',
  refund_before_order: 'refund_timestamp is more than a year before the order_timestamp of its order.',
  too_many_waiting_refunds: 'Too many refunds wait for this order, which is not counted yet.',
} as const;

/** A stable code from {@link REASONS}. */
export type Reason = keyof typeof REASONS;

/** What judging says of a message; the ledger adds `duplicate` by comparing with what it holds. */
export type Outcome = 'accepted' | 'corrected' | 'failed';

/** One cleaned line of an order that counts. */
export interface OrderLine {
  product_id: string;
  quantity: number;
  /** As an exact decimal, e.g. `"2.55"`: a price may be finer than a cent. */
  price_per_unit: string;
  /** This line's share of the order's value; the shares of an order's lines add up to it exactly. */
  cents: Cents;
}

/** A message as the queue delivered it. */
export interface ReceivedMessage {
  messageId: string;
  body: string;
  /** When the sender's message reached the queue (SQS SentTimestamp), ms UTC: "now" for the rules. */
  sentAt: number;
  /** When this process received it, ms UTC. */
  receivedAt: number;
  /** The repair that the message says it is sent for; whether it is so, the ledger decides. */
  repairId?: string;
}

/** The message attribute that names the repair which a message is sent for. */
export const REPAIR_ATTRIBUTE = 'repair_id';

/** A message with the verdict of the rules: what is handed to the ledger. */
export interface ValidatedMessage extends ReceivedMessage {
  kind: EventKind;
  outcome: Outcome;
  /** Every reason that applies, in the order of {@link REASONS}, each once; empty unless failed. */
  reasons: Reason[];
  /** Cleaned; null where it can't be read. */
  orderId: string | null;
  /** Cleaned; null where it can't be read, and of a refund, whose user is the order's. */
  userId: string | null;
  /** Cleaned; null where it can't be read, and of an order. */
  refundId: string | null;
  /** When it was ordered, or refunded, ms UTC; null where it can't be read or is out of the bounds. */
  orderedAt: number | null;
  /** What counts: the claimed value where right, else the computed sum; of a refund its amount. Null where it failed. */
  value: Cents | null;
  /** What the sender claimed as value or amount, rounded to the cent; null where absent, unreadable or beyond ±10^13 cents. */
  claimed: Cents | null;
  /** Empty where the order failed, and of a refund. */
  lines: OrderLine[];
  /**
   * Tells a message that passes, or that fails for its value alone, from others: two of the same content are the same order
   * or refund. Else {@link failureHash}.
   */
  contentHash: string;
  /** Tells what the body says, to the last field, from what any other says: by it a failed message is known again. */
  failureHash: string;
}

/** The settings the rules depend on. */
export interface ValidationPolicy {
  /** ISO 4217 code, upper case; an order event without a currency means this one. */
  currency: string;
  orderValueMismatch: 'correct' | 'reject';
  /** The most that one order may be worth, in cents; at most MAX_CENTS. */
  maxOrderCents: number;
}
