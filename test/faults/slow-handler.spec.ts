import { Ledger } from '../../src/ledger/ledger.repository.js';
import { EmbeddedQueue } from '../../src/platform/embedded/embedded-queue.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { audit, auditOf, partsOf } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { atScale } from '../support/fault-scale.js';
import { makeForgetful } from '../support/forgetful-ledger.js';
import { itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import { RealWorld } from '../support/real-world.js';
import { SqsFront } from '../support/sqs-front.js';

const MESSAGES = atScale(10, 20);
/** Each is worth 10.00. */
const WORTH = 10 * MESSAGES;
/** Every message comes again once its time is over, which no test can hurry. */
const WITHIN_MS = 60_000;

type Moment = 'before it stores' | 'after it has stored';

let front: SqsFront;
let cleanUps: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
});

/** What a service on this world needs to know so that the test sees what passes, and the shortest visibility timeout. */
async function behindFront(endpoint: string): Promise<Record<string, string>> {
  front = await SqsFront.before(endpoint);
  cleanUps.push(() => front.close());
  return {
    SQS_ENDPOINT: front.endpoint,
    SQS_WAIT_TIME_SECONDS: '1',
    SQS_VISIBILITY_TIMEOUT: '5',
    SQS_POLLERS: '1',
    // A busy machine may let the time of a message pass more often than the test does.
    SQS_MAX_RECEIVE_COUNT: '100',
  };
}

async function started(world: World, environment: Record<string, string>): Promise<RunningService> {
  const service = await RunningService.ready({ world, environment });
  cleanUps.push(() => service.stop());
  return service;
}

/**
 * From now on the service's handler holds what it is given until it is released.
 * @param most batches that are held; what comes later goes through
 */
function holdUp(service: RunningService, moment: Moment, most = Infinity): { held(): number; release(): void } {
  const ledger = service.app.get(Ledger);
  const append = ledger.append.bind(ledger);
  const holding = new AbortController();
  const released = new Promise<void>((resolve) => holding.signal.addEventListener('abort', () => resolve()));
  // Where a test fails, the service has to be able to stop.
  cleanUps.push(async () => holding.abort());
  let batches = 0;
  let held = 0;
  jest.spyOn(ledger, 'append').mockImplementation(async (messages, deadline) => {
    if (batches++ >= most) return append(messages, deadline);
    held += messages.length;
    if (moment === 'before it stores') await released;
    const results = await append(messages, deadline);
    if (moment === 'after it has stored') await released;
    return results;
  });
  return { held: () => held, release: () => holding.abort() };
}

const someOrders = (): object[] => Array.from({ length: MESSAGES }, () => anOrderEvent());

/** Waits until every message was delivered again and acknowledged by whoever got it then. */
async function dealtWithByOthers(): Promise<void> {
  await eventually(() => {
    const counts = [...front.receivesWhenDeleted.values()];
    expect(counts).toHaveLength(MESSAGES);
    for (const count of counts) expect(count).toBeGreaterThan(1);
  }, WITHIN_MS);
}

/** Waits until both that had a message have acknowledged it. */
async function everyDeleteIsRepeated(): Promise<void> {
  await eventually(() => {
    const counts = [...front.deletes.values()];
    expect(counts).toHaveLength(MESSAGES);
    for (const count of counts) expect(count).toBeGreaterThan(1);
  }, WITHIN_MS);
}

/** What a service has made of messages so far. */
async function outcomes(service: RunningService): Promise<{ accepted: number; duplicate: number }> {
  const { body } = await service.get('/metrics');
  const count = (outcome: string): number =>
    Number(new RegExp(`^orders_processed_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(String(body))![1]);
  return { accepted: count('accepted'), duplicate: count('duplicate') };
}

async function expectOneEffect(service: RunningService): Promise<void> {
  await service.settled(WITHIN_MS);
  const { body } = await service.get('/stats/global');
  expect(body).toMatchObject({ total_orders: MESSAGES, total_revenue: WORTH, failed_orders: 0 });
  expect(body.as_of.position).toBe(MESSAGES);
  expect(await auditOf(service)).toEqual([]);
}

describe('A handler that is slower than the visibility timeout', () => {
  for (const moment of ['before it stores', 'after it has stored'] as const) {
    itWithRedis(`has one effect, slow ${moment} while another process is given the same messages`, async () => {
      const world = await RealWorld.make();
      cleanUps.push(() => world.destroy());
      const environment = await behindFront(world.queue.endpoint);
      const slow = await started(world, environment);
      const { held, release } = holdUp(slow, moment);
      await slow.send(...someOrders());
      await eventually(() => expect(held()).toBeGreaterThanOrEqual(MESSAGES));

      const quick = await started(world, environment);
      await dealtWithByOthers();
      release();
      await everyDeleteIsRepeated();
      const late = moment === 'before it stores' ? slow : quick;
      expect(await outcomes(late)).toMatchObject({ accepted: 0, duplicate: expect.any(Number) });
      expect((await outcomes(late)).duplicate).toBeGreaterThanOrEqual(MESSAGES);
      await expectOneEffect(quick);
    });
  }

  /** The handler of one loop holds the messages, other loops of the same process are given them again. */
  async function heldByOneLoop(
    plant: (service: RunningService) => Promise<void> = async () => undefined,
  ): Promise<RunningService> {
    const world = await aWorld();
    cleanUps.push(() => world.destroy());
    const queue = await EmbeddedQueue.start(0, null);
    cleanUps.push(() => queue.stop());
    const service = await started(world, await behindFront(queue.endpoint));
    await plant(service);
    const { held, release } = holdUp(service, 'before it stores', 1);
    await service.send(...someOrders());
    await eventually(() => expect(held()).toBeGreaterThan(0));
    await eventually(() => expect(front.receivesWhenDeleted.size).toBe(MESSAGES), WITHIN_MS);
    release();
    await eventually(() => {
      const twice = [...front.deletes.values()].filter((count) => count > 1);
      expect(twice.length).toBeGreaterThanOrEqual(held());
    });
    return service;
  }

  it('has one effect, slow in one poll loop while others of the same process are given the same messages', async () => {
    const service = await heldByOneLoop();
    await expectOneEffect(service);
    expect(Math.max(...front.receives.values())).toBeGreaterThan(1);
    expect((await outcomes(service)).accepted).toBe(MESSAGES);
  });

  it('control: that it has two effects is found where a content is not known again', async () => {
    const service = await heldByOneLoop((planted) => makeForgetful(partsOf(planted).query));
    await expect(expectOneEffect(service)).rejects.toThrow(/"failed_orders": [1-9]/);
    expect(await audit(partsOf(service))).toContainEqual(
      expect.stringMatching(/^\d+ orders that conflict with their own content/),
    );
  });
});
