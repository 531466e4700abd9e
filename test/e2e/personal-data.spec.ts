import { sql } from 'drizzle-orm';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { Audit } from '../../src/platform/audit/audit.js';
import { PersonalData } from '../../src/platform/privacy/personal-data.js';
import { OrderErasure } from '../../src/orders/erasure/order-erasure.service.js';
import { Repairs } from '../../src/orders/repairs/repairs.service.js';
import { type Answer, RunningService } from '../support/app.js';
import { allKeys, type Dump, dumpOfGeneration } from '../support/dump.js';
import { eventually } from '../support/eventually.js';
import { expectExactFigures } from '../support/exact-figures.js';
import { aFailedMessage, aValidatedMessage } from '../support/validated-messages.js';
import { anOrderEvent, type SentOrderEvent } from '../support/order-events.js';

const SOMEBODY = { name: 'somebody', requestId: null };
const NO_HURRY = Number.MAX_SAFE_INTEGER;
/** In every personal value of a test, and nowhere else. */
const SECRET = 'Quetzalcoatl';
const NAME = `${SECRET} Smith`;
const ADDRESS = `5 ${SECRET} Street`;
/** In every personal number of a test, and nowhere else. */
const SSN = 219_099_999;

let service: RunningService;

beforeAll(async () => {
  service = await RunningService.ready({ environment: { ERASURE_KEPT_FIELDS: 'product_name' } });
});

afterEach(() => jest.restoreAllMocks());

afterAll(() => service.stop());

function erasureOf(userId: string): Promise<Answer> {
  return service.call('DELETE', `/api/v1/users/${encodeURIComponent(userId)}/personal-data`);
}

/** An order with a name, an address and whatever else tells of a person. */
function aPersonalOrder(given: Partial<SentOrderEvent> = {}): SentOrderEvent {
  return anOrderEvent({
    user_id: 'U7',
    shipping_address: ADDRESS,
    payment_method: `Card of ${NAME}`,
    customer: { name: NAME, email: `${SECRET}@example.org` },
    emergency_contact: { nombre: NAME, 電話: [SECRET] },
    ...{
      iban: `DE02 ${SECRET}`,
      ssn: SSN,
      card_number: SSN,
      passport_no: `P${SECRET}`,
      location: { lat: SSN, at: SECRET },
    },
    ...given,
  });
}

/** As SNS delivers to SQS without raw delivery. */
function inEnvelope(order: object): object {
  return { Type: 'Notification', TopicArn: 'arn:aws:sns:eu-central-1:1:orders', Message: JSON.stringify(order) };
}

async function headPosition(): Promise<number> {
  return (await service.app.get(Ledger).head()).position;
}

/** Sends a body that fails, and tells its position. */
async function failed(body: object | string): Promise<number> {
  await service.send(body);
  await service.settled();
  const position = await headPosition();
  expect((await service.get(`/order-events/${position}`)).body.outcome).toBe('failed');
  return position;
}

/** Retries a failed order and waits for the end. */
async function retried(position: number, order?: object): Promise<Answer['body']> {
  const { status, body } = await service.call('POST', `/order-events/${position}/retry`, order && { order });
  expect({ status, body }).toMatchObject({ status: 202 });
  const repair = await eventually(async () => {
    const now = (await service.get(`/repairs/${body.id}`)).body;
    expect(now.state).not.toBe('pending');
    return now;
  });
  await service.settled();
  return repair;
}

/** Every row of every table that may have a text in it. */
async function rowsOf(): Promise<string[]> {
  const tables = [
    'ledger',
    'repairs',
    'early_refunds',
    'delivery_failures',
    'audit_log',
    'rebuilds',
    'quality_findings',
  ];
  const rows: string[] = [];
  for (const table of tables) {
    const found = await service.database.query<{ row: string }>(
      sql.raw(`select row_to_json(t)::text as row from ${table} t`),
    );
    rows.push(...found.map(({ row }) => `${table} ${row}`));
  }
  return rows;
}

/** Everything of the ledger and its repairs that erasing must leave as it is. */
async function kept(): Promise<string[]> {
  const found = await service.database.query<{ row: string }>(
    sql`select (to_jsonb(l) - 'body')::text as row from ledger l
        union all select (to_jsonb(r) - 'body' - 'changes')::text from repairs r
        union all select to_jsonb(c)::text from counted_orders c
        union all select to_jsonb(f)::text from failed_contents f
        union all select to_jsonb(h)::text from ledger_head h
        order by 1`,
  );
  return found.map(({ row }) => row);
}

async function bodiesOf(userId: string): Promise<string[]> {
  const found = await service.database.query<{ body: string }>(
    sql`select body from ledger where user_id = ${userId} order by position`,
  );
  return found.map(({ body }) => body);
}

/** All that Redis holds, as text. */
async function redisValues(): Promise<string> {
  const { client } = service.redis;
  const values: unknown[] = [];
  for (const key of await allKeys(service)) {
    const type = await client.type(key);
    if (type === 'hash') values.push(key, await client.hgetall(key));
    else if (type === 'zset') values.push(key, await client.zrange(key, 0, -1, 'WITHSCORES'));
    else if (type === 'stream') values.push(key, await client.xrange(key, '-', '+'));
    else values.push(key, await client.get(key));
  }
  return JSON.stringify(values);
}

/** The audit rows of erasures, oldest first: whose, and how much. */
async function auditRows(): Promise<{ target: string; actor: string; after: unknown }[]> {
  const rows = await service.database.query<{ target: string; actor: string; after: string }>(
    sql`select target, actor, after from audit_log where action = 'personal_data.erased' order by id`,
  );
  return rows.map((row) => ({ ...row, after: JSON.parse(row.after) as unknown }));
}

describe('Erasing the personal data of a user', () => {
  let sent: (object | string)[];
  let mended: { failed: number; counted: number; id: string };
  let nobodys: { failed: number; counted: number; unreadable: number };
  let before: { kept: string[]; figures: Dump; others: string[] };
  let answer: Answer;
  const others = [
    aPersonalOrder({ user_id: 'U8' }),
    ` {"user_id":"U8" , "name": "Ada", "order_id":"ORD-OTHER","items":[],"zip":1.0}`,
  ].map((each) =>
    (typeof each === 'string' ? each : JSON.stringify(each)).replaceAll(SECRET, 'Ada').replaceAll(String(SSN), '7'),
  );

  beforeAll(async () => {
    const inside = aPersonalOrder({
      items: [
        { product_id: 'P1', quantity: 2, price_per_unit: 5, product_name: 'Globe', gift: { recipient_name: NAME } },
      ],
      note: `for ${NAME}`,
    });
    sent = [
      aPersonalOrder(),
      aPersonalOrder({ user_id: ' u7 ', order_value: 3 }),
      inside,
      `{"order_id":"ORD-ODD", "user_id":"U7","order_timestamp":"2026-01-15T12:00:00Z","order_value":10.000,\n "shipping_address":"${ADDRESS}","shipping_address":"${ADDRESS} 2","items":[{"product_id":"P1","quantity":2,"price_per_unit":5.0}]}`,
      JSON.stringify(JSON.stringify(aPersonalOrder())),
      inEnvelope(aPersonalOrder()),
      aPersonalOrder({ items: [] }),
      aPersonalOrder({ shipping_address: { line: ADDRESS } }),
    ];
    await service.send(...sent, ...others, anOrderEvent({ user_id: 'U7' }));
    await service.settled();

    const wrong = aPersonalOrder({ order_value: 0 });
    const failedOne = await failed(wrong);
    await retried(failedOne, { ...wrong, order_value: 0, shipping_address: `${ADDRESS} 3` });
    const { id, counted_position } = await retried(failedOne, { ...wrong, order_value: 10, phone: SECRET });
    mended = { failed: failedOne, counted: counted_position, id };

    const ofNobody = await failed(aPersonalOrder({ user_id: '7' }));
    const unreadable = await failed(`{"shipping_address":"${ADDRESS}`);
    const found = await retried(ofNobody, aPersonalOrder());
    await retried(unreadable, aPersonalOrder());
    nobodys = { failed: ofNobody, counted: found.counted_position, unreadable };
    sent.push(wrong);

    before = {
      kept: await kept(),
      figures: await dumpOfGeneration(service),
      others: await bodiesOf('U8'),
    };
    expect((await rowsOf()).join().split(SECRET).length).toBeGreaterThan(40);
    answer = await erasureOf(' u7');
  });

  it('answers how many order events and repairs were changed', () => {
    // Without the one that has nothing personal; with those that came by repairs, and what these mended.
    expect(answer).toMatchObject({
      status: 200,
      body: { user_id: 'U7', erased: { order_events: 8 + 2 + 2 + 2, repairs: 4 } },
    });
  });

  it('leaves them nowhere: not in the tables, not in any answer, not in Redis', async () => {
    expect((await rowsOf()).filter((row) => row.includes(SECRET) || row.includes(String(SSN)))).toEqual([]);
    expect(await redisValues()).not.toContain(SECRET);
    const csv = { accept: 'text/csv' };
    const answers = [
      await service.get('/order-events?limit=500'),
      await service.get('/order-events?limit=500', csv),
      await service.get(`/order-events/${mended.failed}`),
      await service.get('/users/U7/orders?limit=500'),
      await service.get('/users/U7/orders?limit=500', csv),
      await service.get('/repairs?limit=500'),
      await service.get(`/repairs/${mended.id}`),
      await service.get('/consumer_logs'),
      await service.get('/dead-letters'),
    ];
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(answers.map(({ body }) => JSON.stringify(body)).filter((body) => body.includes(SECRET))).toEqual([]);
    expect(JSON.stringify(answers[0]!.body)).toContain('[erased]');
  });

  it('leaves everything else: other fields, other users, keys, hashes and figures', async () => {
    expect(await kept()).toEqual(before.kept);
    expect(await dumpOfGeneration(service)).toEqual(before.figures);
    expect(await bodiesOf('U8')).toEqual(before.others);
    expect(before.others).toEqual(others);
    const bodies = await bodiesOf('U7');
    expect(bodies).toContain(
      '{"order_id":"ORD-ODD", "user_id":"U7","order_timestamp":"2026-01-15T12:00:00Z","order_value":10.000,\n "shipping_address":"[erased]","shipping_address":"[erased]","items":[{"product_id":"P1","quantity":2,"price_per_unit":5.0}]}',
    );
    expect(bodies.join()).toContain('"product_name":"Globe","gift":"[erased]"');
    const { body: repair } = await service.get(`/repairs/${mended.id}`);
    expect(repair).toMatchObject({
      state: 'repaired',
      order: { order_value: 10, shipping_address: '[erased]', phone: '[erased]' },
      changes: [
        { field: 'order_value', before: 0, after: 10 },
        { field: 'phone', after: '[erased]' },
      ],
    });
  });

  it('reaches failed orders that only their repair brought to the user', async () => {
    expect((await service.get(`/order-events/${nobodys.failed}`)).body).toMatchObject({
      user_id: null,
      body: expect.stringContaining('"shipping_address":"[erased]"'),
    });
    expect((await service.get(`/order-events/${nobodys.unreadable}`)).body.body).toBe('[erased]');
  });

  it('keeps the figures verified, and a rebuild makes the same ones', async () => {
    expect(await service.get('/stats/verify')).toMatchObject({ status: 200, body: { verified: true } });
    const { status, body } = await service.call('POST', '/stats/rebuild', { from_beginning: true });
    expect(status).toBe(202);
    await eventually(async () => {
      expect((await service.get(`/stats/rebuild/${body.id}`)).body).toMatchObject({ state: 'done' });
    });
    await expectExactFigures(service);
    expect(await dumpOfGeneration(service)).toEqual(before.figures);
  });

  it('knows the same messages again, and does not store them again', async () => {
    const position = await headPosition();
    await service.send(...sent);
    await service.settled();
    expect(await headPosition()).toBe(position);
    expect((await rowsOf()).filter((row) => row.includes(SECRET))).toEqual([]);
  });

  it('is audited, with numbers only', async () => {
    expect(await auditRows()).toEqual([
      { target: 'user:U7', actor: 'local-operator', after: { order_events: 12, repairs: 2 } },
      { target: 'user:U7', actor: 'local-operator', after: { order_events: 2, repairs: 2 } },
    ]);
  });

  it('finds nothing when it is repeated, and says so in the audit log', async () => {
    const rows = await rowsOf();
    const audited = (await auditRows()).length;
    expect(await erasureOf('U7')).toMatchObject({
      status: 200,
      body: { user_id: 'U7', erased: { orders: 0, order_events: 0, repairs: 0 } },
    });
    const isOfAudit = (row: string): boolean => row.startsWith('audit_log ');
    expect((await rowsOf()).filter((row) => !isOfAudit(row))).toEqual(rows.filter((row) => !isOfAudit(row)));
    expect((await auditRows()).slice(audited)).toEqual([
      {
        target: 'user:U7',
        actor: 'local-operator',
        after: { accounts: 0, orders: 0, order_events: 0, repairs: 0, quality_findings: 0 },
      },
    ]);
  });

  it('lets a failed order be retried as it is now', async () => {
    const position = await failed(aPersonalOrder({ order_id: 'ORD-LATE', shipping_address: [ADDRESS] }));
    expect(await erasureOf('U7')).toMatchObject({ body: { erased: { order_events: 1, repairs: 0 } } });
    const repair = await retried(position);
    expect(repair).toMatchObject({ state: 'repaired', position });
    const { body } = await service.get(`/order-events/${repair.counted_position}`);
    expect(body).toMatchObject({ order_id: 'ORD-LATE', outcome: 'accepted' });
    expect(JSON.parse(body.body)).toMatchObject({ shipping_address: '[erased]', customer: '[erased]' });
    await expectExactFigures(service);
  });
});

describe('An erasure', () => {
  it('is refused for a user that nobody knows, and for what can be no id, and leaves no trace', async () => {
    const audited = await auditRows();
    expect(await erasureOf('U404')).toMatchObject({
      status: 404,
      body: { code: 'not_found', detail: 'No orders of user U404 are known.' },
    });
    expect(await erasureOf('Ü')).toMatchObject({ status: 404, body: { code: 'not_found' } });
    expect(await service.call('DELETE', '/api/v1/users/%/personal-data')).toMatchObject({
      status: 400,
      body: { code: 'malformed_url' },
    });
    expect(await auditRows()).toEqual(audited);
  });

  it('is put off while a repair is on the queue, and takes along one that was never sent', async () => {
    const order = aPersonalOrder({ user_id: 'U20', order_value: 0 });
    const position = await failed(order);
    const repairs = service.app.get(Repairs);
    const hold = jest.spyOn(repairs, 'takeUnsent').mockResolvedValue([]);
    const { id } = await repairs.request(position, { ...order, order_value: 10 }, SOMEBODY);
    await service.database.query(sql`update repairs set sends = 1, sent_at = now() where id = ${id}::uuid`);
    expect(await erasureOf('U20')).toMatchObject({ status: 409, body: { code: 'repair_pending' } });
    expect((await bodiesOf('U20'))[0]).toContain(SECRET);

    await service.database.query(sql`update repairs set sends = 0, sent_at = null where id = ${id}::uuid`);
    expect(await erasureOf('U20')).toMatchObject({
      status: 200,
      body: { erased: { order_events: 1, repairs: 1 } },
    });
    hold.mockRestore();
    await eventually(async () => {
      expect((await service.get(`/repairs/${id}`)).body).toMatchObject({ state: 'repaired' });
    });
    await service.settled();
    expect((await bodiesOf('U20')).join()).not.toContain(SECRET);
    await expectExactFigures(service);
  });

  it('that broke off is finished by the next', async () => {
    const messages = Array.from({ length: 600 }, () =>
      aValidatedMessage({ userId: 'U30', body: JSON.stringify(aPersonalOrder()) }),
    );
    await service.app.get(Ledger).append(messages, NO_HURRY);
    const eraser = service.app.get(OrderErasure);
    const erase = eraser.erase.bind(eraser);
    let parts = 0;
    jest.spyOn(eraser, 'erase').mockImplementation(async (tx, userId, after) => {
      const part = await erase(tx, userId, after);
      if (++parts === 2) throw new Error('killed in the middle');
      return part;
    });
    const audited = (await auditRows()).length;
    expect((await erasureOf('U30')).status).toBe(500);
    const erased = (await bodiesOf('U30')).filter((body) => !body.includes(SECRET));
    expect(erased).toHaveLength(250);
    expect((await auditRows()).slice(audited).map(({ after }) => after)).toEqual([{ order_events: 250, repairs: 0 }]);
    expect(await erasureOf('U30')).toMatchObject({ status: 200, body: { erased: { order_events: 350 } } });
    expect((await bodiesOf('U30')).filter((body) => body.includes(SECRET))).toEqual([]);
  });

  it('goes past hundreds of entries that have nothing to erase', async () => {
    const body = (i: number): string => JSON.stringify(i === 599 ? aPersonalOrder() : anOrderEvent());
    const messages = Array.from({ length: 600 }, (_, i) => aValidatedMessage({ userId: 'U31', body: body(i) }));
    await service.app.get(Ledger).append(messages, NO_HURRY);
    expect(await erasureOf('U31')).toMatchObject({ body: { erased: { order_events: 1 } } });
    expect((await bodiesOf('U31')).join()).not.toContain(SECRET);
  });

  it('takes bodies of a megabyte a few at a time', async () => {
    const order = aPersonalOrder({ filler: 'x'.repeat(1_000_000) });
    const messages = Array.from({ length: 10 }, () =>
      aValidatedMessage({ userId: 'U32', body: JSON.stringify(order) }),
    );
    await service.app.get(Ledger).append(messages, NO_HURRY);
    const parts = jest.spyOn(service.app.get(OrderErasure), 'erase');
    expect(await erasureOf('U32')).toMatchObject({ body: { erased: { order_events: 10 } } });
    expect(parts.mock.calls.length).toBeGreaterThan(1);
  });

  it('replaces bodies as a whole that are no JSON, whatever brought them under the user', async () => {
    await service.app.get(Ledger).append([aFailedMessage({ userId: 'U33', body: `{${ADDRESS}` })], NO_HURRY);
    expect(await erasureOf('U33')).toMatchObject({ body: { erased: { order_events: 1 } } });
    expect(await bodiesOf('U33')).toEqual(['[erased]']);
  });

  it('asked for twice at once counts each record once', async () => {
    const messages = Array.from({ length: 400 }, () =>
      aValidatedMessage({ userId: 'U34', body: JSON.stringify(aPersonalOrder()) }),
    );
    await service.app.get(Ledger).append(messages, NO_HURRY);
    const answers = await Promise.all([1, 2, 3].map(() => erasureOf('U34')));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(answers.reduce((sum, { body }) => sum + body.erased.order_events, 0)).toBe(400);
  });

  it('ends between two parts when the service stops', async () => {
    const stopping = new PersonalData(service.database, service.app.get(Audit));
    stopping.register({
      knows: async () => true,
      erase: async (_tx, _userId, after) => {
        if (after === 1) stopping.onModuleDestroy();
        return { erased: { orders: 1 }, next: after + 1 };
      },
    });
    await expect(stopping.erase('U1', SOMEBODY)).rejects.toMatchObject({ code: 'erasure_interrupted' });
  });

  it('of many entries lets orders through between its parts', async () => {
    const messages = Array.from({ length: 600 }, () =>
      aValidatedMessage({ userId: 'U40', body: JSON.stringify(aPersonalOrder()) }),
    );
    await service.app.get(Ledger).append(messages, NO_HURRY);
    const start = await headPosition();
    const eraser = service.app.get(OrderErasure);
    const erase = eraser.erase.bind(eraser);
    let parts = 0;
    jest.spyOn(eraser, 'erase').mockImplementation(async (tx, userId, after) => {
      if (++parts === 2) {
        await service.send(...Array.from({ length: 10 }, () => aPersonalOrder({ user_id: 'U41' })));
        await eventually(async () => expect(await headPosition()).toBe(start + 10));
      }
      return erase(tx, userId, after);
    });
    expect(await erasureOf('U40')).toMatchObject({ status: 200, body: { erased: { order_events: 600, repairs: 0 } } });
    expect(parts).toBeGreaterThan(2);
    await service.settled();
    expect((await bodiesOf('U40')).filter((body) => body.includes(SECRET))).toEqual([]);
    expect((await bodiesOf('U41')).every((body) => body.includes(SECRET))).toBe(true);
    await expectExactFigures(service);
  });
});
