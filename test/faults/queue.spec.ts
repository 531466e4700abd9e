import { DeleteQueueCommand, GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { setTimeout as pause } from 'node:timers/promises';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { Availability } from '../../src/platform/availability.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { OutageNotice } from '../../src/platform/outage-notice.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { OrdersQueue } from '../../src/platform/queue/queue.js';
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

const FAULT_MS = atScale(1_000, 6_000);

const BACK_WITHIN_MS = 5_000;
/** Of a queue, or of the outbox for it: that it is away, that it is back, and that it comes and goes. */
const MAX_LINES_OF_ONE = 3;
/** Of an emulator that belongs to one test. */
const QUEUE_NAMES = {
  SQS_QUEUE_NAME: 'orders-queue',
  INVENTORY_QUEUE_NAME: 'inventory-queue',
  PAYMENT_QUEUE_NAME: 'payment-queue',
  SHIPMENT_QUEUE_NAME: 'shipment-queue',
};
const QUEUES = Object.values(QUEUE_NAMES);
/** The queues, and the outbox for each. */
const THINGS_THAT_FAIL = 2 * QUEUES.length;

let world: World;
let sqs: FailingSqs;
let network: TcpProxy;
let service: RunningService;
let direct: SQSClient;
let load: OrderLoad;

/** Every fault has a service of its own: one that has told of an outage tells of the next ones later, or not at all. */
beforeEach(async () => {
  world = await aWorld({ ...QUICK, ...QUEUE_NAMES });
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
  load = new OrderLoad(direct, QUEUE_NAMES.SQS_QUEUE_NAME, service);
});

afterEach(async () => {
  jest.restoreAllMocks();
  await mend();
  await load?.end().catch(() => undefined); // it was told where it matters
  await service?.stop();
  direct?.destroy();
  await network?.close();
  await sqs?.stop();
  await world?.destroy();
});

/** Ends every fault. */
async function mend(): Promise<void> {
  sqs?.mend();
  await network?.resume();
}

/** A line of the log. */
interface LogLine {
  /** ms of performance.now() */
  at: number;
  text: string;
}

/** All that the service says in its log from now on. */
function logLines(): LogLine[] {
  const lines: LogLine[] = [];
  for (const level of ['log', 'warn', 'error', 'fatal'] as const) {
    jest.spyOn(Logger.prototype, level).mockImplementation((...said: unknown[]) => {
      lines.push({ at: performance.now(), text: String(said[0]) });
    });
  }
  return lines;
}

/** What a line is about. */
function subjectOf({ text }: LogLine): string {
  return /^the queue \S+|outbox .*the \w+ queue/.exec(text)?.[0].replace(/ can be sent to| for/, '') ?? text;
}

function linesBySubject(lines: LogLine[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(subjectOf(line), (counts.get(subjectOf(line)) ?? 0) + 1);
  return counts;
}

/**
 * The log may have one line for every second of a fault, and each thing that fails three. Counted are all lines from the
 * beginning of the fault until everything is counted after it, against the seconds of the fault alone. A fault of a few
 * seconds may have as many lines as all eight things (four queues, and the outbox for each) may have together: one that
 * comes and goes may have its three in the same second.
 * @returns what is more than that
 */
function noiseIn(lines: LogLine[], seconds: number): string[] {
  const noise: string[] = [];
  for (const [subject, said] of linesBySubject(lines)) {
    if (said > MAX_LINES_OF_ONE) noise.push(`${said} lines on ${subject}`);
  }
  const most = Math.max(seconds, MAX_LINES_OF_ONE * THINGS_THAT_FAIL);
  if (lines.length > most) noise.push(`${lines.length} lines in ${seconds} s`);
  return noise;
}

async function headOfLedger(): Promise<number> {
  return (await service.app.get(Ledger).head()).position;
}

/** What waits in the outbox. */
async function outbox(): Promise<number[]> {
  const rows = await service.database.query<{ id: number }>(sql`select id::float8 as id from outbox`);
  return rows.map(({ id }) => id);
}

/**
 * How far the service has got with all that it does with queues. One of it, at least, a fault keeps it from: an order is
 * still stored where only sending or deleting fails.
 */
interface Progress {
  /** What was received is in the ledger up to here. */
  position: number;
  /** How many order events it has deleted from their queue. */
  deleted: number;
  /** What it has yet to send. */
  waiting: number[];
}

async function progress(): Promise<Progress> {
  const { activity } = service.app.get(OrdersQueue);
  return { position: await headOfLedger(), deleted: activity.done, waiting: await outbox() };
}

/** Waits until the service has received, stored, deleted and sent since. */
async function isBackSince({ position, deleted, waiting }: Progress): Promise<void> {
  await eventually(async () => {
    const now = await progress();
    expect(now.position).toBeGreaterThan(position);
    expect(now.deleted).toBeGreaterThan(deleted);
    expect(now.waiting.filter((id) => waiting.includes(id))).toEqual([]);
  }, 30_000);
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
  lines: LogLine[];
  lastedSeconds: number;
  /** When its end was, ms of performance.now(). */
  ended: number;
  /** ms from then until the service did everything again. */
  backAfter: number;
}

/**
 * Lets orders flow, breaks something for as long as a fault lasts, and waits until all is counted.
 * @param lasts resolves when the fault is to end
 */
async function courseOf(
  fault: string,
  begin: () => unknown,
  lasts: (lines: LogLine[]) => Promise<unknown> = () => pause(FAULT_MS),
): Promise<Course> {
  load.begin();
  const position = await headOfLedger();
  await eventually(async () => expect(await headOfLedger()).toBeGreaterThan(position));
  const lines = logLines();
  await begin();
  const began = performance.now();
  await lasts(lines);
  const { failures } = sqs;
  const lastedSeconds = (performance.now() - began) / 1000;
  const before = await progress();
  await mend();
  const ended = performance.now();
  await isBackSince(before);
  const backAfter = performance.now() - ended;
  await load.end();
  await allIsCounted();
  tell(
    `measured: ${fault} for ${lastedSeconds.toFixed(1)} s (${failures} failures): back after ${Math.round(backAfter)} ms, ` +
      `all of ${load.taken} counted after ${((performance.now() - ended) / 1000).toFixed(1)} s, ${lines.length} log lines`,
  );
  return { lines, lastedSeconds, ended, backAfter };
}

/** @returns what of a course must not be */
function faultsIn({ lines, lastedSeconds, backAfter }: Course): string[] {
  const faults = noiseIn(lines, lastedSeconds);
  if (backAfter > BACK_WITHIN_MS) faults.push(`It was back after ${Math.round(backAfter)} ms`);
  return faults;
}

/** What must hold after any fault. */
async function allIsWell(course: Course): Promise<void> {
  expect(faultsIn(course)).toEqual([]);
  for (const name of QUEUES) {
    expect(await queueDepth(direct, deadLetterQueueOf(name))).toEqual({ visible: 0, in_flight: 0, delayed: 0 });
  }
  expect(await auditOf(service)).toEqual([]);
}

/** What the log says of a queue that can't be used. */
const down = (queue: string): string => `the queue ${queue} is down: `;

/** Resolves when a fault has lasted as long as it is to, and the log has said all of this. */
async function lastsUntilSaid(says: string[], lines: LogLine[]): Promise<void> {
  // Whoever runs the service asks for that all the time; it is told before the service's own calls have had no answer for long.
  const readiness = service.get('/health/ready');
  await pause(FAULT_MS);
  await eventually(() => {
    for (const part of says) expect(lines.map(({ text }) => text)).toContainEqual(expect.stringContaining(part));
  });
  await readiness;
}

/** Expects that what was away all the time of a fault was said to be so once until its end, and nothing else of it. */
function isSaidOnce({ lines, ended }: Course): void {
  const meanwhile = linesBySubject(lines.filter(({ at }) => at < ended));
  expect([...meanwhile].filter(([, said]) => said > 1)).toEqual([]);
}

describe('SQS that', () => {
  interface Fault {
    what: string;
    begin: (random: SeededRandom) => unknown;
    /** What the log must say while it lasts, at least. */
    says: string[];
    /** So much still works that the service believes time and again that all does. */
    comesAndGoes?: true;
  }

  it.each<Fault>([
    { what: 'refuses connections', begin: () => network.refuse(), says: QUEUES.map(down) },
    { what: 'answers nothing at all', begin: () => network.stall(), says: QUEUES.map(down) },
    { what: 'fails at every call', begin: () => sqs.fail(() => INTERNAL_FAILURE), says: QUEUES.map(down) },
    {
      what: 'fails at half of all calls',
      begin: (random) => sqs.fail(() => (random.happens(0.5) ? random.oneOf([INTERNAL_FAILURE, ...THROTTLED]) : null)),
      says: [down('orders-queue')],
      comesAndGoes: true,
    },
    {
      what: 'throttles every call',
      begin: (random) => sqs.fail(() => random.oneOf(THROTTLED)),
      says: QUEUES.map(down),
    },
    {
      what: 'throttles those who receive',
      begin: (random) => sqs.fail((action) => (action === 'ReceiveMessage' ? random.oneOf(THROTTLED) : null)),
      says: QUEUES.map(down),
      comesAndGoes: true,
    },
    {
      what: 'takes no messages',
      begin: (random) => sqs.fail((action) => (action === 'SendMessageBatch' ? random.oneOf(THROTTLED) : null)),
      says: ['messages wait in the outbox for the inventory queue: '],
    },
    {
      what: 'deletes nothing',
      begin: () => sqs.fail((action) => (action === 'DeleteMessageBatch' ? INTERNAL_FAILURE : null)),
      says: [down('orders-queue')],
      comesAndGoes: true,
    },
  ])(
    '$what is said, but seldom, and within 5 s of its end orders are received, deleted and sent again, all counted once',
    async ({ what, begin, says, comesAndGoes }) => {
      const random = seededFor(`SQS ${what}`);
      const course = await courseOf(
        what,
        () => begin(random),
        (lines) => lastsUntilSaid(says, lines),
      );
      await allIsWell(course);
      if (!comesAndGoes) isSaidOnce(course);
    },
  );

  it('takes no message back counts what could not be stored at first when its time is over', async () => {
    const random = seededFor('SQS takes no message back');
    const before = new Set<string>();
    let givenBack = 0;
    const ledger = service.app.get(Ledger);
    const append = ledger.append.bind(ledger);
    const course = await courseOf('takes no message back', () => {
      sqs.fail((action) => (action.startsWith('ChangeMessageVisibility') ? INTERNAL_FAILURE : null));
      jest.spyOn(ledger, 'append').mockImplementation(async (messages, patienceMs) => {
        const isFirst = messages.every(({ messageId }) => !before.has(messageId));
        if (!isFirst || !random.happens(0.3)) return append(messages, patienceMs);
        for (const { messageId } of messages) before.add(messageId);
        givenBack += messages.length;
        throw new DatabaseUnavailable('a test');
      });
    });
    expect(givenBack).toBeGreaterThan(0);
    await allIsWell(course);
  });

  it('has lost its queue and makes it again only after a while has it with its dead-letter queue within 5 s', async () => {
    seededFor('a deleted queue');
    const course = await courseOf(
      'has lost its queue',
      async () => {
        await load.end();
        await allIsCounted(); // what is on it goes with it
        sqs.fail((action) =>
          action === 'CreateQueue' ? { status: 400, type: 'QueueDeletedRecently', message: 'Wait 60 seconds.' } : null,
        );
        await direct.send(new DeleteQueueCommand({ QueueUrl: 'orders-queue' }));
        load.begin();
      },
      async (lines) => {
        await lastsUntilSaid([down('orders-queue')], lines);
        expect((await service.get('/health/ready')).body).toMatchObject({ error: { queue: { status: 'down' } } });
      },
    );
    const { Attributes } = await direct.send(
      new GetQueueAttributesCommand({ QueueUrl: 'orders-queue', AttributeNames: ['RedrivePolicy'] }),
    );
    expect(JSON.parse(Attributes!.RedrivePolicy!)).toMatchObject({
      deadLetterTargetArn: expect.stringMatching(/:orders-queue-dlq$/),
    });
    await allIsWell(course);
    isSaidOnce(course);
  });
});

describe('Control:', () => {
  it('a service that logs every failed attempt is found', async () => {
    jest.spyOn(OutageNotice.prototype, 'fails').mockImplementation((what) => new Logger('control').warn(what));
    const course = await courseOf(
      'fails at every call',
      () => sqs.fail(() => INTERNAL_FAILURE),
      (said) => eventually(() => expect(noiseIn(said, FAULT_MS / 1000)).not.toEqual([]), 30_000),
    );
    expect(faultsIn(course)).toContainEqual(expect.stringMatching(/^\d+ lines /));
  });

  it('a service that waits longer between attempts is found', async () => {
    const lastsMs = 2_000; // by then no poll is under way any more that began before
    jest
      .spyOn(Availability.prototype as unknown as { untilNextAttempt(): Promise<void> }, 'untilNextAttempt')
      .mockImplementation(() => pause(lastsMs + BACK_WITHIN_MS + 1_000));
    const course = await courseOf(
      'fails at every call',
      () => sqs.fail(() => INTERNAL_FAILURE),
      () => pause(lastsMs),
    );
    expect(faultsIn(course)).toContainEqual(expect.stringMatching(/^It was back after /));
  });
});
