import { Decimal } from 'decimal.js';

declare const centsBrand: unique symbol;

/** An amount of money as a whole number of cents. The only form money has inside. */
export type Cents = number & { readonly [centsBrand]: 'cents' };

/** A sum of cents, which has no bound. */
export type CentsSum = bigint;

/** The largest amount that can be stored: 10^13 cents. MAX_ORDER_VALUE may set a lower limit for orders. */
export const MAX_CENTS = 1e13 as Cents;

/** Up to here two amounts that differ by a cent are two doubles. */
const MAX_CENTS_OF_DOUBLE = 100n * 2n ** 46n;

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

/**
 * A sum as the decimal number of the API, exact to the cent. Where a double would not be, the result is a raw JSON number:
 * `JSON.stringify` writes its digits, and nothing can be calculated with it.
 */
export function decimalOfSum(sum: CentsSum): number {
  const isExact = sum <= MAX_CENTS_OF_DOUBLE && sum >= -MAX_CENTS_OF_DOUBLE;
  return isExact ? Number(sum) / 100 : rawNumber(decimalTextOf(sum));
}

/** A whole number of any size as a number of the API; a raw JSON number where a double does not hold it. */
export function wholeNumberOf(sum: bigint): number {
  const isExact = sum <= Number.MAX_SAFE_INTEGER && sum >= Number.MIN_SAFE_INTEGER;
  return isExact ? Number(sum) : rawNumber(String(sum));
}

/** The mean of a sum over `count`, rounded half up (half away from zero) to the cent; 0 where there is nothing to average. */
export function averageCents(sum: CentsSum, count: number): CentsSum {
  if (count === 0) return 0n;
  const [size, divisor] = [sum < 0n ? -sum : sum, BigInt(count)];
  const rounded = (2n * size + divisor) / (2n * divisor);
  return sum < 0n ? -rounded : rounded;
}

function decimalTextOf(sum: CentsSum): string {
  const digits = String(sum < 0n ? -sum : sum).padStart(3, '0');
  return `${sum < 0n ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

function rawNumber(digits: string): number {
  return JSON.rawJSON(digits) as unknown as number;
}

declare global {
  /** TypeScript does not declare this part of ECMAScript yet. */
  interface JSON {
    rawJSON(text: string): { readonly rawJSON: string };
  }
}
