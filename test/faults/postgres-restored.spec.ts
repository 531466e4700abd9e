import { Logger } from '@nestjs/common';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { FiguresWatch } from '../support/figures-watch.js';
import { bodiesIn } from '../support/mixed-traffic.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { RealWorld } from '../support/real-world.js';
import { ServiceUnderFaults } from '../support/service-under-faults.js';

let world: RealWorld;
let broken: ServiceUnderFaults | null = null;

beforeAll(async () => {
  if (hasRedisServer) world = await RealWorld.make();
});

afterEach(async () => {
  jest.restoreAllMocks();
  await broken?.stop();
  broken = null;
});

afterAll(() => world?.destroy());

async function ready(test: string): Promise<ServiceUnderFaults> {
  broken = await ServiceUnderFaults.ready(world, seededFor(test));
  return broken;
}

/** A service that has processed orders which the saved state of its database holds, and others which it does not. */
async function withOrdersSinceSaved(test: string): Promise<ServiceUnderFaults> {
  const under = await ready(test);
  await under.traffic.send(50);
  await under.service.settled();
  await world.postgres.save();
  await under.service.isReady();
  await under.traffic.send(50);
  await under.traffic.isThrough();
  await under.service.settled();
  return under;
}

/** What is said from now on of a ledger that was put back. */
function linesOfLoss(): string[] {
  const lines: string[] = [];
  jest.spyOn(Logger.prototype, 'warn').mockImplementation((line: unknown) => {
    if (String(line).startsWith('The ledger was put back to an earlier state')) lines.push(String(line));
  });
  return lines;
}

/** The bodies that were acknowledged and are not in the ledger. */
async function lostOf(under: ServiceUnderFaults): Promise<string[]> {
  const stored = await bodiesIn((text) => under.query(text));
  return [...under.traffic.acknowledged].filter((body) => !stored.has(body));
}

/** What was lost is sent again, and then everything that was ever sent has to be there once. */
async function faultsOnceSentAgain(under: ServiceUnderFaults, lost: string[]): Promise<string[]> {
  await under.traffic.sendAgain(lost);
  return under.faults();
}

describe('A ledger that is restored to an earlier state', () => {
  itWithRedis(
    'under load is noticed and said, loses what came since and nothing else, and counts that when it is sent again',
    async () => {
      const lines = linesOfLoss();
      const times = atScale(1, 4);
      const under = await ready('PostgreSQL restored under load');
      const { traffic } = under;
      const watch = new FiguresWatch(under);
      traffic.start();
      let lostInAll = 0;
      for (let time = 1; time <= times; time++) {
        await traffic.goesOn(100);
        const before = new Set(traffic.acknowledged);
        await world.postgres.save();
        await traffic.isThrough();
        await traffic.goesOn(100);
        let atStake = new Set<string>();
        await watch.whileReplaced(async () => {
          await world.postgres.restore();
          atStake = new Set([...traffic.acknowledged, ...traffic.inHand]);
        });
        await traffic.stop();
        await traffic.isThrough();
        await under.service.settled();
        const lost = await lostOf(under);
        expect(lost.filter((body) => before.has(body) || !atStake.has(body))).toEqual([]);
        expect(lost.length).toBeGreaterThan(0);
        lostInAll += lost.length;
        expect(lines).toHaveLength(time);
        await traffic.sendAgain(lost);
        await under.service.settled();
        traffic.start();
      }
      expect(await under.faults()).toEqual([]);
      expect(await watch.stop()).toEqual([]);
      tell(`${times} times restored, ${lostInAll} orders lost by it and counted again; ${lines[0]}`);
      tell(`${watch.answers} answers; Redis was seen ahead of the ledger ${watch.sightings} times, and served never`);
    },
  );

  itWithRedis('while nothing happens is noticed before figures of what is gone are served', async () => {
    const lines = linesOfLoss();
    const under = await withOrdersSinceSaved('PostgreSQL restored at rest');
    const watch = new FiguresWatch(under);
    await watch.whileReplaced(() => world.postgres.restore());
    await eventually(() => expect(lines).toHaveLength(1), 60_000);
    const lost = await lostOf(under);
    expect(lost.length).toBeGreaterThan(0);
    await under.service.settled();
    expect(await watch.stop()).toEqual([]);
    expect(await faultsOnceSentAgain(under, lost)).toEqual([]);
  });

  for (const [then, orders] of [
    ['nothing comes', 0],
    ['others come in its place', 80],
  ] as const) {
    itWithRedis(`of which what is gone was not counted yet is noticed and said, where ${then} after it`, async () => {
      const lines = linesOfLoss();
      const under = await ready(`PostgreSQL restored before anything was counted, ${then}`);
      await under.traffic.send(50);
      await under.service.settled();
      await world.postgres.save();
      await under.service.isReady();
      world.redis.stall();
      try {
        await under.traffic.send(50);
        await under.traffic.isThrough();
        await world.postgres.restore();
      } finally {
        world.redis.resume();
      }
      if (orders > 0) await under.traffic.send(orders);
      await eventually(() => expect(lines).toHaveLength(1), 60_000);
      await under.service.isReady();
      await under.traffic.isThrough();
      const lost = await lostOf(under);
      expect(lost.length).toBeGreaterThan(0);
      expect(await faultsOnceSentAgain(under, lost)).toEqual([]);
      expect(lines).toHaveLength(1);
    });
  }

  itWithRedis('while figures are on their way to Redis that it still has is noticed and said', async () => {
    const lines = linesOfLoss();
    const under = await ready('PostgreSQL restored during a fold');
    const store = under.service.app.get(StatisticsRepository);
    const add = store.add.bind(store);
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    const adding = jest.spyOn(store, 'add').mockImplementation(async (...figures) => {
      await released;
      return add(...figures);
    });
    await under.traffic.send(20);
    await eventually(() => expect(adding).toHaveBeenCalled());
    await under.traffic.isThrough();
    await world.postgres.save();
    await under.traffic.send(20);
    await under.traffic.isThrough();
    await world.postgres.restore();
    await eventually(() => expect(under.service.database.availability.up).toBe(true), 60_000);
    release();
    await eventually(() => expect(lines).toHaveLength(1), 60_000);
    await under.service.isReady();
    const lost = await lostOf(under);
    expect(lost.length).toBeGreaterThan(0);
    expect(await faultsOnceSentAgain(under, lost)).toEqual([]);
  });

  itWithRedis(
    'while no service runs is noticed and said by the next, even where the figures were rebuilt since',
    async () => {
      const lines = linesOfLoss();
      const under = await withOrdersSinceSaved('PostgreSQL restored while the service is down');
      const { body } = await under.service.call('POST', '/stats/rebuild');
      await eventually(async () => {
        const rebuild = await under.service.get(`/stats/rebuild/${body.id}`);
        expect(rebuild.body.state).toBe('done');
      }, 60_000);
      await under.restart(() => world.postgres.restore());
      expect(lines).toHaveLength(1);
      const lost = await lostOf(under);
      expect(lost.length).toBeGreaterThan(0);
      expect(await faultsOnceSentAgain(under, lost)).toEqual([]);
    },
  );

  itWithRedis('control: figures that are ahead of the ledger and served are found', async () => {
    const under = await withOrdersSinceSaved('a ledger put back unnoticed');
    const projector = under.service.app.get(Projector);
    jest.spyOn(projector as unknown as { invalidate(): void }, 'invalidate').mockImplementation();
    const watch = new FiguresWatch(under);
    await watch.whileReplaced(() => world.postgres.restore());
    await under.service.isReady();
    await eventually(() => {
      expect(watch.found).toContainEqual(expect.stringMatching(/were served, and the ledger ends at/));
    }, 60_000);
  });
});
