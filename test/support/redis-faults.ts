import { eventually } from './eventually.js';
import { atScale } from './fault-scale.js';
import { freePort } from './own-process.js';
import { RedisServer } from './redis-server.js';
import type { SeededRandom } from './seeded-random.js';

/** What may befall a Redis while a service uses it, and how that ends. */
export interface RedisFault {
  /** As a test is titled. */
  title: string;
  /** Resolves when it has taken effect. @param goesOn waits until intake has gone on for a while */
  strike(redis: RedisServer, random: SeededRandom, goesOn: () => Promise<void>): Promise<void>;
  /** Ends it; the service may need a moment to notice. */
  lift(redis: RedisServer): Promise<void>;
}

/** What a service has filled with its figures holds more. */
const FEWEST_KEYS = 100;

const nothing = (): Promise<void> => Promise.resolve();

/** How long a Redis that stalls does so, in ms: longer than a command may take, and much longer. */
const STALLS_MS = atScale([2_000], [2_000, 4_500]);

/** Each of them leaves Redis as it was configured, but not what it held. */
export const REDIS_FAULTS: RedisFault[] = [
  {
    title: 'killed, and started again empty',
    strike: (redis) => redis.kill(),
    lift: (redis) => redis.startEmpty(),
  },
  {
    title: 'killed, and started again with an older snapshot',
    strike: async (redis, _, goesOn) => {
      await redis.save();
      await goesOn();
      await redis.kill();
    },
    lift: (redis) => redis.restore(),
  },
  {
    title: 'flushed',
    strike: async (redis) => void (await redis.client.flushall()),
    lift: nothing,
  },
  {
    title: 'restored from an older snapshot under open connections',
    strike: async (redis, _, goesOn) => {
      const keeper = await copyOf(redis);
      try {
        await goesOn();
        await follow(redis, keeper.port);
      } finally {
        await keeper.remove();
      }
    },
    lift: leadAgain,
  },
  {
    title: 'out of memory',
    strike: async (redis) => {
      await redis.client.config('SET', 'maxmemory', '1');
      await mustRefuseWrites(redis, 'OOM');
    },
    lift: async (redis) => void (await redis.client.config('SET', 'maxmemory', '0')),
  },
  {
    title: 'evicting what was not asked for lately',
    strike: (redis, random) => evict(redis, 'allkeys-lru', random.between(8, 40) * 1024),
    lift: stopEvicting,
  },
  {
    title: 'evicting anything',
    strike: (redis, random) => evict(redis, 'allkeys-random', random.between(8, 400) * 1024),
    lift: stopEvicting,
  },
  {
    title: 'evicting, and well again before anybody could ask for its policy',
    strike: async (redis, random) => {
      await evict(redis, 'allkeys-lru', random.between(8, 40) * 1024);
      await stopEvicting(redis);
    },
    lift: nothing,
  },
  {
    title: 'read-only, as the replica of a server that is not there',
    strike: async (redis) => {
      await redis.client.replicaof('127.0.0.1', await freePort());
      await mustRefuseWrites(redis, 'READONLY');
    },
    lift: leadAgain,
  },
  ...STALLS_MS.map((ms) => ({
    title: `stalled for ${ms} ms`,
    strike: async (redis: RedisServer) => {
      const since = performance.now();
      redis.stall();
      await eventually(() => {
        if (performance.now() - since < ms) throw new Error('It has not stalled long enough');
      });
    },
    lift: async (redis: RedisServer) => redis.resume(),
  })),
];

/**
 * Has keys evicted, until at least so many bytes less are in use.
 * @param policy by which
 */
export async function evict(redis: RedisServer, policy: string, bytes: number): Promise<void> {
  const before = await evictedBy(redis);
  await eventually(async () => {
    if ((await redis.client.dbsize()) < FEWEST_KEYS) throw new Error('There is nothing to evict yet');
  }, 30_000);
  await redis.client.config('SET', 'maxmemory-policy', policy);
  let attempts = 0;
  await eventually(async () => {
    const used = Number(/used_memory:(\d+)/.exec(await redis.client.info('memory'))![1]);
    // What is over the size of the replication backlog, tens of KiB, is in use and does not count against the maximum.
    await redis.client.config('SET', 'maxmemory', String(used - ++attempts * bytes));
    // Not more than one: whoever notices may take the others away.
    if ((await evictedBy(redis)) === before) throw new Error('No key was evicted');
  });
}

/** Ends {@link evict}. */
export async function stopEvicting(redis: RedisServer): Promise<void> {
  await redis.client.config('SET', 'maxmemory', '0');
  await redis.client.config('SET', 'maxmemory-policy', 'noeviction');
}

async function evictedBy(redis: RedisServer): Promise<number> {
  return Number(/evicted_keys:(\d+)/.exec(await redis.client.info('stats'))![1]);
}

/** Another server that holds what this one does, of one moment. */
async function copyOf(redis: RedisServer): Promise<RedisServer> {
  const copy = await RedisServer.start();
  await redis.client.config('SET', 'repl-diskless-sync-delay', '0');
  await copy.client.config('SET', 'repl-diskless-sync-delay', '0');
  await follow(copy, redis.port);
  await leadAgain(copy);
  return copy;
}

async function follow(redis: RedisServer, port: number): Promise<void> {
  await redis.client.replicaof('127.0.0.1', port);
  await eventually(async () => {
    const info = await redis.client.info('replication');
    if (!info.includes('master_link_status:up')) throw new Error('It does not follow yet');
  });
}

async function leadAgain(redis: RedisServer): Promise<void> {
  await redis.client.call('REPLICAOF', 'NO', 'ONE');
}

async function mustRefuseWrites(redis: RedisServer, error: string): Promise<void> {
  const answer = await redis.client.set('a-key', 'x').catch((refusal: unknown) => String(refusal));
  if (!answer?.includes(error)) throw new Error(`It was to refuse writes (${error}) and answered ${answer}`);
}
