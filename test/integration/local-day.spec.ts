import { sql } from 'drizzle-orm';
import fc from 'fast-check';
import { Logger } from '@nestjs/common';
import { type Database } from '../../src/platform/database/database.js';
import { localDay } from '../../src/platform/database/local-day.js';
import { BusinessCalendar } from '../../src/domain/business-time.js';
import { aDatabase, type OwnPart } from '../support/stores.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let own: OwnPart<Database>;
beforeAll(async () => {
  Logger.overrideLogger(false);
  own = await aDatabase();
});
afterAll(() => own.destroy());

/** A calendar of rules that no table of time zones has. */
function inventedCalendar(): BusinessCalendar {
  const calendar = new BusinessCalendar('UTC');
  const offsets = [
    { since: -Infinity, offset: -9.5 * HOUR_MS },
    { since: Date.UTC(2031, 4, 5, 6, 7, 8, 9), offset: 13.75 * HOUR_MS },
    { since: Date.UTC(2077, 10, 11), offset: 0 },
  ];
  return Object.assign(calendar, { offsets });
}

async function daysInDatabase(calendar: BusinessCalendar, instants: number[]): Promise<string[]> {
  const rows = await own.part.query<{ day: string }>(
    sql`select to_char(${localDay(sql`to_timestamp(ms::double precision / 1000)`, calendar)}, 'YYYY-MM-DD') as day
        from unnest(${`{${instants.join(',')}}`}::bigint[]) with ordinality as given (ms, i) order by i`,
  );
  return rows.map(({ day }) => day);
}

describe('the database cuts days as the calendar does', () => {
  it.each([
    ['whatever its own time zones say', inventedCalendar()],
    ...['UTC', 'America/Vancouver', 'Africa/Casablanca', 'America/St_Johns', 'Pacific/Apia'].map(
      (zone): [string, BusinessCalendar] => [zone, new BusinessCalendar(zone)],
    ),
  ])('%s', async (_name, calendar) => {
    const atChanges = calendar.offsets.flatMap(({ since }) =>
      since === -Infinity ? [] : [-DAY_MS, -1, 0, 1, DAY_MS].map((shift) => since + shift),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: Date.UTC(2000), max: Date.UTC(2100, 11, 31, 23) }), { minLength: 200 }),
        async (instants) => {
          const some = [...instants, ...atChanges];
          expect(await daysInDatabase(calendar, some)).toEqual(some.map((instant) => calendar.dayOf(instant)));
        },
      ),
      { numRuns: 10 },
    );
  });

  it('says nothing of no time', async () => {
    const [row] = await own.part.query(sql`select ${localDay(sql`null::timestamptz`, inventedCalendar())} as day`);
    expect(row).toEqual({ day: null });
  });
});
