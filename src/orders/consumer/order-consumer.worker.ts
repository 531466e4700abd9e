import type { Message } from '@aws-sdk/client-sqs';
import { Inject, Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { SqsService } from '@ssut/nestjs-sqs';
import { Ledger } from '../../ledger/ledger.repository.js';
import { Metrics } from '../../platform/observability/metrics.js';
import { Readiness } from '../../platform/observability/readiness.js';
import { DeadLetterQueue } from '../../platform/queue/dead-letter-queue.js';
import { ageSeconds, PollLoops, WATCH_INTERVAL_MS } from '../../platform/queue/poll-loops.js';
import { QueueWorkers } from '../../platform/queue/queue-workers.js';
import { OrdersQueue } from '../../platform/queue/queue.js';
import { ReceiveGate } from '../../platform/queue/receive-gate.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { ConsumerLog } from '../consumer-log/consumer-log.service.js';
import { DeliveryFailures } from './delivery-failures.repository.js';
import { pollLoopNames } from './order-pollers.js';

/** Consumes the orders queue: starts its poll loops when everything is wired, has them watched, and stops them. */
@Injectable()
export class OrderConsumer implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly loops: PollLoops;

  constructor(
    private readonly sqs: SqsService,
    gate: ReceiveGate,
    queue: OrdersQueue,
    private readonly ledger: Ledger,
    private readonly log: ConsumerLog,
    private readonly failures: DeliveryFailures,
    private readonly metrics: Metrics,
    private readonly readiness: Readiness,
    private readonly workers: QueueWorkers,
    private readonly deadLetters: DeadLetterQueue,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    this.loops = new PollLoops(queue, gate, config.queue, {
      processed: (message) => this.metrics.dwell.observe(ageSeconds(message)),
      answered: (at) => this.metrics.lastPoll.set(at / 1000),
      failed: (messages, cause) => this.failed(messages, cause),
    });
  }

  /** @throws Error where a poll loop has no handler */
  onApplicationBootstrap(): void {
    this.loops.begin(this.sqs, pollLoopNames(this.config.queue.pollers));
    this.workers.register(this.loops, this.deadLetters);
    this.readiness.add('queue', () => this.loops.health());
  }

  /** Restarts poll loops that ended or that hang. */
  @Interval(WATCH_INTERVAL_MS)
  watch(): void {
    this.loops.watch();
  }

  /** Lets busy loops finish and acknowledge, and calls the others back from their wait. */
  async onModuleDestroy(): Promise<void> {
    this.readiness.shutDown();
    this.workers.callBack();
    this.ledger.stopWaiting();
    await this.loops.stop();
  }

  private failed(messages: Message[], cause: unknown): void {
    this.log.recordFailure(messages.length, cause);
    this.failures.record(messages.map(({ MessageId }) => ({ messageId: MessageId!, error: cause })));
  }
}
