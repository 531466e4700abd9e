import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/database/database.js';

/**
 * Attempts to deliver a webhook before it is given up. The pause after one that failed begins with a second and doubles: some
 * 17 minutes in all.
 */
export const MAX_DELIVERIES = 10;

/**
 * Deletes charges of the simulated provider that were refunded so long ago, with their refunds and webhooks. They balance to
 * zero, so the books stay right. The shop asks for a refund again until it has noted it; see docs/operating.md for a failed job
 * that is older.
 * @param most charges at most @returns how many
 */
export async function purgeRefunded(tx: Executor, days: number, most: number): Promise<number> {
  const purged = await tx.query(
    sql`with refunds as (
          delete from simulated_refunds where key in (
            select key from simulated_refunds
            where refunded_at < clock_timestamp() - make_interval(days => ${days})
            order by refunded_at limit ${most}
          ) returning charge_key
        ), webhooks as (
          delete from simulated_webhooks where charge_key in (select charge_key from refunds)
        )
        delete from simulated_charges where key in (select charge_key from refunds) returning 1`,
  );
  return purged.length;
}

/** Deletes webhooks older than `days` that were delivered or given up. @param most at most @returns how many */
export async function purgeWebhooks(tx: Executor, days: number, most: number): Promise<number> {
  const purged = await tx.query(
    sql`delete from simulated_webhooks where id in (
          select id from simulated_webhooks
          where at < clock_timestamp() - make_interval(days => ${days})
            and (delivered_at is not null or attempts >= ${MAX_DELIVERIES})
          order by at limit ${most}
        ) returning 1`,
  );
  return purged.length;
}
