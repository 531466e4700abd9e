import { sql } from 'drizzle-orm';
import { RunningService } from './app.js';
import { dumpOfGeneration } from './dump.js';
import { type ApiDocument, type HostileRequest, hostileRequests, oddRequests } from './hostile-requests.js';
import { withQuickLooks } from './no-waiting.js';
import { anOrderEvent } from './order-events.js';

const AT_ONCE = 16;
/** A request hangs if so many that came later were answered before it. */
const MAX_OVERTAKEN = 1_000;

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

/**
 * Asks a service for what no well-meaning client asks for.
 * @param oneIn so many of the requests one is asked; 1 is all of some 19,000
 */
export function sweepsBadInput(oneIn: number): void {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    withQuickLooks(service.sqs);
    await service.send(anOrderEvent(), anOrderEvent({ user_id: 'U7' }), anOrderEvent({ items: [] }), 'not JSON');
    await service.settled();
  });

  afterAll(() => service.stop());

  /** All that an order pipeline is about. */
  async function data(): Promise<unknown> {
    const rows = TABLES.map((table) => service.database.query(sql.raw(`select t::text from ${table} t order by 1`)));
    return { rows: await Promise.all(rows), figures: await dumpOfGeneration(service) };
  }

  async function document(): Promise<ApiDocument> {
    return (await service.get('/docs-json')).body as ApiDocument;
  }

  it('Hostile input gets a clear answer on every route, and changes nothing', async () => {
    const before = await data();
    const requests = every(oneIn, hostileRequests(await document(), KNOWN));
    const { complaints, asked } = await askAll(service.url, requests, false);
    expect(complaints).toEqual([]);
    expect(asked).toBeGreaterThan(15_000 / oneIn);
    await service.settled();
    expect(await data()).toEqual(before);
    expect(await service.get('/stats/verify')).toMatchObject({ status: 200, body: { verified: true } });
  });

  it('Hostile input that a route takes all the same breaks nothing', async () => {
    const requests = every(oneIn, oddRequests(await document(), KNOWN));
    const { complaints, asked } = await askAll(service.url, requests, true);
    expect(complaints).toEqual([]);
    expect(asked).toBeGreaterThan(1_500 / oneIn);
    await service.settled();
    expect(await service.get('/stats/verify')).toMatchObject({ status: 200, body: { verified: true } });
  });
}

/** Every so many of some requests, so that each parameter gets some of the values, and each value comes to some of them. */
function* every(step: number, requests: Iterable<HostileRequest>): Generator<HostileRequest> {
  let i = 0;
  for (const request of requests) if (i++ % step === 0) yield request;
}

/** What is wrong with the answer to a request, or null. @param mayBeTaken whether it may do what it asks for */
async function complaint(
  url: string,
  request: HostileRequest,
  mayBeTaken: boolean,
  signal: AbortSignal,
): Promise<string | null> {
  const { method, path, headers, body } = request;
  const asked = `${method} ${path.slice(0, 200)} ${JSON.stringify(headers ?? {}).slice(0, 100)} ${body?.slice(0, 100) ?? ''}`;
  const json = body === undefined ? {} : { 'content-type': 'application/json' };
  try {
    const response = await fetch(url + path, { method, headers: { ...json, ...headers }, body, signal });
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
  url: string,
  requests: Iterator<HostileRequest>,
  mayBeTaken: boolean,
): Promise<{ complaints: string[]; asked: number }> {
  const complaints: string[] = [];
  const open = new Map<AbortController, number>();
  let asked = 0;
  let answered = 0;
  const isAnswered = (): void => {
    answered++;
    for (const [request, since] of open) {
      if (answered - since > MAX_OVERTAKEN) request.abort(new Error(`No answer, but to ${MAX_OVERTAKEN} others`));
    }
  };
  const ask = async (): Promise<void> => {
    for (let next = requests.next(); !next.done; next = requests.next()) {
      asked++;
      const request = new AbortController();
      open.set(request, answered);
      const wrong = await complaint(url, next.value, mayBeTaken, request.signal);
      open.delete(request);
      isAnswered();
      if (wrong) complaints.push(wrong);
    }
    // What hangs is overtaken in the end, too.
    while (open.size > 0) {
      await fetch(`${url}/health/live`).then((response) => response.text());
      isAnswered();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
  return { complaints, asked };
}
