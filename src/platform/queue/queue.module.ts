import { SQSClient } from '@aws-sdk/client-sqs';
import { Global, Module, type OnApplicationShutdown } from '@nestjs/common';
import { CONFIG, type Config } from '../../shared/config.js';
import { EmbeddedParts } from '../embedded/embedded-parts.js';
import { DeadLetterQueue } from './dead-letter-queue.js';
import { QueueClock } from './queue-clock.js';
import { QueueSender } from './queue-sender.js';
import { QueueWorkers } from './queue-workers.js';
import { OrdersQueue } from './queue.js';
import { createSqsClient } from './sqs-client.js';

/** SQS: the client, its clock, the orders queue, what sends to it, its dead letters, and who consumes which queue. */
@Global()
@Module({
  providers: [
    {
      provide: SQSClient,
      useFactory: (config: Config, parts: EmbeddedParts) =>
        createSqsClient({ ...config, sqsEndpoint: parts.sqsEndpoint }),
      inject: [CONFIG, EmbeddedParts],
    },
    {
      provide: OrdersQueue,
      useFactory: (sqs: SQSClient, { queue }: Config) => {
        const ordersQueue = new OrdersQueue(sqs, queue);
        void ordersQueue.availability.start();
        return ordersQueue;
      },
      inject: [SQSClient, CONFIG],
    },
    {
      provide: QueueSender,
      useFactory: (sqs: SQSClient, { queue }: Config) => new QueueSender(sqs, queue.name),
      inject: [SQSClient, CONFIG],
    },
    {
      provide: DeadLetterQueue,
      useFactory: (sqs: SQSClient, { queue }: Config) => new DeadLetterQueue(sqs, queue.name),
      inject: [SQSClient, CONFIG],
    },
    QueueClock,
    QueueWorkers,
  ],
  exports: [SQSClient, QueueClock, OrdersQueue, QueueSender, DeadLetterQueue, QueueWorkers],
})
export class QueueModule implements OnApplicationShutdown {
  constructor(private readonly sqs: SQSClient) {}

  /** Comes after the queues themselves, which use the client to the end. */
  onApplicationShutdown(): void {
    this.sqs.destroy();
  }
}
