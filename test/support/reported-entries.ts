import { Numbering } from '../../src/data-quality/report/columns.rules.js';
import { PassedOrders } from '../../src/data-quality/report/passed-orders.rules.js';
import type { Stepwise } from '../../src/data-quality/detectors/anomalies.rules.js';
import type { ReportedEntry } from '../../src/ledger/ledger-entry.js';
import { cents } from '../../src/domain/money.js';
import { aLine } from './validated-messages.js';

/** What tells one entry from another. */
export type GivenEntry = Partial<ReportedEntry> & {
  /** As the sender wrote it; also the time of the order. */
  timestamp?: string;
  address?: string;
};

/** An entry of 10.00 that was accepted, with a place and an order_id of its own; say only what matters. */
export function aPassedEntry({
  timestamp = '2026-01-15T12:00:00Z',
  address,
  ...given
}: GivenEntry = {}): ReportedEntry {
  const position = given.position ?? 1;
  return {
    position,
    outcome: 'accepted',
    reasons: [],
    orderId: `ORD${position}`,
    userId: 'U1',
    orderedAt: Date.parse(timestamp),
    value: cents(1_000),
    claimed: cents(1_000),
    lines: [aLine()],
    sentAt: Date.UTC(2026, 0, 15, 12, 0, 1),
    body: JSON.stringify({ order_timestamp: timestamp, shipping_address: address }),
    ...given,
  };
}

/** An entry that failed for missing items. */
export function aFailedEntry(given: Partial<ReportedEntry> = {}): ReportedEntry {
  return {
    ...aPassedEntry(),
    outcome: 'failed',
    reasons: ['missing_items'],
    value: null,
    lines: [],
    body: null,
    ...given,
  };
}

/** Orders in the order given; where they name none, their positions are 1, 2, 3 …. */
export function passedOrders(given: GivenEntry[]): PassedOrders {
  const users = new Numbering();
  const orders = new PassedOrders(users);
  for (const [i, each] of given.entries()) {
    const entry = aPassedEntry({ position: i + 1, ...each });
    orders.add(entry, users.of(entry.userId!));
  }
  return orders;
}

/** What stepwise work comes to. */
export function outcomeOf<Result>(work: Stepwise<Result>): Result {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** So many of something. */
export function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}
