import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { Shortage, WantedLine } from '../../src/fulfilment/inventory/allocation.rules.js';
import { Catalogue } from '../../src/fulfilment/inventory/catalogue.service.js';
import { release, reserve, fulfilReservation } from '../../src/fulfilment/inventory/reservations.repository.js';
import { Audit } from '../../src/platform/audit/audit.js';
import { Database, DatabaseUnavailable, type Executor } from '../../src/platform/database/database.js';
import { sqlStateOf } from '../../src/platform/database/sql-state.js';
import { type Actor, LOCAL_OPERATOR } from '../../src/shared/access.js';
import { cents } from '../../src/domain/money.js';
import { shuffled } from '../support/shuffled.js';
import { aDatabase } from '../support/stores.js';

const CONNECTIONS_A_POOL = 10;
const POOLS = 2;
/** Who buys at the same time, each over a connection of its own. */
const BUYERS = POOLS * CONNECTIONS_A_POOL;
const ROUNDS = 10;
const CROWD = 400;
const MIXED_ORDERS = 300;
const LONG_MS = 300_000;
const ACTOR: Actor = { name: 'test', requestId: null };

let own: Awaited<ReturnType<typeof aDatabase>>;
/** As those of several processes; warm, and together of as many connections as there are buyers. */
let pools: Database[];
let catalogue: Catalogue;

beforeAll(async () => {
  Logger.overrideLogger(false);
  own = await aDatabase();
  const { part, url } = own;
  const others = Array.from({ length: POOLS - 1 }, () => new Database(url, 10_000));
  pools = [part, ...others];
  await Promise.all(others.map((each) => each.availability.start()));
  catalogue = new Catalogue(part, new Audit(part));
  await part.query(sql`insert into warehouses (code, name) values ('EAST', 'East'), ('WEST', 'West')`);
  await part.query(sql`create table naive_stock (sku text primary key, on_hand integer, reserved integer)`);
}, 60_000);

// Connections that nobody uses for a while are closed.
beforeEach(async () => {
  for (const database of pools) await opened(database, CONNECTIONS_A_POOL);
});

afterAll(async () => {
  await Promise.all(pools.slice(1).map((each) => each.onApplicationShutdown()));
  await own.destroy();
});

/** Opens connections of a pool, one after the other. */
async function opened(database: Database, connections: number): Promise<void> {
  if (connections > 0) await database.transaction(() => opened(database, connections - 1));
}

/** Has so many at work until all is done. @returns what came of each */
async function inLanes<Thing, Result>(
  things: readonly Thing[],
  work: (database: Database, thing: Thing) => Promise<Result>,
  count = BUYERS,
): Promise<Result[]> {
  const results: Result[] = [];
  const left = things.entries();
  const lanes = Array.from({ length: count }, async (_, lane) => {
    for (const [i, thing] of left) results[i] = await work(pools[lane % pools.length]!, thing);
  });
  await Promise.all(lanes);
  return results;
}

/** Puts a product on sale. */
function aProduct(sku: string, stock: Record<string, number>): Promise<void> {
  const places = Object.entries(stock).map(([warehouse, quantity]) => ({ warehouse, quantity }));
  const product = { sku, name: 'A thing', price: cents(1), lowStockAt: 0, stock: places };
  return catalogue.add(product, LOCAL_OPERATOR, ACTOR);
}

let placed = 0;

/** Places an order for each list of lines. @returns their ids */
async function ordersFor(orders: readonly WantedLine[][]): Promise<string[]> {
  const made = orders.map((lines) => ({ id: `ORD-${String(++placed).padStart(16, '0')}`, lines }));
  await own.part.query(
    sql`insert into orders (id, placed_by, user_id, currency, total_cents, shipping_address, payment_method)
        select id, 'test', 'U1', 'USD', 1, 'x', 'CARD' from json_to_recordset(${JSON.stringify(made)}::json) as made(id text)`,
  );
  await own.part.query(
    sql`insert into order_lines (order_id, sku, name, quantity, price_cents)
        select id, sku, 'A thing', quantity, 1
        from json_to_recordset(${JSON.stringify(made)}::json) as made(id text, lines json),
          json_to_recordset(lines) as line(sku text, quantity integer)`,
  );
  return made.map(({ id }) => id);
}

/** Does something with an order that is locked, as the workflow does. */
function withOrder<T>(database: Database, id: string, work: (tx: Executor) => Promise<T>): Promise<T> {
  return database.transaction(async (tx) => {
    await tx.query(sql`select 1 from orders where id = ${id} for update`);
    return work(tx);
  });
}

/** How one is told that a product is sold out. */
function soldOut(sku: string): Shortage[] {
  return [{ sku, requested: 1, available: 0 }];
}

/** Buys by a read and then a write. @returns whether there was something */
async function buyNaively(database: Database, sku: string): Promise<boolean> {
  const readThenWrite = async (executor: Executor): Promise<boolean> => {
    const [{ available } = { available: 0 }] = await executor.query<{ available: number }>(
      sql`select on_hand - reserved as available from naive_stock where sku = ${sku}`,
    );
    if (available < 1) return false;
    await executor.query(sql`update naive_stock set reserved = reserved + 1 where sku = ${sku}`);
    return true;
  };
  return database.transaction(readThenWrite);
}

/** Where the books do not add up: stock against its movements, what is reserved against the reservations. */
function wrongPlaces(): Promise<object[]> {
  return own.part.query(
    sql`select * from (
          select sku, warehouse, on_hand, reserved,
            (select coalesce(sum(quantity), 0) from stock_movements as moved
              where moved.sku = stock.sku and moved.warehouse = stock.warehouse)::float8 as moved,
            (select coalesce(sum(quantity), 0) from reservations as promised
              where promised.sku = stock.sku and promised.warehouse = stock.warehouse and state = 'held')::float8 as promised
          from stock
        ) as places
        where on_hand <> moved or reserved <> promised or reserved > on_hand`,
  );
}

/** How much of some products is there, and how much of it is promised. */
async function levelOf(skus: string): Promise<{ on_hand: number; reserved: number }> {
  const [level] = await own.part.query<{ on_hand: number; reserved: number }>(
    sql`select sum(on_hand)::float8 as on_hand, sum(reserved)::float8 as reserved from stock where sku like ${skus}`,
  );
  return level!;
}

describe('The last unit', () => {
  it(
    'goes to exactly one of many who want it at once, round after round',
    async () => {
      for (let round = 1; round <= ROUNDS; round++) {
        const sku = `LAST-${round}`;
        await aProduct(sku, { EAST: 1 });
        const orders = await ordersFor(Array.from({ length: BUYERS }, () => [{ sku, quantity: 1 }]));
        const told = await inLanes(orders, (database, id) => withOrder(database, id, (tx) => reserve(tx, id)));
        expect(told.filter(({ length }) => length === 0)).toHaveLength(1);
        expect(told.filter(({ length }) => length > 0)).toEqual(Array(BUYERS - 1).fill(soldOut(sku)));
      }
      expect(await levelOf('LAST-%')).toEqual({ on_hand: ROUNDS, reserved: ROUNDS });
      expect(await wrongPlaces()).toEqual([]);
    },
    LONG_MS,
  );

  it('would go to several by a read and then a write', async () => {
    const winners: number[] = [];
    for (let round = 1; round <= ROUNDS && !winners.some((won) => won > 1); round++) {
      const sku = `NAIVE-${round}`;
      await own.part.query(sql`insert into naive_stock values (${sku}, 1, 0)`);
      const won = await inLanes(Array<string>(BUYERS).fill(sku), buyNaively);
      winners.push(won.filter(Boolean).length);
    }
    expect(Math.max(...winners)).toBeGreaterThan(1);
    const [worst] = await own.part.query(sql`select max(reserved - on_hand) > 0 as oversold from naive_stock`);
    expect(worst).toEqual({ oversold: true });
  });
});

describe('A hundred units', () => {
  it(
    `go to a hundred of ${CROWD} buyers, and the others are told that there is nothing left`,
    async () => {
      await aProduct('RUSH', { EAST: 60, WEST: 40 });
      const orders = await ordersFor(Array.from({ length: CROWD }, () => [{ sku: 'RUSH', quantity: 1 }]));
      const told = await inLanes(orders, (database, id) => withOrder(database, id, (tx) => reserve(tx, id)));
      expect(told.filter(({ length }) => length === 0)).toHaveLength(100);
      expect(told.filter(({ length }) => length > 0)).toEqual(Array(CROWD - 100).fill(soldOut('RUSH')));
      expect(await levelOf('RUSH')).toEqual({ on_hand: 100, reserved: 100 });
      expect(await wrongPlaces()).toEqual([]);
    },
    LONG_MS,
  );

  it('would go to more buyers by a read and then a write', async () => {
    await own.part.query(sql`insert into naive_stock values ('RUSH', 100, 0)`);
    const won = await inLanes(Array<string>(CROWD).fill('RUSH'), buyNaively);
    expect(won.filter(Boolean).length).toBeGreaterThan(100);
  });
});

describe('Orders of several hot products', () => {
  /** What is wanted: two to four of five products, in any order. */
  function wantedOf(family: string): WantedLine[][] {
    const skus = [1, 2, 3, 4, 5].map((n) => `${family}-${n}`);
    return Array.from({ length: MIXED_ORDERS }, (_, i) =>
      shuffled(skus, i)
        .slice(0, 2 + (i % 3))
        .map((sku, line) => ({ sku, quantity: 1 + ((i + line) % 3) })),
    );
  }

  async function onSale(family: string, each: number): Promise<void> {
    for (let n = 1; n <= 5; n++) await aProduct(`${family}-${n}`, { EAST: each, WEST: each });
  }

  /** How an order's stock fares: promised, and then kept, given back, taken out, or both of these tried at once. */
  async function fares(database: Database, id: string, i: number): Promise<'short' | 'held' | 'freed' | 'gone'> {
    const shortages = await withOrder(database, id, (tx) => reserve(tx, id));
    if (i % 7 === 0) {
      await catalogue.restock(`HOT-${1 + (i % 5)}`, i % 2 ? 'EAST' : 'WEST', 5, LOCAL_OPERATOR, ACTOR);
    }
    if (shortages.length > 0) return 'short';
    if (i % 4 === 0) return 'held';
    const [freed, gone] = await Promise.all([
      i % 4 === 2 ? 0 : withOrder(database, id, (tx) => release(tx, id)),
      i % 4 === 1 ? 0 : withOrder(database, id, (tx) => fulfilReservation(tx, id, ACTOR.name)),
    ]);
    expect([freed, gone].filter((pieces) => pieces > 0)).toHaveLength(1);
    return freed > 0 ? 'freed' : 'gone';
  }

  it(
    'are promised, given back, taken out and restocked all at once, and all adds up and nobody is turned away',
    async () => {
      await onSale('HOT', MIXED_ORDERS / 10);
      const orders = await ordersFor(wantedOf('HOT'));
      const results = await inLanes([...orders.entries()], (database, [i, id]) => fares(database, id, i));
      expect([...new Set(results)].sort()).toEqual(['freed', 'gone', 'held', 'short']);
      expect(await wrongPlaces()).toEqual([]);
      const states = await own.part.query<{ state: string; orders: number }>(
        sql`select state, count(distinct order_id)::float8 as orders from reservations
            where sku like 'HOT-%' group by state order by state`,
      );
      const count = (fate: string): number => results.filter((each) => each === fate).length;
      expect(states).toEqual([
        { state: 'held', orders: count('held') },
        { state: 'released', orders: count('freed') },
        { state: 'shipped', orders: count('gone') },
      ]);
    },
    LONG_MS,
  );

  it(
    'would run into each other line by line, in the order given',
    async () => {
      await onSale('JAM', 1_000_000);
      const refused: unknown[] = [];
      const lineByLine = async (tx: Executor, lines: WantedLine[]): Promise<void> => {
        for (const { sku, quantity } of lines) {
          await tx.query(
            sql`update stock set reserved = reserved + ${quantity}
                where sku = ${sku} and warehouse = 'EAST' and on_hand - reserved >= ${quantity}`,
          );
        }
      };
      // PostgreSQL takes a second to end each deadlock, and few orders at once have few.
      const few = 3;
      await inLanes(
        wantedOf('JAM'),
        async (database, lines) => {
          if (refused.length > 0) return;
          await database.transaction((tx) => lineByLine(tx, lines)).catch((error: unknown) => refused.push(error));
        },
        few,
      );
      expect(refused.map(sqlStateOf)).toContain('40P01');
      for (const error of refused) expect(error).toBeInstanceOf(DatabaseUnavailable);
    },
    LONG_MS,
  );
});
