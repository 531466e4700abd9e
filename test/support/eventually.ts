import { setTimeout as sleep } from 'node:timers/promises';

const INTERVAL_MS = 20;

/**
 * Repeats an expectation until it holds, and returns what it returned. It is given up when it has failed in the same way
 * for a while. That is counted in attempts and not by the clock: on a busy machine these take longer, as what is waited
 * for does.
 * @param withoutProgressMs how long that is on a quiet machine
 */
export async function eventually<T>(expectation: () => Promise<T> | T, withoutProgressMs = 15_000): Promise<T> {
  let lastFailure = '';
  let attemptsLeft = 0;
  for (;;) {
    try {
      return await expectation();
    } catch (error) {
      const failure = String(error);
      if (failure !== lastFailure) {
        lastFailure = failure;
        attemptsLeft = withoutProgressMs / INTERVAL_MS;
      }
      if (--attemptsLeft <= 0) throw error;
    }
    await sleep(INTERVAL_MS);
  }
}
