/**
 * Writes docs/schema.sql from an empty migrated database: the tables with their columns, constraints, indexes and
 * triggers, the composite types, and the heads of the functions. With --check it only tells whether the file is current, by its exit code.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

const require = createRequire(import.meta.url);
const { EmbeddedPostgres } = require('../dist/platform/embedded/embedded-postgres.js');
const { migrate } = require('../dist/platform/database/migrations.js');

const FILE = 'docs/schema.sql';
const HEADER = '-- The schema of the database, written by `npm run schema` from migrations/. Not to be edited.\n';

const TABLES = `
  select relation.oid, relname as name, coalesce(' with (' || array_to_string(reloptions, ', ') || ')', '') as options
  from pg_class relation
  where relnamespace = 'public'::regnamespace and relkind = 'r'
  order by relname`;

const COLUMNS = `
  select format('%s %s%s%s%s',
      attname, format_type(atttypid, atttypmod),
      case when attcollation <> typcollation then format(' collate %s', attcollation::regcollation) end,
      case when attnotnull then ' not null' end,
      case
        when attidentity = 'a' then ' generated always as identity'
        when attgenerated = 's' then format(' generated always as (%s) stored', pg_get_expr(adbin, adrelid))
        when adbin is not null then format(' default %s', pg_get_expr(adbin, adrelid))
      end) as line
  from pg_attribute
    join pg_type on pg_type.oid = atttypid
    left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where attrelid = $1 and attnum > 0 and not attisdropped
  order by attnum`;

const CONSTRAINTS = `
  select format('constraint %s %s', conname, pg_get_constraintdef(oid, true)) as line
  from pg_constraint
  where conrelid = $1 and contype <> 'n'
  order by contype = 'c', contype = 'f', conname`;

const INDEXES = `
  select pg_get_indexdef(indexrelid) as line
  from pg_index
  where indrelid = $1 and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u'))
  order by indexrelid::regclass::text`;

const TRIGGERS = `
  select pg_get_triggerdef(oid) as line from pg_trigger where tgrelid = $1 and not tgisinternal order by tgname`;

const TYPES = `
  select relation.oid, relname as name
  from pg_class relation where relnamespace = 'public'::regnamespace and relkind = 'c'
  order by relname`;

const FUNCTIONS = `
  select format('function %s(%s) returns %s', proname, pg_get_function_arguments(oid), pg_get_function_result(oid)) as line
  from pg_proc where pronamespace = 'public'::regnamespace
  order by proname`;

async function describe(client) {
  const lines = async (query, oid) =>
    (await client.query(query, oid === undefined ? [] : [oid])).rows.map(({ line }) => line);
  const parts = [];
  for (const { oid, name } of (await client.query(TYPES)).rows) {
    parts.push(`create type ${name} as (\n${(await lines(COLUMNS, oid)).map((line) => `  ${line}`).join(',\n')}\n);\n`);
  }
  for (const { oid, name, options } of (await client.query(TABLES)).rows) {
    const body = [...(await lines(COLUMNS, oid)), ...(await lines(CONSTRAINTS, oid))].map((line) => `  ${line}`);
    const around = [...(await lines(INDEXES, oid)), ...(await lines(TRIGGERS, oid))].map((line) => `${line};\n`);
    parts.push(`create table ${name} (\n${body.join(',\n')}\n)${options};\n${around.join('')}`);
  }
  const functions = (await lines(FUNCTIONS)).map((line) => `-- ${line}\n`);
  return [HEADER, ...parts, `-- Functions, see migrations/functions/\n${functions.join('')}`].join('\n');
}

const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-schema-'));
const postgres = await EmbeddedPostgres.start(folder, process.env.PATH ?? '');
const client = new pg.Client(postgres.url);
try {
  await client.connect();
  await migrate(client, console);
  const schema = await describe(client);
  if (!process.argv.includes('--check')) {
    writeFileSync(FILE, schema);
  } else if (readFileSync(FILE, 'utf8') !== schema) {
    process.stderr.write(`${FILE} is not current: npm run schema writes it\n`);
    process.exitCode = 1;
  }
} finally {
  await client.end();
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
}
