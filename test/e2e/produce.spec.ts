import type { SQSClient } from '@aws-sdk/client-sqs';
import { ValidationPipe } from '@nestjs/common';
import type { Audit } from '../../src/platform/audit/audit.js';
import { QueueClock } from '../../src/platform/queue/queue-clock.js';
import { QueueSender, QueueUnavailable } from '../../src/platform/queue/queue-sender.js';
import { ProduceRequest, type ProduceAnswer } from '../../src/producer/produce.dto.js';
import { ProducerController } from '../../src/producer/producer.controller.js';
import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { ProcessClock } from '../support/process-clock.js';

/** Runs that are the same every day; nothing in them is later than the sending. */
const RUN = { count: 60, invalid_rate: 0.5, seed: 7, run_id: 'twice', as_of: '2026-01-31T12:00:00Z' };
const LOCAL_OPERATOR_ACTING = { name: 'local-operator', requestId: null };

let service: RunningService;

beforeAll(async () => {
  service = await RunningService.ready();
});

afterAll(() => service?.stop());

describe('POST /produce', () => {
  async function produce(body?: object): Promise<ProduceAnswer> {
    const answer = await service.call('POST', '/produce', body);
    expect({ ...answer, headers: null }).toMatchObject({ status: 200 });
    await service.settled();
    return answer.body as ProduceAnswer;
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
    const { message, orders, failed } = await produce();
    expect(message).toBe('Produced 10 orders');
    expect(orders).toHaveLength(10);
    expect(failed).toBeUndefined();
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

  it('sends none that the queue’s clock takes for one of the future, whatever the process’s clock says', async () => {
    const tenDays = 10 * 86_400_000;
    const before = await counts();
    const clock = new ProcessClock();
    try {
      clock.set(tenDays);
      await eventually(() => expect(service.sqs.config.systemClockOffset).toBeLessThan(-tenDays / 2));
      await produce({ count: 200, invalid_rate: 0 });
    } finally {
      clock.restore();
    }
    expect(await counts()).toMatchObject({ accepted: before.accepted + 200, failed: before.failed });
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

describe('The producer', () => {
  async function produce(body: object, sender: QueueSender): Promise<ProduceAnswer> {
    const audit = { announce: () => Promise.resolve() } as unknown as Audit;
    return new ProducerController(sender, new QueueClock(service.sqs), audit).produce(
      await requestOf(body),
      LOCAL_OPERATOR_ACTING,
    );
  }

  it('says which orders could not be sent', async () => {
    const sender = stubbedSender((body) => (/-00\d{3}7"/.test(body) ? 'InternalError' : null));
    const { message, orders, failed } = await produce({ ...RUN, count: 10_000, invalid_rate: 0, run_id: 'r' }, sender);
    expect(message).toBe('Produced 9,000 of 10,000 orders; 1,000 could not be sent');
    expect(orders).toHaveLength(9_000);
    expect(failed).toHaveLength(1_000);
    expect(failed![0]).toEqual({ order_id: 'ORD-R-000007', code: 'InternalError', message: 'We have trouble' });
  });

  it('shows invalid orders with their values as they stand in the event', async () => {
    const { orders } = await produce(
      { ...RUN, count: 70, invalid_rate: 1 },
      stubbedSender(() => null),
    );
    expect(orders).toHaveLength(70);
    expect(orders.filter(({ order_id }) => order_id.startsWith('INV-'))).toHaveLength(10);
    expect(orders.filter(({ order_value }) => order_value === 0)).toHaveLength(10);
    expect(orders.filter(({ user_id }) => user_id === null).length).toBeGreaterThan(0);
  });

  it('produces other orders each time when left free', async () => {
    const sender = stubbedSender(() => null);
    const answers = [await produce({}, sender), await produce({}, sender)];
    expect(new Set(answers.flatMap(({ orders }) => orders.map(({ order_id }) => order_id))).size).toBe(20);
  });

  it('is unavailable if the queue takes nothing', async () => {
    await expect(
      produce(
        RUN,
        stubbedSender(() => 'InternalError'),
      ),
    ).rejects.toThrow(QueueUnavailable);
  });

  it('is unavailable if there is no queue', async () => {
    await expect(produce(RUN, new QueueSender(service.sqs, 'no-such-queue'))).rejects.toThrow(QueueUnavailable);
  });

  it.each([
    { count: 0 },
    { count: 10_001 },
    { count: 1.5 },
    { count: '10' },
    { count: null },
    { invalid_rate: -0.1 },
    { invalid_rate: 1.1 },
    { invalid_rate: 'half' },
    { seed: 1.5 },
    { seed: 1e300 },
    { run_id: '' },
    { run_id: 'a b' },
    { run_id: 'x'.repeat(33) },
    { as_of: 'yesterday' },
    { as_of: '2026-02-30T00:00:00Z' },
    { as_of: 5 },
  ])('refuses %j', async (body) => {
    await expect(requestOf(body)).rejects.toMatchObject({ status: 400 });
  });

  it.each([
    { count: 1 },
    { count: 10_000 },
    { invalid_rate: 0 },
    { invalid_rate: 1 },
    { seed: -3 },
    { as_of: '2026-01-31' },
  ])('accepts %j', async (body) => {
    expect(await requestOf(body)).toMatchObject(body);
  });
});

function requestOf(body: unknown): Promise<ProduceRequest> {
  const pipe = new ValidationPipe({ transform: true, whitelist: true, forbidUnknownValues: true });
  return pipe.transform(body, { type: 'body', metatype: ProduceRequest }) as Promise<ProduceRequest>;
}

/** A sender to which SQS says of each entry what `codeOf` gives; null takes it. */
function stubbedSender(codeOf: (body: string) => string | null): QueueSender {
  interface Input {
    Entries: { Id: string; MessageBody: string }[];
  }
  const send = async ({ input }: { input: Input }): Promise<unknown> => ({
    Successful: input.Entries.filter((e) => !codeOf(e.MessageBody)).map(({ Id }) => ({ Id, MessageId: `m${Id}` })),
    Failed: input.Entries.filter((e) => codeOf(e.MessageBody)).map(({ Id, MessageBody }) => ({
      Id,
      Code: codeOf(MessageBody),
      Message: 'We have trouble',
      SenderFault: false,
    })),
  });
  return new QueueSender({ send } as unknown as SQSClient, 'orders', [0]);
}
