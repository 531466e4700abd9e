import { Decimal } from 'decimal.js';

declare const centsBrand: unique symbol;

/** An amount of money as a whole number of cents. The only form money has inside. */
export type Cents = number & { readonly [centsBrand]: 'cents' };

/** The largest value one order may have: 10^13 cents (a bound of the order event's contract). */
export const MAX_ORDER_CENTS = 1e13 as Cents;

/** Names a whole number as cents; -0 becomes 0. @throws RangeError where it is not a safe integer. */
export function cents(amount: number): Cents {
  if (!Number.isSafeInteger(amount)) throw new RangeError(`${amount} is not a whole number of cents`);
  return (amount + 0) as Cents;
}

/** A decimal amount as cents, rounded half up (half away from zero for negative amounts), once. */
export function centsOf(amount: Decimal): Cents {
  return cents(amount.times(100).toDecimalPlaces(0, Decimal.ROUND_HALF_UP).toNumber());
}

/** Cents as the decimal number of the API: at most two places, the nearest double. */
export function decimalOf(amount: Cents): number {
  return amount / 100;
}

/** The mean of `total` over `count`, rounded half up to the cent; 0 where there is nothing to average. */
export function averageCents(total: Cents, count: number): Cents {
  if (count === 0) return cents(0);
  return cents(new Decimal(total).div(count).toDecimalPlaces(0, Decimal.ROUND_HALF_UP).toNumber());
}
