import { factorOf, medianOf, scoreOf, spreadOf } from './spread.rules.js';

const spread = (...values: number[]) => spreadOf(Float64Array.from(values).sort());

describe('A spread', () => {
  it('has the middle of an odd and of an even number of values', () => {
    expect(medianOf(Float64Array.of(1, 2, 9))).toBe(2);
    expect(medianOf(Float64Array.of(1, 2, 4, 9))).toBe(3);
  });

  it('scores by the modified z-score of logarithms', () => {
    // Median 4; the median deviations of both sides are log 2.
    const of = spread(1, 2, 4, 8, 16);
    expect(scoreOf(32, of)).toBeCloseTo(0.6745 * 3, 10);
    expect(scoreOf(0.5, of)).toBeCloseTo(0.6745 * -3, 10);
    expect(scoreOf(4, of)).toBe(0);
    expect(factorOf(32, of)).toBeCloseTo(8, 10);
    expect(factorOf(0.5, of)).toBeCloseTo(8, 10);
  });

  it('tells a factor exactly', () => {
    for (let median = 1; median < 100; median++) expect(factorOf(10 * median, spread(median))).toBe(10);
  });

  it('measures each side by itself', () => {
    const of = spread(1, 10, 100, 200, 400);
    expect(-scoreOf(10, of)).toBeCloseTo(0.6745, 10);
    expect(scoreOf(200, of)).toBeCloseTo(0.6745, 10);
  });

  it('is not moved by a few wild values', () => {
    expect(scoreOf(1e9, spread(9, 9.5, 10, 10, 10, 10.5, 11, 12, 1e9))).toBeGreaterThan(100);
  });

  it('takes the mean deviation where at least half of a side is alike', () => {
    const of = spread(5, 5, 5, 5, 5, 5, 5, 5, 5, 50);
    // One of the five from the median on deviates.
    expect(scoreOf(50, of)).toBeCloseTo(5 / 1.253314, 6);
    expect(scoreOf(5, of)).toBe(0);
  });

  it('finds nothing in values that are all alike', () => {
    const of = spread(5, 5, 5);
    expect(of).toMatchObject({ below: 0, above: 0 });
    expect(scoreOf(5, of)).toBe(0);
  });
});
