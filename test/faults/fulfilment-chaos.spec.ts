import {
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { sql, type SQL } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { PaymentGateway } from '../../src/fulfilment/payments/payment-gateway.js';
import { Outbox } from '../../src/fulfilment/messaging/outbox.repository.js';
import { Payments } from '../../src/fulfilment/payments/payments.service.js';
import { fulfilReservation } from '../../src/fulfilment/inventory/reservations.repository.js';
import { Shipments } from '../../src/fulfilment/shipments/shipments.service.js';
import { Database, type Executor } from '../../src/platform/database/database.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor } from '../support/fault-scale.js';
import { aProduct, orderIs, placeOrder, QUICK } from '../support/fulfilment.js';
import { type FulfilmentFault, fulfilmentFaults, paidOrders } from '../support/fulfilment-faults.js';
import { ServiceProcess } from '../support/process.js';
import type { SeededRandom } from '../support/seeded-random.js';

jest.mock('../../src/fulfilment/inventory/reservations.repository.js', () => {
  const reservations = jest.requireActual<Record<string, unknown>>(
    '../../src/fulfilment/inventory/reservations.repository.js',
  );
  return { ...reservations, fulfilReservation: jest.fn(reservations.fulfilReservation as typeof fulfilReservation) };
});

const ORDERS = atScale(200, 3_000);
const LANES = 16;
const SERVICES = 2;
/** So often a service is killed. */
const KILLS = atScale(1, 12);
const PRODUCTS = 50;
/** Who cancels does so before so many more orders came in. */
const MAX_ORDERS_UNTIL_CANCELLED = ORDERS / 5;
/** An order whose step got lost is taken up again after three minutes. */
const SETTLES_WITHOUT_PROGRESS_MS = 240_000;
const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };
const UNDER_WAY = ['pending', 'reserved', 'payment_unknown', 'paid'];

/** Shares of a hundred. What takes the provider long is seldom. */
const PAYMENT_METHODS = Object.entries({
  CARD: 60,
  'TEST-REFUND-FLAKY': 14,
  'TEST-DECLINE': 10,
  'TEST-TIMEOUT-AFTER': 7,
  'TEST-TIMEOUT-BEFORE': 3,
  'TEST-LATE-WEBHOOK': 3,
  'TEST-UNAVAILABLE': 3,
}).flatMap(([method, share]) => Array<string>(share).fill(method));

afterEach(() => jest.restoreAllMocks());

/** Services that share everything, of which any may be killed at any time. */
class Fleet {
  /** Of the queues of orders and of each step. */
  readonly queues: string[];
  private members: ServiceProcess[] = [];
  private calls = 0;

  private constructor(
    private readonly world: World,
    readonly database: Database,
    readonly sqs: SQSClient,
  ) {
    const { environment } = world;
    this.queues = [
      environment.SQS_QUEUE_NAME!,
      environment.INVENTORY_QUEUE_NAME!,
      environment.PAYMENT_QUEUE_NAME!,
      environment.SHIPMENT_QUEUE_NAME!,
    ];
  }

  static async start(): Promise<Fleet> {
    const world = await aWorld({
      ...QUICK,
      PAYMENT_FAILURE_RATE: '0.2',
      // What a killed one had in hand comes again soon.
      SQS_VISIBILITY_TIMEOUT: '10',
    });
    const { SQS_ENDPOINT: sqsEndpoint, DATABASE_URL: databaseUrl } = world.environment;
    const sqs = createSqsClient({
      sqsEndpoint: sqsEndpoint!,
      awsRegion: 'us-east-1',
      awsCredentialsGiven: false,
    });
    const database = new Database(databaseUrl!, 60_000);
    await database.availability.start();
    const fleet = new Fleet(world, database, sqs);
    await Promise.all(Array.from({ length: SERVICES }, () => fleet.join()));
    return fleet;
  }

  /** Kills one in the midst of whatever it does, and has another take its place. */
  async replaceOne(): Promise<void> {
    await this.members.shift()!.kill('SIGKILL');
    await this.join();
  }

  /** Asks one after the other, until one answers that is not killed meanwhile. */
  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return eventually(async () => {
      const member = this.members[this.calls++ % this.members.length];
      if (!member) throw new Error('No service is there');
      const answer = await member.call(method, path, body, headers);
      if (answer.status >= 500 || answer.body?.code === 'request_in_flight') {
        throw new Error(`${method} ${path} answered ${answer.status}: ${JSON.stringify(answer.body)}`);
      }
      return answer;
    }, 120_000);
  }

  /** Deletes messages of a queue, and sends each twice: once at once, and once so that it comes when its step is long over. */
  async duplicate(queue: string, random: SeededRandom): Promise<number> {
    const { Messages = [] } = await this.sqs.send(
      new ReceiveMessageCommand({ QueueUrl: queue, MaxNumberOfMessages: 5, WaitTimeSeconds: 0 }),
    );
    if (Messages.length === 0) return 0;
    const copies = Messages.flatMap(({ Body }) => [0, random.between(1, 10)].map((delay) => ({ Body, delay })));
    const Entries = copies.map(({ Body, delay }, i) => ({ Id: String(i), MessageBody: Body, DelaySeconds: delay }));
    await this.sqs.send(new SendMessageBatchCommand({ QueueUrl: queue, Entries }));
    const handles = Messages.map(({ ReceiptHandle }, i) => ({ Id: String(i), ReceiptHandle }));
    await this.sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queue, Entries: handles }));
    return Messages.length;
  }

  /** Throws until no queue has a message, in hand or delayed either. */
  async expectQueuesEmpty(): Promise<void> {
    for (const queue of this.queues) {
      expect([queue, await queueDepth(this.sqs, queue)]).toEqual([queue, NO_MESSAGES]);
    }
  }

  async destroy(): Promise<void> {
    for (const member of this.members) await member.end();
    await this.database.onApplicationShutdown();
    this.sqs.destroy();
    await this.world.destroy();
  }

  private async join(): Promise<void> {
    this.members.push(await ServiceProcess.ready(this.world));
  }
}

/** What was done to orders while they were carried through. */
interface Chaos {
  placed: string[];
  cancelled: number;
  duplicated: number;
}

/** Orders come in by several lanes, are cancelled at any time, their messages come several times, and services end. */
async function chaosOn(fleet: Fleet, random: SeededRandom): Promise<Chaos> {
  const placed: string[] = [];
  const done = { cancelled: 0, duplicated: 0 };
  const toCancel = new Map<number, string[]>();
  let next = 0;
  let ending: Promise<void> = Promise.resolve();
  const cancelAll = async (ids: string[]): Promise<void> => {
    for (const id of ids) if (await isCancelled(fleet, id)) done.cancelled++;
  };
  const lane = async (): Promise<void> => {
    for (let number = next++; number < ORDERS; number = next++) {
      const ofOrder = random.branch(number);
      const id = await place(fleet, number, ofOrder);
      placed.push(id);
      if (ofOrder.happens(0.1)) {
        const later = number + ofOrder.below(MAX_ORDERS_UNTIL_CANCELLED);
        toCancel.set(later, [...(toCancel.get(later) ?? []), id]);
      }
      await cancelAll(toCancel.get(number) ?? []);
      if (number % 20 === 10) await cancelAll(await some(fleet, ofOrder.oneOf(UNDER_WAY)));
      if (number % 5 === 2) {
        const messages = await fleet.duplicate(ofOrder.oneOf(fleet.queues), ofOrder);
        done.duplicated += messages;
      }
      if (number % Math.floor(ORDERS / KILLS) === Math.floor(ORDERS / KILLS / 2))
        ending = ending.then(() => fleet.replaceOne());
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  await ending;
  return { placed, ...done };
}

async function place(fleet: Fleet, number: number, random: SeededRandom): Promise<string> {
  const skus = new Set(Array.from({ length: random.between(1, 3) }, () => skuOf(random.below(PRODUCTS))));
  const order = {
    currency: 'USD',
    items: [...skus].map((sku) => ({ sku, quantity: random.between(1, 3) })),
    shipping_address: '1 Fixture Street',
    payment_method: random.oneOf(PAYMENT_METHODS),
    user_id: `U${number % 50}`,
  };
  // Sent again with the same key, where nobody knows what became of it, it is the same order.
  const { status, body } = await fleet.call('POST', '/api/v1/orders', order, { 'idempotency-key': `order ${number}` });
  if (status !== 202) throw new Error(`The order was not taken: ${JSON.stringify(body)}`);
  return body.order_id as string;
}

/** Cancels an order, unless it is too late. @returns whether it is cancelled */
async function isCancelled(fleet: Fleet, id: string): Promise<boolean> {
  const { status } = await fleet.call('POST', `/api/v1/orders/${id}/cancel`);
  if (status !== 200 && status !== 409) throw new Error(`Cancelling an order was answered with ${status}`);
  return status === 200;
}

/** Some orders that are of a status just now. */
async function some(fleet: Fleet, status: string): Promise<string[]> {
  const { body } = await fleet.call('GET', `/api/v1/orders?status=${status}&limit=3`);
  return body.items.map(({ order_id }: { order_id: string }) => order_id);
}

function skuOf(product: number): string {
  return `CHAOS-${product}`;
}

async function countOf(executor: Executor, found: SQL): Promise<number> {
  const [row] = await executor.query<{ count: number }>(sql`select count(*)::float8 as count from (${found}) found`);
  return row!.count;
}

/** Throws until statistics know every order that was paid, and what of it was given back, to the cent. */
async function expectStatisticsOf(service: Pick<RunningService, 'call'>, database: Database): Promise<void> {
  const { orders, revenue } = await paidOrders(database);
  expect((await service.call('GET', '/stats/global')).body).toMatchObject({
    total_orders: orders,
    total_revenue: revenue / 100,
    failed_orders: 0,
  });
}

describe('Among cancellations, duplicates and services that are killed', () => {
  let fleet: Fleet;

  beforeAll(async () => {
    fleet = await Fleet.start();
    for (let product = 0; product < PRODUCTS; product++) {
      // Of the last there is too little for all.
      const quantity = product === PRODUCTS - 1 ? Math.ceil(ORDERS / 200) : ORDERS;
      const stock = { EAST: quantity, WEST: Math.ceil(quantity / 2) };
      await aProduct(fleet, { sku: skuOf(product), price: 3.33 + product, stock });
    }
  });

  afterAll(() => fleet?.destroy());

  it(`each of ${ORDERS} orders is paid in full or not at all, and stock and statistics are right to the piece and cent`, async () => {
    const { placed, cancelled, duplicated } = await chaosOn(fleet, seededFor('fulfilment among chaos'));
    expect(new Set(placed).size).toBe(ORDERS);
    await eventually(async () => {
      // First what costs the database nothing.
      await fleet.expectQueuesEmpty();
      expect(await fulfilmentFaults(fleet.database)).toEqual({});
    }, SETTLES_WITHOUT_PROGRESS_MS);

    expect(await countOf(fleet.database, sql`select 1 from orders`)).toBe(ORDERS);
    await eventually(() => expectStatisticsOf(fleet, fleet.database));
    const { body } = await fleet.call('GET', '/stats/verify');
    expect(body).toMatchObject({ state: 'done', verified: true, drift_cents: 0 });
    for (const queue of fleet.queues) {
      expect([queue, await queueDepth(fleet.sqs, deadLetterQueueOf(queue))]).toEqual([queue, NO_MESSAGES]);
    }

    // All of it really happened.
    const happened = async (event: string): Promise<number> =>
      countOf(fleet.database, sql`select 1 from order_timeline where event = ${event}`);
    const facts = [
      cancelled,
      duplicated,
      await countOf(fleet.database, sql`select 1 from orders where status = 'failed_no_stock'`),
    ];
    for (const event of [
      'payment.timed_out',
      'payment.unavailable',
      'payment.declined',
      'payment.refunded',
      'order.completed',
    ]) {
      facts.push(await happened(event));
    }
    for (const times of facts) expect(times).toBeGreaterThan(0);
  });
});

describe('What is wrong with orders is found', () => {
  /** For each kind of fault what brings it about where there are orders that were completed and ones whose money went back. */
  const TAMPERING: Record<FulfilmentFault, SQL> = {
    'under way': sql`update orders set status = 'paid' where status = 'completed'`,
    'paid for in part or too often': sql`
      update simulated_charges set amount_cents = amount_cents - 1
      where order_id in (select id from orders where status = 'completed')`,
    'completed without pay': sql`
      update simulated_charges set state = 'voided' where order_id in (select id from orders where status = 'completed')`,
    'paid for nothing': sql`update orders set status = 'cancelled' where status = 'completed'`,
    'charges of no attempt': sql`
      insert into simulated_charges (key, order_id, amount_cents, currency, state)
      select gen_random_uuid()::text, id, total_cents, currency, 'captured' from orders`,
    'captures that the provider knows nothing of': sql`
      update simulated_charges set state = 'voided' where order_id in (select id from orders where status = 'completed')`,
    'refunds that only one side knows of': sql`update payment_attempts set refunded_at = null`,
    'payments still to be undone': sql`update payment_attempts set compensation = 'due' where refunded_at is not null`,
    'stock held for orders at their end': sql`update reservations set state = 'held'`,
    'places with other reservations than they say': sql`update stock set reserved = reserved + 1`,
    'places with other stock than was moved': sql`update stock set on_hand = on_hand - 1`,
    'orders of which something else was shipped': sql`
      update stock_movements set order_id = (select id from orders where status = 'cancelled') where cause = 'shipped'`,
    'timelines with gaps': sql`delete from order_timeline where sequence = 2`,
    'messages in the outbox': sql`
      insert into outbox (order_id, sequence, queue, body) select id, 1, 'orders', '{}' from orders`,
  };

  class RolledBack extends Error {}

  let service: RunningService;

  async function startWith(plant: (service: RunningService) => void): Promise<void> {
    service = await RunningService.ready({ environment: QUICK });
    await aProduct(service);
    plant(service);
  }

  /** An order that is cancelled when it is paid. */
  async function cancelledOrder(): Promise<void> {
    const ship = jest.spyOn(service.app.get(Shipments), 'ship').mockResolvedValue();
    const id = await placeOrder(service);
    await orderIs(service, id, 'paid');
    await service.call('POST', `/api/v1/orders/${id}/cancel`);
    await orderIs(service, id, 'cancelled');
    // Not before the message is gone that would have it shipped.
    await eventually(() => expect(ship).toHaveBeenCalled());
    ship.mockRestore();
  }

  async function completedOrder(): Promise<void> {
    await orderIs(service, await placeOrder(service), 'completed');
  }

  async function settledFaults(): Promise<Partial<Record<FulfilmentFault, number>>> {
    return eventually(async () => {
      const faults = await fulfilmentFaults(service.database);
      expect(faults).not.toHaveProperty('payments still to be undone');
      expect(faults).not.toHaveProperty('messages in the outbox');
      return faults;
    });
  }

  describe('where something else is written', () => {
    beforeAll(async () => {
      await startWith(() => undefined);
      await completedOrder();
      await cancelledOrder();
      expect(await settledFaults()).toEqual({});
    }, 60_000);

    afterAll(() => service.stop());

    it.each(Object.entries(TAMPERING) as [FulfilmentFault, SQL][])('than is so: %s', async (fault, tampering) => {
      const tampered = service.database.transaction(async (tx) => {
        await tx.query(tampering);
        expect(await fulfilmentFaults(tx)).toHaveProperty([fault]);
        throw new RolledBack();
      });
      await expect(tampered).rejects.toThrow(RolledBack);
    });
  });

  describe('where', () => {
    afterEach(() => service.stop());

    it('a provider charges again whenever it is asked', async () => {
      await startWith(({ app }) => {
        const gateway = app.get(PaymentGateway);
        const charge = gateway.charge.bind(gateway);
        jest.spyOn(gateway, 'charge').mockImplementation(async (given) => {
          await charge({ ...given, key: randomUUID() });
          return charge(given);
        });
      });
      await completedOrder();
      expect(await settledFaults()).toEqual({
        'paid for in part or too often': 1,
        'completed without pay': 1,
        'charges of no attempt': 1,
      });
    });

    it('who cancels does not get the money back', async () => {
      await startWith(({ app }) => jest.spyOn(app.get(Payments), 'compensateAll').mockResolvedValue([]));
      await cancelledOrder();
      expect(await settledFaults()).toEqual({ 'paid for nothing': 1 });
    });

    it('what is shipped is not taken off the shelves', async () => {
      await startWith(() => jest.mocked(fulfilReservation).mockResolvedValueOnce(1));
      await completedOrder();
      expect(await settledFaults()).toEqual({
        'stock held for orders at their end': 1,
        'orders of which something else was shipped': 1,
      });
    });

    it('statistics are not told of every order', async () => {
      await startWith(({ app }) => {
        const outbox = app.get(Outbox);
        const add = outbox.add.bind(outbox);
        jest.spyOn(outbox, 'add').mockImplementation((tx, orderId, sequence, messages) =>
          add(
            tx,
            orderId,
            sequence,
            messages.filter(({ queue }) => queue !== 'orders'),
          ),
        );
      });
      await completedOrder();
      expect(await settledFaults()).toEqual({});
      await service.settled();
      await expect(expectStatisticsOf(service, service.database)).rejects.toThrow('total_orders');
    });
  });
});
