import type { RedisCommand } from '../../../src/platform/redis/redis.js';
import type { GenerationKeys } from '../../../src/platform/redis/redis-keys.js';
import { UnavailableError } from '../../../src/shared/errors.js';
import type { Checkpoint } from '../../../src/stats/projection/checkpoint.js';
import type { Network } from './network.js';
import type { SimulatedProcess } from './simulated-process.js';
import type { Witness } from './witness.js';

type Answer<Replies, T> = (replies: Replies, checkpoint: Checkpoint) => T;

/** The ways by which LiveStatistics reads everything. */
interface Reading {
  read<T>(commands: (keys: GenerationKeys) => RedisCommand[], answer: Answer<unknown[], T>): Promise<T>;
}

/**
 * Reads as the statistics routes do, in one transaction, and has it compared with the ledger.
 * @param ended is called with whether there were figures to read
 */
export async function readFigures(
  process: SimulatedProcess,
  network: Network,
  witness: Witness,
  ended: (found: boolean) => void,
): Promise<void> {
  const { trace, random } = network;
  const begun = witness.readBegins(process.name);
  const reading = process.figures as unknown as Reading;
  const month = random.oneOf(['2026-01', '2026-02', '2026-03']);
  let names: string[] = [];
  let hasFound = false;
  try {
    const rest = reading.read(
      (keys) => {
        names = [keys.usersBySpend, keys.productsByQuantity, keys.month(month), keys.monthUsers(month)];
        return names.map((name): RedisCommand => {
          return /users|products/.test(name) ? ['zrevrange', name, 0, -1, 'WITHSCORES'] : ['hgetall', name];
        });
      },
      (replies, checkpoint) => ({ replies, checkpoint }),
    );
    // In one turn, so that they are one transaction.
    const [global, found] = await Promise.all([process.figures.global(), rest]);
    witness.compareGlobal(global.asOf as Checkpoint, global);
    witness.readEnded(process.name, found.checkpoint, begun);
    witness.compareRead(found.checkpoint, names, found.replies);
    trace.reach('read: figures');
    hasFound = true;
  } catch (error) {
    if (!(error instanceof UnavailableError)) {
      trace.violated(`a read failed: ${String(error)}`);
    } else {
      trace.add(process.name, `read nothing: ${error.code}`);
      trace.reach(`read: ${error.code}`);
    }
  } finally {
    ended(hasFound);
  }
}
