import { sql } from 'drizzle-orm';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { audit, auditOf, partsOf } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { servedGeneration } from '../support/exact-figures.js';
import { anOrderEvent } from '../support/order-events.js';
import { restoreStatistics, type StoredStatistics, storedStatistics } from '../support/stored-figures.js';
import { allowLedgerChanges } from '../support/stores.js';

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
  // It is put on the queue some time after this answer.
  await eventually(async () => {
    expect((await service.get(`/repairs/${answer.body.id}`)).body).toMatchObject({ state: 'repaired' });
  });
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
  let sound: StoredStatistics;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world });
    await fill(service);
    // Nothing is to mend what is damaged here.
    await service.app.get(Projector).onModuleDestroy();
    expect(await audit(partsOf(service))).toEqual([]);
    sound = await storedStatistics(service.redis);
  });

  afterEach(() => restoreStatistics(service.redis, sound));

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
      'a user with a failed order too much',
      () => service.redis.client.hincrby(keys().user('U1'), 'failed', 1),
      /^The failed of all users and of none is 5 instead of 4$/,
    ],
    [
      'a month with a failed order too much',
      () => service.redis.client.hincrby(keys().month('2026-01'), 'failed', 1),
      /^The failed of all month: and of none is 5 instead of 4$/,
    ],
    [
      'a day with a failed order too much',
      () => service.redis.client.hincrby(keys().day('2026-01-15'), 'failed', 1),
      /^The failed of all day: and of none is 5 instead of 4$/,
    ],
    [
      'a user whose last order is a later one',
      () => service.redis.client.hincrby(keys().user('U1'), 'last_order_at', 1),
      /^user:U1 last_order_at is \d+1 instead of \d+0$/,
    ],
    [
      'a product with a piece too much',
      () => service.redis.client.zincrby(keys().productsByQuantity, 1, 'P1'),
      /^products-by-quantity P1 is 9 instead of 8$/,
    ],
    [
      'a place too high',
      () => service.redis.client.zincrby(keys().usersByOrders, 1, 'U2'),
      /^The place of U2 by orders is 3 instead of 2$/,
    ],
    [
      'a place of too much spend',
      () => service.redis.client.zincrby(keys().usersBySpend, 1, 'U1'),
      /^The place of U1 by spend is 601 instead of 600$/,
    ],
    [
      'somebody missing in the ranking by spend',
      () => service.redis.client.zrem(keys().usersBySpend, 'U1'),
      /^The sum of the ranking by spend is 3000 instead of 3600$/,
    ],
    [
      'a place too high in a month',
      () => service.redis.client.zincrby(keys().monthUsers('2026-01'), 1, 'U1'),
      /^The place of U1 in 2026-01 is 1001 instead of 1000$/,
    ],
    [
      'somebody missing in the ranking of a month',
      () => service.redis.client.zrem(keys().monthUsers('2026-01'), 'U1'),
      /^The sum of the ranking of 2026-01 is 2000 instead of 3000$/,
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
      'a failed content that there is not',
      `insert into failed_contents values (sha256('x'), 1)`,
      /^1 keys of failed contents that no entry has/,
    ],
    [
      'a failed content that is stored again',
      `insert into ledger select (json_populate_record(ledger, '{"position": 99}')).*
       from ledger where position = (select min(position) from failed_contents)`,
      /^1 contents that are stored twice/,
    ],
    [
      'a repeat that passes for a conflict',
      `insert into ledger select (json_populate_record(
         ledger, '{"position": 99, "outcome": "failed", "reasons": ["conflicting_duplicate"], "value_cents": null}'
       )).* from ledger where position = 1`,
      /^1 orders that conflict with their own content/,
    ],
    [
      'an entry that failed without a reason',
      `do $$ begin
         alter table ledger drop constraint ledger_check;
         update ledger set reasons = '{}' where position = (select min(position) from failed_contents);
       end $$`,
      /^1 failed entries without a reason/,
    ],
    [
      'an entry that failed and has a value',
      `do $$ begin
         alter table ledger drop constraint ledger_value_of_order;
         update ledger set value_cents = 1 where position = (select min(position) from failed_contents);
       end $$`,
      /^1 failed entries that have a value/,
    ],
    [
      'a failed entry that was mended twice',
      `do $$ begin
         drop index ledger_repairs;
         insert into ledger select (json_populate_record(ledger, json_build_object('position', position + 1))).*
         from ledger where kind = 'repair';
       end $$`,
      /^1 failed entries that were mended twice/,
    ],
    [
      'lines that are not worth what they cost',
      `update ledger set lines = array[('P1', 1, 5, 501), ('P2', 1, 5, 499)]::ledger_line[] where position = 2`,
      /^2 lines a cent or more beside their quantity times their price/,
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
    [
      'a content hash that is not that of its body',
      `update ledger set content_hash = sha256('x') where position = 3`,
      /^Content hashes that do not follow from their body: 3$/,
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
      'a refund that there is not',
      `insert into counted_refunds values ('R9', sha256('x'), 1)`,
      /^1 keys of refunds that no entry counts/,
    ],
    [
      'a refund of more than the order is worth',
      `with noted as (update refunded_orders set refunded_cents = 1001)
       update ledger set value_cents = 1001 where kind = 'refund' and outcome <> 'failed'`,
      /^1 orders of which more is refunded than they are worth/,
    ],
    [
      'a refund that waits although its order counts',
      `insert into early_refunds (content_hash, failure_hash, refund_id, order_id, refunded_at, cents, sent_at, received_at, body)
       select sha256('x'), sha256('x'), 'R9', order_id, now(), 1, now(), now(), '{}' from counted_orders where position = 1`,
      /^1 refunds that wait although their order counts/,
    ],
    [
      'a base that the figures do not begin at',
      `update projection set base = base + 1`,
      /^The checkpoint is .* 0 .*, and the ledger's end .* 1 /,
    ],
  ])('in the ledger: %s', async (_what, damage, says) => {
    const undone = new Error('undone');
    const damaged = service.database.transaction(async (tx) => {
      await allowLedgerChanges(tx);
      await tx.query(sql.raw(damage));
      const faults = await audit({ ...partsOf(service), query: (text) => tx.query(sql.raw(text)) });
      expect(faults).toContainEqual(expect.stringMatching(says));
      throw undone;
    });
    await expect(damaged).rejects.toBe(undone);
  });
});
