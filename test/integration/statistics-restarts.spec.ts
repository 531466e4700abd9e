import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { Database } from '../../src/platform/database/database.js';
import type { Redis } from '../../src/platform/redis/redis.js';
import type { Actor } from '../../src/shared/access.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import type { RequestedRebuild } from '../../src/stats/rebuild/rebuild-requests.service.js';
import { Rebuild } from '../../src/stats/rebuild/rebuild.service.js';
import { eventually } from '../support/eventually.js';
import { expectExactStatistics, expectNoStrayStatistics } from '../support/exact-figures.js';
import { aFailedMessage, aValidatedMessage } from '../support/validated-messages.js';
import { putLedgerBack } from '../support/put-back-ledger.js';
import { StatisticsProcess, type CrashOutcome } from '../support/statistics-process.js';
import { aDatabase, aRedis, type OwnPart } from '../support/stores.js';

const TIMEOUT_MS = 5_000;
const OPERATOR = { name: 'operator', requestId: null } as unknown as Actor;

let ownDatabase: OwnPart<Database>;
let ownRedis: OwnPart<Redis>;
let database: Database;
let redis: Redis;

beforeAll(() => Logger.overrideLogger(false));
beforeEach(async () => {
  [ownDatabase, ownRedis] = await Promise.all([aDatabase(), aRedis()]);
  [database, redis] = [ownDatabase.part, ownRedis.part];
});
afterEach(async () => {
  jest.restoreAllMocks();
  await Promise.all([ownDatabase.destroy(), ownRedis.destroy()]);
});

describe('a process that starts where another one ended', () => {
  it('notices a ledger that was put back and has grown past the statistics since, and rebuilds them', async () => {
    const generation = await withProcess(async (statistics) => {
      await append(statistics, 30);
      const before = statistics.projector.served().generation;
      await statistics.rebuild.run('a test');
      return before;
    });
    await database.transaction(async (tx) => {
      await putLedgerBack(tx, 12, 25);
      await tx.query(sql`update projection set generation = ${generation}, last_generation = ${generation}`);
    });
    await withProcess(async (statistics) => {
      await expectExactStatistics(statistics);
      await append(statistics, 10);
      await expectNoStrayStatistics(statistics);
    });
    for (const appended of [0, 40]) {
      await database.transaction((tx) => putLedgerBack(tx, 5, appended));
      await withProcess((statistics) => append(statistics, 10));
    }
  });

  it('notices a new ledger under the same Redis, and rebuilds the statistics', async () => {
    await withProcess((statistics) => append(statistics, 30));
    await withNewLedger(() =>
      withProcess(async (statistics) => {
        const { global, position } = await expectExactStatistics(statistics);
        expect({ orders: global.orders, position }).toEqual({ orders: 0, position: 0 });
        await append(statistics, 10);
        await expectNoStrayStatistics(statistics);
      }),
    );
  });

  it('begins at zero where statistics are cleared before a new ledger was compared', async () => {
    await withProcess((statistics) => append(statistics, 30));
    await withNewLedger(async () => {
      const comparing = jest.spyOn(Rebuild.prototype, 'run').mockResolvedValue(false);
      await withProcess(async (statistics) => {
        await eventually(() => expect(comparing).toHaveBeenCalled());
        await statistics.projector.clear(OPERATOR);
        comparing.mockRestore();
        await expectExactStatistics(statistics);
        await append(statistics, 10);
        await expectNoStrayStatistics(statistics);
      });
    });
  });
});

it('a crash before any step of a rebuild keeps the statistics exact, and the next rebuild is clean', async () => {
  let statistics = new StatisticsProcess({ database, redis });
  try {
    await append(statistics, 10);

    let steps: string[] = [];
    let outcome: CrashOutcome = 'crashed';
    for (let step = 1; outcome === 'crashed'; step++) {
      const before = statistics.projector.served().generation;
      const crash = statistics.crashBefore(step);
      const { id } = await rebuildWithNews(statistics);
      outcome = await crash;
      ({ steps } = statistics);
      await statistics.stop();

      statistics = new StatisticsProcess({ database, redis });
      const where = `before step ${step}, after ${steps.at(-1)}`;
      const switched = steps.some(isSwitch);
      const active = await eventually(() => statistics.projector.served().generation);
      const { generation } = await statistics.authority.read();
      expect({ where, active, switched: active !== before }).toEqual({ where, active: generation, switched });
      await expectExactStatistics(statistics);
      await letLeasesExpire();
      expect(await statistics.requests.one(id)).toMatchObject(
        switched ? { state: 'done', error: null } : { state: 'failed', error: 'the process that ran it ended' },
      );
      await rebuilt(statistics);
      await expectExactStatistics(statistics);
      await expectNoStrayStatistics(statistics);
      // What expires in a minute would be looked at in every step that follows.
      await statistics.store.sweep(statistics.projector.served().generation);
      await leaveKeysOfEarlierBuild();
    }
    // Claimed, swept, read, filled, caught up, switched, deactivated, published, swept and recorded.
    expect(steps.filter((taken) => taken === 'redis pipeline')).toHaveLength(6);
    expect(steps.filter(isSwitch)).toHaveLength(1);
    expect(steps.at(-1)).toMatch(/^update rebuilds set state = 'done'/);
  } finally {
    await statistics.stop();
  }
});

/** Runs a process while something is done with it. */
async function withProcess<T>(work: (statistics: StatisticsProcess) => Promise<T>): Promise<T> {
  const statistics = new StatisticsProcess({ database, redis });
  try {
    return await work(statistics);
  } finally {
    await statistics.stop();
  }
}

/** Puts another, empty ledger in the place of the present one. */
async function withNewLedger(work: () => Promise<void>): Promise<void> {
  const another = await aDatabase();
  database = another.part;
  try {
    await work();
  } finally {
    await another.destroy();
  }
}

/** Appends orders, of which some fail, and expects the statistics to be exact. */
async function append(statistics: StatisticsProcess, count: number): Promise<void> {
  const messages = Array.from({ length: count }, (_, i): ValidatedMessage => {
    const given = { userId: `U${i % 4}`, orderedAt: Date.UTC(2026, 0, 15 + i) };
    return i % 5 === 3 ? aFailedMessage(given) : aValidatedMessage(given);
  });
  await statistics.ledger.append(messages, TIMEOUT_MS);
  await expectExactStatistics(statistics);
}

/** Has statistics rebuilt while an order comes that the rebuild has to catch up with. */
async function rebuildWithNews(statistics: StatisticsProcess): Promise<RequestedRebuild> {
  const { store, ledger, requests } = statistics;
  const fill = store.fill.bind(store);
  store.fill = async (...args) => {
    store.fill = fill;
    await statistics.beside(() => ledger.append([aValidatedMessage()], TIMEOUT_MS));
    return fill(...args);
  };
  return requests.request(OPERATOR, false);
}

async function rebuilt({ requests }: StatisticsProcess): Promise<void> {
  const { id } = await requests.request(OPERATOR, false);
  await eventually(async () => expect(await requests.one(id)).toMatchObject({ state: 'done', error: null }));
}

/** Whether a step is the one that activates the new generation. */
function isSwitch(step: string): boolean {
  return step.startsWith('update projection set generation = ');
}

/** As if the processes that ran rebuilds had been silent for long. */
async function letLeasesExpire(): Promise<void> {
  await database.query(
    sql`update projection set builder_until = now() - interval '1 second' where builder is not null`,
  );
  await database.query(sql`update rebuilds set seen_at = now() - interval '1 hour'`);
}

/** Has the next rebuild find something to sweep away. */
async function leaveKeysOfEarlierBuild(): Promise<void> {
  const earlier = redis.keys.generation(1);
  for (const key of [earlier.global, earlier.user('U1')]) await redis.client.hset(key, 'orders', 1);
}
