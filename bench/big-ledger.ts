import { filledUser } from './ledger-fill.js';
import { scaled, type Measurement } from './measurement.js';
import { LIVE_READS } from './reads.js';
import { sameReads } from './same-reads.js';

const MANY_ENTRIES = 10_000_000;
const FEW_ENTRIES = 10_000;
/** In both, so that nothing but the ledger's length differs. */
const USERS_AND_MONTHS = { users: 500, months: 10 };

const READS = {
  ...LIVE_READS,
  month: { route: '/stats/monthly/{month}', paths: ['/stats/monthly/2025-03'] },
  months: { route: '/stats/monthly', paths: ['/stats/monthly?start=2025-01&end=2025-10'] },
  days: { route: '/stats/daily', paths: ['/stats/daily?start=2025-03-01&end=2025-03-28'] },
  products: { route: '/stats/products', paths: ['/stats/products'] },
  entries: { route: '/order-events', paths: ['/order-events'] },
  failures: { route: '/order-events?outcome=failed', paths: ['/order-events?outcome=failed'] },
  unrepaired: { route: '/order-events?repaired=false', paths: ['/order-events?outcome=failed&repaired=false'] },
  reason: { route: '/order-events?reason=…', paths: ['/order-events?reason=invalid_quantity'] },
  'user-orders': { route: '/users/{id}/orders', paths: [`/users/${filledUser(7)}/orders`] },
};

/** Reads beside a long ledger against the same reads beside a short one. */
export const BIG_LEDGER: Measurement[] = Object.entries(READS).flatMap(([name, { route, paths }]) =>
  sameReads({
    id: `big-ledger-${name}`,
    what: `${route} beside ${MANY_ENTRIES} ledger entries`,
    paths,
    against: `the same beside ${FEW_ENTRIES}`,
    ours: (scale) => ({ entries: scaled(MANY_ENTRIES, scale), ...USERS_AND_MONTHS }),
    limit: () => ({ entries: FEW_ENTRIES, ...USERS_AND_MONTHS }),
    withTimeout: 1.2,
  }),
);
