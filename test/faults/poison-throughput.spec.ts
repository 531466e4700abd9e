import { QueueSender } from '../../src/platform/queue/queue-sender.js';
import { fullFaults, seededFor, tell } from '../support/fault-scale.js';
import { itOnOwnServers } from '../support/only-on.js';
import { poisonedTraffic } from '../support/poison.js';
import { ServiceProcess, useBuiltService } from '../support/process.js';
import { RealWorld } from '../support/real-world.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { WorldView } from '../support/world-view.js';

const MESSAGES = 10_000;
const POISONED = 0.2;
/** One in so many poisons is as large as it can be: of all messages one in 500, ten times the bytes of the others together. */
const HUGE_EVERY = 100;
const PAIRS = 5;
const LEAST_RATIO = 0.8;
const WITHIN_MS = 300_000;

useBuiltService();

/** @returns messages a second, from a full queue until all are acknowledged and in the figures */
async function drain(view: WorldView, service: ServiceProcess, bodies: string[]): Promise<number> {
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
  return (bodies.length / (performance.now() - from)) * 1000;
}

function median(values: number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
}

function bodiesOf(run: string, poisoned: number, random: SeededRandom): string[] {
  return poisonedTraffic({ run, messages: MESSAGES, poisoned, hugeEvery: HUGE_EVERY }, random).map(({ body }) => body);
}

// A measurement; the short version of the suite makes none.
if (fullFaults) {
  describe('Where a fifth of the traffic is poison', () => {
    itOnOwnServers()(
      `throughput is at least ${LEAST_RATIO} of what it is without`,
      async () => {
        const random = seededFor('throughput where a fifth of the traffic is poison');
        const world = await RealWorld.make({ SQS_POLLERS: '8' });
        const view = new WorldView(world);
        let service: ServiceProcess | null = null;
        try {
          service = await ServiceProcess.ready(world);
          const clean: number[] = [];
          const poisoned: number[] = [];
          // The first pair is the warm-up.
          for (let pair = 0; pair <= PAIRS; pair++) {
            const one = await drain(view, service, bodiesOf(`C${pair}`, 0, random));
            const other = await drain(view, service, bodiesOf(`P${pair}`, POISONED, random));
            if (pair === 0) continue;
            clean.push(one);
            poisoned.push(other);
          }
          const ratio = median(poisoned) / median(clean);
          const told = (values: number[]): string => values.map((value) => Math.round(value)).join(', ');
          tell(
            `messages a second of ${MESSAGES} clean ones: ${told(clean)}; of as many of which ` +
              `${POISONED * MESSAGES} are poison, ${(POISONED * MESSAGES) / HUGE_EVERY} of them huge: ${told(poisoned)}; ` +
              `ratio of the medians ${ratio.toFixed(2)}`,
          );
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
}
