import { Logger, type OnApplicationShutdown } from '@nestjs/common';
import { type SQL, sql } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import { Client, type ClientBase, type ClientConfig, Pool, type PoolClient } from 'pg';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { Availability } from '../availability.js';
import { withTimeout } from '../back-off.js';
import { migrate } from './migrations.js';
import { columnParsers } from './column-parsers.js';
import { isOutage, isPassing } from './sql-state.js';
import { MIN_POSTGRES_VERSION } from './postgres-version.js';

const CONNECT_TIMEOUT_MS = 3_000;
const POOL_SIZE = 10;
/** More than an append ever needs. */
const MIN_ROOM_MB = 64;
/** After which a server gives up a connection whose other machine is gone. */
const TCP_USER_TIMEOUT_MS = 15_000;
/** A server that stalls answers no goodbye either. */
const CLOSE_TIMEOUT_MS = 1_000;

const dialect = new PgDialect();

/** The ledger's database can't be used right now. */
export class DatabaseUnavailable extends UnavailableError {
  readonly code = 'ledger_unavailable';
}

/** What runs a statement: the database itself or a transaction on it. */
export interface Executor {
  /**
   * Whole numbers come as numbers, times as ms since 1970 in UTC, decimals as text, see {@link columnParsers}.
   * @throws DatabaseUnavailable; an error with an SQLSTATE where the statement itself is wrong
   */
  query<Row>(statement: SQL): Promise<Row[]>;
}

/**
 * The ledger's PostgreSQL. Migrates the schema before first use, notices outages, and comes back by itself.
 */
export class Database implements Executor, OnApplicationShutdown {
  private readonly logger = new Logger('Database');
  private readonly pool: Pool;
  readonly availability: Availability;
  private wasUp = false;
  private readonly begin: string;

  /** @param statementTimeoutMs after which PostgreSQL cancels a statement */
  constructor(
    private readonly url: string,
    statementTimeoutMs: number,
  ) {
    const limits = limitsFor(statementTimeoutMs);
    // Within the transaction, too: a PgBouncer that pools transactions passes nothing that was set for a session.
    this.begin = ['begin', ...Object.entries(limits).map(([name, ms]) => `set local ${name} = ${ms}`)].join('; ');
    const session = { ...limits, tcp_user_timeout: TCP_USER_TIMEOUT_MS, timezone: 'UTC' };
    this.pool = new Pool({
      connectionString: url,
      max: POOL_SIZE,
      // For the pool it is how long to wait for one of its connections, all of which may be at work.
      connectionTimeoutMillis: statementTimeoutMs,
      Client: PromptClient,
      types: columnParsers,
      // A server that stalls cancels nothing; this side gives up a little later than a healthy one would.
      query_timeout: statementTimeoutMs + 2_000,
      keepAlive: true,
      application_name: 'order-pipeline',
      options: Object.entries({ ...session, default_transaction_isolation: 'read\\ committed' })
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
    });
    this.availability = new Availability(
      'PostgreSQL',
      () => this.prepare(),
      () => this.check(),
      this.logger,
    );
    // The pool drops the connection. Where the server is gone, the next request may meet another one, with other data.
    this.pool.on('error', () => void this.availability.confirm());
  }

  /** Runs one statement, see {@link Executor}. */
  async query<Row>(statement: SQL): Promise<Row[]> {
    return this.guarded(() => run<Row>(this.pool, statement));
  }

  /** Runs work in one transaction, which is committed when this resolves. A work that throws is rolled back. */
  async transaction<T>(work: (tx: Executor) => Promise<T>): Promise<T> {
    return this.guarded(async () => {
      const client = await this.pool.connect();
      try {
        await client.query(this.begin);
        const result = await work({ query: (statement) => run(client, statement) });
        // Where work went on after a failed statement, the server answers `commit` with a rollback and no error.
        const { command } = await client.query('commit');
        if (command !== 'COMMIT') throw new Error('The transaction was rolled back: one of its statements had failed');
        client.release();
        return result;
      } catch (error) {
        await rollBack(client, error);
        throw error;
      }
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.availability.stop();
    await withTimeout(CLOSE_TIMEOUT_MS, this.pool.end());
  }

  private async guarded<T>(work: () => Promise<T>): Promise<T> {
    if (!this.availability.up) throw new DatabaseUnavailable(this.availability.reason);
    try {
      return await work();
    } catch (error) {
      if (isOutage(error)) this.availability.failed(error);
      if (isOutage(error) || isPassing(error)) throw new DatabaseUnavailable(messageOf(error), { cause: error });
      throw error;
    }
  }

  /** A database that answers but takes no writes (disk full, a standby) must not count as up. */
  private async check(): Promise<void> {
    await run(this.pool, sql`update write_probe set probed_at = now()`);
  }

  private async prepare(): Promise<void> {
    const [server] = await run<{ version: number }>(
      this.pool,
      sql`select current_setting('server_version_num')::int / 10000 as version`,
    );
    if (server!.version < MIN_POSTGRES_VERSION) {
      throw new Error(`PostgreSQL ${MIN_POSTGRES_VERSION} or later is needed, this one is ${server!.version}`);
    }
    await this.migrate();
    await this.check();
    if (this.wasUp) await this.findRoom();
    this.wasUp = true;
  }

  /** On a connection of its own without time limits: a migration may take long, and so may waiting for another's. */
  private async migrate(): Promise<void> {
    const client = new PromptClient({ connectionString: this.url });
    await client.connect();
    try {
      await migrate(client, this.logger);
    } finally {
      await client.end();
    }
  }

  /**
   * The row of the probe is written in place, which succeeds on a full disk, too, where nothing else could be stored. So a
   * database that was down must have room for more than any append takes. Not asked at the start, which would take longer. The
   * disk of the write-ahead log may be another, and is not looked at.
   */
  private async findRoom(): Promise<void> {
    try {
      // Too short to be compressed; four of them fill a page.
      await run(
        this.pool,
        sql`create temporary table room on commit drop as
            select repeat('x', 1900) from generate_series(1, ${sql.raw(String(MIN_ROOM_MB * 128 * 4))})`,
      );
    } catch (error) {
      if (isOutage(error)) throw error;
      // A user who may not make such a table, or a server that is slow to, can't tell.
    }
  }
}

/**
 * How long a connection may hold up others, ms. A process that is frozen within a transaction keeps its locks for no longer
 * than somebody waits for one of them.
 */
function limitsFor(statementTimeoutMs: number): Record<string, number> {
  const half = Math.round(statementTimeoutMs / 2);
  return { statement_timeout: statementTimeoutMs, lock_timeout: half, idle_in_transaction_session_timeout: half };
}

/** A connection that gives up early where the server does not answer, however long the pool lets others wait for their turn. */
class PromptClient extends Client {
  constructor(config?: ClientConfig) {
    super({ ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
    // Between two statements of a transaction nobody else listens, and such an error would end the process. The next
    // statement on this connection fails with it.
    this.on('error', () => undefined);
  }
}

async function run<Row>(executor: Pool | ClientBase, statement: SQL): Promise<Row[]> {
  const { sql: text, params } = dialect.sqlToQuery(statement);
  const { rows } = await executor.query(text, params);
  return rows as Row[];
}

/** A connection in an unknown state must not go back to the pool. */
async function rollBack(client: PoolClient, error: unknown): Promise<void> {
  if (isOutage(error)) return client.release(true);
  try {
    await client.query('rollback');
    client.release();
  } catch {
    client.release(true);
  }
}
