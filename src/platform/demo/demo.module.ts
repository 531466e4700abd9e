import { Global, Module } from '@nestjs/common';
import { DemoDataController } from './demo-data.controller.js';
import { DemoData } from './demo-data.js';
import { FirstStart } from './first-start.js';

/** Something to try the service with, whichever feature has it to show. */
@Global()
@Module({ controllers: [DemoDataController], providers: [DemoData, FirstStart], exports: [DemoData] })
export class DemoModule {}
