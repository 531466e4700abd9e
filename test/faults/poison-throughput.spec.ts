import { QueueSender } from '../../src/platform/queue/queue-sender.js';
import { atScale, seededFor, tell } from '../support/fault-scale.js';
import { itOnOwnServers, onOwnServers } from '../support/only-on.js';
import { poisonedTraffic } from '../support/poison.js';
import { ServiceProcess, useBuiltService } from '../support/process.js';
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
const PAIRS = atScale(1, 5);
/** A short drain measures nothing. */
const LEAST_RATIO = atScale(0, 0.8);
const WITHIN_MS = 300_000;

if (onOwnServers) useBuiltService();

/** How a drain went: messages by the clock, and by the CPU time of the service, which is what limits it. */
interface Drained {
  perSecond: number;
  perCpuSecond: number;
}

/** From a full queue until all is acknowledged and in the figures. */
async function drain(view: WorldView, service: ServiceProcess, bodies: string[]): Promise<Drained> {
  const cpuSeconds = (): Promise<number> => service.metric('process_cpu_seconds_total');
  const cpuBefore = await cpuSeconds();
  // It stands still while the queue is filled, so that filling does not count.
  service.child.kill('SIGSTOP');
  try {
    const { failed } = await new QueueSender(view.sqs, 'orders-queue').sendAll(bodies);
    expect(failed).toEqual([]);
  } finally {
    service.child.kill('SIGCONT');
  }
  const from = performance.now();
  await view.settled(WITHIN_MS);
  const seconds = (performance.now() - from) / 1000;
  return { perSecond: bodies.length / seconds, perCpuSecond: bodies.length / ((await cpuSeconds()) - cpuBefore) };
}

function median(values: number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
}

function bodiesOf(run: string, poisoned: number, random: SeededRandom): string[] {
  return poisonedTraffic({ run, messages: MESSAGES, poisoned, hugeEvery: HUGE_EVERY }, random).map(({ body }) => body);
}

describe('Where a fifth of the traffic is poison', () => {
  itOnOwnServers()(
    atScale(
      'it drains and leaves everything right (how fast that is, is measured in the full suite)',
      'throughput is at least 0.8 of what it is without',
    ),
    async () => {
      const random = seededFor('throughput where a fifth of the traffic is poison');
      const world = await RealWorld.make({ SQS_POLLERS: '8' });
      const view = new WorldView(world);
      let service: ServiceProcess | null = null;
      try {
        service = await ServiceProcess.ready(world);
        const clean: Drained[] = [];
        const poisoned: Drained[] = [];
        // The first pair is the warm-up.
        for (let pair = 0; pair <= PAIRS; pair++) {
          const one = await drain(view, service, bodiesOf(`C${pair}`, 0, random));
          const other = await drain(view, service, bodiesOf(`P${pair}`, POISONED, random));
          if (pair === 0) continue;
          clean.push(one);
          poisoned.push(other);
        }
        tell(
          `${MESSAGES} clean messages against as many of which ${POISONED * MESSAGES} are poison, ` +
            `${(POISONED * MESSAGES) / HUGE_EVERY} of them huge`,
        );
        const ratioOf = (measure: keyof Drained, unit: string): number => {
          const [one, other] = [clean, poisoned].map((drains) => drains.map((drained) => drained[measure]));
          const ratio = median(other!) / median(one!);
          const told = (values: number[]): string => values.map((value) => Math.round(value)).join(', ');
          tell(`messages a second ${unit}: ${told(one!)}; ${told(other!)}; ratio of the medians ${ratio.toFixed(2)}`);
          return ratio;
        };
        ratioOf('perSecond', 'by the clock');
        // What else runs on the machine takes time from a drain by the clock, but no CPU time.
        const ratio = ratioOf('perCpuSecond', "of the service's CPU time");
        expect(await view.audit()).toEqual([]);
        expect(ratio).toBeGreaterThanOrEqual(LEAST_RATIO);
      } finally {
        await service?.end();
        await view.close();
        await world.destroy();
      }
    },
    (PAIRS + 1) * WITHIN_MS,
  );
});
