import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { Aggregation } from '../../src/stats/rebuild/aggregation.repository.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { Rebuild } from '../../src/stats/rebuild/rebuild.service.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { expectExactFigures, expectNoStrayKeys, servedGeneration } from '../support/exact-figures.js';
import { itWithRedis } from '../support/only-on.js';
import { putLedgerBack } from '../support/put-back-ledger.js';
import { statisticsOf, restoreStatistics, storedStatistics } from '../support/stored-figures.js';
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

  /** Does harm in the middle of traffic, and expects it to be noticed, never to be served, and to be recovered from exactly. */
  async function expectRecovery(harm: () => Promise<unknown>): Promise<void> {
    const before = servedGeneration(service);
    await using traffic = Traffic.start(service);
    await traffic.goesOn();
    await harm();
    await eventually(() => expect(servedGeneration(service)).toBeGreaterThan(before));
    await traffic.goesOn();
    await traffic.stop();
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  }

  const keys = (): ReturnType<RunningService['redis']['keys']['generation']> =>
    service.redis.keys.generation(servedGeneration(service));

  it('traffic alone leaves the generation in service and the figures exact', async () => {
    const before = servedGeneration(service);
    await using traffic = Traffic.start(service);
    await traffic.around(() => Promise.resolve());
    await traffic.stop();
    expect(servedGeneration(service)).toBe(before);
    expect(traffic.reads.rebuilding).toBe(0);
    await expectExactFigures(service);
  });

  it('a wiped Redis is noticed and recovered from', async () => {
    await expectRecovery(() => restoreStatistics(service.redis, {}));
  });

  it('a lost checkpoint is noticed and recovered from', async () => {
    await expectRecovery(() => service.redis.client.del(keys().checkpoint));
  });

  it('an older snapshot is noticed and recovered from', async () => {
    await service.settled();
    const snapshot = await storedStatistics(service.redis);
    await expectRecovery(() => restoreStatistics(service.redis, snapshot));
  });

  it('an older snapshot is noticed without traffic too', async () => {
    await service.settled();
    const snapshot = await storedStatistics(service.redis);
    await service.send(anOrderOfTraffic(0));
    await service.settled();
    const before = servedGeneration(service);
    await using traffic = Traffic.start(service, { sends: false });
    await restoreStatistics(service.redis, snapshot);
    await eventually(() => expect(servedGeneration(service)).toBeGreaterThan(before));
    await traffic.stop();
    await expectExactFigures(service);
  });

  it('a snapshot of an earlier generation is noticed and recovered from', async () => {
    await service.settled();
    const snapshot = await storedStatistics(service.redis);
    await service.app.get(Rebuild).run('a test');
    await expectRecovery(() => restoreStatistics(service.redis, snapshot));
  });

  it('figures of another fold version are noticed and recovered from', async () => {
    await expectRecovery(() => service.redis.client.hset(keys().checkpoint, 'fold_version', '0/UTC'));
  });

  it('figures of another ledger are noticed and recovered from', async () => {
    await expectRecovery(() => service.redis.client.hset(keys().checkpoint, 'ledger_id', 'another'));
  });

  for (const damaged of ['global', 'usersBySpend', 'productsByQuantity'] as const) {
    itWithRedis(`a key that holds something else (${damaged}) is noticed and recovered from`, async () => {
      await expectRecovery(() =>
        service.redis.atomically([
          ['del', keys()[damaged]],
          ['set', keys()[damaged], 'something else'],
        ]),
      );
    });
  }

  it('a value that is no number is noticed and recovered from', async () => {
    await expectRecovery(() => service.redis.client.hset(keys().global, 'revenue', 'much'));
  });

  itWithRedis('a damaged key that only a reader meets is noticed and recovered from', async () => {
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
    await using traffic = Traffic.start(service);
    await traffic.around(async () => {
      for (let i = 0; i < 6; i++) expect(await service.app.get(Rebuild).run('a test')).toBe(true);
    });
    await traffic.stop();
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });

  it('a ledger that was put back and has grown past the figures since is noticed and recovered from', async () => {
    await service.settled();
    const before = servedGeneration(service);
    const { position } = await service.app.get(Ledger).head();
    await using traffic = Traffic.start(service, { sends: false });
    await service.database.transaction((tx) => putLedgerBack(tx, position - 20, 40));
    await eventually(() => expect(servedGeneration(service)).toBeGreaterThan(before));
    await traffic.stop();
    await expectExactFigures(service);
  });

  it('a ledger that was put back is noticed and recovered from', async () => {
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
      [
        'before it begins',
        (crash) => jest.spyOn(service.app.get(StatisticsRepository), 'sweep').mockImplementationOnce(crash),
      ],
      [
        'while it reads the ledger',
        (crash) => jest.spyOn(service.app.get(Aggregation), 'figures').mockImplementationOnce(crash),
      ],
      [
        'before it fills Redis',
        (crash) => jest.spyOn(service.app.get(StatisticsRepository), 'fill').mockImplementationOnce(crash),
      ],
      [
        'when Redis is filled',
        (crash) => jest.spyOn(service.app.get(StatisticsRepository), 'complete').mockImplementationOnce(crash),
      ],
      [
        'before it switches',
        (crash) => jest.spyOn(service.app.get(ProjectionStateRepository), 'switchTo').mockImplementationOnce(crash),
      ],
      [
        'when it has switched',
        (crash) => jest.spyOn(service.app.get(StatisticsRepository), 'retire').mockImplementationOnce(crash),
      ],
    ];

    it.each(steps)('%s leaves right figures, and the next one nothing behind', async (_, plant) => {
      await using traffic = Traffic.start(service);
      await traffic.around(async () => {
        const crash = plant(() => Promise.reject(new Error('crashed')));
        await expect(service.app.get(Rebuild).run('a test')).rejects.toThrow('crashed');
        crash.mockRestore();
      });
      expect(await service.app.get(Rebuild).run('a test')).toBe(true);
      await traffic.stop();
      await expectExactFigures(service);
      await expectNoStrayKeys(service);
    });

    it('does not keep the next one waiting for its lease, even where it can not give that back', async () => {
      const authority = service.app.get(ProjectionStateRepository);
      jest.spyOn(authority, 'giveUp').mockRejectedValueOnce(new Error('gone too'));
      jest.spyOn(service.app.get(StatisticsRepository), 'fill').mockRejectedValueOnce(new Error('crashed'));
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

it('figures are the same after a restart; in another business time zone days and months are cut by it', async () => {
  const atMidnight = { ...anOrderOfTraffic(0), order_timestamp: '2026-01-31T23:30:00Z' };
  const world = await aWorld();

  /** Starts a service in the world. @returns how many orders the days before and after midnight have in it */
  async function ordersOfDays(
    environment: Record<string, string> = {},
    before: (service: RunningService) => Promise<void> = () => Promise.resolve(),
  ): Promise<number[]> {
    const service = await RunningService.ready({ world, environment });
    try {
      await before(service);
      await expectExactFigures(service);
      const { body } = await service.get('/stats/daily?start=2026-01-31&end=2026-02-01');
      return body.days.map((day: { total_orders: number }) => day.total_orders);
    } finally {
      await service.stop();
    }
  }

  try {
    const orders = [atMidnight, ...Array.from({ length: 20 }, (_, i) => anOrderOfTraffic(i))];
    expect(await ordersOfDays({}, (service) => service.send(...orders))).toEqual([1, 0]);
    expect(await ordersOfDays({ BUSINESS_TIME_ZONE: 'Europe/Berlin' })).toEqual([0, 1]);
    expect(await ordersOfDays()).toEqual([1, 0]);
  } finally {
    await world.destroy();
  }
});

describe('two services on the same parts', () => {
  let worlds: World[] = [];
  let one: RunningService;
  let other: RunningService;

  beforeAll(async () => {
    worlds = [await aWorld(), await aWorld()];
    const { DATABASE_URL, REDIS_KEY_PREFIX } = worlds[0]!.environment;
    one = await RunningService.ready({ world: worlds[0]! });
    other = await RunningService.ready({
      world: worlds[1]!,
      environment: { DATABASE_URL: DATABASE_URL!, REDIS_KEY_PREFIX: REDIS_KEY_PREFIX! },
    });
  });
  afterAll(async () => {
    await Promise.all([one?.stop(), other?.stop()]);
    await Promise.all(worlds.map((world) => world.destroy()));
  });

  itWithRedis('project without counting anything twice, and are both right all the time', async () => {
    await using ofOne = Traffic.start(one);
    await using ofOther = Traffic.start(other);
    const bothGoOn = (): Promise<unknown> => Promise.all([ofOne.goesOn(), ofOther.goesOn()]);
    await bothGoOn();
    await one.app.get(Rebuild).run('a test');
    await bothGoOn();
    await restoreStatistics(one.redis, {});
    await bothGoOn();
    await Promise.all([ofOne.stop(), ofOther.stop()]);
    for (const service of [one, other]) await service.settled();
    for (const service of [one, other]) {
      await expectExactFigures(service);
      await expectNoStrayKeys(service);
    }
    expect(servedGeneration(one)).toBe(servedGeneration(other));
  });

  itWithRedis("see each other's clearing at once", async () => {
    for (const [clearing, reading] of [
      [one, other],
      [other, one],
    ] as const) {
      await clearing.send(...Array.from({ length: 10 }, (_, i) => anOrderOfTraffic(i)));
      await clearing.settled();
      reading.app.get(Projector).onInterval();
      await reading.settled();
      expect((await reading.get('/stats/global')).body.total_orders).toBeGreaterThan(0);
      expect(await clearing.call('DELETE', '/clear_redis_db')).toMatchObject({ status: 200 });
      for (const service of [reading, clearing]) {
        const [global, top] = [await service.get('/stats/global'), await service.get('/stats/top/10')];
        expect([0, undefined]).toContain(global.body.total_orders);
        for (const { status, body } of [global, top]) {
          if (status !== 200) expect(body.code).toBe('stats_rebuilding');
        }
        if (top.status === 200) expect(top.body).toEqual([]);
      }
      await reading.send(anOrderOfTraffic(0));
      await reading.settled();
      clearing.app.get(Projector).onInterval();
      await eventually(async () => expect((await clearing.get('/stats/global')).body.total_orders).toBe(1));
      await expectExactFigures(one);
      await expectExactFigures(other);
      await expectNoStrayKeys(one);
    }
  });

  itWithRedis('go on from a clearing that comes while the other one rebuilds', async () => {
    await one.send(...Array.from({ length: 10 }, (_, i) => anOrderOfTraffic(i)));
    await expectExactFigures(one);
    const store = other.app.get(StatisticsRepository);
    const sweep = store.sweep.bind(store);
    // The clearing, and an order after it, come just before the rebuild tidies up.
    jest.spyOn(store, 'sweep').mockImplementationOnce(async (...args) => {
      await one.call('DELETE', '/clear_redis_db');
      await one.send(anOrderOfTraffic(0));
      await one.settled();
      const before = await statisticsOf(one.redis, servedGeneration(one));
      await sweep(...args);
      expect(await statisticsOf(one.redis, servedGeneration(one))).toEqual(before);
    });
    await expect(other.app.get(Rebuild).run('a test')).rejects.toThrow('was lost');
    for (const service of [one, other]) {
      await expectExactFigures(service);
      expect((await service.get('/stats/global')).body.total_orders).toBe(1);
    }
  });
});
