import { sql } from 'drizzle-orm';
import { Projector } from '../../src/stats/projector.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { audit, auditOf, partsOf } from '../support/audit.js';
import { servedGeneration } from '../support/exact-figures.js';
import { anOrderEvent } from '../support/order-events.js';
import { restoreFigures, type StoredFigures, storedFigures } from '../support/stored-figures.js';

/** Orders of every outcome and of two months, refunds, a conflict, and one that is mended. */
async function fill(service: RunningService): Promise<void> {
  const [first, second] = [anOrderEvent({ user_id: 'U1' }), anOrderEvent({ user_id: 'U2' })];
  await service.send(
    first,
    second,
    anOrderEvent({ user_id: 'U2', order_timestamp: '2026-02-01T00:00:00Z', order_value: 99 }),
    { ...first, items: [{ product_id: 'P2', quantity: 1, price_per_unit: 10 }] },
    anOrderEvent({ user_id: '' }),
    anOrderEvent({ order_timestamp: 'yesterday' }),
    'no order at all',
  );
  await service.settled();
  const refund = { type: 'refund', order_id: first.order_id, refund_timestamp: '2026-03-01T00:00:00Z' };
  await service.send({ ...refund, refund_id: 'R1', amount: 4 }, { ...refund, refund_id: 'R2', amount: 400 });
  await service.settled();
  const { body } = await service.get('/order-events?reason=missing_user_id');
  const order = { ...anOrderEvent({ user_id: 'U3' }) };
  const answer = await service.call('POST', `/order-events/${body.items[0].position}/retry`, { order });
  expect(answer.status).toBe(202);
  await service.settled();
}

describe('An audit', () => {
  let world: World;
  let service: RunningService;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world });
    await fill(service);
  });

  afterAll(async () => {
    await service?.stop();
    await world.destroy();
  });

  it('finds nothing wrong with what a healthy service has made of every kind of entry', async () => {
    expect(await auditOf(service)).toEqual([]);
    const { body } = await service.get('/stats/global');
    expect(body).toMatchObject({ total_orders: 4, corrected_orders: 1, total_revenue: 36 });
    expect(body.failed_orders).toBeGreaterThan(3);
  });

  it('finds nothing wrong where the figures begin after some of the entries', async () => {
    await service.call('DELETE', '/clear_redis_db');
    await service.send(anOrderEvent({ user_id: 'U1' }), anOrderEvent({ items: [] }));
    expect(await auditOf(service)).toEqual([]);
    await service.call('POST', '/stats/rebuild', { from_beginning: true });
    expect(await auditOf(service)).toEqual([]);
  });
});

describe('What an audit finds', () => {
  let world: World;
  let service: RunningService;
  let sound: StoredFigures;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world });
    await fill(service);
    await service.settled();
    // Nothing is to mend what is damaged here.
    await service.app.get(Projector).onModuleDestroy();
    sound = await storedFigures(service.redis);
  });

  afterEach(() => restoreFigures(service.redis, sound));

  afterAll(async () => {
    await service?.stop();
    await world.destroy();
  });

  const keys = () => service.redis.keys.generation(servedGeneration(service));

  it.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'a user with a cent too much',
      () => service.redis.client.hincrby(keys().user('U1'), 'revenue', 1),
      /^user:U1 revenue is 601 instead of 600$/,
    ],
    [
      'a day that is gone',
      () => service.redis.client.del(keys().day('2026-01-15')),
      /^The sum of orders over day: is 1 instead of 4$/,
    ],
    [
      'a place too high',
      () => service.redis.client.zincrby(keys().usersByOrders, 1, 'U2'),
      /^The place of U2 by orders is 3 instead of 2$/,
    ],
    [
      'a stranger in a ranking',
      () => service.redis.client.zadd(keys().monthUsers('2026-02'), 0, 'U9'),
      /^month-users:2026-02 U9 is 0 instead of missing$/,
    ],
    [
      'a checkpoint that is elsewhere',
      () => service.redis.client.hset(keys().checkpoint, 'position', 3),
      /^The checkpoint is .* 3 /,
    ],
    [
      'a figure that goes by itself',
      () => service.redis.client.expire(keys().global, 1000),
      /^1 keys in service expire/,
    ],
    [
      'a key of another generation',
      () => service.redis.client.hset(service.redis.keys.generation(7).global, 'orders', 1),
      /^1 keys are of no generation in service/,
    ],
  ])('in Redis: %s', async (_what, damage, says) => {
    await damage();
    expect(await audit(partsOf(service))).toContainEqual(expect.stringMatching(says));
  });

  it.each<[string, string, RegExp]>([
    [
      'an order that does not count any more',
      `delete from counted_orders where position = 1`,
      /^1 counted orders that are missing among the keys/,
    ],
    [
      'a key of an order that there is not',
      `insert into counted_orders values ('ORDX', 'x', 1)`,
      /^1 keys of orders that no entry counts/,
    ],
    [
      'a failed content that is not known any more',
      `delete from failed_contents where position = 5`,
      /^1 failed contents that are missing/,
    ],
    [
      'a value that is not the sum of its lines',
      `update ledger set value_cents = value_cents + 1 where position = 2`,
      /^1 orders that count and whose lines do not add up/,
    ],
    [
      'a history that was changed',
      `update ledger set content_hash = sha256('x') where position = 3`,
      /^1 entries whose hash does not follow/,
    ],
    ['a position that is gone', `delete from ledger where position = 4`, /^Positions have a gap: 5 follows 3$/],
    [
      'a head that is elsewhere',
      `update ledger_head set position = position + 1`,
      /^The head is at \d+, and there are \d+ entries$/,
    ],
    [
      'a refund that is noted for less',
      `update refunded_orders set refunded_cents = 1`,
      /^1 orders whose refunds do not add up/,
    ],
    ['a refund that is not known any more', `delete from counted_refunds`, /^1 counted refunds that are missing/],
    [
      'a base that the figures do not begin at',
      `update projection set base = base + 1`,
      /^The checkpoint is .* 0 .*, and the ledger's end .* 1 /,
    ],
  ])('in the ledger: %s', async (_what, damage, says) => {
    const undone = new Error('undone');
    const damaged = service.database.transaction(async (tx) => {
      await tx.query(sql.raw(damage));
      const faults = await audit({ ...partsOf(service), query: (text) => tx.query(sql.raw(text)) });
      expect(faults).toContainEqual(expect.stringMatching(says));
      throw undone;
    });
    await expect(damaged).rejects.toBe(undone);
  });
});
