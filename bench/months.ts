import type { Measurement } from './measurement.js';
import { scaled } from './measurement.js';
import { sameReads } from './same-reads.js';

const MANY_USERS = 100_000;
const FEW_USERS = 100;

/** The first page of a month with many users against one with few; both months have the same number of orders. */
export const MONTHS_OF_MANY_USERS: Measurement[] = sameReads({
  id: 'month-of-many-users',
  what: `/stats/monthly/{month} with ${MANY_USERS} users`,
  paths: ['/stats/monthly/2025-01'],
  against: `the same with ${FEW_USERS} users`,
  ours: (scale) => ({ entries: scaled(MANY_USERS, scale), users: scaled(MANY_USERS, scale), months: 1 }),
  limit: (scale) => ({ entries: scaled(MANY_USERS, scale), users: FEW_USERS, months: 1 }),
  withTimeout: 2,
});
