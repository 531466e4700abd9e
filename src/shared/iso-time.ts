/** A time as the API shows it: ISO 8601 in UTC, to the millisecond. What is not known stays null. */
export function isoOf(msUtc: number): string;
export function isoOf(msUtc: number | null): string | null;
export function isoOf(msUtc: number | null): string | null {
  return msUtc === null ? null : new Date(msUtc).toISOString();
}
