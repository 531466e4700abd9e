import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { withBug } from '../support/kill-points.js';
import { itWithRedis } from '../support/only-on.js';
import { type Expected, misfits, poisonedTraffic, sendExpected } from '../support/poison.js';
import { ServiceProcess } from '../support/process.js';
import { RealWorld } from '../support/real-world.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { WorldView } from '../support/world-view.js';

const MESSAGES = atScale(400, 10_000);
const POISONED = 0.2;
/**
 * One in so many poisons is as large as it can be: one in 1,000 of all messages, and two thirds of all their bytes. One of
 * them costs as much as some hundred orders.
 */
const HUGE_EVERY = 200;
/** The speed of a machine drifts, and so do two drains in a row: their ratios spread by a tenth. */
const PAIRS = atScale(1, 15);
const PAIRS_OF_CONTROL = 1;
const LEAST_RATIO = 0.8;
const WITHIN_MS = 300_000;

/** How a drain went: messages by the clock, and by the CPU time of the service, which is what limits it. */
interface Drained {
  perSecond: number;
  perCpuSecond: number;
}

/** From a full queue until all is acknowledged and in the figures. @returns how that went, and the messages by their ids */
async function drain(
  view: WorldView,
  service: ServiceProcess,
  messages: Expected[],
): Promise<{ drained: Drained; sent: Map<string, Expected> }> {
  const cpuSeconds = (): Promise<number> => service.metric('process_cpu_seconds_total');
  const cpuBefore = await cpuSeconds();
  // It stands still while the queue is filled, so that filling does not count.
  service.child.kill('SIGSTOP');
  const sent = await sendExpected(view.sqs, view.queueName, messages).finally(() => service.child.kill('SIGCONT'));
  const from = performance.now();
  await view.settled(WITHIN_MS);
  const seconds = (performance.now() - from) / 1000;
  const perCpuSecond = messages.length / ((await cpuSeconds()) - cpuBefore);
  return { drained: { perSecond: messages.length / seconds, perCpuSecond }, sent };
}

function median(values: number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
}

/**
 * Has a service drain clean and poisoned traffic by turns.
 * @param options.environment of the service besides
 * @returns how fast a poisoned drain is against the clean one before it, in the median, and what is wrong afterwards
 */
async function measure(
  options: { messages: number; pairs: number; environment?: Record<string, string> },
  random: SeededRandom,
): Promise<{ ratios: Drained; faults: string[] }> {
  const { messages, pairs, environment } = options;
  const world = await RealWorld.make({ SQS_POLLERS: '8' });
  const view = new WorldView(world);
  const all = new Map<string, Expected>();
  let service: ServiceProcess | null = null;
  const drainOf = async (run: string, poisoned: number): Promise<Drained> => {
    const traffic = poisonedTraffic({ run, messages, poisoned, hugeEvery: HUGE_EVERY }, random);
    const { drained, sent } = await drain(view, service!, traffic);
    for (const [id, message] of sent) all.set(id, message);
    return drained;
  };
  try {
    service = await ServiceProcess.ready(world, environment);
    const clean: Drained[] = [];
    const poisoned: Drained[] = [];
    // The first pair is the warm-up.
    for (let pair = 0; pair <= pairs; pair++) {
      const one = await drainOf(`C${pair}`, 0);
      const other = await drainOf(`P${pair}`, POISONED);
      if (pair === 0) continue;
      clean.push(one);
      poisoned.push(other);
    }
    tell(
      `${messages} clean messages against as many of which ${POISONED * messages} are poison, ` +
        `${Math.floor((POISONED * messages) / HUGE_EVERY)} of them huge`,
    );
    const ratioOf = (by: keyof Drained, unit: string): number => {
      const ratios = poisoned.map((drained, pair) => drained[by] / clean[pair]![by]);
      const told = (drains: Drained[]): string => drains.map((drained) => Math.round(drained[by])).join(', ');
      tell(
        `messages a second ${unit}: ${told(clean)}; ${told(poisoned)}; median of the ratios ${median(ratios).toFixed(2)}`,
      );
      return median(ratios);
    };
    const ratios = {
      perSecond: ratioOf('perSecond', 'by the clock'),
      perCpuSecond: ratioOf('perCpuSecond', "of the service's CPU time"),
    };
    const faults = [...(await view.audit()), ...(await misfits(view.query, all))];
    const deadLetters = await view.deadLetters();
    if (deadLetters > 0) faults.push(`${deadLetters} messages are dead letters`);
    return { ratios, faults };
  } finally {
    await service?.end();
    await view.close();
    await world.destroy();
  }
}

describe('Where a fifth of the traffic is poison', () => {
  itWithRedis(
    atScale(
      'it drains and leaves everything right (how fast that is, is measured in the full suite)',
      'throughput is at least 0.8 of what it is without, and everything is right afterwards',
    ),
    async () => {
      const random = seededFor('throughput where a fifth of the traffic is poison');
      const { ratios, faults } = await measure({ messages: MESSAGES, pairs: PAIRS }, random);
      expect(faults).toEqual([]);
      // A short drain measures nothing so small.
      expect(Math.min(ratios.perSecond, ratios.perCpuSecond)).toBeGreaterThanOrEqual(atScale(0, LEAST_RATIO));
    },
    2 * (PAIRS + 1) * WITHIN_MS,
  );

  itWithRedis(
    'control: that each poison takes 5 ms of CPU time more is found',
    async () => {
      const random = seededFor('control: each poison takes 5 ms of CPU time more');
      const options = { messages: 400, pairs: PAIRS_OF_CONTROL, environment: withBug('takes 5 ms more for a poison') };
      const { ratios, faults } = await measure(options, random);
      expect(faults).toEqual([]);
      // What else runs on the machine takes time from a drain by the clock too, but no CPU time.
      expect(ratios.perCpuSecond).toBeLessThan(LEAST_RATIO);
    },
    2 * (PAIRS_OF_CONTROL + 1) * WITHIN_MS,
  );
});
