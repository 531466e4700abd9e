import { Module } from '@nestjs/common';
import { Catalogue } from './catalogue.js';
import { InventoryController } from './inventory.controller.js';
import { PaymentGateway } from './payment-gateway.js';
import { SimulatedProvider } from './simulated-provider.js';
import { WarehousesController } from './warehouses.controller.js';
import { Warehouses } from './warehouses.js';

/** What is sold, where it lies, and who is asked to charge for it. */
@Module({
  controllers: [InventoryController, WarehousesController],
  providers: [Catalogue, Warehouses, { provide: PaymentGateway, useClass: SimulatedProvider }],
})
export class FulfilmentModule {}
