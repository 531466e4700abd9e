import { Logger } from '@nestjs/common';
import { Ledger } from '../../src/ledger/ledger.js';
import { OrderIntake } from '../../src/orders/order-intake.js';
import type { RunningService } from '../support/app.js';
import { auditOf } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { atScale, fullFaults, tell } from '../support/fault-scale.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import type { RealWorld } from '../support/real-world.js';
import { ServiceBehindNetwork } from '../support/service-behind-network.js';
import type { TcpProxy } from '../support/tcp-proxy.js';

/** How much longer a slow Redis may make what a quick one takes. */
const MOST_RATIO = 1.1;
/** What else the machine does shows in one drain and not in the next: the ratios of two in a row spread by a fifth. */
const ROUNDS = atScale(1, 15);
const ORDERS = atScale(200, 3_000);
const LATER_MS = 200;
const STALLED_MS = 1_000;
const LONGEST_TEST_MS = 20 * 60_000;

/** Makes Redis slow. @returns ends it */
type Slowness = () => Promise<() => Promise<void>>;

/** How long orders took, ms, medians; and how much longer by a slow Redis than just before by a quick one, in the median. */
interface Compared {
  quick: number;
  slow: number;
  ratio: number;
}

describe('A Redis that is slow', () => {
  const itIsSlow = itWithRedis;
  let behind: ServiceBehindNetwork | undefined;
  let world: RealWorld;
  let network: TcpProxy;
  let service: RunningService;

  beforeAll(async () => {
    if (!hasRedisServer) return;
    Logger.overrideLogger(false);
    behind = await ServiceBehindNetwork.ready();
    ({ world, network, service } = behind);
  });

  afterEach(() => jest.restoreAllMocks());

  afterAll(() => behind?.end());

  async function storedEntries(): Promise<number> {
    return (await service.app.get(Ledger).head()).position;
  }

  async function sendOrders(count: number): Promise<void> {
    await service.send(...Array.from({ length: count }, (_, i) => anOrderEvent({ user_id: `U${i % 50}` })));
  }

  async function hasStored(entries: number): Promise<void> {
    await eventually(async () => expect(await storedEntries()).toBe(entries), 120_000);
  }

  /**
   * @param slowDown is done when the orders wait, so that it is what they meet
   * @returns after how many ms orders that wait on the queue are in the ledger
   */
  async function drain(slowDown: Slowness | null): Promise<number> {
    await service.settled();
    const before = await storedEntries();
    const intake = service.app.get(OrderIntake);
    const handle = intake.handle.bind(intake);
    let go!: () => void;
    const all = new Promise<void>((resolve) => (go = resolve));
    const held = jest.spyOn(intake, 'handle').mockImplementation(async (messages) => {
      await all;
      return handle(messages);
    });
    await sendOrders(ORDERS);
    const quickAgain = await slowDown?.();
    try {
      const since = performance.now();
      go();
      await hasStored(before + ORDERS);
      return performance.now() - since;
    } finally {
      held.mockRestore();
      await quickAgain?.();
    }
  }

  async function compare(slowDown: Slowness, rounds: number): Promise<Compared> {
    const took = { quick: [] as number[], slow: [] as number[] };
    await drain(null);
    for (let round = 0; round < rounds; round++) {
      took.quick.push(await drain(null));
      took.slow.push(await drain(slowDown));
    }
    const ratios = took.slow.map((slow, round) => slow / took.quick[round]!);
    return { quick: median(took.quick), slow: median(took.slow), ratio: median(ratios) };
  }

  const answersLater: Slowness = async () => {
    const connect = async (delayMs: number): Promise<void> => {
      const { attempts } = network;
      network.delayMs = delayMs;
      // The back-off is forgotten after 10 s without a fault only.
      Reflect.set(service.redis.availability, 'attempts', 0);
      network.cut();
      await eventually(() => expect(network.attempts).toBeGreaterThan(attempts));
      await service.isReady();
    };
    await connect(LATER_MS);
    return () => connect(0);
  };

  const slownesses: [string, Slowness][] = [
    [`answers everything ${LATER_MS} ms later`, answersLater],
    [
      `stalls for ${STALLED_MS} ms of every ${2 * STALLED_MS}`,
      () => {
        let stalled = false;
        const turn = (): void => {
          stalled = !stalled;
          if (stalled) world.redis.stall();
          else world.redis.resume();
        };
        turn();
        const turning = setInterval(turn, STALLED_MS);
        return Promise.resolve(() => {
          clearInterval(turning);
          world.redis.resume();
          return Promise.resolve();
        });
      },
    ],
  ];

  for (const [how, slowDown] of slownesses) {
    itIsSlow(
      `and ${how} does not slow the intake by more than a tenth`,
      async () => {
        const { quick, slow, ratio } = await compare(slowDown, ROUNDS);
        // One round of few orders says nothing.
        if (fullFaults) {
          tell(
            `Redis ${how}: ${ORDERS} orders in ${slow.toFixed(0)} ms instead of ${quick.toFixed(0)} ms ` +
              `(${ratio.toFixed(2)}), medians of ${ROUNDS}`,
          );
          expect(ratio).toBeLessThanOrEqual(MOST_RATIO);
        }
        expect(await auditOf(service)).toEqual([]);
      },
      LONGEST_TEST_MS,
    );
  }

  itIsSlow(
    'and answers nothing at all keeps no order from the ledger',
    async () => {
      await service.settled();
      const before = await storedEntries();
      network.stall();
      try {
        await sendOrders(ORDERS);
        await hasStored(before + ORDERS);
      } finally {
        await network.resume();
      }
      expect(await auditOf(service)).toEqual([]);
    },
    LONGEST_TEST_MS,
  );

  itIsSlow(
    'control: an intake that asks Redis first is found to be slowed by more than a tenth, and by silence to stand still',
    async () => {
      const intake = service.app.get(OrderIntake);
      const handle = intake.handle.bind(intake);
      let asked = 0;
      intake.handle = async (messages) => {
        asked++;
        await eventually(async () => service.redis.client.ping(), 60_000);
        return handle(messages);
      };
      try {
        const { ratio } = await compare(answersLater, 1);
        expect(ratio).toBeGreaterThan(MOST_RATIO);

        await service.settled();
        const before = await storedEntries();
        asked = 0;
        network.stall();
        try {
          await sendOrders(100);
          await eventually(() => expect(asked).toBeGreaterThanOrEqual(service.config.queue.pollers));
          // Whoever has received orders waits, and nobody else could store them.
          expect(await storedEntries()).toBe(before);
        } finally {
          await network.resume();
        }
        await hasStored(before + 100);
      } finally {
        intake.handle = handle;
      }
      expect(await auditOf(service)).toEqual([]);
    },
    LONGEST_TEST_MS,
  );
});

function median(values: number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)]!;
}
