import { Inject, Injectable, Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Ledger } from '../../ledger/ledger.repository.js';
import { Database } from '../../platform/database/database.js';
import { localDay } from '../../platform/database/local-day.js';
import { isStatementTimeout } from '../../platform/database/sql-state.js';
import { BusinessCalendar } from '../../domain/business-time.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { addStatistics, emptyStatistics, type Statistics, type Tally } from '../projection/statistics.rules.js';

/** Of the bodies of one page, which are as large as the lines that are aggregated. */
const MAX_PAGE_BYTES = 8 * 1024 * 1024;

interface TallyRow {
  by: 'all' | 'user' | 'day' | 'month' | 'month-user';
  user_id: string | null;
  day: string | null;
  month: string | null;
  orders: number;
  /** Cents as text: a sum has no bound. */
  revenue: string;
  failed: number;
  corrected: number;
  last_order_at: number;
  failed_without_user: number;
  failed_without_month: number;
}

/**
 * Statistics of a range of the ledger by SQL aggregation: a second way to the same numbers, independent of the fold,
 * which is what makes comparing the two worth anything.
 */
@Injectable()
export class Aggregation {
  private readonly logger = new Logger('Aggregation');
  private readonly calendar: BusinessCalendar;

  constructor(
    private readonly database: Database,
    private readonly ledger: Ledger,
    @Inject(CONFIG) config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
  }

  /**
   * The same as {@link figures} page by page: at most `limit` entries each, and fewer where they are large.
   * @returns of each page its figures, and the entry that it goes up to
   * @throws DatabaseUnavailable
   */
  async *pages(
    from: number,
    to: number,
    base: number,
    limit: number,
  ): AsyncGenerator<{ figures: Statistics; position: number }> {
    for (let after = from; after < to;) {
      const end = await this.ledger.pageEnd(after, limit, MAX_PAGE_BYTES);
      // Where the ledger was put back meanwhile there is nothing after it.
      const position = end.more ? Math.min(end.position, to) : to;
      yield { figures: await this.figures(after, position, base), position };
      after = position;
    }
  }

  /**
   * The figures of the entries after `from` up to and including `to`.
   * @param base repairs of failed entries and refunds of orders up to this one take back nothing: the figures do not
   *   cover these
   * @throws DatabaseUnavailable
   */
  async figures(from: number, to: number, base: number): Promise<Statistics> {
    try {
      return await this.aggregated(from, to, base);
    } catch (error) {
      if (!isStatementTimeout(error) || to - from < 2) throw error;
      this.logger.warn(`Aggregating ${to - from} ledger entries took too long; they are aggregated in two halves`);
      const middle = Math.floor((from + to) / 2);
      const figures = await this.figures(from, middle, base);
      addStatistics(figures, await this.figures(middle, to, base));
      return figures;
    }
  }

  private async aggregated(from: number, to: number, base: number): Promise<Statistics> {
    const figures = emptyStatistics();
    const tallies = await this.database.query<TallyRow>(sql`
      with entries as (
        select user_id, case when kind = 'refund' then -value_cents else value_cents end as cents, ordered_at,
          ${localDay(sql`ordered_at`, this.calendar)} as day,
          kind = 'order' and outcome <> 'failed' as counts, outcome = 'corrected' as corrected,
          case when kind = 'repair' then -1 when outcome = 'failed' then 1 else 0 end as failed
        from ledger
        where position > ${from} and position <= ${to} and (ref_position is null or ref_position > ${base} or outcome = 'failed')
      ), cut as (
        select *, date_trunc('month', day)::date as month from entries
      )
      select
        case grouping(user_id, day, month) when 7 then 'all' when 3 then 'user' when 5 then 'day' when 6 then 'month'
          else 'month-user' end as by,
        user_id, to_char(day, 'YYYY-MM-DD') as day, to_char(month, 'YYYY-MM') as month,
        count(*) filter (where counts) as orders,
        coalesce(sum(cents), 0) as revenue,
        coalesce(sum(failed), 0)::bigint as failed,
        count(*) filter (where counts and corrected) as corrected,
        coalesce(extract(epoch from max(ordered_at) filter (where counts)) * 1000, 0)::bigint as last_order_at,
        coalesce(sum(failed) filter (where user_id is null), 0)::bigint as failed_without_user,
        coalesce(sum(failed) filter (where day is null), 0)::bigint as failed_without_month
      from cut
      group by grouping sets ((), (user_id), (day), (month), (month, user_id))`);
    for (const row of tallies) place(row, figures);

    const products = await this.database.query<{ product_id: string; revenue: string; quantity: string }>(sql`
      select product_id, sum(cents) as revenue, sum(quantity)::numeric as quantity
      from ledger, unnest(lines)
      where position > ${from} and position <= ${to} and kind = 'order' and outcome <> 'failed'
      group by product_id`);
    for (const { product_id, revenue, quantity } of products) {
      figures.products.set(product_id, { revenue: BigInt(revenue), quantity: BigInt(quantity) });
    }
    return figures;
  }
}

function place(row: TallyRow, figures: Statistics): void {
  const { orders, failed } = row;
  const revenue = BigInt(row.revenue);
  switch (row.by) {
    case 'all':
      figures.global = {
        orders,
        revenue,
        failed,
        corrected: row.corrected,
        failedWithoutUser: row.failed_without_user,
        failedWithoutMonth: row.failed_without_month,
      };
      break;
    case 'user':
      if (row.user_id !== null)
        figures.users.set(row.user_id, { orders, revenue, failed, lastOrderAt: row.last_order_at });
      break;
    case 'day':
      if (row.day !== null) figures.days.set(row.day, { orders, revenue, failed });
      break;
    case 'month':
      if (row.month !== null) figures.months.set(row.month, { orders, revenue, failed });
      break;
    case 'month-user':
      if (row.month !== null && row.user_id !== null) {
        const users = figures.monthUsers.get(row.month) ?? new Map<string, Tally>();
        users.set(row.user_id, { orders, revenue, failed });
        figures.monthUsers.set(row.month, users);
      }
  }
}
