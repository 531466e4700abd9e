type TakeAway = () => Promise<void>;

/** What measurements made outside of this process (children, databases, folders) and have not taken away yet. */
const leftovers = new Set<TakeAway>();

/**
 * Remembers how to take something away that must not outlast the benchmark, however it ends.
 * @returns takes it away, once
 */
export function takenAwayAtTheEnd(takeAway: TakeAway): TakeAway {
  const once = async (): Promise<void> => {
    if (leftovers.delete(once)) await takeAway();
  };
  leftovers.add(once);
  return once;
}

/** What there is now, and is to stay when {@link takeAwayLeftovers} is called after a measurement that failed. */
export function presentLeftovers(): Set<TakeAway> {
  return new Set(leftovers);
}

/** Takes everything else away, the latest first: processes before the databases they use. */
export async function takeAwayLeftovers(except = new Set<TakeAway>()): Promise<void> {
  for (const takeAway of [...leftovers].reverse()) {
    if (except.has(takeAway)) continue;
    try {
      await takeAway();
    } catch (error) {
      console.error(`Something is left behind: ${(error as Error).message}`);
    }
  }
}
