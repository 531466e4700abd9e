import { sql } from 'drizzle-orm';
import { anAccount, asAdmin, SECURED } from '../support/accounts.js';
import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { aProduct, eventsOf, orderIs, placeOrder, QUICK, requestOrder, stockOf } from '../support/fulfilment.js';

describe('An order', () => {
  let service: RunningService;
  let skus = 0;

  beforeAll(async () => {
    service = await RunningService.ready({ environment: QUICK });
    await aProduct(service, { sku: 'A123', price: 12.5, stock: { EAST: 1_000 } });
    await aProduct(service, { sku: 'B456', price: 3, stock: { EAST: 0 } });
  }, 60_000);

  afterAll(() => service.stop());

  async function aSku(stock: Record<string, number> = { EAST: 100 }, price = 12.5): Promise<string> {
    const sku = `ORDERED-${++skus}`;
    await aProduct(service, { sku, price, stock });
    return sku;
  }

  it('is taken at once, and says where to look', async () => {
    const { status, headers, body } = await requestOrder(service);
    const self = `/api/v1/orders/${body.order_id}`;
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(self);
    expect(body).toEqual({
      order_id: expect.stringMatching(/^ORD-[0-9A-Z]{16}$/),
      status: 'accepted',
      order_status: 'pending',
      message: 'The order was taken. Look at its links for what becomes of it.',
      links: { self, timeline: `${self}/timeline`, cancel: `${self}/cancel` },
    });
  });

  it('goes through stock, payment and shipment, and is in the statistics', async () => {
    const sku = await aSku({ EAST: 100 }, 12.5);
    const before = (await service.get('/stats/global')).body;
    const id = await placeOrder(service, { items: [{ sku, quantity: 2 }] });
    const order = await orderIs(service, id, 'completed');
    expect(order).toMatchObject({
      order_id: id,
      user_id: 'U-OPERATOR',
      currency: 'USD',
      total: 25,
      items: [{ sku, name: `Product ${sku}`, quantity: 2, price: 12.5, total: 25 }],
      shipping_address: '1 Fixture Street',
      payment_method: 'CARD',
      allowed_next: [],
      cancellable: false,
    });
    expect(await stockOf(service, sku)).toEqual({ on_hand: 98, reserved: 0, available: 98 });
    const events = (await eventsOf(service, id)).filter((event) => event !== 'shipment.delayed');
    expect(events).toEqual([
      'order.placed',
      'stock.reserved',
      'payment.attempted',
      'payment.captured',
      'shipment.created',
      'shipment.in_transit',
      'shipment.delivered',
      'order.completed',
    ]);
    const shipment = (await service.get(`/api/v1/shipments/${order.tracking_number}`)).body;
    expect(shipment).toMatchObject({ order_id: id, carrier: 'Simulated Carrier', status: 'delivered' });
    expect(shipment.events.map(({ event }: { event: string }) => event).filter((e: string) => e !== 'delayed')).toEqual(
      ['created', 'in_transit', 'delivered'],
    );
    await eventually(async () => {
      const { body } = await service.get('/order-events?limit=100');
      const entry = body.items.find((found: { order_id: string }) => found.order_id === id);
      expect(entry).toMatchObject({ outcome: 'accepted', user_id: 'U-OPERATOR', order_value: 25 });
    });
    await service.settled();
    expect((await service.get('/stats/global')).body.total_orders).toBeGreaterThan(before.total_orders);
    expect((await service.get('/stats/verify')).body.verified).toBe(true);
  });

  it('adds up what is asked for several times', async () => {
    const sku = await aSku();
    const items = [
      { sku, quantity: 1 },
      { sku: ` ${sku.toLowerCase()} `, quantity: 2 },
    ];
    const id = await placeOrder(service, { items });
    const { items: lines, total } = await orderIs(service, id, 'completed');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ sku, quantity: 3 });
    expect(total).toBe(37.5);
  });

  it('keeps the price at which it was placed', async () => {
    const sku = await aSku({ EAST: 10 }, 10);
    const id = await placeOrder(service, { items: [{ sku, quantity: 1 }] });
    await service.call('PATCH', `/api/v1/inventory/${sku}`, { price: 20 });
    expect((await orderIs(service, id, 'completed')).total).toBe(10);
  });

  it('is taken from several warehouses where no single one has enough', async () => {
    const sku = await aSku({ EAST: 3, WEST: 5 });
    const id = await placeOrder(service, { items: [{ sku, quantity: 7 }] });
    await orderIs(service, id, 'completed');
    const { body } = await service.get(`/api/v1/inventory/${sku}`);
    expect(body.warehouses).toEqual([
      { warehouse: 'EAST', on_hand: 1, reserved: 0, available: 1 },
      { warehouse: 'WEST', on_hand: 0, reserved: 0, available: 0 },
    ]);
    const { body: movements } = await service.get(`/api/v1/inventory/${sku}/movements`);
    const shipped = movements.items.filter(({ order_id }: { order_id: string | null }) => order_id === id);
    expect(shipped.map(({ quantity, cause }: Record<string, unknown>) => [quantity, cause]).sort()).toEqual([
      [-2, 'shipped'],
      [-5, 'shipped'],
    ]);
  });

  it('ends without a charge where a line is short, and says what there is of it', async () => {
    const sku = await aSku({ EAST: 2 });
    const items = [
      { sku, quantity: 3 },
      { sku: 'A123', quantity: 1 },
      { sku: 'B456', quantity: 1 },
    ];
    const before = await stockOf(service, 'A123');
    const id = await placeOrder(service, { items });
    await orderIs(service, id, 'failed_no_stock');
    const { body } = await service.get(`/api/v1/orders/${id}/timeline`);
    expect(body.items.at(-1)).toMatchObject({
      event: 'stock.missing',
      order_status: 'failed_no_stock',
      actor: 'workflow',
      detail: {
        lines: [
          { sku: 'B456', requested: 1, available: 0 },
          { sku, requested: 3, available: 2 },
        ],
      },
    });
    expect(await eventsOf(service, id)).toEqual(['order.placed', 'stock.missing']);
    expect(await stockOf(service, sku)).toEqual({ on_hand: 2, reserved: 0, available: 2 });
    expect((await stockOf(service, 'A123')).on_hand).toBe(before.on_hand);
  });

  it('gives its stock back where the payment is declined', async () => {
    const sku = await aSku({ EAST: 5 });
    const id = await placeOrder(service, { items: [{ sku, quantity: 2 }], paymentMethod: 'test-decline' });
    await orderIs(service, id, 'payment_failed');
    expect(await stockOf(service, sku)).toEqual({ on_hand: 5, reserved: 0, available: 5 });
    expect(await eventsOf(service, id)).toEqual([
      'order.placed',
      'stock.reserved',
      'payment.attempted',
      'payment.declined',
    ]);
  });

  it.each([
    ['an unknown SKU', { items: [{ sku: 'NO-SUCH', quantity: 1 }] }, 'items.0.sku: is not in the catalogue: NO-SUCH'],
    ['items that are missing', { items: undefined }, 'items: must be a list'],
    [
      'a quantity that is text',
      { items: [{ sku: 'A123', quantity: '1' }] },
      'items.0.quantity: must be a whole number',
    ],
    ['nothing among the items', { items: [null] }, 'items: must be a list of objects'],
    ['no items', { items: [] }, 'items: must have at least 1 item'],
    ['a quantity of 0', { items: [{ sku: 'A123', quantity: 0 }] }, 'items.0.quantity: must be at least 1'],
    ['a price', { items: [{ sku: 'A123', quantity: 1, price: 1 }] }, 'items.0.price: is not known here'],
    ['another currency', { currency: 'EUR' }, 'currency: must be USD, which this shop sells in'],
    ['a list among the items', { items: [[{ sku: 'A123', quantity: 1 }]] }, 'items: must be a list of objects'],
    ['a payment method beyond ASCII', { payment_method: 'ß' }, 'payment_method: must be 1 to 64 printable characters'],
    ['an address in two lines', { shipping_address: 'a\u2028b' }, 'shipping_address: must be text in one line'],
    ['an address that is no text', { shipping_address: ['x'] }, 'shipping_address: must be text'],
    ['an address with a NUL', { shipping_address: 'a\u0000b' }, 'shipping_address: must be text in one line'],
    ['no payment method', { payment_method: '' }, 'payment_method: must be 1 to 64 printable characters'],
    ['a user id that is none', { user_id: 'X1' }, 'user_id: must start with U and be at most 128 printable characters'],
    [
      'too much of a product in several lines',
      {
        items: [
          { sku: 'A123', quantity: 1_000_000 },
          { sku: 'A123', quantity: 1 },
        ],
      },
      'items.0.quantity: must come to at most 1000000 of A123 in one order',
    ],
  ])('is refused with %s', async (_, body, message) => {
    const answer = await requestOrder(service, { body });
    expect(answer.status).toBe(400);
    expect(answer.body.detail).toContain(message);
  });

  it('goes to any address there is, in any script', async () => {
    const shipping_address = '٣ شارع النيل‎, القاهرة 👨‍👩‍👧, Donau\u00adstraße';
    const id = await placeOrder(service, { body: { shipping_address } });
    expect((await orderIs(service, id, 'completed')).shipping_address).toBe(shipping_address);
  });

  it('that an API key placed without an account is that key’s to see', async () => {
    const { body: key } = await service.call('POST', '/api/v1/auth/api-keys', { name: 'shop', scopes: ['orders:own'] });
    const headers = { authorization: `Bearer ${key.key}` };
    const id = await placeOrder(service, { headers });
    expect((await service.get(`/api/v1/orders/${id}`, headers)).status).toBe(200);
    const listed = (await service.get('/api/v1/orders?limit=500', headers)).body.items;
    expect(listed.map(({ order_id }: { order_id: string }) => order_id)).toEqual([id]);
  });

  it('is not remembered where it was refused', async () => {
    const key = 'refused-at-first';
    expect((await requestOrder(service, { key, items: [{ sku: 'NO-SUCH', quantity: 1 }] })).status).toBe(400);
    expect((await requestOrder(service, { key })).status).toBe(202);
  });

  describe('with an idempotency key', () => {
    it('is answered again as at first, whatever the order of its fields', async () => {
      const key = 'the same';
      const first = await requestOrder(service, { key });
      const body = { payment_method: 'CARD', items: [{ quantity: 1, sku: 'A123' }], currency: 'USD' };
      const again = await service.call(
        'POST',
        '/api/v1/orders',
        { shipping_address: '1 Fixture Street', ...body },
        { 'idempotency-key': key },
      );
      expect(first.headers.get('idempotent-replayed')).toBeNull();
      expect(again.status).toBe(202);
      expect(again.headers.get('idempotent-replayed')).toBe('true');
      expect(again.body).toEqual(first.body);
      const [found] = await service.database.query<{ orders: number }>(
        sql`select count(*)::float8 as orders from idempotency_keys where key = ${key}`,
      );
      expect(found).toEqual({ orders: 1 });
    });

    it('is refused with another body', async () => {
      const key = 'another body';
      await requestOrder(service, { key });
      const { status, body } = await requestOrder(service, { key, items: [{ sku: 'A123', quantity: 2 }] });
      expect([status, body.code]).toEqual([422, 'idempotency_key_reused']);
    });

    it('is new once the key is too old', async () => {
      const key = 'old';
      const first = await requestOrder(service, { key });
      await service.database.query(sql`update idempotency_keys set expires_at = now() where key = ${key}`);
      const second = await requestOrder(service, { key, items: [{ sku: 'A123', quantity: 2 }] });
      expect(second.status).toBe(202);
      expect(second.body.order_id).not.toBe(first.body.order_id);
    });

    it.each([
      ['missing', undefined],
      ['empty', ''],
      ['too long', 'k'.repeat(256)],
    ])('that is %s is refused', async (_, key) => {
      const order = {
        currency: 'USD',
        items: [{ sku: 'A123', quantity: 1 }],
        shipping_address: 'x',
        payment_method: 'CARD',
      };
      const headers: Record<string, string> = key === undefined ? {} : { 'idempotency-key': key };
      const { status, body } = await service.call('POST', '/api/v1/orders', order, headers);
      expect([status, body.code]).toEqual([400, 'idempotency_key_missing']);
    });

    it('of 255 characters is taken', async () => {
      expect((await requestOrder(service, { key: 'k'.repeat(255) })).status).toBe(202);
    });
  });

  describe('that is cancelled', () => {
    it('before anything happened gives nothing away', async () => {
      const sku = await aSku({ EAST: 5 });
      const id = await placeOrder(service, { items: [{ sku, quantity: 5 }] });
      const { status, body } = await service.call('POST', `/api/v1/orders/${id}/cancel`);
      expect([200, 409]).toContain(status);
      if (status === 200) expect(body.order_status).toBe('cancelled');
      const final = status === 200 ? 'cancelled' : 'completed';
      await orderIs(service, id, final);
      const left = final === 'cancelled' ? 5 : 0;
      expect(await stockOf(service, sku)).toEqual({ on_hand: left, reserved: 0, available: left });
    });

    it('too late is told what it is', async () => {
      const id = await placeOrder(service);
      await orderIs(service, id, 'completed');
      const { status, body } = await service.call('POST', `/api/v1/orders/${id}/cancel`);
      expect([status, body.code, body.detail]).toEqual([
        409,
        'too_late_to_cancel',
        `${id} is completed and can't be cancelled any more.`,
      ]);
    });
  });

  it('is found by status, day and SKU', async () => {
    const sku = await aSku({ EAST: 5 });
    const id = await placeOrder(service, { items: [{ sku, quantity: 1 }] });
    await orderIs(service, id, 'completed');
    const ids = async (query: string): Promise<string[]> =>
      (await service.get(`/api/v1/orders?${query}`)).body.items.map(({ order_id }: { order_id: string }) => order_id);
    const today = new Date().toISOString().slice(0, 10);
    expect(await ids(`sku=${sku}`)).toEqual([id]);
    expect(await ids(`sku=${sku}&status=completed&start=${today}&end=${today}`)).toEqual([id]);
    expect(await ids(`sku=${sku}&status=cancelled`)).toEqual([]);
    expect(await ids(`sku=${sku}&end=2020-01-01`)).toEqual([]);
  });

  it('is listed once, page by page, newest first', async () => {
    const sku = await aSku({ EAST: 50 });
    const placed: string[] = [];
    for (let n = 0; n < 5; n++) placed.push(await placeOrder(service, { items: [{ sku, quantity: 1 }] }));
    const listed: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const { body } = await service.get(`/api/v1/orders?sku=${sku}&limit=2${cursor && `&cursor=${cursor}`}`);
      listed.push(...body.items.map(({ order_id }: { order_id: string }) => order_id));
      cursor = body.next_cursor;
    }
    expect(listed).toEqual(placed.toReversed());
  });

  it('has a timeline that is read page by page', async () => {
    const id = await placeOrder(service);
    await orderIs(service, id, 'completed');
    const whole = (await service.get(`/api/v1/orders/${id}/timeline`)).body.items;
    const { body: first } = await service.get(`/api/v1/orders/${id}/timeline?limit=3`);
    const { body: rest } = await service.get(`/api/v1/orders/${id}/timeline?cursor=${first.next_cursor}`);
    expect([...first.items, ...rest.items]).toEqual(whole);
    expect(whole.map(({ sequence }: { sequence: number }) => sequence)).toEqual(
      whole.map((_: object, i: number) => i + 1),
    );
  });

  it.each([
    ['/api/v1/orders/ORD-0000000000000000', 404, 'not_found'],
    ['/api/v1/orders/ORD-0000000000000000/timeline', 404, 'not_found'],
    ['/api/v1/orders/ORD-1', 400, 'invalid_input'],
    ['/api/v1/orders?status=lost', 400, 'invalid_input'],
    ['/api/v1/shipments/XX', 400, 'invalid_input'],
  ])('is looked for in vain at %s', async (path, status, code) => {
    const answer = await service.get(path);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
  });
});

describe('Orders of a secured service', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready({ environment: { ...QUICK, ...SECURED } });
    await aProduct(service, {}, await asAdmin(service));
  }, 60_000);

  afterAll(() => service.stop());

  it('are seen and cancelled by whose they are, and by admins', async () => {
    const [one, other] = [await anAccount(service), await anAccount(service)];
    const admin = await asAdmin(service);
    const id = await placeOrder(service, { headers: one.header });
    expect((await service.get(`/api/v1/orders/${id}`, one.header)).body).toMatchObject({ user_id: one.userId });
    expect((await service.get(`/api/v1/orders/${id}`, admin)).status).toBe(200);
    expect((await service.get('/api/v1/orders', other.header)).body.items).toEqual([]);
    for (const path of [`/api/v1/orders/${id}`, `/api/v1/orders/${id}/timeline`]) {
      expect((await service.get(path, other.header)).status).toBe(404);
    }
    expect((await service.call('POST', `/api/v1/orders/${id}/cancel`, undefined, other.header)).status).toBe(404);
    await service.call('POST', `/api/v1/orders/${id}/cancel`, undefined, admin);
    const actors = async (header: Record<string, string>): Promise<string[]> => {
      const { body } = await service.get(`/api/v1/orders/${id}/timeline`, header);
      return body.items.map(({ actor }: { actor: string }) => actor);
    };
    expect((await actors(one.header))[0]).toBe(`account:${one.id}`);
    expect((await actors(admin)).filter((actor) => actor.startsWith('account:')).length).toBeGreaterThan(0);
    expect((await actors(one.header)).slice(1).filter((actor) => actor.startsWith('account:'))).toEqual([]);
    const listed = (await service.get('/api/v1/orders', one.header)).body.items;
    expect(listed.map(({ order_id }: { order_id: string }) => order_id)).toEqual([id]);
  });

  it('are somebody else’s only by an admin', async () => {
    const customer = await anAccount(service);
    const body = { user_id: customer.userId };
    expect((await requestOrder(service, { headers: (await anAccount(service)).header, body })).status).toBe(403);
    const id = await placeOrder(service, { headers: await asAdmin(service), body });
    expect((await service.get(`/api/v1/orders/${id}`, customer.header)).body.user_id).toBe(customer.userId);
  });

  it('have keys of each account’s own', async () => {
    const key = 'of both';
    const ids = [];
    for (const { header } of [await anAccount(service), await anAccount(service)]) {
      const { status, headers, body } = await requestOrder(service, { key, headers: header });
      expect([status, headers.get('idempotent-replayed')]).toEqual([202, null]);
      ids.push(body.order_id);
    }
    expect(new Set(ids).size).toBe(2);
  });
});
