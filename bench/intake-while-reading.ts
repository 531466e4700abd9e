import { sampleBodies } from './bodies.js';
import { drainService } from './drain.js';
import { HttpLoad } from './http-load.js';
import { scaled, type Measurement } from './measurement.js';
import { tick, type Service } from './processes.js';

const ORDERS = 20_000;
const CONNECTIONS = 64;
/** Sample orders are of a hundred users. */
const PATHS = ['/stats/global', '/users/U042/stats', '/stats/top/10'];
/** Until it is stopped. */
const LOAD = { connections: CONNECTIONS, seconds: 3_600 };

/** Draining while others read, against draining alone. */
export const INTAKE_WHILE_READING: Measurement = {
  id: 'intake-while-reading',
  what: `drain of ${ORDERS} orders while ${CONNECTIONS} connections read figures`,
  against: 'the same drain while nobody reads',
  unit: 'orders/s',
  toReach: { atLeast: 0.7 },
  async ours(scale) {
    let readsPerSecond = 0;
    const { perSecond, cores } = await drainService(sampleBodies, scaled(ORDERS, scale), [], ({ service }) => {
      const reading = readable(service).then(() => new HttpLoad(service.url, PATHS, LOAD));
      return async () => void ({ perSecond: readsPerSecond } = await (await reading).stop());
    });
    return { value: perSecond, facts: { readsPerSecond, cores: cores.drain } };
  },
  async limit(scale) {
    const { perSecond, cores } = await drainService(sampleBodies, scaled(ORDERS, scale));
    return { value: perSecond, facts: { cores: cores.drain } };
  },
};

/** Resolves when all that is read is there, which is before the warm-up ends. */
async function readable({ url }: Service): Promise<void> {
  for (const path of PATHS) {
    while (!(await fetch(`${url}${path}`)).ok) await tick();
  }
}
