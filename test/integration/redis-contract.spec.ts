import fc from 'fast-check';
import { Redis, type RedisCommand } from '../../src/platform/redis/redis.js';
import { cents } from '../../src/domain/money.js';
import { BusinessCalendar } from '../../src/domain/business-time.js';
import type { Checkpoint } from '../../src/stats/projection/checkpoint.js';
import { StatisticsRepository, type StoredMember } from '../../src/stats/projection/statistics.repository.js';
import { fold, emptyStatistics, type Statistics } from '../../src/stats/projection/statistics.rules.js';
import type { ProjectedEntry } from '../../src/ledger/ledger-entry.js';
import { itWithRedis } from '../support/only-on.js';
import { ModelRedis } from '../support/simulation/model-redis.js';
import { type ModelConnection, modelRedisClient } from '../support/simulation/model-redis-client.js';
import { generationKeys, storedStatistics } from '../support/stored-figures.js';
import { aRedis, type OwnPart } from '../support/stores.js';

const CALENDAR = new BusinessCalendar('UTC');

let own: OwnPart<Redis>;
/** How many keys the server has evicted so far, and the model says so too. */
let evicted: number;
beforeAll(async () => {
  own = await aRedis();
  evicted = await new StatisticsRepository(own.part).evicted();
});
afterAll(() => own.destroy());

/** A Redis without figures. */
async function theServer(): Promise<Redis> {
  await new StatisticsRepository(own.part).sweep(Infinity);
  return own.part;
}

async function theModel(): Promise<Redis> {
  let isOpen = false;
  const connection: ModelConnection = {
    get isOpen() {
      return isOpen;
    },
    open: async () => void (isOpen = true),
    close: () => (isOpen = false),
    send: async (_name, work) => work(),
    onBroken: () => undefined,
  };
  const redis = new Redis(
    { kind: 'url', url: 'redis://model' },
    'model',
    modelRedisClient(new ModelRedis(), connection),
  );
  await redis.availability.start();
  return redis;
}

function aCheckpoint(given: Partial<Checkpoint> = {}): Checkpoint {
  const position = given.position ?? 1;
  const of = {
    ledgerId: 'l',
    generation: 1,
    foldVersion: 'f',
    base: 0,
    position,
    entryHash: `h${position}`,
    at: position,
    evicted,
  };
  return { ...of, ...given };
}

/** Statistics of orders, one for each user, over so many cents. */
function statisticsOf(
  ...orders: { user: string; value: number; month?: string; product?: string; failed?: boolean }[]
): Statistics {
  const figures = emptyStatistics();
  for (const { user, value, month = '2026-01', product = 'P1', failed = false } of orders) {
    const entry: ProjectedEntry = {
      position: 1,
      kind: 'order',
      refPosition: null,
      entryHash: 'h',
      outcome: failed ? 'failed' : 'accepted',
      userId: user,
      orderedAt: Date.parse(`${month}-15T12:00:00Z`),
      value: failed ? null : cents(value),
      lines: failed ? [] : [{ product_id: product, quantity: 1, cents: cents(value) }],
    };
    fold(figures, entry, { calendar: CALENDAR, base: 0 });
  }
  return figures;
}

function idsOf(members: StoredMember[]): string[] {
  return members.map(({ id }) => id);
}

describe.each([
  ['the server', theServer],
  ['the model of it in the simulation', theModel],
])('%s', (_name, redisOf) => {
  let redis: Redis;
  let store: StatisticsRepository;
  beforeEach(async () => {
    redis = await redisOf();
    store = new StatisticsRepository(redis);
  });

  it('adds figures where the checkpoint is where they begin, and moves it', async () => {
    await store.begin(aCheckpoint());
    const to = { position: 2, entryHash: 'h2', at: 2 };
    expect(await store.add(statisticsOf({ user: 'U1', value: 500 }), aCheckpoint(), to)).toBe('applied');
    expect(await store.checkpoint(1)).toEqual(aCheckpoint({ position: 2 }));
    const before = await storedStatistics(redis);
    expect(Object.keys(before)).toHaveLength(13);
    expect(await store.add(statisticsOf({ user: 'U1', value: 500 }), aCheckpoint(), to)).toBe('moved');
    for (const other of [{ ledgerId: 'other' }, { generation: 2 }, { foldVersion: 'other' }, { entryHash: 'other' }]) {
      const from = aCheckpoint({ position: 2, ...other });
      expect(await store.add(statisticsOf({ user: 'U1', value: 500 }), from, to)).toBe('moved');
    }
    expect(await storedStatistics(redis)).toEqual(before);
  });

  it('writes nothing where a key has another type, or a value is no whole number', async () => {
    const keys = redis.keys.generation(1);
    const to = { position: 2, entryHash: 'h2', at: 2 };
    const spoilt: [RedisCommand, string][] = [
      [['zadd', keys.user('U1'), 1, 'junk'], 'damaged'],
      [['hset', keys.usersBySpend, 'junk', 1], 'damaged'],
      [['hset', keys.month('2026-01'), 'revenue', 'junk'], 'damaged'],
      [['hset', keys.global, 'revenue', '1.5'], 'damaged'],
      [['hset', keys.productQuantity, 'P1', '1.5'], 'damaged'],
      [['hset', keys.day('2026-01-15'), 'revenue', '9007199254740991'], 'applied'],
    ];
    for (const [command, outcome] of spoilt) {
      await store.sweep(Infinity);
      await store.begin(aCheckpoint());
      await redis.atomically([command]);
      const before = await storedStatistics(redis);
      expect([command, await store.add(statisticsOf({ user: 'U1', value: 500 }), aCheckpoint(), to)]).toEqual([
        command,
        outcome,
      ]);
      if (outcome !== 'applied') expect(await storedStatistics(redis)).toEqual(before);
    }
  });

  it('is filled with figures and a checkpoint, gives it up at once, and the other keys when it is swept', async () => {
    for (const generation of [1, 2, 3]) {
      await store.fill(statisticsOf({ user: 'U1', value: 500 }), aCheckpoint({ generation }));
      expect(await store.checkpoint(generation)).toEqual(aCheckpoint({ generation }));
    }
    await store.retire(2);
    expect(await store.checkpoint(2)).toBeNull();
    await store.sweep(3, { expiring: 2 });
    const names = await generationKeys(redis);
    const left = (await redis.atomically(names.map((name) => ['ttl', name]))) as number[];
    const lifetimes = names.map((name, i) => [redis.keys.generationOf(name), left[i]! > 0] as const);
    expect(new Set(lifetimes.map(String))).toEqual(new Set(['2,true', '3,false']));
    await store.sweep(3, { keeping: 2 });
    expect(await generationKeys(redis)).toEqual(names);
  });

  it('reads nothing of figures of which some may have been evicted', async () => {
    await store.fill(statisticsOf({ user: 'U1', value: 500 }), aCheckpoint({ evicted: evicted + 1 }));
    expect(await store.evicted()).toBe(evicted);
    expect(await store.checkpoint(1)).toBeNull();
    expect(await store.mayHaveLost(1)).toBe(true);
    expect((await store.monthUsers(1, '2026-01', 2, null)).checkpoint).toBeNull();
    expect((await store.topProducts(1, 1)).checkpoint).toBeNull();
  });

  it('reads a page of the users of a month after another, and the products sold best', async () => {
    const orders = [3, 1, 2, 2].map((euros, i) => ({ user: `U${i}`, value: 100 * euros, product: `P${i % 2}` }));
    await store.fill(statisticsOf(...orders, { user: 'U9', value: 0, failed: true }), aCheckpoint());
    const first = await store.monthUsers(1, '2026-01', 2, null);
    expect(first.total).toEqual({ orders: '4', revenue: '800', failed: '1' });
    expect(idsOf(first.users)).toEqual(['U0', 'U3']);
    const after = { revenue: 200n, userId: 'U3' };
    expect(idsOf((await store.monthUsers(1, '2026-01', 9, after)).users)).toEqual(['U2', 'U1', 'U9']);
    const moved = { revenue: 150n, userId: 'U3' };
    expect(idsOf((await store.monthUsers(1, '2026-01', 9, moved)).users)).toEqual(['U1', 'U9']);
    expect(await store.monthUsers(1, '2026-02', 9, null)).toMatchObject({ total: {}, users: [] });
    expect(await store.topProducts(1, 1)).toMatchObject({
      checkpoint: { generation: 1, position: 1 },
      rankings: [
        [{ id: 'P0', figures: { revenue: '500', quantity: '2' } }],
        [{ id: 'P1', figures: { revenue: '300', quantity: '2' } }],
      ],
    });
    expect(await store.topUsers(1, 1, ['orders'])).toMatchObject({
      rankings: [[{ id: 'U3', figures: { orders: '1', revenue: '200' } }]],
    });
  });

  itWithRedis('answers each command of a transaction, with an error for a key of another type', async () => {
    await redis.atomically([['zadd', redis.keys.generation(1).global, 1, 'junk']]);
    const replies = await redis.atomicallyEach([
      ['hgetall', redis.keys.generation(1).global],
      ['hgetall', redis.keys.generation(1).day('2026-01-15')],
      ['zcard', redis.keys.generation(1).global],
    ]);
    expect(replies).toEqual([expect.objectContaining({ name: 'ReplyError' }), {}, 1]);
  });
});

const someFigures = fc
  .array(
    fc.record({
      user: fc.constantFrom('U1', 'U2', 'U3'),
      value: fc.integer({ min: 1, max: 9_999 }),
      month: fc.constantFrom('2026-01', '2026-02'),
      product: fc.constantFrom('P1', 'P2'),
      failed: fc.boolean(),
    }),
    { maxLength: 5 },
  )
  .map((orders) => statisticsOf(...orders));
const generation = fc.integer({ min: 1, max: 3 });
const position = fc.integer({ min: 1, max: 3 });

/** Something that is done to a Redis, and what it answers. */
type Step = (redis: Redis, store: StatisticsRepository) => Promise<unknown>;
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(generation, position).map(([generation, position]): Step => {
    return (_, store) => store.begin(aCheckpoint({ generation, position }));
  }),
  fc.tuple(generation, position, position, someFigures).map(([generation, from, to, figures]): Step => {
    const reached = { position: to, entryHash: `h${to}`, at: to };
    return (_, store) => store.add(figures, aCheckpoint({ generation, position: from }), reached);
  }),
  fc.tuple(generation, position, someFigures).map(([generation, position, figures]): Step => {
    return (_, store) => store.fill(figures, aCheckpoint({ generation, position }));
  }),
  generation.map(
    (generation): Step =>
      (_, store) =>
        store.retire(generation),
  ),
  fc.tuple(generation, generation).map(
    ([before, keeping]): Step =>
      (_, store) =>
        store.sweep(before, { keeping }),
  ),
  fc.tuple(generation, fc.constantFrom('hset', 'zadd')).map(([generation, command]): Step => {
    return async (redis) => {
      // The model in memory that the suite may run against knows no wrong types.
      if (Reflect.get(own.part, 'inMemory')) return null;
      return redis.atomicallyEach([[command, redis.keys.generation(generation).month('2026-01'), 1, 'x']]);
    };
  }),
  fc.tuple(generation, fc.constantFrom('U1', 'U2', 'U4')).map(([generation, userId]): Step => {
    return (_, store) => store.monthUsers(generation, '2026-01', 2, { revenue: 500n, userId });
  }),
  generation.map(
    (generation): Step =>
      (_, store) =>
        store.topProducts(generation, 2),
  ),
);

it('the model and the server answer alike, whatever is done to them, and hold the same', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const [server, model] = [await theServer(), await theModel()];
      const stores = [server, model].map((redis) => [redis, new StatisticsRepository(redis)] as const);
      for (const step of steps) {
        const [expected, answer] = await Promise.all(stores.map(([redis, store]) => step(redis, store).catch(nameOf)));
        expect(answer).toEqual(expected);
      }
      const held = Object.entries(await storedStatistics(server)).map(([key, values]) => {
        return [key.replace(/^{.*}/, '{model}'), values] as const;
      });
      expect(await storedStatistics(model)).toEqual(Object.fromEntries(held));
    }),
    { numRuns: 100 },
  );
});

/** What is alike of an error. */
function nameOf(error: unknown): string {
  return (error as Error).name;
}
