import { Ledger } from '../../src/ledger/ledger.js';
import { Aggregation } from '../../src/stats/aggregation.js';
import { ProjectionAuthority } from '../../src/stats/projection-authority.js';
import { Projector } from '../../src/stats/projector.js';
import type { RunningService } from './app.js';
import { eventually } from './eventually.js';
import { figuresOf, generationKeys, storedFormOf } from './stored-figures.js';

/** The generation that a service serves. @throws StatsRebuilding where it serves none */
export function servedGeneration(service: RunningService): number {
  return service.app.get(Projector).served().generation;
}

/** Waits until the service serves again, and whole generations: more than one where something had to be mended. */
async function serves(service: RunningService): Promise<number> {
  return eventually(() => servedGeneration(service), 30_000);
}

/** Expects every figure in Redis to be what SQL makes of the ledger, once everything has arrived. */
export async function expectExactFigures(service: RunningService): Promise<void> {
  await service.settled();
  const generation = await serves(service);
  const { base } = await service.app.get(ProjectionAuthority).read();
  const { position } = await service.app.get(Ledger).head();
  const figures = await service.app.get(Aggregation).figures(base, position, base, service.config.businessTimeZone);
  const expected = await storedFormOf(figures);
  // A ledger without entries after the base has no figures, or zeros.
  if (position === base) delete expected.global;
  const stored = await figuresOf(service.redis, generation);
  if (position === base && stored.global) delete stored.global;
  expect(stored).toEqual(expected);
  // For a moment after a switch there may be nothing to serve; what is served must be right.
  const { body } = await eventually(async () => {
    const answer = await service.get('/stats/global');
    expect(answer.status).toBe(200);
    return answer;
  });
  expect(body).toMatchObject({
    total_orders: figures.global.orders,
    total_revenue: figures.global.revenue / 100,
    failed_orders: figures.global.failed,
    corrected_orders: figures.global.corrected,
    as_of: { position },
  });
}

/** Expects no keys beside those of the generation in service but such as are about to go. */
export async function expectNoStrayKeys(service: RunningService): Promise<void> {
  const served = servedGeneration(service);
  const names = await generationKeys(service.redis);
  const secondsLeft = (await service.redis.atomically(names.map((name) => ['ttl', name]))) as number[];
  const lasting = names.filter((_, i) => secondsLeft[i] === -1);
  const stray = lasting.filter((name) => service.redis.keys.generationOf(name) !== served);
  expect({ served, stray }).toEqual({ served, stray: [] });
  expect(lasting).toEqual(names.filter((name) => service.redis.keys.generationOf(name) === served));
}
