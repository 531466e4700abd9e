import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import type { AppendResult } from '../../src/ledger/ledger-entry.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { judge } from '../../src/domain/validation/order-event.rules.js';
import { Database } from '../../src/platform/database/database.js';
import { DeadLetterQueue } from '../../src/platform/queue/dead-letter-queue.js';
import { type ValidatedMessage, REPAIR_ATTRIBUTE } from '../../src/domain/order-event.js';
import { ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { dumpOfGeneration, sumOver } from '../support/dump.js';
import { eventually } from '../support/eventually.js';
import { expectExactFigures } from '../support/exact-figures.js';
import { anOrderEvent, type SentOrderEvent } from '../support/order-events.js';
import { aRefund, type SentRefund } from '../support/refunds.js';
import { aDatabase, emptyLedger, type OwnPart } from '../support/stores.js';
import { MAX_CENTS } from '../../src/domain/money.js';

type Json = Answer['body'];

const NO_HURRY = Number.MAX_SAFE_INTEGER;

async function sent(service: RunningService, ...bodies: (object | string)[]): Promise<void> {
  await service.send(...bodies);
  await service.settled();
}

/** The entries of an order and its refunds, oldest first. */
async function entriesOf(service: RunningService, { order_id }: { order_id: string }): Promise<Json[]> {
  const { status, body } = await service.get(`/order-events?limit=500&order_id=${order_id}`);
  expect(status).toBe(200);
  return body.items.reverse();
}

async function waiting(service: RunningService): Promise<Json> {
  const { status, body } = await service.get('/refunds/waiting?limit=500');
  expect(status).toBe(200);
  return body;
}

async function metric(service: RunningService, name: string): Promise<number> {
  const line = ((await service.get('/metrics')).body as string).split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line!.slice(name.length));
}

async function expectVerified(service: RunningService): Promise<void> {
  await expectExactFigures(service);
  expect((await service.get('/stats/verify')).body).toMatchObject({ verified: true, drift_cents: 0 });
}

async function rebuilt(service: RunningService, body = {}): Promise<void> {
  const { id } = (await service.call('POST', '/stats/rebuild', body)).body;
  await eventually(async () => {
    expect((await service.get(`/stats/rebuild/${id}`)).body).toMatchObject({ state: 'done' });
  }, 30_000);
}

function judged(event: object): ValidatedMessage {
  const now = Date.now();
  const message = { messageId: 'made-by-the-test', body: JSON.stringify(event), sentAt: now, receivedAt: now };
  return judge(message, { currency: 'USD', orderValueMismatch: 'correct', maxOrderCents: MAX_CENTS });
}

function inWords(result: AppendResult): string {
  if (result.kind === 'stored') return [result.position, result.outcome, ...result.reasons].join(' ');
  return 'position' in result ? `${result.kind} ${result.position}` : result.kind;
}

/** Fisher-Yates by a generator of its own, so that a failure comes again. */
function shuffled<T>(things: T[], seed: number): T[] {
  const deck = [...things];
  for (let left = deck.length, state = seed; left > 1; left--) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    const chosen = state % left;
    [deck[left - 1], deck[chosen]] = [deck[chosen]!, deck[left - 1]!];
  }
  return deck;
}

describe('a refund', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
  });
  afterAll(() => service.stop());

  it('lowers revenue and spend in its own month and day, and no count of orders', async () => {
    const order = anOrderEvent({ user_id: 'U10', order_timestamp: '2025-10-30T12:00:00Z' });
    await sent(service, order);
    const before = (await service.get('/stats/global')).body;
    const refund = aRefund({ order_id: order.order_id, amount: '4.50', refund_timestamp: '2025-11-02T08:00:00Z' });
    await sent(service, refund);

    const after = (await service.get('/stats/global')).body;
    const { as_of: _, average_order_value: __, ...counts } = before;
    expect(after).toMatchObject({ ...counts, total_revenue: before.total_revenue - 4.5 });
    expect((await service.get('/users/U10/stats')).body).toEqual({
      user_id: 'U10',
      order_count: 1,
      total_spend: 5.5,
      failed_order_count: 0,
      average_order_value: 5.5,
      last_order_at: '2025-10-30T12:00:00.000Z',
    });
    expect((await service.get('/stats/monthly?start=2025-10&end=2025-11')).body.months).toEqual([
      { month: '2025-10', total_orders: 1, total_revenue: 10, failed_orders: 0 },
      { month: '2025-11', total_orders: 0, total_revenue: -4.5, failed_orders: 0 },
    ]);
    expect((await service.get('/stats/daily?start=2025-11-02&end=2025-11-02')).body.days).toEqual([
      { day: '2025-11-02', total_orders: 0, total_revenue: -4.5, failed_orders: 0 },
    ]);
    expect((await service.get('/stats/monthly/2025-11')).body).toMatchObject({
      total_revenue: -4.5,
      user_stats: [{ user_id: 'U10', order_count: 0, total_spend: -4.5, failed_order_count: 0 }],
    });
    expect((await service.get('/users?limit=1')).body).toMatchObject({
      total_spend_ranking: [{ user_id: 'U10', total_spend: 5.5 }],
      total_order_count_ranking: [{ user_id: 'U10', total_order_count: 1 }],
    });
    expect((await service.get('/stats/products')).body.by_revenue).toEqual([
      { product_id: 'P1', quantity: 2, revenue: 10 },
    ]);
    await expectVerified(service);
  });

  it('is shown with its order in the lists of entries, as JSON and as a table', async () => {
    const order = anOrderEvent({ user_id: 'U11' });
    const refund = aRefund({ order_id: order.order_id, shop: 'north' });
    await sent(service, order, refund);
    const [counted, entry] = await entriesOf(service, order);
    expect(entry).toEqual({
      ...counted,
      position: entry.position,
      kind: 'refund',
      order_timestamp: null,
      claimed_value: 4,
      order_value: null,
      items: [],
      refund_id: refund.refund_id,
      refund_timestamp: '2026-02-03T09:30:00.000Z',
      amount: 4,
      ref_position: counted.position,
      message_id: entry.message_id,
      sent_at: entry.sent_at,
      received_at: entry.received_at,
      body: JSON.stringify(refund),
    });
    expect(counted).toMatchObject({ kind: 'order', refund_id: null, refund_timestamp: null, amount: null });
    expect((await service.get(`/order-events/${entry.position}`)).body).toEqual(entry);
    expect((await service.get('/order-events?kind=refund&limit=1')).body.items).toEqual([entry]);
    expect((await service.get('/users/U11/orders')).body.items).toEqual([entry, counted]);
    const { body: table } = await service.get('/order-events?kind=refund&limit=1', { accept: 'text/csv' });
    expect(table).toContain(`,${refund.refund_id},2026-02-03T09:30:00.000Z,4.00,`);
  });

  it('makes ranges of days add up, also such as have refunds only', async () => {
    const order = anOrderEvent({ user_id: 'U12', order_timestamp: '2025-05-31T12:00:00Z' });
    const refund = aRefund({ order_id: order.order_id, amount: 10, refund_timestamp: '2025-06-01T12:00:00Z' });
    await sent(service, order, refund);
    const june = 'start=2025-06-01&end=2025-06-30';
    expect((await service.get(`/users/U12/stats?${june}`)).body).toMatchObject({
      order_count: 0,
      total_spend: -10,
      average_order_value: 0,
      last_order_at: null,
    });
    expect((await service.get(`/users?${june}`)).body).toEqual({
      total_spend_ranking: [{ position: 1, user_id: 'U12', total_spend: -10 }],
      total_order_count_ranking: [],
    });
    expect((await service.get('/users?start=2025-05-01&end=2025-06-30')).body).toEqual({
      total_spend_ranking: [{ position: 1, user_id: 'U12', total_spend: 0 }],
      total_order_count_ranking: [{ position: 1, user_id: 'U12', total_order_count: 1 }],
    });
    expect((await service.get('/users/U12/stats')).body).toMatchObject({ order_count: 1, total_spend: 0 });
  });

  it('puts a month in pages below zero too', async () => {
    for (const [i, amount] of [3, 1, 2].entries()) {
      const order = anOrderEvent({ user_id: `U13${i}` });
      const refund_timestamp = '2025-07-01T12:00:00Z';
      await sent(service, order, aRefund({ order_id: order.order_id, amount, refund_timestamp }));
    }
    const users: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await service.get(`/stats/monthly/2025-07?limit=1${cursor && `&cursor=${cursor}`}`);
      users.push(...body.user_stats.map((each: Json) => `${each.user_id} ${each.total_spend}`));
      cursor = body.next_cursor;
    }
    expect(users).toEqual(['U131 -1', 'U132 -2', 'U130 -3']);
    expect((await service.get('/stats/monthly/2025-07', { accept: 'text/csv' })).body).toContain('U130,0,-3.00,0');
  });

  it('counts once, however often it comes', async () => {
    const order = anOrderEvent({ user_id: 'U14' });
    const refund = aRefund({ order_id: order.order_id });
    await sent(service, order, refund);
    const before = await metric(service, 'orders_processed_total{outcome="duplicate"}');
    const otherwiseWritten = {
      ...refund,
      refund_id: ` ${refund.refund_id.toLowerCase()}`,
      amount: '4.00',
      note: 'again',
    };
    await sent(service, refund, refund, otherwiseWritten, order);
    expect(await metric(service, 'orders_processed_total{outcome="duplicate"}')).toBe(before + 4);
    expect(await entriesOf(service, order)).toHaveLength(2);
    expect((await service.get('/users/U14/stats')).body).toMatchObject({ total_spend: 6 });
  });

  it('fails with other content under a refund_id that counts, also of another order', async () => {
    const [order, other] = [anOrderEvent({ user_id: 'U15' }), anOrderEvent({ user_id: 'U16' })];
    const refund = aRefund({ order_id: order.order_id });
    await sent(service, order, other, refund);
    const conflicts = [
      { ...refund, amount: 1 },
      { ...refund, order_id: other.order_id },
    ];
    await sent(service, ...conflicts, ...conflicts);
    expect((await entriesOf(service, order)).slice(2)).toMatchObject([
      { outcome: 'failed', reasons: ['conflicting_duplicate'], user_id: 'U15', claimed_value: 1, amount: null },
    ]);
    expect((await entriesOf(service, other)).slice(1)).toMatchObject([
      { outcome: 'failed', reasons: ['conflicting_duplicate'], user_id: 'U16' },
    ]);
    await expectVerified(service);
  });

  it('fails where the refunds of an order would exceed what it is worth, and a smaller one still counts', async () => {
    const order = anOrderEvent({ user_id: 'U17' });
    const of = (amount: number): SentRefund => aRefund({ order_id: order.order_id, amount });
    await sent(service, order);
    for (const amount of [10.01, 6, 4.01, 4, 0.01]) await sent(service, of(amount));
    expect((await entriesOf(service, order)).slice(1)).toMatchObject([
      { outcome: 'failed', reasons: ['refund_exceeds_order'], claimed_value: 10.01, amount: null },
      { outcome: 'accepted', amount: 6 },
      { outcome: 'failed', reasons: ['refund_exceeds_order'] },
      { outcome: 'accepted', amount: 4 },
      { outcome: 'failed', reasons: ['refund_exceeds_order'] },
    ]);
    expect((await service.get('/users/U17/stats')).body).toMatchObject({ total_spend: 0, failed_order_count: 3 });
    await expectVerified(service);
  });

  it('that is wrong by itself is a failed entry under no user, with every reason, and is not repaired', async () => {
    const order = anOrderEvent({ user_id: 'U18' });
    const wrong = aRefund({ order_id: order.order_id, amount: -1, refund_id: '' });
    await sent(service, order);
    const before = (await service.get('/stats/global')).body;
    await sent(service, wrong, wrong);
    const [, entry] = await entriesOf(service, order);
    expect(entry).toMatchObject({
      kind: 'refund',
      outcome: 'failed',
      reasons: ['missing_refund_id', 'non_positive_amount'],
      user_id: null,
      refund_timestamp: '2026-02-03T09:30:00.000Z',
    });
    expect((await service.get('/stats/global')).body).toMatchObject({
      total_revenue: before.total_revenue,
      failed_orders: before.failed_orders + 1,
    });
    expect((await service.get('/order-events?reason=missing_refund_id')).body.items).toEqual([entry]);
    expect((await service.get('/order-events?repaired=false&reason=missing_refund_id')).body.items).toEqual([]);
    expect(await service.call('POST', `/order-events/${entry.position}/retry`)).toMatchObject({
      status: 409,
      body: { code: 'not_failed' },
    });
    expect(
      (await service.call('POST', '/order-events/retry', { reason: 'missing_refund_id', dry_run: true })).body,
    ).toMatchObject({ matched: 0 });
    await expectVerified(service);
  });

  it('mends no failed order that it is put in the place of', async () => {
    const order = anOrderEvent({ user_id: 'U19' });
    await sent(service, order, '{"order_id": "ORD-CUT');
    const { position } = (await service.get('/order-events?reason=malformed_json')).body.items[0];
    const refund = aRefund({ order_id: order.order_id });
    const { body: repair } = await service.call('POST', `/order-events/${position}/retry`, { order: refund });
    await eventually(async () => {
      expect((await service.get(`/repairs/${repair.id}`)).body).toMatchObject({
        state: 'failed',
        reasons: ['not_an_order'],
      });
    });
    expect(await entriesOf(service, order)).toHaveLength(1);
  });

  it('is a refund like any other where it names a repair that nobody recorded', async () => {
    const order = anOrderEvent({ user_id: 'U20' });
    const refund = aRefund({ order_id: order.order_id });
    const send = (): Promise<unknown> =>
      service.sqs.send(
        new SendMessageCommand({
          QueueUrl: service.config.queue.name,
          MessageBody: JSON.stringify(refund),
          MessageAttributes: { [REPAIR_ATTRIBUTE]: { DataType: 'String', StringValue: randomUUID() } },
        }),
      );
    await send();
    await service.settled();
    expect((await waiting(service)).items[0]).toMatchObject({ refund_id: refund.refund_id });
    await sent(service, order);
    await send();
    await service.settled();
    expect((await entriesOf(service, order)).map(({ kind }) => kind)).toEqual(['order', 'refund']);
  });

  it('of an order from before a clear takes nothing back, and does again when the clear is undone', async () => {
    const order = anOrderEvent({ user_id: 'U21', order_timestamp: '2024-05-01T12:00:00Z' });
    await sent(service, order);
    await service.call('DELETE', '/clear_redis_db');
    const later = anOrderEvent({ user_id: 'U22', order_timestamp: '2024-05-01T12:00:00Z' });
    const refund_timestamp = '2024-06-01T12:00:00Z';
    await sent(
      service,
      later,
      aRefund({ order_id: order.order_id, refund_timestamp }),
      aRefund({ order_id: later.order_id, amount: 1, refund_timestamp }),
      aRefund({ order_id: order.order_id, amount: 11, refund_timestamp }),
    );
    expect((await service.get('/stats/global')).body).toMatchObject({
      total_orders: 1,
      total_revenue: 9,
      unique_users: 1,
      failed_orders: 1,
    });
    expect((await service.get('/users?start=2024-05-01&end=2024-06-30')).body.total_spend_ranking).toEqual([
      { position: 1, user_id: 'U22', total_spend: 9 },
    ]);
    await expectVerified(service);
    await rebuilt(service);
    await expectVerified(service);
    await rebuilt(service, { from_beginning: true });
    await expectVerified(service);
    expect((await service.get('/stats/monthly/2024-06')).body).toMatchObject({ total_revenue: -5, failed_orders: 1 });
    expect((await service.get('/users/U21/stats')).body).toMatchObject({ total_spend: 6, failed_order_count: 1 });
  });

  it('that was folded wrong is found by the verification', async () => {
    await expectVerified(service);
    const { generation } = await service.app.get(ProjectionStateRepository).read();
    const keys = service.redis.keys.generation(generation);
    await service.redis.client.hincrby(keys.month('2026-02'), 'revenue', 800);
    expect((await service.get('/stats/verify')).body).toMatchObject({
      verified: false,
      drift_cents: 800,
      mismatches: [{ key: 'month:2026-02', field: 'revenue' }],
    });
    await rebuilt(service);
    await expectVerified(service);
  });

  it('is reached by an erasure of its user’s personal data, whether it counted, failed or waits for a failed order', async () => {
    const [order, failing] = [anOrderEvent({ user_id: 'U7' }), anOrderEvent({ user_id: 'U7', items: [] })];
    const personal = { customer_name: 'Quetzalcoatl' };
    await sent(service, order, failing);
    await sent(
      service,
      aRefund({ order_id: order.order_id, ...personal }),
      aRefund({ order_id: order.order_id, amount: 'x', ...personal }),
      aRefund({ order_id: failing.order_id, ...personal }),
      aRefund({ order_id: failing.order_id }),
    );
    const figures = await dumpOfGeneration(service);
    const held = await waiting(service);
    expect(await service.call('DELETE', '/api/v1/users/U7/personal-data')).toMatchObject({
      status: 200,
      body: { erased: { order_events: 3, repairs: 0 } },
    });
    for (const table of ['ledger', 'early_refunds']) {
      const rows = await service.database.query<{ row: string }>(sql.raw(`select t::text as row from ${table} t`));
      expect(rows.filter(({ row }) => row.includes('Quetzalcoatl'))).toEqual([]);
    }
    expect(await dumpOfGeneration(service)).toEqual(figures);
    expect(await waiting(service)).toEqual(held);
    await sent(service, { ...failing, items: order.items });
    expect((await waiting(service)).total).toBe(held.total - 2);
    await expectVerified(service);
  });
});

describe('a refund before its order', () => {
  let world: World;
  let service: RunningService;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world });
  });
  afterAll(async () => {
    await service.stop();
    await world.destroy();
  });

  it('waits, seen and counted as nothing else, over a restart too, and counts with its order', async () => {
    const order = anOrderEvent({ user_id: 'U1', order_timestamp: '2025-10-30T12:00:00Z' });
    const refund = aRefund({ order_id: order.order_id, refund_timestamp: '2025-11-02T08:00:00Z', customer: 'kept' });
    await sent(service, refund, refund);
    const seen = {
      total: 1,
      items: [
        {
          refund_id: refund.refund_id,
          order_id: order.order_id,
          amount: 4,
          refund_timestamp: '2025-11-02T08:00:00.000Z',
          message_id: expect.any(String),
          sent_at: expect.any(String),
          received_at: expect.any(String),
        },
      ],
      next_cursor: null,
    };
    expect(await waiting(service)).toEqual(seen);
    expect(await metric(service, 'refunds_waiting')).toBe(1);
    expect(await metric(service, 'orders_processed_total{outcome="waiting"}')).toBe(1);
    expect(await metric(service, 'orders_processed_total{outcome="duplicate"}')).toBe(1);
    expect((await service.get('/order-events')).body.items).toEqual([]);
    expect((await service.get('/stats/global')).body).toMatchObject({ total_revenue: 0, failed_orders: 0 });
    expect(await service.app.get(DeadLetterQueue).count()).toBe(0);

    await service.stop();
    service = await RunningService.ready({ world });
    expect(await waiting(service)).toEqual(seen);
    await sent(service, refund);
    expect(await waiting(service)).toEqual(seen);

    await sent(service, order);
    expect(await waiting(service)).toEqual({ total: 0, items: [], next_cursor: null });
    expect(await metric(service, 'refunds_waiting')).toBe(0);
    expect(await entriesOf(service, order)).toMatchObject([
      { position: 1, kind: 'order' },
      {
        position: 2,
        kind: 'refund',
        outcome: 'accepted',
        user_id: 'U1',
        ref_position: 1,
        amount: 4,
        body: JSON.stringify(refund),
      },
    ]);
    expect((await service.get('/stats/monthly/2025-11')).body).toMatchObject({ total_orders: 0, total_revenue: -4 });
    await sent(service, refund, order);
    expect(await entriesOf(service, order)).toHaveLength(2);
    await expectVerified(service);
  });

  it('waits for an order that only failed, and counts when that is repaired', async () => {
    const failing = anOrderEvent({ user_id: 'U2', items: [] });
    const refund = aRefund({ order_id: failing.order_id });
    await sent(service, failing, refund);
    expect((await waiting(service)).items).toMatchObject([{ refund_id: refund.refund_id }]);
    const [failed] = await entriesOf(service, failing);
    const order = { ...failing, items: anOrderEvent().items };
    await service.call('POST', `/order-events/${failed.position}/retry`, { order });
    await eventually(async () => expect((await waiting(service)).total).toBe(0));
    await service.settled();
    expect((await entriesOf(service, failing)).map(({ kind, outcome }) => `${kind} ${outcome}`)).toEqual([
      'order failed',
      'order accepted',
      'refund accepted',
      'repair accepted',
    ]);
    expect((await service.get('/users/U2/stats')).body).toMatchObject({
      order_count: 1,
      total_spend: 6,
      failed_order_count: 0,
    });
    await expectVerified(service);
  });

  it('is settled as far as the order is worth it, in the order in which they came', async () => {
    const order = anOrderEvent({ user_id: 'U3' });
    const refunds = [6, 5, 4].map((amount) => aRefund({ order_id: order.order_id, amount }));
    for (const refund of refunds) await sent(service, refund);
    await sent(service, { ...refunds[0]!, amount: 1 });
    expect((await waiting(service)).items.map(({ amount }: Json) => amount)).toEqual([1, 4, 5, 6]);
    await sent(service, order);
    expect(
      (await entriesOf(service, order)).slice(1).map(({ claimed_value, reasons }) => [claimed_value, ...reasons]),
    ).toEqual([[6], [5, 'refund_exceeds_order'], [4], [1, 'conflicting_duplicate']]);
    await expectVerified(service);
  });

  it('does not hold its refund_id against the same one with the right order', async () => {
    const order = anOrderEvent({ user_id: 'U4' });
    const mistaken = aRefund({ order_id: `${order.order_id}X` });
    await sent(service, mistaken, order, { ...mistaken, order_id: order.order_id });
    expect((await entriesOf(service, order)).map(({ outcome }) => outcome)).toEqual(['accepted', 'accepted']);
    expect((await waiting(service)).items).toMatchObject([{ order_id: mistaken.order_id }]);
  });

  it('is listed in pages', async () => {
    const refunds = Array.from({ length: 5 }, (_, i) => aRefund({ order_id: `ORD-NEVER-${i}` }));
    for (const refund of refunds) await sent(service, refund);
    const found: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await service.get(`/refunds/waiting?limit=2${cursor && `&cursor=${cursor}`}`);
      found.push(...body.items.map(({ refund_id }: Json) => refund_id));
      cursor = body.next_cursor;
    }
    expect(found.slice(0, 5)).toEqual(refunds.map(({ refund_id }) => refund_id).reverse());
    expect(found).toHaveLength((await waiting(service)).total);
  });
});

describe('orders and refunds, three times and shuffled', () => {
  it('leave exactly what one ordered run leaves, nothing waiting, and parts that add up', async () => {
    const orders: SentOrderEvent[] = Array.from({ length: 60 }, (_, i) =>
      anOrderEvent({
        user_id: `U${i % 9}`,
        order_timestamp: `2026-0${1 + (i % 3)}-10T12:00:00Z`,
        ...(i % 11 === 5 && { items: [] }),
      }),
    );
    const refunds: object[] = orders.flatMap(({ order_id }, i) => [
      aRefund({ order_id, amount: 2.5, refund_timestamp: `2026-0${2 + (i % 4)}-03T00:00:00Z` }),
      ...(i % 4 === 0 ? [aRefund({ order_id, amount: '7.50' })] : []),
      ...(i % 5 === 0 ? [aRefund({ order_id, amount: 10.01 })] : []),
      ...(i % 6 === 0 ? [aRefund({ order_id, amount: 'x' }), aRefund({ order_id, refund_timestamp: 'then' })] : []),
    ]);
    const all = [...orders, ...refunds];

    const run = async (bodies: object[], pollers: string): Promise<{ dump: Json; held: string[] }> => {
      const service = await RunningService.ready({ environment: { SQS_POLLERS: pollers } });
      try {
        await sent(service, ...bodies);
        await expectVerified(service);
        const { items } = await waiting(service);
        return { dump: await dumpOfGeneration(service), held: items.map(({ refund_id }: Json) => refund_id).sort() };
      } finally {
        await service.stop();
      }
    };
    const orderly = await run(all, '1');
    const wild = await run(shuffled([...all, ...all, ...all], 7), '8');
    expect(wild).toEqual(orderly);
    expect(orderly.held.length).toBeGreaterThan(5); // of the orders that failed

    const { dump } = orderly;
    const global = (field: string): number => Number(dump['global'].values[field]);
    for (const part of ['user:', 'month:', 'day:', 'month-user:']) {
      for (const field of ['orders', 'revenue']) expect(sumOver(dump, part, field)).toBe(global(field));
    }
    for (const ranking of ['users-by-spend', 'month-users:']) expect(sumOver(dump, ranking)).toBe(global('revenue'));
    expect(sumOver(dump, 'user:', 'failed') + global('failed_without_user')).toBe(global('failed'));
    expect(sumOver(dump, 'month:', 'failed') + global('failed_without_month')).toBe(global('failed'));
  }, 120_000);
});

describe('in the ledger', () => {
  let store: OwnPart<Database> & { url: string };
  let ledger: Ledger;

  beforeAll(async () => {
    store = await aDatabase();
    ledger = new Ledger(store.part);
  });
  beforeEach(() => emptyLedger(store.part));
  afterAll(() => store.destroy());

  it('orders go first in an append, and every message is answered in its place', async () => {
    const order = anOrderEvent();
    const refund = aRefund({ order_id: order.order_id });
    const late = aRefund({ order_id: 'ORD-LATE' });
    const append = async (...events: object[]): Promise<string[]> =>
      (await ledger.append(events.map(judged), NO_HURRY)).map(inWords);
    expect(await append(refund, late, order, refund, anOrderEvent(), { ...refund, amount: 'x' }, late)).toEqual([
      '3 accepted',
      'waiting',
      '1 accepted',
      'duplicate 3',
      '2 accepted',
      '4 failed invalid_amount conflicting_duplicate',
      'duplicate null',
    ]);
    expect(await append(anOrderEvent({ order_id: 'ORD-LATE' }), late)).toEqual(['5 accepted', 'duplicate 6']);
    expect((await ledger.head()).position).toBe(6);
  });

  it('one that is dated more than a year before its order fails', async () => {
    const order = anOrderEvent({ order_timestamp: '2026-01-15T12:00:00Z' });
    const dated = (refund_timestamp: string): ValidatedMessage =>
      judged(aRefund({ order_id: order.order_id, amount: 1, refund_timestamp }));
    const early = dated('2000-01-01T00:00:00Z');
    const refunds = [dated('2025-01-14T11:59:59Z'), dated('2025-01-14T12:00:00Z')];
    expect((await ledger.append([early], NO_HURRY)).map(inWords)).toEqual(['waiting']);
    expect((await ledger.append([judged(order), ...refunds], NO_HURRY)).map(inWords)).toEqual([
      '1 accepted',
      '3 failed refund_before_order',
      '4 accepted',
    ]);
    expect((await ledger.append([early], NO_HURRY)).map(inWords)).toEqual(['duplicate 2']);
  });

  it('a content that failed by its time, and waits since, is not stored twice where it then fails for its amount', async () => {
    const order = anOrderEvent();
    const refund = aRefund({ order_id: order.order_id, amount: 11 });
    const now = Date.parse(refund.refund_timestamp);
    const policy = { currency: 'USD', orderValueMismatch: 'correct' as const, maxOrderCents: MAX_CENTS };
    const at = (sentAt: number): ValidatedMessage =>
      judge({ messageId: 'm', body: JSON.stringify(refund), sentAt, receivedAt: sentAt }, policy);
    const results = await ledger.append([at(now - 3_600_000), at(now), judged(order)], NO_HURRY);
    expect(results.map(inWords)).toEqual(['2 failed refund_timestamp_in_future', 'duplicate 2', '1 accepted']);
    const other = anOrderEvent();
    const early = { ...refund, order_id: other.order_id };
    const judgedAt = (sentAt: number): ValidatedMessage =>
      judge({ messageId: 'm', body: JSON.stringify(early), sentAt, receivedAt: sentAt }, policy);
    const before = await ledger.append([judgedAt(now - 3_600_000), judgedAt(now)], NO_HURRY);
    expect(before.map(inWords)).toEqual(['3 failed refund_timestamp_in_future', 'waiting']);
    expect((await ledger.append([judged(other), judgedAt(now)], NO_HURRY)).map(inWords)).toEqual([
      '4 accepted',
      'duplicate 3',
    ]);
    expect((await ledger.head()).position).toBe(4);
  });

  it('refunds of one order that race over many connections never exceed it, nor do its positions have gaps', async () => {
    const { part, url } = store;
    const databases = Array.from({ length: 6 }, () => new Database(url, 10_000));
    try {
      await Promise.all(databases.map((each) => each.availability.start()));
      const ledgers = [part, ...databases].map((each) => new Ledger(each));
      const orders = Array.from({ length: 40 }, () => anOrderEvent());
      // Half of the orders come amid their refunds: 14 refunds of 3.00 for an order of 10.00, of each.
      await ledgers[0]!.append(orders.slice(0, 20).map(judged), NO_HURRY);
      for (let start = 0; start < orders.length; start += 4) {
        const some = orders.slice(start, start + 4);
        const rounds = ledgers.flatMap((ledger, i) => {
          const refunds = some.map(({ order_id }) => judged(aRefund({ order_id, amount: 3 })));
          const again = some.map(({ order_id }) => judged(aRefund({ order_id, amount: 3 })));
          return [
            ledger.append(refunds, NO_HURRY),
            ...(i === 3 ? [ledger.append(some.map(judged), NO_HURRY)] : []),
            ledger.append(again.reverse(), NO_HURRY),
          ];
        });
        await Promise.all(rounds);
      }
      const sums = await part.query<{ cents: number; failed: number }>(
        sql`select coalesce(sum(value_cents), 0)::bigint as cents, count(*) filter (where outcome = 'failed') as failed
            from ledger where kind = 'refund' group by order_id`,
      );
      expect(sums).toEqual(orders.map(() => ({ cents: 900, failed: 11 })));
      const [all] = await part.query<{ count: number; last: number; waiting: number; kept: number }>(
        sql`select count(*) as count, max(position) as last, (select count(*) from early_refunds) as waiting,
              (select sum(refunded_cents)::bigint from refunded_orders) as kept
            from ledger`,
      );
      expect(all).toEqual({ count: 40 * 15, last: 40 * 15, waiting: 0, kept: 40 * 900 });
    } finally {
      await Promise.all(databases.map((each) => each.onApplicationShutdown()));
    }
  });
});
