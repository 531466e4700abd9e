import { Logger, type OnApplicationShutdown } from '@nestjs/common';
import { Redis as IORedis, type RedisOptions } from 'ioredis';
import RedisMock from 'ioredis-mock';
import { randomUUID } from 'node:crypto';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { Availability } from '../availability.js';
import type { RedisLocation } from '../embedded/embedded-parts.js';
import { RedisKeys } from './redis-keys.js';

const MIN_VERSION = [6, 2] as const;
const COMMAND_TIMEOUT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 3_000;

/** Redis can't be used right now. */
export class RedisUnavailable extends UnavailableError {
  readonly code = 'redis_unavailable';
}

/** One command as ioredis takes it: name, then arguments. */
export type RedisCommand = [name: string, ...args: (string | number)[]];

/** A Lua script in Redis, typed by what it returns. */
export type RedisScript<Answer> = (keys: string[], args: (string | number)[]) => Promise<Answer>;

/**
 * The one Redis service: a server, a private child process, or a model in this process's memory. Connects in the
 * background, notices when it goes, and comes back by itself.
 */
export class Redis implements OnApplicationShutdown {
  private readonly logger = new Logger('Redis');
  readonly availability: Availability;
  readonly keys: RedisKeys;
  private readonly inMemory: boolean;
  private lastStreamId = 0;
  private readonly evictionListeners: (() => void)[] = [];

  /** @param client the client itself, for scripts and for commands that need no {@link guarded} error */
  constructor(
    location: RedisLocation,
    keyPrefix: string,
    readonly client: IORedis = connectionTo(location),
  ) {
    this.keys = new RedisKeys(keyPrefix);
    this.inMemory = location.kind === 'memory';
    const name = { memory: 'Redis in memory', socket: 'the embedded Redis', url: 'Redis' }[location.kind];
    this.availability = new Availability(
      name,
      () => this.prepare(),
      () => this.check(),
      this.logger,
    );
    const closed = new Error('connection closed');
    let lastError: unknown = closed;
    this.client.on('ready', () => (lastError = closed));
    this.client.on('error', (error) => (lastError = error));
    this.client.on('close', () => this.availability.failed(lastError));
  }

  /** Is called whenever this Redis is found to evict keys: some may be gone, and others may follow. */
  onEvicting(listener: () => void): void {
    this.evictionListeners.push(listener);
  }

  /**
   * Runs work on the client.
   * @throws RedisUnavailable where Redis is down, stalls or refuses writes; other errors of Redis as they are
   */
  async guarded<T>(work: (client: IORedis) => Promise<T>): Promise<T> {
    if (!this.availability.up) throw new RedisUnavailable(this.availability.reason);
    try {
      return await work(this.client);
    } catch (error) {
      if (isReplyError(error) && !isOutage(error)) throw error;
      throw new RedisUnavailable(messageOf(error), { cause: error });
    }
  }

  /** Runs commands as one transaction. @throws RedisUnavailable, or the first command's error */
  async atomically(commands: RedisCommand[]): Promise<unknown[]> {
    return this.guarded(async (client) => repliesOf(await client.multi(commands).exec()));
  }

  /**
   * Runs commands as one transaction. Where Redis refuses a single one, such as for a key of another type, its error
   * stands in its place. @throws RedisUnavailable
   */
  async atomicallyEach(commands: RedisCommand[]): Promise<unknown[]> {
    return this.guarded(async (client) => {
      const results = await client.multi(commands).exec();
      return repliesOf(
        results?.map(([error, reply]) => (isReplyError(error) ? [null, error] : [error, reply])) ?? null,
      );
    });
  }

  /** Runs commands in one round trip. @throws RedisUnavailable, or the first command's error */
  async pipelined(commands: RedisCommand[]): Promise<unknown[]> {
    return this.guarded(async (client) => repliesOf(await client.pipeline(commands).exec()));
  }

  /**
   * Why this Redis must not be trusted with figures although it answers, or null. A server that evicts keys would
   * make figures silently wrong.
   */
  private async defect(): Promise<string | null> {
    const info = await this.client.info();
    const version = /redis_version:(\d+)\.(\d+)/.exec(info);
    const [major, minor] = [Number(version?.[1]), Number(version?.[2])];
    if (!(major > MIN_VERSION[0] || (major === MIN_VERSION[0] && minor >= MIN_VERSION[1]))) {
      return `Redis ${MIN_VERSION.join('.')} or later is needed, this one is ${version ? `${major}.${minor}` : 'unknown'}`;
    }
    const policy = /maxmemory_policy:(\S+)/.exec(info)?.[1];
    if (policy && policy !== 'noeviction') {
      for (const listener of this.evictionListeners) listener();
      return `maxmemory-policy is ${policy}: it must be noeviction, or figures would vanish silently`;
    }
    return /role:slave/.test(info) ? 'this Redis is a replica and takes no writes' : null;
  }

  /**
   * The id to add the next line of a stream with: Redis's own choice. The model in memory would number lines by the
   * stream's length, which stands still once the stream is capped and starts over when it is cleared.
   */
  nextStreamId(): string {
    if (!this.inMemory) return '*';
    this.lastStreamId = Math.max(Date.now(), this.lastStreamId + 1);
    return String(this.lastStreamId);
  }

  /**
   * Makes a Lua script callable by its keys and arguments.
   * @throws RedisUnavailable, or the script's error
   */
  script<Answer>(name: string, lua: string): RedisScript<Answer> {
    // The model in memory takes the key count of a defined command for its first key.
    if (this.inMemory) {
      return (keys, args) =>
        this.guarded((client) => client.eval(lua, keys.length, ...keys, ...args) as Promise<Answer>);
    }
    this.client.defineCommand(name, { lua });
    const commands = this.client as unknown as Record<string, (...parts: (string | number)[]) => Promise<Answer>>;
    return (keys, args) => this.guarded(() => commands[name]!(keys.length, ...keys, ...args));
  }

  async onApplicationShutdown(): Promise<void> {
    await this.availability.stop();
    this.client.disconnect();
  }

  private async prepare(): Promise<void> {
    if (!this.inMemory && this.client.status !== 'ready') {
      this.client.disconnect();
      await this.client.connect();
    }
    await this.check();
  }

  private async check(): Promise<void> {
    const defect = await this.defect();
    if (defect) throw new Error(defect);
  }
}

function connectionTo(location: RedisLocation): IORedis {
  const options: RedisOptions = {
    lazyConnect: true,
    enableOfflineQueue: false,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: null, // reconnecting is Availability's work, so that there is one way back only
  };
  switch (location.kind) {
    case 'memory':
      // Instances of the model with the same host share their data.
      return new RedisMock({ host: randomUUID() });
    case 'socket':
      return new IORedis({ ...options, path: location.path });
    case 'url':
      return location.url.startsWith('unix:')
        ? new IORedis({ ...options, path: new URL(location.url).pathname })
        : new IORedis(location.url, options);
  }
}

function repliesOf(results: [Error | null, unknown][] | null): unknown[] {
  if (!results) throw new Error('The transaction was discarded');
  return results.map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}

/** EXECABORT carries the reason in `previousErrors`. */
function isOutage(refusal: Error & { previousErrors?: Error[] }): boolean {
  const { message } = refusal.previousErrors?.[0] ?? refusal;
  return /^(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY) /.test(message);
}

function isReplyError(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}
