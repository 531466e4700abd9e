import { Module, type OnModuleInit } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { PersonalData } from '../platform/privacy/personal-data.js';
import { FindingsController } from './findings.controller.js';
import { FindingsErasure } from './findings-erasure.js';
import { FindingsSchedule } from './findings-schedule.js';
import { Findings } from './findings.js';
import { LanguageModel } from './language-model.js';
import { OrderCheckController } from './order-check.controller.js';
import { OrderChecks } from './order-checks.js';
import { QualityReportController } from './quality-report.controller.js';
import { QualityReports } from './quality-reports.js';
import { ScheduleClaims } from './schedule-claims.js';

/**
 * How good the orders are that arrive: a report on all of them, checks of single ones by the rules and by a language model,
 * and what scheduled checks find.
 */
@Module({
  imports: [LedgerModule],
  controllers: [FindingsController, OrderCheckController, QualityReportController],
  providers: [Findings, FindingsErasure, FindingsSchedule, LanguageModel, OrderChecks, QualityReports, ScheduleClaims],
})
export class DataQualityModule implements OnModuleInit {
  constructor(
    private readonly personalData: PersonalData,
    private readonly ofFindings: FindingsErasure,
  ) {}

  /** Not before: whatever changes bodies registers while the service is wired, and findings go after it. */
  onModuleInit(): void {
    this.personalData.register(this.ofFindings);
  }
}
