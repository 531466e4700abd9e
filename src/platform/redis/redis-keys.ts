/**
 * Every Redis key of this service. All of them begin with the configured prefix as a hash tag, so that they share a
 * slot of a cluster and a script may touch several.
 */
export class RedisKeys {
  private readonly root: string;

  /** @param prefix REDIS_KEY_PREFIX */
  constructor(prefix: string) {
    this.root = `{${prefix}}:`;
  }

  /** Stream: what the consumers of all processes did lately. */
  get consumerLogs(): string {
    return `${this.root}logs`;
  }

  /** Numbers with an expiry: how often somebody tried something, by a digest or an address that follows. */
  attempts(limit: string): string {
    return `${this.root}attempts:${limit}`;
  }

  /** The keys of one generation of the live figures. */
  generation(generation: number): GenerationKeys {
    return new GenerationKeys(`${this.root}g${generation}:`);
  }

  /** Matches the keys of all generations. */
  get generationPattern(): string {
    return `${this.root.replace(/[[\]?*\\^]/g, '\\$&')}g*`;
  }

  /** Which generation a key belongs to, or null where it is none of theirs. */
  generationOf(key: string): number | null {
    const match = key.startsWith(this.root) ? /^g(\d+):/.exec(key.slice(this.root.length)) : null;
    return match ? Number(match[1]) : null;
  }
}

/**
 * The keys of one generation of the live figures. Amounts are cents. Hashes hold every sum exactly, as text; the scores by
 * which sorted sets rank are the doubles nearest to these.
 */
export class GenerationKeys {
  constructor(private readonly root: string) {}

  /** A key of this generation without what all of them begin with, e.g. `user:U1`. */
  nameOf(key: string): string {
    return key.slice(this.root.length);
  }

  /** Whether a value is cents: that of a hash's field, or the score of a sorted set's member. */
  isMoney(key: string, field: string): boolean {
    const ofMoney = [this.usersBySpend, this.productsByRevenue, this.productRevenue];
    if (ofMoney.includes(key) || key.startsWith(this.monthUsers(''))) return true;
    const ofCounts = [this.usersByOrders, this.productsByQuantity, this.productQuantity];
    return field === 'revenue' && !ofCounts.includes(key);
  }

  /**
   * Hash: ledger_id, generation, fold_version, base, position, entry_hash, at (ms UTC), evicted; being_filled before it has
   * those.
   */
  get checkpoint(): string {
    return `${this.root}checkpoint`;
  }

  /** Hash: orders, revenue, failed, corrected, failed_without_user, failed_without_month. */
  get global(): string {
    return `${this.root}global`;
  }

  /** Hash: orders, revenue, failed, last_order_at (ms UTC). */
  user(userId: string): string {
    return `${this.root}user:${userId}`;
  }

  /** Sorted set: users with counted orders by spend. */
  get usersBySpend(): string {
    return `${this.root}users-by-spend`;
  }

  /** Sorted set: users with counted orders by their number. */
  get usersByOrders(): string {
    return `${this.root}users-by-orders`;
  }

  /** Hash: orders, revenue, failed. */
  month(month: string): string {
    return `${this.root}month:${month}`;
  }

  /** Sorted set: users known in a month by spend. */
  monthUsers(month: string): string {
    return `${this.root}month-users:${month}`;
  }

  /** Hash: orders, revenue, failed. */
  monthUser(month: string, userId: string): string {
    return `${this.root}month-user:${month}:${userId}`;
  }

  /** Hash: orders, revenue, failed. */
  day(day: string): string {
    return `${this.root}day:${day}`;
  }

  /** Hash: revenue by product. */
  get productRevenue(): string {
    return `${this.root}product-revenue`;
  }

  /** Hash: quantity by product. */
  get productQuantity(): string {
    return `${this.root}product-quantity`;
  }

  /** Sorted set: products by revenue. */
  get productsByRevenue(): string {
    return `${this.root}products-by-revenue`;
  }

  /** Sorted set: products by quantity. */
  get productsByQuantity(): string {
    return `${this.root}products-by-quantity`;
  }
}
