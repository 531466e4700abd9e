import { Decimal } from 'decimal.js';
import { cents, type Cents, MAX_CENTS } from '../money.js';

/**
 * A number exactly as the sender wrote it. A JS number stands for its shortest decimal form (0.1 is one
 * tenth); a Decimal is used only for what no JS number has as its shortest form.
 */
export type ExactNumber = number | Decimal;

/**
 * Decimals whose sums and products are never rounded: no digit that can be read is below 10^-387 (64 characters at
 * the low end of a double) and the largest sum of an order is below 10^20, which makes fewer than 500 digits.
 */
const Exact = Decimal.clone({ defaults: true, precision: 500 });

const MAX_NUMBER = 64;
/** The shortest form of a double has no more significant digits. */
const MAX_SHORTEST = 17;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
/** With at most 15 digits and no exponent, text and the double nearest to it mean the same decimal. */
const SHORT_NUMBER = /^(?=.{1,15}$)\d+(?:\.\d+)?$/;

/**
 * Reads a JSON number, or a trimmed text that is a plain decimal with optional sign, fraction and exponent
 * and at most 64 characters. Text beyond the range of a double is read as JSON.parse would: the tiny is 0, the huge
 * is unreadable. -0 is 0.
 * @returns undefined where it is no such number
 */
export function readNumber(given: unknown): ExactNumber | undefined {
  if (typeof given === 'number') return Number.isFinite(given) ? given + 0 : undefined;
  if (typeof given !== 'string' || given.length > MAX_NUMBER) return undefined;
  if (SHORT_NUMBER.test(given)) return Number(given);
  if (!NUMBER.test(given)) return undefined;
  const nearest = Number(given);
  if (!Number.isFinite(nearest)) return undefined;
  if (nearest === 0) return 0;
  const exact = new Exact(given);
  return exact.precision() <= MAX_SHORTEST && exact.equals(nearest) ? nearest : exact;
}

/** The decimal of an exact number, for arithmetic that doesn't round. */
export function decimalFrom(number: ExactNumber): Decimal {
  return typeof number === 'number' ? new Exact(number) : number;
}

/** Whether it has no fraction. */
export function isWhole(number: ExactNumber): boolean {
  return typeof number === 'number' ? Number.isInteger(number) : number.isInteger();
}

/** Whether it is greater than a whole number. */
export function exceeds(number: ExactNumber, bound: number): boolean {
  return typeof number === 'number' ? number > bound : number.greaterThan(bound);
}

/** Plain decimal notation: no exponent, no trailing zeros. */
export function plainDecimal(number: ExactNumber): string {
  if (typeof number !== 'number') return number.toFixed();
  const text = String(number);
  return text.includes('e') ? new Exact(number).toFixed() : text;
}

/**
 * How many of the parts that a unit is cut into (100 or 10,000) make up an amount, where that is a whole number
 * and not above 10^13; undefined elsewhere. Up to 10^15 no two such amounts share a double, so the division proves it.
 */
export function wholeParts(amount: ExactNumber, partsPerUnit: 100 | 10_000): number | undefined {
  if (typeof amount !== 'number') return undefined;
  const nearest = Math.round(amount * partsPerUnit);
  return nearest / partsPerUnit === amount && Math.abs(nearest) <= 1e13 ? nearest : undefined;
}

/** An amount in currency units as cents, rounded half up; null beyond ±10^13 cents. */
export function roundedCents(amount: ExactNumber): Cents | null {
  const whole = wholeParts(amount, 100);
  if (whole !== undefined) return cents(whole);
  const rounded = decimalFrom(amount).times(100).toDecimalPlaces(0, Decimal.ROUND_HALF_UP);
  return rounded.abs().greaterThan(MAX_CENTS) ? null : cents(rounded.toNumber());
}
