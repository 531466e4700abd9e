import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { sql } from 'drizzle-orm';
import { type BackgroundRun, BackgroundRuns, type RunProgress, RunStopped } from '../platform/background-runs.js';
import { Database } from '../platform/database/database.js';
import { ERASED } from '../shared/erased.js';
import { messageOf, UnavailableError } from '../shared/errors.js';
import { Ledger } from './ledger.repository.js';

const INTERVAL_MS = 60_000;
const SECONDS_BETWEEN_SCHEDULED = 3_600;
/** Of one statement. Bodies are hashed, so they are what takes long. */
const ENTRIES_PER_PAGE = 5_000;
const BYTES_PER_PAGE = 32 * 1024 * 1024;

/** What verifying the ledger came to. */
export interface LedgerVerificationResult {
  /** The ledger's last entry when the verification began. */
  position: number;
  /** The first entry that is not what was appended, or is not there; null where there is none. */
  firstBadPosition: number | null;
}

/** One verification, from the asking for it to its result. */
export type LedgerVerificationRun = BackgroundRun<LedgerVerificationResult>;

/** How far the ledger was verified, whichever process did so. */
export interface RecordedVerification {
  position: number;
  firstBadPosition: number | null;
}

/** Where a verification begins: an entry that is known to be right, and its hash. */
interface VerifiedEnd {
  position: number;
  entryHash: string;
}

const BEGINNING: VerifiedEnd = {
  position: 0,
  entryHash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', // sha256 of nothing
};

/**
 * Hashes the entries of the ledger again and compares: all of them for who asks, and once an hour those that were appended
 * since. What came of it is recorded in the ledger's database, where all processes see it.
 */
@Injectable()
export class LedgerVerification implements OnModuleDestroy {
  private readonly logger = new Logger('LedgerVerification');
  private readonly runs = new BackgroundRuns<LedgerVerificationResult>('ledger verification');
  private latest: LedgerVerificationRun | null = null;

  constructor(
    private readonly ledger: Ledger,
    private readonly database: Database,
  ) {}

  async onModuleDestroy(): Promise<void> {
    await this.runs.stop();
  }

  /** The next verification of the whole ledger to begin, shared by all who ask before it does. */
  request(): LedgerVerificationRun {
    if (this.latest?.state === 'waiting') return this.latest;
    return (this.latest = this.begin(() => Promise.resolve(BEGINNING)));
  }

  /** A run of this process; null where it is not known, or no longer. */
  find(id: string): LedgerVerificationRun | null {
    return this.runs.find(id);
  }

  /** @throws DatabaseUnavailable */
  async recorded(): Promise<RecordedVerification> {
    const [row] = await this.database.query<RecordedVerification>(
      sql`select position, first_bad_position as "firstBadPosition" from ledger_verification`,
    );
    return row!;
  }

  /** Verifies what was appended since the last time, where no process of this ledger has done so for an hour. */
  @Interval(INTERVAL_MS)
  async verifyWhenDue(): Promise<void> {
    if (!this.database.availability.up || this.runs.isStopping) return;
    try {
      if (!(await this.claimScheduled())) return;
      const run = this.begin(() => this.verifiedEnd());
      await run.ended;
      if (run.state === 'failed') await this.database.query(sql`update ledger_verification set scheduled_at = null`);
    } catch (error) {
      // A database that is down says so itself.
      if (!(error instanceof UnavailableError))
        this.logger.error(`The verification that is due failed: ${messageOf(error)}`);
    }
  }

  private begin(from: () => Promise<VerifiedEnd>): LedgerVerificationRun {
    return this.runs.begin(async (progress, stopping) => this.verify(await from(), progress, stopping));
  }

  private async claimScheduled(): Promise<boolean> {
    const claimed = await this.database.query(
      sql`update ledger_verification set scheduled_at = now()
          where scheduled_at is null or scheduled_at < now() - make_interval(secs => ${SECONDS_BETWEEN_SCHEDULED})
          returning 1`,
    );
    return claimed.length > 0;
  }

  /** Where the scheduled run continues. It starts over where the last verified entry has another hash. */
  private async verifiedEnd(): Promise<VerifiedEnd> {
    const [row] = await this.database.query<VerifiedEnd>(
      sql`select position, encode(entry_hash, 'hex') as "entryHash" from ledger_verification
          where first_bad_position is null`,
    );
    return row && (await this.ledger.hashAt(row.position)) === row.entryHash ? row : BEGINNING;
  }

  private async verify(
    from: VerifiedEnd,
    progress: RunProgress,
    stopping: AbortSignal,
  ): Promise<LedgerVerificationResult> {
    const head = await this.ledger.head();
    const known = await this.recorded();
    progress.total = head.position - from.position;
    let verified = from;
    let firstBadPosition: number | null = null;
    while (verified.position < head.position && firstBadPosition === null) {
      if (stopping.aborted) throw new RunStopped('verification');
      const page = await this.ledger.halvedOnTimeout(ENTRIES_PER_PAGE, async (limit) => {
        const end = await this.ledger.pageEnd(verified.position, limit, BYTES_PER_PAGE);
        return this.verifyPage(verified, Math.min(end.position, head.position));
      });
      ({ firstBadPosition } = page);
      verified = page.end;
      progress.done = verified.position - from.position;
      await this.recordProgress(verified);
    }
    if (firstBadPosition === null && verified.entryHash !== head.entryHash) firstBadPosition = head.position;
    if (firstBadPosition !== null) await this.recordBad(firstBadPosition);
    else if (from === BEGINNING) await this.recordSound(verified, known.firstBadPosition);
    return { position: head.position, firstBadPosition };
  }

  /** @returns the first entry after the verified ones that is wrong or missing, else the last one of the page */
  private async verifyPage(
    verified: VerifiedEnd,
    to: number,
  ): Promise<{ end: VerifiedEnd; firstBadPosition: number | null }> {
    const [page] = await this.database.query<{ bad: number | null; last: number | null; hash: string | null }>(
      sql`with hashed as (
            select position, entry_hash, ${verified.position} + row_number() over entries as expected_position,
              sha256(lag(entry_hash, 1, decode(${verified.entryHash}, 'hex')) over entries || entry_item(entry)) as expected_hash,
              body_hash = sha256(convert_to(body, 'UTF8')) or position(${ERASED} in body) > 0 as body_fits
            from ledger entry
            where position > ${verified.position} and position <= ${to}
            window entries as (order by position)
          )
          select max(position) as last, (array_agg(encode(entry_hash, 'hex') order by position desc))[1] as hash,
            min(expected_position) filter (
              where position <> expected_position or entry_hash <> expected_hash or not body_fits
            ) as bad
          from hashed`,
    );
    const { bad, last, hash } = page!;
    if (bad !== null) return { end: verified, firstBadPosition: bad };
    if (last === null) return { end: verified, firstBadPosition: verified.position + 1 };
    return { end: { position: last, entryHash: hash! }, firstBadPosition: null };
  }

  /** So that a run that is broken off is continued. Another process may be further. */
  private async recordProgress({ position, entryHash }: VerifiedEnd): Promise<void> {
    await this.database.query(
      sql`update ledger_verification set position = ${position}, entry_hash = decode(${entryHash}, 'hex')
          where position < ${position} and first_bad_position is null`,
    );
  }

  private async recordBad(position: number): Promise<void> {
    await this.database.query(
      sql`update ledger_verification set first_bad_position = least(first_bad_position, ${position}::bigint)`,
    );
    this.logger.error(
      `The ledger is not what was appended: entry ${position} is the first that was changed or is missing`,
    );
  }

  /**
   * All entries are right, so what was recorded before is over: a bad entry that was put right, or the end of a ledger that was
   * longer. What another process has found meanwhile stays.
   */
  private async recordSound({ position, entryHash }: VerifiedEnd, knownBadPosition: number | null): Promise<void> {
    await this.database.query(
      sql`update ledger_verification
          set position = ${position}, entry_hash = decode(${entryHash}, 'hex'), first_bad_position = null
          where first_bad_position is not distinct from ${knownBadPosition}::bigint`,
    );
  }
}
