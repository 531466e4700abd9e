import { Injectable } from '@nestjs/common';
import { Redis, type RedisCommand } from '../platform/redis/redis.js';
import type { GenerationKeys } from '../platform/redis/redis-keys.js';
import { cents, type Cents } from '../shared/money.js';
import type { Checkpoint, CheckpointMark } from './checkpoint.js';
import { FigureStore } from './figure-store.js';
import { GatheredReads } from './gathered-reads.js';
import { Projector, StatsRebuilding } from './projector.js';

/** How often figures are read at most until they are of the generation in service. */
const MOST_ATTEMPTS = 5;

/** Up to which ledger entry figures go, and when they came this far (ms UTC). */
export type AsOf = Pick<Checkpoint, 'position' | 'at'>;

/** Counts of a user, month or day. */
export interface Counts {
  orders: number;
  revenue: Cents;
  failed: number;
}

/** Counts over everything. */
export interface GlobalCounts extends Counts {
  corrected: number;
  /** Users with at least one counted order. */
  uniqueUsers: number;
}

/** One place of a ranking. */
export interface Ranked {
  id: string;
  score: number;
}

/**
 * Reads the live figures. Every answer is of one moment: its parts are read in one transaction together with the
 * checkpoint they belong to, and that checkpoint must be of the generation in service. Any method throws
 * StatsRebuilding where there are no complete figures, and RedisUnavailable where Redis is down.
 */
@Injectable()
export class LiveFigures {
  constructor(
    private readonly redis: Redis,
    private readonly projector: Projector,
    private readonly store: FigureStore,
    private readonly reads: GatheredReads,
  ) {}

  /** Figures over everything, and how far they go. */
  async global(): Promise<GlobalCounts & { asOf: AsOf }> {
    return this.read(
      (keys) => [
        ['hgetall', keys.global],
        ['zcard', keys.usersBySpend],
      ],
      ([hash, uniqueUsers]: [StoredHash, number], asOf) => ({
        ...countsFrom(hash),
        corrected: amountFrom(hash.corrected),
        uniqueUsers,
        asOf,
      }),
    );
  }

  /** @returns null where the user is unknown; `lastOrderAt` is ms UTC, null without a counted order */
  async user(userId: string): Promise<(Counts & { lastOrderAt: number | null }) | null> {
    return this.read(
      (keys) => [['hgetall', keys.user(userId)]],
      ([hash]: [StoredHash]) => {
        if (isEmpty(hash)) return null;
        return { ...countsFrom(hash), lastOrderAt: hash.last_order_at ? amountFrom(hash.last_order_at) : null };
      },
    );
  }

  /** The users who spent most, score in cents, and those with most orders; highest first. */
  async topUsers(limit: number): Promise<{ bySpend: Ranked[]; byOrders: Ranked[] }> {
    return this.read(
      (keys) => [
        ['zrevrange', keys.usersBySpend, 0, limit - 1, 'WITHSCORES'],
        ['zrevrange', keys.usersByOrders, 0, limit - 1, 'WITHSCORES'],
      ],
      ([bySpend, byOrders]: [string[], string[]]) => ({
        bySpend: rankedFrom(bySpend),
        byOrders: rankedFrom(byOrders),
      }),
    );
  }

  /** The users who spent most, score in cents, highest first. */
  async topBySpend(limit: number): Promise<Ranked[]> {
    return this.read(
      (keys) => [['zrevrange', keys.usersBySpend, 0, limit - 1, 'WITHSCORES']],
      ([bySpend]: [string[]]) => rankedFrom(bySpend),
    );
  }

  /** Counts of months in the order given; those without orders are zeros. */
  async months(months: string[]): Promise<Counts[]> {
    return this.read(
      (keys) => months.map((month) => ['hgetall', keys.month(month)]),
      (hashes: StoredHash[]) => hashes.map(countsFrom),
    );
  }

  /** Counts of days in the order given; those without orders are zeros. */
  async days(days: string[]): Promise<Counts[]> {
    return this.read(
      (keys) => days.map((day) => ['hgetall', keys.day(day)]),
      (hashes: StoredHash[]) => hashes.map(countsFrom),
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
    after: { revenue: number; userId: string } | null,
  ): Promise<{ total: Counts; users: ({ userId: string } & Counts)[] } | null> {
    const withCents = <T extends { revenue: number }>(counts: T): T & { revenue: Cents } => ({
      ...counts,
      revenue: centsFrom(counts.revenue),
    });
    return this.accepted(
      (generation) => this.store.monthUsers(generation, month, limit, after),
      ({ total, users }) => total && { total: withCents(total), users: users.map(withCents) },
    );
  }

  /** The products with most revenue (cents) and those sold most (pieces), highest first, with both figures each. */
  async products(limit: number): Promise<{ byRevenue: ProductFigures[]; byQuantity: ProductFigures[] }> {
    const withCents = (products: { productId: string; revenue: number; quantity: number }[]): ProductFigures[] =>
      products.map((product) => ({ ...product, revenue: centsFrom(product.revenue) }));
    return this.accepted(
      (generation) => this.store.topProducts(generation, limit),
      ({ byRevenue, byQuantity }) => ({ byRevenue: withCents(byRevenue), byQuantity: withCents(byQuantity) }),
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
      if (attempt === MOST_ATTEMPTS || !(await this.projector.refresh())) break;
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
  quantity: number;
  revenue: Cents;
}

type StoredHash = Record<string, string>;

function isEmpty(hash: StoredHash): boolean {
  return Object.keys(hash).length === 0;
}

function countsFrom(hash: StoredHash): Counts {
  return {
    orders: amountFrom(hash.orders),
    revenue: centsFrom(amountFrom(hash.revenue)),
    failed: amountFrom(hash.failed),
  };
}

/** @throws DamagedFigure */
function amountFrom(stored = '0'): number {
  const amount = Number(stored);
  if (!Number.isSafeInteger(amount)) throw new DamagedFigure(`${stored} is no figure`);
  return amount;
}

/** @throws DamagedFigure */
function centsFrom(amount: number): Cents {
  return cents(amountFrom(String(amount)));
}

function rankedFrom(withScores: string[]): Ranked[] {
  const ranked: Ranked[] = [];
  for (let i = 0; i < withScores.length; i += 2)
    ranked.push({ id: withScores[i]!, score: amountFrom(withScores[i + 1]) });
  return ranked;
}
