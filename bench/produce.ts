import { sampleBodies } from './bodies.js';
import { createQueue, onRealParts, QUEUE } from './drain.js';
import { scaled, type Measurement, type Reading } from './measurement.js';
import { BareLoop, Emulator, type Service } from './processes.js';

/** The most that one request may ask for. */
const ORDERS = 10_000;
const WARM_UP = 5_000;
/** Calls that the service has under way at once. */
const LANES = 32;

/** `POST /produce` as it is used: the service takes the orders off the queue while it still puts them there. */
export const PRODUCE: Measurement = {
  id: 'produce',
  what: `POST /produce of ${ORDERS} orders, which the same service drains meanwhile`,
  against: `bare SendMessageBatch loop, ${LANES} calls at once, which a service drains meanwhile`,
  unit: 'orders/s',
  toReach: { atLeast: 0.8 },
  ours: (scale) => produced(scaled(ORDERS, scale)),
  limit: (scale) => sent(scaled(ORDERS, scale)),
};

/** From the request until the whole answer, which names every order. */
async function produced(count: number): Promise<Reading> {
  return onRealParts(async ({ emulator, service }) => {
    await drainedMeanwhile(emulator, WARM_UP, () => produce(service, WARM_UP));
    return drainedMeanwhile(emulator, count, () => produce(service, count));
  });
}

async function produce(service: Service, count: number): Promise<Reading> {
  const started = performance.now();
  const body = JSON.stringify({ count });
  const response = await fetch(`${service.url}/produce`, { method: 'POST', body });
  const { orders } = (await response.json()) as { orders: unknown[] };
  const ms = performance.now() - started;
  if (orders?.length !== count) throw new Error(`POST /produce answered ${response.status}`);
  return { value: (count * 1000) / ms };
}

/** From the first call of the loop until the last answer; beside it the same with nobody to drain the queue. */
async function sent(count: number): Promise<Reading> {
  const beside = await onRealParts(async ({ emulator }) => {
    const sender = await BareLoop.sender(emulator.endpoint, QUEUE, LANES);
    try {
      await drainedMeanwhile(emulator, WARM_UP, () => sender.send(sampleBodies(WARM_UP, 'warm')));
      return await drainedMeanwhile(emulator, count, () => sender.send(sampleBodies(count, 'run')));
    } finally {
      await sender.stop();
    }
  });
  const undrainedPerSecond = (count * 1000) / (await sentAlone(count));
  return { value: (count * 1000) / beside, facts: { undrainedPerSecond } };
}

async function sentAlone(count: number): Promise<number> {
  const emulator = await Emulator.start();
  try {
    await createQueue(emulator.endpoint);
    const sender = await BareLoop.sender(emulator.endpoint, QUEUE, LANES);
    try {
      await sender.send(sampleBodies(WARM_UP, 'warm'));
      return await sender.send(sampleBodies(count, 'run'));
    } finally {
      await sender.stop();
    }
  } finally {
    await emulator.stop();
  }
}

/** Resolves with what the work gave when the queue is empty again. */
async function drainedMeanwhile<T>(emulator: Emulator, count: number, work: () => Promise<T>): Promise<T> {
  const deleted = emulator.deleted(QUEUE, count);
  const result = await work();
  await deleted;
  return result;
}
