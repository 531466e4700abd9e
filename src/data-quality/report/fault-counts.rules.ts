import type { ReportedEntry } from '../../ledger/ledger-entry.js';
import { type Reason, REASONS } from '../../domain/order-event.js';
import { Column, type Numbering } from './columns.rules.js';

const REASONS_IN_ORDER = Object.keys(REASONS) as Reason[];

/** How many entries there are, by what became of them. */
export interface OutcomeCounts {
  entries: number;
  accepted: number;
  corrected: number;
  failed: number;
}

/** A failed entry as an example of its reasons. */
export type FailedSample = Pick<ReportedEntry, 'position' | 'orderId' | 'userId' | 'sentAt' | 'reasons'>;

/** The entries that failed for a reason; one that failed for several is with each of them. */
export interface ReasonCount {
  reason: Reason;
  count: number;
  /** The newest first. */
  samples: FailedSample[];
}

/** What a user sent. */
export interface SenderFaults {
  userId: string;
  entries: number;
  failed: number;
  /** The most frequent first. */
  reasons: { reason: Reason; count: number }[];
}

/** No entries. */
export function noOutcomes(): OutcomeCounts {
  return { entries: 0, accepted: 0, corrected: 0, failed: 0 };
}

/** Counts one entry. */
export function countOutcome(counts: OutcomeCounts, { outcome }: Pick<ReportedEntry, 'outcome'>): void {
  counts.entries++;
  counts[outcome]++;
}

/** Counts outcomes day by day. */
export class DailyTrend {
  private readonly days = new Map<string, OutcomeCounts>();

  /** @param day `YYYY-MM-DD` */
  add(entry: ReportedEntry, day: string): void {
    let counts = this.days.get(day);
    if (!counts) this.days.set(day, (counts = noOutcomes()));
    countOutcome(counts, entry);
  }

  /** The days that have entries, the earliest first. */
  result(): (OutcomeCounts & { date: string })[] {
    return [...this.days.keys()].sort().map((date) => ({ date, ...this.days.get(date)! }));
  }
}

/** Counts why entries failed. */
export class ReasonCounts {
  private readonly reasons = new Map<Reason, ReasonCount>();

  /** @param mostSamples of each reason */
  constructor(private readonly mostSamples: number) {}

  add({ position, orderId, userId, sentAt, reasons }: ReportedEntry): void {
    for (const reason of reasons) {
      let known = this.reasons.get(reason);
      if (!known) this.reasons.set(reason, (known = { reason, count: 0, samples: [] }));
      known.count++;
      known.samples.unshift({ position, orderId, userId, sentAt, reasons });
      if (known.samples.length > this.mostSamples) known.samples.pop();
    }
  }

  /** The most frequent first. */
  result(): ReasonCount[] {
    return byCount([...this.reasons.values()]);
  }
}

/**
 * Counts what each user sent and got wrong. A queue does not tell who sent a message; the order's user is as near as one
 * comes.
 */
export class Senders {
  private readonly entries = new Column(Uint32Array);
  private readonly failed = new Column(Uint32Array);
  /** By the user's number times the number of reasons, plus the reason's. */
  private readonly reasons = new Map<number, number>();
  /** Entries whose user can't be read; all of them failed. */
  withoutUser = 0;

  constructor(private readonly users: Numbering) {}

  /** @param user number of the entry's user; null where it can't be read */
  add({ outcome, reasons }: ReportedEntry, user: number | null): void {
    if (user === null) {
      this.withoutUser++;
      return;
    }
    this.entries.increase(user);
    if (outcome !== 'failed') return;
    this.failed.increase(user);
    for (const reason of reasons) {
      const key = user * REASONS_IN_ORDER.length + REASONS_IN_ORDER.indexOf(reason);
      this.reasons.set(key, (this.reasons.get(key) ?? 0) + 1);
    }
  }

  /** Those with most failed entries; of equals those of which they are the larger share. */
  worst(most: number): SenderFaults[] {
    const entries = this.entries.values();
    const failed = this.failed.values();
    const users = Uint32Array.from(failed.keys()).filter((user) => failed[user]! > 0);
    users.sort(
      (one, other) =>
        failed[other]! - failed[one]! ||
        entries[one]! - entries[other]! ||
        (this.users.textOf(one) < this.users.textOf(other) ? -1 : 1),
    );
    return Array.from(users.subarray(0, most), (user) => ({
      userId: this.users.textOf(user),
      entries: entries[user]!,
      failed: failed[user]!,
      reasons: this.reasonsOf(user),
    }));
  }

  private reasonsOf(user: number): { reason: Reason; count: number }[] {
    const counts = REASONS_IN_ORDER.map((reason, i) => ({
      reason,
      count: this.reasons.get(user * REASONS_IN_ORDER.length + i) ?? 0,
    }));
    return byCount(counts.filter(({ count }) => count > 0));
  }
}

/** Of equals, in the order of the contract. */
function byCount<T extends { reason: Reason; count: number }>(counts: T[]): T[] {
  return counts.sort(
    (one, other) =>
      other.count - one.count || REASONS_IN_ORDER.indexOf(one.reason) - REASONS_IN_ORDER.indexOf(other.reason),
  );
}
