import { Injectable } from '@nestjs/common';
import { Database } from '../platform/database/database.js';
import { OrdersQueue } from '../platform/queue/orders-queue.js';

/** The pollers are being stopped; not a failure. */
export class ReceivingStopped extends Error {
  override readonly name = 'ReceivingStopped';
}

/**
 * Holds every poller back from receiving while what it receives could not be stored. Each receive counts towards the
 * dead-letter queue, so an outage of any length must not cost one.
 */
@Injectable()
export class ReceiveGate {
  private readonly stopping = new AbortController();
  private passed: (poller: number) => void = () => undefined;
  private open: () => void = () => undefined;
  private readonly opened = new Promise<void>((resolve) => (this.open = resolve));

  constructor(
    private readonly database: Database,
    private readonly queue: OrdersQueue,
  ) {}

  /** Lets the pollers begin. @param passed is told of every poller that goes on to receive */
  begin(passed: (poller: number) => void): void {
    this.passed = passed;
    this.open();
  }

  /** Whether a poller would pass right now. */
  get isOpen(): boolean {
    return !this.stopping.signal.aborted && this.database.availability.up && this.queue.availability.up;
  }

  /** Resolves when a poller may receive messages. @throws ReceivingStopped */
  async pass(poller: number): Promise<void> {
    await this.opened;
    while (!this.stopping.signal.aborted && !this.isOpen) {
      await this.queue.availability.whenUp(this.stopping.signal);
      await this.database.availability.whenUp(this.stopping.signal);
    }
    if (this.stopping.signal.aborted) throw new ReceivingStopped();
    this.passed(poller);
  }

  /** From now on nobody passes. */
  stop(): void {
    this.stopping.abort();
    this.open();
  }
}
