import { aFailedEntry, aPassedEntry, times } from '../../../test/support/reported-entries.js';
import type { ReportedEntry } from '../../ledger/ledger-entry.js';
import { cents } from '../../domain/money.js';
import { Corrections } from './corrections.rules.js';

function corrected(position: number, claimed: number | null, value = 1_000): ReportedEntry {
  const claim = claimed === null ? null : cents(claimed);
  return aPassedEntry({ outcome: 'corrected', position, claimed: claim, value: cents(value) });
}

function statistics(entries: ReportedEntry[]) {
  const corrections = new Corrections();
  for (const entry of entries) corrections.add(entry);
  return corrections.result();
}

describe('Corrections', () => {
  it('are added up by direction, those without a claim apart', () => {
    expect(statistics([corrected(1, 900), corrected(2, 1_300), corrected(3, 999), corrected(4, null)])).toEqual({
      count: 4,
      unclaimed: 1,
      raised: { count: 2, delta: 101n },
      lowered: { count: 1, delta: -300n },
      largest: { position: 2, orderId: 'ORD2', claimed: 1_300, value: 1_000 },
    });
  });

  it('are of corrected orders only', () => {
    const nothing = { count: 0, delta: 0n };
    expect(statistics([aPassedEntry(), aFailedEntry({ claimed: cents(5) })])).toEqual({
      count: 0,
      unclaimed: 0,
      raised: nothing,
      lowered: nothing,
      largest: null,
    });
  });

  it('have the first of the largest', () => {
    expect(statistics([corrected(1, 999), corrected(2, 900), corrected(3, 1_100)]).largest?.position).toBe(2);
  });

  it('add up beyond what a number holds exactly', () => {
    const huge = times(1_001, (i) => corrected(i, 1, 1e13));
    expect(statistics(huge).raised.delta).toBe(1_001n * (10n ** 13n - 1n));
  });
});
