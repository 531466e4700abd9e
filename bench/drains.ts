import { invoiceBodies, poisonedBodies, sampleBodies, validBodies } from './bodies.js';
import { drainBare, drainService, type Bodies, type Drained } from './drain.js';
import { scaled, type Measurement, type Reading, type Target } from './measurement.js';

const ORDERS = 20_000;

/** Drains of a full queue on real parts. */
export const DRAINS: Measurement[] = [
  drain('drain', 'orders of POST /produce, one in five wrong', sampleBodies, { atLeast: 0.85 }),
  drain('drain-invoices', 'real invoices of many lines', invoiceBodies, { atLeast: 0.5 }),
  {
    id: 'drain-poison',
    what: `drain of ${ORDERS} messages, a fifth of them poison, until they are in the figures`,
    against: 'the same service on valid orders',
    unit: 'orders/s',
    toReach: { atLeast: 0.8 },
    ours: async (scale) => readingOf(await drainService(poisonedBodies, scaled(ORDERS, scale))),
    limit: async (scale) => readingOf(await drainService(validBodies, scaled(ORDERS, scale))),
  },
];

function drain(id: string, orders: string, bodies: Bodies, toReach: Target): Measurement {
  return {
    id,
    what: `drain of ${ORDERS} ${orders}, until they are in the figures`,
    against: 'bare receive-and-delete loop',
    unit: 'orders/s',
    toReach,
    ours: async (scale) => readingOf(await drainService(bodies, scaled(ORDERS, scale))),
    limit: async (scale) => readingOf(await drainBare(bodies, scaled(ORDERS, scale))),
  };
}

function readingOf({ perSecond, cores }: Drained): Reading {
  return { value: perSecond, facts: { drainCores: cores.drain, emulatorCores: cores.emulator } };
}
