import type { ReportedEntry } from '../../ledger/ledger-entry.js';
import type { Cents } from '../../domain/money.js';

/** Corrections in one direction. */
export interface CorrectionSum {
  count: number;
  /** Cents; more than a number holds exactly where many orders are wrong by billions. */
  delta: bigint;
}

/** A corrected order. */
export interface Correction {
  position: number;
  orderId: string;
  claimed: Cents;
  value: Cents;
}

/** How claimed values were corrected. A delta is what counts less what was claimed. */
export interface CorrectionStatistics {
  count: number;
  /** Those of them that claimed no value, or none that can be read: they have no delta. */
  unclaimed: number;
  raised: CorrectionSum;
  lowered: CorrectionSum;
  /** That with the largest delta, up or down; of equals the first. */
  largest: Correction | null;
}

/** Adds up the corrections of order values. */
export class Corrections {
  private readonly statistics: CorrectionStatistics = {
    count: 0,
    unclaimed: 0,
    raised: { count: 0, delta: 0n },
    lowered: { count: 0, delta: 0n },
    largest: null,
  };

  add({ outcome, position, orderId, claimed, value }: ReportedEntry): void {
    if (outcome !== 'corrected') return;
    const { statistics } = this;
    statistics.count++;
    if (claimed === null) {
      statistics.unclaimed++;
      return;
    }
    const sum = value! > claimed ? statistics.raised : statistics.lowered;
    sum.count++;
    sum.delta += BigInt(value! - claimed);
    if (!statistics.largest || sizeOf({ claimed, value: value! }) > sizeOf(statistics.largest)) {
      statistics.largest = { position, orderId: orderId!, claimed, value: value! };
    }
  }

  result(): CorrectionStatistics {
    return this.statistics;
  }
}

function sizeOf({ claimed, value }: Pick<Correction, 'claimed' | 'value'>): number {
  return Math.abs(value - claimed);
}
