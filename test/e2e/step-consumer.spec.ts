import type { Message } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { SqsService } from '@ssut/nestjs-sqs';
import { randomUUID } from 'node:crypto';
import { StepHandlers, type StepDelivery, type StepHandler } from '../../src/fulfilment/workflow/step-handlers.js';
import { MAX_STEPS_AT_ONCE, StepIntake } from '../../src/fulfilment/messaging/step-intake.service.js';
import {
  STEP_QUEUES,
  STEP_TASKS,
  stepMessageText,
  type StepMessage,
  type StepTask,
} from '../../src/fulfilment/messaging/step-messages.js';
import { MAX_WAITING, StepQueues } from '../../src/fulfilment/messaging/step-queues.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { createService } from '../../src/service.js';
import { loadConfig } from '../../src/shared/config.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { aBreakableLedger } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { Delays, withQuickLooks } from '../support/no-waiting.js';

const NO_MESSAGES = { visible: 0, in_flight: 0, delayed: 0 };
const TASKS = Object.keys(STEP_TASKS) as StepTask[];

let world: World;
/** Its queues are empty when a test is over. */
let service: RunningService;
let delays: Delays;
let cleanUps: (() => Promise<unknown>)[] = [];
const others = new Set<RunningService>();

beforeAll(async () => {
  world = await aWorld();
  service = await RunningService.ready({ world });
  delays = new Delays(service.sqs);
  withQuickLooks(service.sqs);
});

afterEach(async () => {
  jest.restoreAllMocks();
  delays.areSkipped = false;
  delays.asked.length = 0;
  for (const other of others) await stop(other);
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
});

afterAll(async () => {
  await service.stop();
  await world.destroy();
});

/** A service of a test's own, which is stopped with the test. */
async function anotherService(home: World, environment: Record<string, string> = {}): Promise<RunningService> {
  const other = await RunningService.ready({ world: home, environment });
  others.add(other);
  return other;
}

function stop(other: RunningService): Promise<void> {
  others.delete(other);
  return other.stop();
}

async function aHome(): Promise<World> {
  const home = await aWorld();
  cleanUps.push(() => home.destroy());
  return home;
}

/** Has all steps handled like this. */
function handleBy(handler: StepHandler): void {
  jest.spyOn(StepHandlers.prototype, 'of').mockReturnValue(handler);
}

function aStep(fields: Partial<StepMessage> = {}): StepMessage {
  return { messageId: randomUUID(), orderId: 'ORD-1', task: 'reserve', reference: null, ...fields };
}

/** Puts steps on the queue of their task; with texts, on the inventory queue. */
async function send(to: RunningService, ...steps: (StepMessage | string)[]): Promise<void> {
  const queues = to.app.get(StepQueues);
  const bodies = steps.map((step) => ({
    queue: typeof step === 'string' ? 'inventory' : STEP_TASKS[step.task],
    body: typeof step === 'string' ? step : stepMessageText(step),
  }));
  for (const name of STEP_QUEUES) await queues.of(name).sender.sendEach(bodies.filter(({ queue }) => queue === name));
}

async function isEmpty(of: RunningService, task: StepTask): Promise<void> {
  await eventually(async () => {
    expect(await of.app.get(StepQueues).of(STEP_TASKS[task]).queue.depth()).toEqual(NO_MESSAGES);
  });
}

/** Has steps under way until they are let go. */
function hold(): { underWay: StepMessage[]; letGo: () => void } {
  const underWay: StepMessage[] = [];
  let letGo!: () => void;
  const free = new Promise<void>((resolve) => (letGo = resolve));
  handleBy((message) => {
    underWay.push(message);
    return free;
  });
  return { underWay, letGo };
}

/** Waits until a service has steps in hand: as many under way as it may have, and the others waiting for their turn. */
async function areInHand(of: RunningService, steps: number): Promise<void> {
  const intake = of.app.get<StepIntake, { underWay: number; queued: unknown[] }>(StepIntake);
  await eventually(() => {
    expect([intake.underWay, intake.queued.length]).toEqual([MAX_STEPS_AT_ONCE, steps - MAX_STEPS_AT_ONCE]);
  });
}

function errorLines(): string[] {
  const lines: string[] = [];
  jest.spyOn(Logger.prototype, 'error').mockImplementation((...said: unknown[]) => void lines.push(String(said[0])));
  return lines;
}

describe('The queues of the steps', () => {
  it('have each task done from its own, once, and acknowledged', async () => {
    const done: [StepMessage, StepDelivery][] = [];
    handleBy(async (...given) => void done.push(given));
    const steps = TASKS.map((task) => aStep({ task, reference: `of ${task}`.replace(' ', '-') }));
    await send(service, ...steps);
    await eventually(() => expect(done).toHaveLength(TASKS.length));
    expect(done).toEqual(expect.arrayContaining(steps.map((step) => [step, { receiveCount: 1 }])));
    for (const task of TASKS) await isEmpty(service, task);
    expect(done).toHaveLength(TASKS.length);
  });

  it('have poll loops of their own, as the orders queue has', () => {
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
    const { underWay, letGo } = hold();
    const steps = TASKS.flatMap((task) => [aStep({ task }), aStep({ task }), aStep({ task })]);
    await send(service, ...steps);
    await eventually(async () => {
      const depths = await Promise.all(STEP_QUEUES.map((step) => service.app.get(StepQueues).of(step).queue.depth()));
      expect(depths.reduce((sum, { in_flight }) => sum + in_flight, 0)).toBe(steps.length);
    });
    expect(underWay).toHaveLength(MAX_STEPS_AT_ONCE);
    letGo();
    await eventually(() => expect(new Set(underWay.map(({ messageId }) => messageId)).size).toBe(steps.length));
    for (const task of TASKS) await isEmpty(service, task);
    expect(underWay).toHaveLength(steps.length);
  });
});

describe('A queue with many steps', () => {
  it('is received from as far as they will soon be handled, and on and on', async () => {
    const { underWay, letGo } = hold();
    const steps = Array.from({ length: 100 }, () => aStep());
    await send(service, ...steps);
    const { queue, gate, settings } = service.app.get(StepQueues).of('inventory');
    const { receiving } = gate as unknown as { receiving: Set<number> };
    const enough = MAX_STEPS_AT_ONCE + MAX_WAITING;
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

describe('Steps that wait for their turn', () => {
  it('are handled by how often they were received, so that none is a dead letter before it was tried', async () => {
    const { underWay, letGo } = hold();
    const received = (orderId: string, receiveCount: number): Message => ({
      Body: stepMessageText(aStep({ orderId })),
      Attributes: { ApproximateReceiveCount: String(receiveCount) },
    });
    const first = Array.from({ length: MAX_STEPS_AT_ONCE }, (_, i) => received(`ORD-${i}`, 1));
    const waiting = [received('ONCE', 1), received('FOUR-TIMES', 4), received('TWICE', 2), received('ONCE-LATER', 1)];
    const handled = service.app.get(StepIntake).handle('inventory', [...first, ...waiting]);
    await eventually(() => expect(underWay).toHaveLength(MAX_STEPS_AT_ONCE));
    letGo();
    expect(await handled).toHaveLength(first.length + waiting.length);
    const order = underWay.slice(MAX_STEPS_AT_ONCE).map(({ orderId }) => orderId);
    expect(order).toEqual(['FOUR-TIMES', 'TWICE', 'ONCE', 'ONCE-LATER']);
  });
});

describe('A step that fails', () => {
  it('comes again by itself, later each time, and the others of its batch do not', async () => {
    const lines = errorLines();
    const receives: Record<string, number[]> = {};
    const { activity } = service.app.get(StepQueues).of('inventory').queue;
    const { done, failed } = activity;
    handleBy(async ({ orderId }, { receiveCount }) => {
      (receives[orderId] ??= []).push(receiveCount);
      if (orderId === 'ORD-BAD' && receiveCount < 4) throw new TypeError('"ORD-BAD" is not a function');
    });
    delays.areSkipped = true;
    await send(service, aStep({ orderId: 'ORD-BAD' }), aStep({ orderId: 'ORD-A' }), aStep({ orderId: 'ORD-B' }));
    await eventually(() => expect(receives['ORD-BAD']).toEqual([1, 2, 3, 4]));
    await isEmpty(service, 'reserve');
    expect(receives).toEqual({ 'ORD-BAD': [1, 2, 3, 4], 'ORD-A': [1], 'ORD-B': [1] });
    const whole = [5, 10, 20];
    expect(delays.asked).toHaveLength(whole.length);
    for (const [index, seconds] of delays.asked.entries()) {
      expect(seconds).toBeGreaterThanOrEqual(whole[index]! / 2);
      expect(seconds).toBeLessThanOrEqual(whole[index]!);
    }
    expect(lines).toEqual(
      Array(3).fill(
        expect.stringMatching(
          /^The message [0-9a-f-]{36} on inventory-[0-9a-f]+ was not processed and will be delivered again: "…" is not a function$/,
        ),
      ),
    );
    expect(activity).toMatchObject({ done: done + 3, failed: failed + 3 });
  });

  it('for want of a part that is down says nothing, since the part does', async () => {
    const lines = errorLines();
    handleBy((_, { receiveCount }) =>
      receiveCount === 1 ? Promise.reject(new DatabaseUnavailable('gone')) : Promise.resolve(),
    );
    delays.areSkipped = true;
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
    handleBy(handled);
    delays.areSkipped = true;
    await send(service, body);
    const { deadLetters, settings } = service.app.get(StepQueues).of('inventory');
    const bodies = await eventually(() =>
      deadLetters.holding({ messages: 10, seconds: 10 }, async (held) => {
        const [letter] = await held.next(1);
        expect(letter).toBeDefined();
        expect(await held.delete([letter!.messageId])).toEqual([]);
        return [letter!.body, ...(await held.next(1)).map((another) => another.body)];
      }),
    );
    expect(bodies).toEqual([body]);
    expect(handled).not.toHaveBeenCalled();
    expect(lines).toEqual(
      Array(settings.maxReceiveCount).fill(expect.stringMatching(`: This is no message of a step: ${reason}$`)),
    );
  });
});

describe('A step that takes long', () => {
  it('is hidden again and again, as are those that wait for their turn, and is done once', async () => {
    const intervals = jest.spyOn(globalThis, 'setInterval');
    const { underWay, letGo } = hold();
    const hidden: number[] = [];
    service.sqs.middlewareStack.add(
      (next, { commandName }) =>
        (args) => {
          const { Entries = [] } = args.input as { Entries?: { VisibilityTimeout: number }[] };
          if (commandName === 'ChangeMessageVisibilityBatchCommand') {
            hidden.push(...Entries.map(({ VisibilityTimeout }) => VisibilityTimeout));
          }
          return next(args);
        },
      { step: 'initialize' },
    );
    const steps = Array.from({ length: MAX_STEPS_AT_ONCE + 2 }, () => aStep());
    await send(service, ...steps);
    await areInHand(service, steps.length);
    const { settings } = service.app.get(StepQueues).of('inventory');
    // Each batch has its own, which comes twice in the time that its messages stay hidden.
    const ofBatches = intervals.mock.calls.filter(([, ms]) => ms === settings.visibilityTimeout * 500);
    for (let times = 1; times <= 3; times++) {
      for (const [again] of ofBatches) again();
      await eventually(() => expect(hidden).toEqual(Array(steps.length * times).fill(settings.visibilityTimeout)));
    }
    letGo();
    await isEmpty(service, 'reserve');
    expect(underWay.map(({ messageId }) => messageId).sort()).toEqual(steps.map(({ messageId }) => messageId).sort());
  });
});

describe('An outage of the database', () => {
  it('costs no message a receive, however long it lasts', async () => {
    const home = await aHome();
    const ledger = await aBreakableLedger(home);
    cleanUps.push(() => ledger.remove());
    const receives: number[] = [];
    handleBy(async (_, { receiveCount }) => void receives.push(receiveCount));
    const cutOff = await anotherService(home, ledger.environment);
    ledger.goAway(cutOff);
    await eventually(async () => expect((await cutOff.get('/health/ready')).status).toBe(503));
    // A poll that was under way when the database went may still bring messages; it has ended when SQS gives it nothing.
    const { queue, gate } = cutOff.app.get(StepQueues).of('inventory');
    await eventually(() => expect((gate as unknown as { receiving: Set<number> }).receiving.size).toBe(0));
    await send(cutOff, aStep(), aStep());
    await eventually(() => expect(ledger.attempts).toBeGreaterThan(3));
    expect(await queue.depth()).toEqual({ ...NO_MESSAGES, visible: 2 });
    await ledger.comeBack();
    await isEmpty(cutOff, 'reserve');
    expect(receives).toEqual([1, 1]);
  });
});

describe('The end of the process', () => {
  it('waits for the steps that are in hand, those too that wait for their turn', async () => {
    const { underWay, letGo } = hold();
    const ending = await anotherService(await aHome());
    const steps = Array.from({ length: MAX_STEPS_AT_ONCE + 3 }, () => aStep());
    await send(ending, ...steps);
    await areInHand(ending, steps.length);
    const stopping = jest.spyOn(ending.app.get(StepIntake), 'stop');
    const { asked } = new Delays(ending.sqs);
    const stopped = stop(ending);
    await eventually(() => expect(stopping).toHaveBeenCalled());
    letGo();
    await stopped;
    expect(underWay).toHaveLength(steps.length);
    expect(asked).toEqual([]);
  });

  it('gives back what does not get its turn in time', async () => {
    const home = await aHome();
    const { underWay, letGo } = hold();
    const first = await anotherService(home);
    const steps = Array.from({ length: MAX_STEPS_AT_ONCE + 3 }, () => aStep());
    await send(first, ...steps);
    await areInHand(first, steps.length);
    const { asked } = new Delays(first.sqs);
    const intake = first.app.get(StepIntake);
    const end = intake.stop.bind(intake);
    const LATE_MS = 5_000;
    jest.spyOn(intake, 'stop').mockImplementation((since) => end(since - LATE_MS));
    const stopped = stop(first);
    await eventually(() => expect(asked).toEqual([3, 3, 3]));
    letGo();
    await stopped;
    expect(underWay).toHaveLength(MAX_STEPS_AT_ONCE);

    const again: [StepMessage, StepDelivery][] = [];
    handleBy(async (...given) => void again.push(given));
    const second = await anotherService(home);
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
