import {
  DeleteQueueCommand,
  type MessageAttributeValue,
  PurgeQueueCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { DeadLetters } from '../../src/orders/dead-letters/dead-letters.service.js';
import { DeliveryFailures } from '../../src/orders/consumer/delivery-failures.repository.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { aBreakableQueue, type PartBehindNetwork } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { withQuickLooks } from '../support/no-waiting.js';
import { anOrderEvent } from '../support/order-events.js';

const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };

/** A dead letter as the API shows it. */
type Shown = Answer['body'];
type Input = { QueueUrl: string; Entries?: { Id: string; VisibilityTimeout?: number }[] } & Record<string, unknown>;

let world: World;
let queue: PartBehindNetwork;
let service: RunningService;
let orders: string;
let deadLetters: string;
let undo: (() => void)[] = [];

beforeAll(async () => {
  world = await aWorld({ SQS_MAX_RECEIVE_COUNT: '2', SQS_POLLERS: '1' });
  queue = await aBreakableQueue();
  service = await RunningService.ready({ world, environment: queue.environment });
  orders = service.config.queue.name;
  deadLetters = deadLetterQueueOf(orders);
  withQuickLooks(service.sqs);
});

afterEach(() => {
  jest.restoreAllMocks();
  for (const each of undo) each();
  undo = [];
});

afterAll(async () => {
  await service.stop();
  await queue.remove();
  await world.destroy();
});

/** From now to the end of the test, what a command asks for is shown, and answered with the error that comes back. */
function watch(sqs: SQSClient, command: string, queueName: string, seen: (input: Input) => Error | void): void {
  const name = randomUUID();
  sqs.middlewareStack.add(
    (next, context) => (args) => {
      const input = args.input as Input;
      const ofQueue = input.QueueUrl === queueName || input.QueueUrl?.endsWith(`/${queueName}`);
      const error = context.commandName === command && ofQueue ? seen(input) : undefined;
      if (error) throw error;
      return next(args);
    },
    { step: 'initialize', name },
  );
  undo.push(() => sqs.middlewareStack.remove(name));
}

const brokenDown = (): Error => Object.assign(new Error('We broke down'), { name: 'InternalFailure' });
const refusal = (): Error =>
  Object.assign(new Error('User is not authorized'), {
    name: 'AccessDeniedException',
    $metadata: { httpStatusCode: 403 },
  });

/**
 * What could not be processed is delivered again at once, or after 1 s where the service does not give it back. Resolves
 * when nobody receives as before.
 */
async function hurry(): Promise<void> {
  const nextReceive = new Promise<void>((resolve) => {
    watch(service.sqs, 'ReceiveMessageCommand', orders, (input) => {
      input.VisibilityTimeout = 1;
      resolve();
    });
  });
  watch(service.sqs, 'ChangeMessageVisibilityBatchCommand', orders, ({ Entries = [] }) => {
    for (const entry of Entries) entry.VisibilityTimeout = 0;
  });
  await nextReceive;
}

async function countedOrders(): Promise<number> {
  await service.settled();
  const { body } = await service.get('/stats/global');
  expect(body.failed_orders).toBe(0);
  return body.total_orders;
}

describe('A message that can not be processed', () => {
  beforeEach(async () => {
    jest.spyOn(Logger.prototype, 'error').mockImplementation();
    await service.sqs.send(new PurgeQueueCommand({ QueueUrl: deadLetters }));
    await hurry();
  });

  async function shown(count: number): Promise<Shown[]> {
    await eventually(async () => {
      expect(await queueDepth(service.sqs, deadLetters)).toEqual({ ...NO_MESSAGES, visible: count });
    });
    const { status, body } = await service.get(`/dead-letters?limit=${count}`);
    expect([status, body.waiting]).toEqual([200, count]);
    return body.items;
  }

  it('because the ledger refuses it is listed with its error, and counted once when it is sent back', async () => {
    await service.database.query(
      sql`alter table ledger add constraint refuses_u13 check (user_id is distinct from 'U13')`,
    );
    const before = await countedOrders();
    const order = anOrderEvent({ user_id: 'U13' });
    const began = Date.now();
    await service.send(anOrderEvent(), order);
    // A failure is noted beside the handling, so the last one may follow the message by a moment.
    const letter = await eventually(async () => {
      const [shownLetter] = await shown(1);
      expect(shownLetter!.failures).toBe(2);
      return shownLetter!;
    });
    expect(letter).toEqual({
      message_id: expect.any(String),
      body: JSON.stringify(order),
      receive_count: expect.any(Number),
      sent_at: expect.any(String),
      first_seen: expect.any(String),
      failures: 2,
      last_error: expect.stringContaining('violates check constraint "refuses_u13"'),
      last_failed_at: expect.any(String),
    });
    expect(letter.receive_count).toBeGreaterThan(2);
    expect(Date.parse(letter.sent_at)).toBeGreaterThan(began - 60_000);
    expect(Date.parse(letter.last_failed_at)).toBeGreaterThan(Date.parse(letter.first_seen));
    expect(await countedOrders()).toBe(before + 1);

    await service.database.query(sql`alter table ledger drop constraint refuses_u13`);
    const { status, body } = await service.call('POST', '/dead-letters/redrive', { limit: 1 });
    expect({ status, body }).toEqual({
      status: 200,
      body: { looked_at: 1, matched: 1, redriven: 1, failed: 0, dry_run: false },
    });
    expect(await countedOrders()).toBe(before + 2);
    expect((await service.get('/users/U13/stats')).body).toMatchObject({ order_count: 1 });
    expect(await queueDepth(service.sqs, deadLetters)).toEqual(NO_MESSAGES);
  });

  it('because of a fault of ours is listed with the fault, every message of the batch', async () => {
    const orders = [anOrderEvent(), anOrderEvent(), anOrderEvent()];
    jest.spyOn(service.app.get(Ledger), 'append').mockImplementation(([message]) => {
      throw new TypeError(`can't read "${message!.body}"`);
    });
    await service.send(...orders);
    await eventually(async () => {
      const letters = await shown(3);
      expect(letters.map(({ body }) => JSON.parse(body)).sort(byOrderId)).toEqual([...orders].sort(byOrderId));
      for (const letter of letters) {
        expect(letter).toMatchObject({ failures: 2, last_error: 'can\'t read "…"' });
      }
    });
  });

  const byOrderId = (one: { order_id: string }, other: { order_id: string }): number =>
    one.order_id < other.order_id ? -1 : 1;
});

describe('Dead letters', () => {
  beforeEach(() => service.sqs.send(new PurgeQueueCommand({ QueueUrl: deadLetters })));

  /** Puts a message where SQS puts what could not be processed. @returns its id */
  async function aDeadLetter(
    body: object | string = anOrderEvent(),
    attributes?: Record<string, MessageAttributeValue>,
  ): Promise<string> {
    const command = new SendMessageCommand({
      QueueUrl: deadLetters,
      MessageBody: typeof body === 'string' ? body : JSON.stringify(body),
      MessageAttributes: attributes,
    });
    return (await service.sqs.send(command)).MessageId!;
  }

  async function someDeadLetters(count: number): Promise<string[]> {
    const ids: string[] = [];
    for (let i = 0; i < count; i++) ids.push(await aDeadLetter());
    return ids.sort();
  }

  async function list(limit: number): Promise<Shown[]> {
    const { status, body } = await service.get(`/dead-letters?limit=${limit}`);
    expect({ status, body }).toMatchObject({ status: 200, body: { sample: true } });
    return body.items;
  }

  async function listedIds(limit: number): Promise<string[]> {
    return (await list(limit)).map(({ message_id }) => message_id as string).sort();
  }

  const redrive = (request: object): Promise<Answer> => service.call('POST', '/dead-letters/redrive', request);

  async function recordFailure(messageId: string, error: string): Promise<void> {
    service.app.get(DeliveryFailures).record([{ messageId, error }]);
    await eventually(async () => expect((await service.app.get(DeliveryFailures).of([messageId])).size).toBe(1));
  }

  function pausesReplacedBy(wait: () => Promise<void>): number[] {
    const asked: number[] = [];
    const letters = service.app.get(DeadLetters);
    const before: unknown = Reflect.get(letters, 'pause');
    Reflect.set(letters, 'pause', (ms: number) => {
      asked.push(ms);
      return wait();
    });
    undo.push(() => Reflect.set(letters, 'pause', before));
    return asked;
  }

  describe('are listed', () => {
    it('with what is known of them, released at once, so that the next call shows the same', async () => {
      const ids = await someDeadLetters(12);
      for (let times = 0; times < 3; times++) {
        expect(await listedIds(12)).toEqual(ids);
        expect(await queueDepth(service.sqs, deadLetters)).toEqual({
          visible: 12,
          in_flight: 0,
          delayed: 0,
        });
      }
    });

    it('as null where something is not known', async () => {
      const repair = randomUUID();
      await aDeadLetter('not even JSON', { repair_id: { DataType: 'String', StringValue: repair } });
      const [letter] = await list(1);
      expect(letter).toEqual({
        message_id: expect.any(String),
        body: 'not even JSON',
        receive_count: 1,
        sent_at: expect.any(String),
        first_seen: expect.any(String),
        failures: null,
        last_error: null,
        last_failed_at: null,
        repair_id: repair,
      });
    });

    it('with the time of the first failure where that is earlier than the first receive', async () => {
      const id = await aDeadLetter();
      await recordFailure(id, 'fault');
      await service.database.query(
        sql`update delivery_failures set first_failed_at = '2026-01-02T03:04:05Z' where message_id = ${id}`,
      );
      expect(await list(1)).toMatchObject([{ first_seen: '2026-01-02T03:04:05.000Z', failures: 1 }]);
    });

    it('without their failures while the ledger is down', async () => {
      const id = await aDeadLetter();
      await recordFailure(id, 'fault');
      const { availability } = service.database;
      jest.spyOn(availability, 'up', 'get').mockReturnValue(false);
      expect(await list(1)).toMatchObject([{ message_id: id, failures: null, last_error: null }]);
    });

    it('up to the limit, of 10 if none is given, with about how many there are', async () => {
      await someDeadLetters(13);
      const { body } = await service.get('/dead-letters');
      expect(body).toMatchObject({ sample: true, note: expect.stringContaining('a sample'), waiting: 13 });
      expect(body.items).toHaveLength(10);
      expect(await list(3)).toHaveLength(3);
      const { body: metrics } = await service.get('/metrics');
      expect(metrics).toMatch(new RegExp(`^dead_letters\\{queue="${orders}"\\} 13$`, 'm'));
    });

    it('as none where there is none', async () => {
      expect((await service.get('/dead-letters')).body).toMatchObject({ waiting: 0, items: [] });
    });

    it('and released although receiving fails in between', async () => {
      const ids = await someDeadLetters(12);
      let receives = 0;
      watch(service.sqs, 'ReceiveMessageCommand', deadLetters, () => (++receives === 2 ? brokenDown() : undefined));
      expect(await service.get('/dead-letters?limit=12')).toMatchObject({
        status: 503,
        body: { code: 'queue_unavailable', detail: expect.stringContaining('We broke down') },
      });
      expect(await listedIds(12)).toEqual(ids);
    });
  });

  describe('are sent back', () => {
    it('not at all by a dry run, which says which they would be', async () => {
      const ids = await someDeadLetters(3);
      const before = await countedOrders();
      const { status, body } = await redrive({ limit: 3, dry_run: true });
      expect({ status, body: { ...body, items: body.items.sort() } }).toEqual({
        status: 200,
        body: { looked_at: 3, matched: 3, redriven: 0, failed: 0, dry_run: true, items: ids },
      });
      expect(await listedIds(3)).toEqual(ids);
      expect(await countedOrders()).toBe(before);
    });

    it('exactly those that match the filter, and are counted once', async () => {
      const before = await countedOrders();
      const meant = anOrderEvent({ user_id: 'U-MEANT' });
      const stays = [await aDeadLetter(), await aDeadLetter()].sort();
      await aDeadLetter(meant);
      const { body } = await redrive({ filter: { body_contains: 'U-MEANT' } });
      expect(body).toEqual({ looked_at: 3, matched: 1, redriven: 1, failed: 0, dry_run: false });
      expect(await listedIds(2)).toEqual(stays);
      expect(await countedOrders()).toBe(before + 1);
      expect((await service.get('/users/U-MEANT/stats')).body).toMatchObject({ order_count: 1 });
    });

    it.each<[string, (id: string) => object]>([
      ['its id', (id) => ({ message_ids: [id, randomUUID()] })],
      ['its last error', () => ({ error_contains: 'by the error' })],
      [
        'when it was sent',
        () => ({ sent_after: '2020-01-01', sent_before: '2100-01-01T00:00:00Z', body_contains: '"U-X"' }),
      ],
    ])('by %s', async (_how, filter) => {
      await aDeadLetter();
      const id = await aDeadLetter(anOrderEvent({ user_id: 'U-X' }));
      await recordFailure(id, 'found by the error');
      const { body } = await redrive({ filter: filter(id), dry_run: true });
      expect(body).toMatchObject({ matched: 1, items: [id] });
      expect((await redrive({ filter: { sent_before: '2020-01-01' }, dry_run: true })).body.matched).toBe(0);
    });

    it('up to the limit', async () => {
      const before = await countedOrders();
      await someDeadLetters(7);
      expect((await redrive({ limit: 4 })).body).toMatchObject({ matched: 4, redriven: 4 });
      expect(await list(3)).toHaveLength(3);
      expect(await countedOrders()).toBe(before + 4);
    });

    it.each([
      [{ limit: 25, per_second: 10 }, [1000, 1000], [10, 10, 5]],
      [{ limit: 6, per_second: 4 }, [1000], [4, 2]],
      [{ limit: 25 }, [200, 200], [10, 10, 5]],
    ])('no quicker than asked: %j', async (request, pauses, sends) => {
      const asked = pausesReplacedBy(() => Promise.resolve());
      const sent: number[] = [];
      watch(service.sqs, 'SendMessageBatchCommand', orders, ({ Entries }) => void sent.push(Entries!.length));
      await someDeadLetters(request.limit);
      expect((await redrive(request)).body).toMatchObject({ redriven: request.limit });
      expect(asked).toEqual(pauses);
      expect(sent).toEqual(sends);
    });

    it('with their attributes, a repair with the name of its repair', async () => {
      const repair = randomUUID();
      const append = jest.spyOn(service.app.get(Ledger), 'append');
      let entries: unknown[] = [];
      watch(service.sqs, 'SendMessageBatchCommand', orders, ({ Entries }) => void (entries = Entries!));
      const attributes = {
        repair_id: { DataType: 'String', StringValue: repair },
        seal: { DataType: 'Binary', BinaryValue: Uint8Array.from([0, 255, 7]) },
        weight: { DataType: 'Number.kg', StringValue: '12' },
      };
      await aDeadLetter(anOrderEvent(), attributes);
      await redrive({ limit: 1 });
      await countedOrders();
      expect(entries).toMatchObject([{ MessageAttributes: attributes }]);
      expect(append.mock.calls.flatMap(([messages]) => messages)).toMatchObject([{ repairId: repair }]);
    });

    it('twice where deleting fails in between, and are counted once', async () => {
      jest.spyOn(Logger.prototype, 'warn').mockImplementation();
      const before = await countedOrders();
      const id = await aDeadLetter();
      let failing = true;
      watch(service.sqs, 'DeleteMessageBatchCommand', deadLetters, () => (failing ? brokenDown() : undefined));
      expect(await redrive({ limit: 1 })).toMatchObject({ status: 503, body: { redriven: 1, failed: 0 } });
      expect(await listedIds(1)).toEqual([id]);
      expect(await countedOrders()).toBe(before + 1);

      failing = false;
      const known = await duplicates();
      expect((await redrive({ limit: 1 })).body).toMatchObject({ redriven: 1, failed: 0 });
      await eventually(async () => expect(await duplicates()).toBe(known + 1));
      expect(await countedOrders()).toBe(before + 1);
      expect(await queueDepth(service.sqs, deadLetters)).toEqual(NO_MESSAGES);
    });

    it('not where the orders queue does not take them: these stay', async () => {
      await someDeadLetters(2);
      const tooLong = await aDeadLetter('too long');
      watch(service.sqs, 'SendMessageBatchCommand', orders, ({ Entries }) => {
        const refused = (Entries as unknown as { MessageBody: string }[]).some(
          (entry) => entry.MessageBody === 'too long',
        );
        return refused ? Object.assign(new Error('too long'), { name: 'InvalidParameterValue' }) : undefined;
      });
      expect(await redrive({ limit: 3 })).toMatchObject({
        status: 200,
        body: { looked_at: 3, matched: 3, redriven: 2, failed: 1 },
      });
      expect(await listedIds(1)).toEqual([tooLong]);
    });

    it('not while the orders queue is away: all stay', async () => {
      const ids = await someDeadLetters(2);
      watch(service.sqs, 'SendMessageBatchCommand', orders, brokenDown);
      expect(await redrive({})).toMatchObject({ status: 503, body: { code: 'queue_unavailable' } });
      expect(await listedIds(2)).toEqual(ids);
    });

    it('in part where the orders queue goes away in between, and the answer says so', async () => {
      const before = await countedOrders();
      pausesReplacedBy(() => Promise.resolve());
      await someDeadLetters(12);
      let calls = 0;
      watch(service.sqs, 'SendMessageBatchCommand', orders, () => (++calls > 1 ? brokenDown() : undefined));
      expect(await redrive({ limit: 12 })).toMatchObject({
        status: 503,
        body: { code: 'queue_unavailable', looked_at: 12, matched: 12, redriven: 10, failed: 0 },
      });
      expect(await list(2)).toHaveLength(2);
      expect(await countedOrders()).toBe(before + 10);
    });

    it('by one redrive at a time', async () => {
      let resume = (): void => undefined;
      const waiting = new Promise<void>((resolve) => (resume = resolve));
      const asked = pausesReplacedBy(() => waiting);
      await someDeadLetters(3);
      const first = redrive({ limit: 2, per_second: 1 });
      await eventually(() => expect(asked).toHaveLength(1));
      const second = await redrive({ dry_run: true });
      resume();
      expect([second.status, second.body.code]).toEqual([409, 'redrive_running']);
      expect(await first).toMatchObject({ status: 200, body: { redriven: 2 } });
      expect(await redrive({ limit: 1 })).toMatchObject({ status: 200, body: { redriven: 1 } });
    });

    it('not by an error that the ledger can not tell, while it is down', async () => {
      const ids = await someDeadLetters(1);
      jest.spyOn(service.database.availability, 'up', 'get').mockReturnValue(false);
      expect(await redrive({ filter: { error_contains: 'x' } })).toMatchObject({
        status: 503,
        body: { code: 'ledger_unavailable' },
      });
      expect(await listedIds(1)).toEqual(ids);
    });
  });

  describe('are deleted', () => {
    it('one by one, with what is recorded of it', async () => {
      const ids = await someDeadLetters(12);
      await recordFailure(ids[5]!, 'fault');
      expect(await service.call('DELETE', `/dead-letters/${ids[5]}`)).toMatchObject({
        status: 200,
        body: { deleted: ids[5] },
      });
      expect(await listedIds(11)).toEqual(ids.filter((id) => id !== ids[5]));
      expect(await service.app.get(DeliveryFailures).of([ids[5]!])).toEqual(new Map());
    });

    it('also while the ledger is down', async () => {
      const id = await aDeadLetter();
      jest.spyOn(service.database.availability, 'up', 'get').mockReturnValue(false);
      expect(await service.call('DELETE', `/dead-letters/${id}`)).toMatchObject({ status: 200 });
      expect(await queueDepth(service.sqs, deadLetters)).toEqual(NO_MESSAGES);
    });

    it('not where it is not met', async () => {
      const ids = await someDeadLetters(2);
      expect(await service.call('DELETE', `/dead-letters/${randomUUID()}`)).toMatchObject({
        status: 404,
        body: { code: 'not_found', detail: expect.stringMatching(/among 2\..*another try/) },
      });
      expect(await listedIds(2)).toEqual(ids);
    });
  });

  describe('are not to be had', () => {
    it.each<[string, string, unknown, string[]]>([
      ['GET', '/dead-letters?limit=0', undefined, ['limit']],
      ['GET', '/dead-letters?limit=101&all=1', undefined, ['all', 'limit']],
      ['DELETE', '/dead-letters/no%20id', undefined, ['message_id']],
      [
        'POST',
        '/dead-letters/redrive',
        { limit: 0, per_second: 501, dry_run: 'no' },
        ['dry_run', 'limit', 'per_second'],
      ],
      [
        'POST',
        '/dead-letters/redrive',
        { limit: null, per_second: 1.5, dry_run: null, x: 1 },
        ['dry_run', 'limit', 'per_second', 'x'],
      ],
      ['POST', '/dead-letters/redrive', { limit: 1001, filter: 'all' }, ['filter', 'limit']],
      ['POST', '/dead-letters/redrive', { filter: null }, ['filter']],
      ['POST', '/dead-letters/redrive', { filter: [] }, ['filter']],
      [
        'POST',
        '/dead-letters/redrive',
        {
          filter: {
            message_ids: 'm1',
            body_contains: '',
            error_contains: 7,
            sent_before: 'soon',
            sent_after: null,
            x: 1,
          },
        },
        ['body_contains', 'error_contains', 'message_ids', 'sent_after', 'sent_before', 'x'].map(
          (name) => `filter.${name}`,
        ),
      ],
      ['POST', '/dead-letters/redrive', { filter: { message_ids: [] } }, ['filter.message_ids']],
      ['POST', '/dead-letters/redrive', { filter: { message_ids: ['a', 7] } }, ['filter.message_ids']],
      ['POST', '/dead-letters/redrive', { filter: { message_ids: Array(101).fill('m') } }, ['filter.message_ids']],
      ['POST', '/dead-letters/redrive', { limit: 201, per_second: 10 }, ['limit', 'per_second']],
      [
        'POST',
        '/dead-letters/redrive',
        { per_second: 1, filter: { sent_after: '2026-01-02', sent_before: '2026-01-02' } },
        ['filter.sent_before', 'limit', 'per_second'],
      ],
    ])('by a wrong request: %s %s %j', async (method, path, request, wrong) => {
      const { status, body } = await service.call(method, path, request);
      expect({ status, code: body.code }).toEqual({ status: 400, code: 'invalid_input' });
      expect(body.errors.map(({ field }: { field: string }) => field).sort()).toEqual(wrong);
    });

    it.each([
      ['GetQueueAttributes', 'orders', 'sqs:GetQueueAttributes'],
      ['GetQueueAttributes', 'dead letters', 'sqs:GetQueueAttributes'],
      ['ReceiveMessage', 'dead letters', 'sqs:ReceiveMessage'],
      ['ChangeMessageVisibilityBatch', 'dead letters', 'sqs:ChangeMessageVisibility'],
    ])('without a permission, which is named: %s on the queue of the %s', async (command, of, permission) => {
      jest.spyOn(Logger.prototype, 'warn').mockImplementation();
      await aDeadLetter();
      const on = of === 'orders' ? orders : deadLetters;
      watch(service.sqs, `${command}Command`, on, refusal);
      const { status, body } = await service.get('/dead-letters?limit=1');
      expect([status, body.code]).toEqual([503, 'queue_unavailable']);
      expect(body.detail).toContain(`lack the permission ${permission} on the queue ${on}`);
    });

    it('without the permission to delete, which is named', async () => {
      const id = await aDeadLetter();
      watch(service.sqs, 'DeleteMessageBatchCommand', deadLetters, refusal);
      const named = { detail: expect.stringContaining(`sqs:DeleteMessage on the queue ${deadLetters}`) };
      expect(await service.call('DELETE', `/dead-letters/${id}`)).toMatchObject({ status: 503, body: named });
      expect(await redrive({ limit: 1 })).toMatchObject({ status: 503, body: { ...named, redriven: 1 } });
      expect(await listedIds(1)).toEqual([id]);
    });
  });
});

describe('Without its queue', () => {
  it('every route says so, and has dead letters again when it is back', async () => {
    jest.spyOn(Logger.prototype, 'warn').mockImplementation();
    await service.sqs.send(new PurgeQueueCommand({ QueueUrl: deadLetters }));
    queue.goAway(service);
    for (const [method, path] of [
      ['GET', '/dead-letters'],
      ['POST', '/dead-letters/redrive'],
      ['DELETE', '/dead-letters/m1'],
    ] as const) {
      expect(await service.call(method, path)).toMatchObject({ status: 503, body: { code: 'queue_unavailable' } });
    }
    expect((await service.get('/metrics')).body).not.toMatch(/^dead_letters\{/m);
    await queue.comeBack();
    await service.isReady();
    expect(await service.get('/dead-letters')).toMatchObject({ status: 200, body: { items: [] } });

    await service.sqs.send(new DeleteQueueCommand({ QueueUrl: deadLetters }));
    expect(await service.get('/dead-letters')).toMatchObject({ status: 503, body: { code: 'queue_unavailable' } });
  });
});

async function duplicates(): Promise<number> {
  const { body } = await service.get('/metrics');
  return Number(/orders_processed_total\{outcome="duplicate"\} (\d+)/.exec(body)![1]);
}
