import { SQSClient } from '@aws-sdk/client-sqs';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Database } from '../../platform/database/database.js';
import { DeadLetterQueue } from '../../platform/queue/dead-letter-queue.js';
import { QueueSender } from '../../platform/queue/queue-sender.js';
import { Queue } from '../../platform/queue/queue.js';
import { ReceiveGate } from '../../platform/queue/receive-gate.js';
import { CONFIG, type Config, type QueueConfig } from '../../shared/config.js';
import { STEP_QUEUES, type StepQueue } from './step-messages.js';

/**
 * While so many messages of a queue wait for their turn in this process, it receives no more of them: enough that the next ones
 * arrive while these are handled.
 */
export const MAX_WAITING = 10;

/** A queue of steps with what belongs to it. */
export interface StepQueueParts {
  readonly settings: QueueConfig;
  readonly queue: Queue;
  readonly gate: ReceiveGate;
  readonly sender: QueueSender;
  readonly deadLetters: DeadLetterQueue;
}

/** The queues of the steps: made ready in the background, side by side. */
@Injectable()
export class StepQueues implements OnApplicationShutdown {
  private readonly parts: Readonly<Record<StepQueue, StepQueueParts>>;

  constructor(sqs: SQSClient, database: Database, @Inject(CONFIG) { stepQueues }: Config) {
    const partsOf = (settings: QueueConfig): StepQueueParts => {
      const queue = new Queue(sqs, settings);
      void queue.availability.start();
      return {
        settings,
        queue,
        gate: new ReceiveGate(database, queue, settings.pollers, MAX_WAITING),
        sender: new QueueSender(sqs, settings.name),
        deadLetters: new DeadLetterQueue(sqs, settings.name),
      };
    };
    this.parts = {
      inventory: partsOf(stepQueues.inventory),
      payment: partsOf(stepQueues.payment),
      shipment: partsOf(stepQueues.shipment),
    };
  }

  of(step: StepQueue): StepQueueParts {
    return this.parts[step];
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(STEP_QUEUES.map((step) => this.of(step).queue.onApplicationShutdown()));
  }
}
