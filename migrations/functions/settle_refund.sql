-- Settles a refund that is valid in itself: it counts, or fails for what the ledger holds.
--
-- head      the ledger's head, whose row the caller has locked; comes back as it is after the refund
-- refund    the refund event
--
-- Result: its position, the reasons why it failed, and whether it is a duplicate of that position. The position is null,
-- and nothing is written, where its order is not counted (yet).
create or replace function settle_refund(
  inout head ledger_head, refund refund_event, out "position" bigint, out reasons text[], out duplicate boolean
)
language plpgsql
set jit = off
as $$
#variable_conflict use_column
declare
  refunded record;
  counted record;
begin
  reasons := '{}';
  duplicate := false;
  select ledger.position, ledger.user_id, ledger.value_cents, ledger.ordered_at into refunded
  from counted_orders join ledger on ledger.position = counted_orders.position
  where counted_orders.order_id = refund.order_id;
  if not found then
    return;
  end if;

  select counted_refunds.position as at, content_hash = refund.content_hash as same into counted
  from counted_refunds where refund_id = refund.refund_id;
  if counted.same then
    "position" := counted.at;
    duplicate := true;
    return;
  elsif counted.at is not null then
    reasons := array['conflicting_duplicate'];
  -- More than 366 days earlier is a mistyped year or a zero timestamp.
  elsif refund.refunded_at < refunded.ordered_at - interval '366 days' then
    reasons := array['refund_before_order'];
  else
    insert into refunded_orders as known (order_id, refunded_cents)
    select refund.order_id, refund.cents where refund.cents <= refunded.value_cents
    on conflict (order_id) do update set refunded_cents = known.refunded_cents + excluded.refunded_cents
    where known.refunded_cents + excluded.refunded_cents <= refunded.value_cents;
    if not found then
      reasons := array['refund_exceeds_order'];
    end if;
  end if;

  if cardinality(reasons) > 0 then
    "position" := (select failed_contents.position from failed_contents where content_hash = refund.failure_hash);
    duplicate := "position" is not null;
  end if;
  if not duplicate then
    head := append_refund(head, refund, reasons, refunded.user_id, refunded.position);
    "position" := head.position;
  end if;
end
$$;
