import { Injectable } from '@nestjs/common';
import { Redis, type RedisCommand } from '../../platform/redis/redis.js';
import { checkpointFrom, checkpointReads, type Checkpoint } from '../projection/checkpoint.js';

const MEMBERS_PER_SCAN = 1_000;

/** What was read at one moment, and the checkpoint of that moment. */
export interface Page<Found> {
  /** Null where the generation is not, or no longer, complete. */
  checkpoint: Checkpoint | null;
  found: Found;
}

/** A hash as it is stored. */
export interface StoredHash {
  /** Empty where there is no such key; null where it is of another type. */
  fields: Record<string, string> | null;
  expires: boolean;
}

/** What a key with very many members is. */
export type LargeKeyType = 'hash' | 'sorted set';

/** A part of a large hash or sorted set as it is stored. */
export interface StoredMembers {
  /** How many fields or members there are in all. */
  size: number;
  /** The values or scores of those asked for, in their order; null for those that are not there. */
  values: (string | null)[];
  expires: boolean;
}

/**
 * Reads a generation of the figures as it is stored, in pages that are of one moment each. Any method throws
 * RedisUnavailable.
 */
@Injectable()
export class StatisticsPages {
  constructor(private readonly redis: Redis) {}

  /** Whole hashes, in the order of their keys. */
  async hashes(generation: number, keys: string[]): Promise<Page<StoredHash[]>> {
    const { checkpoint, found } = await this.read(
      generation,
      keys.flatMap((key): RedisCommand[] => [
        ['hgetall', key],
        ['pttl', key],
      ]),
    );
    return {
      checkpoint,
      found: keys.map((_, i) => ({ fields: fieldsOf(found[2 * i]), expires: isTtl(found[2 * i + 1]) })),
    };
  }

  /** The size of a large key and some of its members; null where the key is of another type. */
  async some(
    generation: number,
    key: string,
    type: LargeKeyType,
    members: string[],
  ): Promise<Page<StoredMembers | null>> {
    const [read, count] = type === 'hash' ? ['hmget', 'hlen'] : ['zmscore', 'zcard'];
    const { checkpoint, found } = await this.read(generation, [
      [read, key, ...members],
      [count, key],
      ['pttl', key],
    ]);
    const [values, size, ttl] = found;
    if (values instanceof Error || size instanceof Error) return { checkpoint, found: null };
    return {
      checkpoint,
      found: { values: values as (string | null)[], size: size as number, expires: isTtl(ttl) },
    };
  }

  /** Of what type keys are, `none` where there is no such key. */
  async types(generation: number, keys: string[]): Promise<Page<string[]>> {
    const { checkpoint, found } = await this.read(
      generation,
      keys.map((key) => ['type', key]),
    );
    return { checkpoint, found: found as string[] };
  }

  /** All members of a large key that are there all the time it takes to read them; others may be among them. */
  async members(key: string, type: LargeKeyType): Promise<Set<string>> {
    const members = new Set<string>();
    let cursor = '0';
    do {
      const [next, found] = await this.redis.guarded((client) =>
        type === 'hash'
          ? client.hscan(key, cursor, 'COUNT', MEMBERS_PER_SCAN)
          : client.zscan(key, cursor, 'COUNT', MEMBERS_PER_SCAN),
      );
      cursor = next;
      for (let i = 0; i < found.length; i += 2) members.add(found[i]!);
    } while (cursor !== '0');
    return members;
  }

  private async read(generation: number, commands: RedisCommand[]): Promise<Page<unknown[]>> {
    const key = this.redis.keys.generation(generation).checkpoint;
    const [fields, info, ...found] = await this.redis.atomicallyEach([...checkpointReads(key), ...commands]);
    return { checkpoint: fields instanceof Error ? null : checkpointFrom([fields, info]), found };
  }
}

function fieldsOf(reply: unknown): StoredHash['fields'] {
  return reply instanceof Error ? null : (reply as Record<string, string>);
}

function isTtl(pttl: unknown): boolean {
  return typeof pttl === 'number' && pttl >= 0;
}
