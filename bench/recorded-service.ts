import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onRealParts, type OnRealParts } from './drain.js';
import { takenAwayAtTheEnd } from './leftovers.js';
import type { RecordedTransaction } from './transaction-recorder.js';

/** What was recorded of a service, and what the work with it gave. */
export interface Recorded<T> {
  /** In the order of their ends. */
  transactions: RecordedTransaction[];
  result: T;
}

/**
 * Starts the service on real parts for as long as some work takes, and records what it has PostgreSQL do.
 * @param only a text that one of a transaction's statements must have; the others are not recorded
 */
export async function onRecordedService<T>(
  work: (running: OnRealParts) => Promise<T>,
  settings: Record<string, string>,
  only = '',
): Promise<Recorded<T>> {
  const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-recording-'));
  const remove = takenAwayAtTheEnd(() => Promise.resolve(rmSync(folder, { recursive: true, force: true })));
  try {
    const file = join(folder, 'transactions.jsonl');
    const recorder = ['--require', join(__dirname, 'transaction-recorder.js')];
    const result = await onRealParts(work, recorder, { ...settings, RECORD_TO: file, RECORD_ONLY: only });
    // The service has ended, so everything is written.
    const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
    return { transactions: lines.map((line) => JSON.parse(line) as RecordedTransaction), result };
  } finally {
    await remove();
  }
}
