import { Module } from '@nestjs/common';
import { Metrics } from '../platform/observability/metrics.js';
import { LedgerVerificationController } from './ledger-verification.controller.js';
import { LedgerVerification } from './ledger-verification.service.js';
import { Ledger } from './ledger.repository.js';
import { RefundSettlementWorker } from './refund-settlement.worker.js';
import { WaitingRefunds } from './waiting-refunds.repository.js';

/** The book of record: append, read, find, verify. */
@Module({
  controllers: [LedgerVerificationController],
  providers: [Ledger, LedgerVerification, RefundSettlementWorker, WaitingRefunds],
  exports: [Ledger, WaitingRefunds],
})
export class LedgerModule {
  constructor(metrics: Metrics, verification: LedgerVerification) {
    metrics.reading(
      'ledger_verified_position',
      'Up to which entry the ledger was found to be what was appended',
      async () => {
        const { position } = await verification.recorded();
        return position;
      },
    );
    metrics.reading(
      'ledger_first_bad_position',
      'The first ledger entry that was found to be changed or missing; absent where none was',
      async () => (await verification.recorded()).firstBadPosition,
    );
  }
}
