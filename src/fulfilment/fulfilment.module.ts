import { type DynamicModule, Module } from '@nestjs/common';
import type { Config } from '../shared/config.js';
import { Catalogue } from './catalogue.js';
import { InventoryController } from './inventory.controller.js';
import { PaymentGateway } from './payment-gateway.js';
import { PaymentNotices } from './payment-notices.js';
import { PaymentWebhookController } from './payment-webhook.controller.js';
import { SimulatedProvider } from './simulated-provider.js';
import { StepConsumerModule } from './step-consumer.module.js';
import { SimulatedWebhooks } from './simulated-webhooks.js';
import { WarehousesController } from './warehouses.controller.js';
import { Warehouses } from './warehouses.js';
import { WebhookSignatures } from './webhook-signatures.js';

/** As long as nothing is ordered, nobody waits for what the payment provider tells. */
const toNobody = (): PaymentNotices => ({ told: () => Promise.resolve() });

/** What is sold, where it lies, who is asked to charge for it, and the steps in which orders are fulfilled. */
@Module({
  controllers: [InventoryController, WarehousesController, PaymentWebhookController],
  providers: [
    Catalogue,
    Warehouses,
    WebhookSignatures,
    SimulatedWebhooks,
    { provide: PaymentGateway, useClass: SimulatedProvider },
    { provide: PaymentNotices, useFactory: toNobody },
  ],
})
export class FulfilmentModule {
  static register(config: Config): DynamicModule {
    return { module: FulfilmentModule, imports: [StepConsumerModule.register(config)] };
  }
}
