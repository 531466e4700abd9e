import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Database, type Executor } from '../../platform/database/database.js';
import type { Erased, Eraser } from '../../platform/privacy/personal-data.js';
import { ERASED } from '../../shared/erased.js';
import { ClientError } from '../../shared/errors.js';
import { isCancellable, type OrderStatus } from '../workflow/order-states.rules.js';

const ORDERS_PER_PART = 250;

/** An order of the user is still to be sent to the address. */
export class OrdersUnderWay extends ClientError {
  readonly code = 'orders_under_way';
  readonly kind = 'conflict';
  constructor(userId: string) {
    super(
      `An order of user ${userId} is still to be sent to them. Cancel it, or wait until it is shipped, and ask again.`,
    );
  }
}

/**
 * Takes addresses and payment methods, which are free text, out of a user's orders, and out of the order events that wait to
 * be sent. What was bought stays.
 */
@Injectable()
export class OrderAddressErasure implements Eraser {
  constructor(private readonly database: Database) {}

  async knows(userId: string): Promise<boolean> {
    return (await this.database.query(sql`select 1 from orders where user_id = ${userId} limit 1`)).length > 0;
  }

  /** @param after the number of an order @throws OrdersUnderWay @throws DatabaseUnavailable */
  async erase(tx: Executor, userId: string, after: number): Promise<{ erased: Erased; next: number | null }> {
    const orders = await tx.query<{ id: string; number: number }>(
      sql`select id, number from orders where user_id = ${userId} and number > ${after}
          order by orders.number limit ${ORDERS_PER_PART}`,
    );
    const ids = sql`(select value from json_array_elements_text(${JSON.stringify(orders.map(({ id }) => id))}::json))`;
    // In the order of ids, as whoever else locks several.
    const locked = await tx.query<{ status: OrderStatus }>(
      sql`select status from orders where id in ${ids} order by orders.id for update`,
    );
    // What can be cancelled is not sent yet.
    if (locked.some(({ status }) => isCancellable(status))) throw new OrdersUnderWay(userId);
    const erased = await tx.query(
      sql`update orders set shipping_address = ${ERASED}, payment_method = ${ERASED}
          where id in ${ids} and (shipping_address, payment_method) <> (${ERASED}, ${ERASED}) returning 1`,
    );
    await tx.query(
      sql`update outbox
          set body = (body::jsonb || ${JSON.stringify({ shipping_address: ERASED, payment_method: ERASED })}::jsonb)::text
          where order_id in ${ids} and queue = 'orders' and body::jsonb ? 'shipping_address'`,
    );
    const next = orders.length === ORDERS_PER_PART ? orders.at(-1)!.number : null;
    return { erased: { orders: erased.length }, next };
  }
}
