import type { GenerationKeys } from '../../../src/platform/redis/redis-keys.js';
import type { Statistics, Tally } from '../../../src/stats/projection/statistics.rules.js';
import type { ModelEntry } from './model-ledger.js';

/** Entries of an append-only ledger, of which each counts in a group under a name. */
type Grouping = (entry: Counted) => string | null;

interface Counted extends ModelEntry {
  day: string | null;
}

const days = new Map<string, string>();

/**
 * The figures of entries, worked out group by group as one would on paper: neither the fold nor the SQL has a hand in it.
 * @param base what entries up to this one brought in is not taken back
 */
export function recomputed(all: ModelEntry[], base: number, timeZone: string): Statistics {
  const entries = all
    .filter(({ position, outcome, refPosition }) => {
      return position > base && (outcome === 'failed' || refPosition === null || refPosition > base);
    })
    .map((entry) => ({ ...entry, day: entry.orderedAt === null ? null : dayIn(timeZone, entry.orderedAt) }));
  const failures = entries.filter(({ outcome }) => outcome === 'failed');
  const orders = entries.filter(({ kind, outcome }) => kind === 'order' && outcome !== 'failed');
  const byMonth: Grouping = ({ day }) => day?.slice(0, 7) ?? null;
  const months = groups(entries, byMonth);
  const productIds = new Set(orders.flatMap(({ lines }) => lines.map(({ product_id }) => product_id)));
  return {
    global: {
      ...tallyOf(entries),
      corrected: orders.filter(({ outcome }) => outcome === 'corrected').length,
      failedWithoutUser: failures.filter(({ userId }) => userId === null).length,
      failedWithoutMonth: failures.filter(({ day }) => day === null).length,
    },
    users: valuesOf(
      groups(entries, ({ userId }) => userId),
      (of, userId) => ({
        ...tallyOf(of),
        lastOrderAt: Math.max(0, ...orders.filter((order) => order.userId === userId).map((order) => order.orderedAt!)),
      }),
    ),
    months: valuesOf(months, tallyOf),
    days: valuesOf(
      groups(entries, ({ day }) => day),
      tallyOf,
    ),
    monthUsers: new Map(
      Array.from(months, ([month, of]): [string, Map<string, Tally>] => [
        month,
        valuesOf(
          groups(of, ({ userId }) => userId),
          tallyOf,
        ),
      ]).filter(([, users]) => users.size > 0),
    ),
    products: new Map(
      Array.from(productIds, (id) => {
        const lines = orders.flatMap((order) => order.lines.filter(({ product_id }) => product_id === id));
        return [
          id,
          { revenue: sum(lines.map(({ cents }) => cents)), quantity: sum(lines.map(({ quantity }) => quantity)) },
        ];
      }),
    ),
  };
}

/** The amounts that a key holds, by field or member. */
export type Amounts = Map<string, bigint>;

/** What the keys of a generation have to hold that has exactly these figures, its checkpoint aside. */
export function keysFor(figures: Statistics, keys: GenerationKeys): Map<string, Amounts> {
  const { global, users, months, days, monthUsers, products } = figures;
  const expected = new Map<string, Amounts>();
  const rank = <T>(key: string, of: Map<string, T>, score: (of: T) => bigint | null): void => {
    const scores: Amounts = new Map();
    for (const [name, each] of of) {
      const value = score(each);
      if (value !== null) scores.set(name, value);
    }
    if (scores.size > 0) expected.set(key, scores);
  };
  expected.set(
    keys.global,
    countsOf(global)
      .set('corrected', BigInt(global.corrected))
      .set('failed_without_user', BigInt(global.failedWithoutUser))
      .set('failed_without_month', BigInt(global.failedWithoutMonth)),
  );
  for (const [id, user] of users) {
    const counts = countsOf(user);
    if (user.lastOrderAt > 0) counts.set('last_order_at', BigInt(user.lastOrderAt));
    expected.set(keys.user(id), counts);
  }
  for (const [month, tally] of months) expected.set(keys.month(month), countsOf(tally));
  for (const [day, tally] of days) expected.set(keys.day(day), countsOf(tally));
  for (const [month, of] of monthUsers) {
    for (const [id, tally] of of) expected.set(keys.monthUser(month, id), countsOf(tally));
    rank(keys.monthUsers(month), of, ({ revenue }) => revenue);
  }
  rank(keys.usersBySpend, users, ({ orders, revenue }) => (orders > 0 ? revenue : null));
  rank(keys.usersByOrders, users, ({ orders }) => (orders > 0 ? BigInt(orders) : null));
  if (products.size > 0) {
    expected.set(keys.productRevenue, new Map(Array.from(products, ([id, { revenue }]) => [id, revenue])));
    expected.set(keys.productQuantity, new Map(Array.from(products, ([id, { quantity }]) => [id, quantity])));
  }
  rank(keys.productsByRevenue, products, ({ revenue }) => revenue);
  rank(keys.productsByQuantity, products, ({ quantity }) => quantity);
  return expected;
}

function countsOf({ orders, revenue, failed }: Tally): Amounts {
  return new Map([
    ['orders', BigInt(orders)],
    ['revenue', revenue],
    ['failed', BigInt(failed)],
  ]);
}

function tallyOf(entries: Counted[]): Tally {
  const tally = { orders: 0, revenue: 0n, failed: 0 };
  for (const { kind, outcome, value } of entries) {
    if (outcome === 'failed') tally.failed++;
    else if (kind === 'repair') tally.failed--;
    else if (kind === 'order') tally.orders++;
    if (value !== null) tally.revenue += BigInt(kind === 'refund' ? 0 - value : value);
  }
  return tally;
}

function groups(entries: Counted[], by: Grouping): Map<string, Counted[]> {
  const found = new Map<string, Counted[]>();
  for (const entry of entries) {
    const name = by(entry);
    if (name === null) continue;
    const group = found.get(name);
    if (group) group.push(entry);
    else found.set(name, [entry]);
  }
  return found;
}

function valuesOf<T>(of: Map<string, Counted[]>, value: (entries: Counted[], name: string) => T): Map<string, T> {
  return new Map(Array.from(of, ([name, entries]) => [name, value(entries, name)]));
}

function sum(numbers: number[]): bigint {
  return numbers.reduce((total, each) => total + BigInt(each), 0n);
}

function dayIn(timeZone: string, ms: number): string {
  const name = `${timeZone} ${ms}`;
  let day = days.get(name);
  if (day === undefined) days.set(name, (day = new Date(ms).toLocaleDateString('en-CA', { timeZone })));
  return day;
}
