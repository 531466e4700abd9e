import { SeededRandom } from './seeded-random.js';

/** The same things in an order that a seed decides, so that a failure comes again. */
export function shuffled<T>(things: readonly T[], seed: number): T[] {
  return new SeededRandom(seed).shuffled(things);
}
