import { randomInt } from 'node:crypto';
import { scaled, type Measurement, type Reading } from './measurement.js';
import { skuOf } from './order-items.js';
import { NOTHING_WAITS, ordersAre, placeOrders } from './placed-orders.js';
import { onRecordedService } from './recorded-service.js';
import { stockCatalogue } from './stocked-catalogue.js';

const ORDERS = 2_000;
const WARM_UP = 200;
const HOT = Array.from({ length: 5 }, (_, n) => skuOf(n));
const RESERVES = 'insert into reservations';

/** How long the service takes to promise stock to orders that all want the same products. */
export const RESERVATIONS: Measurement = {
  id: 'reservation-p99',
  what: `transactions that reserve stock for ${ORDERS} orders of several of ${HOT.length} SKUs, p99`,
  against: '250 ms',
  unit: 'ms',
  toReach: { withTimeout: 250 },
  ours: (scale) => reservationTimes(scaled(ORDERS, scale)),
};

/** As the service's driver sees them, from before the begin until the commit was answered, while all other steps go on. */
async function reservationTimes(count: number): Promise<Reading> {
  const { transactions } = await onRecordedService(
    async ({ service, parts }) => {
      await stockCatalogue(parts.databaseUrl);
      await placeOrders(service, WARM_UP, hotSkus);
      await ordersAre('reserved', parts.databaseUrl, WARM_UP);
      await placeOrders(service, count, hotSkus);
      await ordersAre('reserved', parts.databaseUrl, WARM_UP + count);
    },
    NOTHING_WAITS,
    RESERVES,
  );
  const committed = transactions.filter(({ isCommitted }) => isCommitted);
  if (committed.length !== WARM_UP + count) throw new Error(`${committed.length} reservations were seen`);
  const times = committed
    .slice(WARM_UP)
    .map(({ ms }) => ms)
    .sort((one, other) => one - other);
  const quantile = (share: number): number => times[Math.ceil(times.length * share) - 1]!;
  const rolledBack = transactions.length - committed.length;
  return { value: quantile(0.99), facts: { medianMs: quantile(0.5), longestMs: quantile(1), rolledBack } };
}

/** Two or more of them, in random order. */
function hotSkus(n: number): string[] {
  const left = [...HOT];
  return Array.from({ length: 2 + (n % (HOT.length - 1)) }, () => left.splice(randomInt(left.length), 1)[0]!);
}
