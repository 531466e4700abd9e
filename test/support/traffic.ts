import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { RunningService } from './app.js';
import { eventually } from './eventually.js';
import { anOrderEvent, type SentOrderEvent } from './order-events.js';

/** What every order of the traffic is worth. */
const CENTS = 1_037;
const USERS = 12;

/** How many reads were answered with figures and how many with "they are being rebuilt". */
export interface ReadsOfTraffic {
  right: number;
  rebuilding: number;
}

/**
 * Orders that keep coming while a test does something to a service, and reads that check every answer meanwhile: it
 * is either right, as of the ledger entry that it says it goes up to, or 503 `stats_rebuilding`; and figures never go
 * back. Every order is worth the same, so that each answer can be checked by itself.
 */
export class Traffic {
  readonly reads: ReadsOfTraffic = { right: 0, rebuilding: 0 };
  private running = true;
  private readonly wrong: string[] = [];
  private last = { position: 0, orders: 0 };
  private readonly loops: Promise<void>[];
  private readonly base: number;

  private constructor(
    private readonly service: RunningService,
    options: { sends: boolean; base: number },
  ) {
    this.base = options.base;
    this.loops = [this.untilStopped(() => this.readOn())];
    if (options.sends) this.loops.push(this.untilStopped(() => this.sendOn()));
  }

  /** @param options.base the ledger entry after which the service's figures begin */
  static start(service: RunningService, options: { sends?: boolean; base?: number } = {}): Traffic {
    return new Traffic(service, { sends: true, base: 0, ...options });
  }

  /** Runs work in the middle of traffic, which goes on before, meanwhile and after. */
  async around<T>(work: () => Promise<T>): Promise<T> {
    await this.goesOn();
    const result = await work();
    await this.goesOn();
    return result;
  }

  /** Waits until more was sent and read than before. */
  async goesOn(): Promise<void> {
    const { position } = await this.service.app.get(Ledger).head();
    const { right } = this.reads;
    await eventually(async () => {
      if (this.wrong.length > 0) return;
      const head = await this.service.app.get(Ledger).head();
      if (head.position < position + 20) throw new Error(`${head.position - position} of 20 orders came`);
      if (this.reads.right < right + 4) throw new Error(`${this.reads.right - right} of 4 reads had figures`);
    }, 30_000);
  }

  /** Ends it. @throws Error naming every wrong answer */
  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.loops);
    if (this.wrong.length > 0)
      throw new Error(`${this.wrong.length} wrong answers:\n${this.wrong.slice(0, 5).join('\n')}`);
  }

  /** Ends it where a test has failed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.running = false;
    await Promise.all(this.loops);
  }

  private async untilStopped(step: () => Promise<void>): Promise<void> {
    while (this.running && this.wrong.length === 0) {
      try {
        await step();
      } catch (error) {
        this.wrong.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
      }
    }
  }

  private async sendOn(): Promise<void> {
    const { position } = await this.service.app.get(Ledger).head();
    const orders = Array.from({ length: 10 }, (_, i) => anOrderOfTraffic(i));
    await this.service.send(...orders);
    await eventually(async () => {
      const head = await this.service.app.get(Ledger).head();
      if (head.position < position + orders.length) throw new Error('The orders are not in the ledger');
    }, 30_000);
  }

  private async readOn(): Promise<void> {
    await this.read('/stats/global', (body) => {
      const { total_orders, total_revenue, failed_orders, as_of } = body;
      this.mustBe(total_orders + failed_orders === as_of.position - this.base, '/stats/global', body);
      this.mustBe(centsOf(total_revenue) === CENTS * total_orders, '/stats/global', body);
      const goesBack = as_of.position < this.last.position || total_orders < this.last.orders;
      this.mustBe(!goesBack, `/stats/global after ${JSON.stringify(this.last)}`, body);
      this.last = { position: as_of.position, orders: total_orders };
    });
    await this.read('/stats/monthly/2026-01?limit=1000', (body) => {
      const { total_orders, total_revenue, user_stats } = body;
      this.mustBe(sum(user_stats, 'order_count') === total_orders, '/stats/monthly/2026-01', body);
      this.mustBe(centsOf(total_revenue) === CENTS * total_orders, '/stats/monthly/2026-01', body);
      this.mustBe(centsOf(sum(user_stats, 'total_spend')) === CENTS * total_orders, '/stats/monthly/2026-01', body);
    });
    await this.read('/stats/products', (body) => {
      const [one, two] = ['PA', 'PB'].map((id) => body.by_revenue.find((sold: Json) => sold.product_id === id));
      if (!one || !two) return;
      this.mustBe(centsOf(one.revenue) === 437 * one.quantity, '/stats/products', body);
      this.mustBe(two.quantity === 2 * one.quantity && two.revenue === 3 * two.quantity, '/stats/products', body);
    });
    await this.read('/users?limit=1000', (body) => {
      const orders = sum(body.total_order_count_ranking, 'total_order_count');
      this.mustBe(centsOf(sum(body.total_spend_ranking, 'total_spend')) === CENTS * orders, '/users', body);
    });
  }

  private async read(path: string, check: (body: Json) => void): Promise<void> {
    const { status, body } = await this.service.get(path);
    if (status === 503 && body.code === 'stats_rebuilding') {
      this.reads.rebuilding++;
      return;
    }
    // A month in which nothing was ordered yet.
    if (status === 404 && this.last.position === this.base) return;
    this.mustBe(status === 200, `${path} answered ${status}`, body);
    check(body);
    this.reads.right++;
  }

  private mustBe(right: boolean, what: string, body: Json): void {
    if (!right) throw new Error(`${what}: ${JSON.stringify(body).slice(0, 600)}`);
  }
}

/** One of the orders of the traffic: most are right, some claim another value, some fail, a few of these without a user. */
export function anOrderOfTraffic(i: number): SentOrderEvent {
  const order = anOrderEvent({
    user_id: `U${Math.floor(Math.random() * USERS)}`,
    order_timestamp: `2026-01-${String(1 + Math.floor(Math.random() * 28)).padStart(2, '0')}T12:00:00Z`,
    order_value: i % 5 === 1 ? 1 : CENTS / 100,
    items: [
      { product_id: 'PA', quantity: 1, price_per_unit: 4.37 },
      { product_id: 'PB', quantity: 2, price_per_unit: 3 },
    ],
  });
  if (i % 5 === 3) return { ...order, items: [] };
  return i % 10 === 9 ? { ...order, user_id: '' } : order;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- reads look at whatever came
type Json = any;

function sum(rows: Json[], field: string): number {
  return rows.reduce((total: number, row) => total + Number(row[field]), 0);
}

function centsOf(amount: number): number {
  return Math.round(amount * 100);
}
