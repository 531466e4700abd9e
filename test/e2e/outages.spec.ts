import {
  type DeleteMessageBatchRequestEntry,
  DeleteQueueCommand,
  PurgeQueueCommand,
  ReceiveMessageCommand,
} from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { SqsService } from '@ssut/nestjs-sqs';
import { Redis as IORedis } from 'ioredis';
import { randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { OrderConsumer } from '../../src/orders/consumer/order-consumer.worker.js';
import { OrderIntake } from '../../src/orders/consumer/order-intake.service.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import {
  aBreakableLedger,
  aBreakableQueue,
  aBreakableRedis,
  aRedisServer,
  type PartBehindNetwork,
} from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';

/** So often a part that is down is tried in about a second, by the service's back-off. */
const MANY_ATTEMPTS = 3;
const MAX_RECEIVES = 3;
const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };

let cleanUps: (() => Promise<unknown> | void)[] = [];

async function cleanUp(): Promise<void> {
  jest.restoreAllMocks();
  for (const each of cleanUps.reverse()) await each();
  cleanUps = [];
}

const someOrders = (count: number): object[] => Array.from({ length: count }, () => anOrderEvent());

async function ordersOf(service: RunningService): Promise<number> {
  return (await service.get('/stats/global')).body.total_orders as number;
}

/** Waits until the figures have so many orders of 10.00, and nothing else. */
async function hasCounted(service: RunningService, orders: number): Promise<void> {
  await eventually(async () => {
    const { body } = await service.get('/stats/global');
    expect(body).toMatchObject({ total_orders: orders, total_revenue: orders * 10, failed_orders: 0 });
  });
}

/** What the service says in its log from now on, at `warn` and above. */
function logLines(): string[] {
  const lines: string[] = [];
  for (const level of ['warn', 'error', 'fatal'] as const) {
    jest.spyOn(Logger.prototype, level).mockImplementation((...said: unknown[]) => void lines.push(String(said[0])));
  }
  return lines;
}

function queuesOf({ environment }: World): string[] {
  const { SQS_QUEUE_NAME, INVENTORY_QUEUE_NAME, PAYMENT_QUEUE_NAME, SHIPMENT_QUEUE_NAME } = environment;
  return [INVENTORY_QUEUE_NAME!, SQS_QUEUE_NAME!, PAYMENT_QUEUE_NAME!, SHIPMENT_QUEUE_NAME!];
}

describe('The start', () => {
  afterEach(cleanUp);

  async function world(): Promise<World> {
    const made = await aWorld();
    cleanUps.push(() => made.destroy());
    return made;
  }

  async function started(world: World, environment: Record<string, string>): Promise<RunningService> {
    const service = await RunningService.start({ world, environment });
    cleanUps.push(() => service.stop());
    return service;
  }

  async function startsWithout(
    part: PartBehindNetwork,
    home: World,
    says: { part: string; culprits: string[] },
  ): Promise<void> {
    cleanUps.push(() => part.remove());
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
    const home = await world();
    const culprits = queuesOf(home).map((name) => `the queue ${name}`);
    await startsWithout(await aBreakableQueue(), home, { part: 'queue', culprits });
  });

  it('waits for PostgreSQL that is down', async () => {
    const home = await world();
    await startsWithout(await aBreakableLedger(home), home, { part: 'ledger', culprits: ['PostgreSQL'] });
  });

  itWithRedis('waits for Redis that is down', async () => {
    const home = await world();
    await startsWithout(await aBreakableRedis(home), home, { part: 'redis', culprits: ['Redis'] });
  });

  itWithRedis('waits for Redis that may evict keys', async () => {
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

describe('The running service', () => {
  let world: World;
  let queue: PartBehindNetwork;
  let ledger: PartBehindNetwork;
  let redis: PartBehindNetwork | null;
  let service: RunningService;
  let orders: string;
  let deadLetters: string;
  /** How many orders the figures had when a test began. */
  let before: number;

  beforeAll(async () => {
    world = await aWorld({ SQS_MAX_RECEIVE_COUNT: String(MAX_RECEIVES), SQS_POLLERS: '1' });
    queue = await aBreakableQueue();
    ledger = await aBreakableLedger(world);
    redis = hasRedisServer ? await aBreakableRedis(world) : null;
    const environment = { ...queue.environment, ...ledger.environment, ...redis?.environment };
    service = await RunningService.ready({ world, environment });
    orders = service.config.queue.name;
    deadLetters = deadLetterQueueOf(orders);
  });

  beforeEach(async () => {
    before = await ordersOf(service);
  });

  afterEach(cleanUp);

  afterAll(async () => {
    await service.stop();
    for (const part of [queue, ledger, redis]) await part?.remove();
    await world.destroy();
  });

  type Call = (args: { input: object }) => Promise<never>;

  /** To the end of the test, decides about what the service asks SQS for. */
  function watchSqs(middleware: (next: Call, context: { commandName?: string }) => Call): void {
    const name = randomUUID();
    service.sqs.middlewareStack.add(middleware as never, { step: 'initialize', name });
    cleanUps.push(() => void service.sqs.middlewareStack.remove(name));
  }

  /** The visibility timeouts (s) that the service asks for when it gives messages back, which get none instead. */
  function withoutBackOffs(): number[] {
    const asked: number[] = [];
    watchSqs((next) => (args) => {
      const { Entries } = args.input as { Entries?: { VisibilityTimeout?: number }[] };
      for (const entry of Entries ?? []) {
        if (entry.VisibilityTimeout === undefined) continue;
        asked.push(entry.VisibilityTimeout);
        entry.VisibilityTimeout = 0;
      }
      return next(args);
    });
    return asked;
  }

  /** An order that was received and not deleted is visible again after 1 s, whatever the service asks for. */
  async function withShortVisibility(): Promise<void> {
    await new Promise<void>((nextPoll) => {
      watchSqs((next, { commandName }) => (args) => {
        const { QueueUrl = '' } = args.input as { QueueUrl?: string };
        if (commandName !== 'ReceiveMessageCommand' || !QueueUrl.endsWith(orders)) return next(args);
        nextPoll();
        return next({ ...args, input: { ...args.input, VisibilityTimeout: 1 } });
      });
    });
  }

  /** Messages in hand go back at once while the ledger is away. */
  function withoutPatience(): void {
    const intake = service.app.get(OrderIntake);
    const patienceMs = Reflect.get(intake, 'patienceMs') as number;
    Reflect.set(intake, 'patienceMs', 0);
    cleanUps.push(() => void Reflect.set(intake, 'patienceMs', patienceMs));
  }

  describe('in an outage of the ledger', () => {
    it('dead-letters nothing, however long it lasts and however few receives a message has', async () => {
      withoutPatience();
      withoutBackOffs();
      ledger.goAway(service);
      await service.send(...someOrders(90));
      await eventually(() => expect(ledger.attempts).toBeGreaterThan(MANY_ATTEMPTS));
      const { status, body } = await service.get('/health/ready');
      expect([status, body.error.ledger.reason]).toEqual([503, expect.not.stringContaining('ORD')]);
      expect(await service.get('/order-events')).toMatchObject({ status: 503, body: { code: 'ledger_unavailable' } });

      await ledger.comeBack();
      await hasCounted(service, before + 90);
      await service.settled();
      expect(await queueDepth(service.sqs, deadLetters)).toEqual(NO_MESSAGES);
    });

    it('notices that PostgreSQL stops answering, and dead-letters nothing', async () => {
      // For connections that are made from now on.
      const { options } = Reflect.get(service.database, 'pool') as Pool;
      const { query_timeout } = options;
      options.query_timeout = 500;
      cleanUps.push(() => void (options.query_timeout = query_timeout));
      ledger.network.cut();
      await eventually(() => service.isReady());
      withoutPatience();
      withoutBackOffs();
      ledger.network.stall();
      await service.send(...someOrders(50));
      await eventually(() => expect(service.database.availability.up).toBe(false));
      await ledger.comeBack();
      await hasCounted(service, before + 50);
      await service.settled();
      expect(await queueDepth(service.sqs, deadLetters)).toEqual(NO_MESSAGES);
    });
  });

  describe('in an outage of Redis', () => {
    const STATISTICS = ['/stats/global', '/stats/top/5', '/stats/monthly', '/stats/daily', '/users', '/users/U1/stats'];

    async function positions(): Promise<number> {
      return (await service.app.get(Ledger).head()).position;
    }

    itWithRedis(
      'stops no intake, and refuses statistics until they are exact, which are not wrong before',
      async () => {
        const head = await positions();
        redis!.goAway(service);
        await eventually(() => expect(service.redis.availability.up).toBe(false));
        await service.send(...someOrders(40));
        await eventually(async () => expect(await positions()).toBe(head + 40));
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

        await redis!.comeBack();
        const total = before + 40;
        await eventually(async () => {
          const { status, body } = await service.get('/stats/global');
          // Whatever is answered with numbers on the way there must not be those from before the outage.
          if (status === 200) expect(body).toMatchObject({ total_orders: total, total_revenue: total * 10 });
          expect(status).toBe(200);
        });
        expect(await ordersOf(service)).toBe(total);
      },
    );

    itWithRedis('notices that Redis stops answering', async () => {
      const head = await positions();
      redis!.network.stall();
      await service.send(...someOrders(20));
      await eventually(async () => expect(await positions()).toBe(head + 20));
      await eventually(async () => {
        expect(await service.get('/health/ready')).toMatchObject({ status: 503, body: { error: { redis: {} } } });
      });
      expect(await service.get('/stats/global')).toMatchObject({ status: 503 });
      await redis!.comeBack();
      await hasCounted(service, before + 20);
    });
  });

  describe('in an outage of the queue', () => {
    it('logs it once a second at most, and goes on by itself when it is over', async () => {
      const lines = logLines();
      queue.goAway(service);
      const began = performance.now();
      const queues = queuesOf(world);
      await eventually(() => expect(queue.attempts).toBeGreaterThan(3 * queues.length));
      expect(await service.get('/health/ready')).toMatchObject({ status: 503, body: { error: { queue: {} } } });
      expect(await service.call('POST', '/produce', {})).toMatchObject({
        status: 503,
        body: { code: 'queue_unavailable' },
      });
      const lasted = performance.now() - began;

      await queue.comeBack();
      await eventually(() => service.send(anOrderEvent()));
      await hasCounted(service, before + 1);
      for (const name of queues) {
        const said = lines.filter((line) => line.startsWith(`the queue ${name} `));
        expect(said.length).toBeLessThanOrEqual(Math.ceil(lasted / 1000));
        expect(said[0]).toMatch(/ is down: /);
      }
    });

    it('shows on the health page that the queue stops answering', async () => {
      const timeouts: number[] = [];
      const timeout = AbortSignal.timeout.bind(AbortSignal);
      jest.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
        timeouts.push(ms);
        return timeout(Math.min(ms, 500));
      });
      queue.network.stall();
      expect(await service.get('/health/ready')).toMatchObject({ status: 503, body: { error: { queue: {} } } });
      expect(new Set(timeouts)).toEqual(new Set([5_000]));
      await queue.comeBack();
      await service.isReady();
    });

    it('makes the queue again where it was deleted', async () => {
      await service.sqs.send(new DeleteQueueCommand({ QueueUrl: orders }));
      await eventually(() => service.send(anOrderEvent()));
      await hasCounted(service, before + 1);
    });
  });

  describe('with a fault of ours', () => {
    it('acknowledges nothing, backs off, and leaves the message in the dead-letter queue after the last receive', async () => {
      const lines = logLines();
      const asked = withoutBackOffs();
      const append = jest.spyOn(service.app.get(Ledger), 'append').mockImplementation(() => {
        throw new TypeError('x is not a function');
      });
      const order = anOrderEvent();
      await service.send(order);
      await eventually(async () => {
        expect(await queueDepth(service.sqs, deadLetters)).toEqual({ ...NO_MESSAGES, visible: 1 });
      });
      expect(append).toHaveBeenCalledTimes(MAX_RECEIVES);
      expect(asked).toEqual([5, 10, 20]);
      expect(lines).toEqual(
        Array(MAX_RECEIVES).fill('1 message was not processed and will be delivered again: x is not a function'),
      );
      const { Messages } = await service.sqs.send(new ReceiveMessageCommand({ QueueUrl: deadLetters }));
      expect(JSON.parse(Messages![0]!.Body!)).toEqual(order);
      await service.sqs.send(new PurgeQueueCommand({ QueueUrl: deadLetters }));

      append.mockRestore();
      await eventually(async () => {
        const { body } = await service.get('/consumer_logs?limit=500');
        const logged = body.logs.filter(({ level }: { level: string }) => level === 'error');
        expect(logged[0]).toMatchObject({ outcome: 'not_processed' });
      });
      await service.send(anOrderEvent());
      await hasCounted(service, before + 1);
    });
  });

  describe('with a poll loop', () => {
    it('that ended notices it and starts it again', async () => {
      const lines = logLines();
      const consumer = service.app
        .get(SqsService, { strict: false, each: true })
        .flatMap(({ consumers }) => consumers.get('orders-poller-1')?.instance ?? [])
        .at(0);
      consumer!.stop();
      await eventually(() => {
        service.app.get(OrderConsumer).watch();
        expect(lines).toEqual(['orders-poller-1 has ended and is started again']);
      });
      expect(consumer!.status).toMatchObject({ isRunning: true });
      await service.send(anOrderEvent());
      await hasCounted(service, before + 1);
    });

    it('that hangs notices it and starts it again, and what it had in hand is counted once', async () => {
      await withShortVisibility();
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
      await hasCounted(service, before + 1);
      await service.settled();
      expect(await ordersOf(service)).toBe(before + 1);
    });
  });

  describe('with messages that could not be deleted', () => {
    type Entry = DeleteMessageBatchRequestEntry;

    /** SQS fails to delete orders, once, as `fails` says of a call's entries. */
    function failOnceToDelete(fails: (entries: Entry[]) => Entry[] | Error): void {
      let done = false;
      watchSqs((next, context) => (args) => {
        const input = args.input as { QueueUrl: string; Entries: Entry[] };
        if (done || context.commandName !== 'DeleteMessageBatchCommand') return next(args);
        done = true;
        const left = fails(input.Entries);
        if (left instanceof Error) throw left;
        return next({ ...args, input: { ...input, Entries: left } });
      });
    }

    it.each([
      ['the call fails', () => Object.assign(new Error('Internal error'), { name: 'InternalFailure' })],
      ['some of a call fail', (entries: Entry[]) => entries.slice(0, 1)],
    ])('gets them again and counts them once: %s', async (_how, fails) => {
      const duplicates = await duplicatesOf(service);
      const deadBefore = await queueDepth(service.sqs, deadLetters);
      await withShortVisibility();
      withoutBackOffs();
      logLines();
      failOnceToDelete(fails);
      await service.send(...someOrders(10));
      await hasCounted(service, before + 10);
      await service.settled();
      expect(await ordersOf(service)).toBe(before + 10);
      expect(await duplicatesOf(service)).toBeGreaterThan(duplicates);
      expect(await queueDepth(service.sqs, deadLetters)).toEqual(deadBefore);
    });
  });
});

async function duplicatesOf(service: RunningService): Promise<number> {
  const { body } = await service.get('/metrics');
  return Number(/orders_processed_total\{outcome="duplicate"\} (\d+)/.exec(body)![1]);
}
