import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { sql } from 'drizzle-orm';
import { type BackgroundRun, BackgroundRuns } from '../../platform/background-runs.js';
import { Database } from '../../platform/database/database.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { StatisticsComparison, type ComparisonResult } from './statistics-comparison.js';

const LOOK_EVERY_MS = 60_000;
const SECONDS_BETWEEN_SCHEDULED = 3_600;

/** One verification, from the asking for it to its result. */
export type VerificationRun = BackgroundRun<ComparisonResult>;

/** How the latest verification of the figures ended, whichever process ran it. */
export interface LatestVerification {
  driftCents: number | null;
  /** When the figures were last found to be right, ms UTC. */
  succeededAt: number | null;
}

/**
 * Verifies the live figures, one run at a time: who asks, and, once an hour, of its own accord. What came of it is
 * recorded in the ledger's database, where all processes see it.
 */
@Injectable()
export class Verification implements OnModuleDestroy {
  private readonly logger = new Logger('Verification');
  private readonly runs = new BackgroundRuns<ComparisonResult>('verification');
  private latest: VerificationRun | null = null;
  private reportedFailure = '';

  constructor(
    private readonly comparison: StatisticsComparison,
    private readonly database: Database,
  ) {}

  async onModuleDestroy(): Promise<void> {
    await this.runs.stop();
  }

  /** The next run to begin, shared by all who ask before it does: an answer is never of a moment before its question. */
  request(): VerificationRun {
    if (this.latest?.state === 'waiting') return this.latest;
    return (this.latest = this.runs.begin(async (progress, stopping) => {
      const result = await this.comparison.run(progress, stopping);
      await this.record(result);
      this.tell(result);
      return result;
    }));
  }

  /** A run of this process; null where it is not known, or no longer. */
  find(id: string): VerificationRun | null {
    return this.runs.find(id);
  }

  /** @throws DatabaseUnavailable */
  async recorded(): Promise<LatestVerification> {
    const [row] = await this.database.query<LatestVerification>(
      sql`select drift_cents::float8 as "driftCents", succeeded_at as "succeededAt"
          from verification`,
    );
    return row!;
  }

  /** Verifies where no process of this ledger has done so for an hour because it was due. */
  @Interval(LOOK_EVERY_MS)
  async verifyWhenDue(): Promise<void> {
    if (!this.database.availability.up || this.runs.isStopping) return;
    try {
      if (!(await this.claimScheduled())) return;
      const run = this.request();
      await run.ended;
      if (run.state === 'failed') {
        this.reportFailure(run.failure);
        return await this.giveBackScheduled();
      }
      this.reportedFailure = '';
      if (run.result!.mismatches.count === 0) this.logger.debug('The live figures are what the ledger says');
    } catch (error) {
      // A part that is down says so itself.
      if (!(error instanceof UnavailableError))
        this.logger.error(`The verification that is due failed: ${messageOf(error)}`);
    }
  }

  /** Logs why nothing could be verified, once for each reason: it is tried again every minute. */
  private reportFailure(failure: unknown): void {
    const reason = messageOf(failure);
    if (reason === this.reportedFailure || this.runs.isStopping || !(failure instanceof UnavailableError)) return;
    this.logger.warn(`The verification that is due failed: ${reason}; it is tried again every minute`);
    this.reportedFailure = reason;
  }

  private tell({ mismatches }: ComparisonResult): void {
    const [first] = mismatches.first;
    if (!first) return;
    this.logger.error(
      `The live figures are not what the ledger says: ${mismatches.count} values differ, ` +
        `by ${mismatches.driftCents} cents in all, the first of them in ${first.key.split(':', 1)[0]}`,
    );
  }

  private async record({ mismatches }: ComparisonResult): Promise<void> {
    const verified = mismatches.count === 0;
    await this.database.query(
      sql`update verification
          set finished_at = now(), verified = ${verified}, drift_cents = ${String(mismatches.driftCents)},
            succeeded_at = case when ${verified} then now() else succeeded_at end`,
    );
  }

  private async claimScheduled(): Promise<boolean> {
    const claimed = await this.database.query(
      sql`update verification set scheduled_at = now()
          where scheduled_at is null or scheduled_at < now() - make_interval(secs => ${SECONDS_BETWEEN_SCHEDULED})
          returning 1`,
    );
    return claimed.length > 0;
  }

  private async giveBackScheduled(): Promise<void> {
    await this.database.query(sql`update verification set scheduled_at = null`);
  }
}
