import { sql } from 'drizzle-orm';
import { RunningService } from '../support/app.js';
import { dumpOfGeneration } from '../support/dump.js';
import { type ApiDocument, type HostileRequest, hostileRequests, oddRequests } from '../support/hostile-requests.js';
import { anOrderEvent } from '../support/order-events.js';

const AT_LEAST = 5_000;
const AT_ONCE = 16;
/** Many times what any takes, so that a busy machine is not taken for a fault. */
const LONGEST_MS = 10_000;
/** Whoever looks for a dead letter that is not there has to wait for SQS to say so. */
const LONGEST_LOOK_MS = 15_000;

/** Tables that nothing but an order, or what somebody did, writes to. */
const TABLES = [
  'ledger',
  'ledger_head',
  'counted_orders',
  'failed_contents',
  'counted_refunds',
  'refunded_orders',
  'early_refunds',
  'repairs',
  'audit_log',
  'accounts',
  'sessions',
  'api_keys',
  'products',
  'stock',
  'warehouses',
  'stock_movements',
  'orders',
  'order_lines',
  'order_timeline',
  'reservations',
  'payment_attempts',
  'shipments',
  'failed_jobs',
  'simulated_charges',
  'simulated_refunds',
  'simulated_webhooks',
  'quality_findings',
  'quality_schedule',
];

/** A valid value of each parameter of a path. */
const KNOWN = {
  account_id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  code: 'EAST',
  id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  job_id: '99',
  key_id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  message_id: 'none',
  month: '2026-01',
  n: '3',
  order_id: 'ORD-5F3C6F0E2A4F7B1C',
  position: '1',
  sku: 'A123',
  tracking_number: 'SP473124829XX',
  user_id: 'U7',
};

let service: RunningService;

beforeAll(async () => {
  service = await RunningService.ready();
  await service.send(anOrderEvent(), anOrderEvent({ user_id: 'U7' }), anOrderEvent({ items: [] }), 'not JSON');
  await service.settled();
});

afterAll(() => service.stop());

/** All that an order pipeline is about. */
async function data(): Promise<unknown> {
  const rows = TABLES.map((table) => service.database.query(sql.raw(`select t::text from ${table} t order by 1`)));
  return { rows: await Promise.all(rows), figures: await dumpOfGeneration(service) };
}

/** What is wrong with the answer to a request, or null. @param mayBeTaken whether it may do what it asks for */
async function complaint({ method, path, headers, body }: HostileRequest, mayBeTaken: boolean): Promise<string | null> {
  const asked = `${method} ${path.slice(0, 200)} ${JSON.stringify(headers ?? {}).slice(0, 100)} ${body?.slice(0, 100) ?? ''}`;
  const json = body === undefined ? {} : { 'content-type': 'application/json' };
  try {
    const response = await fetch(service.url + path, {
      method,
      headers: { ...json, ...headers },
      body,
      signal: AbortSignal.timeout(path.startsWith('/dead-letters') ? LONGEST_LOOK_MS : LONGEST_MS),
    });
    const type = response.headers.get('content-type') ?? '';
    // It is as long as somebody listens.
    if (type.startsWith('text/event-stream')) {
      await response.body!.cancel();
      return null;
    }
    const text = await response.text();
    if (response.status >= 500) return `${response.status} for ${asked}: ${text.slice(0, 300)}`;
    if (response.status < 400)
      return method === 'GET' || mayBeTaken ? null : `${response.status} for ${asked}: it was taken`;
    const problem = type.startsWith('application/problem+json') ? (JSON.parse(text) as { code?: string }) : {};
    return problem.code ? null : `${response.status} without a code for ${asked}: ${text.slice(0, 300)}`;
  } catch (error) {
    return `${(error as Error).message} for ${asked}`;
  }
}

/** Asks many at once. */
async function askAll(
  requests: Iterator<HostileRequest>,
  mayBeTaken: boolean,
): Promise<{ complaints: string[]; asked: number }> {
  const complaints: string[] = [];
  let asked = 0;
  const ask = async (): Promise<void> => {
    for (let next = requests.next(); !next.done; next = requests.next()) {
      asked++;
      const wrong = await complaint(next.value, mayBeTaken);
      if (wrong) complaints.push(wrong);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
  return { complaints, asked };
}

describe('Hostile input', () => {
  it('gets a clear answer on every route, and changes nothing', async () => {
    const before = await data();
    const document = (await service.get('/docs-json')).body as ApiDocument;
    const requests = hostileRequests(document, KNOWN);
    const { complaints, asked } = await askAll(requests, false);
    expect(complaints).toEqual([]);
    expect(asked).toBeGreaterThanOrEqual(AT_LEAST);
    await service.settled();
    expect(await data()).toEqual(before);
    expect(await service.get('/stats/verify')).toMatchObject({ status: 200, body: { verified: true } });
  }, 300_000);

  it('that a route takes all the same breaks nothing', async () => {
    const document = (await service.get('/docs-json')).body as ApiDocument;
    const { complaints, asked } = await askAll(oddRequests(document, KNOWN), true);
    expect(complaints).toEqual([]);
    expect(asked).toBeGreaterThan(500);
    await service.settled();
    expect(await service.get('/stats/verify')).toMatchObject({ status: 200, body: { verified: true } });
  }, 300_000);
});
