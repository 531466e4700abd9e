import { type DynamicModule, Module } from '@nestjs/common';
import { DemoData } from '../platform/demo/demo-data.js';
import { Metrics } from '../platform/observability/metrics.js';
import { PersonalData } from '../platform/privacy/personal-data.js';
import type { Config } from '../shared/config.js';
import { Cancellation } from './workflow/cancellation.service.js';
import { Catalogue } from './inventory/catalogue.service.js';
import { DemoCatalogue } from './inventory/demo-catalogue.js';
import { FailedJobsController } from './failed-jobs/failed-jobs.controller.js';
import { FailedJobs } from './failed-jobs/failed-jobs.service.js';
import { FulfilmentSchedule } from './workflow/fulfilment-schedule.worker.js';
import { IdempotencyKeys } from './orders/idempotency.service.js';
import { InventoryController } from './inventory/inventory.controller.js';
import { InventoryStep } from './inventory/inventory-step.service.js';
import { OrderAddressErasure } from './orders/order-erasure.service.js';
import { OrdersController } from './orders/orders.controller.js';
import { Orders } from './orders/orders.service.js';
import { OrderWorkflow } from './workflow/order-workflow.service.js';
import { OutboxRelay } from './messaging/outbox-relay.worker.js';
import { Outbox } from './messaging/outbox.repository.js';
import { PaymentGateway } from './payments/payment-gateway.js';
import { PaymentNotices } from './payments/payment-notices.js';
import { Payments } from './payments/payments.service.js';
import { ShipmentsController } from './shipments/shipments.controller.js';
import { Shipments } from './shipments/shipments.service.js';
import { PaymentWebhookController } from './payments/payment-webhook.controller.js';
import { SimulatedProvider } from './payments/simulated-provider.service.js';
import { SimulatedWebhooks } from './payments/simulated-webhooks.worker.js';
import { StepConsumerModule } from './messaging/step-consumer.module.js';
import { StepHandlers } from './workflow/step-handlers.js';
import { WarehousesController } from './inventory/warehouses.controller.js';
import { Warehouses } from './inventory/warehouses.service.js';
import { WebhookSignatures } from './payments/webhook-signatures.service.js';

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
