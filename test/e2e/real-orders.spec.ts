import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { run as populate } from '../../src/cli/populate.js';
import { EmbeddedParts } from '../../src/platform/embedded/embedded-parts.js';
import { RunningService } from '../support/app.js';

interface ExpectedUser {
  user_id: string;
  order_count: number;
  total_spend: number;
  failed_order_count: number;
}

interface Expected {
  total_orders: number;
  total_revenue: number;
  failed_orders: number;
  top10_by_spend: ExpectedUser[];
  months: Record<string, { total_orders: number; total_revenue: number; failed_orders: number }>;
}

interface SentOrder {
  user_id: string;
}

const SAMPLE = join(__dirname, '../../sample/online-retail-sample');
const EARLY_DECEMBER = join(__dirname, '../data/online-retail-2010-12-early');

function expectedOf(slice: string): Expected {
  return JSON.parse(readFileSync(`${slice}.expected.json`, 'utf8')) as Expected;
}

function ordersOf(slice: string): SentOrder[] {
  const lines = readFileSync(`${slice}.jsonl`, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as SentOrder);
}

/** Sends a file the way a user does: by the project's own command, to the queue the running service listens on. */
async function populated(service: RunningService, file: string): Promise<{ exitCode: number; out: string }> {
  const out = new PassThrough();
  const { sqsEndpoint } = service.app.get(EmbeddedParts);
  const environment = { SQS_ENDPOINT: sqsEndpoint, SQS_QUEUE_NAME: service.config.queue.name };
  const exitCode = await populate([file], { out, err: new PassThrough(), environment });
  await service.settled();
  return { exitCode, out: String(out.read()) };
}

function inCents(amount: number): number {
  return Math.round(amount * 100);
}

describe.each([
  { what: 'the 1,088 real orders', slice: EARLY_DECEMBER, count: 1_088 },
  { what: 'the sample', slice: SAMPLE, count: 150 },
])('$what, sent by the populate command', ({ slice, count }) => {
  const expected = expectedOf(slice);
  const orders = ordersOf(slice);
  const month = expected.months['2010-12']!;
  let service: RunningService;
  let sending: { exitCode: number; out: string };

  beforeAll(async () => {
    service = await RunningService.ready();
    sending = await populated(service, `${slice}.jsonl`);
  });

  afterAll(() => service.stop());

  it('are all read and sent', () => {
    expect(orders).toHaveLength(count);
    expect(sending.exitCode).toBe(0);
    expect(sending.out).toMatch(new RegExp(`^Sent +${count.toLocaleString('en')}$`, 'm'));
  });

  it('give the expected totals to the cent', async () => {
    const { status, body } = await service.get('/stats/global');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      total_orders: expected.total_orders,
      total_revenue: expected.total_revenue,
      failed_orders: expected.failed_orders,
      corrected_orders: 0,
      average_order_value: Math.round(inCents(expected.total_revenue) / expected.total_orders) / 100,
      as_of: { position: count },
    });
  });

  it('give the expected ten best customers, in their order', async () => {
    const spends = expected.top10_by_spend.map(({ user_id, total_spend }) => ({ user_id, total_spend }));
    expect((await service.get('/stats/top/10')).body).toEqual(spends);
    const { body } = await service.get('/users?limit=10');
    expect(body.total_spend_ranking).toEqual(spends.map((place, index) => ({ position: index + 1, ...place })));
  });

  it('give each of these customers the expected figures', async () => {
    for (const user of expected.top10_by_spend) {
      const { body } = await service.get(`/users/${user.user_id}/stats`);
      expect(body).toMatchObject(user);
      expect(body.average_order_value).toBe(Math.round(inCents(user.total_spend) / user.order_count) / 100);
    }
  });

  it('give the expected month, also as the only one of its year', async () => {
    expect((await service.get('/stats/monthly/2010-12')).body).toMatchObject({ month: '2010-12', ...month });
    const { body } = await service.get('/stats/monthly?start=2010-01&end=2010-12');
    expect(body.months).toHaveLength(12);
    expect(body.months.at(-1)).toEqual({ month: '2010-12', ...month });
    expect(body.months.slice(0, -1).every(({ total_orders }: typeof month) => total_orders === 0)).toBe(true);
  });

  it('give days that add up to the month', async () => {
    const { body } = await service.get('/stats/daily?start=2010-12-01&end=2010-12-31');
    const days = body.days as (typeof month)[];
    const sum = (of: (day: typeof month) => number): number => days.reduce((total, day) => total + of(day), 0);
    expect(sum((day) => day.total_orders)).toBe(month.total_orders);
    expect(sum((day) => inCents(day.total_revenue))).toBe(inCents(month.total_revenue));
    expect(sum((day) => day.failed_orders)).toBe(month.failed_orders);
  });

  it('give users that add up to the totals, but for the orders that name none', async () => {
    const users: ExpectedUser[] = [];
    let next = '';
    do {
      const { body } = await service.get(`/stats/monthly/2010-12?limit=250${next}`);
      users.push(...(body.user_stats as ExpectedUser[]));
      next = body.next_cursor === null ? '' : `&cursor=${body.next_cursor}`;
    } while (next !== '');

    const known = new Set(orders.map(({ user_id }) => user_id).filter(Boolean));
    const nameless = orders.filter(({ user_id }) => user_id === '').length;
    const sum = (of: (user: ExpectedUser) => number): number => users.reduce((total, user) => total + of(user), 0);
    expect(users.map(({ user_id }) => user_id).sort()).toEqual([...known].sort());
    expect(sum((user) => user.order_count)).toBe(expected.total_orders);
    expect(sum((user) => inCents(user.total_spend))).toBe(inCents(expected.total_revenue));
    expect(sum((user) => user.failed_order_count)).toBe(expected.failed_orders - nameless);
  });

  it('count once, however often they are sent', async () => {
    const { body: before } = await service.get('/stats/global');
    await populated(service, `${slice}.jsonl`);
    expect((await service.get('/stats/global')).body).toEqual(before);
    expect((await service.get('/metrics')).body).toContain(`orders_processed_total{outcome="duplicate"} ${count}\n`);
  });
});
