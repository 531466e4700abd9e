import type { Message } from '@aws-sdk/client-sqs';
import { type DynamicModule, Module } from '@nestjs/common';
import { SqsModule } from '@ssut/nestjs-sqs';
import type { SqsConsumerOptions } from '@ssut/nestjs-sqs/dist/sqs.types.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { WaitingRefunds } from '../ledger/waiting-refunds.repository.js';
import { Database } from '../platform/database/database.js';
import { Metrics } from '../platform/observability/metrics.js';
import { PersonalData } from '../platform/privacy/personal-data.js';
import { pollLoopOptions, receiveCountOf } from '../platform/queue/poll-loops.js';
import { OrdersQueue } from '../platform/queue/queue.js';
import { redeliverySeconds } from '../platform/queue/redelivery.rules.js';
import { ReceiveGate } from '../platform/queue/receive-gate.js';
import { CONFIG, type Config } from '../shared/config.js';
import { REPAIR_ATTRIBUTE } from '../domain/order-event.js';
import { ConsumerLog } from './consumer-log/consumer-log.service.js';
import { ConsumerLogsController } from './consumer-log/consumer-logs.controller.js';
import { DeadLetters } from './dead-letters/dead-letters.service.js';
import { DeadLettersController } from './dead-letters/dead-letters.controller.js';
import { DeliveryFailures } from './consumer/delivery-failures.repository.js';
import { LogStreams } from './consumer-log/log-streams.service.js';
import { OrderConsumer } from './consumer/order-consumer.worker.js';
import { OrderEventsController } from './events/order-events.controller.js';
import { OrderIntake } from './consumer/order-intake.service.js';
import { pollLoopClasses, pollLoopNames } from './consumer/order-pollers.js';
import { keptFields } from './erasure/personal-data.rules.js';
import {
  KEPT_FIELDS,
  OrderErasure,
  RefundErasure,
  RepairErasure,
  WaitingRefundErasure,
} from './erasure/order-erasure.service.js';
import { RepairDispatch } from './repairs/repair-dispatch.worker.js';
import { RepairsController } from './repairs/repairs.controller.js';
import { Repairs } from './repairs/repairs.service.js';
import { WaitingRefundsController } from './events/waiting-refunds.controller.js';

/** What a poll loop needs before it receives. A module of its own, because the library wants it before the handlers. */
@Module({
  providers: [
    {
      provide: ReceiveGate,
      useFactory: (database: Database, queue: OrdersQueue, config: Config) =>
        new ReceiveGate(database, queue, config.queue.pollers),
      inject: [Database, OrdersQueue, CONFIG],
    },
  ],
  exports: [ReceiveGate],
})
class ReceiveGateModule {}

/** Order events: from the queue through the rules into the ledger; the consumer log; entries and failed orders; dead letters. */
@Module({})
export class OrdersModule {
  constructor(
    metrics: Metrics,
    repairs: Repairs,
    personalData: PersonalData,
    ofOrders: OrderErasure,
    ofRepairs: RepairErasure,
    ofRefunds: RefundErasure,
    ofWaitingRefunds: WaitingRefundErasure,
    waitingRefunds: WaitingRefunds,
  ) {
    metrics.reading('repairs_pending', 'Repairs that are on their way through the queue', () => repairs.pending());
    metrics.reading('refunds_waiting', 'Refunds whose order is not counted yet', () => waitingRefunds.count());
    // What waits goes first: it may become an entry of the user meanwhile.
    for (const eraser of [ofWaitingRefunds, ofOrders, ofRepairs, ofRefunds]) personalData.register(eraser);
  }

  /** @param config how many pollers there are is decided before anything is wired */
  static register({ queue }: Config): DynamicModule {
    return {
      module: OrdersModule,
      imports: [
        LedgerModule,
        ReceiveGateModule,
        SqsModule.registerAsync({
          imports: [ReceiveGateModule],
          inject: [OrdersQueue, ReceiveGate, CONFIG],
          useFactory: (queue: OrdersQueue, gate: ReceiveGate, config: Config) => ({
            consumers: pollLoopNames(config.queue.pollers).map((name, index) =>
              pollLoop(name, index, queue, gate, config),
            ),
          }),
        }),
      ],
      controllers: [
        ConsumerLogsController,
        OrderEventsController,
        WaitingRefundsController,
        RepairsController,
        DeadLettersController,
      ],
      providers: [
        ConsumerLog,
        LogStreams,
        DeliveryFailures,
        DeadLetters,
        OrderIntake,
        OrderConsumer,
        Repairs,
        RepairDispatch,
        {
          provide: KEPT_FIELDS,
          inject: [CONFIG],
          useFactory: (config: Config) => keptFields(config.erasureKeptFields),
        },
        OrderErasure,
        RepairErasure,
        RefundErasure,
        WaitingRefundErasure,
        ...pollLoopClasses(queue.pollers),
      ],
      exports: [OrderConsumer],
    };
  }
}

function pollLoop(
  name: string,
  index: number,
  queue: OrdersQueue,
  gate: ReceiveGate,
  config: Config,
): SqsConsumerOptions {
  return {
    ...pollLoopOptions(name, index, queue, gate, config.queue),
    messageAttributeNames: [REPAIR_ATTRIBUTE],
    terminateVisibilityTimeout: backOffByReceiveCount,
  };
}

/** Together, as the library gives a batch back in one. */
function backOffByReceiveCount(messages: Message[]): number {
  return redeliverySeconds(Math.max(...messages.map(receiveCountOf)));
}
