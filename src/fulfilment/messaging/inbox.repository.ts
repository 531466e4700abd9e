import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/database/database.js';

/**
 * Takes note of a message in the transaction of its effect, so that it has that once.
 * @param queue where it came from @param messageId the sender's own
 * @returns false where it had its effect already
 */
export async function isNew(tx: Executor, queue: string, messageId: string): Promise<boolean> {
  const added = await tx.query(
    sql`insert into inbox (queue, message_id) values (${queue}, ${messageId}) on conflict do nothing returning 1`,
  );
  return added.length > 0;
}

/** Whether a message had its effect already. */
export async function wasSeen(tx: Executor, queue: string, messageId: string): Promise<boolean> {
  const seen = await tx.query(sql`select 1 from inbox where queue = ${queue} and message_id = ${messageId}`);
  return seen.length > 0;
}

/** Forgets messages that can't come again, at most so many. @returns how many */
export async function forgetOlderThan(tx: Executor, days: number, most: number): Promise<number> {
  const gone = await tx.query(
    sql`delete from inbox where (queue, message_id) in (
          select queue, message_id from inbox where at < clock_timestamp() - make_interval(days => ${days})
          order by at limit ${most}
        ) returning 1`,
  );
  return gone.length;
}
