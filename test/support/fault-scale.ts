import { randomInt } from 'node:crypto';
import { SeededRandom } from './seeded-random.js';

/** Whether the fault suite runs with the numbers that it promises (`npm run test:faults`), or a short version of it. */
export const fullFaults = process.env.FAULTS === 'full';

/** What a short run does with `short`, the full one with `full`. */
export function atScale<T>(short: T, full: T): T {
  return fullFaults ? full : short;
}

/**
 * Random numbers for a test of faults, whose seed it prints: `FAULT_SEED` where that is given, in the full suite another
 * one each time, and in the short version always the same.
 * @param test what is printed with it
 */
export function seededFor(test: string): SeededRandom {
  const given = process.env.FAULT_SEED;
  const seed = given ? Number(given) : fullFaults ? randomInt(2 ** 31) : 7;
  process.stdout.write(`FAULT_SEED=${seed}  ${test}\n`);
  return new SeededRandom(seed);
}

/** Prints what a test of faults measured or made happen, beside its seed. */
export function tell(fact: string): void {
  process.stdout.write(`${fact}\n`);
}
