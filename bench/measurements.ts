import { APPEND_BUDGET } from './append-budget.js';
import { BIG_LEDGER } from './big-ledger.js';
import { COMPLETED_ORDERS } from './completed-orders.js';
import { DRAINS } from './drains.js';
import { EMBEDDED_DRAIN } from './embedded-drain.js';
import { INTAKE_WHILE_READING } from './intake-while-reading.js';
import type { Measurement } from './measurement.js';
import { MEMORY } from './memory.js';
import { MONTHS_OF_MANY_USERS } from './months.js';
import { PRODUCE } from './produce.js';
import { PROJECTION_LAG } from './projection-lag.js';
import { PROOF } from './proof.js';
import { QUALITY_REPORT } from './quality-report.js';
import { READS } from './reads.js';
import { RESERVATIONS } from './reservations.js';
import { START } from './start.js';

/**
 * Everything that `npm run bench` measures, in its order. Those that keep a service beside a filled ledger running for
 * the next of them come last.
 */
export const MEASUREMENTS: Measurement[] = [
  ...DRAINS,
  APPEND_BUDGET,
  PROJECTION_LAG,
  EMBEDDED_DRAIN,
  PRODUCE,
  INTAKE_WHILE_READING,
  COMPLETED_ORDERS,
  RESERVATIONS,
  MEMORY,
  START,
  QUALITY_REPORT,
  ...READS,
  ...MONTHS_OF_MANY_USERS,
  ...PROOF,
  ...BIG_LEDGER,
];
