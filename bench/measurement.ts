/** What one run of one side came to. */
export interface Reading {
  /** In the measurement's unit. */
  value: number;
  /** What else is worth keeping beside it, such as the cores that were busy; goes to the JSON only. */
  facts?: Record<string, number>;
}

/** Bounds of what is to be reached: ours divided by the limit, or ours itself where there is no limit. */
export type Target = { atLeast: number } | { withTimeout: number };

/** A measurement of the service, side by side with its limit: the least that anybody needs for the same work. */
export interface Measurement {
  /** What the command line calls it. */
  id: string;
  /** What is measured, in a few words. */
  what: string;
  /** What it is measured against, in a few words. */
  against: string;
  /** Of both readings, such as `orders/s` or `ms`. */
  unit: string;
  toReach: Target;
  /** One run of the service. @param scale of the full size, 1 unless a quick look is wanted */
  ours(scale: number): Promise<Reading>;
  /** One run of the limit; left out where the target is a figure of its own. */
  limit?(scale: number): Promise<Reading>;
  /** Before the first run, for what is too costly to make for each, such as a big ledger. */
  prepare?(scale: number): Promise<void>;
  /** After the last run, also where one failed. */
  dispose?(): Promise<void>;
}

/** A count at a scale, at least one batch of messages. */
export function scaled(count: number, scale: number): number {
  return Math.max(10, Math.round((count * scale) / 10) * 10);
}

/** The middle one, or the mean of the two in the middle. */
export function median(numbers: number[]): number {
  const sorted = numbers.toSorted((one, other) => one - other);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}
