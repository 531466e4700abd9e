import { randomBytes } from 'node:crypto';
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SetQueueAttributesCommand,
  type SendMessageBatchCommandInput,
  type SendMessageBatchCommandOutput,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { QueueSender, QueueUnavailable, type Outgoing } from '../../src/platform/queue/queue-sender.js';
import { queueDepth } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { parts } from '../support/parts.js';

const MIB = 1_048_576;
const NO_WAITS = [0, 0, 0];

describe('Sending to an SQS queue', () => {
  let sqs: SQSClient;

  beforeAll(() => {
    sqs = clientOf(parts.sqsEndpoint);
  });

  afterAll(() => sqs.destroy());

  async function newQueue(): Promise<string> {
    const name = `orders-${randomBytes(6).toString('hex')}`;
    await sqs.send(new CreateQueueCommand({ QueueName: name }));
    return name;
  }

  async function depthOf(queue: string): Promise<number> {
    const answer = await sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: queue, AttributeNames: ['ApproximateNumberOfMessages'] }),
    );
    return Number(answer.Attributes!.ApproximateNumberOfMessages);
  }

  /** All messages of a queue, body by message id. */
  async function drain(queue: string): Promise<Map<string, string>> {
    const bodies = new Map<string, string>();
    while (true) {
      const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl: queue, MaxNumberOfMessages: 10 }));
      if (!Messages?.length) return bodies;
      for (const { MessageId, Body } of Messages) bodies.set(MessageId!, Body!);
      const Entries = Messages.map((message, index) => ({ Id: `${index}`, ReceiptHandle: message.ReceiptHandle }));
      await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queue, Entries }));
    }
  }

  it('gives each body the id of its own message', async () => {
    const queue = await newQueue();
    const bodies = Array.from({ length: 457 }, (_, index) => `order ${index}`);
    const { messageIds, failed } = await new QueueSender(sqs, queue).sendAll(bodies);
    const received = await drain(queue);
    expect(failed).toEqual([]);
    expect(received.size).toBe(457);
    expect(messageIds.map((id) => received.get(id!))).toEqual(bodies);
  });

  it('takes bodies as they come from a stream', async () => {
    const queue = await newQueue();
    async function* stream(): AsyncGenerator<string> {
      for (let index = 0; index < 25; index++) yield `order ${index}`;
    }
    const { messageIds } = await new QueueSender(sqs, queue).sendAll(stream());
    expect(messageIds).toHaveLength(25);
    expect(await depthOf(queue)).toBe(25);
  });

  it('sends nothing where there is nothing', async () => {
    expect(await new QueueSender(sqs, 'no-such-queue').sendAll([])).toEqual({ messageIds: [], failed: [] });
  });

  it('lets a message wait as long as it is told', async () => {
    const queue = await newQueue();
    await new QueueSender(sqs, queue).sendEach([{ body: 'later', delaySeconds: 900 }, { body: 'now' }]);
    expect(await queueDepth(sqs, queue)).toEqual({ visible: 1, in_flight: 0, delayed: 1 });
    expect([...(await drain(queue)).values()]).toEqual(['now']);
  });

  it('takes a body of exactly 1 MiB, counted in bytes of UTF-8', async () => {
    const queue = await newQueue();
    const report = await new QueueSender(sqs, queue).sendAll(['é'.repeat(MIB / 2), `${'é'.repeat(MIB / 2)}x`]);
    expect(report.messageIds).toEqual([expect.any(String), null]);
    expect(report.failed).toEqual([
      { index: 1, code: 'MessageTooLong', message: expect.stringContaining('1,048,577') },
    ]);
  });

  it('lets a body with forbidden characters fail alone', async () => {
    const queue = await newQueue();
    const bodies = ['one', 'nul \u0000', 'two', 'half \uD83D', 'not a character \uFFFF', 'tab\tline\r\n', ''];
    const { messageIds, failed } = await new QueueSender(sqs, queue).sendAll(bodies);
    expect(failed.map(({ index, code }) => [index, code])).toEqual([
      [1, 'InvalidMessageContents'],
      [3, 'InvalidMessageContents'],
      [4, 'InvalidMessageContents'],
      [6, 'MissingParameter'],
    ]);
    expect(failed[0]!.message).toContain('U+0000');
    expect(messageIds.map((id) => id !== null)).toEqual([true, false, true, false, false, true, false]);
    expect([...(await drain(queue)).values()].sort()).toEqual(['one', 'tab\tline\r\n', 'two']);
  });

  it('reports a body that the queue itself finds too long', async () => {
    const queue = await newQueue();
    const Attributes = { MaximumMessageSize: '1024' };
    await sqs.send(new SetQueueAttributesCommand({ QueueUrl: queue, Attributes }));
    const { messageIds, failed } = await new QueueSender(sqs, queue).sendAll(['short', 'x'.repeat(1_025)]);
    expect(messageIds).toEqual([expect.any(String), null]);
    expect(failed).toEqual([{ index: 1, code: 'InvalidParameterValue', message: expect.any(String) }]);
  });

  it('says that the queue is unavailable where it does not exist', async () => {
    const sending = new QueueSender(sqs, 'no-such-queue').sendAll(['order']);
    await expect(sending).rejects.toThrow(QueueUnavailable);
    await expect(sending).rejects.toMatchObject({ code: 'queue_unavailable' });
  });

  it('says that the queue is unavailable where nothing listens, having read one batch', async () => {
    const nobody = clientOf('http://127.0.0.1:9');
    let read = 0;
    let closed = false;
    function* endless(): Generator<string> {
      try {
        while (true) yield `order ${++read}`;
      } finally {
        closed = true;
      }
    }
    await expect(new QueueSender(nobody, 'orders').sendAll(endless())).rejects.toThrow(/ECONNREFUSED/);
    expect(read).toBe(10);
    expect(closed).toBe(true);
    nobody.destroy();
  });
});

describe('A batch', () => {
  it('has at most ten entries', async () => {
    const queue = new StubbedQueue(() => null);
    await queue.sender().sendAll(Array.from({ length: 25 }, (_, index) => String(index)));
    expect(queue.calls.map((batch) => batch.length)).toEqual([10, 10, 5]);
  });

  it('has at most 1 MiB of bodies', async () => {
    const queue = new StubbedQueue(() => null);
    const lengths = [MIB / 2, MIB / 2, 1, MIB - 1, 2, MIB, 3];
    const { failed } = await queue.sender().sendAll(lengths.map((length) => '.'.repeat(length)));
    expect(failed).toEqual([]);
    const batches = [[MIB / 2, MIB / 2], [1, MIB - 1], [2], [MIB], [3]];
    expect(queue.calls.map((batch) => batch.map((body) => body.length))).toEqual(batches);
  });
});

describe('Sending where SQS has trouble', () => {
  it('tries again what SQS failed to take by its own fault', async () => {
    const queue = new StubbedQueue((body, attempt) => (body === 'b' && attempt < 3 ? 'InternalError' : null));
    const { messageIds, failed } = await queue.sender().sendAll(['a', 'b', 'c']);
    expect(failed).toEqual([]);
    expect(messageIds).toEqual(['id of a', 'id of b', 'id of c']);
    expect(queue.calls).toEqual([['a', 'b', 'c'], ['b'], ['b']]);
  });

  it('gives up on an entry after four attempts', async () => {
    const queue = new StubbedQueue((body) => (body === 'b' ? 'InternalError' : null));
    const { messageIds, failed } = await queue.sender().sendAll(['a', 'b', 'c']);
    expect(messageIds).toEqual(['id of a', null, 'id of c']);
    expect(failed).toEqual([{ index: 1, code: 'InternalError', message: 'b failed' }]);
    expect(queue.calls).toHaveLength(4);
  });

  it('does not try again what is the fault of the sender', async () => {
    const queue = new StubbedQueue((body) => (body === 'b' ? 'InvalidMessageContents' : null));
    const { failed } = await queue.sender().sendAll(['a', 'b']);
    expect(failed).toEqual([{ index: 1, code: 'InvalidMessageContents', message: 'b failed' }]);
    expect(queue.calls).toHaveLength(1);
  });

  it('reports an entry of which SQS says nothing', async () => {
    const queue = new StubbedQueue((body) => (body === 'b' ? 'silence' : null));
    const { failed } = await queue.sender().sendAll(['a', 'b']);
    expect(failed).toEqual([{ index: 1, code: 'NoAnswer', message: expect.any(String) }]);
  });

  it('finds the one entry for which SQS refuses a whole call', async () => {
    const queue = new StubbedQueue((body, _attempt, batch) => {
      if (batch.includes('bad')) throw sdkError('BatchRequestTooLong', 'too long');
      return body === 'bad' ? 'InternalError' : null;
    });
    const { messageIds, failed } = await queue.sender().sendAll(['a', 'b', 'bad', 'c', 'd']);
    expect(failed).toEqual([{ index: 2, code: 'BatchRequestTooLong', message: 'too long' }]);
    expect(messageIds.filter((id) => id !== null)).toHaveLength(4);
  });

  it('goes on after a call that failed', async () => {
    const queue = new StubbedQueue((body, attempt) => {
      if (body === '10' && attempt < 3) throw sdkError('RequestThrottled', 'slow down');
      return null;
    });
    const { failed } = await queue.sender().sendAll(Array.from({ length: 40 }, (_, index) => String(index)));
    expect(failed).toEqual([]);
  });

  it('reports what is left when the queue goes away in between, and stops trying', async () => {
    const queue = new StubbedQueue((_body, _attempt, batch) => {
      if (!batch.includes('0')) throw sdkError('QueueDoesNotExist', 'The specified queue does not exist.');
      return null;
    });
    const { messageIds, failed } = await queue.sender().sendAll(Array.from({ length: 10_000 }, (_, n) => String(n)));
    expect(messageIds.filter((id) => id !== null)).toHaveLength(10);
    expect(failed.map(({ index }) => index)).toEqual(Array.from({ length: 9_990 }, (_, index) => index + 10));
    expect(new Set(failed.map(({ code }) => code))).toEqual(new Set(['QueueDoesNotExist']));
    expect(queue.calls.length).toBeLessThan(150);
  });

  it('is unavailable if SQS answers once but the queue never takes anything', async () => {
    const queue = new StubbedQueue((_body, _attempt, batch) => {
      if (batch.includes('0')) return 'InvalidMessageContents';
      throw sdkError('AccessDenied', 'not allowed');
    });
    const sending = queue.sender().sendAll(Array.from({ length: 20 }, (_, index) => String(index)));
    await expect(sending).rejects.toThrow(QueueUnavailable);
  });

  it('counts every entry once in its progress', async () => {
    const queue = new StubbedQueue((body) => (body.endsWith('7') ? 'InternalError' : null));
    const seen: [number, number][] = [];
    await queue.sender().sendAll(
      Array.from({ length: 100 }, (_, n) => String(n)),
      {
        onProgress: (sent, failed) => seen.push([sent, failed]),
      },
    );
    expect(seen).toHaveLength(10);
    expect(seen.at(-1)).toEqual([90, 10]);
  });

  it('holds no more of a long stream than what is on its way', async () => {
    const queue = new StubbedQueue(() => null);
    let [read, settled, most] = [0, 0, 0];
    function* entries(): Generator<Outgoing> {
      for (; read < 20_000; read++) {
        most = Math.max(most, read - settled);
        yield { body: `order ${read}` };
      }
    }
    const totals = await queue.sender().sendEach(entries(), { onSent: () => settled++ });
    expect(totals).toEqual({ sent: 20_000, failed: 0 });
    expect(most).toBeLessThanOrEqual(33 * 10);
    expect(queue.mostAtOnce).toBe(32);
  });

  it('passes on what a listener throws, and sends no more', async () => {
    const queue = new StubbedQueue(() => null);
    const entries = Array.from({ length: 10_000 }, (_, index) => ({ body: String(index) }));
    const sending = queue.sender().sendEach(entries, {
      onSent: ({ body }) => {
        if (body === '25') throw new Error('the disk is full');
      },
    });
    await expect(sending).rejects.toThrow('the disk is full');
    expect(queue.calls.length).toBeLessThan(1_000);
  });

  it('passes on what the source throws', async () => {
    function* broken(): Generator<string> {
      for (let index = 0; index < 15; index++) yield String(index);
      throw new Error('unreadable');
    }
    await expect(new StubbedQueue(() => null).sender().sendAll(broken())).rejects.toThrow('unreadable');
  });
});

function clientOf(endpoint: string): SQSClient {
  return createSqsClient({ sqsEndpoint: endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
}

function sdkError(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

/** What becomes of a body: null if it is taken, else SQS's code. May throw what the whole call ends with. */
type Fate = (body: string, attempt: number, batch: string[]) => string | null;

/** Stands in for SQS where the emulator can't be brought to fail. */
class StubbedQueue {
  /** The bodies of each call. */
  readonly calls: string[][] = [];
  mostAtOnce = 0;
  private atOnce = 0;
  private readonly attempts = new Map<string, number>();

  constructor(private readonly fate: Fate) {}

  sender(): QueueSender {
    const send = async ({ input }: { input: SendMessageBatchCommandInput }): Promise<unknown> => this.answer(input);
    return new QueueSender({ send } as unknown as SQSClient, 'orders', NO_WAITS);
  }

  private async answer({
    Entries = [],
  }: SendMessageBatchCommandInput): Promise<Partial<SendMessageBatchCommandOutput>> {
    const batch = Entries.map(({ MessageBody }) => MessageBody!);
    this.calls.push(batch);
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
    await new Promise(setImmediate);
    this.atOnce--;
    const answer = { Successful: [] as object[], Failed: [] as object[] };
    for (const { Id, MessageBody: body } of Entries) {
      const attempt = (this.attempts.get(body!) ?? 0) + 1;
      this.attempts.set(body!, attempt);
      const Code = this.fate(body!, attempt, batch);
      if (Code === null) answer.Successful.push({ Id, MessageId: `id of ${body}` });
      else if (Code !== 'silence') {
        answer.Failed.push({ Id, Code, Message: `${body} failed`, SenderFault: Code !== 'InternalError' });
      }
    }
    return answer as Partial<SendMessageBatchCommandOutput>;
  }
}
