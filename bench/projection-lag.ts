import { Redis } from 'ioredis';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import { RedisKeys } from '../src/platform/redis/redis-keys.js';
import { sampleBodies } from './bodies.js';
import { drainService } from './drain.js';
import { scaled, type Measurement, type Reading } from './measurement.js';
import { servedGeneration, type OwnParts } from './parts.js';

const ORDERS = 20_000;
const LOOK_EVERY_MS = 3;

/** How far the figures are behind the ledger while a full queue is drained. */
export const PROJECTION_LAG: Measurement = {
  id: 'lag',
  what: `from an entry's commit until the figures cover it, p99 during a drain of ${ORDERS} orders`,
  against: '250 ms',
  unit: 'ms',
  toReach: { withTimeout: 250 },
  ours: (scale) => projectionLag(scaled(ORDERS, scale)),
};

/** What one look found: a position, and the moments between which it was there. Times in ms. */
interface Look {
  from: number;
  to: number;
  position: number;
}

/**
 * How long entries take from their commit until the figures in Redis cover them, ms, over all entries of a drain and its warm-up.
 * The ledger's head and the checkpoint are looked at from outside, and both ends taken at their worst: an entry may have
 * been committed as soon as the last look that did not show it began, and is covered when the first look that shows it
 * has ended. So every lag is too large by the time between two looks, and none is too small.
 */
async function projectionLag(count: number): Promise<Reading> {
  const heads: Look[] = [];
  const figures: Look[] = [];
  await drainService(sampleBodies, count, [], ({ parts }) => {
    const stop = new AbortController();
    const looking = Promise.all([lookAtHead(parts, heads, stop.signal), lookAtFigures(parts, figures, stop.signal)]);
    return async () => {
      stop.abort();
      await looking;
    };
  });
  const lags = lagsOf(heads, figures).sort((one, other) => one - other);
  if (lags.length < count / 2) throw new Error(`Only ${lags.length} entries were seen`);
  const quantile = (share: number): number => lags[Math.ceil(lags.length * share) - 1]!;
  return {
    value: quantile(0.99),
    facts: {
      medianMs: quantile(0.5),
      longestMs: quantile(1),
      longestTimeBetweenLooksMs: Math.max(longestPause(heads), longestPause(figures)),
    },
  };
}

async function lookAtHead({ databaseUrl }: OwnParts, looks: Look[], stop: AbortSignal): Promise<void> {
  const client = new Client(databaseUrl);
  await client.connect();
  try {
    await lookUntil(stop, looks, async () => {
      const { rows } = await client.query<{ position: string }>('select position from ledger_head');
      return Number(rows[0]!.position);
    });
  } finally {
    await client.end();
  }
}

async function lookAtFigures(parts: OwnParts, looks: Look[], stop: AbortSignal): Promise<void> {
  const key = new RedisKeys(parts.redisKeyPrefix).generation(await servedGeneration(parts)).checkpoint;
  const redis = new Redis(parts.redisUrl);
  try {
    await lookUntil(stop, looks, async () => Number(await redis.hget(key, 'position')));
  } finally {
    redis.disconnect();
  }
}

/** The last look begins after the stop. */
async function lookUntil(stop: AbortSignal, looks: Look[], position: () => Promise<number>): Promise<void> {
  let last = false;
  while (!last) {
    last = stop.aborted;
    const from = performance.now();
    looks.push({ position: await position(), from, to: performance.now() });
    await pause(LOOK_EVERY_MS);
  }
}

function lagsOf(heads: Look[], figures: Look[]): number[] {
  const lags: number[] = [];
  const first = Math.max(heads[0]!.position, figures[0]!.position) + 1;
  const last = Math.min(heads.at(-1)!.position, figures.at(-1)!.position);
  let [head, figure] = [0, 0];
  for (let position = first; position <= last; position++) {
    while (heads[head + 1]!.position < position) head++;
    while (figures[figure]!.position < position) figure++;
    lags.push(figures[figure]!.to - heads[head]!.from);
  }
  return lags;
}

function longestPause(looks: Look[]): number {
  return Math.max(...looks.slice(1).map(({ to }, i) => to - looks[i]!.from));
}
