import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { atScale, fullFaults, seededFor, tell } from '../support/fault-scale.js';
import { PLANTED_BUGS } from '../support/simulation/planted-bugs.js';
import { simulate } from '../support/simulation/simulation.js';

const SEEDS = atScale(250, 5_000);
/** What the full run may take, for all of its seeds. */
const MAX_MINUTES = 5;
const SEEDS_FOR_A_BUG = atScale(600, 5_000);
/** Is simulated twice. */
const KNOWN_SEED = 42;
const RUN_AGAIN = 'tells the course of a seed';

/** What a run of seeds has to come across, or it shows nothing. */
const TO_BE_REACHED = [
  'crash before receive',
  'crash after receive',
  'crash before append',
  'crash after append',
  'crash before acknowledge',
  'crash after acknowledge',
  'crash before project',
  'crash after project',
  'database: request lost',
  'database: answer lost',
  'database: silence',
  'database: done late',
  'database: refused for now',
  'redis: request lost',
  'redis: answer lost',
  'redis: silence',
  'redis: done late',
  'redis: a command timed out',
  'redis: came back as it was',
  'redis: came back empty',
  'redis: came back with an older snapshot',
  'queue: request lost',
  'queue: answer lost',
  'queue: silence',
  'queue: done late',
  'queue: a message came again',
  'queue: a message was handed out twice',
  'queue: what was deleted came again',
  'the database is away',
  'Redis is away',
  'the queue is away',
  'Redis is emptied',
  'Redis is emptied while it is filled',
  'a key is damaged',
  'a process stalls',
  'a process is killed',
  'a process is stopped',
  'figures were cleared',
  'figures were rebuilt beside',
  'a rebuild found another one under way',
  'intake: a duplicate',
  'intake: a refund waits for its order',
  'intake: a row was refused',
  'intake: an append was halved',
  'intake: an outage was waited out',
  'intake: messages left to be delivered again',
  'intake: delivered again after a crash between append and acknowledgement',
  'ledger: order accepted',
  'ledger: order corrected',
  'ledger: order failed, conflicting_duplicate',
  'ledger: order failed, malformed_json',
  'ledger: refund accepted',
  'ledger: refund failed, conflicting_duplicate',
  'ledger: refund failed, refund_exceeds_order',
  'project: applied',
  'project: moved',
  'project: damaged',
  'read: figures',
  'read: stats_rebuilding',
  'read: redis_unavailable',
];

/** What the full run comes across besides. */
const TO_BE_REACHED_BY_MANY = [
  'crash before aggregate',
  'crash after aggregate',
  'crash before pipeline',
  'crash after pipeline',
  'crash before multi',
  'crash after multi',
  'crash before switch',
  'crash after switch',
  'crash before del',
  'crash after del',
  'rebuild failed: BuildLeaseLost',
];

afterEach(() => jest.restoreAllMocks());

/** Simulates a seed and throws what went wrong, with all that happened and how to see it again. */
async function clean(seed: number): Promise<Map<string, number>> {
  const { violations, lines, reached } = await simulate(seed);
  if (violations.length === 0) return reached;
  throw new Error(
    [
      `In the simulation of seed ${seed}: ${violations.join('; ')}`,
      `To see it again: FAULT_SEED=${seed} npm run test:faults -- simulation`,
      ...lines,
    ].join('\n'),
  );
}

describe('a simulation of intake and projection', () => {
  it(`finds nothing wrong in ${SEEDS} seeds, and comes across every fault and every way through`, async () => {
    const { seed: first } = seededFor(`${SEEDS} simulations of intake and projection`);
    const reached = new Map<string, number>();
    const began = performance.now();
    const cpuBefore = process.cpuUsage();
    for (let seed = first; seed < first + SEEDS; seed++) {
      for (const [what, times] of await clean(seed)) reached.set(what, (reached.get(what) ?? 0) + times);
    }
    const { user, system } = process.cpuUsage(cpuBefore);
    // It computes all along, and in the full suite another file's servers take as much of the machine as they get.
    const minutes = (user + system) / 60_000_000;
    const byTheClock = (performance.now() - began) / 60_000;
    tell(
      `${SEEDS} seeds from ${first} on in ${minutes.toFixed(2)} minutes of CPU time, ${byTheClock.toFixed(2)} by the clock`,
    );
    const wanted = [...TO_BE_REACHED, ...(fullFaults ? TO_BE_REACHED_BY_MANY : [])];
    for (const what of wanted) tell(`${String(reached.get(what) ?? 0).padStart(8)} ${what}`);
    expect(wanted.filter((what) => !reached.has(what))).toEqual([]);
    if (fullFaults) expect(minutes).toBeLessThan(MAX_MINUTES);
  });

  it('goes the same way twice', async () => {
    const { seed: first } = seededFor('simulations that are repeated');
    for (let seed = first; seed < first + atScale(10, 200); seed++) {
      expect((await simulate(seed)).lines).toEqual((await simulate(seed)).lines);
    }
  });

  it(RUN_AGAIN, async () => {
    tell(`course of ${KNOWN_SEED}: ${(await simulate(KNOWN_SEED)).digest}`);
  });

  it('goes the same way in another process', async () => {
    const jest = join(__dirname, '..', '..', 'node_modules', 'jest', 'bin', 'jest.js');
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...process.execArgv,
      jest,
      '--testMatch',
      __filename,
      '--testNamePattern',
      RUN_AGAIN,
    ]);
    expect(stdout).toContain(`course of ${KNOWN_SEED}: ${(await simulate(KNOWN_SEED)).digest}\n`);
  });

  it('goes different ways for different seeds', async () => {
    const courses = new Set<string>();
    for (let seed = 0; seed < 20; seed++) courses.add((await simulate(seed)).digest);
    expect(courses.size).toBe(20);
  });
});

describe('control: the simulation finds', () => {
  it.each(PLANTED_BUGS)('$bug', async ({ bug, plant, found }) => {
    const { seed: first } = seededFor(`control: ${bug}`);
    const planted = plant();
    let seed = first;
    let violations: string[] = [];
    while (violations.length === 0 && seed < first + SEEDS_FOR_A_BUG) {
      ({ violations } = await simulate(seed++, planted));
    }
    tell(`found by the simulation of seed ${seed - 1}, the ${seed - first}. tried: ${violations[0]}`);
    expect(violations.join('; ')).toMatch(found);
  });
});
