import { EmbeddedRedis } from '../../src/platform/embedded/embedded-redis.js';
import { findRedisServer } from '../../src/platform/embedded/redis-programs.js';
import type { RunningService, World } from './app.js';
import { parts } from './parts.js';
import { TcpProxy } from './tcp-proxy.js';

/** A part of the service that a test can take away and bring back. */
export interface BreakablePart {
  /** What the service needs to know to use it. */
  readonly environment: Record<string, string>;
  /** How often somebody tried to reach it while it was away. */
  readonly attempts: number;
  /** @param service that uses it */
  goAway(service: RunningService): void;
  comeBack(): Promise<void>;
  remove(): Promise<void>;
}

/** A part behind a network that fails. */
export interface PartBehindNetwork extends BreakablePart {
  readonly network: TcpProxy;
}

/** The queues of the run behind a network. @param direct their address past that network */
export async function aBreakableQueue(): Promise<PartBehindNetwork & { direct: string }> {
  const { sqsEndpoint: direct } = parts;
  const network = await TcpProxy.before(direct);
  const environment = { SQS_ENDPOINT: network.through(direct), SQS_WAIT_TIME_SECONDS: '1' };
  return Object.assign(behind(network, environment), { direct });
}

/** The Redis of the run behind a network; a private server where the run has none. */
export async function aBreakableRedis(world: World): Promise<PartBehindNetwork> {
  if (parts.redisUrl !== 'memory') {
    const network = await TcpProxy.before(parts.redisUrl, 6379);
    return behind(network, { REDIS_URL: network.through(parts.redisUrl) });
  }
  const server = await aRedisServer(world);
  const network = await TcpProxy.before(server.socketPath);
  return behind(network, { REDIS_URL: network.through('redis://127.0.0.1') }, () => server.stop());
}

/** A Redis server of a test's own; see itWithRedis. */
export function aRedisServer(world: World): Promise<EmbeddedRedis> {
  return EmbeddedRedis.start(findRedisServer(process.env.PATH ?? '')!, `${world.dataDir}/own-redis`);
}

/** The ledger's database behind a network. */
export async function aBreakableLedger(world: World): Promise<PartBehindNetwork> {
  const url = world.environment.DATABASE_URL!;
  const network = await TcpProxy.before(url, 5432);
  return behind(network, { DATABASE_URL: network.through(url) });
}

function behind(
  network: TcpProxy,
  environment: Record<string, string>,
  removeServer: () => Promise<void> = () => Promise.resolve(),
): PartBehindNetwork {
  return {
    network,
    environment,
    get attempts() {
      return network.attempts;
    },
    goAway: () => network.hangUp(),
    comeBack: () => network.resume(),
    remove: async () => {
      await network.close();
      await removeServer();
    },
  };
}
