import type { OnApplicationShutdown } from '@nestjs/common';
import { join } from 'node:path';
import type { Config } from '../../shared/config.js';
import { DataFolderLock } from './data-folder-lock.js';
import { EmbeddedPostgres } from './embedded-postgres.js';
import { EmbeddedQueue } from './embedded-queue.js';
import { EmbeddedRedis } from './embedded-redis.js';
import { findRedisServer } from './redis-programs.js';

/** Where Redis is to be found: a socket or URL, or in the memory of this process. */
export type RedisLocation =
  { kind: 'url'; url: string } | { kind: 'socket'; path: string; program: string } | { kind: 'memory' };

/**
 * The parts that run inside or under this process because no real one was named: the queue (an SQS emulator), a private
 * PostgreSQL server, and Redis (a private server where one is installed, else a model of it in memory).
 * They own the data folder for as long as they run, and are the last to stop.
 */
export class EmbeddedParts implements OnApplicationShutdown {
  private constructor(
    private readonly lock: DataFolderLock | null,
    private readonly queue: EmbeddedQueue | null,
    private readonly redisServer: EmbeddedRedis | null,
    /** Null where the database is on a server of its own. */
    readonly postgres: EmbeddedPostgres | null,
    readonly redis: RedisLocation,
    /** `aws`, or the URL of the embedded or given endpoint. */
    readonly sqsEndpoint: string,
    /** Of the embedded or the given PostgreSQL. */
    readonly databaseUrl: string,
  ) {}

  /**
   * @throws DataFolderInUse if another process owns the folder
   * @throws DamagedLedger @throws EmbeddedQueuePortTaken @throws NoPostgres @throws OldDataFolder
   * @throws OtherPostgresVersion @throws ServerNotStarted
   */
  static async start(config: Config): Promise<EmbeddedParts> {
    const { dataDir, searchPath } = config;
    const redisServerPath = config.redisUrl === 'embedded' ? findRedisServer(searchPath) : null;
    const embedsQueue = config.sqsEndpoint === 'embedded';
    const embedsPostgres = config.databaseUrl === 'embedded';
    const lock = embedsQueue || embedsPostgres || redisServerPath ? DataFolderLock.acquire(dataDir) : null;
    const nothing = Promise.resolve(null);
    const starting = [
      embedsQueue ? EmbeddedQueue.start(config.embeddedSqsPort, join(dataDir, 'queue')) : nothing,
      redisServerPath ? EmbeddedRedis.start(redisServerPath, join(dataDir, 'redis')) : nothing,
      embedsPostgres ? EmbeddedPostgres.start(dataDir, searchPath) : nothing,
    ] as const;
    // The slower ones are waited for before a failure is thrown, so that nothing starts after it.
    const [queue, redisServer, postgres] = await Promise.allSettled(starting);
    if ([queue, redisServer, postgres].some(({ status }) => status === 'rejected')) {
      const started = [queue, redisServer, postgres].map((part) => (part.status === 'fulfilled' ? part.value : null));
      // The failure of the start is the one to report.
      await Promise.allSettled(started.map(async (part) => part?.stop()));
      lock?.release();
    }
    return new EmbeddedParts(
      lock,
      valueOf(queue),
      valueOf(redisServer),
      valueOf(postgres),
      redisLocation(config, valueOf(redisServer)),
      valueOf(queue)?.endpoint ?? config.sqsEndpoint,
      valueOf(postgres)?.url ?? config.databaseUrl,
    );
  }

  async onApplicationShutdown(): Promise<void> {
    const stopped = await Promise.allSettled(
      [this.queue, this.redisServer, this.postgres].map(async (part) => part?.stop()),
    );
    this.lock?.release();
    stopped.forEach(valueOf);
  }
}

/** @throws the reason of a rejection */
function valueOf<T>(part: PromiseSettledResult<T>): T {
  if (part.status === 'rejected') throw part.reason;
  return part.value;
}

function redisLocation({ redisUrl }: Config, server: EmbeddedRedis | null): RedisLocation {
  if (server) return { kind: 'socket', path: server.socketPath, program: server.program };
  return ['embedded', 'memory'].includes(redisUrl) ? { kind: 'memory' } : { kind: 'url', url: redisUrl };
}
