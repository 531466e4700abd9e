import type { Cents } from '../domain/money.js';
import type { EventKind, OrderLine, Outcome, Reason } from '../domain/order-event.js';

/** Why a retry of a failed entry failed: what is wrong with the order, or that the entry was mended otherwise meanwhile. */
export type RepairFault = Reason | 'already_repaired' | 'not_an_order' | 'not_processed';

/** What brought an entry into the ledger. */
export type EntryKind = EventKind | 'repair';

/** An entry of the ledger as it is kept. Times are ms UTC. */
export interface LedgerEntry {
  position: number;
  kind: EntryKind;
  outcome: Outcome;
  orderId: string | null;
  /** Of a refund the user of its order; null where it failed by what it says itself. */
  userId: string | null;
  /** Of an entry of kind refund. */
  refundId: string | null;
  /** When it was ordered, or refunded. */
  orderedAt: number | null;
  /** What counts, of a refund what it takes away; null where it failed. */
  value: Cents | null;
  claimed: Cents | null;
  lines: OrderLine[];
  reasons: Reason[];
  messageId: string | null;
  /** The failed entry that an entry of kind repair mends, or the order of one of kind refund. */
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
  /** It is a refund whose order is not counted yet; it is kept until then. */
  | { kind: 'waiting' }
  /** Its content is in the ledger already, at this position, or (null) waits for its order; nothing was written. */
  | { kind: 'duplicate'; position: number | null }
  /** The database can't hold this row, or can't append it in time, and says why; the message must not be acknowledged. */
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
  /**
   * The failed entry that an entry of kind repair mends; its user and time are that entry's. Of a refund its order, whose
   * user it has.
   */
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

/** What the report on data quality needs of an entry of kind order. */
export interface ReportedEntry {
  position: number;
  outcome: Outcome;
  reasons: Reason[];
  orderId: string | null;
  userId: string | null;
  /** ms UTC. */
  orderedAt: number | null;
  value: Cents | null;
  claimed: Cents | null;
  lines: OrderLine[];
  /** ms UTC. */
  sentAt: number;
  /** As in {@link LedgerEntry}; null of an order that failed. */
  body: string | null;
}
