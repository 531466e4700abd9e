import { applyDecorators } from '@nestjs/common';
import { ApiProperty } from '@nestjs/swagger';
import { ApiProblem } from '../../platform/http/api-problem.js';
import { DayRangeQuery } from '../../platform/http/day-range.js';
import { PathInteger, PathMonth, QueryCursor, QueryInteger, QueryMonth } from '../../platform/http/validation.js';

/** The longest ranges that may be asked for. */
export const MAX_DAYS = 366;
export const MAX_MONTHS = 120;

/** How long ranges are where the caller leaves them open. */
export const DEFAULT_DAYS = 30;
export const DEFAULT_MONTHS = 12;

const DEFAULT_USERS = 10;
const DEFAULT_USERS_OF_MONTH = 100;
const DEFAULT_PRODUCTS = 10;
const MAX_PLACES = 1_000;

/**
 * Documents how a route answers while there are no statistics.
 * @param more what else may keep it from answering: an example of `detail` for each code
 */
export function ApiStatsUnavailable(more: Record<string, string> = {}): MethodDecorator & ClassDecorator {
  return applyDecorators(
    ApiProblem(503, {
      stats_rebuilding:
        'The statistics are being rebuilt from the ledger: 20000 of 100000 entries. (`progress` has the same: {done, total}.)',
      redis_unavailable: 'Redis: connection refused',
      ledger_unavailable: 'PostgreSQL: connection refused',
      ...more,
    }),
  );
}

/** A range of months within which statistics are asked for. */
export class MonthRangeQuery {
  @QueryMonth({ description: 'First month, inclusive', example: '2025-02' })
  start?: string;

  @QueryMonth({ description: 'Last month, inclusive', example: '2026-01' })
  end?: string;
}

/** What `GET /users` may be asked for. */
export class UsersQuery extends DayRangeQuery {
  @QueryInteger(1, MAX_PLACES, { description: 'How many places each ranking has', default: DEFAULT_USERS })
  limit = DEFAULT_USERS;
}

/** How many users `GET /stats/top/{n}` names. */
export class TopPath {
  @PathInteger(1, MAX_PLACES, { example: 3 })
  n!: number;
}

/** The month of `GET /stats/monthly/{month}`. */
export class MonthPath {
  @PathMonth({ example: '2026-01' })
  month!: string;
}

/** Which page of a month's users is wanted. */
export class MonthPageQuery {
  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_PLACES, { default: DEFAULT_USERS_OF_MONTH })
  limit = DEFAULT_USERS_OF_MONTH;
}

/** What `GET /stats/products` may be asked for. */
export class ProductsQuery {
  @QueryInteger(1, MAX_PLACES, { description: 'How many products each list has', default: DEFAULT_PRODUCTS })
  limit = DEFAULT_PRODUCTS;
}

/** A place in the ranking by spend. */
export class SpendPlace {
  @ApiProperty({ type: 'integer', example: 1 })
  position!: number;

  @ApiProperty({ example: 'U042' })
  user_id!: string;

  @ApiProperty({ example: 1834.5 })
  total_spend!: number;
}

/** A place in the ranking by number of orders. */
export class OrderCountPlace {
  @ApiProperty({ type: 'integer', example: 1 })
  position!: number;

  @ApiProperty({ example: 'U017' })
  user_id!: string;

  @ApiProperty({ type: 'integer', example: 23 })
  total_order_count!: number;
}

/** Who spent most and who ordered most. */
export class UserRankings {
  @ApiProperty({ type: [SpendPlace] })
  total_spend_ranking!: SpendPlace[];

  @ApiProperty({ type: [OrderCountPlace] })
  total_order_count_ranking!: OrderCountPlace[];
}

/** Statistics of one user. */
export class UserStats {
  @ApiProperty({ example: 'U042' })
  user_id!: string;

  @ApiProperty({ type: 'integer', description: 'Accepted and corrected orders', example: 12 })
  order_count!: number;

  @ApiProperty({ description: 'Less what was refunded', example: 1834.5 })
  total_spend!: number;

  @ApiProperty({ type: 'integer', description: 'Refunds of their orders that failed among them', example: 1 })
  failed_order_count!: number;

  @ApiProperty({ description: 'Rounded half up to the cent; 0 without orders', example: 152.88 })
  average_order_value!: number;

  @ApiProperty({
    type: String,
    format: 'date-time',
    nullable: true,
    description: 'The latest time of an order that counts; null without one',
    example: '2026-01-31T12:00:00.000Z',
  })
  last_order_at!: string | null;
}

/** How far statistics go. */
export class AsOfJson {
  @ApiProperty({ type: 'integer', description: 'The last ledger entry they cover', example: 1088 })
  position!: number;

  @ApiProperty({ format: 'date-time', description: 'When they came this far', example: '2026-01-31T12:00:01.250Z' })
  at!: string;
}

/** Statistics over everything. */
export class GlobalStats {
  @ApiProperty({ type: 'integer', description: 'Accepted and corrected orders', example: 1043 })
  total_orders!: number;

  @ApiProperty({ description: 'Less what was refunded', example: 183450.25 })
  total_revenue!: number;

  @ApiProperty({ type: 'integer', description: 'Failed entries, refunds among them', example: 45 })
  failed_orders!: number;

  @ApiProperty({ type: 'integer', description: 'Orders that count with another value than claimed', example: 7 })
  corrected_orders!: number;

  @ApiProperty({ type: 'integer', description: 'Users with at least one order that counts', example: 312 })
  unique_users!: number;

  @ApiProperty({ description: 'Rounded half up to the cent; 0 without orders', example: 175.89 })
  average_order_value!: number;

  @ApiProperty({ type: AsOfJson })
  as_of!: AsOfJson;
}

/** A user and what they spent. */
export class TopUser {
  @ApiProperty({ example: 'U042' })
  user_id!: string;

  @ApiProperty({ example: 1834.5 })
  total_spend!: number;
}

/** Totals of a month. */
export class MonthTotals {
  @ApiProperty({ example: '2026-01' })
  month!: string;

  @ApiProperty({ type: 'integer', example: 240 })
  total_orders!: number;

  @ApiProperty({ description: 'Less what was refunded in the month, whenever it was ordered', example: 42110.75 })
  total_revenue!: number;

  @ApiProperty({ type: 'integer', example: 9 })
  failed_orders!: number;
}

/** Totals month by month. */
export class MonthlyStats {
  @ApiProperty({ example: '2025-02' })
  start!: string;

  @ApiProperty({ example: '2026-01' })
  end!: string;

  @ApiProperty({ type: [MonthTotals], description: 'Every month from start to end, those without orders as zeros' })
  months!: MonthTotals[];
}

/** What a user did in a month. */
export class UserOfMonth {
  @ApiProperty({ example: 'U042' })
  user_id!: string;

  @ApiProperty({ type: 'integer', example: 3 })
  order_count!: number;

  @ApiProperty({ description: 'Less what was refunded in the month; may be below 0', example: 412.97 })
  total_spend!: number;

  @ApiProperty({ type: 'integer', example: 0 })
  failed_order_count!: number;
}

/** One month and a page of its users. */
export class MonthStats extends MonthTotals {
  @ApiProperty({ type: [UserOfMonth], description: 'Who spent most comes first' })
  user_stats!: UserOfMonth[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** Totals of a day. */
export class DayTotals {
  @ApiProperty({ example: '2026-01-31' })
  day!: string;

  @ApiProperty({ type: 'integer', example: 8 })
  total_orders!: number;

  @ApiProperty({ description: 'Less what was refunded on the day, whenever it was ordered', example: 1403.2 })
  total_revenue!: number;

  @ApiProperty({ type: 'integer', example: 0 })
  failed_orders!: number;
}

/** Totals day by day. */
export class DailyStats {
  @ApiProperty({ example: '2026-01-02' })
  start!: string;

  @ApiProperty({ example: '2026-01-31' })
  end!: string;

  @ApiProperty({ type: [DayTotals], description: 'Every day from start to end, those without orders as zeros' })
  days!: DayTotals[];
}

/** What was sold of a product. */
export class ProductSales {
  @ApiProperty({ example: 'P001' })
  product_id!: string;

  @ApiProperty({ type: 'integer', example: 480 })
  quantity!: number;

  @ApiProperty({ description: 'As ordered: a refund names no products', example: 6235.2 })
  revenue!: number;
}

/** The products sold best. */
export class ProductRankings {
  @ApiProperty({ type: [ProductSales], description: 'Most revenue first' })
  by_revenue!: ProductSales[];

  @ApiProperty({ type: [ProductSales], description: 'Most pieces first' })
  by_quantity!: ProductSales[];
}

/** That the statistics begin anew. */
export class Cleared {
  @ApiProperty({ example: 'Redis database cleared' })
  message!: string;
}
