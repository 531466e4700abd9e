import type { Redis as IORedis } from 'ioredis';
import { RedisKeys } from '../../src/platform/redis/redis-keys.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import type { RunningService } from './app.js';

/** What of a checkpoint tells one run of the same orders from another. */
const OF_THIS_RUN = ['ledger_id', 'generation', 'position', 'entry_hash', 'at'];

/** A key's fields and values, or its members and scores. */
export type DumpedKey = { type: 'hash' | 'zset'; values: Record<string, string> };

/** Every key of the generation in service, without prefix and generation number, sorted by name. */
export type Dump = Record<string, DumpedKey>;

/**
 * Reads everything that the generation in service holds in Redis. What differs between two runs of the same orders
 * although they agree (which ledger, which generation, how far, when) is left out.
 */
export function dumpOfGeneration({ redis, config, app }: RunningService): Promise<Dump> {
  return dumpOfRedis(redis.client, config.redisKeyPrefix, app.get(Projector).served().generation);
}

/** The same past the service. */
export async function dumpOfRedis(client: IORedis, prefix: string, generation: number): Promise<Dump> {
  const root = new RedisKeys(prefix).generation(generation).checkpoint.replace(/checkpoint$/, '');
  // Not by pattern: a pattern that matches too little would make any two dumps equal.
  const found = (await keysOf(client, prefix)).filter((key) => key.startsWith(root)).sort();
  const dump: Dump = {};
  for (const key of found) {
    const type = await client.type(key);
    const values = type === 'zset' ? members(await client.zrange(key, 0, -1, 'WITHSCORES')) : await hash(client, key);
    dump[key.slice(root.length)] = { type: type as DumpedKey['type'], values };
  }
  const checkpoint = dump['checkpoint']!.values;
  for (const field of OF_THIS_RUN) delete checkpoint[field];
  return dump;
}

/** The sum of a field, or of the scores, over all keys whose name begins so. */
export function sumOver(dump: Dump, beginning: string, field?: string): number {
  let sum = 0;
  for (const [key, { values }] of Object.entries(dump)) {
    if (!key.startsWith(beginning)) continue;
    sum += field === undefined ? total(Object.values(values)) : Number(values[field] ?? 0);
  }
  return sum;
}

/** All keys of this service's Redis; on one that is shared, those of the service's own prefix. */
export function allKeys({ redis, config }: RunningService): Promise<string[]> {
  return keysOf(redis.client, config.redisKeyPrefix);
}

async function keysOf(client: IORedis, prefix: string): Promise<string[]> {
  const found = new Set<string>();
  let cursor = '0';
  do {
    const [next, keys] = await client.scan(cursor, 'COUNT', 1000);
    cursor = next;
    for (const key of keys) if (key.startsWith(`{${prefix}}:`)) found.add(key);
  } while (cursor !== '0');
  return [...found];
}

async function hash(client: IORedis, key: string): Promise<Record<string, string>> {
  return sorted(Object.entries(await client.hgetall(key)));
}

function members(withScores: string[]): Record<string, string> {
  const pairs: [string, string][] = [];
  for (let i = 0; i < withScores.length; i += 2) pairs.push([withScores[i]!, String(Number(withScores[i + 1]))]);
  return sorted(pairs);
}

function sorted(pairs: [string, string][]): Record<string, string> {
  return Object.fromEntries(pairs.sort(([one], [other]) => (one < other ? -1 : 1)));
}

function total(values: string[]): number {
  return values.reduce((sum, value) => sum + Number(value), 0);
}
