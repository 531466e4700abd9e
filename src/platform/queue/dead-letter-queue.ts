import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueUrlCommand,
  type Message,
  type MessageAttributeValue,
  ReceiveMessageCommand,
  type BatchResultErrorEntry,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Logger, type OnModuleDestroy } from '@nestjs/common';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { withTimeout } from '../back-off.js';
import { deadLetterQueueInUse, namingThePermission, queueDepth, QueuePermissionMissing } from './queue-setup.js';
import { withDeadline } from './sqs-client.js';
import { MAX_ENTRIES_PER_CALL } from './sqs-limits.js';

/** Calls under way at once. */
const LANES = 8;
/** Short, since an emulator gives the next message to a waiter that left; not 0, which asks a part of SQS's servers only. */
const WAIT_SECONDS = 1;
/** So many answers in a row without anything new mean that the queue has no more. */
const LAST_EMPTIES = 2;
/** How much longer messages stay hidden than may be looked for them: for what is done with the last ones. */
const SLACK_SECONDS = 60;
const ATTEMPTS = 3;
const STOP_TIMEOUT_MS = 1_500;

/** A message on the dead-letter queue. Times are ms UTC; null stands for what SQS did not tell. */
export interface DeadLetter {
  messageId: string;
  body: string;
  /** Message attributes by name, fit to be sent again. */
  attributes?: Record<string, MessageAttributeValue>;
  /** Receives for a look at the dead-letter queue are among them. */
  receiveCount: number | null;
  sentAt: number | null;
  firstReceivedAt: number | null;
}

/** How far to look through the queue, which nobody can list. */
export interface LookLimits {
  messages: number;
  seconds: number;
}

/** The dead-letter queue can't be reached, does not exist or refuses us. */
export class DeadLetterQueueUnavailable extends UnavailableError {
  readonly code = 'queue_unavailable';
  constructor(queueName: string, cause: unknown) {
    super(`The dead letters of the queue ${queueName} can't be reached: ${messageOf(cause)}`, { cause });
  }
}

/**
 * The queue that a queue's dead letters go to, by its redrive policy. SQS can't list a queue: to look at messages is to
 * receive them, which hides them from everybody else for a while and counts as a receive.
 */
export class DeadLetterQueue implements OnModuleDestroy {
  private readonly stopping = new AbortController();
  private readonly underWay = new Set<Promise<unknown>>();

  constructor(
    private readonly sqs: SQSClient,
    /** The queue whose dead letters are meant. */
    private readonly sourceName: string,
  ) {}

  /** About how many messages there are, those that somebody is looking at included. @throws DeadLetterQueueUnavailable */
  async count(): Promise<number> {
    const name = await this.name();
    try {
      const { visible, in_flight, delayed } = await queueDepth(this.sqs, name);
      return visible + in_flight + delayed;
    } catch (error) {
      throw this.unavailable(error, 'sqs:GetQueueAttributes', name);
    }
  }

  /**
   * Lets messages be received and looked at while they are hidden, and releases at once, however the work ends, what it
   * did not delete.
   * @throws DeadLetterQueueUnavailable; also where the messages can't be released for want of a permission
   */
  async holding<T>(limits: LookLimits, work: (held: HeldDeadLetters) => Promise<T>): Promise<T> {
    const whole = this.hold(limits, work);
    const ended = whole.catch(() => undefined).finally(() => this.underWay.delete(ended));
    this.underWay.add(ended);
    return whole;
  }

  /** Ends every look, so that what is held is released before the process is gone. */
  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await withTimeout(STOP_TIMEOUT_MS, Promise.all(this.underWay));
  }

  private async hold<T>(limits: LookLimits, work: (held: HeldDeadLetters) => Promise<T>): Promise<T> {
    const held = await this.open(limits);
    let result: T;
    try {
      result = await work(held);
    } catch (error) {
      await held.release().catch(() => undefined); // what went wrong first is to be told
      throw error;
    }
    await held.release();
    return result;
  }

  private async open(limits: LookLimits): Promise<HeldDeadLetters> {
    const name = await this.name();
    try {
      const command = new GetQueueUrlCommand({ QueueName: name });
      const { QueueUrl } = await withDeadline((options) => this.sqs.send(command, options));
      const unavailable = (error: unknown, permission: string): DeadLetterQueueUnavailable =>
        this.unavailable(error, permission, name);
      const queue = { name, url: QueueUrl!, sourceName: this.sourceName };
      return new HeldDeadLetters(this.sqs, queue, limits, this.stopping.signal, unavailable);
    } catch (error) {
      throw this.unavailable(error, 'sqs:GetQueueUrl', name);
    }
  }

  private async name(): Promise<string> {
    try {
      return await deadLetterQueueInUse(this.sqs, this.sourceName);
    } catch (error) {
      throw new DeadLetterQueueUnavailable(this.sourceName, error);
    }
  }

  private unavailable(error: unknown, permission: string, name: string): DeadLetterQueueUnavailable {
    return new DeadLetterQueueUnavailable(this.sourceName, namingThePermission(error, permission, name));
  }
}

/** Dead letters that are hidden from everybody else, see {@link DeadLetterQueue.holding}. */
export class HeldDeadLetters {
  private readonly logger = new Logger('DeadLetterQueue');
  /** The latest receipt handle of each message that is held; older ones of the same message may not work any more. */
  private readonly handles = new Map<string, string>();
  private readonly seen = new Set<string>();
  private readonly until: number;
  private emptiesInARow = 0;

  constructor(
    private readonly sqs: SQSClient,
    private readonly queue: { name: string; url: string; sourceName: string },
    private readonly limits: LookLimits,
    /** Fires when the process is about to end. */
    readonly stopping: AbortSignal,
    private readonly unavailable: (error: unknown, permission: string) => DeadLetterQueueUnavailable,
  ) {
    this.until = performance.now() + limits.seconds * 1000;
  }

  /** How many messages were received, each counted once. */
  get lookedAt(): number {
    return this.seen.size;
  }

  /**
   * The next dead letters, at most so many, none of them twice; empty when no more come or enough was looked at. Those of
   * other queues that share the dead-letter queue are left out.
   * @throws DeadLetterQueueUnavailable
   */
  async next(most: number): Promise<DeadLetter[]> {
    while (
      this.emptiesInARow < LAST_EMPTIES &&
      this.lookedAt < this.limits.messages &&
      !this.stopping.aborted &&
      performance.now() < this.until
    ) {
      const messages = await this.receive(Math.min(most, MAX_ENTRIES_PER_CALL, this.limits.messages - this.lookedAt));
      const unseen = messages.filter(({ MessageId }) => !this.seen.has(MessageId!));
      for (const { MessageId, ReceiptHandle } of messages) {
        this.handles.set(MessageId!, ReceiptHandle!);
        this.seen.add(MessageId!);
      }
      this.emptiesInARow = unseen.length === 0 ? this.emptiesInARow + 1 : 0;
      const letters = unseen.filter((message) => this.isFromSource(message)).map(deadLetterIn);
      if (letters.length > 0) return letters;
    }
    return [];
  }

  /**
   * Deletes messages that are held.
   * @returns the ids of those that SQS did not delete although it was asked repeatedly
   * @throws DeadLetterQueueUnavailable
   */
  async delete(messageIds: string[]): Promise<string[]> {
    const failed = await this.inBatches(messageIds, 'sqs:DeleteMessage', (Entries) => {
      const command = new DeleteMessageBatchCommand({ QueueUrl: this.queue.url, Entries });
      return withDeadline((options) => this.sqs.send(command, options));
    });
    for (const id of messageIds) if (!failed.has(id)) this.handles.delete(id);
    return [...failed.keys()];
  }

  /** Lets everybody see again what is held. @throws DeadLetterQueueUnavailable for want of a permission only */
  async release(): Promise<void> {
    try {
      const failed = await this.inBatches([...this.handles.keys()], 'sqs:ChangeMessageVisibility', (entries) => {
        const Entries = entries.map((entry) => ({ ...entry, VisibilityTimeout: 0 }));
        const command = new ChangeMessageVisibilityBatchCommand({ QueueUrl: this.queue.url, Entries });
        return withDeadline((options) => this.sqs.send(command, options));
      });
      // What SQS calls our mistake is a message that is not hidden any more.
      const hidden = [...failed.values()].filter(({ SenderFault }) => !SenderFault);
      if (hidden.length > 0) this.warn(hidden.length, hidden[0]!.Message ?? hidden[0]!.Code);
    } catch (error) {
      this.warn(this.handles.size, messageOf(error));
      if (error instanceof DeadLetterQueueUnavailable && error.cause instanceof QueuePermissionMissing) throw error;
    }
  }

  private warn(letters: number, reason = 'SQS gave no reason'): void {
    const { name } = this.queue;
    this.logger.warn(
      `Up to ${letters} messages on ${name} stay hidden for ${this.hiddenSeconds} s more: they could not be released: ${reason}`,
    );
  }

  private get hiddenSeconds(): number {
    return this.limits.seconds + SLACK_SECONDS;
  }

  private async receive(most: number): Promise<Message[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.queue.url,
      MaxNumberOfMessages: most,
      WaitTimeSeconds: WAIT_SECONDS,
      VisibilityTimeout: this.hiddenSeconds,
      MessageAttributeNames: ['All'],
      MessageSystemAttributeNames: [
        'SentTimestamp',
        'ApproximateReceiveCount',
        'ApproximateFirstReceiveTimestamp',
        'DeadLetterQueueSourceArn',
      ],
    });
    try {
      const { Messages = [] } = await withDeadline((options) => this.sqs.send(command, options));
      return Messages;
    } catch (error) {
      throw this.unavailable(error, 'sqs:ReceiveMessage');
    }
  }

  private isFromSource({ Attributes }: Message): boolean {
    const arn = Attributes?.DeadLetterQueueSourceArn;
    return arn === undefined || arn.endsWith(`:${this.queue.sourceName}`);
  }

  /** Makes a call for every ten messages, and again for what failed by SQS's fault. @returns what failed, by id */
  private async inBatches(
    messageIds: string[],
    permission: string,
    call: (entries: { Id: string; ReceiptHandle: string }[]) => Promise<{ Failed?: BatchResultErrorEntry[] }>,
  ): Promise<Map<string, BatchResultErrorEntry>> {
    const failed = new Map<string, BatchResultErrorEntry>();
    const settle = async (ids: string[], attempt: number): Promise<void> => {
      const entries = ids.map((id, index) => ({ Id: String(index), ReceiptHandle: this.handles.get(id)! }));
      const { Failed = [] } = await call(entries);
      const again: string[] = [];
      for (const failure of Failed) {
        const id = ids[Number(failure.Id)]!;
        if (failure.SenderFault || attempt === ATTEMPTS) failed.set(id, failure);
        else again.push(id);
      }
      if (again.length > 0) await settle(again, attempt + 1);
    };
    const batches = Array.from({ length: Math.ceil(messageIds.length / MAX_ENTRIES_PER_CALL) }, (_, i) =>
      messageIds.slice(i * MAX_ENTRIES_PER_CALL, (i + 1) * MAX_ENTRIES_PER_CALL),
    ).values();
    const lane = async (): Promise<void> => {
      for (const batch of batches) await settle(batch, 1);
    };
    const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
    for (const ended of lanes) if (ended.status === 'rejected') throw this.unavailable(ended.reason, permission);
    return failed;
  }
}

function deadLetterIn({ MessageId, Body = '', Attributes = {}, MessageAttributes }: Message): DeadLetter {
  return {
    messageId: MessageId!,
    body: Body,
    attributes: MessageAttributes && copied(MessageAttributes),
    receiveCount: numberIn(Attributes.ApproximateReceiveCount),
    sentAt: numberIn(Attributes.SentTimestamp),
    firstReceivedAt: numberIn(Attributes.ApproximateFirstReceiveTimestamp),
  };
}

/** Only what SQS takes: an answer may carry lists besides, which are reserved. */
function copied(attributes: Record<string, MessageAttributeValue>): Record<string, MessageAttributeValue> {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, { DataType, StringValue, BinaryValue }]) => [
      name,
      { DataType, StringValue, BinaryValue },
    ]),
  );
}

function numberIn(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : null;
}
