import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { Redis } from '../../src/platform/redis/redis.js';
import { decimalOfSum } from '../../src/domain/money.js';
import { Aggregation } from '../../src/stats/rebuild/aggregation.repository.js';
import type { Statistics } from '../../src/stats/projection/statistics.rules.js';
import { ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import type { RunningService } from './app.js';
import { eventually } from './eventually.js';
import { statisticsOf, generationKeys, storedFormOf } from './stored-figures.js';

/** What keeps statistics: a service, or no more of one than that. */
export interface StatisticsKeeper {
  ledger: Ledger;
  aggregation: Aggregation;
  authority: ProjectionStateRepository;
  projector: Projector;
  redis: Redis;
}

/** The generation that a service serves. @throws StatsRebuilding where it serves none */
export function servedGeneration(service: RunningService): number {
  return service.app.get(Projector).served().generation;
}

/** Expects every figure in Redis to be what SQL makes of the ledger, once everything has arrived. */
export async function expectExactFigures(service: RunningService): Promise<void> {
  await service.settled();
  const { global, position } = await expectExactStatistics(keeperIn(service));
  // For a moment after a switch there may be nothing to serve; what is served must be right.
  const { body } = await eventually(async () => {
    const answer = await service.get('/stats/global');
    expect(answer.status).toBe(200);
    return answer;
  });
  expect(body).toMatchObject({
    total_orders: global.orders,
    total_revenue: Number(JSON.stringify(decimalOfSum(global.revenue))),
    failed_orders: global.failed,
    corrected_orders: global.corrected,
    as_of: { position },
  });
}

/** The same past the API. @returns the totals, and up to which entry */
export async function expectExactStatistics(
  keeper: StatisticsKeeper,
): Promise<{ global: Statistics['global']; position: number }> {
  const { ledger, aggregation, authority, projector, redis } = keeper;
  const { position } = await ledger.head();
  // Whole generations: more than one where something had to be rebuilt.
  const { generation } = await eventually(() => {
    const served = projector.served();
    expect(served.position).toBe(position);
    return served;
  }, 30_000);
  const { base } = await authority.read();
  const figures = await aggregation.figures(base, position, base);
  const expected = await storedFormOf(figures);
  // A ledger without entries after the base has no figures, or zeros.
  if (position === base) delete expected.global;
  const stored = await statisticsOf(redis, generation);
  if (position === base && stored.global) delete stored.global;
  expect(stored).toEqual(expected);
  return { global: figures.global, position };
}

/** Expects no keys beside those of the generation in service but such as are about to go. */
export async function expectNoStrayKeys(service: RunningService): Promise<void> {
  await expectNoStrayStatistics(keeperIn(service));
}

/** The same past the API. */
export async function expectNoStrayStatistics({ projector, redis }: StatisticsKeeper): Promise<void> {
  const served = projector.served().generation;
  const names = await generationKeys(redis);
  const secondsLeft = (await redis.atomically(names.map((name) => ['ttl', name]))) as number[];
  const lasting = names.filter((_, i) => secondsLeft[i] === -1);
  const stray = lasting.filter((name) => redis.keys.generationOf(name) !== served);
  expect({ served, stray }).toEqual({ served, stray: [] });
  expect(lasting).toEqual(names.filter((name) => redis.keys.generationOf(name) === served));
}

function keeperIn({ app, redis }: RunningService): StatisticsKeeper {
  return {
    ledger: app.get(Ledger),
    aggregation: app.get(Aggregation),
    authority: app.get(ProjectionStateRepository),
    projector: app.get(Projector),
    redis,
  };
}
