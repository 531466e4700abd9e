import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { RepairDispatch } from '../../src/orders/repairs/repair-dispatch.worker.js';
import { RepairUnderWay, Repairs } from '../../src/orders/repairs/repairs.service.js';
import { Audit } from '../../src/platform/audit/audit.js';
import { REPAIR_ATTRIBUTE } from '../../src/domain/order-event.js';
import { ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { expectExactFigures } from '../support/exact-figures.js';
import { anOrderEvent, type SentOrderEvent } from '../support/order-events.js';
import { aDatabase } from '../support/stores.js';

const SOMEBODY = { name: 'somebody', requestId: null };

afterEach(() => jest.restoreAllMocks());

let world: World;
let service: RunningService;

beforeAll(async () => {
  world = await aWorld();
  service = await RunningService.ready({ world, environment: { ORDER_VALUE_MISMATCH: 'reject' } });
});

afterAll(async () => {
  await service.stop();
  await world.destroy();
});

/** Starts the service again, with its usual settings. */
async function restart(): Promise<void> {
  await service.stop();
  service = await RunningService.ready({ world });
}

describe('a bulk retry', () => {
  it('counts without doing anything in a dry run, and mends what a changed setting lets pass', async () => {
    const mismatched = Array.from({ length: 25 }, (_, i) => anOrderEvent({ user_id: `U${100 + i}`, order_value: 9 }));
    await service.send(...mismatched, anOrderEvent({ items: [] }), anOrderEvent({ order_value: 9, user_id: 'X' }));
    await service.settled();
    expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: 0, failed_orders: 27 });
    const dry = await bulk({ reason: 'order_value_mismatch', dry_run: true });
    expect(dry).toMatchObject({ status: 202, body: { matched: 26, retried: 0, dry_run: true } });
    expect((await service.get('/repairs')).body.items).toEqual([]);

    await restart();
    expect(await bulk({ reason: 'order_value_mismatch' })).toMatchObject({
      body: { matched: 26, retried: 26, dry_run: false },
    });
    await eventually(async () => expect((await service.get('/repairs?state=pending')).body.items).toEqual([]));
    await service.settled();
    expect((await service.get('/stats/global')).body).toMatchObject({
      total_orders: 25,
      corrected_orders: 25,
      failed_orders: 2,
      total_revenue: 250,
    });
    expect((await service.get('/repairs?state=failed')).body.items).toMatchObject([{ reasons: ['invalid_user_id'] }]);
    expect(await bulk({ reason: 'order_value_mismatch', dry_run: true })).toMatchObject({ body: { matched: 1 } });
    await expectExactFigures(service);
  });

  it.each([
    [{}, ['reason']],
    [{ reason: 'nonsense', dry_run: 'yes' }, ['reason', 'dry_run']],
    [{ reason: 'missing_items', limit: 3 }, ['limit']],
  ])('refuses %j', async (body, fields) => {
    const answer = await bulk(body);
    expect(answer.status).toBe(400);
    expect(answer.body.errors.map(({ field }: { field: string }) => field).sort()).toEqual([...fields].sort());
  });

  it('records page by page, once for each, and leaves out what is under way', async () => {
    const { part: database, destroy } = await aDatabase();
    try {
      const repairs = new Repairs(database, new Ledger(database), new Audit(database));
      await database.query(
        sql`insert into ledger (position, kind, outcome, reasons, content_hash, entry_hash, sent_at, received_at, body, body_hash)
            select position, 'order', 'failed', '{missing_items}', '', '', now(), now(), '{}', ''
            from generate_series(1, 5050) position`,
      );
      await database.query(sql`update ledger_head set position = 5050`);
      await repairs.request(5_001, undefined, SOMEBODY);
      expect(await repairs.requestAll('missing_items', null)).toEqual({ matched: 5_049, retried: 0 });
      expect(await repairs.requestAll('missing_items', SOMEBODY)).toEqual({ matched: 5_049, retried: 5_049 });
      expect(await repairs.requestAll('missing_items', SOMEBODY)).toEqual({ matched: 0, retried: 0 });
      expect(await repairs.requestAll('malformed_json', SOMEBODY)).toEqual({ matched: 0, retried: 0 });
      expect(await repairs.pending()).toBe(5_050);
      await expect(repairs.request(1, undefined, SOMEBODY)).rejects.toThrow(RepairUnderWay);
    } finally {
      await destroy();
    }
  });

  const bulk = (body: object): Promise<Answer> => service.call('POST', '/order-events/retry', body);
});

describe('a retry with a corrected order', () => {
  it('counts the order, and takes the failed one back out of the failed counts of its user and month', async () => {
    const failing = anOrderEvent({ user_id: 'U10', order_timestamp: '2026-02-03T10:00:00Z', order_value: 0 });
    const position = await failed(failing);
    const before = await figures();
    expect((await service.get('/users/U10/stats')).body).toMatchObject({ failed_order_count: 1, order_count: 0 });

    const repair = await retried(position, { ...failing, user_id: 'U11', order_value: 10 });
    expect(repair).toMatchObject({ state: 'repaired', reasons: [], position });

    const after = await figures();
    expect(after).toEqual({
      ...before,
      total_orders: before.total_orders + 1,
      total_revenue: before.total_revenue + 10,
      failed_orders: before.failed_orders - 1,
      unique_users: before.unique_users + 1,
    });
    expect((await service.get('/users/U10/stats')).body).toMatchObject({ failed_order_count: 0, order_count: 0 });
    expect((await service.get('/users/U10/stats?start=2026-02-03&end=2026-02-03')).body).toMatchObject({
      failed_order_count: 0,
    });
    expect((await service.get('/users/U11/stats')).body).toMatchObject({ order_count: 1, total_spend: 10 });
    expect((await service.get('/stats/monthly/2026-02')).body).toMatchObject({ total_orders: 1, failed_orders: 0 });
    expect((await service.get('/stats/daily?start=2026-02-03&end=2026-02-03')).body.days).toMatchObject([
      { total_orders: 1, failed_orders: 0 },
    ]);
    await expectExactFigures(service);
  });

  it('appends the counted order and, next to it, an entry of kind repair that names the failed one', async () => {
    const failing = anOrderEvent({ items: [] });
    const position = await failed(failing);
    const { counted_position, repair_position } = await retried(position, anOrderEvent());
    expect(repair_position).toBe(counted_position + 1);
    expect((await service.get(`/order-events/${counted_position}`)).body).toMatchObject({
      kind: 'order',
      outcome: 'accepted',
    });
    expect((await service.get(`/order-events/${repair_position}`)).body).toMatchObject({
      kind: 'repair',
      order_id: failing.order_id,
      user_id: failing.user_id,
      order_value: null,
      ref_position: position,
      actor: 'local-operator',
      items: [],
    });
    expect((await service.get(`/order-events/${position}`)).body).toMatchObject({ repaired_by: repair_position });
    const listed = async (query: string): Promise<number[]> =>
      (await service.get(`/order-events?limit=500&${query}`)).body.items.map(
        (entry: { position: number }) => entry.position,
      );
    expect(await listed('outcome=failed&repaired=true')).toContain(position);
    expect(await listed('outcome=failed&repaired=false')).not.toContain(position);
    expect(await listed('kind=repair')).toContain(repair_position);
    expect(await listed('outcome=accepted')).not.toContain(repair_position);
  });

  it('is recorded with who, when and what changed', async () => {
    const failing = anOrderEvent({ order_value: 0, note: 'kept' });
    const position = await failed(failing);
    const asked = Date.now();
    const corrected = { ...failing, order_value: 10, currency: 'USD' };
    const { status, headers, body } = await retry(position, { order: corrected });
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`/repairs/${body.id}`);
    expect(body).toMatchObject({
      position,
      state: 'pending',
      requested_by: 'local-operator',
      order: corrected,
      changes: [
        { field: 'order_value', before: 0, after: 10 },
        { field: 'currency', after: 'USD' },
      ],
    });
    expect(Math.abs(Date.parse(body.requested_at) - asked)).toBeLessThan(60_000);
    const ended = await settled(body.id);
    expect(ended).toMatchObject({ state: 'repaired', changes: body.changes, order: corrected });
    expect(Date.parse(ended.ended_at)).toBeGreaterThanOrEqual(Date.parse(ended.sent_at));
    const row = await recordOf(body.id);
    expect(row).toMatchObject({ requested_by: 'local-operator', changes: body.changes });
  });

  it('may be corrected by the rules itself', async () => {
    const position = await failed(anOrderEvent({ order_value: -1 }));
    const { counted_position } = await retried(position, anOrderEvent({ order_value: 9 }));
    expect((await service.get(`/order-events/${counted_position}`)).body).toMatchObject({
      outcome: 'corrected',
      claimed_value: 9,
      order_value: 10,
    });
    await expectExactFigures(service);
  });

  it('keeps fields that the rules do not know, as they were given', async () => {
    const position = await failed(anOrderEvent({ items: [] }));
    const order = anOrderEvent({ note: { deep: [{ 1: null }, -0.5, 'ü\uFFFE'] }, valueOf: 'text' });
    const { counted_position } = await retried(position, order);
    const { body } = await service.get(`/order-events/${counted_position}`);
    expect(JSON.parse(body.body)).toEqual(order);
  });

  it('mends what could not be read at all', async () => {
    const before = await figures();
    const position = await failed('{"order_id": "ORD');
    expect(await figures()).toMatchObject({ failed_orders: before.failed_orders + 1 });
    expect(await retried(position, anOrderEvent())).toMatchObject({ state: 'repaired' });
    expect(await figures()).toMatchObject({ failed_orders: before.failed_orders });
    await expectExactFigures(service);
  });
});

describe('a retry that fails again', () => {
  it('ends with its reasons and changes no figure, whether as it was received or corrected', async () => {
    const failing = anOrderEvent({ order_value: 0 });
    const position = await failed(failing);
    const before = await figures();
    const head = await headPosition();

    expect(await retried(position)).toMatchObject({
      state: 'failed',
      order: null,
      changes: [],
      reasons: ['non_positive_order_value'],
      counted_position: null,
      repair_position: null,
    });
    expect(await retried(position, { ...failing, user_id: 'X', items: [] })).toMatchObject({
      state: 'failed',
      reasons: ['invalid_user_id', 'non_positive_order_value', 'missing_items'],
    });
    expect(await figures()).toEqual(before);
    expect(await headPosition()).toBe(head);

    expect(await retried(position, { ...failing, order_value: 10 })).toMatchObject({ state: 'repaired' });
    await expectExactFigures(service);
  });

  it('is not stored as a failed order when it is delivered again', async () => {
    const failing = anOrderEvent({ order_value: 0 });
    const position = await failed(failing);
    const corrected = { ...failing, order_value: 0, note: 'still wrong' };
    const { id } = await retried(position, corrected);
    const head = await headPosition();
    await sendAs(id, JSON.stringify(corrected));
    await service.settled();
    expect(await headPosition()).toBe(head);
    expect(await recordOf(id)).toMatchObject({ state: 'failed' });
  });

  it('ends as a conflict where the order was counted with other content', async () => {
    const counted = anOrderEvent();
    await service.send(counted);
    await service.settled();
    const position = await failed({ ...counted, user_id: 'X' });
    const head = await headPosition();
    expect(await retried(position, { ...counted, user_id: 'U77' })).toMatchObject({
      state: 'failed',
      reasons: ['conflicting_duplicate'],
    });
    expect(await headPosition()).toBe(head);
  });
});

describe('a message that says it is a retry', () => {
  it('is an order event like any other where no such repair is recorded', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const order = anOrderEvent();
    const head = await headPosition();
    await sendAs(randomUUID(), JSON.stringify(order));
    await sendAs(`' or 1=1 --`, JSON.stringify(anOrderEvent()));
    await service.settled();
    expect(await headPosition()).toBe(head + 2);
    expect((await service.get(`/order-events/${position}`)).body.repaired_by).toBeNull();
  });

  it('mends nothing where its body is not the recorded one', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const { id } = await recordedOnly(position, anOrderEvent());
    const head = await headPosition();
    await sendAs(id, JSON.stringify(anOrderEvent()));
    await service.settled();
    expect(await headPosition()).toBe(head + 1);
    expect(await recordOf(id)).toMatchObject({ state: 'pending' });
    expect((await service.get(`/order-events/${position}`)).body.repaired_by).toBeNull();
  });

  it('counts once and mends once, however often it is delivered', async () => {
    const before = await figures();
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const order = anOrderEvent({ user_id: 'U1' });
    const { id } = await recordedOnly(position, order);
    const head = await headPosition();
    await Promise.all(Array.from({ length: 12 }, () => sendAs(id, JSON.stringify(order))));
    await service.send(order, order);
    await service.settled();
    expect(await headPosition()).toBe(head + 2);
    expect(await recordOf(id)).toMatchObject({ state: 'repaired' });
    expect(await figures()).toMatchObject({
      total_orders: before.total_orders + 1,
      failed_orders: before.failed_orders,
    });
    await expectExactFigures(service);
  });

  it('mends too where the same order was counted meanwhile', async () => {
    const before = await figures();
    const failing = anOrderEvent({ order_value: 0 });
    const position = await failed(failing);
    const order = { ...failing, order_value: 10 };
    await service.send(order);
    await service.settled();
    const counted = await headPosition();
    expect(await retried(position, order)).toMatchObject({
      state: 'repaired',
      counted_position: counted,
      repair_position: counted + 1,
    });
    expect(await figures()).toMatchObject({
      total_orders: before.total_orders + 1,
      failed_orders: before.failed_orders,
    });
    await expectExactFigures(service);
  });
});

describe('the counted order and its repair', () => {
  it('commit together or not at all', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const head = await headPosition();
    // A sequence counts on although each attempt is rolled back.
    for (const statement of [
      'create sequence refusals',
      `create function refuse_repair() returns trigger language plpgsql as $$ begin
         if new.kind = 'repair' then
           perform nextval('refusals');
           raise exception 'no repairs today' using errcode = '55P03';
         end if;
         return new;
       end $$`,
      'create trigger refuse_repair before insert on ledger for each row execute function refuse_repair()',
    ]) {
      await service.database.query(sql.raw(statement));
    }
    const { body } = await retry(position, { order: anOrderEvent() });
    await eventually(async () => {
      const [row] = await service.database.query<{ refusals: number }>(
        sql`select last_value as refusals from refusals`,
      );
      expect(row!.refusals).toBeGreaterThan(1);
    });
    expect(await headPosition()).toBe(head);
    expect(await recordOf(body.id)).toMatchObject({ state: 'pending' });
    await service.database.query(sql`drop trigger refuse_repair on ledger`);
    expect(await settled(body.id)).toMatchObject({
      state: 'repaired',
      counted_position: head + 1,
      repair_position: head + 2,
    });
    await expectExactFigures(service);
  });

  it('leave a ledger of which every entry hashes the one before', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const { repair_position } = await retried(position, anOrderEvent());
    const [row] = await service.database.query<{ right: boolean; head: boolean }>(
      sql`select entry.entry_hash = sha256(before.entry_hash || entry_item(entry)) and entry.ref_position = ${position} as right,
            (select entry_hash = entry.entry_hash and ledger_head.position = entry.position from ledger_head) as head
          from ledger entry
            join ledger before on before.position = entry.position - 1
          where entry.position = ${repair_position}`,
    );
    expect(row).toEqual({ right: true, head: true });
  });
});

describe('what can not be retried', () => {
  it('is an order that counts, a repair, or a position that is not there', async () => {
    await service.send(anOrderEvent());
    await service.settled();
    const counted = await headPosition();
    expect(await retry(counted)).toMatchObject({ status: 409, body: { code: 'not_failed' } });
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const { repair_position } = await retried(position, anOrderEvent());
    expect(await retry(repair_position)).toMatchObject({ status: 409, body: { code: 'not_failed' } });
    expect(await retry(position)).toMatchObject({
      status: 409,
      body: { code: 'already_repaired', detail: `Position ${position} was repaired by position ${repair_position}.` },
    });
    expect(await retry(1_000_000)).toMatchObject({ status: 404, body: { code: 'not_found' } });
  });

  it('is an order of which a repair is under way', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    await recordedOnly(position);
    expect(await retry(position)).toMatchObject({ status: 409, body: { code: 'repair_pending' } });
  });

  it('lets one of many askers through', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => retry(position, { order: anOrderEvent({ user_id: `U${i}` }) })),
    );
    const accepted = answers.filter(({ status }) => status === 202);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(20 - accepted.length);
    for (const { body } of accepted) await settled(body.id);
    const [repairs] = await service.database.query<{ count: number }>(
      sql`select count(*) as count from ledger where kind = 'repair' and ref_position = ${position}`,
    );
    expect(repairs!.count).toBe(1);
    await expectExactFigures(service);
  });

  it.each([
    ['an order that is a list', { order: [] }, 'order'],
    ['an order that is null', { order: null }, 'order'],
    ['an order that is text', { order: '{}' }, 'order'],
    ['an unknown field', { body: {} }, 'body'],
  ])('is %s', async (_, body, field) => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const answer = await retry(position, body);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_input', errors: [{ field }] } });
  });

  it('is no position', async () => {
    for (const path of ['0', '-1', 'x', '1.5', '9999999999999999']) {
      expect(await service.call('POST', `/order-events/${path}/retry`)).toMatchObject({ status: 400 });
    }
  });
});

describe('the repairs', () => {
  it('are listed newest first, by state and by entry, page by page', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) ids.unshift((await retried(position)).id);
    const first = await service.get(`/repairs?position=${position}&limit=2`);
    expect(first.body.items.map(({ id }: { id: string }) => id)).toEqual(ids.slice(0, 2));
    const second = await service.get(`/repairs?position=${position}&limit=2&cursor=${first.body.next_cursor}`);
    expect(second.body).toMatchObject({ items: [{ id: ids[2] }], next_cursor: null });
    expect((await service.get(`/repairs?position=${position}&state=repaired`)).body.items).toEqual([]);
    expect((await service.get(`/repairs?position=${position}&state=failed`)).body.items).toHaveLength(3);
  });

  it('answer wrong questions clearly', async () => {
    expect(await service.get('/repairs/x')).toMatchObject({ status: 400, body: { errors: [{ field: 'id' }] } });
    expect(await service.get(`/repairs/${randomUUID()}`)).toMatchObject({ status: 404, body: { code: 'not_found' } });
    expect(await service.get('/repairs?state=x&limit=0&cursor=x')).toMatchObject({ status: 400 });
    expect(await service.get('/repairs?cursor=x')).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'cursor' }] },
    });
  });

  it('need an order where what was received fills a message by itself', async () => {
    const body = JSON.stringify(anOrderEvent({ order_value: 0, note: '' }));
    const position = await failed(body.replace('"note":""', `"note":"${'x'.repeat(1_048_576 - body.length)}"`));
    expect(await retry(position)).toMatchObject({ status: 400, body: { errors: [{ field: 'order' }] } });
    expect(await retried(position, anOrderEvent())).toMatchObject({ state: 'repaired' });
  });

  it('of a failed order that is nested very deep can be corrected', async () => {
    const position = await failed(`{"order_id":"X","note":${'['.repeat(20_000)}${']'.repeat(20_000)}}`);
    expect(await retried(position, anOrderEvent())).toMatchObject({ state: 'repaired' });
  });

  it('with large orders come in shorter pages, and all of them in the end', async () => {
    const { part: database, destroy } = await aDatabase();
    try {
      const repairs = new Repairs(database, new Ledger(database), new Audit(database));
      await database.query(
        sql`insert into repairs (failed_position, requested_by, body)
            select position, 'somebody', repeat('x', 1000000) from generate_series(1, 20) position`,
      );
      const pages: number[][] = [];
      for (let before: number | undefined, more = true; more;) {
        const page = await repairs.page({ before }, 500);
        pages.push(page.repairs.map(({ failedPosition }) => failedPosition));
        more = page.more;
        before = page.repairs.at(-1)!.number;
      }
      expect(pages.flat()).toEqual(Array.from({ length: 20 }, (_, i) => 20 - i));
      expect(pages.map(({ length }) => length)).toEqual([9, 9, 2]);
    } finally {
      await destroy();
    }
  });

  it('need an order that is short enough for a message', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const order = anOrderEvent({ note: '' });
    order.note = 'x'.repeat(1_048_500 - JSON.stringify(order).length);
    const { status, body } = await retry(position, { order });
    expect({ status, errors: body.errors }).toMatchObject({ status: 400, errors: [{ field: 'order' }] });
  });
});

describe('a repair that was recorded', () => {
  it('is sent after a restart where the process ended before it could', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    jest.spyOn(service.app.get(Repairs), 'takeUnsent').mockResolvedValue([]);
    const { body } = await retry(position, { order: anOrderEvent() });
    expect(body.state).toBe('pending');
    await restart();
    expect(await settled(body.id)).toMatchObject({ state: 'repaired' });
  });

  it('is sent when the queue is back', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const send = jest.spyOn(service.sqs, 'send').mockRejectedValue(new Error('connect ECONNREFUSED') as never);
    const { status, body } = await retry(position, { order: anOrderEvent() });
    expect(status).toBe(202);
    await eventually(() =>
      expect(send.mock.calls.some(([command]) => command.constructor.name === 'SendMessageBatchCommand')).toBe(true),
    );
    await eventually(async () => expect(await recordOf(body.id)).toMatchObject({ state: 'pending', sends: 0 }));
    send.mockRestore();
    const dispatch = service.app.get(RepairDispatch);
    expect(Reflect.getMetadata('SCHEDULE_INTERVAL_OPTIONS', dispatch.notify)).toEqual({ timeout: 5_000 });
    dispatch.notify();
    expect(await settled(body.id)).toMatchObject({ state: 'repaired' });
  });

  it('is sent again where nothing is heard of it, each time later, and given up in the end', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const order = anOrderEvent();
    const { id } = await recordedOnly(position, order);
    const dispatched = async (sends: number, secondsAgo: number): Promise<string[]> => {
      await service.database.query(
        sql`update repairs set sends = ${sends}, sent_at = now() - make_interval(secs => ${secondsAgo}) where id = ${id}::uuid`,
      );
      const taken = await service.app.get(Repairs).takeUnsent(10);
      return taken.filter((repair) => repair.id === id).map(({ body }) => body);
    };
    expect(await dispatched(1, 59)).toEqual([]);
    expect(await dispatched(1, 61)).toEqual([JSON.stringify(order)]);
    expect(await dispatched(2, 239)).toEqual([]);
    expect(await dispatched(2, 241)).toEqual([JSON.stringify(order)]);
    expect(await recordOf(id)).toMatchObject({ sends: 3, state: 'pending' });
    expect(await dispatched(5, 60 * 4 ** 4 - 60)).toEqual([]);
    expect(await recordOf(id)).toMatchObject({ state: 'pending' });
    expect(await dispatched(5, 60 * 4 ** 4 + 60)).toEqual([]);
    expect(await recordOf(id)).toMatchObject({ state: 'failed', reasons: ['not_processed'] });
  });

  it('is honoured too where its message comes after it was given up, out of the dead letters perhaps', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const order = anOrderEvent();
    const { id } = await givenUp(position, order);
    await sendAs(id, JSON.stringify(order));
    await service.settled();
    expect(await recordOf(id)).toMatchObject({ state: 'repaired', reasons: [] });
    expect((await service.get(`/order-events/${position}`)).body.repaired_by).toBe(await headPosition());
    await expectExactFigures(service);
  });

  it('gives way to the one that was asked for after it was given up', async () => {
    const position = await failed(anOrderEvent({ order_value: 0 }));
    const late = anOrderEvent();
    const { id } = await givenUp(position, late);
    const other = await recordedOnly(position, anOrderEvent());
    await sendAs(id, JSON.stringify(late));
    await service.settled();
    expect(await recordOf(id)).toMatchObject({ state: 'failed' });
    expect(await recordOf(other.id)).toMatchObject({ state: 'pending' });
    expect((await service.get(`/order-events?order_id=${late.order_id}`)).body.items).toEqual([]);
  });
});

describe('repairs among other traffic', () => {
  it('leave figures that SQL comes to as well, also after a rebuild', async () => {
    const failing = Array.from({ length: 60 }, (_, i) =>
      anOrderEvent({
        user_id: i % 5 === 0 ? 'X' : `U${i % 7}`,
        order_timestamp: i % 6 === 0 ? 'never' : `2026-0${1 + (i % 4)}-1${i % 9}T23:30:00Z`,
        order_value: 0,
      }),
    );
    const start = await headPosition();
    await service.send(...failing);
    await service.settled();
    const positions = (await service.get('/order-events?outcome=failed&limit=500')).body.items
      .map(({ position }: { position: number }) => position)
      .filter((position: number) => position > start);
    expect(positions).toHaveLength(60);
    const traffic = service.send(...Array.from({ length: 100 }, (_, i) => anOrderEvent({ user_id: `U${i % 9}` })));
    const answers = await Promise.all(
      positions.map((position: number, i: number) =>
        retry(
          position,
          i % 3 === 0
            ? {}
            : { order: anOrderEvent({ user_id: `U${i % 11}`, order_timestamp: `2026-03-0${1 + (i % 9)}T00:30:00Z` }) },
        ),
      ),
    );
    await traffic;
    const asked = answers.map(({ body }: Answer) => body.id as string);
    const states = await eventually(async () => {
      const { body } = await service.get('/repairs?limit=60');
      const ended = body.items.map(({ state }: { state: string }) => state);
      expect(ended).not.toContain('pending');
      expect(body.items.map(({ id }: { id: string }) => id).sort()).toEqual(asked.sort());
      return ended as string[];
    });
    expect(states.filter((state) => state === 'repaired')).toHaveLength(40);
    expect(states.filter((state) => state === 'failed')).toHaveLength(20);
    await expectExactFigures(service);
    await service.redis.client.del(service.redis.keys.generation(await generation()).checkpoint);
    await service.settled();
    await expectExactFigures(service);
  });
});

describe('a clear', () => {
  it('leaves nothing to take back: a repair of what was failed before lowers no count', async () => {
    const failing = anOrderEvent({ user_id: 'U501', order_value: 0 });
    const position = await failed(failing);
    await service.call('DELETE', '/clear_redis_db');
    await retried(position, { ...failing, user_id: 'U502', order_value: 10 });
    expect((await service.get('/stats/global')).body).toMatchObject({
      total_orders: 1,
      failed_orders: 0,
      unique_users: 1,
    });
    expect((await service.get('/users/U501/stats')).status).toBe(404);
    await expectExactFigures(service);
  });
});

/** Sends an order that fails, and tells its position. */
async function failed(order: SentOrderEvent | string): Promise<number> {
  await service.send(order);
  await service.settled();
  const position = await headPosition();
  expect((await service.get(`/order-events/${position}`)).body.outcome).toBe('failed');
  return position;
}

async function headPosition(): Promise<number> {
  return (await service.app.get(Ledger).head()).position;
}

function retry(position: number, body?: object): Promise<Answer> {
  return service.call('POST', `/order-events/${position}/retry`, body);
}

/** Retries and waits for the end. */
async function retried(position: number, order?: object): Promise<Answer['body']> {
  const { status, body } = await retry(position, order && { order });
  expect({ status, body }).toMatchObject({ status: 202 });
  return settled(body.id);
}

/** Waits until a repair has ended and the figures have it. */
async function settled(id: string): Promise<Answer['body']> {
  const repair = await eventually(async () => {
    const { body } = await service.get(`/repairs/${id}`);
    expect(body.state).not.toBe('pending');
    return body;
  });
  await service.settled();
  return repair;
}

/** A repair as if it were on its way through the queue, where a test can be its message. */
async function recordedOnly(position: number, order?: Record<string, unknown>): Promise<{ id: string }> {
  const repairs = service.app.get(Repairs);
  const hold = jest.spyOn(repairs, 'takeUnsent').mockResolvedValue([]);
  const { id } = await repairs.request(position, order, SOMEBODY);
  await service.database.query(sql`update repairs set sends = 1, sent_at = now() where id = ${id}::uuid`);
  hold.mockRestore();
  return { id };
}

/** A repair of which nothing was heard for hours. */
async function givenUp(position: number, order: Record<string, unknown>): Promise<{ id: string }> {
  const { id } = await recordedOnly(position, order);
  await service.database.query(
    sql`update repairs set state = 'failed', reasons = '{not_processed}', ended_at = now() where id = ${id}::uuid`,
  );
  return { id };
}

async function recordOf(id: string): Promise<{ state: string; sends: number } | undefined> {
  const [row] = await service.database.query<{ state: string; sends: number }>(
    sql`select state, sends, reasons, requested_by, changes from repairs where id = ${id}::uuid`,
  );
  return row;
}

/** Sends a message that says it is the retry of a repair. */
async function sendAs(repairId: string, body: string): Promise<void> {
  await service.sqs.send(
    new SendMessageCommand({
      QueueUrl: service.config.queue.name,
      MessageBody: body,
      MessageAttributes: { [REPAIR_ATTRIBUTE]: { DataType: 'String', StringValue: repairId } },
    }),
  );
}

async function figures(): Promise<Answer['body']> {
  const { as_of: _, average_order_value: __, ...rest } = (await service.get('/stats/global')).body;
  return rest;
}

async function generation(): Promise<number> {
  return (await service.app.get(ProjectionStateRepository).read()).generation;
}
