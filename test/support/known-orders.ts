import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';
import type { LedgerQuery } from './ledger-audit.js';
import { anOrderEvent } from './order-events.js';
import type { SeededRandom } from './seeded-random.js';

const USERS = 40;
const DAYS = 60;
const FIRST_DAY = Date.UTC(2026, 0, 1);
const DAY_MS = 86_400_000;
const MAX_FAULTS_TOLD = 5;
const ENTRIES_PER_CALL = 10;

/** What must become of an order that was sent, however often it comes. Value in cents, null where it fails. */
interface Fate {
  outcome: 'accepted' | 'corrected' | 'failed';
  cents: number | null;
}

/** Makes orders of which it is known what must become of them, and tells whether a ledger has just that. */
export class KnownOrders {
  private readonly results = new Map<string, Fate>();
  private readonly bodies: { orderId: string; body: string }[] = [];
  /** Orders that a queue has taken at least once. */
  private readonly taken = new Set<string>();

  /** @param name in every order id, to tell them from those of others */
  constructor(
    private readonly random: SeededRandom,
    private readonly queueName: string,
    private readonly name = 'KNOWN',
  ) {}

  /** How many different ones a queue has taken. */
  get count(): number {
    return this.taken.size;
  }

  /**
   * Sends the next ones: most are right, some claim a wrong value, some fail, some have come before.
   * @throws what the queue says; whether it has taken those of the call that failed is not known then
   */
  async send(sqs: SQSClient, count: number): Promise<void> {
    for (let left = count; left > 0; left -= ENTRIES_PER_CALL) {
      const orders = Array.from({ length: Math.min(left, ENTRIES_PER_CALL) }, () => this.next());
      const Entries = orders.map(({ body }, i) => ({ Id: String(i), MessageBody: body }));
      const { Failed = [] } = await sqs.send(new SendMessageBatchCommand({ QueueUrl: this.queueName, Entries }));
      if (Failed.length > 0) throw new Error(`SQS refused ${Failed.length} messages: ${Failed[0]!.Message}`);
      for (const { orderId } of orders) this.taken.add(orderId);
    }
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
      const fate = this.results.get(orderId);
      if (seen.has(orderId)) faults.push(`${orderId} is there twice`);
      seen.add(orderId);
      if (fate?.outcome !== outcome || fate.cents !== cents) {
        faults.push(`${orderId} is ${outcome} with ${cents} instead of ${fate?.outcome} with ${fate?.cents}`);
      }
    }
    for (const orderId of this.taken) if (!seen.has(orderId)) faults.push(`${orderId} is lost`);
    if (faults.length <= MAX_FAULTS_TOLD) return faults;
    return [...faults.slice(0, MAX_FAULTS_TOLD), `… and ${faults.length - MAX_FAULTS_TOLD} more`];
  }

  private next(): { orderId: string; body: string } {
    if (this.bodies.length > 0 && this.random.happens(0.1)) return this.random.oneOf(this.bodies);
    const orderId = `ORD-${this.name}-${this.results.size + 1}`;
    const order = { orderId, body: this.another(orderId) };
    this.bodies.push(order);
    return order;
  }

  private another(order_id: string): string {
    const { random } = this;
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
      this.results.set(order_id, { outcome: 'corrected', cents: quantity * cents });
      return JSON.stringify({ ...order, order_value: 1_000_000 });
    }
    if (kind <= 2) {
      this.results.set(order_id, { outcome: 'failed', cents: null });
      const wrong = random.oneOf([{ items: [] }, { user_id: 'X1' }, { order_timestamp: 'soon' }, { order_value: 0 }]);
      return JSON.stringify({ ...order, ...wrong });
    }
    this.results.set(order_id, { outcome: 'accepted', cents: quantity * cents });
    return JSON.stringify(order);
  }
}
