import { Logger } from '@nestjs/common';
import { Client } from 'pg';
import { migrate } from '../src/platform/database/migrations.js';

const ENTRIES_PER_STATEMENT = 250_000;

/** What a ledger is to hold. Every user orders in turn; the orders are spread evenly over the months. */
export interface LedgerShape {
  entries: number;
  users: number;
  /** From January 2025 on, at most 12. */
  months: number;
}

/** The n-th user of a filled ledger, from 0. */
export function filledUser(n: number): string {
  return `U${String(n).padStart(6, '0')}`;
}

/**
 * Fills the ledger of a new database by SQL, as appends would have: orders of two lines, of each user one in ten
 * corrected and one in ten failed. The hashes of its history are made up; nobody can tell but who makes them anew.
 */
export async function fillLedger(databaseUrl: string, shape: LedgerShape): Promise<void> {
  const client = new Client(databaseUrl);
  await client.connect();
  try {
    await migrate(client, new Logger('Bench'));
    await client.query('set synchronous_commit = off');
    for (let from = 0; from < shape.entries; from += ENTRIES_PER_STATEMENT) {
      await fillPart(client, shape, from, Math.min(from + ENTRIES_PER_STATEMENT, shape.entries));
    }
    await client.query(
      `update ledger_head set position = last.position, entry_hash = last.entry_hash
       from (select position, entry_hash from ledger order by position desc limit 1) last`,
    );
    // Else it would happen by itself, in the middle of a measurement.
    await client.query('vacuum (analyze) ledger, counted_orders, failed_contents');
    await client.query('checkpoint');
  } finally {
    await client.end();
  }
}

/** Fills in the entries after one position up to and including another. */
async function fillPart(
  client: Client,
  { entries, users, months }: LedgerShape,
  from: number,
  to: number,
): Promise<void> {
  await client.query(`
    with numbered as (
      select position, (position - 1) % ${users} as of_user, (position - 1) / ${users} % 10 as turn,
        (position - 1) * ${months}::float8 / ${entries} as month,
        'ORD-' || lpad(position::text, 9, '0') as order_id, 500 + position % 9000 as price, 1 + position % 3 as quantity
      from generate_series(${from + 1}::bigint, ${to}) position
    ), made as (
      select *, turn = 9 as fails, 'U' || lpad(of_user::text, 6, '0') as user_id,
        timestamptz '2025-01-01 00:00Z' + make_interval(months => floor(month)::int, secs => (month - floor(month)) * 28 * 86400)
          as ordered_at,
        'P' || lpad((position % 60)::text, 3, '0') as product, 'P' || lpad((position % 7 + 60)::text, 3, '0') as other_product
      from numbered
    )
    insert into ledger (
      position, kind, outcome, order_id, user_id, ordered_at, value_cents, claimed_cents, lines, reasons, content_hash,
      entry_hash, message_id, sent_at, received_at, body, body_hash
    )
    select *, sha256(convert_to(body, 'UTF8')) from (
    select position, 'order', case when fails then 'failed' when turn = 4 then 'corrected' else 'accepted' end,
      order_id, user_id, ordered_at, case when not fails then price * (quantity + 1) end, price * (quantity + 1),
      case when fails then '{}' else array[
        (product, quantity, price / 100.0, price * quantity)::ledger_line, (other_product, 1, price / 100.0, price)::ledger_line
      ] end,
      case when fails then array['invalid_quantity'] else '{}' end,
      sha256(order_id::bytea), sha256(position::text::bytea), 'message-' || order_id, ordered_at, ordered_at,
      '{"order_id":"' || order_id || '","user_id":"' || user_id || '","order_timestamp":"' || ordered_at ||
      '","order_value":' || price * (quantity + 1) / 100.0 || ',"items":[{"product_id":"' || product || '","quantity":' || quantity ||
      ',"price_per_unit":' || price / 100.0 || '},{"product_id":"' || other_product || '","quantity":1,"price_per_unit":' ||
      price / 100.0 || '}],"shipping_address":"12 Harbour Road, Bristol","payment_method":"CARD"}' as body
    from made) filled order by position`);
  await client.query(
    `insert into counted_orders select order_id, content_hash, position from ledger
     where position > ${from} and position <= ${to} and outcome <> 'failed' order by position`,
  );
  await client.query(
    `insert into failed_contents select content_hash, position from ledger
     where position > ${from} and position <= ${to} and outcome = 'failed'`,
  );
}
