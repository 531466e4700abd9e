import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from './eventually.js';
import { requestOrder } from './fulfilment.js';
import { anOrderEvent } from './order-events.js';

const ORDERS_AT_ONCE = 5;
const BETWEEN_MS = 200;
/** An order is placed over HTTP with every so many batches on the queue. */
const BATCHES_PER_PLACED = 5;

/**
 * Orders that keep coming while a test breaks something: order events on the queue, past what is broken, and orders that
 * are placed with the service, each of which becomes an order event in the end.
 */
export class OrderLoad {
  /** Ids of those that were taken, and are to be counted. */
  readonly ids = new Set<string>();
  /** How many others may have been taken: whoever sent them was not told. */
  unsure = 0;
  private flowing: Promise<void> = Promise.resolve();
  private isFlowing = false;

  /**
   * @param sqs reaches the orders queue, of that name, whatever is broken
   * @param service where A123 is on sale; null where nothing is to be placed
   */
  constructor(
    private readonly sqs: SQSClient,
    private readonly queueName: string,
    private readonly service: Parameters<typeof requestOrder>[0] | null,
  ) {}

  /** How many were taken. */
  get taken(): number {
    return this.ids.size;
  }

  begin(): void {
    this.isFlowing = true;
    this.flowing = this.flow();
  }

  /** Resolves when everything that was begun was taken. */
  async end(): Promise<void> {
    this.isFlowing = false;
    await this.flowing;
  }

  private async send(count: number): Promise<void> {
    const orders = Array.from({ length: count }, () => anOrderEvent());
    const Entries = orders.map((order, index) => ({ Id: String(index), MessageBody: JSON.stringify(order) }));
    this.unsure += count;
    const { Failed = [] } = await this.sqs.send(new SendMessageBatchCommand({ QueueUrl: this.queueName, Entries }));
    if (Failed.length > 0) throw new Error(`SQS refused ${Failed.length} messages: ${Failed[0]!.Message}`);
    this.unsure -= count;
    for (const { order_id } of orders) this.ids.add(order_id);
  }

  private async flow(): Promise<void> {
    for (let batch = 0; this.isFlowing; batch++) {
      await eventually(() => this.send(ORDERS_AT_ONCE), 60_000);
      if (this.service && batch % BATCHES_PER_PLACED === 0) await this.place(this.service);
      await pause(BETWEEN_MS);
    }
  }

  private async place(service: Parameters<typeof requestOrder>[0]): Promise<void> {
    const { status, body } = await requestOrder(service);
    if (status !== 202) throw new Error(`An order was not taken: ${JSON.stringify(body)}`);
    this.ids.add(body.order_id as string);
  }
}
