import { Injectable } from '@nestjs/common';
import { Redis, type RedisCommand } from '../../platform/redis/redis.js';
import type { GenerationKeys } from '../../platform/redis/redis-keys.js';
import type { CentsSum } from '../../domain/money.js';
import type { Checkpoint, CheckpointMark } from '../projection/checkpoint.js';
import { StatisticsRepository, type RankedPage, type StoredFields } from '../projection/statistics.repository.js';
import { GatheredReads } from './gathered-reads.js';
import { Projector, StatsRebuilding } from '../projection/projector.worker.js';

/** How often figures are read at most until they are of the generation in service. */
const MAX_ATTEMPTS = 5;

/** Up to which ledger entry figures go, and when they came this far (ms UTC). */
export type AsOf = Pick<Checkpoint, 'position' | 'at'>;

/** Counts of a user, month or day. */
export interface Counts {
  orders: number;
  revenue: CentsSum;
  failed: number;
}

/** Counts over everything. */
export interface GlobalCounts extends Counts {
  corrected: number;
  /** Users with at least one counted order. */
  uniqueUsers: number;
}

/** A user in a ranking. */
export interface RankedUser {
  userId: string;
  orders: number;
  spend: CentsSum;
}

/**
 * Reads the live figures. Every answer is of one moment: its parts are read in one transaction together with the
 * checkpoint they belong to, and that checkpoint must be of the generation in service. Any method throws
 * StatsRebuilding where there are no complete figures, and RedisUnavailable where Redis is down.
 */
@Injectable()
export class LiveStatistics {
  constructor(
    private readonly redis: Redis,
    private readonly projector: Projector,
    private readonly store: StatisticsRepository,
    private readonly reads: GatheredReads,
  ) {}

  /** Statistics over everything, and how far they go. */
  async global(): Promise<GlobalCounts & { asOf: AsOf }> {
    return this.read(
      (keys) => [
        ['hgetall', keys.global],
        ['zcard', keys.usersBySpend],
      ],
      ([hash, uniqueUsers]: [StoredFields, number], asOf) => ({
        ...countsFrom(hash),
        corrected: countFrom(hash.corrected),
        uniqueUsers,
        asOf,
      }),
    );
  }

  /** @returns null where the user is unknown; `lastOrderAt` is ms UTC, null without a counted order */
  async user(userId: string): Promise<(Counts & { lastOrderAt: number | null }) | null> {
    return this.read(
      (keys) => [['hgetall', keys.user(userId)]],
      ([hash]: [StoredFields]) => {
        if (isEmpty(hash)) return null;
        return { ...countsFrom(hash), lastOrderAt: hash.last_order_at ? countFrom(hash.last_order_at) : null };
      },
    );
  }

  /** The users who spent most, and those with most orders; highest first. */
  async topUsers(limit: number): Promise<{ bySpend: RankedUser[]; byOrders: RankedUser[] }> {
    const [bySpend, byOrders] = await this.rankedUsers(limit, ['spend', 'orders']);
    return { bySpend: bySpend!, byOrders: byOrders! };
  }

  /** The users who spent most, highest first. */
  async topBySpend(limit: number): Promise<RankedUser[]> {
    const [bySpend] = await this.rankedUsers(limit, ['spend']);
    return bySpend!;
  }

  private rankedUsers(limit: number, by: ('spend' | 'orders')[]): Promise<RankedUser[][]> {
    return this.accepted(
      (generation) => this.store.topUsers(generation, limit, by),
      ({ rankings }: RankedPage) =>
        rankings.map((members) =>
          members.map(({ id, figures }) => ({
            userId: id,
            orders: countFrom(figures.orders),
            spend: sumFrom(figures.revenue),
          })),
        ),
    );
  }

  /** Counts of months in the order given; those without orders are zeros. */
  async months(months: string[]): Promise<Counts[]> {
    return this.read(
      (keys) => months.map((month) => ['hgetall', keys.month(month)]),
      (hashes: StoredFields[]) => hashes.map(countsFrom),
    );
  }

  /** Counts of days in the order given; those without orders are zeros. */
  async days(days: string[]): Promise<Counts[]> {
    return this.read(
      (keys) => days.map((day) => ['hgetall', keys.day(day)]),
      (hashes: StoredFields[]) => hashes.map(countsFrom),
    );
  }

  /**
   * A month's counts and a page of its users by spend, highest first.
   * @param after the user the page before ended with, and the spend (cents) seen there
   * @returns null where the month has nothing
   */
  async monthWithUsers(
    month: string,
    limit: number,
    after: { revenue: CentsSum; userId: string } | null,
  ): Promise<{ total: Counts; users: ({ userId: string } & Counts)[] } | null> {
    return this.accepted(
      (generation) => this.store.monthUsers(generation, month, limit, after),
      ({ total, users }) =>
        isEmpty(total)
          ? null
          : {
              total: countsFrom(total),
              users: users.map(({ id, figures }) => ({ userId: id, ...countsFrom(figures) })),
            },
    );
  }

  /** The products with most revenue and those sold most, highest first, with both figures each. */
  async products(limit: number): Promise<{ byRevenue: ProductFigures[]; byQuantity: ProductFigures[] }> {
    return this.accepted(
      (generation) => this.store.topProducts(generation, limit),
      ({ rankings }) => {
        const [byRevenue, byQuantity] = rankings.map((members) =>
          members.map(({ id, figures }) => ({
            productId: id,
            quantity: sumFrom(figures.quantity),
            revenue: sumFrom(figures.revenue),
          })),
        );
        return { byRevenue: byRevenue!, byQuantity: byQuantity! };
      },
    );
  }

  /** Runs reads of the generation in service as one transaction with its checkpoint. */
  private read<Replies extends unknown[], Answer>(
    commands: (keys: GenerationKeys) => RedisCommand[],
    answer: (replies: Replies, asOf: AsOf) => Answer,
  ): Promise<Answer> {
    return this.accepted(
      async (generation) => {
        const { checkpoint, replies } = await this.reads.read(
          generation,
          commands(this.redis.keys.generation(generation)),
        );
        return { checkpoint, replies: replies as Replies };
      },
      ({ checkpoint, replies }) => answer(replies, checkpoint!),
    );
  }

  /**
   * Reads again where another generation has come into service meanwhile, a few times: rebuilds may follow each other. Where a key holds what no fold wrote,
   * the figures are mended.
   */
  private async accepted<Found extends { checkpoint: CheckpointMark | null }, Answer>(
    read: (generation: number) => Promise<Found>,
    answer: (found: Found) => Answer,
  ): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      const served = this.projector.served();
      try {
        const found = await read(served.generation);
        if (this.projector.accepts(found.checkpoint, served.position)) return answer(found);
      } catch (error) {
        if (!isDamage(error)) throw error;
        this.projector.mend(served.generation);
        break;
      }
      if (attempt === MAX_ATTEMPTS || !(await this.projector.refresh())) break;
    }
    throw new StatsRebuilding(null);
  }
}

/** What is stored is no figure. */
class DamagedFigure extends Error {}

function isDamage(error: unknown): boolean {
  return error instanceof DamagedFigure || (error instanceof Error && error.name === 'ReplyError');
}

/** What was sold of a product. */
export interface ProductFigures {
  productId: string;
  quantity: bigint;
  revenue: CentsSum;
}

function isEmpty(hash: StoredFields): boolean {
  return Object.keys(hash).length === 0;
}

function countsFrom(hash: StoredFields): Counts {
  return { orders: countFrom(hash.orders), revenue: sumFrom(hash.revenue), failed: countFrom(hash.failed) };
}

/** @throws DamagedFigure */
function countFrom(stored = '0'): number {
  const count = Number(stored);
  if (!Number.isSafeInteger(count)) throw new DamagedFigure(`${stored} is no figure`);
  return count;
}

/** @throws DamagedFigure */
function sumFrom(stored = '0'): bigint {
  if (!/^-?\d+$/.test(stored)) throw new DamagedFigure(`${stored} is no figure`);
  return BigInt(stored);
}
