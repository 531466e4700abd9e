import type { LedgerQuery } from './ledger-audit.js';

/** What of an entry figures are made from. Money in cents. */
interface Entry {
  position: number;
  outcome: 'accepted' | 'corrected' | 'failed';
  userId: string | null;
  day: string | null;
  value: number | null;
  lines: { product_id: string; quantity: number; cents: number }[];
}

const ENTRIES_AT_ONCE = 1_000;

/** Orders, revenue (cents), failed. */
type Tally = [orders: number, revenue: number, failed: number];

/** Reads what came after an entry into a ledger that holds orders only, oldest first. Days are cut in UTC. */
export async function entriesAfter(query: LedgerQuery, position: number, limit = 1_000_000): Promise<Entry[]> {
  return query<Entry>(
    `select position::float8 as position, outcome, user_id as "userId",
       to_char(ordered_at at time zone 'UTC', 'YYYY-MM-DD') as day, value_cents::float8 as value,
       array_to_json(lines) as lines
     from ledger where position > ${position} order by ledger.position limit ${limit}`,
  );
}

/** What the reads of the statistics must answer as of a ledger entry, added up entry by entry in the plainest way. */
export class LedgerViews {
  position = 0;
  private readonly total: Tally = [0, 0, 0];
  private corrected = 0;
  private readonly users = new Map<string, Tally>();
  private readonly days = new Map<string, Tally>();
  private readonly months = new Map<string, Tally>();
  private readonly monthUsers = new Map<string, Tally>();
  private readonly products = new Map<string, [revenue: number, quantity: number]>();

  /** As of the ledger's end. */
  static async ofAll(query: LedgerQuery): Promise<LedgerViews> {
    const views = new LedgerViews();
    let entries: Entry[];
    do {
      // Not all at once: that would keep a service in this process from its work for too long.
      entries = await entriesAfter(query, views.position, ENTRIES_AT_ONCE);
      for (const entry of entries) views.add(entry);
    } while (entries.length > 0);
    return views;
  }

  add({ position, outcome, userId, day, value, lines }: Entry): void {
    this.position = position;
    const month = day?.slice(0, 7);
    const tallies = [
      this.total,
      ...(userId === null ? [] : [tallyOf(this.users, userId)]),
      ...(day === null ? [] : [tallyOf(this.days, day), tallyOf(this.months, month!)]),
      ...(day === null || userId === null ? [] : [tallyOf(this.monthUsers, `${month} ${userId}`)]),
    ];
    for (const tally of tallies) {
      if (outcome === 'failed') tally[2]++;
      else {
        tally[0]++;
        tally[1] += value!;
      }
    }
    if (outcome === 'failed') return;
    if (outcome === 'corrected') this.corrected++;
    for (const { product_id, quantity, cents } of lines) {
      const sold = this.products.get(product_id) ?? [0, 0];
      this.products.set(product_id, [sold[0] + cents, sold[1] + quantity]);
    }
  }

  /** The same figures, to go on from there. */
  copy(): LedgerViews {
    return Object.setPrototypeOf(structuredClone({ ...this }), LedgerViews.prototype) as LedgerViews;
  }

  /** Who ever ordered. */
  get userIds(): string[] {
    return [...this.users.keys()];
  }

  global(): unknown {
    return [this.position, ...this.total, this.corrected, this.ranked(1).length];
  }

  /** Null where the user is unknown. */
  user(userId: string): unknown {
    return this.users.get(userId) ?? null;
  }

  /** Users by spend (1) or by orders (0): those who have counted orders. */
  ranked(by: 0 | 1): [string, number][] {
    return byName([...this.users].flatMap(([id, tally]) => (tally[0] > 0 ? [[id, tally[by]]] : [])));
  }

  /** A month's totals and its users; null where nothing was ordered. */
  month(month: string): unknown {
    const total = this.months.get(month);
    if (!total) return null;
    const users = [...this.monthUsers].flatMap(([name, tally]): [string, ...Tally][] =>
      name.startsWith(`${month} `) ? [[name.slice(month.length + 1), ...tally]] : [],
    );
    return [total, byName(users)];
  }

  day(day: string): Tally {
    return this.days.get(day) ?? [0, 0, 0];
  }

  soldProducts(): unknown {
    return byName([...this.products].map(([id, sold]): [string, number, number] => [id, ...sold]));
  }
}

/** By what comes first in each row. */
export function byName<Row extends [string, ...unknown[]]>(rows: Row[]): Row[] {
  return rows.sort(([one], [other]) => (one < other ? -1 : 1));
}

function tallyOf(tallies: Map<string, Tally>, name: string): Tally {
  const tally: Tally = tallies.get(name) ?? [0, 0, 0];
  tallies.set(name, tally);
  return tally;
}
