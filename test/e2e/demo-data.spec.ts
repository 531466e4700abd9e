import { sql } from 'drizzle-orm';
import { PassThrough } from 'node:stream';
import { Accounts } from '../../src/auth/accounts.js';
import { run as seed } from '../../src/cli/seed.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { DemoData } from '../../src/platform/demo/demo-data.js';
import { aPerson, bearer, logIn, signUp } from '../support/accounts.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';

const DEMO_DATA = '/api/v1/system/demo-data';
const INVENTORY = '/api/v1/inventory';
const CUSTOMER = 'customer@demo.example';
const VENDOR = 'vendor@demo.example';
/** Whatever demo data consists of, and what records of it there are. */
const TABLES = ['accounts', 'warehouses', 'products', 'stock', 'stock_movements', 'audit_log'];

afterEach(() => {
  jest.restoreAllMocks();
});

async function dump(service: RunningService): Promise<unknown> {
  // A row's place in the chain is given to it later.
  const rows = TABLES.map((table) =>
    service.database.query(sql.raw(`select to_jsonb(t) - 'sequence' - 'hash' as row from ${table} t order by 1`)),
  );
  return JSON.stringify(await Promise.all(rows));
}

async function skus(service: RunningService): Promise<string[]> {
  const { body } = await service.get(INVENTORY);
  return body.items.map(({ sku }: { sku: string }) => sku);
}

describe('A first start', () => {
  let world: World;
  let running: RunningService[];

  beforeEach(async () => {
    world = await aWorld({ DEMO_DATA: 'on' });
    running = [];
  });

  afterEach(async () => {
    for (const service of running) await service.stop();
    await world.destroy();
  });

  async function started(environment: Record<string, string> = {}): Promise<RunningService> {
    const service = await RunningService.ready({ world, environment });
    running.push(service);
    return service;
  }

  async function stopped(service: RunningService): Promise<void> {
    running.splice(running.indexOf(service), 1);
    await service.stop();
  }

  /** Waits until somebody has found out whether there is anything yet. */
  async function hasLooked(looks: jest.SpyInstance<Promise<boolean>>): Promise<boolean> {
    await eventually(() => expect(looks).toHaveBeenCalled());
    return looks.mock.results[0]!.value as Promise<boolean>;
  }

  it('makes a catalogue, a customer and a vendor, and the next changes nothing, whatever was sold or restocked', async () => {
    const first = await started();
    await eventually(async () => expect(await skus(first)).toHaveLength(10));
    expect((await first.get(`${INVENTORY}/A123`)).body).toMatchObject({
      on_hand: 100,
      warehouses: [{ warehouse: 'EAST' }, { warehouse: 'WEST' }],
    });
    expect((await first.get(`${INVENTORY}/B456`)).body).toMatchObject({ on_hand: 0, low_stock: true });
    expect(await skus(first)).toContain('SKU-HEADPHONES');
    const owners = await first.database.query(
      sql`select email, count(*)::int as products from products left join accounts on accounts.id = vendor_id group by 1`,
    );
    expect(owners).toEqual([{ email: VENDOR, products: 10 }]);
    const byFirstStart = async () => (await first.get('/api/v1/system/audit-logs?actor=first-start')).body.items;
    await eventually(async () => expect((await byFirstStart())[0]).toMatchObject({ action: 'demo_data.planted' }));
    expect(await byFirstStart()).toHaveLength(15);

    await first.call('POST', `${INVENTORY}/A123/restock`, { warehouse: 'EAST', quantity: -60 });
    await first.call('POST', `${INVENTORY}/B456/restock`, { warehouse: 'WEST', quantity: 5 });
    await first.call('PATCH', `${INVENTORY}/A123`, { price: 1 });
    const before = await dump(first);
    await stopped(first);

    const looks = jest.spyOn(DemoData.prototype, 'isUntouched');
    const second = await started();
    expect(await hasLooked(looks)).toBe(false);
    expect(await dump(second)).toBe(before);
  }, 60_000);

  it('that broke off before it had made a product is finished by the next', async () => {
    const broken = await started({ DEMO_DATA: 'off' });
    await broken.call('PUT', '/api/v1/warehouses/EAST', { name: 'East' });
    await stopped(broken);
    const next = await started();
    await eventually(async () => expect(await skus(next)).toHaveLength(10));
    expect((await next.get('/api/v1/warehouses')).body).toEqual([
      { code: 'EAST', name: 'East' },
      { code: 'WEST', name: 'West coast warehouse' },
    ]);
  }, 60_000);

  it('leaves what somebody made before alone', async () => {
    const before = await started({ DEMO_DATA: 'off' });
    await before.call('PUT', '/api/v1/warehouses/NORTH', { name: 'North' });
    const found = await dump(before);
    await stopped(before);
    const looks = jest.spyOn(DemoData.prototype, 'isUntouched');
    const after = await started();
    expect(await hasLooked(looks)).toBe(false);
    expect(await dump(after)).toBe(found);
  }, 60_000);

  it('makes nothing where it is told not to', async () => {
    const looks = jest.spyOn(DemoData.prototype, 'isUntouched');
    const plants = jest.spyOn(DemoData.prototype, 'plant');
    const service = await started({ DEMO_DATA: 'off' });
    expect(await skus(service)).toEqual([]);
    expect(looks).not.toHaveBeenCalled();
    expect(plants).not.toHaveBeenCalled();
  }, 60_000);

  it('tries again when the database is back', async () => {
    jest.spyOn(DemoData.prototype, 'plant').mockRejectedValueOnce(new DatabaseUnavailable('away'));
    const service = await started();
    await eventually(async () => expect(await skus(service)).toHaveLength(10));
  }, 60_000);
});

describe('Demo data on request', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
  }, 60_000);

  afterAll(() => service.stop());

  beforeEach(async () => {
    await service.database.query(sql`truncate warehouses, products cascade`);
    await service.database.query(
      sql`update accounts set email = 'former-' || id, demo = false, role = 'customer' where email like '%@demo.example'`,
    );
  });

  const plant = (body?: object): Promise<Answer> => service.call('POST', DEMO_DATA, body);

  /** The demo account of an address, as an answer tells of it. */
  const accountIn = ({ body }: Answer, email: string): Answer['body'] =>
    body.accounts.find((account: { email: string }) => account.email === email);

  const statesIn = ({ body }: Answer): string[] =>
    [...body.accounts, ...body.warehouses, ...body.products].map(({ state }: { state: string }) => state);

  const mayLogIn = async (email: string, password: string): Promise<boolean> =>
    (await logIn(service, { email, password })).status === 200;

  it('says what was made, and with which passwords one gets in', async () => {
    const answer = await plant();
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store']);
    expect(answer.body).toEqual({
      accounts: [
        { email: CUSTOMER, role: 'customer', state: 'made', password: expect.any(String), note: null },
        { email: VENDOR, role: 'vendor', state: 'made', password: expect.any(String), note: null },
      ],
      warehouses: ['EAST', 'WEST'].map((code) => ({ code, state: 'made' })),
      products: (await skus(service)).map((sku) => ({ sku, state: 'made' })),
    });
    const header: Record<string, Record<string, string>> = {};
    for (const { email, role, password } of answer.body.accounts) {
      const { body: tokens } = await logIn(service, { email, password });
      header[role] = bearer(tokens.access_token);
      expect((await service.get('/api/v1/auth/me', header[role])).body).toMatchObject({ email, role });
    }
    const change = (role: string) => service.call('PATCH', `${INVENTORY}/A123`, { price: 30 }, header[role]);
    expect([(await change('vendor')).status, (await change('customer')).status]).toEqual([200, 403]);
  });

  it('leaves alone what is there, passwords too', async () => {
    const first = await plant();
    await service.call('POST', `${INVENTORY}/A123/restock`, { warehouse: 'WEST', quantity: -40 });
    await service.call('PATCH', `${INVENTORY}/A123`, { price: 1, name: 'Another' });
    await service.call('PUT', '/api/v1/warehouses/EAST', { name: 'Another' });
    const before = (await service.get(`${INVENTORY}/A123`)).body;

    const second = await plant({ reset_passwords: false });
    expect(new Set(statesIn(second))).toEqual(new Set(['there']));
    expect((await service.get(`${INVENTORY}/A123`)).body).toEqual(before);
    expect((await service.get('/api/v1/warehouses')).body[0]).toEqual({ code: 'EAST', name: 'Another' });
    for (const email of [CUSTOMER, VENDOR]) {
      expect(accountIn(second, email)).toMatchObject({ password: null, note: null });
      expect(await mayLogIn(email, accountIn(first, email).password)).toBe(true);
    }
  });

  it('sets other passwords if asked to, and whoever was in is out', async () => {
    const { password: former } = accountIn(await plant(), VENDOR);
    const header = bearer((await logIn(service, { email: VENDOR, password: former })).body.access_token);
    const { body: key } = await service.call('POST', '/api/v1/auth/api-keys', { name: 'a key', scopes: [] }, header);
    const me = async (shown: Record<string, string>) => (await service.get('/api/v1/auth/me', shown)).status;
    expect([await me(header), await me(bearer(key.key))]).toEqual([200, 200]);

    const answer = await plant({ reset_passwords: true });
    const { state, password } = accountIn(answer, VENDOR);
    expect([state, accountIn(answer, CUSTOMER).state]).toEqual(['reset', 'reset']);
    expect(await mayLogIn(VENDOR, password)).toBe(true);
    expect(await mayLogIn(VENDOR, former)).toBe(false);
    expect([await me(header), await me(bearer(key.key))]).toEqual([401, 401]);
  });

  it('takes over no account that somebody else signed up, and says so', async () => {
    const stranger = { ...aPerson(), email: VENDOR };
    const { body: account } = await signUp(service, stranger);
    for (const reset_passwords of [false, true]) {
      expect(accountIn(await plant({ reset_passwords }), VENDOR)).toEqual({
        email: VENDOR,
        role: 'vendor',
        state: 'taken',
        password: null,
        note: expect.stringContaining('is taken'),
      });
    }
    const { body: tokens } = await logIn(service, stranger);
    expect((await service.get('/api/v1/auth/me', bearer(tokens.access_token))).body).toMatchObject({
      id: account.id,
      role: 'customer',
    });
    const owned = await service.database.query(sql`select sku from products where vendor_id is not null`);
    expect([owned, await skus(service)]).toEqual([[], expect.arrayContaining(['A123'])]);
  });

  it('leaves the password of an account alone that was given another role', async () => {
    const { password } = accountIn(await plant(), CUSTOMER);
    const { items } = (await service.get(`/api/v1/auth/accounts?email=${CUSTOMER}`)).body;
    await service.call('PUT', `/api/v1/auth/accounts/${items[0].id}/role`, { role: 'admin' });
    expect(accountIn(await plant({ reset_passwords: true }), CUSTOMER)).toMatchObject({
      state: 'there',
      password: null,
      note: expect.stringContaining('an admin'),
    });
    expect(await mayLogIn(CUSTOMER, password)).toBe(true);
  });

  it('leaves alone who became the first admin, whatever they become then', async () => {
    await plant();
    const admin = { email: VENDOR, password: 'fixture-secret green lantern' };
    const { id } = (await service.app.get(Accounts).makeFirstAdmin(admin))!;
    await service.database.query(sql`update accounts set role = 'vendor' where id = ${id}::uuid`);
    expect(accountIn(await plant({ reset_passwords: true }), VENDOR)).toMatchObject({ state: 'taken' });
    expect(await mayLogIn(VENDOR, admin.password)).toBe(true);
  });

  it('makes the account anew of who was erased', async () => {
    const { password } = accountIn(await plant(), CUSTOMER);
    const [{ user_id }] = (await service.get(`/api/v1/auth/accounts?email=${CUSTOMER}`)).body.items;
    expect((await service.call('DELETE', `/api/v1/users/${user_id}/personal-data`)).status).toBe(200);
    const made = accountIn(await plant(), CUSTOMER);
    expect(made.state).toBe('made');
    expect([await mayLogIn(CUSTOMER, made.password), await mayLogIn(CUSTOMER, password)]).toEqual([true, false]);
  });

  it('is made once, however many ask for it at once', async () => {
    await Promise.all(Array.from({ length: 8 }, () => service.get('/api/v1/warehouses')));
    for (let round = 0; round < 3; round++) {
      await service.database.query(sql`truncate warehouses, products cascade`);
      await service.database.query(
        sql`update accounts set email = 'former-' || id, demo = false where email like '%@demo.example'`,
      );
      const answers = await Promise.all(Array.from({ length: 4 }, () => plant()));
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
      const made = answers.flatMap(statesIn).filter((state) => state === 'made');
      expect(made).toHaveLength(14);
      expect((await service.get(`${INVENTORY}/A123`)).body.on_hand).toBe(100);
      for (const email of [CUSTOMER, VENDOR]) {
        const [{ password }] = answers
          .map((answer) => accountIn(answer, email))
          .filter(({ state }) => state === 'made');
        expect(await mayLogIn(email, password)).toBe(true);
      }
    }
  });

  it('is for an API key that has the scope for it', async () => {
    const header = async (scopes: string[]) => {
      const { body } = await service.call('POST', '/api/v1/auth/api-keys', { name: 'a key', scopes });
      return bearer(body.key);
    };
    const asked = async (scopes: string[]) => (await service.call('POST', DEMO_DATA, {}, await header(scopes))).status;
    expect([await asked(['catalogue:manage-any']), await asked(['demo-data:plant'])]).toEqual([403, 200]);
  });

  it('is what npm run seed makes, with log-ins that are good', async () => {
    const [out, err] = [new PassThrough(), new PassThrough()];
    const environment = { PORT: new URL(service.url).port };
    expect([await seed([], { out, err, environment }), err.read()]).toEqual([0, null]);
    const logIns = [...String(out.read()).matchAll(/^Log in +(\S+) +(\S+)$/gm)].map(([, email, password]) => ({
      email: email!,
      password: password!,
    }));
    expect(logIns.map(({ email }) => email)).toEqual([CUSTOMER, VENDOR]);
    for (const { email, password } of logIns) expect(await mayLogIn(email, password)).toBe(true);
  });
});
