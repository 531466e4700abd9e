import { canStartRedis } from './redis-server.js';

type Fact = (name: string, test: () => Promise<void>, timeoutMs?: number) => void;

/** Whether a Redis server can be started on this machine. */
export const hasRedisServer = canStartRedis();

/**
 * A test that needs a Redis server: one that outlives a service, that several services share, or that can be broken.
 * Elsewhere it is listed as skipped, with the reason in its name.
 */
export const itWithRedis: Fact = (name, test, timeoutMs) => {
  if (hasRedisServer) it(name, test, timeoutMs);
  else it.skip(`${name} (not shown here: no redis-server or valkey-server is installed)`, test);
};
