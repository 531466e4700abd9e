import type { SQSClient } from '@aws-sdk/client-sqs';
import { Redis as IORedis } from 'ioredis';
import { Pool } from 'pg';
import { queueDepth } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { audit } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { diesAt, KILL_POINTS, type KillPoint, withBug } from '../support/kill-points.js';
import { KnownOrders } from '../support/known-orders.js';
import type { LedgerQuery } from '../support/ledger-audit.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { ServiceProcess } from '../support/process.js';
import { ORDERS_QUEUE, RealWorld } from '../support/real-world.js';
import type { SeededRandom } from '../support/seeded-random.js';

const KILLS = atScale(1, 8);
/** In the short version what is left of all points is looked at once. */
const GROUPS = atScale<KillPoint[][]>(
  [[...KILL_POINTS]],
  KILL_POINTS.map((point) => [point]),
);
/** Two die and come back beside each other. */
const LANES = 2;
/** Each time a point is passed, up to so many times, a service may be killed there. */
const MAX_PASSES = 4;
const PLENTY = 30;
const MORE_THAN_ALL_STEPS = 1_000;

let world: RealWorld;
let sqs: SQSClient;
let pool: Pool;
let redis: IORedis;
let services: ServiceProcess[] = [];
const query: LedgerQuery = async <Row>(text: string) => (await pool.query(text)).rows as Row[];

beforeAll(async () => {
  if (!hasRedisServer) return;
  world = await RealWorld.make({
    // What a killed one had in hand comes again soon, however often it was killed with it.
    SQS_VISIBILITY_TIMEOUT: '5',
    SQS_MAX_RECEIVE_COUNT: '1000',
  });
  sqs = createSqsClient({ sqsEndpoint: world.queue.endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  pool = new Pool({ connectionString: world.postgres.url });
  redis = new IORedis(world.redis.url);
  // Makes the queue and the tables.
  await (await ServiceProcess.ready(world)).kill('SIGTERM');
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

/** Starts a service that dies at a point, and keeps it busy until it does. */
async function dieAt(point: KillPoint, random: SeededRandom, orders: KnownOrders): Promise<void> {
  await orders.send(sqs, PLENTY);
  const service = ServiceProcess.launch(world, diesAt(point, random.between(1, MAX_PASSES)));
  services.push(service);
  await eventually(async () => {
    if (!service.isRunning) return;
    const { visible } = await queueDepth(sqs, ORDERS_QUEUE);
    if (visible < PLENTY) await orders.send(sqs, PLENTY);
    throw new Error(`The service lives on:\n${service.output}`);
  }, 60_000);
  expect([point, (await service.exited).signal, service.output]).toEqual([point, 'SIGKILL', expect.any(String)]);
}

/** Starts a service and waits until its figures are proven. */
async function startProven(environment: Record<string, string> = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.ready(world, environment);
  services.push(service);
  await proven(service);
  return service;
}

async function proven(service: ServiceProcess): Promise<void> {
  await eventually(async () => {
    const { status, body } = await service.get('/stats/verify');
    expect([status, body]).toEqual([200, expect.objectContaining({ verified: true, drift_cents: 0 })]);
  }, 30_000);
}

/** Has a service rebuild the figures and die before a step of that. @returns how many steps the rebuild had where it outlived them */
async function dieBeforeStep(step: number, orders: KnownOrders): Promise<number | null> {
  const service = await startProven(diesAt('rebuild', step));
  await orders.send(sqs, PLENTY);
  // It may be dead before it has answered.
  const answer = await service.call('POST', '/stats/rebuild', {}).catch(() => null);
  expect([undefined, 202]).toContain(answer?.status);
  return eventually(async () => {
    if (!service.isRunning) {
      expect((await service.exited).signal).toBe('SIGKILL');
      return null;
    }
    const [, steps] = /came to its end after (\d+) steps/.exec(service.output) ?? [];
    if (steps === undefined) throw new Error(`The service lives on:\n${service.output}`);
    await service.kill('SIGTERM');
    return Number(steps);
  }, 30_000);
}

/** What a dead process had claimed is free after some seconds, which are over at once. */
async function leasesRunOut(): Promise<void> {
  await query("update projection set builder_until = now() - interval '1 second' where builder is not null");
  await query("update rebuilds set seen_at = seen_at - interval '1 hour' where state in ('requested', 'running')");
}

/** What is wrong once a service has had time to finish what others left. */
async function faultsAtTheEnd(orders: KnownOrders): Promise<string[]> {
  const service = await ServiceProcess.ready(world);
  services.push(service);
  await eventually(async () => {
    const { visible, in_flight, delayed } = await queueDepth(sqs, ORDERS_QUEUE);
    expect([visible, in_flight, delayed]).toEqual([0, 0, 0]);
    expect((await service.get('/metrics')).body).toMatch(/^stats_projection_lag_entries 0$/m);
  }, 60_000);
  const { redisKeyPrefix, businessTimeZone } = {
    redisKeyPrefix: world.environment.REDIS_KEY_PREFIX!,
    businessTimeZone: 'UTC',
  };
  const faults = [
    ...(await orders.faults(query)),
    ...(await audit({ query, redis, redisKeyPrefix, businessTimeZone })),
  ];
  const { body } = await service.get('/stats/verify');
  if (body.verified !== true || body.drift_cents !== 0) faults.push(`Verifying found ${JSON.stringify(body)}`);
  await service.kill('SIGTERM');
  return faults;
}

describe('A service that is killed again and again', () => {
  for (const points of GROUPS) {
    itWithRedis(`loses nothing and counts nothing twice: ${points.join(', ')}`, async () => {
      const random = seededFor(`kills ${points.join(', ')}`);
      const orders = new KnownOrders(
        random.branch(0),
        ORDERS_QUEUE,
        `K${points[0]!.length}${points[0]!.replace(' ', '-').toUpperCase()}`,
      );
      const kills = points.flatMap((point) => Array<KillPoint>(KILLS).fill(point));
      const due = [...kills.entries()];
      const lane = async (): Promise<void> => {
        for (let next = due.shift(); next; next = due.shift()) await dieAt(next[1], random.branch(1 + next[0]), orders);
      };
      await Promise.all(Array.from({ length: LANES }, lane));
      expect(await faultsAtTheEnd(orders)).toEqual([]);
      tell(`${kills.length} kills, ${orders.count} orders, none lost, none counted twice, drift 0`);
    });
  }

  itWithRedis('serves proven figures after each start: between any two steps of a rebuild', async () => {
    const random = seededFor('kills between the steps of a rebuild');
    const orders = new KnownOrders(random.branch(0), ORDERS_QUEUE, 'REBUILD');
    const steps = (await dieBeforeStep(MORE_THAN_ALL_STEPS, orders))!;
    expect(steps).toBeGreaterThan(10);
    const due = atScale(
      [random.between(1, steps), steps - 1],
      random.shuffled(Array.from({ length: Math.max(KILLS + 2, 2 * steps) }, (_, i) => 1 + (i % steps))),
    );
    const killedBefore: number[] = [];
    for (const step of due) {
      await leasesRunOut();
      if ((await dieBeforeStep(step, orders)) === null) killedBefore.push(step);
    }
    await leasesRunOut();
    // What rebuilds that came to nothing have left in Redis is swept away by one that does.
    const outlived = await dieBeforeStep(MORE_THAN_ALL_STEPS, orders);
    expect(outlived).not.toBeNull();
    expect(await faultsAtTheEnd(orders)).toEqual([]);
    tell(`${killedBefore.length} kills before one of ${steps} steps, ${orders.count} orders`);
    expect(killedBefore.length).toBeGreaterThanOrEqual(atScale(1, KILLS));
    // Where nothing came meanwhile, a rebuild has a step less.
    expect(due.filter((step) => step < steps && !killedBefore.includes(step))).toEqual([]);
  });
});

describe('Controls: a service that is killed', () => {
  itWithRedis('and acknowledges before it appends is found to lose orders', async () => {
    const orders = new KnownOrders(seededFor('control: acknowledges first'), ORDERS_QUEUE, 'FIRST');
    await orders.send(sqs, PLENTY);
    const service = ServiceProcess.launch(world, withBug('acknowledges first', diesAt('before append', 1)));
    services.push(service);
    expect((await service.exited).signal).toBe('SIGKILL');
    expect(await faultsAtTheEnd(orders)).toContainEqual(expect.stringMatching(/^ORD-FIRST-\d+ is lost$/));
  });

  itWithRedis('and adds figures before it moves the checkpoint is found to count twice', async () => {
    const orders = new KnownOrders(seededFor('control: adds before it moves'), ORDERS_QUEUE, 'TWICE');
    await orders.send(sqs, PLENTY);
    const service = ServiceProcess.launch(world, withBug('adds before it moves', diesAt('after projection', 1)));
    services.push(service);
    expect((await service.exited).signal).toBe('SIGKILL');
    const faults = await faultsAtTheEnd(orders);
    const tooMuch = faults.flatMap((fault) => {
      const [, found, wanted] = / is (\d+) instead of (\d+)$/.exec(fault) ?? [];
      return found === undefined ? [] : [Number(found) - Number(wanted)];
    });
    expect(tooMuch).not.toEqual([]);
    expect(tooMuch.filter((more) => more <= 0)).toEqual([]);
    expect(faults).toContainEqual(expect.stringMatching(/^Verifying found .*"verified":false/));

    const mending = await ServiceProcess.ready(world);
    services.push(mending);
    await mending.call('POST', '/stats/rebuild', {});
    await proven(mending);
  });

  itWithRedis('and switches to figures before they are complete is found to have wrong ones', async () => {
    const orders = new KnownOrders(seededFor('control: switches before it fills'), ORDERS_QUEUE, 'SWITCH');
    await orders.send(sqs, PLENTY);
    expect(await faultsAtTheEnd(orders)).toEqual([]);
    const service = await startProven(withBug('switches before it fills'));
    await service.call('POST', '/stats/rebuild', {}).catch(() => null);
    expect((await service.exited).signal).toBe('SIGKILL');
    expect(await faultsAtTheEnd(orders)).toContainEqual(
      expect.stringMatching(/^global orders is missing instead of \d+$/),
    );
  });
});
