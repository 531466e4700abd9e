import type { ReportedEntry } from '../../ledger/ledger-entry.js';
import type { BusinessCalendar } from '../../domain/business-time.js';
import { bursts } from '../detectors/bursts.rules.js';
import { Numbering } from './columns.rules.js';
import { Corrections, type CorrectionStatistics } from './corrections.rules.js';
import {
  countOutcome,
  DailyTrend,
  noOutcomes,
  type OutcomeCounts,
  type ReasonCount,
  ReasonCounts,
  type SenderFaults,
  Senders,
} from './fault-counts.rules.js';
import { nearDuplicates } from '../detectors/near-duplicates.rules.js';
import { PassedOrders } from './passed-orders.rules.js';
import { priceDeviations } from '../detectors/price-deviations.rules.js';
import { sharedAddresses } from '../detectors/shared-addresses.rules.js';
import type { Stepwise, Suspect, SuspectKind, SuspectsFound } from '../detectors/anomalies.rules.js';
import { oddTimestampPrecision } from '../detectors/timestamp-precision.rules.js';
import { overallValueOutliers, userValueOutliers } from '../detectors/value-outliers.rules.js';

const MAX_SAMPLES = 5;
const MAX_SENDERS = 20;
const MAX_SUSPECTS = 20;

/** Which suspects are told of. */
export interface SuspectsWanted {
  /** Only those after this position. */
  after: number;
  /** How many of each kind. */
  most: number;
}

/** What order entries say of the quality of the data. */
export interface QualityFindings extends OutcomeCounts {
  byReason: ReasonCount[];
  trend: (OutcomeCounts & { date: string })[];
  worstSenders: SenderFaults[];
  /** Failed entries whose user can't be read. */
  withoutUser: number;
  corrections: CorrectionStatistics;
  suspects: { counts: Record<SuspectKind, number>; items: Suspect[] };
}

/**
 * Makes a report of order entries that are given one by one, in the order of their positions. What failed is counted as
 * it comes; of the orders that passed so much is kept, in columns, as the search for suspects needs.
 */
export class QualityFold {
  private readonly outcomes = noOutcomes();
  private readonly reasons = new ReasonCounts(MAX_SAMPLES);
  private readonly trend = new DailyTrend();
  private readonly users = new Numbering();
  private readonly senders = new Senders(this.users);
  private readonly corrections = new Corrections();
  private readonly passed = new PassedOrders(this.users);

  constructor(
    private readonly calendar: BusinessCalendar,
    private readonly wanted: SuspectsWanted = { after: 0, most: MAX_SUSPECTS },
  ) {}

  add(entry: ReportedEntry): void {
    const user = entry.userId === null ? null : this.users.of(entry.userId);
    countOutcome(this.outcomes, entry);
    this.reasons.add(entry);
    this.trend.add(entry, this.calendar.dayOf(entry.orderedAt ?? entry.sentAt));
    this.senders.add(entry, user);
    this.corrections.add(entry);
    if (entry.outcome === 'failed') return;
    this.passed.add(entry, user!);
    if (entry.position <= this.wanted.after) this.passed.firstNew = this.passed.size;
  }

  /** What all entries given so far come to. */
  *findings(): Stepwise<QualityFindings> {
    const suspects = yield* this.suspects();
    const found = Object.entries(suspects) as [SuspectKind, SuspectsFound][];
    return {
      ...this.outcomes,
      byReason: this.reasons.result(),
      trend: this.trend.result(),
      worstSenders: this.senders.worst(MAX_SENDERS),
      withoutUser: this.senders.withoutUser,
      corrections: this.corrections.result(),
      suspects: {
        counts: Object.fromEntries(found.map(([kind, { count }]) => [kind, count])) as Record<SuspectKind, number>,
        items: found.flatMap(([, { items }]) => items),
      },
    };
  }

  private *suspects(): Stepwise<Record<SuspectKind, SuspectsFound>> {
    const { passed, wanted } = this;
    const timelines = passed.timelines();
    yield;
    return {
      user_value_outlier: yield* userValueOutliers(passed, wanted.most),
      overall_value_outlier: yield* overallValueOutliers(passed, wanted.most),
      price_deviation: yield* priceDeviations(passed, wanted.most),
      shared_address: yield* sharedAddresses(passed, wanted.most),
      burst: yield* bursts(passed, timelines, wanted.most),
      odd_timestamp_precision: yield* oddTimestampPrecision(passed, wanted.most),
      near_duplicate: yield* nearDuplicates(passed, timelines, wanted.most),
    };
  }
}
