-- Appends a refund as an entry, failed where it has faults.
--
-- head            the ledger's head, whose row the caller has locked
-- refund          the refund event
-- faults          why it fails; empty where it counts
-- order_user      the user of its order, order_position the entry of its order; null where it failed by what it says itself
--
-- Result: the new head. The caller stores it once per call: each update leaves a dead row that later reads pass.
create or replace function append_refund(
  head ledger_head, refund refund_event, faults text[], order_user text, order_position bigint
) returns ledger_head
language plpgsql
set jit = off
as $$
#variable_conflict use_column
declare
  final_outcome text := case when cardinality(faults) > 0 then 'failed' else 'accepted' end;
  counted_cents bigint := case when cardinality(faults) = 0 then refund.cents end;
  final_content bytea := case when cardinality(faults) > 0 then refund.failure_hash else refund.content_hash end;
  entry ledger;
begin
  head.position := head.position + 1;
  entry := row(
    head.position, 'refund', final_outcome, refund.order_id, order_user, refund.refunded_at, counted_cents, refund.cents,
    '{}', faults, final_content, null, refund.message_id, order_position, refund.refund_id, null, refund.sent_at,
    refund.received_at, refund.body, sha256(convert_to(refund.body, 'UTF8'))
  );
  head.entry_hash := sha256(head.entry_hash || entry_item(entry));
  entry.entry_hash := head.entry_hash;
  insert into ledger select entry.*;
  if final_outcome = 'failed' then
    insert into failed_contents values (final_content, head.position);
  else
    insert into counted_refunds values (refund.refund_id, final_content, head.position);
  end if;
  return head;
end
$$;
