const TIME = /^\d{4}-\d\d-\d\d(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?/;
const MAX_FRACTION_DIGITS = 12;

/** How a timestamp is written, as a small number: one of those below, or {@link SECOND} plus the digits of its fraction. */
export type TimestampForm = number;

/** A date alone. */
export const DAY = 0;
/** A time exactly at midnight, however fine it is written. */
export const MIDNIGHT = 1;
export const MINUTE = 2;
export const SECOND = 3;
/** All forms there are have smaller numbers. */
export const FORMS = SECOND + MAX_FRACTION_DIGITS + 1;
/** Of what is not known as a timestamp. */
export const UNKNOWN_FORM = 255;

/** The form of an ISO 8601 timestamp; more than 12 digits of a fraction are as 12. */
export function formOf(timestamp: string | null): TimestampForm {
  const parts = timestamp === null ? null : TIME.exec(timestamp);
  if (!parts) return UNKNOWN_FORM;
  const [, time, second, fraction] = parts;
  if (time === undefined) return DAY;
  if (time === '00:00' && !/[1-9]/.test((second ?? '') + (fraction ?? ''))) return MIDNIGHT;
  if (second === undefined) return MINUTE;
  return SECOND + Math.min(fraction?.length ?? 0, MAX_FRACTION_DIGITS);
}

/** What a form is called in evidence. */
export function nameOfForm(form: TimestampForm): string {
  switch (form) {
    case DAY:
      return 'a date without a time';
    case MIDNIGHT:
      return 'exactly midnight';
    case MINUTE:
      return 'to the minute';
    case SECOND:
      return 'to the second';
    default:
      return `with ${form - SECOND} digits after the second`;
  }
}

/** Whether the form says at which time of the day it was: midnight mostly stands for a day of which only the date is known. */
export function hasTimeOfDay(form: TimestampForm): boolean {
  return form >= MINUTE && form !== UNKNOWN_FORM;
}

/** How many times the form can tell within a day; 1 where it tells no time. */
export function timesADay(form: TimestampForm): number {
  if (form === MINUTE) return 1_440;
  return hasTimeOfDay(form) ? 86_400 * 10 ** (form - SECOND) : 1;
}
