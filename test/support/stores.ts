import { sql } from 'drizzle-orm';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Database } from '../../src/platform/database/database.js';
import { EmbeddedLedger } from '../../src/platform/embedded/embedded-ledger.js';
import { EmbeddedRedis, findRedisServer } from '../../src/platform/embedded/embedded-redis.js';
import { Redis } from '../../src/platform/redis/redis.js';
import { dropRedisKeys, onServer, ownDatabase, parts, prepareEmbeddedLedger } from './parts.js';

const STATEMENT_TIMEOUT_MS = 10_000;

/** A part by itself, without a service around it, and how to get rid of it. */
export interface OwnPart<Part> {
  part: Part;
  destroy(): Promise<void>;
}

/** A migrated, empty ledger database of the kind that the suite runs against. `url` is null where it is embedded. */
export async function aDatabase(): Promise<OwnPart<Database> & { url: string | null }> {
  if (onServer) {
    const own = await ownDatabase();
    const database = Database.onServer(own.url, STATEMENT_TIMEOUT_MS);
    await database.availability.start();
    const destroy = async (): Promise<void> => {
      await database.onApplicationShutdown();
      await own.drop();
    };
    return { part: database, url: own.url, destroy };
  }
  const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
  await prepareEmbeddedLedger(folder);
  const store = await EmbeddedLedger.open(folder);
  const database = Database.embedded(store);
  await database.availability.start();
  const destroy = async (): Promise<void> => {
    await database.onApplicationShutdown();
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { part: database, url: null, destroy };
}

/** Takes every entry out of a ledger, which then is as good as new. */
export async function emptyLedger(database: Database): Promise<void> {
  await database.transaction(async (tx) => {
    for (const table of [
      'ledger',
      'counted_orders',
      'failed_contents',
      'counted_refunds',
      'refunded_orders',
      'early_refunds',
    ]) {
      await tx.query(sql.raw(`delete from ${table}`));
    }
    await tx.query(sql`update ledger_head set position = 0, entry_hash = sha256('')`);
  });
}

/** A Redis of the kind that the suite runs against, with a key prefix of its own. */
export async function aRedis(): Promise<OwnPart<Redis>> {
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  const program = parts.redisUrl === 'embedded' ? findRedisServer(process.env.PATH ?? '') : null;
  const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
  const server = program ? await EmbeddedRedis.start(program, folder) : null;
  const redis = server
    ? new Redis({ kind: 'socket', path: server.socketPath, program: server.program }, prefix)
    : ['embedded', 'memory'].includes(parts.redisUrl)
      ? new Redis({ kind: 'memory' }, prefix)
      : new Redis({ kind: 'url', url: parts.redisUrl }, prefix);
  await redis.availability.start();
  const destroy = async (): Promise<void> => {
    await redis.onApplicationShutdown();
    await server?.stop();
    await dropRedisKeys(prefix);
    rmSync(folder, { recursive: true, force: true });
  };
  return { part: redis, destroy };
}
