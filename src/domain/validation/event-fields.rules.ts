import { BOUNDS, type ValidationPolicy, type Reason, REASONS } from '../order-event.js';
import { type Cleaned, Unreadable } from './order-cleaning.rules.js';

const REASONS_IN_ORDER = Object.keys(REASONS) as Reason[];
const EARLIEST = Date.UTC(BOUNDS.firstYear, 0);
const AFTER_LATEST = Date.UTC(BOUNDS.lastYear + 1, 0);

/** Collects the reasons for which an event fails. */
export type Faults = Set<Reason>;

/** Each once, in the order of the contract. */
export function reasonsIn(faults: Faults): Reason[] {
  return REASONS_IN_ORDER.filter((reason) => faults.has(reason));
}

/** Judges an id that has to begin in a certain way. @returns null where it has a fault */
export function validatePrefixedId(
  field: 'order_id' | 'user_id',
  id: Cleaned<string>,
  prefix: string,
  faults: Faults,
): string | null {
  if (id === undefined) {
    faults.add(`missing_${field}`);
  } else if (id instanceof Unreadable || !id.startsWith(prefix)) {
    faults.add(`invalid_${field}`);
  } else {
    return id;
  }
  return null;
}

/** Judges when something happened. @returns ms UTC; null where it can't be read or is out of the bounds */
export function validateTime(
  field: 'order_timestamp' | 'refund_timestamp',
  time: Cleaned<number>,
  sentAt: number,
  faults: Faults,
): number | null {
  if (time === undefined) {
    faults.add(`missing_${field}`);
  } else if (time instanceof Unreadable) {
    faults.add(`invalid_${field}`);
  } else if (time < EARLIEST || time >= AFTER_LATEST) {
    faults.add(`${field}_out_of_range`);
  } else {
    if (time > sentAt + BOUNDS.futureMs) faults.add(`${field}_in_future`);
    return time;
  }
  return null;
}

/** An event without a currency means the configured one. */
export function validateCurrency(currency: Cleaned<string>, policy: ValidationPolicy, faults: Faults): void {
  if (currency !== undefined && currency !== policy.currency) faults.add('unsupported_currency');
}
