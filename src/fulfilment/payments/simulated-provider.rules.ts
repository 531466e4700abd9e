import { hash } from 'node:crypto';

/** What the simulated provider makes of a charge. */
export interface Treatment {
  /** How many attempts to charge the order fail first, without charging anything, and how they do. */
  refusals: number;
  refusedBy: 'timeout' | 'unavailable';
  /** What comes of it then. */
  ends: 'captured' | 'declined' | 'processing';
  /** Why it is declined. */
  reason: string | null;
  /** Whether the first to whom it was captured does not get to know. */
  isAnswerLost: boolean;
  /** After how many seconds what is being processed is captured; null where never. */
  capturedAfterSeconds: number | null;
  /** How many attempts to refund it are refused first; null for all of them. */
  refundRefusals: number | null;
}

const CAPTURES: Treatment = {
  refusals: 0,
  refusedBy: 'unavailable',
  ends: 'captured',
  reason: null,
  isAnswerLost: false,
  capturedAfterSeconds: null,
  refundRefusals: 0,
};
const DECLINES: Treatment = { ...CAPTURES, ends: 'declined', reason: 'declined_by_issuer' };

/** What payment methods that are none ask for. */
const TEST_METHODS = new Map<string, Treatment>([
  ['TEST-OK', CAPTURES],
  ['TEST-DECLINE', DECLINES],
  ['TEST-TIMEOUT-BEFORE', { ...CAPTURES, refusals: 1, refusedBy: 'timeout' }],
  ['TEST-TIMEOUT-AFTER', { ...CAPTURES, isAnswerLost: true }],
  ['TEST-UNAVAILABLE', { ...CAPTURES, refusals: 2, refusedBy: 'unavailable' }],
  ['TEST-LATE-WEBHOOK', { ...CAPTURES, ends: 'processing', capturedAfterSeconds: 2 }],
  ['TEST-LOST', { ...CAPTURES, ends: 'processing' }],
  ['TEST-REFUND-FLAKY', { ...CAPTURES, refundRefusals: 2 }],
  ['TEST-REFUND-FAILS', { ...CAPTURES, refundRefusals: null }],
]);

/**
 * How a charge ends: as its payment method says, if that is one of the test methods; else by the order's id, so that the same
 * order always ends the same.
 * @param method trimmed and upper-cased
 * @param failureRate the share of orders that are declined, 0 to 1
 */
export function treatmentOf({ method, orderId }: { method: string; orderId: string }, failureRate: number): Treatment {
  return TEST_METHODS.get(method) ?? (shareOf(orderId) < failureRate ? DECLINES : CAPTURES);
}

/** A number from 0 to less than 1, by which ids are spread evenly. */
function shareOf(orderId: string): number {
  return parseInt(hash('sha256', orderId, 'hex').slice(0, 12), 16) / 2 ** 48;
}
