-- Appends validated messages to the ledger and returns one row for each.
--
-- entries   JSON array of order events, numbered by "i" in the order that decides between them. "lines" is the text form
--           of ledger_line[], which PostgreSQL reads five times as fast as nested JSON.
-- refunds   JSON array of refund events, numbered in the same sequence. Orders go first: a refund in the same call finds
--           its order counted. A refund whose order is not counted yet is stored in early_refunds.
-- bodies    the bodies as one run of UTF-8 bytes: "body_bytes" of them from "body_at", where 1 is the first. As a part of
--           the JSON a body ("body") would be escaped, read twice and copied more often.
--
-- max_settled  how many of the refunds whose order is counted by now are settled at most; the others stay in early_refunds,
--           and their orders in refunds_due, until a later call
--
-- Result: of each message its outcome ('waiting' for an early refund, which has no position), its reasons, its position,
-- and whether it is a duplicate of that position.
--
-- The lock and the look-up are two statements on purpose: one statement would look with a snapshot taken before it
-- waited for the lock, and miss what the previous holder committed. That also needs READ COMMITTED.
drop function if exists append_entries(json, json, bytea);

create or replace function append_entries(
  entries json, refunds json default null, bodies bytea default null, max_settled integer default 200
)
returns table (i integer, outcome text, reasons text[], "position" bigint, duplicate boolean)
language plpgsql
set plan_cache_mode = force_generic_plan
set jit = off
-- Bodies go through several steps; what exceeds this is written to files on the way.
set work_mem = '64MB'
-- A plan made for an empty key table would later scan it whole.
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  -- How many refunds may wait for one order, and how large the bodies are of which one call settles the refunds.
  max_waiting constant integer := 1000;
  max_bytes constant integer := 8 * 1024 * 1024;
  head ledger_head%rowtype;
  waiting record;
  given record;
  settled record;
  refund refund_event;
  waits boolean;
  before bigint;
  last_order bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'append_entries needs READ COMMITTED' using errcode = 'invalid_transaction_state';
  end if;

  select * into strict head from ledger_head for update;

  return query
  with input as materialized (
    select given.*,
      given.outcome <> 'failed' as passes,
      decode(given.content_hash, 'hex') as content,
      decode(given.failure_hash, 'hex') as failure,
      coalesce(given.body, convert_from(substr(bodies, given.body_at, given.body_bytes), 'UTF8')) as received_body
    from json_to_recordset(entries) as given (
      i integer, outcome text, order_id text, user_id text, ordered_at double precision, value_cents bigint,
      claimed_cents bigint, lines text, reasons text[], content_hash text, failure_hash text, message_id text,
      sent_at double precision, received_at double precision, body text, body_at integer, body_bytes integer
    )
  ),
  -- The first passing message of an order wins, unless the order was counted before.
  first_passing as (
    select distinct on (order_id) order_id, i, content from input where passes order by order_id, i
  ),
  compared as (
    select input.*,
      counted.position as counted_position,
      coalesce(counted.content_hash, case when rival.i < input.i then rival.content end) as counted_content,
      case when counted.position is null and rival.i <= input.i then rival.i end as counted_i
    from input
      -- Limited look-ups, not joins: a plan made once must never come to read a whole key table.
      left join lateral (
        select content_hash, position from counted_orders where order_id = input.order_id limit 1
      ) counted on true
      left join first_passing rival on rival.order_id = input.order_id
  ),
  classified as (
    select compared.*,
      case
        when counted_i = i then 'counts'
        when counted_content = content then 'duplicate'
        else 'fails'
      end as class
    from compared
  ),
  first_failing as (
    select distinct on (failure) failure, i from classified where class = 'fails' order by failure, i
  ),
  settled as (
    select classified.*,
      known.position as failed_position,
      first_failing.i as failed_i,
      class = 'counts' or (class = 'fails' and known.position is null and first_failing.i = classified.i) as stored
    from classified
      left join lateral (
        select position from failed_contents where class = 'fails' and content_hash = failure limit 1
      ) known on true
      left join first_failing on class = 'fails' and first_failing.failure = classified.failure
  ),
  placed as (
    select settled.*,
      head.position + row_number() over (order by i) as new_position,
      case when class = 'fails' then 'failed' else settled.outcome end as final_outcome,
      case when class = 'fails' then failure else content end as final_content,
      case
        when class = 'fails' and counted_content is not null then array_append(settled.reasons, 'conflicting_duplicate')
        else settled.reasons
      end as final_reasons
    from settled
    where stored
  ),
  entries_placed as (
    select i,
      row(
        new_position, 'order', final_outcome, order_id, user_id, to_timestamp(ordered_at / 1000.0),
        case when class = 'counts' then value_cents end, claimed_cents,
        case when class = 'counts' then lines else '{}' end::ledger_line[], final_reasons, final_content,
        null, message_id, null, null, null, to_timestamp(sent_at / 1000.0), to_timestamp(received_at / 1000.0),
        received_body, sha256(convert_to(received_body, 'UTF8'))
      )::ledger as entry
    from placed
  ),
  chained as (
    select i, entry, chain(head.entry_hash, entry_item(entry)) over (order by i) as entry_hash from entries_placed
  ),
  ledgered as (
    insert into ledger (
      position, kind, outcome, order_id, user_id, ordered_at, value_cents, claimed_cents, lines, reasons,
      content_hash, entry_hash, message_id, sent_at, received_at, body, body_hash
    )
    select (entry).position, (entry).kind, (entry).outcome, (entry).order_id, (entry).user_id, (entry).ordered_at,
      (entry).value_cents, (entry).claimed_cents, (entry).lines, (entry).reasons, (entry).content_hash, entry_hash,
      (entry).message_id, (entry).sent_at, (entry).received_at, (entry).body, (entry).body_hash
    from chained
    order by i
  ),
  counted_now as (
    insert into counted_orders select order_id, content, new_position from placed where class = 'counts'
  ),
  failed_now as (
    insert into failed_contents select failure, new_position from placed where class = 'fails'
  )
  select settled.i,
    coalesce(placed.final_outcome, settled.outcome),
    coalesce(placed.final_reasons, settled.reasons),
    coalesce(
      placed.new_position,
      case when settled.class = 'duplicate' then coalesce(settled.counted_position, of_counted.new_position) end,
      settled.failed_position,
      of_failed.new_position
    ),
    not settled.stored
  from settled
    left join placed on placed.i = settled.i
    left join placed of_counted on settled.class = 'duplicate' and of_counted.i = settled.counted_i
    left join placed of_failed on settled.class = 'fails' and of_failed.i = settled.failed_i;

  update ledger_head
  set position = latest.position, entry_hash = latest.entry_hash
  from (select position, entry_hash from ledger where position > head.position order by position desc limit 1) latest;

  before := head.position;
  select * into strict head from ledger_head;
  last_order := head.position;

  if exists (select from early_refunds) then
    insert into refunds_due
    select distinct ordered.order_id
    from ledger ordered
    where ordered.position > before and ordered.position <= last_order
      and ordered.kind = 'order' and ordered.outcome <> 'failed'
      and exists (select from early_refunds where early_refunds.order_id = ordered.order_id);

    -- Those of one order in the order in which they came: it decides which of them are too much.
    for waiting in
      with oldest as (
        select next.*, sum(size) over (order by next.number) - size as bytes_before
        from (select refunds_due.order_id from refunds_due limit max_settled) due
          cross join lateral (
            select number, octet_length(body) as size
            from early_refunds where early_refunds.order_id = due.order_id order by number limit max_settled
          ) next
        order by next.number limit max_settled
      )
      select early_refunds.* from oldest join early_refunds using (number)
      where bytes_before < max_bytes order by number
    loop
      refund := row(
        waiting.content_hash, waiting.refund_id, waiting.order_id, waiting.refunded_at, waiting.cents,
        waiting.message_id, waiting.sent_at, waiting.received_at, waiting.body, waiting.failure_hash
      );
      select * into strict settled from settle_refund(head, refund);
      head := settled.head;
      delete from early_refunds where number = waiting.number;
      delete from refunds_due
      where refunds_due.order_id = waiting.order_id
        and not exists (select from early_refunds where early_refunds.order_id = waiting.order_id);
    end loop;
  end if;

  for given in
    select * from json_to_recordset(refunds) as given (
      i integer, outcome text, refund_id text, order_id text, ordered_at double precision, value_cents bigint,
      claimed_cents bigint, reasons text[], content_hash text, failure_hash text, message_id text,
      sent_at double precision, received_at double precision, body text, body_at integer, body_bytes integer
    )
    order by given.i
  loop
    refund := row(
      decode(given.content_hash, 'hex'), given.refund_id, given.order_id, to_timestamp(given.ordered_at / 1000.0),
      coalesce(given.value_cents, given.claimed_cents), given.message_id, to_timestamp(given.sent_at / 1000.0),
      to_timestamp(given.received_at / 1000.0),
      coalesce(given.body, convert_from(substr(bodies, given.body_at, given.body_bytes), 'UTF8')),
      decode(given.failure_hash, 'hex')
    );
    i := given.i;
    outcome := given.outcome;
    reasons := given.reasons;
    "position" := null;
    duplicate := true;
    -- By its body alone, for which there is one index: one over all that wait would do too, and be read as a whole.
    waits := exists (select from early_refunds where failure_hash = refund.failure_hash);

    if waits then
      outcome := 'waiting';
    elsif given.outcome = 'failed' then
      if exists (select from counted_refunds where refund_id = refund.refund_id) then
        reasons := array_append(reasons, 'conflicting_duplicate');
      end if;
    else
      -- Older refunds of this order are settled first; one that counts already is a duplicate at any time.
      if not exists (select from refunds_due where refunds_due.order_id = refund.order_id)
        or exists (select from counted_refunds where counted_refunds.refund_id = refund.refund_id)
      then
        select * into strict settled from settle_refund(head, refund);
        head := settled.head;
        outcome := case when cardinality(settled.reasons) > 0 then 'failed' else 'accepted' end;
        reasons := settled.reasons;
        "position" := settled.position;
      end if;
      if "position" is not null then
        duplicate := settled.duplicate;
      elsif not exists (select from refunds_due where refunds_due.order_id = refund.order_id) and (
        select count(*)
        from (select from early_refunds where early_refunds.order_id = refund.order_id limit max_waiting) those_waiting
      ) = max_waiting then
        outcome := 'failed';
        reasons := array['too_many_waiting_refunds'];
      else
        outcome := 'waiting';
        duplicate := false;
        insert into early_refunds (
          content_hash, refund_id, order_id, refunded_at, cents, message_id, sent_at, received_at, body, failure_hash
        ) select refund.*;
      end if;
    end if;

    if outcome = 'failed' and "position" is null then
      "position" := (select failed_contents.position from failed_contents where content_hash = refund.failure_hash);
      duplicate := "position" is not null;
      if not duplicate then
        head := append_refund(head, refund, reasons, null, null);
        "position" := head.position;
      end if;
    end if;
    return next;
  end loop;

  if head.position > last_order then
    update ledger_head set position = head.position, entry_hash = head.entry_hash;
  end if;
end
$$;
