import {
  CreateQueueCommand,
  DeleteMessageCommand,
  ListQueuesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedQueue, EmbeddedQueuePortTaken } from '../../src/platform/embedded/embedded-queue.js';
import type { Thread } from '../../src/platform/embedded/thread.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';

const QueueUrl = 'orders-queue';

let folder: string;
let logged: jest.SpyInstance;
let queue: EmbeddedQueue;
let sqs: SQSClient;

beforeEach(() => {
  logged = jest.spyOn(Logger.prototype, 'error').mockImplementation();
});
afterEach(() => jest.restoreAllMocks());

async function start(dataDir: string | null): Promise<void> {
  queue = await EmbeddedQueue.start(0, dataDir);
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

describe('The embedded queue', () => {
  beforeAll(() => start(null));
  afterAll(() => stop());

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

  it('gives the next message to the next receive, and not to a long poll whose client is gone', async () => {
    await sqs.send(new CreateQueueCommand({ QueueName: QueueUrl }));
    const polls = await Promise.all(Array.from({ length: 4 }, () => aConnection()));
    for (const poll of polls) poll.ask('ReceiveMessage', { QueueUrl, WaitTimeSeconds: 20 });
    await sqs.send(new ListQueuesCommand()); // what was asked before is under way now
    await Promise.all(polls.map((poll) => poll.hangUp()));
    await send('a message');
    expect(await received()).toEqual(['a message']);
  });

  /** A connection that the queue has accepted, on which a client may ask and be gone. */
  async function aConnection(): Promise<{ ask(action: string, input: object): void; hangUp(): Promise<unknown> }> {
    const { port, host } = new URL(queue.endpoint);
    const socket = connect(Number(port), '127.0.0.1');
    const ask = (action: string, input: object): void => {
      const body = JSON.stringify(input);
      socket.write(
        `POST / HTTP/1.1\r\nHost: ${host}\r\nX-Amz-Target: AmazonSQS.${action}\r\n` +
          `Content-Type: application/x-amz-json-1.0\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
    };
    ask('ListQueues', {});
    await once(socket, 'data');
    return {
      ask,
      // The queue ends its side when it knows that the client is gone.
      hangUp: () => {
        socket.resume().end();
        return once(socket, 'close');
      },
    };
  }
});

describe('The messages of an embedded queue in a folder', () => {
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
    await start(folder);
  });
  afterEach(async () => {
    await stop();
    rmSync(folder, { recursive: true });
  });

  /** Sends messages and deletes one of them. @returns those that are left */
  async function someMessages(): Promise<string[]> {
    await sqs.send(new CreateQueueCommand({ QueueName: QueueUrl }));
    const bodies = ['a', 'b', '🚲', 'd'];
    await send(...bodies);
    const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, VisibilityTimeout: 0 }));
    const [{ ReceiptHandle, Body }] = Messages as [{ ReceiptHandle: string; Body: string }];
    await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
    return bodies.filter((body) => body !== Body).sort();
  }

  it('are all there after it was stopped, those beyond U+FFFF too, and it logs nothing', async () => {
    const messages = await someMessages();
    await stop();
    expect(logged).not.toHaveBeenCalled();
    await start(folder);
    expect(await received()).toEqual(messages);
  });

  it('are all there after it was killed, which it logs in one line, and until when it can’t be reached', async () => {
    const messages = await someMessages();
    await killThread();
    await expect(sqs.send(new ListQueuesCommand())).rejects.toThrow('ECONNREFUSED');
    expect(logged.mock.calls).toEqual([
      ['the thread of the embedded queue has ended with 1; restart the service to have its queue back'],
    ]);
    await stop();
    await start(folder);
    expect(await received()).toEqual(messages);
  });
});
