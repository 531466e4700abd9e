import { ChangeMessageVisibilityBatchCommand, type Message } from '@aws-sdk/client-sqs';
import { Injectable, Logger } from '@nestjs/common';
import { receiveCountOf } from '../../platform/queue/poll-loops.js';
import type { Queue } from '../../platform/queue/queue.js';
import { spreadRedeliverySeconds } from '../../platform/queue/redelivery.rules.js';
import { withDeadline } from '../../platform/queue/sqs-client.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { faultText } from '../../shared/fault-text.js';
import { StepHandlers } from '../workflow/step-handlers.js';
import { NoStepMessage, STEP_TASKS, stepMessageIn, type StepQueue } from './step-messages.js';
import { StepQueues } from './step-queues.js';

/** Steps under way at once in this process: each has a connection to the database, of which the intake needs some too. */
export const MAX_STEPS_AT_ONCE = 6;
/** For how long a batch is kept hidden while its messages wait for their turn and are handled. By rights none takes as long. */
export const BATCH_TIMEOUT_SECONDS = 600;
/**
 * For how long what waits for its turn is handled yet when the process ends. Whatever is given back has used up a delivery, and
 * would be a dead letter after some restarts without having been tried once.
 */
const MAX_CLEARANCE_MS = 3_000;
/** From the beginning of the end: poll loops are waited for a little longer, so that what is given back still is. */
const LATEST_CLEARANCE_MS = 5_000;
/** What is given back at the end must not reach a poll of this process that is about to end. */
const GIVEN_BACK_FOR_SECONDS = 3;

/** Has steps handled, each message on its own: what succeeds is acknowledged, what does not comes again at its own time. */
@Injectable()
export class StepIntake {
  private readonly logger = new Logger('StepIntake');
  /** Messages that wait for their turn, those that were received most often first: they would be dead letters soonest. */
  private readonly queued: { receiveCount: number; call: (hasTurn: boolean) => void }[] = [];
  private underWay = 0;
  private turnsAreOver = false;

  constructor(
    private readonly handlers: StepHandlers,
    private readonly queues: StepQueues,
  ) {}

  /**
   * Handles a batch of messages, at most {@link MAX_STEPS_AT_ONCE} of all batches at once, and keeps them hidden meanwhile.
   * @returns those to acknowledge; the others have been given back
   */
  async handle(step: StepQueue, messages: Message[]): Promise<Message[]> {
    const { queue, settings } = this.queues.of(step);
    const kept = new Set(messages);
    const until = performance.now() + BATCH_TIMEOUT_SECONDS * 1000;
    const keepHidden = (): void => {
      if (performance.now() < until) void this.hide(queue, [...kept], settings.visibilityTimeout);
    };
    const timer = setInterval(keepHidden, settings.visibilityTimeout * 500);
    try {
      await Promise.all(
        messages.map(async (message) => {
          const comesAgainIn = await this.runExclusive(step, message);
          if (comesAgainIn === null) return;
          kept.delete(message);
          await this.hide(queue, [message], comesAgainIn);
        }),
      );
      return [...kept];
    } finally {
      clearInterval(timer);
    }
  }

  /**
   * What still waits for its turn after {@link MAX_CLEARANCE_MS} is given back.
   * @param since when the process began to end, ms of performance.now()
   */
  stop(since: number): void {
    const giveBack = (): void => {
      this.turnsAreOver = true;
      for (const { call } of this.queued.splice(0)) call(false);
    };
    const left = since + LATEST_CLEARANCE_MS - performance.now();
    setTimeout(giveBack, Math.max(0, Math.min(MAX_CLEARANCE_MS, left))).unref();
  }

  /** @returns null where the message is done, else the seconds until it is to come again */
  private async runExclusive(step: StepQueue, message: Message): Promise<number | null> {
    if (!(await this.turn(step, receiveCountOf(message)))) return GIVEN_BACK_FOR_SECONDS;
    try {
      return await this.run(step, message);
    } finally {
      const next = this.queued.shift();
      if (next) next.call(true);
      else this.underWay--;
    }
  }

  /** @returns whether there is one, now or after a while */
  private async turn(step: StepQueue, receiveCount: number): Promise<boolean> {
    if (this.turnsAreOver) return false;
    if (this.underWay < MAX_STEPS_AT_ONCE) {
      this.underWay++;
      return true;
    }
    const { gate } = this.queues.of(step);
    gate.waitBegins();
    const behind = this.queued.findIndex((other) => other.receiveCount < receiveCount);
    const place = behind === -1 ? this.queued.length : behind;
    const hasTurn = await new Promise<boolean>((call) => this.queued.splice(place, 0, { receiveCount, call }));
    gate.waitEnds();
    return hasTurn;
  }

  private async run(step: StepQueue, message: Message): Promise<number | null> {
    const receiveCount = receiveCountOf(message);
    try {
      const asked = stepMessageIn(message.Body ?? '');
      if (STEP_TASKS[asked.task] !== step) throw new NoStepMessage(`${asked.task} is not done from this queue`);
      await this.handlers.of(asked.task)(asked, { receiveCount });
      return null;
    } catch (error) {
      this.failed(step, message, error);
      return spreadRedeliverySeconds(receiveCount, Math.random());
    }
  }

  private failed(step: StepQueue, { MessageId }: Message, error: unknown): void {
    const { queue, settings } = this.queues.of(step);
    queue.activity.faulted(1, error);
    // A part that is down says so itself.
    if (error instanceof UnavailableError) return;
    this.logger.error(
      `The message ${MessageId} on ${settings.name} was not processed and will be delivered again: ${faultText(messageOf(error))}`,
    );
  }

  /** Best effort: where it fails, messages are visible again when their time is over. */
  private async hide(queue: Queue, messages: Message[], seconds: number): Promise<void> {
    if (messages.length === 0) return;
    const Entries = messages.map(({ ReceiptHandle }, index) => ({
      Id: String(index),
      ReceiptHandle,
      VisibilityTimeout: seconds,
    }));
    const command = new ChangeMessageVisibilityBatchCommand({ QueueUrl: queue.settings.name, Entries });
    try {
      await withDeadline((options) => queue.sqs.send(command, options));
    } catch (error) {
      queue.availability.failed(error);
    }
  }
}
