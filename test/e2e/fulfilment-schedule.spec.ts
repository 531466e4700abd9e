import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Client } from 'pg';
import { FulfilmentSchedule } from '../../src/fulfilment/workflow/fulfilment-schedule.worker.js';
import { PaymentGateway, PaymentTimeout } from '../../src/fulfilment/payments/payment-gateway.js';
import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { aProduct, eventsOf, orderIs, placeOrder, QUICK, requestOrder, stockOf } from '../support/fulfilment.js';
import { Delays } from '../support/no-waiting.js';

/** Of the job that gives up orders whose reservation expired. */
const EXPIRY_LOCK = 4_711_011;

let service: RunningService;
let schedule: FulfilmentSchedule;
/** One that keeps a paid order back for longer than a test lasts. */
let patient: RunningService;

beforeAll(async () => {
  service = await RunningService.ready({ environment: QUICK });
  schedule = service.app.get(FulfilmentSchedule);
  await aProduct(service, { stock: { EAST: 1_000 } });
  patient = await RunningService.ready({ environment: { ...QUICK, SHIPMENT_DELAY_SECONDS: '900' } });
  await aProduct(patient);
}, 60_000);

afterAll(async () => {
  await patient.stop();
  await service.stop();
});

afterEach(() => jest.restoreAllMocks());

describe('What is done in time', () => {
  /** An order whose payment nobody can tell anything of, and whose reservation is over. */
  async function anExpiredOrder(): Promise<string> {
    const id = await placeOrder(service, { paymentMethod: 'TEST-LOST' });
    await orderIs(service, id, 'payment_unknown');
    await service.database.query(
      sql`update reservations set expires_at = now() - interval '1 second' where order_id = ${id}`,
    );
    return id;
  }

  it('gives up an order that was not paid while its stock was promised to it', async () => {
    const before = await stockOf(service);
    const id = await anExpiredOrder();
    await schedule.expireReservations();
    await orderIs(service, id, 'payment_failed');
    expect(await eventsOf(service, id)).toContain('payment.given_up');
    expect(await stockOf(service)).toEqual(before);
  });

  it('leaves an order alone that was paid', async () => {
    const id = await placeOrder(service);
    await orderIs(service, id, 'completed');
    await service.database.query(
      sql`update reservations set expires_at = now() - interval '1 second' where order_id = ${id}`,
    );
    const before = await eventsOf(service, id);
    await schedule.expireReservations();
    expect(await eventsOf(service, id)).toEqual(before);
  });

  it('is done by one process at a time', async () => {
    const other = new Client(service.config.databaseUrl);
    await other.connect();
    try {
      await other.query('begin');
      await other.query('select pg_advisory_xact_lock($1)', [EXPIRY_LOCK]);
      const id = await anExpiredOrder();
      await schedule.expireReservations();
      expect((await service.get(`/api/v1/orders/${id}`)).body.order_status).toBe('payment_unknown');
      await other.query('commit');
      await schedule.expireReservations();
      await orderIs(service, id, 'payment_failed');
    } finally {
      await other.end();
    }
  });

  it('asks again for a return of money whose message was lost', async () => {
    const gateway = service.app.get(PaymentGateway);
    const id = await placeOrder(service, { paymentMethod: 'TEST-LOST' });
    await orderIs(service, id, 'payment_unknown');
    const voiding = jest.spyOn(gateway, 'void').mockRejectedValue(new PaymentTimeout());
    const delays = new Delays(service.sqs);
    await service.call('POST', `/api/v1/orders/${id}/cancel`);
    await eventually(() => expect(voiding).toHaveBeenCalled());
    await eventually(async () => {
      expect(await eventsOf(service, id)).toContain('payment.return_failed');
    });
    await service.database.query(sql`delete from outbox where order_id = ${id}`);
    voiding.mockRestore();
    await service.database.query(
      sql`update payment_attempts set compensation_at = now() - interval '1 hour'
          where order_id = ${id} and compensation = 'due'`,
    );
    delays.areSkipped = true;
    await schedule.redriveReturns();
    await eventually(async () => {
      expect((await eventsOf(service, id)).at(-1)).toBe('payment.voided');
    });
    delays.areSkipped = false;
  });

  it('does not ask again for what is still waiting to be sent', async () => {
    const id = await placeOrder(service, { paymentMethod: 'TEST-LOST' });
    await orderIs(service, id, 'payment_unknown');
    await service.database.query(
      sql`insert into outbox (order_id, sequence, queue, body, claimed_until)
          values (${id}, 0, 'payment', 'held by a test', 'infinity')`,
    );
    await service.call('POST', `/api/v1/orders/${id}/cancel`);
    await service.database.query(
      sql`update payment_attempts set compensation_at = now() - interval '1 hour' where order_id = ${id}`,
    );
    const before = await eventsOf(service, id);
    await schedule.redriveReturns();
    expect(await eventsOf(service, id)).toEqual(before);
    await service.database.query(sql`delete from outbox where order_id = ${id} and body = 'held by a test'`);
    await eventually(async () => {
      expect((await eventsOf(service, id)).at(-1)).toBe('payment.voided');
    });
  });

  it('does not take a paid order for stuck that is kept back on purpose', async () => {
    const id = await placeOrder(patient);
    await orderIs(patient, id, 'paid');
    const sent = async (): Promise<unknown[]> =>
      patient.database.query(sql`select 1 from outbox where order_id = ${id}`);
    await eventually(async () => expect(await sent()).toEqual([]));
    const age = (seconds: number): Promise<unknown> =>
      patient.database.query(
        sql`update orders set active_at = now() - make_interval(secs => ${seconds}) where id = ${id}`,
      );
    await age(1_000);
    await patient.app.get(FulfilmentSchedule).redriveStuck();
    expect(await eventsOf(patient, id)).not.toContain('order.redriven');
    await age(1_200);
    await patient.app.get(FulfilmentSchedule).redriveStuck();
    expect(await eventsOf(patient, id)).toContain('order.redriven');
  });

  it('forgets answers and messages that are too old, and no others', async () => {
    await requestOrder(service, { key: 'to be kept' });
    await requestOrder(service, { key: 'to be forgotten' });
    await service.database.query(sql`update idempotency_keys set expires_at = now() where key = 'to be forgotten'`);
    await service.database.query(
      sql`insert into inbox (queue, message_id, at) values
            ('inventory', 'old', now() - interval '16 days'), ('inventory', 'young', now() - interval '14 days')`,
    );
    await schedule.forget();
    expect(await service.database.query(sql`select key from idempotency_keys where key like 'to be %'`)).toEqual([
      { key: 'to be kept' },
    ]);
    expect(
      await service.database.query(sql`select message_id from inbox where message_id in ('old', 'young')`),
    ).toEqual([{ message_id: 'young' }]);
  });

  it('deletes what the payment provider settled 90 days ago, and nothing that may be asked for again', async () => {
    const ages = sql`(values ('old', 91), ('young', 89)) age (name, days)`;
    await service.database.query(
      sql`insert into simulated_charges (key, order_id, amount_cents, currency, state)
          select kind || '-' || name, 'ORD-PURGED', 100, 'USD', 'captured'
          from ${ages}, (values ('refunded'), ('refused'), ('kept'), ('told'), ('given-up'), ('untold')) of (kind)`,
    );
    await service.database.query(
      sql`insert into simulated_refunds (key, charge_key, amount_cents, refunded_at)
          select kind || '-' || name, kind || '-' || name, 100, case when kind = 'refunded' then now() - make_interval(days => days) end
          from ${ages}, (values ('refunded'), ('refused')) of (kind)`,
    );
    await service.database.query(
      sql`insert into simulated_webhooks (charge_key, at, delivered_at, attempts, next_attempt_at)
          select kind || '-' || name, now() - make_interval(days => days), delivered_at, attempts, 'infinity'
          from ${ages}, (values ('refunded', null, 0), ('told', now(), 1), ('given-up', null, 10), ('untold', null, 9))
            of (kind, delivered_at, attempts)`,
    );
    await schedule.forget();
    const left = async (table: string, key = 'charge_key'): Promise<string[]> => {
      const rows = await service.database.query<{ key: string }>(
        sql.raw(`select ${key} as key from ${table} where ${key} ~ '-(old|young)$'`),
      );
      return rows.map((row) => row.key).sort();
    };
    const kept = (...kinds: string[]): string[] =>
      kinds.flatMap((kind) => (kind.endsWith('-young') ? [kind] : [`${kind}-old`, `${kind}-young`])).sort();
    expect(await left('simulated_charges', 'key')).toEqual(
      kept('refunded-young', 'refused', 'kept', 'told', 'given-up', 'untold'),
    );
    expect(await left('simulated_refunds')).toEqual(kept('refunded-young', 'refused'));
    expect(await left('simulated_webhooks')).toEqual(kept('refunded-young', 'told-young', 'given-up-young', 'untold'));
  });

  it('says which products are low, once until others are', async () => {
    const lines: string[] = [];
    jest.spyOn(Logger.prototype, 'warn').mockImplementation((line: string) => void lines.push(line));
    await aProduct(service, { sku: 'LOW-1', stock: { EAST: 3 } });
    await schedule.reportLowStock();
    await schedule.reportLowStock();
    expect(lines.filter((line) => line.includes('LOW-1'))).toEqual(['Low on stock: LOW-1 (3)']);
    await aProduct(service, { sku: 'LOW-2', stock: { EAST: 1 } });
    await schedule.reportLowStock();
    expect(lines.at(-1)).toBe('Low on stock: LOW-1 (3), LOW-2 (1)');
    const { body } = await service.get('/api/v1/inventory?low_stock=true');
    expect(body.items.map(({ sku }: { sku: string }) => sku)).toEqual(['LOW-1', 'LOW-2']);
  });
});

describe('Erasing a person', () => {
  /** An order to an address that no other test has. */
  const anOrder = (userId: string): { body: object } => ({
    body: { user_id: userId, shipping_address: `1 Street of ${userId}` },
  });

  it('takes the address out of their orders, wherever they are, and leaves what was bought', async () => {
    const id = await placeOrder(service, anOrder('U77'));
    await orderIs(service, id, 'completed');
    await service.settled();
    const before = (await service.get(`/api/v1/orders/${id}`)).body;
    const { status, body } = await service.call('DELETE', '/api/v1/users/U77/personal-data');
    expect(status).toBe(200);
    expect(body.erased ?? body).toMatchObject({ orders: 1, order_events: 1 });
    const after = (await service.get(`/api/v1/orders/${id}`)).body;
    expect(after).toEqual({ ...before, shipping_address: '[erased]', payment_method: '[erased]' });
    for (const table of ['orders', 'outbox', 'order_timeline', 'audit_log', 'idempotency_keys', 'ledger']) {
      const rows = await service.database.query(sql.raw(`select t::text from ${table} t`));
      expect([table, JSON.stringify(rows).includes('Street of U77')]).toEqual([table, false]);
    }
  });

  it('is refused while something is still to be sent to them, and erases nothing then', async () => {
    const id = await placeOrder(patient, anOrder('U79'));
    await orderIs(patient, id, 'paid');
    await patient.settled();
    const refused = await patient.call('DELETE', '/api/v1/users/U79/personal-data');
    expect([refused.status, refused.body.code]).toEqual([409, 'orders_under_way']);
    const stored = await patient.database.query(sql`select body from ledger`);
    expect(JSON.stringify(stored)).toContain('Street of U79');
    await patient.call('POST', `/api/v1/orders/${id}/cancel`);
    expect((await patient.call('DELETE', '/api/v1/users/U79/personal-data')).status).toBe(200);
  });

  it('finds their orders also before one of them counts', async () => {
    await aProduct(service, { sku: 'NONE-LEFT', stock: { EAST: 0 } });
    const id = await placeOrder(service, { ...anOrder('U78'), items: [{ sku: 'NONE-LEFT', quantity: 1 }] });
    await orderIs(service, id, 'failed_no_stock');
    expect((await service.call('DELETE', '/api/v1/users/U78/personal-data')).status).toBe(200);
    expect((await service.get(`/api/v1/orders/${id}`)).body.shipping_address).toBe('[erased]');
  });
});
