import type { Message } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { OrderIntake } from '../../src/orders/consumer/order-intake.service.js';
import { Database, DatabaseUnavailable } from '../../src/platform/database/database.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { FiguresWatch } from '../support/figures-watch.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { RealWorld } from '../support/real-world.js';
import { ServiceUnderFaults } from '../support/service-under-faults.js';

const MAX_TEST_MS = 300_000;
/** Most take a few milliseconds. */
const APPEND_TIMEOUT_MS = 4;

let world: RealWorld;
let broken: ServiceUnderFaults | null = null;

beforeAll(async () => {
  // Small files of the write-ahead log, which a quota on files is to let through.
  if (hasRedisServer) world = await RealWorld.make({}, { walSegmentMb: 1 });
});

afterEach(async () => {
  jest.restoreAllMocks();
  world?.postgres.resume();
  world?.postgres.makeRoom();
  await broken?.stop();
  broken = null;
});

afterAll(() => world?.destroy());

/** A service with orders on their way. */
async function underLoad(test: string): Promise<ServiceUnderFaults> {
  broken = await ServiceUnderFaults.ready(world, seededFor(test));
  broken.traffic.start();
  await broken.traffic.goesOn(100);
  return broken;
}

async function isDown({ service }: ServiceUnderFaults): Promise<void> {
  await eventually(() => expect(service.database.availability.up).toBe(false), 60_000);
}

/** No disk is left for the ledger until everything in hand has gone back to the queue and could be received again. */
async function withoutRoom(under: ServiceUnderFaults): Promise<void> {
  world.postgres.fill();
  await isDown(under);
  await under.traffic.isGivenBack();
  expect(under.service.database.availability.reason).toMatch(/File too large/);
}

describe('PostgreSQL under load', () => {
  itWithRedis(
    'killed and started again loses nothing, counts nothing twice and dead-letters nothing',
    async () => {
      const kills = atScale(3, 15);
      const random = seededFor('moments of the kills');
      const under = await underLoad('PostgreSQL killed');
      const watch = new FiguresWatch(under);
      for (let kill = 1; kill <= kills; kill++) {
        // Every other one at once, before an append can be answered.
        const afterMs = kill % 2 === 0 ? 0 : random.below(APPEND_TIMEOUT_MS);
        await world.postgres.kill(() => under.duringAppend(afterMs));
        await world.postgres.start();
        // Two receives are enough for one outage after another only where each is over for all.
        await under.traffic.isThrough();
      }
      expect(await under.faults()).toEqual([]);
      expect(await watch.stop()).toEqual([]);
      tell(
        `${kills} kills, ${await under.head()} entries; ${under.brokenAppends} appends were not answered, ` +
          `of which ${await under.foundAgain()} messages were in the ledger all the same`,
      );
      expect(under.brokenAppends).toBeGreaterThanOrEqual(Math.floor(kills / 2));
    },
    atScale(MAX_TEST_MS, 4 * MAX_TEST_MS),
  );

  itWithRedis(
    'stalled for longer than the service waits loses nothing, and what it completes afterwards counts once',
    async () => {
      const stalls = atScale(1, 4);
      const under = await underLoad('PostgreSQL stalled');
      const watch = new FiguresWatch(under);
      for (let stall = 1; stall <= stalls; stall++) {
        world.postgres.stall();
        await isDown(under);
        await under.traffic.isGivenBack();
        world.postgres.resume();
        await under.traffic.isThrough();
      }
      expect(await under.faults()).toEqual([]);
      expect(await watch.stop()).toEqual([]);
      const completed = await under.foundAgain();
      tell(
        `${stalls} stalls, ${await under.head()} entries, ${completed} messages appended after the service had given up`,
      );
      expect(completed).toBeGreaterThan(0);
    },
  );

  itWithRedis(
    'without room for the ledger takes nothing in, dead-letters nothing, and goes on where there is room again',
    async () => {
      const times = atScale(1, 3);
      const under = await underLoad('PostgreSQL full');
      const watch = new FiguresWatch(under);
      for (let time = 1; time <= times; time++) {
        await withoutRoom(under);
        const head = await under.head();
        world.postgres.makeRoom();
        await under.traffic.isThrough();
        expect(await under.head()).toBeGreaterThan(head);
      }
      expect(await under.faults()).toEqual([]);
      expect(await watch.stop()).toEqual([]);
      tell(`${times} times full, ${await under.head()} entries`);
    },
  );
});

describe('PostgreSQL killed', () => {
  /** The service's database without a service. */
  async function aDatabase(): Promise<Database> {
    for (const level of ['log', 'warn'] as const) jest.spyOn(Logger.prototype, level).mockImplementation();
    const database = new Database(world.postgres.url, 10_000);
    await database.availability.start();
    return database;
  }

  itWithRedis('in the middle of a transaction fails that transaction, and not the process', async () => {
    const database = await aDatabase();
    try {
      const held = database.transaction(async (tx) => {
        await tx.query(sql`select 1`);
        await world.postgres.kill();
        await tx.query(sql`select 1`);
      });
      await expect(held).rejects.toThrow(DatabaseUnavailable);
      await world.postgres.start();
      await eventually(async () => expect(await database.query(sql`select 1 as one`)).toEqual([{ one: 1 }]), 60_000);
    } finally {
      await database.onApplicationShutdown();
    }
  });

  itWithRedis('while nobody asks it anything is noticed: what comes in its place may hold something else', async () => {
    const database = await aDatabase();
    try {
      await database.query(sql`select 1`);
      await world.postgres.kill();
      await eventually(() => expect(database.availability.up).toBe(false), 60_000);
      await world.postgres.start();
      await eventually(() => expect(database.availability.up).toBe(true), 60_000);
    } finally {
      await database.onApplicationShutdown();
    }
  });
});

describe('What these tests find', () => {
  itWithRedis('control: messages that are acknowledged before their append has resolved are found', async () => {
    const under = await underLoad('acknowledged too early');
    const intake = under.service.app.get(OrderIntake);
    const handle = intake.handle.bind(intake);
    jest.spyOn(intake, 'handle').mockImplementation(async (messages: Message[]) => {
      handle(messages).catch(() => undefined);
      return messages;
    });
    Reflect.set(intake, 'patienceMs', 0);
    await world.postgres.kill();
    await isDown(under);
    await world.postgres.start();
    expect(await under.faults()).toContainEqual(
      expect.stringMatching(/orders are acknowledged, but not in the ledger/),
    );
  });

  itWithRedis('control: an append that is repeated as if it were new is found', async () => {
    const under = await underLoad('repeated as new');
    under.repeatAppendsAsNew();
    world.postgres.stall();
    await isDown(under);
    await under.traffic.isGivenBack();
    world.postgres.resume();
    await under.traffic.isThrough();
    expect(await under.faults()).toContainEqual(expect.stringMatching(/orders are in the ledger more than once/));
  });

  itWithRedis(
    'control: dead letters are found where a database without room for the ledger counts as well',
    async () => {
      jest.spyOn(Database.prototype as unknown as { findRoom(): Promise<void> }, 'findRoom').mockResolvedValue();
      const under = await underLoad('no room looked for');
      world.postgres.fill();
      await eventually(async () => expect(await under.deadLetters()).toBeGreaterThan(0), 60_000);
      world.postgres.makeRoom();
      expect(await under.faults()).toContainEqual(expect.stringMatching(/messages are dead letters/));
    },
  );
});
