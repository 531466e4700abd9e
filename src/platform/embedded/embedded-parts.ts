import { join } from 'node:path';
import type { OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../../shared/config.js';
import { DataFolderInUse, DataFolderLock } from './data-folder-lock.js';
import { EmbeddedLedger, hasEmbeddedLedger } from './embedded-ledger.js';
import { EmbeddedQueue } from './embedded-queue.js';
import { EmbeddedRedis, findRedisServer } from './embedded-redis.js';

/** Where Redis is to be found: a socket or URL, or in the memory of this process. */
export type RedisLocation =
  { kind: 'url'; url: string } | { kind: 'socket'; path: string; program: string } | { kind: 'memory' };

/**
 * The parts that run inside or under this process because no real one was named: the queue (an SQS emulator),
 * the ledger's PostgreSQL (PGlite) and Redis (a private server where one is installed, else a model of it in memory).
 * They own the data folder for as long as they run, and are the last to stop.
 */
export class EmbeddedParts implements OnApplicationShutdown {
  private looking: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly dataDir: string,
    private readonly lock: DataFolderLock | null,
    private readonly queue: EmbeddedQueue | null,
    private readonly redisServer: EmbeddedRedis | null,
    /** Present where the ledger is embedded. */
    readonly ledgerStore: EmbeddedLedger | null,
    readonly redis: RedisLocation,
    /** `aws`, or the URL of the embedded or given endpoint. */
    readonly sqsEndpoint: string,
  ) {}

  /**
   * @throws DataFolderInUse if another process owns the folder
   * @throws EmbeddedQueuePortTaken
   */
  static async start(config: Config): Promise<EmbeddedParts> {
    const redisServerPath = config.redisUrl === 'embedded' ? findRedisServer(config.searchPath) : null;
    const embedsQueue = config.sqsEndpoint === 'embedded';
    const embedsLedger = config.databaseUrl === 'embedded';
    const lock = embedsQueue || embedsLedger || redisServerPath ? DataFolderLock.acquire(config.dataDir) : null;
    const nothing = Promise.resolve(null);
    const starting = [
      embedsQueue ? EmbeddedQueue.start(config.embeddedSqsPort, join(config.dataDir, 'queue')) : nothing,
      redisServerPath ? EmbeddedRedis.start(redisServerPath, join(config.dataDir, 'redis')) : nothing,
      embedsLedger ? EmbeddedLedger.open(config.dataDir) : nothing,
    ] as const;
    // The slower ones are waited for before a failure is thrown, so that nothing starts after it.
    await Promise.allSettled(starting);
    const [queue, redisServer, ledgerStore] = await Promise.all(starting);
    const redis: RedisLocation = redisServer
      ? { kind: 'socket', path: redisServer.socketPath, program: redisServer.program }
      : ['embedded', 'memory'].includes(config.redisUrl)
        ? { kind: 'memory' }
        : { kind: 'url', url: config.redisUrl };
    const sqsEndpoint = queue?.endpoint ?? config.sqsEndpoint;
    return new EmbeddedParts(config.dataDir, lock, queue, redisServer, ledgerStore, redis, sqsEndpoint);
  }

  /**
   * Looks into the embedded ledger that a data folder still has although this process's ledger is elsewhere.
   * @returns null where there is none, or another process has the folder
   */
  async lookIntoUnusedLedger<T>(look: (store: EmbeddedLedger) => Promise<T>): Promise<T | null> {
    if (this.ledgerStore || !hasEmbeddedLedger(this.dataDir)) return null;
    const found = this.lookUnderLock(look);
    this.looking = found.catch(() => undefined);
    return found;
  }

  async onApplicationShutdown(): Promise<void> {
    await this.queue?.stop();
    await this.redisServer?.stop();
    await this.ledgerStore?.close();
    await this.looking;
    this.lock?.release();
  }

  private async lookUnderLock<T>(look: (store: EmbeddedLedger) => Promise<T>): Promise<T | null> {
    let ownLock: DataFolderLock | null = null;
    try {
      if (!this.lock) ownLock = DataFolderLock.acquire(this.dataDir);
    } catch (error) {
      if (error instanceof DataFolderInUse) return null;
      throw error;
    }
    try {
      const store = await EmbeddedLedger.open(this.dataDir);
      try {
        return await look(store);
      } finally {
        await store.close();
      }
    } finally {
      ownLock?.release();
    }
  }
}
