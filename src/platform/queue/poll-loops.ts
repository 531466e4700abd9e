import type { Message } from '@aws-sdk/client-sqs';
import { Injectable, Inject, Logger, type Type } from '@nestjs/common';
import { SqsMessageHandler, type SqsService } from '@ssut/nestjs-sqs';
import type { SqsConsumerOptions } from '@ssut/nestjs-sqs/dist/sqs.types.js';
import type { Consumer } from 'sqs-consumer';
import type { QueueConfig } from '../../shared/config.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { faultText } from '../../shared/fault-text.js';
import { isoOf } from '../../shared/iso-time.js';
import { pause } from '../back-off.js';
import type { PartHealth } from '../observability/readiness.js';
import type { Queue } from './queue.js';
import { type GatePhase, type ReceiveGate, ReceivingStopped } from './receive-gate.js';

/** How often {@link PollLoops.watch} is to be called, ms. */
export const WATCH_INTERVAL_MS = 5_000;
/** How long beyond its longest legitimate pause a poll loop may be silent. */
const SILENCE_TOLERATED_MS = 15_000;
/** A poll that has messages answers sooner. One that is aborted while its answer is on the way would leave them hidden. */
const ABORT_POLLS_AFTER_MS = 200;
const STOP_DEADLINE_MS = 6_000;
const STOP_CHECK_MS = 20;

/** SQS neither answers a poll nor ends the connection. */
class PollUnanswered extends Error {
  constructor() {
    super('SQS does not answer');
  }
}

/** Codes of the errors that a poll loop ends its wait with when it was stopped; by now it may run again. */
const CALLED_BACK = [ReceivingStopped.name, 'AbortError'];

type Phase = 'waiting at the gate' | GatePhase | 'processing';

interface PollLoop {
  index: number;
  name: string;
  consumer: Consumer;
  phase: Phase;
  /** Messages of the batch that it is processing. */
  inHand: number;
  /** When it last did anything, ms of performance.now(). */
  activeAt: number;
}

/** What whoever consumes a queue wants to know of its poll loops. Must not throw: that would end the loop. */
export interface PollLoopListener {
  /** A message was processed and acknowledged. */
  processed?(message: Message): void;
  /** The queue answered, and what it gave is dealt with. @param at ms UTC */
  answered?(at: number): void;
  /** The handler threw; all of these messages will be delivered again. */
  failed?(messages: Message[], cause: unknown): void;
}

/**
 * Runs the poll loops on a queue: keeps an eye on them, restarts one that died or hangs, and stops them without losing
 * or repeating what is in hand. The library makes and starts them; the gate holds them until {@link begin}.
 */
export class PollLoops {
  private readonly logger = new Logger('PollLoops');
  private readonly loops: PollLoop[] = [];
  private lastPollAt: number | null = null;
  /** ms of performance.now(); null while nobody wants an end. */
  private stoppedAt: number | null = null;

  constructor(
    readonly queue: Queue,
    private readonly gate: ReceiveGate,
    readonly settings: QueueConfig,
    private readonly listener: PollLoopListener = {},
    /** A batch that takes longer hangs. */
    private readonly longestBatchSeconds = settings.visibilityTimeout,
  ) {}

  /** Messages whose batch is being processed. */
  get inHand(): number {
    return this.loops.reduce((sum, loop) => sum + loop.inHand, 0);
  }

  /**
   * Lets the loops receive.
   * @param names of the loops of this queue
   * @throws Error where one has no handler: a mistake in the wiring must not look like an empty queue
   */
  begin({ consumers }: Pick<SqsService, 'consumers'>, names: string[]): void {
    const missing = names.filter((name) => !consumers.has(name));
    if (missing.length > 0) {
      throw new Error(`${missing.length} of ${names.length} poll loops have no handler: ${missing.join(', ')}`);
    }
    for (const name of names) this.loops.push(this.attend(name, consumers.get(name)!.instance));
    this.gate.begin((index, phase) => this.moved(this.loops[index]!, phase));
  }

  /** Restarts poll loops that ended or that hang. */
  watch(): void {
    if (this.stoppedAt !== null) return;
    // All of them first: what is said of one closes the gate.
    const silent = this.loops.filter((loop) => !loop.consumer.status.isRunning || this.hangs(loop));
    for (const loop of silent) {
      const { isRunning } = loop.consumer.status;
      // That is the queue's fault, which is said once for all its loops.
      if (isRunning && loop.phase === 'receiving') this.queue.availability.failed(new PollUnanswered());
      else this.logger.error(`${loop.name} ${isRunning ? `hangs ${loop.phase}` : 'has ended'} and is started again`);
      loop.consumer.stop({ abort: true });
      this.moved(loop, 'waiting at the gate');
      this.gate.restart(loop.index, () => loop.consumer.start());
    }
  }

  /** Lets nobody begin to receive any more. */
  callBack(): void {
    if (this.stoppedAt !== null) return;
    this.stoppedAt = performance.now();
    // Loops that never began would end their wait with an error that nobody listens to.
    if (this.loops.length > 0) this.gate.stop();
    for (const { consumer, phase } of this.loops) if (phase !== 'receiving') consumer.stop();
  }

  /** Ends the polls that wait, and lets busy loops finish and acknowledge. */
  async stop(): Promise<void> {
    this.callBack();
    const abortAt = this.stoppedAt! + ABORT_POLLS_AFTER_MS;
    while (this.loops.some(({ phase }) => phase === 'receiving') && performance.now() < abortAt) {
      await pause(STOP_CHECK_MS);
    }
    for (const { consumer, phase } of this.loops) consumer.stop({ abort: phase === 'receiving' });
    const deadline = this.stoppedAt! + STOP_DEADLINE_MS;
    while (this.loops.some(({ consumer }) => consumer.status.isPolling) && performance.now() < deadline) {
      await pause(STOP_CHECK_MS);
    }
    const late = this.loops.filter(({ consumer }) => consumer.status.isPolling);
    if (late.length > 0)
      this.logger.warn(
        `${late.length} poll loops on ${this.settings.name} did not finish; their messages will be delivered again`,
      );
  }

  /** For the health page. */
  async health(): Promise<PartHealth> {
    await this.queue.availability.confirm();
    return {
      ...this.queue.availability.health,
      pollers: this.settings.pollers,
      last_poll_at: isoOf(this.lastPollAt),
    };
  }

  private attend(name: string, consumer: Consumer): PollLoop {
    const loop: PollLoop = {
      index: this.loops.length,
      name,
      consumer,
      phase: 'waiting at the gate',
      inHand: 0,
      activeAt: performance.now(),
    };
    consumer.on('message_received', (message) => {
      this.went(loop, 'processing');
      this.queue.activity.received(ageSeconds(message), loop.inHand++ === 0);
    });
    consumer.on('message_processed', (message) => {
      this.queue.activity.processed();
      this.listener.processed?.(message);
    });
    const answered = (): void => {
      this.went(loop, 'waiting at the gate');
      this.lastPollAt = Date.now();
      this.listener.answered?.(this.lastPollAt);
    };
    consumer.on('response_processed', answered);
    consumer.on('empty', answered);
    consumer.on('error', (error, messages) => {
      const batch = messages === undefined ? [] : [messages].flat();
      this.failed(loop, error, batch);
    });
    return loop;
  }

  /** Must never throw: an error listener that does ends the poll loop. */
  private failed(loop: PollLoop, error: Error & { code?: string }, messages: Message[]): void {
    if (CALLED_BACK.includes(error.code ?? '')) return;
    this.gate.leave(loop.index);
    this.went(loop, 'waiting at the gate');
    // SQS itself failed: to receive, or to delete or give back what was processed.
    if (error.name === 'SQSError') return this.queue.availability.failed(error);
    const cause = error.cause ?? error;
    // A part that is down says so itself.
    if (!(cause instanceof UnavailableError)) {
      this.logger.error(
        `${messages.length} ${messages.length === 1 ? 'message was' : 'messages were'} not processed and will be delivered again: ${faultText(messageOf(cause))}`,
      );
    }
    this.queue.activity.faulted(messages.length, cause);
    this.listener.failed?.(messages, cause);
  }

  /** To be called from within the loop. What hung and was started again has no say in how its successor fares. */
  private went(loop: PollLoop, phase: Phase): void {
    if (!this.gate.isReplaced(loop.index)) this.moved(loop, phase);
  }

  private hangs({ phase, activeAt }: PollLoop): boolean {
    return this.gate.isOpen && performance.now() - activeAt > this.longestSilenceMs(phase);
  }

  private moved(loop: PollLoop, phase: Phase): void {
    if (phase !== 'processing') loop.inHand = 0;
    loop.phase = phase;
    loop.activeAt = performance.now();
  }

  private longestSilenceMs(phase: Phase): number {
    const legitimate = {
      'waiting at the gate': 0,
      'waiting for its turn': Infinity,
      receiving: this.settings.waitTimeSeconds,
      processing: this.longestBatchSeconds,
    }[phase];
    return legitimate * 1000 + SILENCE_TOLERATED_MS;
  }
}

/** Seconds since a message was sent. */
export function ageSeconds({ Attributes }: Message): number {
  const now = Date.now();
  // An emulator may leave the time out.
  return Math.max(0, now - Number(Attributes?.SentTimestamp ?? now)) / 1000;
}

/** How often a message was received, this time included. */
export function receiveCountOf({ Attributes }: Message): number {
  return Number(Attributes?.ApproximateReceiveCount ?? 1);
}

/** What the library is to make a poll loop by. @param index among the loops of its queue, as the gate knows it */
export function pollLoopOptions(
  name: string,
  index: number,
  { sqs }: Queue,
  gate: ReceiveGate,
  settings: QueueConfig,
): SqsConsumerOptions {
  return {
    name,
    sqs,
    queueUrl: settings.name, // the client finds its address, see sqs-client.ts
    batchSize: settings.maxNumberOfMessages,
    waitTimeSeconds: settings.waitTimeSeconds,
    visibilityTimeout: settings.visibilityTimeout,
    messageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
    preReceiveMessageCallback: () => gate.pass(index),
    postReceiveMessageCallback: async () => gate.leave(index),
    // The gate holds a loop back while the queue is away; the library would add 10 s to that after some errors.
    authenticationErrorTimeout: 250,
  };
}

/**
 * Makes a handler class for a poll loop. The library gives every consumer name one sequential loop and looks for a handler
 * of that name, so as many loops need as many handlers.
 * @param handle deals with a batch and returns the messages to acknowledge
 */
export function pollLoopClass<Handler>(
  name: string,
  handler: Type<Handler>,
  handle: (handler: Handler, messages: Message[]) => Promise<Message[]>,
): Type {
  @Injectable()
  class PollLoopHandler {
    constructor(@Inject(handler) private readonly handler: Handler) {}

    /** @returns the messages to acknowledge */
    @SqsMessageHandler(name, true)
    handle(messages: Message[]): Promise<Message[]> {
      return handle(this.handler, messages);
    }
  }
  return PollLoopHandler;
}
