import { type DynamicModule, Module } from '@nestjs/common';
import { DemoData } from '../platform/demo/demo-data.js';
import { Metrics } from '../platform/observability/metrics.js';
import { PersonalData } from '../platform/privacy/personal-data.js';
import type { Config } from '../shared/config.js';
import { Cancellation } from './cancellation.js';
import { Catalogue } from './catalogue.js';
import { DemoCatalogue } from './demo-catalogue.js';
import { FailedJobsController } from './failed-jobs.controller.js';
import { FailedJobs } from './failed-jobs.js';
import { FulfilmentSchedule } from './fulfilment-schedule.js';
import { IdempotencyKeys } from './idempotency.js';
import { InventoryController } from './inventory.controller.js';
import { InventoryStep } from './inventory-step.js';
import { OrderAddressErasure } from './order-erasure.js';
import { OrdersController } from './orders.controller.js';
import { Orders } from './orders.js';
import { OrderWorkflow } from './order-workflow.js';
import { OutboxRelay } from './outbox-relay.js';
import { Outbox } from './outbox.js';
import { PaymentGateway } from './payment-gateway.js';
import { PaymentNotices } from './payment-notices.js';
import { Payments } from './payments.js';
import { ShipmentsController } from './shipments.controller.js';
import { Shipments } from './shipments.js';
import { PaymentWebhookController } from './payment-webhook.controller.js';
import { SimulatedProvider } from './simulated-provider.js';
import { SimulatedWebhooks } from './simulated-webhooks.js';
import { StepConsumerModule } from './step-consumer.module.js';
import { StepHandlers } from './step-handlers.js';
import { WarehousesController } from './warehouses.controller.js';
import { Warehouses } from './warehouses.js';
import { WebhookSignatures } from './webhook-signatures.js';

/** Orders taken over HTTP: what is sold and where it lies, and how an order comes through stock, payment and shipment. */
@Module({
  controllers: [
    InventoryController,
    WarehousesController,
    OrdersController,
    ShipmentsController,
    PaymentWebhookController,
    FailedJobsController,
  ],
  providers: [
    Catalogue,
    Warehouses,
    Outbox,
    OutboxRelay,
    OrderWorkflow,
    IdempotencyKeys,
    Orders,
    InventoryStep,
    Payments,
    { provide: PaymentNotices, useExisting: Payments },
    { provide: PaymentGateway, useClass: SimulatedProvider },
    SimulatedWebhooks,
    WebhookSignatures,
    Shipments,
    Cancellation,
    FailedJobs,
    FulfilmentSchedule,
    OrderAddressErasure,
    DemoCatalogue,
  ],
})
export class FulfilmentModule {
  static register(config: Config): DynamicModule {
    return { module: FulfilmentModule, imports: [StepConsumerModule.register(config)] };
  }

  constructor(
    steps: StepHandlers,
    inventory: InventoryStep,
    payments: Payments,
    shipments: Shipments,
    orders: Orders,
    outbox: Outbox,
    failedJobs: FailedJobs,
    catalogue: Catalogue,
    metrics: Metrics,
    personalData: PersonalData,
    addresses: OrderAddressErasure,
    demoData: DemoData,
    demoCatalogue: DemoCatalogue,
  ) {
    steps.register('reserve', (message) => inventory.reserve(message));
    steps.register('charge', (message) => payments.charge(message));
    steps.register('ask', (message) => payments.ask(message));
    steps.register('return-payment', (message) => payments.returnPayment(message));
    steps.register('ship', (message) => shipments.ship(message));
    metrics.reading('outbox_oldest_seconds', 'How long the oldest message in the outbox has been waiting', () =>
      outbox.oldestSeconds(),
    );
    metrics.labelledReading(
      'fulfilment_orders_under_way',
      'Orders that are not at their end, by status',
      ['status'],
      async () => {
        const counts = await orders.underWay();
        return Object.entries(counts).map(([status, value]) => ({ labels: { status }, value }));
      },
    );
    metrics.reading('failed_jobs_open', 'Failed jobs that wait for somebody', () => failedJobs.open());
    metrics.reading('low_stock_products', 'Products that are low', () => catalogue.countLow());
    personalData.registerFirst(addresses);
    demoData.register('catalogue', demoCatalogue);
  }
}
