import { Logger } from '@nestjs/common';
import { Client } from 'pg';
import { migrate } from '../src/platform/database/migrations.js';
import { PRODUCTS, skuOf } from './order-items.js';

/** Of each product; no measurement comes near it. */
const PIECES = 1_000_000;

/** Puts products on sale by SQL, of each more than anybody orders; makes the tables where no service has made them. */
export async function stockCatalogue(databaseUrl: string): Promise<void> {
  const client = new Client(databaseUrl);
  await client.connect();
  try {
    await migrate(client, new Logger('Bench'));
    const skus = Array.from({ length: PRODUCTS }, (_, n) => skuOf(n));
    await client.query("insert into warehouses (code, name) values ('BENCH', 'Bench') on conflict do nothing");
    await client.query(
      `insert into products (sku, name, price_cents, low_stock_at)
       select sku, 'A product to measure with', 1299, 0 from unnest($1::text[]) sku`,
      [skus],
    );
    await client.query(
      `insert into stock (sku, warehouse, on_hand) select sku, 'BENCH', $2 from unnest($1::text[]) sku`,
      [skus, PIECES],
    );
    await client.query('analyze products, stock');
  } finally {
    await client.end();
  }
}
