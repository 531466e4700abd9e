import { PGlite } from '@electric-sql/pglite';
import { Redis as IORedis } from 'ioredis';
import { Client } from 'pg';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where the suite's parts are: real ones where the environment names them, else embedded ones. */
export const parts = {
  databaseUrl: process.env.DATABASE_URL ?? 'embedded',
  redisUrl: process.env.REDIS_URL ?? 'embedded',
};

/** Whether the ledger runs on a server, where connections really run side by side. */
export const onServer = parts.databaseUrl !== 'embedded';

/** How many orders test/fulfilment-chaos.spec.ts is to put through, where CHAOS_ORDERS says; 10,000 take some minutes. */
export const chaosOrders = process.env.CHAOS_ORDERS ? Number(process.env.CHAOS_ORDERS) : null;

/** A database of its own for a test, on the server that the suite runs against. */
export interface OwnDatabase {
  url: string;
  drop(): Promise<void>;
}

/** @returns a new, empty database; `embedded` needs none but a folder */
export async function ownDatabase(): Promise<OwnDatabase> {
  if (!onServer) return { url: 'embedded', drop: () => Promise.resolve() };
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asAdministrator(`create database ${name}`);
  const url = new URL(parts.databaseUrl);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => asAdministrator(`drop database if exists ${name} with (force)`) };
}

async function asAdministrator(statement: string): Promise<void> {
  const client = new Client(parts.databaseUrl);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Deletes what a test left in the real Redis under its own prefix. */
export async function dropRedisKeys(prefix: string): Promise<void> {
  if (['embedded', 'memory'].includes(parts.redisUrl)) return;
  const client = new IORedis(parts.redisUrl);
  try {
    for await (const keys of client.scanStream({ match: `{${prefix}}:*`, count: 1000 })) {
      if ((keys as string[]).length > 0) await client.unlink(...(keys as string[]));
    }
  } finally {
    client.disconnect();
  }
}

/**
 * Puts an initialised, empty embedded ledger into a data folder. Initialising one takes seconds, copying it does not.
 */
export async function prepareEmbeddedLedger(dataDir: string): Promise<void> {
  const template = join(tmpdir(), 'order-pipeline-test-ledger');
  if (!existsSync(template)) {
    const made = mkdtempSync(join(tmpdir(), 'order-pipeline-test-ledger-'));
    const store = new PGlite(made);
    await store.waitReady;
    await store.close();
    try {
      renameSync(made, template);
    } catch {
      rmSync(made, { recursive: true }); // another worker was quicker
    }
  }
  cpSync(template, join(dataDir, 'ledger'), { recursive: true });
}
