import type { Cents } from '../shared/money.js';
import type { OrderLine, Outcome, Reason } from '../shared/order-event.js';

/** Why a retry of a failed entry failed: what is wrong with the order, or that the entry was mended otherwise meanwhile. */
export type RepairFault = Reason | 'already_repaired' | 'not_processed';

/** What brought an entry into the ledger. */
export type EntryKind = 'order' | 'repair' | 'refund';

/** An entry of the ledger as it is kept. Times are ms UTC. */
export interface LedgerEntry {
  position: number;
  kind: EntryKind;
  outcome: Outcome;
  orderId: string | null;
  userId: string | null;
  orderedAt: number | null;
  /** What counts; null where the order failed. */
  value: Cents | null;
  claimed: Cents | null;
  lines: OrderLine[];
  reasons: Reason[];
  messageId: string | null;
  /** The failed entry that an entry of kind repair mends. */
  refPosition: number | null;
  /** Who asked for a repair. */
  actor: string | null;
  /** The entry of kind repair that mended this failed one. */
  repairedBy: number | null;
  sentAt: number;
  receivedAt: number;
  /** As received, but for what was erased of a person's data since. */
  body: string;
}

/** The body of an entry, by itself. */
export type EntryBody = Pick<LedgerEntry, 'position' | 'body'>;

/** What became of a message that was handed to the ledger. */
export type AppendResult =
  | { kind: 'stored'; position: number; outcome: Outcome; reasons: Reason[] }
  /** It was the retry of a failed entry, and counts now at this position. */
  | { kind: 'repaired'; position: number; outcome: Outcome }
  /** It was the retry of the failed entry at this position, and failed again; nothing was appended. */
  | { kind: 'not_repaired'; position: number; reasons: RepairFault[] }
  /** Its content is in the ledger already, at this position; nothing was written. */
  | { kind: 'duplicate'; position: number }
  /** The database can't hold this row (and says why); the message must not be acknowledged. */
  | { kind: 'refused'; error: unknown };

/** The end of the ledger: which ledger it is, how far it goes, and the hash of all of it. */
export interface LedgerHead {
  /** Made anew with every new ledger. */
  ledgerId: string;
  /** 0 where it is empty. */
  position: number;
  /** Hex; covers every entry up to `position`. */
  entryHash: string;
}

/** What the projection needs of an entry. */
export interface ProjectedEntry {
  position: number;
  kind: EntryKind;
  /** The failed entry that an entry of kind repair mends; its user and time are that entry's. */
  refPosition: number | null;
  /** Hex; covers every entry up to this one. */
  entryHash: string;
  outcome: Outcome;
  userId: string | null;
  /** ms UTC. */
  orderedAt: number | null;
  value: Cents | null;
  lines: Pick<OrderLine, 'product_id' | 'quantity' | 'cents'>[];
}
