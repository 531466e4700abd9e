import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createSqsClient } from '../src/platform/queue/sqs-client.js';
import { sampleBodies } from './bodies.js';
import { onDataFolder } from './data-folder.js';
import { createQueue, POLLERS, projectedAll, QUEUE } from './drain.js';
import { scaled, type Measurement, type Reading } from './measurement.js';
import { BareLoop, Child, forked, Service } from './processes.js';

const ORDERS = 60_000;
const LANES = 16;
/** Each look costs the process that drains a little. */
const LOOK_EVERY_MS = 50;

/** A drain with all parts embedded, as after `npm start` and nothing else. */
export const EMBEDDED_DRAIN: Measurement = {
  id: 'drain-embedded',
  what: `drain of ${ORDERS} orders, all parts embedded, begun at the start`,
  against: 'bare receive-and-delete loop on the same durable emulator',
  unit: 'orders/s',
  toReach: { atLeast: 0.7 },
  ours: (scale) => drainedByService(scaled(ORDERS, scale)),
  limit: (scale) => drainedByLoop(scaled(ORDERS, scale)),
};

/** The embedded queue by itself, see durable-emulator.ts. */
class DurableEmulator extends Child {
  private constructor(
    process: Child['process'],
    readonly endpoint: string,
  ) {
    super(process);
  }

  /** @param dataDir of a service, in which the queue has a folder of its own */
  static async start(dataDir: string): Promise<DurableEmulator> {
    const child = forked('durable-emulator.js', join(dataDir, 'queue'));
    const [{ endpoint }] = (await once(child, 'message')) as [{ endpoint: string }];
    return new DurableEmulator(child, endpoint);
  }

  /** Runs it on a folder for as long as some work takes. */
  static async during<T>(dataDir: string, work: (emulator: DurableEmulator) => Promise<T>): Promise<T> {
    const emulator = await DurableEmulator.start(dataDir);
    try {
      return await work(emulator);
    } finally {
      await emulator.stop();
    }
  }
}

/**
 * The service finds a full queue when it starts. From the first message that it received until the queue is empty and
 * everything is in the figures.
 */
async function drainedByService(count: number): Promise<Reading> {
  return onDataFolder(async ({ path, sqsEndpoint, environment }) => {
    await fill(path, count);
    const service = await Service.start(environment);
    try {
      const to = await drainedAndProjected(service, sqsEndpoint);
      const { received_at } = await service.get<{ received_at: string }>('/order-events/1');
      const seconds = (to - Date.parse(received_at)) / 1000;
      return { value: count / seconds, facts: { cores: service.cpuSeconds() / seconds } };
    } finally {
      await service.stop();
    }
  });
}

/** The loop finds a full queue, too. From the first answer with messages until the last of them are deleted. */
async function drainedByLoop(count: number): Promise<Reading> {
  return onDataFolder(async ({ path }) => {
    await fill(path, count);
    return DurableEmulator.during(path, async (emulator) => {
      const used = emulator.cpuSeconds();
      const loop = await BareLoop.drain(emulator.endpoint, QUEUE, POLLERS, count);
      try {
        const seconds = (await loop.drained()) / 1000;
        const cores = (emulator.cpuSeconds() - used + loop.cpuSeconds()) / seconds;
        return { value: count / seconds, facts: { cores } };
      } finally {
        await loop.stop();
      }
    });
  });
}

async function fill(dataDir: string, count: number): Promise<void> {
  await DurableEmulator.during(dataDir, async ({ endpoint }) => {
    await createQueue(endpoint);
    await BareLoop.send(endpoint, QUEUE, LANES, sampleBodies(count, 'run'));
  });
}

/** Resolves with the moment (ms since the epoch) at which the queue was empty and the figures had everything. */
export async function drainedAndProjected(service: Service, sqsEndpoint: string): Promise<number> {
  const sqs = createSqsClient({ sqsEndpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  try {
    while ((await messagesOn(sqs)) > 0) await pause(LOOK_EVERY_MS);
  } finally {
    sqs.destroy();
  }
  return projectedAll(service);
}

async function messagesOn(sqs: ReturnType<typeof createSqsClient>): Promise<number> {
  const { Attributes = {} } = await sqs.send(
    new GetQueueAttributesCommand({
      QueueUrl: QUEUE,
      AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
    }),
  );
  return Object.values(Attributes).reduce((sum, messages) => sum + Number(messages), 0);
}
