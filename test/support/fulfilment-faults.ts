import { sql, type SQL } from 'drizzle-orm';
import { TRANSITIONS, ORDER_STATUSES } from '../../src/fulfilment/workflow/order-states.rules.js';
import type { Executor } from '../../src/platform/database/database.js';

const FINAL = sql.join(
  ORDER_STATUSES.filter((status) => TRANSITIONS[status].length === 0).map((status) => sql`${status}`),
  sql`, `,
);

/** What each order's customer has paid by the simulated provider's own books: captures less refunds, in cents. */
const KEPT = sql`(
  select orders.id, orders.status, orders.total_cents as total,
    coalesce((select sum(captured_cents) from simulated_charges where order_id = orders.id), 0)
      - coalesce((
          select sum(refund.amount_cents) from simulated_refunds refund
            join simulated_charges charge on charge.key = refund.charge_key
          where charge.order_id = orders.id and refund.refunded_at is not null
        ), 0) as kept,
    exists (select 1 from failed_jobs where order_id = orders.id and state = 'open') as is_listed
  from orders
)`;

/** By place: what is held, and what its movements come to. */
const PLACES = sql`(
  select on_hand, reserved,
    coalesce((
      select sum(quantity) from reservations held
      where held.sku = stock.sku and held.warehouse = stock.warehouse and state = 'held'
    ), 0) as held,
    coalesce((
      select sum(quantity) from stock_movements moved
      where moved.sku = stock.sku and moved.warehouse = stock.warehouse
    ), 0) as moved
  from stock
)`;

/** Each is a query for what must not be there once all is settled. */
const FAULTS = {
  /** Orders that are neither at an end nor listed for somebody to see to. */
  'under way': sql`select 1 from ${KEPT} kept where status not in (${FINAL}) and not is_listed`,
  'paid for in part or too often': sql`select 1 from ${KEPT} kept where kept not in (0, total)`,
  'completed without pay': sql`select 1 from ${KEPT} kept where status = 'completed' and kept <> total`,
  'paid for nothing': sql`
    select 1 from ${KEPT} kept where status in (${FINAL}) and status <> 'completed' and kept <> 0 and not is_listed`,
  'charges of no attempt': sql`
    select 1 from simulated_charges charge where captured_cents > 0 and not exists (
      select 1 from payment_attempts attempt
      where attempt.id::text = charge.key and attempt.order_id = charge.order_id and attempt.state = 'captured'
        and attempt.amount_cents = charge.captured_cents
    )`,
  'captures that the provider knows nothing of': sql`
    select 1 from payment_attempts attempt where state = 'captured' and not exists (
      select 1 from simulated_charges charge where charge.key = attempt.id::text and charge.captured_cents > 0
    )`,
  'refunds that only one side knows of': sql`
    select 1 from payment_attempts attempt
      full join (select * from simulated_refunds where refunded_at is not null) refund
        on refund.charge_key = attempt.id::text
    where (attempt.refunded_at is null) <> (refund.refunded_at is null)`,
  'payments still to be undone': sql`select 1 from payment_attempts where compensation = 'due'`,
  'stock held for orders at their end': sql`
    select 1 from reservations join orders on orders.id = order_id where state = 'held' and status in (${FINAL})`,
  'places with other reservations than they say': sql`select 1 from ${PLACES} place where held <> reserved`,
  'places with other stock than was moved': sql`select 1 from ${PLACES} place where moved <> on_hand`,
  'orders of which something else was shipped': sql`
    select 1 from orders join order_lines line on line.order_id = orders.id
    where case when status in ('shipped', 'completed') then line.quantity else 0 end <> (
      select coalesce(-sum(moved.quantity), 0) from stock_movements moved
      where moved.order_id = orders.id and moved.sku = line.sku
    )`,
  'timelines with gaps': sql`
    select 1 from orders where events <> (select count(*) from order_timeline where order_id = orders.id)
      or events <> (select max(sequence) from order_timeline where order_id = orders.id)`,
  'messages in the outbox': sql`select 1 from outbox`,
} satisfies Record<string, SQL>;

/** What can be wrong with orders, their money and their stock once everything is settled. */
export type FulfilmentFault = keyof typeof FAULTS;

/** What is wrong with all orders of a database, and how often; empty where nothing is. */
export async function fulfilmentFaults(executor: Executor): Promise<Partial<Record<FulfilmentFault, number>>> {
  const counts = Object.entries(FAULTS).map(
    ([fault, found]) => sql`select ${fault}::text as fault, count(*)::float8 as count from (${found}) found`,
  );
  const rows = await executor.query<{ fault: FulfilmentFault; count: number }>(sql.join(counts, sql` union all `));
  return Object.fromEntries(rows.filter(({ count }) => count > 0).map(({ fault, count }) => [fault, count]));
}

/** What statistics have to say of all orders: those that were ever paid, and what is left of their totals, in cents. */
export async function paidOrders(executor: Executor): Promise<{ orders: number; revenue: number }> {
  const [paid] = await executor.query<{ orders: number; revenue: number }>(
    sql`select count(*)::float8 as orders,
          coalesce(sum(total_cents) - coalesce(sum(amount_cents) filter (where refunded_at is not null), 0), 0)::float8
            as revenue
        from orders join payment_attempts on order_id = orders.id where paid_order`,
  );
  return paid!;
}
