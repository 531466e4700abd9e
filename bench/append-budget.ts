import { Logger } from '@nestjs/common';
import { Ledger } from '../src/ledger/ledger.repository.js';
import { Database } from '../src/platform/database/database.js';
import { judge } from '../src/domain/validation/order-event.rules.js';
import { MAX_CENTS } from '../src/domain/money.js';
import type { ValidatedMessage } from '../src/domain/order-event.js';
import { type Measurement, type Reading, scaled } from './measurement.js';
import { ownParts } from './parts.js';

const APPENDS = 200;
const LINES = 10_000;
/** As many as may wait for one order. */
const REFUNDS = 1_000;
const SMALL_ORDERS = 240;
const TIMEOUT_MS = 10_000;
const POLICY = { currency: 'USD', orderValueMismatch: 'correct', maxOrderCents: MAX_CENTS } as const;

/** How long the ledger's head is locked at most, whatever orders come. */
export const APPEND_BUDGET: Measurement = {
  id: 'append-p99',
  what: 'appends of the largest orders, of orders that most refunds wait for, and of 240 small ones between them, p99',
  against: '1,000 ms',
  unit: 'ms',
  toReach: { withTimeout: 1_000 },
  ours: (scale) => appendTimes(scaled(APPENDS, scale)),
};

async function appendTimes(appends: number): Promise<Reading> {
  Logger.overrideLogger(['error']);
  const parts = await ownParts();
  const database = new Database(parts.databaseUrl, TIMEOUT_MS);
  try {
    await database.availability.start();
    const ledger = new Ledger(database);
    const times: number[] = [];
    for (let i = 0; i < appends; i++) {
      if (i % 4 === 0) await ledger.append(refunds(i), TIMEOUT_MS);
      const messages = [largeOrders, (n: number) => [refundedOrder(n - 1)], smallOrders, smallOrders][i % 4]!(i);
      const began = performance.now();
      await ledger.append(messages, TIMEOUT_MS);
      times.push(performance.now() - began);
      if (i % 4 === 3) while (await ledger.settleDueRefunds());
    }
    times.sort((one, other) => one - other);
    const quantile = (share: number): number => times[Math.ceil(times.length * share) - 1]!;
    return { value: quantile(0.99), facts: { medianMs: quantile(0.5), longestMs: quantile(1) } };
  } finally {
    await database.onApplicationShutdown();
    await parts.destroy();
  }
}

/** As many as one append takes: 8 MiB of bodies. */
function largeOrders(n: number): ValidatedMessage[] {
  const items = Array.from({ length: LINES }, (_, i) => ({ product_id: `P${i}`, quantity: 1, price_per_unit: 0.25 }));
  return Array.from({ length: 15 }, (_, i) => order(`LARGE-${n}-${i}`, items));
}

function smallOrders(n: number): ValidatedMessage[] {
  return Array.from({ length: SMALL_ORDERS }, (_, i) => order(`SMALL-${n}-${i}`));
}

function refundedOrder(n: number): ValidatedMessage {
  return order(`REFUNDED-${n}`);
}

function order(id: string, items = [{ product_id: 'P1', quantity: 1, price_per_unit: 100 }]): ValidatedMessage {
  return message({ order_id: `ORD-${id}`, user_id: 'U1', order_timestamp: '2026-01-31T12:00:00Z', items });
}

function refunds(n: number): ValidatedMessage[] {
  return Array.from({ length: REFUNDS }, (_, i) =>
    message({
      type: 'refund',
      refund_id: `R-${n}-${i}`,
      order_id: `ORD-REFUNDED-${n}`,
      amount: 0.01,
      refund_timestamp: '2026-01-31T13:00:00Z',
    }),
  );
}

function message(event: object): ValidatedMessage {
  const at = Date.UTC(2026, 1, 1);
  return judge({ messageId: 'bench', body: JSON.stringify(event), sentAt: at, receivedAt: at }, POLICY);
}
