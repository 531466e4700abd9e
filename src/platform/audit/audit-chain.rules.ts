import { hash } from 'node:crypto';

/** What a row of the audit log says. */
export interface AuditRow {
  id: number;
  /** ms UTC. */
  at: number;
  actor: string;
  action: string;
  target: string;
  /** JSON as it was written; null where nothing is said. */
  before: string | null;
  after: string | null;
  requestId: string | null;
}

/** A place in the chain. */
export interface Link {
  /** Gapless from 1. */
  sequence: number;
  /** SHA-256, lower-case hex. */
  hash: string;
}

/** A row that has its place in the chain. */
export type SealedRow = AuditRow & Link;

/**
 * `missing`: no row has this sequence. `changed`: the row here is not the one that was sealed here. `head`: the chain does
 * not end where its recorded head says.
 */
export type ChainProblem = 'missing' | 'changed' | 'head';

/** Where the chain is not what it was. */
export interface ChainMismatch {
  sequence: number;
  /** Of the row that is there; null where there is none to name. */
  id: number | null;
  problem: ChainProblem;
}

/** What the first row follows upon. */
export const CHAIN_START: Link = { sequence: 0, hash: hash('sha256', '', 'hex') };

/** The place of a row that follows upon another: its hash covers the hash before, its sequence and all that it says. */
export function linkAfter(previous: Link, row: AuditRow): Link {
  const { id, at, actor, action, target, before, after, requestId } = row;
  const sequence = previous.sequence + 1;
  // A JSON list: no two different rows are the same text.
  const text = JSON.stringify([previous.hash, sequence, id, at, actor, action, target, before, after, requestId]);
  return { sequence, hash: hash('sha256', text, 'hex') };
}

/**
 * Goes along a piece of the chain.
 * @param from the link before it
 * @param rows by sequence
 * @returns the last link that was right, and the first mismatch if there is one
 */
export function follow(from: Link, rows: SealedRow[]): { reached: Link; mismatch: ChainMismatch | null } {
  let reached = from;
  for (const row of rows) {
    const expected = linkAfter(reached, row);
    const { sequence } = expected;
    if (row.sequence !== sequence) return { reached, mismatch: { sequence, id: null, problem: 'missing' } };
    if (row.hash !== expected.hash) return { reached, mismatch: { sequence, id: row.id, problem: 'changed' } };
    reached = expected;
  }
  return { reached, mismatch: null };
}

/**
 * What is wrong with the end of a chain whose rows are right.
 * @param reached the last link that there is up to the head
 * @param head where the chain ends by its record
 * @param last the highest sequence of any row
 */
export function mismatchAtEnd(reached: Link, head: Link, last: number): ChainMismatch | null {
  if (reached.sequence < head.sequence) return { sequence: reached.sequence + 1, id: null, problem: 'missing' };
  if (reached.hash !== head.hash || last > head.sequence) return { sequence: head.sequence, id: null, problem: 'head' };
  return null;
}
