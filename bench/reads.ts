import { once } from 'node:events';
import { FilledService } from './filled-service.js';
import { load, type Answered } from './http-load.js';
import { filledUser } from './ledger-fill.js';
import type { Measurement, Reading, Target } from './measurement.js';
import { Child, forked } from './processes.js';

const SHAPE = { entries: 10_000, users: 500, months: 10 };
const CONNECTIONS = 64;
const SECONDS = 5;
const WARM_UP_SECONDS = 2;

/** The reads of live figures that nearly everybody makes; of a user, of several in turn. */
export const LIVE_READS = {
  global: { route: '/stats/global', paths: ['/stats/global'] },
  user: {
    route: '/users/{id}/stats',
    paths: Array.from({ length: 50 }, (_, n) => `/users/${filledUser(n)}/stats`),
  },
  top: { route: '/stats/top/10', paths: ['/stats/top/10'] },
};

/** See bare-reads.ts. */
class BareReads extends Child {
  private constructor(
    child: Child['process'],
    readonly url: string,
  ) {
    super(child);
  }

  static async start(redisUrl: string, prefix: string, generation: number): Promise<BareReads> {
    const child = forked('bare-reads.js', redisUrl, prefix, String(generation));
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    return new BareReads(child, `http://127.0.0.1:${port}`);
  }
}

/** Live reads on 64 connections: how many, and how long the slowest in a hundred take. */
export const READS: Measurement[] = Object.entries(LIVE_READS).flatMap(([name, { route, paths }]) => [
  measurement(`reads-${name}`, route, paths, 'requests/s', ({ perSecond }) => perSecond, { atLeast: 0.6 }),
  measurement(`reads-${name}-p99`, `${route}, p99`, paths, 'ms', ({ p99Ms }) => p99Ms, { withTimeout: 1 / 0.6 }),
]);

function measurement(
  id: string,
  what: string,
  paths: string[],
  unit: string,
  figure: (answered: Answered) => number,
  toReach: Target,
): Measurement {
  let filled: FilledService;
  let bare: BareReads;
  const asked = async (server: FilledService['service'] | BareReads, scale: number): Promise<Reading> => {
    const used = server.cpuSeconds();
    const seconds = Math.max(1, SECONDS * scale);
    const answered = await load(server.url, paths, { connections: CONNECTIONS, seconds });
    const cpuMicrosecondsEach = ((server.cpuSeconds() - used) * 1e6) / answered.answers;
    return { value: figure(answered), facts: { ...answered, cpuMicrosecondsEach } };
  };
  return {
    id,
    what: `GET ${what}, ${CONNECTIONS} connections`,
    against: 'node:http and ioredis with the same Redis reads',
    unit,
    toReach,
    async prepare() {
      [filled] = (await FilledService.with(SHAPE)) as [FilledService];
      const { redisUrl, redisKeyPrefix } = filled.parts;
      bare = await BareReads.start(redisUrl, redisKeyPrefix, await filled.generation());
      await load(filled.service.url, paths, { connections: CONNECTIONS, seconds: WARM_UP_SECONDS });
      await load(bare.url, paths, { connections: CONNECTIONS, seconds: WARM_UP_SECONDS });
    },
    ours: (scale) => asked(filled.service, scale),
    limit: (scale) => asked(bare, scale),
    dispose: () => bare.stop(),
  };
}
