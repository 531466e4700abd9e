import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { setTimeout as pause } from 'node:timers/promises';
import { withTimeout } from '../../platform/back-off.js';
import { Database } from '../../platform/database/database.js';
import { OutageNotice } from '../../platform/outage-notice.js';
import { QueueSender } from '../../platform/queue/queue-sender.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { OrderWorkflow } from '../workflow/order-workflow.service.js';
import { type ClaimedMessage, type Destination, Outbox } from './outbox.repository.js';
import { StepQueues } from './step-queues.js';

const MESSAGES_PER_ROUND = 200;
const SWEEP_EVERY_MS = 1_000;
/**
 * How long to wait between rounds, by how much the last one took on. What is alone is sent at once; under load, what gathers
 * meanwhile goes with one claim, a call of SQS for every ten and one delete.
 */
const PAUSE_MS_PER_MESSAGE = 10;
const MAX_PAUSE_MS = 250;
const PAUSE_AFTER_FAILURE_SECONDS = 2;
const STOP_TIMEOUT_MS = 2_000;

/**
 * Takes messages from the outbox to their queues: at once after a commit of this process, and by a sweep what others left.
 * A message is deleted from the outbox after it was sent, so one that a crash comes between is sent twice.
 */
@Injectable()
export class OutboxRelay implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('OutboxRelay');
  private readonly senders: Record<Destination, QueueSender>;
  private again = false;
  private busy = false;
  private stopping = false;
  private ended: Promise<void> = Promise.resolve();
  private readonly notices: Record<Destination, OutageNotice>;

  constructor(
    private readonly outbox: Outbox,
    private readonly workflow: OrderWorkflow,
    private readonly database: Database,
    orders: QueueSender,
    queues: StepQueues,
  ) {
    this.senders = {
      orders,
      inventory: queues.of('inventory').sender,
      payment: queues.of('payment').sender,
      shipment: queues.of('shipment').sender,
    };
    const noticeOf = (queue: Destination): OutageNotice =>
      new OutageNotice(this.logger, `The outbox can be sent to the ${queue} queue again`);
    this.notices = {
      orders: noticeOf('orders'),
      inventory: noticeOf('inventory'),
      payment: noticeOf('payment'),
      shipment: noticeOf('shipment'),
    };
  }

  onApplicationBootstrap(): void {
    this.workflow.onCommitted(() => this.notify());
    this.notify();
  }

  /** What is not sent by then stays in the outbox. */
  async onModuleDestroy(): Promise<void> {
    this.stopping = true;
    await withTimeout(STOP_TIMEOUT_MS, this.ended);
    for (const notice of Object.values(this.notices)) notice.stop();
  }

  /** Has what is in the outbox sent soon. */
  @Interval(SWEEP_EVERY_MS)
  notify(): void {
    this.again = true;
    if (!this.busy && !this.stopping && this.database.availability.up) this.ended = this.run();
  }

  /**
   * Sends what can be sent now.
   * @returns how many messages were taken on
   * @throws DatabaseUnavailable
   */
  async sendRound(): Promise<number> {
    const claimed = await this.outbox.claim(MESSAGES_PER_ROUND);
    if (claimed.length === 0) return 0;
    const queues = new Set(claimed.map(({ queue }) => queue));
    await Promise.all(
      [...queues].map((to) =>
        this.sendTo(
          to,
          claimed.filter(({ queue }) => queue === to),
        ),
      ),
    );
    return claimed.length;
  }

  private async sendTo(queue: Destination, messages: ClaimedMessage[]): Promise<void> {
    const sent: ClaimedMessage[] = [];
    const failed: ClaimedMessage[] = [];
    let reason = '';
    try {
      await this.senders[queue].sendEach(messages, {
        onSent: (message) => sent.push(message),
        onFailed: (message, failure) => {
          failed.push(message);
          reason = failure.message;
        },
      });
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      failed.push(...messages);
      reason = error.message;
    }
    if (sent.length > 0) await this.outbox.sent(sent);
    if (failed.length > 0) await this.outbox.release(failed, PAUSE_AFTER_FAILURE_SECONDS);
    const notice = this.notices[queue];
    if (failed.length === 0) notice.isWell();
    else notice.fails(`${failed.length} messages wait in the outbox for the ${queue} queue: ${reason}`);
  }

  private async run(): Promise<void> {
    this.busy = true;
    try {
      while (this.again && !this.stopping) {
        this.again = false;
        const taken = await this.sendRound();
        if (taken === 0) continue;
        // An order's next message can be claimed now that the one before it is gone.
        this.again = true;
        await pause(Math.min(taken * PAUSE_MS_PER_MESSAGE, MAX_PAUSE_MS));
      }
    } catch (error) {
      // A database that is down says so itself.
      if (!(error instanceof UnavailableError)) this.logger.error(`The outbox can't be sent: ${messageOf(error)}`);
    } finally {
      this.busy = false;
    }
  }
}
