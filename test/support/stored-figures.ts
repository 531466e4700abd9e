import type { Redis, RedisCommand } from '../../src/platform/redis/redis.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import type { Statistics } from '../../src/stats/projection/statistics.rules.js';
import { Redis as RedisService } from '../../src/platform/redis/redis.js';

/** A key as it is stored: a hash's fields and values, or a sorted set's members and scores. */
export interface StoredKey {
  type: string;
  values: Record<string, string>;
}

/** All keys of all generations of the live figures at one moment, by name. */
export type StoredStatistics = Record<string, StoredKey>;

/** Reads all generations at one moment, as long as no key is added meanwhile. */
export async function storedStatistics(redis: Redis): Promise<StoredStatistics> {
  return valuesAt(redis, await generationKeys(redis));
}

async function valuesAt(redis: Redis, names: string[]): Promise<StoredStatistics> {
  if (names.length === 0) return {};
  const types = (await redis.atomically(names.map((name) => ['type', name]))) as string[];
  const replies = await redis.atomically(
    names.map((name, i): RedisCommand => {
      if (types[i] === 'hash') return ['hgetall', name];
      return types[i] === 'zset' ? ['zrange', name, 0, -1, 'WITHSCORES'] : ['get', name];
    }),
  );
  return Object.fromEntries(names.map((name, i) => [name, { type: types[i]!, values: valuesOf(replies[i]) }]));
}

/** What one generation holds beside its checkpoint, its keys named without prefix and number. */
export async function statisticsOf(redis: Redis, generation: number): Promise<StoredStatistics> {
  const root = redis.keys.generation(generation).checkpoint.replace(/checkpoint$/, '');
  const names = (await generationKeys(redis)).filter((name) => name.startsWith(root));
  const stored = Object.entries(await valuesAt(redis, names)).map(([name, key]) => [name.slice(root.length), key]);
  const { checkpoint: _, ...figures } = Object.fromEntries(stored) as StoredStatistics;
  return figures;
}

/** What a generation must hold that has exactly these figures: they are put into an empty Redis of their own. */
export async function storedFormOf(figures: Statistics): Promise<StoredStatistics> {
  const redis = new RedisService({ kind: 'memory' }, 'expected');
  await redis.availability.start();
  const checkpoint = {
    ledgerId: 'l',
    generation: 1,
    foldVersion: 'f',
    base: 0,
    position: 1,
    entryHash: 'e',
    at: 1,
    evicted: 0,
  };
  await new StatisticsRepository(redis).fill(figures, checkpoint);
  const stored = await statisticsOf(redis, 1);
  await redis.onApplicationShutdown();
  return stored;
}

/** Puts all generations back to what they were, as restoring a snapshot of Redis does, at one moment. */
export async function restoreStatistics(redis: Redis, snapshot: StoredStatistics): Promise<void> {
  const commands: RedisCommand[] = (await generationKeys(redis)).map((name) => ['del', name]);
  for (const [name, { type, values }] of Object.entries(snapshot)) {
    const pairs = Object.entries(values);
    if (type === 'hash') commands.push(['hset', name, ...pairs.flat()]);
    else commands.push(['zadd', name, ...pairs.flatMap(([member, score]) => [score, member])]);
  }
  await redis.atomically(commands);
}

/** The names of the keys of all generations. */
export async function generationKeys(redis: Redis): Promise<string[]> {
  const found = new Set<string>();
  let cursor = '0';
  do {
    const [next, names] = await redis.client.scan(cursor, 'COUNT', 100_000);
    cursor = next;
    // Not by pattern: one that matches too little would hide what is left over.
    for (const name of names) if (redis.keys.generationOf(name) !== null) found.add(name);
  } while (cursor !== '0');
  return [...found].sort();
}

function valuesOf(reply: unknown): Record<string, string> {
  if (!Array.isArray(reply)) {
    const pairs = typeof reply === 'string' ? [['', reply] as const] : Object.entries(reply as Record<string, string>);
    return sorted(pairs.map(([field, value]) => [field, String(value)]));
  }
  const pairs: [string, string][] = [];
  for (let i = 0; i < reply.length; i += 2) pairs.push([String(reply[i]), String(Number(reply[i + 1]))]);
  return sorted(pairs);
}

function sorted(pairs: [string, string][]): Record<string, string> {
  return Object.fromEntries(pairs.sort(([one], [other]) => (one < other ? -1 : 1)));
}
