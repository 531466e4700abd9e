import { sql } from 'drizzle-orm';
import { EmbeddedQueue } from '../../src/platform/embedded/embedded-queue.js';
import { QueueSender, type SendReport } from '../../src/platform/queue/queue-sender.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { sampleOrders } from '../../src/producer/sample-orders.rules.js';
import { RunningService } from '../support/app.js';
import { auditOf, partsOf } from '../support/audit.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { makeForgetful } from '../support/forgetful-ledger.js';
import { anOrderEvent } from '../support/order-events.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { SqsFront } from '../support/sqs-front.js';

const RUNS = atScale(1, 2);
const ORDERS_A_RUN = atScale(400, 3_000);
const FAILING = 0.3;
/** Of the entries that are said to have failed. */
const DONE_ALL_THE_SAME = 0.25;
const INVALID = 0.2;
const AS_OF = '2026-01-31T12:00:00Z';
const WITHIN_MS = atScale(120_000, 900_000);

interface Produced {
  message: string;
  orders: { order_id: string; message_id: string }[];
  failed?: { order_id: string; code: string }[];
}

/** A request of `POST /produce` that makes the same orders each time. */
interface Run {
  count: number;
  invalid_rate: number;
  seed: number;
  run_id: string;
  as_of: string;
}

describe('Where a third of the entries of every batch fail', () => {
  let queue: EmbeddedQueue;
  let front: SqsFront;
  let service: RunningService;

  beforeEach(async () => {
    queue = await EmbeddedQueue.start(0, null);
    front = await SqsFront.before(queue.endpoint);
    service = await RunningService.ready({
      environment: { SQS_ENDPOINT: front.endpoint, SQS_WAIT_TIME_SECONDS: '1', SQS_VISIBILITY_TIMEOUT: '5' },
    });
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    await service?.stop();
    await front?.close();
    await queue?.stop();
  });

  function failFrom(random: SeededRandom): void {
    front.faultOf = () => {
      if (!random.happens(FAILING)) return null;
      return random.happens(DONE_ALL_THE_SAME) ? 'done all the same' : 'not done';
    };
  }

  /** The bodies that `POST /produce` makes of a request. */
  function bodiesOf(run: Run): string[] {
    const { count, seed, run_id, invalid_rate } = run;
    const asOf = Date.parse(AS_OF);
    return [...sampleOrders({ count, invalidRate: invalid_rate, seed, runId: run_id, asOf })].map(({ body }) => body);
  }

  /** Asks for orders, and again for the same ones until each was once reported as sent. */
  async function produceUntilSent(run: Run): Promise<{ calls: number; unsentAtFirst: number }> {
    const sent = new Set<string>();
    const everything = new Set<string>();
    let unsentAtFirst = 0;
    let calls = 0;
    do {
      const { status, body } = await service.call('POST', '/produce', run);
      expect(status).toBe(200);
      const { orders, failed = [] } = body as Produced;
      expect(orders.length + failed.length).toBe(run.count);
      for (const { order_id } of orders) sent.add(order_id);
      for (const { order_id } of [...orders, ...failed]) everything.add(order_id);
      if (calls++ === 0) unsentAtFirst = failed.length;
    } while (sent.size < everything.size);
    expect(everything.size).toBe(run.count);
    return { calls, unsentAtFirst };
  }

  /** What of the bodies the ledger does not hold exactly once, and what it holds besides. */
  async function misfits(bodies: string[]): Promise<string[]> {
    const rows = await service.database.query<{ body: string }>(sql`select body from ledger`);
    const copies = new Map(bodies.map((body) => [body, 0]));
    for (const { body } of rows) copies.set(body, (copies.get(body) ?? 1) + 1);
    return [...copies].filter(([, times]) => times !== 1).map(([body, times]) => `${times} times: ${body}`);
  }

  function aRun(count: number, id: string, random: SeededRandom): Run {
    return { count, invalid_rate: INVALID, seed: random.below(2 ** 31), run_id: id, as_of: AS_OF };
  }

  it('every order that was asked for is in the ledger once, and what could not be sent is told', async () => {
    const random = seededFor('a third of the entries of every batch fail');
    failFrom(random);
    const began = performance.now();
    const asked = Array.from({ length: RUNS }, (_, i) => aRun(ORDERS_A_RUN, `partial-${i}`, random));
    for (const run of asked) {
      const { calls, unsentAtFirst } = await produceUntilSent(run);
      tell(`of ${run.count} orders ${unsentAtFirst} were reported as not sent; all were after ${calls} calls`);
    }
    await service.settled(WITHIN_MS);
    expect(await misfits(asked.flatMap(bodiesOf))).toEqual([]);
    expect(await auditOf(service)).toEqual([]);
    tell(
      `${front.failed.SendMessageBatch} entries failed to be sent, ${front.failed.DeleteMessageBatch} to be deleted; ` +
        `a message was received up to ${Math.max(...front.receives.values())} times; ` +
        `${Math.round((performance.now() - began) / 1000)} s`,
    );
    expect(front.failed.SendMessageBatch).toBeGreaterThan(0);
    expect(front.failed.DeleteMessageBatch).toBeGreaterThan(0);
    // What the ledger has is no dead letter, however often it was not deleted.
    expect(await queueDepth(service.sqs, deadLetterQueueOf(service.config.queue.name))).toMatchObject({ visible: 0 });
  });

  it('a message that SQS fails to delete is deleted at once by another call, not after another delivery', async () => {
    const messages = 50;
    const failed = new Set<string>();
    front.faultOf = (action, { ReceiptHandle }) => {
      if (action !== 'DeleteMessageBatch' || failed.has(ReceiptHandle!)) return null;
      failed.add(ReceiptHandle!);
      return 'not done';
    };
    await service.send(...Array.from({ length: messages }, () => anOrderEvent()));
    await service.settled(WITHIN_MS);
    expect(front.failed.DeleteMessageBatch).toBe(messages);
    expect([...front.receives.values()]).toEqual(Array(messages).fill(1));
  });

  it('control: that a sender reports what failed as sent is found', async () => {
    const random = seededFor('control: a sender reports what failed as sent');
    failFrom(random);
    const sender = service.app.get(QueueSender);
    // So that enough stay unsent.
    Reflect.set(sender, 'retryDelaysMs', []);
    const sendAll = sender.sendAll.bind(sender);
    jest.spyOn(sender, 'sendAll').mockImplementation(async (bodies): Promise<SendReport> => {
      const { messageIds } = await sendAll(bodies);
      return { messageIds: messageIds.map((id) => id ?? 'none'), failed: [] };
    });
    const run = aRun(100, 'control', random);
    await produceUntilSent(run);
    await service.settled(WITHIN_MS);
    expect(await misfits(bodiesOf(run))).toContainEqual(expect.stringMatching(/^0 times: /));
  });

  it('control: that a ledger counts again what could not be deleted is found', async () => {
    const random = seededFor('control: a ledger counts again what could not be deleted');
    const run = aRun(100, 'control', random);
    await makeForgetful(partsOf(service).query);
    // What is delivered for the first time can't be deleted, however often that is tried.
    const undeletable = new Set<string>();
    front.faultOf = (action, { ReceiptHandle }) => {
      if (action !== 'DeleteMessageBatch') return null;
      if (undeletable.size < run.count) undeletable.add(ReceiptHandle!);
      return undeletable.has(ReceiptHandle!) ? 'not done' : null;
    };
    await produceUntilSent(run);
    await service.settled(WITHIN_MS);
    expect(Math.max(...front.receives.values())).toBeGreaterThan(1);
    expect(await misfits(bodiesOf(run))).toContainEqual(expect.stringMatching(/^2 times: /));
  });
});
