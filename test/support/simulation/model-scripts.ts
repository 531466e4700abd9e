import type { RedisCommand } from '../../../src/platform/redis/redis.js';
import { evictedKeysIn } from '../../../src/platform/redis/server-info.js';
import type { ProjectOutcome } from '../../../src/stats/projection/statistics.repository.js';

/** Runs one command of a script. @throws ReplyError */
type Call = (...command: RedisCommand) => unknown;

type Script = (call: Call, keys: string[], args: string[]) => string;

/** What the Lua scripts of src/stats do, written a second time; their headers say what they take and return. */
const SCRIPTS: Record<string, Script> = { project, monthUsers, rankings };

/** @param name that the script has in src/stats/projection/statistics.repository.ts */
export function runScript(name: string, call: Call, keys: string[], args: string[]): string {
  return SCRIPTS[name]!(call, keys, args);
}

function project(call: Call, [checkpoint, ...changed]: string[], args: string[]): ProjectOutcome {
  const begins = ['ledger_id', 'generation', 'fold_version', 'position', 'entry_hash'];
  if (begins.some((field, i) => call('hget', checkpoint!, field) !== args[i])) return 'moved';

  const writes: RedisCommand[] = [];
  const results = changed.map(() => new Map<string, string>());
  for (const [k, key] of changed.entries()) {
    const action = args[8 + 2 * k]!;
    const ranks = action === 'rank';
    const type = call('type', key);
    if (type !== 'none' && type !== (ranks ? 'zset' : 'hash')) return 'damaged';
    const lines = args[9 + 2 * k]!.split('\n');
    for (let line = 0; line + 1 < lines.length; line += 2) {
      const [name, given] = [lines[line]!, lines[line + 1]!];
      if (ranks) {
        const [number, field] = [Number.parseInt(given, 10), given.slice(given.indexOf(' ') + 1)];
        // Keys are counted from 1, and the checkpoint is the first.
        writes.push(['zadd', key, Number(results[number - 2]!.get(field)), name]);
        continue;
      }
      const stored = (call('hget', key, name) as string | null) ?? '0';
      if (!/^-?\d+$/.test(stored)) return 'damaged';
      const [before, amount] = [BigInt(stored), BigInt(given)];
      const after = action === 'add' ? before + amount : amount > before ? amount : before;
      results[k]!.set(name, String(after));
      writes.push(['hset', key, name, String(after)]);
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

function rankings(call: Call, [checkpoint, ...sets]: string[], [limit, ...places]: string[]): string {
  const figure = (id: string, key: string, field: string): string | null =>
    (field === '' ? call('hget', key, id) : call('hget', `${key}${id}`, field)) as string | null;
  const lines: (string | null)[] = markOf(call, checkpoint!);
  for (const set of sets) {
    const members = call('zrevrange', set, 0, Number(limit) - 1) as string[];
    lines.push(String(members.length));
    for (const id of members) {
      lines.push(id);
      for (let i = 0; i < places.length; i += 2) lines.push(figure(id, places[i]!, places[i + 1]!));
    }
  }
  return lines.map((line) => line ?? '').join('\n');
}

function markOf(call: Call, checkpoint: string): (string | null)[] {
  const fields = ['ledger_id', 'generation', 'fold_version', 'position', 'at', 'evicted'];
  const evictedSoFar = String(evictedKeysIn(String(call('info', 'stats'))));
  return [...(call('hmget', checkpoint, ...fields) as (string | null)[]), evictedSoFar];
}
