import { sql } from 'drizzle-orm';
import { anAccount, asAdmin, SECURED } from '../support/accounts.js';
import { type Answer, RunningService } from '../support/app.js';

const INVENTORY = '/api/v1/inventory';

type Header = Record<string, string>;

let service: RunningService;
let admin: Header;
let vendor: Awaited<ReturnType<typeof anAccount>>;
let customer: Header;

beforeAll(async () => {
  service = await RunningService.ready({ environment: SECURED });
  admin = await asAdmin(service);
  vendor = await anAccount(service, 'vendor');
  customer = (await anAccount(service)).header;
  for (const code of ['EAST', 'WEST']) {
    await service.call('PUT', `/api/v1/warehouses/${code}`, { name: `Hall ${code}` }, admin);
  }
}, 60_000);

afterAll(() => service.stop());

let made = 0;

/** A product of its own for a test. @returns its SKU */
async function aProduct(product: object = {}, header: Header = vendor.header): Promise<string> {
  const sku = `SKU-${++made}`;
  const { status } = await add({ sku, name: 'A thing', price: 10, ...product }, header);
  expect(status).toBe(201);
  return sku;
}

function add(product: object, header: Header = vendor.header): Promise<Answer> {
  return service.call('POST', INVENTORY, product, header);
}

function restock(sku: string, warehouse: string, quantity: unknown, header: Header = vendor.header): Promise<Answer> {
  return service.call('POST', `${INVENTORY}/${sku}/restock`, { warehouse, quantity }, header);
}

async function seen(sku: string): Promise<Answer['body']> {
  return (await service.get(`${INVENTORY}/${sku}`, customer)).body;
}

describe('A product', () => {
  it('is on sale with its price and what there is at all places', async () => {
    const stock = [
      { warehouse: 'west', quantity: 40 },
      { warehouse: ' EAST ', quantity: 60 },
    ];
    const { status, body } = await add({ sku: ' a123 ', name: 'Headphones', price: 129.9, low_stock_at: 10, stock });
    expect(status).toBe(201);
    expect(body).toEqual({
      sku: 'A123',
      name: 'Headphones',
      price: 129.9,
      on_hand: 100,
      reserved: 0,
      available: 100,
      low_stock: false,
      low_stock_at: 10,
      warehouses: [
        { warehouse: 'EAST', on_hand: 60, reserved: 0, available: 60 },
        { warehouse: 'WEST', on_hand: 40, reserved: 0, available: 40 },
      ],
    });
    expect(await seen('a123')).toEqual(body);
  });

  it('may have nothing on any shelf, and is low then', async () => {
    expect(await seen(await aProduct())).toMatchObject({ available: 0, low_stock: true, warehouses: [] });
  });

  it('is there once, whoever puts it on sale how often at once', async () => {
    const product = { sku: 'ONCE', name: 'Once', price: 1, stock: [{ warehouse: 'EAST', quantity: 1 }] };
    const answers = await Promise.all(Array.from({ length: 8 }, () => add(product)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409, 409, 409, 409]);
    expect(answers.find(({ status }) => status === 409)!.body.code).toBe('sku_taken');
    expect(await seen('ONCE')).toMatchObject({ on_hand: 1 });
  });

  it.each([
    ['sku', { sku: '' }],
    ['stock', { stock: [[]] }],
    ['stock', { stock: [[{ warehouse: 'EAST', quantity: 1 }]] }],
    ['sku', { sku: 'A 1' }],
    ['sku', { sku: '-A' }],
    ['sku', { sku: 'A'.repeat(65) }],
    ['price', { price: 0 }],
    ['price', { price: 0.001 }],
    ['price', { price: 1e10 }],
    ['price', { price: '10' }],
    ['name', { name: '' }],
    ['name', { name: 'two\nlines' }],
    ['low_stock_at', { low_stock_at: -1 }],
    ['low_stock_at', { low_stock_at: null }],
    ['stock', { stock: {} }],
    ['stock.0.quantity', { stock: [{ warehouse: 'EAST', quantity: 0 }] }],
    ['warehouse', { stock: [{ warehouse: 'NOWHERE', quantity: 1 }] }],
    ['vendor_id', { vendor_id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' }],
    ['reserved', { reserved: 1 }],
  ])('is refused with a wrong %s: %j', async (field, wrong) => {
    const answer = await add({ sku: 'WRONG', name: 'Wrong', price: 1, ...wrong });
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_input' } });
    expect(answer.body.errors.map((wrong: { field: string }) => wrong.field)).toContain(field);
    expect((await service.get(`${INVENTORY}/WRONG`, customer)).status).toBe(404);
  });

  it('names each warehouse once', async () => {
    const stock = [1, 2].map((quantity) => ({ warehouse: 'EAST', quantity }));
    expect(await add({ sku: 'TWICE', name: 'Twice', price: 1, stock })).toMatchObject({ status: 400 });
  });

  it('can be called otherwise, cost something else, and stay as it is in the rest', async () => {
    const sku = await aProduct({ price: 10, low_stock_at: 3 });
    const change = (body: object) => service.call('PATCH', `${INVENTORY}/${sku}`, body, vendor.header);
    expect((await change({ price: 12.5 })).body).toMatchObject({ name: 'A thing', price: 12.5, low_stock_at: 3 });
    expect((await change({ name: 'Another', low_stock_at: 0 })).body).toMatchObject({ name: 'Another', price: 12.5 });
    for (const wrong of [{ price: null }, { name: null }, { price: -1 }, { on_hand: 5 }]) {
      expect((await change(wrong)).status).toBe(400);
    }
    expect(await seen(sku)).toMatchObject({ name: 'Another', price: 12.5, low_stock_at: 0 });
  });
});

describe('Stock', () => {
  it('grows and shrinks, and its movements add up to it', async () => {
    const sku = await aProduct({ stock: [{ warehouse: 'EAST', quantity: 5 }] });
    expect((await restock(sku, 'east', 20)).body).toMatchObject({ on_hand: 25 });
    expect((await restock(sku, 'WEST', 7)).body).toMatchObject({ on_hand: 32 });
    expect((await restock(sku, 'EAST', -4)).body).toMatchObject({ on_hand: 28, available: 28 });
    const { body } = await service.get(`${INVENTORY}/${sku}/movements?limit=3`, vendor.header);
    expect(body.items).toMatchObject([
      { warehouse: 'EAST', quantity: -4, cause: 'corrected', order_id: null },
      { warehouse: 'WEST', quantity: 7, cause: 'received' },
      { warehouse: 'EAST', quantity: 20, cause: 'received' },
    ]);
    const rest = await service.get(`${INVENTORY}/${sku}/movements?cursor=${body.next_cursor}`, vendor.header);
    expect(rest.body).toMatchObject({ items: [{ quantity: 5 }], next_cursor: null });
    const moved = [...body.items, ...rest.body.items].reduce((sum, { quantity }) => sum + quantity, 0);
    expect(moved).toBe((await seen(sku)).on_hand);
  });

  it('is never less than nothing, however many take from it at once', async () => {
    const sku = await aProduct({ stock: [{ warehouse: 'EAST', quantity: 10 }] });
    const answers = await Promise.all(Array.from({ length: 15 }, () => restock(sku, 'EAST', -1)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    const refused = answers.filter(({ status }) => status === 409);
    expect(refused).toHaveLength(5);
    expect(refused[0]!.body).toMatchObject({ code: 'not_in_stock', detail: expect.stringContaining('only 0') });
    expect(await seen(sku)).toMatchObject({ on_hand: 0 });
  });

  it('can not be made wrong past the code either', async () => {
    const sku = await aProduct({ stock: [{ warehouse: 'EAST', quantity: 2 }] });
    for (const wrong of [sql`on_hand = -1`, sql`reserved = 3`, sql`reserved = -1`, sql`on_hand = 1, reserved = 2`]) {
      await expect(service.database.query(sql`update stock set ${wrong} where sku = ${sku}`)).rejects.toThrow(/check/);
    }
  });

  it('is bounded', async () => {
    const sku = await aProduct({ stock: [{ warehouse: 'EAST', quantity: 1_000_000 }] });
    expect((await restock(sku, 'EAST', 1_000_001)).status).toBe(400);
    await service.database.query(sql`update stock set on_hand = 1000000000 where sku = ${sku}`);
    expect(await restock(sku, 'EAST', 1)).toMatchObject({ status: 400, body: { errors: [{ field: 'quantity' }] } });
  });

  it.each([0, 1.5, '5', null, 1e7])('is not moved by %j', async (quantity) => {
    const sku = await aProduct();
    expect(await restock(sku, 'EAST', quantity)).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'quantity' }] },
    });
    expect((await restock(sku, 'NOWHERE', 5)).body).toMatchObject({ errors: [{ field: 'warehouse' }] });
  });

  it('of another vendor is not there to be managed', async () => {
    const sku = await aProduct({ stock: [{ warehouse: 'EAST', quantity: 5 }] });
    const stranger = (await anAccount(service, 'vendor')).header;
    const tried = [
      await restock(sku, 'EAST', 1, stranger),
      await service.call('PATCH', `${INVENTORY}/${sku}`, { price: 1 }, stranger),
      await service.get(`${INVENTORY}/${sku}/movements`, stranger),
    ];
    const absent = await restock('NO-SUCH', 'EAST', 1, stranger);
    expect(absent.status).toBe(404);
    for (const { status, body } of tried) {
      expect(status).toBe(404);
      expect(body.detail.replace(sku, 'NO-SUCH')).toBe(absent.body.detail);
    }
    expect(await seen(sku)).toMatchObject({ on_hand: 5, price: 10 });
    expect((await restock(sku, 'EAST', 1, admin)).status).toBe(200);
    expect((await restock(await aProduct({}, admin), 'EAST', 1)).status).toBe(404);
  });
});

describe('The inventory', () => {
  it('is listed by SKU, page by page, and by what is low', async () => {
    const low = await aProduct({ low_stock_at: 5, stock: [{ warehouse: 'EAST', quantity: 5 }] });
    const high = await aProduct({ low_stock_at: 4, stock: [{ warehouse: 'EAST', quantity: 5 }] });
    const skus: string[] = [];
    let cursor = '';
    do {
      const { body } = await service.get(`${INVENTORY}?limit=3${cursor && `&cursor=${cursor}`}`, customer);
      skus.push(...body.items.map(({ sku }: { sku: string }) => sku));
      cursor = body.next_cursor;
    } while (cursor);
    expect(skus).toEqual([...new Set(skus)].sort());
    const lowOnes = (await service.get(`${INVENTORY}?low_stock=true&limit=500`, customer)).body.items;
    const others = (await service.get(`${INVENTORY}?low_stock=false&limit=500`, customer)).body.items;
    const names = (items: { sku: string }[]) => items.map(({ sku }) => sku);
    expect([names(lowOnes).includes(low), names(others).includes(high)]).toEqual([true, true]);
    expect([...names(lowOnes), ...names(others)].sort()).toEqual(skus);
    expect((await service.get(`${INVENTORY}?cursor=nonsense`, customer)).status).toBe(400);
  });

  it('lies in warehouses, which can be called otherwise', async () => {
    const named = await service.call('PUT', '/api/v1/warehouses/east', { name: 'The old hall' }, admin);
    expect(named).toMatchObject({ status: 200, body: { code: 'EAST', name: 'The old hall' } });
    expect((await service.get('/api/v1/warehouses', customer)).body).toEqual([
      { code: 'EAST', name: 'The old hall' },
      { code: 'WEST', name: 'Hall WEST' },
    ]);
  });
});
