-- Settles messages that say they retry a failed entry, one after the other.
--
-- entries   what append_entries takes, and of each the "repair_id" it names. That is honoured where the repair was
--           recorded, with this very body, and is under way: then either the order counts (or counted before, with the
--           same content) and an entry of kind repair follows it in the same transaction, or the repair ends with its
--           reasons and nothing is appended. A message that names no such repair is an event like any other. A refund
--           that was put in an order's place repairs nothing. In the whole call at most 200 refunds that waited are
--           settled, as in one of append_entries.
--
-- Result: of each message its kind ('stored' or 'duplicate' as by append_entries, 'repaired' or 'not_repaired'), its
-- outcome, its reasons and its position.
create or replace function append_retries(entries json)
returns table (i integer, kind text, outcome text, reasons text[], "position" bigint)
language plpgsql
set jit = off
as $$
#variable_conflict use_column
declare
  entry json;
  repair repairs%rowtype;
  failed ledger%rowtype;
  repair_entry ledger%rowtype;
  head ledger_head%rowtype;
  appended record;
  faults text[];
  -- An append adds an entry of its own, and one for each refund that it settles.
  left_to_settle integer := 200;
begin
  -- All that follows is decided under the head's lock, each statement with a snapshot taken after it.
  perform from ledger_head for update;

  for entry in select json_array_elements(entries) loop
    i := (entry ->> 'i')::integer;
    select * into strict head from ledger_head;

    select repairs.* into repair
    from repairs join ledger on ledger.position = failed_position
    where repairs.id = (entry ->> 'repair_id')::uuid and coalesce(repairs.body, ledger.body) = entry ->> 'body'
    for update of repairs;

    if not found then
      select * into strict appended
      from append_entries(
        case when entry ->> 'kind' = 'refund' then '[]' else json_build_array(entry) end,
        case when entry ->> 'kind' = 'refund' then json_build_array(entry) end,
        max_settled => left_to_settle
      );
      select left_to_settle - greatest(ledger_head.position - head.position - 1, 0) into left_to_settle from ledger_head;
      kind := case when appended.duplicate then 'duplicate' else 'stored' end;
      outcome := appended.outcome;
      reasons := appended.reasons;
      "position" := appended.position;
      return next;
      continue;
    end if;

    outcome := entry ->> 'outcome';
    -- One that was given up because nothing was heard of it may still come, out of the dead letters perhaps.
    if repair.state <> 'pending' and (
      repair.reasons <> '{not_processed}' or exists (
        select from repairs other
        where other.failed_position = repair.failed_position and other.state = 'pending'
      )
    ) then
      -- Delivered again after it was settled.
      kind := 'duplicate';
      reasons := repair.reasons;
      "position" := coalesce(repair.counted_position, repair.failed_position);
      return next;
      continue;
    end if;

    faults := array(select json_array_elements_text(entry -> 'reasons'));
    if entry ->> 'kind' = 'refund' then
      faults := faults || array['not_an_order'];
    elsif exists (
      select from counted_orders
      where order_id = entry ->> 'order_id' and content_hash <> decode(entry ->> 'content_hash', 'hex')
    ) then
      faults := faults || array['conflicting_duplicate'];
    end if;
    if exists (select from ledger where kind = 'repair' and ref_position = repair.failed_position) then
      faults := faults || array['already_repaired'];
    end if;
    if cardinality(faults) > 0 then
      update repairs set state = 'failed', reasons = faults, ended_at = clock_timestamp() where id = repair.id;
      kind := 'not_repaired';
      outcome := 'failed';
      reasons := faults;
      "position" := repair.failed_position;
      return next;
      continue;
    end if;

    select * into strict appended from append_entries(json_build_array(entry), max_settled => left_to_settle);
    select left_to_settle - greatest(ledger_head.position - head.position - 1, 0) into left_to_settle from ledger_head;
    select * into strict head from ledger_head;
    select * into strict failed from ledger where ledger.position = repair.failed_position;
    head.position := head.position + 1;
    repair_entry := row(
      head.position, 'repair', appended.outcome, failed.order_id, failed.user_id, failed.ordered_at, null, null, '{}', '{}',
      failed.content_hash, null, entry ->> 'message_id', repair.failed_position, null, repair.requested_by,
      to_timestamp((entry ->> 'sent_at')::double precision / 1000.0),
      to_timestamp((entry ->> 'received_at')::double precision / 1000.0), '', sha256('')
    );
    head.entry_hash := sha256(head.entry_hash || entry_item(repair_entry));
    repair_entry.entry_hash := head.entry_hash;
    insert into ledger select repair_entry.*;
    update ledger_head set position = head.position, entry_hash = head.entry_hash;
    update repairs
    set state = 'repaired', reasons = '{}', counted_position = appended.position, repair_position = head.position,
      ended_at = clock_timestamp()
    where id = repair.id;
    kind := 'repaired';
    outcome := appended.outcome;
    reasons := '{}';
    "position" := appended.position;
    return next;
  end loop;
end
$$;
