import { Injectable } from '@nestjs/common';
import { Redis, type RedisCommand } from '../platform/redis/redis.js';
import type { GenerationKeys } from '../platform/redis/redis-keys.js';
import { cents, type Cents } from '../shared/money.js';
import { CHECKPOINT_FIELDS, checkpointFrom, type Checkpoint } from './checkpoint.js';
import { FigureStore } from './figure-store.js';
import { Projector, StatsRebuilding } from './projector.js';

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
  ) {}

  /** Figures over everything, and how far they go. */
  async global(): Promise<GlobalCounts & { asOf: AsOf }> {
    const [asOf, hash, uniqueUsers] = await this.read<[StoredHash, number]>((keys) => [
      ['hgetall', keys.global],
      ['zcard', keys.usersBySpend],
    ]);
    return { ...countsFrom(hash), corrected: Number(hash.corrected ?? 0), uniqueUsers, asOf };
  }

  /** @returns null where the user is unknown; `lastOrderAt` is ms UTC, null without a counted order */
  async user(userId: string): Promise<(Counts & { lastOrderAt: number | null }) | null> {
    const [, hash] = await this.read<[StoredHash]>((keys) => [['hgetall', keys.user(userId)]]);
    if (isEmpty(hash)) return null;
    return { ...countsFrom(hash), lastOrderAt: hash.last_order_at ? Number(hash.last_order_at) : null };
  }

  /** The users who spent most, score in cents, and those with most orders; highest first. */
  async topUsers(limit: number): Promise<{ bySpend: Ranked[]; byOrders: Ranked[] }> {
    const [, bySpend, byOrders] = await this.read<[string[], string[]]>((keys) => [
      ['zrevrange', keys.usersBySpend, 0, limit - 1, 'WITHSCORES'],
      ['zrevrange', keys.usersByOrders, 0, limit - 1, 'WITHSCORES'],
    ]);
    return { bySpend: rankedFrom(bySpend), byOrders: rankedFrom(byOrders) };
  }

  /** The users who spent most, score in cents, highest first. */
  async topBySpend(limit: number): Promise<Ranked[]> {
    const [, bySpend] = await this.read<[string[]]>((keys) => [
      ['zrevrange', keys.usersBySpend, 0, limit - 1, 'WITHSCORES'],
    ]);
    return rankedFrom(bySpend);
  }

  /** Counts of months in the order given; those without orders are zeros. */
  async months(months: string[]): Promise<Counts[]> {
    const [, ...hashes] = await this.read<StoredHash[]>((keys) =>
      months.map((month) => ['hgetall', keys.month(month)]),
    );
    return hashes.map(countsFrom);
  }

  /** Counts of days in the order given; those without orders are zeros. */
  async days(days: string[]): Promise<Counts[]> {
    const [, ...hashes] = await this.read<StoredHash[]>((keys) => days.map((day) => ['hgetall', keys.day(day)]));
    return hashes.map(countsFrom);
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
    const page = await this.accepted((generation) => this.store.monthUsers(generation, month, limit, after));
    if (!page.total) return null;
    const withCents = <T extends { revenue: number }>(counts: T): T & { revenue: Cents } => ({
      ...counts,
      revenue: cents(counts.revenue),
    });
    return { total: withCents(page.total), users: page.users.map(withCents) };
  }

  /** The products with most revenue (cents) and those sold most (pieces), highest first, with both figures each. */
  async products(limit: number): Promise<{ byRevenue: ProductFigures[]; byQuantity: ProductFigures[] }> {
    const found = await this.accepted((generation) => this.store.topProducts(generation, limit));
    const withCents = (products: { productId: string; revenue: number; quantity: number }[]): ProductFigures[] =>
      products.map((product) => ({ ...product, revenue: cents(product.revenue) }));
    return { byRevenue: withCents(found.byRevenue), byQuantity: withCents(found.byQuantity) };
  }

  /** Runs reads of the generation in service as one transaction with its checkpoint. */
  private async read<Replies extends unknown[]>(
    commands: (keys: GenerationKeys) => RedisCommand[],
  ): Promise<[AsOf, ...Replies]> {
    const { checkpoint, replies } = await this.accepted(async (generation) => {
      const keys = this.redis.keys.generation(generation);
      const [fields, ...replies] = await this.redis.atomically([
        ['hmget', keys.checkpoint, ...CHECKPOINT_FIELDS],
        ...commands(keys),
      ]);
      return { checkpoint: checkpointFrom(fields as (string | null)[]), replies };
    });
    return [checkpoint!, ...(replies as Replies)];
  }

  /** Reads again once where another generation has come into service meanwhile. */
  private async accepted<T extends { checkpoint: Omit<Checkpoint, 'entryHash'> | null }>(
    read: (generation: number) => Promise<T>,
  ): Promise<T> {
    for (const attempt of ['first', 'second']) {
      const served = this.projector.served();
      const figures = await read(served.generation);
      if (this.projector.accepts(figures.checkpoint, served.position)) return figures;
      if (attempt === 'second' || !(await this.projector.refresh())) break;
    }
    throw new StatsRebuilding(null);
  }
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
    orders: Number(hash.orders ?? 0),
    revenue: cents(Number(hash.revenue ?? 0)),
    failed: Number(hash.failed ?? 0),
  };
}

function rankedFrom(withScores: string[]): Ranked[] {
  const ranked: Ranked[] = [];
  for (let i = 0; i < withScores.length; i += 2) ranked.push({ id: withScores[i]!, score: Number(withScores[i + 1]) });
  return ranked;
}
