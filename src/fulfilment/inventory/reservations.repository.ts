import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/database/database.js';
import { allocate, type AvailablePlace, type Shortage, type WantedLine } from './allocation.rules.js';

/** How long stock is promised to an order that is not paid. */
export const RESERVATION_SECONDS = 15 * 60;

/**
 * Promises stock to an order that holds none: all of its lines or nothing. The order must be locked; stock is locked by SKU
 * and warehouse, as everywhere.
 * @returns what there was not enough of; empty where all is promised
 */
export async function reserve(tx: Executor, orderId: string): Promise<Shortage[]> {
  const lines = await tx.query<WantedLine>(
    sql`select sku, quantity from order_lines where order_id = ${orderId} order by sku`,
  );
  const places = await tx.query<AvailablePlace>(
    sql`select sku, warehouse, on_hand - reserved as available from stock
        where sku in (select sku from order_lines where order_id = ${orderId})
        order by sku, warehouse for update`,
  );
  const { allocations, shortages } = allocate(lines, places);
  if (shortages.length > 0) return shortages;
  const changed = await tx.query(
    sql`with given as (
          select * from json_to_recordset(${JSON.stringify(allocations)}::json)
            as given(sku text, warehouse text, quantity integer)
        ), promised as (
          insert into reservations (order_id, sku, warehouse, quantity, expires_at)
          select ${orderId}, sku, warehouse, quantity, clock_timestamp() + make_interval(secs => ${RESERVATION_SECONDS})
          from given
        )
        update stock set reserved = reserved + given.quantity from given
        where stock.sku = given.sku and stock.warehouse = given.warehouse
          and on_hand - reserved >= given.quantity
        returning 1`,
  );
  if (changed.length !== allocations.length) throw new Error(`The stock for ${orderId} changed while it was locked`);
  return [];
}

/** Takes back what is promised to a locked order. @returns how many pieces */
export async function release(tx: Executor, orderId: string): Promise<number> {
  await lockStockOf(tx, orderId);
  const [released] = await tx.query<{ pieces: number }>(
    sql`with ended as (
          update reservations set state = 'released' where order_id = ${orderId} and state = 'held'
          returning sku, warehouse, quantity
        ), freed as (
          update stock set reserved = reserved - ended.quantity from ended
          where stock.sku = ended.sku and stock.warehouse = ended.warehouse
        )
        select coalesce(sum(quantity), 0) as pieces from ended`,
  );
  return released!.pieces;
}

/** Takes what is promised to a locked order off the shelves. @returns how many pieces */
export async function fulfilReservation(tx: Executor, orderId: string, actor: string): Promise<number> {
  await lockStockOf(tx, orderId);
  const [taken] = await tx.query<{ pieces: number }>(
    sql`with ended as (
          update reservations set state = 'shipped' where order_id = ${orderId} and state = 'held'
          returning sku, warehouse, quantity
        ), gone as (
          update stock set reserved = reserved - ended.quantity, on_hand = on_hand - ended.quantity from ended
          where stock.sku = ended.sku and stock.warehouse = ended.warehouse
        ), moved as (
          insert into stock_movements (sku, warehouse, quantity, cause, order_id, actor)
          select sku, warehouse, -quantity, 'shipped', ${orderId}, ${actor} from ended
        )
        select coalesce(sum(quantity), 0) as pieces from ended`,
  );
  return taken!.pieces;
}

/** By SKU and warehouse: an update alone would lock the rows in any order. */
async function lockStockOf(tx: Executor, orderId: string): Promise<void> {
  await tx.query(
    sql`select 1 from stock
        where (sku, warehouse) in (
          select sku, warehouse from reservations where order_id = ${orderId} and state = 'held'
        )
        order by sku, warehouse for update`,
  );
}
