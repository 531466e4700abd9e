import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  ListQueuesCommand,
  SetQueueAttributesCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { randomBytes } from 'node:crypto';
import { Queue } from '../../src/platform/queue/queue.js';
import { QueuePermissionMissing, type QueueSettings, setUpQueue } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { parts } from '../support/parts.js';

const FOURTEEN_DAYS = String(14 * 24 * 60 * 60);

let sqs: SQSClient;
let name: string;
let deadLetters: string;
let settings: QueueSettings;

beforeEach(() => {
  sqs = aClient();
  name = `orders-${randomBytes(6).toString('hex')}`;
  deadLetters = `${name}-dlq`;
  settings = { name, visibilityTimeout: 45, maxReceiveCount: 3 };
});

afterEach(() => {
  jest.restoreAllMocks();
  sqs.destroy();
});

function aClient(sqsEndpoint = parts.sqsEndpoint): SQSClient {
  return createSqsClient({ sqsEndpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
}

async function queues(): Promise<string[]> {
  const { QueueUrls = [] } = await sqs.send(new ListQueuesCommand({ QueueNamePrefix: name }));
  return QueueUrls.map((url) => url.split('/').at(-1)!).sort();
}

async function attributes(QueueUrl: string): Promise<Record<string, string>> {
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
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
  expect(await setUpQueue(sqs, settings)).toEqual([]);
  expect(await queues()).toEqual([name, deadLetters]);
  const [ofQueue, ofDeadLetters] = [await attributes(name), await attributes(deadLetters)];
  expect(ofQueue).toMatchObject({ MessageRetentionPeriod: FOURTEEN_DAYS, VisibilityTimeout: '45' });
  expect(ofDeadLetters.MessageRetentionPeriod).toBe(FOURTEEN_DAYS);
  expect(JSON.parse(ofQueue.RedrivePolicy!)).toEqual({
    deadLetterTargetArn: ofDeadLetters.QueueArn,
    maxReceiveCount: 3,
  });
  expect(ofDeadLetters.RedrivePolicy).toBeUndefined();
});

it('changes nothing the second time', async () => {
  await setUpQueue(sqs, settings);
  const before = [await attributes(name), await attributes(deadLetters)];
  const send = jest.spyOn(sqs, 'send');
  expect(await setUpQueue(sqs, settings)).toEqual([]);
  const sent = send.mock.calls.map(([command]) => command.constructor.name);
  expect(sent.filter((name) => !name.startsWith('Get'))).toEqual([]);
  expect([await attributes(name), await attributes(deadLetters)]).toEqual(before);
});

it('brings queues that are there to the wanted settings', async () => {
  for (const QueueName of [name, deadLetters]) {
    await sqs.send(new CreateQueueCommand({ QueueName, Attributes: { VisibilityTimeout: '7' } }));
  }
  expect(await setUpQueue(sqs, settings)).toEqual([]);
  expect(await attributes(name)).toMatchObject({
    MessageRetentionPeriod: FOURTEEN_DAYS,
    VisibilityTimeout: '45',
  });

  expect(await setUpQueue(sqs, { ...settings, maxReceiveCount: 9, visibilityTimeout: 60 })).toEqual([]);
  const { RedrivePolicy, VisibilityTimeout } = await attributes(name);
  expect([JSON.parse(RedrivePolicy!).maxReceiveCount, VisibilityTimeout]).toEqual([9, '60']);
});

it('may be done by several processes at once', async () => {
  const clients = Array.from({ length: 8 }, aClient);
  const warnings = await Promise.all(clients.map((client) => setUpQueue(client, settings)));
  for (const client of clients) client.destroy();
  expect(warnings.flat()).toEqual([]);
  expect(await queues()).toEqual([name, deadLetters]);
  expect(await attributes(name)).toMatchObject({ VisibilityTimeout: '45' });
});

it('leaves a queue its other dead-letter queue, and says so, once', async () => {
  const elsewhere = `${name}-elsewhere`;
  for (const QueueName of [name, elsewhere]) await sqs.send(new CreateQueueCommand({ QueueName }));
  const { QueueArn } = await attributes(elsewhere);
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: QueueArn, maxReceiveCount: 4 });
  await sqs.send(new SetQueueAttributesCommand({ QueueUrl: name, Attributes: { RedrivePolicy } }));

  jest.spyOn(Logger.prototype, 'log').mockImplementation();
  const said = jest.spyOn(Logger.prototype, 'warn').mockImplementation();
  const queue = new Queue(sqs, settings);
  await queue.availability.start();
  expect(said.mock.calls).toEqual([[`${name} sends its dead letters to ${QueueArn}, which is left as it is`]]);
  expect(JSON.parse((await attributes(name)).RedrivePolicy!)).toEqual(JSON.parse(RedrivePolicy));
  expect(await attributes(name)).toMatchObject({ VisibilityTimeout: '45' });

  queue.availability.failed(new Error('gone for a moment'));
  await queue.availability.waitUntilUp();
  expect(said.mock.calls.filter(([message]) => String(message).includes('dead letters'))).toHaveLength(1);
  await queue.availability.stop();
});

it.each([
  ['GetQueueUrlCommand', 'sqs:GetQueueUrl', ''],
  ['CreateQueueCommand', 'sqs:CreateQueue', ''],
  ['GetQueueAttributesCommand', 'sqs:GetQueueAttributes', '-dlq'],
])('names the missing permission: %s', async (commandName, permission, suffix) => {
  forbid(commandName);
  const refused = setUpQueue(sqs, settings);
  await expect(refused).rejects.toThrow(QueuePermissionMissing);
  await expect(refused).rejects.toThrow(
    `The credentials in use lack the permission ${permission} on the queue ${name}${suffix}`,
  );
});

it('goes on without the permission to change a queue, and says which settings that leaves', async () => {
  for (const QueueName of [name, deadLetters]) await sqs.send(new CreateQueueCommand({ QueueName }));
  forbid('SetQueueAttributesCommand');
  const [onQueue, onDeadLetters, ...others] = await setUpQueue(sqs, settings);
  expect(onQueue).toMatch(
    /^The credentials in use lack the permission sqs:SetQueueAttributes on the queue orders-\w+; wanted MessageRetentionPeriod=1209600, VisibilityTimeout=45, RedrivePolicy=\{.*\}$/,
  );
  expect(onDeadLetters).toMatch(/on the queue orders-\w+-dlq; wanted MessageRetentionPeriod=1209600$/);
  expect(others).toEqual([]);
});

it('needs no permission to create queues that are there', async () => {
  await setUpQueue(sqs, settings);
  forbid('CreateQueueCommand');
  forbid('SetQueueAttributesCommand');
  expect(await setUpQueue(sqs, settings)).toEqual([]);
});

it('throws what is no matter of permissions as it is', async () => {
  const nobody = aClient('http://127.0.0.1:9');
  await expect(setUpQueue(nobody, settings)).rejects.toThrow(/ECONNREFUSED/);
  nobody.destroy();
});
