import {
  type DeleteMessageBatchRequestEntry,
  DeleteQueueCommand,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { SqsService } from '@ssut/nestjs-sqs';
import { sql } from 'drizzle-orm';
import { Redis as IORedis } from 'ioredis';
import { Client } from 'pg';
import { OrderConsumer } from '../../src/orders/order-consumer.js';
import { OrderIntake } from '../../src/orders/order-intake.js';
import { Ledger } from '../../src/ledger/ledger.js';
import { DatabaseUnavailable, MIGRATION_LOCK } from '../../src/platform/database/database.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import {
  aBreakableLedger,
  aBreakableQueue,
  aBreakableRedis,
  aBreakableLedger,
  aRedisServer,
  type PartBehindNetwork,
} from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';

/** So often a part that is down is tried in some 4 s, by the service's back-off. */
const MANY_ATTEMPTS = 5;
const QUEUES = ['inventory-queue', 'orders-queue', 'payment-queue', 'shipment-queue'];
const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };

let cleanUps: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
});

/** To be undone after the test; what came last goes first. */
function removed<Part extends { remove(): Promise<unknown> }>(part: Part): Part {
  cleanUps.push(() => part.remove());
  return part;
}

async function world(overrides: Record<string, string> = {}): Promise<World> {
  const made = await aWorld(overrides);
  cleanUps.push(() => made.destroy());
  return made;
}

async function started(world: World, environment: Record<string, string> = {}): Promise<RunningService> {
  const service = await RunningService.start({ world, environment });
  cleanUps.push(() => service.stop());
  return service;
}

async function ready(world: World, environment: Record<string, string> = {}): Promise<RunningService> {
  const service = await started(world, environment);
  await service.isReady();
  return service;
}

const someOrders = (count: number): object[] => Array.from({ length: count }, () => anOrderEvent());

/** Waits until the figures have so many orders of 10.00, and nothing else. */
async function hasCounted(service: RunningService, orders: number, withinMs?: number): Promise<void> {
  await eventually(async () => {
    const { body } = await service.get('/stats/global');
    expect(body).toMatchObject({ total_orders: orders, total_revenue: orders * 10, failed_orders: 0 });
  }, withinMs);
}

/** What the service says in its log from now on, at `warn` and above. */
function logLines(): string[] {
  const lines: string[] = [];
  for (const level of ['warn', 'error', 'fatal'] as const) {
    jest.spyOn(Logger.prototype, level).mockImplementation((...said: unknown[]) => void lines.push(String(said[0])));
  }
  return lines;
}

/** The visibility timeouts (s) that the service asks for when it gives messages back; it gets 1 s instead. */
function shortBackOffs(sqs: SQSClient): number[] {
  const asked: number[] = [];
  sqs.middlewareStack.add(
    (next) => (args) => {
      const { Entries } = args.input as { Entries?: { VisibilityTimeout?: number }[] };
      for (const entry of Entries ?? []) {
        if (entry.VisibilityTimeout === undefined) continue;
        asked.push(entry.VisibilityTimeout);
        entry.VisibilityTimeout = 1;
      }
      return next(args);
    },
    { step: 'initialize' },
  );
  return asked;
}

/** An order that was received and not deleted is visible again after 1 s, whatever the service asks for. */
async function shortVisibility(sqs: SQSClient): Promise<void> {
  await new Promise<void>((nextPoll) => {
    sqs.middlewareStack.add(
      (next, { commandName }) =>
        (args) => {
          const { QueueUrl = '' } = args.input as { QueueUrl?: string };
          if (commandName !== 'ReceiveMessageCommand' || !QueueUrl.endsWith('orders-queue')) return next(args);
          nextPoll();
          return next({ ...args, input: { ...args.input, VisibilityTimeout: 1 } });
        },
      { step: 'initialize' },
    );
  });
}

describe('The start', () => {
  async function startsWithout(
    part: PartBehindNetwork,
    home: World,
    says: { part: string; culprits: string[] },
  ): Promise<void> {
    const lines = logLines();
    await part.network.refuse();
    const service = await started(home, part.environment);
    expect((await service.get('/health/live')).status).toBe(200);
    await eventually(async () => {
      const { status, body } = await service.get('/health/ready');
      expect([status, body.code]).toEqual([503, 'not_ready']);
      expect(body.error[says.part].reason).toMatch(/ECONNREFUSED|Connection is closed/);
    });
    await eventually(() => {
      const culprits = lines.map((line) => /^(.*) can't be used yet: /.exec(line)?.[1]);
      expect(culprits.sort()).toEqual(says.culprits.sort());
    });
    part.goAway(service);
    await part.network.resume();
    await service.isReady();
    await service.send(...someOrders(3));
    await hasCounted(service, 3);
    expect(lines).toHaveLength(says.culprits.length);
  }

  it('waits for a queue that is down', async () => {
    const queue = removed(await aBreakableQueue());
    await startsWithout(queue, await world(), { part: 'queue', culprits: QUEUES.map((name) => `the queue ${name}`) });
  });

  it('waits for PostgreSQL that is down', async () => {
    const home = await world();
    const ledger = removed(await aBreakableLedger(home));
    await startsWithout(ledger, home, { part: 'ledger', culprits: ['PostgreSQL'] });
  });

  itWithRedis('waits for Redis that is down', async () => {
    const home = await world();
    const redis = removed(await aBreakableRedis(home));
    await startsWithout(redis, home, { part: 'redis', culprits: ['Redis'] });
  });
});

describe('An outage of the ledger', () => {
  it('dead-letters nothing, however long it lasts and however few receives a message has', async () => {
    const home = await world({ SQS_MAX_RECEIVE_COUNT: '2', SQS_WAIT_TIME_SECONDS: '0' });
    const ledger = removed(await aBreakableLedger(home));
    const service = await ready(home, ledger.environment);
    await service.send(...someOrders(10));
    await hasCounted(service, 10);

    // A message in hand goes back at once and can be received again after 1 s: two receives are over after 2 s.
    Reflect.set(service.app.get(OrderIntake), 'patienceMs', 0);
    shortBackOffs(service.sqs);
    ledger.goAway(service);
    await service.send(...someOrders(90));
    await eventually(() => expect(ledger.attempts).toBeGreaterThan(MANY_ATTEMPTS));
    const { status, body } = await service.get('/health/ready');
    expect([status, body.error.ledger.reason]).toEqual([503, expect.not.stringContaining('ORD')]);
    expect(await service.get('/order-events')).toMatchObject({ status: 503, body: { code: 'ledger_unavailable' } });

    await ledger.comeBack();
    await hasCounted(service, 100);
    await service.settled();
    expect(await queueDepth(service.sqs, deadLetterQueueOf('orders-queue'))).toEqual(NO_MESSAGES);
  });

  it('is noticed and dead-letters nothing where PostgreSQL stops answering', async () => {
    const home = await world({ SQS_MAX_RECEIVE_COUNT: '2', SQS_VISIBILITY_TIMEOUT: '5', SQS_WAIT_TIME_SECONDS: '0' });
    const ledger = removed(await aBreakableLedger(home));
    const service = await ready(home, ledger.environment);
    shortBackOffs(service.sqs);
    ledger.network.stall();
    await service.send(...someOrders(50));
    await eventually(() => expect(service.database.availability.up).toBe(false));
    await ledger.comeBack();
    await hasCounted(service, 50);
    await service.settled();
    expect(await queueDepth(service.sqs, deadLetterQueueOf('orders-queue'))).toEqual(NO_MESSAGES);
  });
});

describe('A connection to PostgreSQL that breaks', () => {
  const onServer = it;

  onServer('in the middle of a transaction costs that transaction, and not the service', async () => {
    const home = await world();
    const ledger = removed(await aBreakableLedger(home));
    const service = await ready(home, ledger.environment);
    const broken = service.database.transaction(async (tx) => {
      await tx.query(sql`select 1`);
      // It is to break while nothing is being asked.
      ledger.goAway(service);
      await eventually(() => expect(service.database.availability.up).toBe(false));
      await tx.query(sql`select 1`);
    });
    await expect(broken).rejects.toThrow(DatabaseUnavailable);
    await ledger.comeBack();
    await service.isReady();
    await service.send(...someOrders(5));
    await hasCounted(service, 5);
  });

  onServer('while the start waits for the migration of another process is waited out', async () => {
    const home = await world();
    const ledger = removed(await aBreakableLedger(home));
    const other = new Client(home.environment.DATABASE_URL);
    await other.connect();
    cleanUps.push(() => other.end());
    await other.query(`select pg_advisory_lock(${MIGRATION_LOCK})`);
    const starting = started(home, ledger.environment);
    await eventually(async () => {
      const { rows } = await other.query(`select from pg_locks where locktype = 'advisory' and not granted`);
      expect(rows).toHaveLength(1);
    });
    ledger.network.cut();
    await other.query(`select pg_advisory_unlock(${MIGRATION_LOCK})`);
    const service = await starting;
    await service.isReady();
  });
});

describe('A rush on the ledger', () => {
  it('is no outage: who finds no free connection for too long may come again, and the others go on', async () => {
    const service = await RunningService.ready({ environment: { SQS_VISIBILITY_TIMEOUT: '9' } });
    cleanUps.push(() => service.stop());
    const { database } = service;
    let letGo!: () => void;
    const free = new Promise<void>((resolve) => (letGo = resolve));
    const held = Array.from({ length: 10 }, () => database.transaction(() => free));
    await expect(database.query(sql`select 1`)).rejects.toThrow(DatabaseUnavailable);
    expect(database.availability.up).toBe(true);
    letGo();
    await Promise.all(held);
    expect(await database.query(sql`select 1 as one`)).toEqual([{ one: 1 }]);
  });
});

describe('An outage of Redis', () => {
  const STATISTICS = ['/stats/global', '/stats/top/5', '/stats/monthly', '/stats/daily', '/users', '/users/U1/stats'];

  itWithRedis('stops no intake, and statistics are refused instead of wrong until they are exact', async () => {
    const home = await world();
    const redis = removed(await aBreakableRedis(home));
    const service = await ready(home, redis.environment);
    await service.send(...someOrders(10));
    await hasCounted(service, 10);

    redis.goAway(service);
    await eventually(() => expect(service.redis.availability.up).toBe(false));
    await service.send(...someOrders(40));
    await eventually(async () => expect((await service.app.get(Ledger).head()).position).toBe(50));
    for (const path of STATISTICS) {
      const { status, headers, body } = await service.get(path);
      expect([path, status, body.code]).toEqual([
        path,
        503,
        expect.stringMatching(/^(redis_unavailable|stats_rebuilding)$/),
      ]);
      expect(headers.get('content-type')).toContain('application/problem+json');
    }
    expect(await service.get('/consumer_logs')).toMatchObject({ status: 503, body: { code: 'redis_unavailable' } });
    expect(await service.get('/health/ready')).toMatchObject({ status: 503, body: { error: { redis: {} } } });

    await redis.comeBack();
    await eventually(async () => {
      const { status, body } = await service.get('/stats/global');
      // Whatever is answered with numbers on the way there must not be those from before the outage.
      if (status === 200) expect(body).toMatchObject({ total_orders: 50, total_revenue: 500 });
      expect(status).toBe(200);
    });
    expect((await service.get('/stats/global')).body.total_orders).toBe(50);
  });

  itWithRedis('is noticed where Redis stops answering', async () => {
    const home = await world();
    const redis = removed(await aBreakableRedis(home));
    const service = await ready(home, redis.environment);
    redis.network.stall();
    await service.send(...someOrders(20));
    await eventually(async () => expect((await service.app.get(Ledger).head()).position).toBe(20));
    await eventually(async () => {
      expect(await service.get('/health/ready')).toMatchObject({ status: 503, body: { error: { redis: {} } } });
    });
    expect(await service.get('/stats/global')).toMatchObject({ status: 503 });
    await redis.comeBack();
    await hasCounted(service, 20);
  });

  itWithRedis('is what a Redis that may evict keys counts as', async () => {
    const home = await world();
    const server = await aRedisServer(home);
    cleanUps.push(() => server.stop());
    const redis = new IORedis({ path: server.socketPath });
    cleanUps.push(() => redis.quit());
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const service = await started(home, { REDIS_URL: `unix://${server.socketPath}` });
    await eventually(async () => {
      const { status, body } = await service.get('/health/ready');
      expect([status, body.error?.redis?.reason]).toEqual([
        503,
        'maxmemory-policy is allkeys-lru: it must be noeviction, or figures would vanish silently',
      ]);
    });
    await redis.config('SET', 'maxmemory-policy', 'noeviction');
    await service.isReady();

    await redis.config('SET', 'maxmemory-policy', 'volatile-ttl');
    const { status, body } = await service.get('/health/ready');
    expect([status, body.error.redis.reason]).toEqual([503, expect.stringContaining('volatile-ttl')]);
  });
});

describe('An outage of the queue', () => {
  it('is logged once a second at most, and 5 s after it orders arrive again', async () => {
    const home = await world();
    const queue = removed(await aBreakableQueue());
    const service = await ready(home, { ...queue.environment, SQS_POLLERS: '1' });
    const lines = logLines();
    queue.goAway(service);
    const began = performance.now();
    await eventually(() => {
      expect(queue.attempts).toBeGreaterThan(9 * QUEUES.length);
      // The emulator gives messages to those who waited for one when the network broke, for as long as they would have.
      expect(performance.now() - began).toBeGreaterThan(2 * 1000 * service.config.queue.waitTimeSeconds);
    });
    expect(await service.get('/health/ready')).toMatchObject({ status: 503, body: { error: { queue: {} } } });
    expect(await service.call('POST', '/produce', {})).toMatchObject({
      status: 503,
      body: { code: 'queue_unavailable' },
    });
    const lasted = performance.now() - began;

    await queue.comeBack();
    await eventually(() =>
      expect(service.sqs.send(new ReceiveMessageCommand({ QueueUrl: 'other' }))).rejects.toThrow(),
    );
    await service.send(...someOrders(5));
    await hasCounted(service, 5, 5_000);
    for (const name of QUEUES) {
      const said = lines.filter((line) => line.startsWith(`the queue ${name} `));
      expect(said.length).toBeLessThanOrEqual(Math.ceil(lasted / 1000));
      expect(said[0]).toMatch(/ is down: /);
    }
  });

  it('is noticed by the health page within 6 s where the queue stops answering', async () => {
    const home = await world();
    const queue = removed(await aBreakableQueue());
    const service = await ready(home, queue.environment);
    queue.network.stall();
    const asked = performance.now();
    expect(await service.get('/health/ready')).toMatchObject({ status: 503, body: { error: { queue: {} } } });
    expect(performance.now() - asked).toBeLessThan(6_000);
    await queue.comeBack();
    await service.isReady();
  });

  it('ends by itself where the queue was deleted: it is made again', async () => {
    const home = await world();
    const queue = removed(await aBreakableQueue());
    const service = await ready(home, queue.environment);
    await service.sqs.send(new DeleteQueueCommand({ QueueUrl: 'orders-queue' }));
    await eventually(() => service.send(anOrderEvent()));
    await hasCounted(service, 1, 5_000);
  });
});

describe('A fault of ours', () => {
  it('acknowledges nothing, backs off, and leaves the message in the dead-letter queue after the last receive', async () => {
    const service = await ready(await world({ SQS_MAX_RECEIVE_COUNT: '2' }));
    const lines = logLines();
    const asked = shortBackOffs(service.sqs);
    const append = jest.spyOn(service.app.get(Ledger), 'append').mockImplementation(() => {
      throw new TypeError('x is not a function');
    });
    const order = anOrderEvent();
    await service.send(order);
    const deadLetters = deadLetterQueueOf('orders-queue');
    await eventually(async () => {
      expect(await queueDepth(service.sqs, deadLetters)).toEqual({ ...NO_MESSAGES, visible: 1 });
    });
    expect(append).toHaveBeenCalledTimes(2);
    expect(asked).toEqual([5, 10]);
    expect(lines).toEqual(
      Array(2).fill('1 message was not processed and will be delivered again: x is not a function'),
    );
    const { Messages } = await service.sqs.send(new ReceiveMessageCommand({ QueueUrl: deadLetters }));
    expect(JSON.parse(Messages![0]!.Body!)).toEqual(order);

    append.mockRestore();
    await service.send(anOrderEvent());
    await hasCounted(service, 1);
    const { body } = await service.get('/consumer_logs');
    expect(body.logs[0]).toMatchObject({ level: 'error', outcome: 'not_processed' });
  });
});

describe('A poll loop', () => {
  const onePoller = { SQS_POLLERS: '1' };

  it('that ended is noticed and started again', async () => {
    const service = await ready(await world(onePoller));
    const lines = logLines();
    const consumer = service.app
      .get(SqsService, { strict: false, each: true })
      .flatMap(({ consumers }) => consumers.get('orders-poller-1')?.instance ?? [])
      .at(0);
    consumer!.stop();
    await eventually(() => expect(consumer!.status).toEqual({ isRunning: false, isPolling: false }));
    service.app.get(OrderConsumer).watch();
    expect(lines).toEqual(['orders-poller-1 has ended and is started again']);
    await service.send(anOrderEvent());
    await hasCounted(service, 1);
  });

  it('that hangs is noticed and started again, and what it had in hand is counted once', async () => {
    const service = await ready(await world(onePoller));
    await shortVisibility(service.sqs);
    const lines = logLines();
    const intake = service.app.get(OrderIntake);
    // The handler's method was bound when the loops were made, so it calls through the intake.
    const handle = jest.spyOn(intake, 'handle').mockImplementationOnce(() => new Promise(() => undefined));
    await service.send(anOrderEvent());
    await eventually(() => expect(handle).toHaveBeenCalled());

    const consumer = service.app.get(OrderConsumer);
    consumer.watch();
    expect(lines).toEqual([]);
    const now = performance.now();
    const clock = jest.spyOn(performance, 'now').mockReturnValue(now + (30 + 15 + 1) * 1000);
    consumer.watch();
    clock.mockRestore();
    expect(lines).toContainEqual(expect.stringMatching(/^orders-poller-\d hangs processing and is started again$/));
    await hasCounted(service, 1);
    await service.settled();
    expect((await service.get('/stats/global')).body.total_orders).toBe(1);
  });
});

describe('A message that could not be deleted', () => {
  type Entry = DeleteMessageBatchRequestEntry;

  /** SQS fails to delete, once, as `fails` says of a call's entries. */
  function failOnceToDelete(sqs: SQSClient, fails: (entries: Entry[]) => Entry[] | Error): void {
    let done = false;
    sqs.middlewareStack.add(
      (next, context) => (args) => {
        const input = args.input as { QueueUrl: string; Entries: Entry[] };
        if (done || context.commandName !== 'DeleteMessageBatchCommand') return next(args);
        done = true;
        const left = fails(input.Entries);
        if (left instanceof Error) throw left;
        return next({ ...args, input: { ...input, Entries: left } });
      },
      { step: 'initialize' },
    );
  }

  it.each([
    ['the call fails', () => Object.assign(new Error('Internal error'), { name: 'InternalFailure' })],
    ['some of a call fail', (entries: Entry[]) => entries.slice(0, 1)],
  ])('is delivered again and counted once: %s', async (_how, fails) => {
    const service = await ready(await world({ SQS_POLLERS: '1' }));
    await shortVisibility(service.sqs);
    shortBackOffs(service.sqs);
    logLines();
    failOnceToDelete(service.sqs, fails);
    await service.send(...someOrders(10));
    await hasCounted(service, 10);
    await service.settled();
    expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: 10, total_revenue: 100 });
    const { body } = await service.get('/metrics');
    expect(Number(/orders_processed_total\{outcome="duplicate"\} (\d+)/.exec(body)![1])).toBeGreaterThan(0);
    expect(await queueDepth(service.sqs, deadLetterQueueOf('orders-queue'))).toEqual(NO_MESSAGES);
  });
});
