import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { StepConsumer } from '../../src/fulfilment/messaging/step-consumer.worker.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { OrderConsumer } from '../../src/orders/consumer/order-consumer.worker.js';
import { OrderIntake } from '../../src/orders/consumer/order-intake.service.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { BusinessCalendar } from '../../src/domain/business-time.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { auditOf } from '../support/audit.js';
import { type EdgeOrder, edgesOf, ordersAround } from '../support/edge-orders.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { aValidatedMessage } from '../support/validated-messages.js';
import { anOrderEvent } from '../support/order-events.js';
import { OrderLoad } from '../support/order-load.js';
import { ProcessClock } from '../support/process-clock.js';

const HOUR_MS = 3_600_000;
const JUMPS = atScale(4, 40);
const YEARS = atScale([2025], [2007, 2010, 2019, 2024, 2025]);
const ORDERS_NEAR_AN_EDGE = atScale(1, 20);
const TIME_ZONES = ['America/New_York', 'Europe/Berlin', 'Australia/Lord_Howe'];

let world: World;
let service: RunningService;

async function started(environment: Record<string, string> = {}): Promise<void> {
  world = await aWorld(environment);
  service = await RunningService.ready({ world });
}

async function ended(): Promise<void> {
  await service?.stop();
  await world?.destroy();
}

afterEach(() => {
  jest.restoreAllMocks();
});

describe('A clock of the process that jumps by an hour', () => {
  let clock: ProcessClock;
  let load: OrderLoad;
  let failed = 0;

  beforeAll(async () => {
    clock = new ProcessClock();
    await started();
    load = new OrderLoad(service.sqs, service.config.queue.name, null);
  });

  afterEach(() => clock.set(0));

  afterAll(async () => {
    await load?.end();
    clock?.restore();
    await ended();
  });

  const headOfLedger = async (): Promise<number> => (await service.app.get(Ledger).head()).position;

  /** An order of 4 minutes from now, by the clock of the queue, and one of 6 minutes. */
  async function ordersOfTheFuture(byQueue: number): Promise<void> {
    const [near, far] = [4, 6].map((minutes) => new Date(byQueue + minutes * 60_000).toISOString());
    const [soon, later] = [anOrderEvent({ order_timestamp: near! }), anOrderEvent({ order_timestamp: far! })];
    await service.send(soon, later);
    load.ids.add(soon.order_id);
    failed++;
  }

  /** Has the clock jump under load, and waits until all is counted. @param jumps how far ahead it is after each, ms */
  async function jumpUnderLoad(jumps: number[]): Promise<void> {
    load.begin();
    for (const ahead of jumps) {
      const position = await headOfLedger();
      const byQueue = performance.timeOrigin + performance.now();
      clock.set(ahead);
      for (const consumer of [OrderConsumer, StepConsumer]) service.app.get<OrderConsumer>(consumer).watch();
      await ordersOfTheFuture(byQueue);
      await eventually(async () => expect(await headOfLedger()).toBeGreaterThan(position + 10), 30_000);
    }
    await load.end();
    await service.settled();
  }

  /** @returns what has become of orders that is not as the clock of the queue says */
  async function outcomeFaults(): Promise<string[]> {
    const rows = await service.database.query<{ id: string }>(
      sql`select order_id as id from ledger where outcome <> 'failed'`,
    );
    const taken = new Set(rows.map(({ id }) => id));
    const faults: string[] = [];
    for (const id of load.ids) if (!taken.has(id)) faults.push(`${id} is refused`);
    for (const id of taken) if (!load.ids.has(id)) faults.push(`${id} of the future is taken`);
    return faults;
  }

  async function allIsCounted(): Promise<void> {
    expect(await outcomeFaults()).toEqual([]);
    const { body } = await service.get('/stats/global');
    expect(body).toMatchObject({ total_orders: load.taken, failed_orders: failed });
    const [{ late }] = (await service.database.query(
      sql`select count(*)::float8 as late from ledger where reasons = array['order_timestamp_in_future']`,
    )) as [{ late: number }];
    expect(late).toBe(failed);
    expect(await auditOf(service)).toEqual([]);
  }

  it(`to and fro, ${JUMPS} times under load, changes no outcome, and has no healthy poll loop started again`, async () => {
    const random = seededFor('jumps of the clock');
    const lines: string[] = [];
    for (const level of ['warn', 'error', 'fatal'] as const) {
      jest.spyOn(Logger.prototype, level).mockImplementation((...said: unknown[]) => void lines.push(String(said[0])));
    }
    await jumpUnderLoad(Array.from({ length: JUMPS }, () => random.oneOf([-HOUR_MS, HOUR_MS, 0])));
    await allIsCounted();
    expect(lines).toEqual([]);
    expect((await service.call('POST', '/stats/rebuild', { from_beginning: true })).status).toBeLessThan(300);
    await allIsCounted();
    tell(`measured: ${JUMPS} jumps, ${load.taken} orders counted, ${failed} of the future refused`);
  });

  it('control: is found where orders are judged by it', async () => {
    const { handle } = OrderIntake.prototype;
    jest.spyOn(OrderIntake.prototype, 'handle').mockImplementation(function (this: OrderIntake, messages) {
      const SentTimestamp = String(Date.now());
      return handle.call(
        this,
        messages.map((message) => ({ ...message, Attributes: { ...message.Attributes, SentTimestamp } })),
      );
    });
    await jumpUnderLoad([-HOUR_MS, HOUR_MS]);
    const faults = await outcomeFaults();
    expect(faults).toContainEqual(expect.stringMatching(/ is refused$/));
    expect(faults).toContainEqual(expect.stringMatching(/ of the future is taken$/));
  });

  describe('in an outage of the ledger', () => {
    /** Lets every statement fail as if the database were gone, until it is over. */
    function anOutage(): jest.SpyInstance {
      return jest.spyOn(service.database, 'query').mockRejectedValue(new DatabaseUnavailable('gone'));
    }

    it('back keeps no message in hand for an hour more', async () => {
      const statements = anOutage();
      const waiting = service.app.get(Ledger).append([aValidatedMessage()], 1_000);
      waiting.catch(() => undefined);
      await eventually(() => expect(statements).toHaveBeenCalled());
      clock.set(-HOUR_MS);
      await expect(waiting).rejects.toThrow(DatabaseUnavailable);
    });

    it('forward gives up on none whose time is not over', async () => {
      const statements = anOutage();
      const waiting = service.app.get(Ledger).append([aValidatedMessage()], 60_000);
      waiting.catch(() => undefined);
      await eventually(() => expect(statements).toHaveBeenCalled());
      clock.set(HOUR_MS);
      const { length } = statements.mock.calls;
      await eventually(() => expect(statements.mock.calls.length).toBeGreaterThan(length + 1));
      statements.mockRestore();
      expect(await waiting).toMatchObject([{ kind: 'stored' }]);
    });
  });
});

/** Sums of orders by bucket: how many, and cents. */
type Buckets = Map<string, { orders: number; cents: number }>;

/** What PostgreSQL's own time zones make of the moments of orders. */
async function bucketsBySql(orders: EdgeOrder[], timeZone: string, form: string): Promise<Buckets> {
  const rows = await service.database.query<{ bucket: string; orders: number; cents: number }>(sql`
    select to_char((timestamptz 'epoch' + at * interval '1 millisecond') at time zone ${timeZone}, ${form}) as bucket,
      count(*)::float8 as orders, sum(cents)::float8 as cents
    from json_to_recordset(${JSON.stringify(orders.map(({ at, cents }) => ({ at, cents })))}::json)
      as sent (at float8, cents float8)
    group by bucket`);
  return new Map(rows.map(({ bucket, orders: count, cents }) => [bucket, { orders: count, cents }]));
}

/** @returns what the service shows of days and months that is not what PostgreSQL says */
async function bucketFaults(orders: EdgeOrder[], timeZone: string): Promise<string[]> {
  const faults: string[] = [];
  const compare = (
    bucket: string,
    shown: { order_count?: number; total_orders?: number; total_revenue: number },
    wanted: { orders: number; cents: number },
  ): void => {
    const found = `${shown.total_orders ?? shown.order_count} orders of ${Math.round(shown.total_revenue * 100)} cents`;
    const right = `${wanted.orders} orders of ${wanted.cents} cents`;
    if (found !== right) faults.push(`${bucket} has ${found} instead of ${right}`);
  };
  for (const [day, wanted] of await bucketsBySql(orders, timeZone, 'YYYY-MM-DD')) {
    const { body } = await service.get(`/stats/daily?start=${day}&end=${day}`);
    compare(day, body.days[0], wanted);
  }
  for (const [month, wanted] of await bucketsBySql(orders, timeZone, 'YYYY-MM')) {
    const { body } = await service.get(`/stats/monthly?start=${month}&end=${month}`);
    compare(month, body.months[0], wanted);
  }
  return faults;
}

/** Sends orders around all edges of the time zone, and waits until all are counted. */
async function sendAroundEdges(timeZone: string): Promise<EdgeOrder[]> {
  const random = seededFor(`edges in ${timeZone}`);
  const edges = await edgesOf(service.database, timeZone, YEARS);
  const orders = ordersAround(edges, random, ORDERS_NEAR_AN_EDGE);
  await service.send(...orders.map(({ event }) => event));
  await service.settled();
  tell(`measured: ${orders.length} orders around ${edges.length} edges in ${timeZone}`);
  return orders;
}

describe.each(TIME_ZONES)('In %s', (timeZone) => {
  beforeAll(() => started({ BUSINESS_TIME_ZONE: timeZone }));
  afterAll(ended);

  it('orders around days, months, years, 29 February and both changes of the clocks count where PostgreSQL says', async () => {
    const orders = await sendAroundEdges(timeZone);
    expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: orders.length, failed_orders: 0 });
    expect(await bucketFaults(orders, timeZone)).toEqual([]);
    expect(await auditOf(service)).toEqual([]);
    await service.call('POST', '/stats/rebuild', { from_beginning: true });
    expect(await bucketFaults(orders, timeZone)).toEqual([]);
    expect(await auditOf(service)).toEqual([]);
  });
});

describe('Control:', () => {
  beforeAll(() => started({ BUSINESS_TIME_ZONE: TIME_ZONES[0]! }));
  afterAll(ended);

  it('a fold that cuts days in UTC is found', async () => {
    jest
      .spyOn(BusinessCalendar.prototype, 'dayOf')
      .mockImplementation((msUtc) => new Date(msUtc).toISOString().slice(0, 10));
    const orders = await sendAroundEdges(TIME_ZONES[0]!);
    expect(await bucketFaults(orders, TIME_ZONES[0]!)).not.toEqual([]);
    // The audit tells only the first of what it finds.
    expect(await auditOf(service, 0)).toContainEqual(expect.stringMatching(/^(day|month|month-user):.* orders is /));
  });
});
