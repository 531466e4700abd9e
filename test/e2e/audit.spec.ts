import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { PaymentNotices } from '../../src/fulfilment/payments/payment-notices.js';
import { Shipments } from '../../src/fulfilment/shipments/shipments.service.js';
import { SimulatedWebhooks } from '../../src/fulfilment/payments/simulated-webhooks.worker.js';
import { AuditLog } from '../../src/platform/audit/audit-log.repository.js';
import { AuditSealer } from '../../src/platform/audit/audit-sealer.worker.js';
import { Audit } from '../../src/platform/audit/audit.js';
import { Database, DatabaseUnavailable } from '../../src/platform/database/database.js';
import { cents } from '../../src/domain/money.js';
import { deadLetterQueueOf } from '../../src/platform/queue/queue-setup.js';
import { aPerson, bearer, logIn, signUp } from '../support/accounts.js';
import { type Answer, aWorld, RunningService } from '../support/app.js';
import { aBreakableLedger } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { orderIs, placeOrder, QUICK, requestOrder } from '../support/fulfilment.js';
import type { ApiDocument } from '../support/hostile-requests.js';
import { withQuickLooks } from '../support/no-waiting.js';
import { anOrderEvent } from '../support/order-events.js';
import { aDatabase, type OwnPart } from '../support/stores.js';

const AUDIT_LOGS = '/api/v1/system/audit-logs';
const SOMEBODY = { name: 'somebody', requestId: null };
/** Every route that changes something; each has its test here. */
const RECORDED = [
  'DELETE /api/v1/auth/api-keys/{key_id}',
  'DELETE /api/v1/users/{user_id}/personal-data',
  'DELETE /clear_redis_db',
  'DELETE /dead-letters/{message_id}',
  'PATCH /api/v1/inventory/{sku}',
  'POST /api/v1/auth/api-keys',
  'POST /api/v1/auth/login',
  'POST /api/v1/auth/logout',
  'POST /api/v1/auth/refresh',
  'POST /api/v1/auth/signup',
  'POST /api/v1/inventory',
  'POST /api/v1/inventory/{sku}/restock',
  'POST /api/v1/orders',
  'POST /api/v1/orders/{order_id}/cancel',
  'POST /api/v1/payments/webhook',
  'POST /api/v1/system/demo-data',
  'POST /api/v1/system/failed-jobs/{job_id}/resolve',
  'POST /api/v1/system/failed-jobs/{job_id}/retry',
  'POST /dead-letters/redrive',
  'POST /order-events/retry',
  'POST /order-events/{position}/retry',
  'POST /produce',
  'POST /stats/rebuild',
  'PUT /api/v1/auth/accounts/{account_id}/role',
  'PUT /api/v1/warehouses/{code}',
];
/** Routes that are asked by POST and change nothing, so that there is nothing to record. */
const ONLY_LOOKING = ['POST /data-quality/check'];
const AN_ACT = { action: 'thing.done', target: 'thing:1' };

afterEach(() => {
  jest.restoreAllMocks();
});

/** A row as the API shows it. */
type Shown = Answer['body'];

/** The rows of the request that was answered so, oldest first. */
async function rowsOf(service: RunningService, { headers }: Answer): Promise<Shown[]> {
  const id = headers.get('x-request-id')!;
  const { status, body } = await service.get(`${AUDIT_LOGS}?request_id=${id}`);
  expect([status, body.next_cursor]).toEqual([200, null]);
  return body.items.reverse();
}

async function verification(service: RunningService): Promise<Shown> {
  const { status, body } = await service.get(`${AUDIT_LOGS}/verify`);
  expect(status).toBe(200);
  return body;
}

/** Waits until every row has its place in a chain that is right. */
async function isSealed(service: RunningService): Promise<void> {
  await eventually(async () =>
    expect(await verification(service)).toMatchObject({ verified: true, unsealed: 0, first_mismatch: null }),
  );
}

describe('What somebody does', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready({ environment: QUICK });
    withQuickLooks(service.sqs);
  });

  afterAll(() => service.stop());

  /** The one row that a call leaves, but for what only sealing tells. */
  async function rowOf(answer: Answer): Promise<Shown> {
    const rows = await rowsOf(service, answer);
    expect(rows).toHaveLength(1);
    const { id, sequence, hash, at, ...act } = rows[0];
    expect([typeof id, Math.abs(Date.parse(at) - Date.now()) < 60_000]).toEqual(['number', true]);
    expect((sequence === null) === (hash === null)).toBe(true);
    return act;
  }

  const byOperator = (answer: Answer, act: object): object => ({
    actor: 'local-operator',
    before: null,
    after: null,
    request_id: answer.headers.get('x-request-id'),
    ...act,
  });

  async function failed(order: object = anOrderEvent({ items: [] })): Promise<number> {
    await service.send(order);
    await service.settled();
    return (await service.get('/order-events?outcome=failed&limit=1')).body.items[0].position;
  }

  async function aDeadLetter(): Promise<string> {
    const MessageBody = JSON.stringify(anOrderEvent());
    const QueueUrl = deadLetterQueueOf(service.config.queue.name);
    return (await service.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }))).MessageId!;
  }

  async function served(): Promise<{ generation: number; base: number }> {
    const [row] = await service.database.query<{ generation: number; base: number }>(
      sql`select generation::float8 as generation, base::float8 as base from projection`,
    );
    return row!;
  }

  it('at POST /produce is recorded with the run as it was asked for and decided', async () => {
    const asked = await service.call('POST', '/produce', { count: 3, invalid_rate: 0, seed: 7, run_id: 'audit' });
    expect(await rowOf(asked)).toEqual(
      byOperator(asked, {
        action: 'orders.produced',
        target: `queue:${service.config.queue.name}`,
        after: { count: 3, invalid_rate: 0, seed: 7, run_id: 'audit' },
      }),
    );
    const decided = await service.call('POST', '/produce');
    expect((await rowOf(decided)).after).toEqual({
      count: 10,
      invalid_rate: 0.2,
      seed: expect.any(Number),
      run_id: expect.stringMatching(/^[0-9A-F]{8}$/),
    });
  });

  it('at DELETE /clear_redis_db is recorded with the figures that were served before and after', async () => {
    await service.settled();
    const before = await served();
    const answer = await service.call('DELETE', '/clear_redis_db');
    const act = { action: 'statistics.cleared', target: 'statistics', before, after: await served() };
    expect(await rowOf(answer)).toEqual(byOperator(answer, act));
    expect(act.after).not.toEqual(before);
  });

  it('at POST /stats/rebuild is recorded with the rebuild', async () => {
    await service.settled();
    const answer = await service.call('POST', '/stats/rebuild', { from_beginning: true });
    const target = `rebuild:${answer.body.id}`;
    const after = { from_beginning: true };
    expect(await rowOf(answer)).toEqual(byOperator(answer, { action: 'rebuild.requested', target, after }));
    await eventually(async () => {
      expect((await service.get(`/stats/rebuild/${answer.body.id}`)).body.state).toBe('done');
    });
  });

  it('at POST /order-events/{position}/retry is recorded with the fields that it changes and nothing of what is in them', async () => {
    const order = anOrderEvent({ items: [] });
    const position = await failed(order);
    const items = [{ product_id: 'P1', quantity: 1, price_per_unit: 10 }];
    const corrected = { ...order, items, shipping_address: 'Main Street 5', 'Jane Doe': 'Main Street 5' };
    const answer = await service.call('POST', `/order-events/${position}/retry`, { order: corrected });
    expect(answer.status).toBe(202);
    const act = {
      action: 'repair.requested',
      target: `position:${position}`,
      after: { repair: answer.body.id, changed: ['items', 'shipping_address'], others: 1 },
    };
    expect(await rowOf(answer)).toEqual(byOperator(answer, act));
  });

  it('at POST /order-events/retry is recorded with how many it means, unless it only counts', async () => {
    const positions = [await failed(), await failed()];
    const dry = await service.call('POST', '/order-events/retry', { reason: 'missing_items', dry_run: true });
    expect(dry.body.matched).toBeGreaterThanOrEqual(2);
    expect(await rowsOf(service, dry)).toEqual([]);
    const answer = await service.call('POST', '/order-events/retry', { reason: 'missing_items' });
    const act = {
      action: 'repairs.requested',
      target: 'reason:missing_items',
      after: { repairs: dry.body.matched, from: expect.any(Number), to: positions[1] },
    };
    expect(await rowOf(answer)).toEqual(byOperator(answer, act));
    await service.settled();
  });

  it('at POST /dead-letters/redrive is recorded without what was looked for, unless nothing is sent', async () => {
    const id = await aDeadLetter();
    const dry = await service.call('POST', '/dead-letters/redrive', { dry_run: true });
    expect([dry.body.matched, await rowsOf(service, dry)]).toEqual([1, []]);
    const none = await service.call('POST', '/dead-letters/redrive', { filter: { body_contains: 'Main Street 5' } });
    expect([none.body.matched, await rowsOf(service, none)]).toEqual([0, []]);

    const filter = { message_ids: [id], body_contains: 'ORD', sent_after: '2020-01-01' };
    const answer = await service.call('POST', '/dead-letters/redrive', { limit: 20, filter });
    expect(answer.body.redriven).toBe(1);
    const act = {
      action: 'dead_letters.redriven',
      target: `queue:${service.config.queue.name}`,
      after: {
        limit: 20,
        per_second: 50,
        message_ids: [id],
        by_body: true,
        by_error: false,
        sent_after: '2020-01-01T00:00:00.000Z',
        sent_before: null,
      },
    };
    expect(await rowOf(answer)).toEqual(byOperator(answer, act));
  });

  it('at DELETE /dead-letters/{message_id} is recorded with the message, unless it is not there', async () => {
    const absent = await service.call('DELETE', '/dead-letters/absent');
    expect([absent.status, await rowsOf(service, absent)]).toEqual([404, []]);
    const id = await aDeadLetter();
    const answer = await service.call('DELETE', `/dead-letters/${id}`);
    expect(answer.status).toBe(200);
    expect(await rowOf(answer)).toEqual(byOperator(answer, { action: 'dead_letter.deleted', target: `message:${id}` }));
  });

  it('with an account is recorded with whose it is, and with neither secrets nor names', async () => {
    const person = aPerson();
    const signedUp = await signUp(service, person);
    const { id, user_id } = signedUp.body;
    const byAccount = (answer: Answer, act: object): object => byOperator(answer, { actor: `account:${id}`, ...act });
    const created = { action: 'account.created', target: `account:${id}`, after: { role: 'customer', user_id } };
    expect(await rowOf(signedUp)).toEqual(byAccount(signedUp, created));

    const loggedIn = await logIn(service, person);
    const begun = await rowOf(loggedIn);
    const target = expect.stringMatching(/^session:[0-9a-f-]{36}$/);
    expect(begun).toEqual(byAccount(loggedIn, { action: 'session.begun', target }));

    const refresh = (refresh_token: string) => service.call('POST', '/api/v1/auth/refresh', { refresh_token });
    const refreshed = await refresh(loggedIn.body.refresh_token);
    const { target: session } = begun;
    expect([refreshed.status, await rowsOf(service, refreshed)]).toEqual([200, []]);
    const again = await refresh(loggedIn.body.refresh_token);
    const reused = { action: 'session.ended', target: session, after: { because: 'token_reused' } };
    expect(await rowOf(again)).toEqual(byAccount(again, reused));

    const { refresh_token, access_token } = (await logIn(service, person)).body;
    const key = await service.call(
      'POST',
      '/api/v1/auth/api-keys',
      { name: person.fullName, scopes: [] },
      bearer(access_token),
    );
    const made = { action: 'api_key.created', target: `api-key:${key.body.id}`, after: { scopes: [] } };
    expect(await rowOf(key)).toEqual(byAccount(key, made));
    const revoked = await service.call(
      'DELETE',
      `/api/v1/auth/api-keys/${key.body.id}`,
      undefined,
      bearer(access_token),
    );
    const act = {
      action: 'api_key.revoked',
      target: made.target,
      before: { revoked: false },
      after: { revoked: true },
    };
    expect(await rowOf(revoked)).toEqual(byAccount(revoked, act));

    const loggedOut = await service.call('POST', '/api/v1/auth/logout', { refresh_token });
    const ended = { action: 'session.ended', target, after: { because: 'logged_out' } };
    expect(await rowOf(loggedOut)).toEqual(byAccount(loggedOut, ended));

    const promoted = await service.call('PUT', `/api/v1/auth/accounts/${id}/role`, { role: 'vendor' });
    const set = {
      action: 'account.role_set',
      target: created.target,
      before: { role: 'customer' },
      after: { role: 'vendor' },
    };
    expect(await rowOf(promoted)).toEqual(byOperator(promoted, set));
    const erased = await service.call('DELETE', `/api/v1/users/${user_id}/personal-data`);
    const erasure = { action: 'personal_data.erased', target: `user:${user_id}`, after: { accounts: 1 } };
    expect(await rowOf(erased)).toEqual(byOperator(erased, erasure));

    const log = JSON.stringify(await service.database.query(sql`select t::text from audit_log t`));
    for (const secret of [...Object.values(person), refresh_token, access_token, key.body.key])
      expect(log).not.toContain(secret);
  });

  it('with the catalogue is recorded with what was so before and is now', async () => {
    const put = await service.call('PUT', '/api/v1/warehouses/EAST', { name: 'East' });
    const made = { action: 'warehouse.put', target: 'warehouse:EAST', after: { name: 'East' } };
    expect(await rowOf(put)).toEqual(byOperator(put, made));
    const stock = [{ warehouse: 'EAST', quantity: 5 }];
    const added = await service.call('POST', '/api/v1/inventory', { sku: 'A1', name: 'A', price: 1.5, stock });
    const after = { price_cents: 150, low_stock_at: 5, stock };
    expect(await rowOf(added)).toEqual(byOperator(added, { action: 'product.added', target: 'sku:A1', after }));
    const changed = await service.call('PATCH', '/api/v1/inventory/A1', { price: 2 });
    const change = {
      action: 'product.changed',
      target: 'sku:A1',
      before: { price_cents: 150, low_stock_at: 5 },
      after: { price_cents: 200, low_stock_at: 5, renamed: false },
    };
    expect(await rowOf(changed)).toEqual(byOperator(changed, change));
    const moved = await service.call('POST', '/api/v1/inventory/A1/restock', { warehouse: 'EAST', quantity: -2 });
    const move = {
      action: 'stock.moved',
      target: 'sku:A1',
      before: { warehouse: 'EAST', on_hand: 5 },
      after: { warehouse: 'EAST', on_hand: 3 },
    };
    expect(await rowOf(moved)).toEqual(byOperator(moved, move));
  });

  it('with an order is recorded, and so is every move of it that follows', async () => {
    await service.call('PUT', '/api/v1/warehouses/WEST', { name: 'West' });
    const stock = [{ warehouse: 'WEST', quantity: 5 }];
    await service.call('POST', '/api/v1/inventory', { sku: 'A2', name: 'A', price: 1.5, stock });
    const shipping = jest.spyOn(service.app.get(Shipments), 'ship').mockRejectedValue(new Error('held by a test'));
    const items = [{ sku: 'A2', quantity: 2 }];
    const placed = await requestOrder(service, { items, paymentMethod: 'TEST-LATE-WEBHOOK' });
    const id = placed.body.order_id as string;
    const target = `order:${id}`;
    const after = { status: 'pending', total_cents: 300, user_id: 'U-OPERATOR' };
    expect(await rowOf(placed)).toEqual(byOperator(placed, { action: 'order.placed', target, after }));
    await orderIs(service, id, 'payment_unknown');
    await service.database.query(sql`update simulated_charges set capture_at = now() where order_id = ${id}`);
    await service.app.get(SimulatedWebhooks).sweep();
    await orderIs(service, id, 'paid');
    const rows = (await service.get(`${AUDIT_LOGS}?target=${target}`)).body.items.toReversed();
    const moves = rows.map(({ actor, action, before, after: now }: Shown) => [
      actor,
      action,
      before?.status,
      now.status,
    ]);
    expect(moves).toEqual([
      ['local-operator', 'order.placed', undefined, 'pending'],
      ['workflow', 'stock.reserved', 'pending', 'reserved'],
      ['workflow', 'payment.timed_out', 'reserved', 'payment_unknown'],
      // Whichever comes first: the provider tells by its webhook what it is asked about as well.
      [expect.stringMatching(/^(workflow|payment-provider)$/), 'payment.captured', 'payment_unknown', 'paid'],
    ]);
    const cancelled = await service.call('POST', `/api/v1/orders/${id}/cancel`);
    const move = { action: 'order.cancelled', target, before: { status: 'paid' }, after: { status: 'cancelled' } };
    expect(await rowOf(cancelled)).toEqual(byOperator(cancelled, move));
    shipping.mockRestore();
    expect(JSON.stringify(rows)).not.toContain('Fixture Street');
  });

  it('the payment provider tells is recorded as the provider’s', async () => {
    const id = await placeOrder(service, { items: [{ sku: 'A2', quantity: 1 }], paymentMethod: 'TEST-LOST' });
    await orderIs(service, id, 'payment_unknown');
    const [attempt] = await service.database.query<{ key: string }>(
      sql`select id::text as key from payment_attempts where order_id = ${id}`,
    );
    const result = { outcome: 'declined' as const, reason: 'by a test' };
    await service.app
      .get(PaymentNotices)
      .told({ webhookId: 'audited', key: attempt!.key, orderId: id, amount: cents(150), result });
    const { body } = await service.get(`${AUDIT_LOGS}?target=order:${id}&limit=1`);
    expect(body.items[0]).toMatchObject({
      actor: 'payment-provider',
      action: 'payment.declined',
      before: { status: 'payment_unknown' },
      after: { status: 'payment_failed' },
    });
  });

  it('with a failed job is recorded', async () => {
    const id = await placeOrder(service, { items: [{ sku: 'A2', quantity: 100 }] });
    await orderIs(service, id, 'failed_no_stock');
    for (const [act, body, state] of [
      ['retry', undefined, 'retried'],
      ['resolve', { note: 'by hand' }, 'resolved'],
    ] as const) {
      const [job] = await service.database.query<{ id: number }>(
        sql`insert into failed_jobs (order_id, job, error) values (${id}, 'step', 'made by a test')
            returning id::float8 as id`,
      );
      const answer = await service.call('POST', `/api/v1/system/failed-jobs/${job!.id}/${act}`, body);
      const row = { action: `failed_job.${state}`, target: `order:${id}`, before: { state: 'open' } };
      expect(await rowOf(answer)).toEqual(byOperator(answer, { ...row, after: { state, job: 'step' } }));
    }
  });

  it('with demo data is recorded with all that is made, and none of the passwords', async () => {
    const planted = await service.call('POST', '/api/v1/system/demo-data');
    const rows = await rowsOf(service, planted);
    const ofKind = (action: string): Shown[] => rows.filter((row) => row.action === action);
    const [accounts, warehouses, products] = [
      ofKind('account.created'),
      ofKind('warehouse.put'),
      ofKind('product.added'),
    ].map((made) => made.length);
    expect(products).toBe(10);
    const after = { accounts, warehouses, products, passwords_reset: 0 };
    expect(rows.at(-1)).toMatchObject({ actor: 'local-operator', action: 'demo_data.planted', after });
    expect(rows).toHaveLength(accounts! + warehouses! + products! + 1);

    const again = await service.call('POST', '/api/v1/system/demo-data', { reset_passwords: true });
    const nothing = { accounts: 0, warehouses: 0, products: 0, passwords_reset: 2 };
    const reset = { action: 'account.password_reset', target: expect.stringMatching(/^account:[0-9a-f-]{36}$/) };
    const act = { action: 'demo_data.planted', target: 'demo-data', after: nothing };
    expect(await rowsOf(service, again)).toMatchObject([reset, reset, act]);
    const log = JSON.stringify(await service.database.query(sql`select t::text from audit_log t`));
    for (const { email, password } of [...planted.body.accounts, ...again.body.accounts]) {
      expect(log).not.toContain(email);
      expect(log).not.toContain(password);
    }
  });

  it('is recorded at every route that changes something', async () => {
    const { paths } = (await service.get('/docs-json')).body as ApiDocument;
    const changing = Object.entries(paths).flatMap(([path, operations]) =>
      Object.keys(operations).flatMap((method) => (method === 'get' ? [] : [`${method.toUpperCase()} ${path}`])),
    );
    expect(changing.sort()).toEqual([...RECORDED, ...ONLY_LOOKING].sort());
  });

  it('is not recorded where somebody only looks', async () => {
    expect(await rowsOf(service, await service.call('POST', '/data-quality/check', { order: anOrderEvent() }))).toEqual(
      [],
    );
  });

  it('is not recorded where it is refused', async () => {
    await service.send(anOrderEvent());
    await service.settled();
    const accepted = (await service.get('/order-events?outcome=accepted&limit=1')).body.items[0].position;
    for (const [method, path, body, status] of [
      ['POST', `/order-events/${accepted}/retry`, {}, 409],
      ['POST', '/order-events/999999/retry', {}, 404],
      ['POST', '/produce', { count: 0 }, 400],
      ['POST', '/dead-letters/redrive', { limit: 0 }, 400],
    ] as const) {
      const answer = await service.call(method, path, body);
      expect([path, answer.status, await rowsOf(service, answer)]).toEqual([path, status, []]);
    }
  });

  it('is not recorded where it is undone', async () => {
    const target = 'thing:undone';
    const undone = service.database.transaction(async (tx) => {
      await service.app.get(Audit).record(tx, SOMEBODY, { action: 'thing.done', target });
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    expect((await service.get(`${AUDIT_LOGS}?target=${target}`)).body.items).toEqual([]);
  });

  it('has its place in the chain a moment later', async () => {
    const answer = await service.call('POST', '/produce', { count: 1 });
    await isSealed(service);
    const [row] = await rowsOf(service, answer);
    const { body } = await service.get(`${AUDIT_LOGS}/verify`);
    expect(body).toEqual({
      verified: true,
      checked: row.sequence,
      sequence: row.sequence,
      hash: row.hash,
      unsealed: 0,
      first_mismatch: null,
    });
  });

  it('is counted as waiting for the chain by a metric', async () => {
    await isSealed(service);
    const waiting = async (): Promise<number> =>
      Number(/^audit_oldest_unsealed_seconds (\S+)$/m.exec((await service.get('/metrics')).body)![1]);
    expect(await waiting()).toBe(0);
    const sealing = jest.spyOn(service.app.get(AuditSealer), 'sealBatch').mockResolvedValue(0);
    await service.database.query(
      sql`insert into audit_log (at, actor, action, target) values (now() - interval '90 seconds', 'a', 'b', 'c')`,
    );
    expect(await waiting()).toBeGreaterThanOrEqual(90);
    expect(await waiting()).toBeLessThan(150);
    sealing.mockRestore();
    service.app.get(AuditSealer).notify();
    await eventually(async () => expect(await waiting()).toBe(0));
  });
});

describe('The audit log', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await service.database.query(
      sql`insert into audit_log (at, actor, action, target, before, after, request_id)
          select '2026-01-31T23:59:59.999Z'::timestamptz + make_interval(days => n), 'actor ' || n % 2, 'thing.done',
            'thing:' || n, '{"n":' || n || '}', null, 'request-' || n
          from generate_series(1, 7) n order by n`,
    );
    service.app.get(AuditSealer).notify();
  });

  afterAll(() => service.stop());

  const targets = (body: Shown): string[] => body.items.map(({ target }: { target: string }) => target);

  it('is shown newest first, page by page', async () => {
    const pages: string[][] = [];
    for (let cursor = ''; ;) {
      const { status, body } = await service.get(`${AUDIT_LOGS}?limit=3${cursor}`);
      expect(status).toBe(200);
      pages.push(targets(body));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(pages).toEqual([['thing:7', 'thing:6', 'thing:5'], ['thing:4', 'thing:3', 'thing:2'], ['thing:1']]);
  });

  it.each([
    ['actor=actor%201', [7, 5, 3, 1]],
    ['actor=actor', []],
    ['action=thing.done', [7, 6, 5, 4, 3, 2, 1]],
    ['action=thing', []],
    ['target=thing:4', [4]],
    ['request_id=request-2', [2]],
    ['start=2026-02-06', [7, 6]],
    ['end=2026-02-02', [2, 1]],
    ['start=2026-02-03&end=2026-02-03', [3]],
    ['actor=actor%200&start=2026-02-03&limit=2', [6, 4]],
  ])('is searched by %s', async (query, found) => {
    const { body } = await service.get(`${AUDIT_LOGS}?${query}`);
    expect(targets(body)).toEqual(found.map((n) => `thing:${n}`));
  });

  it('shows what was before and after as objects', async () => {
    await isSealed(service);
    const { body } = await service.get(`${AUDIT_LOGS}?target=thing:4`);
    expect(body.items).toEqual([
      {
        id: expect.any(Number),
        sequence: expect.any(Number),
        at: '2026-02-04T23:59:59.999Z',
        actor: 'actor 0',
        action: 'thing.done',
        target: 'thing:4',
        before: { n: 4 },
        after: null,
        request_id: 'request-4',
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    ]);
  });

  it.each([
    ['actor=', 'actor'],
    ['actor=%00', 'actor'],
    ['actor=a&actor=b', 'actor'],
    [`target=${'x'.repeat(301)}`, 'target'],
    ['action=%C3%A9', 'action'],
    ['request_id=%0A', 'request_id'],
    ['start=2026-02-30', 'start'],
    ['end=2026-01-31T00:00:00Z', 'end'],
    ['start=2026-02-02&end=2026-02-01', 'start'],
    ['limit=0', 'limit'],
    ['limit=501', 'limit'],
    ['cursor=eyJiZWZvcmUiOiJ4In0', 'cursor'],
    ['sequence=1', 'sequence'],
  ])('refuses to be searched by %s', async (query, field) => {
    const { status, body } = await service.get(`${AUDIT_LOGS}?${query}`);
    expect([status, body.errors.map((wrong: { field: string }) => wrong.field)]).toEqual([400, [field]]);
  });

  it.each([
    `update audit_log set actor = 'x'`,
    `update audit_log set sequence = sequence + 100 where id = 1`,
    `delete from audit_log where id = 1`,
    `truncate audit_log`,
  ])('can not be changed by %s', async (statement) => {
    await isSealed(service);
    await expect(service.database.query(sql.raw(statement))).rejects.toThrow('the audit log is only ever added to');
  });
});

describe('The chain', () => {
  let own: OwnPart<Database> & { url: string };
  let audit: Audit;
  let log: AuditLog;
  let sealer: AuditSealer;

  beforeAll(async () => {
    own = await aDatabase();
    log = new AuditLog(own.part);
  });

  afterAll(() => own.destroy());

  beforeEach(async () => {
    audit = new Audit(own.part);
    sealer = new AuditSealer(audit, own.part);
    await tamperedWith(
      sql`truncate audit_log restart identity`,
      sql`delete from audit_head`,
      sql`insert into audit_head default values`,
    );
  });

  /** Does what only the owner of the table can do. */
  async function tamperedWith(...statements: SQL[]): Promise<void> {
    await own.part.transaction(async (tx) => {
      await tx.query(sql`alter table audit_log disable trigger user`);
      for (const statement of statements) await tx.query(statement);
      await tx.query(sql`alter table audit_log enable trigger user`);
    });
  }

  async function sealedRows(count: number): Promise<void> {
    for (let n = 1; n <= count; n++) {
      await own.part.transaction((tx) => audit.record(tx, SOMEBODY, { ...AN_ACT, after: { n } }));
    }
    await sealAll(sealer);
  }

  async function sealAll(by: AuditSealer): Promise<void> {
    while ((await by.sealBatch()) > 0);
  }

  it('is whole where there is nothing', async () => {
    expect(await log.verify()).toMatchObject({ checked: 0, unsealed: 0, mismatch: null, head: { sequence: 0 } });
  });

  it('holds after sixteen writers at once, two sealers, and while they are at it', async () => {
    const other = new Database(own.url, 10_000);
    await other.availability.start();
    const sealers = [sealer, new AuditSealer(new Audit(other), other)];
    let writing = true;
    const looking = [...sealers, log].map(async (one) => {
      while (writing) {
        if (one === log) expect((await log.verify()).mismatch).toBeNull();
        else await (one as AuditSealer).sealBatch();
      }
    });
    const writers = Array.from({ length: 16 }, async (_, writer) => {
      for (let n = 0; n < 25; n++) {
        const act = { ...AN_ACT, after: { writer, n } };
        if (n % 5 === 0) await audit.announce(SOMEBODY, act);
        else await own.part.transaction((tx) => audit.record(tx, SOMEBODY, act));
      }
    });
    await Promise.all(writers).finally(() => (writing = false));
    await Promise.all(looking);
    await Promise.all(sealers.map(sealAll));
    await sealAll(sealer);
    expect(await log.verify()).toMatchObject({ checked: 400, head: { sequence: 400 }, unsealed: 0, mismatch: null });
    await other.onApplicationShutdown();
  }, 120_000);

  it('takes a row that was written early and committed late, and makes nobody wait for it', async () => {
    let commit = (): void => undefined;
    const held = new Promise<void>((resolve) => (commit = resolve));
    const late = own.part.transaction(async (tx) => {
      await audit.record(tx, SOMEBODY, { ...AN_ACT, target: 'thing:late' });
      await held;
    });
    await eventually(async () => {
      const [row] = await own.part.query<{ used: boolean }>(sql`select is_called as used from audit_log_id_seq`);
      expect(row!.used).toBe(true);
    });
    await sealedRows(3);
    expect(await log.verify()).toMatchObject({ checked: 3, unsealed: 0, mismatch: null });
    commit();
    await late;
    await sealAll(sealer);
    expect(await log.verify()).toMatchObject({ checked: 4, unsealed: 0, mismatch: null });
    const { rows } = await log.page({ target: 'thing:late' }, 10);
    expect(rows).toMatchObject([{ id: 1, sequence: 4 }]);
  });

  it('is sealed and verified over more rows than are looked at together', async () => {
    await own.part.query(
      sql`insert into audit_log (actor, action, target) select 'a', 'b', n::text from generate_series(1, 2100) n`,
    );
    await sealAll(sealer);
    expect(await log.verify()).toMatchObject({ checked: 2100, head: { sequence: 2100 }, mismatch: null });
    await tamperedWith(sql`update audit_log set target = 'x' where sequence = 2050`);
    expect((await log.verify()).mismatch).toEqual({ sequence: 2050, id: expect.any(Number), problem: 'changed' });
  });

  const changed = (n: number): object => ({ sequence: n, id: n, problem: 'changed' });
  const missing = (n: number): object => ({ sequence: n, id: null, problem: 'missing' });
  const otherHead = (n: number): object => ({ sequence: n, id: null, problem: 'head' });

  it.each<[string, SQL[], object]>([
    ['another actor', [sql`update audit_log set actor = 'nobody' where sequence = 3`], changed(3)],
    ['another time', [sql`update audit_log set at = at + interval '1 ms' where sequence = 3`], changed(3)],
    ['another state', [sql`update audit_log set after = '{"n": 3}' where sequence = 3`], changed(3)],
    ['no JSON', [sql`update audit_log set before = 'x' where sequence = 1`], changed(1)],
    ['a row less at the beginning', [sql`delete from audit_log where sequence = 1`], missing(1)],
    ['a row less in the middle', [sql`delete from audit_log where sequence = 3`], missing(3)],
    ['a row less at the end', [sql`delete from audit_log where sequence = 5`], missing(5)],
    ['no rows', [sql`delete from audit_log`], missing(1)],
    [
      'two rows swapped',
      [
        sql`create temporary table swapped on commit drop as select * from audit_log where sequence in (3, 4)`,
        sql`update audit_log set sequence = null, hash = null where sequence in (3, 4)`,
        sql`update audit_log set sequence = swapped.sequence, hash = swapped.hash
            from swapped where swapped.id = 7 - audit_log.id`,
      ],
      { sequence: 3, id: 4, problem: 'changed' },
    ],
    [
      'a head put back',
      [sql`update audit_head set sequence = 4, hash = (select hash from audit_log where sequence = 4)`],
      otherHead(4),
    ],
    ['another head', [sql`update audit_head set hash = sha256('x')`], otherHead(5)],
    ['no head', [sql`delete from audit_head`], otherHead(0)],
  ])('shows %s', async (_, statements, mismatch) => {
    await sealedRows(5);
    expect((await log.verify()).mismatch).toBeNull();
    await tamperedWith(...statements);
    expect((await log.verify()).mismatch).toEqual(mismatch);
    expect((await log.page({}, 10)).rows.length).toBeLessThanOrEqual(5);
  });

  describe('while the database is away', () => {
    const isAway = (): jest.SpyInstance => jest.spyOn(own.part.availability, 'up', 'get').mockReturnValue(false);

    async function rows(): Promise<number> {
      const [row] = await own.part.query<{ rows: number }>(sql`select count(*)::float8 as rows from audit_log`);
      return row!.rows;
    }

    it('has an announced row written once, also where only the answer to the first attempt was lost', async () => {
      jest.spyOn(Logger.prototype, 'warn').mockImplementation();
      const { pool } = own.part as unknown as { pool: { query: (...statement: unknown[]) => Promise<unknown> } };
      const query = pool.query.bind(pool);
      jest.spyOn(pool, 'query').mockImplementationOnce(async (...statement) => {
        await query(...statement);
        throw Object.assign(new Error('read ECONNRESET (pretended)'), { code: 'ECONNRESET' });
      });
      await audit.announce(SOMEBODY, AN_ACT);
      await own.part.availability.waitUntilUp();
      expect(await rows()).toBe(1);
      await audit.writeKept();
      await audit.writeKept();
      expect(await rows()).toBe(1);
    });

    it('has at most ten thousand rows wait, and refuses what would be one more', async () => {
      const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation();
      const away = isAway();
      for (let n = 0; n < 10_000; n++) await audit.announce(SOMEBODY, { ...AN_ACT, target: `thing:${n}` });
      await expect(audit.announce(SOMEBODY, AN_ACT)).rejects.toThrow(DatabaseUnavailable);
      expect(warn.mock.calls).toEqual([['What is done is kept in memory until the audit log can be written']]);
      away.mockRestore();
      await audit.writeKept();
      expect(await rows()).toBe(10_000);
      await audit.announce(SOMEBODY, AN_ACT);
      expect(await rows()).toBe(10_001);
    });

    it('has what waits written at the end of the process if it is back, else told to the log', async () => {
      const error = jest.spyOn(Logger.prototype, 'error').mockImplementation();
      jest.spyOn(Logger.prototype, 'warn').mockImplementation();
      const away = isAway();
      await audit.announce(SOMEBODY, { ...AN_ACT, target: 'thing:written' });
      const other = new Audit(own.part);
      await other.announce(SOMEBODY, { ...AN_ACT, target: 'thing:told' });
      await new AuditSealer(other, own.part).onModuleDestroy();
      expect(error.mock.calls).toEqual([[expect.stringMatching(/^The audit log may lack \{.*"thing:told"/)]]);
      await expect(other.announce(SOMEBODY, AN_ACT)).rejects.toThrow(DatabaseUnavailable);

      away.mockRestore();
      await sealer.onModuleDestroy();
      expect(error).toHaveBeenCalledTimes(1);
      expect((await log.page({}, 10)).rows).toMatchObject([{ target: 'thing:written' }]);
    });
  });
});

describe('POST /produce while the ledger is away', () => {
  it('sends, and is recorded once with its time when the ledger is back', async () => {
    const world = await aWorld();
    const ledger = await aBreakableLedger(world);
    const service = await RunningService.ready({ world, environment: ledger.environment });
    try {
      const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation();
      ledger.goAway(service);
      const answers = [
        await service.call('POST', '/produce', { count: 2, invalid_rate: 0 }),
        await service.call('POST', '/produce', { count: 3, invalid_rate: 0 }),
      ];
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
      const askedBefore = Date.now();
      expect((await service.get(AUDIT_LOGS)).status).toBe(503);
      const said = warn.mock.calls.filter(([line]) => String(line).startsWith('What is done is kept in memory'));
      expect(said).toHaveLength(1);

      await ledger.comeBack();
      await service.isReady();
      await service.settled();
      await isSealed(service);
      const { body } = await service.get(AUDIT_LOGS);
      expect(body.items).toMatchObject(
        answers.toReversed().map(({ headers }) => ({
          action: 'orders.produced',
          request_id: headers.get('x-request-id'),
          sequence: expect.any(Number),
        })),
      );
      for (const { at } of body.items) expect(Date.parse(at)).toBeLessThanOrEqual(askedBefore);
      expect((await service.get('/stats/global')).body.total_orders).toBe(5);
    } finally {
      await service.stop();
      await ledger.remove();
      await world.destroy();
    }
  });
});
