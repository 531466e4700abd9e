import { onDataFolder } from './data-folder.js';
import { drainedAndProjected } from './embedded-drain.js';
import { scaled, type Measurement, type Reading } from './measurement.js';
import { Service } from './processes.js';

const ORDERS = 5_000;

/** How soon the service can be used. */
export const START: Measurement = {
  id: 'start',
  what: `start to ready, embedded, the second one on a data folder with ${ORDERS} orders`,
  against: '3 s',
  unit: 's',
  toReach: { withTimeout: 3 },
  ours: (scale) => secondStart(scaled(ORDERS, scale)),
};

async function secondStart(orders: number): Promise<Reading> {
  return onDataFolder(async ({ sqsEndpoint, environment }) => {
    const first = await Service.start(environment);
    try {
      const body = JSON.stringify({ count: orders });
      const response = await fetch(`${first.url}/produce`, { method: 'POST', body });
      if (!response.ok) throw new Error(`POST /produce answered ${response.status}`);
      await drainedAndProjected(first, sqsEndpoint);
    } finally {
      await first.stop();
    }
    const second = await Service.start(environment);
    await second.stop();
    return { value: second.readyAfterMs / 1000, facts: { firstStart: first.readyAfterMs / 1000 } };
  });
}
