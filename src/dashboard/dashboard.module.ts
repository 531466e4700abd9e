import { Module } from '@nestjs/common';
import { DashboardController } from './dashboard.controller.js';

/** The live page, in `page/` as a browser loads it. */
@Module({ controllers: [DashboardController] })
export class DashboardModule {}
