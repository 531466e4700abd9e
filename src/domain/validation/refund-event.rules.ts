import { cents, type Cents, MAX_CENTS } from '../money.js';
import type { ValidatedMessage, ValidationPolicy, ReceivedMessage } from '../order-event.js';
import { refundHash } from './content-hash.rules.js';
import { type Faults, validateCurrency, validatePrefixedId, validateTime, reasonsIn } from './event-fields.rules.js';
import { exceeds, type ExactNumber, roundedCents, wholeParts } from './exact-number.rules.js';
import type { JsonObject } from './message-body.rules.js';
import { type Cleaned, Unreadable } from './order-cleaning.rules.js';
import { cleanRefund } from './refund-cleaning.rules.js';

const MAX_UNITS = MAX_CENTS / 100;

/** Whether an event says that it is a refund; white space and letter case don't matter. */
export function isRefund(event: JsonObject): boolean {
  const type = Object.hasOwn(event, 'type') ? event['type'] : undefined;
  return typeof type === 'string' && type.trim().toLowerCase() === 'refund';
}

/**
 * Judges a refund by what it says itself; whether its order is counted and worth that much, the ledger decides. It has
 * no user: that is the order's.
 */
export function validateRefund(
  message: ReceivedMessage & Pick<ValidatedMessage, 'failureHash'>,
  event: JsonObject,
  policy: ValidationPolicy,
): ValidatedMessage {
  const refund = cleanRefund(event);
  const faults: Faults = new Set();
  const refundId = judgeRefundId(refund.refund_id, faults);
  const orderId = validatePrefixedId('order_id', refund.order_id, 'ORD', faults);
  const orderedAt = validateTime('refund_timestamp', refund.refund_timestamp, message.sentAt, faults);
  const amount = validateAmount(refund.amount, faults);
  validateCurrency(refund.currency, policy, faults);
  const { currency } = policy;

  const judged = {
    ...message,
    kind: 'refund' as const,
    orderId,
    userId: null,
    refundId,
    orderedAt,
    claimed: claimedIn(refund.amount),
    lines: [],
  };
  if (faults.size > 0 || refundId === null || orderId === null || orderedAt === null || amount === null) {
    return { ...judged, outcome: 'failed', reasons: reasonsIn(faults), value: null, contentHash: message.failureHash };
  }
  const contentHash = refundHash({ refundId, orderId, refundedAt: orderedAt, amount, currency });
  return { ...judged, outcome: 'accepted', reasons: [], value: amount, contentHash };
}

function judgeRefundId(id: Cleaned<string>, faults: Faults): string | null {
  if (typeof id === 'string') return id;
  faults.add(id === undefined ? 'missing_refund_id' : 'invalid_refund_id');
  return null;
}

function validateAmount(amount: Cleaned<ExactNumber>, faults: Faults): Cents | null {
  if (amount === undefined) {
    faults.add('missing_amount');
  } else if (amount instanceof Unreadable) {
    faults.add('invalid_amount');
  } else if (!exceeds(amount, 0)) {
    faults.add('non_positive_amount');
  } else if (exceeds(amount, MAX_UNITS)) {
    faults.add('amount_too_large');
  } else {
    const whole = wholeParts(amount, 100);
    if (whole !== undefined) return cents(whole);
    // Rounding, as of an order's sum, would give back what nobody asked for.
    faults.add('amount_too_fine');
  }
  return null;
}

function claimedIn(amount: Cleaned<ExactNumber>): Cents | null {
  return amount === undefined || amount instanceof Unreadable ? null : roundedCents(amount);
}
