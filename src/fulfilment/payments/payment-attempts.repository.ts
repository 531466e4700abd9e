import { isUUID } from 'class-validator';
import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/database/database.js';
import type { Cents } from '../../domain/money.js';
import { type OutgoingMessage, stepMessage } from '../messaging/outbox.repository.js';

/**
 * What is known of a charge: `started`: the provider is being asked for it; `unknown`: it did not answer; `unavailable`: it
 * was not taken on; `voided`: it never will be charged.
 */
export type AttemptState = 'started' | 'unknown' | 'unavailable' | 'captured' | 'declined' | 'voided';

/**
 * What undoes a charge: `armed`: may be needed; `due`: the money has to go back, or must not be taken; `done`: it is so, or
 * there is nothing to undo; `failed`: it was tried often enough.
 */
export type CompensationState = 'armed' | 'due' | 'done' | 'failed';

/** A charge that was begun. */
export interface PaymentAttempt {
  /** The provider's idempotency key. */
  id: string;
  orderId: string;
  number: number;
  amount: Cents;
  state: AttemptState;
  /** Whether the order was paid by it. */
  paidOrder: boolean;
  asked: number;
  compensation: CompensationState;
  compensationTries: number;
}

const COLUMNS = sql`id::text as id, order_id as "orderId", number, amount_cents as amount, state,
  paid_order as "paidOrder", asked, compensation, compensation_tries as "compensationTries"`;

/** Begins a charge, and with it what undoes it. The order must be locked. */
export async function beginAttempt(tx: Executor, orderId: string, amount: Cents): Promise<PaymentAttempt> {
  const [attempt] = await tx.query<PaymentAttempt>(
    sql`insert into payment_attempts (order_id, number, amount_cents)
        select ${orderId}, coalesce(max(number), 0) + 1, ${amount}::bigint from payment_attempts where order_id = ${orderId}
        returning ${COLUMNS}`,
  );
  return attempt!;
}

/** The last charge of a locked order. */
export async function latestAttempt(tx: Executor, orderId: string): Promise<PaymentAttempt | null> {
  const [attempt] = await tx.query<PaymentAttempt>(
    sql`select ${COLUMNS} from payment_attempts where order_id = ${orderId} order by payment_attempts.number desc limit 1`,
  );
  return attempt ?? null;
}

/** A charge; its order is to be locked before anything is made of it. Null also where the id can't be one of ours. */
export async function findAttempt(tx: Executor, id: string): Promise<PaymentAttempt | null> {
  if (!isUUID(id)) return null;
  const [attempt] = await tx.query<PaymentAttempt>(sql`select ${COLUMNS} from payment_attempts where id = ${id}::uuid`);
  return attempt ?? null;
}

/** Changes a charge whose order is locked. */
export async function changeAttempt(
  tx: Executor,
  attempt: PaymentAttempt,
  change: Partial<Pick<PaymentAttempt, 'state' | 'paidOrder' | 'asked' | 'compensation' | 'compensationTries'>> & {
    refunded?: true;
  },
): Promise<void> {
  const { refunded, ...fields } = change;
  Object.assign(attempt, fields);
  const { state, paidOrder, asked, compensation, compensationTries } = attempt;
  await tx.query(
    sql`update payment_attempts set state = ${state}, paid_order = ${paidOrder}, asked = ${asked},
          compensation = ${compensation}, compensation_tries = ${compensationTries},
          compensation_at = case when ${compensation} = 'due' then clock_timestamp() else compensation_at end,
          refunded_at = case when ${refunded === true} then clock_timestamp() else refunded_at end
        where id = ${attempt.id}::uuid`,
  );
}

/**
 * Has every charge of a locked order undone that may have taken money.
 * @param butNot the one that the order was paid by
 * @returns those that are to be undone
 */
export async function compensateAll(tx: Executor, orderId: string, butNot?: string): Promise<PaymentAttempt[]> {
  const others = butNot === undefined ? sql`true` : sql`id <> ${butNot}::uuid`;
  return tx.query(
    sql`update payment_attempts set compensation = 'due', compensation_at = clock_timestamp()
        where order_id = ${orderId} and compensation = 'armed' and ${others} returning ${COLUMNS}`,
  );
}

/** How long nothing came of a return before it is asked for again, in seconds; no try waits as long for its turn. */
const OVERDUE_SECONDS = 240;

/** Charges of a locked order that are to be undone, and that no message is on its way for as far as can be seen. */
export async function compensationsOverdue(tx: Executor, orderId: string): Promise<PaymentAttempt[]> {
  return tx.query(
    sql`select ${COLUMNS} from payment_attempts where order_id = ${orderId} and ${IS_OVERDUE} order by payment_attempts.number`,
  );
}

/** Orders that have such charges. @throws DatabaseUnavailable */
export async function ordersWithOverdueCompensations(executor: Executor, most: number): Promise<string[]> {
  const rows = await executor.query<{ id: string }>(
    sql`select distinct order_id as id from payment_attempts where ${IS_OVERDUE} limit ${most}`,
  );
  return rows.map(({ id }) => id);
}

const IS_OVERDUE = sql`compensation = 'due'
  and compensation_at < clock_timestamp() - make_interval(secs => ${OVERDUE_SECONDS})
  and not exists (select 1 from outbox where outbox.order_id = payment_attempts.order_id)`;

/** The message that has a charge undone. */
export function returnMessage({ id, orderId }: Pick<PaymentAttempt, 'id' | 'orderId'>): OutgoingMessage {
  return stepMessage('return-payment', orderId, id);
}
