import { delayBeforeRetry } from './retry-delays.rules.js';

describe('the delay before a retry', () => {
  it('doubles up to a minute', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 100].map((tries) => delayBeforeRetry(tries, 0))).toEqual([
      1, 2, 4, 8, 16, 32, 60, 60, 60,
    ]);
  });

  it('varies by as much again', () => {
    expect(delayBeforeRetry(3, 0.999)).toBe(8);
    expect(delayBeforeRetry(100, 0.999)).toBe(120);
    expect(new Set(Array.from({ length: 50 }, (_, n) => delayBeforeRetry(3, n / 50)))).toEqual(
      new Set([4, 5, 6, 7, 8]),
    );
  });
});
