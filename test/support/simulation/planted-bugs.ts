import { OrderIntake } from '../../../src/orders/consumer/order-intake.service.js';
import { StatisticsRepository } from '../../../src/stats/projection/statistics.repository.js';
import { Projector } from '../../../src/stats/projection/projector.worker.js';
import { Rebuild } from '../../../src/stats/rebuild/rebuild.service.js';
import type { Checkpoint } from '../../../src/stats/projection/checkpoint.js';
import { keepAppendsWhole } from '../whole-appends.js';
import type { ModelLedger } from './model-ledger.js';
import type { ModelRedis } from './model-redis.js';
import type { Plant } from './simulation.js';

/** How long an append may have waited for the lock that it should have taken before it looked anything up, ms. */
const WAIT_FOR_LOCK_MS = 30;

/** A bug that somebody could have written, and what the simulation says of it. */
export interface PlantedBug {
  bug: string;
  /** Puts it in; of the production code by spies, which the test restores. */
  plant(): Plant;
  found: RegExp;
}

/** The simulation has to find each of these within a few hundred seeds. */
export const PLANTED_BUGS: PlantedBug[] = [
  {
    bug: 'a message is acknowledged before its append is committed',
    plant: () => {
      const { handle } = OrderIntake.prototype;
      instead(OrderIntake, 'handle', async function (this: OrderIntake, messages: never) {
        void handle.call(this, messages).catch(() => undefined);
        return messages;
      });
      return {};
    },
    found: /was acknowledged and is not stored/,
  },
  {
    bug: 'an append is classified by what was there before it had the lock',
    plant: () => ({ ledger: classifiesTooEarly }),
    found: /should be failed conflicting_duplicate|is stored at \d+ and at|should be waiting|is not stored/,
  },
  {
    bug: 'an append that the database refuses is not halved',
    plant: () => {
      keepAppendsWhole();
      return {};
    },
    found: /the dead letters are/,
  },
  {
    bug: 'entries are folded wherever the checkpoint is',
    plant: () => ({ redis: foldsAnywhere }),
    found: /holds .* and should hold/,
  },
  {
    bug: 'an older snapshot of Redis is served',
    plant: () => {
      instead(Projector, 'onApplicationBootstrap', function (this: TrustingProjector) {
        this.ledger.onAppended(() => this.notify());
        this.loop = this.run();
      });
      instead(Projector, 'accepts', function (this: TrustingProjector, found: Checkpoint | null) {
        return found !== null && found.generation === this.current?.generation;
      });
      return {};
    },
    found: /after others were seen/,
  },
  {
    bug: 'a rebuild comes into service before it has caught up',
    plant: () => {
      instead(Rebuild, 'catchUp', async (_lease: never, checkpoint: Checkpoint) => checkpoint);
      instead(Rebuild, 'reachServed', async (_lease: never, checkpoint: Checkpoint) => checkpoint);
      instead(Projector, 'adopt', async function (this: TrustingProjector, other: Checkpoint) {
        this.serving = this.publish(other, this.invalidations);
        return this.serving;
      });
      return {};
    },
    found: /after others were seen/,
  },
  {
    bug: 'figures of a generation are served that is out of service',
    plant: () => {
      instead(StatisticsRepository, 'retire', () => Promise.resolve());
      return {};
    },
    found: /after \d+ was in service/,
  },
  {
    bug: 'a generation that Redis lost while it was filled passes for complete',
    plant: () => ({ redis: losesNothing }),
    found: /holds {.* and should hold/,
  },
];

/** What of the projector the bugs above reach for. */
interface TrustingProjector {
  ledger: { onAppended(listener: () => void): void };
  loop: Promise<void>;
  current: Checkpoint | null;
  serving: boolean;
  run(): Promise<void>;
  notify(): void;
  invalidations: number;
  publish(checkpoint: Checkpoint, invalidations: number): boolean;
}

function instead<This>(
  of: { prototype: object },
  method: string,
  does: (this: This, ...args: never[]) => unknown,
): void {
  jest.spyOn(of.prototype as Record<string, () => unknown>, method).mockImplementation(does);
}

/** Two appends that come close together each see what was there before both of them. */
function classifiesTooEarly(ledger: ModelLedger): void {
  const { orders } = ledger as unknown as { orders: Map<string, { position: number }> };
  const append = ledger.append.bind(ledger);
  let lastAt = 0;
  let before = 0;
  ledger.append = (messages) => {
    const isClose = Date.now() - lastAt < WAIT_FOR_LOCK_MS;
    const unseen = isClose ? [...orders].filter(([, { position }]) => position > before) : [];
    for (const [id] of unseen) orders.delete(id);
    lastAt = Date.now();
    before = ledger.entries.length;
    const results = append(messages);
    for (const [id, known] of unseen) orders.set(id, known);
    return results;
  };
}

function foldsAnywhere(redis: ModelRedis): void {
  const script = redis.script.bind(redis);
  redis.script = (name, keys, args) => {
    const checkpoint = name === 'project' ? redis.held(keys[0]!)?.values : undefined;
    if (!checkpoint) return script(name, keys, args);
    const fields = ['ledger_id', 'generation', 'fold_version', 'position', 'entry_hash'];
    return script(name, keys, [...fields.map((field) => String(checkpoint.get(field))), ...args.slice(fields.length)]);
  };
}

function losesNothing(redis: ModelRedis): void {
  const run = redis.run.bind(redis);
  redis.run = (command) => {
    const reply = run(command);
    return command[0] === 'hdel' ? 1 : reply;
  };
}
