import { cents, type Cents, MAX_CENTS } from '../money.js';
import {
  BOUNDS,
  type ValidatedMessage,
  type ValidationPolicy,
  type Reason,
  type ReceivedMessage,
} from '../order-event.js';
import { bodyHash, orderHash, rawHash } from './content-hash.rules.js';
import { type Faults, validateCurrency, validatePrefixedId, validateTime, reasonsIn } from './event-fields.rules.js';
import { exceeds, type ExactNumber, isWhole, roundedCents } from './exact-number.rules.js';
import { unwrapBody } from './message-body.rules.js';
import { type Cleaned, type CleanedItem, type CleanedOrder, cleanOrder, Unreadable } from './order-cleaning.rules.js';
import { allocate, type PricedLine, runningCents } from './order-value.rules.js';
import { isRefund, validateRefund } from './refund-event.rules.js';

/**
 * Judges one message by the contract of an order event (domain/order-event.ts), or of a refund where it says to be one.
 * Its "now" is the time the message was sent, so that the same message is judged the same whenever it is delivered.
 * Never throws, whatever the body is.
 */
export function judge(message: ReceivedMessage, policy: ValidationPolicy): ValidatedMessage {
  const read = unwrapBody(message.body);
  if (typeof read === 'string') return failedUnread(message, read);
  const { event, isWrapped } = read;
  const failureHash = bodyHash(message.body, isWrapped ? null : event);
  if (isRefund(event)) return validateRefund({ ...message, failureHash }, event, policy);

  const order = cleanOrder(event);
  const faults: Faults = new Set();
  const orderId = validatePrefixedId('order_id', order.order_id, 'ORD', faults);
  const userId = validatePrefixedId('user_id', order.user_id, 'U', faults);
  const orderedAt = validateTime('order_timestamp', order.order_timestamp, message.sentAt, faults);
  validateOptionalFields(order, policy, faults);
  const lines = validateItems(order.items, faults);
  const sums = lines && runningCents(lines);
  const total = sums?.at(-1) ?? null;
  validateTotal(total, policy, faults);
  const claimed = validateClaim(order.order_value, total, policy, faults);

  const judged = {
    ...message,
    kind: 'order' as const,
    orderId,
    userId,
    refundId: null,
    orderedAt,
    claimed,
    failureHash,
  };
  const failed = { outcome: 'failed' as const, reasons: reasonsIn(faults), value: null, lines: [] };
  const isReadable = orderId && userId && orderedAt !== null && lines && sums && total !== null;
  if (!isReadable || [...faults].some((fault) => fault !== 'order_value_too_large')) {
    return { ...judged, ...failed, contentHash: failureHash };
  }
  const contentHash = orderHash({
    ...{ orderId, userId, orderedAt, lines, currency: policy.currency },
    shippingAddress: readable(order.shipping_address),
    paymentMethod: readable(order.payment_method),
  });
  // Where it was counted under a higher limit, it is a duplicate.
  if (faults.size > 0) return { ...judged, ...failed, contentHash };
  const value = cents(total);
  const outcome = claimed === value ? 'accepted' : 'corrected';
  return { ...judged, outcome, reasons: [], value, lines: allocate(lines, sums), contentHash };
}

/**
 * What the items of an order add up to, whatever else is wrong with it; null where a quantity or a price has a fault, or the
 * sum exceeds MAX_CENTS.
 */
export function sumOfItems({ items }: CleanedOrder): Cents | null {
  const total = runningCents(validateItems(items, new Set()) ?? []).at(-1);
  return total === undefined || total > MAX_CENTS ? null : cents(total);
}

function readable<T>(field: Cleaned<T>): T | undefined {
  return field instanceof Unreadable ? undefined : field;
}

function failedUnread(message: ReceivedMessage, reason: Reason): ValidatedMessage {
  return {
    ...message,
    kind: 'order',
    outcome: 'failed',
    reasons: [reason],
    orderId: null,
    userId: null,
    refundId: null,
    orderedAt: null,
    value: null,
    claimed: null,
    lines: [],
    contentHash: rawHash(message.body),
    failureHash: rawHash(message.body),
  };
}

function validateOptionalFields(order: CleanedOrder, policy: ValidationPolicy, faults: Faults): void {
  validateCurrency(order.currency, policy, faults);
  if (order.shipping_address instanceof Unreadable) faults.add('invalid_shipping_address');
  if (order.payment_method instanceof Unreadable) faults.add('invalid_payment_method');
}

/** Judges every item; null where the sum can't be computed because a quantity or a price has a fault. */
function validateItems(items: CleanedOrder['items'], faults: Faults): PricedLine[] | null {
  if (items === undefined) {
    faults.add('missing_items');
    return null;
  }
  if (items instanceof Unreadable) {
    faults.add(Array.isArray(items.given) ? 'too_many_items' : 'invalid_items');
    return null;
  }
  const lines = items.map((item) => validateItem(item, faults)).filter((line) => line !== null);
  return lines.length === items.length ? lines : null;
}

function validateItem(item: CleanedItem | Unreadable, faults: Faults): PricedLine | null {
  if (item instanceof Unreadable) {
    faults.add('invalid_items');
    return null;
  }
  const product_id = judgeProduct(item.product_id, faults);
  const quantity = validateQuantity(item.quantity, faults);
  const price = validatePrice(item.price_per_unit, faults);
  return quantity === null || price === null ? null : { product_id, quantity, price };
}

/** Empty where it has a fault: the sum does not depend on it, and a failed order keeps no lines. */
function judgeProduct(id: Cleaned<string>, faults: Faults): string {
  if (typeof id === 'string') return id;
  faults.add(id === undefined ? 'missing_product_id' : 'invalid_product_id');
  return '';
}

function validateQuantity(quantity: Cleaned<ExactNumber>, faults: Faults): number | null {
  if (quantity === undefined) {
    faults.add('missing_quantity');
  } else if (quantity instanceof Unreadable || !isWhole(quantity)) {
    faults.add('invalid_quantity');
  } else if (!exceeds(quantity, 0)) {
    faults.add('non_positive_quantity');
  } else if (exceeds(quantity, BOUNDS.quantity)) {
    faults.add('quantity_too_large');
  } else {
    return Number(quantity);
  }
  return null;
}

function validatePrice(price: Cleaned<ExactNumber>, faults: Faults): ExactNumber | null {
  if (price === undefined) {
    faults.add('missing_price_per_unit');
  } else if (price instanceof Unreadable) {
    faults.add('invalid_price_per_unit');
  } else if (price !== 0 && !exceeds(price, 0)) {
    faults.add('negative_price_per_unit');
  } else if (exceeds(price, BOUNDS.pricePerUnit)) {
    faults.add('price_per_unit_too_large');
  } else {
    return price;
  }
  return null;
}

function validateTotal(total: number | null, { maxOrderCents }: ValidationPolicy, faults: Faults): void {
  if (total === null) return;
  if (total <= 0) faults.add('non_positive_total');
  if (total > maxOrderCents) faults.add('order_value_too_large');
}

/** Judges the claimed value; what it says of the total is only asked where the total is one that an order may have. */
function validateClaim(
  claim: Cleaned<ExactNumber>,
  total: number | null,
  policy: ValidationPolicy,
  faults: Faults,
): Cents | null {
  const rejecting = policy.orderValueMismatch === 'reject';
  if (claim === undefined || claim instanceof Unreadable) {
    if (rejecting) faults.add(claim === undefined ? 'missing_order_value' : 'invalid_order_value');
    return null;
  }
  const claimed = roundedCents(claim);
  if (!exceeds(claim, 0)) {
    faults.add('non_positive_order_value');
  } else if (rejecting && total !== null && total <= policy.maxOrderCents && claimed !== total) {
    faults.add('order_value_mismatch');
  }
  return claimed;
}
