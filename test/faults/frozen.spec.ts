import { execFileSync } from 'node:child_process';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { Redis as IORedis } from 'ioredis';
import { Pool } from 'pg';
import { queueDepth } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { audit } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor } from '../support/fault-scale.js';
import { aProduct, QUICK, requestOrder } from '../support/fulfilment.js';
import { freezesAt, KILL_POINTS, type KillPoint, LOCK_POINTS } from '../support/kill-points.js';
import { KnownOrders } from '../support/known-orders.js';
import type { LedgerQuery } from '../support/ledger-audit.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { ServiceProcess } from '../support/process.js';
import { ORDERS_QUEUE, RealWorld } from '../support/real-world.js';

const POINTS = atScale<KillPoint[]>([...LOCK_POINTS], [...KILL_POINTS, ...LOCK_POINTS]);
const ORDERS = 40;

let world: RealWorld;
let sqs: SQSClient;
let pool: Pool;
let redis: IORedis;
let services: ServiceProcess[] = [];
const query: LedgerQuery = async <Row>(text: string) => (await pool.query(text)).rows as Row[];

beforeAll(async () => {
  if (!hasRedisServer) return;
  world = await RealWorld.make({ ...QUICK, SQS_VISIBILITY_TIMEOUT: '5', SQS_MAX_RECEIVE_COUNT: '1000' });
  sqs = createSqsClient({ sqsEndpoint: world.queue.endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  pool = new Pool({ connectionString: world.postgres.url });
  redis = new IORedis(world.redis.url);
});

afterEach(async () => {
  for (const service of services) await service.end();
  services = [];
});

afterAll(async () => {
  if (!hasRedisServer) return;
  sqs.destroy();
  redis.disconnect();
  await pool.end();
  await world.destroy();
});

async function start(environment: Record<string, string> = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.ready(world, environment);
  services.push(service);
  return service;
}

/** Whether the kernel keeps a process from running. */
function isFrozen({ pid }: ServiceProcess): boolean {
  return execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('T');
}

/** Keeps a service busy until it freezes. Its requests are never answered then. */
async function freeze(service: ServiceProcess, sku: string, orders: KnownOrders): Promise<void> {
  await eventually(async () => {
    if (isFrozen(service)) return;
    await orders.send(sqs, 10);
    void requestOrder(service, { items: [{ sku, quantity: 1 }] }).catch(() => undefined);
    void service.call('DELETE', '/clear_redis_db').catch(() => undefined);
    throw new Error('The service is not frozen');
  }, 30_000);
}

async function allArrived(service: ServiceProcess): Promise<void> {
  const { visible, in_flight, delayed } = await queueDepth(sqs, ORDERS_QUEUE);
  expect([visible, in_flight, delayed]).toEqual([0, 0, 0]);
  expect((await service.get('/metrics')).body).toMatch(/^stats_projection_lag_entries 0$/m);
}

describe('A process that is frozen', () => {
  for (const point of POINTS) {
    itWithRedis(`keeps no other from its work: ${point}`, async () => {
      const random = seededFor(`frozen ${point}`);
      const name = point.replaceAll(' ', '-').toUpperCase();
      const orders = new KnownOrders(random, ORDERS_QUEUE, name);
      const other = await start();
      await aProduct(other, { sku: name, stock: { EAST: 100_000 } });
      const frozen = await start(freezesAt(point, 1));
      await freeze(frozen, name, orders);

      await orders.send(sqs, ORDERS);
      const placed = await Promise.all(
        Array.from({ length: ORDERS }, () => requestOrder(other, { items: [{ sku: name, quantity: 1 }] })),
      );
      expect(placed.map(({ status }) => status)).toEqual(placed.map(() => 202));
      await eventually(async () => {
        await allArrived(other);
        for (const { body } of placed) {
          const { order_status } = (await other.get(`/api/v1/orders/${body.order_id}`)).body;
          expect(['pending', 'reserved', 'payment_unknown']).not.toContain(order_status);
        }
      });
      expect(isFrozen(frozen)).toBe(true);

      frozen.child.kill('SIGCONT');
      await eventually(async () => expect((await frozen.get('/health/ready')).status).toBe(200), 30_000);
      await orders.send(sqs, ORDERS);
      await eventually(() => allArrived(frozen), 30_000);
      // Garbage-collects the leftovers of a rebuild that a clear has invalidated.
      expect((await other.call('DELETE', '/clear_redis_db')).status).toBe(200);
      expect(await orders.faults(query)).toEqual([]);
      expect(
        await audit({ query, redis, redisKeyPrefix: world.environment.REDIS_KEY_PREFIX!, businessTimeZone: 'UTC' }),
      ).toEqual([]);
    });
  }
});
