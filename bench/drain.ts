import { CreateQueueCommand } from '@aws-sdk/client-sqs';
import { createSqsClient } from '../src/platform/queue/sqs-client.js';
import { ownParts, type OwnParts } from './parts.js';
import { BareLoop, Emulator, Service } from './processes.js';

/** The service's default. */
export const QUEUE = 'orders-queue';
/** Likewise. */
export const POLLERS = 8;
/** Drained before the clock runs, so that neither side is measured cold. */
export const WARM_UP = 5_000;

/** How a drain went. */
export interface Drained {
  /** Orders a second, from the moment they were on the queue until they were acknowledged (and projected). */
  perSecond: number;
  /** Cores that the draining process kept busy, and the emulator. */
  cores: { drain: number; emulator: number };
}

/** Bodies for the warm-up and for the measurement; no id may be in both. */
export type Bodies = (count: number, run: string) => string[];

/** The bare receive-and-delete loop. */
export async function drainBare(bodies: Bodies, count: number): Promise<Drained> {
  const emulator = await Emulator.start();
  try {
    await createQueue(emulator.endpoint);
    const loop = await BareLoop.drain(emulator.endpoint, QUEUE, POLLERS);
    try {
      return await drained(emulator, loop, bodies, count, async () => 0);
    } finally {
      await loop.stop();
    }
  } finally {
    await emulator.stop();
  }
}

/** Begins something that goes on while the service drains. @returns ends it */
export type Meanwhile = (running: OnRealParts) => () => Promise<void>;

/** The service on real parts. @param nodeOptions for a profile, say */
export async function drainService(
  bodies: Bodies,
  count: number,
  nodeOptions: string[] = [],
  meanwhile?: Meanwhile,
): Promise<Drained> {
  return onRealParts(async (running) => {
    const { emulator, service } = running;
    const end = meanwhile?.(running);
    const result = await drained(emulator, service, bodies, count, () => projectedAll(service));
    await end?.();
    return result;
  }, nodeOptions);
}

/** The service on real parts of its own, its queue on an emulator. */
export interface OnRealParts {
  emulator: Emulator;
  parts: OwnParts;
  service: Service;
}

/** Starts the service on real parts for as long as some work takes. @param nodeOptions for a profile, say */
export async function onRealParts<T>(
  work: (running: OnRealParts) => Promise<T>,
  nodeOptions: string[] = [],
  settings: Record<string, string> = {},
): Promise<T> {
  const emulator = await Emulator.start();
  try {
    const parts = await ownParts();
    try {
      const environment = { ...parts.environment, SQS_ENDPOINT: emulator.endpoint, ...settings };
      const service = await Service.start(environment, nodeOptions);
      try {
        return await work({ emulator, parts, service });
      } finally {
        await service.stop();
      }
    } finally {
      await parts.destroy();
    }
  } finally {
    await emulator.stop();
  }
}

/**
 * Fills the queue and waits until it is drained, first for a warm-up.
 * @param projected resolves with the moment (ms since the epoch) at which the figures have everything, or with 0
 */
export async function drained(
  emulator: Emulator,
  drainer: BareLoop | Service,
  bodies: Bodies,
  count: number,
  projected: () => Promise<number>,
): Promise<Drained> {
  // Made beforehand: it keeps this process busy, which has other things to look at later.
  const [warmUp, run] = [bodies(WARM_UP, 'warm'), bodies(count, 'run')];
  const warm = emulator.deleted(QUEUE, WARM_UP);
  await emulator.fill(QUEUE, warmUp);
  await warm;
  await projected();
  const used = { drain: drainer.cpuSeconds(), emulator: emulator.cpuSeconds() };
  const deleted = emulator.deleted(QUEUE, count);
  const from = await emulator.fill(QUEUE, run);
  const to = Math.max(await deleted, await projected());
  const seconds = (to - from) / 1000;
  const cores = {
    drain: (drainer.cpuSeconds() - used.drain) / seconds,
    emulator: (emulator.cpuSeconds() - used.emulator) / seconds,
  };
  return { perSecond: count / seconds, cores };
}

/** Resolves with the moment at which the figures have all that the ledger has. */
export async function projectedAll(service: Service): Promise<number> {
  const { items } = await service.get<{ items: { position: number }[] }>('/order-events?limit=1');
  return service.projected(items[0]!.position);
}

/** Makes the orders queue where no service has made it. */
export async function createQueue(endpoint: string): Promise<void> {
  const sqs = createSqsClient({ sqsEndpoint: endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  await sqs.send(new CreateQueueCommand({ QueueName: QUEUE }));
  sqs.destroy();
}
