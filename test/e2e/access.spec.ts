import { Controller, Get, Module, Post } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { Test } from '@nestjs/testing';
import { join } from 'node:path';
import { AccessPolicyCheck } from '../../src/auth/access/access-check.js';
import { RequireScope, OpenToAll } from '../../src/platform/http/access.js';
import { A_JWT_SECRET, A_METRICS_TOKEN, anAccount, asAdmin, bearer, SECURED } from '../support/accounts.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { EventStream } from '../support/event-stream.js';
import { eventually } from '../support/eventually.js';
import type { ApiDocument } from '../support/hostile-requests.js';
import { withQuickLooks } from '../support/no-waiting.js';
import { anOrderEvent } from '../support/order-events.js';

/** Who calls: nobody in particular, a person of a role, an API key of an admin without any scope, or a scraper. */
const CALLERS = ['nobody', 'customer', 'vendor', 'analyst', 'admin', 'key', 'scraper'] as const;
type CallerKind = (typeof CALLERS)[number];

const PERSONS: CallerKind[] = ['customer', 'vendor', 'analyst', 'admin'];
const SIGNED_IN: CallerKind[] = [...PERSONS, 'key', 'scraper'];
const READERS: CallerKind[] = ['analyst', 'admin'];
const ADMINS: CallerKind[] = ['admin'];
const SELLERS: CallerKind[] = ['vendor', 'admin'];
const BUYERS: CallerKind[] = ['customer', 'vendor', 'admin'];
const SCRAPERS: CallerKind[] = ['admin', 'scraper'];
const EVERYBODY: readonly CallerKind[] = CALLERS;

/**
 * Every route, and who gets past the door. Where somebody may see what is theirs, another's is not there for them: 404
 * where elsewhere it is 403. A route that is not here, or is here and nowhere else, fails the test.
 */
const ROUTES: Record<string, readonly CallerKind[]> = {
  'GET /api': EVERYBODY,
  'GET /dashboard': EVERYBODY,
  'GET /health': EVERYBODY,
  'GET /health/live': EVERYBODY,
  'GET /health/ready': EVERYBODY,
  'GET /metrics': SCRAPERS,
  'GET /api/v1/system/health': EVERYBODY,
  'GET /api/v1/system/metrics': SCRAPERS,
  'GET /api/v1/system/workers': SCRAPERS,

  'POST /api/v1/auth/signup': EVERYBODY,
  'POST /api/v1/auth/login': EVERYBODY,
  'POST /api/v1/auth/refresh': EVERYBODY,
  'POST /api/v1/auth/logout': EVERYBODY,
  'GET /api/v1/auth/me': SIGNED_IN,
  'POST /api/v1/auth/api-keys': PERSONS,
  'GET /api/v1/auth/api-keys': PERSONS,
  'DELETE /api/v1/auth/api-keys/{key_id}': PERSONS,
  'GET /api/v1/auth/accounts': ADMINS,
  'GET /api/v1/auth/accounts/{account_id}': ADMINS,
  'PUT /api/v1/auth/accounts/{account_id}/role': ADMINS,

  'GET /api/v1/system/audit-logs': ADMINS,
  'GET /api/v1/system/audit-logs/verify': ADMINS,
  'POST /api/v1/system/demo-data': ADMINS,
  'DELETE /api/v1/users/{user_id}/personal-data': ADMINS,

  'GET /api/v1/inventory': SIGNED_IN,
  'GET /api/v1/inventory/{sku}': SIGNED_IN,
  'GET /api/v1/inventory/{sku}/movements': SELLERS,
  'POST /api/v1/inventory': SELLERS,
  'PATCH /api/v1/inventory/{sku}': SELLERS,
  'POST /api/v1/inventory/{sku}/restock': SELLERS,
  'GET /api/v1/warehouses': SIGNED_IN,
  'PUT /api/v1/warehouses/{code}': ADMINS,
  'GET /api/v1/orders': BUYERS,
  'POST /api/v1/orders': BUYERS,
  'GET /api/v1/orders/{order_id}': BUYERS,
  'GET /api/v1/orders/{order_id}/timeline': BUYERS,
  'POST /api/v1/orders/{order_id}/cancel': BUYERS,
  'GET /api/v1/shipments/{tracking_number}': BUYERS,
  'GET /api/v1/system/failed-jobs': ADMINS,
  'POST /api/v1/system/failed-jobs/{job_id}/retry': ADMINS,
  'POST /api/v1/system/failed-jobs/{job_id}/resolve': ADMINS,

  'POST /api/v1/payments/webhook': EVERYBODY,

  'GET /stats/global': READERS,
  'GET /stats/top/{n}': READERS,
  'GET /stats/monthly': READERS,
  'GET /stats/monthly/{month}': READERS,
  'GET /stats/daily': READERS,
  'GET /stats/products': READERS,
  'GET /ledger/verify': READERS,
  'GET /ledger/verify/{id}': READERS,
  'GET /stats/verify': READERS,
  'GET /stats/verify/{id}': READERS,
  'GET /stats/rebuild': READERS,
  'GET /stats/rebuild/{id}': READERS,
  'POST /stats/rebuild': ADMINS,

  'GET /data-quality/findings': READERS,
  'GET /data-quality': READERS,
  'GET /data-quality/reports/{id}': READERS,

  'GET /users': READERS,
  'GET /users/{user_id}/stats': READERS,
  'GET /users/{user_id}/orders': READERS,

  'GET /order-events': READERS,
  'GET /order-events/{position}': READERS,
  'POST /order-events/{position}/retry': ADMINS,
  'POST /order-events/retry': ADMINS,
  'POST /data-quality/check': READERS,
  'GET /refunds/waiting': READERS,
  'GET /repairs': READERS,
  'GET /repairs/{id}': READERS,
  'GET /dead-letters': READERS,
  'POST /dead-letters/redrive': ADMINS,
  'DELETE /dead-letters/{message_id}': ADMINS,
  'GET /consumer_logs': READERS,
  'GET /consumer_logs/stream': READERS,
  'POST /produce': ADMINS,
  // Last, because whoever is let in does it.
  'DELETE /clear_redis_db': ADMINS,
};

/** Where the caller's own are let through, so that others' are as if they were not there. */
const OWN = ['GET /users/{user_id}/stats', 'GET /users/{user_id}/orders'];

/** Where a signature lets in, which is asked for behind the door: here nobody has one, whoever they are. */
const SIGNED = ['POST /api/v1/payments/webhook'];

/** What stands in the paths. There is a user U7; of the others there is none. */
const IN_PATH: Record<string, string> = {
  code: 'EAST',
  account_id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  job_id: '99',
  key_id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  message_id: 'none',
  month: '2026-01',
  n: '3',
  order_id: 'ORD-5F3C6F0E2A4F7B1C',
  position: '99',
  sku: 'A123',
  tracking_number: 'SP473124829XX',
  user_id: 'U7',
};

let world: World;
let service: RunningService;
let headers: Record<CallerKind, Record<string, string>>;

beforeAll(async () => {
  world = await aWorld(SECURED);
  service = await RunningService.ready({ world });
  withQuickLooks(service.sqs);
  await service.send(anOrderEvent({ user_id: 'U7' }));
  await service.settled();
  const admin = await asAdmin(service);
  const key = await service.call('POST', '/api/v1/auth/api-keys', { name: 'no scope', scopes: [] }, admin);
  headers = {
    nobody: {},
    customer: (await anAccount(service, 'customer')).header,
    vendor: (await anAccount(service, 'vendor')).header,
    analyst: (await anAccount(service, 'analyst')).header,
    admin,
    key: bearer(key.body.key),
    scraper: bearer(A_METRICS_TOKEN),
  };
}, 60_000);

afterAll(async () => {
  await service.stop();
  await world.destroy();
});

/** Asks a route with a body that no route takes, so that nothing is changed by who gets through. */
async function ask(
  url: string,
  route: string,
  caller: Record<string, string>,
): Promise<{ status: number; code?: string }> {
  const [method, template] = route.split(' ') as [string, string];
  const path = template.replace(/\{(\w+)\}/g, (_, name: string) => IN_PATH[name]!);
  const hasBody = ['POST', 'PUT', 'PATCH'].includes(method);
  const leaving = new AbortController();
  const response = await fetch(url + path, {
    method,
    headers: { ...caller, ...(hasBody && { 'content-type': 'application/json' }) },
    ...(hasBody && { body: '{"unexpected": 1}' }),
    signal: leaving.signal,
  });
  const type = response.headers.get('content-type') ?? '';
  const problem = type.includes('problem') ? ((await response.json()) as { code: string }) : undefined;
  if (!problem) leaving.abort();
  return { status: response.status, code: problem?.code };
}

/** What the door says to a caller of a route. */
function refusal(route: string, kind: CallerKind): { status: number; code: string } | null {
  if (ROUTES[route]!.includes(kind)) return null;
  if (kind === 'nobody') return { status: 401, code: 'not_signed_in' };
  return OWN.includes(route) ? { status: 404, code: 'not_found' } : { status: 403, code: 'not_allowed' };
}

describe('The door', () => {
  it('is in the table with every route there is', async () => {
    const { paths } = (await service.get('/docs-json')).body as ApiDocument;
    const routes = Object.entries(paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(Object.keys(ROUTES).sort()).toEqual(routes.sort());
  });

  describe.each(Object.keys(ROUTES))('%s', (route) => {
    it.each(CALLERS)('lets in, or not: %s', async (kind) => {
      const answer = await ask(service.url, route, headers[kind]);
      const refused = refusal(route, kind);
      if (refused) expect(answer).toEqual(refused);
      else if (SIGNED.includes(route)) expect(answer).toEqual({ status: 401, code: 'invalid_webhook_signature' });
      else {
        expect([401, 403]).not.toContain(answer.status);
        if (OWN.includes(route)) expect(answer.status).toBe(200);
        expect(answer.code).not.toBe('route_not_found');
        expect(answer.status).toBeLessThan(500);
      }
    });
  });

  it('is open for the documentation, which says how to get in', async () => {
    expect((await service.get('/docs')).status).toBe(200);
    const { body } = await service.get('/docs-json');
    expect(body.components.securitySchemes.bearer).toMatchObject({ type: 'http', scheme: 'bearer' });
    expect(body.paths['/stats/global'].get.security).toEqual([{ bearer: [] }]);
    expect(body.paths['/stats/global'].get.responses).toHaveProperty('401');
    expect(body.paths['/stats/global'].get.responses).toHaveProperty('403');
    expect(body.paths['/health/live'].get).not.toHaveProperty('security');
  });

  it('tells a customer of what is theirs, and nothing of what is not', async () => {
    const { userId, header } = await anAccount(service);
    await service.send(anOrderEvent({ user_id: userId }));
    await service.settled();
    expect(await service.get(`/users/${userId}/stats`, header)).toMatchObject({
      status: 200,
      body: { order_count: 1 },
    });
    expect(await service.get(`/users/${userId.toLowerCase()}/orders`, header)).toMatchObject({
      status: 200,
      body: { items: [{ user_id: userId }] },
    });
    const of = (id: string) => service.get(`/users/${id}/stats`, header);
    const [others, nobodys] = [await of('U7'), await of('U8')];
    expect(others).toMatchObject({ status: 404, body: { code: 'not_found' } });
    expect(others.body.detail.replace('U7', 'U8')).toBe(nobodys.body.detail);
  });

  it('stops a start in which a route was forgotten', async () => {
    @Controller()
    class Forgetful {
      @Get('remembered')
      @OpenToAll()
      remembered(): void {}

      @Post('forgotten')
      forgotten(): void {}
    }

    @Controller()
    @RequireScope('audit:read')
    class Remembering {
      @Get('all')
      all(): void {}
    }

    @Module({ imports: [DiscoveryModule], controllers: [Forgetful, Remembering], providers: [AccessPolicyCheck] })
    class House {}

    const house = await Test.createTestingModule({ imports: [House] }).compile();
    const app = house.createNestApplication({ logger: false });
    await expect(app.init()).rejects.toThrow(/not whom it lets in: Forgetful\.forgotten$/);
    await app.close();
  });
});

describe('A stream that is open', () => {
  const STREAM = '/consumer_logs/stream';
  let other: RunningService;
  let streams: EventStream[];

  beforeAll(async () => {
    other = await RunningService.ready({ world, environment: { DATA_DIR: join(world.dataDir, 'other') } });
  }, 60_000);

  afterAll(() => other.stop());

  beforeEach(() => (streams = []));

  afterEach(() => {
    for (const stream of streams) stream.close();
  });

  async function opened(at: RunningService, header: Record<string, string>): Promise<EventStream> {
    const stream = await EventStream.open(at.url + STREAM, header);
    streams.push(stream);
    expect(stream.response.status).toBe(200);
    return stream;
  }

  /** The code that the last event of a stream gives for its end. */
  async function endOf(stream: EventStream): Promise<string> {
    await eventually(() => expect(stream.events.at(-1)?.event).toBe('end'));
    await stream.ended;
    return stream.events.at(-1)!.data.code as string;
  }

  async function aKey(header: Record<string, string>): Promise<{ id: string; key: string }> {
    const given = { name: 'reader', scopes: ['order-events:read'] };
    return (await service.call('POST', '/api/v1/auth/api-keys', given, header)).body;
  }

  it('says why it ends, as a new request would be refused', async () => {
    const { header, refreshToken } = await anAccount(service, 'analyst');
    const stream = await opened(service, header);
    await service.call('POST', '/api/v1/auth/logout', { refresh_token: refreshToken });
    await endOf(stream);
    expect(stream.events.at(-1)).toEqual({
      event: 'end',
      id: '',
      data: (await service.get(STREAM, header)).body,
    });
    expect(stream.events.at(-1)!.data).toMatchObject({ status: 401, code: 'not_signed_in', instance: STREAM });
  });

  it('ends within 5 s when its reader’s rights end in another process, and no other does', async () => {
    const admin = await asAdmin(service);
    const [loggedOut, demoted, erased, owner, stays] = await Promise.all(
      Array.from({ length: 5 }, () => anAccount(service, 'analyst')),
    );
    const { id, key } = await aKey(owner!.header);
    const open = (header: Record<string, string>): Promise<EventStream> => opened(other, header);
    const unaffected = [await open(stays!.header), await open(owner!.header)];
    const ending = [
      await open(loggedOut!.header),
      await open(demoted!.header),
      await open(erased!.header),
      await open(bearer(key)),
    ];
    const at = performance.now();
    await Promise.all([
      service.call('POST', '/api/v1/auth/logout', { refresh_token: loggedOut!.refreshToken }),
      service.call('PUT', `/api/v1/auth/accounts/${demoted!.id}/role`, { role: 'customer' }, admin),
      service.call('DELETE', `/api/v1/users/${erased!.userId}/personal-data`, undefined, admin),
      service.call('DELETE', `/api/v1/auth/api-keys/${id}`, undefined, owner!.header),
    ]);
    const codes = await Promise.all(ending.map(endOf));
    expect(performance.now() - at).toBeLessThan(5_000);
    expect(codes).toEqual(['not_signed_in', 'not_allowed', 'not_signed_in', 'not_signed_in']);
    expect(unaffected.flatMap(({ events }) => events)).toEqual([]);
  });

  it('ends with its access token', async () => {
    const jwt = new JwtService({});
    const { header } = await anAccount(service, 'analyst');
    const { payload, header: head } = jwt.decode(header.authorization.slice('Bearer '.length), { complete: true });
    const exp = Math.floor(Date.now() / 1000) + 2;
    const short = jwt.sign({ ...payload, exp }, { secret: A_JWT_SECRET, keyid: head.kid });
    expect(await endOf(await opened(service, bearer(short)))).toBe('not_signed_in');
    expect(Date.now()).toBeGreaterThanOrEqual(exp * 1000);
  });
});

describe('Where access is open', () => {
  let open: RunningService;

  beforeAll(async () => {
    open = await RunningService.ready();
    withQuickLooks(open.sqs);
    await open.send(anOrderEvent({ user_id: 'U7' }));
    await open.settled();
  });

  afterAll(() => open.stop());

  it.each(Object.keys(ROUTES))('nobody has to log in: %s', async (route) => {
    const { status, code } = await ask(open.url, route, {});
    if (SIGNED.includes(route)) expect(code).toBe('invalid_webhook_signature');
    else expect([401, 403]).not.toContain(status);
    expect(status).toBeLessThan(500);
  });

  it('whoever does not log in is the local operator', async () => {
    const { status, body } = await open.get('/api/v1/auth/me');
    expect(status).toBe(200);
    expect(body).toMatchObject({ kind: 'operator', name: 'local-operator', role: null, email: null });
    expect(body.scopes).toContain('accounts:manage');
  });

  it('whoever logs in all the same is who they say, and may do what they may elsewhere', async () => {
    const { header, id } = await anAccountMadeOpenly();
    expect((await open.get('/api/v1/auth/me', header)).body).toMatchObject({ kind: 'account', id, role: 'customer' });
    expect((await open.get('/stats/global', header)).status).toBe(403);
    expect((await open.get('/stats/global', bearer('nonsense'))).status).toBe(401);
  });

  it('the operator sets roles and makes API keys', async () => {
    const { header, id } = await anAccountMadeOpenly();
    const promoted = await open.call('PUT', `/api/v1/auth/accounts/${id}/role`, { role: 'analyst' });
    expect(promoted).toMatchObject({ status: 200, body: { id, role: 'analyst' } });
    expect((await open.get('/stats/global', header)).status).toBe(200);
    const key = await open.call('POST', '/api/v1/auth/api-keys', { name: 'a machine', scopes: ['statistics:read'] });
    expect(key).toMatchObject({ status: 201, body: { account_id: null, scopes: ['statistics:read'] } });
    expect((await open.get('/stats/global', bearer(key.body.key))).status).toBe(200);
    expect((await open.get('/order-events', bearer(key.body.key))).status).toBe(403);
  });

  function anAccountMadeOpenly(): ReturnType<typeof anAccount> {
    return anAccount(open);
  }
});
