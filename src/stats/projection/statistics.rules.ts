import type { BusinessCalendar } from '../../domain/business-time.js';
import type { ProjectedEntry } from '../../ledger/ledger-entry.js';
import type { CentsSum } from '../../domain/money.js';

/** Counts of one user, month or day. Revenue is less refunds: below 0 where more was refunded than ordered. */
export interface Tally {
  orders: number;
  revenue: CentsSum;
  failed: number;
}

/** Counts of one user. */
export interface UserTally extends Tally {
  /** The latest time of a counted order, ms UTC; 0 where there is none. */
  lastOrderAt: number;
}

/** Counts over everything. */
export interface GlobalTally extends Tally {
  corrected: number;
  /** Failed entries whose user can't be read, so that the users' failed counts and this add up to `failed`. */
  failedWithoutUser: number;
  /** The same for months (and days). */
  failedWithoutMonth: number;
}

/** What was sold of one product. Refunds name no products and leave it as it is. */
export interface ProductTally {
  revenue: CentsSum;
  quantity: bigint;
}

/**
 * All figures of a run of entries. The fold makes them from entries one by one, the rebuild by SQL; added to the
 * figures before the run they give the figures after it.
 */
export interface Statistics {
  global: GlobalTally;
  users: Map<string, UserTally>;
  months: Map<string, Tally>;
  /** By month, then by user. */
  monthUsers: Map<string, Map<string, Tally>>;
  days: Map<string, Tally>;
  products: Map<string, ProductTally>;
}

/** Statistics of nothing. */
export function emptyStatistics(): Statistics {
  return {
    global: { orders: 0, revenue: 0n, failed: 0, corrected: 0, failedWithoutUser: 0, failedWithoutMonth: 0 },
    users: new Map(),
    months: new Map(),
    monthUsers: new Map(),
    days: new Map(),
    products: new Map(),
  };
}

/** What figures depend on besides the entries. */
export interface FoldScope {
  /** By which days and months are cut. */
  calendar: BusinessCalendar;
  /** The figures cover the entries after this position only. */
  base: number;
}

/**
 * Adds one entry to figures. An entry counts for the month and day it was ordered or refunded in, whenever it came. A
 * repair takes back what the failed entry counted as failed, and a refund a part of what its order brought in, unless the
 * figures do not cover that one.
 */
export function fold(figures: Statistics, entry: ProjectedEntry, { calendar, base }: FoldScope): void {
  if (entry.outcome !== 'failed' && entry.refPosition !== null && entry.refPosition <= base) return;
  const day = entry.orderedAt === null ? null : calendar.dayOf(entry.orderedAt);
  const tallies: Tally[] = [figures.global];
  if (entry.userId !== null) tallies.push(userTally(figures, entry.userId));
  if (day !== null) {
    const month = day.slice(0, 7);
    tallies.push(tally(figures.days, day), tally(figures.months, month));
    if (entry.userId !== null) tallies.push(tally(monthOf(figures, month), entry.userId));
  }

  if (entry.outcome === 'failed' || entry.kind === 'repair') {
    const failed = entry.kind === 'repair' ? -1 : 1;
    for (const each of tallies) each.failed += failed;
    if (entry.userId === null) figures.global.failedWithoutUser += failed;
    if (day === null) figures.global.failedWithoutMonth += failed;
    return;
  }
  if (entry.kind === 'refund') {
    for (const each of tallies) each.revenue -= BigInt(entry.value!);
    return;
  }
  const value = BigInt(entry.value!);
  for (const each of tallies) {
    each.orders += 1;
    each.revenue += value;
  }
  if (entry.outcome === 'corrected') figures.global.corrected += 1;
  const user = userTally(figures, entry.userId!);
  user.lastOrderAt = Math.max(user.lastOrderAt, entry.orderedAt!);
  for (const line of entry.lines) {
    const product = productTally(figures, line.product_id);
    product.revenue += BigInt(line.cents);
    product.quantity += BigInt(line.quantity);
  }
}

/** Adds the figures of a later run of entries to those of an earlier one. */
export function addStatistics(sum: Statistics, more: Statistics): void {
  addTally(sum.global, more.global);
  sum.global.corrected += more.global.corrected;
  sum.global.failedWithoutUser += more.global.failedWithoutUser;
  sum.global.failedWithoutMonth += more.global.failedWithoutMonth;
  for (const [userId, added] of more.users) {
    const user = userTally(sum, userId);
    addTally(user, added);
    user.lastOrderAt = Math.max(user.lastOrderAt, added.lastOrderAt);
  }
  for (const [month, added] of more.months) addTally(tally(sum.months, month), added);
  for (const [day, added] of more.days) addTally(tally(sum.days, day), added);
  for (const [month, users] of more.monthUsers) {
    for (const [userId, added] of users) addTally(tally(monthOf(sum, month), userId), added);
  }
  for (const [productId, added] of more.products) {
    const product = productTally(sum, productId);
    product.revenue += added.revenue;
    product.quantity += added.quantity;
  }
}

/** How many single values of Redis adding these figures touches, give or take: the size of a script. */
export function sizeOf(figures: Statistics): number {
  let size = 6 + 6 * figures.users.size + 3 * figures.months.size + 3 * figures.days.size + 4 * figures.products.size;
  for (const users of figures.monthUsers.values()) size += 4 * users.size;
  return size;
}

function addTally(sum: Tally, more: Tally): void {
  sum.orders += more.orders;
  sum.revenue += more.revenue;
  sum.failed += more.failed;
}

function tally(of: Map<string, Tally>, name: string): Tally {
  let found = of.get(name);
  if (!found) of.set(name, (found = { orders: 0, revenue: 0n, failed: 0 }));
  return found;
}

function userTally(figures: Statistics, userId: string): UserTally {
  let found = figures.users.get(userId);
  if (!found) figures.users.set(userId, (found = { orders: 0, revenue: 0n, failed: 0, lastOrderAt: 0 }));
  return found;
}

function monthOf(figures: Statistics, month: string): Map<string, Tally> {
  let found = figures.monthUsers.get(month);
  if (!found) figures.monthUsers.set(month, (found = new Map<string, Tally>()));
  return found;
}

function productTally(figures: Statistics, productId: string): ProductTally {
  let found = figures.products.get(productId);
  if (!found) figures.products.set(productId, (found = { revenue: 0n, quantity: 0n }));
  return found;
}
