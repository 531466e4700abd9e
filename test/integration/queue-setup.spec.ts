import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  ListQueuesCommand,
  SetQueueAttributesCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { EmbeddedQueue } from '../../src/platform/embedded/embedded-queue.js';
import { Queue } from '../../src/platform/queue/queue.js';
import { QueuePermissionMissing, setUpQueue } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';

const SETTINGS = { name: 'orders-queue', visibilityTimeout: 45, maxReceiveCount: 3 };
const FOURTEEN_DAYS = String(14 * 24 * 60 * 60);

let emulator: EmbeddedQueue;
let sqs: SQSClient;

beforeEach(async () => {
  emulator = await EmbeddedQueue.start(0, null);
  sqs = aClient();
});

afterEach(async () => {
  jest.restoreAllMocks();
  sqs.destroy();
  await emulator.stop();
});

function aClient(): SQSClient {
  return createSqsClient({ sqsEndpoint: emulator.endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
}

async function queues(): Promise<string[]> {
  const { QueueUrls = [] } = await sqs.send(new ListQueuesCommand());
  return QueueUrls.map((url) => url.split('/').at(-1)!).sort();
}

async function attributes(name: string): Promise<Record<string, string>> {
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl: name, AttributeNames: ['All'] }));
  return Attributes!;
}

/** From now on AWS's answer to a command is that these credentials may not. */
function forbid(commandName: string): void {
  sqs.middlewareStack.add(
    (next, context) => (args) => {
      if (context.commandName !== commandName) return next(args);
      throw Object.assign(new Error('User is not authorized to perform this'), {
        name: 'AccessDeniedException',
        $metadata: { httpStatusCode: 403 },
      });
    },
    { step: 'initialize' },
  );
}

it('makes the queue and its dead-letter queue where they are missing, tied together and kept for 14 days', async () => {
  expect(await setUpQueue(sqs, SETTINGS)).toEqual([]);
  expect(await queues()).toEqual(['orders-queue', 'orders-queue-dlq']);
  const [queue, deadLetters] = [await attributes('orders-queue'), await attributes('orders-queue-dlq')];
  expect(queue).toMatchObject({ MessageRetentionPeriod: FOURTEEN_DAYS, VisibilityTimeout: '45' });
  expect(deadLetters.MessageRetentionPeriod).toBe(FOURTEEN_DAYS);
  expect(JSON.parse(queue.RedrivePolicy!)).toEqual({ deadLetterTargetArn: deadLetters.QueueArn, maxReceiveCount: 3 });
  expect(deadLetters.RedrivePolicy).toBeUndefined();
});

it('changes nothing the second time', async () => {
  await setUpQueue(sqs, SETTINGS);
  const before = [await attributes('orders-queue'), await attributes('orders-queue-dlq')];
  const send = jest.spyOn(sqs, 'send');
  expect(await setUpQueue(sqs, SETTINGS)).toEqual([]);
  const sent = send.mock.calls.map(([command]) => command.constructor.name);
  expect(sent.filter((name) => !name.startsWith('Get'))).toEqual([]);
  expect([await attributes('orders-queue'), await attributes('orders-queue-dlq')]).toEqual(before);
});

it('brings queues that are there to the wanted settings', async () => {
  for (const QueueName of ['orders-queue', 'orders-queue-dlq']) {
    await sqs.send(new CreateQueueCommand({ QueueName, Attributes: { VisibilityTimeout: '7' } }));
  }
  expect(await setUpQueue(sqs, SETTINGS)).toEqual([]);
  expect(await attributes('orders-queue')).toMatchObject({
    MessageRetentionPeriod: FOURTEEN_DAYS,
    VisibilityTimeout: '45',
  });

  expect(await setUpQueue(sqs, { ...SETTINGS, maxReceiveCount: 9, visibilityTimeout: 60 })).toEqual([]);
  const { RedrivePolicy, VisibilityTimeout } = await attributes('orders-queue');
  expect([JSON.parse(RedrivePolicy!).maxReceiveCount, VisibilityTimeout]).toEqual([9, '60']);
});

it('may be done by several processes at once', async () => {
  const clients = Array.from({ length: 8 }, aClient);
  const warnings = await Promise.all(clients.map((client) => setUpQueue(client, SETTINGS)));
  for (const client of clients) client.destroy();
  expect(warnings.flat()).toEqual([]);
  expect(await queues()).toEqual(['orders-queue', 'orders-queue-dlq']);
  expect(await attributes('orders-queue')).toMatchObject({ VisibilityTimeout: '45' });
});

it('leaves a queue its other dead-letter queue, and says so, once', async () => {
  for (const QueueName of ['orders-queue', 'elsewhere']) await sqs.send(new CreateQueueCommand({ QueueName }));
  const { QueueArn } = await attributes('elsewhere');
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: QueueArn, maxReceiveCount: 4 });
  await sqs.send(new SetQueueAttributesCommand({ QueueUrl: 'orders-queue', Attributes: { RedrivePolicy } }));

  jest.spyOn(Logger.prototype, 'log').mockImplementation();
  const said = jest.spyOn(Logger.prototype, 'warn').mockImplementation();
  const queue = new Queue(sqs, SETTINGS);
  await queue.availability.start();
  expect(said.mock.calls).toEqual([[`orders-queue sends its dead letters to ${QueueArn}, which is left as it is`]]);
  expect(JSON.parse((await attributes('orders-queue')).RedrivePolicy!)).toEqual(JSON.parse(RedrivePolicy));
  expect(await attributes('orders-queue')).toMatchObject({ VisibilityTimeout: '45' });

  queue.availability.failed(new Error('gone for a moment'));
  await queue.availability.whenUp();
  expect(said.mock.calls.filter(([message]) => String(message).includes('dead letters'))).toHaveLength(1);
  await queue.availability.stop();
});

it.each([
  ['GetQueueUrlCommand', 'sqs:GetQueueUrl', 'orders-queue'],
  ['CreateQueueCommand', 'sqs:CreateQueue', 'orders-queue'],
  ['GetQueueAttributesCommand', 'sqs:GetQueueAttributes', 'orders-queue-dlq'],
])('names the missing permission: %s', async (commandName, permission, queue) => {
  forbid(commandName);
  const refused = setUpQueue(sqs, SETTINGS);
  await expect(refused).rejects.toThrow(QueuePermissionMissing);
  await expect(refused).rejects.toThrow(
    `The credentials in use lack the permission ${permission} on the queue ${queue}`,
  );
});

it('goes on without the permission to change a queue, and says which settings that leaves', async () => {
  for (const QueueName of ['orders-queue', 'orders-queue-dlq']) await sqs.send(new CreateQueueCommand({ QueueName }));
  forbid('SetQueueAttributesCommand');
  const [onQueue, onDeadLetters, ...others] = await setUpQueue(sqs, SETTINGS);
  expect(onQueue).toMatch(
    /^The credentials in use lack the permission sqs:SetQueueAttributes on the queue orders-queue; wanted MessageRetentionPeriod=1209600, VisibilityTimeout=45, RedrivePolicy=\{.*\}$/,
  );
  expect(onDeadLetters).toMatch(/on the queue orders-queue-dlq; wanted MessageRetentionPeriod=1209600$/);
  expect(others).toEqual([]);
});

it('needs no permission to create queues that are there', async () => {
  await setUpQueue(sqs, SETTINGS);
  forbid('CreateQueueCommand');
  forbid('SetQueueAttributesCommand');
  expect(await setUpQueue(sqs, SETTINGS)).toEqual([]);
});

it('throws what is no matter of permissions as it is', async () => {
  await emulator.stop();
  await expect(setUpQueue(sqs, SETTINGS)).rejects.toThrow(/ECONNREFUSED/);
});
