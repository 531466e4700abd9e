import type { Redis as IORedis } from 'ioredis';
import { Pool } from 'pg';
import { chmodSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EmbeddedPostgres } from '../../src/platform/embedded/embedded-postgres.js';
import { queueDepth } from '../../src/platform/queue/queue-setup.js';
import { aWorld, type World } from '../support/app.js';
import { audit } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { diesAt, KILL_POINTS, withBug } from '../support/kill-points.js';
import { KnownOrders } from '../support/known-orders.js';
import { ledgerFaults, type LedgerQuery, readLedger } from '../support/ledger-audit.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { childrenOf, signal } from '../support/own-process.js';
import { ServiceProcess } from '../support/process.js';
import { RedisServer } from '../support/redis-server.js';
import type { SeededRandom } from '../support/seeded-random.js';

const KILLS = atScale(3, 20);
const FIRST_STARTS = atScale(1, 4);
/** initdb makes about so many files and folders. */
const FILES_OF_A_LEDGER = 950;
const COMPLETE = Infinity;
const AT_ONCE = 50;
/** A kill that aims at no point comes when so many orders have been stored at most. */
const MAX_STORED = 200;

const EMBEDDED = {
  DATABASE_URL: 'embedded',
  REDIS_URL: 'embedded',
  SQS_ENDPOINT: 'embedded',
  SQS_VISIBILITY_TIMEOUT: '5',
  SQS_MAX_RECEIVE_COUNT: '1000',
};

let world: World;
let services: ServiceProcess[] = [];

/** A world whose data folder the user of the database server may enter, so that all of its files are in there. */
async function anEmbeddedWorld(): Promise<void> {
  world = await aWorld(EMBEDDED);
  chmodSync(world.dataDir, 0o711);
}

afterEach(async () => {
  for (const service of services) await service.end();
  services = [];
});

const aKnownTraffic = (random: SeededRandom, name: string): KnownOrders =>
  new KnownOrders(random, world.environment.SQS_QUEUE_NAME!, name);

/** Starts a service, which must open what the one before has left. */
async function start(environment: Record<string, string> = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.start(world, environment);
  services.push(service);
  return service;
}

/** Keeps a service busy until it is dead. What is on its way to its queue then may be lost, or not. */
async function sendUntilDead(service: ServiceProcess, orders: KnownOrders, kill?: () => Promise<void>): Promise<void> {
  await eventually(async () => {
    if (!service.isRunning) return;
    await orders.send(service.sqs, AT_ONCE).catch((error: unknown) => mustBeDead(service, error));
    await kill?.();
    throw new Error(`The service lives on:\n${service.output}`);
  }, 60_000);
  expect((await service.exited).signal).toBe('SIGKILL');
}

/** Nothing but its end may keep a queue from taking messages. */
async function mustBeDead(service: ServiceProcess, error: unknown): Promise<void> {
  await eventually(() => {
    if (service.isRunning) throw error;
  });
}

/** Has a service die at a point, or by a kill that comes when it comes, alone or with its servers. @returns how */
async function die(random: SeededRandom, orders: KnownOrders): Promise<string> {
  const way = random.oneOf([...KILL_POINTS, 'from outside', 'with its servers'] as const);
  if (way !== 'from outside' && way !== 'with its servers') {
    await sendUntilDead(await start(diesAt(way, random.between(1, 6))), orders);
    return way;
  }
  const stored = random.below(MAX_STORED);
  const service = await start();
  await sendUntilDead(service, orders, async () => {
    const accepted = await service.metric('orders_processed_total{outcome="accepted"}').catch(() => 0);
    if (accepted < stored) return;
    const guards = way === 'with its servers' ? childrenOf(service.pid) : [];
    signal([...guards.flatMap((guard) => [guard, ...childrenOf(guard)])], 'SIGKILL');
    await service.kill('SIGKILL');
  });
  return way;
}

/**
 * What is wrong when a last service has done all that is left to do, and has ended. The files of its servers are looked at
 * afterwards, those of Redis where one is installed.
 * @param damage is done to a copy of those first
 */
async function faultsAtTheEnd(
  orders: KnownOrders,
  damage: (redis: IORedis) => Promise<unknown> = async () => undefined,
): Promise<string[]> {
  const service = await start();
  await eventually(async () => {
    const { visible, in_flight, delayed } = await queueDepth(service.sqs, world.environment.SQS_QUEUE_NAME!);
    expect([visible, in_flight, delayed]).toEqual([0, 0, 0]);
    expect(await service.metric('stats_projection_lag_entries')).toBe(0);
    expect((await service.get('/stats/verify')).body).toMatchObject({ verified: true, drift_cents: 0 });
  }, 120_000);
  expect(await service.kill('SIGTERM')).toMatchObject({ code: 0 });
  const postgres = await EmbeddedPostgres.start(world.dataDir, world.environment.PATH!);
  const pool = new Pool({ connectionString: postgres.url });
  pool.on('error', () => undefined); // the server may end a connection before its own goodbye has arrived
  const left = hasRedisServer ? await RedisServer.startOnCopyOf(join(world.dataDir, 'redis')) : null;
  try {
    const query: LedgerQuery = async <Row>(text: string) => (await pool.query(text)).rows as Row[];
    const faults = await orders.faults(query);
    if (!left) return [...faults, ...(await ledgerFaults(query, await readLedger(query, 'UTC')))];
    await damage(left.client);
    const redisKeyPrefix = world.environment.REDIS_KEY_PREFIX!;
    return [...faults, ...(await audit({ query, redis: left.client, redisKeyPrefix, businessTimeZone: 'UTC' }))];
  } finally {
    await left?.remove();
    await pool.end();
    await postgres.stop();
  }
}

describe('A service on embedded servers', () => {
  beforeAll(anEmbeddedWorld);
  afterAll(() => world.destroy());

  it('opens after every kill -9, and has stored all that its queue had taken, once', async () => {
    const random = seededFor('kills on embedded servers');
    const orders = aKnownTraffic(random.branch(0), 'KNOWN');
    const ways: Record<string, number> = {};
    for (let kill = 1; kill <= KILLS; kill++) {
      const way = await die(random.branch(kill), orders);
      ways[way] = (ways[way] ?? 0) + 1;
    }
    expect(await faultsAtTheEnd(orders)).toEqual([]);
    tell(`${KILLS} kills (${JSON.stringify(ways)}), ${orders.count} orders, none lost, none stored twice`);
  });

  itWithRedis('control: wrong figures in what its Redis has left are found', async () => {
    const orders = aKnownTraffic(seededFor('control: wrong figures, on embedded servers'), 'FIGURES');
    const service = await ServiceProcess.ready(world);
    services.push(service);
    await orders.send(service.sqs, AT_ONCE);
    await service.kill('SIGTERM');
    const faults = await faultsAtTheEnd(orders, async (redis) => {
      for (const key of await redis.keys('*:global')) await redis.hincrby(key, 'revenue', 1);
    });
    expect(faults).toContainEqual(expect.stringMatching(/^global revenue is \d+ instead of \d+$/));
    expect(faults).toContainEqual(expect.stringMatching(/^The sum of revenue over user: is \d+ instead of \d+$/));
  });

  it('control: that acknowledges before it appends is found to lose orders', async () => {
    const orders = aKnownTraffic(seededFor('control: acknowledges first, on embedded servers'), 'FIRST');
    const service = await start(withBug('acknowledges first', diesAt('before append', 1)));
    await sendUntilDead(service, orders);
    expect(await faultsAtTheEnd(orders)).toContainEqual(expect.stringMatching(/is lost$/));
  });
});

describe('The very first start of a service on embedded servers', () => {
  beforeEach(anEmbeddedWorld);

  afterEach(async () => {
    for (const service of services) await service.end();
    await world.destroy();
  });

  const ledgerFolder = (): string => join(world.dataDir, 'postgres');
  /** Becomes the data when it is complete. */
  const unfinished = (): string => join(ledgerFolder(), 'data.new');

  /** Kills a service in its first start, as soon as its ledger has so many files. */
  async function dieInFirstStart(files: number): Promise<void> {
    const service = ServiceProcess.launch(world);
    services.push(service);
    await eventually(() => {
      if (existsSync(join(ledgerFolder(), 'data'))) return;
      const there = readdirSync(unfinished(), { recursive: true }).length;
      expect(there).toBeGreaterThanOrEqual(files);
    }, 60_000);
    expect(await service.kill('SIGKILL')).toMatchObject({ signal: 'SIGKILL' });
  }

  const random = seededFor('kills while an embedded ledger is made');
  const moments = Array.from({ length: FIRST_STARTS }, () => random.below(FILES_OF_A_LEDGER));
  it.each([...moments, COMPLETE])('is done over when it was killed with %d files of its ledger', async (files) => {
    await dieInFirstStart(files);
    const orders = aKnownTraffic(random, `START-${files === COMPLETE ? 'ALL' : files}`);
    const next = await ServiceProcess.ready(world);
    services.push(next);
    await orders.send(next.sqs, AT_ONCE);
    await next.kill('SIGKILL');
    expect(await faultsAtTheEnd(orders)).toEqual([]);
  });

  it('control: a ledger that passes for complete before it is does not open after a kill -9', async () => {
    await dieInFirstStart(100);
    renameSync(unfinished(), join(ledgerFolder(), 'data'));
    rmSync(join(ledgerFolder(), 'data', 'global', 'pg_control'), { force: true }); // initdb may have come further
    const next = ServiceProcess.launch(world);
    services.push(next);
    expect((await next.exited).code).toBe(1);
    expect(next.output).toMatch(/postgres does not start/);
  });
});
