import { Logger } from '@nestjs/common';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { Checkpoint } from '../../src/stats/projection/checkpoint.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { Rebuild } from '../../src/stats/rebuild/rebuild.service.js';
import type { RunningService } from '../support/app.js';
import { audit, auditOf, partsOf } from '../support/audit.js';
import { CheckedTraffic } from '../support/checked-traffic.js';
import { eventually } from '../support/eventually.js';
import { servedGeneration } from '../support/exact-figures.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import type { RealWorld } from '../support/real-world.js';
import { ServiceBehindNetwork } from '../support/service-behind-network.js';
import type { TcpProxy } from '../support/tcp-proxy.js';

const CUTS = atScale(30, 300);
/** No other script and no command answers this, and project.lua does so when it has moved the checkpoint. */
const DONE = '$7\r\napplied\r\n';

describe('A connection to Redis that breaks when the figures were added, before the service hears of it', () => {
  const itLosesReplies = itWithRedis;
  let behind: ServiceBehindNetwork | undefined;
  let world: RealWorld;
  let network: TcpProxy;
  let service: RunningService;

  beforeAll(async () => {
    if (!hasRedisServer) return;
    Logger.overrideLogger(false);
    behind = await ServiceBehindNetwork.ready();
    ({ world, network, service } = behind);
  });

  afterEach(() => jest.restoreAllMocks());

  afterAll(() => behind?.end());

  /**
   * Loses replies until they are so many.
   * @param spares whether the next one is passed on
   * @returns for each how far the service had known the figures to be, and how far they were
   */
  async function lose(count: number, spares: () => boolean): Promise<{ known: number; there: number }[]> {
    const projector = service.app.get(Projector);
    const lost: Promise<{ known: number; there: number }>[] = [];
    const key = service.redis.keys.generation(servedGeneration(service)).checkpoint;
    network.losesAnswer = (bytes) => {
      if (lost.length === count || !bytes.includes(DONE) || spares()) return false;
      const known = (Reflect.get(projector, 'seen') as Checkpoint).position;
      lost.push(world.redis.client.hget(key, 'position').then((there) => ({ known, there: Number(there) })));
      // The back-off is forgotten after 10 s without a fault only.
      Reflect.set(service.redis.availability, 'attempts', 0);
      return true;
    };
    await eventually(() => {
      if (lost.length < count) throw new Error(`${lost.length} of ${count} replies were lost`);
    }, 20 * 60_000);
    return Promise.all(lost);
  }

  itLosesReplies(
    `has nothing counted twice after ${CUTS} times, nor anything read wrong meanwhile`,
    async () => {
      const random = seededFor('replies of the projection script are lost');
      const choosing = random.branch(2);
      const generation = servedGeneration(service);
      const traffic = await CheckedTraffic.start(service, random);
      const since = performance.now();
      try {
        const lost = await Promise.race([lose(CUTS, () => choosing.happens(0.2)), traffic.ended]);
        expect(lost).toHaveLength(CUTS);
        // Each time Redis had carried out what the service never heard of.
        expect(lost!.filter(({ known, there }) => there <= known)).toEqual([]);
        await traffic.goesOn();
      } finally {
        await traffic.stop();
      }
      const { position } = await service.app.get(Ledger).head();
      const { right, refused } = traffic.reads;
      const seconds = ((performance.now() - since) / 1000).toFixed(0);
      tell(`${CUTS} replies lost in ${seconds} s, ${position} entries; reads: ${right} right, ${refused} refused`);
      expect(await auditOf(service)).toEqual([]);
      // They were found to be right as they were, not made anew.
      expect(servedGeneration(service)).toBe(generation);
    },
    25 * 60_000,
  );

  itLosesReplies('control: figures that are added again without a look at the checkpoint are found', async () => {
    const store = service.app.get(StatisticsRepository);
    const add = store.add.bind(store);
    jest.spyOn(store, 'add').mockImplementation(async (figures, from, to) => {
      try {
        return await add(figures, from, to);
      } catch {
        const there = await eventually(async () => store.checkpoint(from.generation));
        return add(figures, there!, to);
      }
    });
    const losing = lose(1, () => false);
    await service.send(...Array.from({ length: 20 }, () => anOrderEvent()));
    await losing;
    await service.settled();
    expect(await audit(partsOf(service))).toContainEqual(
      expect.stringMatching(/^user:U1 orders is \d+ instead of \d+$/),
    );

    jest.restoreAllMocks();
    await service.app.get(Rebuild).run('a test');
    expect(await auditOf(service)).toEqual([]);
  });
});
