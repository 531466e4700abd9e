import type { AuditedEntry } from '../support/ledger-audit.js';
import { inexactReads, type GlobalFigures } from './global-reader.js';

const anEntry = (position: number, given: Partial<AuditedEntry> = {}): AuditedEntry => ({
  position,
  kind: 'order',
  outcome: 'accepted',
  userId: 'U-1',
  day: '2025-01-01',
  orderedAt: 0,
  value: 100,
  refPosition: null,
  lines: [],
  ...given,
});

const LEDGER = [
  anEntry(1),
  anEntry(2, { outcome: 'failed', value: null }),
  anEntry(3, { outcome: 'corrected', userId: 'U-2', value: 50 }),
  anEntry(4, { kind: 'refund', value: 30, refPosition: 1 }),
  anEntry(5, { kind: 'repair', value: null, refPosition: 2 }),
];

const aRead = (position: number, given: Partial<GlobalFigures>): GlobalFigures => ({
  position,
  orders: 0,
  revenue: 0,
  failed: 0,
  corrected: 0,
  users: 0,
  ...given,
});

describe('What was read', () => {
  it('is exact where it is what the ledger says up to its position', () => {
    const reads = [
      aRead(0, {}),
      aRead(2, { orders: 1, revenue: 100, failed: 1, users: 1 }),
      aRead(5, { orders: 2, revenue: 120, corrected: 1, users: 2 }),
    ];
    expect(inexactReads(reads, LEDGER, [0])).toEqual([]);
  });

  it('is exact where it begins at a place where figures were cleared, and takes nothing back from before that', () => {
    const reads = [aRead(2, {}), aRead(5, { orders: 1, revenue: 50, corrected: 1, users: 1 })];
    expect(inexactReads(reads, LEDGER, [0, 2])).toEqual([]);
  });

  it('is not exact where a figure is another one, or of another position', () => {
    const tooMuch = aRead(3, { orders: 3, revenue: 150, failed: 1, corrected: 1, users: 2 });
    const tooEarly = aRead(1, { orders: 1, revenue: 100, failed: 1, users: 1 });
    expect(inexactReads([tooMuch, tooEarly], LEDGER, [0])).toEqual([
      expect.stringMatching(/^at 3: 3 orders .* was read; the ledger says at 3: 2 orders /),
      expect.stringMatching(/^at 1: .* 1 failed, .* was read; the ledger says at 1: 1 orders of 100 cents, 0 failed/),
    ]);
  });
});
