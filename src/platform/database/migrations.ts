import type { Logger } from '@nestjs/common';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ClientBase } from 'pg';

const FOLDER = join(dirname(findPackageJSON(pathToFileURL(__filename))!), 'migrations');
/** A process that is frozen while it migrates keeps the lock no longer than this. */
const IDLE_TIMEOUT_MS = 10_000;
/** Any number, the same in all processes. */
const MIGRATION_LOCK = 4_711_001;

/** A file of the schema. */
interface Migration {
  /** `0001-ledger`, or `functions/append_entries`. */
  name: string;
  /** A function is applied again when its file has changed, a numbered file only once. */
  repeats: boolean;
  text: string;
  hash: string;
}

/** The database was migrated by a later version of the service. */
export class SchemaTooNew extends Error {
  constructor(migration: string) {
    super(`A later version of this service migrated the schema (${migration}): start that version`);
    this.name = 'SchemaTooNew';
  }
}

/**
 * Brings the schema of a database up to date: numbered files in their order, then functions whose content changed. All
 * of it is one transaction under a lock, so several processes may start at once.
 * @throws SchemaTooNew and leaves all as it is
 */
export async function migrate(client: ClientBase, logger: Logger): Promise<void> {
  if ((await pendingOf(client)).length === 0) return;
  await client.query(`begin; set local idle_in_transaction_session_timeout = ${IDLE_TIMEOUT_MS}`);
  try {
    await lockMigrations(client, logger);
    await applyMigrations(client);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined); // where the connection is gone, so is the transaction
    throw error;
  }
}

/** Waits until no other process migrates this database. The lock ends with the transaction. */
export async function lockMigrations(client: ClientBase, logger: Logger): Promise<void> {
  const { rows } = await client.query<{ taken: boolean }>('select pg_try_advisory_xact_lock($1) as taken', [
    MIGRATION_LOCK,
  ]);
  if (rows[0]!.taken) return;
  logger.log('Waiting for another process that migrates the schema');
  await client.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
}

/** Applies what is pending, for a transaction that holds the lock: another process may have done it meanwhile. */
export async function applyMigrations(client: ClientBase): Promise<void> {
  for (const { name, text, hash } of await pendingOf(client)) {
    await client.query(text);
    await client.query(
      `insert into schema_migrations (name, hash) values ($1, $2)
       on conflict (name) do update set hash = excluded.hash, applied_at = now()`,
      [name, hash],
    );
  }
}

/** Those that are not applied yet, in the order in which they have to be. @throws SchemaTooNew */
async function pendingOf(client: ClientBase): Promise<Migration[]> {
  const applied = await appliedHashes(client);
  const migrations = readMigrations();
  const names = new Set(migrations.map(({ name }) => name));
  const unknown = [...applied.keys()].find((name) => /^\d/.test(name) && !names.has(name));
  if (unknown !== undefined) throw new SchemaTooNew(unknown);
  return migrations.filter(({ name, repeats, hash }) => (repeats ? applied.get(name) !== hash : !applied.has(name)));
}

async function appliedHashes(client: ClientBase): Promise<Map<string, string>> {
  // Not `to_regclass`: it answers from a cache that does not know what was committed while this one waited for the lock.
  const { rows: tables } = await client.query<{ exists: boolean }>(
    `select exists (
       select from pg_tables where schemaname = current_schema() and tablename = 'schema_migrations'
     ) as exists`,
  );
  if (!tables[0]!.exists) return new Map();
  const { rows } = await client.query<{ name: string; hash: string }>('select name, hash from schema_migrations');
  return new Map(rows.map(({ name, hash }) => [name, hash]));
}

function readMigrations(): Migration[] {
  return [...filesIn('').map((file) => read(file, false)), ...filesIn('functions').map((file) => read(file, true))];
}

function filesIn(folder: string): string[] {
  return readdirSync(join(FOLDER, folder))
    .filter((name) => name.endsWith('.sql'))
    .sort()
    .map((name) => join(folder, name));
}

function read(file: string, repeats: boolean): Migration {
  const text = readFileSync(join(FOLDER, file), 'utf8');
  return {
    name: join(file, '..', basename(file, '.sql')),
    repeats,
    text,
    hash: createHash('sha256').update(text).digest('hex'),
  };
}
