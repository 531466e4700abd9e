import { messageOf } from '../../shared/errors.js';
import { faultText } from '../../shared/fault-text.js';

/** What this process has done with the messages of a queue since it started. */
export class QueueActivity {
  private acknowledged = 0;
  private faults = 0;
  private last: { message: string; at: number } | null = null;
  private oldestAge: number | null = null;

  /** Messages that were processed and acknowledged. */
  get done(): number {
    return this.acknowledged;
  }

  /** Deliveries that ended in a fault of ours; the message comes again, or goes to the dead letters. */
  get failed(): number {
    return this.faults;
  }

  /** The latest such fault, with nothing of the message in it; `at` in ms UTC. */
  get lastError(): { message: string; at: number } | null {
    return this.last;
  }

  /**
   * How long ago, in seconds, the oldest message of the latest batch had been sent when it was received; null before the
   * first one. That includes its delay, and earlier deliveries of it.
   */
  get oldestAgeSeconds(): number | null {
    return this.oldestAge;
  }

  /** @param ageSeconds since it was sent */
  received(ageSeconds: number, startsBatch: boolean): void {
    this.oldestAge = startsBatch ? ageSeconds : Math.max(this.oldestAge ?? 0, ageSeconds);
  }

  /** A message was processed and acknowledged. */
  processed(): void {
    this.acknowledged++;
  }

  /** So many messages could not be processed by a fault of ours. */
  faulted(messages: number, error: unknown): void {
    this.faults += messages;
    this.last = { message: faultText(messageOf(error)), at: Date.now() };
  }
}
