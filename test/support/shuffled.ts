/** Fisher-Yates by a generator of its own (mulberry32), so that a failure comes again. */
export function shuffled<T>(things: readonly T[], seed: number): T[] {
  const deck = [...things];
  let state = seed;
  for (let left = deck.length; left > 1; left--) {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    const chosen = Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * left);
    [deck[left - 1], deck[chosen]] = [deck[chosen]!, deck[left - 1]!];
  }
  return deck;
}
