import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { EntryPage, entryPage, EntryPageQuery } from '../../ledger/entry-page.dto.js';
import { entryTable } from '../../ledger/entry-table.js';
import { Ledger } from '../../ledger/ledger.repository.js';
import { RequireScope, RequireScopeOrOwner } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { JsonOrCsv } from '../../platform/http/csv.js';
import { DayRangeQuery } from '../../platform/http/day-range.js';
import { BusinessCalendar } from '../../domain/business-time.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { NotFound } from '../../shared/errors.js';
import { cleanId } from '../../domain/ids.js';
import { isoOf } from '../../shared/iso-time.js';
import { averageCents, decimalOfSum } from '../../domain/money.js';
import { LiveStatistics } from './live-statistics.service.js';
import { RangeQueries } from './range-queries.repository.js';
import { type GivenRange, type Range, rangeOfDays } from './ranges.rules.js';
import { ApiStatsUnavailable, MAX_DAYS, UserRankings, UsersQuery, UserStats } from './stats.dto.js';
import { USER_RANKINGS } from './stats.tables.js';

const ON_RANGES =
  `With \`start\` or \`end\` only what was ordered or refunded within at most ${MAX_DAYS} days counts, aggregated from the ledger at the ` +
  `live figures' checkpoint. A missing bound lies ${MAX_DAYS} days from the other. Days are cut in BUSINESS_TIME_ZONE.`;

/** Users: who spends and orders most, and what one of them did. */
@ApiTags('users')
@Controller('users')
export class UsersController {
  private readonly calendar: BusinessCalendar;

  constructor(
    private readonly figures: LiveStatistics,
    private readonly ranges: RangeQueries,
    private readonly ledger: Ledger,
    @Inject(CONFIG) config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
  }

  /** Both rankings. @throws InvalidInput @throws StatsRebuilding @throws RedisUnavailable @throws DatabaseUnavailable */
  @Get()
  @RequireScope('statistics:read')
  @ApiOperation({ summary: 'Who spent most, and who ordered most', description: ON_RANGES })
  @JsonOrCsv(UserRankings, USER_RANKINGS)
  @ApiInvalidInput('limit: must be a whole number from 1 to 1000')
  @ApiStatsUnavailable()
  async rankings(@Query() query: UsersQuery): Promise<UserRankings> {
    const range = this.rangeIn(query);
    const { bySpend, byOrders } = range
      ? await this.ranges.topUsers(range, query.limit)
      : await this.figures.topUsers(query.limit);
    return {
      total_spend_ranking: bySpend.map(({ userId, spend }, index) => ({
        position: index + 1,
        user_id: userId,
        total_spend: decimalOfSum(spend),
      })),
      total_order_count_ranking: byOrders.map(({ userId, orders }, index) => ({
        position: index + 1,
        user_id: userId,
        total_order_count: orders,
      })),
    };
  }

  /** One user's figures. @throws NotFound @throws InvalidInput @throws StatsRebuilding @throws RedisUnavailable @throws DatabaseUnavailable */
  @Get(':user_id/stats')
  @RequireScopeOrOwner('statistics:read', 'user_id')
  @ApiOperation({
    summary: "One user's orders in numbers",
    description: `A user with failed orders only is known. ${ON_RANGES}`,
  })
  @ApiParam({ name: 'user_id', type: String, example: 'U042' })
  @ApiOkResponse({ type: UserStats })
  @ApiInvalidInput('start: must not be after end (2026-01-31)')
  @ApiProblem(404, { not_found: 'No orders of user U042 are known.' })
  @ApiStatsUnavailable()
  async stats(@Param('user_id') given: string, @Query() query: DayRangeQuery): Promise<UserStats> {
    const userId = userIdFrom(given);
    const range = this.rangeIn(query);
    const counts = range ? await this.ranges.user(userId, range) : await this.figures.user(userId);
    if (!counts) throw unknownUser(userId);
    const { orders, revenue, failed, lastOrderAt } = counts;
    return {
      user_id: userId,
      order_count: orders,
      total_spend: decimalOfSum(revenue),
      failed_order_count: failed,
      average_order_value: decimalOfSum(averageCents(revenue, orders)),
      last_order_at: isoOf(lastOrderAt),
    };
  }

  /** One user's ledger entries. @throws NotFound @throws InvalidInput @throws DatabaseUnavailable */
  @Get(':user_id/orders')
  @RequireScopeOrOwner('order-events:read', 'user_id')
  @ApiOperation({
    summary: "One user's ledger entries, newest first",
    description: 'All the ledger has, also from before the statistics were cleared.',
  })
  @ApiParam({ name: 'user_id', type: String, example: 'U042' })
  @JsonOrCsv(EntryPage, entryTable(({ user_id }) => `orders-of-${user_id}`))
  @ApiInvalidInput('cursor: must be a next_cursor of this list')
  @ApiProblem(404, { not_found: 'No orders of user U042 are known.' })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connection refused' })
  async orders(@Param('user_id') given: string, @Query() query: EntryPageQuery): Promise<EntryPage> {
    const userId = userIdFrom(given);
    const page = await entryPage(this.ledger, { userId }, query);
    if (page.items.length === 0 && (await this.ledger.page({ userId }, 1)).entries.length === 0)
      throw unknownUser(userId);
    return page;
  }

  /** The range that was asked for, or null where all time was. */
  private rangeIn({ start, end }: GivenRange): Range | null {
    if (start === undefined && end === undefined) return null;
    const lengths = { most: MAX_DAYS, default: MAX_DAYS };
    return rangeOfDays({ start, end }, lengths, this.calendar.dayOf(Date.now()));
  }
}

function userIdFrom(given: string): string {
  const userId = cleanId(given);
  if (userId === null) throw new NotFound('No user can have this id.');
  return userId;
}

function unknownUser(userId: string): NotFound {
  return new NotFound(`No orders of user ${userId} are known.`);
}
