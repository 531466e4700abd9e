import { AppendCuts, type Cut, MOMENTS } from '../support/append-cuts.js';
import { eventually } from '../support/eventually.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { FiguresWatch } from '../support/figures-watch.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { RealWorld } from '../support/real-world.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { ServiceUnderFaults } from '../support/service-under-faults.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const CUTS = atScale(30, 150);
const MAX_RUN_MS = 300;

let world: RealWorld;
let network: TcpProxy;
let broken: ServiceUnderFaults | null = null;

beforeAll(async () => {
  if (!hasRedisServer) return;
  world = await RealWorld.make();
  network = await TcpProxy.before(world.postgres.url);
});

afterEach(async () => {
  network.watch = null;
  await broken?.stop();
  broken = null;
});

afterAll(async () => {
  await network?.close();
  await world?.destroy();
});

async function behindNetwork(random: SeededRandom): Promise<ServiceUnderFaults> {
  broken = await ServiceUnderFaults.ready(world, random, { through: (url) => network.through(url) });
  return broken;
}

/** How many of so many messages are in the ledger or wait beside it, once no append is running. */
async function settledStored(under: ServiceUnderFaults, messageIds: string[]): Promise<number> {
  await eventually(async () => {
    const running = await under.query(
      `select from pg_stat_activity
       where datname = current_database() and application_name = 'order-pipeline' and state = 'active'
         and query like '%append_entries(%'`,
    );
    if (running.length > 0) throw new Error('An append is running');
  }, 60_000);
  const those = `message_id = any('{${messageIds.join(',')}}')`;
  const [found] = await under.query<{ stored: number }>(
    `select ((select count(*) from ledger where ${those}) + (select count(*) from early_refunds where ${those}))::int
       as stored`,
  );
  return found!.stored;
}

/** Cuts append after append, at every moment in turn. */
async function cutAppends(under: ServiceUnderFaults, random: SeededRandom, count: number): Promise<Cut[]> {
  const appends = new AppendCuts(network, (messageIds) => settledStored(under, messageIds));
  const cuts: Cut[] = [];
  while (cuts.length < count) {
    const moment = MOMENTS[cuts.length % MOMENTS.length]!;
    // Many appends take a few milliseconds, few take long.
    const afterMs = Math.floor(random.next() ** 4 * MAX_RUN_MS);
    const cut = appends.next(moment, afterMs);
    await under.traffic.send(random.between(3, 15));
    cuts.push(await cut);
    // It would wait longer from cut to cut, for a database that comes and goes.
    Reflect.set(under.service.database.availability, 'attempts', 0);
    await under.traffic.isThrough();
  }
  return cuts;
}

describe('The connection to PostgreSQL', () => {
  itWithRedis(
    `dropped around the commit of ${CUTS} appends loses nothing, counts nothing twice and dead-letters nothing`,
    async () => {
      const random = seededFor('the connection dropped during COMMIT');
      const under = await behindNetwork(random);
      const watch = new FiguresWatch(under);
      const cuts = await cutAppends(under, random, CUTS);
      expect(await under.faults()).toEqual([]);
      expect(await watch.stop()).toEqual([]);

      const committed = cuts.filter((cut) => cut.committed).length;
      const found = await under.foundAgain();
      for (const moment of MOMENTS) {
        const those = cuts.filter((cut) => cut.moment === moment);
        const after = those.filter((cut) => cut.committed).length;
        tell(`cut ${moment}: ${those.length - after} before the commit, ${after} after it`);
      }
      tell(`${await under.head()} entries; ${found} messages were found in the ledger when their append was repeated`);
      // Whether an append of nothing but duplicates was committed can't be told, nor does it matter.
      const telling: Cut[] = [];
      for (const cut of cuts) if ((await settledStored(under, cut.messageIds)) > cut.before) telling.push(cut);
      tell(`${cuts.length - telling.length} of the appends had nothing new`);
      expect(telling.length).toBeGreaterThan(0.9 * cuts.length);
      const of = (moment: Cut['moment']): boolean[] =>
        telling.filter((cut) => cut.moment === moment).map((cut) => cut.committed);
      expect(of('before the statement leaves')).not.toContain(true);
      expect(of('when all is answered')).not.toContain(false);
      expect(found).toBeGreaterThanOrEqual(committed);
    },
  );

  itWithRedis('control: appends that are repeated as if they were new are found', async () => {
    const random = seededFor('repeated as new after a cut');
    const under = await behindNetwork(random);
    under.repeatAppendsAsNew();
    await cutAppends(under, random, MOMENTS.length);
    expect(await under.faults()).toContainEqual(expect.stringMatching(/orders are in the ledger more than once/));
  });
});
