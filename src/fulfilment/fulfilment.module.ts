import { type DynamicModule, Module } from '@nestjs/common';
import type { Config } from '../shared/config.js';
import { Catalogue } from './catalogue.js';
import { InventoryController } from './inventory.controller.js';
import { PaymentGateway } from './payment-gateway.js';
import { SimulatedProvider } from './simulated-provider.js';
import { StepConsumerModule } from './step-consumer.module.js';
import { WarehousesController } from './warehouses.controller.js';
import { Warehouses } from './warehouses.js';

/** What is sold, where it lies, who is asked to charge for it, and the steps in which orders are fulfilled. */
@Module({
  controllers: [InventoryController, WarehousesController],
  providers: [Catalogue, Warehouses, { provide: PaymentGateway, useClass: SimulatedProvider }],
})
export class FulfilmentModule {
  static register(config: Config): DynamicModule {
    return { module: FulfilmentModule, imports: [StepConsumerModule.register(config)] };
  }
}
