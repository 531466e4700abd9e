import type { LedgerQuery } from './ledger-audit.js';

/**
 * Plants a bug into a ledger: it does not know contents again, so that a repeat in a later append is stored as something
 * new, of an order that counts as a conflict and of a failed one as another failure.
 */
export async function makeForgetful(query: LedgerQuery): Promise<void> {
  await query(
    `create function forget() returns trigger language plpgsql as $$ begin
       new.content_hash := sha256(new.content_hash || convert_to(new.position::text, 'UTF8'));
       return new;
     end $$`,
  );
  for (const table of ['counted_orders', 'failed_contents']) {
    await query(`create trigger forget before insert on ${table} for each row execute function forget()`);
  }
}
