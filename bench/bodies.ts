import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sampleOrders } from '../src/producer/sample-orders.rules.js';

const INVOICES = join(process.cwd(), 'test', 'data', 'online-retail-2010-12-early.jsonl');
const AS_OF = Date.UTC(2026, 0, 31);

/** Bodies as `POST /produce` makes them, one in five wrong; another `run` has other ids. */
export function sampleBodies(count: number, run: string): string[] {
  return [...sampleOrders({ count, invalidRate: 0.2, seed: 1, runId: run, asOf: AS_OF })].map(({ body }) => body);
}

/** Real invoices, repeated under new ids until there are enough; another `run` has other ids. */
export function invoiceBodies(count: number, run: string): string[] {
  const orders = readFileSync(INVOICES, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { order_id?: string });
  return Array.from({ length: count }, (_, i) => {
    const order = orders[i % orders.length]!;
    const repeat = Math.floor(i / orders.length);
    return JSON.stringify(order.order_id ? { ...order, order_id: `${order.order_id}-${run}-${repeat}` } : order);
  });
}
