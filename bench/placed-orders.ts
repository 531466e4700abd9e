import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import type { Service } from './processes.js';

/** Orders that are placed at once. */
export const CONNECTIONS = 16;
/** So that every order is completed, and as soon as the service can. */
export const NOTHING_WAITS = { SHIPMENT_DELAY_SECONDS: '0', SHIPMENT_STEP_SECONDS: '0', PAYMENT_FAILURE_RATE: '0' };

/** Each look costs PostgreSQL a little; when the last order was completed, the database itself knows. */
const LOOK_EVERY_MS = 250;
const MAX_STANDSTILL_MS = 60_000;

/** Places an order of one piece of each SKU, in this order. @returns its id */
export async function placeOrder({ url }: Service, skus: string[]): Promise<string> {
  const response = await fetch(`${url}/api/v1/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': randomUUID() },
    body: JSON.stringify({
      currency: 'USD',
      items: skus.map((sku) => ({ sku, quantity: 1 })),
      shipping_address: '1 Main Street, Springfield',
      payment_method: 'CARD',
    }),
  });
  const answer = await response.text();
  if (response.status !== 202) throw new Error(`POST /api/v1/orders answered ${response.status}: ${answer}`);
  return (JSON.parse(answer) as { order_id: string }).order_id;
}

/** Places orders over some connections, on each the next as soon as the one before is answered. */
export async function placeOrders(service: Service, count: number, skusOf: (n: number) => string[]): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await placeOrder(service, skusOf(next++));
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
}

/** What became of all orders there are. */
interface Progress {
  /** How many have the status that is waited for, or one that follows upon it. */
  there: number;
  /** How many will never have it. */
  failed: number;
  /** ms since the epoch. */
  lastChange: number;
}

const NOT_YET = { reserved: "('pending')", completed: "('pending', 'reserved', 'payment_unknown', 'paid', 'shipped')" };

/**
 * Resolves when so many orders of a database have come so far, with the moment (ms since the epoch) of the last change.
 * @throws Error where an order ended otherwise, or where none comes any further
 */
export async function ordersAre(status: keyof typeof NOT_YET, databaseUrl: string, count: number): Promise<number> {
  const client = new Client(databaseUrl);
  await client.connect();
  const failed = "('failed_no_stock', 'payment_failed', 'cancelled')";
  let [before, since] = ['', performance.now()];
  try {
    while (true) {
      const { rows } = await client.query<Progress>(
        `select count(*) filter (where status not in ${NOT_YET[status]} and status not in ${failed})::float8 as there,
           count(*) filter (where status in ${failed})::float8 as failed,
           (extract(epoch from max(changed_at)) * 1000)::float8 as "lastChange"
         from orders`,
      );
      const [progress] = rows;
      if (progress!.failed > 0) throw new Error(`${progress!.failed} orders failed`);
      if (progress!.there >= count) return progress!.lastChange;
      const now = JSON.stringify(progress);
      if (now !== before) [before, since] = [now, performance.now()];
      if (performance.now() - since > MAX_STANDSTILL_MS) {
        throw new Error(`${progress!.there} of ${count} orders are ${status}, and no more become so`);
      }
      await pause(LOOK_EVERY_MS);
    }
  } finally {
    await client.end();
  }
}
