import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { Database, DatabaseUnavailable } from '../../src/platform/database/database.js';
import { lockMigrations, migrate } from '../../src/platform/database/migrations.js';
import { eventually } from '../support/eventually.js';
import { aValidatedMessage } from '../support/validated-messages.js';
import { ownDatabase, type OwnDatabase } from '../support/parts.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const MIGRATIONS = join(__dirname, '..', '..', 'migrations');
const STATEMENT_TIMEOUT_MS = 10_000;

let cleanUps: (() => Promise<unknown>)[] = [];
let logged: string[];

beforeEach(() => {
  logged = [];
  for (const level of ['log', 'warn', 'error'] as const) {
    jest.spyOn(Logger.prototype, level).mockImplementation((...line: unknown[]) => void logged.push(String(line[0])));
  }
});

afterEach(async () => {
  jest.restoreAllMocks();
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
});

async function anEmptyDatabase(): Promise<OwnDatabase> {
  const own = await ownDatabase({ empty: true });
  cleanUps.push(() => own.drop());
  return own;
}

async function aMigratedDatabase(): Promise<OwnDatabase> {
  const own = await ownDatabase();
  cleanUps.push(() => own.drop());
  return own;
}

function aStoppedDatabase(url: string, statementTimeoutMs = STATEMENT_TIMEOUT_MS): Database {
  const database = new Database(url, statementTimeoutMs);
  cleanUps.push(() => database.onApplicationShutdown());
  return database;
}

async function started(url: string, statementTimeoutMs?: number): Promise<Database> {
  const database = aStoppedDatabase(url, statementTimeoutMs);
  await database.availability.start();
  return database;
}

async function connected(url: string): Promise<Client> {
  const client = new Client(url);
  client.on('error', () => undefined); // its statement fails, too
  await client.connect();
  cleanUps.push(() => client.end());
  return client;
}

async function aNetworkBefore(url: string): Promise<TcpProxy> {
  const network = await TcpProxy.before(url, 5432);
  cleanUps.push(() => network.close());
  return network;
}

/** The files of the schema by name; those of functions are `functions/…`. */
function migrationFiles(): Map<string, string> {
  const names = readdirSync(MIGRATIONS, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.sql'));
  return new Map(
    names.sort().map((name) => [name.replace(/\.sql$/, ''), readFileSync(join(MIGRATIONS, name), 'utf8')]),
  );
}

/** Which files are run from now on, in their order, by whichever connection. */
function runFiles(): string[] {
  const names = new Map([...migrationFiles()].map(([name, text]) => [text, name]));
  const run: string[] = [];
  const query = Client.prototype.query as (...args: unknown[]) => unknown;
  jest.spyOn(Client.prototype, 'query').mockImplementation(function (this: Client, ...args: unknown[]) {
    const name = names.get(args[0] as string);
    if (name !== undefined) run.push(name);
    return query.apply(this, args) as never;
  });
  return run;
}

async function appliedRows(database: Database): Promise<{ name: string; hash: string; appliedAt: number }[]> {
  return database.query(sql`select name, hash, applied_at as "appliedAt" from schema_migrations order by name`);
}

async function relationsOf(url: string): Promise<number> {
  const client = await connected(url);
  const { rows } = await client.query<{ count: string }>(
    `select count(*) from pg_class where relnamespace = 'public'::regnamespace`,
  );
  return Number(rows[0]!.count);
}

describe('The schema', () => {
  it('is made exactly once by six processes that start at once', async () => {
    const { url } = await anEmptyDatabase();
    const run = runFiles();
    const starting = Array.from({ length: 6 }, () => aStoppedDatabase(url));
    await Promise.all(starting.map((each) => each.availability.start()));
    expect(starting.map((each) => each.availability.health)).toEqual(starting.map(() => ({ up: true })));
    const files = [...migrationFiles().keys()];
    expect(run.toSorted()).toEqual(files);
    expect((await appliedRows(starting[0]!)).map(({ name }) => name).sort()).toEqual(files);
    const [rows] = await starting[0]!.query(
      sql`select (select count(*) from ledger_head) as heads, (select count(*) from projection) as projections`,
    );
    expect(rows).toEqual({ heads: 1, projections: 1 });
    const results = await Promise.all(starting.map((each) => new Ledger(each).append([aValidatedMessage()], Infinity)));
    expect(results.flat().map((result) => result.kind)).toEqual(starting.map(() => 'stored'));
  });

  it('is made of the numbered files in their order, and then of the functions', async () => {
    const { url } = await anEmptyDatabase();
    const run = runFiles();
    await started(url);
    const files = [...migrationFiles().keys()];
    const isFunction = (name: string): boolean => name.startsWith('functions/');
    expect(run).toEqual([...files.filter((name) => !isFunction(name)), ...files.filter(isFunction)]);
  });

  it('that is up to date is left alone', async () => {
    const { url } = await aMigratedDatabase();
    const before = await appliedRows(await started(url));
    const run = runFiles();
    expect(await appliedRows(await started(url))).toEqual(before);
    expect(run).toEqual([]);
  });

  it('gets a function again whose file changed, and only that one', async () => {
    const { url } = await aMigratedDatabase();
    const database = await started(url);
    const settles = async (): Promise<boolean> => {
      const [row] = await database.query<{ settles: boolean }>(
        sql`select prosrc like '%refund_exceeds_order%' as settles from pg_proc where proname = 'settle_refund'`,
      );
      return row!.settles;
    };
    const before = await appliedRows(database);
    expect(await settles()).toBe(true);
    await database.query(
      sql`create or replace function settle_refund(
            inout head ledger_head, refund refund_event, out "position" bigint, out reasons text[], out duplicate boolean
          ) language plpgsql as $$ begin reasons := '{}'; end $$`,
    );
    await database.query(sql`update schema_migrations set hash = 'former' where name = 'functions/settle_refund'`);

    const run = runFiles();
    const after = await appliedRows(await started(url));
    expect(run).toEqual(['functions/settle_refund']);
    expect(await settles()).toBe(true);
    const isOfIt = ({ name }: { name: string }): boolean => name === 'functions/settle_refund';
    expect(after.map(({ name, hash }) => [name, hash])).toEqual(before.map(({ name, hash }) => [name, hash]));
    expect(after.filter((row) => !isOfIt(row))).toEqual(before.filter((row) => !isOfIt(row)));
    expect(after.find(isOfIt)!.appliedAt).toBeGreaterThan(before.find(isOfIt)!.appliedAt);
  });

  it('gets a numbered file once, whatever became of the file', async () => {
    const { url } = await aMigratedDatabase();
    const database = await started(url);
    await database.query(sql`update schema_migrations set hash = 'former' where name = '0001-ledger'`);
    const before = await appliedRows(database);
    const run = runFiles();
    expect(await appliedRows(await started(url))).toEqual(before);
    expect(run).toEqual([]);
  });

  it('of a later version is refused and left alone, its functions too', async () => {
    const { url } = await aMigratedDatabase();
    const database = await started(url);
    await database.query(sql`insert into schema_migrations (name, hash) values ('9999-later', 'x')`);
    await database.query(sql`update schema_migrations set hash = 'later' where name = 'functions/settle_refund'`);
    const before = await appliedRows(database);
    const run = runFiles();
    const { availability } = await started(url);
    expect(availability).toMatchObject({
      up: false,
      reason: 'PostgreSQL: A later version of this service migrated the schema (9999-later): start that version',
    });
    expect(await appliedRows(database)).toEqual(before);
    expect(run).toEqual([]);
  });

  it.each([
    ['its connection breaks', 'select pg_terminate_backend(pg_backend_pid())'],
    ['a statement fails', 'select 1 / 0'],
  ])('is not there in part where %s in the middle, and is made whole then', async (_how, breaks) => {
    const { url } = await anEmptyDatabase();
    const client = await connected(url);
    const middle = migrationFiles().get('0005-delivery-failures');
    const query = client.query.bind(client) as (...args: unknown[]) => unknown;
    jest.spyOn(client, 'query').mockImplementation((...args: unknown[]) => {
      return query(...(args[0] === middle ? [breaks] : args)) as never;
    });
    await expect(migrate(client, new Logger())).rejects.toThrow();
    expect(await relationsOf(url)).toBe(0);
    const database = await started(url);
    expect((await appliedRows(database)).map(({ name }) => name).sort()).toEqual([...migrationFiles().keys()]);
  });

  it('is waited for while another process makes it, over a connection that breaks, too', async () => {
    const { url } = await anEmptyDatabase();
    const network = await aNetworkBefore(url);
    const other = await connected(url);
    await other.query('begin');
    await lockMigrations(other, new Logger());
    const waiting = async (): Promise<number> => {
      const { rows } = await other.query(
        `select from pg_locks where locktype = 'advisory' and not granted
           and database = (select oid from pg_database where datname = current_database())`,
      );
      return rows.length;
    };
    const database = aStoppedDatabase(network.through(url));
    const starting = database.availability.start();
    await eventually(async () => expect(await waiting()).toBe(1));
    expect(logged).toEqual(['Waiting for another process that migrates the schema']);
    network.cut();
    // The server notices only later that nobody waits on the connection that broke.
    await eventually(async () => expect(await waiting()).toBe(2));
    expect(database.availability.up).toBe(false);
    await other.query('commit');
    await starting;
    await database.availability.waitUntilUp();
    expect(await appliedRows(database)).toHaveLength(migrationFiles().size);
  });

  it('compresses bodies and lines by lz4 where the database has it', async () => {
    const database = await started((await aMigratedDatabase()).url);
    const [found] = await database.query(
      sql`select (select array_to_json(enumvals) from pg_settings where name = 'default_toast_compression') as offered,
            json_object_agg(attname, attcompression) as compression
          from pg_attribute where attrelid = 'ledger'::regclass and attname in ('body', 'lines')`,
    );
    const { offered, compression } = found as { offered: string[]; compression: Record<string, string> };
    const byServer = offered.includes('lz4') ? 'l' : '';
    expect(compression).toEqual({ body: byServer, lines: byServer });
  });
});

describe('A connection that breaks', () => {
  it('in the middle of a transaction costs that transaction, and not the process', async () => {
    const { url } = await aMigratedDatabase();
    const network = await aNetworkBefore(url);
    const database = await started(network.through(url));
    // Two connections: the one that is left idle tells of the outage.
    await Promise.all([database.query(sql`select pg_sleep(0.05)`), database.query(sql`select pg_sleep(0.05)`)]);
    const broken = database.transaction(async (tx) => {
      await tx.query(sql`select 1`);
      // It is to break while nothing is being asked.
      network.hangUp();
      await eventually(() => expect(database.availability.up).toBe(false));
      await tx.query(sql`select 1`);
    });
    await expect(broken).rejects.toThrow(DatabaseUnavailable);
    await network.resume();
    await database.availability.waitUntilUp();
    expect(await database.query(sql`select 1 as one`)).toEqual([{ one: 1 }]);
  });
});

describe('A rush', () => {
  it('is no outage: who finds no free connection for too long may come again, and the others go on', async () => {
    const { url } = await aMigratedDatabase();
    const database = await started(url, 500);
    let isFree = false;
    const held = Array.from({ length: 10 }, () =>
      database.transaction(async (tx) => {
        // Idle for as long, it would be ended by the server.
        while (!isFree) await tx.query(sql`select pg_sleep(0.01)`);
      }),
    );
    await expect(database.query(sql`select 1`)).rejects.toThrow(DatabaseUnavailable);
    expect(database.availability.up).toBe(true);
    isFree = true;
    await Promise.all(held);
    expect(await database.query(sql`select 1 as one`)).toEqual([{ one: 1 }]);
  });
});
