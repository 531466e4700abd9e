import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Ledger } from '../../src/ledger/ledger.js';
import { Database, type Executor } from '../../src/platform/database/database.js';
import { EmbeddedLedger } from '../../src/platform/embedded/embedded-ledger.js';
import { cents } from '../../src/shared/money.js';
import type { JudgedMessage } from '../../src/shared/order-event.js';
import { Aggregation } from '../../src/stats/aggregation.js';
import { FigureStore } from '../../src/stats/figure-store.js';
import { ProjectionAuthority } from '../../src/stats/projection-authority.js';
import { Rebuild } from '../../src/stats/rebuild.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { expectExactFigures, expectNoStrayKeys, servedGeneration } from '../support/exact-figures.js';
import { aJudgedMessage, entriesArgument } from '../support/judged-messages.js';
import { itWithRedis } from '../support/only-on.js';
import { onServer, ownDatabase, prepareEmbeddedLedger } from '../support/parts.js';
import { figuresOf, restoreFigures, storedFigures } from '../support/stored-figures.js';
import { anOrderOfTraffic, Traffic } from '../support/traffic.js';

beforeAll(() => Logger.overrideLogger(false));
afterEach(() => jest.restoreAllMocks());

describe('while a service runs', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await service.send(...Array.from({ length: 20 }, (_, i) => anOrderOfTraffic(i)));
    await service.settled();
  });
  afterAll(() => service.stop());

  /** Does harm in the middle of traffic, and expects it to be noticed, never to be served, and to be mended exactly. */
  async function expectMended(harm: () => Promise<unknown>): Promise<void> {
    const before = servedGeneration(service);
    const traffic = Traffic.start(service);
    try {
      await traffic.around(harm);
      await eventually(() => expect(servedGeneration(service)).toBeGreaterThan(before), 20_000);
      await traffic.goesOn();
    } finally {
      await traffic.stop();
    }
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  }

  const keys = (): ReturnType<RunningService['redis']['keys']['generation']> =>
    service.redis.keys.generation(servedGeneration(service));

  it('traffic alone leaves the generation in service and the figures exact', async () => {
    const before = servedGeneration(service);
    const traffic = Traffic.start(service);
    await traffic.around(() => Promise.resolve());
    await traffic.stop();
    expect(servedGeneration(service)).toBe(before);
    expect(traffic.reads.rebuilding).toBe(0);
    await expectExactFigures(service);
  });

  it('a wiped Redis is noticed and mended', async () => {
    await expectMended(() => restoreFigures(service.redis, {}));
  });

  it('a lost checkpoint is noticed and mended', async () => {
    await expectMended(() => service.redis.client.del(keys().checkpoint));
  });

  it('an older snapshot is noticed and mended', async () => {
    await service.settled();
    const snapshot = await storedFigures(service.redis);
    await expectMended(() => restoreFigures(service.redis, snapshot));
  });

  it('an older snapshot is noticed without traffic too', async () => {
    await service.settled();
    const snapshot = await storedFigures(service.redis);
    await service.send(anOrderOfTraffic(0));
    await service.settled();
    const before = servedGeneration(service);
    const traffic = Traffic.start(service, { sends: false });
    await restoreFigures(service.redis, snapshot);
    await eventually(() => expect(servedGeneration(service)).toBeGreaterThan(before));
    await traffic.stop();
    await expectExactFigures(service);
  });

  it('a snapshot of an earlier generation is noticed and mended', async () => {
    await service.settled();
    const snapshot = await storedFigures(service.redis);
    await service.app.get(Rebuild).run('a test');
    await expectMended(() => restoreFigures(service.redis, snapshot));
  });

  it('figures of another fold version are noticed and mended', async () => {
    await expectMended(() => service.redis.client.hset(keys().checkpoint, 'fold_version', '0/UTC'));
  });

  it('figures of another ledger are noticed and mended', async () => {
    await expectMended(() => service.redis.client.hset(keys().checkpoint, 'ledger_id', 'another'));
  });

  for (const damaged of ['global', 'usersBySpend', 'productsByQuantity'] as const) {
    itWithRedis(`a key that holds something else (${damaged}) is noticed and mended`, async () => {
      await expectMended(() =>
        service.redis.atomically([
          ['del', keys()[damaged]],
          ['set', keys()[damaged], 'something else'],
        ]),
      );
    });
  }

  it('a value that is no number is noticed and mended', async () => {
    await expectMended(() => service.redis.client.hset(keys().global, 'revenue', 'much'));
  });

  itWithRedis('a damaged key that only a reader meets is noticed and mended', async () => {
    const ofLongAgo = { ...anOrderOfTraffic(0), user_id: 'U-QUIET', order_timestamp: '2025-06-01T00:00:00Z' };
    await service.send(ofLongAgo);
    await service.settled();
    const before = servedGeneration(service);
    const damaged = [
      keys().user('U-QUIET'),
      keys().month('2025-06'),
      keys().day('2025-06-01'),
      keys().monthUsers('2025-06'),
    ];
    await service.redis.atomically(
      damaged.flatMap((key) => [
        ['del', key],
        ['set', key, 'something else'],
      ]),
    );
    for (const path of [
      '/users/U-QUIET/stats',
      '/stats/monthly/2025-06',
      '/stats/monthly?start=2025-06&end=2025-06',
      '/stats/daily?start=2025-06-01&end=2025-06-01',
    ]) {
      const { status, body } = await service.get(path);
      expect([path, status === 200 ? body : body.code]).not.toEqual([path, 'internal_error']);
      await eventually(async () => expect((await service.get(path)).status).toBe(200));
    }
    expect(servedGeneration(service)).toBeGreaterThan(before);
    await expectExactFigures(service);
  });

  it('a rebuild in traffic never takes the figures back', async () => {
    const traffic = Traffic.start(service);
    await traffic.around(async () => {
      for (let i = 0; i < 6; i++) expect(await service.app.get(Rebuild).run('a test')).toBe(true);
    });
    await traffic.stop();
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });

  it('a ledger that was put back and has grown past the figures since is noticed and mended', async () => {
    await service.settled();
    const before = servedGeneration(service);
    const { position } = await service.app.get(Ledger).head();
    const traffic = Traffic.start(service, { sends: false });
    try {
      await service.database.transaction((tx) => putLedgerBack(tx, position - 20, 40));
      await eventually(() => expect(servedGeneration(service)).toBeGreaterThan(before));
    } finally {
      await traffic.stop();
    }
    await expectExactFigures(service);
  });

  it('a ledger that was put back is noticed and mended', async () => {
    await service.settled();
    const before = servedGeneration(service);
    await service.database.transaction((tx) => putLedgerBack(tx, 10, 0));
    await eventually(() => expect(servedGeneration(service)).toBeGreaterThan(before));
    await expectExactFigures(service);
    await service.send(anOrderOfTraffic(0));
    await expectExactFigures(service);
  });

  describe('a rebuild that crashes', () => {
    const steps: [string, (crash: () => Promise<never>) => jest.SpyInstance][] = [
      ['before it begins', (crash) => jest.spyOn(service.app.get(FigureStore), 'sweep').mockImplementationOnce(crash)],
      [
        'while it reads the ledger',
        (crash) => jest.spyOn(service.app.get(Aggregation), 'figures').mockImplementationOnce(crash),
      ],
      [
        'before it fills Redis',
        (crash) => jest.spyOn(service.app.get(FigureStore), 'fill').mockImplementationOnce(crash),
      ],
      [
        'when Redis is filled',
        (crash) => jest.spyOn(service.app.get(FigureStore), 'complete').mockImplementationOnce(crash),
      ],
      [
        'before it switches',
        (crash) => jest.spyOn(service.app.get(ProjectionAuthority), 'switchTo').mockImplementationOnce(crash),
      ],
      [
        'when it has switched',
        (crash) => jest.spyOn(service.app.get(FigureStore), 'retire').mockImplementationOnce(crash),
      ],
    ];

    it.each(steps)('%s leaves right figures, and the next one nothing behind', async (_, plant) => {
      const traffic = Traffic.start(service);
      try {
        await traffic.around(async () => {
          const crash = plant(() => Promise.reject(new Error('crashed')));
          await expect(service.app.get(Rebuild).run('a test')).rejects.toThrow('crashed');
          crash.mockRestore();
        });
        await traffic.around(async () => expect(await service.app.get(Rebuild).run('a test')).toBe(true));
      } finally {
        await traffic.stop();
      }
      await expectExactFigures(service);
      await expectNoStrayKeys(service);
    });

    it('does not keep the next one waiting for its lease, even where it can not give that back', async () => {
      const authority = service.app.get(ProjectionAuthority);
      jest.spyOn(authority, 'giveUp').mockRejectedValueOnce(new Error('gone too'));
      jest.spyOn(service.app.get(FigureStore), 'fill').mockRejectedValueOnce(new Error('crashed'));
      await expect(service.app.get(Rebuild).run('a test')).rejects.toThrow('crashed');
      expect(await service.app.get(Rebuild).run('a test')).toBe(false);
      expect((await authority.read()).building).not.toBeNull();
      await service.database.query(sql`update projection set builder_until = now() - interval '1 second'`);
      expect(await service.app.get(Rebuild).run('a test')).toBe(true);
      await expectExactFigures(service);
      await expectNoStrayKeys(service);
    });
  });
});

describe('over a restart', () => {
  let world: World;

  beforeEach(async () => (world = await aWorld()));
  afterEach(() => world.destroy());

  /** Runs a service in the world while something is done with it. */
  async function withService<T>(
    work: (service: RunningService) => Promise<T>,
    environment: Record<string, string> = {},
  ): Promise<T> {
    const service = await RunningService.ready({ world, environment });
    try {
      return await work(service);
    } finally {
      await service.stop();
    }
  }

  async function sendTraffic(service: RunningService, count: number): Promise<void> {
    await service.send(...Array.from({ length: count }, (_, i) => anOrderOfTraffic(i)));
    await expectExactFigures(service);
  }

  it('the figures are the same; with another business time zone days and months are cut anew', async () => {
    const atMidnight = { ...anOrderOfTraffic(0), order_timestamp: '2026-01-31T23:30:00Z' };
    const read = async (service: RunningService): Promise<unknown> => {
      await expectExactFigures(service);
      const { body } = await service.get('/stats/daily?start=2026-01-31&end=2026-02-01');
      return body.days.map((day: { total_orders: number }) => day.total_orders);
    };
    await withService(async (service) => {
      await service.send(atMidnight);
      await sendTraffic(service, 20);
      expect(await read(service)).toEqual([1, 0]);
    });
    await withService(async (service) => expect(await read(service)).toEqual([0, 1]), {
      BUSINESS_TIME_ZONE: 'Europe/Berlin',
    });
    await withService(async (service) => expect(await read(service)).toEqual([1, 0]));
  });

  itWithRedis('a ledger that was put back and has grown past the figures since is noticed and mended', async () => {
    const generation = await withService(async (service) => {
      const before = servedGeneration(service);
      await sendTraffic(service, 30);
      await service.app.get(Rebuild).run('a test');
      return before;
    });
    await withLedgerOf(world, (database) =>
      database.transaction(async (tx) => {
        await putLedgerBack(tx, 12, 25);
        await tx.query(sql`update projection set generation = ${generation}, last_generation = ${generation}`);
      }),
    );
    await withService(async (service) => {
      await expectExactFigures(service);
      await sendTraffic(service, 10);
      await expectNoStrayKeys(service);
    });
    await withLedgerOf(world, (database) => database.transaction((tx) => putLedgerBack(tx, 5, 0)));
    await withService((service) => sendTraffic(service, 10));
  });

  itWithRedis('a new ledger under the same Redis is noticed and mended', async () => {
    await withService((service) => sendTraffic(service, 30));
    const replaced = await replaceLedger(world);
    try {
      await withService(async (service) => {
        await expectExactFigures(service);
        expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: 0, as_of: { position: 0 } });
        await sendTraffic(service, 10);
        await expectNoStrayKeys(service);
      }, replaced.environment);
    } finally {
      await replaced.destroy();
    }
  });

  itWithRedis('a clearing that comes before a new ledger was compared begins at zero all the same', async () => {
    await withService((service) => sendTraffic(service, 30));
    const replaced = await replaceLedger(world);
    try {
      const comparing = jest.spyOn(Rebuild.prototype, 'run').mockResolvedValue(false);
      const service = await RunningService.start({ world, environment: replaced.environment });
      try {
        await eventually(() => expect(comparing).toHaveBeenCalled());
        expect(await service.call('DELETE', '/clear_redis_db')).toMatchObject({ status: 200 });
        comparing.mockRestore();
        await expectExactFigures(service);
        await sendTraffic(service, 10);
        await expectNoStrayKeys(service);
      } finally {
        await service.stop();
      }
    } finally {
      await replaced.destroy();
    }
  });
});

describe('two services on the same parts', () => {
  const itOnBoth = itWithRedis;
  let worlds: World[];
  let one: RunningService;
  let other: RunningService;

  async function startBoth(): Promise<void> {
    worlds = [await aWorld(), await aWorld()];
    const { DATABASE_URL, REDIS_KEY_PREFIX } = worlds[0]!.environment as Record<
      'DATABASE_URL' | 'REDIS_KEY_PREFIX',
      string
    >;
    one = await RunningService.ready({ world: worlds[0]! });
    other = await RunningService.ready({ world: worlds[1]!, environment: { DATABASE_URL, REDIS_KEY_PREFIX } });
  }

  async function stopBoth(): Promise<void> {
    await Promise.all([one.stop(), other.stop()]);
    await Promise.all(worlds.map((world) => world.destroy()));
  }

  /** A test with both running. */
  function itWithBoth(name: string, test: () => Promise<void>): void {
    itOnBoth(name, async () => {
      await startBoth();
      try {
        await test();
      } finally {
        await stopBoth();
      }
    });
  }

  itWithBoth('project without counting anything twice, and are both right all the time', async () => {
    const traffic = [Traffic.start(one), Traffic.start(other)];
    await traffic[0]!.around(() => traffic[1]!.goesOn());
    await traffic[1]!.around(() => one.app.get(Rebuild).run('a test'));
    await traffic[0]!.around(() => restoreFigures(one.redis, {}));
    await traffic[1]!.goesOn();
    await Promise.all(traffic.map((each) => each.stop()));
    for (const service of [one, other]) await service.settled();
    for (const service of [one, other]) {
      await expectExactFigures(service);
      await expectNoStrayKeys(service);
    }
    expect(servedGeneration(one)).toBe(servedGeneration(other));
  });

  itWithBoth("see each other's clearing at once", async () => {
    for (const [clearing, reading] of [
      [one, other],
      [other, one],
    ] as const) {
      await clearing.send(...Array.from({ length: 10 }, (_, i) => anOrderOfTraffic(i)));
      await clearing.settled();
      await reading.settled();
      expect((await reading.get('/stats/global')).body.total_orders).toBeGreaterThan(0);
      expect(await clearing.call('DELETE', '/clear_redis_db')).toMatchObject({ status: 200 });
      for (const service of [reading, clearing]) {
        const { status, body } = await service.get('/stats/global');
        expect(status === 200 ? body.total_orders : body.code).toEqual(status === 200 ? 0 : 'stats_rebuilding');
        expect((await service.get('/stats/top/10')).body).toEqual([]);
      }
      await reading.send(anOrderOfTraffic(0));
      await reading.settled();
      await eventually(async () => expect((await clearing.get('/stats/global')).body.total_orders).toBe(1));
      await expectExactFigures(one);
      await expectExactFigures(other);
      await expectNoStrayKeys(one);
    }
  });

  itWithBoth('go on from a clearing that comes while the other one rebuilds', async () => {
    await one.send(...Array.from({ length: 10 }, (_, i) => anOrderOfTraffic(i)));
    await expectExactFigures(one);
    const store = other.app.get(FigureStore);
    const sweep = store.sweep.bind(store);
    // The clearing, and an order after it, come just before the rebuild tidies up.
    jest.spyOn(store, 'sweep').mockImplementationOnce(async (...args) => {
      await one.call('DELETE', '/clear_redis_db');
      await one.send(anOrderOfTraffic(0));
      await one.settled();
      const before = await figuresOf(one.redis, servedGeneration(one));
      await sweep(...args);
      expect(await figuresOf(one.redis, servedGeneration(one))).toEqual(before);
    });
    await expect(other.app.get(Rebuild).run('a test')).rejects.toThrow('was lost');
    for (const service of [one, other]) {
      await expectExactFigures(service);
      expect((await service.get('/stats/global')).body.total_orders).toBe(1);
    }
  });
});

/** Puts a ledger back to an earlier position, as restoring a backup does, and appends other entries. */
async function putLedgerBack(tx: Executor, position: number, appended: number): Promise<void> {
  for (const table of ['ledger', 'counted_orders', 'failed_contents']) {
    await tx.query(sql`delete from ${sql.identifier(table)} where position > ${position}`);
  }
  await tx.query(
    sql`update ledger_head set position = ${position},
          entry_hash = (select entry_hash from ledger where position = ${position})`,
  );
  const others = Array.from({ length: appended }, (_, i) => anEntryOfTraffic(i));
  if (appended > 0) await tx.query(sql`select * from append_entries(${entriesArgument(others)}::json)`);
}

/** What the service makes of a right order of the traffic. */
function anEntryOfTraffic(i: number): JudgedMessage {
  return aJudgedMessage({
    userId: `U${i % 3}`,
    value: cents(1_037),
    lines: [
      { product_id: 'PA', quantity: 1, price_per_unit: '4.37', cents: cents(437) },
      { product_id: 'PB', quantity: 2, price_per_unit: '3', cents: cents(600) },
    ],
  });
}

/** Gives a world another, empty ledger. */
async function replaceLedger(
  world: World,
): Promise<{ environment: Record<string, string>; destroy: () => Promise<void> }> {
  if (onServer) {
    const database = await ownDatabase();
    return { environment: { DATABASE_URL: database.url }, destroy: () => database.drop() };
  }
  rmSync(join(world.dataDir, 'ledger'), { recursive: true });
  await prepareEmbeddedLedger(world.dataDir);
  return { environment: {}, destroy: () => Promise.resolve() };
}

/** Works on the ledger of a world whose service is stopped. */
async function withLedgerOf<T>(world: World, work: (database: Database) => Promise<T>): Promise<T> {
  const store = onServer ? null : await EmbeddedLedger.open(world.dataDir);
  const database = store ? Database.embedded(store) : new Database(world.environment.DATABASE_URL!, 10_000);
  await database.availability.start();
  try {
    return await work(database);
  } finally {
    await database.onApplicationShutdown();
    await store?.close();
  }
}
