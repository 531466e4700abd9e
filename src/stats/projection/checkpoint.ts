import type { RedisCommand } from '../../platform/redis/redis.js';
import { evictedKeysIn } from '../../platform/redis/server-info.js';
import type { BusinessCalendar } from '../../domain/business-time.js';

/**
 * The version of what the live figures hold and mean. Must change with every figure added, removed or counted
 * otherwise: a checkpoint of another version is a mismatch, and the figures are rebuilt.
 */
const FOLD_VERSION = 4;

/** Whose figures a Redis generation holds, and how far they go. */
export interface Checkpoint {
  /** Which ledger. */
  ledgerId: string;
  generation: number;
  /** See {@link foldVersionFor}. */
  foldVersion: string;
  /** The figures cover the entries after this one: 0, or where they were cleared. */
  base: number;
  /** The last entry the figures cover. */
  position: number;
  /** Hex: the hash of the ledger's history up to that entry. */
  entryHash: string;
  /** When the figures came this far, ms UTC. */
  at: number;
  /** How many keys Redis had evicted when the figures were begun. Where it has evicted more since, some may be gone. */
  evicted: number;
}

/** What readers of figures are told of their checkpoint; the rest goes with the generation. */
export type CheckpointMark = Omit<Checkpoint, 'base' | 'entryHash'>;

/** The version of the fold under a calendar, which decides what a day and a month are. */
export function foldVersionFor(calendar: BusinessCalendar): string {
  return `${FOLD_VERSION}/${calendar.version}`;
}

/** The hash fields of a checkpoint in the order in which they are read. */
export const CHECKPOINT_FIELDS = [
  'ledger_id',
  'generation',
  'fold_version',
  'base',
  'position',
  'entry_hash',
  'at',
  'evicted',
] as const;

/** What reads a checkpoint, in the same transaction as the figures: see {@link checkpointFrom}. */
export function checkpointReads(key: string): [RedisCommand, RedisCommand] {
  return [
    ['hmget', key, ...CHECKPOINT_FIELDS],
    ['info', 'stats'],
  ];
}

/**
 * Reads what {@link checkpointReads} gave; null where there is no checkpoint, where it is incomplete, or where figures
 * may have been evicted since they were begun.
 * @throws Error as Redis answered it in place of the fields
 */
export function checkpointFrom([fields, info]: unknown[]): Checkpoint | null {
  if (fields instanceof Error) throw fields;
  const checkpoint = checkpointIn(fields as (string | null)[]);
  return checkpoint?.evicted === evictedKeysIn(String(info)) ? checkpoint : null;
}

/** The same, whatever has been evicted since. */
export function checkpointIn(values: (string | null)[]): Checkpoint | null {
  const [ledgerId, generation, foldVersion, base, position, entryHash, at, evicted] = values;
  if (!ledgerId || !generation || !foldVersion || !base || !position || !entryHash || !at || !evicted) return null;
  return {
    ledgerId,
    generation: Number(generation),
    foldVersion,
    base: Number(base),
    position: Number(position),
    entryHash,
    at: Number(at),
    evicted: Number(evicted),
  };
}

/** The same as field and value in turn, for HSET. */
export function checkpointFields(checkpoint: Checkpoint): string[] {
  return [
    'ledger_id',
    checkpoint.ledgerId,
    'generation',
    String(checkpoint.generation),
    'fold_version',
    checkpoint.foldVersion,
    'base',
    String(checkpoint.base),
    'position',
    String(checkpoint.position),
    'entry_hash',
    checkpoint.entryHash,
    'at',
    String(checkpoint.at),
    'evicted',
    String(checkpoint.evicted),
  ];
}
