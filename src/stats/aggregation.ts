import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Database } from '../platform/database/database.js';
import { noFigures, type Figures } from './figures.rules.js';

interface TallyRow {
  by: 'all' | 'user' | 'day' | 'month' | 'month-user';
  user_id: string | null;
  day: string | null;
  month: string | null;
  orders: number;
  revenue: number;
  failed: number;
  corrected: number;
  last_order_at: number;
  failed_without_user: number;
  failed_without_month: number;
}

/**
 * Figures of a range of the ledger by SQL aggregation: a second way to the same numbers, independent of the fold,
 * which is what makes comparing the two worth anything.
 */
@Injectable()
export class Aggregation {
  constructor(private readonly database: Database) {}

  /**
   * The figures of the entries after `from` up to and including `to`.
   * @param base repairs of failed entries and refunds of orders up to this one take back nothing: the figures do not
   *   cover these
   * @param timeZone in which days and months are cut
   * @throws DatabaseUnavailable
   */
  async figures(from: number, to: number, base: number, timeZone: string): Promise<Figures> {
    const figures = noFigures();
    const tallies = await this.database.query<TallyRow>(sql`
      with entries as (
        select user_id, case when kind = 'refund' then -value_cents else value_cents end as cents, ordered_at, (ordered_at at time zone ${timeZone})::date as day,
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
        coalesce(sum(cents), 0)::bigint as revenue,
        coalesce(sum(failed), 0)::bigint as failed,
        count(*) filter (where counts and corrected) as corrected,
        coalesce(extract(epoch from max(ordered_at) filter (where counts)) * 1000, 0)::bigint as last_order_at,
        coalesce(sum(failed) filter (where user_id is null), 0)::bigint as failed_without_user,
        coalesce(sum(failed) filter (where day is null), 0)::bigint as failed_without_month
      from cut
      group by grouping sets ((), (user_id), (day), (month), (month, user_id))`);
    for (const row of tallies) place(row, figures);

    const products = await this.database.query<{ product_id: string; revenue: number; quantity: number }>(sql`
      select product_id, sum(cents)::bigint as revenue, sum(quantity)::bigint as quantity
      from ledger, unnest(lines)
      where position > ${from} and position <= ${to} and kind = 'order' and outcome <> 'failed'
      group by product_id`);
    for (const { product_id, revenue, quantity } of products) figures.products.set(product_id, { revenue, quantity });
    return figures;
  }
}

function place(row: TallyRow, figures: Figures): void {
  const { orders, revenue, failed } = row;
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
        const users =
          figures.monthUsers.get(row.month) ?? new Map<string, { orders: number; revenue: number; failed: number }>();
        users.set(row.user_id, { orders, revenue, failed });
        figures.monthUsers.set(row.month, users);
      }
  }
}
