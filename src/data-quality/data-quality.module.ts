import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { LanguageModel } from './language-model.js';
import { OrderCheckController } from './order-check.controller.js';
import { OrderChecks } from './order-checks.js';
import { QualityReportController } from './quality-report.controller.js';
import { QualityReports } from './quality-reports.js';

/** How good the orders are that arrive: what the ledger says of them all, and checks of single ones, by the rules and by a language model. */
@Module({
  imports: [LedgerModule],
  controllers: [QualityReportController, OrderCheckController],
  providers: [QualityReports, LanguageModel, OrderChecks],
})
export class DataQualityModule {}
