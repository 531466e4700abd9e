import { Logger, type OnApplicationShutdown } from '@nestjs/common';
import { DrizzleQueryError, sql, type SQL } from 'drizzle-orm';
import { drizzle as drizzlePg, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { migrate as migratePg } from 'drizzle-orm/node-postgres/migrator';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { PgDialect, type PgSession } from 'drizzle-orm/pg-core';
import { join } from 'node:path';
import { Client, type ClientConfig, Pool } from 'pg';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { Availability } from '../availability.js';
import { atMost } from '../back-off.js';
import type { EmbeddedLedger, LedgerExecutor } from '../embedded/embedded-ledger.js';
import { isOutage, isPassing } from './sql-state.js';

const MIGRATIONS_FOLDER = join(__dirname, '..', '..', '..', 'migrations');
const LEAST_VERSION = 15;
const CONNECT_TIMEOUT_MS = 3_000;
const POOL_SIZE = 10;
/** More than an append ever needs: 8 Mi characters of bodies in the table and in the write-ahead log, and the indexes. */
const LEAST_ROOM_MB = 64;
/** A server that stalls answers no goodbye either. */
const LONGEST_CLOSE_MS = 1_000;
/** Any number, the same in all processes: the key of the lock under which migrations run. */
export const MIGRATION_LOCK = 4_711_001;

/** The ledger's database can't be used right now. */
export class DatabaseUnavailable extends UnavailableError {
  readonly code = 'ledger_unavailable';
}

/** What runs a statement: the database itself or a transaction on it. */
export interface Executor {
  query<Row>(statement: SQL): Promise<Row[]>;
}

/** What a driver must do for {@link Database}. */
interface Driver {
  execute(statement: SQL): Promise<unknown[]>;
  transaction<T>(work: (execute: (statement: SQL) => Promise<unknown[]>) => Promise<T>): Promise<T>;
  migrate(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The ledger's PostgreSQL, real or embedded. Migrates the schema before first use, notices outages, and comes
 * back by itself. Whole numbers and times are to be selected as float8 (exact up to 2^53), because the two drivers
 * disagree on how they hand out int8, numeric and timestamptz.
 */
export class Database implements Executor, OnApplicationShutdown {
  private readonly logger = new Logger('Database');
  readonly availability: Availability;
  private wasUp = false;

  private constructor(
    private readonly driver: Driver,
    name: string,
  ) {
    this.availability = new Availability(
      name,
      () => plainly(() => this.prepare()),
      () => plainly(() => this.check()),
      this.logger,
    );
  }

  /** @param statementTimeoutMs after which PostgreSQL cancels a statement */
  static onServer(url: string, statementTimeoutMs: number): Database {
    const askAnew = (): void => void database.availability.confirm();
    const database = new Database(serverDriver(url, statementTimeoutMs, askAnew), 'PostgreSQL');
    return database;
  }

  static embedded(store: EmbeddedLedger): Database {
    return new Database(embeddedDriver(store), 'the embedded ledger');
  }

  /**
   * Runs one statement.
   * @throws DatabaseUnavailable; an error with an SQLSTATE where the statement itself is wrong
   */
  async query<Row>(statement: SQL): Promise<Row[]> {
    return this.guarded(() => this.driver.execute(statement) as Promise<Row[]>);
  }

  /**
   * Runs work in one transaction. Inside, only the given executor may be used: the embedded database has a single
   * connection, and a statement beside the transaction would wait for it forever.
   */
  async transaction<T>(work: (tx: Executor) => Promise<T>): Promise<T> {
    return this.guarded(() =>
      this.driver.transaction((execute) => work({ query: (statement) => execute(statement) as Promise<never[]> })),
    );
  }

  async onApplicationShutdown(): Promise<void> {
    await this.availability.stop();
    await atMost(LONGEST_CLOSE_MS, this.driver.close());
  }

  private async guarded<T>(work: () => Promise<T>): Promise<T> {
    if (!this.availability.up) throw new DatabaseUnavailable(this.availability.culprit);
    try {
      return await plainly(work);
    } catch (error) {
      if (isOutage(error)) this.availability.failed(error);
      if (isOutage(error) || isPassing(error)) throw new DatabaseUnavailable(messageOf(error), { cause: error });
      throw error;
    }
  }

  /** A database that answers but takes no writes (disk full, a standby) must not count as up. */
  private async check(): Promise<void> {
    await this.driver.execute(sql`update write_probe set probed_at = now()`);
  }

  private async prepare(): Promise<void> {
    const [server] = (await this.driver.execute(
      sql`select current_setting('server_version_num')::int / 10000 as version`,
    )) as [{ version: number }];
    if (server.version < LEAST_VERSION) {
      throw new Error(`PostgreSQL ${LEAST_VERSION} or later is needed, this one is ${server.version}`);
    }
    await this.driver.migrate();
    await this.check();
    if (this.wasUp) await this.findRoom();
    this.wasUp = true;
  }

  /**
   * The row of the probe is written where it was, which goes well on a full disk too, and nothing that came next would be
   * stored. So what is to come up again must have room for more than any append takes. Not asked at the start, which would
   * take longer.
   */
  private async findRoom(): Promise<void> {
    try {
      // Too short to be compressed; four of them fill a page.
      await this.driver.execute(
        sql`create temporary table room on commit drop as
            select repeat('x', 1900) from generate_series(1, ${sql.raw(String(LEAST_ROOM_MB * 128 * 4))})`,
      );
    } catch (error) {
      if (isOutage(error)) throw error;
      // Whoever may not make such a table, or is slow to, can't tell.
    }
  }
}

/** @param lost is called when a connection breaks that nobody uses */
function serverDriver(url: string, statementTimeoutMs: number, lost: () => void): Driver {
  const pool = new Pool({
    connectionString: url,
    max: POOL_SIZE,
    // For the pool it is how long to wait for one of its connections, all of which may be at work.
    connectionTimeoutMillis: statementTimeoutMs,
    Client: PromptClient,
    // A server that stalls cancels nothing; this side gives up a little later than a healthy one would.
    query_timeout: statementTimeoutMs + 2_000,
    keepAlive: true,
    application_name: 'order-pipeline',
    options: `-c statement_timeout=${statementTimeoutMs} -c lock_timeout=${Math.round(statementTimeoutMs / 2)} -c timezone=UTC -c default_transaction_isolation=read\\ committed`,
  });
  // The pool drops it. Where the server is gone, whoever asks next may meet another one already, with other data.
  pool.on('error', lost);

  async function withClient<T>(work: (db: NodePgDatabase) => Promise<T>): Promise<T> {
    const client = await pool.connect();
    try {
      const result = await work(drizzlePg(client));
      client.release();
      return result;
    } catch (error) {
      client.release(isOutage(error)); // a connection in an unknown state must not go back to the pool
      throw error;
    }
  }

  return {
    execute: async (statement) => (await drizzlePg(pool).execute(statement)).rows,
    transaction: (work) =>
      withClient((db) => db.transaction((tx) => work(async (statement) => (await tx.execute(statement)).rows))),
    migrate: () => migrateOnce(url),
    close: () => pool.end(),
  };
}

/** A connection that gives up early where the server does not answer, however long the pool lets others wait for their turn. */
class PromptClient extends Client {
  constructor(config?: ClientConfig) {
    super({ ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
    // Between two statements of a transaction nobody else listens, and such an error would end the process. Whoever uses the
    // connection meets it at the next statement.
    this.on('error', () => undefined);
  }
}

/** On a connection of its own without time limits: a migration may take long, and so may waiting for another's. */
async function migrateOnce(url: string): Promise<void> {
  const client = new PromptClient({ connectionString: url });
  await client.connect();
  try {
    const db = drizzlePg(client);
    // The migrator takes no lock of its own, and several processes may start at once. It goes with the connection.
    await db.execute(sql`select pg_advisory_lock(${MIGRATION_LOCK})`);
    await migratePg(db, { migrationsFolder: MIGRATIONS_FOLDER });
  } finally {
    await client.end();
  }
}

function embeddedDriver(store: EmbeddedLedger): Driver {
  const dialect = new PgDialect();
  const executeOn = (executor: LedgerExecutor) => (statement: SQL) => {
    const { sql: text, params } = dialect.sqlToQuery(statement);
    return executor.query(text, params);
  };
  const execute = executeOn(store);
  const transaction: Driver['transaction'] = (work) => store.transaction((tx) => work(executeOn(tx)));
  return {
    execute,
    transaction,
    migrate: () => {
      // What every migrator of drizzle's comes to. Of a session it needs no more than these.
      const session = {
        execute,
        all: execute,
        transaction: (work: (tx: unknown) => Promise<void>) => transaction((execute) => work({ execute })),
      } as unknown as PgSession;
      const migrationsFolder = MIGRATIONS_FOLDER;
      return dialect.migrate(readMigrationFiles({ migrationsFolder }), session, { migrationsFolder });
    },
    close: () => Promise.resolve(), // its owner is EmbeddedParts
  };
}

/**
 * Of what fails only what the database itself said goes further: the query builder's own error repeats the whole
 * statement with its parameters, bodies of orders among them, which belong into no log and on no health page.
 */
async function plainly<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof DrizzleQueryError ? (error.cause ?? error) : error;
  }
}
