import { type Grouping, membersOf } from '../report/columns.rules.js';
import type { PassedOrders } from '../report/passed-orders.rules.js';
import { MostStriking, type Stepwise, type Suspect, type SuspectsFound } from './anomalies.rules.js';
import { hasTimeOfDay } from './timestamp-form.rules.js';

/** One every ten seconds, for a minute: quicker than a person fills in a form. */
const MIN_ORDERS = 6;
const WINDOW_MS = 60_000;
const ORDERS_PER_STEP = 50_000;

/**
 * Orders that one user placed within a minute, or going on like that; each burst once, at its latest order. Orders of
 * which only the date is known are left out.
 */
export function* bursts(orders: PassedOrders, timelines: Grouping, most: number): Stepwise<SuspectsFound> {
  const striking = new MostStriking(most, orders.firstNew);
  const times = orders.orderedAt.values();
  const forms = orders.form.values();
  let sinceStep = 0;
  for (let user = 0; user < orders.users.size; user++) {
    const all = membersOf(timelines, user);
    const timed = all.length < MIN_ORDERS ? all : all.filter((order) => hasTimeOfDay(forms[order]!));
    let first: number | null = null;
    for (let last = MIN_ORDERS - 1; last < timed.length; last++) {
      const begin = last - MIN_ORDERS + 1;
      if (times[timed[last]!]! - times[timed[begin]!]! >= WINDOW_MS) continue;
      first ??= begin;
      const next = timed[last + 1];
      const goesOn = next !== undefined && times[next]! - times[timed[begin + 1]!]! < WINDOW_MS;
      if (goesOn) continue;
      addBurst(orders, timed.subarray(first, last + 1), striking);
      first = null;
    }
    if ((sinceStep += all.length) < ORDERS_PER_STEP) continue;
    sinceStep = 0;
    yield;
  }
  return striking.found();
}

function addBurst(orders: PassedOrders, burst: Uint32Array, striking: MostStriking): void {
  const last = burst.at(-1)!;
  const make = (): Suspect => {
    const times = orders.orderedAt.values();
    const seconds = Math.round((times[last]! - times[burst[0]!]!) / 1000);
    const explanation = `${burst.length} orders of this user lie within ${seconds} s.`;
    const positions = orders.positions(burst);
    const evidence = { orders: burst.length, seconds, from: orders.time(burst[0]!), to: orders.time(last), positions };
    return orders.suspect(last, 'burst', explanation, evidence);
  };
  // Not spread over arguments, of which there may be too many.
  const newest = burst.reduce((one, other) => Math.max(one, other));
  striking.add(burst.length, last, make, newest);
}
