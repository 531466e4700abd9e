import { AsyncLocalStorage } from 'node:async_hooks';
import type { Database } from '../database/database.js';
import type { Queue } from './queue.js';

/** The poll loops are being stopped; not a failure. */
export class ReceivingStopped extends Error {
  override readonly name = 'ReceivingStopped';
}

/**
 * Nobody receives while larger batches than these are in flight: a body of 600 KiB with 10,000 items takes 0.15 s to store, and
 * what is in flight has to be stored while it is hidden from other consumers.
 */
export const MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024;

/** Where a poll loop is on its way through the gate. */
export type GatePhase = 'waiting for its turn' | 'receiving';

/**
 * Lets at most as many poll loops of a queue receive at once as it has pollers, and none while what it receives could not be
 * stored, or would only wait in this process. Each receive counts towards the dead-letter queue, so an outage of any length
 * must not cost one.
 */
export class ReceiveGate {
  private readonly stopping = new AbortController();
  private readonly receiving = new Set<number>();
  /** Loops that wait for another to end its receive, or for messages to be handled; each is called in its turn. */
  private readonly queued: (() => void)[] = [];
  /** Messages that were received and wait to be handled. */
  private waiting = 0;
  /** Bytes of the batches that are being handled. */
  private bytesInFlight = 0;
  /** What a receive is expected to bring. */
  private bytesOfLastBatch = 0;
  /** Which start of a loop it is that runs. */
  private readonly start = new AsyncLocalStorage<symbol>();
  /** The last start of each loop that was started again. */
  private readonly restarts = new Map<number, symbol>();
  private moved: (loop: number, phase: GatePhase) => void = () => undefined;
  private open: () => void = () => undefined;
  private readonly opened = new Promise<void>((resolve) => (this.open = resolve));

  constructor(
    private readonly database: Database,
    private readonly queue: Queue,
    private readonly pollers: number,
    /** Nobody receives while so many messages wait, and while any do, one loop at a time. */
    private readonly mostWaiting = Infinity,
  ) {}

  /** Lets the loops begin. @param moved is told of every loop that waits for its turn, and when it goes on to receive */
  begin(moved: (loop: number, phase: GatePhase) => void): void {
    this.moved = moved;
    this.open();
  }

  /** Whether receiving makes sense right now. */
  get isOpen(): boolean {
    return !this.stopping.signal.aborted && this.database.availability.up && this.queue.availability.up;
  }

  /**
   * Starts a loop again that hangs. Should what hung go on after all, it waits here for ever: it would receive beside the
   * one that was started in its place.
   */
  restart(loop: number, start: () => void): void {
    this.free(loop);
    const restart = Symbol();
    this.restarts.set(loop, restart);
    this.start.run(restart, start);
  }

  /** Whether whoever calls belongs to a start of a loop that another one has taken the place of. */
  isReplaced(loop: number): boolean {
    return this.start.getStore() !== this.restarts.get(loop);
  }

  /** Resolves when a loop may receive messages; it has to {@link leave} once it has its answer. @throws ReceivingStopped */
  async pass(loop: number): Promise<void> {
    await this.opened;
    for (;;) {
      if (this.stopping.signal.aborted) throw new ReceivingStopped();
      if (this.isReplaced(loop)) {
        this.callNext(); // in whose place it may have been called
        return new Promise(() => undefined);
      }
      if (this.isOpen && this.hasRoom) break;
      await (this.isOpen ? this.turn(loop) : this.bothUp());
    }
    this.receiving.add(loop);
    this.moved(loop, 'receiving');
  }

  /** A loop has its answer, or none will come: another one may receive. */
  leave(loop: number): void {
    if (!this.isReplaced(loop)) this.free(loop);
  }

  /** A message that was received has to wait, until {@link waitEnds}. */
  waitBegins(): void {
    this.waiting++;
  }

  waitEnds(): void {
    this.waiting--;
    this.callNext();
  }

  /** A batch was received and is being handled, until {@link batchEnds}. @param bytes of its bodies */
  batchBegins(bytes: number): void {
    this.bytesInFlight += bytes;
    this.bytesOfLastBatch = bytes;
  }

  batchEnds(bytes: number): void {
    this.bytesInFlight -= bytes;
    this.callNext();
  }

  /** From now on nobody passes. */
  stop(): void {
    this.stopping.abort();
    this.open();
    for (const call of this.queued.splice(0)) call();
  }

  private free(loop: number): void {
    // What it has brought is counted first.
    if (this.receiving.delete(loop)) setImmediate(() => this.callNext());
  }

  private callNext(): void {
    this.queued.shift()?.();
  }

  private get hasRoom(): boolean {
    const bytes = this.bytesInFlight + this.bytesOfLastBatch * (this.receiving.size + 1);
    if (bytes > MAX_BYTES_IN_FLIGHT && this.bytesInFlight + this.receiving.size > 0) return false;
    if (this.waiting === 0) return this.receiving.size < this.pollers;
    return this.waiting < this.mostWaiting && this.receiving.size === 0;
  }

  private turn(loop: number): Promise<void> {
    this.moved(loop, 'waiting for its turn');
    return new Promise((resolve) => this.queued.push(resolve));
  }

  private async bothUp(): Promise<void> {
    await this.queue.availability.waitUntilUp(this.stopping.signal);
    await this.database.availability.waitUntilUp(this.stopping.signal);
  }
}
