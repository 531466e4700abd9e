import type { LedgerQuery } from './ledger-audit.js';

/**
 * Plants a bug into a ledger: all orders of a user have the time of the one that came first. What it says and what figures
 * are made from it then depend on the order in which messages come, and agree with each other.
 */
export async function makeOrderDependent(query: LedgerQuery): Promise<void> {
  await query(
    `create function take_first_time() returns trigger language plpgsql as $$ begin
       new.ordered_at := coalesce(
         (select ordered_at from ledger where kind = 'order' and user_id = new.user_id and ordered_at is not null
          order by position limit 1),
         new.ordered_at
       );
       return new;
     end $$`,
  );
  await query(
    `create trigger take_first_time before insert on ledger for each row
     when (new.kind = 'order' and new.ordered_at is not null) execute function take_first_time()`,
  );
}
