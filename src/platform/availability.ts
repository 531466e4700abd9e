import type { Logger } from '@nestjs/common';
import { messageOf } from '../shared/errors.js';
import { withTimeout, backOff, pause } from './back-off.js';
import { OutageNotice } from './outage-notice.js';

const MAX_PAUSE_MS = 2_000;
const STOP_TIMEOUT_MS = 1_000;
/** A part that fails again sooner than this after it came up is not well: the pauses go on growing. */
const STEADY_MS = 10_000;

/**
 * Whether a part (the database, the queue, Redis) can be used, kept up to date: after a failure the part is
 * prepared again with back-off until that succeeds. The log hears of a part going and coming, not of every attempt.
 */
export class Availability {
  private state: 'starting' | 'up' | 'down' = 'starting';
  private lastReason = 'starting';
  private waiting: (() => void)[] = [];
  private readonly listeners: (() => void | Promise<void>)[] = [];
  private readonly stopping = new AbortController();
  private loop: Promise<void> | null = null;
  private attempts = 0;
  /** When the latest attempt was over: where the part is up, since when. */
  private attemptedAt = -Infinity;
  private readonly notice: OutageNotice;

  /**
   * @param part how the log names it, e.g. `PostgreSQL`
   * @param prepare brings the part into use (connect, migrate, create); throws while that is impossible
   * @param check asks a part that is up whether it still is; throws where not
   */
  constructor(
    private readonly part: string,
    private readonly prepare: () => Promise<void>,
    private readonly check: () => Promise<void>,
    logger: Logger,
  ) {
    this.notice = new OutageNotice(logger, `${part} is up`);
  }

  get up(): boolean {
    return this.state === 'up';
  }

  /** Why the part can't be used; empty while it can. */
  get reason(): string {
    return this.up ? '' : `${this.part}: ${this.lastReason}`;
  }

  /** For the health page. */
  get health(): { up: boolean; reason?: string } {
    return this.up ? { up: true } : { up: false, reason: this.lastReason };
  }

  /** Asks the part anew whether it can be used, and takes note of a failure. */
  async confirm(): Promise<void> {
    if (!this.up) return;
    try {
      await this.check();
    } catch (error) {
      this.failed(error);
    }
  }

  /** Is called, and waited for, each time the part comes up, before anybody else hears of it. */
  onUp(listener: () => void | Promise<void>): void {
    this.listeners.push(listener);
  }

  /** Starts preparing in the background; the promise resolves when the first attempt is over, however it went. */
  start(): Promise<void> {
    return new Promise((firstAttemptOver) => {
      this.loop ??= this.prepareUntilUp(firstAttemptOver);
    });
  }

  /** To be told of every failure that means the part is gone. */
  failed(error: unknown): void {
    if (!this.up || this.stopping.signal.aborted) return;
    if (performance.now() - this.attemptedAt > STEADY_MS) this.attempts = 0;
    this.state = 'down';
    this.lastReason = messageOf(error);
    this.notice.fails(`${this.part} is down: ${this.lastReason}; waiting for it`);
    this.loop ??= this.prepareUntilUp(() => undefined);
  }

  /** Resolves when the part is up, or when the signal fires or the process stops: look at `up` afterwards. */
  async waitUntilUp(signal?: AbortSignal): Promise<void> {
    if (this.up || this.stopping.signal.aborted || signal?.aborted) return;
    await new Promise<void>((resolve) => {
      const ended = (): void => {
        signal?.removeEventListener('abort', ended);
        resolve();
      };
      this.waiting.push(ended);
      signal?.addEventListener('abort', ended);
    });
  }

  /** Ends the background work. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.notice.stop();
    this.release();
    if (this.loop) await withTimeout(STOP_TIMEOUT_MS, this.loop);
  }

  private async prepareUntilUp(firstAttemptOver: () => void): Promise<void> {
    for (; !this.stopping.signal.aborted; this.attempts++) {
      if (this.attempts > 0) await this.untilNextAttempt();
      try {
        await this.prepare();
        for (const listener of this.listeners) await listener();
        this.state = 'up';
        this.attemptedAt = performance.now();
        this.attempts++;
        this.loop = null;
        this.notice.isWell();
        this.release();
        firstAttemptOver();
        return;
      } catch (error) {
        this.attemptedAt = performance.now();
        this.lastReason = messageOf(error);
        this.notice.fails(`${this.part} can't be used yet: ${this.lastReason}; waiting for it`);
      }
      firstAttemptOver();
    }
    this.loop = null;
  }

  /** The pause is one between attempts: a part that was up for as long is tried at once. */
  private async untilNextAttempt(): Promise<void> {
    const sinceLast = performance.now() - this.attemptedAt;
    await pause(Math.max(0, backOff(this.attempts, MAX_PAUSE_MS) - sinceLast), this.stopping.signal);
  }

  private release(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}
