import { Logger, type OnApplicationShutdown } from '@nestjs/common';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { Availability } from '../availability.js';
import { QueueActivity } from './queue-activity.js';
import { queueDepth, setUpQueue, type QueueDepth, type QueueSettings } from './queue-setup.js';

/** A queue of ours: made ready in the background, and again after it was gone. */
export class Queue implements OnApplicationShutdown {
  private readonly logger = new Logger('Queue');
  readonly availability: Availability;
  readonly activity = new QueueActivity();
  private saidWarnings = '';

  constructor(
    readonly sqs: SQSClient,
    readonly settings: QueueSettings,
  ) {
    this.availability = new Availability(
      `the queue ${settings.name}`,
      () => this.prepare(),
      () => this.check(),
      this.logger,
    );
  }

  /** How many messages wait, are in hand or are delayed. */
  depth(): Promise<QueueDepth> {
    return queueDepth(this.sqs, this.settings.name);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.availability.stop();
  }

  private async check(): Promise<void> {
    await this.depth();
  }

  private async prepare(): Promise<void> {
    const warnings = await setUpQueue(this.sqs, this.settings);
    const said = warnings.join('\n');
    if (said !== this.saidWarnings) for (const warning of warnings) this.logger.warn(warning);
    this.saidWarnings = said;
  }
}

/** The queue that order events arrive on. */
export class OrdersQueue extends Queue {}
