import { sql } from 'drizzle-orm';
import { PassThrough } from 'node:stream';
import { Accounts } from '../../src/auth/accounts/accounts.service.js';
import { run as seed } from '../../src/cli/seed.js';
import { Database } from '../../src/platform/database/database.js';
import { DemoData } from '../../src/platform/demo/demo-data.js';
import { aPerson, bearer, logIn, signUp } from '../support/accounts.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';

const DEMO_DATA = '/api/v1/system/demo-data';
const INVENTORY = '/api/v1/inventory';
const CUSTOMER = 'customer@demo.example';
const VENDOR = 'vendor@demo.example';
const FIRST_ORDER = {
  currency: 'USD',
  items: [{ sku: 'A123', quantity: 1 }],
  shipping_address: '1 Main Street',
  payment_method: 'TEST-OK',
};
/** Whatever demo data consists of, and what records of it there are. */
const TABLES = ['accounts', 'warehouses', 'products', 'stock', 'stock_movements', 'audit_log'];

afterEach(() => {
  jest.restoreAllMocks();
});

async function dump(database: Database): Promise<string> {
  // A row's place in the chain is given to it later.
  const rows = TABLES.map((table) =>
    database.query(sql.raw(`select to_jsonb(t) - 'sequence' - 'hash' as row from ${table} t order by 1`)),
  );
  return JSON.stringify(await Promise.all(rows));
}

async function skus(service: RunningService): Promise<string[]> {
  const { body } = await service.get(INVENTORY);
  return body.items.map(({ sku }: { sku: string }) => sku);
}

describe('A first start', () => {
  let world: World;
  let database: Database;
  let running: RunningService | null;

  beforeEach(async () => {
    world = await aWorld({ DEMO_DATA: 'on' });
    database = new Database(world.environment.DATABASE_URL!, 10_000);
    await database.availability.start();
    running = null;
  });

  afterEach(async () => {
    await running?.stop();
    await database.onApplicationShutdown();
    await world.destroy();
  });

  async function started(): Promise<RunningService> {
    running = await RunningService.start({ world });
    return running;
  }

  async function ready(): Promise<RunningService> {
    const service = await started();
    await service.isReady();
    return service;
  }

  it('is ready when a catalogue, a customer and a vendor are made: the first order is taken', async () => {
    let resume!: () => void;
    const held = new Promise<void>((resolve) => (resume = resolve));
    const demoData = DemoData.prototype;
    const plant = demoData.plant;
    jest.spyOn(demoData, 'plant').mockImplementation(async function (this: DemoData, ...given) {
      await held;
      return plant.apply(this, given);
    });
    const service = await started();
    await eventually(async () => {
      const { status, body } = await service.get('/health/ready');
      expect([status, Object.keys(body.error)]).toEqual([503, ['demo_data']]);
    });
    expect((await service.get(`${INVENTORY}/A123`)).status).toBe(404);
    resume();
    await service.isReady();
    const [product, order] = await Promise.all([
      service.get(`${INVENTORY}/A123`),
      service.call('POST', '/api/v1/orders', FIRST_ORDER, { 'idempotency-key': 'first' }),
    ]);
    expect([product.status, order.status, order.body.status]).toEqual([200, 202, 'accepted']);

    expect(await skus(service)).toHaveLength(10);
    expect(await skus(service)).toContain('SKU-HEADPHONES');
    expect(product.body).toMatchObject({
      on_hand: 100,
      warehouses: [{ warehouse: 'EAST' }, { warehouse: 'WEST' }],
    });
    expect((await service.get(`${INVENTORY}/B456`)).body).toMatchObject({ on_hand: 0, low_stock: true });
    const owners = await database.query(
      sql`select email, count(*) as products from products left join accounts on accounts.id = vendor_id group by 1`,
    );
    expect(owners).toEqual([{ email: VENDOR, products: 10 }]);
    const { items } = (await service.get('/api/v1/system/audit-logs?actor=first-start')).body;
    expect(items[0]).toMatchObject({ action: 'demo_data.planted' });
    expect(items).toHaveLength(15);
  });

  it('changes nothing where there is demo data, whatever was sold or restocked', async () => {
    const first = await ready();
    await first.call('POST', `${INVENTORY}/A123/restock`, { warehouse: 'EAST', quantity: -60 });
    await first.call('POST', `${INVENTORY}/B456/restock`, { warehouse: 'WEST', quantity: 5 });
    await first.call('PATCH', `${INVENTORY}/A123`, { price: 1 });
    await first.stop();
    const before = await dump(database);
    await ready();
    expect(await dump(database)).toBe(before);
  });

  it('finishes what broke off before it had made a product', async () => {
    await database.query(sql`insert into warehouses (code, name) values ('EAST', 'East')`);
    const service = await ready();
    expect(await skus(service)).toHaveLength(10);
    expect((await service.get('/api/v1/warehouses')).body).toEqual([
      { code: 'EAST', name: 'East' },
      { code: 'WEST', name: 'West coast warehouse' },
    ]);
  });

  it('leaves what somebody made before alone', async () => {
    await database.query(sql`insert into warehouses (code, name) values ('NORTH', 'North')`);
    const found = await dump(database);
    await ready();
    expect(await dump(database)).toBe(found);
  });
});

describe('Demo data on request', () => {
  let service: RunningService;
  let atTheStart: jest.SpyInstance[];

  beforeAll(async () => {
    atTheStart = [jest.spyOn(DemoData.prototype, 'isUntouched'), jest.spyOn(DemoData.prototype, 'plant')];
    service = await RunningService.ready();
  });

  afterAll(() => service.stop());

  it('is the only one where the start is told to make none', async () => {
    for (const call of atTheStart) expect(call).not.toHaveBeenCalled();
    expect(await skus(service)).toEqual([]);
  });

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
