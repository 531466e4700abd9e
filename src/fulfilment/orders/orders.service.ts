import { Inject, Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { randomBytes } from 'node:crypto';
import { Audit } from '../../platform/audit/audit.js';
import { Database, type Executor } from '../../platform/database/database.js';
import { accountName, type Actor, type Caller } from '../../shared/access.js';
import { addDays, BusinessCalendar } from '../../domain/business-time.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { type FieldError, InvalidInput, NotFound } from '../../shared/errors.js';
import { cents, type Cents, decimalOf } from '../../domain/money.js';
import { IdempotencyKeys, type FirstAnswer, type RepeatableRequest } from './idempotency.service.js';
import { orderIdFrom } from './order-id.rules.js';
import type { OrderStatus } from '../workflow/order-states.rules.js';
import { OrderWorkflow, type TimelineEvent } from '../workflow/order-workflow.service.js';
import { Outbox, stepMessage } from '../messaging/outbox.repository.js';

/** Whose orders are that nobody in particular places: the operator of a service that asks nobody to log in. */
export const OPERATORS_USER_ID = 'U-OPERATOR';

/** Of one SKU in one order, as order events have it. */
export const MAX_QUANTITY = 1_000_000;

/** What a customer wants. */
export interface NewOrder {
  currency: string;
  /** A SKU may come several times. */
  items: { sku: string; quantity: number }[];
  shippingAddress: string;
  /** Upper-cased. */
  paymentMethod: string;
  /** Whose it is, where that is not the caller. */
  userId?: string;
}

/** An order without its lines. */
export interface Order {
  id: string;
  number: number;
  userId: string;
  status: OrderStatus;
  currency: string;
  total: Cents;
  shippingAddress: string;
  paymentMethod: string;
  /** ms UTC. */
  placedAt: number;
  /** ms UTC. */
  changedAt: number;
}

/** What was ordered of one product, at the price of then. */
export interface OrderedLine {
  sku: string;
  name: string;
  quantity: number;
  price: Cents;
}

/** Something that happened to an order. */
export interface TimelineEntry {
  sequence: number;
  event: TimelineEvent;
  status: OrderStatus;
  detail: Record<string, unknown> | null;
  actor: string;
  /** ms UTC. */
  at: number;
}

/** Which orders are wanted; everything given must hold. Days are `YYYY-MM-DD` in BUSINESS_TIME_ZONE, both inclusive. */
export interface OrderFilter {
  status?: OrderStatus;
  start?: string;
  end?: string;
  sku?: string;
  /** Only orders placed before this one. */
  before?: { placedAt: number; number: number };
}

const COLUMNS = sql`id, number, user_id as "userId", status, currency, total_cents as total,
  shipping_address as "shippingAddress", payment_method as "paymentMethod",
  placed_at as "placedAt",
  changed_at as "changedAt"`;

/** Takes orders, and tells of them. */
@Injectable()
export class Orders {
  private readonly calendar: BusinessCalendar;

  constructor(
    private readonly database: Database,
    private readonly workflow: OrderWorkflow,
    private readonly outbox: Outbox,
    private readonly keys: IdempotencyKeys,
    private readonly audit: Audit,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
  }

  /**
   * Takes an order at the catalogue's prices, once per idempotency key: order, timeline, audit, the message to the inventory
   * and the answer to a repeated request are one transaction.
   * @param answer what the request is answered with
   * @throws InvalidInput @throws RequestInFlight @throws IdempotencyKeyReused @throws DatabaseUnavailable
   */
  async place<Answer>(
    given: NewOrder,
    request: RepeatableRequest,
    caller: Caller,
    actor: Actor,
    answer: (orderId: string) => FirstAnswer<Answer>,
  ): Promise<FirstAnswer<Answer> & { replayed: boolean }> {
    this.assertCurrency(given.currency);
    const wanted = summed(given.items);
    return this.workflow.transaction(async (tx) => {
      const first = await this.keys.take<Answer>(tx, request);
      if (first) return { ...first, replayed: true };
      const lines = await priced(tx, given.items, wanted, this.config.maxOrderCents);
      const id = await this.insert(tx, given, lines, caller, actor);
      const made = answer(id);
      await this.keys.keep(tx, request, made);
      return { ...made, replayed: false };
    });
  }

  /** Orders that a caller may see, newest first. @throws DatabaseUnavailable */
  async page(filter: OrderFilter, caller: Caller, limit: number): Promise<Order[]> {
    const conditions: SQL[] = [mayBeSeenBy(caller)];
    if (filter.status !== undefined) conditions.push(sql`status = ${filter.status}`);
    if (filter.start !== undefined) conditions.push(sql`placed_at >= ${this.beginOf(filter.start)}`);
    if (filter.end !== undefined) conditions.push(sql`placed_at < ${this.beginOf(addDays(filter.end, 1))}`);
    if (filter.before !== undefined) {
      const { placedAt, number } = filter.before;
      conditions.push(sql`(placed_at, number) < (to_timestamp(${placedAt / 1000}::float8), ${number}::bigint)`);
    }
    if (filter.sku !== undefined) {
      conditions.push(sql`exists (select 1 from order_lines where order_id = orders.id and sku = ${filter.sku})`);
    }
    return this.database.query(
      sql`select ${COLUMNS} from orders where ${sql.join(conditions, sql` and `)} order by orders.placed_at desc, orders.number desc limit ${limit}`,
    );
  }

  /** @throws NotFound also where it is somebody else's @throws DatabaseUnavailable */
  async one(id: string, caller: Caller): Promise<Order & { lines: OrderedLine[] }> {
    const [order] = await this.database.query<Order>(
      sql`select ${COLUMNS} from orders where id = ${id} and ${mayBeSeenBy(caller)}`,
    );
    if (!order) throw unknownOrder(id);
    const lines = await this.database.query<OrderedLine>(
      sql`select sku, name, quantity, price_cents as price from order_lines where order_id = ${id} order by sku`,
    );
    return { ...order, lines };
  }

  /**
   * What happened to an order, in order.
   * @param after only what came after this entry @throws NotFound @throws DatabaseUnavailable
   */
  async timeline(id: string, caller: Caller, after: number, limit: number): Promise<TimelineEntry[]> {
    const [order] = await this.database.query(sql`select 1 from orders where id = ${id} and ${mayBeSeenBy(caller)}`);
    if (!order) throw unknownOrder(id);
    const rows = await this.database.query<Omit<TimelineEntry, 'detail'> & { detail: string | null }>(
      sql`select sequence, event, status, detail, actor, at
          from order_timeline where order_id = ${id} and sequence > ${after} order by sequence limit ${limit}`,
    );
    return rows.map((row) => ({
      ...row,
      detail: row.detail === null ? null : (JSON.parse(row.detail) as Record<string, unknown>),
    }));
  }

  /** How many orders are not at their end, by status; those of which there are none are left out. @throws DatabaseUnavailable */
  async underWay(): Promise<Record<string, number>> {
    const rows = await this.database.query<{ status: string; orders: number }>(
      sql`select status, count(*) as orders from orders
          where status in ('pending', 'reserved', 'paid', 'shipped', 'payment_unknown') group by status`,
    );
    return Object.fromEntries(rows.map(({ status, orders }) => [status, orders]));
  }

  private async insert(
    tx: Executor,
    given: NewOrder,
    lines: OrderedLine[],
    caller: Caller,
    actor: Actor,
  ): Promise<string> {
    const id = orderIdFrom(randomBytes(10));
    const total = totalOf(lines);
    const userId = given.userId ?? caller.account?.userId ?? OPERATORS_USER_ID;
    const placedBy = caller.account ? accountName(caller.account.id) : caller.name;
    await tx.query(
      sql`insert into orders (id, placed_by, user_id, currency, total_cents, shipping_address, payment_method, events)
          values (${id}, ${placedBy}, ${userId}, ${given.currency}, ${total}, ${given.shippingAddress},
            ${given.paymentMethod}, 1)`,
    );
    await tx.query(
      sql`insert into order_lines (order_id, sku, name, quantity, price_cents)
          select ${id}, sku, name, quantity, price
          from json_to_recordset(${JSON.stringify(lines)}::json)
            as given(sku text, name text, quantity integer, price bigint)`,
    );
    await tx.query(
      sql`insert into order_timeline (order_id, sequence, event, status, actor)
          values (${id}, 1, 'order.placed', 'pending', ${actor.name})`,
    );
    await this.audit.record(tx, actor, {
      action: 'order.placed',
      target: `order:${id}`,
      after: { status: 'pending', total_cents: total, user_id: userId },
    });
    await this.outbox.add(tx, id, 1, [stepMessage('reserve', id)]);
    return id;
  }

  private beginOf(day: string): SQL {
    return sql`to_timestamp(${this.calendar.beginOf(day) / 1000})`;
  }

  private assertCurrency(currency: string): void {
    if (currency === this.config.currency) return;
    throw new InvalidInput([
      { field: 'currency', message: `must be ${this.config.currency}, which this shop sells in` },
    ]);
  }
}

/** Whether a caller may see an order: one's own, or any with the scope for it. To whoever may not it is not there. */
export function mayBeSeenBy({ account, name, scopes }: Caller): SQL {
  if (scopes.has('orders:manage-any')) return sql`true`;
  return account ? sql`user_id = ${account.userId}` : sql`placed_by = ${name}`;
}

/** There is no such order for this caller. */
export function unknownOrder(id: string): NotFound {
  return new NotFound(`There is no order ${id}, or it is not yours.`);
}

/** @throws InvalidInput */
function summed(items: NewOrder['items']): Map<string, number> {
  const wanted = new Map<string, number>();
  for (const { sku, quantity } of items) wanted.set(sku, (wanted.get(sku) ?? 0) + quantity);
  const wrong = items.flatMap(({ sku }, index): FieldError[] =>
    wanted.get(sku)! > MAX_QUANTITY
      ? [{ field: `items.${index}.quantity`, message: `must come to at most ${MAX_QUANTITY} of ${sku} in one order` }]
      : [],
  );
  if (wrong.length > 0) throw new InvalidInput(wrong);
  return wanted;
}

/** @throws InvalidInput naming every item that the catalogue does not have */
async function priced(
  tx: Executor,
  items: NewOrder['items'],
  wanted: Map<string, number>,
  maxOrderCents: number,
): Promise<OrderedLine[]> {
  const products = await tx.query<Omit<OrderedLine, 'quantity'>>(
    sql`select sku, name, price_cents as price from products
        where sku in (select value from json_array_elements_text(${JSON.stringify([...wanted.keys()])}::json))
        order by products.sku`,
  );
  const known = new Set(products.map(({ sku }) => sku));
  const unknown = items.flatMap(({ sku }, index): FieldError[] =>
    known.has(sku) ? [] : [{ field: `items.${index}.sku`, message: `is not in the catalogue: ${sku}` }],
  );
  if (unknown.length > 0) throw new InvalidInput(unknown);
  const lines = products.map((product) => ({ ...product, quantity: wanted.get(product.sku)! }));
  if (lines.reduce((sum, { price, quantity }) => sum + price * quantity, 0) > maxOrderCents) {
    const most = decimalOf(cents(maxOrderCents)).toFixed(2);
    throw new InvalidInput([{ field: 'items', message: `must come to at most ${most} altogether` }]);
  }
  return lines;
}

function totalOf(lines: OrderedLine[]): Cents {
  return cents(lines.reduce((sum, { price, quantity }) => sum + price * quantity, 0));
}
