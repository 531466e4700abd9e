import { ChangeMessageVisibilityBatchCommand, DeleteMessageBatchCommand } from '@aws-sdk/client-sqs';
import type { SQL } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AppendResult } from '../../src/ledger/ledger-entry.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { judge } from '../../src/domain/validation/order-event.rules.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { sampleOrders } from '../../src/producer/sample-orders.rules.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { dumpOfGeneration, sumOver, type Dump } from '../support/dump.js';
import { eventually } from '../support/eventually.js';
import { anOrderEvent } from '../support/order-events.js';
import { shuffled } from '../support/shuffled.js';
import { MAX_CENTS } from '../../src/domain/money.js';

const REAL_ORDERS = join(__dirname, '../data/online-retail-2010-12-early.jsonl');

/** Real invoices, and sample orders of half a year of which half are wrong in every way we know. */
function allKindsOfOrders(): string[] {
  const real = readFileSync(REAL_ORDERS, 'utf8').trim().split('\n').slice(0, 100);
  const asOf = Date.parse('2026-01-31T12:00:00Z');
  const made = sampleOrders({ count: 200, invalidRate: 0.5, seed: 11, runId: 'thrice', asOf });
  return [...real, ...[...made].map(({ body }) => body)];
}

function judged(event: object): ValidatedMessage {
  const body = JSON.stringify(event);
  const now = Date.now();
  const message = { messageId: 'made-by-the-test', body, sentAt: now, receivedAt: now };
  return judge(message, { currency: 'USD', orderValueMismatch: 'correct', maxOrderCents: MAX_CENTS });
}

/** One order_id with two contents. */
function aConflict(index: number): { orderId: string; contents: [object, object] } {
  const orderId = `ORD-PAIR-${String(index).padStart(4, '0')}`;
  const content = (price: number): object =>
    anOrderEvent({
      order_id: orderId,
      order_value: 2 * price,
      items: [{ product_id: 'P1', quantity: 2, price_per_unit: price }],
    });
  return { orderId, contents: [content(5), content(7)] };
}

async function duplicatesCounted(service: RunningService): Promise<number> {
  const { body } = await service.get('/metrics');
  return Number(/^orders_processed_total\{outcome="duplicate"\} (\d+)$/m.exec(body as string)![1]);
}

async function conflictsShown(service: RunningService): Promise<{ order_id: string; outcome: string }[]> {
  const shown: { order_id: string; outcome: string }[] = [];
  let cursor = '';
  do {
    const { body } = await service.get(`/order-events?reason=conflicting_duplicate&limit=100${cursor}`);
    shown.push(...body.items);
    cursor = body.next_cursor === null ? '' : `&cursor=${body.next_cursor}`;
  } while (cursor !== '');
  return shown;
}

describe('every message three times, shuffled', () => {
  const orders = allKindsOfOrders();
  const thrice = shuffled([...orders, ...orders, ...orders], 20_101_201);
  let service: RunningService;
  let dump: Dump;
  let orderly: Dump;

  beforeAll(async () => {
    const inOrder = await RunningService.ready({ environment: { SQS_POLLERS: '1' } });
    try {
      await inOrder.send(...orders);
      await inOrder.settled();
      orderly = await dumpOfGeneration(inOrder);
    } finally {
      await inOrder.stop();
    }
    service = await RunningService.ready({ environment: { SQS_POLLERS: '8' } });
    await service.send(...thrice);
    await service.settled();
    dump = await dumpOfGeneration(service);
  });

  afterAll(() => service?.stop());

  it('is really shuffled', () => {
    expect(thrice).not.toEqual([...orders, ...orders, ...orders]);
    expect([...thrice].sort()).toEqual([...orders, ...orders, ...orders].sort());
  });

  it('leaves exactly what one ordered run leaves in another world', () => {
    expect(Object.keys(dump).length).toBeGreaterThan(500);
    expect(dump).toEqual(orderly);
  });

  it('stores one entry for each content and counts the rest as duplicates', async () => {
    const { body } = await service.get('/stats/global');
    expect(body.as_of.position).toBe(orders.length);
    expect(body.total_orders + body.failed_orders).toBe(orders.length);
    expect(await duplicatesCounted(service)).toBe(2 * orders.length);
  });

  it('has parts that add up to the totals', () => {
    const { values } = dump['global']!;
    const global = (field: string): number => Number(values[field]);
    expect(global('failed')).toBeGreaterThan(100);
    expect(global('failed_without_user')).toBeGreaterThan(40);
    expect(global('failed_without_month')).toBeGreaterThan(10);
    expect(global('corrected')).toBeGreaterThan(10);

    expect(sumOver(dump, 'user:', 'failed') + global('failed_without_user')).toBe(global('failed'));
    expect(sumOver(dump, 'month:', 'failed') + global('failed_without_month')).toBe(global('failed'));
    expect(sumOver(dump, 'day:', 'failed') + global('failed_without_month')).toBe(global('failed'));
    for (const field of ['orders', 'revenue']) {
      for (const part of ['user:', 'month:', 'day:', 'month-user:']) {
        expect({ part, field, sum: sumOver(dump, part, field) }).toEqual({ part, field, sum: global(field) });
      }
    }
    for (const ranking of ['users-by-spend', 'month-users:', 'products-by-revenue']) {
      expect({ ranking, sum: sumOver(dump, ranking) }).toEqual({ ranking, sum: global('revenue') });
    }
    expect(sumOver(dump, 'users-by-orders')).toBe(global('orders'));
  });
});

describe('an order that comes again', () => {
  const PAIRS = 300;
  const BATCH = 10;
  const OVER_SQS = 30;
  let world: World;
  let service: RunningService;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world, environment: { ORDER_VALUE_MISMATCH: 'reject' } });
  });

  afterAll(async () => {
    await service?.stop();
    await world.destroy();
  });

  describe('with other content', () => {
    it('is stored as failed and shown, also where both are sent at the same time', async () => {
      // Ledgers of their own, as of as many processes: one ledger puts what comes at the same time into one append.
      const [one, other] = [new Ledger(service.database), new Ledger(service.database)];
      const patienceMs = 30_000;
      const pairs = Array.from({ length: PAIRS }, (_, index) => aConflict(index));
      const outcomes: [AppendResult, AppendResult][] = [];
      for (let start = 0; start < PAIRS; start += BATCH) {
        const batch = pairs.slice(start, start + BATCH);
        const [first, second] = await Promise.all([
          one.append(
            batch.map(({ contents }) => judged(contents[0])),
            patienceMs,
          ),
          other.append(
            batch.map(({ contents }) => judged(contents[1])),
            patienceMs,
          ),
        ]);
        outcomes.push(...batch.map((_, i): [AppendResult, AppendResult] => [first[i]!, second[i]!]));
      }

      for (const pair of outcomes) {
        const found = pair.map((result) => (result.kind === 'stored' ? [result.outcome, ...result.reasons] : result));
        expect(found).toContainEqual(['accepted']);
        expect(found).toContainEqual(['failed', 'conflicting_duplicate']);
      }
      const positions = outcomes.flat().map((result) => (result.kind === 'stored' ? result.position : 0));
      expect(positions.sort((a, b) => a - b)).toEqual(Array.from({ length: 2 * PAIRS }, (_, index) => index + 1));

      const shown = await conflictsShown(service);
      expect(shown.every(({ outcome }) => outcome === 'failed')).toBe(true);
      expect(shown.map(({ order_id }) => order_id).sort()).toEqual(pairs.map(({ orderId }) => orderId));
      await service.settled();
      expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: PAIRS, failed_orders: PAIRS });
    });

    it('is stored as failed and shown where both come over SQS', async () => {
      const pairs = Array.from({ length: OVER_SQS }, (_, index) => aConflict(PAIRS + index));
      const before = (await service.get('/stats/global')).body;
      await Promise.all([
        service.send(...pairs.map(({ contents }) => contents[0])),
        service.send(...pairs.map(({ contents }) => contents[1])),
      ]);
      await service.settled();
      expect((await service.get('/stats/global')).body).toMatchObject({
        total_orders: before.total_orders + OVER_SQS,
        failed_orders: before.failed_orders + OVER_SQS,
      });
      for (const { orderId } of pairs) {
        const { body } = await service.get(`/order-events?order_id=${orderId}`);
        expect(body.items).toMatchObject([
          { outcome: 'failed', reasons: ['conflicting_duplicate'], order_value: null },
          { outcome: 'accepted', reasons: [] },
        ]);
      }
    });

    it('is a duplicate of the conflict when it comes again', async () => {
      const { contents } = aConflict(0);
      const before = (await service.get('/stats/global')).body.as_of.position;
      await service.send(...contents);
      await service.settled();
      expect((await service.get('/stats/global')).body.as_of.position).toBe(before);
    });
  });

  describe('with the same content', () => {
    it('is a duplicate of the first one and shown as that', async () => {
      const order = anOrderEvent({ user_id: 'U-AGAIN' });
      await service.send(order);
      await service.settled();
      const { body: first } = await service.get(`/order-events?order_id=${order.order_id}`);
      const before = await duplicatesCounted(service);

      // Cleaned and without the claim it says the same.
      await service.send(order, { ...order, order_id: ` ${order.order_id.toLowerCase()} `, order_value: '10.00' });
      await service.settled();
      expect(await duplicatesCounted(service)).toBe(before + 2);
      expect((await service.get(`/order-events?order_id=${order.order_id}`)).body).toEqual(first);
      expect((await service.get('/users/U-AGAIN/stats')).body).toMatchObject({ order_count: 1, total_spend: 10 });
      await eventually(async () => {
        const { body } = await service.get('/consumer_logs');
        const lines = (body.logs as { order_id: string; outcome: string; message: string }[]).filter(
          ({ order_id }) => order_id === order.order_id,
        );
        expect(lines.map(({ outcome }) => outcome)).toEqual(['accepted', 'duplicate', 'duplicate']);
        expect(lines[1]!.message).toContain(`duplicate of position ${first.items[0].position}`);
      });
    });

    it('is a duplicate also of a failed one', async () => {
      const order = anOrderEvent({ user_id: 'U-FAILS', items: [{ product_id: 'P1', quantity: 0, price_per_unit: 5 }] });
      await service.send(order, order, order);
      await service.settled();
      const { body } = await service.get(`/order-events?order_id=${order.order_id}`);
      expect(body.items).toHaveLength(1);
      expect((await service.get('/users/U-FAILS/stats')).body).toMatchObject({ order_count: 0, failed_order_count: 1 });
    });

    it('counts once if it was stored but not acknowledged', async () => {
      const before = await duplicatesCounted(service);
      const send = service.sqs.send.bind(service.sqs) as (...call: unknown[]) => Promise<unknown>;
      let acknowledgements = 0;
      const lossy = async (...call: unknown[]): Promise<unknown> => {
        const [command] = call;
        if (!(command instanceof DeleteMessageBatchCommand) || acknowledgements++ > 0) return send(...call);
        const { QueueUrl, Entries } = command.input;
        // It comes again at once, and not when the visibility timeout is over.
        const visible = Entries!.map((entry) => ({ ...entry, VisibilityTimeout: 0 }));
        await send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries: visible }));
        throw new Error('socket hang up');
      };
      const spy = jest.spyOn(service.sqs, 'send').mockImplementation(lossy as never);
      try {
        await service.send(anOrderEvent({ user_id: 'U-UNACKNOWLEDGED' }));
        await service.settled();
      } finally {
        spy.mockRestore();
      }
      expect(acknowledgements).toBe(2);
      expect(await duplicatesCounted(service)).toBe(before + 1);
      expect((await service.get('/users/U-UNACKNOWLEDGED/stats')).body).toMatchObject({ order_count: 1 });
      expect((await service.get('/order-events?user_id=U-UNACKNOWLEDGED')).body.items).toHaveLength(1);
    });

    it('counts once if the connection broke after it was stored', async () => {
      const query = service.database.query.bind(service.database);
      let appends = 0;
      const lossy = async (statement: SQL): Promise<never[]> => {
        const rows = await query<never>(statement);
        const isAppend = new PgDialect().sqlToQuery(statement).sql.includes('append_entries');
        if (isAppend && appends++ === 0) throw new DatabaseUnavailable('connection terminated');
        return rows;
      };
      const spy = jest.spyOn(service.database, 'query').mockImplementation(lossy);
      try {
        await service.send(anOrderEvent({ user_id: 'U-UNANSWERED' }));
        await service.settled();
      } finally {
        spy.mockRestore();
      }
      expect(appends).toBe(2);
      expect((await service.get('/users/U-UNANSWERED/stats')).body).toMatchObject({ order_count: 1 });
      expect((await service.get('/order-events?user_id=U-UNANSWERED')).body.items).toHaveLength(1);
    });

    it('counts if it failed by a rule that has changed since', async () => {
      const order = anOrderEvent({ user_id: 'U-MISMATCH', order_value: 99 });
      await service.send(order);
      await service.settled();
      expect((await service.get('/order-events?user_id=U-MISMATCH')).body.items).toMatchObject([
        { outcome: 'failed', reasons: ['order_value_mismatch'], order_value: null, claimed_value: 99 },
      ]);

      await service.stop();
      service = await RunningService.ready({ world });
      await service.send(order, order);
      await service.settled();
      expect((await service.get('/order-events?user_id=U-MISMATCH')).body.items).toMatchObject([
        { outcome: 'corrected', reasons: [], order_value: 10, claimed_value: 99 },
        { outcome: 'failed' },
      ]);
      expect((await service.get('/users/U-MISMATCH/stats')).body).toMatchObject({
        order_count: 1,
        total_spend: 10,
        failed_order_count: 1,
      });
    });
  });
});
