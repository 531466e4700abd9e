import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { LanguageModel } from './language-model.js';
import { OrderCheckController } from './order-check.controller.js';
import { OrderChecks } from './order-checks.js';

/** How good the orders are that arrive: checks of single ones, by the rules and by a language model. */
@Module({
  imports: [LedgerModule],
  controllers: [OrderCheckController],
  providers: [LanguageModel, OrderChecks],
})
export class DataQualityModule {}
