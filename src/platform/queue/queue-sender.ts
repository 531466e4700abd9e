import { setTimeout as pause } from 'node:timers/promises';
import {
  type MessageAttributeValue,
  SendMessageBatchCommand,
  type SendMessageBatchCommandOutput,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { MAX_BYTES_PER_CALL, MAX_ENTRIES_PER_CALL } from './sqs-limits.js';

/** Calls under way at once. */
const LANES = 32;
/** Waits before the second, third and fourth attempt; the SDK's own quick retries come before each. */
const RETRY_DELAYS_MS = [100, 400, 1_600];

/** What SQS accepts in a body, by its API reference; a lone surrogate is outside of it too. */
const REFUSED_CHARACTER = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;
/** Answers to a whole call that are about what is in it, not about the queue. */
const CONTENT_ERRORS = ['BatchRequestTooLong', 'InvalidMessageContents', 'InvalidParameterValue', 'MessageTooLong'];

const NO_ANSWER: SendFailure = { code: 'NoAnswer', message: 'SQS did not say what became of this entry' };

/** Why a body could not be sent. */
export interface SendFailure {
  /** SQS's own code, or the name of the error that the call ended with. */
  code: string;
  message: string;
}

/** What became of each body, by its index. */
export interface SendReport {
  /** The message id that SQS gave each body; null where it could not be sent. */
  messageIds: (string | null)[];
  /** In the order of the index. */
  failed: ({ index: number } & SendFailure)[];
}

/** Something with a body to send, such as a row of a file. */
export interface Outgoing {
  body: string;
  /** Message attributes, by name. */
  attributes?: Record<string, MessageAttributeValue>;
  /** For how long nobody is to receive it, 0 to 900. */
  delaySeconds?: number;
}

/** Told about each entry once, in no particular order. */
export interface SendListener<Entry extends Outgoing> {
  onSent?(entry: Entry, messageId: string): void;
  onFailed?(entry: Entry, failure: SendFailure): void;
  /** After every answered call, with the totals so far. */
  onProgress?(sent: number, failed: number): void;
}

/** How many entries were sent and how many could not be. */
export interface SendTotals {
  sent: number;
  failed: number;
}

/** The queue can't be reached, does not exist or refuses us; nothing was sent. */
export class QueueUnavailable extends UnavailableError {
  readonly code = 'queue_unavailable';
  constructor(queueName: string, reason: SendFailure, options?: ErrorOptions) {
    super(`Nothing could be sent to the queue ${queueName}: ${reason.message}`, options);
  }
}

/**
 * Sends bodies to one queue, in batches of at most ten entries and 1 MiB, several batches at once. Messages may
 * arrive in another order, and a body whose call was cut off may arrive twice.
 */
export class QueueSender {
  constructor(
    private readonly sqs: SQSClient,
    readonly queueName: string,
    private readonly retryDelaysMs: readonly number[] = RETRY_DELAYS_MS,
  ) {}

  /**
   * Sends every body and says what became of each. What SQS fails to take by its own fault is tried again a few
   * times; a body that SQS would refuse (longer than 1 MiB, empty, characters it does not allow) fails alone.
   * @throws QueueUnavailable if nothing could be sent because of the queue itself
   */
  async sendAll(
    bodies: Iterable<string> | AsyncIterable<string>,
    options: { onProgress?(sent: number, failed: number): void } = {},
  ): Promise<SendReport> {
    const report: SendReport = { messageIds: [], failed: [] };
    async function* numbered(): AsyncGenerator<Outgoing & { index: number }> {
      for await (const body of bodies) yield { body, index: report.messageIds.push(null) - 1 };
    }
    await this.sendEach(numbered(), {
      ...options,
      onSent: ({ index }, messageId) => (report.messageIds[index] = messageId),
      onFailed: ({ index }, failure) => report.failed.push({ index, ...failure }),
    });
    report.failed.sort((one, other) => one.index - other.index);
    return report;
  }

  /**
   * Like {@link sendAll} for a stream of any length: outcomes go to the listener and nothing is kept. If the queue
   * goes away in between and stays away, the remaining entries are reported as failed without being tried.
   * @throws QueueUnavailable if nothing could be sent because of the queue itself
   */
  async sendEach<Entry extends Outgoing>(
    entries: Iterable<Entry> | AsyncIterable<Entry>,
    listener: SendListener<Entry> = {},
  ): Promise<SendTotals> {
    const delivery = new Delivery(this.sqs, this.queueName, this.retryDelaysMs, listener);
    const batches = delivery.batchesOf(entries);
    const lane = async (): Promise<void> => {
      for await (const batch of batches) await delivery.deliver(batch);
    };
    try {
      const first = await batches.next();
      // The first batch goes alone: if the queue is not there, nothing further is read and nobody waits for retries.
      if (!first.done) await delivery.probe(first.value);
      const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
      for (const ended of lanes) if (ended.status === 'rejected') throw ended.reason;
    } finally {
      await batches.return(); // lets go of the source, say an open file
    }
    if (delivery.totals.sent === 0 && delivery.gone) throw unavailable(this.queueName, delivery.gone);
    return delivery.totals;
  }
}

/** What a call left over, and the error if the queue itself is the reason. */
interface Outcome<Entry> {
  unsent: { entry: Entry; failure: SendFailure }[];
  queueError?: Error;
}

/** One run of a sender over some entries. */
class Delivery<Entry extends Outgoing> {
  readonly totals: SendTotals = { sent: 0, failed: 0 };
  /** Set when every attempt at some call has failed because of the queue: no more are made. */
  gone?: Error;

  constructor(
    private readonly sqs: SQSClient,
    private readonly queueName: string,
    private readonly retryDelaysMs: readonly number[],
    private readonly listener: SendListener<Entry>,
  ) {}

  /** Cuts entries into batches SQS takes; what it would refuse is reported here, for it can fail a whole batch. */
  async *batchesOf(entries: Iterable<Entry> | AsyncIterable<Entry>): AsyncGenerator<Entry[], void, undefined> {
    let batch: Entry[] = [];
    let bytes = 0;
    for await (const entry of entries) {
      const size = sizeOf(entry);
      const refusal = refusalOf(entry.body, size);
      if (refusal) {
        this.failed(entry, refusal);
        continue;
      }
      if (bytes + size > MAX_BYTES_PER_CALL) {
        yield batch;
        [batch, bytes] = [[], 0];
      }
      batch.push(entry);
      bytes += size;
      if (batch.length === MAX_ENTRIES_PER_CALL) {
        yield batch;
        [batch, bytes] = [[], 0];
      }
    }
    if (batch.length > 0) yield batch;
  }

  /** @throws QueueUnavailable if the very first call fails because of the queue */
  async probe(batch: Entry[]): Promise<void> {
    const outcome = await this.attempt(batch);
    if (outcome.queueError && this.totals.sent === 0) throw unavailable(this.queueName, outcome.queueError);
    await this.finish(outcome);
  }

  async deliver(batch: Entry[]): Promise<void> {
    await this.finish(this.gone ? queueFailed(batch, this.gone) : await this.attempt(batch));
  }

  /** Tries again what is unsent, as often as that may help, and reports what stays so. */
  private async finish(outcome: Outcome<Entry>): Promise<void> {
    for (const delay of this.retryDelaysMs) {
      if (outcome.unsent.length === 0 || this.gone) break;
      await pause(delay * (0.5 + Math.random()));
      outcome = await this.attempt(outcome.unsent.map(({ entry }) => entry));
    }
    this.gone ??= outcome.queueError;
    for (const { entry, failure } of outcome.unsent) this.failed(entry, failure);
    this.listener.onProgress?.(this.totals.sent, this.totals.failed);
  }

  /** One call; reports what is settled by it. */
  private async attempt(batch: Entry[]): Promise<Outcome<Entry>> {
    const Entries = batch.map(({ body, attributes, delaySeconds }, index) => ({
      Id: String(index),
      MessageBody: body,
      MessageAttributes: attributes,
      DelaySeconds: delaySeconds,
    }));
    let answer: SendMessageBatchCommandOutput;
    try {
      answer = await this.sqs.send(new SendMessageBatchCommand({ QueueUrl: this.queueName, Entries }));
    } catch (error) {
      return this.afterRefusal(batch, error as Error);
    }
    const results = batch.map((): SendFailure | null => NO_ANSWER);
    for (const { Id, MessageId } of answer.Successful ?? []) {
      results[Number(Id)] = null;
      this.totals.sent++;
      this.listener.onSent?.(batch[Number(Id)]!, MessageId!);
    }
    for (const { Id, Code, Message, SenderFault } of answer.Failed ?? []) {
      const failure = { code: Code ?? 'Unknown', message: Message ?? 'SQS gave no reason' };
      results[Number(Id)] = SenderFault ? null : failure;
      if (SenderFault) this.failed(batch[Number(Id)]!, failure);
    }
    return { unsent: batch.flatMap((entry, index) => (results[index] ? [{ entry, failure: results[index] }] : [])) };
  }

  /** Where one entry spoils the call for the others, halving lets it stand alone in the end. */
  private async afterRefusal(batch: Entry[], error: Error): Promise<Outcome<Entry>> {
    if (!CONTENT_ERRORS.some((name) => error.name.startsWith(name))) return queueFailed(batch, error);
    if (batch.length === 1) {
      this.failed(batch[0]!, failureOf(error));
      return { unsent: [] };
    }
    const middle = Math.ceil(batch.length / 2);
    const first = await this.attempt(batch.slice(0, middle));
    const second = await this.attempt(batch.slice(middle));
    return { unsent: [...first.unsent, ...second.unsent], queueError: first.queueError ?? second.queueError };
  }

  private failed(entry: Entry, failure: SendFailure): void {
    this.totals.failed++;
    this.listener.onFailed?.(entry, failure);
  }
}

/** By SQS's reckoning: the body, and of each attribute the name, the type and the value. */
function sizeOf({ body, attributes = {} }: Outgoing): number {
  let bytes = Buffer.byteLength(body);
  for (const [name, { DataType = '', StringValue = '', BinaryValue }] of Object.entries(attributes)) {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(DataType) + Buffer.byteLength(StringValue);
    bytes += BinaryValue?.byteLength ?? 0;
  }
  return bytes;
}

function refusalOf(body: string, bytes: number): SendFailure | null {
  if (body === '') return { code: 'MissingParameter', message: 'A message body must not be empty' };
  if (bytes > MAX_BYTES_PER_CALL) {
    return {
      code: 'MessageTooLong',
      message: `The message has ${bytes.toLocaleString('en')} bytes; SQS takes at most ${MAX_BYTES_PER_CALL.toLocaleString('en')}`,
    };
  }
  const refused = REFUSED_CHARACTER.exec(body);
  if (!refused) return null;
  const codePoint = refused[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
  return {
    code: 'InvalidMessageContents',
    message: `The body has the character U+${codePoint}, which SQS does not take`,
  };
}

function queueFailed<Entry>(batch: Entry[], error: Error): Outcome<Entry> {
  return { unsent: batch.map((entry) => ({ entry, failure: failureOf(error) })), queueError: error };
}

function unavailable(queueName: string, cause: Error): QueueUnavailable {
  return new QueueUnavailable(queueName, failureOf(cause), { cause });
}

function failureOf(error: Error): SendFailure {
  const { code = error.name } = error as NodeJS.ErrnoException;
  return { code, message: messageOf(error) || code };
}
