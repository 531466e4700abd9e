import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { exceeds, isWhole, plainDecimal, readNumber, roundedCents, wholeParts } from './exact-number.rules.js';

const Exact = Decimal.clone({ precision: 800 });

/** Text that a sender may write a number as: digits, perhaps a fraction, perhaps an exponent. */
const numericText = fc
  .tuple(
    fc.constantFrom('', '-', '+'),
    fc.stringMatching(/^[0-9]{1,25}$/),
    fc.option(fc.stringMatching(/^[0-9]{1,25}$/), { nil: undefined }),
    fc.option(fc.integer({ min: -330, max: 330 }), { nil: undefined }),
  )
  .map(([sign, whole, fraction, exponent]) =>
    [sign, whole, fraction === undefined ? '' : `.${fraction}`, exponent === undefined ? '' : `e${exponent}`].join(''),
  );

describe('readNumber', () => {
  it.each([
    ['5', 5],
    ['-5', -5],
    ['+5', 5],
    ['0005', 5],
    ['2.50', 2.5],
    ['.5', 0.5],
    ['5.', 5],
    ['1e3', 1000],
    ['1.5E-3', 0.0015],
    ['2e+2', 200],
    ['0.1', 0.1],
    ['2.5500000000000000000000000', 2.55],
    ['9'.repeat(15), 999_999_999_999_999],
  ])('reads the text %s', (text, number) => {
    expect(readNumber(text)).toBe(number);
  });

  it.each([
    ['hexadecimal', '0x10'],
    ['octal', '0o7'],
    ['separators of thousands', '1,234'],
    ['a comma', '2,50'],
    ['a currency sign', '$5'],
    ['a unit', '5 kg'],
    ['two points', '1.2.3'],
    ['two signs', '--5'],
    ['a blank inside', '- 5'],
    ['digits of another script', '٥'],
    ['an exponent alone', 'e5'],
    ['half an exponent', '5e'],
    ['a point alone', '.'],
    ['a sign alone', '-'],
    ['underscores', '1_000'],
    ['a BigInt', '5n'],
    ['NaN', 'NaN'],
    ['Infinity', 'Infinity'],
    ['words', 'ten'],
    ['nothing', ''],
  ])('does not read %s', (_what, text) => {
    expect(readNumber(text)).toBeUndefined();
  });

  it.each([[true], [null], [undefined], [{}], [[5]], [NaN], [Infinity], [-Infinity]])('does not read %p', (given) => {
    expect(readNumber(given)).toBeUndefined();
  });

  it('reads text of 64 characters and no longer', () => {
    expect(readNumber('5'.padStart(64, '0'))).toBe(5);
    expect(readNumber('5'.padStart(65, '0'))).toBeUndefined();
  });

  it('keeps digits that no JS number has', () => {
    expect(String(readNumber('0.12345678901234567890'))).toBe('0.1234567890123456789');
    expect(String(readNumber('9007199254740993'))).toBe('9007199254740993');
  });

  it('reads text beyond the range of a double as JSON does', () => {
    expect(readNumber('1e999')).toBeUndefined();
    expect(readNumber('-1e999')).toBeUndefined();
    expect(readNumber('1e99999999999999999999')).toBeUndefined();
    expect(readNumber('1e-999')).toBe(0);
    expect(readNumber('-1e-99999999999999999999')).toBe(0);
  });

  it('knows no negative zero', () => {
    for (const zero of [-0, '-0', '-0.00', '-0e5']) expect(readNumber(zero)).toBe(0);
  });

  it('reads any number as the decimal it is written as', () => {
    fc.assert(
      fc.property(numericText, (text) => {
        fc.pre(text.length <= 64 && Number.isFinite(Number(text)) && Number(text) !== 0);
        expect(new Exact(readNumber(text) ?? NaN).equals(new Exact(text))).toBe(true);
      }),
    );
  });

  it('reads a JS number and its text alike', () => {
    fc.assert(
      fc.property(fc.double({ noDefaultInfinity: true, noNaN: true }), (number) => {
        expect(readNumber(String(number))).toBe(readNumber(number));
      }),
    );
  });
});

describe('plainDecimal', () => {
  it.each([
    [2.5, '2.5'],
    ['2.50', '2.5'],
    [0, '0'],
    [1e-7, '0.0000001'],
    [1e9, '1000000000'],
    ['1e9', '1000000000'],
    ['0.12345678901234567890', '0.1234567890123456789'],
    ['1.20e-10', '0.00000000012'],
  ])('writes %p as %s', (given, text) => {
    expect(plainDecimal(readNumber(given) ?? NaN)).toBe(text);
  });

  it('writes the smallest double with all its zeros', () => {
    expect(plainDecimal(5e-324)).toBe(`0.${'0'.repeat(323)}5`);
  });
});

describe('isWhole and exceeds', () => {
  it.each([
    ['2', true],
    ['2.0', true],
    ['1e3', true],
    ['2.5', false],
    ['1.00000000000000000001', false],
    ['100000000000000000000001', true],
  ])('knows whether %s is whole', (text, whole) => {
    expect(isWhole(readNumber(text) ?? NaN)).toBe(whole);
  });

  it('compares beyond the digits of a JS number', () => {
    expect(exceeds(readNumber('1000000000.00000000000000000001') ?? NaN, 1e9)).toBe(true);
    expect(exceeds(readNumber('999999999.99999999999999999999') ?? NaN, 1e9)).toBe(false);
    expect(exceeds(1e9, 1e9)).toBe(false);
  });
});

describe('roundedCents', () => {
  it.each([
    [139.12, 13_912],
    [0.1 + 0.2, 30],
    [1.005, 101],
    [1.0049999, 100],
    ['1.00499999999999999999999999999', 100],
    [-1.005, -101],
    [0.001, 0],
    [-0.001, 0],
    [0, 0],
    [1e-320, 0],
    [8.615, 862],
    [1e11, 1e13],
    ['100000000000.004', 1e13],
    [-1e11, -1e13],
  ])('rounds %p to %p cents', (amount, expected) => {
    expect(roundedCents(readNumber(amount) ?? NaN)).toBe(expected);
  });

  it.each([[100_000_000_000.01], ['100000000000.005'], [-100_000_000_000.01], [1e15], [1e308], [-1e308]])(
    'has no cents for %p, which is beyond the bound',
    (amount) => {
      expect(roundedCents(readNumber(amount) ?? NaN)).toBeNull();
    },
  );

  it('agrees with decimal.js for any amount', () => {
    const amounts = fc.oneof(
      fc.double({ min: -2e11, max: 2e11, noNaN: true }),
      fc.integer({ min: -2e9, max: 2e9 }).map((thousandths) => thousandths / 1000),
    );
    fc.assert(
      fc.property(amounts, (amount) => {
        const expected = new Exact(amount).times(100).toDecimalPlaces(0, Decimal.ROUND_HALF_UP);
        expect(roundedCents(amount)).toBe(expected.abs().greaterThan(1e13) ? null : expected.toNumber() + 0);
      }),
    );
  });
});

describe('wholeParts', () => {
  it('counts the cents and the ten-thousandths of an amount that has no finer part', () => {
    expect(wholeParts(2.55, 100)).toBe(255);
    expect(wholeParts(0.0025, 10_000)).toBe(25);
    expect(wholeParts(0.0025, 100)).toBeUndefined();
    expect(wholeParts(0.00025, 10_000)).toBeUndefined();
    expect(wholeParts(0.1 + 0.2, 100)).toBeUndefined();
    expect(wholeParts(new Decimal('2.55'), 100)).toBeUndefined();
  });

  it('is exact wherever it answers', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e13, max: 1e13 }), fc.constantFrom(100 as const, 10_000 as const), (n, parts) => {
        const amount = new Decimal(n).div(parts).toNumber();
        expect(wholeParts(amount, parts)).toBe(n);
        expect(new Exact(amount).times(parts).equals(n)).toBe(true);
      }),
    );
  });
});
