import { Decimal } from 'decimal.js';
import { cents } from '../money.js';
import type { OrderLine } from '../order-event.js';
import { decimalFrom, type ExactNumber, plainDecimal, wholeParts } from './exact-number.rules.js';

/** A line of an order whose fields are within their bounds. */
export interface PricedLine {
  product_id: string;
  quantity: number;
  /** In currency units; not negative. */
  price: ExactNumber;
}

/**
 * The sum of quantity × price up to and with each line, in cents, each rounded half up once from the exact sum; the
 * last one is what the order is worth. Right up to MAX_CENTS; beyond that it is only certain to exceed it.
 */
export function runningCents(lines: readonly PricedLine[]): number[] {
  const rounded = [];
  // In ten-thousandths of a unit, 10^13 cents are 10^15: still exact, and few prices are finer and need a Decimal.
  let sum = 0;
  for (const line of lines) {
    const price = wholeParts(line.price, 10_000);
    if (price === undefined) return runningCentsOfFinePrices(lines);
    sum += line.quantity * price;
    rounded.push(Math.floor((sum + 50) / 100));
  }
  return rounded;
}

function runningCentsOfFinePrices(lines: readonly PricedLine[]): number[] {
  let sum = decimalFrom(0);
  return lines.map((line) => {
    sum = sum.plus(decimalFrom(line.price).times(100 * line.quantity));
    return sum.toDecimalPlaces(0, Decimal.ROUND_HALF_UP).toNumber();
  });
}

/**
 * The lines with their shares of the order's value: the running sums' differences, so that the shares add up to the
 * value exactly, and each is within a cent of quantity × price.
 * @param sums of the same lines, by {@link runningCents}, not above MAX_CENTS
 */
export function allocate(lines: readonly PricedLine[], sums: readonly number[]): OrderLine[] {
  let before = 0;
  return lines.map((line, index) => {
    const sum = sums[index] ?? before;
    const share = cents(sum - before);
    before = sum;
    return {
      product_id: line.product_id,
      quantity: line.quantity,
      price_per_unit: plainDecimal(line.price),
      cents: share,
    };
  });
}
