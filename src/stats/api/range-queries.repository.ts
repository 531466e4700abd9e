import { Inject, Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { Database } from '../../platform/database/database.js';
import { localDay } from '../../platform/database/local-day.js';
import { BusinessCalendar } from '../../domain/business-time.js';
import { CONFIG, type Config } from '../../shared/config.js';
import type { CentsSum } from '../../domain/money.js';
import type { RankedUser } from './live-statistics.service.js';
import { ProjectionStateRepository } from '../projection/projection-state.repository.js';
import { Projector, StatsRebuilding } from '../projection/projector.worker.js';
import type { Range } from './ranges.rules.js';

/** Which entries the live figures cover: those after `base` up to and including `position`. */
interface Coverage {
  base: number;
  position: number;
}

/** Counts of a user within a range of days. */
export interface UserInRange {
  orders: number;
  revenue: CentsSum;
  failed: number;
  /** ms UTC; null without a counted order. */
  lastOrderAt: number | null;
}

/**
 * Statistics of any range of days, aggregated from the ledger. They cover exactly the entries that the live figures
 * cover, so that both agree. Any method throws StatsRebuilding where there are no complete figures, and
 * DatabaseUnavailable.
 */
@Injectable()
export class RangeQueries {
  private readonly calendar: BusinessCalendar;

  constructor(
    private readonly database: Database,
    private readonly projector: Projector,
    private readonly authority: ProjectionStateRepository,
    @Inject(CONFIG) config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
  }

  /**
   * The users who spent most in a range, and those with most orders in it; highest first. Who only was given refunds in it
   * spent less than nothing, and is last by spend.
   */
  async topUsers(range: Range, limit: number): Promise<{ bySpend: RankedUser[]; byOrders: RankedUser[] }> {
    const rows = await this.database.query<{
      ranking: 'spend' | 'orders';
      id: string;
      spend: string;
      orders: number;
    }>(sql`
      with totals as materialized (
        select user_id collate "C" as id, sum(${SIGNED_CENTS}) as spend,
          count(*) filter (where kind = 'order') as orders
        from ledger
        where kind in ('order', 'refund') and outcome <> 'failed' and ${covered(await this.coverage())} and ${this.within(range)}
        group by 1
      )
      (select 'spend' as ranking, * from totals order by spend desc, id desc limit ${limit})
      union all
      (select 'orders', * from totals where orders > 0 order by orders desc, id desc limit ${limit})`);
    // A union promises no order; that of equals is the one in which Redis has them.
    const ranked = (ranking: string, compare: (one: RankedUser, other: RankedUser) => number): RankedUser[] =>
      rows
        .filter((row) => row.ranking === ranking)
        .map(({ id, orders, spend }) => ({ userId: id, orders, spend: BigInt(spend) }))
        .sort((one, other) => compare(one, other) || (one.userId < other.userId ? 1 : -1));
    return {
      bySpend: ranked('spend', (one, other) => (one.spend < other.spend ? 1 : one.spend > other.spend ? -1 : 0)),
      byOrders: ranked('orders', (one, other) => other.orders - one.orders),
    };
  }

  /** Counts of one user in a range, zeros where there is nothing in it; null where the user is unknown. */
  async user(userId: string, range: Range): Promise<UserInRange | null> {
    const coverage = await this.coverage();
    const entriesOfUser = sql`user_id = ${userId} and ${covered(coverage)}`;
    const [row] = await this.database.query<Omit<UserInRange, 'revenue'> & { known: boolean; revenue: string }>(sql`
      select exists (select from ledger where ${entriesOfUser}) as known,
        count(*) filter (where kind = 'order' and outcome <> 'failed') as orders,
        coalesce(sum(${SIGNED_CENTS}), 0) as revenue,
        (count(*) filter (where outcome = 'failed') - count(*) filter (where kind = 'repair')) as failed,
        max(ordered_at) filter (where kind = 'order' and outcome <> 'failed') as "lastOrderAt"
      from ledger where ${entriesOfUser} and ${this.within(range)}`);
    const { known, orders, revenue, failed, lastOrderAt } = row!;
    return known ? { orders, revenue: BigInt(revenue), failed, lastOrderAt } : null;
  }

  /** Asks once more where the figures were cleared or replaced between the two questions. */
  private async coverage(): Promise<Coverage> {
    for (const attempt of ['first', 'second']) {
      const { generation, position } = this.projector.served();
      const authority = await this.authority.read();
      if (authority.generation === generation) return { base: authority.base, position };
      if (attempt === 'second' || !(await this.projector.refresh())) break;
    }
    throw new StatsRebuilding(null);
  }

  /**
   * The condition on a range. The two bounds let the index on ordered_at find it: no zone is more than a day from UTC. The
   * cut itself is the one of the live figures.
   */
  private within({ start, end }: Range): SQL {
    const midnight = (day: SQL): SQL => sql`(${day})::timestamp at time zone 'UTC'`;
    return sql`ordered_at >= ${midnight(sql`${start}::date - 1`)} and ordered_at < ${midnight(sql`${end}::date + 2`)}
      and ${localDay(sql`ordered_at`, this.calendar)} between ${start}::date and ${end}::date`;
  }
}

/** What an entry that counts adds to the revenue. */
const SIGNED_CENTS = sql`case when kind = 'refund' then -value_cents else value_cents end`;

function covered({ base, position }: Coverage): SQL {
  // Neither a repair nor a refund takes anything back of what is not covered.
  return sql`position > ${base} and position <= ${position} and (ref_position is null or ref_position > ${base} or outcome = 'failed')`;
}
