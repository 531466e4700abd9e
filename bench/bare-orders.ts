import { randomBytes, randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { orderIdFrom } from '../src/fulfilment/orders/order-id.rules.js';
import { skusOfOrder } from './order-items.js';
import type { Kind, OrderScript, ScriptStatement, ScriptTransaction } from './order-script.js';

/**
 * Runs as a child process: has PostgreSQL do for orders what the service has it do, and does nothing else. As many
 * transactions are under way at once as the service can have.
 *
 * Usage: bare-orders DATABASE_URL; then the script as a message, and for each run how many orders there are to be.
 */

/** As many connections as the service's pool has. */
const CONNECTIONS = 10;
/** Orders that the service lets its carrier see to in one transaction. */
const TOGETHER = 50;

/** An order that is on its way. */
interface Order {
  /** What it has its own of, by what the recorded one had. */
  names: Map<string, string>;
  /** How many of its transactions are committed. */
  done: number;
}

/** Something that a connection can do now. */
type Work = (client: Client) => Promise<void>;

const [, , databaseUrl] = process.argv;

/** Brings orders through the script: an order goes on when its message was taken out of the outbox, as in the service. */
class BareOrders {
  private readonly anyName: RegExp;
  private readonly messagesPerClaim: number;
  private placed = 0;
  private wanted = 0;
  private underWay = 0;
  private ready: Order[] = [];
  /** Those whose messages are in the outbox, the oldest first. */
  private waiting: Order[] = [];
  private messages = 0;
  private claimed = 0;
  private isClaiming = false;
  /** Those that the carrier has. */
  private shipped: Order[] = [];
  private idle: (() => void)[] = [];

  constructor(
    private readonly clients: Client[],
    private readonly script: OrderScript,
  ) {
    const given = [...script.transactions, ...script.together].flatMap(({ statements }) =>
      statements.flatMap(({ gives }) => gives.map(({ name }) => name)),
    );
    this.anyName = new RegExp([...Object.keys(script.names), ...given].join('|'), 'g');
    this.messagesPerClaim = script.claim.values.at(-1) as number;
  }

  /** @returns how long so many more orders took, ms */
  async run(count: number): Promise<number> {
    const began = performance.now();
    this.wanted += count;
    await Promise.all(this.clients.map((client) => this.lane(client)));
    return performance.now() - began;
  }

  private async lane(client: Client): Promise<void> {
    while (true) {
      const work = this.next();
      if (work) {
        this.underWay++;
        await work(client);
        this.underWay--;
        for (const wake of this.idle.splice(0)) wake();
      } else if (this.underWay > 0) {
        await new Promise<void>((resolve) => this.idle.push(resolve));
      } else {
        return;
      }
    }
  }

  /** What is worth doing for many is done for many, unless nothing else is left to do. */
  private next(): Work | null {
    if (this.messages >= this.messagesPerClaim && !this.isClaiming) return (client) => this.relay(client);
    const order = this.ready.shift();
    if (order) return (client) => this.tick(client, order);
    if (this.shipped.length >= TOGETHER) return this.carry();
    if (this.placed < this.wanted) return (client) => this.tick(client, this.place());
    if (this.messages > 0 && !this.isClaiming) return (client) => this.relay(client);
    if (this.shipped.length > 0) return this.carry();
    return null;
  }

  private place(): Order {
    const [first, second] = skusOfOrder(this.placed++);
    const own: Record<Kind, () => string> = {
      order: () => orderIdFrom(randomBytes(10)),
      // Spread over all there are, none twice.
      tracking: () => `SP${String((this.placed * 618_033_989) % 1_000_000_000).padStart(9, '0')}XX`,
      lock: () => randomBytes(8).readBigInt64BE().toString(),
      uuid: () => randomUUID(),
      'first sku': () => first!,
      'second sku': () => second!,
    };
    return { names: new Map(Object.entries(this.script.names).map(([name, kind]) => [name, own[kind]()])), done: 0 };
  }

  private async tick(client: Client, order: Order): Promise<void> {
    while (order.done < this.script.transactions.length) {
      const transaction = this.script.transactions[order.done++]!;
      await this.inTransaction(client, transaction, [order]);
      if (transaction.messages > 0) {
        this.messages += transaction.messages;
        this.waiting.push(order);
        return;
      }
    }
    this.shipped.push(order);
  }

  private async relay(client: Client): Promise<void> {
    this.isClaiming = true;
    const { text, values } = this.script.claim;
    const { rows } = await client.query<{ id: number; queue: string }>(text, values);
    if (rows.length === 0) throw new Error('Messages are missing in the outbox');
    for (const queue of new Set(rows.map((row) => row.queue))) {
      const ids = rows.filter((row) => row.queue === queue).map(({ id }) => id);
      await client.query(this.script.sent, [JSON.stringify(ids)]);
    }
    this.messages -= rows.length;
    this.claimed += rows.length;
    while (this.waiting.length > 0) {
      const { messages } = this.script.transactions[this.waiting[0]!.done - 1]!;
      if (messages > this.claimed) break;
      this.claimed -= messages;
      this.ready.push(this.waiting.shift()!);
    }
    this.isClaiming = false;
  }

  private carry(): Work {
    const orders = this.shipped.splice(0, TOGETHER);
    return async (client) => {
      for (const transaction of this.script.together) await this.inTransaction(client, transaction, orders);
    };
  }

  /** What is of no order or of all is done once, the rest for each of them. */
  private async inTransaction(
    client: Client,
    { isBegun, statements }: ScriptTransaction,
    orders: Order[],
  ): Promise<void> {
    if (isBegun) await client.query('begin');
    let ofEach: ScriptStatement[] = [];
    const issueOfEach = async (): Promise<void> => {
      for (const order of orders) for (const statement of ofEach) await this.issue(client, statement, order);
      ofEach = [];
    };
    for (const statement of statements) {
      if (statement.isNamed && !statement.isForAll) {
        ofEach.push(statement);
      } else {
        await issueOfEach();
        const values = statement.values.map((value) => this.forAll(value, orders));
        await client.query(statement.text, values);
      }
    }
    await issueOfEach();
    if (isBegun) await client.query('commit');
  }

  /** The list of one order becomes one of them all, in the order of their ids as the service has it. */
  private forAll(value: unknown, orders: Order[]): unknown {
    if (typeof value !== 'string' || value.search(this.anyName) === -1) return value;
    const named = orders.map(({ names }) => value.replace(this.anyName, (name) => names.get(name)!));
    return JSON.stringify(named.flatMap((list) => JSON.parse(list) as string[]).toSorted());
  }

  private async issue(client: Client, { text, values, gives }: ScriptStatement, { names }: Order): Promise<void> {
    const { rows } = await client.query<Record<string, string>>(
      text,
      values.map((value) =>
        typeof value === 'string' ? value.replace(this.anyName, (name) => names.get(name)!) : value,
      ),
    );
    for (const { name, column } of gives) names.set(name, rows[0]![column]!);
  }
}

async function main(): Promise<void> {
  const clients = Array.from({ length: CONNECTIONS }, () => new Client(databaseUrl));
  await Promise.all(clients.map((client) => client.connect()));
  process.on('disconnect', () => process.exit());
  process.once('message', (script: OrderScript) => {
    const bare = new BareOrders(clients, script);
    process.on(
      'message',
      (count: number) => void bare.run(count).then((ms) => process.send!({ kind: 'completed', ms })),
    );
    process.send!({ kind: 'ready' });
  });
}

void main();
