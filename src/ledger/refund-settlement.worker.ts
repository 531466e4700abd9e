import { Injectable, Logger } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { Database } from '../platform/database/database.js';
import { messageOf, UnavailableError } from '../shared/errors.js';
import { Ledger } from './ledger.repository.js';

const INTERVAL_MS = 1_000;

/** Settles refunds that waited for their order and were too many for the append that counted it. */
@Injectable()
export class RefundSettlementWorker {
  private readonly logger = new Logger('RefundSettlement');
  private running = false;

  constructor(
    private readonly database: Database,
    private readonly ledger: Ledger,
  ) {}

  /** Settles all that are due, a portion at a time: appends of others go between. */
  @Interval(INTERVAL_MS)
  async onInterval(): Promise<void> {
    if (this.running || !this.database.availability.up) return;
    this.running = true;
    try {
      while (await this.ledger.settleDueRefunds());
    } catch (error) {
      // A database that is down says so itself.
      if (!(error instanceof UnavailableError)) this.logger.error(`Refunds can't be settled: ${messageOf(error)}`);
    } finally {
      this.running = false;
    }
  }
}
