import { DeleteQueueCommand, GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { setTimeout as pause } from 'node:timers/promises';
import { Ledger } from '../../src/ledger/ledger.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { OutageNotice } from '../../src/platform/outage-notice.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { auditOf } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { FailingSqs, INTERNAL_FAILURE, THROTTLED } from '../support/failing-sqs.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { aProduct, QUICK } from '../support/fulfilment.js';
import { OrderLoad } from '../support/order-load.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const FAULT_MS = atScale(2_000, 30_000);
const TEST_TIMEOUT_MS = 180_000;

const BACK_WITHIN_MS = 5_000;
/** Of a queue, or of the outbox for it: that it is away, that it is back, and that it comes and goes. */
const MOST_LINES_OF_ONE = 3;
const QUEUES = ['orders-queue', 'inventory-queue', 'payment-queue', 'shipment-queue'];
/** The queues, and the outbox for each. */
const THINGS_THAT_FAIL = 2 * QUEUES.length;

jest.setTimeout(TEST_TIMEOUT_MS);

let world: World;
let sqs: FailingSqs;
let network: TcpProxy;
let service: RunningService;
let direct: SQSClient;
let load: OrderLoad;

beforeAll(async () => {
  world = await aWorld(QUICK);
  sqs = await FailingSqs.start();
  network = await TcpProxy.before(sqs.endpoint);
  direct = createSqsClient({ sqsEndpoint: sqs.direct, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  const environment = {
    SQS_ENDPOINT: network.through(sqs.endpoint),
    SQS_WAIT_TIME_SECONDS: '1',
    // What the emulator hands to a poll whose connection has broken comes again after it; what can't be deleted, too, and
    // that must not cost as many receives as a message has.
    SQS_VISIBILITY_TIMEOUT: atScale('5', '10'),
  };
  service = await RunningService.ready({ world, environment });
  await aProduct(service, { stock: { EAST: 100_000 } });
  load = new OrderLoad(direct, service);
});

afterEach(async () => {
  await load.end();
  jest.restoreAllMocks();
});

afterAll(async () => {
  await service?.stop();
  direct?.destroy();
  await network?.close();
  await sqs?.stop();
  await world?.destroy();
});

/** All that the service says in its log from now on. */
function logLines(): string[] {
  const lines: string[] = [];
  for (const level of ['log', 'warn', 'error', 'fatal'] as const) {
    jest.spyOn(Logger.prototype, level).mockImplementation((...said: unknown[]) => void lines.push(String(said[0])));
  }
  return lines;
}

/** Who a line is about. */
function subjectOf(line: string): string {
  return /^the queue \S+|outbox .*the \w+ queue/.exec(line)?.[0].replace(/ can be sent to| for/, '') ?? line;
}

/** @returns what of the log is more than an operator should have to read */
function noiseIn(lines: string[], seconds: number): string[] {
  const noise: string[] = [];
  for (const subject of new Set(lines.map(subjectOf))) {
    const said = lines.filter((line) => subjectOf(line) === subject).length;
    if (said > MOST_LINES_OF_ONE) noise.push(`${said} lines on ${subject}`);
  }
  // In a few seconds each thing that fails may say so all the same.
  const most = Math.max(seconds, MOST_LINES_OF_ONE * THINGS_THAT_FAIL);
  if (lines.length > most) noise.push(`${lines.length} lines in ${seconds} s`);
  return noise;
}

async function headOfLedger(): Promise<number> {
  return (await service.app.get(Ledger).head()).position;
}

/** Waits until all that was taken is counted, and expects nothing to be counted twice. */
async function allIsCounted(): Promise<void> {
  await eventually(async () => {
    const { body } = await service.get('/stats/global');
    expect(body).toMatchObject({ total_orders: load.taken, failed_orders: 0 });
  }, 60_000);
  await service.settled();
}

/** What a fault has led to. */
interface Course {
  lines: string[];
  lastedSeconds: number;
  /** ms from its end until an order was in the ledger. */
  backAfter: number;
}

/** Lets orders flow, breaks something for as long as a fault lasts, and waits until all is counted. */
async function courseOf(
  fault: string,
  begin: () => unknown,
  end: () => unknown,
  lasts: (lines: string[]) => Promise<unknown> = () => pause(FAULT_MS),
): Promise<Course> {
  load.begin();
  const position = await headOfLedger();
  await eventually(async () => expect(await headOfLedger()).toBeGreaterThan(position));
  const lines = logLines();
  const began = performance.now();
  await begin();
  await lasts(lines);
  const { failures } = sqs;
  const lastedSeconds = (performance.now() - began) / 1000;
  const atItsEnd = await headOfLedger();
  await end();
  const ended = performance.now();
  await eventually(async () => expect(await headOfLedger()).toBeGreaterThan(atItsEnd), 30_000);
  const backAfter = performance.now() - ended;
  await load.end();
  await allIsCounted();
  tell(
    `measured: ${fault} for ${lastedSeconds.toFixed(1)} s (${failures} failures): back after ${Math.round(backAfter)} ms, ` +
      `all of ${load.taken} counted after ${((performance.now() - ended) / 1000).toFixed(1)} s, ${lines.length} log lines`,
  );
  return { lines, lastedSeconds, backAfter };
}

/** What must hold after any fault. */
async function allIsWell({ lines, lastedSeconds, backAfter }: Course): Promise<void> {
  expect(noiseIn(lines, lastedSeconds)).toEqual([]);
  expect(backAfter).toBeLessThanOrEqual(BACK_WITHIN_MS);
  for (const name of QUEUES) {
    expect(await queueDepth(direct, deadLetterQueueOf(name))).toEqual({ visible: 0, in_flight: 0, delayed: 0 });
  }
  expect(await auditOf(service)).toEqual([]);
}

describe('SQS that', () => {
  type Fault = [what: string, begin: (random: SeededRandom) => unknown, end: () => unknown];
  const heals = (): void => sqs.mend();

  it.each<Fault>([
    ['refuses connections', () => network.refuse(), () => network.resume()],
    ['answers nothing at all', () => network.stall(), () => network.resume()],
    ['fails at every call', () => sqs.fail(() => INTERNAL_FAILURE), heals],
    [
      'fails at half of all calls',
      (random) => sqs.fail(() => (random.happens(0.5) ? random.oneOf([INTERNAL_FAILURE, ...THROTTLED]) : null)),
      heals,
    ],
    ['throttles every call', (random) => sqs.fail(() => random.oneOf(THROTTLED)), heals],
    [
      'throttles those who receive',
      (random) => sqs.fail((action) => (action === 'ReceiveMessage' ? random.oneOf(THROTTLED) : null)),
      heals,
    ],
    [
      'takes no messages',
      (random) => sqs.fail((action) => (action === 'SendMessageBatch' ? random.oneOf(THROTTLED) : null)),
      heals,
    ],
    ['deletes nothing', () => sqs.fail((action) => (action === 'DeleteMessageBatch' ? INTERNAL_FAILURE : null)), heals],
  ])(
    '%s is said seldom, and within 5 s of its end orders are counted again, all of them once',
    async (what, begin, end) => {
      const random = seededFor(`SQS ${what}`);
      await allIsWell(await courseOf(what, () => begin(random), end));
    },
  );

  it('takes no message back counts what could not be stored at first when its time is over', async () => {
    const random = seededFor('SQS takes no message back');
    const before = new Set<string>();
    let givenBack = 0;
    const ledger = service.app.get(Ledger);
    const append = ledger.append.bind(ledger);
    const course = await courseOf(
      'takes no message back',
      () => {
        sqs.fail((action) => (action.startsWith('ChangeMessageVisibility') ? INTERNAL_FAILURE : null));
        jest.spyOn(ledger, 'append').mockImplementation(async (messages, patienceMs) => {
          const isFirst = messages.every(({ messageId }) => !before.has(messageId));
          if (!isFirst || !random.happens(0.3)) return append(messages, patienceMs);
          for (const { messageId } of messages) before.add(messageId);
          givenBack += messages.length;
          throw new DatabaseUnavailable('a test');
        });
      },
      heals,
    );
    expect(givenBack).toBeGreaterThan(0);
    await allIsWell(course);
  });

  it('has lost its queue and makes it again only after a while has it with its dead-letter queue within 5 s', async () => {
    seededFor('a deleted queue');
    await load.end();
    await allIsCounted(); // what is on it goes with it
    const lines = logLines();
    sqs.fail((action) =>
      action === 'CreateQueue' ? { status: 400, type: 'QueueDeletedRecently', message: 'Wait 60 seconds.' } : null,
    );
    await direct.send(new DeleteQueueCommand({ QueueUrl: 'orders-queue' }));
    const began = performance.now();
    load.begin();
    await pause(FAULT_MS);
    const lastedSeconds = (performance.now() - began) / 1000;
    expect((await service.get('/health/ready')).body).toMatchObject({ error: { queue: { status: 'down' } } });
    const position = await headOfLedger();
    sqs.mend();
    const ended = performance.now();
    await eventually(async () => expect(await headOfLedger()).toBeGreaterThan(position), 30_000);
    const backAfter = performance.now() - ended;
    await load.end();
    await allIsCounted();
    tell(
      `measured: queue gone for ${lastedSeconds.toFixed(1)} s: back after ${Math.round(backAfter)} ms, ${lines.length} log lines`,
    );
    const { Attributes } = await direct.send(
      new GetQueueAttributesCommand({ QueueUrl: 'orders-queue', AttributeNames: ['RedrivePolicy'] }),
    );
    expect(JSON.parse(Attributes!.RedrivePolicy!)).toMatchObject({
      deadLetterTargetArn: expect.stringMatching(/:orders-queue-dlq$/),
    });
    await allIsWell({ lines, lastedSeconds, backAfter });
  });
});

describe('Control:', () => {
  it('a service that logs every failed attempt is found', async () => {
    jest.spyOn(OutageNotice.prototype, 'fails').mockImplementation((what) => new Logger('control').warn(what));
    const { lines, lastedSeconds } = await courseOf(
      'fails at every call',
      () => sqs.fail(() => INTERNAL_FAILURE),
      () => sqs.mend(),
      (said) => eventually(() => expect(noiseIn(said, FAULT_MS / 1000)).not.toEqual([]), 30_000),
    );
    expect(noiseIn(lines, lastedSeconds)).not.toEqual([]);
  });
});
