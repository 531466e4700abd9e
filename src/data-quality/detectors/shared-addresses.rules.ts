import { grouped, membersOf } from '../report/columns.rules.js';
import type { PassedOrders } from '../report/passed-orders.rules.js';
import { rounded } from './rounding.rules.js';
import { maskedAddress } from '../check/sent-form.rules.js';
import { factorOf, scoreOf, spreadOf, STANDS_OUT } from './spread.rules.js';
import { MostStriking, type Stepwise, type SuspectsFound } from './anomalies.rules.js';

/** Of the users of the median address; fewer share one as a household does. */
const MIN_FACTOR = 5;
/** Where there are fewer, such as those of some offices, nobody can tell whether sharing one is unusual. */
const MIN_ADDRESSES = 10;
const ADDRESSES_PER_STEP = 50_000;

/** Addresses that far more users have than usual; each once, at the latest order that goes there. */
export function* sharedAddresses(orders: PassedOrders, most: number): Stepwise<SuspectsFound> {
  const striking = new MostStriking(most, orders.firstNew);
  const addresses = orders.addresses.size;
  if (addresses < MIN_ADDRESSES) return striking.found();

  const byAddress = grouped(orders.address.values(), addresses);
  const users = new Float64Array(addresses);
  /** Of each user the address, from 1, at which it was counted last. */
  const countedAt = new Uint32Array(orders.users.size);
  yield;
  for (let address = 0; address < addresses; address++) {
    for (const order of membersOf(byAddress, address)) {
      const user = orders.user.values()[order]!;
      if (countedAt[user] === address + 1) continue;
      countedAt[user] = address + 1;
      users[address]!++;
    }
    if (address % ADDRESSES_PER_STEP === ADDRESSES_PER_STEP - 1) yield;
  }

  const spread = spreadOf(users.slice().sort());
  for (let address = 0; address < addresses; address++) {
    const count = users[address]!;
    const score = scoreOf(count, spread);
    if (score <= STANDS_OUT || factorOf(count, spread) < MIN_FACTOR) continue;
    const there = membersOf(byAddress, address);
    striking.add(count, there.at(-1)!, () => {
      const masked = maskedAddress(orders.addresses.textOf(address));
      const median_users = rounded(Math.exp(spread.median), 1);
      const explanation = `Orders of ${count} users go to one address; to the median of ${addresses} addresses, of ${median_users}.`;
      const positions = orders.positions(there.slice(-10).reverse());
      const evidence = { address: masked, users: count, orders: there.length, median_users, positions };
      return orders.suspect(there.at(-1)!, 'shared_address', explanation, evidence);
    });
  }
  return striking.found();
}
