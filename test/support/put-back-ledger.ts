import { sql } from 'drizzle-orm';
import type { Executor } from '../../src/platform/database/database.js';
import { cents } from '../../src/domain/money.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import { aValidatedMessage, entriesArgument } from './validated-messages.js';
import { allowLedgerChanges } from './stores.js';

/** Puts a ledger back to an earlier position, as restoring a backup does, and appends other entries. */
export async function putLedgerBack(tx: Executor, position: number, appended: number): Promise<void> {
  await allowLedgerChanges(tx);
  for (const table of ['ledger', 'counted_orders', 'failed_contents']) {
    await tx.query(sql`delete from ${sql.identifier(table)} where position > ${position}`);
  }
  await tx.query(
    sql`update ledger_head set position = ${position},
          entry_hash = (select entry_hash from ledger where position = ${position})`,
  );
  const others = Array.from({ length: appended }, (_, i) => anEntryOfTraffic(i));
  if (appended > 0) await tx.query(sql`select * from append_entries(${entriesArgument(others)}::json)`);
}

/** What the service makes of a right order of {@link Traffic}. */
export function anEntryOfTraffic(i = 0): ValidatedMessage {
  return aValidatedMessage({
    userId: `U${i % 3}`,
    value: cents(1_037),
    lines: [
      { product_id: 'PA', quantity: 1, price_per_unit: '4.37', cents: cents(437) },
      { product_id: 'PB', quantity: 2, price_per_unit: '3', cents: cents(600) },
    ],
  });
}
