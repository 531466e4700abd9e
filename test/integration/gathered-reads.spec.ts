import { setImmediate } from 'node:timers/promises';
import { RedisUnavailable, type Redis } from '../../src/platform/redis/redis.js';
import type { Checkpoint } from '../../src/stats/projection/checkpoint.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { GatheredReads } from '../../src/stats/api/gathered-reads.js';
import { itWithRedis } from '../support/only-on.js';
import { aRedis, type OwnPart } from '../support/stores.js';

const MAX_WAIT_MS = 20;
/** So many commands of each transaction. */
const LOOK_AT_CHECKPOINT = 2;
/** All but setTimeout. */
const NOT_FAKED = [
  'Date',
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
] as const;

const checkpoint: Checkpoint = {
  ledgerId: 'l',
  generation: 1,
  foldVersion: 'f',
  base: 0,
  position: 7,
  entryHash: 'e',
  at: 1,
  evicted: 0,
};

let own: OwnPart<Redis>;
let redis: Redis;
let reads: GatheredReads;

beforeEach(async () => {
  own = await aRedis();
  redis = own.part;
  reads = new GatheredReads(redis);
  await new StatisticsRepository(redis).begin(checkpoint);
  for (let i = 0; i < 20; i++) await redis.client.hset(userKey(i), 'orders', String(i));
});

afterEach(async () => {
  jest.useRealTimers();
  jest.restoreAllMocks();
  await own.destroy();
});

describe('reads of one turn', () => {
  it('are one transaction, in which nothing is asked for twice, and each has its own answer', async () => {
    const sent = jest.spyOn(redis, 'atomicallyEach');
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        reads.read(1, [
          ['hgetall', userKey(i % 20)],
          ['zcard', 'nothing'],
        ]),
      ),
    );
    expect(sent).toHaveBeenCalledTimes(1);
    expect(sent.mock.calls[0]![0]).toHaveLength(LOOK_AT_CHECKPOINT + 20 + 1);
    for (const [i, answer] of answers.entries()) {
      expect(answer).toEqual({ checkpoint, replies: [{ orders: String(i % 20) }, 0] });
    }
  });

  it('are not of the moment before: one that comes later is sent later', async () => {
    const sent = jest.spyOn(redis, 'atomicallyEach');
    const before = await reads.read(1, [['hgetall', userKey(1)]]);
    await redis.client.hset(userKey(1), 'orders', '99');
    const after = await reads.read(1, [['hgetall', userKey(1)]]);
    expect([before.replies, after.replies]).toEqual([[{ orders: '1' }], [{ orders: '99' }]]);
    expect(sent).toHaveBeenCalledTimes(2);
  });

  it('are several transactions where they are many, or of several generations', async () => {
    const sent = jest.spyOn(redis, 'atomicallyEach');
    const many = Array.from({ length: 1_200 }, (_, i) => reads.read(1, [['hget', userKey(i), 'orders']]));
    const [other, ...answers] = await Promise.all([reads.read(2, [['zcard', 'nothing']]), ...many]);
    const sizes = sent.mock.calls.map(([commands]) => commands.length);
    expect(sizes.sort((one, other) => one - other)).toEqual([
      LOOK_AT_CHECKPOINT + 1,
      LOOK_AT_CHECKPOINT + 1_200 - 2 * (500 - LOOK_AT_CHECKPOINT),
      500,
      500,
    ]);
    expect(answers.map(({ replies }) => replies[0])).toEqual(
      Array.from({ length: 1_200 }, (_, i) => (i < 20 ? String(i) : null)),
    );
    expect(other).toEqual({ checkpoint: null, replies: [0] });
  });

  it('wait for some more while entries arrive, and no longer when none do', async () => {
    const sent = jest.spyOn(redis, 'atomicallyEach');
    const now = jest.spyOn(performance, 'now').mockReturnValue(1_000_000);
    // By a clock that stands still but for what the test lets pass: a busy machine may take longer than reads wait.
    jest.useFakeTimers({ doNotFake: [...NOT_FAKED] });
    const turnAfterTurn = async (): Promise<void> => {
      const first = reads.read(1, [['hgetall', userKey(1)]]);
      await setImmediate();
      await setImmediate();
      const second = reads.read(1, [['hgetall', userKey(2)]]);
      jest.advanceTimersByTime(MAX_WAIT_MS);
      await Promise.all([first, second]);
    };
    reads.entriesArrive();
    await turnAfterTurn();
    expect(sent.mock.calls.map(([commands]) => commands.length)).toEqual([LOOK_AT_CHECKPOINT + 2]);
    now.mockReturnValue(1_001_000);
    await turnAfterTurn();
    expect(sent.mock.calls.map(([commands]) => commands.length)).toEqual(
      [2, 1, 1].map((asked) => LOOK_AT_CHECKPOINT + asked),
    );
  });

  it('all hear of a Redis that is away', async () => {
    jest.spyOn(redis.availability, 'up', 'get').mockReturnValue(false);
    const asked = await Promise.allSettled([1, 2].map((i) => reads.read(1, [['hgetall', userKey(i)]])));
    expect(asked.map((one) => one.status === 'rejected' && one.reason instanceof RedisUnavailable)).toEqual([
      true,
      true,
    ]);
  });

  itWithRedis('do not suffer from a key of another type that one of them asks for', async () => {
    await redis.client.set(userKey(3), 'text');
    const [broken, whole] = await Promise.allSettled([
      reads.read(1, [['hgetall', userKey(3)]]),
      reads.read(1, [['hgetall', userKey(4)]]),
    ]);
    expect(broken).toMatchObject({ status: 'rejected', reason: { name: 'ReplyError' } });
    expect(whole).toMatchObject({ status: 'fulfilled', value: { replies: [{ orders: '4' }] } });
  });
});

function userKey(i: number): string {
  return redis.keys.generation(1).user(`U${i}`);
}
