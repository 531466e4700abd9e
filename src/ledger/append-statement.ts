import { sql, type SQL } from 'drizzle-orm';
import type { Database } from '../platform/database/database.js';
import type { EventKind, ValidatedMessage, OrderLine, Outcome, Reason } from '../domain/order-event.js';
import type { AppendResult, RepairFault } from './ledger-entry.js';

/**
 * Appends messages in their order, all of them or none, and answers one result for each once they are committed. Either
 * all of them are retries of failed entries ({@link isRetry}) or none is.
 * Throws DatabaseUnavailable, or an error with the SQLSTATE of a row that the database refuses.
 */
export type AppendStatement = (messages: ValidatedMessage[]) => Promise<AppendResult[]>;

interface AnswerRow {
  i: number;
  kind: 'stored' | 'duplicate' | 'repaired' | 'not_repaired';
  outcome: Outcome | 'waiting';
  reasons: RepairFault[];
  /** Null where it waits. */
  position: number | null;
}

/** The statement as the ledger's database runs it: one call of append_entries or append_retries. */
export function appendStatement(database: Database): AppendStatement {
  return async (messages) => {
    const rows = await database.query<AnswerRow>(
      isRetry(messages) ? retriesAppended(messages) : entriesAppended(messages),
    );
    if (rows.length !== messages.length) {
      throw new Error(`The ledger answered ${rows.length} of ${messages.length} messages`);
    }
    const results: AppendResult[] = Array.from({ length: messages.length });
    for (const row of rows) results[row.i] = resultOf(row);
    return results;
  };
}

/** Bodies go beside the JSON as one run of bytes: within it they would be escaped, read twice and copied more often. */
function entriesAppended(messages: ValidatedMessage[]): SQL {
  let bytes = 0;
  const bodies: Buffer[] = [];
  const entries = messages.map((message, i) => {
    const body = Buffer.from(storable(message.body));
    const entry = { ...rowOf(message, i), body_at: bytes + 1, body_bytes: body.length };
    bytes += body.length;
    bodies.push(body);
    return entry;
  });
  const of = (kind: EventKind): SQL => sql`${JSON.stringify(entries.filter((entry) => entry.kind === kind))}::json`;
  return sql`select i, case when duplicate then 'duplicate' else 'stored' end as kind, outcome, reasons,
               position
             from append_entries(${of('order')}, ${of('refund')}, ${Buffer.concat(bodies)}::bytea)`;
}

function retriesAppended(messages: ValidatedMessage[]): SQL {
  const entries = messages.map((message, i) => ({ ...rowOf(message, i), body: storable(message.body) }));
  return sql`select i, kind, outcome, reasons, position
             from append_retries(${JSON.stringify(entries)}::json)`;
}

/** Whether messages, all of them or none, retry failed entries: these are settled by a function of their own. */
export function isRetry([message]: ValidatedMessage[]): boolean {
  return message?.repairId !== undefined;
}

function resultOf({ kind, position, outcome, reasons }: AnswerRow): AppendResult {
  if (kind === 'duplicate') return { kind, position };
  if (outcome === 'waiting' || position === null) return { kind: 'waiting' };
  switch (kind) {
    case 'stored':
      return { kind, position, outcome, reasons: reasons as Reason[] };
    case 'repaired':
      return { kind, position, outcome };
    case 'not_repaired':
      return { kind, position, reasons };
  }
}

function rowOf(message: ValidatedMessage, i: number): { kind: EventKind } & Record<string, unknown> {
  return {
    i,
    kind: message.kind,
    outcome: message.outcome,
    order_id: message.orderId,
    user_id: message.userId,
    refund_id: message.refundId ?? undefined,
    ordered_at: message.orderedAt,
    value_cents: message.value,
    claimed_cents: message.claimed,
    lines: `{${message.lines.map(lineLiteral).join(',')}}`,
    reasons: message.reasons,
    content_hash: message.contentHash,
    failure_hash: message.failureHash,
    message_id: message.messageId,
    sent_at: message.sentAt,
    received_at: message.receivedAt,
    repair_id: message.repairId,
  };
}

/** A line as an element of PostgreSQL's text form of an array of rows: quoted as a row's field, then as an element. */
function lineLiteral(line: OrderLine): string {
  const id = /^[\w-]+$/.test(line.product_id)
    ? line.product_id
    : `"${line.product_id.replace(/["\\]/g, '$&$&')}"`.replace(/["\\]/g, '\\$&');
  return `"(${id},${line.quantity},${line.price_per_unit},${line.cents})"`;
}

/** PostgreSQL's text holds no NUL and no half of a surrogate pair; both are kept as the replacement character. */
function storable(body: string): string {
  return body.toWellFormed().replaceAll('\0', '\uFFFD');
}
