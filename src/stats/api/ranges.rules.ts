import { addDays, addMonths } from '../../domain/business-time.js';
import { InvalidInput } from '../../shared/errors.js';
import { BOUNDS } from '../../domain/order-event.js';

/** The bounds of a range that a caller named; both inclusive. */
export interface GivenRange {
  start?: string;
  end?: string;
}

/** A range with both bounds, inclusive. */
export type Range = Required<GivenRange>;

/** How long a range may be and how long it is where the caller leaves it open; in its own units. */
export interface RangeLengths {
  most: number;
  default: number;
}

interface Unit {
  name: string;
  add(start: string, count: number): string;
  first: string;
  last: string;
}

const DAYS: Unit = { name: 'days', add: addDays, first: `${BOUNDS.firstYear}-01-01`, last: `${BOUNDS.lastYear}-12-31` };
const MONTHS: Unit = { name: 'months', add: addMonths, first: `${BOUNDS.firstYear}-01`, last: `${BOUNDS.lastYear}-12` };

/**
 * Settles a range of days: without bounds it ends with `today`, and a missing bound lies the default length from the
 * other one. @throws InvalidInput
 */
export function rangeOfDays(given: GivenRange, lengths: RangeLengths, today: string): Range {
  return settle(given, lengths, today, DAYS);
}

/** The same for months. @throws InvalidInput */
export function rangeOfMonths(given: GivenRange, lengths: RangeLengths, currentMonth: string): Range {
  return settle(given, lengths, currentMonth, MONTHS);
}

function settle(given: GivenRange, lengths: RangeLengths, current: string, unit: Unit): Range {
  const reach = lengths.default - 1;
  const end = given.end ?? (given.start === undefined ? current : earlier(unit.add(given.start, reach), unit.last));
  const start = given.start ?? later(unit.add(end, -reach), unit.first);
  if (start > end) throw new InvalidInput([{ field: 'start', message: `must not be after end (${end})` }]);
  if (unit.add(start, lengths.most) <= end) {
    const message = `must be less than ${lengths.most} ${unit.name} after start (${start}): a range has at most ${lengths.most}`;
    throw new InvalidInput([{ field: 'end', message }]);
  }
  return { start, end };
}

function earlier(one: string, other: string): string {
  return one < other ? one : other;
}

function later(one: string, other: string): string {
  return one > other ? one : other;
}
