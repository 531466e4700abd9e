import { hash } from 'node:crypto';
import type { AppendResult, EntryKind, LedgerHead } from '../../../src/ledger/ledger-entry.js';
import type { Cents } from '../../../src/domain/money.js';
import type { ValidatedMessage, OrderLine, Outcome, Reason } from '../../../src/domain/order-event.js';

/** An entry as the model keeps it. */
export interface ModelEntry {
  position: number;
  kind: EntryKind;
  outcome: Outcome;
  orderId: string | null;
  userId: string | null;
  refundId: string | null;
  orderedAt: number | null;
  value: Cents | null;
  lines: OrderLine[];
  reasons: Reason[];
  refPosition: number | null;
  contentHash: string;
  entryHash: string;
  messageId: string;
}

interface Known {
  content: string;
  position: number;
}

interface WaitingRefund {
  refund: ValidatedMessage;
  settled: boolean;
}

/** How long before its order a refund may be dated. */
const YEAR_MS = 366 * 86_400_000;
/** Where the lines stand in what the hash of an entry covers. */
const LINES = 8;

/** As PostgreSQL writes them: a price keeps the digits that it has. */
function linesText(lines: OrderLine[]): string {
  const texts = lines.map(
    ({ product_id, quantity, price_per_unit, cents }) =>
      `{"product_id":${JSON.stringify(product_id)},"quantity":${quantity},"price_per_unit":${price_per_unit},"cents":${cents}}`,
  );
  return `[${texts.join(',')}]`;
}

/** What PostgreSQL says of a row that it can't hold. */
export class RowRefused extends Error {
  readonly code = '22003';
}

/**
 * The ledger without repairs: a second implementation of what append_entries (migrations/functions) promises, held
 * to the same contract (test/integration/ledger-contract.spec.ts). Every call is a transaction.
 */
export class ModelLedger {
  entries: ModelEntry[] = [];
  private readonly orders = new Map<string, Known>();
  private readonly failures = new Map<string, number>();
  private readonly refunds = new Map<string, Known>();
  private readonly refunded = new Map<string, number>();
  private readonly early = new Map<string, WaitingRefund>();

  /** @param refuses which messages the database can't hold */
  constructor(
    private readonly id: string,
    private readonly refuses: (message: ValidatedMessage) => boolean = () => false,
  ) {}

  head(): LedgerHead {
    const position = this.entries.length;
    return { ledgerId: this.id, position, entryHash: this.hashAt(position)! };
  }

  hashAt(position: number): string | null {
    if (position === 0) return hash('sha256', '', 'hex');
    return this.entries[position - 1]?.entryHash ?? null;
  }

  entriesAfter(position: number, limit: number): { entries: ModelEntry[]; more: boolean } {
    const entries = this.entries.slice(position, position + limit).map((entry) => ({ ...entry }));
    return { entries, more: position + limit < this.entries.length };
  }

  /** Refunds whose order is not counted, in the order in which they came. */
  get waiting(): ValidatedMessage[] {
    return [...this.early.values()].filter(({ settled }) => !settled).map(({ refund }) => refund);
  }

  /** Orders first, then what waited for them, then refunds. @throws RowRefused, and then nothing is appended */
  append(messages: ValidatedMessage[]): AppendResult[] {
    if (messages.some((message) => message.value !== null && (message.value <= 0 || this.refuses(message)))) {
      throw new RowRefused('value out of range');
    }
    const results: AppendResult[] = Array.from({ length: messages.length });
    const before = this.entries.length;
    for (const [i, message] of messages.entries()) {
      if (message.kind === 'order') results[i] = this.appendOrder(message);
    }
    const counted = new Set(this.entries.slice(before).map(({ outcome, orderId }) => outcome !== 'failed' && orderId));
    for (const waiting of this.early.values()) {
      if (waiting.settled || !counted.has(waiting.refund.orderId)) continue;
      this.settle(waiting.refund);
      waiting.settled = true;
    }
    for (const [i, message] of messages.entries()) {
      if (message.kind === 'refund') results[i] = this.appendRefund(message);
    }
    return results;
  }

  private appendOrder(order: ValidatedMessage): AppendResult {
    const known = order.orderId === null ? undefined : this.orders.get(order.orderId);
    if (order.outcome !== 'failed' && !known) {
      const position = this.add(order, order.outcome, [], order.userId, null);
      this.orders.set(order.orderId!, { content: order.contentHash, position });
      return { kind: 'stored', position, outcome: order.outcome, reasons: [] };
    }
    if (known?.content === order.contentHash) return { kind: 'duplicate', position: known.position };
    const failed = this.failures.get(order.failureHash);
    if (failed !== undefined) return { kind: 'duplicate', position: failed };
    const reasons: Reason[] = known ? [...order.reasons, 'conflicting_duplicate'] : order.reasons;
    return this.addFailed(order, reasons, order.userId, null);
  }

  private appendRefund(refund: ValidatedMessage): AppendResult {
    const early = this.early.get(refund.failureHash);
    if (early && !early.settled) return { kind: 'duplicate', position: null };
    if (refund.outcome === 'failed') {
      const known = this.refunds.get(refund.refundId ?? '');
      const failed = this.failures.get(refund.failureHash);
      if (failed !== undefined) return { kind: 'duplicate', position: failed };
      return this.addFailed(refund, known ? [...refund.reasons, 'conflicting_duplicate'] : refund.reasons, null, null);
    }
    const settled = this.settle(refund);
    if (settled) return settled;
    this.early.set(refund.failureHash, { refund, settled: false });
    return { kind: 'waiting' };
  }

  /** @returns null where its order is not counted */
  private settle(refund: ValidatedMessage): AppendResult | null {
    const known = this.orders.get(refund.orderId!);
    if (!known) return null;
    const counted = this.refunds.get(refund.refundId!);
    if (counted?.content === refund.contentHash) return { kind: 'duplicate', position: counted.position };
    const order = this.entries[known.position - 1]!;
    const sum = (this.refunded.get(refund.orderId!) ?? 0) + refund.value!;
    const fault = this.faultOf(refund, { order, isCounted: counted !== undefined, sum });
    if (fault !== null) {
      const failed = this.failures.get(refund.failureHash);
      if (failed !== undefined) return { kind: 'duplicate', position: failed };
      return this.addFailed(refund, [fault], order.userId, order.position);
    }
    const position = this.add(refund, 'accepted', [], order.userId, order.position);
    this.refunded.set(refund.orderId!, sum);
    this.refunds.set(refund.refundId!, { content: refund.contentHash, position });
    return { kind: 'stored', position, outcome: 'accepted', reasons: [] };
  }

  private faultOf(
    refund: ValidatedMessage,
    { order, isCounted, sum }: { order: ModelEntry; isCounted: boolean; sum: number },
  ): Reason | null {
    if (isCounted) return 'conflicting_duplicate';
    if (refund.orderedAt! < order.orderedAt! - YEAR_MS) return 'refund_before_order';
    return sum > order.value! ? 'refund_exceeds_order' : null;
  }

  private addFailed(
    message: ValidatedMessage,
    reasons: Reason[],
    userId: string | null,
    refPosition: number | null,
  ): AppendResult {
    const position = this.add(message, 'failed', reasons, userId, refPosition);
    this.failures.set(message.failureHash, position);
    return { kind: 'stored', position, outcome: 'failed', reasons };
  }

  private add(
    message: ValidatedMessage,
    outcome: Outcome,
    reasons: Reason[],
    userId: string | null,
    refPosition: number | null,
  ): number {
    const counts = outcome !== 'failed';
    const value = counts ? message.value : null;
    const contentHash = counts ? message.contentHash : message.failureHash;
    const { kind, orderId, refundId, orderedAt, messageId, claimed, sentAt, receivedAt } = message;
    const lines = counts ? message.lines : [];
    const position = this.entries.length + 1;
    const said = [
      ...[position, kind, outcome, orderId, userId, orderedAt, value, claimed, linesText(lines), reasons, contentHash],
      ...[messageId, refPosition, refundId, null, sentAt, receivedAt, hash('sha256', message.body, 'hex')],
    ];
    const item = said.map((part, i) => (i === LINES ? part : JSON.stringify(part))).join(', ');
    const before = Buffer.from(this.head().entryHash, 'hex');
    const entryHash = hash('sha256', Buffer.concat([before, Buffer.from(`[${item}]`)]), 'hex');
    const of = { position, kind, outcome, orderId, userId, refundId, orderedAt, value, lines, reasons, refPosition };
    this.entries.push({ ...of, contentHash, entryHash, messageId });
    return position;
  }
}
