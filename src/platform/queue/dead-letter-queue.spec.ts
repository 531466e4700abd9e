import type { BatchResultErrorEntry, Message } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { eventually } from '../../../test/support/eventually.js';
import { DeadLetterQueue, DeadLetterQueueUnavailable } from './dead-letter-queue.js';

type Input = { QueueUrl: string; Entries?: { Id: string }[] } & Record<string, unknown>;

afterEach(() => jest.restoreAllMocks());

const refusal = (): Error =>
  Object.assign(new Error('User is not authorized'), {
    name: 'AccessDeniedException',
    $metadata: { httpStatusCode: 403 },
  });

/** Answers as SQS does where the emulator never does so; what is not said is that all is well. */
class StubbedSqs {
  /** What was asked for: the command and, of batches, the receipt handles. */
  readonly calls: { command: string; input: Input; handles: string[] }[] = [];

  constructor(
    private readonly answers: {
      redrivePolicy?: object;
      /** Each answer to a receive; none when they are used up. */
      receives?: Message[][];
      /** What becomes of a receipt handle, at which attempt. */
      fate?: (command: string, handle: string, attempt: number) => Partial<BatchResultErrorEntry> | null;
    },
  ) {}

  queue(): DeadLetterQueue {
    return new DeadLetterQueue({ send: (command: unknown) => this.send(command as never) } as never, 'orders-queue');
  }

  handlesOf(command: string): string[] {
    return this.calls.filter((call) => call.command === command).flatMap(({ handles }) => handles);
  }

  private async send({ constructor, input }: { constructor: { name: string }; input: Input }): Promise<object> {
    const command = constructor.name.replace('Command', '');
    const entries = (input.Entries ?? []) as { Id: string; ReceiptHandle: string }[];
    const attemptsBefore = this.handlesOf(command);
    this.calls.push({ command, input, handles: entries.map(({ ReceiptHandle }) => ReceiptHandle) });
    switch (command) {
      case 'GetQueueAttributes': {
        const { redrivePolicy } = this.answers;
        return { Attributes: { ...(redrivePolicy && { RedrivePolicy: JSON.stringify(redrivePolicy) }) } };
      }
      case 'GetQueueUrl':
        return { QueueUrl: `https://sqs/1/${String(input.QueueName)}` };
      case 'ReceiveMessage':
        return { Messages: this.answers.receives?.shift() };
      default:
        return {
          Failed: entries.flatMap(({ Id, ReceiptHandle }) => {
            const attempt = attemptsBefore.filter((handle) => handle === ReceiptHandle).length + 1;
            const failed = this.answers.fate?.(command, ReceiptHandle, attempt);
            return failed ? [{ Id, Code: 'InternalError', SenderFault: false, ...failed }] : [];
          }),
        };
    }
  }
}

describe('On SQS', () => {
  const LIMITS = { messages: 100, seconds: 10 };

  function aMessage(id: string, given: Partial<Message> = {}): Message {
    return { MessageId: id, ReceiptHandle: `handle of ${id}`, Body: id, ...given };
  }

  function manyMessages(count: number): Message[] {
    return Array.from({ length: count }, (_, i) => aMessage(`m${i}`));
  }

  /** The ids of everything that comes. */
  async function all(sqs: StubbedSqs): Promise<string[]> {
    return sqs.queue().holding(LIMITS, async (held) => {
      const ids: string[] = [];
      for (;;) {
        const letters = await held.next(10);
        if (letters.length === 0) return ids;
        ids.push(...letters.map(({ messageId }) => messageId));
      }
    });
  }

  it('one empty answer does not mean an empty queue', async () => {
    const sqs = new StubbedSqs({ receives: [[], [aMessage('a')], [], [aMessage('b')], [], []] });
    expect(await all(sqs)).toEqual(['a', 'b']);
    expect(sqs.handlesOf('ChangeMessageVisibilityBatch')).toEqual(['handle of a', 'handle of b']);
  });

  it('a message that comes twice is one, and released by its latest receipt', async () => {
    const again = aMessage('a', { ReceiptHandle: 'later handle of a' });
    const sqs = new StubbedSqs({ receives: [[aMessage('a')], [again, aMessage('b')]] });
    expect(await all(sqs)).toEqual(['a', 'b']);
    expect(sqs.handlesOf('ChangeMessageVisibilityBatch')).toEqual(['later handle of a', 'handle of b']);
  });

  it('a message that comes over and over ends the look', async () => {
    const sqs = new StubbedSqs({ receives: Array.from({ length: 50 }, () => [aMessage('a')]) });
    expect(await all(sqs)).toEqual(['a']);
    expect(sqs.calls.filter(({ command }) => command === 'ReceiveMessage')).toHaveLength(3);
  });

  it('waits, asks for all attributes, and hides messages for longer than the look lasts', async () => {
    const sqs = new StubbedSqs({});
    await all(sqs);
    expect(sqs.calls.find(({ command }) => command === 'ReceiveMessage')!.input).toMatchObject({
      QueueUrl: 'https://sqs/1/orders-queue-dlq',
      WaitTimeSeconds: 1,
      VisibilityTimeout: 70,
      MessageAttributeNames: ['All'],
    });
  });

  it('no more is looked at than allowed', async () => {
    const messages = manyMessages(200);
    const receives = Array.from({ length: 20 }, () => messages.splice(0, 9));
    const sqs = new StubbedSqs({ receives });
    const seen = await sqs.queue().holding({ messages: 10, seconds: 10 }, async (held) => {
      const groups = [await held.next(10), await held.next(10), await held.next(10)];
      return [...groups.map((group) => group.length), held.lookedAt];
    });
    const asked = sqs.calls.filter(({ command }) => command === 'ReceiveMessage');
    expect(asked.map(({ input }) => input.MaxNumberOfMessages)).toEqual([10, 1]);
    expect(seen).toEqual([9, 9, 0, 18]); // this SQS gives more than it is asked for
  });

  it('the dead letters are where the redrive policy says', async () => {
    const redrivePolicy = { deadLetterTargetArn: 'arn:aws:sqs:eu-west-1:1:elsewhere', maxReceiveCount: 3 };
    const sqs = new StubbedSqs({ redrivePolicy });
    await all(sqs);
    expect(sqs.calls.find(({ command }) => command === 'GetQueueUrl')!.input).toEqual({ QueueName: 'elsewhere' });
  });

  it('those of other queues on a shared dead-letter queue are left alone', async () => {
    const from = (name: string): Partial<Message> => ({
      Attributes: { DeadLetterQueueSourceArn: `arn:aws:sqs:eu-west-1:1:${name}` },
    });
    const others = Array.from({ length: 5 }, (_, i) => [aMessage(`other ${i}`, from('other-orders-queue'))]);
    const sqs = new StubbedSqs({ receives: [...others, [aMessage('ours', from('orders-queue'))]] });
    expect(await all(sqs)).toEqual(['ours']);
    expect(sqs.handlesOf('ChangeMessageVisibilityBatch')).toHaveLength(6);
  });

  it('what could not be released or deleted by a fault of SQS is tried again', async () => {
    const sqs = new StubbedSqs({
      receives: [manyMessages(10), [aMessage('m10'), aMessage('m11')]],
      fate: (_command, handle, attempt) =>
        ['handle of m3', 'handle of m11'].includes(handle) && attempt < 3 ? {} : null,
    });
    await sqs.queue().holding(LIMITS, async (held) => {
      const letters = [...(await held.next(10)), ...(await held.next(10))];
      const some = letters.filter((_, i) => i % 2 === 1).map(({ messageId }) => messageId);
      expect(await held.delete(some)).toEqual([]);
    });
    expect(sqs.handlesOf('DeleteMessageBatch').sort()).toEqual(
      ['m1', 'm3', 'm3', 'm3', 'm5', 'm7', 'm9', 'm11', 'm11', 'm11'].map((id) => `handle of ${id}`).sort(),
    );
    expect(sqs.handlesOf('ChangeMessageVisibilityBatch').sort()).toEqual(
      ['m0', 'm2', 'm4', 'm6', 'm8', 'm10'].map((id) => `handle of ${id}`).sort(),
    );
  });

  it('what can not be deleted is reported, and released with the rest', async () => {
    const sqs = new StubbedSqs({
      receives: [[aMessage('a'), aMessage('b'), aMessage('c')]],
      fate: (command, handle) => {
        if (command !== 'DeleteMessageBatch') return null;
        if (handle === 'handle of a') return { SenderFault: true, Code: 'ReceiptHandleIsInvalid' };
        return handle === 'handle of b' ? {} : null;
      },
    });
    await sqs.queue().holding(LIMITS, async (held) => {
      await held.next(10);
      expect((await held.delete(['a', 'b', 'c'])).sort()).toEqual(['a', 'b']);
    });
    expect(sqs.handlesOf('DeleteMessageBatch').filter((handle) => handle === 'handle of a')).toHaveLength(1);
    expect(sqs.handlesOf('ChangeMessageVisibilityBatch').sort()).toEqual(['handle of a', 'handle of b']);
  });

  it.each([
    [
      { Message: 'internal' },
      ['Up to 1 messages on orders-queue-dlq stay hidden for 70 s more: they could not be released: internal'],
    ],
    [{ SenderFault: true, Code: 'MessageNotInflight' }, []],
  ])('what stays hidden is said in the log, unless it is not hidden any more: %j', async (failure, lines) => {
    const said = jest.spyOn(Logger.prototype, 'warn').mockImplementation();
    const sqs = new StubbedSqs({
      receives: [[aMessage('a'), aMessage('b')]],
      fate: (_, handle) => (handle.endsWith('a') ? failure : null),
    });
    expect(await all(sqs)).toEqual(['a', 'b']);
    expect(said.mock.calls.map(([line]) => line)).toEqual(lines);
  });

  it('everything is released although the work fails, with the failure of the work', async () => {
    const sqs = new StubbedSqs({ receives: [[aMessage('a')]] });
    const work = sqs.queue().holding(LIMITS, async (held) => {
      await held.next(10);
      throw new TypeError('x is not a function');
    });
    await expect(work).rejects.toThrow(TypeError);
    expect(sqs.handlesOf('ChangeMessageVisibilityBatch')).toEqual(['handle of a']);
  });

  it('a look ends, and everything is released, before the process does', async () => {
    const sqs = new StubbedSqs({ receives: [[aMessage('a')], [aMessage('b')]] });
    const queue = sqs.queue();
    let resume = (): void => undefined;
    const waiting = new Promise<void>((resolve) => (resume = resolve));
    const looking = queue.holding(LIMITS, async (held) => {
      await held.next(1);
      await waiting;
      return held.next(1);
    });
    await eventually(() => expect(sqs.calls.at(-1)!.command).toBe('ReceiveMessage'));
    const stopped = queue.onModuleDestroy();
    resume();
    await stopped;
    expect(sqs.handlesOf('ChangeMessageVisibilityBatch')).toEqual(['handle of a']);
    expect(await looking).toEqual([]);
  });

  it('a missing permission is named, as what it is', async () => {
    const queue = new DeadLetterQueue({ send: () => Promise.reject(refusal()) } as never, 'orders-queue');
    await expect(queue.count()).rejects.toThrow(DeadLetterQueueUnavailable);
    await expect(queue.count()).rejects.toThrow(
      "The dead letters of the queue orders-queue can't be reached: The credentials in use lack the permission sqs:GetQueueAttributes on the queue orders-queue",
    );
  });
});
