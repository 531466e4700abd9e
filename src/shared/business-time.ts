import { BOUNDS } from './order-event.js';

const DAY_MS = 86_400_000;
/** Above the 36,890 days that an order event may have, so that real traffic never empties a cache. */
const MOST_CACHED_DAYS = 40_000;

/** The offsets of one UTC day: `before` until `changesAt` (ms UTC), `after` from then on. */
interface OffsetsOfDay {
  before: number;
  changesAt: number;
  after: number;
}

/**
 * Cuts days and months in a time zone. Offsets are looked up once a UTC day, with the very instant where they change
 * (which is not always a quarter-hour: St John's changed at 00:01 until 2011); no zone changes twice in a day.
 */
export class BusinessCalendar {
  private readonly clock: Intl.DateTimeFormat;
  private readonly isUtc: boolean;
  private readonly offsets = new Map<number, OffsetsOfDay>();
  private readonly days = new Map<number, string>();

  /** @param timeZone an IANA name such as `Europe/Berlin` @throws RangeError where the runtime doesn't know it */
  constructor(timeZone: string) {
    this.clock = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    this.isUtc = this.clock.resolvedOptions().timeZone === 'UTC';
  }

  /** The day, `YYYY-MM-DD`, that an instant (ms UTC, of the years 1 to 9999) falls on in the time zone. */
  dayOf(msUtc: number): string {
    const dayNumber = Math.floor((msUtc + this.offsetAt(msUtc)) / DAY_MS);
    return remembered(this.days, dayNumber, () => dayText(dayNumber));
  }

  /** The month, `YYYY-MM`, that an instant (ms UTC, of the years 1 to 9999) falls in in the time zone. */
  monthOf(msUtc: number): string {
    return this.dayOf(msUtc).slice(0, 7);
  }

  private offsetAt(msUtc: number): number {
    if (this.isUtc) return 0;
    const utcDay = Math.floor(msUtc / DAY_MS);
    const offsets = remembered(this.offsets, utcDay, () => this.offsetsOf(utcDay));
    return msUtc < offsets.changesAt ? offsets.before : offsets.after;
  }

  private offsetsOf(utcDay: number): OffsetsOfDay {
    let unchanged = utcDay * DAY_MS;
    let changesAt = unchanged + DAY_MS;
    const before = this.lookUpOffset(unchanged);
    const after = this.lookUpOffset(changesAt);
    while (before !== after && changesAt - unchanged > 1) {
      const middle = Math.floor((unchanged + changesAt) / 2);
      if (this.lookUpOffset(middle) === before) unchanged = middle;
      else changesAt = middle;
    }
    return { before, changesAt, after };
  }

  /** How far the zone's clock is ahead of UTC, ms. */
  private lookUpOffset(msUtc: number): number {
    const shown: Record<string, number> = {};
    for (const { type, value } of this.clock.formatToParts(msUtc)) shown[type] = Number(value);
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = shown;
    return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(msUtc / 1000) * 1000;
  }
}

function remembered<T>(cache: Map<number, T>, key: number, compute: () => T): T {
  let value = cache.get(key);
  if (value === undefined) {
    if (cache.size >= MOST_CACHED_DAYS) cache.clear();
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
