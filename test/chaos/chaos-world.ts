import { GetQueueAttributesCommand, SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { type Redis as IORedis } from 'ioredis';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Client } from 'pg';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import type { LedgerQuery } from '../support/ledger-audit.js';
import { useBuild } from '../support/process.js';
import { RealWorld } from '../support/real-world.js';
import { PROCESSES } from './faults.js';
import type { Findings } from './invariants.js';
import { Slot } from './slot.js';

export const QUEUE = 'orders-queue';
export const TIME_ZONE = 'Europe/Berlin';
const SETTINGS = {
  NODE_ENV: 'development',
  LOG_LEVEL: 'info',
  SQS_VISIBILITY_TIMEOUT: '5',
  // A message may be in the hands of many processes that are killed; not one may be given up.
  SQS_MAX_RECEIVE_COUNT: '50',
  BUSINESS_TIME_ZONE: TIME_ZONE,
};

/** How many messages a queue has: such as wait, and such as somebody has in hand. */
export interface Depth {
  waiting: number;
  inHand: number;
}

/** Servers of its own, several processes of the service on them, and a way past all networks that are broken. */
export class ChaosWorld {
  private readonly sqs: SQSClient;

  private constructor(
    /** Holds the logs, and the build that the processes run. */
    readonly folder: string,
    readonly parts: RealWorld,
    readonly slots: readonly Slot[],
  ) {
    this.sqs = createSqsClient({
      sqsEndpoint: parts.queue.endpoint,
      awsRegion: 'us-east-1',
      awsCredentialsGiven: false,
    });
  }

  /**
   * @param build folder of the built service
   * @param preload a script that every process loads first
   */
  static async make(build: string, preload: string | null, findings: Findings): Promise<ChaosWorld> {
    const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-chaos-'));
    try {
      useBuild(copyOf(build, folder));
      const logs = join(folder, 'logs');
      mkdirSync(logs);
      const parts = await RealWorld.make(SETTINGS);
      const environment: Record<string, string> = preload ? { NODE_OPTIONS: `--require=${resolve(preload)}` } : {};
      const numbers = Array.from({ length: PROCESSES }, (_, index) => index + 1);
      const slots = await Promise.all(numbers.map((number) => Slot.make(number, parts, logs, environment, findings)));
      return new ChaosWorld(folder, parts, slots);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get logFolder(): string {
    return join(this.folder, 'logs');
  }

  slot(number: number): Slot {
    return this.slots[number - 1]!;
  }

  /** Puts bodies on the orders queue, at most ten. @throws Error unless it takes all of them */
  async send(bodies: string[]): Promise<void> {
    const Entries = bodies.map((MessageBody, i) => ({ Id: String(i), MessageBody }));
    const { Failed = [] } = await this.sqs.send(new SendMessageBatchCommand({ QueueUrl: QUEUE, Entries }));
    if (Failed.length > 0) throw new Error(`The queue did not take ${Failed.length} messages: ${Failed[0]!.Message}`);
  }

  async depth(queue = QUEUE): Promise<Depth> {
    const { Attributes } = await this.sqs.send(
      new GetQueueAttributesCommand({
        QueueUrl: queue,
        AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
      }),
    );
    return {
      waiting: Number(Attributes!.ApproximateNumberOfMessages),
      inHand: Number(Attributes!.ApproximateNumberOfMessagesNotVisible),
    };
  }

  /** Gives a connection of its own to the ledger's database, past the networks. */
  async withLedger<T>(work: (query: LedgerQuery) => Promise<T>): Promise<T> {
    const client = new Client(this.parts.postgres.url);
    // It may be killed at any time; the statement that then fails says so.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await work(async <Row>(text: string) => (await client.query(text)).rows as Row[]);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  /** Of the servers. */
  async versions(): Promise<string[]> {
    const [postgres] = await this.withLedger((query) => query<{ server_version: string }>('show server_version'));
    const redis = /redis_version:(\S+)/.exec(await this.redis.info('server'));
    return [`PostgreSQL ${postgres!.server_version}`, `Redis ${redis![1]}`];
  }

  get redisKeyPrefix(): string {
    return this.parts.environment.REDIS_KEY_PREFIX!;
  }

  get redis(): IORedis {
    return this.parts.redis.client;
  }

  /** Ends everything and takes it away. @param keepLogs whether those stay */
  async destroy({ keepLogs }: { keepLogs: boolean }): Promise<void> {
    await Promise.all(this.slots.map((slot) => slot.end()));
    this.sqs.destroy();
    await this.parts.destroy();
    const gone = keepLogs ? BESIDE_THE_LOGS.map((name) => join(this.folder, name)) : [this.folder];
    for (const path of gone) rmSync(path, { recursive: true, force: true });
  }
}

/** Of the repository; a build looks for them in the folder above it. */
const BESIDE_A_BUILD = ['package.json', 'migrations', 'node_modules'];
const BESIDE_THE_LOGS = ['built', ...BESIDE_A_BUILD];

/** Copies a build, so that another build of the repository changes nothing for processes that are started later. */
function copyOf(build: string, folder: string): string {
  const repository = dirname(findPackageJSON(pathToFileURL(`${build}/`))!);
  for (const name of BESIDE_A_BUILD) symlinkSync(join(repository, name), join(folder, name));
  const copy = join(folder, 'built');
  cpSync(build, copy, { recursive: true });
  return copy;
}
