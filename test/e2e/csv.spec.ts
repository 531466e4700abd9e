import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { request } from 'node:http';
import { LiveStatistics } from '../../src/stats/api/live-statistics.service.js';
import { StatsRebuilding } from '../../src/stats/projection/projector.worker.js';
import { aWorld, RunningService, type Answer, type World } from '../support/app.js';
import { anOrderEvent, type SentOrderEvent } from '../support/order-events.js';

/** Part of an answer in JSON. */
type Shown = Answer['body'];
type Row = Record<string, string | number | null>;

const CSV = 'text/csv; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8';

const AMOUNTS = ['total_spend', 'total_revenue', 'revenue', 'claimed_value', 'order_value'];
const ODD_USER = 'U/10 %:*"';

function ordered(user_id: string, product_id: string, quantity: number, price_per_unit: number): SentOrderEvent {
  const items = [{ product_id, quantity, price_per_unit }];
  return anOrderEvent({
    user_id,
    order_timestamp: '2024-01-15T12:00:00Z',
    order_value: quantity * price_per_unit,
    items,
  });
}

const ORDERS: (SentOrderEvent | string)[] = [
  ordered('U"QUOTED"', 'P"1"', 1, 12.5),
  ordered('U,COMMA', 'P,1', 2, 0.05),
  ordered('U  SPACES INSIDE', 'P  1;2', 3, 100),
  ordered('U=1', '=1+1', 1, 20.5),
  ordered('U+1', '+1', 4, 1.25),
  ordered('U-1', '-2', 5, 7.1),
  ordered('U@1', '@SUM(A1)', 6, 0.01),
  ordered(ODD_USER, "'P", 1, 1_000_000),
  ordered(ODD_USER, '=HYPERLINK("X","Y")', 1, 3),
  anOrderEvent({ user_id: 'U-CORRECTED', order_timestamp: '2024-01-16T12:00:00Z', order_value: 99.9 }),
  anOrderEvent({ user_id: ODD_USER, order_timestamp: '2024-02-16T12:00:00Z', items: [] }),
  anOrderEvent({ user_id: 'U-FAILED', order_timestamp: '2024-01-17T12:00:00Z', order_value: -3, items: [] }),
  '=1+1',
  '-1.5.',
  '+1',
  '@x, "y"',
  '\t=1',
  '＝1',
  'a\nb',
  'a\rb',
  '{"user_id":"U\r\n1", "größe": "日本 😀"',
];

/** Every route that has a table: where to ask, and the rows that its JSON answer amounts to. */
const TABLES: [path: string, file: string, rowsOf: (answer: Shown) => Row[]][] = [
  ['/stats/top/1000', 'top-1000-users-by-spend', (users) => users],
  ['/users?limit=1000', 'users-by-spend-and-orders', rankingsOf],
  ['/users?start=2024-01-15&end=2024-01-16', 'users-by-spend-and-orders', rankingsOf],
  ['/stats/monthly?start=2023-12&end=2024-03', 'months-2023-12-to-2024-03', ({ months }) => months],
  ['/stats/monthly/2024-01', 'users-of-2024-01', ({ user_stats }) => user_stats],
  ['/stats/daily?start=2024-01-14&end=2024-01-18', 'days-2024-01-14-to-2024-01-18', ({ days }) => days],
  [
    '/stats/products?limit=1000',
    'products-by-revenue-and-quantity',
    ({ by_revenue, by_quantity }) => [
      ...by_revenue.map((product: Row) => ({ ranking: 'by_revenue', ...product })),
      ...by_quantity.map((product: Row) => ({ ranking: 'by_quantity', ...product })),
    ],
  ],
  ['/order-events?limit=500', 'order-events', entriesOf],
  [`/users/${encodeURIComponent(ODD_USER)}/orders`, 'orders-of-U-10-', entriesOf],
];

function rankingsOf({ total_spend_ranking, total_order_count_ranking }: Shown): Row[] {
  return [
    ...total_spend_ranking.map((place: Row) => ({ ranking: 'total_spend', ...place, total_order_count: null })),
    ...total_order_count_ranking.map((place: Row) => ({
      ranking: 'total_order_count',
      position: place.position,
      user_id: place.user_id,
      total_spend: null,
      total_order_count: place.total_order_count,
    })),
  ];
}

function entriesOf({ items }: Shown): Row[] {
  return items.map((entry: Shown) => ({ ...entry, items: entry.items.length, reasons: entry.reasons.join(' ') }));
}

/** How a value of the JSON answer is to stand in a table. */
function cellOf(column: string, value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'string') return /^[=+\-@\t\r\n＝]/.test(value) ? `'${value}` : value;
  if (!AMOUNTS.includes(column)) return String(value);
  const [whole, part = ''] = String(value).split('.');
  return `${whole}.${part.padEnd(2, '0')}`;
}

function tableOf(rows: Row[]): string[][] {
  return [Object.keys(rows[0]!), ...rows.map((row) => Object.entries(row).map(([name, value]) => cellOf(name, value)))];
}

/** Strict: a quote or a line end out of place, or a row of another length, is an error. */
function readCsv(text: string): string[][] {
  return parse(text, { record_delimiter: ['\r\n', '\n', '\r'] });
}

function nextIn({ headers }: Answer): string | null {
  const link = headers.get('link');
  if (link === null) return null;
  expect(link).toMatch(/^<\/[^<>\s"]+>; rel="next"$/);
  return link.slice(1, link.indexOf('>'));
}

/** The type of the answer to an Accept header; null sends none, which fetch would not do. */
function typeFor(service: RunningService, path: string, accept: string | null): Promise<[number, string | undefined]> {
  return new Promise((resolve, reject) => {
    request(`${service.url}${path}`, { headers: accept === null ? {} : { accept } }, (response) => {
      response.resume().on('end', () => resolve([response.statusCode!, response.headers['content-type']]));
    })
      .on('error', reject)
      .end();
  });
}

describe('lists as CSV', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await service.send(...ORDERS);
    await service.settled();
  });

  afterAll(() => service?.stop());

  async function asCsv(path: string): Promise<Answer> {
    const answer = await service.get(path, { accept: 'text/csv' });
    expect({ path, status: answer.status, type: answer.headers.get('content-type') }).toEqual({
      path,
      status: 200,
      type: CSV,
    });
    return answer;
  }

  it.each(TABLES)('%s says the same as its JSON, cell by cell', async (path, _file, rowsOf) => {
    const { status, body: json } = await service.get(path);
    expect(status).toBe(200);
    const rows = rowsOf(json);
    expect(rows.length).toBeGreaterThan(1);
    const { body: csv } = await asCsv(path);
    expect(readCsv(csv)).toEqual(tableOf(rows));
    expect(csv.endsWith('\r\n')).toBe(true);
    expect(csv.split('\r\n', 1)).toEqual([Object.keys(rows[0]!).join(',')]);
  });

  it.each(TABLES)('%s says what it is, and depends on what is accepted', async (path, file) => {
    const csv = await asCsv(path);
    expect(csv.headers.get('content-disposition')).toBe(`inline; filename="${file}.csv"`);
    expect(csv.headers.get('vary')).toBe('Accept');
    const json = await service.get(path);
    expect(json.headers.get('content-type')).toBe(JSON_TYPE);
    expect(json.headers.get('content-disposition')).toBeNull();
    expect(json.headers.get('vary')).toBe('Accept');
  });

  it.each(TABLES)('%s answers HEAD as it answers GET, without a body', async (path) => {
    for (const accept of ['text/csv', 'application/json']) {
      const got = await service.get(path, { accept });
      const head = await fetch(`${service.url}${path}`, { method: 'HEAD', headers: { accept } });
      expect([head.status, head.headers.get('content-type'), await head.text()]).toEqual([
        200,
        got.headers.get('content-type'),
        '',
      ]);
      expect(head.headers.get('content-length')).toBe(got.headers.get('content-length'));
    }
  });

  it('keeps what senders wrote from being formulas, and negative amounts numbers', async () => {
    const { body: products } = await asCsv('/stats/products?limit=1000');
    const ids = readCsv(products).map(([, id]) => id);
    expect(ids).toEqual(expect.arrayContaining(["'=1+1", "'+1", "'-2", "'@SUM(A1)", `'=HYPERLINK("X","Y")`, "'P"]));
    const { body: entries } = await asCsv('/order-events?outcome=failed&limit=500');
    const bodies = readCsv(entries).map((row) => row.at(-1));
    expect(bodies).toEqual(
      expect.arrayContaining(["'=1+1", "'-1.5.", "'+1", `'@x, "y"`, "'\t=1", "'＝1", 'a\nb', 'a\rb']),
    );
    expect(bodies).toContain(ORDERS.at(-1));
    const [, ...failed] = readCsv((await asCsv('/order-events?user_id=U-FAILED')).body);
    expect(failed.map((row) => row[6])).toEqual(['-3.00']);
  });

  it('joins the reasons of a failed order with a space', async () => {
    const [header, row] = readCsv((await asCsv('/order-events?user_id=U-FAILED')).body);
    expect(row![header!.indexOf('reasons')]).toBe('non_positive_order_value missing_items');
  });

  it('is a header alone where there is nothing', async () => {
    expect((await asCsv('/order-events?user_id=U404')).body).toMatch(/^position,kind,outcome,[a-z_,]+,body\r\n$/);
    expect((await asCsv('/users?start=2024-03-01&end=2024-03-02')).body).toBe(
      'ranking,position,user_id,total_spend,total_order_count\r\n',
    );
  });

  it('shows zeros as zeros', async () => {
    expect((await asCsv('/stats/daily?start=2024-03-01&end=2024-03-02')).body).toBe(
      'day,total_orders,total_revenue,failed_orders\r\n2024-03-01,0,0.00,0\r\n2024-03-02,0,0.00,0\r\n',
    );
  });

  it.each([
    ['/order-events?outcome=failed&limit=3', entriesOf],
    ['/order-events?limit=7', entriesOf],
    [`/users/${encodeURIComponent(ODD_USER)}/orders?limit=1`, entriesOf],
    ['/stats/monthly/2024-01?limit=2', ({ user_stats }: Shown) => user_stats],
  ])('leads from page to page of %s by Link, as of the JSON', async (path, rowsOf: (answer: Shown) => Row[]) => {
    let pages = 0;
    const seen: Row[] = [];
    for (let next: string | null = path; next !== null; pages++) {
      const json = await service.get(next);
      const csv = await asCsv(next);
      const rows = rowsOf(json.body);
      expect(readCsv(csv.body)).toEqual(tableOf(rows));
      seen.push(...rows);
      expect(pages).toBeLessThan(100); // a link that leads back would go round for ever
      next = nextIn(csv);
      expect(nextIn(json)).toBe(next);
      if (next !== null) {
        const [given, offered] = [path, next].map((url) => new URL(url, service.url));
        expect(offered!.pathname).toBe(given!.pathname);
        expect(offered!.searchParams.get('cursor')).toBe(json.body.next_cursor);
        offered!.searchParams.delete('cursor');
        expect(offered!.search).toBe(given!.search);
      }
    }
    expect(pages).toBeGreaterThan(2);
    const { body: whole } = await service.get(path.replace(/limit=\d+/, 'limit=500'));
    expect(seen).toEqual(rowsOf(whole));
  });

  it('has no Link where there are no pages', async () => {
    expect(nextIn(await asCsv('/stats/top/1'))).toBeNull();
    expect(nextIn(await asCsv('/order-events?limit=500'))).toBeNull();
  });

  it.each([
    ['text/csv', CSV],
    ['TEXT/CSV', CSV],
    ['text/csv; charset=utf-8', CSV],
    ['text/*', CSV],
    ['text/csv, application/json', CSV],
    ['text/csv, */*;q=0.1', CSV],
    ['text/csv;header=present', CSV],
    ['text/csv; charset=UTF-8; header=present', CSV],
    ['application/json; charset=utf-8', JSON_TYPE],
    ['application/json;q=0.1, text/csv;q=0.2', CSV],
    ['application/json;q=0, */*', CSV],
    ['text/csv;q=0.5, application/json', JSON_TYPE],
    ['text/csv;q=0, */*', JSON_TYPE],
    ['application/json', JSON_TYPE],
    ['application/*', JSON_TYPE],
    ['*/*', JSON_TYPE],
    [BROWSER, JSON_TYPE],
    ['', JSON_TYPE],
    [null, JSON_TYPE],
  ])('to Accept: %s answers with %s', async (accept, type) => {
    expect(await typeFor(service, '/stats/top/2', accept)).toEqual([200, type]);
  });

  it.each(['application/xml', 'text/html', 'text/csv;q=0', 'garbage', ';;;', ',', '"', '/'])(
    'refuses Accept: %s, naming what there is',
    async (accept) => {
      const { status, headers, body } = await service.get('/stats/top/2', { accept });
      expect([status, headers.get('content-type')]).toEqual([406, 'application/problem+json']);
      expect(body).toMatchObject({
        status: 406,
        code: 'not_acceptable',
        title: 'Not Acceptable',
        detail: 'This is there as application/json and as text/csv.',
        instance: '/stats/top/2',
      });
      expect(headers.get('vary')).toBe('Accept');
    },
  );

  it('is not brought down by any Accept header', async () => {
    const piece = fc.constantFrom(
      'text/csv',
      'application/json',
      '*/*',
      ';q=',
      '0.5',
      ',',
      ';',
      '=',
      '"',
      '\\',
      '/',
      ' ',
    );
    const header = fc.array(fc.oneof(piece, fc.string({ maxLength: 5 })), { maxLength: 8 }).map((all) => all.join(''));
    await fc.assert(
      fc.asyncProperty(header, async (accept) => {
        const [status] = await typeFor(service, '/stats/top/2', accept);
        expect([200, 406]).toContain(status);
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    ['/stats/top/0', 400, 'invalid_input'],
    ['/users?limit=0', 400, 'invalid_input'],
    ['/order-events?cursor=x', 400, 'invalid_input'],
    ['/stats/monthly/2024-07', 404, 'not_found'],
    ['/users/U404/orders', 404, 'not_found'],
  ])('answers %s with a problem, whatever is accepted', async (path, status, code) => {
    for (const accept of ['text/csv', 'application/json', '*/*']) {
      const answer = await service.get(path, { accept });
      expect([answer.status, answer.headers.get('content-type')]).toEqual([status, 'application/problem+json']);
      expect(answer.headers.get('content-disposition')).toBeNull();
      expect(answer.body).toMatchObject({ status, code });
    }
  });

  it('answers with a problem while the statistics are rebuilt', async () => {
    const rebuilding = jest
      .spyOn(service.app.get(LiveStatistics), 'topBySpend')
      .mockRejectedValue(new StatsRebuilding({ done: 1, total: 2 }));
    try {
      const { status, headers, body } = await service.get('/stats/top/2', { accept: 'text/csv' });
      expect([status, headers.get('content-type')]).toEqual([503, 'application/problem+json']);
      expect(body).toMatchObject({ code: 'stats_rebuilding', progress: { done: 1, total: 2 } });
    } finally {
      rebuilding.mockRestore();
    }
  });

  it('documents every table with an example that has its columns', async () => {
    const { paths } = (await service.get('/docs-json')).body;
    for (const [path, , rowsOf] of TABLES) {
      const route = path
        .replace(/\?.*/, '')
        .replace(/\/top\/.*/, '/top/{n}')
        .replace(/\/2024-01$/, '/{month}')
        .replace(/^\/users\/.*\//, '/users/{user_id}/');
      const { content } = paths[route].get.responses['200'];
      expect({ route, types: Object.keys(content) }).toEqual({ route, types: ['application/json', 'text/csv'] });
      const { example: json } = content['application/json'];
      expect(readCsv(content['text/csv'].example)).toEqual(tableOf(rowsOf(json)));
      expect({ route, columns: readCsv(content['text/csv'].example)[0] }).toEqual({
        route,
        columns: readCsv((await asCsv(path)).body)[0],
      });
    }
  });
});

describe('lists of a service that has nothing yet', () => {
  let world: World;
  let service: RunningService;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world });
  });

  afterAll(async () => {
    await service?.stop();
    await world.destroy();
  });

  it.each([
    ['/stats/top/3', 'user_id,total_spend\r\n'],
    ['/users', 'ranking,position,user_id,total_spend,total_order_count\r\n'],
    ['/stats/products', 'ranking,product_id,quantity,revenue\r\n'],
  ])('are a header alone: %s', async (path, header) => {
    const { status, body } = await service.get(path, { accept: 'text/csv' });
    expect([status, body]).toEqual([200, header]);
  });
});
