import type { Message } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import type { AppendStatement } from '../../../src/ledger/append-statement.js';
import type { Ledger } from '../../../src/ledger/ledger.repository.js';
import { OrderIntake } from '../../../src/orders/consumer/order-intake.service.js';
import { Availability } from '../../../src/platform/availability.js';
import { pause } from '../../../src/platform/back-off.js';
import type { Database } from '../../../src/platform/database/database.js';
import type { OrdersQueue } from '../../../src/platform/queue/queue.js';
import { ReceiveGate, ReceivingStopped } from '../../../src/platform/queue/receive-gate.js';
import { Redis } from '../../../src/platform/redis/redis.js';
import type { Config } from '../../../src/shared/config.js';
import { MAX_CENTS } from '../../../src/domain/money.js';
import { StatisticsRepository } from '../../../src/stats/projection/statistics.repository.js';
import { GatheredReads } from '../../../src/stats/api/gathered-reads.js';
import { LiveStatistics } from '../../../src/stats/api/live-statistics.service.js';
import { Projector } from '../../../src/stats/projection/projector.worker.js';
import { Rebuild } from '../../../src/stats/rebuild/rebuild.service.js';
import { databaseClients, modelledDatabase, type ModelStore } from './model-database.js';
import { VISIBILITY_TIMEOUT_S, type ModelQueue } from './model-queue.js';
import type { ModelRedis } from './model-redis.js';
import { modelRedisClient } from './model-redis-client.js';
import { type Caller, type Network, type Part, Wire } from './network.js';

const POLLERS = 2;
const LOOK_AROUND_EVERY_MS = 1_000;
/** Of a large ledger; meanwhile it goes on, and so do the figures in service. */
const AGGREGATION_TIMEOUT_MS = 1_000;
export const KEY_PREFIX = 'sim';
export const TIME_ZONE = 'Europe/Berlin';

const CONFIG = {
  businessTimeZone: TIME_ZONE,
  currency: 'EUR',
  orderValueMismatch: 'correct',
  maxOrderCents: Number(MAX_CENTS),
  queue: { visibilityTimeout: VISIBILITY_TIMEOUT_S },
} as Config;

/** What all processes share. */
export interface Parts {
  readonly network: Network;
  readonly store: ModelStore;
  readonly redis: ModelRedis;
  readonly queue: ModelQueue;
  readonly database: Part;
  readonly redisServer: Part;
  readonly queueServer: Part;
}

/**
 * One process of the service as far as intake, projection and reading go: the production classes, wired as their modules
 * wire them, in front of models.
 */
export class SimulatedProcess implements Caller {
  dead = false;
  stalledUntil = 0;
  readonly ledger: Ledger;
  readonly projector: Projector;
  readonly figures: LiveStatistics;
  readonly statisticsRepository: StatisticsRepository;
  private readonly intake: OrderIntake;
  private readonly orders: OrdersQueue;
  private readonly gate: ReceiveGate;
  private readonly stores: { database: Database; redis: Redis };

  /** @param died is told when the process does */
  constructor(
    readonly name: string,
    private readonly parts: Parts,
    private readonly died: () => void,
  ) {
    const { network, store } = parts;
    const database = modelledDatabase((name, work) =>
      network.call(this, parts.database, name, (answer) => {
        const found = work();
        if (name === 'aggregate') network.later(AGGREGATION_TIMEOUT_MS, () => answer(found));
        else answer(found);
      }),
    );
    const clients = databaseClients(database, store, name, TIME_ZONE, (append) => this.watched(append));
    this.ledger = clients.ledger;
    const client = modelRedisClient(parts.redis, new Wire(network, this, parts.redisServer));
    const redis = new Redis({ kind: 'url', url: 'redis://model' }, KEY_PREFIX, client);
    this.statisticsRepository = new StatisticsRepository(redis);
    const { authority, aggregation } = clients;
    const rebuild = new Rebuild(authority, aggregation, this.statisticsRepository, this.ledger, CONFIG);
    this.projector = new Projector(this.ledger, database, redis, this.statisticsRepository, authority, rebuild, CONFIG);
    const reads = new GatheredReads(redis);
    this.ledger.onAppended(() => reads.entriesArrive());
    this.figures = new LiveStatistics(redis, this.projector, this.statisticsRepository, reads);
    const ask = (): Promise<void> =>
      network.call(this, parts.queueServer, 'ask the queue', (answer) => answer(undefined));
    this.orders = {
      availability: new Availability('the queue', ask, ask, new Logger('Queue')),
      activity: { faulted: () => undefined },
    } as unknown as OrdersQueue;
    const ignored = { record: () => undefined } as never;
    this.gate = new ReceiveGate(database, this.orders, POLLERS);
    this.intake = new OrderIntake(this.ledger, ignored, ignored, noMetrics(), this.orders, this.gate, CONFIG);
    this.stores = { database, redis };
  }

  /** Starts everything that goes on by itself. */
  begin(): void {
    this.does(() => {
      this.projector.onApplicationBootstrap();
      for (const { availability } of [this.stores.database, this.stores.redis, this.orders]) void availability.start();
      setInterval(() => this.projector.onInterval(), LOOK_AROUND_EVERY_MS);
      this.gate.begin(() => undefined);
      for (let poller = 0; poller < POLLERS; poller++) void this.poll(poller);
    });
  }

  /** @param listener is called each time just before the process takes Redis into use */
  onRedisUp(listener: () => void): void {
    this.stores.redis.availability.onUp(listener);
  }

  /** Has the process do something by itself. */
  does(work: () => unknown): void {
    const { time } = this.parts.network;
    time.at(time.now, this, () => void work());
  }

  /** As `kill -9` does it. */
  die(): void {
    if (this.dead) return;
    this.dead = true;
    this.died();
  }

  /** As SIGTERM does it; then it dies. */
  async stop(): Promise<void> {
    this.gate.stop();
    this.ledger.stopWaiting();
    await this.projector.onModuleDestroy();
    await pause(1_000);
    this.die();
  }

  /** As src/platform/queue/poll-loops.ts makes the library do it. */
  private async poll(index: number): Promise<void> {
    for (;;) {
      try {
        await this.gate.pass(index);
        const messages = await this.receive().finally(() => this.gate.leave(index));
        const done = messages.length > 0 ? await this.handle(messages) : [];
        if (done.length > 0) await this.acknowledge(done);
      } catch (error) {
        if (error instanceof ReceivingStopped) return;
        this.orders.availability.failed(error);
      }
    }
  }

  private receive(): Promise<Message[]> {
    const { network, queueServer, queue } = this.parts;
    return network.call(this, queueServer, 'receive', (answer) => queue.receive(answer));
  }

  /** What was not processed comes again when its visibility times out. */
  private async handle(messages: Message[]): Promise<Message[]> {
    try {
      return await this.intake.handle(messages);
    } catch {
      this.parts.network.trace.reach('intake: messages left to be delivered again');
      return [];
    }
  }

  private acknowledge(messages: Message[]): Promise<void> {
    const { network, queueServer, queue } = this.parts;
    const receipts = messages.map(({ ReceiptHandle }) => ReceiptHandle!);
    return network.call(this, queueServer, 'acknowledge', (answer) => answer(queue.delete(receipts)));
  }

  /** Takes note of what the queue of appends makes of failures. */
  private watched(append: AppendStatement): AppendStatement {
    const { trace } = this.parts.network;
    const failed = new Set<string>();
    return async (messages) => {
      try {
        const results = await append(messages);
        if (messages.some(({ messageId }) => failed.has(messageId))) trace.reach('intake: an outage was waited out');
        if (results.some(({ kind }) => kind === 'duplicate')) trace.reach('intake: a duplicate');
        if (results.some(({ kind }) => kind === 'waiting')) trace.reach('intake: a refund waits for its order');
        return results;
      } catch (error) {
        const code = (error as { code?: string }).code;
        if (code === 'ledger_unavailable') for (const { messageId } of messages) failed.add(messageId);
        else trace.reach(messages.length > 1 ? 'intake: an append was halved' : 'intake: a row was refused');
        throw error;
      }
    };
  }
}

function noMetrics(): never {
  const nothing = { inc: () => undefined };
  return {
    messagesConsumed: nothing,
    ordersProcessed: nothing,
    processDuration: { startTimer: () => () => undefined },
  } as never;
}
