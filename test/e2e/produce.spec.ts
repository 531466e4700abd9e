import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';

/** Runs that are the same every day; nothing in them is later than the sending. */
const RUN = { count: 60, invalid_rate: 0.5, seed: 7, run_id: 'twice', as_of: '2026-01-31T12:00:00Z' };

interface Produced {
  message: string;
  orders: { order_id: string; user_id: string | null; order_value: number | null; message_id: string }[];
}

describe('POST /produce on the running service', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
  });

  afterAll(() => service?.stop());

  async function produce(body?: object): Promise<Produced> {
    const answer = await service.call('POST', '/produce', body);
    expect({ ...answer, headers: null }).toMatchObject({ status: 200 });
    await service.settled();
    return answer.body as Produced;
  }

  /** Ledger entries so far, and messages so far by what became of them. */
  async function counts(): Promise<Record<'entries' | 'accepted' | 'corrected' | 'failed' | 'duplicate', number>> {
    const { body: stats } = await service.get('/stats/global');
    const { body: metrics } = await service.get('/metrics');
    const processed = (outcome: string): number =>
      Number(new RegExp(`^orders_processed_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(metrics as string)![1]);
    return {
      entries: stats.as_of.position,
      accepted: processed('accepted'),
      corrected: processed('corrected'),
      failed: processed('failed'),
      duplicate: processed('duplicate'),
    };
  }

  it('puts ten orders through the pipeline without being told anything', async () => {
    const before = await counts();
    const { message, orders } = await produce();
    expect(message).toBe('Produced 10 orders');
    expect(orders).toHaveLength(10);
    const after = await counts();
    expect(after.entries).toBe(before.entries + 10);
    expect(after.failed + after.corrected).toBe(before.failed + before.corrected + 2);
    const { body } = await service.get('/order-events?limit=10');
    const bodies = new Map(
      body.items.map((entry: { message_id: string; body: string }) => [entry.message_id, entry.body]),
    );
    for (const { order_id, message_id } of orders) expect(bodies.get(message_id)).toContain(order_id);
  });

  it('puts a thousand orders through, of which the asked share is wrong in every way', async () => {
    const before = await counts();
    const { orders } = await produce({ count: 1000, invalid_rate: 0.21, seed: 3 });
    expect(new Set(orders.map(({ order_id }) => order_id)).size).toBe(1000);
    const after = await counts();
    // 210 wrong ones take seven turns, of which a wrong value is corrected.
    expect({
      entries: after.entries - before.entries,
      accepted: after.accepted - before.accepted,
      corrected: after.corrected - before.corrected,
      failed: after.failed - before.failed,
      duplicate: after.duplicate - before.duplicate,
    }).toEqual({ entries: 1000, accepted: 790, corrected: 30, failed: 180, duplicate: 0 });
    for (const reason of [
      'invalid_order_id',
      'invalid_user_id',
      'non_positive_order_value',
      'missing_user_id',
      'missing_items',
      'missing_order_timestamp',
      'non_positive_quantity',
      'invalid_quantity',
      'malformed_json',
    ]) {
      const { body } = await service.get(`/order-events?reason=${reason}&limit=1`);
      expect({ reason, found: body.items.length }).toEqual({ reason, found: 1 });
    }
  });

  it('gives duplicates for the same seed, run and time', async () => {
    const { orders: first } = await produce(RUN);
    const before = await counts();
    const { orders: second } = await produce(RUN);
    expect(second.map(({ message_id, ...order }) => order)).toEqual(first.map(({ message_id, ...order }) => order));
    expect(await counts()).toEqual({ ...before, duplicate: before.duplicate + RUN.count });
    await eventually(async () => {
      const { body } = await service.get(`/consumer_logs?limit=${RUN.count}`);
      const lines = body.logs as { outcome: string; message: string }[];
      expect(lines.every(({ outcome }) => outcome === 'duplicate')).toBe(true);
      expect(lines.every(({ message }) => /duplicate of position \d+$/.test(message))).toBe(true);
    });
  });

  it('gives new orders for the same seed in a run of another name', async () => {
    await produce({ ...RUN, run_id: 'one' });
    const before = await counts();
    await produce({ ...RUN, run_id: 'other' });
    const after = await counts();
    expect(after.entries).toBe(before.entries + RUN.count);
    expect(after.duplicate).toBe(before.duplicate);
  });

  it('names every wrong field and sends nothing', async () => {
    const before = await counts();
    const { status, body } = await service.call('POST', '/produce', {
      count: 10_001,
      invalid_rate: -1,
      seed: 'x',
      run_id: 'a b',
      as_of: 'now',
      extra: 1,
    });
    expect(status).toBe(400);
    expect(body.code).toBe('invalid_input');
    expect(body.errors.map(({ field }: { field: string }) => field).sort()).toEqual([
      'as_of',
      'count',
      'extra',
      'invalid_rate',
      'run_id',
      'seed',
    ]);
    await service.settled();
    expect(await counts()).toEqual(before);
  });
});
