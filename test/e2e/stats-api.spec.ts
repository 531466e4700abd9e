import { request } from 'node:http';
import { join } from 'node:path';
import { addDays, addMonths } from '../../src/domain/business-time.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { aWorld, RunningService, type Answer, type World } from '../support/app.js';
import { allKeys } from '../support/dump.js';
import { EventStream } from '../support/event-stream.js';
import { eventually } from '../support/eventually.js';
import { itWithRedis } from '../support/only-on.js';
import { anOrderEvent, type SentOrderEvent } from '../support/order-events.js';

/** Part of an answer. */
type Shown = Answer['body'];

const NOTHING = { total_orders: 0, total_revenue: 0, failed_orders: 0 };
const ODD_USER = 'U/10 %:*';

function line(product_id: string, quantity: number, price_per_unit: number): object {
  return { product_id, quantity, price_per_unit };
}

/** The time of an order that the defaults of ranges include. */
const justNow = new Date().toISOString();

const corrected = anOrderEvent({
  user_id: 'U7',
  order_timestamp: '2024-02-01T00:00:00Z',
  order_value: 99,
  items: [line('P1', 3, 5)],
});
const nameless = anOrderEvent({ order_timestamp: '2024-01-16T08:00:00Z', user_id: '' });
const FAILED_WITHOUT_TIME = 'ORD-NO-TIME';
const wrongInAllWays = anOrderEvent({
  order_id: 'X-WRONG',
  user_id: '',
  order_timestamp: '2024-05-06T00:00:00Z',
  order_value: -3,
  items: [line('P1', -1, 5)],
});

/** 6 orders of 79.60, one of them corrected, and 6 that fail in different ways. */
const KNOWN_ORDERS: (SentOrderEvent | string)[] = [
  anOrderEvent({ user_id: 'U7', order_timestamp: '2024-01-15T12:00:00Z' }),
  anOrderEvent({
    user_id: 'U7',
    order_timestamp: '2024-01-15T23:59:59.999Z',
    order_value: 20.55,
    items: [line('P2', 1, 20.55)],
  }),
  corrected,
  anOrderEvent({
    user_id: 'U8',
    order_timestamp: '2024-01-20T06:30:00Z',
    order_value: 12.5,
    items: [line('P3', 10, 1.25)],
  }),
  anOrderEvent({
    user_id: 'U8',
    order_timestamp: '2023-12-31T23:00:00-02:00',
    order_value: 20.55,
    items: [line('P2', 1, 20.55)],
  }),
  anOrderEvent({ user_id: ODD_USER, order_timestamp: justNow, order_value: 1, items: [line('P4', 1, 1)] }),
  anOrderEvent({ user_id: 'U9', order_timestamp: '2024-01-15T10:00:00Z', items: [line('P1', 0, 5)] }),
  nameless,
  anOrderEvent({ user_id: 'X1', order_timestamp: '2024-05-05T05:05:05Z' }),
  anOrderEvent({ user_id: 'U8', order_id: FAILED_WITHOUT_TIME, order_timestamp: '' }),
  wrongInAllWays,
  '{"order_id":"ORD-BROKEN","user_id":"U8","order_timestamp":"2024-01-15T12:00:00Z"',
];

/** Every item of a list, page by page. */
async function everyPage(service: RunningService, path: string, listName = 'items'): Promise<Shown[][]> {
  const pages: Shown[][] = [];
  let cursor: string | null = null;
  do {
    const { status, body }: Answer = await service.get(cursor === null ? path : `${path}&cursor=${cursor}`);
    expect(status).toBe(200);
    pages.push(body[listName]);
    expect(pages.length).toBeLessThan(100); // a cursor that leads back would go round for ever
    cursor = body.next_cursor;
  } while (cursor !== null);
  return pages;
}

function fieldsOf({ body }: Answer): string[] {
  return (body.errors as { field: string }[]).map(({ field }) => field).sort();
}

/** A request whose Host and Origin headers are ours to choose; fetch would set them itself. */
function rawGet(service: RunningService, path: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request(`${service.url}${path}`, { headers, setHost: headers.host === undefined }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: new Headers(), body: JSON.parse(text) }),
      );
    })
      .on('error', reject)
      .end();
  });
}

describe('the figures of a few known orders', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await service.send(...KNOWN_ORDERS);
    await service.settled();
  });

  afterAll(() => service?.stop());

  async function got(path: string): Promise<Shown> {
    const { status, body } = await service.get(path);
    expect({ path, status, body }).toMatchObject({ path, status: 200 });
    return body;
  }

  describe('GET /stats/global', () => {
    it('counts everything', async () => {
      const body = await got('/stats/global');
      expect(body).toEqual({
        total_orders: 6,
        total_revenue: 79.6,
        failed_orders: 6,
        corrected_orders: 1,
        unique_users: 3,
        average_order_value: 13.27, // 13.2666…
        as_of: { position: KNOWN_ORDERS.length, at: expect.any(String) },
      });
      expect(new Date(body.as_of.at).toISOString()).toBe(body.as_of.at);
    });
  });

  describe('GET /users', () => {
    it('ranks users by spend and by orders, those with failed orders only left out', async () => {
      expect(await got('/users')).toEqual({
        total_spend_ranking: [
          { position: 1, user_id: 'U7', total_spend: 45.55 },
          { position: 2, user_id: 'U8', total_spend: 33.05 },
          { position: 3, user_id: ODD_USER, total_spend: 1 },
        ],
        total_order_count_ranking: [
          { position: 1, user_id: 'U7', total_order_count: 3 },
          { position: 2, user_id: 'U8', total_order_count: 2 },
          { position: 3, user_id: ODD_USER, total_order_count: 1 },
        ],
      });
    });

    it('ends where it is told', async () => {
      const { total_spend_ranking, total_order_count_ranking } = await got('/users?limit=1');
      expect([total_spend_ranking.length, total_order_count_ranking.length]).toEqual([1, 1]);
    });

    it('ranks within a range of days, both inclusive', async () => {
      expect(await got('/users?start=2024-01-01&end=2024-01-31')).toEqual({
        total_spend_ranking: [
          { position: 1, user_id: 'U8', total_spend: 33.05 },
          { position: 2, user_id: 'U7', total_spend: 30.55 },
        ],
        total_order_count_ranking: [
          { position: 1, user_id: 'U8', total_order_count: 2 },
          { position: 2, user_id: 'U7', total_order_count: 2 },
        ],
      });
      const oneDay = await got('/users?start=2024-01-15&end=2024-01-15');
      expect(oneDay.total_spend_ranking).toEqual([{ position: 1, user_id: 'U7', total_spend: 30.55 }]);
      expect((await got('/users?start=2024-01-02&end=2024-01-14')).total_spend_ranking).toEqual([]);
    });

    it('takes a missing bound 366 days from the other', async () => {
      const spends = async (query: string): Promise<unknown[]> =>
        (await got(`/users?${query}`)).total_spend_ranking.map((place: Shown) => [place.user_id, place.total_spend]);
      expect(await spends('end=2024-01-31')).toEqual([
        ['U8', 33.05],
        ['U7', 30.55],
      ]);
      expect(await spends('start=2024-01-20')).toEqual([
        ['U7', 15],
        ['U8', 12.5],
      ]);
      expect(await spends('start=2024-02-02')).toEqual([]);
    });
  });

  describe('GET /users/{user_id}/stats', () => {
    it('counts what one user did', async () => {
      expect(await got('/users/U7/stats')).toEqual({
        user_id: 'U7',
        order_count: 3,
        total_spend: 45.55,
        failed_order_count: 0,
        average_order_value: 15.18,
        last_order_at: '2024-02-01T00:00:00.000Z',
      });
    });

    it('rounds an average half up', async () => {
      // 33.05 / 2 = 16.525
      expect(await got('/users/U8/stats')).toMatchObject({
        average_order_value: 16.53,
        failed_order_count: 1,
        last_order_at: '2024-01-20T06:30:00.000Z',
      });
    });

    it('knows a user with failed orders only', async () => {
      expect(await got('/users/U9/stats')).toEqual({
        user_id: 'U9',
        order_count: 0,
        total_spend: 0,
        failed_order_count: 1,
        average_order_value: 0,
        last_order_at: null,
      });
    });

    it.each(['%20u7', 'u7%20', 'u7', '%09U7'])('cleans the id in the path as in events: %s', async (id) => {
      expect(await got(`/users/${id}/stats`)).toMatchObject({ user_id: 'U7', order_count: 3 });
      expect((await got(`/users/${id}/orders`)).items).toHaveLength(3);
    });

    it('finds a user whose id has characters of paths and patterns', async () => {
      const id = encodeURIComponent(ODD_USER);
      expect(await got(`/users/${id}/stats`)).toMatchObject({ user_id: ODD_USER, order_count: 1, total_spend: 1 });
    });

    it('counts within a range of days, both inclusive', async () => {
      expect(await got('/users/U7/stats?start=2024-01-15&end=2024-01-15')).toEqual({
        user_id: 'U7',
        order_count: 2,
        total_spend: 30.55,
        failed_order_count: 0,
        average_order_value: 15.28, // 15.275
        last_order_at: '2024-01-15T23:59:59.999Z',
      });
      expect(await got('/users/U9/stats?start=2024-01-15&end=2024-01-15')).toMatchObject({ failed_order_count: 1 });
    });

    it('knows a user who did nothing in a range', async () => {
      expect(await got('/users/U7/stats?start=2024-03-01&end=2024-03-31')).toEqual({
        user_id: 'U7',
        order_count: 0,
        total_spend: 0,
        failed_order_count: 0,
        average_order_value: 0,
        last_order_at: null,
      });
    });

    it('says the same over a range that holds everything as over all time', async () => {
      for (const user of ['U7', 'U9']) {
        expect(await got(`/users/${user}/stats?start=2023-12-01&end=2024-11-30`)).toEqual(
          await got(`/users/${user}/stats`),
        );
      }
    });

    it.each(['/users/U404/stats', '/users/U404/stats?start=2024-01-01', '/users/U404/orders', '/users/X1/stats'])(
      'does not know %s',
      async (path) => {
        const { status, body } = await service.get(path);
        expect(status).toBe(404);
        expect(body).toMatchObject({ code: 'not_found', status: 404, instance: path.split('?')[0] });
      },
    );

    it('does not know a user whose id no event can have', async () => {
      for (const id of ['%C3%BC', 'U'.repeat(129), '%00']) {
        expect((await service.get(`/users/${id}/stats`)).status).toBe(404);
        expect((await service.get(`/users/${id}/orders`)).status).toBe(404);
      }
    });
  });

  describe('GET /users/{user_id}/orders', () => {
    it('lists the ledger entries of a user, failed ones too, newest first', async () => {
      const { items, next_cursor } = await got('/users/U8/orders');
      expect(items.map(({ outcome }: Shown) => outcome).sort()).toEqual(['accepted', 'accepted', 'failed']);
      const positions = items.map(({ position }: Shown) => position);
      expect(positions).toEqual([...positions].sort((a, b) => b - a));
      expect(next_cursor).toBeNull();
    });
  });

  describe('GET /stats/top/{n}', () => {
    it('names those who spent most', async () => {
      expect(await got('/stats/top/2')).toEqual([
        { user_id: 'U7', total_spend: 45.55 },
        { user_id: 'U8', total_spend: 33.05 },
      ]);
      expect(await got('/stats/top/1000')).toHaveLength(3);
    });
  });

  describe('GET /stats/monthly', () => {
    it('shows every month of a range, empty ones as zeros', async () => {
      expect(await got('/stats/monthly?start=2023-12&end=2024-05')).toEqual({
        start: '2023-12',
        end: '2024-05',
        months: [
          { month: '2023-12', ...NOTHING },
          { month: '2024-01', total_orders: 4, total_revenue: 63.6, failed_orders: 2 },
          { month: '2024-02', total_orders: 1, total_revenue: 15, failed_orders: 0 },
          { month: '2024-03', ...NOTHING },
          { month: '2024-04', ...NOTHING },
          { month: '2024-05', total_orders: 0, total_revenue: 0, failed_orders: 2 },
        ],
      });
    });

    it('shows the last 12 months up to this one by default', async () => {
      const before = new Date().toISOString().slice(0, 7);
      const { start, end, months } = await got('/stats/monthly');
      expect([before, new Date().toISOString().slice(0, 7)]).toContain(end);
      expect(start).toBe(addMonths(end, -11));
      expect(months.map(({ month }: Shown) => month)).toEqual(
        Array.from({ length: 12 }, (_, index) => addMonths(start, index)),
      );
      expect(months.find(({ month }: Shown) => month === justNow.slice(0, 7))).toMatchObject({
        total_orders: 1,
        total_revenue: 1,
      });
    });

    it('takes a missing bound 12 months from the other', async () => {
      expect(await got('/stats/monthly?start=2024-01')).toMatchObject({ start: '2024-01', end: '2024-12' });
      expect(await got('/stats/monthly?end=2024-01')).toMatchObject({ start: '2023-02', end: '2024-01' });
    });
  });

  describe('GET /stats/monthly/{month}', () => {
    it('shows a month and its users by spend, those with failed orders only too', async () => {
      expect(await got('/stats/monthly/2024-01')).toEqual({
        month: '2024-01',
        total_orders: 4,
        total_revenue: 63.6,
        failed_orders: 2,
        user_stats: [
          { user_id: 'U8', order_count: 2, total_spend: 33.05, failed_order_count: 0 },
          { user_id: 'U7', order_count: 2, total_spend: 30.55, failed_order_count: 0 },
          { user_id: 'U9', order_count: 0, total_spend: 0, failed_order_count: 1 },
        ],
        next_cursor: null,
      });
    });

    it('knows a month in which nothing but failed orders of nobody are', async () => {
      expect(await got('/stats/monthly/2024-05')).toEqual({
        month: '2024-05',
        total_orders: 0,
        total_revenue: 0,
        failed_orders: 2,
        user_stats: [],
        next_cursor: null,
      });
    });

    it('does not know a month that has nothing', async () => {
      const { status, body } = await service.get('/stats/monthly/2024-03');
      expect(status).toBe(404);
      expect(body).toMatchObject({ code: 'not_found', detail: 'Nothing was ordered in 2024-03.' });
    });
  });

  describe('GET /stats/daily', () => {
    it('shows every day of a range, empty ones as zeros', async () => {
      expect(await got('/stats/daily?start=2024-01-14&end=2024-01-16')).toEqual({
        start: '2024-01-14',
        end: '2024-01-16',
        days: [
          { day: '2024-01-14', ...NOTHING },
          { day: '2024-01-15', total_orders: 2, total_revenue: 30.55, failed_orders: 1 },
          { day: '2024-01-16', total_orders: 0, total_revenue: 0, failed_orders: 1 },
        ],
      });
    });

    it('shows the last 30 days up to today by default', async () => {
      const before = new Date().toISOString().slice(0, 10);
      const { start, end, days } = await got('/stats/daily');
      expect([before, new Date().toISOString().slice(0, 10)]).toContain(end);
      expect(start).toBe(addDays(end, -29));
      expect(days).toHaveLength(30);
      expect(days.find(({ day }: Shown) => day === justNow.slice(0, 10))).toMatchObject({ total_orders: 1 });
    });

    it('takes a missing bound 30 days from the other', async () => {
      expect(await got('/stats/daily?start=2024-02-01')).toMatchObject({ start: '2024-02-01', end: '2024-03-01' });
      expect(await got('/stats/daily?end=2024-01-30')).toMatchObject({ start: '2024-01-01', end: '2024-01-30' });
    });
  });

  describe('GET /stats/products', () => {
    const [p1, p2, p3, p4] = [
      { product_id: 'P1', quantity: 5, revenue: 25 },
      { product_id: 'P2', quantity: 2, revenue: 41.1 },
      { product_id: 'P3', quantity: 10, revenue: 12.5 },
      { product_id: 'P4', quantity: 1, revenue: 1 },
    ];

    it('ranks products by revenue and by quantity', async () => {
      expect(await got('/stats/products')).toEqual({ by_revenue: [p2, p1, p3, p4], by_quantity: [p3, p1, p2, p4] });
    });

    it('ends where it is told', async () => {
      expect(await got('/stats/products?limit=1')).toEqual({ by_revenue: [p2], by_quantity: [p3] });
    });
  });

  describe('GET /order-events', () => {
    it('shows a counted entry in full', async () => {
      const { items } = await got(`/order-events?order_id=${corrected.order_id}`);
      expect(items).toEqual([
        {
          position: expect.any(Number),
          kind: 'order',
          outcome: 'corrected',
          order_id: corrected.order_id,
          user_id: 'U7',
          order_timestamp: '2024-02-01T00:00:00.000Z',
          claimed_value: 99,
          order_value: 15,
          items: [{ product_id: 'P1', quantity: 3, price_per_unit: 5, line_value: 15 }],
          refund_id: null,
          refund_timestamp: null,
          amount: null,
          reasons: [],
          ref_position: null,
          actor: null,
          repaired_by: null,
          message_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
          sent_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
          received_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
          body: JSON.stringify(corrected),
        },
      ]);
      expect(await got(`/order-events/${items[0].position}`)).toEqual(items[0]);
    });

    it('shows what can be read of a failed entry, and the body as it came', async () => {
      const { items } = await got(`/order-events?order_id=${nameless.order_id}`);
      expect(items).toMatchObject([
        {
          outcome: 'failed',
          user_id: null,
          order_timestamp: '2024-01-16T08:00:00.000Z',
          claimed_value: 10,
          order_value: null,
          items: [],
          reasons: ['missing_user_id'],
        },
      ]);
      const broken = await got('/order-events?reason=malformed_json');
      expect(broken.items).toMatchObject([
        { order_id: null, user_id: null, order_timestamp: null, claimed_value: null, body: KNOWN_ORDERS.at(-1) },
      ]);
    });

    it('names every reason of a failed entry', async () => {
      const { items } = await got('/order-events?reason=non_positive_quantity&outcome=failed');
      expect(items.find(({ body }: Shown) => body === JSON.stringify(wrongInAllWays))).toMatchObject({
        order_id: null,
        user_id: null,
        reasons: ['invalid_order_id', 'missing_user_id', 'non_positive_order_value', 'non_positive_quantity'],
      });
    });

    it('filters by outcome, reason, user and order, all of which must hold', async () => {
      const ids = async (query: string): Promise<string[]> =>
        (await got(`/order-events?${query}`)).items.map(({ order_id }: Shown) => order_id);
      expect(await ids('outcome=corrected')).toEqual([corrected.order_id]);
      expect(await ids('outcome=failed&user_id=U8')).toEqual([FAILED_WITHOUT_TIME]);
      expect(await ids('user_id=U8&reason=missing_order_timestamp')).toEqual([FAILED_WITHOUT_TIME]);
      expect(await ids('user_id=U7&outcome=accepted')).toHaveLength(2);
      expect(await ids('user_id=U7&outcome=failed')).toEqual([]);
      expect(await ids('outcome=accepted&reason=missing_user_id')).toEqual([]);
      expect(await ids('user_id=%20u7%20')).toHaveLength(3);
      expect(await ids('order_id=ord-no-time')).toEqual([FAILED_WITHOUT_TIME]);
    });

    it('does not know a position beyond its end', async () => {
      const { status, body } = await service.get('/order-events/999999');
      expect(status).toBe(404);
      expect(body).toMatchObject({ code: 'not_found', detail: 'The ledger has no position 999999.' });
    });
  });

  describe('GET /consumer_logs', () => {
    it('tells what became of every message, oldest first', async () => {
      const { total_logs, logs } = await got('/consumer_logs');
      expect(total_logs).toBeGreaterThanOrEqual(KNOWN_ORDERS.length);
      expect(logs).toHaveLength(total_logs);
      const times = logs.map(({ timestamp }: Shown) => timestamp);
      expect(times).toEqual([...times].sort());
      expect(logs.find(({ order_id }: Shown) => order_id === corrected.order_id)).toEqual({
        timestamp: expect.stringMatching(/Z$/),
        level: 'warn',
        message: `Order ${corrected.order_id} of U7 corrected: 99.00 claimed, 15.00 counted`,
        order_id: corrected.order_id,
        user_id: 'U7',
        outcome: 'corrected',
      });
      expect(logs.find(({ order_id }: Shown) => order_id === nameless.order_id)).toMatchObject({
        level: 'warn',
        message: `Order ${nameless.order_id} failed: missing_user_id`,
        user_id: null,
        outcome: 'failed',
      });
    });

    it('shows the latest lines where it is to show fewer', async () => {
      const { logs: all } = await got('/consumer_logs');
      const { total_logs, logs } = await got('/consumer_logs?limit=2');
      expect(total_logs).toBe(all.length);
      expect(logs).toEqual(all.slice(-2));
    });

    it('is JSON Lines for who accepts that', async () => {
      const { body: json } = await service.get('/consumer_logs');
      const { headers, body } = await service.get('/consumer_logs', { accept: 'application/x-ndjson' });
      expect(headers.get('content-type')).toMatch(/^application\/x-ndjson/);
      const lines = (body as string).split('\n');
      expect(lines.pop()).toBe('');
      expect(lines.map((each) => JSON.parse(each) as unknown)).toEqual(json.logs);
    });
  });

  describe('what is asked wrongly', () => {
    it.each([
      ['/users?limit=0&start=yesterday&end=2024-02-30', ['end', 'limit', 'start']],
      ['/users?limit=1001', ['limit']],
      ['/users?start=2024-01-01&end=2025-01-01', ['end']],
      ['/users?start=2024-02-01&end=2024-01-31', ['start']],
      ['/users?page=2', ['page']],
      ['/users/U7/stats?start=2024&end=1999-12-31', ['end', 'start']],
      ['/users/U7/stats?limit=3', ['limit']],
      ['/users/U7/orders?limit=501&cursor=x', ['limit']],
      ['/users/U7/orders?cursor=x', ['cursor']],
      ['/stats/top/0', ['n']],
      ['/stats/top/1001', ['n']],
      ['/stats/top/ten', ['n']],
      ['/stats/monthly?start=2024-13&end=2024-1', ['end', 'start']],
      ['/stats/monthly?start=2014-01&end=2024-01', ['end']],
      ['/stats/monthly?start=2024-01&start=2024-02', ['start']],
      ['/stats/monthly/2024-1', ['month']],
      ['/stats/monthly/1999-12', ['month']],
      ['/stats/monthly/2024-01?limit=0&cursor=x', ['limit']],
      ['/stats/monthly/2024-01?cursor=e30', ['cursor']],
      ['/stats/daily?start=2024-01-01&end=2025-01-01', ['end']],
      ['/stats/daily?start=2023-02-29', ['start']],
      ['/stats/products?limit=-1', ['limit']],
      [
        '/order-events?outcome=lost&reason=bad&limit=501&user_id=%C3%BC&since=1',
        ['limit', 'outcome', 'reason', 'since'],
      ],
      ['/order-events?user_id=%C3%BC', ['user_id']],
      ['/order-events?order_id=', ['order_id']],
      ['/order-events?user_id=U7&user_id=U8', ['user_id']],
      ['/order-events/0', ['position']],
      ['/order-events/first', ['position']],
      ['/order-events/1000000000000000', ['position']],
      ['/consumer_logs?limit=10001&level=warn', ['level', 'limit']],
    ])('is refused with every wrong field named: %s', async (path, fields) => {
      const answer = await service.get(path);
      expect({ status: answer.status, ...answer.body }).toMatchObject({
        status: 400,
        code: 'invalid_input',
        title: 'Bad Request',
        instance: path.split('?')[0],
      });
      expect(answer.headers.get('content-type')).toBe('application/problem+json');
      expect(fieldsOf(answer)).toEqual(fields);
    });

    it.each([
      '/users?limit=1000&start=2024-01-01&end=2024-12-31',
      '/users/U7/orders?limit=500',
      '/users/U7/orders?limit=1',
      '/stats/top/1',
      '/stats/monthly?start=2014-02&end=2024-01',
      '/stats/monthly?start=2000-01&end=2000-01',
      '/stats/monthly?end=2100-12',
      '/stats/monthly/2024-01?limit=1',
      '/stats/monthly/2024-01?limit=1000',
      '/stats/daily?start=2024-01-01&end=2024-12-31',
      '/stats/products?limit=1000',
      '/order-events?limit=1',
      '/order-events?limit=500',
      '/order-events/1',
      '/consumer_logs?limit=1',
      '/consumer_logs?limit=10000',
    ])('is answered at the very limit: %s', async (path) => {
      expect((await service.get(path)).status).toBe(200);
    });
  });

  describe('what the service says of itself', () => {
    const ROUTES = [
      'GET /api',
      'POST /produce',
      'GET /consumer_logs',
      'GET /consumer_logs/stream',
      'DELETE /clear_redis_db',
      'GET /users',
      'GET /users/{user_id}/stats',
      'GET /users/{user_id}/orders',
      'GET /stats/global',
      'GET /stats/top/{n}',
      'GET /stats/monthly',
      'GET /stats/monthly/{month}',
      'GET /stats/daily',
      'GET /stats/products',
      'POST /stats/rebuild',
      'GET /stats/rebuild',
      'GET /stats/rebuild/{id}',
      'GET /stats/verify',
      'GET /stats/verify/{id}',
      'GET /data-quality',
      'GET /data-quality/reports/{id}',
      'GET /data-quality/findings',
      'GET /dashboard',
      'GET /order-events',
      'GET /order-events/{position}',
      'POST /order-events/{position}/retry',
      'POST /order-events/retry',
      'GET /repairs',
      'GET /repairs/{id}',
      'GET /api/v1/system/health',
      'GET /api/v1/system/metrics',
      'GET /api/v1/system/workers',
      'GET /api/v1/system/audit-logs',
      'GET /api/v1/system/audit-logs/verify',
      'GET /health',
      'GET /health/live',
      'GET /health/ready',
      'GET /metrics',
    ];
    /** What takes no input and needs no part can't go wrong. */
    const CANNOT_FAIL = ['GET /api', 'GET /dashboard', 'GET /health/live', 'GET /metrics', 'GET /consumer_logs/stream'];

    async function operations(): Promise<[route: string, operation: Shown][]> {
      const { paths } = await got('/docs-json');
      return Object.entries(paths as Record<string, object>).flatMap(([path, item]) =>
        Object.entries(item).map(([method, operation]): [string, Shown] => [
          `${method.toUpperCase()} ${path}`,
          operation,
        ]),
      );
    }

    it('shows Swagger at /docs', async () => {
      const { status, headers, body } = await service.get('/docs');
      expect(status).toBe(200);
      expect(headers.get('content-type')).toMatch(/^text\/html/);
      expect(body).toContain('swagger-ui');
    });

    it('describes every route', async () => {
      const described = (await operations()).map(([route]) => route);
      expect(described).toEqual(expect.arrayContaining(ROUTES));
    });

    it('lists exactly the described routes at /api, each with a line', async () => {
      const { name, version, routes } = await got('/api');
      expect({ name, version }).toEqual({ name: 'order-pipeline', version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
      const listed = routes.map(({ method, path, summary }: Shown) => [`${method} ${path}`, summary]);
      const described = (await operations()).map(([route, { summary }]) => [route, summary]);
      expect([...listed].sort()).toEqual(described.sort());
      for (const [, summary] of listed) expect(summary).toMatch(/\S+ \S+/);
    });

    it('shows what each route answers', async () => {
      for (const [route, { responses }] of await operations()) {
        const good = Object.keys(responses).filter((status) => status.startsWith('2'));
        if (good.join() === '204') continue; // says nothing
        const answers = good.flatMap((status) => Object.values(responses[status].content ?? {})) as Shown[];
        expect({ route, answers: answers.length }).not.toEqual({ route, answers: 0 });
        for (const { schema, example } of answers) expect({ route, said: schema ?? example }).toHaveProperty('said');
        for (const { schema, example } of answers)
          expect({ route, is: typeof (schema ?? example) }).toEqual({ route, is: 'object' });
      }
    });

    it('shows how each route that can fail does so', async () => {
      for (const [route, { responses, parameters = [] }] of await operations()) {
        if (CANNOT_FAIL.includes(route)) continue;
        const errors = Object.keys(responses).filter((status) => !status.startsWith('2'));
        expect({ route, errors: errors.length }).not.toEqual({ route, errors: 0 });
        if (parameters.length > 0)
          expect({ route, errors }).toEqual({ route, errors: expect.arrayContaining(['400']) });
        for (const status of errors) {
          expect({ route, status, said: responses[status].description }).toEqual({
            route,
            status,
            said: expect.stringMatching(/\S/),
          });
          expect({ route, status, types: Object.keys(responses[status].content ?? {}) }).toEqual({
            route,
            status,
            types: ['application/problem+json'],
          });
        }
      }
    });

    it('gives every field of every answer an example or values to choose from', async () => {
      const { components } = await got('/docs-json');
      for (const [name, { properties }] of Object.entries<Shown>(components.schemas)) {
        for (const [field, schema] of Object.entries<Shown>(properties)) {
          const shown = ['example', 'enum', '$ref', 'items', 'allOf', 'default', 'pattern'].some(
            (key) => key in schema,
          );
          expect({ name, field, shown }).toEqual({ name, field, shown: true });
        }
      }
    });
  });

  describe('a web page of another site', () => {
    it.each(['/stats/global', '/api', '/docs', '/consumer_logs', '/nowhere'])(
      'can not reach %s under a name of its own',
      async (path) => {
        for (const host of ['shop.example', 'shop.example:9000', '127.0.0.1.shop.example', 'localhost.shop.example']) {
          const { status, body } = await rawGet(service, path, { host });
          expect({ host, status, code: body.code }).toEqual({ host, status: 403, code: 'foreign_host' });
        }
      },
    );

    it('can not reach the service from its origin', async () => {
      for (const origin of ['https://shop.example', 'null', 'http://127.0.0.1:1', 'http://localhost']) {
        const { status, body } = await rawGet(service, '/stats/global', { origin });
        expect({ origin, status, code: body.code }).toEqual({ origin, status: 403, code: 'foreign_origin' });
      }
    });

    it('can not clear the statistics', async () => {
      const { status } = await service.call('DELETE', '/clear_redis_db', undefined, { origin: 'https://shop.example' });
      expect(status).toBe(403);
      expect((await got('/stats/global')).total_orders).toBe(6);
    });

    it('does not keep the service from its own pages and other names of this machine', async () => {
      const { port } = new URL(service.url);
      for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
        expect((await rawGet(service, '/api', { host, origin: `http://${host}` })).status).toBe(200);
      }
    });
  });
});

describe('orders that come while somebody looks on', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await service.send(anOrderEvent(), anOrderEvent(), anOrderEvent());
    await service.settled();
    await eventually(async () => expect((await service.get('/consumer_logs')).body.total_logs).toBe(3));
  });

  afterAll(() => service?.stop());

  it('are streamed after connecting, and no others', async () => {
    const stream = await EventStream.open(`${service.url}/consumer_logs/stream`);
    try {
      expect(stream.response.headers.get('content-type')).toBe('text/event-stream');
      const order = anOrderEvent({ user_id: 'U7' });
      await service.send(order);
      await eventually(() => expect(stream.events).toHaveLength(1));
      expect(stream.events[0]).toMatchObject({
        id: expect.stringMatching(/^\d+-\d+$/),
        data: { order_id: order.order_id, user_id: 'U7', outcome: 'accepted', level: 'info' },
      });
    } finally {
      stream.close();
    }
  });

  it('are streamed later to a client that was away for a moment', async () => {
    const orders = Array.from({ length: 12 }, () => anOrderEvent());
    const stream = await EventStream.open(`${service.url}/consumer_logs/stream`);
    await service.send(...orders);
    await eventually(() => expect(stream.events).toHaveLength(orders.length));
    stream.close();

    const [first, ...missed] = stream.events;
    const again = await EventStream.open(`${service.url}/consumer_logs/stream`, { 'Last-Event-ID': first!.id });
    try {
      await eventually(() => expect(again.events.length).toBeGreaterThanOrEqual(missed.length));
      expect(again.events).toEqual(missed);
    } finally {
      again.close();
    }
  });

  it('are streamed also after the logs were cleared', async () => {
    const stream = await EventStream.open(`${service.url}/consumer_logs/stream`);
    try {
      await service.call('DELETE', '/clear_redis_db');
      const order = anOrderEvent();
      await service.send(order);
      await eventually(() => expect(stream.events).toMatchObject([{ data: { order_id: order.order_id } }]));
    } finally {
      stream.close();
    }
  });

  it('neither repeat nor hide an entry of the page after', async () => {
    const { body: first } = await service.get('/order-events?limit=2');
    await service.send(anOrderEvent(), anOrderEvent());
    await service.settled();
    const { body: second } = await service.get(`/order-events?limit=1&cursor=${first.next_cursor}`);
    const positions = [...first.items, ...second.items].map(({ position }) => position as number);
    expect(positions).toEqual([0, 1, 2].map((back) => positions[0]! - back));
    expect((await service.get('/order-events?limit=1')).body.items[0].position).toBe(positions[0]! + 2);
  });
});

describe('lists that are read page by page', () => {
  const MANY = 23;
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    const ofMany = Array.from({ length: MANY }, (_, index) =>
      anOrderEvent({
        user_id: `U-P${String(index).padStart(2, '0')}`,
        order_timestamp: '2024-08-15T12:00:00Z',
        order_value: 1 + (index % 5), // several of the same spend
        items: [line('P1', 1, 1 + (index % 5))],
      }),
    );
    const ofOne = Array.from({ length: 9 }, (_, index) =>
      anOrderEvent({ user_id: 'U-ONE', order_value: 10 + (index % 2) }),
    );
    const failing = Array.from({ length: 3 }, (_, index) =>
      anOrderEvent({ user_id: `U-F${index}`, order_timestamp: '2024-08-15T12:00:00Z', items: [] }),
    );
    await service.send(...ofMany, ...ofOne, ...failing);
    await service.settled();
  });

  afterAll(() => service?.stop());

  function positionsOf(pages: Shown[][]): number[] {
    return pages.flat().map(({ position }) => position as number);
  }

  it.each([1, 7, 35, 500])('show the whole ledger in pages of %i, newest first, without gaps', async (limit) => {
    const pages = await everyPage(service, `/order-events?limit=${limit}`);
    expect(positionsOf(pages)).toEqual(Array.from({ length: MANY + 12 }, (_, index) => MANY + 12 - index));
    expect(pages.slice(0, -1).every((page) => page.length === limit)).toBe(true);
    expect(pages.at(-1)!.length).toBeGreaterThan(0);
  });

  it('show the orders of a user', async () => {
    const pages = await everyPage(service, '/users/u-one/orders?limit=4');
    expect(pages.map((page) => page.length)).toEqual([4, 4, 1]);
    expect(new Set(positionsOf(pages)).size).toBe(9);
    expect(pages.flat().every(({ user_id }) => user_id === 'U-ONE')).toBe(true);
  });

  it('show what a filter finds', async () => {
    const pages = await everyPage(service, '/order-events?outcome=corrected&user_id=U-ONE&limit=2');
    expect(pages.map((page) => page.length)).toEqual([2, 2]);
    expect(pages.flat().every(({ outcome }) => outcome === 'corrected')).toBe(true);
  });

  it.each([1, 4, 26, 1000])('show the users of a month in pages of %i by spend, equals too', async (limit) => {
    const pages = await everyPage(service, `/stats/monthly/2024-08?limit=${limit}`, 'user_stats');
    const users = pages.flat().map(({ user_id }) => user_id as string);
    expect(users).toHaveLength(MANY + 3);
    expect(new Set(users).size).toBe(MANY + 3);
    const spends = pages.flat().map(({ total_spend }) => total_spend as number);
    expect(spends).toEqual([...spends].sort((a, b) => b - a));
  });

  it('do not take the cursor of another list', async () => {
    const { body: month } = await service.get('/stats/monthly/2024-08?limit=1');
    const { body: entries } = await service.get('/order-events?limit=1');
    for (const path of [
      `/order-events?cursor=${month.next_cursor}`,
      `/stats/monthly/2024-08?cursor=${entries.next_cursor}`,
    ]) {
      const answer = await service.get(path);
      expect({ path, status: answer.status, fields: fieldsOf(answer) }).toEqual({
        path,
        status: 400,
        fields: ['cursor'],
      });
    }
  });
});

// One after another: each goes on where the one before ended.
describe('DELETE /clear_redis_db', () => {
  const before = [anOrderEvent({ user_id: 'U-OLD' }), anOrderEvent({ user_id: 'U-OLD', items: [] })];
  let world: World;
  let service: RunningService;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world });
    await service.send(...before);
    await service.settled();
  });

  afterAll(async () => {
    await service?.stop();
    await world.destroy();
  });

  async function allZero(): Promise<void> {
    const { body } = await service.get('/stats/global');
    expect(body).toEqual({
      ...NOTHING,
      corrected_orders: 0,
      unique_users: 0,
      average_order_value: 0,
      as_of: { position: before.length, at: expect.any(String) },
    });
    expect((await service.get('/users')).body).toEqual({ total_spend_ranking: [], total_order_count_ranking: [] });
    expect((await service.get('/users?start=2026-01-01&end=2026-01-31')).body.total_spend_ranking).toEqual([]);
    expect((await service.get('/users/U-OLD/stats')).status).toBe(404);
    expect((await service.get('/users/U-OLD/stats?start=2026-01-01')).status).toBe(404);
    expect((await service.get('/stats/monthly/2026-01')).status).toBe(404);
    expect((await service.get('/stats/daily?start=2026-01-15&end=2026-01-15')).body.days).toEqual([
      { day: '2026-01-15', ...NOTHING },
    ]);
    expect((await service.get('/stats/products')).body).toEqual({ by_revenue: [], by_quantity: [] });
  }

  it('lets figures and logs begin at zero', async () => {
    expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: 1, failed_orders: 1 });
    await eventually(async () => expect((await service.get('/consumer_logs')).body.total_logs).toBe(2));
    const { status, body } = await service.call('DELETE', '/clear_redis_db');
    expect({ status, body }).toEqual({ status: 200, body: { message: 'Redis database cleared' } });
    await allZero();
    expect((await service.get('/consumer_logs')).body).toEqual({ total_logs: 0, logs: [] });
  });

  it('leaves nothing of the figures before in Redis', async () => {
    const ofFigures = (await allKeys(service)).filter((key) => service.redis.keys.generationOf(key) !== null);
    expect(ofFigures).toEqual([
      service.redis.keys.generation(service.app.get(Projector).served().generation).checkpoint,
    ]);
  });

  it('leaves the ledger as it is', async () => {
    expect((await service.get('/order-events')).body.items).toHaveLength(before.length);
    expect((await service.get('/users/U-OLD/orders')).body.items).toHaveLength(before.length);
  });

  it('still holds after a restart', async () => {
    const stream = await EventStream.open(`${service.url}/consumer_logs/stream`);
    await service.stop();
    await expect(stream.ended).resolves.toBeUndefined(); // streams are ended, not broken off

    service = await RunningService.ready({ world });
    await allZero();
    expect((await service.get('/consumer_logs')).body).toEqual({ total_logs: 0, logs: [] });
  });

  it('makes no difference to what is a duplicate', async () => {
    await service.send(...before);
    await service.settled();
    await allZero();
    await eventually(async () => {
      const { body } = await service.get('/consumer_logs');
      expect(body.logs.map(({ outcome }: Shown) => outcome)).toEqual(['duplicate', 'duplicate']);
    });
  });

  it('counts new orders from zero', async () => {
    await service.send(anOrderEvent({ user_id: 'U-NEW' }), anOrderEvent({ user_id: 'U-OLD' }));
    await service.settled();
    expect((await service.get('/stats/global')).body).toMatchObject({
      total_orders: 2,
      total_revenue: 20,
      unique_users: 2,
    });
    for (const query of ['', '?start=2026-01-01&end=2026-01-31']) {
      expect((await service.get(`/users/U-OLD/stats${query}`)).body).toMatchObject({
        order_count: 1,
        failed_order_count: 0,
      });
    }
  });

  itWithRedis('is the same for every process, and so are the logs', async () => {
    const environment = { DATA_DIR: join(world.dataDir, 'other') };
    const other = await RunningService.ready({ world, environment });
    try {
      expect((await other.get('/stats/global')).body).toMatchObject({ total_orders: 2 });
      const order = anOrderEvent({ user_id: 'U-ELSEWHERE' });
      await other.send(order);
      await eventually(async () => {
        expect((await service.get('/stats/global')).body).toMatchObject({ total_orders: 3 });
        const { body } = await service.get('/consumer_logs?limit=1');
        expect(body.logs).toMatchObject([{ order_id: order.order_id, outcome: 'accepted' }]);
      });
      await service.call('DELETE', '/clear_redis_db');
      expect((await other.get('/stats/global')).body).toMatchObject(NOTHING);
      expect((await other.get('/consumer_logs')).body.total_logs).toBe(0);
    } finally {
      await other.stop();
    }
  });
});

describe('BUSINESS_TIME_ZONE', () => {
  it('cuts days and months', async () => {
    const service = await RunningService.ready({ environment: { BUSINESS_TIME_ZONE: 'Asia/Tokyo' } });
    try {
      await service.send(
        anOrderEvent({ user_id: 'U1', order_timestamp: '2024-01-31T14:59:59.999Z' }), // 23:59:59.999 in Tokyo
        anOrderEvent({ user_id: 'U2', order_timestamp: '2024-01-31T15:00:00Z' }), // midnight there
      );
      await service.settled();
      const ofOne = { total_orders: 1, total_revenue: 10, failed_orders: 0 };
      expect((await service.get('/stats/daily?start=2024-01-31&end=2024-02-01')).body.days).toEqual([
        { day: '2024-01-31', ...ofOne },
        { day: '2024-02-01', ...ofOne },
      ]);
      const { body: february } = await service.get('/stats/monthly/2024-02');
      expect(february).toMatchObject({ ...ofOne, user_stats: [{ user_id: 'U2' }] });
      const { body: users } = await service.get('/users?start=2024-02-01&end=2024-02-01');
      expect(users.total_spend_ranking).toEqual([{ position: 1, user_id: 'U2', total_spend: 10 }]);
      const { body: january } = await service.get('/users/U1/stats?start=2024-01-31&end=2024-01-31');
      expect(january).toMatchObject({ order_count: 1, last_order_at: '2024-01-31T14:59:59.999Z' });
    } finally {
      await service.stop();
    }
  });
});
