import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedQueue } from '../../src/platform/embedded/embedded-queue.js';
import type { World } from './app.js';
import { goesWithThisProcess } from './own-process.js';
import { PostgresServer } from './postgres-server.js';
import { RedisServer } from './redis-server.js';

/** A real world has queues by their usual names, since its emulator belongs to it alone. */
export const ORDERS_QUEUE = 'orders-queue';

/** A world on a PostgreSQL, a Redis and a queue that belong to it alone, so that all of them may be broken. */
export class RealWorld implements World {
  private constructor(
    readonly postgres: PostgresServer,
    readonly redis: RedisServer,
    readonly queue: EmbeddedQueue,
    readonly dataDir: string,
    readonly environment: Record<string, string>,
  ) {}

  static async make(
    overrides: Record<string, string> = {},
    postgresOptions: Parameters<typeof PostgresServer.start>[0] = {},
  ): Promise<RealWorld> {
    const postgres = await PostgresServer.start(postgresOptions);
    const redis = await RedisServer.start();
    const queue = await EmbeddedQueue.start(0, null);
    const dataDir = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
    goesWithThisProcess(dataDir);
    return new RealWorld(postgres, redis, queue, dataDir, {
      NODE_ENV: 'test',
      LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? 'fatal',
      PATH: process.env.PATH ?? '',
      PORT: '0',
      DATA_DIR: dataDir,
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      SQS_ENDPOINT: queue.endpoint,
      SQS_WAIT_TIME_SECONDS: '1',
      REDIS_KEY_PREFIX: `test-${randomBytes(6).toString('hex')}`,
      SQS_POLLERS: '4',
      DEMO_DATA: 'off',
      ...overrides,
    });
  }

  async destroy(): Promise<void> {
    await this.queue.stop();
    await this.redis.remove();
    await this.postgres.remove();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}
