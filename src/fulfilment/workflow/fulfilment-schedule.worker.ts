import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { sql, type SQL } from 'drizzle-orm';
import { withTimeout } from '../../platform/back-off.js';
import { Database, type Executor } from '../../platform/database/database.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { Catalogue } from '../inventory/catalogue.service.js';
import { openFailedJob } from '../failed-jobs/failed-jobs.repository.js';
import { IdempotencyKeys } from '../orders/idempotency.service.js';
import { forgetOlderThan } from '../messaging/inbox.repository.js';
import { type LockedOrder, OrderWorkflow, WORKFLOW } from './order-workflow.service.js';
import { stepMessage } from '../messaging/outbox.repository.js';
import { ordersWithOverdueCompensations } from '../payments/payment-attempts.repository.js';
import { Payments } from '../payments/payments.service.js';
import { Shipments } from '../shipments/shipments.service.js';
import { purgeRefunded, purgeWebhooks } from '../payments/simulated-books.repository.js';
import { taskOf } from './step-tasks.rules.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const ORDERS_PER_ROUND = 200;
/** Shipments that are seen to in one transaction, which locks nothing that others wait for for long. */
const SHIPMENTS_TOGETHER = 50;
const ROWS_PER_ROUND = 10_000;
const PRODUCTS_PER_REPORT = 20;
/**
 * Where nothing happened to an order for so long, its step is asked for again: longer than any retry is put off. Messages may
 * wait longer on a queue; a second one does no harm.
 */
const STUCK_SECONDS = 180;
const MAX_REDRIVES = 5;
/** No message is kept longer on a queue. */
const INBOX_DAYS = 15;
/** For a person who looks for what became of a charge. */
const SETTLED_DAYS = 90;
const STOP_TIMEOUT_MS = 2_000;

/** The locks under which one process at a time does each job: any numbers of our own, the same in all processes. */
const LOCKS = {
  'reservation expiry': 4_711_011,
  'stuck orders': 4_711_012,
  'returns of payments': 4_711_013,
  'shipment progress': 4_711_014,
  'idempotency expiry': 4_711_015,
  'low-stock report': 4_711_016,
} as const;

type JobName = keyof typeof LOCKS;

/**
 * What has to be done in time although no message asks for it. Each order is seen to in a transaction of its own, under the
 * job's lock; what another process does already is left to it.
 */
@Injectable()
export class FulfilmentSchedule implements OnModuleDestroy {
  private readonly logger = new Logger('FulfilmentSchedule');
  private readonly running = new Map<JobName, Promise<void>>();
  private stopping = false;
  private lowBefore = '';

  constructor(
    private readonly database: Database,
    private readonly workflow: OrderWorkflow,
    private readonly payments: Payments,
    private readonly shipments: Shipments,
    private readonly keys: IdempotencyKeys,
    private readonly catalogue: Catalogue,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async onModuleDestroy(): Promise<void> {
    this.stopping = true;
    await withTimeout(STOP_TIMEOUT_MS, Promise.all(this.running.values()));
  }

  /** Has the carrier go on with what is on its way. */
  @Interval(SECOND)
  progressShipments(): Promise<void> {
    return this.run('shipment progress', async () => {
      for (let more = true; more;) {
        const due = await this.shipments.overdue(ORDERS_PER_ROUND);
        const progress = (tx: Executor, orders: LockedOrder[]): Promise<void> => this.shipments.progress(tx, orders);
        const allWell = await this.processEach('shipment progress', due, progress, SHIPMENTS_TOGETHER);
        more = allWell && due.length === ORDERS_PER_ROUND;
      }
    });
  }

  /** Gives up orders that were not paid while their stock was promised to them. */
  @Interval(5 * SECOND)
  expireReservations(): Promise<void> {
    return this.run('reservation expiry', async () => {
      const due = await this.ordersWith(
        sql`select distinct order_id as id from reservations join orders on orders.id = order_id
            where state = 'held' and expires_at <= clock_timestamp() and status in ('reserved', 'payment_unknown')
            limit ${ORDERS_PER_ROUND}`,
      );
      await this.each('reservation expiry', due, async (tx, order) => {
        if (order.status !== 'reserved' && order.status !== 'payment_unknown') return;
        await this.payments.giveUp(tx, order, 'the reservation expired', WORKFLOW);
      });
    });
  }

  /** Asks again for steps that nothing came of; after some times a person has to see to the order. */
  @Interval(10 * SECOND)
  redriveStuck(): Promise<void> {
    return this.run('stuck orders', async () => {
      // A paid order is kept back for a while.
      const paidStuckSeconds = STUCK_SECONDS + this.config.shipmentDelaySeconds;
      const isStuck = sql`status in ('pending', 'reserved', 'payment_unknown', 'paid')
        and active_at < clock_timestamp() - make_interval(secs => ${STUCK_SECONDS}) and redriven <= ${MAX_REDRIVES}
        and (status <> 'paid' or active_at < clock_timestamp() - make_interval(secs => ${paidStuckSeconds}))
        and not exists (select 1 from outbox where order_id = orders.id)`;
      const due = await this.ordersWith(
        sql`select id from orders where ${isStuck} order by active_at limit ${ORDERS_PER_ROUND}`,
      );
      await this.each('stuck orders', due, async (tx, order) => {
        const [stuck] = await tx.query<{ redriven: number }>(
          sql`update orders set redriven = redriven + 1
              where id = ${order.id} and ${isStuck} returning redriven`,
        );
        if (stuck) await this.redrive(tx, order, stuck.redriven);
      });
    });
  }

  /** Asks again for payments to be returned whose message was lost. */
  @Interval(30 * SECOND)
  redriveReturns(): Promise<void> {
    return this.run('returns of payments', async () => {
      const due = await ordersWithOverdueCompensations(this.database, ORDERS_PER_ROUND);
      await this.each('returns of payments', due, (tx, order) => this.payments.returnAgain(tx, order));
    });
  }

  /** Forgets answers to repeated requests, messages that can't come again, and what the provider settled long ago. */
  @Interval(MINUTE)
  forget(): Promise<void> {
    return this.run('idempotency expiry', async () => {
      await this.inRounds('idempotency expiry', (tx) => this.keys.forgetExpired(tx, ROWS_PER_ROUND));
      await this.inRounds('idempotency expiry', (tx) => forgetOlderThan(tx, INBOX_DAYS, ROWS_PER_ROUND));
      await this.inRounds('idempotency expiry', (tx) => purgeRefunded(tx, SETTLED_DAYS, ROWS_PER_ROUND));
      await this.inRounds('idempotency expiry', (tx) => purgeWebhooks(tx, SETTLED_DAYS, ROWS_PER_ROUND));
    });
  }

  /** Says in the log which products are low, whenever others are than before. */
  @Interval(MINUTE)
  reportLowStock(): Promise<void> {
    return this.run('low-stock report', async () => {
      const low = await this.alone('low-stock report', (tx) => this.catalogue.low(tx, PRODUCTS_PER_REPORT + 1));
      if (!low) return;
      const skus = low.slice(0, PRODUCTS_PER_REPORT).map(({ sku, available }) => `${sku} (${available})`);
      const said = skus.join(', ') + (low.length > PRODUCTS_PER_REPORT ? ' and more' : '');
      if (said !== this.lowBefore && said !== '') this.logger.warn(`Low on stock: ${said}`);
      this.lowBefore = said;
    });
  }

  private async redrive(tx: Executor, order: LockedOrder, redriven: number): Promise<void> {
    const task = taskOf(order.status)!;
    if (redriven > MAX_REDRIVES) {
      const error = `Nothing came of the step ${task}, which was asked for again ${MAX_REDRIVES} times`;
      await openFailedJob(tx, order.id, { job: 'step', reference: '', error });
      await this.workflow.record(tx, order, { event: 'job.failed', detail: { job: 'step', task } }, WORKFLOW);
      return;
    }
    const detail = { task, times: redriven };
    const send = [stepMessage(task, order.id)];
    await this.workflow.record(tx, order, { event: 'order.redriven', detail, send }, WORKFLOW);
  }

  private async ordersWith(statement: SQL): Promise<string[]> {
    const rows = await this.database.query<{ id: string }>(statement);
    return rows.map(({ id }) => id);
  }

  /** Sees to orders one after the other, each in a transaction of its own. */
  private each(
    job: JobName,
    orderIds: string[],
    work: (tx: Executor, order: LockedOrder) => Promise<void>,
  ): Promise<boolean> {
    return this.processEach(job, orderIds, async (tx, [order]) => {
      if (order) await work(tx, order);
    });
  }

  /**
   * Sees to orders, some together; ends early where another process has the job. What is wrong with one keeps none of the
   * others waiting.
   * @param together how many may share a transaction: more than one only where nothing but the orders is locked
   * @returns whether all were seen to
   */
  private async processEach(
    job: JobName,
    orderIds: string[],
    work: (tx: Executor, orders: LockedOrder[]) => Promise<void>,
    together = 1,
  ): Promise<boolean> {
    let allWell = true;
    for (let start = 0; start < orderIds.length && !this.stopping; start += together) {
      const ids = orderIds.slice(start, start + together);
      try {
        const done = await this.alone(job, async (tx) => {
          await work(tx, await this.workflow.lockAll(tx, ids));
          return true;
        });
        if (!done) return false;
      } catch (error) {
        if (error instanceof UnavailableError) throw error;
        allWell = false;
        if (together > 1) await this.processEach(job, ids, work);
        else this.logger.error(`The job "${job}" failed for ${ids[0]}: ${messageOf(error)}`);
      }
    }
    return allWell && !this.stopping;
  }

  /** Repeats work that does so much at most, until it finds less. @param work returns how much it did */
  private async inRounds(job: JobName, work: (tx: Executor) => Promise<number>): Promise<void> {
    while (!this.stopping && (await this.alone(job, work)) === ROWS_PER_ROUND);
  }

  /** @returns what the work returned; null where another process has the job */
  private alone<T>(job: JobName, work: (tx: Executor) => Promise<T>): Promise<T | null> {
    return this.workflow.transaction(async (tx) => {
      const [lock] = await tx.query<{ held: boolean }>(sql`select pg_try_advisory_xact_lock(${LOCKS[job]}) as held`);
      return lock!.held ? work(tx) : null;
    });
  }

  /** Not before the last time is over, and not while the database is away. */
  private async run(job: JobName, work: () => Promise<void>): Promise<void> {
    if (this.stopping || this.running.has(job) || !this.database.availability.up) return;
    const ended = work()
      .catch((error: unknown) => {
        // A database that is down says so itself.
        if (!(error instanceof UnavailableError)) this.logger.error(`The job "${job}" failed: ${messageOf(error)}`);
      })
      .finally(() => this.running.delete(job));
    this.running.set(job, ended);
    await ended;
  }
}
