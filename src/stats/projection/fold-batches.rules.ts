import type { ProjectedEntry } from '../../ledger/ledger-entry.js';
import { fold, emptyStatistics, sizeOf, type Statistics, type FoldScope } from './statistics.rules.js';

/** Redis runs a script alone: one of this size takes a few ms. */
const MAX_INCREMENTS = 2_000;

/** Statistics of consecutive entries, and the entry they lead up to. */
export interface FoldBatch {
  figures: Statistics;
  position: number;
  entryHash: string;
}

/**
 * Folds entries into batches of about 2,000 increments. An entry is never split between two: a checkpoint lies
 * between entries, so half an entry could neither be repeated nor skipped.
 */
export function* foldBatches(entries: ProjectedEntry[], scope: FoldScope): Generator<FoldBatch> {
  let figures = emptyStatistics();
  for (const [index, entry] of entries.entries()) {
    fold(figures, entry, scope);
    if (index === entries.length - 1 || sizeOf(figures) >= MAX_INCREMENTS) {
      yield { figures, position: entry.position, entryHash: entry.entryHash };
      figures = emptyStatistics();
    }
  }
}
