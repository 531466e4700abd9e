import type { RedisCommand } from '../../../src/platform/redis/redis.js';
import { runScript } from './model-scripts.js';

/** What a key holds: a hash's fields and values, or a sorted set's members and scores. */
export type ModelKey = { type: 'hash'; values: Map<string, string> } | { type: 'zset'; values: Map<string, number> };

/** What Redis says of a command that it refuses. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
}

/** All keys at one moment. */
export type ModelSnapshot = Map<string, ModelKey>;

/**
 * A Redis server as far as the live figures use one: a second implementation of what the real one promises them, held to
 * the same contract (test/redis-contract.spec.ts). Every call is atomic.
 */
export class ModelRedis {
  private keys: ModelSnapshot = new Map();
  /** How many keys it says to have evicted. */
  evicted = 0;
  /** When keys go, ms of the clock. */
  private readonly expiry = new Map<string, number>();

  /** @throws ReplyError */
  run(command: RedisCommand): unknown {
    if (this.expiry.size > 0) this.expire();
    const [name, key = '', ...rest] = command.map(textOf);
    switch (name) {
      case 'ping':
        return 'PONG';
      case 'info':
        return `redis_version:7.2.0\r\nmaxmemory_policy:noeviction\r\nevicted_keys:${this.evicted}\r\nrole:master\r\n`;
      case 'del':
      case 'unlink':
        return [key, ...rest].filter((each) => this.drop(each)).length;
      case 'type':
        return this.keys.get(key)?.type ?? 'none';
      case 'expire':
        if (!this.keys.has(key)) return 0;
        this.expiry.set(key, Date.now() + 1000 * Number(rest[0]));
        return 1;
      case 'ttl': {
        if (!this.keys.has(key)) return -2;
        const until = this.expiry.get(key);
        return until === undefined ? -1 : Math.ceil((until - Date.now()) / 1000);
      }
      case 'scan':
        return ['0', [...this.keys.keys()].filter((each) => matches(each, rest))];
      case 'hget':
        return this.hash(key).get(rest[0]!) ?? null;
      case 'hmget':
        return rest.map((field) => this.hash(key).get(field) ?? null);
      case 'hgetall':
        return Object.fromEntries(this.hash(key));
      case 'hset':
        return this.hset(key, rest);
      case 'hdel':
        return rest.filter((field) => this.hash(key).delete(field)).length;
      case 'zadd':
        return this.zadd(key, rest);
      case 'zcard':
        return this.sortedSet(key).size;
      case 'zscore': {
        const score = this.sortedSet(key).get(rest[0]!);
        return score === undefined ? null : String(score);
      }
      case 'zrevrank': {
        const rank = this.ranked(key).findIndex(([member]) => member === rest[0]);
        return rank === -1 ? null : rank;
      }
      case 'zcount':
        // Only as month-users.lua asks: above a score.
        return [...this.sortedSet(key).values()].filter((score) => score > Number(rest[0]!.slice(1))).length;
      case 'zrange':
        // Only whole, with scores, as a test looks at it.
        return this.ranked(key)
          .reverse()
          .flatMap(([member, score]) => [member, String(score)]);
      case 'zrevrange': {
        const [start, stop, scores] = rest;
        const found = this.ranked(key).slice(Number(start), Number(stop) === -1 ? undefined : Number(stop) + 1);
        return scores ? found.flatMap(([member, score]) => [member, String(score)]) : found.map(([member]) => member);
      }
      default:
        throw new ReplyError(`ERR unknown command '${name}'`);
    }
  }

  /** Runs commands as a transaction does: all of them, whatever becomes of each. */
  runEach(commands: RedisCommand[]): [Error | null, unknown][] {
    return commands.map((command) => {
      try {
        return [null, this.run(command)];
      } catch (error) {
        return [error as Error, undefined];
      }
    });
  }

  /** Runs what stands for a script of src/stats. */
  script(name: string, keys: string[], args: string[]): string {
    return runScript(name, (...command) => this.run(command), keys, args);
  }

  /** What a key holds, not to be changed. */
  held(key: string): ModelKey | undefined {
    if (this.expiry.size > 0) this.expire();
    return this.keys.get(key);
  }

  get names(): string[] {
    this.expire();
    return [...this.keys.keys()];
  }

  snapshot(): ModelSnapshot {
    return copyOf(this.keys);
  }

  /** Puts everything back to what it was. Keys that were to go then stay, as nothing asks for those. */
  restore(snapshot: ModelSnapshot): void {
    this.keys = copyOf(snapshot);
    this.expiry.clear();
  }

  private expire(): void {
    const now = Date.now();
    for (const [key, until] of this.expiry) if (until <= now) this.drop(key);
  }

  private drop(key: string): boolean {
    this.expiry.delete(key);
    return this.keys.delete(key);
  }

  private hset(key: string, pairs: string[]): number {
    const values = this.hash(key);
    const before = values.size;
    for (let i = 0; i < pairs.length; i += 2) values.set(pairs[i]!, pairs[i + 1]!);
    this.keys.set(key, { type: 'hash', values });
    return values.size - before;
  }

  private zadd(key: string, pairs: string[]): number {
    const values = this.sortedSet(key);
    const before = values.size;
    for (let i = 0; i < pairs.length; i += 2) values.set(pairs[i + 1]!, Number(pairs[i]));
    this.keys.set(key, { type: 'zset', values });
    return values.size - before;
  }

  private ranked(key: string): [string, number][] {
    return [...this.sortedSet(key)].sort(([one, first], [other, second]) => second - first || (one < other ? 1 : -1));
  }

  private hash(key: string): Map<string, string> {
    const held = this.keys.get(key);
    if (held && held.type !== 'hash') throw wrongType();
    return held?.values ?? new Map();
  }

  private sortedSet(key: string): Map<string, number> {
    const held = this.keys.get(key);
    if (held && held.type !== 'zset') throw wrongType();
    return held?.values ?? new Map();
  }
}

function textOf(part: string | number): string {
  return typeof part === 'string' ? part : `${part}`;
}

function wrongType(): ReplyError {
  return new ReplyError('WRONGTYPE Operation against a key holding the wrong kind of value');
}

/** By the only pattern that anybody asks for: what keys begin with. */
function matches(key: string, options: string[]): boolean {
  const place = options.indexOf('MATCH');
  return place === -1 || key.startsWith(options[place + 1]!.slice(0, -1).replaceAll('\\', ''));
}

function copyOf(keys: ModelSnapshot): ModelSnapshot {
  return new Map(
    Array.from(keys, ([key, held]) => [key, { ...held, values: new Map<string, never>(held.values as never) }]),
  );
}
