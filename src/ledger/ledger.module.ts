import { Module } from '@nestjs/common';
import { Ledger } from './ledger.js';

/** The book of record: append, read, find. */
@Module({ providers: [Ledger], exports: [Ledger] })
export class LedgerModule {}
