import { SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Database } from '../../src/platform/database/database.js';
import { OrdersQueue } from '../../src/platform/queue/queue.js';
import { Redis } from '../../src/platform/redis/redis.js';
import { createService } from '../../src/service.js';
import { loadConfig, type Config } from '../../src/shared/config.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { eventually } from './eventually.js';
import { dropRedisKeys, ownDatabase, parts } from './parts.js';

/** An answer of the service, its JSON read. */
export interface Answer {
  status: number;
  headers: Headers;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look at whatever came
  body: any;
}

/** What several services of a test share: a database, a Redis key space, a data folder, a queue name. */
export interface World {
  readonly environment: Record<string, string>;
  readonly dataDir: string;
  /** Takes everything down that the test made. */
  destroy(): Promise<void>;
}

/** Makes a world of its own for a test; nothing in it is shared with another test. */
export async function aWorld(overrides: Record<string, string> = {}): Promise<World> {
  const id = randomBytes(6).toString('hex');
  const dataDir = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
  const database = await ownDatabase();
  const prefix = `test-${id}`;
  return {
    dataDir,
    environment: {
      NODE_ENV: 'test',
      LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? 'fatal',
      PATH: process.env.PATH ?? '',
      PORT: '0',
      EMBEDDED_SQS_PORT: '0',
      DATA_DIR: dataDir,
      SQS_ENDPOINT: parts.sqsEndpoint,
      SQS_WAIT_TIME_SECONDS: '1',
      SQS_QUEUE_NAME: `orders-${id}`,
      INVENTORY_QUEUE_NAME: `inventory-${id}`,
      PAYMENT_QUEUE_NAME: `payment-${id}`,
      SHIPMENT_QUEUE_NAME: `shipment-${id}`,
      DATABASE_URL: database.url,
      REDIS_URL: parts.redisUrl,
      REDIS_KEY_PREFIX: prefix,
      SQS_POLLERS: '4',
      DEMO_DATA: 'off',
      ...overrides,
    },
    destroy: async () => {
      await dropRedisKeys(prefix);
      await database.drop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** A running service, in this process. */
export class RunningService {
  private constructor(
    readonly app: NestExpressApplication,
    readonly config: Config,
    readonly url: string,
    private readonly ownWorld: World | null,
  ) {}

  /** @param world where the service lives; made and destroyed with it if none is given */
  static async start(options: { world?: World; environment?: Record<string, string> } = {}): Promise<RunningService> {
    const world = options.world ?? (await aWorld());
    const config = loadConfig({ ...world.environment, ...options.environment });
    const app = await createService(config).catch(async (error: unknown) => {
      if (!options.world) await world.destroy();
      throw error;
    });
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    return new RunningService(app, config, `http://127.0.0.1:${port}`, options.world ? null : world);
  }

  /** Starts a service and waits until it is ready for traffic. */
  static async ready(options: { world?: World; environment?: Record<string, string> } = {}): Promise<RunningService> {
    const service = await RunningService.start(options);
    await service.isReady();
    return service;
  }

  get database(): Database {
    return this.app.get(Database);
  }

  get redis(): Redis {
    return this.app.get(Redis);
  }

  get sqs(): SQSClient {
    return this.app.get(SQSClient);
  }

  async isReady(): Promise<void> {
    await eventually(async () => {
      const { status, body } = await this.get('/health/ready');
      if (status !== 200) throw new Error(`Not ready: ${JSON.stringify(body)}`);
    }, 30_000);
  }

  async get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.call('GET', path, undefined, headers);
  }

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson =
      response.headers.get('content-type')?.includes('json') &&
      !response.headers.get('content-type')?.includes('ndjson');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** Puts bodies on the orders queue, in their order. */
  async send(...bodies: (string | object)[]): Promise<void> {
    const texts = bodies.map((body) => (typeof body === 'string' ? body : JSON.stringify(body)));
    for (let start = 0; start < texts.length; start += 10) {
      const entries = texts.slice(start, start + 10).map((MessageBody, i) => ({ Id: String(i), MessageBody }));
      const { Failed = [] } = await this.sqs.send(
        new SendMessageBatchCommand({ QueueUrl: this.config.queue.name, Entries: entries }),
      );
      if (Failed.length > 0) throw new Error(`SQS refused ${Failed.length} messages: ${Failed[0]!.Message}`);
    }
  }

  /** Waits until the queue is empty, in hand too, and the live figures have every entry of the ledger. */
  async settled(withoutProgressMs = 60_000): Promise<void> {
    await eventually(async () => {
      const { visible, in_flight, delayed } = await this.app.get(OrdersQueue).depth();
      if (visible + in_flight + delayed > 0) throw new Error(`${visible} waiting, ${in_flight} in hand`);
      const { behind } = await this.app.get(Projector).reached();
      if (behind !== 0) throw new Error(`The figures are ${behind} entries behind`);
    }, withoutProgressMs);
  }

  /** Shuts the service down as SIGTERM would; its world goes too if it was its own. */
  async stop(): Promise<void> {
    await this.app.close();
    await this.ownWorld?.destroy();
  }
}
