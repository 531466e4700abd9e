import { grouped, type Grouping, membersOf, picked } from '../report/columns.rules.js';
import type { PassedOrders } from '../report/passed-orders.rules.js';
import { rounded } from './rounding.rules.js';
import { factorOf, medianOf, scoreOf, type Spread, spreadOf, STANDS_OUT } from './spread.rules.js';
import { MostStriking, type Stepwise, type SuspectsFound } from './anomalies.rules.js';

/** Fewer orders don't tell what is usual. */
const MIN_ORDERS_OF_USER = 10;
const MIN_ORDERS = 30;
/** A value may be many small deviations away from the usual and still be nothing to look at. */
const MIN_FACTOR = 10;
const ORDERS_PER_STEP = 50_000;

/**
 * Orders whose value is far from the values of the same user's orders. A user's deviation counts as at least that of the
 * median user: ten orders that happen to be alike don't make an outlier of the next one.
 */
export function* userValueOutliers(orders: PassedOrders, most: number): Stepwise<SuspectsFound> {
  const striking = new MostStriking(most, orders.firstNew);
  const byUser = grouped(orders.user.values(), orders.users.size);
  const users: number[] = [];
  for (let user = 0; user < orders.users.size; user++) {
    if (membersOf(byUser, user).length >= MIN_ORDERS_OF_USER) users.push(user);
  }
  if (users.length === 0) return striking.found();

  const spreads = { median: zeros(users), below: zeros(users), above: zeros(users) };
  yield* eachInSteps(users, byUser, (ofUser, i) => {
    const { median, below, above } = spreadAmong(orders, ofUser);
    spreads.median[i] = median;
    spreads.below[i] = below;
    spreads.above[i] = above;
  });
  const usualBelow = medianOf(spreads.below.slice().sort());
  const usualAbove = medianOf(spreads.above.slice().sort());
  yield* eachInSteps(users, byUser, (ofUser, i) => {
    const below = Math.max(spreads.below[i]!, usualBelow);
    const above = Math.max(spreads.above[i]!, usualAbove);
    addOutliers(orders, ofUser, { median: spreads.median[i]!, below, above }, 'user_value_outlier', striking);
  });
  return striking.found();
}

/** Orders whose value is far from the values of all orders. */
export function* overallValueOutliers(orders: PassedOrders, most: number): Stepwise<SuspectsFound> {
  const striking = new MostStriking(most, orders.firstNew);
  if (orders.size < MIN_ORDERS) return striking.found();
  const all = Uint32Array.from({ length: orders.size }, (_, index) => index);
  yield;
  const spread = spreadAmong(orders, all);
  yield;
  addOutliers(orders, all, spread, 'overall_value_outlier', striking);
  return striking.found();
}

function* eachInSteps(
  users: number[],
  byUser: Grouping,
  act: (ofUser: Uint32Array, i: number) => void,
): Generator<void, void> {
  let sinceStep = 0;
  for (const [i, user] of users.entries()) {
    const ofUser = membersOf(byUser, user);
    act(ofUser, i);
    if ((sinceStep += ofUser.length) < ORDERS_PER_STEP) continue;
    sinceStep = 0;
    yield;
  }
}

function spreadAmong(orders: PassedOrders, among: Uint32Array): Spread {
  return spreadOf(picked(orders.value.values(), among).sort());
}

function addOutliers(
  orders: PassedOrders,
  among: Uint32Array,
  spread: Spread,
  kind: 'user_value_outlier' | 'overall_value_outlier',
  striking: MostStriking,
): void {
  const values = orders.value.values();
  for (const index of among) {
    const score = scoreOf(values[index]!, spread);
    if (Math.abs(score) <= STANDS_OUT) continue;
    const factor = factorOf(values[index]!, spread);
    if (factor < MIN_FACTOR) continue;
    striking.add(Math.abs(score), index, () => {
      const value = orders.amount(index);
      const median = rounded(Math.exp(spread.median) / 100, 2);
      const times = rounded(factor, 1);
      const whose = kind === 'user_value_outlier' ? 'of this user ' : '';
      const explanation =
        `The value ${value} is ${times} times ${score < 0 ? 'below' : 'above'} ${median}, ` +
        `the median of the ${among.length} orders ${whose}that count.`;
      const evidence = { value, median, factor: times, score: rounded(score, 1), orders: among.length };
      return orders.suspect(index, kind, explanation, evidence);
    });
  }
}

function zeros(like: number[]): Float64Array {
  return new Float64Array(like.length);
}
