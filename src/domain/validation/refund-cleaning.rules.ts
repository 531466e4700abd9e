import { type ExactNumber, readNumber } from './exact-number.rules.js';
import type { JsonObject } from './message-body.rules.js';
import { clean, type Cleaned, readCode } from './order-cleaning.rules.js';
import { readTimestamp } from './timestamp.rules.js';

/** The known fields of a refund after cleaning, but for its type. */
export interface CleanedRefund {
  refund_id: Cleaned<string>;
  order_id: Cleaned<string>;
  /** ms UTC, of any year. */
  refund_timestamp: Cleaned<number>;
  /** In currency units. */
  amount: Cleaned<ExactNumber>;
  currency: Cleaned<string>;
}

/** Cleans the known fields of a refund the way those of an order are cleaned. */
export function cleanRefund(event: JsonObject): CleanedRefund {
  return {
    refund_id: clean(event, 'refund_id', readCode),
    order_id: clean(event, 'order_id', readCode),
    refund_timestamp: clean(event, 'refund_timestamp', readTimestamp),
    amount: clean(event, 'amount', readNumber),
    currency: clean(event, 'currency', readCode),
  };
}
