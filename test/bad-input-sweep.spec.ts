import { sql } from 'drizzle-orm';
import { RunningService } from './support/app.js';
import { dumpOfGeneration } from './support/dump.js';
import { type ApiDocument, type HostileRequest, hostileRequests } from './support/hostile-requests.js';
import { anOrderEvent } from './support/order-events.js';

const AT_LEAST = 5_000;
const AT_ONCE = 16;
const LONGEST_MS = 2_000;
/** Whoever looks for a dead letter that is not there has to wait for SQS to say so. */
const LONGEST_LOOK_MS = 5_000;

/** Tables that nothing but an order, or what somebody did, writes to. */
const TABLES = [
  'ledger',
  'ledger_head',
  'counted_orders',
  'failed_contents',
  'repairs',
  'audit_log',
  'accounts',
  'sessions',
  'api_keys',
];

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

/** What is wrong with the answer to a request, or null. */
async function complaint({ method, path, headers, body }: HostileRequest): Promise<string | null> {
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
    if (response.status < 400) return method === 'GET' ? null : `${response.status} for ${asked}: it was taken`;
    const problem = type.startsWith('application/problem+json') ? (JSON.parse(text) as { code?: string }) : {};
    return problem.code ? null : `${response.status} without a code for ${asked}: ${text.slice(0, 300)}`;
  } catch (error) {
    return `${(error as Error).message} for ${asked}`;
  }
}

describe('Hostile input', () => {
  it('gets a clear answer on every route, and changes nothing', async () => {
    const before = await data();
    const document = (await service.get('/docs-json')).body as ApiDocument;
    const known = {
      id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
      message_id: 'none',
      month: '2026-01',
      n: '3',
      position: '1',
      user_id: 'U7',
    };
    const requests = hostileRequests(document, known);
    const complaints: string[] = [];
    let asked = 0;
    const ask = async (): Promise<void> => {
      for (const request of requests) {
        asked++;
        const wrong = await complaint(request);
        if (wrong) complaints.push(wrong);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, ask));
    expect(complaints).toEqual([]);
    expect(asked).toBeGreaterThanOrEqual(AT_LEAST);
    await service.settled();
    expect(await data()).toEqual(before);
    expect(await service.get('/stats/verify')).toMatchObject({ status: 200, body: { verified: true } });
  }, 300_000);
});
