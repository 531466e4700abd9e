import { PGlite } from '@electric-sql/pglite';
import { join } from 'node:path';
import type { OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../../shared/config.js';
import { DataFolderLock } from './data-folder-lock.js';
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
  private constructor(
    private readonly lock: DataFolderLock | null,
    private readonly queue: EmbeddedQueue | null,
    private readonly redisServer: EmbeddedRedis | null,
    /** Present where the ledger is embedded. */
    readonly ledgerStore: PGlite | null,
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
    const [queue, redisServer, ledgerStore] = await all([
      embedsQueue ? EmbeddedQueue.start(config.embeddedSqsPort, join(config.dataDir, 'queue')) : null,
      redisServerPath ? EmbeddedRedis.start(redisServerPath, join(config.dataDir, 'redis')) : null,
      embedsLedger ? openLedgerStore(join(config.dataDir, 'ledger')) : null,
    ]);
    const redis: RedisLocation = redisServer
      ? { kind: 'socket', path: redisServer.socketPath, program: redisServer.program }
      : ['embedded', 'memory'].includes(config.redisUrl)
        ? { kind: 'memory' }
        : { kind: 'url', url: config.redisUrl };
    return new EmbeddedParts(lock, queue, redisServer, ledgerStore, redis, queue?.endpoint ?? config.sqsEndpoint);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.queue?.stop();
    await this.redisServer?.stop();
    await this.ledgerStore?.close();
    this.lock?.release();
  }
}

async function openLedgerStore(folder: string): Promise<PGlite> {
  const store = new PGlite(folder);
  await store.waitReady;
  return store;
}

/** Like Promise.all, but waits for the slower ones before it throws, so that nothing starts after a failure. */
async function all<A, B, C>(
  starting: [Promise<A> | null, Promise<B> | null, Promise<C> | null],
): Promise<[A | null, B | null, C | null]> {
  const settled = await Promise.allSettled(starting);
  for (const result of settled) if (result.status === 'rejected') throw result.reason;
  return settled.map((result) => (result as PromiseFulfilledResult<unknown>).value) as [A | null, B | null, C | null];
}
