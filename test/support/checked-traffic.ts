import { setTimeout as pause } from 'node:timers/promises';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { Answer, RunningService } from './app.js';
import { partsOf } from './audit.js';
import { eventually } from './eventually.js';
import { byName, entriesAfter, LedgerViews } from './ledger-views.js';
import { anOrderEvent, type SentOrderEvent } from './order-events.js';
import type { SeededRandom } from './seeded-random.js';

const ACTIVE_USERS = 12;
const PER_BATCH = 10;
/** Where statistics may not be known: there are none to be trusted, or Redis is down. */
const REFUSED = ['stats_rebuilding', 'redis_unavailable'];
const PATIENCE_MS = 60_000;
const AFTER_REFUSAL_MS = 20;
const MAX_TOLD = 300;

/** What a read must have answered as of some entry of the ledger, and what it did answer, in the same form. */
interface Reading {
  path: string;
  view: (views: LedgerViews) => unknown;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- reads look at whatever came
  form: (body: any) => unknown;
}

/**
 * Orders that keep coming while a test breaks something, and reads that check every answer meanwhile: it is refused with
 * 503, or is exactly what the ledger comes to as of an entry that is no earlier than what was answered before and no
 * later than its end. All of it is decided by a seed, but for the timing.
 */
export class CheckedTraffic {
  /** How many reads were right and how many refused. */
  readonly reads = { right: 0, refused: 0 };
  private running = true;
  private readonly wrong: string[] = [];
  private readonly loops: Promise<void>[];
  private readonly sent: SentOrderEvent[] = [];
  private readonly position: number;

  private constructor(
    private readonly service: RunningService,
    private readonly random: SeededRandom,
    /** As of the latest entry that an answer was of. */
    private known: LedgerViews,
  ) {
    this.position = known.position;
    const reading = random.branch(1);
    this.loops = [this.untilStopped(() => this.readOn(reading)), this.untilStopped(() => this.sendOn())];
  }

  /** @param service whose ledger nobody else adds to, and whose figures begin with the ledger */
  static async start(service: RunningService, random: SeededRandom): Promise<CheckedTraffic> {
    await service.settled();
    return new CheckedTraffic(service, random, await LedgerViews.ofAll(partsOf(service).query));
  }

  /** Waits until so many more entries are in the ledger. */
  async intakeGoesOn(entries = 30): Promise<void> {
    const { position } = await this.service.app.get(Ledger).head();
    await this.until(async () => {
      const head = await this.service.app.get(Ledger).head();
      if (head.position < position + entries) throw new Error(`${head.position - position} of ${entries} entries came`);
    });
  }

  /** Waits until so many more reads had figures. */
  async readsGoOn(count = 12): Promise<void> {
    const { right } = this.reads;
    await this.until(() => {
      if (this.reads.right < right + count)
        throw new Error(`${this.reads.right - right} of ${count} reads had figures`);
    });
  }

  /** Waits until more was sent and read than before. */
  async goesOn(): Promise<void> {
    await Promise.all([this.intakeGoesOn(), this.readsGoOn()]);
  }

  /** Resolves when it has ended, be it for something that was wrong. */
  get ended(): Promise<void> {
    return Promise.all(this.loops).then(() => undefined);
  }

  /** Ends it. @throws Error naming wrong answers */
  async stop(): Promise<void> {
    this.running = false;
    await this.ended;
    if (this.wrong.length > 0) throw new Error(this.wrong.join('\n'));
  }

  /** What is wrong ends the waiting: {@link stop} tells of it. */
  private async until(expectation: () => Promise<void> | void): Promise<void> {
    await eventually(() => (this.wrong.length > 0 ? undefined : expectation()), PATIENCE_MS);
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

  /** Sends a batch and waits until all that is new in it is in the ledger. */
  private async sendOn(): Promise<void> {
    const again = Array.from({ length: PER_BATCH }, () => this.sent.length > 0 && this.random.happens(0.1));
    const bodies = again.map((duplicate) => (duplicate ? this.random.oneOf(this.sent) : this.anOrder()));
    this.sent.push(...bodies.filter((_, i) => !again[i]));
    const expected = this.position + this.sent.length;
    await this.service.send(...bodies);
    await eventually(async () => {
      const { position } = await this.service.app.get(Ledger).head();
      if (position < expected) throw new Error(`${expected - position} orders are not in the ledger`);
    }, PATIENCE_MS);
  }

  private anOrder(): SentOrderEvent {
    const { random } = this;
    const items = Array.from({ length: random.between(1, 3) }, () => ({
      product_id: `P${random.below(5)}`,
      quantity: random.between(1, 4),
      price_per_unit: random.between(1, 5_000) / 100,
    }));
    const order = anOrderEvent({
      order_id: `ORD-${random.seed}-${this.position}-${this.sent.length}-${random.below(1_000_000)}`,
      user_id: `U${random.below(ACTIVE_USERS)}`,
      order_timestamp: `2026-0${random.between(1, 2)}-${random.between(10, 28)}T12:00:00Z`,
      order_value:
        items.reduce((cents, item) => cents + item.quantity * Math.round(item.price_per_unit * 100), 0) / 100,
      items,
    });
    const kind = random.next();
    if (kind < 0.15) return { ...order, order_value: 1_000_000 }; // is corrected
    if (kind < 0.25) return { ...order, items: [] }; // fails
    return kind < 0.3 ? { ...order, user_id: '' } : order; // fails without a user
  }

  private async readOn(random: SeededRandom): Promise<void> {
    await this.readGlobal();
    for (const reading of random.shuffled(readingsOf(random, this.known))) await this.read(reading);
  }

  private async readGlobal(): Promise<void> {
    const path = '/stats/global';
    const answer = await this.answerTo(path);
    if (!answer) return;
    const { body } = answer;
    if (body.as_of.position < this.known.position) {
      throw new Error(`${path} went back from entry ${this.known.position}: ${JSON.stringify(body)}`);
    }
    const view = (views: LedgerViews): unknown => views.global();
    const found = [
      body.as_of.position,
      body.total_orders,
      centsOf(body.total_revenue),
      body.failed_orders,
      body.corrected_orders,
      body.unique_users,
    ];
    await this.expectViewOf(path, view, found);
  }

  private async read({ path, view, form }: Reading): Promise<void> {
    const answer = await this.answerTo(path);
    if (answer) await this.expectViewOf(path, view, answer.status === 404 ? null : form(answer.body));
  }

  /** @returns null where it was refused */
  private async answerTo(path: string): Promise<Answer | null> {
    // One that is kept may be closed by the service just when the next request is written to it.
    const answer = await this.service.get(path, { connection: 'close' });
    if (answer.status === 503 && REFUSED.includes(answer.body.code)) {
      this.reads.refused++;
      // Refusals come at once: to ask on and on would leave the service no time.
      await pause(AFTER_REFUSAL_MS);
      return null;
    }
    if (![200, 404].includes(answer.status)) throw new Error(`${path} answered ${JSON.stringify(answer.body)}`);
    return answer;
  }

  /** Looks for an entry as of which the answer is right, and goes on from there. */
  private async expectViewOf(path: string, view: (views: LedgerViews) => unknown, found: unknown): Promise<void> {
    const wanted = JSON.stringify(found);
    const views = this.known.copy();
    const entries = await entriesAfter(partsOf(this.service).query, views.position);
    for (const entry of [null, ...entries]) {
      if (entry) views.add(entry);
      if (JSON.stringify(view(views)) !== wanted) continue;
      // Only the figures over everything say of which entry they are; others may be the same for a while.
      if (path === '/stats/global') this.known = views;
      this.reads.right++;
      return;
    }
    const [first, last] = [this.known, views].map((at) => JSON.stringify(view(at)).slice(0, MAX_TOLD));
    throw new Error(
      `${path} is right as of no entry from ${this.known.position} to ${views.position}: it answered ` +
        `${wanted.slice(0, MAX_TOLD)}, at first it was ${first}, in the end ${last}`,
    );
  }
}

/** One of each kind of read. */
function readingsOf(random: SeededRandom, known: LedgerViews): Reading[] {
  const user = random.oneOf([...known.userIds, 'U0']);
  const month = `2026-0${random.between(1, 2)}`;
  const day = `${month}-${random.between(10, 28)}`;
  return [
    {
      path: `/users/${user}/stats`,
      view: (views) => views.user(user),
      form: (body) => [body.order_count, centsOf(body.total_spend), body.failed_order_count],
    },
    {
      path: '/users?limit=1000',
      view: (views) => [views.ranked(1), views.ranked(0)],
      form: (body) => [
        byName(body.total_spend_ranking.map((row: Json) => [row.user_id, centsOf(row.total_spend)])),
        byName(body.total_order_count_ranking.map((row: Json) => [row.user_id, row.total_order_count])),
      ],
    },
    {
      path: '/stats/top/1000',
      view: (views) => views.ranked(1),
      form: (body) => byName(body.map((row: Json) => [row.user_id, centsOf(row.total_spend)])),
    },
    {
      path: `/stats/monthly/${month}?limit=1000`,
      view: (views) => views.month(month),
      form: (body) => [
        totalsOf(body),
        byName(
          body.user_stats.map((row: Json) => [
            row.user_id,
            row.order_count,
            centsOf(row.total_spend),
            row.failed_order_count,
          ]),
        ),
      ],
    },
    {
      path: `/stats/daily?start=${day}&end=${day}`,
      view: (views) => views.day(day),
      form: (body) => totalsOf(body.days[0]),
    },
    {
      path: '/stats/products?limit=1000',
      view: (views) => views.soldProducts(),
      form: (body) => byName(body.by_revenue.map((row: Json) => [row.product_id, centsOf(row.revenue), row.quantity])),
    },
  ];
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- reads look at whatever came
type Json = any;

function totalsOf(body: Json): number[] {
  return [body.total_orders, centsOf(body.total_revenue), body.failed_orders];
}

function centsOf(amount: number): number {
  return Math.round(amount * 100);
}
