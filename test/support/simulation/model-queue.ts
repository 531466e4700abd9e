import type { Message } from '@aws-sdk/client-sqs';
import type { SeededRandom } from '../seeded-random.js';
import type { Trace } from './trace.js';
import type { VirtualTime } from './virtual-time.js';

export const VISIBILITY_TIMEOUT_S = 4;
export const MAX_RECEIVES = 10;
const MAX_AT_ONCE = 10;
const WAIT_MS = 5_000;

/** A message on the queue. */
export interface QueuedMessage {
  readonly id: string;
  readonly body: string;
  /** ms of the clock, as all times here. */
  readonly sentAt: number;
  visibleAt: number;
  receives: number;
}

interface Waiter {
  until: number;
  answer(messages: Message[]): void;
}

/** How often, from 0 to 1, the queue does what SQS may do. */
export interface QueueFaults {
  /** A message is handed out and stays there for others. */
  duplicate: number;
  /** What was deleted comes once more. */
  revenant: number;
}

/** An SQS queue of the standard kind: at least once, in no order, by visibility timeout, with a limit of receives. */
export class ModelQueue {
  readonly messages = new Map<string, QueuedMessage>();
  readonly dead: QueuedMessage[] = [];
  faults: QueueFaults = { duplicate: 0, revenant: 0 };
  private waiters: Waiter[] = [];

  /** @param deleted is told of every message that is acknowledged */
  constructor(
    private readonly time: VirtualTime,
    private readonly random: SeededRandom,
    private readonly trace: Trace,
    private readonly deleted: (message: QueuedMessage) => void,
  ) {}

  send(id: string, body: string): void {
    const { now } = this.time;
    this.messages.set(id, { id, body, sentAt: now, visibleAt: now, receives: 0 });
    this.serve();
  }

  /** Answers with messages as soon as there are any, or with none after a while. */
  receive(answer: (messages: Message[]) => void): void {
    const waiter = { until: this.time.now + WAIT_MS, answer };
    this.waiters.push(waiter);
    this.serve();
    if (this.waiters.includes(waiter)) this.time.at(waiter.until, null, () => this.serve());
  }

  /** Acknowledges messages by their receipts. One that was received again since may go or stay. */
  delete(receipts: string[]): void {
    for (const receipt of receipts) {
      const [id, receives] = receipt.split('#');
      const message = this.messages.get(id!);
      if (!message) continue;
      const isOld = message.receives !== Number(receives);
      if (isOld && this.random.happens(0.5)) continue;
      this.deleted(message);
      if (this.random.happens(this.faults.revenant)) {
        this.trace.reach('queue: what was deleted came again');
        this.hide(message, this.random.between(0, 3_000));
      } else {
        this.messages.delete(id!);
      }
    }
  }

  private serve(): void {
    const { now } = this.time;
    while (this.waiters.length > 0) {
      const visible = [...this.messages.values()].filter((message) => message.visibleAt <= now);
      if (visible.length === 0) break;
      const found: Message[] = [];
      const most = this.random.between(1, MAX_AT_ONCE);
      while (visible.length > 0 && found.length < most) {
        const [message] = visible.splice(this.random.between(0, visible.length - 1), 1);
        if (message!.receives >= MAX_RECEIVES) {
          this.messages.delete(message!.id);
          this.dead.push(message!);
          this.trace.add('queue', `${message!.id} is a dead letter`);
        } else {
          found.push(this.handOut(message!));
        }
      }
      if (found.length > 0) this.waiters.shift()!.answer(found);
    }
    const late = this.waiters.filter(({ until }) => until <= now);
    this.waiters = this.waiters.filter(({ until }) => until > now);
    for (const { answer } of late) answer([]);
  }

  private handOut(message: QueuedMessage): Message {
    message.receives++;
    if (message.receives > 1) this.trace.reach('queue: a message came again');
    const isDuplicated = this.random.happens(this.faults.duplicate);
    if (isDuplicated) this.trace.reach('queue: a message was handed out twice');
    this.hide(message, isDuplicated ? this.random.between(1, 200) : VISIBILITY_TIMEOUT_S * 1000);
    return {
      MessageId: message.id,
      ReceiptHandle: `${message.id}#${message.receives}`,
      Body: message.body,
      Attributes: {
        SentTimestamp: String(message.sentAt),
        ApproximateReceiveCount: String(message.receives),
      },
    };
  }

  private hide(message: QueuedMessage, ms: number): void {
    message.visibleAt = this.time.now + ms;
    this.time.at(message.visibleAt, null, () => this.serve());
  }
}
