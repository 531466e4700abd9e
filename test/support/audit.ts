import { sql } from 'drizzle-orm';
import type { Redis as IORedis } from 'ioredis';
import { RedisKeys } from '../../src/platform/redis/redis-keys.js';
import type { RunningService } from './app.js';
import { eventually } from './eventually.js';
import { ledgerFaults, type LedgerQuery, readLedger } from './ledger-audit.js';
import { figureFaults, plainFigures, readStored } from './figure-audit.js';

/** Where to look, past the service: its database, its Redis. */
export interface AuditedParts {
  query: LedgerQuery;
  redis: IORedis;
  redisKeyPrefix: string;
  businessTimeZone: string;
}

/**
 * Whether what a service left is right, once it has nothing more to do: the ledger in itself (positions, sums of lines,
 * history, tables of keys), the live figures in themselves (parts that add up, rankings), and both compared by adding up
 * every entry in the plainest way.
 * @returns what is wrong, one fact each; nothing where all is well
 */
export async function audit({ query, redis, redisKeyPrefix, businessTimeZone }: AuditedParts): Promise<string[]> {
  const ledger = await readLedger(query, businessTimeZone);
  const keys = new RedisKeys(redisKeyPrefix).generation(ledger.projection.generation);
  const stored = await readStored(redis, redisKeyPrefix, keys);
  const expected = plainFigures(ledger.entries, ledger.projection.base, keys);
  return [...(await ledgerFaults(query, ledger)), ...figureFaults(stored, expected, ledger, keys)];
}

/** The parts of a service in this process. */
export function partsOf({ database, redis, config }: RunningService): AuditedParts {
  const { redisKeyPrefix, businessTimeZone } = config;
  return { query: (text) => database.query(sql.raw(text)), redis: redis.client, redisKeyPrefix, businessTimeZone };
}

/** Some of what {@link audit} looks at is not right. */
class AuditFailed extends Error {
  constructor(readonly faults: string[]) {
    super(faults.join('\n'));
  }
}

/**
 * The same of a service in this process, when it has settled.
 * @param withoutProgressMs how long something wrong may stay, see {@link eventually}; a control waits all of it
 * @returns what is wrong
 */
export async function auditOf(service: RunningService, withoutProgressMs = 400): Promise<string[]> {
  await service.settled();
  try {
    // A moment after it has settled, another generation may still be on its way.
    return await eventually(async () => {
      const faults = await audit(partsOf(service));
      if (faults.length > 0) throw new AuditFailed(faults);
      return faults;
    }, withoutProgressMs);
  } catch (error) {
    if (error instanceof AuditFailed) return error.faults;
    throw error;
  }
}
