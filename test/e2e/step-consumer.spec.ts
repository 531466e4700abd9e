import { ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { SqsService } from '@ssut/nestjs-sqs';
import { randomUUID } from 'node:crypto';
import { StepHandlers, type StepDelivery, type StepHandler } from '../../src/fulfilment/step-handlers.js';
import { MOST_STEPS_AT_ONCE, StepIntake } from '../../src/fulfilment/step-intake.js';
import {
  STEP_QUEUES,
  STEP_TASKS,
  stepMessageText,
  type StepMessage,
  type StepTask,
} from '../../src/fulfilment/step-messages.js';
import { MOST_WAITING, StepQueues } from '../../src/fulfilment/step-queues.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { createService } from '../../src/service.js';
import { loadConfig } from '../../src/shared/config.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { aBreakableLedger } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';

const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };
const TASKS = Object.keys(STEP_TASKS) as StepTask[];

let cleanUps: (() => Promise<unknown>)[] = [];
const running = new Set<RunningService>();

afterEach(async () => {
  jest.restoreAllMocks();
  for (const service of running) await stop(service);
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
});

async function aHome(environment: Record<string, string> = {}): Promise<World> {
  const home = await aWorld(environment);
  cleanUps.push(() => home.destroy());
  return home;
}

/** A service whose steps are all handled like this. */
async function aService(handler: StepHandler, home?: World): Promise<RunningService> {
  jest.spyOn(StepHandlers.prototype, 'of').mockReturnValue(handler);
  return started(home ?? (await aHome()));
}

async function started(world: World, environment: Record<string, string> = {}): Promise<RunningService> {
  const service = await RunningService.ready({ world, environment });
  running.add(service);
  return service;
}

function stop(service: RunningService): Promise<void> {
  running.delete(service);
  return service.stop();
}

function aStep(fields: Partial<StepMessage> = {}): StepMessage {
  return { messageId: randomUUID(), orderId: 'ORD-1', task: 'reserve', reference: null, ...fields };
}

/** Puts steps on the queue of their task; with texts, on the inventory queue. */
async function send(service: RunningService, ...steps: (StepMessage | string)[]): Promise<void> {
  const queues = service.app.get(StepQueues);
  const bodies = steps.map((step) => ({
    queue: typeof step === 'string' ? 'inventory' : STEP_TASKS[step.task],
    body: typeof step === 'string' ? step : stepMessageText(step),
  }));
  for (const name of STEP_QUEUES) await queues.of(name).sender.sendEach(bodies.filter(({ queue }) => queue === name));
}

async function isEmpty(service: RunningService, task: StepTask): Promise<void> {
  await eventually(async () => {
    expect(await service.app.get(StepQueues).of(STEP_TASKS[task]).queue.depth()).toEqual(NO_MESSAGES);
  });
}

/** Steps that are under way until they are let go. */
function held(): { handler: StepHandler; underWay: StepMessage[]; letGo: () => void } {
  const underWay: StepMessage[] = [];
  let letGo!: () => void;
  const free = new Promise<void>((resolve) => (letGo = resolve));
  const handler: StepHandler = (message) => {
    underWay.push(message);
    return free;
  };
  return { handler, underWay, letGo };
}

/** For how long (s) the service has messages hidden, by their order; it gets at most 1 s instead. */
function hidings(sqs: SQSClient): number[] {
  const asked: number[] = [];
  sqs.middlewareStack.add(
    (next) => (args) => {
      const { Entries } = args.input as { Entries?: { VisibilityTimeout?: number }[] };
      for (const entry of Entries ?? []) {
        if (entry.VisibilityTimeout === undefined) continue;
        asked.push(entry.VisibilityTimeout);
        entry.VisibilityTimeout = Math.min(1, entry.VisibilityTimeout);
      }
      return next(args);
    },
    { step: 'initialize' },
  );
  return asked;
}

function errorLines(): string[] {
  const lines: string[] = [];
  jest.spyOn(Logger.prototype, 'error').mockImplementation((...said: unknown[]) => void lines.push(String(said[0])));
  return lines;
}

describe('The queues of the steps', () => {
  it('have each task done from its own, once, and acknowledged', async () => {
    const done: [StepMessage, StepDelivery][] = [];
    const service = await aService(async (...given) => void done.push(given));
    const steps = TASKS.map((task) => aStep({ task, reference: `of ${task}`.replace(' ', '-') }));
    await send(service, ...steps);
    await eventually(() => expect(done).toHaveLength(TASKS.length));
    expect(done).toEqual(expect.arrayContaining(steps.map((step) => [step, { receiveCount: 1 }])));
    for (const task of TASKS) await isEmpty(service, task);
    expect(done).toHaveLength(TASKS.length);
  });

  it('have poll loops of their own, as the orders queue has', async () => {
    const service = await aService(() => Promise.resolve());
    const loops = service.app
      .get(SqsService, { strict: false, each: true })
      .map(({ consumers }) => [...consumers.keys()].map((name) => name.replace(/-\d+$/, '')));
    const of = (name: string, count: number): string[] => Array<string>(count).fill(name);
    expect(loops.sort()).toEqual([
      [...of('inventory-poller', 6), ...of('payment-poller', 6), ...of('shipment-poller', 6)],
      of('orders-poller', 16),
    ]);
  });

  it('are parts that have to be ready', async () => {
    const service = await aService(() => Promise.resolve());
    const { queue } = service.app.get(StepQueues).of('payment');
    expect((await service.get('/health/ready')).body.details).toMatchObject({
      inventory_queue: { status: 'up', pollers: 2 },
      payment_queue: { status: 'up', pollers: 2 },
      shipment_queue: { status: 'up', pollers: 2 },
    });
    jest.spyOn(queue, 'depth').mockRejectedValueOnce(new Error('gone'));
    expect(await service.get('/health/ready')).toMatchObject({
      status: 503,
      body: { code: 'not_ready', error: { payment_queue: { reason: 'gone' } } },
    });
  });

  it('never have more steps under way at once than the database has room for', async () => {
    const { handler, underWay, letGo } = held();
    const service = await aService(handler);
    const steps = TASKS.flatMap((task) => [aStep({ task }), aStep({ task }), aStep({ task })]);
    await send(service, ...steps);
    await eventually(async () => {
      const depths = await Promise.all(STEP_QUEUES.map((step) => service.app.get(StepQueues).of(step).queue.depth()));
      expect(depths.reduce((sum, { in_flight }) => sum + in_flight, 0)).toBe(steps.length);
    });
    expect(underWay).toHaveLength(MOST_STEPS_AT_ONCE);
    letGo();
    await eventually(() => expect(new Set(underWay.map(({ messageId }) => messageId)).size).toBe(steps.length));
    for (const task of TASKS) await isEmpty(service, task);
    expect(underWay).toHaveLength(steps.length);
  });
});

describe('A queue with many steps', () => {
  it('is received from as far as they will soon be handled, and on and on', async () => {
    const { handler, underWay, letGo } = held();
    const service = await aService(handler);
    const steps = Array.from({ length: 100 }, () => aStep());
    await send(service, ...steps);
    const { queue, gate, settings } = service.app.get(StepQueues).of('inventory');
    const { receiving } = gate as unknown as { receiving: Set<number> };
    const enough = MOST_STEPS_AT_ONCE + MOST_WAITING;
    await eventually(async () => {
      const { in_flight } = await queue.depth();
      expect(in_flight).toBeGreaterThanOrEqual(enough);
      expect(receiving.size).toBe(0);
    });
    // Whoever was receiving when there were enough brings a batch yet.
    const most = enough + settings.pollers * settings.maxNumberOfMessages;
    expect((await queue.depth()).in_flight).toBeLessThanOrEqual(most);
    letGo();
    await isEmpty(service, 'reserve');
    expect(underWay).toHaveLength(steps.length);
  });
});

describe('A step that fails', () => {
  it('comes again by itself, later each time, and the others of its batch do not', async () => {
    const lines = errorLines();
    const receives: Record<string, number[]> = {};
    const service = await aService(async ({ orderId }, { receiveCount }) => {
      (receives[orderId] ??= []).push(receiveCount);
      if (orderId === 'ORD-BAD' && receiveCount < 4) throw new TypeError('"ORD-BAD" is not a function');
    });
    const asked = hidings(service.sqs);
    await send(service, aStep({ orderId: 'ORD-BAD' }), aStep({ orderId: 'ORD-A' }), aStep({ orderId: 'ORD-B' }));
    await eventually(() => expect(receives['ORD-BAD']).toEqual([1, 2, 3, 4]));
    await isEmpty(service, 'reserve');
    expect(receives).toEqual({ 'ORD-BAD': [1, 2, 3, 4], 'ORD-A': [1], 'ORD-B': [1] });
    const whole = [5, 10, 20];
    expect(asked).toHaveLength(whole.length);
    for (const [index, seconds] of asked.entries()) {
      expect(seconds).toBeGreaterThanOrEqual(whole[index]! / 2);
      expect(seconds).toBeLessThanOrEqual(whole[index]!);
    }
    expect(lines).toEqual(
      Array(3).fill(
        expect.stringMatching(
          /^The message [0-9a-f-]{36} on inventory-queue was not processed and will be delivered again: "…" is not a function$/,
        ),
      ),
    );
    const { activity } = service.app.get(StepQueues).of('inventory').queue;
    expect(activity).toMatchObject({ done: 3, failed: 3 });
  });

  it('for want of a part that is down says nothing, since the part does', async () => {
    const lines = errorLines();
    const service = await aService((_, { receiveCount }) =>
      receiveCount === 1 ? Promise.reject(new DatabaseUnavailable('gone')) : Promise.resolve(),
    );
    hidings(service.sqs);
    await send(service, aStep());
    await isEmpty(service, 'reserve');
    expect(lines).toEqual([]);
  });

  it.each([
    ['that is no step', 'Jane Doe, 1 Main Street', 'it is not JSON'],
    ['of another queue', stepMessageText(aStep({ task: 'ship' })), 'ship is not done from this queue'],
  ])('for being a message %s ends among the dead letters, its body in no log', async (_, body, reason) => {
    const lines = errorLines();
    const handled = jest.fn();
    const service = await aService(handled, await aHome({ SQS_MAX_RECEIVE_COUNT: '2' }));
    hidings(service.sqs);
    await send(service, body);
    const deadLetters = deadLetterQueueOf('inventory-queue');
    await eventually(async () => {
      expect(await queueDepth(service.sqs, deadLetters)).toEqual({ ...NO_MESSAGES, visible: 1 });
    });
    const { Messages } = await service.sqs.send(new ReceiveMessageCommand({ QueueUrl: deadLetters }));
    expect(Messages![0]!.Body).toBe(body);
    expect(handled).not.toHaveBeenCalled();
    expect(lines).toEqual(Array(2).fill(expect.stringMatching(`: This is no message of a step: ${reason}$`)));
  });
});

describe('A step that takes long', () => {
  it('stays hidden, as do those that wait for their turn, and is done once', async () => {
    const { handler, underWay, letGo } = held();
    const service = await aService(handler, await aHome({ SQS_VISIBILITY_TIMEOUT: '5' }));
    const hidden: number[] = [];
    service.sqs.middlewareStack.add(
      (next, { commandName }) =>
        (args) => {
          const { Entries = [] } = args.input as { Entries?: unknown[] };
          if (commandName === 'ChangeMessageVisibilityBatchCommand') hidden.push(Entries.length);
          return next(args);
        },
      { step: 'initialize' },
    );
    const steps = Array.from({ length: MOST_STEPS_AT_ONCE + 2 }, () => aStep());
    await send(service, ...steps);
    const sum = (): number => hidden.reduce((one, other) => one + other, 0);
    // Each message, more often than its visibility timeout lasts.
    await eventually(() => expect(sum()).toBeGreaterThanOrEqual(steps.length * 3), 30_000);
    letGo();
    await isEmpty(service, 'reserve');
    expect(underWay.map(({ messageId }) => messageId).sort()).toEqual(steps.map(({ messageId }) => messageId).sort());
  }, 60_000);
});

describe('An outage of the database', () => {
  it('costs no message a receive, however long it lasts', async () => {
    const home = await aHome();
    const ledger = await aBreakableLedger(home);
    cleanUps.push(() => ledger.remove());
    const receives: number[] = [];
    jest
      .spyOn(StepHandlers.prototype, 'of')
      .mockReturnValue(async (_, { receiveCount }) => void receives.push(receiveCount));
    const service = await started(home, ledger.environment);
    ledger.goAway(service);
    await eventually(async () => expect((await service.get('/health/ready')).status).toBe(503));
    // A poll that was under way when the database went may still bring messages; it has ended when SQS gives it nothing.
    const { queue, gate } = service.app.get(StepQueues).of('inventory');
    await eventually(() => expect((gate as unknown as { receiving: Set<number> }).receiving.size).toBe(0));
    await send(service, aStep(), aStep());
    await eventually(() => expect(ledger.attempts).toBeGreaterThan(5));
    expect(await queue.depth()).toEqual({ ...NO_MESSAGES, visible: 2 });
    await ledger.comeBack();
    await isEmpty(service, 'reserve');
    expect(receives).toEqual([1, 1]);
  });
});

describe('The end of the process', () => {
  it('waits for the steps that are in hand, those too that wait for their turn', async () => {
    const { handler, underWay, letGo } = held();
    const service = await aService(handler);
    const steps = Array.from({ length: MOST_STEPS_AT_ONCE + 3 }, () => aStep());
    await send(service, ...steps);
    const { queue } = service.app.get(StepQueues).of('inventory');
    await eventually(async () => expect((await queue.depth()).in_flight).toBe(steps.length));
    const stopping = jest.spyOn(service.app.get(StepIntake), 'stop');
    const asked = hidings(service.sqs);
    const stopped = stop(service);
    await eventually(() => expect(stopping).toHaveBeenCalled());
    letGo();
    await stopped;
    expect(underWay).toHaveLength(steps.length);
    expect(asked).toEqual([]);
  });

  it('gives back what does not get its turn in time', async () => {
    const home = await aHome();
    const { handler, underWay, letGo } = held();
    const first = await aService(handler, home);
    const steps = Array.from({ length: MOST_STEPS_AT_ONCE + 3 }, () => aStep());
    await send(first, ...steps);
    const { queue } = first.app.get(StepQueues).of('inventory');
    await eventually(async () => expect((await queue.depth()).in_flight).toBe(steps.length));
    const asked: number[] = [];
    first.sqs.middlewareStack.add(
      (next) => (args) => {
        const { Entries = [] } = args.input as { Entries?: { VisibilityTimeout?: number }[] };
        for (const { VisibilityTimeout } of Entries) if (VisibilityTimeout !== undefined) asked.push(VisibilityTimeout);
        return next(args);
      },
      { step: 'initialize' },
    );
    const stopped = stop(first);
    await eventually(() => expect(asked).toEqual([3, 3, 3]));
    letGo();
    await stopped;
    expect(underWay).toHaveLength(MOST_STEPS_AT_ONCE);

    const again: [StepMessage, StepDelivery][] = [];
    const second = await aService(async (...given) => void again.push(given), home);
    await isEmpty(second, 'reserve');
    const begun = new Set(underWay.map(({ messageId }) => messageId));
    expect(again).toHaveLength(3);
    for (const [{ messageId }, delivery] of again) {
      expect(begun.has(messageId)).toBe(false);
      expect(delivery).toEqual({ receiveCount: 2 });
    }
  });
});

describe('The handlers of steps', () => {
  const handler: StepHandler = () => Promise.resolve();

  it('are one a task', () => {
    const handlers = new StepHandlers();
    handlers.register('ship', handler);
    expect(handlers.of('ship')).toBe(handler);
    expect(() => handlers.register('ship', handler)).toThrow('The step ship has two handlers');
  });

  it('are complete, or all that are missing are named', () => {
    const handlers = new StepHandlers();
    for (const task of ['reserve', 'charge', 'return-payment'] as const) handlers.register(task, handler);
    expect(() => handlers.assertComplete()).toThrow('Steps without a handler: ask, ship');
    for (const task of ['ask', 'ship'] as const) handlers.register(task, handler);
    expect(() => handlers.assertComplete()).not.toThrow();
  });

  it('stop the start where one is missing', async () => {
    const { register } = StepHandlers.prototype;
    jest.spyOn(StepHandlers.prototype, 'register').mockImplementation(function (this: StepHandlers, task, handler) {
      if (task !== 'ship') register.call(this, task, handler);
    });
    const app = await createService(loadConfig((await aHome()).environment));
    cleanUps.push(() => app.close());
    await expect(app.init()).rejects.toThrow(/^Steps without a handler: (.*, )?ship$/);
  });
});
