import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sampleOrders } from '../src/producer/sample-orders.rules.js';
import { poisonedTraffic } from '../test/support/poison.js';
import { SeededRandom } from '../test/support/seeded-random.js';

const INVOICES = join(process.cwd(), 'test', 'data', 'online-retail-2010-12-early.jsonl');
const AS_OF = Date.UTC(2026, 0, 31);

/** Bodies as `POST /produce` makes them, one in five wrong; another `run` has other ids. */
export function sampleBodies(count: number, run: string): string[] {
  return [...sampleOrders({ count, invalidRate: 0.2, seed: 1, runId: run, asOf: AS_OF })].map(({ body }) => body);
}

/** Valid orders only, without poison. */
export function validBodies(count: number, run: string): string[] {
  return bodiesWithPoison(count, run, 0);
}

/** One in five is poison of some kind, one in 1,000 of up to 1 MiB. */
export function poisonedBodies(count: number, run: string): string[] {
  return bodiesWithPoison(count, run, 0.2);
}

function bodiesWithPoison(messages: number, run: string, poisoned: number): string[] {
  return poisonedTraffic({ run, messages, poisoned, hugeEvery: 200 }, new SeededRandom(1)).map(({ body }) => body);
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
