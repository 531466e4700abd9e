import type { ModelSnapshot } from './model-redis.js';
import { NO_FAULTS, type FaultRates, type Part } from './network.js';
import type { SeededRandom } from '../seeded-random.js';
import type { Parts } from './simulated-process.js';

const SNAPSHOT_EVERY_MS = 1_000;

/** What happens to processes and parts, other than to single requests. */
export type Disturbance =
  | 'the database is away'
  | 'Redis is away'
  | 'the queue is away'
  | 'Redis is emptied'
  | 'Redis is emptied while it is filled'
  | 'a key is damaged'
  | 'a process stalls'
  | 'a process is killed'
  | 'a process is stopped'
  | 'figures are cleared'
  | 'a rebuild is asked for';

/** Which faults a seed has. */
export interface FaultPlan {
  rates: FaultRates;
  queue: { duplicate: number; revenant: number };
  disturbances: { after: number; what: Disturbance }[];
}

const HIGHEST_RATES: FaultRates = {
  crash: 0.01,
  requestLost: 0.02,
  answerLost: 0.02,
  silence: 0.005,
  doneLate: 0.01,
  refusedForNow: 0.03,
  slow: 0.03,
};

const DISTURBANCES: Disturbance[] = [
  'the database is away',
  'Redis is away',
  'Redis is away',
  'the queue is away',
  'Redis is emptied',
  'Redis is emptied while it is filled',
  'a key is damaged',
  'a process stalls',
  'a process is killed',
  'a process is stopped',
  'figures are cleared',
  'a rebuild is asked for',
  'a rebuild is asked for',
];

/** Every seed has some kinds of faults and not the others, for those that are frequent hide what the rare ones show. */
export function faultPlan(random: SeededRandom, withinMs: number): FaultPlan {
  const some = (highest: number): number => (random.happens(0.5) ? highest * random.next() : 0);
  const rates = { ...NO_FAULTS };
  for (const kind of Object.keys(HIGHEST_RATES) as (keyof FaultRates)[]) rates[kind] = some(HIGHEST_RATES[kind]);
  const kinds = DISTURBANCES.filter(() => random.happens(0.4));
  const count = kinds.length > 0 ? random.between(0, 6) : 0;
  return {
    rates,
    queue: { duplicate: some(0.1), revenant: some(0.05) },
    disturbances: Array.from({ length: count }, () => ({
      after: random.between(500, withinMs),
      what: random.oneOf(kinds),
    })),
  };
}

/** Takes parts away and brings them back. */
export class Outages {
  private readonly snapshots: ModelSnapshot[] = [];

  constructor(
    private readonly parts: Parts,
    private readonly until: number,
    keepsSnapshots: boolean,
  ) {
    if (!keepsSnapshots) return;
    const { time } = parts.network;
    time.at(time.now + SNAPSHOT_EVERY_MS, null, () => this.snapshots.push(parts.redis.snapshot()), SNAPSHOT_EVERY_MS);
  }

  of(part: Part): void {
    const { time, random, trace } = this.parts.network;
    if (!part.up) return;
    part.goAway();
    time.at(Math.min(this.until, time.now + random.between(50, 6_000)), null, () => {
      if (part.name === 'redis') this.redisComesBack();
      part.up = true;
      trace.add(part.name, 'is back');
    });
  }

  /** With what it had, with nothing, or with what it had before. */
  private redisComesBack(): void {
    const { network, redis } = this.parts;
    const { random, trace } = network;
    const luck = random.next();
    if (luck < 0.35) return trace.reach('redis: came back as it was');
    const older = luck < 0.7 ? this.snapshots : [];
    trace.reach(older.length > 0 ? 'redis: came back with an older snapshot' : 'redis: came back empty');
    redis.restore(older.length > 0 ? random.oneOf(older) : new Map());
  }
}
