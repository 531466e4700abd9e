import type { Message } from '@aws-sdk/client-sqs';
import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { SqsService } from '@ssut/nestjs-sqs';
import type { Consumer } from 'sqs-consumer';
import { Ledger } from '../ledger/ledger.js';
import { pause } from '../platform/back-off.js';
import { Metrics } from '../platform/observability/metrics.js';
import { Readiness, type PartHealth } from '../platform/observability/readiness.js';
import { OrdersQueue } from '../platform/queue/orders-queue.js';
import { CONFIG, type Config } from '../shared/config.js';
import { messageOf, UnavailableError } from '../shared/errors.js';
import { isoOf } from '../shared/iso-time.js';
import { ConsumerLog } from './consumer-log.js';
import { DeliveryFailures } from './delivery-failures.js';
import { faultText } from './fault-text.rules.js';
import { ReceiveGate, ReceivingStopped } from './receive-gate.js';

const WATCH_INTERVAL_MS = 5_000;
/** How long beyond its longest legitimate pause a poll loop may be silent. */
const SILENCE_TOLERATED_MS = 15_000;
/** A poll that would end by itself this soon is waited for instead of aborted. */
const SHORT_WAIT_SECONDS = 2;
const STOP_DEADLINE_MS = 6_000;
const STOP_CHECK_MS = 20;

/** Codes of the errors that a poller ends its wait with when it is stopped. */
const CALLED_BACK = [ReceivingStopped.name, 'AbortError'];

type Phase = 'waiting at the gate' | 'receiving' | 'processing';

interface Poller {
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
  private readonly pollers: Poller[] = [];
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

  /** @throws Error where a poller has no handler: a mistake in the wiring must not look like an empty queue */
  onApplicationBootstrap(): void {
    if (this.sqs.consumers.size !== this.config.queue.pollers) {
      throw new Error(`${this.sqs.consumers.size} of ${this.config.queue.pollers} pollers have a handler`);
    }
    for (const [name, { instance }] of this.sqs.consumers) this.pollers.push(this.attend(name, instance));
    this.readiness.add('queue', () => this.health());
    this.gate.begin((index) => this.moved(this.pollers[index]!, 'receiving'));
  }

  /** Restarts poll loops that ended or that hang. */
  @Interval(WATCH_INTERVAL_MS)
  watch(): void {
    if (this.stopping) return;
    for (const poller of this.pollers) {
      const { isRunning } = poller.consumer.status;
      const hangs = this.gate.isOpen && Date.now() - poller.activeAt > this.longestSilenceMs(poller.phase);
      if (isRunning && !hangs) continue;
      this.logger.error(`${poller.name} ${isRunning ? `hangs ${poller.phase}` : 'has ended'} and is started again`);
      poller.consumer.stop({ abort: true });
      this.moved(poller, 'waiting at the gate');
      poller.consumer.start();
    }
  }

  /** Lets busy pollers finish and acknowledge, and calls the others back from their wait. */
  async onModuleDestroy(): Promise<void> {
    this.stopping = true;
    this.readiness.shutDown();
    this.gate.stop();
    this.ledger.stopWaiting();
    const longWait = this.config.queue.waitTimeSeconds > SHORT_WAIT_SECONDS;
    for (const { consumer, phase } of this.pollers) consumer.stop({ abort: longWait && phase === 'receiving' });
    const deadline = Date.now() + STOP_DEADLINE_MS;
    while (this.pollers.some(({ consumer }) => consumer.status.isPolling) && Date.now() < deadline) {
      await pause(STOP_CHECK_MS);
    }
    const late = this.pollers.filter(({ consumer }) => consumer.status.isPolling);
    if (late.length > 0)
      this.logger.warn(`${late.length} pollers did not finish; their messages will be delivered again`);
  }

  private attend(name: string, consumer: Consumer): Poller {
    const poller: Poller = { name, consumer, phase: 'waiting at the gate', activeAt: Date.now() };
    consumer.on('message_received', () => this.moved(poller, 'processing'));
    consumer.on('message_processed', (message) => {
      const sentAt = Number(message.Attributes?.SentTimestamp ?? Date.now());
      this.metrics.dwell.observe(Math.max(0, Date.now() - sentAt) / 1000);
    });
    const answered = (): void => {
      this.moved(poller, 'waiting at the gate');
      this.lastPollAt = Date.now();
      this.metrics.lastPoll.set(this.lastPollAt / 1000);
    };
    consumer.on('response_processed', answered);
    consumer.on('empty', answered);
    consumer.on('error', (error, messages) => {
      const batch = messages === undefined ? [] : [messages].flat();
      this.failed(poller, error, batch);
    });
    return poller;
  }

  /** Must never throw: an error listener that does ends the poll loop. */
  private failed(poller: Poller, error: Error & { code?: string }, messages: Message[]): void {
    this.moved(poller, 'waiting at the gate');
    if (CALLED_BACK.includes(error.code ?? '')) return;
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

  private moved(poller: Poller, phase: Phase): void {
    poller.phase = phase;
    poller.activeAt = Date.now();
  }

  private longestSilenceMs(phase: Phase): number {
    const { waitTimeSeconds, visibilityTimeout } = this.config.queue;
    const legitimate = { 'waiting at the gate': 0, receiving: waitTimeSeconds, processing: visibilityTimeout }[phase];
    return legitimate * 1000 + SILENCE_TOLERATED_MS;
  }

  private async health(): Promise<PartHealth> {
    await this.queue.availability.confirm();
    return {
      ...this.queue.availability.health,
      pollers: this.pollers.length,
      last_poll_at: isoOf(this.lastPollAt),
    };
  }
}
