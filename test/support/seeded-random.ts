// In Jest's realm every look-up of a global is slow, and a simulation draws a great many numbers.
const { imul, floor } = Math;

/** Random numbers that a seed decides (mulberry32, by Tommy Ettinger), so that what went wrong goes wrong again. */
export class SeededRandom {
  private state: number;

  constructor(readonly seed: number) {
    this.state = seed >>> 0;
  }

  /** @returns from 0 up to, not including, 1 */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** @returns a whole number from 0 up to, not including, `below` */
  below(below: number): number {
    return floor(this.next() * below);
  }

  /** @returns a whole number, both bounds included */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** @param probability from 0 to 1 */
  happens(probability: number): boolean {
    return this.next() < probability;
  }

  oneOf<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** The same things in another order (Fisher-Yates). */
  shuffled<T>(things: readonly T[]): T[] {
    const deck = [...things];
    for (let left = deck.length; left > 1; left--) {
      const chosen = this.below(left);
      [deck[left - 1], deck[chosen]] = [deck[chosen]!, deck[left - 1]!];
    }
    return deck;
  }

  /** Another generator, which draws nothing from this one afterwards: what it decides depends on the seed and the number only. */
  branch(number: number): SeededRandom {
    return new SeededRandom(imul(this.seed ^ 0x9e3779b9, 0x85ebca6b) + imul(number, 0xc2b2ae35));
  }
}
