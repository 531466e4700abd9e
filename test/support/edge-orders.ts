import { sql } from 'drizzle-orm';
import type { Database } from '../../src/platform/database/database.js';
import { anOrderEvent, type SentOrderEvent } from './order-events.js';
import type { SeededRandom } from './seeded-random.js';

/** An order at a moment where a bucket of figures ends and another begins. */
export interface EdgeOrder {
  /** ms UTC */
  at: number;
  event: SentOrderEvent;
  cents: number;
}

/** Moments (ms UTC) at which PostgreSQL says that a day, a month, a year or an offset begins in a time zone. */
export async function edgesOf(database: Database, timeZone: string, years: number[]): Promise<number[]> {
  const rows = await database.query<{ at: number }>(sql`
    with changes as (
      select at from unnest(${sql.raw(`array[${years.join(',')}]`)}) year,
        generate_series(make_timestamptz(year, 1, 1, 0, 0, 0, 'UTC'), make_timestamptz(year + 1, 1, 1, 0, 0, 0, 'UTC'),
          interval '30 minutes') at
      where at at time zone ${timeZone} - (at - interval '30 minutes') at time zone ${timeZone} <> interval '30 minutes'
    ), midnights as (
      select make_date(year, month, 1)::timestamp as local from unnest(${sql.raw(`array[${years.join(',')}]`)}) year,
        unnest(array[1, 2, 3, 4, 7, 11, 12]) month
      union select date_trunc('day', at at time zone ${timeZone}) + days from changes,
        unnest(array[interval '0', interval '1 day']) days
      union values ('2024-02-29'::timestamp), ('2024-03-01'), ('2000-02-29'), ('2000-03-01')
    )
    select distinct (extract(epoch from at) * 1000)::float8 as at
    from (select at from changes union select local at time zone ${timeZone} from midnights) edges
    order by at`);
  return rows.map(({ at }) => at);
}

/** Orders just before, at and after moments, and somewhere around them, each worth something else, in any notation. */
export function ordersAround(edges: number[], random: SeededRandom, near: number): EdgeOrder[] {
  const shifts = [-1, 0, 1];
  const orders = edges.flatMap((edge) => [
    ...shifts.map((shift) => edge + shift),
    ...Array.from({ length: near }, () => edge + random.between(-3_600_000, 3_600_000)),
  ]);
  return random.shuffled(orders).map((at, index) => {
    const cents = 100 + index;
    const event = anOrderEvent({
      user_id: `U${index % 7}`,
      order_timestamp: written(at, random),
      order_value: cents / 100,
      items: [{ product_id: 'P1', quantity: 1, price_per_unit: cents / 100 }],
    });
    return { at, event, cents };
  });
}

/** A moment in one of the notations that senders use. */
function written(at: number, random: SeededRandom): string {
  const offset = random.oneOf([0, 0, 60, -300, 330, -210, 630, 840, -720, 345, 525]);
  const [day, time] = new Date(at + offset * 60_000).toISOString().slice(0, -1).split('T') as [string, string];
  const [hours, minutes] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60];
  const two = (number: number): string => String(number).padStart(2, '0');
  const sign = offset < 0 ? '-' : '+';
  const zones = [`${sign}${two(hours)}:${two(minutes)}`, `${sign}${two(hours)}${two(minutes)}`];
  if (minutes === 0) zones.push(`${sign}${two(hours)}`);
  if (offset === 0) zones.push('Z', 'z', '', '-00:00');
  return `${day}${random.oneOf(['T', 't', ' '])}${random.happens(0.3) ? time.replace('.', ',') : time}${random.oneOf(zones)}`;
}
