import type { SQSClient } from '@aws-sdk/client-sqs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Redis as IORedis } from 'ioredis';
import { Client } from 'pg';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { audit } from '../support/audit.js';
import type { LedgerQuery } from '../support/ledger-audit.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { aProduct, QUICK } from '../support/fulfilment.js';
import { KeepAliveClients, type Probe } from '../support/keep-alive-clients.js';
import { withBug } from '../support/kill-points.js';
import { itWithRedis } from '../support/only-on.js';
import { OrderLoad } from '../support/order-load.js';
import { ServiceProcess } from '../support/process.js';
import { ORDERS_QUEUE, RealWorld } from '../support/real-world.js';
import type { SeededRandom } from '../support/seeded-random.js';

const ROUNDS = atScale(3, 20);
const CLIENTS = 8;
const QUEUES = [ORDERS_QUEUE, 'inventory-queue', 'payment-queue', 'shipment-queue'];
const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };
const SHUTDOWN_LIMIT_MS = 10_000;
const WITNESS = { NODE_OPTIONS: `--require=${join(__dirname, '..', 'support', 'request-witness.cjs')}` };
/** Numbers of requests of one round stay below it. */
const MAX_PROBES = 1_000_000;

let world: RealWorld | null = null;
let sqs: SQSClient | null = null;
let service: ServiceProcess | null = null;
let load: OrderLoad | null = null;

afterEach(async () => {
  await load?.end();
  await service?.end();
  sqs?.destroy();
  await world?.destroy();
  [world, sqs, service, load] = [null, null, null, null];
});

/** What a round of ending a service under load was like. */
interface Round {
  /** What must not be. */
  faults: string[];
  tookMs: number;
  answered: number;
  /** Requests that the service has never seen: written to a connection that it closed, or to one that it never accepted. */
  crossed: number;
  /** Of those, the ones to a connection that had been used before. */
  crossedOnUsed: number;
}

/** What clients ask for: figures, health, entries, and things that must not get lost. */
function probesOf(random: SeededRandom): () => Probe {
  return () => {
    switch (random.below(6)) {
      case 0:
        return { method: 'GET', path: '/stats/global' };
      case 1:
        return { method: 'GET', path: '/health/ready' };
      case 2:
        return { method: 'GET', path: '/order-events?limit=5' };
      case 3:
        return { method: 'POST', path: '/produce', body: { count: 20, invalid_rate: 0 } };
      case 4:
        return { method: 'POST', path: '/produce', body: { count: 0 } };
      default:
        return {
          method: 'POST',
          path: '/api/v1/orders',
          headers: { 'idempotency-key': randomUUID() },
          body: {
            currency: 'USD',
            items: [{ sku: 'A123', quantity: 1 }],
            shipping_address: '1 Fixture Street',
            payment_method: 'CARD',
          },
        };
    }
  };
}

/** Takes note of what was taken, and of what may have been. */
function note({ path, body: asked }: Probe, status: number, body: string): void {
  if (path === '/api/v1/orders' && status === 202) load!.ids.add((JSON.parse(body) as { order_id: string }).order_id);
  if (path !== '/produce' || status === 400) return;
  const { count } = asked as { count: number };
  const { orders = [] } = JSON.parse(body) as { orders?: { order_id: string }[] };
  for (const { order_id } of orders) load!.ids.add(order_id);
  load!.unsure += count - orders.length;
  if (orders.length < count) tell(`of ${count} orders ${orders.length} were produced: ${status} ${body.slice(-300)}`);
}

/** Ends the service at some moment under load, by force where it takes too long, and says how that went. */
async function endUnderLoad(running: ServiceProcess, random: SeededRandom, round: number): Promise<Round> {
  const clients = new KeepAliveClients(running.url, probesOf(random), note, round * MAX_PROBES);
  clients.begin(CLIENTS);
  await eventually(() => expect(clients.results.size).toBeGreaterThan(2 * CLIENTS), 30_000);
  await pause(random.below(300));
  const ending = running.kill('SIGTERM');
  const tooLate = setTimeout(() => void running.end(), SHUTDOWN_LIMIT_MS);
  const { code, tookMs } = await ending;
  clearTimeout(tooLate);
  await clients.end();

  const faults: string[] = [];
  if (code !== 0) faults.push(`It ended with code ${code}`);
  if (tookMs > SHUTDOWN_LIMIT_MS) faults.push(`It took ${tookMs} ms to end`);
  const [, report = '{"received":[],"unanswered":[]}'] = /^WITNESS (.*)$/m.exec(running.output) ?? [];
  const { received, unanswered } = JSON.parse(report) as Record<'received' | 'unanswered', number[]>;
  if (received.length === 0) faults.push('It did not say which requests it has received');
  if (unanswered.length > 0) faults.push(`${unanswered.length} requests were received and not answered`);
  for (const number of received) {
    const fate = clients.results.get(number);
    if (fate?.kind !== 'answered' || !fate.whole)
      faults.push(`Request ${number} has ended so: ${JSON.stringify(fate)}`);
  }
  const seen = new Set(received);
  const unseen = [...clients.results].flatMap(([number, fate]) =>
    fate.kind === 'broken' && !seen.has(number) ? [fate] : [],
  );
  for (const [number, fate] of clients.results) {
    if (fate.kind === 'answered' && ![200, 202, 400, 503].includes(fate.status)) {
      faults.push(`Request ${number} was answered with ${fate.status}`);
    }
  }
  const { in_flight } = await queueDepth(sqs!, ORDERS_QUEUE);
  if (in_flight > 0) faults.push(`${in_flight} messages were left in hand`);
  const answered = [...clients.results.values()].filter(({ kind }) => kind === 'answered').length;
  const crossedOnUsed = unseen.filter(({ onUsedConnection }) => onUsedConnection).length;
  return { faults, tookMs, answered, crossed: unseen.length, crossedOnUsed };
}

/** @param bug of the first process of the service */
async function aWorldUnderLoad(bug: Record<string, string> = {}): Promise<RealWorld> {
  world = await RealWorld.make({ ...QUICK, ...WITNESS });
  sqs = createSqsClient({ sqsEndpoint: world.queue.endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  service = await ServiceProcess.ready(world, bug);
  await aProduct(service, { stock: { EAST: 1_000_000 } });
  load = new OrderLoad(sqs, ORDERS_QUEUE, null);
  load.begin();
  return world;
}

/** Asks the ledger's database past the service. */
async function withDatabase<T>({ postgres }: RealWorld, work: (query: LedgerQuery) => Promise<T>): Promise<T> {
  const database = new Client(postgres.url);
  await database.connect();
  try {
    return await work(async (text) => (await database.query(text)).rows as never[]);
  } finally {
    await database.end();
  }
}

/**
 * What of the orders is not in the ledger although it was taken, or is there and nobody was told so.
 * @throws Error while more may come
 */
async function ordersIn(home: RealWorld): Promise<{ missing: string[]; strangers: string[] }> {
  for (const name of QUEUES) {
    const { visible, in_flight, delayed } = await queueDepth(sqs!, name);
    if (visible + in_flight + delayed > 0) throw new Error(`${name} is not empty`);
  }
  return withDatabase(home, async (query) => {
    const [{ waiting }] = (await query(`select count(*)::float8 as waiting from outbox`)) as [{ waiting: number }];
    if (waiting > 0) throw new Error(`${waiting} messages wait in the outbox`);
    const rows = await query<{ id: string }>(`select order_id as id from ledger where outcome <> 'failed'`);
    const stored = new Set(rows.map(({ id }) => id));
    const missing = [...load!.ids].filter((id) => !stored.has(id));
    return { missing, strangers: [...stored].filter((id) => !load!.ids.has(id)) };
  });
}

async function auditOfWorld(home: RealWorld): Promise<string[]> {
  const redis = new IORedis(home.redis.url);
  const redisKeyPrefix = home.environment.REDIS_KEY_PREFIX!;
  try {
    return await withDatabase(home, (query) => audit({ query, redis, redisKeyPrefix, businessTimeZone: 'UTC' }));
  } finally {
    redis.disconnect();
  }
}

describe('A service that is ended by SIGTERM under load', () => {
  itWithRedis(
    `ends within 10 s with code 0, answers what it has received and leaves nothing in hand, ${ROUNDS} times: all is counted once`,
    async () => {
      const random = seededFor('SIGTERM under load');
      const home = await aWorldUnderLoad();
      const rounds: Round[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        rounds.push(await endUnderLoad(service!, random, round));
        service = await ServiceProcess.ready(home);
      }
      await load!.end();
      const orders = await eventually(() => ordersIn(home), 120_000);
      const sum = (what: 'answered' | 'crossed' | 'crossedOnUsed'): number =>
        rounds.reduce((all, round) => all + round[what], 0);
      tell(
        `measured: ${ROUNDS} ends in ${Math.round(Math.min(...rounds.map(({ tookMs }) => tookMs)))} to ` +
          `${Math.round(Math.max(...rounds.map(({ tookMs }) => tookMs)))} ms, ${load!.taken} orders taken (and ${orders.strangers.length} of ${load!.unsure} that may have been), ` +
          `${sum('answered')} requests answered, ${sum('crossed')} never seen (${sum('crossedOnUsed')} of them on a connection used before)`,
      );
      expect(rounds.flatMap(({ faults }) => faults)).toEqual([]);
      expect(orders.missing).toEqual([]);
      expect(orders.strangers.length).toBeLessThanOrEqual(load!.unsure);
      expect(await service!.metric('orders_processed_total{outcome="duplicate"}')).toBe(0);
      for (const name of QUEUES) {
        expect([name, await queueDepth(sqs!, deadLetterQueueOf(name))]).toEqual([name, NO_MESSAGES]);
      }
      await eventually(async () => expect(await auditOfWorld(home)).toEqual([]));
    },
  );

  itWithRedis('control: is found where it ends without finishing what it has begun', async () => {
    const random = seededFor('SIGTERM that ends at once');
    await aWorldUnderLoad(withBug('ends at once', WITNESS));
    const { faults } = await endUnderLoad(service!, random, 0);
    expect(faults).toContainEqual(expect.stringMatching(/ were received and not answered$/));
  });

  itWithRedis('control: is found where it does not end', async () => {
    const random = seededFor('SIGTERM that does not end it');
    await aWorldUnderLoad(withBug('does not end', WITNESS));
    const { faults } = await endUnderLoad(service!, random, 0);
    expect(faults).toContainEqual(expect.stringMatching(/^It took \S+ ms to end$/));
  });

  itWithRedis('control: is found where it has acknowledged what it had not stored yet', async () => {
    const random = seededFor('SIGTERM before it has stored');
    const home = await aWorldUnderLoad(withBug('stores later', WITNESS));
    await endUnderLoad(service!, random, 0);
    service = await ServiceProcess.ready(home);
    await load!.end();
    const { missing } = await eventually(() => ordersIn(home), 120_000);
    expect(missing).not.toEqual([]);
  });
});
