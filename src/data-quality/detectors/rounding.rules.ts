/** A number with at most so many decimal places, for showing it. */
export function rounded(value: number, places: number): number {
  return Math.round(value * 10 ** places) / 10 ** places;
}

/** A part of a whole, 0 to 1, to four places; 0 where there is no whole. */
export function shareOf(part: number, whole: number): number {
  return whole === 0 ? 0 : rounded(part / whole, 4);
}
