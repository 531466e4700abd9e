/** The next pause of an attempt that is repeated until it succeeds: doubling from 100 ms up to `most` ms. */
export function backOff(attempt: number, most: number): number {
  return Math.min(most, 100 * 2 ** Math.min(attempt, 20));
}

/** Resolves after `ms`, or at once when the signal fires; never keeps the process alive by itself. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Waits for work, but no longer than `ms`: for shutting down, where a part that hangs must not hold up the rest. */
export async function withTimeout(ms: number, work: Promise<unknown>): Promise<void> {
  const enough = new AbortController();
  await Promise.race([work, pause(ms, enough.signal)]);
  enough.abort();
}
