import type { Message } from '@aws-sdk/client-sqs';
import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { SqsService } from '@ssut/nestjs-sqs';
import type { Consumer } from 'sqs-consumer';
import { Ledger } from '../ledger/ledger.js';
import { pause } from '../platform/back-off.js';
import { Metrics } from '../platform/observability/metrics.js';
import { Readiness, type PartHealth } from '../platform/observability/readiness.js';
import { OrdersQueue } from '../platform/queue/queue.js';
import { type GatePhase, ReceiveGate, ReceivingStopped } from '../platform/queue/receive-gate.js';
import { CONFIG, type Config } from '../shared/config.js';
import { messageOf, UnavailableError } from '../shared/errors.js';
import { faultText } from '../shared/fault-text.js';
import { isoOf } from '../shared/iso-time.js';
import { ConsumerLog } from './consumer-log.js';
import { DeliveryFailures } from './delivery-failures.js';
import { pollLoopCount } from './order-pollers.js';

const WATCH_INTERVAL_MS = 5_000;
/** How long beyond its longest legitimate pause a poll loop may be silent. */
const SILENCE_TOLERATED_MS = 15_000;
/** A poll that would end by itself this soon is waited for instead of aborted. */
const SHORT_WAIT_SECONDS = 2;
const STOP_DEADLINE_MS = 6_000;
const STOP_CHECK_MS = 20;

/** Codes of the errors that a poll loop ends its wait with when it was stopped; by now it may run again. */
const CALLED_BACK = [ReceivingStopped.name, 'AbortError'];

type Phase = 'waiting at the gate' | GatePhase | 'processing';

interface PollLoop {
  index: number;
  name: string;
  consumer: Consumer;
  phase: Phase;
  /** ms of the clock when it last did anything. */
  activeAt: number;
}

/**
 * Runs the poll loops on the orders queue: starts them when everything is wired, keeps an eye on them, restarts one
 * that died or hangs, and stops them without losing or repeating what is in hand.
 */
@Injectable()
export class OrderConsumer implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('OrderConsumer');
  private readonly loops: PollLoop[] = [];
  private lastPollAt: number | null = null;
  private stopping = false;

  constructor(
    private readonly sqs: SqsService,
    private readonly gate: ReceiveGate,
    private readonly queue: OrdersQueue,
    private readonly ledger: Ledger,
    private readonly log: ConsumerLog,
    private readonly failures: DeliveryFailures,
    private readonly metrics: Metrics,
    private readonly readiness: Readiness,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** @throws Error where a poll loop has no handler: a mistake in the wiring must not look like an empty queue */
  onApplicationBootstrap(): void {
    const loops = pollLoopCount(this.config.queue.pollers);
    if (this.sqs.consumers.size !== loops) {
      throw new Error(`${this.sqs.consumers.size} of ${loops} poll loops have a handler`);
    }
    for (const [name, { instance }] of this.sqs.consumers) this.loops.push(this.attend(name, instance));
    this.readiness.add('queue', () => this.health());
    this.gate.begin((index, phase) => this.moved(this.loops[index]!, phase));
  }

  /** Restarts poll loops that ended or that hang. */
  @Interval(WATCH_INTERVAL_MS)
  watch(): void {
    if (this.stopping) return;
    for (const loop of this.loops) {
      const { isRunning } = loop.consumer.status;
      const hangs = this.gate.isOpen && Date.now() - loop.activeAt > this.longestSilenceMs(loop.phase);
      if (isRunning && !hangs) continue;
      this.logger.error(`${loop.name} ${isRunning ? `hangs ${loop.phase}` : 'has ended'} and is started again`);
      loop.consumer.stop({ abort: true });
      this.gate.leave(loop.index);
      this.moved(loop, 'waiting at the gate');
      loop.consumer.start();
    }
  }

  /** Lets busy loops finish and acknowledge, and calls the others back from their wait. */
  async onModuleDestroy(): Promise<void> {
    this.stopping = true;
    this.readiness.shutDown();
    this.gate.stop();
    this.ledger.stopWaiting();
    const longWait = this.config.queue.waitTimeSeconds > SHORT_WAIT_SECONDS;
    for (const { consumer, phase } of this.loops) consumer.stop({ abort: longWait && phase === 'receiving' });
    const deadline = Date.now() + STOP_DEADLINE_MS;
    while (this.loops.some(({ consumer }) => consumer.status.isPolling) && Date.now() < deadline) {
      await pause(STOP_CHECK_MS);
    }
    const late = this.loops.filter(({ consumer }) => consumer.status.isPolling);
    if (late.length > 0)
      this.logger.warn(`${late.length} poll loops did not finish; their messages will be delivered again`);
  }

  private attend(name: string, consumer: Consumer): PollLoop {
    const loop: PollLoop = {
      index: this.loops.length,
      name,
      consumer,
      phase: 'waiting at the gate',
      activeAt: Date.now(),
    };
    consumer.on('message_received', () => this.moved(loop, 'processing'));
    consumer.on('message_processed', (message) => {
      const sentAt = Number(message.Attributes?.SentTimestamp ?? Date.now());
      this.metrics.dwell.observe(Math.max(0, Date.now() - sentAt) / 1000);
    });
    const answered = (): void => {
      this.moved(loop, 'waiting at the gate');
      this.lastPollAt = Date.now();
      this.metrics.lastPoll.set(this.lastPollAt / 1000);
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
    if (loop.phase === 'receiving') this.gate.leave(loop.index);
    this.moved(loop, 'waiting at the gate');
    // SQS itself failed: to receive, or to delete or give back what was processed.
    if (error.name === 'SQSError') return this.queue.availability.failed(error);
    const cause = error.cause ?? error;
    // A part that is down says so itself.
    if (!(cause instanceof UnavailableError)) {
      this.logger.error(
        `${messages.length} ${messages.length === 1 ? 'message was' : 'messages were'} not processed and will be delivered again: ${faultText(messageOf(cause))}`,
      );
    }
    this.log.recordFailure(messages.length, cause);
    this.failures.record(messages.map(({ MessageId }) => ({ messageId: MessageId!, error: cause })));
  }

  private moved(loop: PollLoop, phase: Phase): void {
    loop.phase = phase;
    loop.activeAt = Date.now();
  }

  private longestSilenceMs(phase: Phase): number {
    const { waitTimeSeconds, visibilityTimeout } = this.config.queue;
    const legitimate = {
      'waiting at the gate': 0,
      'waiting for its turn': Infinity,
      receiving: waitTimeSeconds,
      processing: visibilityTimeout,
    }[phase];
    return legitimate * 1000 + SILENCE_TOLERATED_MS;
  }

  private async health(): Promise<PartHealth> {
    await this.queue.availability.confirm();
    return {
      ...this.queue.availability.health,
      pollers: this.config.queue.pollers,
      last_poll_at: isoOf(this.lastPollAt),
    };
  }
}
