import { findRedisServer } from '../../src/platform/embedded/embedded-redis.js';
import { onServer, parts } from './parts.js';
import { hasRealParts } from './real-world.js';

type Fact = (name: string, test: () => Promise<void>, timeoutMs?: number) => void;

/** `it` where the part can show it; elsewhere the test is listed as skipped, with the reason in its name. */
function onlyIf(partCanShowIt: boolean, reason: string): Fact {
  return (name, test, timeoutMs) => {
    if (partCanShowIt) it(name, test, timeoutMs);
    else it.skip(`${name} (not shown here: ${reason})`, test);
  };
}

/**
 * A test that only a ledger on a PostgreSQL server can show.
 * @param reason why the embedded one can't
 */
export function itOnServer(reason: string): Fact {
  return onlyIf(onServer, reason);
}

/** A test of the embedded ledger, in a service that is a process of its own. */
export function itOnEmbeddedLedger(): Fact {
  return onlyIf(!onServer, 'the ledger is on a server here');
}

/**
 * A test that only a ledger and a Redis on servers can show, which several services may share.
 * @param reason why embedded ones can't
 */
export function itOnSharedParts(reason: string): Fact {
  return onlyIf(onServer && !['embedded', 'memory'].includes(parts.redisUrl), reason);
}

/**
 * A test that needs a Redis server of its own to break or to misconfigure.
 */
export function itWithRedisServer(): Fact {
  return onlyIf(findRedisServer(process.env.PATH ?? '') !== null, 'no redis-server or valkey-server is installed');
}

/** Whether Redis is a private server, which runs as a child of the service and keeps its files in the data folder. */
export const withPrivateRedis = parts.redisUrl === 'embedded' && findRedisServer(process.env.PATH ?? '') !== null;

/** A test of that one. */
export function itWithPrivateRedis(): Fact {
  return onlyIf(withPrivateRedis, 'Redis is no child of the service here');
}

/**
 * A test that only a Redis can show which outlives the service.
 * @param reason why one in the service's memory can't
 */
export function itWhereRedisLasts(reason: string): Fact {
  const embedded = findRedisServer(process.env.PATH ?? '') !== null;
  return onlyIf(parts.redisUrl === 'embedded' ? embedded : parts.redisUrl !== 'memory', reason);
}

/** Whether tests that make a world of real parts run: on parts of its own it comes to the same in every run of the suite. */
export const onOwnServers = !onServer && parts.redisUrl === 'embedded' && hasRealParts();

/** A test that makes a PostgreSQL, a Redis and a queue of its own, to break them. */
export function itOnOwnServers(): Fact {
  if (hasRealParts()) return onlyIf(onOwnServers, 'it makes servers of its own, and runs where none are given');
  return onlyIf(false, 'no PostgreSQL server or no redis-server is installed');
}
