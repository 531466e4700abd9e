/**
 * The version of what the live figures hold and mean. Must change with every figure added, removed or counted
 * otherwise: a checkpoint of another version is a mismatch, and the figures are rebuilt.
 */
const FOLD_VERSION = 3;

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
}

/** What readers of figures are told of their checkpoint; the rest goes with the generation. */
export type CheckpointMark = Omit<Checkpoint, 'base' | 'entryHash'>;

/** The version of the fold under a business time zone, which decides what a day and a month are. */
export function foldVersionFor(businessTimeZone: string): string {
  return `${FOLD_VERSION}/${businessTimeZone}`;
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
] as const;

/** Reads what HMGET of {@link CHECKPOINT_FIELDS} gave; null where there is no checkpoint or it is incomplete. */
export function checkpointFrom(values: (string | null)[]): Checkpoint | null {
  const [ledgerId, generation, foldVersion, base, position, entryHash, at] = values;
  if (!ledgerId || !generation || !foldVersion || !base || !position || !entryHash || !at) return null;
  return {
    ledgerId,
    generation: Number(generation),
    foldVersion,
    base: Number(base),
    position: Number(position),
    entryHash,
    at: Number(at),
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
  ];
}
