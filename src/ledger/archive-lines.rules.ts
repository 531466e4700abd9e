import { createHash } from 'node:crypto';
import type { Outcome } from '../shared/order-event.js';
import type { EntryKind } from './ledger-entry.js';

/**
 * A ledger as JSON Lines, for moving it to another database: a header, its entries, its repairs, the refunds that wait for
 * their orders, and an end that says that nothing is missing. The entries never change and the file can grow by them; the
 * others do, so they and the end are cut off and written anew whenever the file is continued. What is erased from a body stays in files made before.
 *
 * Every line ends with a check over what stands before it: the entries' own hashes cover what figures are made from,
 * but not, say, when a message was received.
 */
export type ArchiveLine = HeaderLine | EntryLine | RepairLine | WaitingRefundLine | EndLine;

/**
 * The version of the format; to be raised when a reader of this version would misunderstand it. What is new to it, a type
 * of line or a kind of entry, it refuses by name.
 */
export const ARCHIVE_VERSION = 1;

/** The hash of a history without entries: SHA-256 of nothing. */
export const EMPTY_HISTORY = createHash('sha256').digest('hex');

/** The first line: whose entries follow, and after which one they begin. */
export interface HeaderLine {
  type: 'ledger';
  version: number;
  ledger_id: string;
  /** 0 in a file; whoever asks for the rest only names the last entry he has. */
  after: number;
  /** Hex: the hash of the history up to that entry. */
  entry_hash: string;
}

/** An entry with every column of its row; here what the chain of hashes is made from. */
export interface EntryLine {
  type: 'entry';
  position: number;
  kind: EntryKind;
  outcome: Outcome;
  value_cents: number | null;
  content_hash: string;
  entry_hash: string;
  ref_position: number | null;
}

/** A repair with every column of its row. */
export interface RepairLine {
  type: 'repair';
  number: number;
}

/** A refund that waits for its order, as it was received and judged; they stand in the order in which they came. */
export interface WaitingRefundLine {
  type: 'waiting_refund';
}

/** The last line of a complete archive. */
export interface EndLine {
  type: 'end';
  /** The last entry, and the hash of the history up to it. */
  position: number;
  entry_hash: string;
  repairs: number;
  /** Absent in files from before there were refunds. */
  waiting_refunds?: number;
  /** The figures begin after this entry: 0, or where they were cleared. */
  base: number;
}

/** A line is not as it was written. */
export class DamagedLine extends Error {
  override readonly name = 'DamagedLine';
}

const CHECK_LENGTH = 16;
const TAIL = /,"check":"([0-9a-f]{16})"\}$/;
const TAIL_LENGTH = `,"check":"${'0'.repeat(CHECK_LENGTH)}"}`.length;
const TYPES = ['ledger', 'entry', 'repair', 'waiting_refund', 'end'];

/** A JSON object as a line of an archive: with its check, without its line feed. */
export function archiveLine(json: string): string {
  const content = json.slice(0, -1);
  return `${content},"check":"${checkOf(content)}"}`;
}

/** Reads a line. @throws DamagedLine */
export function readArchiveLine(text: string): ArchiveLine {
  const check = TAIL.exec(text.slice(-TAIL_LENGTH))?.[1];
  if (check === undefined) throw new DamagedLine('it is no line of an exported ledger');
  if (check !== checkOf(text.slice(0, -TAIL_LENGTH))) throw new DamagedLine('it was changed after it was written');
  const line = JSON.parse(text) as ArchiveLine;
  if (!TYPES.includes(line.type)) throw new DamagedLine(`its type "${line.type}" is not known to this version`);
  if (line.type === 'ledger' && line.version !== ARCHIVE_VERSION) {
    throw new DamagedLine(`its version is ${line.version}, and this service reads version ${ARCHIVE_VERSION}`);
  }
  return line;
}

/**
 * The hash of the history up to an entry, as append_entries, append_retries and append_refund make it (migrations/).
 * @param before the hash up to the entry before, hex
 * @throws DamagedLine where the kind of the entry is not known
 */
export function historyHash(before: string, entry: Omit<EntryLine, 'type' | 'entry_hash' | 'position'>): string {
  return createHash('sha256')
    .update(before, 'hex')
    .update(entry.content_hash, 'hex')
    .update(markOf(entry))
    .digest('hex');
}

function markOf({ kind, outcome, value_cents, ref_position }: Parameters<typeof historyHash>[1]): string {
  switch (kind) {
    case 'order':
      return outcome === 'failed' ? outcome : `${outcome}|${value_cents}`;
    case 'repair':
      return `repair|${ref_position}`;
    case 'refund':
      return [kind, outcome, value_cents, ref_position].filter((part) => part !== null).join('|');
    default:
      throw new DamagedLine(`its kind "${String(kind)}" is not known to this version`);
  }
}

function checkOf(content: string): string {
  return createHash('sha256').update(content).digest('hex').slice(0, CHECK_LENGTH);
}
