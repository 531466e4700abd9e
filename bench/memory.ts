import { setTimeout as pause } from 'node:timers/promises';
import { sampleBodies } from './bodies.js';
import { onRealParts, projectedAll, QUEUE } from './drain.js';
import { median, scaled, type Measurement, type Reading } from './measurement.js';

const MANY = 1_000_000;
const FEW = 100_000;
/** So many are on the queue at once. */
const PORTION = 20_000;
const LOOKS = 9;
const LOOK_EVERY_MS = 2_000;
const MIB = 1024 * 1024;

/** Whether the service keeps anything of what it has processed. */
export const MEMORY: Measurement = {
  id: 'memory',
  what: `resident memory after draining ${MANY} orders`,
  against: `after ${FEW}`,
  unit: 'MiB',
  toReach: { withTimeout: 1.1 },
  ours: (scale) => residentAfter(scaled(MANY, scale)),
  limit: (scale) => residentAfter(scaled(FEW, scale)),
};

/** The median of some looks after the last order; nothing is collected by force. */
async function residentAfter(orders: number): Promise<Reading> {
  return onRealParts(async ({ emulator, service }) => {
    let most = 0;
    for (let drained = 0; drained < orders; drained += PORTION) {
      const count = Math.min(PORTION, orders - drained);
      const deleted = emulator.deleted(QUEUE, count);
      await emulator.fill(QUEUE, sampleBodies(count, `memory-${drained}`));
      await deleted;
      most = Math.max(most, service.residentBytes());
    }
    await projectedAll(service);
    const looks: number[] = [];
    while (looks.length < LOOKS) {
      await pause(LOOK_EVERY_MS);
      looks.push(service.residentBytes());
    }
    return { value: median(looks) / MIB, facts: { mostMiB: most / MIB } };
  });
}
