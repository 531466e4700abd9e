import { QualityFold } from '../src/data-quality/report/quality-report.rules.js';
import type { ReportedEntry } from '../src/ledger/ledger-entry.js';
import { BusinessCalendar } from '../src/domain/business-time.js';
import { isoOf } from '../src/shared/iso-time.js';
import { cents, decimalOf } from '../src/domain/money.js';
import { scaled, type Measurement, type Reading } from './measurement.js';

const ENTRIES = 1_000_000;
const USERS = 50_000;
const PRODUCTS = 5_000;
const ADDRESSES = 100_000;
const LINES = 3;
const ENTRIES_PER_PAGE = 2_000;
const FIRST_TIME = Date.UTC(2025, 0, 1);
const YEAR_MS = 365 * 86_400_000;
const MIB = 1024 * 1024;

/** A report on the quality of the data by its rules alone, without a database. */
export const QUALITY_REPORT: Measurement = {
  id: 'quality-report',
  what: `report on ${ENTRIES} entries by the rules alone`,
  against: '20 s',
  unit: 's',
  toReach: { withTimeout: 20 },
  ours: async (scale) => reportOn(scaled(ENTRIES, scale)),
};

/** Seconds without those in which the entries are made, which a database would do. */
function reportOn(count: number): Reading {
  let cpu = 0;
  let ms = 0;
  let longestStep = 0;
  const timed = (work: () => void): void => {
    const [startedCpu, started] = [process.cpuUsage(), performance.now()];
    work();
    const { user, system } = process.cpuUsage(startedCpu);
    cpu += user + system;
    ms += performance.now() - started;
    longestStep = Math.max(longestStep, performance.now() - started);
  };

  const fold = new QualityFold(new BusinessCalendar('Europe/Berlin'));
  for (let from = 0; from < count; from += ENTRIES_PER_PAGE) {
    const size = Math.min(ENTRIES_PER_PAGE, count - from);
    const page = Array.from({ length: size }, (_, i) => anEntry(from + i, count));
    timed(() => page.forEach((entry) => fold.add(entry)));
  }
  const findings = fold.findings();
  for (let done = false; !done;) timed(() => (done = findings.next().done ?? false));
  return {
    value: ms / 1000,
    facts: {
      cpuSeconds: cpu / 1e6,
      longestStepMs: longestStep,
      residentMiB: process.memoryUsage.rss() / MIB,
    },
  };
}

/** The n-th of so many entries over a year: one in ten failed, one in twenty corrected, the others accepted. */
function anEntry(n: number, count: number): ReportedEntry {
  const fails = n % 10 === 9;
  const orderId = `ORD-${String(n).padStart(9, '0')}`;
  const userId = `U${spread(n, 0, USERS)}`;
  const orderedAt = FIRST_TIME + Math.floor((n * YEAR_MS) / count);
  const lines = Array.from({ length: LINES }, (_, i) => {
    const product = spread(n, 1 + i, PRODUCTS);
    const price = cents(100 + product);
    const quantity = 1 + (n % 3);
    return {
      product_id: `P${product}`,
      quantity,
      price_per_unit: String(decimalOf(price)),
      cents: cents(quantity * price),
    };
  });
  const value = cents(lines.reduce((sum, line) => sum + line.cents, 0));
  const body = {
    order_id: orderId,
    user_id: userId,
    order_timestamp: isoOf(orderedAt),
    order_value: decimalOf(value),
    items: lines.map(({ cents: _, ...line }) => ({ ...line, price_per_unit: Number(line.price_per_unit) })),
    shipping_address: `${spread(n, 1 + LINES, ADDRESSES)} Harbour Road, Bristol`,
    payment_method: 'CARD',
  };
  return {
    position: n + 1,
    outcome: fails ? 'failed' : n % 20 === 4 ? 'corrected' : 'accepted',
    reasons: fails ? ['invalid_quantity'] : [],
    orderId,
    userId,
    orderedAt,
    value: fails ? null : value,
    claimed: n % 20 === 4 ? cents(value - 100) : value,
    lines: fails ? [] : lines,
    sentAt: orderedAt,
    body: fails ? null : JSON.stringify(body),
  };
}

/** A number below `bound` that n and `salt` seem to have nothing to do with (the last step of MurmurHash3). */
function spread(n: number, salt: number, bound: number): number {
  let bits = n * 8 + salt;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return ((bits ^ (bits >>> 16)) >>> 0) % bound;
}
