import { sql, type SQL } from 'drizzle-orm';
import type { BusinessCalendar } from '../../domain/business-time.js';

/**
 * The day (a `date`) that a `timestamptz` falls on by a calendar. PostgreSQL has time zones of its own, which differ from
 * this runtime's where either is newer: statistics that were folded here and aggregated there would never agree.
 */
export function localDay(timestamp: SQL, { offsets }: BusinessCalendar): SQL {
  const since = offsets.map((period) =>
    period.since === -Infinity ? '-infinity' : new Date(period.since).toISOString(),
  );
  const seconds = offsets.map(({ offset }) => `${offset / 1000} seconds`);
  const period = sql`width_bucket(${timestamp}, ${arrayOf(since)}::timestamptz[])`;
  return sql`((${timestamp} at time zone 'UTC') + (${arrayOf(seconds)}::interval[])[${period}])::date`;
}

function arrayOf(texts: string[]): string {
  return `{${texts.join(',')}}`;
}
