import { isTrackingNumber, trackingNumberOf } from './tracking-number.rules.js';

/** Six bytes, the most significant first. */
function bytesOf(value: number): Uint8Array {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
}

describe('trackingNumberOf', () => {
  // The first is the example of the standard, RB473124829GB with another indicator and country.
  it.each([
    [47_312_482, 'SP473124829XX'],
    [0, 'SP000000005XX'],
    [1, 'SP000000014XX'],
    [10, 'SP000000102XX'],
    [12_345_678, 'SP123456785XX'],
    [99_999_999, 'SP999999995XX'],
  ])('of %i is %s', (value, number) => {
    expect(trackingNumberOf(bytesOf(value))).toBe(number);
  });

  it('begins anew after the last serial, up to the largest bytes', () => {
    expect(trackingNumberOf(bytesOf(100_000_001))).toBe(trackingNumberOf(bytesOf(1)));
    expect(trackingNumberOf(Buffer.alloc(6, 0xff))).toBe(trackingNumberOf(bytesOf((2 ** 48 - 1) % 1e8)));
  });

  it('looks at six bytes, and needs them', () => {
    expect(trackingNumberOf(Buffer.from([...bytesOf(7), 1, 2, 3]))).toBe(trackingNumberOf(bytesOf(7)));
    expect(() => trackingNumberOf(Buffer.alloc(5))).toThrow(RangeError);
  });
});

describe('isTrackingNumber', () => {
  const number = trackingNumberOf(bytesOf(47_312_482));
  const serials = Array.from({ length: 500 }, (_, i) => (i * 1_234_577) % 1e8);

  it('takes every number that is made', () => {
    for (const serial of serials) expect(isTrackingNumber(trackingNumberOf(bytesOf(serial)))).toBe(true);
  });

  it('notices a mistyped digit, but for some where the check digit is 5, which stands for two remainders', () => {
    const missed = new Set<string>();
    for (const serial of serials) {
      const right = trackingNumberOf(bytesOf(serial));
      for (let place = 2; place < 11; place++) {
        for (const digit of '0123456789') {
          const wrong = right.slice(0, place) + digit + right.slice(place + 1);
          if (wrong !== right && isTrackingNumber(wrong)) missed.add(right[10]!);
        }
      }
    }
    expect([...missed].sort()).toEqual(['5']);
  });

  it.each([
    '',
    'SP47312482XX',
    'SP4731248299XX',
    'RB473124829GB',
    'SP473124829GB',
    'RB473124829XX',
    number.toLowerCase(),
    ` ${number}`,
    `${number}\n`,
    'SP４７３１２４８２９XX',
    'SPABCDEFGHIXX',
    '__proto__',
  ])('does not take %j', (text) => {
    expect(isTrackingNumber(text)).toBe(false);
  });
});
