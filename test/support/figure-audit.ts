import type { Redis as IORedis } from 'ioredis';
import { RedisKeys, type GenerationKeys } from '../../src/platform/redis/redis-keys.js';
import type { AuditedEntry, AuditedLedger } from './ledger-audit.js';

/** Hashes and sorted sets by their full names: fields and values, or members and scores. */
type Values = Map<string, Map<string, number>>;

/** What a Redis holds of the generation in service, and beside it. */
export interface StoredGeneration {
  checkpoint: Record<string, string>;
  figures: Values;
  /** Keys of other generations that are there to stay. */
  stray: string[];
  /** Keys of this generation that go by themselves. */
  expiring: string[];
}

const KEYS_PER_ROUND = 1_000;
const MAX_FAULTS_TOLD = 20;

/** Reads every key of a generation. */
export async function readStored(redis: IORedis, prefix: string, keys: GenerationKeys): Promise<StoredGeneration> {
  const root = keys.checkpoint.replace(/checkpoint$/, '');
  const generations = new RedisKeys(prefix);
  const stored: StoredGeneration = { checkpoint: {}, figures: new Map(), stray: [], expiring: [] };
  const found = await allKeys(redis);
  for (const names of inRounds(found.filter((name) => generations.generationOf(name) !== null))) {
    const asked = names.flatMap((name) => ['type', 'ttl'].map((command) => [command, name]));
    const facts = await redis.pipeline(asked).exec();
    await Promise.all(
      names.map(async (name, i) => {
        const [type, ttl] = [facts![2 * i]![1] as string, facts![2 * i + 1]![1] as number];
        if (!name.startsWith(root)) {
          if (ttl === -1) stored.stray.push(name);
          return;
        }
        if (ttl !== -1) stored.expiring.push(name);
        if (name === keys.checkpoint) stored.checkpoint = await redis.hgetall(name);
        else stored.figures.set(name, await valuesOf(redis, name, type));
      }),
    );
  }
  return stored;
}

/** All that a generation must hold, added up entry by entry. @param base figures cover what comes after it */
export function plainFigures(entries: AuditedEntry[], base: number, keys: GenerationKeys): Values {
  const figures: Values = new Map();
  const add = (key: string, field: string, amount: number): void => {
    const values = figures.get(key) ?? new Map<string, number>();
    values.set(field, (values.get(field) ?? 0) + amount);
    figures.set(key, values);
  };
  for (const entry of entries) {
    if (entry.position <= base) continue;
    const { kind, outcome, userId, day } = entry;
    const fails = outcome === 'failed' && kind !== 'repair';
    // Takes something back that these figures do not cover.
    if (!fails && entry.refPosition !== null && entry.refPosition <= base) continue;
    const month = day?.slice(0, 7);
    const tallied = [keys.global];
    if (userId !== null) tallied.push(keys.user(userId));
    if (day !== null) tallied.push(keys.day(day), keys.month(month!));
    if (day !== null && userId !== null) tallied.push(keys.monthUser(month!, userId));

    let revenue = 0;
    if (fails || kind === 'repair') {
      const failed = fails ? 1 : -1;
      for (const key of tallied) add(key, 'failed', failed);
      if (userId === null) add(keys.global, 'failed_without_user', failed);
      if (day === null) add(keys.global, 'failed_without_month', failed);
    } else {
      revenue = kind === 'refund' ? -entry.value! : entry.value!;
      for (const key of tallied) add(key, 'revenue', revenue);
      add(keys.usersBySpend, userId!, revenue);
    }
    if (day !== null && userId !== null) add(keys.monthUsers(month!), userId, revenue);
    if (fails || kind !== 'order') continue;

    for (const key of tallied) add(key, 'orders', 1);
    add(keys.usersByOrders, userId!, 1);
    if (outcome === 'corrected') add(keys.global, 'corrected', 1);
    const user = figures.get(keys.user(userId!))!;
    user.set('last_order_at', Math.max(user.get('last_order_at') ?? 0, entry.orderedAt!));
    for (const { product_id, cents, quantity } of entry.lines) {
      for (const key of [keys.productsByRevenue, keys.productRevenue]) add(key, product_id, cents);
      for (const key of [keys.productsByQuantity, keys.productQuantity]) add(key, product_id, quantity);
    }
  }
  return figures;
}

/** @returns what is wrong with the live figures, in themselves and compared with the ledger */
export function figureFaults(
  stored: StoredGeneration,
  expected: Values,
  { head, projection }: AuditedLedger,
  keys: GenerationKeys,
): string[] {
  const faults: string[] = [];
  const { checkpoint } = stored;
  const mark = `${checkpoint.ledger_id} ${checkpoint.generation} ${checkpoint.base} ${checkpoint.position} ${checkpoint.entry_hash}`;
  const wanted = `${head.ledgerId} ${projection.generation} ${projection.base} ${head.position} ${head.entryHash}`;
  if (mark !== wanted) faults.push(`The checkpoint is ${mark}, and the ledger's end ${wanted}`);
  if (stored.stray.length > 0)
    faults.push(`${stored.stray.length} keys are of no generation in service: ${stored.stray[0]}`);
  if (stored.expiring.length > 0)
    faults.push(`${stored.expiring.length} keys in service expire: ${stored.expiring[0]}`);
  faults.push(...differences(stored.figures, expected, keys), ...sumFaults(stored.figures, keys));
  if (faults.length <= MAX_FAULTS_TOLD) return faults;
  return [...faults.slice(0, MAX_FAULTS_TOLD), `… and ${faults.length - MAX_FAULTS_TOLD} more`];
}

function differences(stored: Values, expected: Values, keys: GenerationKeys): string[] {
  const faults: string[] = [];
  for (const key of new Set([...stored.keys(), ...expected.keys()])) {
    const [found, wanted] = [stored.get(key), expected.get(key)];
    for (const field of new Set([...(found?.keys() ?? []), ...(wanted?.keys() ?? [])])) {
      const [value, shouldBe] = [found?.get(field), wanted?.get(field)];
      // What is counted is 0 where it is not there; who is ranked is there.
      const same = isRanking(key, keys) ? value === shouldBe : (value ?? 0) === (shouldBe ?? 0);
      if (!same)
        faults.push(`${keys.nameOf(key)} ${field} is ${value ?? 'missing'} instead of ${shouldBe ?? 'missing'}`);
    }
  }
  return faults;
}

/** The parts add up to the whole, and rankings are of the figures that they rank by: all of it in Redis alone. */
function sumFaults(stored: Values, keys: GenerationKeys): string[] {
  const faults: string[] = [];
  const global = (field: string): number => stored.get(keys.global)?.get(field) ?? 0;
  const mustBe = (what: string, found: number, wanted: number): void => {
    if (found !== wanted) faults.push(`${what} is ${found} instead of ${wanted}`);
  };
  const sum = (beginning: string, field?: string): number => {
    let total = 0;
    for (const [key, values] of stored) {
      if (!key.startsWith(beginning)) continue;
      if (field !== undefined) total += values.get(field) ?? 0;
      else for (const value of values.values()) total += value;
    }
    return total;
  };
  const [anyUser, anyMonth, anyDay] = [keys.user(''), keys.month(''), keys.day('')];
  for (const field of ['orders', 'revenue']) {
    for (const part of [anyUser, anyMonth, anyDay, keys.monthUser('', '').replace(/:$/, '')]) {
      mustBe(`The sum of ${field} over ${keys.nameOf(part)}`, sum(part, field), global(field));
    }
  }
  mustBe(
    'The failed of all users and of none',
    sum(anyUser, 'failed') + global('failed_without_user'),
    global('failed'),
  );
  for (const part of [anyMonth, anyDay]) {
    const failed = sum(part, 'failed') + global('failed_without_month');
    mustBe(`The failed of all ${keys.nameOf(part)} and of none`, failed, global('failed'));
  }
  mustBe('The sum of the ranking by orders', sum(keys.usersByOrders), global('orders'));
  mustBe('The sum of the ranking by spend', sum(keys.usersBySpend), global('revenue'));

  const scores = (ranking: string): [string, number][] => [...(stored.get(ranking) ?? [])];
  for (const [id, score] of scores(keys.usersBySpend)) {
    mustBe(`The place of ${id} by spend`, score, stored.get(keys.user(id))?.get('revenue') ?? 0);
  }
  for (const [id, score] of scores(keys.usersByOrders)) {
    mustBe(`The place of ${id} by orders`, score, stored.get(keys.user(id))?.get('orders') ?? 0);
  }
  for (const ranking of stored.keys()) {
    if (!ranking.startsWith(keys.monthUsers(''))) continue;
    const month = ranking.slice(keys.monthUsers('').length);
    mustBe(`The sum of the ranking of ${month}`, sum(ranking), stored.get(keys.month(month))?.get('revenue') ?? 0);
    for (const [id, score] of scores(ranking)) {
      mustBe(`The place of ${id} in ${month}`, score, stored.get(keys.monthUser(month, id))?.get('revenue') ?? 0);
    }
  }
  return faults;
}

function isRanking(key: string, keys: GenerationKeys): boolean {
  const rankings = [keys.usersBySpend, keys.usersByOrders, keys.productsByRevenue, keys.productsByQuantity];
  return rankings.includes(key) || key.startsWith(keys.monthUsers(''));
}

async function valuesOf(redis: IORedis, key: string, type: string): Promise<Map<string, number>> {
  if (type === 'hash')
    return new Map(Object.entries(await redis.hgetall(key)).map(([field, value]) => [field, Number(value)]));
  if (type !== 'zset') return new Map([[`(a ${type})`, NaN]]);
  const flat = await redis.zrange(key, 0, -1, 'WITHSCORES');
  return new Map(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, Number(flat[2 * i + 1])]));
}

/** Not by pattern: one that matches too little would hide what is left over. */
async function allKeys(redis: IORedis): Promise<string[]> {
  const found = new Set<string>();
  let cursor = '0';
  do {
    const [next, names] = await redis.scan(cursor, 'COUNT', KEYS_PER_ROUND);
    cursor = next;
    for (const name of names) found.add(name);
  } while (cursor !== '0');
  return [...found];
}

function* inRounds<T>(items: T[]): Generator<T[]> {
  for (let start = 0; start < items.length; start += KEYS_PER_ROUND) yield items.slice(start, start + KEYS_PER_ROUND);
}
