import { Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { Audit } from '../../platform/audit/audit.js';
import { Database, type Executor } from '../../platform/database/database.js';
import type { Actor, Caller } from '../../shared/access.js';
import { ClientError, InvalidInput, NotFound } from '../../shared/errors.js';
import type { Cents } from '../../domain/money.js';

/** How much of a product there is, at one place or at all of them. */
export interface Level {
  onHand: number;
  /** What of it is promised to orders. */
  reserved: number;
}

/** What is sold, and how much there is of it. */
export interface Product extends Level {
  sku: string;
  name: string;
  price: Cents;
  /** The account whose it is; null for what no vendor owns. */
  vendorId: string | null;
  /** It is low when no more than this can be sold. */
  lowStockAt: number;
}

/** How much of a product there is at one place. */
export interface StockedPlace extends Level {
  warehouse: string;
}

/** Why there is more or less of a product than before. */
export interface Movement {
  id: number;
  warehouse: string;
  quantity: number;
  cause: 'received' | 'corrected' | 'shipped';
  orderId: string | null;
  actor: string;
  /** ms UTC. */
  at: number;
}

/** What a vendor sells from now on. */
export interface NewProduct {
  sku: string;
  name: string;
  price: Cents;
  lowStockAt: number;
  stock: { warehouse: string; quantity: number }[];
}

/** There is a product of this SKU already. */
export class SkuTaken extends ClientError {
  readonly code = 'sku_taken';
  readonly kind = 'conflict';
  constructor(sku: string) {
    super(`There is a product ${sku} already. Restock it, or take another SKU.`);
  }
}

/** More would be taken away than is there and not promised to an order. */
export class NotInStock extends ClientError {
  readonly code = 'not_in_stock';
  readonly kind = 'conflict';
  constructor(sku: string, warehouse: string, available: number) {
    super(
      `Of ${sku} in ${warehouse} only ${available} can be taken away; the rest is promised to orders, or not there.`,
    );
  }
}

/** Of one product at one place. */
export const MAX_ON_HAND = 1_000_000_000;

const PRODUCT = sql`products.sku, products.name, price_cents as price, vendor_id::text as "vendorId",
  low_stock_at as "lowStockAt", coalesce(level.on_hand, 0) as "onHand",
  coalesce(level.reserved, 0) as reserved`;
const LEVEL = sql`left join lateral (
  select sum(on_hand) as on_hand, sum(reserved) as reserved from stock where stock.sku = products.sku
) level on true`;

/** What is sold, whose it is, what it costs, and how much of it is where. */
@Injectable()
export class Catalogue {
  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /**
   * Products by SKU.
   * @param filter everything given must hold; `after`: only SKUs beyond this one
   * @throws DatabaseUnavailable
   */
  async page(filter: { low?: boolean; vendorId?: string; after?: string }, limit: number): Promise<Product[]> {
    const conditions: SQL[] = [sql`true`];
    if (filter.low !== undefined) {
      const isLow = sql`coalesce(level.on_hand - level.reserved, 0) <= low_stock_at`;
      conditions.push(filter.low ? isLow : sql`not (${isLow})`);
    }
    if (filter.vendorId !== undefined) conditions.push(sql`vendor_id = ${filter.vendorId}::uuid`);
    if (filter.after !== undefined) conditions.push(sql`products.sku > ${filter.after}`);
    return this.database.query(
      sql`select ${PRODUCT} from products ${LEVEL} where ${sql.join(conditions, sql` and `)}
          order by products.sku limit ${limit}`,
    );
  }

  /** What is low, by SKU, and how much of it can be sold. */
  async low(executor: Executor, most: number): Promise<{ sku: string; available: number }[]> {
    return executor.query(
      sql`select products.sku, coalesce(level.on_hand - level.reserved, 0) as available from products ${LEVEL}
          where coalesce(level.on_hand - level.reserved, 0) <= low_stock_at order by products.sku limit ${most}`,
    );
  }

  /** How many products are low. @throws DatabaseUnavailable */
  async countLow(): Promise<number> {
    const [row] = await this.database.query<{ products: number }>(
      sql`select count(*) as products from products ${LEVEL}
          where coalesce(level.on_hand - level.reserved, 0) <= low_stock_at`,
    );
    return row!.products;
  }

  /** @throws NotFound @throws DatabaseUnavailable */
  async one(sku: string): Promise<Product & { places: StockedPlace[] }> {
    const [product] = await this.database.query<Product>(
      sql`select ${PRODUCT} from products ${LEVEL} where products.sku = ${sku}`,
    );
    if (!product) throw unknown(sku);
    const places = await this.database.query<StockedPlace>(
      sql`select warehouse, on_hand as "onHand", reserved from stock
          where sku = ${sku} order by warehouse`,
    );
    return { ...product, places };
  }

  /**
   * Why there is as much as there is of a product that is the caller's, newest first.
   * @param before only such as came before this one @throws NotFound @throws DatabaseUnavailable
   */
  async movements(sku: string, caller: Caller, limit: number, before?: number): Promise<Movement[]> {
    await assertManagedBy(this.database, sku, caller);
    const older = before === undefined ? sql`true` : sql`id < ${before}`;
    return this.database.query(
      sql`select id, warehouse, quantity, cause, order_id as "orderId", actor,
            at
          from stock_movements where sku = ${sku} and ${older} order by id desc limit ${limit}`,
    );
  }

  /** Puts a product on sale. @throws SkuTaken @throws InvalidInput @throws DatabaseUnavailable */
  async add(given: NewProduct, caller: Caller, actor: Actor): Promise<void> {
    const isNew = await this.database.transaction((tx) => this.addMissing(tx, given, vendorOf(caller), actor));
    if (!isNew) throw new SkuTaken(given.sku);
  }

  /**
   * Puts a product on sale, unless there is one of its SKU.
   * @param vendorId the account whose it is; null for nobody's @returns whether it did @throws InvalidInput
   */
  async addMissing(tx: Executor, given: NewProduct, vendorId: string | null, actor: Actor): Promise<boolean> {
    const { sku, name, price, lowStockAt, stock } = given;
    const added = await tx.query(
      sql`insert into products (sku, name, price_cents, vendor_id, low_stock_at)
          values (${sku}, ${name}, ${price}, ${vendorId}::uuid, ${lowStockAt})
          on conflict (sku) do nothing returning 1`,
    );
    if (added.length === 0) return false;
    // In one order always, or two who stock the same places could wait for each other.
    for (const { warehouse, quantity } of stock.toSorted(byWarehouse))
      await move(tx, sku, warehouse, quantity, 'received', actor);
    const after = { price_cents: price, low_stock_at: lowStockAt, stock };
    await this.audit.record(tx, actor, { action: 'product.added', target: `sku:${sku}`, after });
    return true;
  }

  /** Changes a product that is the caller's. @throws NotFound @throws DatabaseUnavailable */
  async change(
    sku: string,
    given: { name?: string; price?: Cents; lowStockAt?: number },
    caller: Caller,
    actor: Actor,
  ): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [before] = await tx.query<{ price: number; lowStockAt: number }>(
        sql`select price_cents as price, low_stock_at as "lowStockAt" from products
            where sku = ${sku} and ${mayBeManagedBy(caller)} for update`,
      );
      if (!before) throw unknown(sku);
      const { name = null, price = before.price, lowStockAt = before.lowStockAt } = given;
      await tx.query(
        sql`update products set name = coalesce(${name}, name), price_cents = ${price}, low_stock_at = ${lowStockAt}
            where sku = ${sku}`,
      );
      await this.audit.record(tx, actor, {
        action: 'product.changed',
        target: `sku:${sku}`,
        before: { price_cents: before.price, low_stock_at: before.lowStockAt },
        after: { price_cents: price, low_stock_at: lowStockAt, renamed: name !== null },
      });
    });
  }

  /**
   * Puts more of a product that is the caller's on a shelf, or takes some away.
   * @param quantity negative to take away
   * @throws NotFound @throws NotInStock @throws InvalidInput @throws DatabaseUnavailable
   */
  async restock(sku: string, warehouse: string, quantity: number, caller: Caller, actor: Actor): Promise<void> {
    await this.database.transaction(async (tx) => {
      await assertManagedBy(tx, sku, caller);
      const after = await move(tx, sku, warehouse, quantity, quantity > 0 ? 'received' : 'corrected', actor);
      await this.audit.record(tx, actor, {
        action: 'stock.moved',
        target: `sku:${sku}`,
        before: { warehouse, on_hand: after - quantity },
        after: { warehouse, on_hand: after },
      });
    });
  }
}

/** @returns how many are there now @throws NotInStock @throws InvalidInput */
async function move(
  tx: Executor,
  sku: string,
  warehouse: string,
  quantity: number,
  cause: Movement['cause'],
  actor: Actor,
): Promise<number> {
  const [place] = await tx.query(sql`select 1 from warehouses where code = ${warehouse}`);
  if (!place) throw new InvalidInput([{ field: 'warehouse', message: 'must be one of GET /api/v1/warehouses' }]);
  await tx.query(sql`insert into stock (sku, warehouse) values (${sku}, ${warehouse}) on conflict do nothing`);
  const [moved] = await tx.query<{ onHand: number }>(
    sql`update stock set on_hand = on_hand + ${quantity}
        where sku = ${sku} and warehouse = ${warehouse}
          and on_hand - reserved + ${quantity} >= 0 and on_hand + ${quantity} <= ${MAX_ON_HAND}
        returning on_hand as "onHand"`,
  );
  if (!moved) {
    const [level] = await tx.query<{ available: number }>(
      sql`select on_hand - reserved as available from stock where sku = ${sku} and warehouse = ${warehouse}`,
    );
    if (quantity < 0) throw new NotInStock(sku, warehouse, level!.available);
    throw new InvalidInput([{ field: 'quantity', message: `must leave at most ${MAX_ON_HAND} in ${warehouse}` }]);
  }
  await tx.query(
    sql`insert into stock_movements (sku, warehouse, quantity, cause, actor)
        values (${sku}, ${warehouse}, ${quantity}, ${cause}, ${actor.name})`,
  );
  return moved.onHand;
}

function byWarehouse(one: { warehouse: string }, other: { warehouse: string }): number {
  return one.warehouse < other.warehouse ? -1 : 1;
}

/** Whose a product is that a caller puts on sale. */
function vendorOf({ account }: Caller): string | null {
  return account?.role === 'vendor' ? account.id : null;
}

/** @throws NotFound */
async function assertManagedBy(executor: Executor, sku: string, caller: Caller): Promise<void> {
  const [mine] = await executor.query(sql`select 1 from products where sku = ${sku} and ${mayBeManagedBy(caller)}`);
  if (!mine) throw unknown(sku);
}

function mayBeManagedBy({ account, scopes }: Caller): SQL {
  return scopes.has('catalogue:manage-any') ? sql`true` : sql`vendor_id = ${account?.id ?? null}::uuid`;
}

function unknown(sku: string): NotFound {
  return new NotFound(`There is no product ${sku}, or it is not yours.`);
}
