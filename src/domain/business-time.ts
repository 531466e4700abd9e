import { createHash } from 'node:crypto';
import { BOUNDS } from './order-event.js';

const DAY_MS = 86_400_000;
/** Above the 36,890 days that an order event may have, so that real traffic never empties a cache. */
const MAX_CACHED_DAYS = 40_000;
/** No zone changes its clocks twice within so long: since 2000 the shortest time was a week (Boa Vista, October 2000). */
const SCAN_STEP_MS = 3 * DAY_MS;
const FIRST_MS = Date.UTC(BOUNDS.firstYear - 1, 11, 30);
const LAST_MS = Date.UTC(BOUNDS.lastYear + 1, 0, 3);

/** How far a zone's clock is ahead of UTC from an instant on, both in ms; the first period has no beginning. */
export interface OffsetPeriod {
  since: number;
  offset: number;
}

const offsetsByZone = new Map<string, readonly OffsetPeriod[]>();

/**
 * Cuts days and months in a time zone, by the rules that this runtime knows for the years 2000 to 2100. Whatever else cuts
 * days of the same entries has to do it by {@link offsets}, too: the zone tables of others differ.
 */
export class BusinessCalendar {
  readonly offsets: readonly OffsetPeriod[];
  /** Differs where the time zone or any of its rules does. */
  readonly version: string;
  private readonly days = new Map<number, string>();

  /** @param timeZone an IANA name such as `Europe/Berlin` @throws RangeError where the runtime doesn't know it */
  constructor(timeZone: string) {
    this.offsets = remembered(offsetsByZone, timeZone, () => offsetsOf(timeZone));
    const rules = createHash('sha256').update(JSON.stringify(this.offsets)).digest('hex').slice(0, 8);
    this.version = `${timeZone}/${rules}`;
  }

  /** The day, `YYYY-MM-DD`, that an instant (ms UTC) falls on in the time zone. */
  dayOf(msUtc: number): string {
    const dayNumber = Math.floor((msUtc + this.offsetAt(msUtc)) / DAY_MS);
    return remembered(this.days, dayNumber, () => dayText(dayNumber));
  }

  /** The month, `YYYY-MM`, that an instant (ms UTC) falls in in the time zone. */
  monthOf(msUtc: number): string {
    return this.dayOf(msUtc).slice(0, 7);
  }

  /** The instant (ms UTC) at which a day, `YYYY-MM-DD`, begins; where it was skipped, the one after it. */
  beginOf(day: string): number {
    const midnight = dayNumberOf(day) * DAY_MS;
    // Where a clock jumps over midnight the day begins with the jump.
    const candidates = this.offsets.flatMap(({ since, offset }) => [midnight - offset, since]);
    return Math.min(...candidates.filter((at) => Number.isFinite(at) && this.dayOf(at) >= day));
  }

  private offsetAt(msUtc: number): number {
    let [from, to] = [0, this.offsets.length - 1];
    while (from < to) {
      const middle = Math.ceil((from + to) / 2);
      if (this.offsets[middle]!.since <= msUtc) from = middle;
      else to = middle - 1;
    }
    return this.offsets[from]!.offset;
  }
}

/** @throws RangeError */
function offsetsOf(timeZone: string): OffsetPeriod[] {
  const clock = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
  const periods = [{ since: -Infinity, offset: offsetBy(clock, FIRST_MS) }];
  for (let unchanged = FIRST_MS; unchanged < LAST_MS; unchanged += SCAN_STEP_MS) {
    const { offset: before } = periods.at(-1)!;
    const after = offsetBy(clock, unchanged + SCAN_STEP_MS);
    if (after !== before) periods.push({ since: changeAfter(clock, unchanged, before), offset: after });
  }
  return periods;
}

/** The instant, to the ms, at which the offset is another one for the first time. */
function changeAfter(clock: Intl.DateTimeFormat, unchanged: number, before: number): number {
  let changed = unchanged + SCAN_STEP_MS;
  while (changed - unchanged > 1) {
    const middle = Math.floor((unchanged + changed) / 2);
    if (offsetBy(clock, middle) === before) unchanged = middle;
    else changed = middle;
  }
  return changed;
}

/** Reads `GMT`, `GMT+01:00` or `GMT-00:44:30`. */
function offsetBy(clock: Intl.DateTimeFormat, msUtc: number): number {
  const [, sign, hours, minutes, seconds = '0'] = /GMT([+-])(\d+):(\d+)(?::(\d+))?/.exec(clock.format(msUtc)) ?? [];
  if (sign === undefined) return 0;
  const size = Number(hours) * 3_600_000 + Number(minutes) * 60_000 + Number(seconds) * 1000;
  return sign === '-' ? -size : size;
}

function remembered<Key, T>(cache: Map<Key, T>, key: Key, compute: () => T): T {
  let value = cache.get(key);
  if (value === undefined) {
    if (cache.size >= MAX_CACHED_DAYS) cache.clear();
    value = compute();
    cache.set(key, value);
  }
  return value;
}

/** Whether a text is a day, `YYYY-MM-DD`, that the calendar has, in the years 2000 to 2100. */
export function isDay(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text) && isMonth(text.slice(0, 7)) && dayText(dayNumberOf(text)) === text;
}

/** Whether a text is a month, `YYYY-MM`, in the years 2000 to 2100. */
export function isMonth(text: string): boolean {
  if (!/^\d{4}-(0[1-9]|1[0-2])$/.test(text)) return false;
  const year = Number(text.slice(0, 4));
  return year >= BOUNDS.firstYear && year <= BOUNDS.lastYear;
}

/** The day so many days after (or, where negative, before) a day, `YYYY-MM-DD`. */
export function addDays(day: string, days: number): string {
  return dayText(dayNumberOf(day) + days);
}

/** The month so many months after (or, where negative, before) a month, `YYYY-MM`. */
export function addMonths(month: string, months: number): string {
  return monthText(monthNumberOf(month) + months);
}

/** All days from `start` to `end`, both inclusive; none where `end` is before `start`. */
export function daysBetween(start: string, end: string): string[] {
  return range(dayNumberOf(start), dayNumberOf(end)).map(dayText);
}

/** All months from `start` to `end`, both inclusive; none where `end` is before `start`. */
export function monthsBetween(start: string, end: string): string[] {
  return range(monthNumberOf(start), monthNumberOf(end)).map(monthText);
}

function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}

/** Days since 1970-01-01. */
function dayNumberOf(day: string): number {
  const [year = 0, month = 0, dayOfMonth = 0] = day.split('-').map(Number);
  return Date.UTC(year, month - 1, dayOfMonth) / DAY_MS;
}

function dayText(dayNumber: number): string {
  return new Date(dayNumber * DAY_MS).toISOString().slice(0, 10);
}

/** Months since the year 0. */
function monthNumberOf(month: string): number {
  const [year = 0, monthOfYear = 0] = month.split('-').map(Number);
  return year * 12 + monthOfYear - 1;
}

function monthText(monthNumber: number): string {
  const year = Math.floor(monthNumber / 12);
  return `${String(year).padStart(4, '0')}-${String(monthNumber - year * 12 + 1).padStart(2, '0')}`;
}
