import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/database/database.js';

/** What can fail for good: giving money back, or the order's next step, which nothing came of however often it was sent. */
export const JOBS = ['return-payment', 'step'] as const;

/** What of an order failed. */
export interface JobOfOrder {
  job: (typeof JOBS)[number];
  /** The payment attempt; empty where it is about the order. */
  reference: string;
}

/** Lists a job that failed for good, once until somebody sees to it. */
export async function openFailedJob(
  tx: Executor,
  orderId: string,
  { job, reference, error }: JobOfOrder & { error: string },
): Promise<void> {
  await tx.query(
    sql`insert into failed_jobs (order_id, job, reference, error) values (${orderId}, ${job}, ${reference}, ${error})
        on conflict (order_id, job, reference) where state = 'open' do nothing`,
  );
}

/** Takes a job off the list that succeeded after all. */
export async function closeFailedJob(tx: Executor, orderId: string, { job, reference }: JobOfOrder): Promise<void> {
  await tx.query(
    sql`update failed_jobs set state = 'resolved', seen_to_by = 'workflow', seen_to_at = clock_timestamp(),
          note = 'It succeeded after all'
        where order_id = ${orderId} and job = ${job} and reference = ${reference} and state = 'open'`,
  );
}
