import { sql } from 'drizzle-orm';
import { FulfilmentSchedule } from '../../src/fulfilment/workflow/fulfilment-schedule.worker.js';
import { PaymentGateway, PaymentProviderUnavailable } from '../../src/fulfilment/payments/payment-gateway.js';
import { PaymentNotices } from '../../src/fulfilment/payments/payment-notices.js';
import { Shipments } from '../../src/fulfilment/shipments/shipments.service.js';
import { SimulatedWebhooks } from '../../src/fulfilment/payments/simulated-webhooks.worker.js';
import { cents } from '../../src/domain/money.js';
import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { aProduct, eventsOf, orderIs, placeOrder, QUICK, stockOf } from '../support/fulfilment.js';
import { Delays } from '../support/no-waiting.js';
import { ProcessClock } from '../support/process-clock.js';

interface Attempt {
  id: string;
  number: number;
  state: string;
  compensation: string;
  tries: number;
  refunded: boolean;
}

/** Of one A123. */
const PRICE = cents(1_250);

let service: RunningService;
let delays: Delays;

beforeAll(async () => {
  service = await RunningService.ready({ environment: QUICK });
  delays = new Delays(service.sqs);
  await aProduct(service, { stock: { EAST: 1_000 } });
}, 60_000);

afterAll(() => service.stop());

afterEach(() => {
  jest.restoreAllMocks();
  delays.areSkipped = false;
});

function attemptsOf(orderId: string): Promise<Attempt[]> {
  return service.database.query(
    sql`select id::text as id, number, state, compensation, compensation_tries as tries, refunded_at is not null as refunded
        from payment_attempts where order_id = ${orderId} order by payment_attempts.number`,
  );
}

/** What the provider's own books say of an order, in cents. */
async function booked(orderId: string): Promise<{ captured: number; refunded: number }> {
  const [books] = await service.database.query<{ captured: number; refunded: number }>(
    sql`select coalesce(sum(amount_cents) filter (where state = 'captured'), 0)::float8 as captured,
          coalesce(sum(refunded), 0)::float8 as refunded
        from simulated_charges
          left join lateral (
            select sum(amount_cents) as refunded from simulated_refunds where charge_key = simulated_charges.key
          ) refund on true
        where order_id = ${orderId}`,
  );
  return books!;
}

/** Has orders wait where they are once they are paid. */
function holdShipments(): void {
  jest.spyOn(service.app.get(Shipments), 'ship').mockRejectedValue(new Error('held by a test'));
}

function undone(orderId: string, state: string): Promise<Attempt[]> {
  return eventually(async () => {
    const attempts = await attemptsOf(orderId);
    for (const { compensation } of attempts) if (compensation !== state) throw new Error(`A charge is ${compensation}`);
    return attempts;
  }, 30_000);
}

function cancel(id: string): ReturnType<RunningService['call']> {
  return service.call('POST', `/api/v1/orders/${id}/cancel`);
}

describe('A payment', () => {
  it.each(['TEST-TIMEOUT-BEFORE', 'TEST-TIMEOUT-AFTER'])(
    'that times out is asked about, and taken once (%s)',
    async (paymentMethod) => {
      delays.areSkipped = true;
      const id = await placeOrder(service, { paymentMethod });
      await orderIs(service, id, 'completed');
      expect(await eventsOf(service, id)).toEqual(
        expect.arrayContaining(['payment.attempted', 'payment.timed_out', 'payment.captured']),
      );
      expect(await booked(id)).toEqual({ captured: 1_250, refunded: 0 });
      expect(await attemptsOf(id)).toHaveLength(1);
    },
  );

  it('that a webhook tells of is taken once, however often it tells', async () => {
    const id = await placeOrder(service, { paymentMethod: 'TEST-LATE-WEBHOOK' });
    await orderIs(service, id, 'payment_unknown');
    await service.database.query(sql`update simulated_charges set capture_at = now() where order_id = ${id}`);
    await service.app.get(SimulatedWebhooks).sweep();
    await orderIs(service, id, 'completed');
    const [attempt] = await attemptsOf(id);
    const before = await eventsOf(service, id);
    const notice = { key: attempt!.id, orderId: id, amount: PRICE, result: { outcome: 'captured' as const } };
    for (const webhookId of ['again', 'again', 'and again']) {
      await service.app.get(PaymentNotices).told({ webhookId, ...notice });
    }
    expect(await eventsOf(service, id)).toEqual(before);
    expect(await booked(id)).toEqual({ captured: 1_250, refunded: 0 });
  });

  it('of a charge that nobody made changes nothing', async () => {
    const notices = service.app.get(PaymentNotices);
    const result = { outcome: 'captured' as const };
    const about = { orderId: 'ORD-0000000000000000', amount: PRICE, result };
    await notices.told({ webhookId: 'w1', key: 'no uuid', ...about });
    await notices.told({ webhookId: 'w2', key: '00000000-0000-4000-8000-000000000000', ...about });
  });

  it('whose answer was lost is asked for under the same key, also where the provider takes nothing on then', async () => {
    delays.areSkipped = true;
    const gateway = service.app.get(PaymentGateway);
    const charge = gateway.charge.bind(gateway);
    jest
      .spyOn(gateway, 'charge')
      .mockImplementationOnce(async (given) => {
        await charge(given);
        throw new Error('the process ends here');
      })
      .mockRejectedValueOnce(new PaymentProviderUnavailable());
    const id = await placeOrder(service);
    await orderIs(service, id, 'completed');
    expect(await attemptsOf(id)).toHaveLength(1);
    expect(await booked(id)).toEqual({ captured: 1_250, refunded: 0 });
  });

  it('that the provider tells of with another amount or order moves nothing, and is listed', async () => {
    const id = await placeOrder(service, { paymentMethod: 'TEST-LOST' });
    await orderIs(service, id, 'payment_unknown');
    const [attempt] = await attemptsOf(id);
    const result = { outcome: 'captured' as const };
    const notices = service.app.get(PaymentNotices);
    await notices.told({ webhookId: 'cheap', key: attempt!.id, orderId: id, amount: cents(1), result });
    const other = 'ORD-0000000000000000';
    await notices.told({ webhookId: 'other', key: attempt!.id, orderId: other, amount: PRICE, result });
    await orderIs(service, id, 'payment_unknown');
    const { body } = await service.get('/api/v1/system/failed-jobs?state=open&limit=500');
    const jobs = body.items.filter(({ order_id }: { order_id: string }) => order_id === id);
    expect(jobs).toEqual([expect.objectContaining({ reference: attempt!.id, order_status: 'payment_unknown' })]);
    await notices.told({ webhookId: 'right', key: attempt!.id, orderId: id, amount: PRICE, result });
    await orderIs(service, id, 'completed');
  });

  it('that the provider does not take on is tried again under another key', async () => {
    delays.areSkipped = true;
    const id = await placeOrder(service, { paymentMethod: 'TEST-UNAVAILABLE' });
    await orderIs(service, id, 'completed');
    const attempts = await attemptsOf(id);
    expect(attempts.map(({ state }) => state).at(-1)).toBe('captured');
    expect(attempts.length).toBeGreaterThan(1);
    expect(await booked(id)).toEqual({ captured: 1_250, refunded: 0 });
    await eventually(async () => {
      const open = (await attemptsOf(id)).filter(({ state }) => state === 'unavailable');
      expect(open).toEqual([]);
    });
  });

  it('that nobody can tell anything of is given up with its reservation, and never taken after', async () => {
    const before = await stockOf(service);
    const id = await placeOrder(service, { paymentMethod: 'TEST-LOST' });
    await orderIs(service, id, 'payment_unknown');
    expect((await stockOf(service)).reserved).toBe(before.reserved + 1);
    await service.database.query(
      sql`update reservations set expires_at = now() - interval '1 second' where order_id = ${id}`,
    );
    await service.app.get(FulfilmentSchedule).expireReservations();
    await orderIs(service, id, 'payment_failed');
    const [attempt] = await undone(id, 'done');
    expect(attempt).toMatchObject({ state: 'voided', refunded: false });
    expect(await service.app.get(PaymentGateway).find(attempt!.id)).toBe('declined');
    expect(await booked(id)).toEqual({ captured: 0, refunded: 0 });
    expect((await stockOf(service)).reserved).toBe(before.reserved);
  });

  it('that comes after the order was given up goes back', async () => {
    const id = await placeOrder(service, { paymentMethod: 'TEST-LATE-WEBHOOK' });
    await orderIs(service, id, 'payment_unknown');
    const gateway = service.app.get(PaymentGateway);
    // The provider has captured, but the answer to the question whether it may still be voided is lost.
    const [attempt] = await attemptsOf(id);
    await cancel(id);
    await undone(id, 'done');
    await orderIs(service, id, 'cancelled');
    const { captured, refunded } = await booked(id);
    expect(captured).toBe(refunded);
    expect(['captured', 'declined']).toContain(await gateway.find(attempt!.id));
  });
});

describe('Cancelling', () => {
  it('a paid order gives its money and its stock back, and takes it out of the statistics', async () => {
    holdShipments();
    const before = await stockOf(service);
    const { total_revenue: revenue } = (await service.get('/stats/global')).body;
    const id = await placeOrder(service);
    await orderIs(service, id, 'paid');
    const { status, body } = await cancel(id);
    expect([status, body.order_status]).toEqual([200, 'cancelled']);
    expect(await stockOf(service)).toEqual(before);
    const [attempt] = await undone(id, 'done');
    expect(attempt).toMatchObject({ state: 'captured', refunded: true });
    expect(await booked(id)).toEqual({ captured: 1_250, refunded: 1_250 });
    await eventually(async () => {
      const { body: list } = await service.get(`/users/U-OPERATOR/orders?limit=100`);
      const kinds = list.items
        .filter(({ order_id }: { order_id: string }) => order_id === id)
        .map(({ kind }: { kind: string }) => kind);
      expect(kinds.sort()).toEqual(['order', 'refund']);
    });
    await service.settled();
    expect((await service.get('/stats/global')).body.total_revenue).toBe(revenue);
    expect((await service.get('/stats/verify')).body.verified).toBe(true);
    expect((await cancel(id)).status).toBe(200);
    expect((await eventsOf(service, id)).filter((event) => event === 'order.cancelled')).toHaveLength(1);
  });

  it('while the provider is being asked leaves nothing charged', async () => {
    const gateway = service.app.get(PaymentGateway);
    const charge = gateway.charge.bind(gateway);
    let asked: () => void = () => undefined;
    const isAsked = new Promise<void>((resolve) => (asked = resolve));
    let answer: () => void = () => undefined;
    const mayAnswer = new Promise<void>((resolve) => (answer = resolve));
    jest.spyOn(gateway, 'charge').mockImplementationOnce(async (given) => {
      asked();
      const result = await charge(given);
      await mayAnswer;
      return result;
    });
    const id = await placeOrder(service);
    await isAsked;
    expect((await cancel(id)).body.order_status).toBe('cancelled');
    answer();
    await undone(id, 'done');
    const { captured, refunded } = await booked(id);
    expect([captured, refunded]).toEqual([1_250, 1_250]);
    await orderIs(service, id, 'cancelled');
    // It was never counted, so there is nothing to take back.
    const { body } = await service.get('/users/U-OPERATOR/orders?limit=500');
    expect(body.items.filter(({ order_id }: { order_id: string }) => order_id === id)).toEqual([]);
  });
});

describe('Events of an order', () => {
  const AHEAD_MS = 600_000;

  /** Of the orders that are placed from now on. */
  async function setDatabaseClock(ahead: number): Promise<void> {
    await service.database.query(
      sql.raw(`alter table orders alter placed_at set default clock_timestamp() + interval '${ahead} ms'`),
    );
  }

  it.each([
    ['the database', AHEAD_MS, 0],
    ['the process', 0, AHEAD_MS],
    ['both', AHEAD_MS, AHEAD_MS],
  ])('count although the clock of %s is ahead of the queue’s', async (_, ofDatabase, ofProcess) => {
    holdShipments();
    const clock = new ProcessClock();
    try {
      clock.set(ofProcess);
      await setDatabaseClock(ofDatabase);
      const id = await placeOrder(service);
      await orderIs(service, id, 'paid');
      await cancel(id);
      await undone(id, 'done');
      await eventually(async () => {
        const { body } = await service.get('/order-events?limit=2');
        expect(body.items).toMatchObject([
          { kind: 'refund', outcome: 'accepted', order_id: id },
          { kind: 'order', outcome: 'accepted', order_id: id },
        ]);
      });
    } finally {
      clock.restore();
      await setDatabaseClock(0);
    }
  });

  it('carry the time of placing where no clock is ahead', async () => {
    const id = await placeOrder(service);
    const { placed_at } = await orderIs(service, id, 'completed');
    await service.settled();
    const { body } = await service.get('/order-events?limit=1');
    expect(JSON.parse(body.items[0].body)).toMatchObject({ order_id: id, order_timestamp: placed_at });
  });
});

describe('A payment that can’t be given back', () => {
  async function cancelledUnrefundable(): Promise<string> {
    holdShipments();
    jest.spyOn(service.app.get(PaymentGateway), 'refund').mockRejectedValue(new PaymentProviderUnavailable());
    const id = await placeOrder(service);
    await orderIs(service, id, 'paid');
    delays.areSkipped = true;
    await cancel(id);
    await undone(id, 'failed');
    return id;
  }

  async function openJobOf(id: string): Promise<{ id: number; [field: string]: unknown }> {
    const { body } = await service.get('/api/v1/system/failed-jobs?state=open&limit=500');
    return body.items.find(({ order_id }: { order_id: string }) => order_id === id);
  }

  it('is listed, and succeeds when it is tried again', async () => {
    const id = await cancelledUnrefundable();
    const job = await openJobOf(id);
    expect(job).toMatchObject({ job: 'return-payment', order_status: 'cancelled', state: 'open', seen_to_by: null });
    expect(job.error).toContain('takes no requests right now');
    jest.restoreAllMocks();
    const { status, body } = await service.call('POST', `/api/v1/system/failed-jobs/${job.id}/retry`);
    expect([status, body.state, body.seen_to_by]).toEqual([200, 'retried', 'local-operator']);
    await undone(id, 'done');
    expect(await booked(id)).toEqual({ captured: 1_250, refunded: 1_250 });
    expect(await openJobOf(id)).toBeUndefined();
    const again = await service.call('POST', `/api/v1/system/failed-jobs/${job.id}/retry`);
    expect([again.status, again.body.code]).toEqual([409, 'job_seen_to']);
  });

  it('is off the list once somebody has seen to it by hand', async () => {
    const id = await cancelledUnrefundable();
    const job = await openJobOf(id);
    const resolve = (body: object): ReturnType<RunningService['call']> =>
      service.call('POST', `/api/v1/system/failed-jobs/${job.id}/resolve`, body);
    expect((await resolve({})).status).toBe(400);
    const { status, body } = await resolve({ note: 'Paid back by bank transfer' });
    expect([status, body.state, body.note]).toEqual([200, 'resolved', 'Paid back by bank transfer']);
    expect(await openJobOf(id)).toBeUndefined();
    // What was given back by hand counts as given back.
    await eventually(async () => {
      const { body: list } = await service.get(`/users/U-OPERATOR/orders?limit=500`);
      const refunds = list.items.filter(
        (item: Record<string, unknown>) => item.order_id === id && item.kind === 'refund',
      );
      expect(refunds).toHaveLength(1);
    });
    expect((await resolve({ note: 'again' })).status).toBe(409);
    expect((await service.call('POST', '/api/v1/system/failed-jobs/999999/resolve', { note: 'x' })).status).toBe(404);
  });
});

describe('An order that nothing comes of', () => {
  it('is asked for again, and listed in the end', async () => {
    holdShipments();
    const id = await placeOrder(service);
    await orderIs(service, id, 'paid');
    const schedule = service.app.get(FulfilmentSchedule);
    for (let time = 1; time <= 6; time++) {
      await eventually(async () => {
        const waiting = await service.database.query(sql`select 1 from outbox where order_id = ${id}`);
        expect(waiting).toEqual([]);
      });
      await service.database.query(sql`update orders set active_at = now() - interval '1 hour' where id = ${id}`);
      await schedule.redriveStuck();
    }
    const events = await eventsOf(service, id);
    expect(events.filter((event) => event === 'order.redriven')).toHaveLength(5);
    expect(events.at(-1)).toBe('job.failed');
    const { body } = await service.get('/api/v1/system/failed-jobs?state=open');
    const job = body.items.find(({ order_id }: { order_id: string }) => order_id === id);
    expect(job).toMatchObject({ job: 'step', order_status: 'paid', reference: null });
    const listed = async (): Promise<string> => {
      const { body: all } = await service.get('/api/v1/system/failed-jobs?limit=500');
      return all.items.find(({ id: number }: { id: number }) => number === job.id).state;
    };
    expect(await listed()).toBe('open');
    await service.database.query(sql`update orders set active_at = now() - interval '1 hour' where id = ${id}`);
    await schedule.redriveStuck();
    expect(await eventsOf(service, id)).toEqual(events);
    jest.restoreAllMocks();
    await service.call('POST', `/api/v1/system/failed-jobs/${job.id}/retry`);
    await orderIs(service, id, 'completed');
  });

  it('is off the list once it goes on by itself', async () => {
    const id = await placeOrder(service, { paymentMethod: 'TEST-LOST' });
    await orderIs(service, id, 'payment_unknown');
    await service.database.query(
      sql`insert into failed_jobs (order_id, job, error) values (${id}, 'step', 'made by a test')`,
    );
    await cancel(id);
    const { body } = await service.get('/api/v1/system/failed-jobs?limit=500');
    const job = body.items.find(({ order_id }: { order_id: string }) => order_id === id);
    expect(job).toMatchObject({ state: 'resolved', note: 'The order went on by itself' });
  });
});
