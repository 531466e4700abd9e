import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { type ExactNumber, readNumber } from './exact-number.rules.js';
import { allocate, type PricedLine, runningCents } from './order-value.rules.js';

const Exact = Decimal.clone({ precision: 800 });

function line(quantity: number, price: number | string): PricedLine {
  return { product_id: 'P1', quantity, price: readNumber(price) as ExactNumber };
}

function sharesOf(...lines: PricedLine[]): number[] {
  return allocate(lines, runningCents(lines)).map((allocated) => allocated.cents);
}

/** What runningCents promises, by decimal.js alone. */
function expectedSums(lines: PricedLine[]): number[] {
  let sum = new Exact(0);
  return lines.map(({ quantity, price }) => {
    sum = sum.plus(new Exact(price).times(quantity));
    return sum.times(100).toDecimalPlaces(0, Decimal.ROUND_HALF_UP).toNumber();
  });
}

const price = fc.oneof(
  fc.integer({ min: 0, max: 100_000_000 }).map((cents) => cents / 100),
  fc.integer({ min: 0, max: 100_000_000 }).map((parts) => parts / 10_000),
  fc.integer({ min: 0, max: 1e11 }).map((cents) => cents / 100),
  fc.double({ min: 0, max: 1e9, noNaN: true }),
  fc.tuple(fc.nat(1e9 - 1), fc.stringMatching(/^[0-9]{1,30}$/)).map(([whole, fraction]) => `${whole}.${fraction}`),
);
const quantity = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 1_000_000 }));
const lines = fc.array(
  fc.tuple(quantity, price).map(([count, each]) => line(count, each)),
  { minLength: 1, maxLength: 30 },
);

describe('runningCents', () => {
  it('sums without the noise of doubles', () => {
    expect(runningCents([line(1, 0.1), line(1, 0.2), line(3, 1.1)])).toEqual([10, 30, 360]);
  });

  it('rounds half up once, at the end', () => {
    expect(runningCents([line(1, 0.004), line(1, 0.004), line(1, 0.004)]).at(-1)).toBe(1);
    expect(runningCents([line(1, 0.005)])).toEqual([1]);
    expect(runningCents([line(1, '0.00499999999999999999999999999999')])).toEqual([0]);
    expect(runningCents([line(1_000_000, 1e-8)])).toEqual([1]);
  });

  it('is exact at the bound of an order', () => {
    expect(runningCents([line(1_000_000, 100_000)])).toEqual([1e13]);
    expect(runningCents([line(1_000_000, 99_999.9999), line(1, 99.99)])).toEqual([
      9_999_999_990_000, 9_999_999_999_999,
    ]);
    expect(runningCents([line(1_000_000, 100_000), line(1, 0.004)]).at(-1)).toBe(1e13);
    expect(runningCents([line(1_000_000, 100_000), line(1, 0.005)]).at(-1)).toBe(1e13 + 1);
  });

  it('exceeds the bound where the sum is beyond what a double counts', () => {
    expect(runningCents([line(1_000_000, 1e9)]).at(-1)).toBeGreaterThan(1e13);
    expect(runningCents([line(1_000_000, 1e9), line(1, 0.001234)]).at(-1)).toBeGreaterThan(1e13);
  });

  it('agrees with decimal.js for any lines', () => {
    fc.assert(
      fc.property(lines, (some) => {
        const expected = expectedSums(some);
        const actual = runningCents(some);
        expect(actual.map((sum) => Math.min(sum, 1e13 + 1))).toEqual(expected.map((sum) => Math.min(sum, 1e13 + 1)));
      }),
      { numRuns: 1000 },
    );
  });

  it('loses no digit of the finest price there is', () => {
    expect(runningCents([line(1, '0.00499999999999999999'), line(1, 5e-324)])).toEqual([0, 0]);
    expect(runningCents([line(1, 0.005), line(1, 5e-324)])).toEqual([1, 1]);
  });
});

describe('allocate', () => {
  it('gives each line its own sum where prices are whole cents', () => {
    expect(sharesOf(line(6, 2.55), line(8, 2.75))).toEqual([1530, 2200]);
  });

  it('spreads parts of cents so that the shares add up to the value', () => {
    expect(sharesOf(line(1, 0.333), line(1, 0.333), line(1, 0.334))).toEqual([33, 34, 33]);
    expect(sharesOf(line(1, 0.004), line(1, 0.004), line(1, 0.004))).toEqual([0, 1, 0]);
  });

  it('keeps a price as the exact decimal it is', () => {
    const prices = [2.5, '2.50', 1e-7, '0.12345678901234567890', 0].map((each) => line(1, each));
    expect(allocate(prices, runningCents(prices)).map((allocated) => allocated.price_per_unit)).toEqual([
      '2.5',
      '2.5',
      '0.0000001',
      '0.1234567890123456789',
      '0',
    ]);
  });

  it('gives shares that add up and are within a cent of the line, for any lines', () => {
    fc.assert(
      fc.property(lines, (some) => {
        const sums = runningCents(some);
        fc.pre((sums.at(-1) ?? 0) <= 1e13);
        const allocated = allocate(some, sums);
        expect(allocated.reduce((sum, each) => sum + each.cents, 0)).toBe(sums.at(-1));
        for (const each of allocated) {
          const own = new Exact(each.price_per_unit).times(each.quantity).times(100);
          expect(own.minus(each.cents).abs().lessThanOrEqualTo(1)).toBe(true);
        }
      }),
    );
  });
});
