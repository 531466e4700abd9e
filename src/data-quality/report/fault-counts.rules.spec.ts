import { aFailedEntry, aPassedEntry, times } from '../../../test/support/reported-entries.js';
import type { ReportedEntry } from '../../ledger/ledger-entry.js';
import { Numbering } from './columns.rules.js';
import { DailyTrend, ReasonCounts, Senders } from './fault-counts.rules.js';

function worst(entries: ReportedEntry[], most = 20) {
  const users = new Numbering();
  const senders = new Senders(users);
  for (const entry of entries) senders.add(entry, entry.userId === null ? null : users.of(entry.userId));
  return { worst: senders.worst(most), withoutUser: senders.withoutUser };
}

describe('Reasons', () => {
  it('are counted for each entry that has them, the most frequent first, of equals in the order of the contract', () => {
    const counts = new ReasonCounts(5);
    counts.add(aFailedEntry({ reasons: ['missing_items', 'missing_user_id'] }));
    counts.add(aFailedEntry({ reasons: ['missing_items', 'missing_order_id'] }));
    counts.add(aPassedEntry());
    expect(counts.result().map(({ reason, count }) => [reason, count])).toEqual([
      ['missing_items', 2],
      ['missing_order_id', 1],
      ['missing_user_id', 1],
    ]);
  });

  it('have the newest entries as samples, the newest first', () => {
    const counts = new ReasonCounts(5);
    for (let position = 1; position <= 7; position++) counts.add(aFailedEntry({ position }));
    expect(counts.result()[0]!.samples.map(({ position }) => position)).toEqual([7, 6, 5, 4, 3]);
  });
});

it('The trend has each day that has entries, in the order of days', () => {
  const trend = new DailyTrend();
  trend.add(aFailedEntry(), '2026-02-01');
  trend.add(aPassedEntry(), '2026-01-31');
  trend.add(aPassedEntry({ outcome: 'corrected' }), '2026-02-01');
  expect(trend.result()).toEqual([
    { date: '2026-01-31', entries: 1, accepted: 1, corrected: 0, failed: 0 },
    { date: '2026-02-01', entries: 2, accepted: 0, corrected: 1, failed: 1 },
  ]);
});

describe('The worst senders', () => {
  it('are those with most failed entries, of equals with the larger share, then by name', () => {
    const entries = [
      ...times(3, () => aFailedEntry({ userId: 'U-MOST' })),
      ...times(9, () => aPassedEntry({ userId: 'U-MOST' })),
      ...times(2, () => aFailedEntry({ userId: 'U-SHARE' })),
      ...times(2, () => aFailedEntry({ userId: 'U-B' })),
      aPassedEntry({ userId: 'U-B' }),
      ...times(2, () => aFailedEntry({ userId: 'U-A' })),
      aPassedEntry({ userId: 'U-A' }),
      aPassedEntry({ userId: 'U-GOOD' }),
    ];
    expect(worst(entries).worst.map(({ userId, entries, failed }) => [userId, entries, failed])).toEqual([
      ['U-MOST', 12, 3],
      ['U-SHARE', 2, 2],
      ['U-A', 3, 2],
      ['U-B', 3, 2],
    ]);
    expect(worst(entries, 1).worst).toHaveLength(1);
  });

  it('have their reasons, and nobody has those whose user can not be read', () => {
    const { worst: found, withoutUser } = worst([
      aFailedEntry({ reasons: ['missing_items'] }),
      aFailedEntry({ reasons: ['missing_order_id', 'missing_items'] }),
      aFailedEntry({ userId: null }),
      aFailedEntry({ userId: null }),
    ]);
    expect(found[0]!.reasons).toEqual([
      { reason: 'missing_items', count: 2 },
      { reason: 'missing_order_id', count: 1 },
    ]);
    expect({ found: found.length, withoutUser }).toEqual({ found: 1, withoutUser: 2 });
  });
});
