import { sql } from 'drizzle-orm';
import { setImmediate as turn } from 'node:timers/promises';
import { OrderWorkflow, WORKFLOW } from '../../src/fulfilment/workflow/order-workflow.service.js';
import { OutboxRelay } from '../../src/fulfilment/messaging/outbox-relay.worker.js';
import {
  type ClaimedMessage,
  type Destination,
  Outbox,
  type OutgoingMessage,
} from '../../src/fulfilment/messaging/outbox.repository.js';
import type { StepQueues } from '../../src/fulfilment/messaging/step-queues.js';
import { Audit } from '../../src/platform/audit/audit.js';
import { Database, type Executor } from '../../src/platform/database/database.js';
import { type QueueSender, type SendListener, type SendTotals } from '../../src/platform/queue/queue-sender.js';
import { aWorld, RunningService } from '../support/app.js';
import { aBreakableQueue } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { aProduct, orderIs, placeOrder, QUICK } from '../support/fulfilment.js';
import { aDatabase } from '../support/stores.js';

const WRITERS = 15;
const EVENTS = 450;
/** Enough for what is to be found out. */
const FEW_EVENTS = 450;
const ORDERS = 100;
/** More than go with one call of SQS. */
const ORDERS_MEANWHILE = 12;
const RELAYS = 3;
const KILLS = 20;
/** How long a writer keeps its transaction open after it wrote what is to be sent. */
const COMMIT_TIMEOUT_SECONDS = 0.02;
const ROLLED_BACK = 0.15;
const STATEMENT_TIMEOUT_MS = 10_000;
const DESTINATIONS: Destination[] = ['orders', 'inventory', 'payment', 'shipment'];

/** A message as its writer knows it. Its number is its body, so no two have the same. */
interface WrittenMessage {
  orderId: string;
  sequence: number;
}

/** What was written, and in which order it reached the queues. */
interface Run {
  committed: Map<string, WrittenMessage>;
  published: string[];
  kills: number;
}

/** What of a run is not as it is promised. */
interface Faults {
  lost: number;
  neverCommitted: number;
  outOfOrder: number;
}

const NO_FAULTS: Faults = { lost: 0, neverCommitted: 0, outOfOrder: 0 };

/** Takes its own writing back. */
class RolledBack extends Error {}

/** Orders in a database of their own, and as many connections to it as all writers need. */
class OutboxWorld {
  readonly orderIds = Array.from({ length: ORDERS }, (_, i) => `ORD-OUTBOX${String(i).padStart(10, '0')}`);

  private constructor(
    readonly database: Database,
    readonly ofWriters: Database[],
    readonly destroy: () => Promise<void>,
  ) {}

  static async create(): Promise<OutboxWorld> {
    const { part, url, destroy } = await aDatabase();
    const more = [1, 2].map(() => new Database(url, STATEMENT_TIMEOUT_MS));
    for (const database of more) await database.availability.start();
    const world = new OutboxWorld(part, more, async () => {
      for (const database of more) await database.onApplicationShutdown();
      await destroy();
    });
    await part.query(
      sql`insert into orders (id, placed_by, user_id, currency, total_cents, shipping_address, payment_method)
          select value, 'test', 'U1', 'USD', 100, '1 Fixture Street', 'CARD'
          from json_array_elements_text(${JSON.stringify(world.orderIds)}::json)`,
    );
    return world;
  }

  /** Has all writers write, side by side. @returns what they committed */
  async write(events: number, outboxOf: (database: Database) => Outbox): Promise<Run['committed']> {
    const committed: Run['committed'] = new Map();
    let written = 0;
    const writer = async (database: Database): Promise<void> => {
      const workflow = new OrderWorkflow(database, outboxOf(database), new Audit(database));
      while (written < events) {
        const bodies = Array.from({ length: 1 + Math.floor(Math.random() * 3) }, () => String(++written));
        await this.writeTogether(workflow, bodies, committed);
      }
    };
    await Promise.all(Array.from({ length: WRITERS }, (_, i) => writer(this.ofWriters[i % this.ofWriters.length]!)));
    return committed;
  }

  /** Some events of an order in one transaction, which takes a while to commit, or is rolled back. */
  private async writeTogether(workflow: OrderWorkflow, bodies: string[], committed: Run['committed']): Promise<void> {
    const orderId = oneOf(this.orderIds);
    const isRolledBack = Math.random() < ROLLED_BACK;
    const sequences: number[] = [];
    try {
      await workflow.transaction(async (tx) => {
        const order = (await workflow.lock(tx, orderId))!;
        for (const body of bodies) {
          const send = [{ queue: oneOf(DESTINATIONS), body }];
          sequences.push(await workflow.record(tx, order, { event: 'order.redriven', send }, WORKFLOW));
        }
        await tx.query(sql`select pg_sleep(${Math.random() * COMMIT_TIMEOUT_SECONDS}::float8)`);
        if (isRolledBack) throw new RolledBack();
      });
      for (const [i, body] of bodies.entries()) committed.set(body, { orderId, sequence: sequences[i]! });
    } catch (error) {
      if (!(error instanceof RolledBack)) throw error;
    }
  }
}

/** What a relay is about to do: to send a message, or to delete from the outbox what it has sent. */
type Step = 'sending' | 'deleting';

/** Kills relays before one of their steps, whichever comes to it, until all kills are done: in turn before each kind of step. */
class Killer {
  kills = 0;
  private steps = 0;

  /** @param longest after at most so many steps of all relays together */
  constructor(private readonly longest: number) {
    this.steps = this.untilNext();
  }

  /** Whether whoever comes to this step is killed. */
  strikes(step: Step): boolean {
    this.steps--;
    const kind = this.kills % 2 === 0 ? 'sending' : 'deleting';
    if (this.kills === KILLS || this.steps > 0 || step !== kind) return false;
    this.kills++;
    this.steps = this.untilNext();
    return true;
  }

  private untilNext(): number {
    return Math.ceil(Math.random() * this.longest);
  }
}

/** A relay as of a process of its own, which may be killed: from then on nothing of it reaches the queues or the outbox. */
class MortalRelay {
  private readonly claimed = new Set<ClaimedMessage>();
  private readonly relay: OutboxRelay;
  private dead = false;
  private die: (end: 'killed') => void = () => undefined;
  private readonly killed = new Promise<'killed'>((resolve) => (this.die = resolve));

  constructor(
    database: Database,
    outbox: Outbox,
    private readonly published: string[],
    private readonly killer: Killer,
  ) {
    const claim = outbox.claim.bind(outbox);
    jest.spyOn(outbox, 'claim').mockImplementation(async (most) => {
      const messages = await claim(most);
      for (const message of messages) this.claimed.add(message);
      return messages;
    });
    const deleteSent = outbox.sent.bind(outbox);
    jest.spyOn(outbox, 'sent').mockImplementation(async (messages) => {
      await this.step('deleting');
      await deleteSent(messages);
      for (const message of messages) this.claimed.delete(message);
    });
    const sender = this.senderInto();
    const queues = { of: () => ({ sender }) } as unknown as StepQueues;
    const workflow = new OrderWorkflow(database, outbox, new Audit(database));
    this.relay = new OutboxRelay(outbox, workflow, database, sender, queues);
  }

  sendRound(): Promise<number | 'killed'> {
    return Promise.race([this.relay.sendRound(), this.killed]);
  }

  /** What it had in hand when it was killed, which others may send once its claim is over. */
  get left(): ClaimedMessage[] {
    return [...this.claimed];
  }

  /** Of one call SQS keeps no order. */
  private senderInto(): QueueSender {
    const sendEach = async (
      messages: ClaimedMessage[],
      listener: SendListener<ClaimedMessage>,
    ): Promise<SendTotals> => {
      for (const message of messages.toSorted(() => Math.random() - 0.5)) {
        await turn();
        await this.step('sending');
        this.published.push(message.body);
        listener.onSent?.(message, message.body);
      }
      return { sent: messages.length, failed: 0 };
    };
    return { sendEach } as unknown as QueueSender;
  }

  private async step(step: Step): Promise<void> {
    if (!this.dead && this.killer.strikes(step)) {
      this.dead = true;
      this.die('killed');
    }
    if (this.dead) await new Promise(() => undefined);
  }
}

/** All writers write while several relays send, which are killed again and again; in the end nothing is left to send. */
async function writtenAndSent(
  world: OutboxWorld,
  events: number,
  outboxOf: (database: Database, published: string[]) => Outbox,
): Promise<Run> {
  const run: Run = { committed: new Map(), published: [], kills: 0 };
  const outbox = new Outbox(world.database);
  // So soon after another that all are killed while there is much to send.
  const killer = new Killer(events / KILLS / 2);
  let isWritten = false;
  const another = (): MortalRelay =>
    new MortalRelay(world.database, outboxOf(world.database, run.published), run.published, killer);
  const lane = async (): Promise<void> => {
    for (let relay = another(); ;) {
      const wasWritten = isWritten;
      const end = await relay.sendRound();
      if (end === 'killed') {
        if (relay.left.length > 0) await outbox.release(relay.left, 0);
        relay = another();
      } else if (end === 0 && wasWritten && (await isEmpty(world.database))) {
        return;
      }
    }
  };
  const lanes = Array.from({ length: RELAYS }, lane);
  run.committed = await world.write(events, (database) => outboxOf(database, run.published));
  isWritten = true;
  await Promise.all(lanes);
  return { ...run, kills: killer.kills };
}

async function isEmpty(database: Database): Promise<boolean> {
  return (await database.query(sql`select 1 from outbox limit 1`)).length === 0;
}

function faultsOf({ committed, published }: Pick<Run, 'committed' | 'published'>): Faults {
  const all = new Set(published);
  const last = new Map<string, number>();
  let outOfOrder = 0;
  for (const body of all) {
    const message = committed.get(body);
    if (!message) continue;
    if (message.sequence < (last.get(message.orderId) ?? 0)) outOfOrder++;
    last.set(message.orderId, message.sequence);
  }
  return {
    lost: [...committed.keys()].filter((body) => !all.has(body)).length,
    neverCommitted: [...all].filter((body) => !committed.has(body)).length,
    outOfOrder,
  };
}

function oneOf<T>(things: T[]): T {
  return things[Math.floor(Math.random() * things.length)]!;
}

/** Takes whatever nobody else has, whatever comes before it. */
class RegardlessOfOrder extends Outbox {
  constructor(private readonly db: Database) {
    super(db);
  }

  override claim(most: number): Promise<ClaimedMessage[]> {
    return this.db.query(
      sql`update outbox set claimed_until = clock_timestamp() + make_interval(secs => 10)
          where id in (
            select id from outbox where claimed_until < clock_timestamp()
            order by created_at limit ${most} for update skip locked
          )
          returning id::float8 as id, queue, body, delay_seconds as "delaySeconds"`,
    );
  }
}

/** Takes messages out before it sends them. */
class DeletedFirst extends Outbox {
  override async claim(most: number): Promise<ClaimedMessage[]> {
    const messages = await super.claim(most);
    if (messages.length > 0) await super.sent(messages);
    return messages;
  }
}

/** Sends messages in the transaction that they follow from. */
class SentAtOnce extends Outbox {
  constructor(
    database: Database,
    private readonly published: string[],
  ) {
    super(database);
  }

  override async add(_tx: Executor, _orderId: string, _sequence: number, messages: OutgoingMessage[]): Promise<void> {
    this.published.push(...messages.map(({ body }) => body));
  }
}

describe('The outbox', () => {
  let world: OutboxWorld;

  beforeEach(async () => {
    world = await OutboxWorld.create();
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    await world.destroy();
  });

  it(`has every message sent that was committed, none that was not, and those of an order in order, though relays are killed ${KILLS} times`, async () => {
    const run = await writtenAndSent(world, EVENTS, (database) => new Outbox(database));
    expect(faultsOf(run)).toEqual(NO_FAULTS);
    expect(run.kills).toBe(KILLS);
    expect(run.committed.size).toBeGreaterThan(EVENTS / 2);
    expect(run.committed.size).toBeLessThan(EVENTS);
    // Each that was killed between sending and deleting left at least one to be sent again.
    expect(run.published.length).toBeGreaterThanOrEqual(run.committed.size + KILLS / 2);
  });

  describe('would be found out', () => {
    it('if it took messages that others precede', async () => {
      const run = await writtenAndSent(world, FEW_EVENTS, (database) => new RegardlessOfOrder(database));
      expect(faultsOf(run)).toMatchObject({ lost: 0, neverCommitted: 0 });
      expect(faultsOf(run).outOfOrder).toBeGreaterThan(0);
    });

    it('if it deleted messages before they are sent', async () => {
      const run = await writtenAndSent(world, FEW_EVENTS, (database) => new DeletedFirst(database));
      expect(faultsOf(run).lost).toBeGreaterThan(0);
    });

    it('if messages were sent before they are committed', async () => {
      const run = await writtenAndSent(world, FEW_EVENTS, (database, published) => new SentAtOnce(database, published));
      expect(faultsOf(run).neverCommitted).toBeGreaterThan(0);
    });

    it('if it were read by a cursor, of whichever kind', async () => {
      const published: Record<'id' | 'created_at', string[]> = { id: [], created_at: [] };
      let isWritten = false;
      const cursor = async (column: 'id' | 'created_at'): Promise<void> => {
        let seen = column === 'id' ? '0' : '-infinity';
        const type = sql.raw(column === 'id' ? 'bigint' : 'timestamptz');
        while (true) {
          const wasWritten = isWritten;
          const rows = await world.database.query<{ body: string; cursor: string }>(
            sql`select body, ${sql.raw(column)}::text as cursor from outbox
                  where ${sql.raw(column)} > ${seen}::${type} order by ${sql.raw(`outbox.${column}`)} limit 200`,
          );
          published[column].push(...rows.map(({ body }) => body));
          seen = rows.at(-1)?.cursor ?? seen;
          if (rows.length === 0 && wasWritten) return;
        }
      };
      const relays = [cursor('id'), cursor('created_at')];
      const committed = await world.write(FEW_EVENTS, (database) => new Outbox(database));
      isWritten = true;
      await Promise.all(relays);
      expect(faultsOf({ committed, published: published.id }).lost).toBeGreaterThan(0);
      expect(faultsOf({ committed, published: published.created_at }).lost).toBeGreaterThan(0);
    });
  });
});

describe('While the queues are away', () => {
  it('orders are taken, what is to be sent gets older, and all of it is sent once they are back', async () => {
    const home = await aWorld();
    const queue = await aBreakableQueue();
    const service = await RunningService.ready({ world: home, environment: { ...QUICK, ...queue.environment } });
    try {
      await aProduct(service, { stock: { EAST: 100 } });
      const age = async (): Promise<number> => {
        const { body } = await service.get('/metrics');
        return Number(/^outbox_oldest_seconds (\S+)$/m.exec(body as string)![1]);
      };
      expect(await age()).toBe(0);

      queue.goAway(service);
      const ids: string[] = [];
      for (let n = 0; n < ORDERS_MEANWHILE; n++) ids.push(await placeOrder(service));
      const first = await age();
      expect(first).toBeGreaterThan(0);
      await eventually(async () => expect(await age()).toBeGreaterThan(first + 0.2));
      const [kept] = await service.database.query<{ messages: number }>(
        sql`select count(distinct order_id)::float8 as messages from outbox`,
      );
      expect(kept).toEqual({ messages: ORDERS_MEANWHILE });

      await queue.comeBack();
      for (const id of ids) await orderIs(service, id, 'completed');
      expect(await age()).toBe(0);
      await service.settled();
      expect((await service.get('/stats/global')).body).toMatchObject({
        total_orders: ORDERS_MEANWHILE,
        total_revenue: ORDERS_MEANWHILE * 12.5,
      });
    } finally {
      await service.stop();
      await queue.remove();
      await home.destroy();
    }
  }, 90_000);
});
