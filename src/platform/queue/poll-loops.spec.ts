import { type Message, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { Logger } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { Consumer } from 'sqs-consumer';
import type { Database } from '../database/database.js';
import { pollLoopOptions, PollLoops } from './poll-loops.js';
import { QueueActivity } from './queue-activity.js';
import type { Queue } from './queue.js';
import { ReceiveGate } from './receive-gate.js';
import { eventually } from '../../../test/support/eventually.js';

const SETTINGS = {
  name: 'orders-queue',
  pollers: 2,
  maxNumberOfMessages: 10,
  waitTimeSeconds: 20,
  visibilityTimeout: 30,
  maxReceiveCount: 5,
};

/** A queue with one message, whose calls stay open until a test ends them. */
class OneMessage {
  /** Receives that are under way. */
  readonly open: (() => void)[] = [];
  deleted = 0;
  private given = false;

  send(command: object): Promise<object> {
    if (!(command instanceof ReceiveMessageCommand)) {
      this.deleted++;
      return Promise.resolve({});
    }
    if (!this.given) {
      this.given = true;
      return Promise.resolve({ Messages: [{ MessageId: 'm', ReceiptHandle: 'r', Body: '{}' }] });
    }
    return new Promise((resolve) => this.open.push(() => resolve({})));
  }
}

it('A poll loop that was started again because it hung receives once at a time when what hung goes on after all', async () => {
  jest.spyOn(Logger.prototype, 'error').mockImplementation();
  const sqs = new OneMessage();
  const availability = { up: true };
  const queue = { sqs: sqs as unknown as SQSClient, availability, activity: new QueueActivity() } as unknown as Queue;
  const gate = new ReceiveGate({ availability } as unknown as Database, queue, SETTINGS.pollers);
  const loops = new PollLoops(queue, gate, SETTINGS);
  let resume: () => void = () => undefined;
  const hanging = new Promise<void>((resolve) => (resume = resolve));
  let handled = 0;
  const instance = Consumer.create({
    ...pollLoopOptions('loop', 0, queue, gate, SETTINGS),
    handleMessageBatch: async (messages: Message[]) => {
      handled++;
      await hanging;
      return messages;
    },
  });
  instance.start();
  loops.begin({ consumers: new Map([['loop', { instance }]]) as never }, ['loop']);
  await eventually(() => expect(handled).toBe(1));

  const clock = jest.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
  loops.watch();
  clock.mockRestore();
  await eventually(() => expect(sqs.open).toHaveLength(1));
  const pass = jest.spyOn(gate, 'pass');
  resume();
  await eventually(() => expect(pass).toHaveBeenCalled());
  expect(sqs.deleted).toBe(1);

  for (let answers = 0; answers < 5; answers++) {
    await setImmediate();
    expect(sqs.open).toHaveLength(1);
    sqs.open.shift()!();
    await eventually(() => expect(sqs.open.length).toBeGreaterThan(0));
  }
  instance.stop();
  sqs.open.shift()!();
  jest.restoreAllMocks();
});
