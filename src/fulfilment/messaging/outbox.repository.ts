import { Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { Database, type Executor } from '../../platform/database/database.js';
import { STEP_TASKS, stepMessageText, type StepQueue, type StepTask } from './step-messages.js';

/** Where messages of the workflow go. */
export type Destination = StepQueue | 'orders';

/** A message that is to be sent once its transaction is committed. */
export interface OutgoingMessage {
  queue: Destination;
  body: string;
  /** How long the queue is to keep it back; at most 900. */
  delaySeconds?: number;
}

/** A message that somebody is about to send. */
export interface ClaimedMessage extends Required<OutgoingMessage> {
  id: number;
}

/**
 * How long a claim holds: whoever is gone by then can't send any more. Where SQS takes longer to answer, somebody else sends the
 * same again, which the inbox is for.
 */
const CLAIM_SECONDS = 10;

/**
 * Messages that follow from what was committed, in the very transaction. They are taken from here by the
 * relay (outbox-relay.worker.ts), at least once each, those of one order in their order.
 */
@Injectable()
export class Outbox {
  constructor(private readonly database: Database) {}

  /** @param sequence of the timeline's entry that they follow from */
  async add(tx: Executor, orderId: string, sequence: number, messages: OutgoingMessage[]): Promise<void> {
    const rows = messages.map(({ queue, body, delaySeconds = 0 }) => ({ queue, body, delay_seconds: delaySeconds }));
    await tx.query(
      sql`insert into outbox (order_id, sequence, queue, body, delay_seconds)
          select ${orderId}, ${sequence}::integer, queue, body, delay_seconds
          from json_to_recordset(${JSON.stringify(rows)}::json) as given(queue text, body text, delay_seconds integer)`,
    );
  }

  /**
   * Messages that nobody else sends meanwhile, the oldest first; of an order none before the one that precedes it is gone.
   * @throws DatabaseUnavailable
   */
  async claim(most: number): Promise<ClaimedMessage[]> {
    const claimed = await this.database.query<ClaimedMessage>(
      sql`update outbox set claimed_until = clock_timestamp() + make_interval(secs => ${CLAIM_SECONDS})
          where id in (
            select id from outbox candidate
            where claimed_until < clock_timestamp() and not exists (
              select 1 from outbox earlier
              where earlier.order_id = candidate.order_id and earlier.sequence < candidate.sequence
            )
            order by created_at limit ${most} for update skip locked
          )
          returning id, queue, body, delay_seconds as "delaySeconds"`,
    );
    return claimed.sort((one, other) => one.id - other.id);
  }

  /** These are on their queues. @throws DatabaseUnavailable */
  async sent(messages: ClaimedMessage[]): Promise<void> {
    await this.database.query(sql`delete from outbox where id in ${idsOf(messages)}`);
  }

  /** These could not be sent; somebody may try again after a while. @throws DatabaseUnavailable */
  async release(messages: ClaimedMessage[], afterSeconds: number): Promise<void> {
    await this.database.query(
      sql`update outbox set claimed_until = clock_timestamp() + make_interval(secs => ${afterSeconds})
          where id in ${idsOf(messages)}`,
    );
  }

  /** How long the oldest message has been waiting to be sent, in seconds; 0 where none does. @throws DatabaseUnavailable */
  async oldestSeconds(): Promise<number> {
    const [row] = await this.database.query<{ age: number }>(
      sql`select coalesce(greatest(extract(epoch from clock_timestamp() - min(created_at)), 0), 0)::float8 as age
          from outbox`,
    );
    return row!.age;
  }
}

/** A message that asks for a step of an order. @param reference what of the order is meant, where it is not all of it */
export function stepMessage(task: StepTask, orderId: string, reference: string | null = null): OutgoingMessage {
  return { queue: STEP_TASKS[task], body: stepMessageText({ messageId: randomUUID(), orderId, task, reference }) };
}

function idsOf(messages: ClaimedMessage[]): SQL {
  const ids = messages.map(({ id }) => id);
  return sql`(select value::bigint from json_array_elements_text(${JSON.stringify(ids)}::json))`;
}
