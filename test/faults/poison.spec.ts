import type { ReceiveMessageCommandInput } from '@aws-sdk/client-sqs';
import { sql } from 'drizzle-orm';
import { EmbeddedQueue } from '../../src/platform/embedded/embedded-queue.js';
import { RunningService } from '../support/app.js';
import { auditOf, partsOf } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { makeForgetful } from '../support/forgetful-ledger.js';
import { anOrderEvent } from '../support/order-events.js';
import { type Expected, misfits, POISON_KINDS, poisonedTraffic, sendExpected } from '../support/poison.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { SqsFront } from '../support/sqs-front.js';
import { keepAppendsWhole } from '../support/whole-appends.js';

const MESSAGES = atScale(600, 5_000);
/** Of all messages. */
const POISONED = 0.2;
/** Of the poison one in so many is as large as it can be, which is each of the huge kinds at least once. */
const HUGE_EVERY = Math.floor((MESSAGES * POISONED) / POISON_KINDS.huge.length);
/** The first delivery, and one more. */
const MAX_RECEIVES = 2;
const WITHIN_MS = atScale(120_000, 900_000);
/** What the database refuses. */
const CURSED = 'U-CURSED';

const ORDERS_WITH_CULPRITS = atScale(100, 300);

let queue: EmbeddedQueue;
let front: SqsFront;
let service: RunningService;

async function start(environment: Record<string, string> = {}): Promise<void> {
  queue = await EmbeddedQueue.start(0, null);
  front = await SqsFront.before(queue.endpoint);
  service = await RunningService.ready({
    environment: { SQS_ENDPOINT: front.endpoint, SQS_WAIT_TIME_SECONDS: '1', ...environment },
  });
}

function send(messages: Expected[]): Promise<Map<string, Expected>> {
  return sendExpected(service.sqs, service.config.queue.name, messages);
}

/** Runs a statement on the ledger's database. */
async function plant(statement: string): Promise<void> {
  await service.database.query(sql.raw(statement));
}

/** From now on what is received comes again after 1 s. */
function hurry(): void {
  service.sqs.middlewareStack.add(
    (next, { commandName }) =>
      (args) => {
        if (commandName === 'ReceiveMessageCommand') (args.input as ReceiveMessageCommandInput).VisibilityTimeout = 1;
        return next(args);
      },
    { step: 'initialize', name: 'hurry' },
  );
}

afterEach(async () => {
  jest.restoreAllMocks();
  await service?.stop();
  await front?.close();
  await queue?.stop();
});

function trafficFrom(random: SeededRandom): Expected[] {
  return poisonedTraffic({ run: 'RUN', messages: MESSAGES, poisoned: POISONED, hugeEvery: HUGE_EVERY }, random);
}

/** Innocents that were delivered more often than that by when they were acknowledged. */
function delayed(sent: Map<string, Expected>): number[] {
  const innocent = [...sent].filter(([, { poison }]) => poison === null);
  return innocent.map(([id]) => front.receivesWhenDeleted.get(id)!).filter((count) => !(count <= MAX_RECEIVES));
}

describe('Where a fifth of the traffic is poison', () => {
  it('every good order is counted, every bad one stored once with its reasons, and no innocent delivered more than once again', async () => {
    await start();
    const traffic = trafficFrom(seededFor('a fifth of the traffic is poison'));
    const sent = await send(traffic);
    await service.settled(WITHIN_MS);
    expect(await misfits(partsOf(service).query, sent)).toEqual([]);
    expect(delayed(sent)).toEqual([]);
    const counted = traffic.filter(({ reasons }) => reasons.length === 0).length;
    expect((await service.get('/stats/global')).body).toMatchObject({
      total_orders: counted,
      failed_orders: MESSAGES - counted,
    });
    expect(await auditOf(service)).toEqual([]);
    expect(new Set(traffic.map(({ poison }) => poison)).size).toBe(
      1 + POISON_KINDS.small.length + POISON_KINDS.huge.length,
    );
    tell(
      `${MESSAGES} messages, ${traffic.filter(({ poison }) => poison).length} of them poison of ` +
        `${POISON_KINDS.small.length + POISON_KINDS.huge.length} kinds; ` +
        `a message was received up to ${Math.max(...front.receives.values())} times`,
    );
  });

  it('control: that only the first reason is stored, and that a message is stored twice, is found', async () => {
    await start();
    await plant(`create function keep_one() returns trigger language plpgsql as $$ begin
        new.reasons := new.reasons[1:1];
        return new;
      end $$`);
    await plant('create trigger keep_one before insert on ledger for each row execute function keep_one()');
    await makeForgetful(partsOf(service).query);
    const all = trafficFrom(seededFor('only the first reason is stored'));
    // Those with more than one reason are among them, whatever the seed.
    const traffic = all.sort((one, other) => other.reasons.length - one.reasons.length).slice(0, 200);
    const sent = await send(traffic);
    await service.settled(WITHIN_MS);
    expect(await misfits(partsOf(service).query, sent)).toContainEqual(expect.stringMatching(/: failed for \w+$/));
    await send(traffic);
    await service.settled(WITHIN_MS);
    expect(await misfits(partsOf(service).query, sent)).toContainEqual(
      expect.stringMatching(/is there twice or never was sent$/),
    );
  });
});

describe('Where the database itself refuses some of the orders', () => {
  function anOrder(user: string): Expected {
    const body = JSON.stringify(anOrderEvent({ user_id: user }));
    return { body, reasons: [], poison: user === CURSED ? 'a reason' : null };
  }

  /** Every tenth is one that the database does not take. */
  async function sendWithCulprits(): Promise<{ innocent: Map<string, Expected>; culprits: string[] }> {
    await plant(`create function refuse() returns trigger language plpgsql as $$ begin
      if new.user_id = '${CURSED}' then raise exception 'cursed' using errcode = '22003'; end if;
      return new;
    end $$`);
    await plant('create trigger refuse before insert on ledger for each row execute function refuse()');
    const orders = Array.from({ length: ORDERS_WITH_CULPRITS }, (_, i) => anOrder(i % 10 === 4 ? CURSED : 'U1'));
    const sent = [...(await send(orders))];
    return {
      innocent: new Map(sent.filter(([, { poison }]) => poison === null)),
      culprits: sent.filter(([, { poison }]) => poison !== null).map(([id]) => id),
    };
  }

  /** @param orders that count then */
  async function reprieve(orders: number): Promise<void> {
    await plant('drop trigger refuse on ledger');
    await service.settled(WITHIN_MS);
    expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: orders });
    expect(await auditOf(service)).toEqual([]);
  }

  function areDeleted(sent: Map<string, Expected>): boolean {
    return [...sent.keys()].every((id) => front.deletes.has(id));
  }

  it('innocents of the same batch are not delayed, and the others count as soon as it takes them', async () => {
    await start({ SQS_VISIBILITY_TIMEOUT: '10' });
    const { innocent, culprits } = await sendWithCulprits();
    await eventually(() => expect(areDeleted(innocent)).toBe(true), WITHIN_MS);
    expect(delayed(innocent)).toEqual([]);
    expect(culprits.filter((id) => front.deletes.has(id))).toEqual([]);
    await reprieve(ORDERS_WITH_CULPRITS);
  });

  it('control: that innocents are given back with the reason is found', async () => {
    await start({ SQS_MAX_RECEIVE_COUNT: '1000' });
    keepAppendsWhole();
    // An append that nobody spoils goes well all the same, or something else would be found than that.
    const unspoilt = await send(Array.from({ length: ORDERS_WITH_CULPRITS }, () => anOrder('U1')));
    await service.settled(WITHIN_MS);
    expect(delayed(unspoilt)).toEqual([]);
    hurry();
    const { innocent } = await sendWithCulprits();
    await eventually(() => {
      const most = Math.max(...[...innocent.keys()].map((id) => front.receives.get(id) ?? 0));
      expect(most > MAX_RECEIVES || areDeleted(innocent)).toBe(true);
    }, WITHIN_MS);
    jest.restoreAllMocks();
    await reprieve(2 * ORDERS_WITH_CULPRITS);
    expect(delayed(innocent)).not.toEqual([]);
  });
});
