import { Logger } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { StepHandlers, type StepHandler } from '../../src/fulfilment/workflow/step-handlers.js';
import { stepMessageText } from '../../src/fulfilment/messaging/step-messages.js';
import { StepQueues } from '../../src/fulfilment/messaging/step-queues.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { QueueSender } from '../../src/platform/queue/queue-sender.js';
import { deadLetterQueueOf } from '../../src/platform/queue/queue-setup.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { aBreakableQueue, type PartBehindNetwork } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { anOrderEvent } from '../support/order-events.js';

const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };
/** What a queue is told of that nobody has used. */
const UNUSED = {
  in_flight: 0,
  done: 0,
  failed: 0,
  last_error: null,
  depth: NO_MESSAGES,
  oldest_age_seconds: null,
  dead_letters: 0,
  reason: null,
};

/** A queue as the API shows it. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look at whatever came
type Shown = Record<string, any>;

let home: World;
let network: PartBehindNetwork;
let service: RunningService;
let handler: StepHandler;
/** The names of the queues by what they are for. */
let queues: Record<'orders' | 'inventory' | 'payment' | 'shipment', string>;

beforeAll(async () => {
  home = await aWorld();
  network = await aBreakableQueue();
  service = await RunningService.ready({ world: home, environment: network.environment });
  const { queue, stepQueues } = service.config;
  const { inventory, payment, shipment } = stepQueues;
  queues = { orders: queue.name, inventory: inventory.name, payment: payment.name, shipment: shipment.name };
});

beforeEach(() => {
  handler = () => Promise.resolve();
  jest.spyOn(StepHandlers.prototype, 'of').mockReturnValue((...given) => handler(...given));
});

afterEach(() => jest.restoreAllMocks());

afterAll(async () => {
  await service.stop();
  await network.remove();
  await home.destroy();
});

async function workers(): Promise<Record<string, Shown>> {
  const { status, body } = await service.get('/api/v1/system/workers');
  expect(status).toBe(200);
  return Object.fromEntries((body as { queues: Shown[] }).queues.map((worker) => [worker.queue, worker]));
}

async function workerOf(queue: keyof typeof queues): Promise<Shown> {
  return (await workers())[queues[queue]]!;
}

async function metrics(): Promise<string[]> {
  return ((await service.get('/api/v1/system/metrics')).body as string).split('\n');
}

describe('The workers', () => {
  async function send(fields: { delaySeconds?: number } = {}): Promise<void> {
    const body = stepMessageText({ messageId: randomUUID(), orderId: 'ORD-1', task: 'charge', reference: null });
    await service.app
      .get(StepQueues)
      .of('payment')
      .sender.sendEach([{ body, ...fields }]);
  }

  it('are told of by queue, one that nobody has used too', async () => {
    const { body } = await service.get('/api/v1/system/workers');
    expect(Date.parse(body.since)).toBeLessThanOrEqual(Date.now());
    const told = await workers();
    expect(Object.keys(told).sort()).toEqual(Object.values(queues).sort());
    expect(told[queues.orders]).toEqual({ queue: queues.orders, pollers: 4, ...UNUSED });
    expect(told[queues.payment]).toEqual({ queue: queues.payment, pollers: 2, ...UNUSED });
  });

  it('have messages in hand, then done, and know how old they were', async () => {
    let letGo!: () => void;
    handler = () => new Promise((resolve) => (letGo = resolve));
    await send();
    await send({ delaySeconds: 900 });
    await eventually(async () => {
      expect(await workerOf('payment')).toMatchObject({
        in_flight: 1,
        done: 0,
        depth: { visible: 0, in_flight: 1, delayed: 1 },
      });
    });
    const { oldest_age_seconds: age } = await workerOf('payment');
    expect(age).toBeGreaterThanOrEqual(0);
    letGo();
    await eventually(async () => {
      expect(await workerOf('payment')).toMatchObject({ in_flight: 0, done: 1, failed: 0 });
    });
    expect(await workerOf('payment')).toMatchObject({ oldest_age_seconds: age });
    const lines = await metrics();
    for (const line of [
      `queue_messages{queue="${queues.payment}",state="delayed"} 1`,
      `queue_messages{queue="${queues.orders}",state="visible"} 0`,
      `queue_worker_in_flight{queue="${queues.payment}"} 0`,
      `queue_worker_done_total{queue="${queues.payment}"} 1`,
      `queue_worker_done_total{queue="${queues.orders}"} 0`,
      `queue_worker_failed_total{queue="${queues.payment}"} 0`,
      `queue_worker_oldest_age_seconds{queue="${queues.payment}"} ${age}`,
      `dead_letters{queue="${queues.payment}"} 0`,
    ])
      expect(lines).toContain(line);
    expect(lines.filter((line) => line.startsWith('queue_worker_oldest_age_seconds{'))).toHaveLength(1);
  });

  it('count what failed with its last error, which shows nothing of the message', async () => {
    jest.spyOn(Logger.prototype, 'error').mockImplementation();
    handler = () => Promise.reject(new Error('invalid input: "Jane Doe"'));
    await send();
    await eventually(async () => {
      expect(await workerOf('payment')).toMatchObject({
        in_flight: 0,
        done: 1,
        failed: 1,
        last_error: { message: 'invalid input: "…"', at: expect.stringMatching(/^\d{4}-.*Z$/) },
      });
    });
    expect(await metrics()).toContain(`queue_worker_failed_total{queue="${queues.payment}"} 1`);
  });

  it('of the orders queue count orders, and messages that could not be stored', async () => {
    jest.spyOn(Logger.prototype, 'error').mockImplementation();
    await service.send(anOrderEvent(), anOrderEvent(), anOrderEvent());
    await service.settled();
    expect(await workerOf('orders')).toMatchObject({ done: 3, failed: 0, depth: NO_MESSAGES });
    jest.spyOn(service.app.get(Ledger), 'append').mockRejectedValueOnce(new TypeError('x is not a function'));
    await service.send(anOrderEvent());
    await eventually(async () => {
      expect(await workerOf('orders')).toMatchObject({
        done: 3,
        failed: 1,
        last_error: { message: 'x is not a function' },
      });
    });
  });

  it('count the dead letters of each queue', async () => {
    const deadLetters = new QueueSender(service.sqs, deadLetterQueueOf(queues.shipment));
    await deadLetters.sendAll(['one', 'two']);
    expect(await workerOf('shipment')).toMatchObject({ dead_letters: 2, depth: NO_MESSAGES });
    expect(await workerOf('orders')).toMatchObject({ dead_letters: 0 });
    expect(await metrics()).toContain(`dead_letters{queue="${queues.shipment}"} 2`);
  });

  it('are asked under two names of the health and the metrics, with the same answers', async () => {
    const [health, old] = await Promise.all([service.get('/api/v1/system/health'), service.get('/health')]);
    expect([health.status, Object.keys(health.body.details).sort()]).toEqual([
      old.status,
      Object.keys(old.body.details).sort(),
    ]);
    const { headers } = await service.get('/api/v1/system/metrics');
    expect(headers.get('content-type')).toBe((await service.get('/metrics')).headers.get('content-type'));
  });

  it('are told of with the reason where their queues can’t be reached', async () => {
    jest.spyOn(Logger.prototype, 'warn').mockImplementation();
    network.goAway(service);
    await eventually(async () => {
      const told = Object.values(await workers());
      expect(told).toHaveLength(4);
      for (const worker of told) {
        expect(worker).toMatchObject({ depth: null, dead_letters: null, reason: expect.stringMatching(/\S/) });
      }
    });
    const { status, body } = await service.get('/api/v1/system/health');
    expect([status, Object.keys(body.error).sort()]).toEqual([
      503,
      ['inventory_queue', 'payment_queue', 'queue', 'shipment_queue'],
    ]);
    expect((await metrics()).filter((line) => /^(queue_messages|dead_letters)\{/.test(line))).toEqual([]);
  });
});
