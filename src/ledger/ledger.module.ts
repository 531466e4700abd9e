import { Module } from '@nestjs/common';
import { Ledger } from './ledger.js';
import { WaitingRefunds } from './waiting-refunds.js';

/** The book of record: append, read, find. */
@Module({
  providers: [Ledger, WaitingRefunds],
  exports: [Ledger, WaitingRefunds],
})
export class LedgerModule {}
