import { AsyncLocalStorage } from 'node:async_hooks';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { Audit } from '../../src/platform/audit/audit.js';
import { type Database } from '../../src/platform/database/database.js';
import { type Redis } from '../../src/platform/redis/redis.js';
import type { Config } from '../../src/shared/config.js';
import { Aggregation } from '../../src/stats/rebuild/aggregation.repository.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { RebuildRequests } from '../../src/stats/rebuild/rebuild-requests.service.js';
import { Rebuild } from '../../src/stats/rebuild/rebuild.service.js';
import type { StatisticsKeeper } from './exact-figures.js';

/** How a rebuild ended for the process that ran it. */
export type CrashOutcome = 'crashed' | 'survived';

/**
 * What one process of the service does for the statistics, without queue and HTTP. It can crash like a killed process
 * does: from then on the database and Redis do and answer nothing of what it asks.
 */
export class StatisticsProcess implements StatisticsKeeper {
  readonly businessTimeZone = 'UTC';
  readonly redis: Redis;
  readonly ledger: Ledger;
  readonly aggregation: Aggregation;
  readonly authority: ProjectionStateRepository;
  readonly store: StatisticsRepository;
  readonly rebuild: Rebuild;
  readonly projector: Projector;
  readonly requests: RebuildRequests;
  /** What its rebuild asked of the database and of Redis before the crash, or at all if there was none. */
  readonly steps: string[] = [];
  private crashesBefore = Infinity;
  private state: 'running' | 'crashed' | 'buried' = 'running';
  private readonly unanswered: ((error: Error) => void)[] = [];
  private readonly ofTheRebuild = new AsyncLocalStorage<true>();
  private onCrash: () => void = () => undefined;

  /** Starts it. The stores serve other processes, too: what they do for this one can be cut off by itself. */
  constructor(stores: { database: Database; redis: Redis }) {
    const database = Object.create(stores.database) as Database;
    const redis = Object.create(stores.redis) as Redis;
    this.redis = redis;
    this.watch(database, 'query', (statement) => textOf(statement as Statement));
    this.watch(database, 'transaction', () => 'transaction');
    this.watch(redis, 'guarded', (work) => `redis ${commandOf(work)}`);
    this.halvePipelines();
    const audit = new Audit(database);
    this.ledger = new Ledger(database);
    this.authority = new ProjectionStateRepository(database, audit);
    this.store = new StatisticsRepository(redis);
    const config = { businessTimeZone: this.businessTimeZone } as Config;
    this.aggregation = new Aggregation(database, this.ledger, config);
    const { ledger, authority, aggregation, store } = this;
    this.rebuild = new Rebuild(authority, aggregation, store, ledger, config);
    this.projector = new Projector(ledger, database, redis, store, authority, this.rebuild, config);
    this.requests = new RebuildRequests(database, redis, this.projector, audit);
    this.projector.onApplicationBootstrap();
  }

  /**
   * Crashes in the rebuild that it is asked for next. A step is a single request to the database or to Redis, so nothing
   * happens between two steps.
   * @param step before which it crashes, from 1
   */
  crashBefore(step: number): Promise<CrashOutcome> {
    this.crashesBefore = step;
    const requests = this.requests as unknown as { run(request: unknown): Promise<void> };
    const run = requests.run.bind(requests);
    return new Promise((resolve) => {
      this.onCrash = () => resolve('crashed');
      requests.run = async (request) => {
        await this.ofTheRebuild.run(true, () => run(request));
        resolve('survived');
      };
    });
  }

  /** Does something that is no step of the rebuild, although in the midst of it. */
  beside<T>(work: () => T): T {
    return this.ofTheRebuild.exit(work);
  }

  /** Ends it. What a crash left unanswered fails, or it could not be shut down. */
  async stop(): Promise<void> {
    if (this.state === 'crashed') this.state = 'buried';
    for (const fail of this.unanswered) fail(new Error('crashed'));
    await this.requests.onModuleDestroy();
    await this.projector.onModuleDestroy();
  }

  /** A pipeline is no transaction: it takes two steps, and a crash between them leaves half of it done. */
  private halvePipelines(): void {
    const pipelined = this.redis.pipelined.bind(this.redis);
    this.redis.pipelined = async (commands) => {
      const half = Math.floor(commands.length / 2);
      if (half === 0) return pipelined(commands);
      return [...(await pipelined(commands.slice(0, half))), ...(await pipelined(commands.slice(half)))];
    };
  }

  private watch<Part extends object>(
    part: Part,
    method: keyof Part & string,
    describe: (first: unknown) => string,
  ): void {
    const original = (part[method] as (...args: unknown[]) => Promise<unknown>).bind(part);
    const watched = (...args: unknown[]): Promise<unknown> => {
      if (this.state === 'running' && this.ofTheRebuild.getStore()) {
        if (this.steps.length + 1 === this.crashesBefore) {
          this.state = 'crashed';
          this.onCrash();
        } else {
          this.steps.push(describe(args[0]));
        }
      }
      if (this.state === 'running') return original(...args);
      if (this.state === 'buried') return Promise.reject(new Error('crashed'));
      return new Promise((_, reject) => this.unanswered.push(reject));
    };
    Object.assign(part, { [method]: watched });
  }
}

interface Statement {
  queryChunks: (Statement | { value?: unknown; queryChunks?: undefined })[];
}

/** A statement without its values. */
function textOf({ queryChunks }: Statement): string {
  const parts = queryChunks.map((chunk) => {
    if (chunk.queryChunks) return textOf(chunk);
    return Array.isArray(chunk.value) ? chunk.value.join('') : '?';
  });
  return parts.join('').replace(/\s+/g, ' ').trim();
}

/** The name of a command of Redis, where the code that sends it shows it. */
function commandOf(work: unknown): string {
  return /client\s*\.\s*(\w+)/.exec(String(work))?.[1] ?? 'script';
}
