import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/database/database.js';
import type { QueueClock } from '../../platform/queue/queue-clock.js';
import { type Cents, decimalOf } from '../../domain/money.js';
import type { LockedOrder } from './order-workflow.service.js';
import type { PaymentAttempt } from '../payments/payment-attempts.repository.js';

/**
 * A paid order as an order event, which statistics are made of. Its time is that of placing, by the database's clock. Where that
 * lies ahead of the queue's clock, the event carries the queue's now: else validation would fail it, and a paid order would be
 * in no statistic. The outbox keeps the text, so an event that is sent twice says the same.
 */
export async function orderEventText(
  tx: Executor,
  { id, userId, total, currency }: LockedOrder,
  queueClock: QueueClock,
): Promise<string> {
  const [order] = await tx.query<{ placedAt: number; shippingAddress: string; paymentMethod: string }>(
    sql`select placed_at as "placedAt", shipping_address as "shippingAddress",
          payment_method as "paymentMethod"
        from orders where id = ${id}`,
  );
  const lines = await tx.query<{ sku: string; quantity: number; price: Cents }>(
    sql`select sku, quantity, price_cents as price from order_lines where order_id = ${id} order by sku`,
  );
  return JSON.stringify({
    order_id: id,
    user_id: userId,
    order_timestamp: new Date(queueClock.capped(order!.placedAt)).toISOString(),
    order_value: decimalOf(total),
    currency,
    items: lines.map(({ sku, quantity, price }) => ({
      product_id: sku,
      quantity,
      price_per_unit: decimalOf(price),
    })),
    shipping_address: order!.shippingAddress,
    payment_method: order!.paymentMethod,
  });
}

/** That a paid order's money went back just now, as an event that statistics take it back by. */
export function refundEventText({ id }: LockedOrder, attempt: PaymentAttempt, queueClock: QueueClock): string {
  return JSON.stringify({
    type: 'refund',
    refund_id: `RF-${attempt.id}`,
    order_id: id,
    amount: decimalOf(attempt.amount),
    refund_timestamp: new Date(queueClock.capped(Date.now())).toISOString(),
  });
}
