import { Logger } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import type { Availability } from '../platform/availability.js';
import { DatabaseUnavailable } from '../platform/database/database.js';
import { isFaultOfRow, isStatementTimeout } from '../platform/database/sql-state.js';
import { pause } from '../platform/back-off.js';
import type { ValidatedMessage } from '../domain/order-event.js';
import { isRetry, type AppendStatement } from './append-statement.js';
import type { AppendResult } from './ledger-entry.js';

/**
 * One append holds at most this many messages, or about this many characters of bodies. By default that is less than
 * can be in hand: if all waited for the same append, nobody would receive and acknowledge meanwhile.
 */
const MAX_MESSAGES = 240;
const MAX_CHARACTERS = 8 * 1024 * 1024;
const PAUSE_AFTER_FAILURE_MS = 50;
/** What Node's timers take. */
const MAX_TIMER_MS = 2 ** 31 - 1;

interface Waiting {
  messages: ValidatedMessage[];
  /** ms of performance.now() after which the caller would rather have an error than a late success. */
  deadline: number;
  resolve(results: AppendResult[]): void;
  reject(error: unknown): void;
}

/**
 * Brings the appends of all pollers together: while one is in flight the next gathers, so that a busy process
 * commits dozens of messages at once and an idle one loses no time.
 */
export class AppendQueue {
  private readonly logger = new Logger('Ledger');
  private waiting: Waiting[] = [];
  private running = false;
  /** Fires when outages are no longer to be waited out. */
  private readonly impatience = new AbortController();

  /**
   * @param statement commits an append or throws, see {@link AppendStatement}
   * @param availability of the database that it runs on
   * @param appended is told after every append that stored something
   */
  constructor(
    private readonly statement: AppendStatement,
    private readonly availability: Availability,
    private readonly appended: () => void,
  ) {}

  /**
   * Appends messages in their order; see {@link AppendResult}. Outages are waited out and the append repeated (the
   * ledger knows what it already holds) for as long as the caller is patient.
   * @throws DatabaseUnavailable when the patience ends first
   */
  async append(messages: ValidatedMessage[], patienceMs: number): Promise<AppendResult[]> {
    const deadline = performance.now() + patienceMs;
    const results = await Promise.all(runsOf(messages).map((run) => this.enqueue(run, deadline)));
    return results.flat();
  }

  private enqueue(messages: ValidatedMessage[], deadline: number): Promise<AppendResult[]> {
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
        const deadline = Math.min(...batch.map((waiting) => waiting.deadline));
        const results = await this.store(messages, deadline);
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
      if (worthWaiting && performance.now() < waiting.deadline) retry.push(waiting);
      else waiting.reject(error);
    }
    this.waiting.unshift(...retry);
    if (retry.length === 0) return;
    const patience = Math.min(...retry.map((waiting) => waiting.deadline)) - performance.now();
    const tooLate = AbortSignal.any([
      AbortSignal.timeout(Math.min(Math.max(0, Math.ceil(patience)), MAX_TIMER_MS)),
      this.impatience.signal,
    ]);
    await pause(PAUSE_AFTER_FAILURE_MS, tooLate);
    await this.availability.waitUntilUp(tooLate);
  }

  /** Where the database refuses a row, or takes too long, halves the append until only the cause is left out. */
  private async store(messages: ValidatedMessage[], deadline: number): Promise<AppendResult[]> {
    try {
      return await this.statement(messages);
    } catch (error) {
      const takesTooLong = isStatementTimeout(error);
      if (!isFaultOfRow(error) && !takesTooLong) throw error;
      if (takesTooLong && (performance.now() > deadline || this.impatience.signal.aborted)) throw error;
      if (takesTooLong) this.logger.warn(`Appending ${messages.length} messages took too long`);
      if (messages.length === 1) return [{ kind: 'refused', error }];
      const half = Math.ceil(messages.length / 2);
      return [
        ...(await this.store(messages.slice(0, half), deadline)),
        ...(await this.store(messages.slice(half), deadline)),
      ];
    }
  }
}

/** Cut where retries of failed entries, which are settled by a function of their own, meet other messages. */
function runsOf(messages: ValidatedMessage[]): ValidatedMessage[][] {
  const runs: ValidatedMessage[][] = [];
  for (const message of messages) {
    const run = runs.at(-1);
    if (run && isRetry(run) === isRetry([message])) run.push(message);
    else runs.push([message]);
  }
  return runs;
}
