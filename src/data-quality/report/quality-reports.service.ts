import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { type DayRange, Ledger } from '../../ledger/ledger.repository.js';
import { type BackgroundRun, BackgroundRuns, type RunProgress, RunStopped } from '../../platform/background-runs.js';
import { BusinessCalendar } from '../../domain/business-time.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { ClientError } from '../../shared/errors.js';
import { type QualityFindings, QualityFold, type SuspectsWanted } from './quality-report.rules.js';
import type { Suspect } from '../detectors/anomalies.rules.js';

/** Positions read by one statement. */
const POSITIONS_PER_PAGE = 2_000;
/** A page is folded in parts, between which others have a turn. */
const ENTRIES_PER_TURN = 500;
const MAX_WAITING = 10;
const RETRY_AFTER_SECONDS = 30;

/** What the ledger says of the quality of the data within a range of days. */
export interface QualityReport extends QualityFindings {
  range: DayRange;
  /** The last ledger entry that was taken into account. */
  position: number;
}

/** The making of a report. */
export type QualityReportRun = BackgroundRun<QualityReport>;

/** As many reports wait to be made as may. */
export class TooManyReports extends ClientError {
  readonly code = 'too_many_reports';
  readonly kind = 'too_many';
  override readonly retryAfter = RETRY_AFTER_SECONDS;
  constructor() {
    super(`${MAX_WAITING} reports wait to be made; ask again later.`);
  }
}

interface KnownReport {
  run: QualityReportRun;
  range: DayRange;
  ledgerId: string;
  /** Up to where the ledger is read; null until that is settled. */
  position: number | null;
}

/** Makes reports on the quality of the data, one at a time; each reads the ledger once, page by page. */
@Injectable()
export class QualityReports implements OnModuleDestroy {
  private readonly runs = new BackgroundRuns<QualityReport>('report');
  private readonly calendar: BusinessCalendar;
  /** The latest last. */
  private known: KnownReport[] = [];

  constructor(
    private readonly ledger: Ledger,
    @Inject(CONFIG) config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
  }

  async onModuleDestroy(): Promise<void> {
    await this.runs.stop();
  }

  /**
   * Orders after a position that stand out among all there are, the most striking first.
   * @param most of each kind
   * @throws RunStopped @throws DatabaseUnavailable
   */
  async suspectsAfter(position: number, most: number): Promise<Suspect[]> {
    const run = this.runs.begin(async (progress, stopping) => {
      const head = await this.ledger.head();
      return this.make({}, head.position, progress, stopping, { after: position, most });
    });
    await run.ended;
    if (run.state === 'failed') throw run.failure;
    return run.result!.suspects.items;
  }

  /**
   * A report of a range that has every entry there is by now: one that is there already, or will be, where the ledger has
   * not grown since it was read.
   * @throws TooManyReports @throws DatabaseUnavailable
   */
  async request(range: DayRange): Promise<QualityReportRun> {
    const { ledgerId, position } = await this.ledger.head();
    const fits = this.known.findLast(
      (known) =>
        known.run.state !== 'failed' &&
        known.range.start === range.start &&
        known.range.end === range.end &&
        (known.run.state === 'waiting' || (known.position === position && known.ledgerId === ledgerId)),
    );
    return fits ? fits.run : this.begin(range);
  }

  /** Forgets the reports that are made: what they show of a person may have been erased since. */
  forget(): void {
    this.runs.forgetEnded();
    this.known = this.known.filter(({ run }) => this.runs.find(run.id));
  }

  /** A run of this process; null where it is not known, or no longer. */
  find(id: string): QualityReportRun | null {
    return this.runs.find(id);
  }

  private begin({ start, end }: DayRange): QualityReportRun {
    const waiting = this.known.filter(({ run }) => run.state === 'waiting');
    if (waiting.length >= MAX_WAITING) throw new TooManyReports();
    const known: Omit<KnownReport, 'run'> = { range: { start, end }, ledgerId: '', position: null };
    const run = this.runs.begin(async (progress, stopping) => {
      const head = await this.ledger.head();
      known.ledgerId = head.ledgerId;
      known.position = head.position;
      return this.make(known.range, head.position, progress, stopping);
    });
    const remembered = this.known.filter((other) => this.runs.find(other.run.id));
    this.known = [...remembered, Object.assign(known, { run })];
    return run;
  }

  private async make(
    range: DayRange,
    position: number,
    progress: RunProgress,
    stopping: AbortSignal,
    wanted?: SuspectsWanted,
  ): Promise<QualityReport> {
    const turn = async (): Promise<void> => {
      await setImmediate();
      if (stopping.aborted) throw new RunStopped('report');
    };
    const fold = new QualityFold(this.calendar, wanted);
    progress.total = position;
    while (progress.done < position) {
      const upTo = Math.min(progress.done + POSITIONS_PER_PAGE, position);
      const page = await this.ledger.reportedEntries(progress.done, upTo, range, this.calendar);
      for (const [i, entry] of page.entries.entries()) {
        fold.add(entry);
        if (i % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) await turn();
      }
      progress.done = page.upTo;
      await turn();
    }
    const findings = fold.findings();
    for (;;) {
      const step = findings.next();
      if (step.done) return { ...step.value, range, position };
      await turn();
    }
  }
}
