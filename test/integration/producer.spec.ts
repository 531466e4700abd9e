import type { AddressInfo } from 'node:net';
import { ValidationPipe } from '@nestjs/common';
import { CreateQueueCommand, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import type { Audit } from '../../src/platform/audit/audit.js';
import { QueueSender, QueueUnavailable } from '../../src/platform/queue/queue-sender.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { ProduceRequest, type ProduceAnswer } from '../../src/producer/produce.dto.js';
import { ProducerController } from '../../src/producer/producer.controller.js';

const LOCAL_OPERATOR_ACTING = { name: 'local-operator', requestId: null };
const RUN = { count: 20, seed: 7, run_id: 'r', as_of: '2026-01-31T12:00:00Z' };

let sqs: SQSClient;
let stop: () => Promise<unknown>;

beforeAll(async () => {
  const { buildApp } = await import('fauxqs');
  const emulator = buildApp({ logger: false });
  await emulator.listen({ port: 0, host: '127.0.0.1' });
  const sqsEndpoint = `http://127.0.0.1:${(emulator.server.address() as AddressInfo).port}`;
  sqs = createSqsClient({ sqsEndpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  stop = () => emulator.close();
});

afterAll(async () => {
  sqs.destroy();
  await stop();
});

function requestOf(body: unknown): Promise<ProduceRequest> {
  const pipe = new ValidationPipe({ transform: true, whitelist: true, forbidUnknownValues: true });
  return pipe.transform(body, { type: 'body', metatype: ProduceRequest }) as Promise<ProduceRequest>;
}

async function produce(body: unknown, sender: QueueSender): Promise<ProduceAnswer> {
  const audit = { announce: () => Promise.resolve() } as unknown as Audit;
  return new ProducerController(sender, audit).produce(await requestOf(body), LOCAL_OPERATOR_ACTING);
}

async function queueNamed(name: string): Promise<QueueSender> {
  await sqs.send(new CreateQueueCommand({ QueueName: name }));
  return new QueueSender(sqs, name);
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

describe('POST /produce', () => {
  it('produces ten orders without being told anything', async () => {
    const answer = await produce(undefined, await queueNamed('ten'));
    expect(answer.message).toBe('Produced 10 orders');
    expect(answer.orders).toHaveLength(10);
    expect(answer).not.toHaveProperty('failed');
  });

  it('names every order by the message it became', async () => {
    const { orders } = await produce({ ...RUN, count: 10 }, await queueNamed('named'));
    const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl: 'named', MaxNumberOfMessages: 10 }));
    const bodies = new Map(Messages.map(({ MessageId, Body }) => [MessageId, Body]));
    expect(bodies.size).toBe(10);
    for (const { order_id, message_id } of orders) expect(bodies.get(message_id)).toContain(`"${order_id}"`);
  });

  it('shows invalid orders with their values as they stand in the event', async () => {
    const { orders } = await produce({ ...RUN, count: 70, invalid_rate: 1 }, await queueNamed('invalid'));
    expect(orders).toHaveLength(70);
    expect(orders.filter(({ order_id }) => order_id.startsWith('INV-'))).toHaveLength(10);
    expect(orders.filter(({ order_value }) => order_value === 0)).toHaveLength(10);
    expect(orders.filter(({ user_id }) => user_id === null).length).toBeGreaterThan(0);
  });

  it('produces the same orders for the same seed, run and time', async () => {
    const sender = await queueNamed('same');
    const [first, second] = [await produce(RUN, sender), await produce(RUN, sender)];
    const known = ({ orders }: ProduceAnswer): unknown[] => orders.map(({ message_id, ...order }) => order);
    expect(known(second)).toEqual(known(first));
  });

  it('produces other orders each time when left free', async () => {
    const sender = await queueNamed('free');
    const answers = [await produce({}, sender), await produce({}, sender)];
    expect(new Set(answers.flatMap(({ orders }) => orders.map(({ order_id }) => order_id))).size).toBe(20);
  });

  it('says which orders could not be sent', async () => {
    const sender = stubbedSender((body) => (/-00\d{3}7"/.test(body) ? 'InternalError' : null));
    const { message, orders, failed } = await produce({ ...RUN, count: 10_000, invalid_rate: 0 }, sender);
    expect(message).toBe('Produced 9,000 of 10,000 orders; 1,000 could not be sent');
    expect(orders).toHaveLength(9_000);
    expect(failed).toHaveLength(1_000);
    expect(failed![0]).toEqual({ order_id: 'ORD-R-000007', code: 'InternalError', message: 'We have trouble' });
  });

  it('is unavailable if the queue takes nothing', async () => {
    const sender = stubbedSender(() => 'InternalError');
    await expect(produce(RUN, sender)).rejects.toThrow(QueueUnavailable);
  });

  it('is unavailable if there is no queue', async () => {
    await expect(produce(RUN, new QueueSender(sqs, 'no-such-queue'))).rejects.toThrow(QueueUnavailable);
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
