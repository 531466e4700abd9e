import { Injectable } from '@nestjs/common';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis, type RedisCommand, type RedisScript } from '../../platform/redis/redis.js';
import { evictedKeysIn } from '../../platform/redis/server-info.js';
import type { GenerationKeys } from '../../platform/redis/redis-keys.js';
import {
  CHECKPOINT_FIELDS,
  checkpointFields,
  checkpointFrom,
  checkpointIn,
  checkpointReads,
  type Checkpoint,
  type CheckpointMark,
} from './checkpoint.js';
import type { CentsSum } from '../../domain/money.js';
import type { Statistics, Tally } from './statistics.rules.js';

/** What project.lua answers. */
export type ProjectOutcome = 'applied' | 'moved' | 'damaged';

/** A hash as it is stored; figures are whole numbers of any size as text. */
export type StoredFields = Record<string, string>;

/** A member of a ranking and its figures; those that are not there are left out. */
export interface StoredMember {
  id: string;
  figures: StoredFields;
}

/** A page of a month's users as month-users.lua answers it. */
export interface MonthPage {
  checkpoint: CheckpointMark | null;
  /** Empty where the month has nothing. */
  total: StoredFields;
  users: StoredMember[];
}

/** What rankings.lua answers. */
export interface RankedPage {
  checkpoint: CheckpointMark | null;
  /** In the order in which they were asked for, each highest first. */
  rankings: StoredMember[][];
}

const COMMANDS_PER_PIPELINE = 2_000;
const PAIRS_PER_COMMAND = 2_000;
/** Redis serves nobody else for 10 to 20 ms while it takes so many. */
const PAIRS_PER_PIPELINE = 10_000;
const SECONDS_UNTIL_RETIRED_KEYS_GO = 60;
/** A field of a checkpoint that is none yet: its generation is being filled. */
const BEING_FILLED = 'being_filled';

/** Redis was emptied while figures were being written. */
export class StatisticsLost extends Error {
  override readonly name = 'StatisticsLost';
  constructor() {
    super('Redis lost figures while they were being written');
  }
}

/** Writes and reads the live figures of one generation in Redis; the Lua scripts are typed here. */
@Injectable()
export class StatisticsRepository {
  private readonly project: RedisScript<ProjectOutcome>;
  private readonly readMonthUsers: RedisScript<string>;
  private readonly readRankings: RedisScript<string>;

  constructor(private readonly redis: Redis) {
    this.project = redis.script('project', luaOf('project.lua'));
    this.readMonthUsers = redis.script('monthUsers', luaOf('answer-lines.lua') + luaOf('month-users.lua'));
    this.readRankings = redis.script('rankings', luaOf('answer-lines.lua') + luaOf('rankings.lua'));
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
    figures: Statistics,
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
    const numbers = new Map<string, number>();
    for (const change of increments(figures, keys)) {
      const number = changed.push(change.key);
      if (change.action === 'add') numbers.set(change.key, number);
      args.push(change.action, linesOf(change, numbers));
    }
    return this.project(changed, args);
  }

  /**
   * Writes figures as the whole content of a generation that holds nothing yet, its checkpoint last.
   * @throws StatisticsLost where Redis was emptied meanwhile @throws RedisUnavailable
   */
  async fill(figures: Statistics, checkpoint: Checkpoint): Promise<void> {
    const keys = this.redis.keys.generation(checkpoint.generation);
    // What is written first is gone, too, where Redis is emptied and the connection stays.
    await this.redis.guarded((client) => client.hset(keys.checkpoint, BEING_FILLED, 1));
    let commands: RedisCommand[] = [];
    let queued = 0;
    for (const { key, action, pairs } of increments(figures, keys)) {
      for (let start = 0; start < pairs.length; start += 2 * PAIRS_PER_COMMAND) {
        const part = pairs.slice(start, start + 2 * PAIRS_PER_COMMAND);
        commands.push(action === 'rank' ? ['zadd', key, ...scoresFirst(part)] : ['hset', key, ...part]);
        queued += part.length / 2;
        if (queued >= PAIRS_PER_PIPELINE) {
          await this.redis.pipelined(commands);
          [commands, queued] = [[], 0];
        }
      }
    }
    if (commands.length > 0) await this.redis.pipelined(commands);
    await this.complete(checkpoint);
  }

  /**
   * Sets the checkpoint of a generation that was filled, which makes it readable.
   * @throws StatisticsLost where Redis was emptied since that began @throws RedisUnavailable
   */
  async complete(checkpoint: Checkpoint): Promise<void> {
    const key = this.redis.keys.generation(checkpoint.generation).checkpoint;
    const [marksLeft] = await this.redis.atomically([
      ['hdel', key, BEING_FILLED],
      ['hset', key, ...checkpointFields(checkpoint)],
    ]);
    if (marksLeft === 1) return;
    await this.retire(checkpoint.generation);
    throw new StatisticsLost();
  }

  /** What figures change in the keys of a generation, whoever made them. */
  changes(figures: Statistics, generation: number): Iterable<Change> {
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

  /**
   * A page of a month's users by spend.
   * @param after the user with whom the page before ended, and the spend (cents) seen there
   * @throws RedisUnavailable
   */
  async monthUsers(
    generation: number,
    month: string,
    limit: number,
    after: { revenue: CentsSum; userId: string } | null,
  ): Promise<MonthPage> {
    const keys = this.redis.keys.generation(generation);
    const answer = await this.readMonthUsers(
      [keys.checkpoint, keys.month(month), keys.monthUsers(month)],
      [keys.monthUser(month, ''), limit, after ? String(after.revenue) : '', after?.userId ?? ''],
    );
    const lines = new AnswerLines(answer);
    const checkpoint = lines.checkpoint();
    const total = lines.hash(COUNTS);
    const users: StoredMember[] = [];
    while (!lines.atEnd) users.push({ id: lines.next(), figures: lines.hash(COUNTS) });
    return { checkpoint, total, users };
  }

  /** The users who spent most, or have most orders, each with both. @throws RedisUnavailable */
  topUsers(generation: number, limit: number, by: ('spend' | 'orders')[]): Promise<RankedPage> {
    const keys = this.redis.keys.generation(generation);
    const rankings = by.map((figure) => (figure === 'spend' ? keys.usersBySpend : keys.usersByOrders));
    const figures = { orders: [keys.user(''), 'orders'], revenue: [keys.user(''), 'revenue'] };
    return this.rankings(keys, rankings, limit, figures);
  }

  /** The products with most revenue, and those sold most, each with both. @throws RedisUnavailable */
  topProducts(generation: number, limit: number): Promise<RankedPage> {
    const keys = this.redis.keys.generation(generation);
    const rankings = [keys.productsByRevenue, keys.productsByQuantity];
    const figures = { revenue: [keys.productRevenue, ''], quantity: [keys.productQuantity, ''] };
    return this.rankings(keys, rankings, limit, figures);
  }

  /** @param figures of each its name, and where it is found as rankings.lua takes it */
  private async rankings(
    keys: GenerationKeys,
    rankings: string[],
    limit: number,
    figures: Record<string, string[]>,
  ): Promise<RankedPage> {
    const args = [limit, ...Object.values(figures).flat()];
    const lines = new AnswerLines(await this.readRankings([keys.checkpoint, ...rankings], args));
    const fields = Object.keys(figures);
    const checkpoint = lines.checkpoint();
    const members = (): StoredMember[] =>
      Array.from({ length: Number(lines.next()) }, () => ({ id: lines.next(), figures: lines.hash(fields) }));
    return { checkpoint, rankings: rankings.map(members) };
  }
}

/** What figures change in one key. */
export type Change = {
  key: string;
  /** Field or member, then amount, in turn. Amounts are whole numbers of any size. */
  pairs: string[];
} & (
  | { action: 'add' | 'max' }
  /** The score of a member is a field of a hash that is changed before. */
  | { action: 'rank'; scoreOf: (member: string) => { key: string; field: string } }
);

/** Where each figure lives. The only place that says so; a generation is filled and added to by the same list. */
function* increments(figures: Statistics, keys: GenerationKeys): Generator<Change> {
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
    if (user.orders > 0 || user.revenue !== 0n) bySpend.push(userId, String(user.revenue));
    if (user.orders > 0) byOrders.push(userId, String(user.orders));
  }
  if (bySpend.length > 0) yield rankUsers(keys.usersBySpend, (id) => keys.user(id), 'revenue', bySpend);
  if (byOrders.length > 0) yield rankUsers(keys.usersByOrders, (id) => keys.user(id), 'orders', byOrders);
  for (const [month, tally] of figures.months)
    yield { key: keys.month(month), action: 'add', pairs: tallyPairs(tally) };
  for (const [day, tally] of figures.days) yield { key: keys.day(day), action: 'add', pairs: tallyPairs(tally) };
  for (const [month, usersOfMonth] of figures.monthUsers) {
    const ranked: string[] = [];
    for (const [userId, tally] of usersOfMonth) {
      yield { key: keys.monthUser(month, userId), action: 'add', pairs: tallyPairs(tally) };
      ranked.push(userId, String(tally.revenue));
    }
    yield rankUsers(keys.monthUsers(month), (id) => keys.monthUser(month, id), 'revenue', ranked);
  }
  if (figures.products.size === 0) return;
  const revenue: string[] = [];
  const quantity: string[] = [];
  for (const [id, sold] of figures.products) {
    revenue.push(id, String(sold.revenue));
    quantity.push(id, String(sold.quantity));
  }
  yield { key: keys.productRevenue, action: 'add', pairs: revenue };
  yield { key: keys.productQuantity, action: 'add', pairs: quantity };
  yield rankProducts(keys.productsByRevenue, keys.productRevenue, revenue);
  yield rankProducts(keys.productsByQuantity, keys.productQuantity, quantity);
}

function rankUsers(key: string, hashOf: (userId: string) => string, field: string, pairs: string[]): Change {
  return { key, action: 'rank', pairs, scoreOf: (userId) => ({ key: hashOf(userId), field }) };
}

function rankProducts(key: string, hash: string, pairs: string[]): Change {
  return { key, action: 'rank', pairs, scoreOf: (productId) => ({ key: hash, field: productId }) };
}

/** The figures of a change as project.lua takes them. @param numbers of the keys so far */
function linesOf(change: Change, numbers: Map<string, number>): string {
  let lines = '';
  for (let i = 0; i < change.pairs.length; i += 2) {
    const name = change.pairs[i]!;
    lines += `${name}\n${change.action === 'rank' ? placeOf(change.scoreOf(name), numbers) : change.pairs[i + 1]}\n`;
  }
  return lines;
}

function placeOf({ key, field }: { key: string; field: string }, numbers: Map<string, number>): string {
  return `${numbers.get(key)} ${field}`;
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

const COUNTS = ['orders', 'revenue', 'failed'];

/** Reads the lines that month-users.lua and rankings.lua answer, one after the other. */
class AnswerLines {
  private readonly lines: string[];
  private read = 0;

  constructor(answer: string) {
    this.lines = answer.split('\n');
  }

  get atEnd(): boolean {
    return this.read >= this.lines.length;
  }

  next(): string {
    return this.lines[this.read++] ?? '';
  }

  /** The fields of a hash, of which those that are not there are empty lines. */
  hash(fields: string[]): StoredFields {
    const hash: StoredFields = {};
    for (const field of fields) {
      const value = this.next();
      if (value !== '') hash[field] = value;
    }
    return hash;
  }

  /** The checkpoint that comes first, as {@link checkpointFrom} reads it. */
  checkpoint(): CheckpointMark | null {
    const [ledgerId, generation, foldVersion, position, at, evicted, evictedSoFar] = this.lines;
    this.read += 7;
    if (!ledgerId || evicted === '' || evicted !== evictedSoFar) return null;
    return {
      ledgerId,
      generation: Number(generation),
      foldVersion: foldVersion!,
      position: Number(position),
      at: Number(at),
      evicted: Number(evicted),
    };
  }
}
