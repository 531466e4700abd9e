import { Module, type OnModuleInit } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { PersonalData } from '../platform/privacy/personal-data.js';
import { FindingsController } from './findings/findings.controller.js';
import { FindingsErasure } from './findings/findings-erasure.service.js';
import { FindingsSchedule } from './findings/findings-schedule.worker.js';
import { Findings } from './findings/findings.repository.js';
import { LanguageModel } from './check/language-model.service.js';
import { OrderCheckController } from './check/order-check.controller.js';
import { OrderChecks } from './check/order-checks.service.js';
import { QualityReportController } from './report/quality-report.controller.js';
import { QualityReports } from './report/quality-reports.service.js';
import { ScheduleClaims } from './findings/schedule-claims.repository.js';

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
