import { Logger } from '@nestjs/common';
import fc from 'fast-check';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { ProjectedEntry } from '../../src/ledger/ledger-entry.js';
import type { Database } from '../../src/platform/database/database.js';
import type { Redis } from '../../src/platform/redis/redis.js';
import { BusinessCalendar } from '../../src/domain/business-time.js';
import type { Config } from '../../src/shared/config.js';
import { cents, MAX_CENTS } from '../../src/domain/money.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import { Aggregation } from '../../src/stats/rebuild/aggregation.repository.js';
import { CHECKPOINT_FIELDS, type Checkpoint } from '../../src/stats/projection/checkpoint.js';
import { StatisticsRepository, StatisticsLost } from '../../src/stats/projection/statistics.repository.js';
import {
  addStatistics,
  fold,
  emptyStatistics,
  sizeOf,
  type Statistics,
  type Tally,
} from '../../src/stats/projection/statistics.rules.js';
import { foldBatches } from '../../src/stats/projection/fold-batches.rules.js';
import { aFailedMessage, aValidatedMessage } from '../support/validated-messages.js';
import { statisticsOf, generationKeys, storedStatistics, storedFormOf } from '../support/stored-figures.js';
import { aDatabase, aRedis, emptyLedger, type OwnPart } from '../support/stores.js';

/** A refund may be dated so long before its order. */
const YEAR_MS = 366 * 86_400_000;
const TIME_ZONES = ['UTC', 'Europe/Berlin', 'America/St_Johns', 'Pacific/Kiritimati'];

/** Moments at which a day, a month or the clocks change in one of the time zones, and any others. */
const moments = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        '2026-01-01T00:00:00Z',
        '2026-01-31T23:00:00Z',
        '2025-12-31T10:00:00Z',
        '2026-03-29T01:00:00Z',
        '2026-10-25T01:00:00Z',
        '2026-10-24T22:00:00Z',
        '2026-03-08T05:30:00Z',
        '2010-11-07T02:31:00Z',
        '2010-11-07T03:31:00Z',
      ),
      fc.constantFrom(-3_600_001, -1, 0, 1, 3_600_000),
    )
    .map(([moment, shift]) => Date.parse(moment) + shift),
  fc.integer({ min: Date.UTC(2025, 10), max: Date.UTC(2026, 2) }),
);
const users = fc.constantFrom('U1', 'U2', 'U3', 'U "4" {5}');
const products = fc.constantFrom('P1', 'P2', 'P "3", {4}', 'P\\5');
const lines = fc
  .array(
    fc.record({
      product_id: products,
      quantity: fc.integer({ min: 1, max: 9 }),
      cents: fc.integer({ min: 0, max: 99_999 }),
    }),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .filter((some) => some.some((line) => line.cents > 0))
  .map((some) => some.map((line) => ({ ...line, cents: cents(line.cents) })));

/** Entries as a ledger may hold them: one that counts has everything, one that failed may lack anything. */
const entries: fc.Arbitrary<ProjectedEntry[]> = fc
  .array(
    fc.oneof(
      fc.record({
        outcome: fc.constantFrom('accepted' as const, 'corrected' as const),
        userId: users,
        orderedAt: moments,
        lines,
      }),
      fc.record({
        outcome: fc.constant('failed' as const),
        userId: fc.option(users),
        orderedAt: fc.option(moments),
        lines: fc.constant<ProjectedEntry['lines']>([]),
      }),
      fc.record({ refunds: fc.nat(), share: fc.integer({ min: 1, max: 60 }), refundedAt: moments }),
    ),
    { minLength: 1, maxLength: 25 },
  )
  .map((some) => {
    const made: ProjectedEntry[] = [];
    for (const each of some) made.push('refunds' in each ? aRefundOf(made, each) : anOrderOf(made, each));
    return made;
  });

function anOrderOf(
  before: ProjectedEntry[],
  entry: Pick<ProjectedEntry, 'outcome' | 'userId' | 'orderedAt' | 'lines'>,
): ProjectedEntry {
  return {
    ...entry,
    kind: 'order',
    refPosition: null,
    position: before.length + 1,
    entryHash: `hash ${before.length + 1}`,
    value: entry.outcome === 'failed' ? null : cents(entry.lines.reduce((sum, line) => sum + line.cents, 0)),
  };
}

/** Of one of the orders before; fails by itself where there is none, and for its amount where that would be too much. */
function aRefundOf(
  before: ProjectedEntry[],
  { refunds, share, refundedAt }: { refunds: number; share: number; refundedAt: number },
): ProjectedEntry {
  const orders = before.filter(({ kind, outcome }) => kind === 'order' && outcome !== 'failed');
  const order = orders[refunds % Math.max(1, orders.length)];
  const counted = before.filter(({ kind, refPosition }) => kind === 'refund' && refPosition === order?.position);
  const amount = Math.ceil(((order?.value ?? 0) * share) / 100);
  const rest = (order?.value ?? 0) - counted.reduce((sum, { value }) => sum + (value ?? 0), 0);
  const fails = !order || amount > rest || refundedAt < order.orderedAt! - YEAR_MS;
  return {
    kind: 'refund',
    outcome: fails ? 'failed' : 'accepted',
    userId: order?.userId ?? null,
    orderedAt: refundedAt,
    lines: [],
    refPosition: order?.position ?? null,
    position: before.length + 1,
    entryHash: `hash ${before.length + 1}`,
    value: fails ? null : cents(amount),
  };
}
const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 5 });

describe('the fold', () => {
  it('comes to the plain sum of the entries, in whatever order and batches', () => {
    fc.assert(
      fc.property(
        entries.chain((some) => fc.tuple(fc.constant(some), fc.shuffledSubarray(some, { minLength: some.length }))),
        sizes,
        fc.constantFrom(...TIME_ZONES),
        ([inOrder, shuffled], sizes, timeZone) => {
          const calendar = new BusinessCalendar(timeZone);
          const sum = emptyStatistics();
          for (const page of inPages(shuffled, sizes)) {
            for (const { figures } of foldBatches(page, { calendar, base: 0 })) addStatistics(sum, figures);
          }
          expect(sum).toEqual(plainSum(inOrder, timeZone));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('makes parts that add up to the whole', () => {
    fc.assert(
      fc.property(entries, (some) => {
        const { global, users, months, days, monthUsers } = foldAll(some, 'Europe/Berlin');
        const sumOf = (tallies: Iterable<Tally>, count: keyof Tally): bigint => {
          let sum = 0n;
          for (const tally of tallies) sum += BigInt(tally[count]);
          return sum;
        };
        for (const count of ['orders', 'revenue', 'failed'] as const) {
          const withoutUser = BigInt(count === 'failed' ? global.failedWithoutUser : 0);
          const withoutMonth = BigInt(count === 'failed' ? global.failedWithoutMonth : 0);
          expect(sumOf(users.values(), count) + withoutUser).toBe(BigInt(global[count]));
          expect(sumOf(months.values(), count) + withoutMonth).toBe(BigInt(global[count]));
          expect(sumOf(days.values(), count) + withoutMonth).toBe(BigInt(global[count]));
          if (count !== 'failed') {
            for (const [month, tally] of months)
              expect(sumOf(monthUsers.get(month)?.values() ?? [], count)).toBe(BigInt(tally[count]));
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it('never splits an entry, and ends a batch with the first entry that fills it', () => {
    const some = Array.from({ length: 700 }, (_, i) => anEntry(i + 1, { userId: `U${i}` }));
    some[300] = anEntry(301, { lines: manyLines(10_000) });
    const batches = [...foldBatches(some, { calendar: new BusinessCalendar('UTC'), base: 0 })];
    expect(batches.at(-1)).toMatchObject({ position: 700, entryHash: 'hash 700' });
    let before = 0;
    for (const { figures, position, entryHash } of batches) {
      const inBatch = some.slice(before, position);
      expect(figures).toEqual(foldAll(inBatch, 'UTC'));
      expect(entryHash).toBe(`hash ${position}`);
      expect(sizeOf(foldAll(inBatch.slice(0, -1), 'UTC'))).toBeLessThan(2_000);
      before = position;
    }
    expect(batches.length).toBeGreaterThan(3);
  });
});

describe('on the stores', () => {
  let databases: OwnPart<Database>;
  let database: Database;
  let ledger: Ledger;
  let redisServer: OwnPart<Redis>;
  let redis: Redis;
  let store: StatisticsRepository;

  beforeAll(async () => {
    Logger.overrideLogger(false);
    [databases, redisServer] = await Promise.all([aDatabase(), aRedis()]);
    database = databases.part;
    ledger = new Ledger(database);
    redis = redisServer.part;
    store = new StatisticsRepository(redis);
  });
  beforeEach(() => store.sweep(Infinity));
  afterAll(() => Promise.all([databases.destroy(), redisServer.destroy()]));

  describe('the fold and the SQL aggregation', () => {
    const aggregation = (timeZone: string): Aggregation =>
      new Aggregation(database, ledger, { businessTimeZone: timeZone } as Config);

    it('come to the same figures in Redis, whatever the ledger holds and wherever figures begin', async () => {
      await fc.assert(
        fc.asyncProperty(
          entries,
          sizes,
          fc.nat({ max: 10 }),
          fc.constantFrom(...TIME_ZONES),
          async (some, sizes, skipped, timeZone) => {
            await emptyLedger(database);
            await store.sweep(Infinity);
            for (const page of inPages(some, sizes)) await ledger.append(page.map(messageOf), 10_000);
            const head = await ledger.head();
            expect(head.position).toBe(some.length);
            const base = Math.min(skipped, head.position);

            const folded = await foldThroughRedis(base, sizes, timeZone);
            const aggregated = emptyStatistics();
            for (let from = base, i = 0; from < head.position; i++) {
              const to = Math.min(from + sizes[i % sizes.length]!, head.position);
              addStatistics(aggregated, await aggregation(timeZone).figures(from, to, 0));
              from = to;
            }
            await store.fill(aggregated, { ...folded, generation: 2 });

            const whole = await aggregation(timeZone).figures(base, head.position, 0);
            expect(aggregated).toEqual(whole);
            // In one append the refunds go after the orders, so the entries may stand otherwise than they were made.
            const { entries: inLedger } = await ledger.entriesAfter(0, 100);
            expect(whole).toEqual(plainSum(inLedger.slice(base), timeZone));
            expect(plainSum(inLedger, timeZone)).toEqual(plainSum(some, timeZone));
            const stored = await statisticsOf(redis, 2);
            if (base < head.position) expect(await statisticsOf(redis, 1)).toEqual(stored);
            expect(stored).toEqual(await storedFormOf(whole));
            expect(await store.checkpoint(1)).toMatchObject({ position: head.position, entryHash: head.entryHash });
          },
        ),
        { numRuns: 40 },
      );
    });

    it('leave out what is refunded of orders that the figures do not cover, but not refunds that fail', async () => {
      await fc.assert(
        fc.asyncProperty(entries, fc.nat({ max: 20 }), async (some, skipped) => {
          await emptyLedger(database);
          await ledger.append(some.map(messageOf), 10_000);
          const { entries: stored } = await ledger.entriesAfter(0, 100);
          const base = Math.min(skipped, stored.length);
          const covered = stored.slice(base);
          const figures = emptyStatistics();
          for (const entry of covered) fold(figures, entry, { calendar: new BusinessCalendar('UTC'), base });
          expect(figures).toEqual(await aggregation('UTC').figures(base, stored.length, base));
          const counting = covered.filter(
            ({ outcome, refPosition }) => outcome === 'failed' || refPosition === null || refPosition > base,
          );
          expect(figures).toEqual(plainSum(counting, 'UTC'));
          expect([...figures.users.values()].every(({ revenue }) => revenue >= 0)).toBe(true);
        }),
        { numRuns: 40 },
      );
    });

    it('cut days and months alike at every change of the clocks of a year', async () => {
      await emptyLedger(database);
      const midnights = Array.from({ length: 366 * 4 }, (_, i) => Date.UTC(2025, 11, 31) + i * 6 * 3_600_000 - (i % 2));
      const messages = midnights.map((orderedAt, i) => aValidatedMessage({ orderId: `ORD${i}`, orderedAt }));
      for (const page of inPages(messages, [500])) await ledger.append(page, 10_000);
      for (const timeZone of TIME_ZONES) {
        const { entries: some } = await ledger.entriesAfter(0, 2_000);
        expect(some).toHaveLength(midnights.length);
        expect(foldAll(some, timeZone)).toEqual(await aggregation(timeZone).figures(0, some.length, 0));
      }
    });

    it('add up revenue beyond 2^53 cents exactly', async () => {
      await emptyLedger(database);
      const lines = [{ product_id: 'P1', quantity: 1_000_000, price_per_unit: '100000', cents: MAX_CENTS }];
      const messages = Array.from({ length: 905 }, (_, i) =>
        aValidatedMessage({ orderId: `ORD${i}`, value: MAX_CENTS, lines }),
      );
      messages.push(
        aValidatedMessage({ orderId: 'ORD-CENT', value: cents(1), lines: [{ ...lines[0]!, cents: cents(1) }] }),
      );
      await ledger.append(messages, 10_000);
      await foldThroughRedis(0, [500], 'UTC');
      const figures = await aggregation('UTC').figures(0, messages.length, 0);
      expect(figures.global).toMatchObject({ orders: 906, revenue: 9_050_000_000_000_001n });
      expect(figures.products.get('P1')).toEqual({ revenue: 9_050_000_000_000_001n, quantity: 906_000_000n });
      expect(await statisticsOf(redis, 1)).toEqual(await storedFormOf(figures));
    });
  });

  describe('project.lua', () => {
    const start: Checkpoint = {
      ledgerId: 'a ledger',
      generation: 1,
      foldVersion: '1/UTC',
      base: 0,
      position: 10,
      entryHash: 'hash 10',
      at: 1_000,
      evicted: 0,
    };
    const onwards = { position: 11, entryHash: 'hash 11', at: 2_000 };
    const keys = (): ReturnType<Redis['keys']['generation']> => redis.keys.generation(1);
    const anOrder = (): Statistics => foldAll([anEntry(11)], 'UTC');

    beforeEach(() => store.begin(start));

    it('adds figures and moves the checkpoint', async () => {
      expect(await store.add(anOrder(), start, onwards)).toBe('applied');
      expect(await store.checkpoint(1)).toEqual({ ...start, ...onwards });
      expect(await statisticsOf(redis, 1)).toEqual(await storedFormOf(anOrder()));
    });

    it('adds the same figures once', async () => {
      expect(await store.add(anOrder(), start, onwards)).toBe('applied');
      const before = await storedStatistics(redis);
      expect(await store.add(anOrder(), start, onwards)).toBe('moved');
      expect(await storedStatistics(redis)).toEqual(before);
    });

    it('keeps the time of the latest order where an earlier one comes later', async () => {
      const late = foldAll([anEntry(11, { orderedAt: Date.UTC(2026, 1, 2) })], 'UTC');
      const early = foldAll([anEntry(12, { orderedAt: Date.UTC(2026, 1, 1) })], 'UTC');
      await store.add(late, start, onwards);
      await store.add(early, { ...start, ...onwards }, { position: 12, entryHash: 'hash 12', at: 3_000 });
      expect(await redis.client.hget(keys().user('U1'), 'last_order_at')).toBe(String(Date.UTC(2026, 1, 2)));
    });

    it.each<[string, Partial<Checkpoint>]>([
      ['another ledger', { ledgerId: 'another' }],
      ['another version', { foldVersion: '1/Europe/Berlin' }],
      ['an earlier position', { position: 9 }],
      ['a later position', { position: 12 }],
      ['another history', { entryHash: 'another' }],
    ])('writes nothing where the checkpoint is of %s', async (_, other) => {
      await store.begin({ ...start, ...other });
      const before = await storedStatistics(redis);
      expect(await store.add(anOrder(), start, onwards)).toBe('moved');
      expect(await storedStatistics(redis)).toEqual(before);
    });

    it('writes nothing where there is no checkpoint, or one without all its fields', async () => {
      await redis.client.hdel(keys().checkpoint, 'entry_hash');
      expect(await store.add(anOrder(), start, onwards)).toBe('moved');
      await store.retire(1);
      expect(await store.add(anOrder(), start, onwards)).toBe('moved');
      expect(await generationKeys(redis)).toEqual([]);
    });

    it('writes nothing where any of the keys is of another type', async () => {
      const names = Object.keys(await storedFormOf(anOrder())).map((name) =>
        keys().checkpoint.replace('checkpoint', name),
      );
      expect(names).toHaveLength(12);
      for (const name of names) {
        for (const write of [
          () => redis.client.set(name, '1'),
          () =>
            /by-|month-users/.test(name)
              ? redis.client.hset(name, 'orders', '1')
              : redis.client.zadd(name, 1, 'orders'),
        ]) {
          await write();
          const before = await storedStatistics(redis);
          expect([name, await store.add(anOrder(), start, onwards)]).toEqual([name, 'damaged']);
          expect(await storedStatistics(redis)).toEqual(before);
          await redis.client.del(name);
        }
      }
    });

    it('writes nothing where any of the values is not a whole number', async () => {
      for (const value of ['x', '1.5', 'nan', 'inf', '1,000']) {
        for (const [key, field] of [
          [keys().global, 'corrected'],
          [keys().user('U1'), 'last_order_at'],
          [keys().month('2026-01'), 'revenue'],
          [keys().monthUser('2026-01', 'U1'), 'failed'],
        ] as const) {
          await redis.client.hset(key, field, value);
          const before = await storedStatistics(redis);
          expect([key, value, await store.add(anOrder(), start, onwards)]).toEqual([key, value, 'damaged']);
          expect(await storedStatistics(redis)).toEqual(before);
          await redis.client.del(key);
        }
      }
    });

    it('adds whole numbers of any size exactly, and ranks by the nearest double', async () => {
      const sums = fc.oneof(
        fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }),
        // Around where a double, and where the lower half of a large number, is full.
        fc
          .tuple(fc.constantFrom(0n, 2n ** 53n, 10n ** 15n, 10n ** 16n, 10n ** 18n), fc.bigInt(-9n, 9n), fc.boolean())
          .map(([size, more, isNegative]) => (isNegative ? -size - more : size + more)),
      );
      await fc.assert(
        fc.asyncProperty(sums, sums, async (before, added) => {
          await store.sweep(Infinity);
          await store.begin(start);
          await redis.client.hset(keys().user('U1'), 'revenue', String(before));
          const figures = emptyStatistics();
          figures.users.set('U1', { orders: 1, revenue: added, failed: 0, lastOrderAt: 1 });
          expect(await store.add(figures, start, onwards)).toBe('applied');
          expect(await redis.client.hget(keys().user('U1'), 'revenue')).toBe(String(before + added));
          expect(Number(await redis.client.zscore(keys().usersBySpend, 'U1'))).toBe(Number(before + added));
        }),
        { numRuns: 300 },
      );
    });

    it('takes an order of 10,000 lines as a whole, also behind others that all but fill a script', async () => {
      const others = Array.from({ length: 90 }, (_, i) => anEntry(11 + i, { userId: `U${i}` }));
      const large = anEntry(101, { lines: manyLines(10_000) });
      expect(sizeOf(foldAll(others, 'UTC'))).toBeLessThan(2_000);
      const [batch, ...rest] = foldBatches([...others, large], { calendar: new BusinessCalendar('UTC'), base: 0 });
      expect(rest).toEqual([]);
      const { position, entryHash } = batch!;
      expect(await store.add(batch!.figures, start, { position, entryHash, at: 2_000 })).toBe('applied');
      expect(await store.checkpoint(1)).toMatchObject({ position: 101 });
      expect(await redis.client.zcard(keys().productsByRevenue)).toBe(10_000);
      expect(await statisticsOf(redis, 1)).toEqual(await storedFormOf(batch!.figures));
    });
  });

  describe('filling a generation', () => {
    const figures = foldAll([anEntry(1)], 'UTC');

    it('gives it a checkpoint with the fields of one and no others', async () => {
      await store.fill(figures, aCheckpoint);
      const stored = await redis.client.hgetall(redis.keys.generation(1).checkpoint);
      expect(Object.keys(stored).sort()).toEqual([...CHECKPOINT_FIELDS].sort());
      expect(await store.checkpoint(1)).toEqual(aCheckpoint);
    });

    it('writes the same by several pipelines as project.lua adds by one script', async () => {
      const many = foldAll(
        Array.from({ length: 1_500 }, (_, i) => anEntry(i + 1, { userId: `U${i}` })),
        'UTC',
      );
      const pipelined = jest.spyOn(redis, 'pipelined');
      await store.fill(many, aCheckpoint);
      expect(pipelined.mock.calls.length).toBeGreaterThan(1);
      pipelined.mockRestore();
      const before = { ...aCheckpoint, generation: 2, position: 0 };
      await store.begin(before);
      expect(await store.add(many, before, { position: 1, entryHash: 'e', at: 1 })).toBe('applied');
      expect(await statisticsOf(redis, 1)).toEqual(await statisticsOf(redis, 2));
    });

    it('keeps Redis from others for a short time at once, however many products there are', async () => {
      const lines = Array.from({ length: 30_000 }, (_, i) => ({ product_id: `P${i}`, quantity: 1, cents: cents(1) }));
      const pipelined = jest.spyOn(redis, 'pipelined');
      await store.fill(foldAll([anEntry(1, { lines })], 'UTC'), aCheckpoint);
      const sizes = pipelined.mock.calls.map(([commands]) =>
        commands.reduce((sum, command) => sum + command.length, 0),
      );
      pipelined.mockRestore();
      expect(Math.max(...sizes)).toBeLessThan(25_000); // of two arguments a figure
      expect(await redis.client.hlen(redis.keys.generation(1).productQuantity)).toBe(lines.length);
    });

    it('gives it none where Redis was emptied meanwhile, or it would pass for complete', async () => {
      const { pipelined } = redis;
      const spy = jest.spyOn(redis, 'pipelined').mockImplementationOnce(async (commands) => {
        const replies = await pipelined.call(redis, commands);
        await redis.client.del(...(await generationKeys(redis)));
        return replies;
      });
      await expect(store.fill(figures, aCheckpoint)).rejects.toThrow(StatisticsLost);
      spy.mockRestore();
      expect(await generationKeys(redis)).toEqual([]);
    });
  });

  describe('sweeping before a generation', () => {
    /** Seconds until the keys of a generation go, -1 where they stay; each once. */
    async function lifetimes(generation: number): Promise<number[]> {
      const names = (await generationKeys(redis)).filter((name) => redis.keys.generationOf(name) === generation);
      return [...new Set(await Promise.all(names.map((name) => redis.client.ttl(name))))];
    }

    it('deletes earlier ones, lets the retired one expire, and touches nothing else', async () => {
      for (const generation of [1, 2, 3, 4, 5]) {
        await store.fill(foldAll([anEntry(1)], 'UTC'), { ...aCheckpoint, generation });
      }
      await redis.client.set(redis.keys.consumerLogs, 'not a figure');
      const before = await storedStatistics(redis);
      await store.sweep(4, { keeping: 3 });
      expect(await lifetimes(2)).toEqual([]);
      for (const generation of [3, 4, 5]) expect(await lifetimes(generation)).toEqual([-1]);
      await store.sweep(4, { expiring: 3 });
      for (const seconds of await lifetimes(3)) expect(seconds).toBeGreaterThan(50);
      for (const generation of [4, 5]) expect(await lifetimes(generation)).toEqual([-1]);
      expect(before).toMatchObject(await storedStatistics(redis));
      expect(await redis.client.get(redis.keys.consumerLogs)).toBe('not a figure');
    });

    it('finds every key among thousands, also where it deletes some of them', async () => {
      const users = Array.from({ length: 1_200 }, (_, i) =>
        anEntry(i, { userId: `U${i}`, orderedAt: null, outcome: 'failed' }),
      );
      for (const generation of [1, 2, 3]) {
        await store.fill(foldAll(users, 'UTC'), { ...aCheckpoint, generation });
      }
      await store.sweep(3, { expiring: 2 });
      expect(await lifetimes(1)).toEqual([]);
      for (const seconds of await lifetimes(2)) expect(seconds).toBeGreaterThan(50);
      expect(await lifetimes(3)).toEqual([-1]);
    });

    it('leaves a retired generation no moment to be read', async () => {
      await store.fill(foldAll([anEntry(1)], 'UTC'), aCheckpoint);
      await store.retire(1);
      expect(await store.checkpoint(1)).toBeNull();
    });
  });

  /** Folds the ledger from a position on, page by page, into generation 1. */
  async function foldThroughRedis(base: number, sizes: number[], timeZone: string): Promise<Checkpoint> {
    const { ledgerId } = await ledger.head();
    let checkpoint: Checkpoint = {
      ...aCheckpoint,
      ledgerId,
      position: base,
      entryHash: (await ledger.hashAt(base))!,
    };
    await store.begin(checkpoint);
    for (let i = 0; ; i++) {
      const page = await ledger.entriesAfter(checkpoint.position, sizes[i % sizes.length]!);
      if (page.entries.length === 0) return checkpoint;
      for (const { figures, position, entryHash } of foldBatches(page.entries, {
        calendar: new BusinessCalendar(timeZone),
        base: 0,
      })) {
        const to = { position, entryHash, at: 2 };
        expect(await store.add(figures, checkpoint, to)).toBe('applied');
        checkpoint = { ...checkpoint, ...to };
      }
    }
  }
});

const aCheckpoint: Checkpoint = {
  ledgerId: 'l',
  generation: 1,
  foldVersion: 'f',
  base: 0,
  position: 1,
  entryHash: 'e',
  at: 1,
  evicted: 0,
};

function anEntry(position: number, given: Partial<ProjectedEntry> = {}): ProjectedEntry {
  const { lines = [{ product_id: 'P1', quantity: 2, cents: cents(1_000) }] } = given;
  return {
    position,
    kind: 'order',
    refPosition: null,
    entryHash: `hash ${position}`,
    outcome: 'accepted',
    userId: 'U1',
    orderedAt: Date.UTC(2026, 0, 15, 12),
    value: cents(lines.reduce((sum, line) => sum + line.cents, 0)),
    lines,
    ...given,
  };
}

function manyLines(count: number): ProjectedEntry['lines'] {
  return Array.from({ length: count }, (_, i) => ({ product_id: `P${i}`, quantity: 1, cents: cents(i) }));
}

/** The message that the ledger makes such an entry of. */
function messageOf(entry: ProjectedEntry): ValidatedMessage {
  const { position, outcome, userId, orderedAt, refPosition } = entry;
  const given = { userId, orderedAt, content: `content ${position}`, orderId: `ORD${position}` };
  if (entry.kind === 'refund') {
    const refund = { ...given, kind: 'refund' as const, userId: null, refundId: `R${position}` };
    if (refPosition === null) return aFailedMessage({ ...refund, reasons: ['missing_amount'] });
    // Where it is to fail, it is more than any order is worth.
    return aValidatedMessage({ ...refund, orderId: `ORD${refPosition}`, value: entry.value ?? cents(1e12), lines: [] });
  }
  if (outcome === 'failed') return aFailedMessage(given);
  return aValidatedMessage({
    ...given,
    outcome,
    value: entry.value,
    lines: entry.lines.map((line) => ({ ...line, price_per_unit: '0.01' })),
  });
}

function foldAll(some: ProjectedEntry[], timeZone: string): Statistics {
  const figures = emptyStatistics();
  const calendar = new BusinessCalendar(timeZone);
  for (const entry of some) fold(figures, entry, { calendar, base: 0 });
  return figures;
}

function* inPages<T>(some: T[], sizes: number[]): Generator<T[]> {
  for (let start = 0, i = 0; start < some.length; i++) {
    const end = start + sizes[i % sizes.length]!;
    yield some.slice(start, end);
    start = end;
  }
}

/** The figures of entries as one would add them up by hand: each figure by itself, from the entries it is about. */
function plainSum(some: ProjectedEntry[], timeZone: string): Statistics {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' });
  const dayOf = ({ orderedAt }: ProjectedEntry): string | null =>
    orderedAt === null ? null : format.format(orderedAt);
  const monthOf = (entry: ProjectedEntry): string | null => dayOf(entry)?.slice(0, 7) ?? null;
  const tallyOf = (group: ProjectedEntry[]): Tally => ({
    orders: group.filter(countsAsOrder).length,
    revenue: group.reduce((sum, { kind, value }) => sum + BigInt((kind === 'refund' ? -1 : 1) * (value ?? 0)), 0n),
    failed: group.filter(({ outcome }) => outcome === 'failed').length,
  });
  const tallies = (group: ProjectedEntry[], nameOf: (entry: ProjectedEntry) => string | null): Map<string, Tally> =>
    new Map([...groups(group, nameOf)].map(([name, inside]) => [name, tallyOf(inside)]));
  const sold = some.flatMap((entry) => (entry.outcome === 'failed' ? [] : entry.lines));
  return {
    global: {
      ...tallyOf(some),
      corrected: some.filter(({ outcome }) => outcome === 'corrected').length,
      failedWithoutUser: some.filter(({ userId }) => userId === null).length,
      failedWithoutMonth: some.filter(({ orderedAt }) => orderedAt === null).length,
    },
    users: new Map(
      [...groups(some, ({ userId }) => userId)].map(([userId, own]) => [
        userId,
        {
          ...tallyOf(own),
          lastOrderAt: Math.max(0, ...own.flatMap((entry) => (countsAsOrder(entry) ? [entry.orderedAt!] : []))),
        },
      ]),
    ),
    months: tallies(some, monthOf),
    days: tallies(some, dayOf),
    monthUsers: new Map(
      [
        ...groups(
          some.filter(({ userId }) => userId !== null),
          monthOf,
        ),
      ].map(([month, inside]) => [month, tallies(inside, ({ userId }) => userId)]),
    ),
    products: new Map(
      [...groups(sold, ({ product_id }) => product_id)].map(([productId, own]) => [
        productId,
        {
          revenue: own.reduce((sum, line) => sum + BigInt(line.cents), 0n),
          quantity: own.reduce((sum, line) => sum + BigInt(line.quantity), 0n),
        },
      ]),
    ),
  };
}

function countsAsOrder({ kind, outcome }: ProjectedEntry): boolean {
  return kind === 'order' && outcome !== 'failed';
}

/** By name; what has none is left out. */
function groups<T>(some: T[], nameOf: (each: T) => string | null): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const each of some) {
    const name = nameOf(each);
    if (name !== null) found.set(name, [...(found.get(name) ?? []), each]);
  }
  return found;
}
