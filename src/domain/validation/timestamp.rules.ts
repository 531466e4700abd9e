/** The groups are year, month, day, hour, minute, second, fraction, and the sign, hour and minute of the offset. */
const ISO_8601 =
  /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?$/;

/**
 * Reads an ISO 8601 calendar date, alone or with a time (as in RFC 3339, also after a blank or a small t). No offset
 * means UTC, a date alone its midnight in UTC; what is finer than a millisecond is cut off. Days that no calendar has,
 * 24:00 and leap seconds are not read.
 * @returns ms UTC, or undefined where the text is no such time
 */
export function readTimestamp(given: unknown): number | undefined {
  const parts = typeof given === 'string' ? ISO_8601.exec(given) : null;
  if (!parts) return undefined;
  const [, year, month, day, hour = 0, minute = 0, second = 0, fraction = '', sign, offsetHour = 0, offsetMinute = 0] =
    parts;
  if (+hour > 23 || +minute > 59 || +second > 59 || +offsetHour > 23 || +offsetMinute > 59) return undefined;

  // Not Date.UTC, which takes the years 0 to 99 for 1900 to 1999.
  const date = new Date(0);
  const midnight = date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) return undefined;

  const time = ((+hour * 60 + +minute) * 60 + +second) * 1000 + Number(fraction.slice(0, 3).padEnd(3, '0'));
  const offset = (+offsetHour * 60 + +offsetMinute) * 60_000;
  return midnight + time - (sign === '-' ? -offset : offset);
}
