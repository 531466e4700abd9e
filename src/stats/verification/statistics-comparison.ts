import { Injectable } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { Ledger } from '../../ledger/ledger.repository.js';
import { pause } from '../../platform/back-off.js';
import { type RunProgress, RunStopped } from '../../platform/background-runs.js';
import { Redis } from '../../platform/redis/redis.js';
import type { GenerationKeys } from '../../platform/redis/redis-keys.js';
import { Aggregation } from '../rebuild/aggregation.repository.js';
import { checkpointFields, type Checkpoint } from '../projection/checkpoint.js';
import { StatisticsPages, type LargeKeyType, type StoredHash } from './statistics-pages.repository.js';
import { StatisticsRepository } from '../projection/statistics.repository.js';
import { emptyStatistics, type Statistics } from '../projection/statistics.rules.js';
import { Projector, StatsRebuilding } from '../projection/projector.worker.js';
import {
  anotherType,
  behind,
  compareField,
  compareHash,
  compareScore,
  compareTexts,
  ExpectedStatistics,
  expires,
  type Mismatch,
  Mismatches,
  strayKey,
} from './verification.rules.js';

/** Entries aggregated by one statement. */
const ENTRIES_PER_PAGE = 5_000;
/** Redis serves nobody else while it answers a page. */
const KEYS_PER_PAGE = 500;
const MEMBERS_PER_PAGE = 1_000;
const MAX_MISMATCHES = 20;
/** How long a verification waits for progress, ms. */
const STALLED_AFTER_MS = 5_000;
const POLL_MS = 20;
/** How often a comparison begins anew because the figures were cleared or rebuilt meanwhile. */
const MAX_ATTEMPTS = 4;

/** What comparing all figures with the ledger came to. */
export interface ComparisonResult {
  /** The last ledger entry that was taken into account. */
  position: number;
  /** How many entries the figures cover. */
  entries: number;
  usersChecked: number;
  monthsChecked: number;
  mismatches: Mismatches;
}

/** Others have come into service than those that are being compared. */
class StatisticsReplaced extends Error {}

/**
 * Compares every figure in Redis with the ledger while both go on. What must be there is aggregated by SQL up to a
 * ledger entry N₀; each page that is read from Redis names the entry Nₖ that it goes up to, and what must be there is
 * brought up to that very entry before the two are compared.
 */
@Injectable()
export class StatisticsComparison {
  private readonly stalledAfterMs = STALLED_AFTER_MS;

  constructor(
    private readonly projector: Projector,
    private readonly ledger: Ledger,
    private readonly aggregation: Aggregation,
    private readonly store: StatisticsRepository,
    private readonly pages: StatisticsPages,
    private readonly redis: Redis,
  ) {}

  /**
   * @param progress ledger entries aggregated and Redis values compared; is kept up to date
   * @throws StatsRebuilding @throws RunStopped @throws DatabaseUnavailable @throws RedisUnavailable
   */
  async run(progress: RunProgress, stopping: AbortSignal): Promise<ComparisonResult> {
    const { projector, ledger, aggregation, store, pages } = this;
    const { position: end } = await ledger.head();
    await this.untilReached(end, stopping);
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      if (attempt > 1) await projector.refresh();
      const served = projector.served();
      const keys = this.redis.keys.generation(served.generation);
      const sources = { projector, ledger, aggregation, store, pages, keys };
      try {
        const result = await new Comparison(sources, served, progress, stopping).run();
        if (result.position < end) result.mismatches.add([behind(keys.nameOf(keys.checkpoint), end, result.position)]);
        return result;
      } catch (error) {
        if (!(error instanceof StatisticsReplaced)) throw error;
      }
    }
    throw new StatsRebuilding(null);
  }

  /** Waits until the figures in service cover an entry, for as long as they get nearer to it. */
  private async untilReached(end: number, stopping: AbortSignal): Promise<void> {
    let reached = -1;
    let progressAt = performance.now();
    while (performance.now() - progressAt < this.stalledAfterMs && !stopping.aborted) {
      const { position } = this.projector.served();
      if (position >= end) return;
      if (position !== reached) progressAt = performance.now();
      reached = position;
      await pause(POLL_MS, stopping);
    }
  }
}

interface Sources {
  projector: Projector;
  ledger: Ledger;
  aggregation: Aggregation;
  store: StatisticsRepository;
  pages: StatisticsPages;
  keys: GenerationKeys;
}

/** The comparison of one generation. */
class Comparison {
  private readonly expected: ExpectedStatistics;
  private readonly mismatches = new Mismatches(MAX_MISMATCHES);
  /** Up to which entry `expected` goes. */
  private position: number;
  private compared = 0;
  private usersChecked = 0;
  private monthsChecked = 0;

  constructor(
    private readonly from: Sources,
    private readonly served: Checkpoint,
    private readonly progress: RunProgress,
    private readonly stopping: AbortSignal,
  ) {
    this.position = served.base;
    const { productRevenue, productQuantity } = from.keys;
    this.expected = new ExpectedStatistics([productRevenue, productQuantity]);
    this.expect(emptyStatistics());
  }

  /** @throws StatisticsReplaced and what StatisticsComparison.run throws */
  async run(): Promise<ComparisonResult> {
    await this.advanceTo(this.served.position);
    await this.compareHashes();
    for (const [key, fields] of this.expected.largeHashes) await this.compareLarge(key, 'hash', fields);
    for (const [key, members] of this.expected.rankings) await this.compareLarge(key, 'sorted set', members);
    await this.findStrayKeys();
    await this.compareCheckpoint();
    const { position, usersChecked, monthsChecked, mismatches } = this;
    return { position, entries: position - this.served.base, usersChecked, monthsChecked, mismatches };
  }

  /** Brings what must be there up to a ledger entry. */
  private async advanceTo(position: number): Promise<void> {
    const { base } = this.served;
    for await (const page of this.from.aggregation.pages(this.position, position, base, ENTRIES_PER_PAGE)) {
      this.expect(page.figures);
      this.position = page.position;
      await this.step();
    }
  }

  private expect(figures: Statistics): void {
    this.expected.add(this.from.store.changes(figures, this.served.generation));
  }

  /**
   * Takes a page's checkpoint for the moment at which what was read is compared.
   * @throws StatisticsReplaced where the page is of other figures than those compared, or of older ones
   */
  private async acceptAt(checkpoint: Checkpoint | null): Promise<void> {
    if (!checkpoint || !this.from.projector.accepts(checkpoint, this.position)) throw new StatisticsReplaced();
    if (checkpoint.position === this.position) return this.step();
    // Else a checkpoint that is no true one might let this read on for ever.
    const head = await this.from.ledger.head();
    if (checkpoint.position > head.position) throw new StatisticsReplaced();
    await this.advanceTo(checkpoint.position);
  }

  /** Those that entries bring before the last page is read are among them. */
  private async compareHashes(): Promise<void> {
    for (const keys of inPages(this.expected.hashes.keys(), KEYS_PER_PAGE)) {
      const { checkpoint, found } = await this.from.pages.hashes(this.served.generation, keys);
      await this.acceptAt(checkpoint);
      for (const [i, key] of keys.entries()) this.compareHash(key, found[i]!);
      this.compared += keys.length;
    }
  }

  private compareHash(key: string, { fields, expires: goes }: StoredHash): void {
    const { keys } = this.from;
    const expected = this.expected.hashes.get(key) ?? {};
    if (key.startsWith(keys.user(''))) this.usersChecked++;
    if (key.startsWith(keys.month(''))) this.monthsChecked++;
    const name = keys.nameOf(key);
    if (goes) this.mismatches.add([expires(name)]);
    const isMoney = (field: string): boolean => keys.isMoney(key, field);
    if (!fields) {
      const money = Object.entries(expected).flatMap(([field, amount]) => (isMoney(field) ? [amount] : []));
      return this.mismatches.add([anotherType(name, 'hash', money)]);
    }
    // Statistics that were begun empty have no totals before their first entry, those that were filled have zeros.
    const isUnwritten = key === keys.global && this.position === this.served.base && Object.keys(fields).length === 0;
    if (!isUnwritten) this.mismatches.add(compareHash(name, expected, fields, isMoney));
  }

  /** Compares every member that must be there; only where the size does not fit, others are looked for. */
  private async compareLarge(key: string, type: LargeKeyType, members: Map<string, bigint>): Promise<void> {
    const { keys, pages } = this.from;
    const name = keys.nameOf(key);
    const isMoney = (member: string): boolean => keys.isMoney(key, member);
    let complete = true;
    let saidExpiry = false;
    for (const some of inPages(members.keys(), MEMBERS_PER_PAGE)) {
      const { checkpoint, found } = await pages.some(this.served.generation, key, type, some);
      await this.acceptAt(checkpoint);
      if (!found) {
        const money = [...members].flatMap(([member, amount]) => (isMoney(member) ? [amount] : []));
        return this.mismatches.add([anotherType(name, type, money)]);
      }
      if (found.expires && !saidExpiry) this.mismatches.add([expires(name)]);
      saidExpiry ||= found.expires;
      complete &&= found.size === members.size && !found.values.includes(null);
      for (const [i, member] of some.entries()) {
        const place = { key: name, field: member, isMoney: isMoney(member) };
        this.mismatches.add(compare(type, place, members.get(member)!, found.values[i]!));
      }
      this.compared += some.length;
    }
    if (!complete) await this.findStrayMembers(key, type, members);
  }

  private async findStrayMembers(key: string, type: LargeKeyType, members: Map<string, bigint>): Promise<void> {
    const { keys, pages } = this.from;
    const stray = [...(await pages.members(key, type))].filter((member) => !members.has(member));
    for (const some of inPages(stray, MEMBERS_PER_PAGE)) {
      const { checkpoint, found } = await pages.some(this.served.generation, key, type, some);
      await this.acceptAt(checkpoint);
      for (const [i, member] of some.entries()) {
        // What came with an entry meanwhile is no stray.
        if (members.has(member)) continue;
        const place = { key: keys.nameOf(key), field: member, isMoney: keys.isMoney(key, member) };
        this.mismatches.add(compare(type, place, null, found?.values[i] ?? null));
      }
    }
  }

  /** Keys are listed first and looked at after: those that entries brought meanwhile are expected by then. */
  private async findStrayKeys(): Promise<void> {
    const { keys, pages, store } = this.from;
    const { generation } = this.served;
    const stored = await store.keysOf(generation);
    const stray = stored.filter((key) => key !== keys.checkpoint && !this.expected.has(key));
    for (const some of inPages(stray, KEYS_PER_PAGE)) {
      const { checkpoint, found: types } = await pages.types(generation, some);
      await this.acceptAt(checkpoint);
      for (const [i, key] of some.entries()) {
        if (!this.expected.has(key)) await this.reportStrayKey(key, types[i]!);
      }
    }
  }

  private async reportStrayKey(key: string, type: string): Promise<void> {
    const { keys, pages } = this.from;
    if (type === 'zset') return this.findStrayMembers(key, 'sorted set', new Map());
    const name = keys.nameOf(key);
    if (type !== 'hash') return this.mismatches.add(type === 'none' ? [] : [strayKey(name, type)]);
    const { checkpoint, found } = await pages.hashes(this.served.generation, [key]);
    await this.acceptAt(checkpoint);
    this.mismatches.add(compareHash(name, {}, found[0]!.fields ?? {}, (field) => keys.isMoney(key, field)));
  }

  /** The checkpoint must be of this ledger's history. */
  private async compareCheckpoint(): Promise<void> {
    const { keys, ledger, pages } = this.from;
    const { checkpoint, found } = await pages.hashes(this.served.generation, [keys.checkpoint]);
    await this.acceptAt(checkpoint);
    const entryHash = await ledger.hashAt(checkpoint!.position);
    if (entryHash === null) throw new StatisticsReplaced();
    const { fields, expires: goes } = found[0]!;
    const name = keys.nameOf(keys.checkpoint);
    if (goes) this.mismatches.add([expires(name)]);
    const { position, at } = checkpoint!;
    const pairs = checkpointFields({ ...this.served, position, entryHash, at });
    this.mismatches.add(compareTexts(name, pairs, fields!));
  }

  /** Tells of progress and lets everybody else have a turn. @throws RunStopped */
  private async step(): Promise<void> {
    const { base, position } = this.served;
    let values = this.expected.hashes.size;
    const { largeHashes, rankings } = this.expected;
    for (const members of [...largeHashes.values(), ...rankings.values()]) values += members.size;
    this.progress.done = this.position - base + this.compared;
    this.progress.total = Math.max(position, this.position) - base + values;
    await setImmediate();
    if (this.stopping.aborted) throw new RunStopped('verification');
  }
}

function compare(
  type: LargeKeyType,
  place: Parameters<typeof compareScore>[0],
  expected: bigint | null,
  found: string | null,
): Mismatch[] {
  return type === 'hash' ? compareField(place, expected, found) : compareScore(place, expected, found);
}

/** In lists of at most so many; what is added while it is gone through comes too. */
function* inPages<T>(items: Iterable<T>, size: number): Generator<T[]> {
  let page: T[] = [];
  for (const item of items) {
    page.push(item);
    if (page.length < size) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}
