import { Injectable } from '@nestjs/common';
import { messageOf } from '../../shared/errors.js';
import { faultText } from '../../shared/fault-text.js';
import type { DeadLetterQueue } from './dead-letter-queue.js';
import type { PollLoops } from './poll-loops.js';
import type { QueueActivity } from './queue-activity.js';
import type { QueueDepth } from './queue-setup.js';

/** What a queue said, or why it can't be asked. */
export type QueueAnswer<T> = { value: T; reason: null } | { value: null; reason: string };

/** Who consumes a queue in this process. */
export class QueueWorker {
  constructor(
    readonly loops: PollLoops,
    private readonly letters: DeadLetterQueue,
  ) {}

  get queueName(): string {
    return this.loops.settings.name;
  }

  get activity(): QueueActivity {
    return this.loops.queue.activity;
  }

  /** How many messages the queue has. */
  depth(): Promise<QueueAnswer<QueueDepth>> {
    return this.ask(() => this.loops.queue.depth());
  }

  /** About how many messages could not be processed. */
  deadLetters(): Promise<QueueAnswer<number>> {
    return this.ask(() => this.letters.count());
  }

  private async ask<T>(question: () => Promise<T>): Promise<QueueAnswer<T>> {
    const { availability } = this.loops.queue;
    if (!availability.up) return { value: null, reason: faultText(availability.reason) };
    try {
      return { value: await question(), reason: null };
    } catch (error) {
      return { value: null, reason: faultText(messageOf(error)) };
    }
  }
}

/** All consumers of queues in this process. Each registers when the service begins. */
@Injectable()
export class QueueWorkers {
  private readonly workers: QueueWorker[] = [];

  /** In the order of registration. */
  get all(): readonly QueueWorker[] {
    return this.workers;
  }

  /** @param deadLetters of the queue that the loops are on */
  register(loops: PollLoops, deadLetters: DeadLetterQueue): void {
    this.workers.push(new QueueWorker(loops, deadLetters));
  }

  /** Lets nobody receive any more. Consumers stop one after another; so their polls end at the same time. */
  callBack(): void {
    for (const { loops } of this.workers) loops.callBack();
  }
}
