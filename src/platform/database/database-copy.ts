import { Logger } from '@nestjs/common';
import { pipeline } from 'node:stream/promises';
import { Client, type QueryResultRow } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { messageOf } from '../../shared/errors.js';
import { applyMigrations, lockMigrations } from './migrations.js';
import { MIN_POSTGRES_VERSION } from './postgres-version.js';

const CONNECT_TIMEOUT_MS = 3_000;
const LINE_FEED = 0x0a;

/** Sets no time limits, and has both servers write values alike. Not every version has every setting. */
const SESSION = `
  select set_config(name, value, false)
  from (values
    ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'),
    ('TimeZone', 'UTC'), ('DateStyle', 'ISO'), ('bytea_output', 'hex'), ('extra_float_digits', '1')
  ) as wanted (name, value)
  where name in (select name from pg_settings)`;

const CURRENT_SCHEMA = '(select oid from pg_namespace where nspname = current_schema())';

const STATE = `
  select current_setting('server_version_num')::int / 10000 as version, count(*) > 0 as used,
    count(*) filter (where relname = 'schema_migrations') > 0 as migrated
  from pg_class where relkind in ('r', 'p') and relnamespace = ${CURRENT_SCHEMA}`;

/** Numbered migrations are applied once, whatever becomes of their comments; functions again when they change. */
const MIGRATIONS = `
  select name, case when name like 'functions/%' then hash end as hash from schema_migrations order by name collate "C"`;

/** The tables with their stored columns, each after those that its foreign keys refer to. */
const TABLES = `
  with recursive
    tables as (select oid from pg_class where relkind = 'r' and relnamespace = ${CURRENT_SCHEMA}),
    referring (oid, depth) as (
      select oid, 0 from tables
      union
      select conrelid, depth + 1
      from referring join pg_constraint on confrelid = referring.oid and contype = 'f' and conrelid <> confrelid
    ) cycle oid set is_cycle using path
  select format('%I', relname) as name, (
    select string_agg(format('%I', attname), ', ' order by attnum)
    from pg_attribute where attrelid = pg_class.oid and attnum > 0 and not attisdropped and attgenerated = ''
  ) as columns
  from referring join pg_class using (oid)
  group by pg_class.oid, relname
  order by max(depth), relname collate "C"`;

const SEQUENCES = `
  select format('%I', relname) as name from pg_class where relkind = 'S' and relnamespace = ${CURRENT_SCHEMA}`;

/** A database, and what messages call it: nothing secret. */
export interface NamedDatabase {
  url: string;
  name: string;
}

/** What a copy has brought over. */
export interface Copied {
  tables: number;
  rows: number;
  entries: number;
  /** Of the ledger's last entry. */
  position: number;
}

/** Gets the share that is done, 0 to 1, and the rows copied so far. */
type OnProgress = (share: number, rows: number) => void;

type State = { version: number; used: boolean; migrated: boolean };
type Table = { name: string; columns: string };
type Sequence = { last_value: string; is_called: boolean };

/** A copy was refused, or went wrong. The target is as it was. */
export class NotCopied extends Error {
  override readonly name = 'NotCopied';
}

/**
 * Copies what a database holds at one moment to an empty one, whose schema the migrations make, and compares all rows.
 * Each side is one transaction: the source may be in use, and a copy that breaks off leaves nothing behind.
 * @throws NotCopied; an error of PostgreSQL
 */
export async function copyDatabase(from: NamedDatabase, to: NamedDatabase, onProgress: OnProgress): Promise<Copied> {
  const source = clientFor(from);
  const target = clientFor(to);
  try {
    await connect(source, from.name);
    await connect(target, to.name);
    await source.query('begin isolation level repeatable read read only');
    await target.query('begin isolation level read committed read write');
    await makeSchema(source, target, from.name, to.name);
    const copied = await copyRows(source, target, onProgress);
    await target.query('commit');
    return copied;
  } finally {
    await Promise.all([source.end(), target.end()]); // which rolls back
  }
}

function clientFor({ url }: NamedDatabase): Client {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS, keepAlive: true });
  return client.on('error', () => undefined); // the next statement fails with it
}

async function connect(client: Client, name: string): Promise<void> {
  try {
    await client.connect();
    await client.query(SESSION);
  } catch (error) {
    throw new NotCopied(`${name} can't be reached: ${messageOf(error)}`, { cause: error });
  }
}

/** @throws NotCopied where there is nothing to copy, or the target is too old or not empty, or the schemas differ */
async function makeSchema(source: Client, target: Client, from: string, to: string): Promise<void> {
  if (!(await row<State>(source, STATE)).migrated) throw new NotCopied(`There is no ledger in ${from}`);
  await lockMigrations(target, new Logger('DatabaseCopy'));
  const { version, used } = await row<State>(target, STATE);
  if (version < MIN_POSTGRES_VERSION)
    throw new NotCopied(`${to} is PostgreSQL ${version}; ${MIN_POSTGRES_VERSION} or later is needed`);
  if (used) throw new NotCopied(`${to} has tables already: name an empty database. Nothing was changed`);
  await applyMigrations(target);
  for (const statement of [MIGRATIONS, TABLES]) {
    const [there, here] = [await rows(source, statement), await rows(target, statement)];
    if (JSON.stringify(there) === JSON.stringify(here)) continue;
    const advice = 'start the service of this version on it once, and move tables of others elsewhere';
    throw new NotCopied(`${from} has another schema than this version: ${advice}`);
  }
}

/** @throws NotCopied where the rows of the target then differ */
async function copyRows(source: Client, target: Client, onProgress: OnProgress): Promise<Copied> {
  const tables = await rows<Table>(target, TABLES);
  const counts: Record<string, number> = {};
  for (const { name } of tables) {
    await removeRows(target, name);
    counts[name] = (await row<{ count: number }>(source, `select count(*)::float8 as count from ${name}`)).count;
  }
  const total = Object.values(counts).reduce((sum, count) => sum + count);
  let copied = 0;
  let compared = 0;
  for (const table of tables) {
    await copyTable(source, target, table, (count) => {
      copied += count;
      onProgress(copied / total / 2, copied);
    });
  }
  for (const { name } of await rows<Table>(target, SEQUENCES)) {
    // A sequence knows no snapshot: what it gives out next is beyond every row of this one.
    const { last_value, is_called } = await row<Sequence>(source, `select last_value, is_called from ${name}`);
    await target.query('select setval($1::regclass, $2, $3)', [name, last_value, is_called]);
  }
  for (const table of tables) {
    await assertSameRows(source, target, table);
    compared += counts[table.name]!;
    onProgress((total + compared) / total / 2, copied);
  }
  const { position } = await row<{ position: number }>(source, 'select position::float8 from ledger_head');
  return { tables: tables.length, rows: copied, entries: counts.ledger!, position };
}

/** Removes what migrations insert. A delete of nothing would be refused by the audit log. */
async function removeRows(target: Client, name: string): Promise<void> {
  if ((await rows(target, `select from ${name} limit 1`)).length > 0) await target.query(`delete from ${name}`);
}

async function copyTable(source: Client, target: Client, table: Table, onRows: (count: number) => void): Promise<void> {
  const { name, columns } = table;
  await pipeline(
    source.query(copyTo(`copy ${name} (${columns}) to stdout`)),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        // In the text format a line feed ends a row, and stands nowhere else.
        let count = 0;
        for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) count++;
        onRows(count);
        yield chunk;
      }
    },
    target.query(copyFrom(`copy ${name} (${columns}) from stdin`)),
  );
}

/** Compares all columns of all rows: the sum of their hashes does not depend on the order in which they are read. */
async function assertSameRows(source: Client, target: Client, { name, columns }: Table): Promise<void> {
  const hash = `encode(sha256(convert_to(row(${columns})::text, 'UTF8')), 'hex')`;
  const statement = `select count(*) as rows, sum(('x' || left(${hash}, 16))::bit(64)::bigint) as hashes from ${name}`;
  const [there, here] = await Promise.all([rows(source, statement), rows(target, statement)]);
  if (JSON.stringify(there) !== JSON.stringify(here)) {
    throw new NotCopied(`The rows of ${name} are not the same in the copy, which was undone`);
  }
}

async function rows<Row extends QueryResultRow>(client: Client, statement: string): Promise<Row[]> {
  return (await client.query<Row>(statement)).rows;
}

async function row<Row extends QueryResultRow>(client: Client, statement: string): Promise<Row> {
  return (await rows<Row>(client, statement))[0]!;
}
