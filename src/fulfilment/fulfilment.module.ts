import { Module } from '@nestjs/common';
import { Catalogue } from './catalogue.js';
import { InventoryController } from './inventory.controller.js';
import { WarehousesController } from './warehouses.controller.js';
import { Warehouses } from './warehouses.js';

/** What is sold, and where it lies. */
@Module({ controllers: [InventoryController, WarehousesController], providers: [Catalogue, Warehouses] })
export class FulfilmentModule {}
