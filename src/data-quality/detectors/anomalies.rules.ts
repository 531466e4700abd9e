/** In which ways an order that passed every rule can stand out. The codes are stable. */
export const SUSPECT_KINDS = {
  user_value_outlier: 'The value is far outside what this user orders for.',
  overall_value_outlier: 'The value is far outside what is ordered for.',
  price_deviation: 'A price is far from what this product costs elsewhere.',
  shared_address: 'Unusually many users have orders sent to one address.',
  burst: 'One user placed more orders within a minute than a person does.',
  odd_timestamp_precision: 'The timestamp is written in another precision than nearly all others.',
  near_duplicate: 'The same user ordered the same items minutes before, under another order_id.',
} as const;

/** A stable code from {@link SUSPECT_KINDS}. */
export type SuspectKind = keyof typeof SUSPECT_KINDS;

/** What a suspicion rests on, as the API shows it: names in snake_case, money as decimals, times as ISO 8601. */
export type Evidence = Record<string, string | number | number[]>;

/** An order that counts and stands out. */
export interface Suspect {
  /** Of its entry; where several orders stand out together, of the latest of them. */
  position: number;
  orderId: string;
  userId: string;
  kind: SuspectKind;
  /** In a sentence, with the figures that matter. */
  explanation: string;
  evidence: Evidence;
}

/** What a detector found of one kind. */
export interface SuspectsFound {
  /** All there are. */
  count: number;
  /** The most striking first. */
  items: Suspect[];
}

/** Works in steps, between which others may have a turn. */
export type Stepwise<Result> = Generator<void, Result>;

/** Keeps the most striking of many and counts them all. */
export class MostStriking {
  private count = 0;
  private readonly kept: { score: number; index: number; make: () => Suspect }[] = [];

  /**
   * @param most how many are kept
   * @param first the index of the first order that is of interest: of those before it nobody is told
   */
  constructor(
    private readonly most: number,
    private readonly first = 0,
  ) {}

  /**
   * @param score the higher, the more striking
   * @param index of the order; of equals the later one goes first
   * @param make is asked for those only that are kept in the end
   * @param newest the index of the order that came last of all those that stand out together
   */
  add(score: number, index: number, make: () => Suspect, newest = index): void {
    if (newest < this.first) return;
    this.count++;
    const { kept } = this;
    const isAhead = (other: { score: number; index: number }): boolean =>
      score > other.score || (score === other.score && index > other.index);
    if (kept.length === this.most && !isAhead(kept.at(-1)!)) return;
    const place = kept.findIndex(isAhead);
    kept.splice(place === -1 ? kept.length : place, 0, { score, index, make });
    if (kept.length > this.most) kept.pop();
  }

  found(): SuspectsFound {
    return { count: this.count, items: this.kept.map(({ make }) => make()) };
  }
}
