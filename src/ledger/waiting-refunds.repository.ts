import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Database, type Executor } from '../platform/database/database.js';
import type { Cents } from '../domain/money.js';

/** Of all bodies of a page together, but for the last one: each may have 1 MiB. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** A refund that came before its order was counted. Times are ms UTC. */
export interface WaitingRefund {
  /** The order in which they came. */
  number: number;
  refundId: string;
  orderId: string;
  refundedAt: number;
  amount: Cents;
  messageId: string | null;
  sentAt: number;
  receivedAt: number;
}

/** The body of one. */
export interface WaitingBody {
  number: number;
  body: string;
}

/**
 * Refunds that wait for their orders. append_entries puts them here and takes them away, in the transaction that counts
 * the order; here they are only looked at.
 */
@Injectable()
export class WaitingRefunds {
  constructor(private readonly database: Database) {}

  /** How many wait. @throws DatabaseUnavailable */
  async count(): Promise<number> {
    const [row] = await this.database.query<{ waiting: number }>(sql`select count(*) as waiting from early_refunds`);
    return row!.waiting;
  }

  /**
   * Those that wait, the latest first.
   * @param before only such as came before this one
   * @returns at most `limit`, and whether there are more
   * @throws DatabaseUnavailable
   */
  async page(before: number | undefined, limit: number): Promise<{ refunds: WaitingRefund[]; more: boolean }> {
    const older = before === undefined ? sql`true` : sql`number < ${before}`;
    const found = await this.database.query<WaitingRefund>(
      sql`select number, refund_id as "refundId", order_id as "orderId",
            refunded_at as "refundedAt", cents as amount,
            message_id as "messageId", sent_at as "sentAt",
            received_at as "receivedAt"
          from early_refunds where ${older}
          order by early_refunds.number desc limit ${limit + 1}`,
    );
    return { refunds: found.slice(0, limit), more: found.length > limit };
  }

  /**
   * The bodies of those that wait for an order of which the ledger has an entry of this user, such as a failed one. No
   * entry is appended, and so none of them settled, until the transaction ends.
   * @returns those after a number, at most `limit`, and fewer where they are large; and whether there are more
   */
  async bodiesOf(
    tx: Executor,
    userId: string,
    after: number,
    limit: number,
  ): Promise<{ bodies: WaitingBody[]; more: boolean }> {
    await tx.query(sql`select 1 from ledger_head for update`);
    const found = await tx.query<WaitingBody & { candidates: number }>(
      sql`with candidates as materialized (
            select number, octet_length(body) as size from early_refunds
            where number > ${after} and order_id in (
              select order_id from ledger where user_id = ${userId} and order_id is not null
            )
            order by early_refunds.number limit ${limit + 1}
          ), sized as (
            select number, row_number() over running as place, sum(size) over running - size as bytes_before
            from candidates window running as (order by number)
          )
          select number, body, (select count(*) from candidates) as candidates
          from early_refunds join sized using (number)
          where place <= ${limit} and bytes_before < ${MAX_BODY_BYTES}
          order by early_refunds.number`,
    );
    const bodies = found.map(({ number, body }) => ({ number, body }));
    return { bodies, more: (found[0]?.candidates ?? 0) > bodies.length };
  }

  /** Gives some other bodies. Only for taking out what they say of a person. */
  async replaceBodies(tx: Executor, bodies: WaitingBody[]): Promise<void> {
    if (bodies.length === 0) return;
    await tx.query(
      sql`update early_refunds set body = given.body
          from json_to_recordset(${JSON.stringify(bodies)}::json) as given (number bigint, body text)
          where early_refunds.number = given.number`,
    );
  }
}
