import type { Redis as IORedis } from 'ioredis';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EmbeddedLedger } from '../../src/platform/embedded/embedded-ledger.js';
import { queueDepth } from '../../src/platform/queue/queue-setup.js';
import { aWorld, type World } from '../support/app.js';
import { audit } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { diesAt, KILL_POINTS, withBug } from '../support/kill-points.js';
import { KnownOrders } from '../support/known-orders.js';
import { ledgerFaults, type LedgerQuery, readLedger } from '../support/ledger-audit.js';

import { onServer } from '../support/parts.js';
import { ServiceProcess } from '../support/process.js';
import { RedisServer } from '../support/redis-server.js';
import type { SeededRandom } from '../support/seeded-random.js';

const KILLS = atScale(3, 100);
const FIRST_STARTS = atScale(1, 8);
/** PGlite makes some more; the one that tells that a ledger is there comes last. */
const FILES_OF_A_LEDGER = 950;
const MARK = 'PG_VERSION';
const COMPLETE = Infinity;
const LONGEST_MS = 1_800_000;
const AT_ONCE = 50;
/** A kill that aims at no point comes when so many orders have been stored at most. */
const MOST_STORED = 200;

let world: World;
let services: ServiceProcess[] = [];

beforeEach(async () => {
  world = await aWorld({ SQS_VISIBILITY_TIMEOUT: '5', SQS_MAX_RECEIVE_COUNT: '1000' });
});

afterEach(async () => {
  for (const service of services) await service.end();
  services = [];
  await world.destroy();
});

/** Starts a service, which must open what the one before has left. */
async function start(environment: Record<string, string> = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.start(world, environment);
  services.push(service);
  return service;
}

/** Keeps a service busy until it is dead. What is on its way to its queue then may be lost, or not. */
async function sendUntilDead(service: ServiceProcess, orders: KnownOrders, kill: () => Promise<void>): Promise<void> {
  await eventually(async () => {
    if (!service.isRunning) return;
    await orders.send(service.sqs, AT_ONCE).catch((error: unknown) => mustBeDead(service, error));
    await kill();
    throw new Error(`The service lives on:\n${service.output}`);
  }, 60_000);
  expect((await service.exited).signal).toBe('SIGKILL');
}

/** Nothing but its end may keep a queue from taking messages. */
async function mustBeDead(service: ServiceProcess, error: unknown): Promise<void> {
  await eventually(() => {
    if (service.isRunning) throw error;
  }, 5_000);
}

/** Has a service die at a point, or by a kill that comes when it comes. @returns how */
async function die(random: SeededRandom, orders: KnownOrders): Promise<string> {
  const point = random.oneOf([...KILL_POINTS, null, null]);
  if (point) {
    const nth = random.between(1, 6);
    await sendUntilDead(await start(diesAt(point, nth)), orders, () => Promise.resolve());
    return point;
  }
  const stored = random.below(MOST_STORED);
  const service = await start();
  await sendUntilDead(service, orders, async () => {
    const accepted = await service.metric('orders_processed_total{outcome="accepted"}').catch(() => 0);
    if (accepted >= stored) await service.kill('SIGKILL');
  });
  return 'from outside';
}

/**
 * What is wrong when a last service has done all that is left to do, and has ended. Where its Redis was a server, that one's
 * files are looked at as well.
 * @param damage is done to a copy of them first
 */
async function faultsAtTheEnd(
  orders: KnownOrders,
  damage: (redis: IORedis) => Promise<unknown> = async () => undefined,
): Promise<string[]> {
  const service = await start();
  await eventually(async () => {
    const { visible, in_flight, delayed } = await queueDepth(service.sqs, 'orders-queue');
    expect([visible, in_flight, delayed]).toEqual([0, 0, 0]);
    expect(await service.metric('stats_projection_lag_entries')).toBe(0);
    expect((await service.get('/stats/verify')).body).toMatchObject({ verified: true, drift_cents: 0 });
  }, 120_000);
  expect(await service.kill('SIGTERM')).toMatchObject({ code: 0 });
  const store = await EmbeddedLedger.open(world.dataDir);
  const left = withPrivateRedis ? await RedisServer.startOnCopyOf(join(world.dataDir, 'redis')) : null;
  try {
    const query: LedgerQuery = (text) => store.query(text);
    const faults = await orders.faults(query);
    if (!left) return [...faults, ...(await ledgerFaults(query, await readLedger(query, 'UTC')))];
    await damage(left.client);
    const redisKeyPrefix = world.environment.REDIS_KEY_PREFIX!;
    return [...faults, ...(await audit({ query, redis: left.client, redisKeyPrefix, businessTimeZone: 'UTC' }))];
  } finally {
    await left?.remove();
    await store.close();
  }
}

/** Makes the start of a service its very first one, and kills it as soon as its ledger has so many files. */
async function dieInFirstStart(files: number): Promise<void> {
  rmSync(ledgerFolder(), { recursive: true });
  const service = ServiceProcess.launch(world);
  services.push(service);
  await eventually(() => {
    const there = existsSync(ledgerFolder()) ? readdirSync(ledgerFolder(), { recursive: true, encoding: 'utf8' }) : [];
    expect(files === COMPLETE ? there.includes(MARK) : there.length >= files).toBe(true);
  }, 60_000);
  expect(await service.kill('SIGKILL')).toMatchObject({ signal: 'SIGKILL' });
}

const ledgerFolder = (): string => join(world.dataDir, 'ledger');

describe('A service on embedded parts', () => {
  it(
    'opens after every kill -9, and has stored all that its queue had taken, once',
    async () => {
      const random = seededFor('kills on embedded parts');
      const orders = new KnownOrders(random.branch(0));
      const ways: Record<string, number> = {};
      for (let kill = 1; kill <= KILLS; kill++) {
        const way = await die(random.branch(kill), orders);
        ways[way] = (ways[way] ?? 0) + 1;
      }
      expect(await faultsAtTheEnd(orders)).toEqual([]);
      tell(`${KILLS} kills (${JSON.stringify(ways)}), ${orders.count} orders, none lost, none stored twice`);
    },
    LONGEST_MS,
  );

  it(
    'opens after a kill -9 in the midst of its very first start, however far that had come',
    async () => {
      const random = seededFor('kills while an embedded ledger is made');
      const moments = Array.from({ length: FIRST_STARTS }, () => random.below(FILES_OF_A_LEDGER));
      for (const files of [...moments, COMPLETE]) {
        await dieInFirstStart(files);
        const orders = new KnownOrders(random, `START-${files === COMPLETE ? 'ALL' : files}`);
        const next = await start();
        await eventually(async () => expect((await next.get('/health/ready')).status).toBe(200), 60_000);
        await orders.send(next.sqs, AT_ONCE);
        await next.kill('SIGKILL');
        expect(await faultsAtTheEnd(orders)).toEqual([]);
      }
    },
    LONGEST_MS,
  );

  it(
    'control: that acknowledges before it appends is found to lose orders',
    async () => {
      const orders = new KnownOrders(seededFor('control: acknowledges first, on embedded parts'));
      const service = await start(withBug('acknowledges first', diesAt('before append', 1)));
      await sendUntilDead(service, orders, () => Promise.resolve());
      expect(await faultsAtTheEnd(orders)).toContainEqual(expect.stringMatching(/is lost$/));
    },
    LONGEST_MS,
  );

  (onServer ? itOnEmbeddedLedger : itWithPrivateRedis)()(
    'control: wrong figures in what its Redis has left are found',
    async () => {
      const orders = new KnownOrders(seededFor('control: wrong figures, on embedded parts'));
      const service = await ServiceProcess.ready(world);
      services.push(service);
      await orders.send(service.sqs, AT_ONCE);
      await service.kill('SIGTERM');
      const faults = await faultsAtTheEnd(orders, async (redis) => {
        for (const key of await redis.keys('*:global')) await redis.hincrby(key, 'revenue', 1);
      });
      expect(faults).toContainEqual(expect.stringMatching(/^global revenue is \d+ instead of \d+$/));
      expect(faults).toContainEqual(expect.stringMatching(/^The sum of revenue over user: is \d+ instead of \d+$/));
    },
    LONGEST_MS,
  );

  it(
    'control: a ledger that is marked as complete before it is does not open after a kill -9',
    async () => {
      const mark = readFileSync(join(ledgerFolder(), MARK));
      await dieInFirstStart(1);
      expect(existsSync(join(ledgerFolder(), MARK))).toBe(false);
      writeFileSync(join(ledgerFolder(), MARK), mark);
      const next = ServiceProcess.launch(world);
      services.push(next);
      await next.says('PGlite failed to initialize properly');
      expect((await next.exited).code).toBe(1);
    },
    LONGEST_MS,
  );
});
