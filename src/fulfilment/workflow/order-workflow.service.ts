import { Injectable, type OnModuleInit } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Audit } from '../../platform/audit/audit.js';
import { Database, type Executor } from '../../platform/database/database.js';
import type { Actor } from '../../shared/access.js';
import type { Cents } from '../../domain/money.js';
import { assertMove, assertValidTransitions, TRANSITIONS, type OrderStatus } from './order-states.rules.js';
import { Outbox, type OutgoingMessage } from '../messaging/outbox.repository.js';

/** Who acts where no request asks for it. */
export const WORKFLOW: Actor = Object.freeze({ name: 'workflow', requestId: null });

/** Every entry that a timeline can have. */
export type TimelineEvent =
  | 'order.placed'
  | 'order.cancelled'
  | 'order.completed'
  | 'order.redriven'
  | 'stock.reserved'
  | 'stock.missing'
  | 'payment.attempted'
  | 'payment.captured'
  | 'payment.declined'
  | 'payment.timed_out'
  | 'payment.unavailable'
  | 'payment.asked'
  | 'payment.given_up'
  | 'payment.return_due'
  | 'payment.return_failed'
  | 'payment.voided'
  | 'payment.refunded'
  | 'shipment.created'
  | 'shipment.in_transit'
  | 'shipment.delayed'
  | 'shipment.delivered'
  | 'job.failed'
  | 'job.retried'
  | 'job.resolved';

/** An order that nobody else can change until the transaction ends. */
export interface LockedOrder {
  readonly id: string;
  readonly userId: string;
  readonly total: Cents;
  readonly currency: string;
  readonly paymentMethod: string;
  status: OrderStatus;
}

/** Something that happens to an order. */
export interface TransitionInput {
  event: TimelineEvent;
  /** What the order becomes by it; it stays as it is where nothing is given. */
  to?: OrderStatus;
  /** Facts for the timeline, nothing personal among them. */
  detail?: object;
  /** Messages that follow from it. */
  send?: OutgoingMessage[];
}

/**
 * What each step of an order consists of, in one transaction: the order locked, its move, the timeline's entry, the audit
 * log's, and what is to be sent.
 */
@Injectable()
export class OrderWorkflow implements OnModuleInit {
  private readonly listeners: (() => void)[] = [];

  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
    private readonly audit: Audit,
  ) {}

  /** @throws Error where the table of moves is wrong */
  onModuleInit(): void {
    assertValidTransitions(TRANSITIONS);
  }

  /** Is called after each transaction that may have left something to send. */
  onCommitted(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Runs work in one transaction; only the executor it is given may be used. @throws DatabaseUnavailable */
  async transaction<T>(work: (tx: Executor) => Promise<T>): Promise<T> {
    const result = await this.database.transaction(work);
    for (const listener of this.listeners) listener();
    return result;
  }

  /** Waits until nobody else has the order. Locks come in this order: the order, its attempts, stock by SKU and warehouse. */
  async lock(tx: Executor, orderId: string): Promise<LockedOrder | null> {
    const [order] = await this.lockAll(tx, [orderId]);
    return order ?? null;
  }

  /** The same for several orders, which are locked in the order of their ids. @returns those that there are */
  async lockAll(tx: Executor, orderIds: string[]): Promise<LockedOrder[]> {
    return tx.query<LockedOrder>(
      sql`select id, user_id as "userId", total_cents as total, currency, payment_method as "paymentMethod", status
          from orders where id = any(array(select json_array_elements_text(${JSON.stringify(orderIds)}::json)))
          order by id for update`,
    );
  }

  /**
   * Writes down what happens to an order, and moves it.
   * @returns the sequence of the timeline's entry
   * @throws IllegalMove
   */
  async record(
    tx: Executor,
    order: LockedOrder,
    { event, to, detail, send = [] }: TransitionInput,
    actor: Actor,
  ): Promise<number> {
    const before = order.status;
    if (to) assertMove(before, to);
    const status = to ?? before;
    const moved = to ? sql`, changed_at = clock_timestamp(), redriven = 0` : sql``;
    // An order that moves is not stuck, whatever was thought of it.
    const unstuck = to
      ? sql`, unstuck as (
          update failed_jobs set state = 'resolved', seen_to_by = ${actor.name}, seen_to_at = clock_timestamp(),
            note = 'The order went on by itself'
          where order_id = ${order.id} and job = 'step' and reference = '' and state = 'open'
        )`
      : sql``;
    const [entry] = await tx.query<{ sequence: number }>(
      sql`with moved as (
            update orders set status = ${status}, events = events + 1, active_at = clock_timestamp() ${moved}
            where id = ${order.id} and status = ${before} returning events
          ) ${unstuck}
          insert into order_timeline (order_id, sequence, event, status, detail, actor)
          select ${order.id}, events, ${event}, ${status}, ${detail ? JSON.stringify(detail) : null}, ${actor.name}
          from moved returning sequence`,
    );
    if (!entry) throw new Error(`${order.id} was not ${before} although it was locked`);
    order.status = status;
    if (to) {
      await this.audit.record(tx, actor, {
        action: event,
        target: `order:${order.id}`,
        before: { status: before },
        after: { status },
      });
    }
    if (send.length > 0) await this.outbox.add(tx, order.id, entry.sequence, send);
    return entry.sequence;
  }
}
