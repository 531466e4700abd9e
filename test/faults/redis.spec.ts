import { Logger } from '@nestjs/common';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { RedisUnavailable } from '../../src/platform/redis/redis.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { Rebuild } from '../../src/stats/rebuild/rebuild.service.js';
import { RunningService } from '../support/app.js';
import { audit, auditOf, partsOf } from '../support/audit.js';
import { CheckedTraffic } from '../support/checked-traffic.js';
import { eventually } from '../support/eventually.js';
import { servedGeneration } from '../support/exact-figures.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import { RealWorld } from '../support/real-world.js';
import { evict, REDIS_FAULTS, type RedisFault, stopEvicting } from '../support/redis-faults.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { restoreStatistics, storedStatistics } from '../support/stored-figures.js';

const QUIET_USERS = 200;
const ROUNDS = atScale(1, 3);

describe('While orders keep coming, a Redis that is', () => {
  const itFails = itWithRedis;
  let world: RealWorld;
  let service: RunningService;

  beforeAll(async () => {
    if (!hasRedisServer) return;
    Logger.overrideLogger(false);
    world = await RealWorld.make();
    service = await RunningService.ready({ world });
    // Nothing but a read touches the keys of these later, so they are evicted first.
    const quiet = Array.from({ length: QUIET_USERS }, (_, i) => anOrderEvent({ user_id: `U-QUIET-${i}` }));
    await service.send(...quiet);
    await service.settled();
  });

  afterAll(async () => {
    await service?.stop();
    await world?.destroy();
  });

  /** Breaks Redis in the middle of traffic, and expects nobody to be told anything wrong. */
  async function expectSurvived(fault: RedisFault, random: SeededRandom): Promise<CheckedTraffic> {
    // The back-off is forgotten after 10 s without a fault, and tests come quicker than these.
    Reflect.set(service.redis.availability, 'attempts', 0);
    const { redis } = world;
    const traffic = await CheckedTraffic.start(service, random);
    try {
      await traffic.goesOn();
      try {
        await fault.strike(redis, random, () => traffic.intakeGoesOn());
        await traffic.intakeGoesOn(random.between(30, 90));
      } finally {
        await fault.lift(redis);
      }
      await traffic.goesOn();
    } finally {
      await traffic.stop();
    }
    expect(await auditOf(service)).toEqual([]);
    return traffic;
  }

  for (const fault of REDIS_FAULTS) {
    itFails(
      `${fault.title} stops no intake, is never read wrong, and has exact figures afterwards`,
      async () => {
        const random = seededFor(fault.title);
        for (let round = 0; round < ROUNDS; round++) {
          const { reads } = await expectSurvived(fault, random.branch(round));
          tell(`${fault.title}: ${reads.right} reads right, ${reads.refused} refused`);
        }
      },
      20 * 60_000,
    );
  }

  itFails('out of memory refuses transactions as a whole, and that is an outage, too', async () => {
    const { client } = world.redis;
    await client.config('SET', 'maxmemory', '1');
    try {
      const store = service.app.get(StatisticsRepository);
      await expect(store.checkpoint(servedGeneration(service))).rejects.toThrow(RedisUnavailable);
    } finally {
      await client.config('SET', 'maxmemory', '0');
    }
    await service.isReady();
  });

  /** Has users evicted, and nothing else. */
  async function evictUsers(): Promise<void> {
    expect(await auditOf(service)).toEqual([]);
    const { redis } = world;
    const keys = service.redis.keys.generation(servedGeneration(service));
    const users = Array.from({ length: QUIET_USERS }, (_, i) => keys.user(`U-QUIET-${i}`));
    // Only what has a time to live is evicted by this policy, so that the checkpoint stays.
    for (const user of users) await redis.client.expire(user, 86_400);
    await evict(redis, 'volatile-lru', 10_000);
  }

  /** Has users evicted, and the server started again from what it still held: it counts evictions from zero then. */
  async function evictedAndStartedAgain(): Promise<void> {
    await evictUsers();
    const { redis } = world;
    await eventually(async () => {
      const { status, body } = await service.get('/health/ready');
      expect([status, body.error?.redis?.reason]).toEqual([503, expect.stringContaining('volatile-lru')]);
    });
    await redis.save();
    await redis.restore();
    await service.isReady();
    await service.settled();
  }

  itFails('evicting is not trusted either when it is started again from what it still held', async () => {
    await evictedAndStartedAgain();
    expect(await auditOf(service)).toEqual([]);
  });

  itFails('evicting is not trusted either when it is started again before that could be written down', async () => {
    const { redis } = world;
    const withdraw = jest
      .spyOn(service.app.get(ProjectionStateRepository), 'withdraw')
      .mockRejectedValue(new DatabaseUnavailable('away'));
    await evictUsers();
    await stopEvicting(redis);
    await eventually(() => expect(withdraw).toHaveBeenCalled());
    await redis.save();
    await redis.restore();
    withdraw.mockRestore();
    await service.isReady();
    expect(await auditOf(service)).toEqual([]);
  });

  describe('not watched:', () => {
    afterEach(async () => {
      jest.restoreAllMocks();
      if (!hasRedisServer) return;
      await service.app.get(Rebuild).run('a test');
      expect(await auditOf(service)).toEqual([]);
    });

    itFails('control: figures that are trusted after they may have been evicted are found', async () => {
      jest.spyOn(service.app.get(ProjectionStateRepository), 'withdraw').mockResolvedValue(null);
      // Nor does it keep in mind what it could not write down.
      const projector = service.app.get(Projector);
      Object.defineProperty(projector, 'evictedFrom', { get: () => null, set: () => undefined, configurable: true });
      try {
        await evictedAndStartedAgain();
        expect(await audit(partsOf(service))).toContainEqual(expect.stringMatching(/^user:U-QUIET-\d+ .* is missing/));
      } finally {
        Object.defineProperty(projector, 'evictedFrom', { value: null, writable: true });
      }
    });

    itFails('control: a figure that goes without having been evicted is read, and found', async () => {
      await service.settled();
      const traffic = await CheckedTraffic.start(service, seededFor('control: a figure goes'));
      await traffic.goesOn();
      const keys = service.redis.keys.generation(servedGeneration(service));
      await world.redis.client.del(...Array.from({ length: QUIET_USERS }, (_, i) => keys.user(`U-QUIET-${i}`)));
      await traffic.ended;
      await expect(traffic.stop()).rejects.toThrow(
        /^Error: (\/users\/U-QUIET-\d+\/stats|\/stats\/top\/1000|\/users\?limit=1000) is right as of no entry/,
      );
      await service.settled();
      expect(await audit(partsOf(service))).toContainEqual(expect.stringMatching(/^user:U-QUIET-\d+ .* is missing/));
    });

    itFails('control: an older snapshot that is served is found', async () => {
      await service.settled();
      const projector = service.app.get(Projector);
      const snapshot = await storedStatistics(service.redis);
      const traffic = await CheckedTraffic.start(service, seededFor('control: an older snapshot is served'));
      await traffic.goesOn();
      jest.spyOn(projector, 'accepts').mockReturnValue(true);
      jest.spyOn(projector, 'invalidate' as never).mockImplementation();
      await restoreStatistics(service.redis, snapshot);
      await traffic.ended;
      await expect(traffic.stop()).rejects.toThrow(/went back from entry|is right as of no entry/);
    });
  });
});
