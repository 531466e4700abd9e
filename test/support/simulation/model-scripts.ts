import type { RedisCommand } from '../../../src/platform/redis/redis.js';
import { evictedKeysIn } from '../../../src/platform/redis/server-info.js';
import type { ProjectOutcome } from '../../../src/stats/figure-store.js';

/** Runs one command of a script. @throws ReplyError */
type Call = (...command: RedisCommand) => unknown;

type Script = (call: Call, keys: string[], args: string[]) => string;

/** What the Lua scripts of src/stats do, written a second time; their headers say what they take and return. */
const SCRIPTS: Record<string, Script> = { project, monthUsers, topProducts };

/** @param name that the script has in src/stats/figure-store.ts */
export function runScript(name: string, call: Call, keys: string[], args: string[]): string {
  return SCRIPTS[name]!(call, keys, args);
}

function project(call: Call, [checkpoint, ...changed]: string[], args: string[]): ProjectOutcome {
  const begins = ['ledger_id', 'generation', 'fold_version', 'position', 'entry_hash'];
  if (begins.some((field, i) => call('hget', checkpoint!, field) !== args[i])) return 'moved';

  const writes: RedisCommand[] = [];
  for (const [k, key] of changed.entries()) {
    const action = args[8 + 2 * k]!;
    const ranks = action === 'rank';
    const type = call('type', key);
    if (type !== 'none' && type !== (ranks ? 'zset' : 'hash')) return 'damaged';
    const lines = args[9 + 2 * k]!.split('\n');
    for (let line = 0; line + 1 < lines.length; line += 2) {
      const name = lines[line]!;
      const stored = call(ranks ? 'zscore' : 'hget', key, name) as string | null;
      const before = Number(stored ?? '0');
      if (!Number.isInteger(before) || stored === '') return 'damaged';
      const amount = Number(lines[line + 1]);
      const after = action === 'max' ? Math.max(before, amount) : before + amount;
      if (Math.abs(after) > Number.MAX_SAFE_INTEGER) return 'too_large';
      writes.push(ranks ? ['zadd', key, after, name] : ['hset', key, name, after]);
    }
  }
  for (const write of writes) call(...write);
  call('hset', checkpoint!, 'position', args[5]!, 'entry_hash', args[6]!, 'at', args[7]!);
  return 'applied';
}

function monthUsers(call: Call, [checkpoint, month, users]: string[], [root, limit, spend, after]: string[]): string {
  const counts = ['orders', 'revenue', 'failed'];
  let start = 0;
  if (after !== '') {
    const score = call('zscore', users!, after!);
    start =
      score !== null && Number(score) === Number(spend)
        ? (call('zrevrank', users!, after!) as number) + 1
        : (call('zcount', users!, `(${spend}`, '+inf') as number);
  }
  const page = call('zrevrange', users!, start, start + Number(limit) - 1) as string[];
  return [
    ...markOf(call, checkpoint!),
    ...(call('hmget', month!, ...counts) as (string | null)[]),
    ...page.flatMap((user) => [user, ...(call('hmget', `${root}${user}`, ...counts) as (string | null)[])]),
  ]
    .map((value) => value ?? '')
    .join('\n');
}

function topProducts(call: Call, [checkpoint, byRevenue, byQuantity]: string[], [limit]: string[]): string {
  const top = (key: string): string[] => call('zrevrange', key, 0, Number(limit) - 1) as string[];
  const score = (key: string, id: string): string | null => call('zscore', key, id) as string | null;
  const products = [...top(byRevenue!), ...top(byQuantity!)];
  return [
    ...markOf(call, checkpoint!),
    String(top(byRevenue!).length),
    ...products.flatMap((id) => [id, score(byRevenue!, id), score(byQuantity!, id)]),
  ]
    .map((value) => value ?? '')
    .join('\n');
}

function markOf(call: Call, checkpoint: string): (string | null)[] {
  const fields = ['ledger_id', 'generation', 'fold_version', 'position', 'at', 'evicted'];
  const evictedSoFar = String(evictedKeysIn(String(call('info', 'stats'))));
  return [...(call('hmget', checkpoint, ...fields) as (string | null)[]), evictedSoFar];
}
