import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { JsonOrCsv } from '../../platform/http/csv.js';
import { decodeCursor, encodeCursor } from '../../platform/http/cursor.js';
import { DayRangeQuery } from '../../platform/http/day-range.js';
import { BusinessCalendar, daysBetween, monthsBetween } from '../../domain/business-time.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { NotFound } from '../../shared/errors.js';
import { isoOf } from '../../shared/iso-time.js';
import { averageCents, decimalOfSum, wholeNumberOf } from '../../domain/money.js';
import { LiveStatistics, type Counts, type ProductFigures } from './live-statistics.service.js';
import { rangeOfDays, rangeOfMonths } from './ranges.rules.js';
import {
  ApiStatsUnavailable,
  DailyStats,
  DEFAULT_DAYS,
  DEFAULT_MONTHS,
  GlobalStats,
  MonthlyStats,
  MonthPageQuery,
  MonthPath,
  MonthRangeQuery,
  MonthStats,
  MAX_DAYS,
  MAX_MONTHS,
  ProductRankings,
  type ProductSales,
  ProductsQuery,
  TopPath,
  TopUser,
} from './stats.dto.js';
import { DAYS, MONTHS, PRODUCTS, TOP_USERS, USERS_OF_MONTH } from './stats.tables.js';

/** The live statistics over all users. */
@ApiTags('statistics')
@ApiStatsUnavailable()
@RequireScope('statistics:read')
@Controller('stats')
export class StatsController {
  private readonly calendar: BusinessCalendar;

  constructor(
    private readonly figures: LiveStatistics,
    @Inject(CONFIG) config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
  }

  /** Statistics over everything. @throws StatsRebuilding @throws RedisUnavailable */
  @Get('global')
  @ApiOperation({ summary: 'Totals over all orders, and up to which ledger entry they go' })
  @ApiOkResponse({ type: GlobalStats })
  async global(): Promise<GlobalStats> {
    const { orders, revenue, failed, corrected, uniqueUsers, asOf } = await this.figures.global();
    return {
      total_orders: orders,
      total_revenue: decimalOfSum(revenue),
      failed_orders: failed,
      corrected_orders: corrected,
      unique_users: uniqueUsers,
      average_order_value: decimalOfSum(averageCents(revenue, orders)),
      as_of: { position: asOf.position, at: isoOf(asOf.at) },
    };
  }

  /** Who spent most. @throws StatsRebuilding @throws RedisUnavailable */
  @Get('top/:n')
  @ApiOperation({ summary: 'The users who spent most' })
  @JsonOrCsv([TopUser], TOP_USERS)
  @ApiInvalidInput('n: must be a whole number from 1 to 1000')
  async top(@Param() { n }: TopPath): Promise<TopUser[]> {
    const ranked = await this.figures.topBySpend(n);
    return ranked.map(({ userId, spend }) => ({ user_id: userId, total_spend: decimalOfSum(spend) }));
  }

  /** Totals of a range of months. @throws InvalidInput @throws StatsRebuilding @throws RedisUnavailable */
  @Get('monthly')
  @ApiOperation({
    summary: 'Totals month by month',
    description:
      `At most ${MAX_MONTHS} months. Without bounds the last ${DEFAULT_MONTHS} up to the current one; with one bound, ` +
      `the ${DEFAULT_MONTHS} months that start or end there. Months are cut in BUSINESS_TIME_ZONE.`,
  })
  @JsonOrCsv(MonthlyStats, MONTHS)
  @ApiInvalidInput('start: must not be after end (2026-01)')
  async monthly(@Query() query: MonthRangeQuery): Promise<MonthlyStats> {
    const lengths = { most: MAX_MONTHS, default: DEFAULT_MONTHS };
    const { start, end } = rangeOfMonths(query, lengths, this.calendar.monthOf(Date.now()));
    const months = monthsBetween(start, end);
    const counts = await this.figures.months(months);
    return { start, end, months: months.map((month, index) => ({ month, ...totalsOf(counts[index]!) })) };
  }

  /** One month with its users by spend. @throws NotFound @throws InvalidInput @throws StatsRebuilding @throws RedisUnavailable */
  @Get('monthly/:month')
  @ApiOperation({
    summary: 'One month, and its users by spend',
    description:
      'Paged: hand `next_cursor` back as `cursor`. The figures are live, so a user whose spend changes between two pages ' +
      'may be seen twice or missed.',
  })
  @JsonOrCsv(MonthStats, USERS_OF_MONTH)
  @ApiInvalidInput('month: must be a month such as 2026-01, of the years 2000 to 2100')
  @ApiProblem(404, { not_found: 'Nothing was ordered in 2026-01.' })
  async month(@Param() { month }: MonthPath, @Query() { cursor, limit }: MonthPageQuery): Promise<MonthStats> {
    const after = cursor === undefined ? null : decodeCursor(cursor, isPlaceInMonth);
    const page = await this.figures.monthWithUsers(
      month,
      limit + 1,
      after && { revenue: BigInt(after.revenue), userId: after.user_id },
    );
    if (!page) throw new NotFound(`Nothing was ordered in ${month}.`);
    const users = page.users.slice(0, limit);
    const last = page.users.length > limit ? users.at(-1) : undefined;
    return {
      month,
      ...totalsOf(page.total),
      user_stats: users.map(({ userId, orders, revenue, failed }) => ({
        user_id: userId,
        order_count: orders,
        total_spend: decimalOfSum(revenue),
        failed_order_count: failed,
      })),
      next_cursor: last
        ? encodeCursor({ revenue: String(last.revenue), user_id: last.userId } satisfies PlaceInMonth)
        : null,
    };
  }

  /** Totals of a range of days. @throws InvalidInput @throws StatsRebuilding @throws RedisUnavailable */
  @Get('daily')
  @ApiOperation({
    summary: 'Totals day by day',
    description:
      `At most ${MAX_DAYS} days. Without bounds the last ${DEFAULT_DAYS} up to today; with one bound, the ` +
      `${DEFAULT_DAYS} days that start or end there. Days are cut in BUSINESS_TIME_ZONE.`,
  })
  @JsonOrCsv(DailyStats, DAYS)
  @ApiInvalidInput('end: must be a day such as 2026-01-31, of the years 2000 to 2100')
  async daily(@Query() query: DayRangeQuery): Promise<DailyStats> {
    const lengths = { most: MAX_DAYS, default: DEFAULT_DAYS };
    const { start, end } = rangeOfDays(query, lengths, this.calendar.dayOf(Date.now()));
    const days = daysBetween(start, end);
    const counts = await this.figures.days(days);
    return { start, end, days: days.map((day, index) => ({ day, ...totalsOf(counts[index]!) })) };
  }

  /** What was sold best. @throws StatsRebuilding @throws RedisUnavailable */
  @Get('products')
  @ApiOperation({ summary: 'The products with most revenue and those sold most' })
  @JsonOrCsv(ProductRankings, PRODUCTS)
  @ApiInvalidInput('limit: must be a whole number from 1 to 1000')
  async products(@Query() { limit }: ProductsQuery): Promise<ProductRankings> {
    const { byRevenue, byQuantity } = await this.figures.products(limit);
    return { by_revenue: byRevenue.map(salesOf), by_quantity: byQuantity.map(salesOf) };
  }
}

/** Where a page of a month's users ended; revenue is cents, a whole number of any size. */
interface PlaceInMonth {
  revenue: string;
  user_id: string;
}

function isPlaceInMonth(value: Record<string, unknown>): value is Record<string, unknown> & PlaceInMonth {
  const { revenue } = value;
  return (
    typeof revenue === 'string' &&
    /^-?\d{1,30}$/.test(revenue) &&
    typeof value.user_id === 'string' &&
    value.user_id !== ''
  );
}

function totalsOf({ orders, revenue, failed }: Counts): {
  total_orders: number;
  total_revenue: number;
  failed_orders: number;
} {
  return { total_orders: orders, total_revenue: decimalOfSum(revenue), failed_orders: failed };
}

function salesOf({ productId, quantity, revenue }: ProductFigures): ProductSales {
  return { product_id: productId, quantity: wholeNumberOf(quantity), revenue: decimalOfSum(revenue) };
}
