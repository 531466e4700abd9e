import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Audit } from '../../platform/audit/audit.js';
import { Database, type Executor } from '../../platform/database/database.js';
import type { Actor } from '../../shared/access.js';
import { ClientError, NotFound } from '../../shared/errors.js';
import { type LockedOrder, OrderWorkflow } from '../workflow/order-workflow.service.js';
import { type OutgoingMessage, stepMessage } from '../messaging/outbox.repository.js';
import type { JOBS } from './failed-jobs.repository.js';
import { Payments } from '../payments/payments.service.js';
import { taskOf } from '../workflow/step-tasks.rules.js';

/** What became of a failed job. */
export const JOB_STATES = ['open', 'retried', 'resolved'] as const;

/** Something that did not succeed however often it was tried. */
export interface FailedJob {
  id: number;
  orderId: string;
  job: (typeof JOBS)[number];
  /** The payment attempt; empty where it is about the order. */
  reference: string;
  orderStatus: string;
  error: string;
  /** ms UTC. */
  failedAt: number;
  state: (typeof JOB_STATES)[number];
  seenToBy: string | null;
  /** ms UTC. */
  seenToAt: number | null;
  note: string | null;
}

/** Somebody has seen to the job already. */
export class JobSeenTo extends ClientError {
  readonly code = 'job_seen_to';
  readonly kind = 'conflict';
  constructor(id: number, state: string) {
    super(`Failed job ${id} is not open any more: it was ${state}.`);
  }
}

const COLUMNS = sql`failed_jobs.id, order_id as "orderId", job, reference, orders.status as "orderStatus",
  error, failed_at as "failedAt", state, seen_to_by as "seenToBy",
  seen_to_at as "seenToAt", note`;

/** What a person has to see to, and has seen to. */
@Injectable()
export class FailedJobs {
  constructor(
    private readonly database: Database,
    private readonly workflow: OrderWorkflow,
    private readonly payments: Payments,
    private readonly audit: Audit,
  ) {}

  /** Newest first. @param before only older ones @throws DatabaseUnavailable */
  async page(state: FailedJob['state'] | undefined, limit: number, before?: number): Promise<FailedJob[]> {
    const ofState = state === undefined ? sql`true` : sql`state = ${state}`;
    const older = before === undefined ? sql`true` : sql`failed_jobs.id < ${before}`;
    return this.database.query(
      sql`select ${COLUMNS} from failed_jobs join orders on orders.id = order_id
          where ${ofState} and ${older} order by failed_jobs.id desc limit ${limit}`,
    );
  }

  /** How many wait for somebody. @throws DatabaseUnavailable */
  async open(): Promise<number> {
    const [row] = await this.database.query<{ jobs: number }>(
      sql`select count(*) as jobs from failed_jobs where state = 'open'`,
    );
    return row!.jobs;
  }

  /** Has a job tried again, as often as at first. @throws NotFound @throws JobSeenTo @throws DatabaseUnavailable */
  async retry(id: number, actor: Actor): Promise<FailedJob> {
    return this.seeTo(id, 'retried', null, actor, async (tx, order, { job, reference }) => {
      if (job === 'return-payment') return this.payments.retryRefund(tx, reference);
      await tx.query(sql`update orders set redriven = 0 where id = ${order.id}`);
      const task = taskOf(order.status);
      return task === null ? [] : [stepMessage(task, order.id)];
    });
  }

  /**
   * Takes a job off the list that somebody saw to by hand; money that was given back so is taken out of the statistics.
   * @throws NotFound @throws JobSeenTo @throws DatabaseUnavailable
   */
  async resolve(id: number, note: string, actor: Actor): Promise<FailedJob> {
    return this.seeTo(id, 'resolved', note, actor, async (tx, order, { job, reference }) =>
      job === 'return-payment' ? this.payments.markRefundedManually(tx, order, reference) : [],
    );
  }

  private async seeTo(
    id: number,
    state: 'retried' | 'resolved',
    note: string | null,
    actor: Actor,
    act: (tx: Executor, order: LockedOrder, job: FailedJob) => Promise<OutgoingMessage[]>,
  ): Promise<FailedJob> {
    return this.workflow.transaction(async (tx) => {
      const job = await one(tx, id);
      const order = (await this.workflow.lock(tx, job.orderId))!;
      const seenTo = await tx.query(
        sql`update failed_jobs set state = ${state}, seen_to_by = ${actor.name}, seen_to_at = clock_timestamp(),
              note = ${note}
            where id = ${id} and state = 'open' returning 1`,
      );
      if (seenTo.length === 0) throw new JobSeenTo(id, (await one(tx, id)).state);
      const send = await act(tx, order, job);
      const event = state === 'retried' ? ('job.retried' as const) : ('job.resolved' as const);
      await this.workflow.record(tx, order, { event, detail: { job: job.job }, send }, actor);
      await this.audit.record(tx, actor, {
        action: `failed_job.${state}`,
        target: `order:${order.id}`,
        before: { state: 'open' },
        after: { state, job: job.job },
      });
      return one(tx, id);
    });
  }
}

/** @throws NotFound */
async function one(tx: Executor, id: number): Promise<FailedJob> {
  const [job] = await tx.query<FailedJob>(
    sql`select ${COLUMNS} from failed_jobs join orders on orders.id = order_id where failed_jobs.id = ${id}`,
  );
  if (!job) throw new NotFound(`There is no failed job ${id}.`);
  return job;
}
