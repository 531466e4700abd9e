import type { Message } from '@aws-sdk/client-sqs';
import type { RunningService } from './app.js';
import { eventually } from './eventually.js';
import type { LedgerQuery } from './ledger-audit.js';
import { anOrderEvent, type SentOrderEvent } from './order-events.js';
import type { SeededRandom } from './seeded-random.js';

/** So many messages are on their way at most: an outage is not to end in a queue that takes minutes to drain. */
const MAX_ON_THE_WAY = 400;
const MESSAGES_AT_ONCE = 20;
const USERS = 15;
/** A ledger of few entries is to need room as well. */
const NOTE_WORDS = 60;
/** The service asks for 5 s and more. */
const SECONDS_UNTIL_REDELIVERY = 1;
const PATIENCE_MS = 120_000;

interface HandledEntry {
  Id?: string;
  ReceiptHandle?: string;
  VisibilityTimeout?: number;
}

/**
 * Orders of every kind over the queue, decided by a seed: accepted, corrected and failed ones, some of them again, and
 * others with the id of one that was sent. Knows what the queue has taken and what the service has acknowledged, so that it
 * can tell what has become of each: contents are equal where bodies are, and the ledger must hold each of them once. What the
 * service gives back to the queue comes again soon.
 */
export class MixedTraffic {
  /** Bodies, each once. */
  readonly sent = new Set<string>();
  /** Bodies of messages that were deleted from the queue. */
  readonly acknowledged = new Set<string>();
  private readonly orders: SentOrderEvent[] = [];
  /** By receipt handle. */
  private readonly held = new Map<string, Message>();
  private receivableAt = 0;
  private readonly acknowledgedIds = new Set<string>();
  private messages = 0;
  private running = false;
  private loop: Promise<void> = Promise.resolve();

  private service: RunningService | null = null;

  constructor(private readonly random: SeededRandom) {}

  /** From now on it is this service that the orders go to. */
  attend(service: RunningService): void {
    this.service = service;
    const { name } = service.config.queue;
    service.sqs.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const { QueueUrl = '', Entries = [] } = args.input as { QueueUrl?: string; Entries?: HandledEntry[] };
          if (!QueueUrl.endsWith(name)) return next(args);
          const givenBack = commandName === 'ChangeMessageVisibilityBatchCommand';
          if (givenBack) for (const entry of Entries) entry.VisibilityTimeout = SECONDS_UNTIL_REDELIVERY;
          const result = await next(args);
          const output = result.output as { Messages?: Message[]; Successful?: { Id?: string }[] };
          if (commandName === 'ReceiveMessageCommand') this.took(output.Messages ?? []);
          const ids = new Set(output.Successful?.map(({ Id }) => Id));
          const handles = Entries.filter(({ Id }) => ids.has(Id)).map(({ ReceiptHandle }) => ReceiptHandle!);
          if (commandName === 'DeleteMessageBatchCommand') this.deleted(handles);
          if (givenBack) this.gaveBack(handles);
          return result;
        },
      { step: 'initialize' },
    );
  }

  /** Bodies that were received and neither acknowledged nor given back. */
  get inHand(): string[] {
    return [...this.held.values()].map(({ Body }) => Body!);
  }

  /** How many messages were acknowledged whose content another one had before. */
  get repeats(): number {
    return this.acknowledgedIds.size - this.acknowledged.size;
  }

  /** Sends so many messages. */
  async send(count: number): Promise<void> {
    await this.sendAgain(Array.from({ length: count }, () => this.next()));
  }

  /** Sends these bodies, new or not. */
  async sendAgain(bodies: string[]): Promise<void> {
    await this.service!.send(...bodies);
    for (const body of bodies) this.sent.add(body);
    this.messages += bodies.length;
  }

  /** Sends on and on, until {@link stop}. */
  start(): void {
    this.running = true;
    this.loop = this.sendOn();
    this.loop.catch(() => undefined); // stop() throws it
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.loop;
  }

  /** Waits until so many more messages were acknowledged than by now. */
  async goesOn(messages: number): Promise<void> {
    const before = this.acknowledgedIds.size;
    await eventually(() => {
      const more = this.acknowledgedIds.size - before;
      if (more < messages) throw new Error(`${more} of ${messages} messages were acknowledged`);
    }, PATIENCE_MS);
  }

  /** Waits until the service has nothing in hand, and all that it gave back could be received again. */
  async isGivenBack(): Promise<void> {
    await eventually(() => {
      if (this.held.size > 0) throw new Error(`${this.held.size} messages are in hand`);
      if (performance.now() < this.receivableAt) throw new Error('What was given back is hidden');
    }, PATIENCE_MS);
  }

  /** Waits until all that was sent by now is acknowledged. */
  async isThrough(): Promise<void> {
    const sent = [...this.sent];
    await eventually(() => {
      const left = sent.filter((body) => !this.acknowledged.has(body));
      if (left.length > 0) throw new Error(`${left.length} messages are not acknowledged`);
    }, PATIENCE_MS);
  }

  /**
   * Compares the ledger with what was sent, once the queue is empty.
   * @returns what is wrong, one fact each
   */
  async faults(query: LedgerQuery): Promise<string[]> {
    const stored = await bodiesIn(query);
    const facts: [string, string[]][] = [
      ['acknowledged, but not in the ledger', [...this.acknowledged].filter((body) => !stored.has(body))],
      ['sent, but neither acknowledged nor in the ledger', this.absent(stored)],
      ['in the ledger more than once', [...stored].filter(([, times]) => times > 1).map(([body]) => body)],
      ['in the ledger, but never sent', [...stored.keys()].filter((body) => !this.sent.has(body))],
    ];
    return facts
      .filter(([, bodies]) => bodies.length > 0)
      .map(([what, bodies]) => `${bodies.length} orders are ${what}: ${bodies[0]}`);
  }

  private absent(stored: Map<string, number>): string[] {
    return [...this.sent].filter((body) => !stored.has(body) && !this.acknowledged.has(body));
  }

  private async sendOn(): Promise<void> {
    while (this.running) {
      await this.send(MESSAGES_AT_ONCE);
      await eventually(() => {
        const onTheWay = this.messages - this.acknowledgedIds.size;
        if (this.running && onTheWay > MAX_ON_THE_WAY) throw new Error(`${onTheWay} messages are on their way`);
      }, PATIENCE_MS);
    }
  }

  private took(messages: Message[]): void {
    const ids = new Set(messages.map(({ MessageId }) => MessageId));
    for (const [handle, { MessageId }] of this.held) if (ids.has(MessageId)) this.held.delete(handle);
    for (const message of messages) this.held.set(message.ReceiptHandle!, message);
  }

  private deleted(handles: string[]): void {
    for (const handle of handles) {
      const message = this.held.get(handle);
      if (!message) continue;
      this.held.delete(handle);
      this.acknowledged.add(message.Body!);
      this.acknowledgedIds.add(message.MessageId!);
    }
  }

  private gaveBack(handles: string[]): void {
    for (const handle of handles) this.held.delete(handle);
    this.receivableAt = performance.now() + 1000 * SECONDS_UNTIL_REDELIVERY;
  }

  private next(): string {
    const { random } = this;
    const kind = random.next();
    if (this.orders.length > 0 && kind < 0.2) return JSON.stringify(random.oneOf(this.orders));
    if (this.orders.length > 0 && kind < 0.28) {
      const quantity = random.between(10, 1_000);
      const items = [{ product_id: 'P1', quantity, price_per_unit: 1 }];
      return JSON.stringify({ ...random.oneOf(this.orders), order_value: quantity, items });
    }
    const order = this.anOrder();
    if (kind < 0.4) return JSON.stringify({ ...order, order_value: 1 });
    if (kind < 0.5) return JSON.stringify({ ...order, items: [] });
    if (kind < 0.55) return JSON.stringify({ ...order, user_id: '', order_timestamp: 'some day' });
    this.orders.push(order);
    return JSON.stringify(order);
  }

  private anOrder(): SentOrderEvent {
    const { random } = this;
    const [quantity, cents] = [random.between(2, 9), random.between(2, 9_999)];
    return anOrderEvent({
      order_id: `ORD${String(this.random.below(2 ** 30))}N${this.messages}X${random.below(1e6)}`,
      user_id: `U${random.below(USERS)}`,
      order_timestamp: `2026-0${random.between(1, 3)}-${String(random.between(1, 28)).padStart(2, '0')}T12:00:00Z`,
      order_value: (quantity * cents) / 100,
      items: [{ product_id: `P${random.below(5)}`, quantity, price_per_unit: cents / 100 }],
      note: Array.from({ length: NOTE_WORDS }, () => random.next().toString(36)).join(' '),
    });
  }
}

/** How often each body is in the ledger. */
export async function bodiesIn(query: LedgerQuery): Promise<Map<string, number>> {
  const rows = await query<{ body: string; times: number }>(
    `select body, count(*)::float8 as times from ledger where kind = 'order' group by body`,
  );
  return new Map(rows.map(({ body, times }) => [body, times]));
}
