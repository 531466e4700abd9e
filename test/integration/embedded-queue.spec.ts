import {
  CreateQueueCommand,
  DeleteMessageCommand,
  ListQueuesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedQueue, EmbeddedQueuePortTaken } from '../../src/platform/embedded/embedded-queue.js';
import type { Thread } from '../../src/platform/embedded/thread.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';

const QueueUrl = 'orders-queue';

let folder: string;
let said: jest.SpyInstance;
let queue: EmbeddedQueue;
let sqs: SQSClient;

beforeEach(async () => {
  said = jest.spyOn(Logger.prototype, 'error').mockImplementation();
  folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
  await start();
});
afterEach(async () => {
  await stop();
  rmSync(folder, { recursive: true });
  jest.restoreAllMocks();
});

async function start(): Promise<void> {
  queue = await EmbeddedQueue.start(0, folder);
  sqs = createSqsClient({ sqsEndpoint: queue.endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
}

async function stop(): Promise<void> {
  sqs.destroy();
  await queue.stop();
}

/** To the files of the queue this is what `kill -9` is. */
async function killThread(): Promise<void> {
  await (queue as unknown as { thread: Thread<unknown> }).thread.terminate();
}

async function send(...bodies: string[]): Promise<void> {
  for (const MessageBody of bodies) await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));
}

async function received(): Promise<string[]> {
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }));
  return Messages.map(({ Body }) => Body!).sort();
}

/** What it answers to a request whose headers are ours to choose. */
function statusFor(headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(queue.endpoint, { method: 'POST', headers }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    asked.once('error', reject);
    asked.end();
  });
}

it.each([
  ['stopped', () => stop()],
  ['killed', () => killThread().then(() => stop())],
])('has every message that it took after it was %s, those beyond U+FFFF too', async (_how, end) => {
  await sqs.send(new CreateQueueCommand({ QueueName: QueueUrl }));
  await send('a', 'b', '🚲', 'd');
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, VisibilityTimeout: 0 }));
  await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: Messages[0]!.ReceiptHandle }));
  await end();
  await start();
  expect(await received()).toEqual(['a', 'b', 'd', '🚲'].filter((body) => body !== Messages[0]!.Body));
});

it('serves this machine, and no page of the web', async () => {
  const own = new URL(queue.endpoint).host;
  expect(await statusFor({ host: own })).not.toBe(403);
  expect(await statusFor({ host: 'rebound.example' })).toBe(403);
  expect(await statusFor({ host: own, origin: 'https://page.example' })).toBe(403);
});

it('listens on loopback only', async () => {
  const { port } = new URL(queue.endpoint);
  const addresses = Object.values(networkInterfaces()).flatMap((all = []) => all);
  for (const { address } of addresses.filter(({ internal, family }) => !internal && family === 'IPv4')) {
    await expect(fetch(`http://${address}:${port}`)).rejects.toThrow();
  }
});

it('names the port that it can’t have', async () => {
  const port = Number(new URL(queue.endpoint).port);
  const second = EmbeddedQueue.start(port, null);
  await expect(second).rejects.toBeInstanceOf(EmbeddedQueuePortTaken);
  await expect(second).rejects.toThrow(`Port ${port}, meant for the embedded SQS, is taken`);
});

it('that dies says so in one line, and can’t be reached', async () => {
  await killThread();
  await expect(sqs.send(new ListQueuesCommand())).rejects.toThrow('ECONNREFUSED');
  expect(said.mock.calls).toEqual([
    ['the thread of the embedded queue has ended with 1; restart the service to have its queue back'],
  ]);
});

it('that is stopped says nothing', async () => {
  await queue.stop();
  expect(said).not.toHaveBeenCalled();
});
