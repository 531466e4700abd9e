import { type Grouping, membersOf } from '../report/columns.rules.js';
import type { PassedOrders } from '../report/passed-orders.rules.js';
import { MostStriking, type Stepwise, type Suspect, type SuspectsFound } from './anomalies.rules.js';
import { hasTimeOfDay } from './timestamp-form.rules.js';

/** Who sends an order twice by mistake does so soon; who wants the same again comes later. */
const WINDOW_MS = 10 * 60_000;
const ORDERS_PER_STEP = 50_000;

/**
 * Orders for what the same user ordered minutes before under another order_id (the same id is a duplicate, and never
 * counts twice). Each is compared with the one just before it; those of which only the date is known are left out.
 */
export function* nearDuplicates(orders: PassedOrders, timelines: Grouping, most: number): Stepwise<SuspectsFound> {
  const striking = new MostStriking(most, orders.firstNew);
  const times = orders.orderedAt.values();
  const forms = orders.form.values();
  const contents = orders.content.values();
  let sinceStep = 0;
  for (let user = 0; user < orders.users.size; user++) {
    const ofUser = membersOf(timelines, user);
    /** By their content. */
    const latest = new Map<number, number>();
    for (const order of ofUser.length < 2 ? [] : ofUser) {
      if (!hasTimeOfDay(forms[order]!)) continue;
      const before = latest.get(contents[order]!);
      latest.set(contents[order]!, order);
      if (before === undefined) continue;
      const apart = Math.abs(times[order]! - times[before]!);
      if (apart <= WINDOW_MS) addDuplicate(orders, order, before, apart, striking);
    }
    if ((sinceStep += ofUser.length) < ORDERS_PER_STEP) continue;
    sinceStep = 0;
    yield;
  }
  return striking.found();
}

function addDuplicate(
  orders: PassedOrders,
  order: number,
  before: number,
  apartMs: number,
  striking: MostStriking,
): void {
  const make = (): Suspect => {
    const seconds_apart = Math.round(apartMs / 1000);
    const other_order_id = orders.orderId(before);
    const [other_position] = orders.positions([before]) as [number];
    const explanation = `The same user ordered the same items ${seconds_apart} s before, as ${other_order_id}.`;
    const evidence = { other_position, other_order_id, seconds_apart, value: orders.amount(order) };
    return orders.suspect(order, 'near_duplicate', explanation, evidence);
  };
  striking.add(-apartMs, order, make, Math.max(order, before));
}
