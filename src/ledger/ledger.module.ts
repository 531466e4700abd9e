import { Module } from '@nestjs/common';
import { LedgerArchive } from './ledger-archive.js';
import { LedgerArchiveController } from './ledger-archive.controller.js';
import { LeftBehindLedger } from './left-behind-ledger.js';
import { Ledger } from './ledger.js';
import { WaitingRefunds } from './waiting-refunds.js';

/** The book of record: append, read, find; written down as a whole. */
@Module({
  controllers: [LedgerArchiveController],
  providers: [Ledger, LedgerArchive, LeftBehindLedger, WaitingRefunds],
  exports: [Ledger, WaitingRefunds],
})
export class LedgerModule {}
