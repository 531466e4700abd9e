import { sql } from 'drizzle-orm';
import { randomBytes } from 'node:crypto';
import { Database, type Executor } from '../../src/platform/database/database.js';
import { Redis } from '../../src/platform/redis/redis.js';
import { dropRedisKeys, ownDatabase, parts } from './parts.js';

const STATEMENT_TIMEOUT_MS = 10_000;

/** A part by itself, without a service around it, and how to get rid of it. */
export interface OwnPart<Part> {
  part: Part;
  destroy(): Promise<void>;
}

/** A migrated, empty ledger database. */
export async function aDatabase(): Promise<OwnPart<Database> & { url: string }> {
  const own = await ownDatabase();
  const database = new Database(own.url, STATEMENT_TIMEOUT_MS);
  await database.availability.start();
  const destroy = async (): Promise<void> => {
    await database.onApplicationShutdown();
    await own.drop();
  };
  return { part: database, url: own.url, destroy };
}

const LEDGER_TABLES = [
  'ledger',
  'counted_orders',
  'failed_contents',
  'counted_refunds',
  'refunded_orders',
  'early_refunds',
  'refunds_due',
];

/** Lets the rest of a transaction change entries, which a trigger refuses to everybody else. */
export async function allowLedgerChanges(tx: Executor): Promise<void> {
  await tx.query(sql`set local session_replication_role = replica`);
}

/** Takes every entry out of a ledger, which then is as good as new. */
export async function emptyLedger(database: Database): Promise<void> {
  const deletions = LEDGER_TABLES.map((table) => `without_${table} as (delete from ${table})`);
  await database.transaction(async (tx) => {
    await allowLedgerChanges(tx);
    await tx.query(
      sql.raw(`with ${deletions.join(', ')} update ledger_head set position = 0, entry_hash = sha256('')`),
    );
  });
}

/** A Redis of the kind that the suite runs against, with a key prefix of its own. */
export async function aRedis(): Promise<OwnPart<Redis>> {
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  const { redisUrl } = parts;
  const redis = new Redis(redisUrl === 'memory' ? { kind: 'memory' } : { kind: 'url', url: redisUrl }, prefix);
  await redis.availability.start();
  const destroy = async (): Promise<void> => {
    await redis.onApplicationShutdown();
    await dropRedisKeys(prefix);
  };
  return { part: redis, destroy };
}
