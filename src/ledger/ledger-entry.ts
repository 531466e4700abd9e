import type { Cents } from '../shared/money.js';
import type { OrderLine, Outcome, Reason } from '../shared/order-event.js';

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
  sentAt: number;
  receivedAt: number;
  /** As received. */
  body: string;
}

/** What became of a message that was handed to the ledger. */
export type AppendResult =
  | { kind: 'stored'; position: number; outcome: Outcome; reasons: Reason[] }
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
  /** Hex; covers every entry up to this one. */
  entryHash: string;
  outcome: Outcome;
  userId: string | null;
  /** ms UTC. */
  orderedAt: number | null;
  value: Cents | null;
  lines: Pick<OrderLine, 'product_id' | 'quantity' | 'cents'>[];
}
