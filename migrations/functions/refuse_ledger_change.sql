-- Trigger of ledger: refuses every change but taking out of a body what it says of a person.
create or replace function refuse_ledger_change() returns trigger
language plpgsql
as $$ begin raise exception 'the ledger is only ever appended to'; end $$;

-- An erasure leaves a mark.
create or replace trigger ledger_is_kept before update on ledger for each row
when (
  entry_item(old) is distinct from entry_item(new)
  or old.entry_hash is distinct from new.entry_hash
  or position('[erased]' in new.body) = 0
)
execute function refuse_ledger_change();

create or replace trigger ledger_is_never_shortened before delete or truncate on ledger for each statement
execute function refuse_ledger_change();
