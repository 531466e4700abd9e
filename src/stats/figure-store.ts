import { Injectable } from '@nestjs/common';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis, type RedisCommand, type RedisScript } from '../platform/redis/redis.js';
import { evictedKeysIn } from '../platform/redis/server-info.js';
import type { GenerationKeys } from '../platform/redis/redis-keys.js';
import {
  CHECKPOINT_FIELDS,
  checkpointFields,
  checkpointFrom,
  checkpointIn,
  checkpointReads,
  type Checkpoint,
  type CheckpointMark,
} from './checkpoint.js';
import type { Figures, ProductTally, Tally } from './figures.rules.js';

/** What project.lua answers. */
export type ProjectOutcome = 'applied' | 'moved' | 'damaged' | 'too_large';

/** A page of a month's users as month-users.lua answers it. */
export interface MonthPage {
  checkpoint: CheckpointMark | null;
  /** Null where the month has nothing. */
  total: Tally | null;
  users: ({ userId: string } & Tally)[];
}

/** What top-products.lua answers. */
export interface TopProducts {
  checkpoint: CheckpointMark | null;
  byRevenue: ({ productId: string } & ProductTally)[];
  byQuantity: ({ productId: string } & ProductTally)[];
}

const COMMANDS_PER_PIPELINE = 2_000;
const PAIRS_PER_COMMAND = 2_000;
const SECONDS_UNTIL_RETIRED_KEYS_GO = 60;
/** A field of a checkpoint that is none yet: its generation is being filled. */
const BEING_FILLED = 'being_filled';

/** Redis was emptied while figures were being written. */
export class FiguresLost extends Error {
  override readonly name = 'FiguresLost';
  constructor() {
    super('Redis lost figures while they were being written');
  }
}

/** Writes and reads the live figures of one generation in Redis; the Lua scripts are typed here. */
@Injectable()
export class FigureStore {
  private readonly project: RedisScript<ProjectOutcome>;
  private readonly readMonthUsers: RedisScript<string>;
  private readonly readTopProducts: RedisScript<string>;

  constructor(private readonly redis: Redis) {
    this.project = redis.script('project', luaOf('project.lua'));
    this.readMonthUsers = redis.script('monthUsers', luaOf('month-users.lua'));
    this.readTopProducts = redis.script('topProducts', luaOf('top-products.lua'));
  }

  /** @returns null where there is none, or where figures may have been evicted @throws RedisUnavailable */
  async checkpoint(generation: number): Promise<Checkpoint | null> {
    const key = this.redis.keys.generation(generation).checkpoint;
    return checkpointFrom(await this.redis.atomically(checkpointReads(key)));
  }

  /** Whether a generation is there, but some of it may have been evicted since it was begun. @throws RedisUnavailable */
  async mayHaveLost(generation: number): Promise<boolean> {
    const key = this.redis.keys.generation(generation).checkpoint;
    const checkpoint = checkpointIn(await this.redis.guarded((client) => client.hmget(key, ...CHECKPOINT_FIELDS)));
    return checkpoint !== null && checkpoint.evicted !== (await this.evicted());
  }

  /** How many keys Redis has evicted so far; to be asked before figures are begun. @throws RedisUnavailable */
  async evicted(): Promise<number> {
    return evictedKeysIn(await this.redis.guarded((client) => client.info('stats')));
  }

  /** The checkpoint of the latest generation that has one, whoever it belongs to. @throws RedisUnavailable */
  async latest(): Promise<Checkpoint | null> {
    const generations = new Set([...(await this.allKeys())].map((key) => this.redis.keys.generationOf(key) ?? 0));
    for (const generation of [...generations].sort((a, b) => b - a)) {
      const checkpoint = await this.checkpoint(generation);
      if (checkpoint) return checkpoint;
    }
    return null;
  }

  /**
   * Adds figures to a generation and moves its checkpoint from one place to another, or does nothing.
   * @throws RedisUnavailable
   */
  async add(
    figures: Figures,
    from: Checkpoint,
    to: Pick<Checkpoint, 'position' | 'entryHash' | 'at'>,
  ): Promise<ProjectOutcome> {
    const keys = this.redis.keys.generation(from.generation);
    const changed: string[] = [keys.checkpoint];
    const args: (string | number)[] = [
      from.ledgerId,
      from.generation,
      from.foldVersion,
      from.position,
      from.entryHash,
      to.position,
      to.entryHash,
      to.at,
    ];
    for (const change of increments(figures, keys)) {
      changed.push(change.key);
      args.push(change.action, change.pairs.map((part) => `${part}\n`).join(''));
    }
    return this.project(changed, args);
  }

  /**
   * Writes figures as the whole content of a generation that holds nothing yet, its checkpoint last.
   * @throws FiguresLost where Redis was emptied meanwhile @throws RedisUnavailable
   */
  async fill(figures: Figures, checkpoint: Checkpoint): Promise<void> {
    const keys = this.redis.keys.generation(checkpoint.generation);
    // What is written first is gone, too, where Redis is emptied and the connection stays.
    await this.redis.guarded((client) => client.hset(keys.checkpoint, BEING_FILLED, 1));
    let commands: RedisCommand[] = [];
    for (const { key, action, pairs } of increments(figures, keys)) {
      for (let start = 0; start < pairs.length; start += 2 * PAIRS_PER_COMMAND) {
        const part = pairs.slice(start, start + 2 * PAIRS_PER_COMMAND);
        commands.push(action === 'rank' ? ['zadd', key, ...scoresFirst(part)] : ['hset', key, ...part]);
      }
      if (commands.length >= COMMANDS_PER_PIPELINE) {
        await this.redis.pipelined(commands);
        commands = [];
      }
    }
    if (commands.length > 0) await this.redis.pipelined(commands);
    await this.complete(checkpoint);
  }

  /**
   * Sets the checkpoint of a generation that was filled, which makes it readable.
   * @throws FiguresLost where Redis was emptied since that began @throws RedisUnavailable
   */
  async complete(checkpoint: Checkpoint): Promise<void> {
    const key = this.redis.keys.generation(checkpoint.generation).checkpoint;
    const [marksLeft] = await this.redis.atomically([
      ['hdel', key, BEING_FILLED],
      ['hset', key, ...checkpointFields(checkpoint)],
    ]);
    if (marksLeft === 1) return;
    await this.retire(checkpoint.generation);
    throw new FiguresLost();
  }

  /** What figures change in the keys of a generation, whoever made them. */
  changes(figures: Figures, generation: number): Iterable<Change> {
    return increments(figures, this.redis.keys.generation(generation));
  }

  /** Every key that a generation has. @throws RedisUnavailable */
  async keysOf(generation: number): Promise<string[]> {
    return [...(await this.allKeys())].filter((key) => this.redis.keys.generationOf(key) === generation);
  }

  /** Sets the checkpoint of a generation, which makes it readable. @throws RedisUnavailable */
  async begin(checkpoint: Checkpoint): Promise<void> {
    const key = this.redis.keys.generation(checkpoint.generation).checkpoint;
    await this.redis.guarded((client) => client.hset(key, ...checkpointFields(checkpoint)));
  }

  /** Takes a generation out of service at once; its other keys go after a minute. @throws RedisUnavailable */
  async retire(generation: number): Promise<void> {
    await this.redis.guarded((client) => client.del(this.redis.keys.generation(generation).checkpoint));
  }

  /**
   * Tidies up what generations before this one left (crashed builds, another ledger): they are deleted, the one
   * `expiring` goes after a minute, and the one `keeping` stays. Later ones are not touched: another process may have
   * begun one meanwhile.
   * @throws RedisUnavailable
   */
  async sweep(before: number, spared: { keeping?: number; expiring?: number } = {}): Promise<void> {
    const commands: RedisCommand[] = [];
    for (const key of await this.allKeys()) {
      const generation = this.redis.keys.generationOf(key);
      if (generation === null || generation >= before || generation === spared.keeping) continue;
      const expires = generation === spared.expiring;
      commands.push(expires ? ['expire', key, SECONDS_UNTIL_RETIRED_KEYS_GO] : ['unlink', key]);
    }
    for (let start = 0; start < commands.length; start += COMMANDS_PER_PIPELINE) {
      await this.redis.pipelined(commands.slice(start, start + COMMANDS_PER_PIPELINE));
    }
  }

  /** All are found before any is deleted: the model in memory would skip as many as were. */
  private async allKeys(): Promise<Set<string>> {
    const keys = new Set<string>();
    let cursor = '0';
    do {
      const [next, found] = await this.redis.guarded((client) =>
        client.scan(cursor, 'MATCH', this.redis.keys.generationPattern, 'COUNT', 1000),
      );
      cursor = next;
      for (const key of found) keys.add(key);
    } while (cursor !== '0');
    return keys;
  }

  /** A page of a month's users by spend. @param after where the page before ended @throws RedisUnavailable */
  async monthUsers(
    generation: number,
    month: string,
    limit: number,
    after: { revenue: number; userId: string } | null,
  ): Promise<MonthPage> {
    const keys = this.redis.keys.generation(generation);
    const answer = await this.readMonthUsers(
      [keys.checkpoint, keys.month(month), keys.monthUsers(month)],
      [keys.monthUser(month, ''), limit, after?.revenue ?? '', after?.userId ?? ''],
    );
    const { checkpoint, rest } = linesOf(answer);
    const [orders, revenue, failed, ...lines] = rest;
    return {
      checkpoint,
      total: orders ? { orders: Number(orders), revenue: Number(revenue), failed: Number(failed) } : null,
      users: chunks(lines, 4).map(([userId, ...counts]) => ({
        userId: userId!,
        orders: Number(counts[0]),
        revenue: Number(counts[1]),
        failed: Number(counts[2]),
      })),
    };
  }

  /** The products with most revenue and those sold most. @throws RedisUnavailable */
  async topProducts(generation: number, limit: number): Promise<TopProducts> {
    const keys = this.redis.keys.generation(generation);
    const answer = await this.readTopProducts(
      [keys.checkpoint, keys.productsByRevenue, keys.productsByQuantity],
      [limit],
    );
    const { checkpoint, rest } = linesOf(answer);
    const products = chunks(rest.slice(1), 3).map(([productId, revenue, quantity]) => ({
      productId: productId!,
      revenue: Number(revenue),
      quantity: Number(quantity),
    }));
    const countByRevenue = Number(rest[0]);
    return { checkpoint, byRevenue: products.slice(0, countByRevenue), byQuantity: products.slice(countByRevenue) };
  }
}

/** What figures change in one key. */
export interface Change {
  key: string;
  action: 'add' | 'max' | 'rank';
  /** Field or member, then amount, in turn. */
  pairs: string[];
}

/** Where each figure lives. The only place that says so; a generation is filled and added to by the same list. */
function* increments(figures: Figures, keys: GenerationKeys): Generator<Change> {
  const { global } = figures;
  yield {
    key: keys.global,
    action: 'add',
    pairs: [
      ...tallyPairs(global),
      'corrected',
      String(global.corrected),
      'failed_without_user',
      String(global.failedWithoutUser),
      'failed_without_month',
      String(global.failedWithoutMonth),
    ],
  };
  const bySpend: string[] = [];
  const byOrders: string[] = [];
  for (const [userId, user] of figures.users) {
    yield { key: keys.user(userId), action: 'add', pairs: tallyPairs(user) };
    if (user.lastOrderAt > 0) {
      yield { key: keys.user(userId), action: 'max', pairs: ['last_order_at', String(user.lastOrderAt)] };
    }
    // Users with failed orders only are known, but not ranked. Who is given a refund was ranked with the order.
    if (user.orders > 0 || user.revenue !== 0) bySpend.push(userId, String(user.revenue));
    if (user.orders > 0) byOrders.push(userId, String(user.orders));
  }
  if (bySpend.length > 0) yield { key: keys.usersBySpend, action: 'rank', pairs: bySpend };
  if (byOrders.length > 0) yield { key: keys.usersByOrders, action: 'rank', pairs: byOrders };
  for (const [month, tally] of figures.months)
    yield { key: keys.month(month), action: 'add', pairs: tallyPairs(tally) };
  for (const [day, tally] of figures.days) yield { key: keys.day(day), action: 'add', pairs: tallyPairs(tally) };
  for (const [month, users] of figures.monthUsers) {
    const ranked: string[] = [];
    for (const [userId, tally] of users) {
      yield { key: keys.monthUser(month, userId), action: 'add', pairs: tallyPairs(tally) };
      ranked.push(userId, String(tally.revenue));
    }
    yield { key: keys.monthUsers(month), action: 'rank', pairs: ranked };
  }
  if (figures.products.size > 0) {
    const products = [...figures.products];
    yield {
      key: keys.productsByRevenue,
      action: 'rank',
      pairs: products.flatMap(([id, sold]) => [id, String(sold.revenue)]),
    };
    yield {
      key: keys.productsByQuantity,
      action: 'rank',
      pairs: products.flatMap(([id, sold]) => [id, String(sold.quantity)]),
    };
  }
}

function tallyPairs(tally: Tally): string[] {
  return ['orders', String(tally.orders), 'revenue', String(tally.revenue), 'failed', String(tally.failed)];
}

function scoresFirst(pairs: string[]): string[] {
  const swapped: string[] = [];
  for (let i = 0; i < pairs.length; i += 2) swapped.push(pairs[i + 1]!, pairs[i]!);
  return swapped;
}

function luaOf(name: string): string {
  return readFileSync(join(__dirname, name), 'utf8');
}

/** The checkpoint that the scripts put before their answer, as {@link checkpointFrom} reads it, and the lines after it. */
function linesOf(answer: string): { checkpoint: CheckpointMark | null; rest: string[] } {
  const [ledgerId, generation, foldVersion, position, at, evicted, evictedSoFar, ...rest] = answer.split('\n');
  const complete = evicted !== '' && evicted === evictedSoFar;
  const checkpoint =
    ledgerId && complete
      ? {
          ledgerId,
          generation: Number(generation),
          foldVersion: foldVersion!,
          position: Number(position),
          at: Number(at),
          evicted: Number(evicted),
        }
      : null;
  return { checkpoint, rest };
}

function chunks(lines: string[], size: number): string[][] {
  return Array.from({ length: Math.floor(lines.length / size) }, (_, i) => lines.slice(i * size, (i + 1) * size));
}
