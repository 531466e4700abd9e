import { once } from 'node:events';
import { Client } from 'pg';
import { onRealParts } from './drain.js';
import { scaled, type Measurement, type Reading } from './measurement.js';
import { skusOfOrder } from './order-items.js';
import { scriptOf, type OrderScript } from './order-script.js';
import { ownParts } from './parts.js';
import { CONNECTIONS, NOTHING_WAITS, ordersAre, placeOrder, placeOrders } from './placed-orders.js';
import { postgresCpuSeconds } from './postgres-cpu.js';
import { Child, forked } from './processes.js';
import { onRecordedService } from './recorded-service.js';
import { stockCatalogue } from './stocked-catalogue.js';

const ORDERS = 4_000;
const WARM_UP = 500;
/** One shipment in ten is delayed, which is one step more. */
const MAX_RECORDED = 10;

/** See bare-orders.ts. */
class BareOrders extends Child {
  static async start(databaseUrl: string, script: OrderScript): Promise<BareOrders> {
    const bare = new BareOrders(forked('bare-orders.js', databaseUrl));
    bare.process.send(script);
    await once(bare.process, 'message');
    return bare;
  }

  /** @returns how long it took, ms */
  async complete(count: number): Promise<number> {
    this.process.send(count);
    const [{ ms }] = (await once(this.process, 'message')) as [{ ms: number }];
    return ms;
  }
}

let script: OrderScript;
let timelineEntries: number;

/** Orders from the request until they are completed, against what PostgreSQL alone has to do for that. */
export const COMPLETED_ORDERS: Measurement = {
  id: 'completed-orders',
  what: `${ORDERS} orders from POST /api/v1/orders, ${CONNECTIONS} connections, until all are completed`,
  against: 'the same SQL issued by pg alone, 10 transactions at once',
  unit: 'orders/s',
  toReach: { atLeast: 0.5 },
  prepare: record,
  ours: (scale) => completed(scaled(ORDERS, scale)),
  limit: (scale) => completedBarely(scaled(ORDERS, scale)),
};

/** Has the service complete an order, and keeps what it had PostgreSQL do for it. */
async function record(): Promise<void> {
  const { transactions, result } = await onRecordedService(async ({ service, parts }) => {
    await stockCatalogue(parts.databaseUrl);
    for (let n = 0; n < MAX_RECORDED; n++) {
      const id = await placeOrder(service, skusOfOrder(n));
      await ordersAre('completed', parts.databaseUrl, n + 1);
      const fate = await fateOf(parts.databaseUrl, id);
      if (!fate.isDelayed) return { id, skus: skusOfOrder(n), ...fate };
    }
    throw new Error(`All of ${MAX_RECORDED} shipments were delayed`);
  }, NOTHING_WAITS);
  script = scriptOf(transactions, result);
  timelineEntries = result.timelineEntries;
}

interface Fate {
  trackingNumber: string;
  isDelayed: boolean;
  timelineEntries: number;
}

/** Asks the database, since what the service is asked for would be in the recording. */
async function fateOf(databaseUrl: string, orderId: string): Promise<Fate> {
  const [fate] = await rowsOf<Fate>(
    databaseUrl,
    `select tracking_number as "trackingNumber", count(*)::int as "timelineEntries",
       bool_or(event = 'shipment.delayed') as "isDelayed"
     from shipments join order_timeline using (order_id) where order_id = $1 group by tracking_number`,
    [orderId],
  );
  return fate!;
}

async function completed(count: number): Promise<Reading> {
  return onRealParts(
    async ({ emulator, parts, service }) => {
      const { databaseUrl } = parts;
      await stockCatalogue(databaseUrl);
      await placeOrders(service, WARM_UP, skusOfOrder);
      await ordersAre('completed', databaseUrl, WARM_UP);
      const used = async (): Promise<number[]> => [
        service.cpuSeconds(),
        await postgresCpuSeconds(databaseUrl),
        emulator.cpuSeconds(),
      ];
      const before = await used();
      const from = performance.timeOrigin + performance.now();
      await placeOrders(service, count, (n) => skusOfOrder(WARM_UP + n));
      const placed = performance.timeOrigin + performance.now();
      const to = await ordersAre('completed', databaseUrl, WARM_UP + count);
      const [serviceCpu, postgresCpu, emulatorCpu] = (await used()).map(
        (seconds, i) => ((seconds - before[i]!) * 1e6) / count,
      );
      const [asked] = await rowsOf<{ again: number }>(
        databaseUrl,
        `select count(*)::int as again from order_timeline where event = 'order.redriven'`,
      );
      const facts = {
        // Steps that were asked for again since they took so long; each is work that the limit does not have.
        redriven: asked!.again,
        placedPerSecond: (count * 1000) / (placed - from),
        serviceCpuMicrosecondsEach: serviceCpu!,
        postgresCpuMicrosecondsEach: postgresCpu!,
        emulatorCpuMicrosecondsEach: emulatorCpu!,
      };
      return { value: (count * 1000) / (to - from), facts };
    },
    [],
    NOTHING_WAITS,
  );
}

async function completedBarely(count: number): Promise<Reading> {
  const { databaseUrl, destroy } = await ownParts();
  try {
    await stockCatalogue(databaseUrl);
    const bare = await BareOrders.start(databaseUrl, script);
    try {
      await bare.complete(WARM_UP);
      const [client, postgres] = [bare.cpuSeconds(), await postgresCpuSeconds(databaseUrl)];
      const ms = await bare.complete(count);
      const facts = {
        clientCpuMicrosecondsEach: ((bare.cpuSeconds() - client) * 1e6) / count,
        postgresCpuMicrosecondsEach: (((await postgresCpuSeconds(databaseUrl)) - postgres) * 1e6) / count,
      };
      await assertCompleted(databaseUrl, WARM_UP + count);
      return { value: (count * 1000) / ms, facts };
    } finally {
      await bare.stop();
    }
  } finally {
    await destroy();
  }
}

/** @throws Error where the statements have not left behind what the service leaves behind */
async function assertCompleted(databaseUrl: string, count: number): Promise<void> {
  const [found] = await rowsOf<Record<'orders' | 'entries' | 'shipped' | 'messages', number>>(
    databaseUrl,
    `select (select count(*) from orders where status = 'completed')::int as orders,
       (select count(*) from order_timeline)::int as entries,
       (select count(*) from reservations where state = 'shipped')::int as shipped,
       (select count(*) from outbox)::int as messages`,
  );
  const wanted = { orders: count, entries: count * timelineEntries, shipped: count * 2, messages: 0 };
  if (JSON.stringify(found) === JSON.stringify(wanted)) return;
  throw new Error(`The bare statements left ${JSON.stringify(found)} behind, not ${JSON.stringify(wanted)}`);
}

async function rowsOf<Row extends object>(databaseUrl: string, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new Client(databaseUrl);
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}
