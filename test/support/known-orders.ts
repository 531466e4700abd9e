import type { LedgerQuery } from './ledger-audit.js';
import { anOrderEvent } from './order-events.js';
import type { SeededRandom } from './seeded-random.js';

const USERS = 40;
const DAYS = 60;
const FIRST_DAY = Date.UTC(2026, 0, 1);
const DAY_MS = 86_400_000;
const MOST_FAULTS_TOLD = 5;

/** What must become of an order that was sent, however often it comes. Value in cents, null where it fails. */
interface Fate {
  outcome: 'accepted' | 'corrected' | 'failed';
  cents: number | null;
}

/** Makes orders of which it is known what must become of them, and tells whether a ledger has just that. */
export class KnownOrders {
  private readonly fates = new Map<string, Fate>();
  private readonly bodies: string[] = [];

  /** @param name in every order id, to tell them from those of others */
  constructor(
    private readonly random: SeededRandom,
    private readonly name = 'KNOWN',
  ) {}

  /** How many different ones there are. */
  get count(): number {
    return this.fates.size;
  }

  /** The next bodies to send: most are right, some claim a wrong value, some fail, some have come before. */
  next(count: number): string[] {
    return Array.from({ length: count }, () => {
      if (this.bodies.length > 0 && this.random.happens(0.1)) return this.random.oneOf(this.bodies);
      const body = this.another();
      this.bodies.push(body);
      return body;
    });
  }

  /** @returns what is missing in the ledger, there twice, or something else than it must be */
  async faults(query: LedgerQuery): Promise<string[]> {
    const rows = await query<{ orderId: string; outcome: string; cents: number | null }>(
      `select order_id as "orderId", outcome, value_cents::float8 as cents from ledger
       where kind = 'order' and order_id like 'ORD-${this.name}-%'`,
    );
    const faults: string[] = [];
    const seen = new Set<string>();
    for (const { orderId, outcome, cents } of rows) {
      const fate = this.fates.get(orderId);
      if (seen.has(orderId)) faults.push(`${orderId} is there twice`);
      seen.add(orderId);
      if (fate?.outcome !== outcome || fate.cents !== cents) {
        faults.push(`${orderId} is ${outcome} with ${cents} instead of ${fate?.outcome} with ${fate?.cents}`);
      }
    }
    for (const orderId of this.fates.keys()) if (!seen.has(orderId)) faults.push(`${orderId} is lost`);
    if (faults.length <= MOST_FAULTS_TOLD) return faults;
    return [...faults.slice(0, MOST_FAULTS_TOLD), `… and ${faults.length - MOST_FAULTS_TOLD} more`];
  }

  private another(): string {
    const { random } = this;
    const order_id = `ORD-${this.name}-${this.fates.size + 1}`;
    const [quantity, cents] = [random.between(1, 9), random.between(1, 9_999)];
    const order = anOrderEvent({
      order_id,
      user_id: `U${random.below(USERS)}`,
      order_timestamp: new Date(FIRST_DAY + random.below(DAYS) * DAY_MS + random.below(DAY_MS)).toISOString(),
      order_value: (quantity * cents) / 100,
      items: [{ product_id: `P${random.below(20)}`, quantity, price_per_unit: cents / 100 }],
    });
    const kind = random.below(10);
    if (kind === 0) {
      this.fates.set(order_id, { outcome: 'corrected', cents: quantity * cents });
      return JSON.stringify({ ...order, order_value: 1_000_000 });
    }
    if (kind <= 2) {
      this.fates.set(order_id, { outcome: 'failed', cents: null });
      const wrong = random.oneOf([{ items: [] }, { user_id: 'X1' }, { order_timestamp: 'soon' }, { order_value: 0 }]);
      return JSON.stringify({ ...order, ...wrong });
    }
    this.fates.set(order_id, { outcome: 'accepted', cents: quantity * cents });
    return JSON.stringify(order);
  }
}
