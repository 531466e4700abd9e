import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { GenerationKeys } from '../../src/platform/redis/redis-keys.js';
import { RedisUnavailable, type RedisCommand } from '../../src/platform/redis/redis.js';
import { cents } from '../../src/domain/money.js';
import { Aggregation } from '../../src/stats/rebuild/aggregation.repository.js';
import { StatisticsComparison } from '../../src/stats/verification/statistics-comparison.js';
import { StatisticsPages } from '../../src/stats/verification/statistics-pages.repository.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { fold } from '../../src/stats/projection/statistics.rules.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { Rebuild } from '../../src/stats/rebuild/rebuild.service.js';
import { Verification } from '../../src/stats/verification/verification.service.js';
import { VerifyController } from '../../src/stats/verification/verify.controller.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { aBreakableRedis } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { aFailedMessage, aValidatedMessage } from '../support/validated-messages.js';
import { itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import { aRefund } from '../support/refunds.js';
import { restoreStatistics, storedStatistics, type StoredStatistics } from '../support/stored-figures.js';
import { Traffic } from '../support/traffic.js';

jest.mock('../../src/stats/projection/statistics.rules.js', () => {
  const rules = jest.requireActual<Record<string, unknown>>('../../src/stats/projection/statistics.rules.js');
  return { ...rules, fold: jest.fn(rules.fold as typeof fold) };
});

type Json = Answer['body'];

const rightFold = jest.requireActual<{ fold: typeof fold }>('../../src/stats/projection/statistics.rules.js').fold;
const NOBODY = '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11';

beforeAll(() => Logger.overrideLogger(false));
/** Lets go what a test held back, where it failed before it did so itself. */
const heldBack: (() => void)[] = [];
afterEach(() => {
  for (const release of heldBack.splice(0)) release();
  jest.restoreAllMocks();
  jest.mocked(fold).mockImplementation(rightFold);
});

/** Orders that count, that are corrected, that fail, some whose user or time can't be read, and refunds of the first. */
function ordersOfAllSorts(): (object | string)[] {
  const january = '2026-01-31T18:30:00Z'; // February already in the east
  const first = anOrderEvent({ user_id: 'U1', order_timestamp: january });
  return [
    first,
    anOrderEvent({ user_id: 'U1' }),
    anOrderEvent({ user_id: 'U2', order_timestamp: '2025-12-31T23:30:00Z' }),
    anOrderEvent({ user_id: 'U2', order_value: 99 }),
    anOrderEvent({ user_id: 'U 3 %:*', items: [{ product_id: 'P "2"', quantity: 3, price_per_unit: 3.333 }] }),
    anOrderEvent({ user_id: 'U1', items: [] }),
    anOrderEvent({ user_id: 'U-FAILS-ONLY', items: [] }),
    anOrderEvent({ user_id: '', order_timestamp: january }),
    anOrderEvent({ user_id: 'U2', order_timestamp: '' }),
    '{"order_id":"ORD-BROKEN"',
    aRefund({ order_id: first.order_id, refund_timestamp: '2026-03-31T18:30:00Z' }),
    aRefund({ order_id: first.order_id, amount: 10, refund_timestamp: january }),
    aRefund({ order_id: first.order_id, refund_timestamp: 'later' }),
  ];
}

async function count(service: RunningService, ...orders: (object | string)[]): Promise<void> {
  await service.send(...orders);
  await service.settled();
}

async function verify(service: RunningService): Promise<Json> {
  const { status, body } = await service.get('/stats/verify');
  expect({ status, body }).toMatchObject({ status: 200, body: { state: 'done' } });
  return body;
}

async function expectVerified(service: RunningService, facts: Json = {}): Promise<void> {
  expect(await verify(service)).toMatchObject({
    verified: true,
    drift_cents: 0,
    mismatch_count: 0,
    mismatches: [],
    ...facts,
  });
}

async function rebuild(service: RunningService): Promise<void> {
  await service.app.get(Rebuild).run('a test');
  await service.app.get(Projector).refresh();
}

async function clear(service: RunningService): Promise<void> {
  expect(await service.call('DELETE', '/clear_redis_db')).toMatchObject({ status: 200 });
}

function keysOf(service: RunningService): GenerationKeys {
  return service.redis.keys.generation(service.app.get(Projector).served().generation);
}

/** Keeps whatever comes to a method of a part waiting until it is released. */
function holdBack<Part extends object>(
  part: Part,
  method: keyof Part & string,
): { held(): Promise<void>; release(): void } {
  let release = (): void => undefined;
  let arrived = (): void => undefined;
  const free = new Promise<void>((resolve) => (release = resolve));
  const first = new Promise<void>((resolve) => (arrived = resolve));
  heldBack.push(release);
  before(part, method, async () => {
    arrived();
    await free;
  });
  return { held: () => first, release };
}

/** Does something each time before a method of a part does its work. @returns the spy */
function before<Part extends object>(
  part: Part,
  method: keyof Part & string,
  happens: (call: number) => Promise<unknown>,
): jest.SpyInstance<unknown, unknown[]> {
  const works = (part[method] as (...args: unknown[]) => Promise<unknown>).bind(part);
  let call = 0;
  return jest
    .spyOn(part as Record<string, (...args: unknown[]) => Promise<unknown>>, method)
    .mockImplementation(async (...args) => {
      await happens(++call);
      return works(...args);
    });
}

describe.each(['Asia/Tokyo', 'America/St_Johns'])('figures that are right are verified in %s', (BUSINESS_TIME_ZONE) => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready({ environment: { BUSINESS_TIME_ZONE } });
  });
  afterAll(() => service?.stop());

  it('before there are any', async () => {
    await expectVerified(service, { position: 0, entries: 0, users_checked: 0, months_checked: 0 });
  });

  it('of orders of all sorts, folded and rebuilt, cleared and begun again', async () => {
    const sent = ordersOfAllSorts().length;
    await count(service, ...ordersOfAllSorts());
    await count(service, ...ordersOfAllSorts());
    const checked = { position: 2 * sent - 1, entries: 2 * sent - 1, users_checked: 4 };
    await expectVerified(service, checked);

    await rebuild(service);
    await expectVerified(service, checked);
    await count(service, ...ordersOfAllSorts());
    await expectVerified(service);

    await clear(service);
    await expectVerified(service, { entries: 0, users_checked: 0, months_checked: 0 });
    await rebuild(service);
    await expectVerified(service, { entries: 0 });
    await count(service, ...ordersOfAllSorts());
    await expectVerified(service, { entries: sent - 1, users_checked: 4 });
  });

  it('without ever reading all products at once', async () => {
    const items = Array.from({ length: 2_500 }, (_, i) => ({ product_id: `P${i}`, quantity: 1, price_per_unit: 1 }));
    await count(service, anOrderEvent({ items, order_value: 2_500 }));
    const pages = service.app.get(StatisticsPages);
    const [whole, some] = [jest.spyOn(pages, 'hashes'), jest.spyOn(pages, 'some')];
    await expectVerified(service);
    const { productRevenue, productQuantity } = keysOf(service);
    const read = whole.mock.calls.flatMap(([, keys]) => keys);
    expect(read.filter((key) => key === productRevenue || key === productQuantity)).toEqual([]);
    expect(Math.max(...some.mock.calls.map(([, , , members]) => members.length))).toBe(1_000);
  });

  it('with failed orders that were repaired, before and after a clear', async () => {
    await clear(service);
    const { position: base } = await service.app.get(Ledger).head();
    await count(service, anOrderEvent({ user_id: 'U1', items: [] }), anOrderEvent({ user_id: 'U2', items: [] }));
    const repair = async (position: number): Promise<void> => {
      const { position: head } = await service.app.get(Ledger).head();
      const { status } = await service.call('POST', `/order-events/${position}/retry`, { order: anOrderEvent() });
      expect(status).toBeLessThan(300);
      await eventually(async () => expect((await service.app.get(Ledger).head()).position).toBe(head + 2));
      await service.settled();
    };
    await repair(base + 1);
    await expectVerified(service, { entries: 4, users_checked: 2 });
    await rebuild(service);
    await expectVerified(service, { entries: 4, users_checked: 2 });
    await clear(service);
    await repair(base + 2);
    await expectVerified(service, { entries: 2, users_checked: 1 });
  });
});

describe('what is wrong is found', () => {
  let service: RunningService;
  let right: StoredStatistics;

  beforeAll(async () => {
    service = await RunningService.ready();
    await count(service, ...ordersOfAllSorts());
    right = await storedStatistics(service.redis);
  });
  beforeEach(() => restoreStatistics(service.redis, right));
  afterAll(() => service?.stop());

  /** Every kind of key with hashes in it: where, and by what name an answer calls it. */
  const hashes: [name: string, key: (keys: GenerationKeys) => string][] = [
    ['global', (keys) => keys.global],
    ['user:U1', (keys) => keys.user('U1')],
    ['day:2026-01-31', (keys) => keys.day('2026-01-31')],
    ['month:2026-01', (keys) => keys.month('2026-01')],
    ['month-user:2026-01:U1', (keys) => keys.monthUser('2026-01', 'U1')],
  ];
  const rankings: [name: string, member: string, isMoney: boolean, key: (keys: GenerationKeys) => string][] = [
    ['users-by-spend', 'U1', true, (keys) => keys.usersBySpend],
    ['users-by-orders', 'U1', false, (keys) => keys.usersByOrders],
    ['month-users:2026-01', 'U1', true, (keys) => keys.monthUsers('2026-01')],
    ['products-by-revenue', 'P1', true, (keys) => keys.productsByRevenue],
    ['products-by-quantity', 'P1', false, (keys) => keys.productsByQuantity],
  ];

  async function found(...harm: RedisCommand[]): Promise<Json> {
    await service.redis.atomically(harm);
    const answer = await verify(service);
    expect(answer).toMatchObject({ verified: false, mismatch_count: answer.mismatches.length });
    return answer;
  }

  it.each(hashes)('a value that was changed in %s', async (name, key) => {
    const before = Number(right[key(keysOf(service))]!.values.revenue);
    expect(await found(['hincrby', key(keysOf(service)), 'revenue', 5])).toMatchObject({
      drift_cents: 5,
      mismatches: [{ key: name, field: 'revenue', expected: before / 100, found: (before + 5) / 100 }],
    });
  });

  it.each(['orders', 'failed', 'corrected', 'failed_without_user', 'failed_without_month'])(
    'a count that was changed: %s',
    async (field) => {
      const before = Number(right[keysOf(service).global]!.values[field]);
      expect(await found(['hincrby', keysOf(service).global, field, -1])).toMatchObject({
        drift_cents: 0,
        mismatches: [{ key: 'global', field, expected: before, found: before - 1 }],
      });
    },
  );

  it('a time of the last order that was changed', async () => {
    const { mismatches } = await found(['hincrby', keysOf(service).user('U1'), 'last_order_at', 1]);
    const at = Date.parse('2026-01-31T18:30:00Z');
    expect(mismatches).toEqual([{ key: 'user:U1', field: 'last_order_at', expected: at, found: at + 1 }]);
  });

  it.each(rankings)('a score that was changed in %s', async (name, member, isMoney, key) => {
    const before = Number(right[key(keysOf(service))]!.values[member]);
    const [expected, now] = isMoney ? [before / 100, (before - 7) / 100] : [before, before - 7];
    expect(await found(['zincrby', key(keysOf(service)), -7, member])).toMatchObject({
      drift_cents: isMoney ? 7 : 0,
      mismatches: [{ key: name, field: member, expected, found: now }],
    });
  });

  it.each(hashes)('the deleted key %s', async (name, key) => {
    const { values } = right[key(keysOf(service))]!;
    const { drift_cents, mismatches } = await found(['del', key(keysOf(service))]);
    expect(drift_cents).toBe(Number(values.revenue));
    expect(mismatches.map((one: Json) => [one.key, one.field, one.found])).toEqual(
      expect.arrayContaining(Object.keys(values).map((field) => [name, field, null])),
    );
  });

  it.each(rankings)('the deleted key %s', async (name, _member, isMoney, key) => {
    const { values } = right[key(keysOf(service))]!;
    const { drift_cents, mismatches } = await found(['del', key(keysOf(service))]);
    expect(drift_cents).toBe(isMoney ? Object.values(values).reduce((sum, score) => sum + Number(score), 0) : 0);
    expect(mismatches).toHaveLength(Object.keys(values).length);
    expect(mismatches[0]).toMatchObject({ key: name, found: null });
  });

  it.each([
    ['user:U99', (keys: GenerationKeys) => keys.user('U99')],
    ['day:2020-02-02', (keys: GenerationKeys) => keys.day('2020-02-02')],
    ['month:2020-02', (keys: GenerationKeys) => keys.month('2020-02')],
    ['month-user:2020-02:U1', (keys: GenerationKeys) => keys.monthUser('2020-02', 'U1')],
    ['anything', (keys: GenerationKeys) => keys.global.replace(/global$/, 'anything')],
  ])('the extra key %s', async (name, key) => {
    expect(await found(['hset', key(keysOf(service)), 'orders', '1', 'revenue', '250'])).toMatchObject({
      drift_cents: 250,
      mismatches: [
        { key: name, field: 'orders', expected: null, found: 1 },
        { key: name, field: 'revenue', expected: null, found: 2.5 },
      ],
    });
  });

  it('an extra ranking', async () => {
    expect(await found(['zadd', keysOf(service).monthUsers('2020-02'), 250, 'U1'])).toMatchObject({
      drift_cents: 250,
      mismatches: [{ key: 'month-users:2020-02', field: 'U1', expected: null, found: 2.5 }],
    });
  });

  it('an extra key that is neither a hash nor a ranking', async () => {
    const { mismatches } = await found(['set', keysOf(service).user('U99'), 'something']);
    expect(mismatches).toEqual([{ key: 'user:U99', field: null, expected: null, found: 'string' }]);
  });

  it.each(hashes)('an extra field in %s', async (name, key) => {
    const { mismatches } = await found(['hset', key(keysOf(service)), 'extra', 'x'.repeat(1_000)]);
    expect(mismatches).toEqual([{ key: name, field: 'extra', expected: null, found: 'x'.repeat(64) }]);
  });

  it.each(rankings)('an extra member in %s', async (name, _member, isMoney, key) => {
    expect(await found(['zadd', key(keysOf(service)), 3, 'NOBODY'])).toMatchObject({
      drift_cents: isMoney ? 3 : 0,
      mismatches: [{ key: name, field: 'NOBODY', expected: null, found: isMoney ? 0.03 : 3 }],
    });
  });

  it('a member in the place of another', async () => {
    const key = keysOf(service).usersByOrders;
    expect((await found(['zrem', key, 'U1'], ['zadd', key, 3, 'NOBODY'])).mismatches).toEqual([
      { key: 'users-by-orders', field: 'U1', expected: 2, found: null },
      { key: 'users-by-orders', field: 'NOBODY', expected: null, found: 3 },
    ]);
  });

  it.each(['much', '1e1', '010', ' 10', '10.5', ''])('a value that no fold writes: "%s"', async (value) => {
    const before = Number(right[keysOf(service).global]!.values.revenue);
    expect(await found(['hset', keysOf(service).global, 'revenue', value])).toMatchObject({
      drift_cents: before,
      mismatches: [{ key: 'global', field: 'revenue', expected: before / 100, found: value }],
    });
  });

  it('a sum that is larger than any number of the database', async () => {
    const before = Number(right[keysOf(service).global]!.values.revenue);
    expect(await found(['hset', keysOf(service).global, 'revenue', '99999999999999983616'])).toMatchObject({
      drift_cents: 99999999999999983616 - before,
      mismatches: [{ key: 'global', field: 'revenue', expected: before / 100, found: Number('999999999999999836.16') }],
    });
  });

  it('a score that is no whole number', async () => {
    const before = Number(right[keysOf(service).usersBySpend]!.values.U1);
    expect(await found(['zadd', keysOf(service).usersBySpend, 0.5, 'U1'])).toMatchObject({
      drift_cents: before,
      mismatches: [{ key: 'users-by-spend', field: 'U1', expected: before / 100, found: '0.5' }],
    });
  });

  it.each([...hashes, ...rankings.map(([name, , , key]): (typeof hashes)[number] => [name, key])])(
    'that %s would vanish by itself',
    async (name, key) => {
      const { drift_cents, mismatches } = await found(['expire', key(keysOf(service)), 1_000]);
      expect({ drift_cents, mismatches }).toEqual({
        drift_cents: 0,
        mismatches: [{ key: name, field: null, expected: 'no expiry', found: 'an expiry' }],
      });
    },
  );

  for (const [name, key] of [...hashes, ...rankings.map(([name, , , key]): (typeof hashes)[number] => [name, key])]) {
    itWithRedis(`that ${name} is of another type`, async () => {
      const stored = right[key(keysOf(service))]!;
      const harm: RedisCommand[] = [
        ['del', key(keysOf(service))],
        ['set', key(keysOf(service)), 'something'],
      ];
      const { drift_cents, mismatches } = await found(...harm);
      const expected = stored.type === 'hash' ? 'hash' : 'sorted set';
      expect(mismatches).toEqual([{ key: name, field: null, expected, found: 'another type' }]);
      const isMoney = rankings.every(([ranking, , money]) => ranking !== name || money);
      const money =
        stored.type === 'hash'
          ? Number(stored.values.revenue)
          : Object.values(stored.values).reduce((a, b) => a + Number(b), 0);
      expect(drift_cents).toBe(isMoney ? money : 0);
    });
  }

  it.each(['entry_hash', 'base', 'extra'])('a checkpoint that is wrong: %s', async (field) => {
    const { mismatches } = await found(['hset', keysOf(service).checkpoint, field, '1234']);
    expect(mismatches).toMatchObject([{ key: 'checkpoint', field, found: 1234 }]);
  });

  it('all of it, of which the first 20 are shown', async () => {
    const harm = Object.entries(right).flatMap(([key, { type }]): RedisCommand[] =>
      type === 'hash' && key !== keysOf(service).checkpoint
        ? ['orders', 'failed'].map((field) => ['hincrby', key, field, 1])
        : [],
    );
    await service.redis.atomically(harm);
    const { verified, mismatch_count, mismatches } = await verify(service);
    expect(harm.length).toBeGreaterThan(20);
    expect({ verified, mismatch_count, shown: mismatches.length }).toEqual({
      verified: false,
      mismatch_count: harm.length,
      shown: 20,
    });
  });

  it('what a wrong fold counted', async () => {
    jest.mocked(fold).mockImplementation((figures, entry, scope) => {
      rightFold(figures, entry, scope);
      figures.global.revenue += 1n;
    });
    await count(service, anOrderEvent());
    const { drift_cents, mismatches } = await verify(service);
    expect({ drift_cents, mismatches }).toMatchObject({
      drift_cents: 1,
      mismatches: [{ key: 'global', field: 'revenue' }],
    });
    await rebuild(service);
    await expectVerified(service);
    right = await storedStatistics(service.redis);
  });

  it('what a wrong fold made of a refund', async () => {
    jest.mocked(fold).mockImplementation((figures, entry, scope) => {
      rightFold(figures, entry, scope);
      const month = figures.months.get('2026-04');
      if (entry.kind === 'refund' && month) month.revenue += 2n * BigInt(entry.value!); // as if it were an order
    });
    const order = anOrderEvent();
    await count(service, order, aRefund({ order_id: order.order_id, refund_timestamp: '2026-04-01T12:00:00Z' }));
    const { drift_cents, mismatches } = await verify(service);
    expect({ drift_cents, mismatches }).toMatchObject({
      drift_cents: 800,
      mismatches: [{ key: 'month:2026-04', field: 'revenue', expected: -4, found: 4 }],
    });
    await rebuild(service);
    await expectVerified(service);
    right = await storedStatistics(service.redis);
  });

  it('and told in the log, by its place only', async () => {
    const said = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
    await found(['hincrby', keysOf(service).user('U1'), 'revenue', 5]);
    expect(said.mock.calls).toEqual([
      ['The live figures are not what the ledger says: 1 values differ, by 5 cents in all, the first of them in user'],
    ]);
  });
});

describe('while the figures change', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
  });
  // Each begins with statistics of its own.
  beforeEach(async () => {
    await service.isReady();
    await clear(service);
    await count(service, ...ordersOfAllSorts());
  });
  afterAll(() => service?.stop());

  it('what entries brought since the beginning is taken into account, page by page', async () => {
    const pages = service.app.get(StatisticsPages);
    for (const method of ['hashes', 'some'] as const) {
      before(pages, method, async (call) => {
        if (call > 3) return;
        await count(service, ...ordersOfAllSorts(), anOrderEvent({ user_id: `U-NEW-${method}-${call}` }));
      });
    }
    before(service.app.get(StatisticsRepository), 'keysOf', () => count(service, anOrderEvent({ user_id: 'U-LATE' })));
    before(pages, 'types', () => count(service, ...ordersOfAllSorts()));
    const { position } = await service.app.get(Ledger).head();
    await expectVerified(service);
    expect((await verify(service)).position).toBeGreaterThan(position + 40);
  });

  it('keys that come while keys are listed are no extra keys', async () => {
    const store = service.app.get(StatisticsRepository);
    const list = store.keysOf.bind(store);
    jest.spyOn(store, 'keysOf').mockImplementation(async (generation) => {
      await count(service, anOrderEvent({ user_id: 'U-LATE', order_timestamp: '2024-04-04T00:00:00Z' }));
      return list(generation);
    });
    await expectVerified(service);
  });

  it('members that come while extra ones are looked for are none', async () => {
    await service.redis.client.zadd(keysOf(service).usersByOrders, 1, 'NOBODY');
    before(service.app.get(StatisticsPages), 'members', () => count(service, anOrderEvent({ user_id: 'U-LATE' })));
    expect((await verify(service)).mismatches).toEqual([
      { key: 'users-by-orders', field: 'NOBODY', expected: null, found: 1 },
    ]);
  });

  it('intake goes on, and every verification in the middle of it says that they are right', async () => {
    // The reads of the traffic know its orders only.
    await clear(service);
    const { position: base } = await service.app.get(Ledger).head();
    await using traffic = Traffic.start(service, { base });
    const positions: number[] = [];
    for (let i = 0; i < 4; i++) {
      await traffic.goesOn();
      const { verified, mismatches, position } = await verify(service);
      expect({ verified, mismatches }).toEqual({ verified: true, mismatches: [] });
      positions.push(position);
    }
    await traffic.stop();
    expect(new Set(positions).size).toBe(4);
    await service.settled();
    await expectVerified(service);
  });

  it('a clear begins the comparison anew', async () => {
    before(service.app.get(StatisticsPages), 'hashes', async (call) => {
      if (call === 1) await clear(service);
    });
    await expectVerified(service, { entries: 0 });
  });

  it('a rebuild begins the comparison anew', async () => {
    before(service.app.get(StatisticsPages), 'hashes', async (call) => {
      if (call === 1) await service.app.get(Rebuild).run('a test');
    });
    await expectVerified(service, { users_checked: 4 });
  });

  it('an older snapshot of Redis that is put back is not taken for figures that are wrong', async () => {
    const snapshot = await storedStatistics(service.redis);
    await count(service, anOrderEvent());
    before(service.app.get(StatisticsPages), 'hashes', async (call) => {
      if (call === 1) await restoreStatistics(service.redis, snapshot);
    });
    const { status, body } = await service.get('/stats/verify');
    expect(status === 200 ? body.verified : body.code).toBe(status === 200 ? true : 'stats_rebuilding');
  });

  it('503 where they never stay', async () => {
    before(service.app.get(StatisticsPages), 'hashes', () => clear(service));
    expect(await service.get('/stats/verify')).toMatchObject({ status: 503, body: { code: 'stats_rebuilding' } });
  });

  it('503 where there are none', async () => {
    jest.spyOn(service.app.get(Rebuild), 'run').mockResolvedValue(false);
    await restoreStatistics(service.redis, {});
    await eventually(async () => expect((await service.get('/stats/global')).status).toBe(503));
    expect(await service.get('/stats/verify')).toMatchObject({ status: 503, body: { code: 'stats_rebuilding' } });
  });

  it('a ledger of several pages is read page by page, between which intake goes on', async () => {
    await clear(service);
    const ledger = service.app.get(Ledger);
    const { position: base } = await ledger.head();
    const messages = Array.from({ length: 5_500 }, (_, i) =>
      i % 10 === 0
        ? aFailedMessage({ userId: `U${i % 30}` })
        : aValidatedMessage({ userId: `U${i % 30}`, value: cents(1_000) }),
    );
    await ledger.append(messages, 60_000);
    await service.settled();
    const pages = before(service.app.get(Aggregation), 'figures', async () => {
      const { position } = await ledger.head();
      await service.send(anOrderEvent());
      await eventually(async () => expect((await ledger.head()).position).toBe(position + 1));
    });
    await expectVerified(service);
    expect(pages.mock.calls.slice(0, 2).map(([from, to]) => [from, to])).toEqual([
      [base, base + 5_000],
      [base + 5_000, base + 5_500],
    ]);
  });
});

describe('a verification', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await count(service, ...ordersOfAllSorts());
  });
  afterAll(() => service?.stop());

  describe('that is due', () => {
    let due: Verification;

    beforeAll(() => {
      due = service.app.get(Verification);
    });
    beforeEach(() => service.database.query(sql`update verification set scheduled_at = null`));

    async function metric(name: string, of = service): Promise<number | null> {
      const { body } = await of.get('/metrics');
      const line = new RegExp(`^${name} (\\S+)$`, 'm').exec(body as string);
      return line && Number(line[1]);
    }

    async function anHourPasses(minutes: number): Promise<void> {
      await service.database.query(
        sql`update verification set scheduled_at = scheduled_at - make_interval(mins => ${minutes})`,
      );
    }

    it('has no figures to show before the first', async () => {
      expect(await metric('stats_drift_cents')).toBeNull();
      expect(await metric('stats_verified_timestamp_seconds')).toBeNull();
    });

    it('runs once an hour, whoever looks', async () => {
      const runs = jest.spyOn(service.app.get(StatisticsComparison), 'run');
      await Promise.all([due.verifyWhenDue(), due.verifyWhenDue(), due.verifyWhenDue()]);
      expect(runs).toHaveBeenCalledTimes(1);
      await anHourPasses(59);
      await due.verifyWhenDue();
      expect(runs).toHaveBeenCalledTimes(1);
      await anHourPasses(1);
      await due.verifyWhenDue();
      expect(runs).toHaveBeenCalledTimes(2);
    });

    it('shows drift and the time of the last success, of whatever run was the latest', async () => {
      await due.verifyWhenDue();
      const [row] = await service.database.query<{ at: number }>(
        sql`select extract(epoch from succeeded_at)::float8 as at from verification`,
      );
      expect(await metric('stats_drift_cents')).toBe(0);
      expect(await metric('stats_verified_timestamp_seconds')).toBe(row!.at);

      await service.redis.client.hincrby(keysOf(service).global, 'revenue', 12);
      expect((await verify(service)).verified).toBe(false);
      expect(await metric('stats_drift_cents')).toBe(12);
      expect(await metric('stats_verified_timestamp_seconds')).toBe(row!.at);

      await service.redis.client.hincrby(keysOf(service).global, 'revenue', -12);
      await anHourPasses(60);
      await due.verifyWhenDue();
      expect(await metric('stats_drift_cents')).toBe(0);
      expect(await metric('stats_verified_timestamp_seconds')).toBeGreaterThanOrEqual(row!.at);
    });

    it('is due again at once where it could not be done', async () => {
      jest.spyOn(service.app.get(StatisticsPages), 'hashes').mockRejectedValueOnce(new RedisUnavailable('Redis: gone'));
      const runs = jest.spyOn(service.app.get(StatisticsComparison), 'run');
      await due.verifyWhenDue();
      await due.verifyWhenDue();
      await due.verifyWhenDue();
      expect(runs).toHaveBeenCalledTimes(2);
    });

    itWithRedis('is one for all processes, and so are the metrics', async () => {
      const world = await aWorld();
      const { DATABASE_URL, REDIS_KEY_PREFIX } = {
        DATABASE_URL: service.config.databaseUrl,
        REDIS_KEY_PREFIX: service.config.redisKeyPrefix,
      };
      const other = await RunningService.ready({ world, environment: { DATABASE_URL, REDIS_KEY_PREFIX } });
      try {
        const runs = [service, other].map((each) => jest.spyOn(each.app.get(StatisticsComparison), 'run'));
        await Promise.all([service, other].map((each) => each.app.get(Verification).verifyWhenDue()));
        expect(runs.map((run) => run.mock.calls.length).sort()).toEqual([0, 1]);
        for (const name of ['stats_drift_cents', 'stats_verified_timestamp_seconds']) {
          expect(await metric(name, other)).toBe(await metric(name));
        }
      } finally {
        await other.stop();
        await world.destroy();
      }
    });
  });

  describe('GET /stats/verify', () => {
    /** From now on nobody waits for a run. */
    function noPatience(): void {
      const controller: object = service.app.get(VerifyController);
      jest.replaceProperty(controller as { longestWaitMs: number }, 'longestWaitMs', 0);
    }

    it('says when it was and how much it covers', async () => {
      const body = await verify(service);
      const lasted = Date.parse(body.finished_at) - Date.parse(body.started_at);
      expect(body).toEqual({
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        state: 'done',
        verified: true,
        position: 13,
        entries: 13,
        users_checked: 4,
        months_checked: 3,
        drift_cents: 0,
        mismatch_count: 0,
        mismatches: [],
        started_at: expect.stringMatching(/Z$/),
        finished_at: expect.stringMatching(/Z$/),
        duration_ms: lasted,
      });
      expect((await service.get(`/stats/verify/${body.id}`)).body).toEqual(body);
    });

    it('runs one verification at a time; who asks meanwhile is answered by the next', async () => {
      let running = 0;
      const comparison = service.app.get(StatisticsComparison);
      const run = comparison.run.bind(comparison);
      const runs = jest.spyOn(comparison, 'run').mockImplementation(async (...args) => {
        expect(++running).toBe(1);
        return run(...args).finally(() => running--);
      });
      const requests = jest.spyOn(service.app.get(Verification), 'request');
      const { held, release } = holdBack(service.app.get(StatisticsPages), 'hashes');
      const first = service.get('/stats/verify');
      await held();
      const asking = [service.get('/stats/verify'), service.get('/stats/verify'), service.get('/stats/verify')];
      await eventually(() => expect(requests).toHaveBeenCalledTimes(4));
      release();
      const [one, ...others] = (await Promise.all([first, ...asking])).map(({ body }) => body.id as string);
      expect(new Set(others)).toEqual(new Set([others[0]]));
      expect(others[0]).not.toBe(one);
      expect(runs).toHaveBeenCalledTimes(2);
    });

    it('never answers with what was compared before it was asked', async () => {
      const requests = jest.spyOn(service.app.get(Verification), 'request');
      const { held, release } = holdBack(service.app.get(StatisticsRepository), 'keysOf');
      const first = service.get('/stats/verify');
      await held(); // all values are compared by now
      await service.redis.client.hincrby(keysOf(service).global, 'revenue', 3);
      const second = service.get('/stats/verify');
      await eventually(() => expect(requests).toHaveBeenCalledTimes(2));
      release();
      expect((await first).body.verified).toBe(true);
      expect((await second).body).toMatchObject({ verified: false, drift_cents: 3 });
      await service.redis.client.hincrby(keysOf(service).global, 'revenue', -3);
    });

    it('becomes a resource where it takes long', async () => {
      noPatience();
      const { held, release } = holdBack(service.app.get(StatisticsPages), 'hashes');
      const { status, headers, body } = await service.get('/stats/verify');
      expect({ status, location: headers.get('location') }).toEqual({
        status: 202,
        location: `/stats/verify/${body.id}`,
      });
      expect(['waiting', 'running']).toContain(body.state);
      await held();
      const location = headers.get('location')!;
      const { status: meanwhile, body: progress } = await service.get(location);
      expect({ meanwhile, progress }).toEqual({
        meanwhile: 200,
        progress: {
          id: body.id,
          state: 'running',
          done: 13,
          total: expect.any(Number),
          started_at: expect.any(String),
          error: null,
        },
      });
      expect(progress.total).toBeGreaterThan(30);
      const { body: next } = await service.get('/stats/verify');
      expect(next).toMatchObject({ state: 'waiting', done: 0, total: 0, started_at: null });
      release();
      await eventually(async () => expect((await service.get(location)).body).toMatchObject({ verified: true }));
      await eventually(async () =>
        expect((await service.get(`/stats/verify/${next.id}`)).body).toMatchObject({ verified: true }),
      );
    });

    it('goes on when the one who asked goes away', async () => {
      const { held, release } = holdBack(service.app.get(StatisticsPages), 'hashes');
      const leaving = new AbortController();
      const gone = fetch(`${service.url}/stats/verify`, { signal: leaving.signal }).catch((error: Error) => error.name);
      await held();
      leaving.abort();
      expect(await gone).toBe('AbortError');
      release();
      await expectVerified(service);
    });

    it('keeps the latest 20', async () => {
      const ids: string[] = [];
      for (let i = 0; i < 21; i++) ids.push((await verify(service)).id);
      const known = await Promise.all(ids.map(async (id) => (await service.get(`/stats/verify/${id}`)).status));
      expect(known).toEqual([404, ...Array.from({ length: 20 }, () => 200)]);
    });

    it('knows no others', async () => {
      expect(await service.get(`/stats/verify/${NOBODY}`)).toMatchObject({
        status: 404,
        body: { code: 'not_found', detail: `No verification ${NOBODY} is known.` },
      });
      expect(await service.get('/stats/verify/first')).toMatchObject({
        status: 400,
        body: { code: 'invalid_input', errors: [{ field: 'id' }] },
      });
    });

    it('answers 503 where Redis goes meanwhile, and its resource says why', async () => {
      jest.spyOn(service.app.get(StatisticsPages), 'some').mockRejectedValueOnce(new RedisUnavailable('Redis: gone'));
      const runs = jest.spyOn(service.app.get(Verification), 'request');
      expect(await service.get('/stats/verify')).toMatchObject({ status: 503, body: { code: 'redis_unavailable' } });
      const { id } = runs.mock.results[0]!.value as { id: string };
      expect(await service.get(`/stats/verify/${id}`)).toMatchObject({
        status: 200,
        body: { state: 'failed', error: 'Redis: gone' },
      });
      await expectVerified(service);
    });

    it('shows nothing of a fault of ours', async () => {
      jest.spyOn(service.app.get(StatisticsPages), 'some').mockRejectedValueOnce(new Error('secret'));
      const runs = jest.spyOn(service.app.get(Verification), 'request');
      expect(await service.get('/stats/verify')).toMatchObject({ status: 500, body: { code: 'internal_error' } });
      const { id } = runs.mock.results[0]!.value as { id: string };
      const { body } = await service.get(`/stats/verify/${id}`);
      expect(body).toMatchObject({ state: 'failed', error: expect.not.stringContaining('secret') });
    });
  });
});

describe('parts that go', () => {
  let world: World;

  beforeEach(async () => (world = await aWorld()));
  afterEach(() => world.destroy());

  itWithRedis('without Redis the answer is 503, and right again after', async () => {
    const redis = await aBreakableRedis(world);
    const service = await RunningService.ready({ world, environment: redis.environment });
    try {
      await count(service, ...ordersOfAllSorts());
      redis.goAway(service);
      await eventually(async () => expect((await service.get('/stats/verify')).status).toBe(503));
      await redis.comeBack();
      await eventually(async () => expect((await service.get('/stats/verify')).body).toMatchObject({ verified: true }));
    } finally {
      await service.stop();
      await redis.remove();
    }
  });

  it('a run that hangs does not hold up the end of the process', async () => {
    const service = await RunningService.ready({ world });
    const { held, release } = holdBack(service.app.get(Aggregation), 'figures');
    await count(service, anOrderEvent());
    const { ended } = service.app.get(Verification).request();
    await held();
    await service.stop();
    release();
    await ended;
  });

  it('a run ends between two pages when the service stops', async () => {
    const service = await RunningService.ready({ world });
    await count(service, anOrderEvent());
    const pages = service.app.get(StatisticsPages);
    const { held, release } = holdBack(pages, 'hashes');
    const run = service.app.get(Verification).request();
    await held();
    const stopped = service.stop();
    release();
    await stopped;
    expect(run).toMatchObject({ state: 'failed', failure: { code: 'verification_stopped' } });
    expect(pages.hashes).toHaveBeenCalledTimes(1);
  });
});
