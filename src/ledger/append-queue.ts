import { sql, type SQL } from 'drizzle-orm';
import { setImmediate } from 'node:timers/promises';
import { DatabaseUnavailable, type Database } from '../platform/database/database.js';
import { isFaultOfRow } from '../platform/database/sql-state.js';
import { pause } from '../platform/back-off.js';
import type { EventKind, JudgedMessage, OrderLine, Outcome, Reason } from '../shared/order-event.js';
import type { AppendResult, RepairFault } from './ledger-entry.js';

/**
 * One append holds at most this many messages, or about this many characters of bodies. By default that is less than
 * can be in hand: if all waited for the same append, nobody would receive and acknowledge meanwhile.
 */
const MAX_MESSAGES = 240;
const MAX_CHARACTERS = 8 * 1024 * 1024;
const PAUSE_AFTER_FAILURE_MS = 50;

interface Waiting {
  messages: JudgedMessage[];
  /** ms of the clock after which the caller would rather have an error than a late success. */
  deadline: number;
  resolve(results: AppendResult[]): void;
  reject(error: unknown): void;
}

interface AnswerRow {
  i: number;
  kind: 'stored' | 'duplicate' | 'repaired' | 'not_repaired';
  outcome: Outcome | 'waiting';
  reasons: RepairFault[];
  /** Null where it waits. */
  position: number | null;
}

/**
 * Brings the appends of all pollers together: while one is in flight the next gathers, so that a busy process
 * commits dozens of messages at once and an idle one loses no time.
 */
export class AppendQueue {
  private waiting: Waiting[] = [];
  private running = false;
  /** Fires when outages are no longer to be waited out. */
  private readonly impatience = new AbortController();

  /** @param appended is told after every append that stored something */
  constructor(
    private readonly database: Database,
    private readonly appended: () => void,
  ) {}

  /**
   * Appends messages in their order; see {@link AppendResult}. Outages are waited out and the append repeated (the
   * ledger knows what it already holds) until the deadline.
   * @throws DatabaseUnavailable when the deadline passes first
   */
  async append(messages: JudgedMessage[], deadline: number): Promise<AppendResult[]> {
    const results = await Promise.all(runsOf(messages).map((run) => this.enqueue(run, deadline)));
    return results.flat();
  }

  private enqueue(messages: JudgedMessage[], deadline: number): Promise<AppendResult[]> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ messages, deadline, resolve, reject });
      if (!this.running) void this.run();
    });
  }

  /** From now on an outage is not waited out but reported at once: the process is about to end. */
  stopWaiting(): void {
    this.impatience.abort();
  }

  private async run(): Promise<void> {
    this.running = true;
    while (this.waiting.length > 0) {
      await this.gather();
      const batch = this.takeBatch();
      const messages = batch.flatMap((waiting) => waiting.messages);
      try {
        const results = await this.store(messages);
        if (results.some(({ kind }) => kind === 'stored' || kind === 'repaired')) this.appended();
        let start = 0;
        for (const waiting of batch) waiting.resolve(results.slice(start, (start += waiting.messages.length)));
      } catch (error) {
        await this.putBack(batch, error);
      }
    }
    this.running = false;
  }

  /**
   * Waits while every turn of the event loop brings more, as it does when what pollers received is there already: one
   * append of many costs much less than many of few, most of all where the database runs in this process.
   */
  private async gather(): Promise<void> {
    for (let before = 0; before < this.waiting.length;) {
      before = this.waiting.length;
      await setImmediate();
    }
  }

  private takeBatch(): Waiting[] {
    let messages = 0;
    let characters = 0;
    const retries = isRetry(this.waiting[0]!.messages);
    const taken = this.waiting.findIndex((next, index) => {
      if (isRetry(next.messages) !== retries) return true;
      messages += next.messages.length;
      for (const { body } of next.messages) characters += body.length;
      return index > 0 && (messages > MAX_MESSAGES || characters > MAX_CHARACTERS);
    });
    return this.waiting.splice(0, taken === -1 ? this.waiting.length : taken);
  }

  /** After an outage: those who may still wait go back to the head of the queue, the others get the error. */
  private async putBack(batch: Waiting[], error: unknown): Promise<void> {
    const retry: Waiting[] = [];
    for (const waiting of batch) {
      const worthWaiting = error instanceof DatabaseUnavailable && !this.impatience.signal.aborted;
      if (worthWaiting && Date.now() < waiting.deadline) retry.push(waiting);
      else waiting.reject(error);
    }
    this.waiting.unshift(...retry);
    if (retry.length === 0) return;
    const patience = Math.min(...retry.map((waiting) => waiting.deadline)) - Date.now();
    const tooLate = AbortSignal.any([AbortSignal.timeout(Math.max(0, patience)), this.impatience.signal]);
    await pause(PAUSE_AFTER_FAILURE_MS, tooLate);
    await this.database.availability.whenUp(tooLate);
  }

  /** Where the database refuses a row, halves the append until only the culprit is left out. */
  private async store(messages: JudgedMessage[]): Promise<AppendResult[]> {
    try {
      return await this.call(messages);
    } catch (error) {
      if (!isFaultOfRow(error)) throw error;
      if (messages.length === 1) return [{ kind: 'refused', error }];
      const half = Math.ceil(messages.length / 2);
      return [...(await this.store(messages.slice(0, half))), ...(await this.store(messages.slice(half)))];
    }
  }

  private async call(messages: JudgedMessage[]): Promise<AppendResult[]> {
    const entries = messages.map(rowOf);
    const of = (kind: EventKind): SQL => sql`${JSON.stringify(entries.filter((entry) => entry.kind === kind))}::json`;
    const rows = await this.database.query<AnswerRow>(
      !isRetry(messages)
        ? sql`select i, case when duplicate then 'duplicate' else 'stored' end as kind, outcome, reasons,
                position::float8 as position
              from append_entries(${of('order')}, ${of('refund')})`
        : sql`select i, kind, outcome, reasons, position::float8 as position
              from append_retries(${JSON.stringify(entries)}::json)`,
    );
    if (rows.length !== messages.length) {
      throw new Error(`The ledger answered ${rows.length} of ${messages.length} messages`);
    }
    const results: AppendResult[] = Array.from({ length: messages.length });
    for (const row of rows) results[row.i] = resultOf(row);
    return results;
  }
}

/** Cut where retries of failed entries, which are settled by a function of their own, meet other messages. */
function runsOf(messages: JudgedMessage[]): JudgedMessage[][] {
  const runs: JudgedMessage[][] = [];
  for (const message of messages) {
    const run = runs.at(-1);
    if (run && isRetry(run) === isRetry([message])) run.push(message);
    else runs.push([message]);
  }
  return runs;
}

function isRetry([message]: JudgedMessage[]): boolean {
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

function rowOf(message: JudgedMessage, i: number): Record<string, unknown> {
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
    message_id: message.messageId,
    sent_at: message.sentAt,
    received_at: message.receivedAt,
    body: storable(message.body),
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
