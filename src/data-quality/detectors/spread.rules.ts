import { rounded } from './rounding.rules.js';

/**
 * How far values lie from the usual ones, by the modified z-score of Iglewicz and Hoaglin ("How to Detect and Handle
 * Outliers", 1993): 0.6745 · (x − median) / MAD, of which one beyond 3.5 is an outlier by their convention. MAD is the
 * median of the absolute deviations from the median; a few wild values change neither. Money spans magnitudes, so scores
 * are of logarithms, and each side of the median has a MAD of its own, as values are seldom spread alike on both.
 */

/** Of scores: what lies further out stands out. The authors' convention. */
export const STANDS_OUT = 3.5;

/** Makes the MAD of normally distributed values their standard deviation. */
const MAD_TO_DEVIATION = 1 / 0.6745;
/** The same for the mean absolute deviation, √(π/2): where at least half of a side is alike, its MAD is 0. */
const MEAN_TO_DEVIATION = 1.253314;

/** What is usual among values, as logarithms. */
export interface Spread {
  median: number;
  /** The deviation of the values up to the median; 0 where they are all alike. */
  below: number;
  /** The same of those from the median on. */
  above: number;
}

/** The middle one of sorted numbers, or the mean of the two in the middle. */
export function medianOf(sorted: Float64Array): number {
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}

/** The spread of values above 0, at least one, sorted ascending. They are replaced by their logarithms. */
export function spreadOf(values: Float64Array): Spread {
  for (let i = 0; i < values.length; i++) values[i] = Math.log(values[i]!);
  const half = Math.ceil(values.length / 2);
  const median = medianOf(values);
  return {
    median,
    below: deviationOf(values.subarray(0, half), median),
    above: deviationOf(values.subarray(-half), median),
  };
}

/** How many deviations of its side a value lies from the median: below 0 where it is less. */
export function scoreOf(value: number, { median, below, above }: Spread): number {
  const distance = Math.log(value) - median;
  const deviation = distance < 0 ? below : above;
  return deviation === 0 ? 0 : distance / deviation;
}

/** How many times the median a value is, or the median the value: at least 1. */
export function factorOf(value: number, { median }: Spread): number {
  // Logarithms are not exact, and ten times must not come out as a little less.
  return rounded(Math.exp(Math.abs(Math.log(value) - median)), 9);
}

function deviationOf(side: Float64Array, median: number): number {
  const mad = Math.abs(medianOf(side) - median);
  if (mad > 0) return mad * MAD_TO_DEVIATION;
  let sum = 0;
  for (const value of side) sum += Math.abs(value - median);
  return (sum / side.length) * MEAN_TO_DEVIATION;
}
