-- Refunds: money that is given back for an order that counts. One that comes before its order waits here, in the
-- database, and is settled in the transaction that counts the order.

-- Which refund_id stands for which content, once it counts.
create table counted_refunds (
  refund_id text primary key,
  content_hash bytea not null,
  position bigint not null
);
--> statement-breakpoint
-- How much of an order is refunded: never more than it is worth.
create table refunded_orders (
  order_id text primary key,
  refunded_cents bigint not null check (refunded_cents > 0)
) with (fillfactor = 70);
--> statement-breakpoint
-- Refunds that came before their order, also those that are settled since: an export that began before has to tell what
-- waited then.
create table early_refunds (
  -- The order in which they came and are settled; it may have gaps.
  number bigint generated always as identity primary key,
  content_hash bytea not null unique,
  refund_id text not null,
  order_id text not null,
  refunded_at timestamptz(3) not null,
  cents bigint not null check (cents > 0),
  message_id text,
  sent_at timestamptz(3) not null,
  received_at timestamptz(3) not null,
  -- As received; once it is settled the ledger has it.
  body text,
  -- The entry that it became; null while it waits.
  position bigint,
  check ((position is null) = (body is not null))
);
--> statement-breakpoint
create index early_refunds_waiting on early_refunds (order_id, number) where position is null;
--> statement-breakpoint
create index ledger_refunds on ledger (position) where kind = 'refund';
--> statement-breakpoint
-- Of an entry of kind refund value_cents is what it takes away, ref_position the order that counts, and user_id that
-- order's user. One that fails by what it says itself has neither.
alter table ledger
  add constraint ledger_refund check (
    kind <> 'refund' or (
      outcome <> 'corrected' and (outcome = 'failed') = (value_cents is null) and (
        outcome = 'failed' or (
          refund_id is not null and order_id is not null and user_id is not null and ordered_at is not null
          and ref_position is not null
        )
      )
    )
  );
--> statement-breakpoint
create type refund_event as (
  content_hash bytea,
  refund_id text,
  order_id text,
  refunded_at timestamptz,
  cents bigint,
  message_id text,
  sent_at timestamptz,
  received_at timestamptz,
  body text
);
--> statement-breakpoint
-- Appends a refund as an entry, failed where it has faults, after a head that the caller has locked. Answers the new head,
-- which the caller has to store: once, since every version of its row makes the next look at it longer.
create function append_refund(
  head ledger_head, refund refund_event, faults text[], order_user text, order_position bigint
) returns ledger_head
language plpgsql
set jit = off
as $$
#variable_conflict use_column
declare
  final_outcome text := case when cardinality(faults) > 0 then 'failed' else 'accepted' end;
  counted_cents bigint := case when cardinality(faults) = 0 then refund.cents end;
begin
  head.position := head.position + 1;
  head.entry_hash := sha256(
    head.entry_hash || refund.content_hash
      || convert_to(concat_ws('|', 'refund', final_outcome, counted_cents, order_position), 'UTF8')
  );
  insert into ledger (
    position, kind, outcome, order_id, user_id, ordered_at, value_cents, claimed_cents, reasons, content_hash, entry_hash,
    message_id, ref_position, refund_id, sent_at, received_at, body
  ) values (
    head.position, 'refund', final_outcome, refund.order_id, order_user, refund.refunded_at, counted_cents, refund.cents,
    faults, refund.content_hash, head.entry_hash, refund.message_id, order_position, refund.refund_id, refund.sent_at,
    refund.received_at, refund.body
  );
  if final_outcome = 'failed' then
    insert into failed_contents values (refund.content_hash, head.position);
  else
    insert into counted_refunds values (refund.refund_id, refund.content_hash, head.position);
  end if;
  return head;
end
$$;
--> statement-breakpoint
-- Settles a refund that is right in itself: it counts, or fails for what the ledger holds. The position is null, and
-- nothing is written, where its order is not counted (yet).
create function settle_refund(
  inout head ledger_head, refund refund_event, out "position" bigint, out reasons text[], out duplicate boolean
)
language plpgsql
set jit = off
as $$
#variable_conflict use_column
declare
  refunded record;
begin
  reasons := '{}';
  duplicate := false;
  select ledger.position, ledger.user_id, ledger.value_cents into refunded
  from counted_orders join ledger on ledger.position = counted_orders.position
  where counted_orders.order_id = refund.order_id;
  if not found then
    return;
  end if;

  if exists (select from counted_refunds where refund_id = refund.refund_id) then
    reasons := array['conflicting_duplicate'];
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
    "position" := (select failed_contents.position from failed_contents where content_hash = refund.content_hash);
    duplicate := "position" is not null;
  end if;
  if not duplicate then
    head := append_refund(head, refund, reasons, refunded.user_id, refunded.position);
    "position" := head.position;
  end if;
end
$$;
--> statement-breakpoint
drop function append_entries(json);
--> statement-breakpoint
-- As before (migrations/0000_ledger.sql), and refunds besides, which have places in the numbering by "i" too. Orders go
-- first: a refund in the same call finds its order counted. A refund whose order is not counted is kept waiting, answered
-- with the outcome 'waiting' and no position, as one that waits already is, then as a duplicate.
create function append_entries(entries json, refunds json default null)
returns table (i integer, outcome text, reasons text[], "position" bigint, duplicate boolean)
language plpgsql
set plan_cache_mode = force_generic_plan
set jit = off
-- A plan made while a table of keys was empty would go on to read all of it.
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  head ledger_head%rowtype;
  waiting record;
  given record;
  counted record;
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
      decode(given.content_hash, 'hex') as content
    from json_to_recordset(entries) as given (
      i integer, outcome text, order_id text, user_id text, ordered_at double precision, value_cents bigint,
      claimed_cents bigint, lines text, reasons text[], content_hash text, message_id text,
      sent_at double precision, received_at double precision, body text
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
    select distinct on (content) content, i from classified where class = 'fails' order by content, i
  ),
  settled as (
    select classified.*,
      known.position as failed_position,
      first_failing.i as failed_i,
      class = 'counts' or (class = 'fails' and known.position is null and first_failing.i = classified.i) as stored
    from classified
      left join lateral (
        select position from failed_contents where class = 'fails' and content_hash = content limit 1
      ) known on true
      left join first_failing on class = 'fails' and first_failing.content = classified.content
  ),
  placed as (
    select settled.*,
      head.position + row_number() over (order by i) as new_position,
      case when class = 'fails' then 'failed' else settled.outcome end as final_outcome,
      case
        when class = 'fails' and counted_content is not null then array_append(settled.reasons, 'conflicting_duplicate')
        else settled.reasons
      end as final_reasons
    from settled
    where stored
  ),
  chained as (
    select placed.*,
      -- All that the figures are made from; not the times of receipt, nor the message's id.
      chain(
        head.entry_hash,
        content || convert_to(concat_ws('|', final_outcome, case when class = 'counts' then value_cents end), 'UTF8')
      ) over (order by i) as entry_hash
    from placed
  ),
  ledgered as (
    insert into ledger (
      position, kind, outcome, order_id, user_id, ordered_at, value_cents, claimed_cents, lines, reasons,
      content_hash, entry_hash, message_id, sent_at, received_at, body
    )
    select new_position, 'order', final_outcome, order_id, user_id, to_timestamp(ordered_at / 1000.0),
      case when class = 'counts' then value_cents end, claimed_cents,
      case when class = 'counts' then lines else '{}' end::ledger_line[], final_reasons,
      content, entry_hash, message_id, to_timestamp(sent_at / 1000.0), to_timestamp(received_at / 1000.0), body
    from chained
    order by i
  ),
  counted_now as (
    insert into counted_orders select order_id, content, new_position from placed where class = 'counts'
  ),
  failed_now as (
    insert into failed_contents select content, new_position from placed where class = 'fails'
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

  -- What waited for the orders that have just been counted, in the order in which it came.
  if exists (select from early_refunds where position is null) then
    for waiting in
      select early_refunds.*
      from ledger ordered
        join early_refunds on early_refunds.order_id = ordered.order_id and early_refunds.position is null
      where ordered.position > before and ordered.position <= last_order
        and ordered.kind = 'order' and ordered.outcome <> 'failed'
      order by early_refunds.number
    loop
      refund := row(
        waiting.content_hash, waiting.refund_id, waiting.order_id, waiting.refunded_at, waiting.cents,
        waiting.message_id, waiting.sent_at, waiting.received_at, waiting.body
      );
      select * into strict settled from settle_refund(head, refund);
      head := settled.head;
      update early_refunds set position = settled.position, body = null where number = waiting.number;
    end loop;
  end if;

  for given in
    select * from json_to_recordset(refunds) as given (
      i integer, outcome text, refund_id text, order_id text, ordered_at double precision, value_cents bigint,
      claimed_cents bigint, reasons text[], content_hash text, message_id text, sent_at double precision,
      received_at double precision, body text
    )
    order by given.i
  loop
    refund := row(
      decode(given.content_hash, 'hex'), given.refund_id, given.order_id, to_timestamp(given.ordered_at / 1000.0),
      coalesce(given.value_cents, given.claimed_cents), given.message_id, to_timestamp(given.sent_at / 1000.0),
      to_timestamp(given.received_at / 1000.0), given.body
    );
    i := given.i;
    outcome := given.outcome;
    reasons := given.reasons;
    "position" := null;
    duplicate := true;
    select counted_refunds.position as at, content_hash = refund.content_hash as same into counted
    from counted_refunds where refund_id = refund.refund_id;
    -- By its content alone, for which there is one index: one over all that wait would do too, and be read as a whole.
    waits := (select early_refunds.position is null from early_refunds where content_hash = refund.content_hash);

    if counted.same then
      "position" := counted.at;
    elsif waits then
      outcome := 'waiting';
    elsif given.outcome = 'failed' then
      if counted.at is not null then
        reasons := array_append(reasons, 'conflicting_duplicate');
      end if;
      "position" := (select failed_contents.position from failed_contents where content_hash = refund.content_hash);
      if "position" is null then
        duplicate := false;
        head := append_refund(head, refund, reasons, null, null);
        "position" := head.position;
      end if;
    else
      select * into strict settled from settle_refund(head, refund);
      head := settled.head;
      duplicate := settled.duplicate;
      if settled.position is null then
        outcome := 'waiting';
        insert into early_refunds (
          content_hash, refund_id, order_id, refunded_at, cents, message_id, sent_at, received_at, body
        ) select refund.*;
      else
        outcome := case when cardinality(settled.reasons) > 0 then 'failed' else 'accepted' end;
        reasons := settled.reasons;
        "position" := settled.position;
      end if;
    end if;
    return next;
  end loop;

  if head.position > last_order then
    update ledger_head set position = head.position, entry_hash = head.entry_hash;
  end if;
end
$$;
--> statement-breakpoint
-- As before (migrations/0001_repairs.sql), but for refunds: one that names no recorded repair is a refund like any other,
-- and one that was put in an order's place mends nothing.
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
  head ledger_head%rowtype;
  appended record;
  faults text[];
begin
  -- All that follows is decided under the head's lock, each statement with a snapshot taken after it.
  perform from ledger_head for update;

  for entry in select json_array_elements(entries) loop
    i := (entry ->> 'i')::integer;

    select repairs.* into repair
    from repairs join ledger on ledger.position = failed_position
    where repairs.id = (entry ->> 'repair_id')::uuid and coalesce(repairs.body, ledger.body) = entry ->> 'body'
    for update of repairs;

    if not found then
      select * into strict appended
      from append_entries(
        case when entry ->> 'kind' = 'refund' then '[]' else json_build_array(entry) end,
        case when entry ->> 'kind' = 'refund' then json_build_array(entry) end
      );
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

    select * into strict appended from append_entries(json_build_array(entry));
    select * into strict head from ledger_head;
    select * into strict failed from ledger where ledger.position = repair.failed_position;
    head.position := head.position + 1;
    head.entry_hash := sha256(
      head.entry_hash || failed.content_hash || convert_to('repair|' || repair.failed_position, 'UTF8')
    );
    insert into ledger (
      position, kind, outcome, order_id, user_id, ordered_at, content_hash, entry_hash, message_id, ref_position, actor,
      sent_at, received_at, body
    ) values (
      head.position, 'repair', appended.outcome, failed.order_id, failed.user_id, failed.ordered_at, failed.content_hash,
      head.entry_hash, entry ->> 'message_id', repair.failed_position, repair.requested_by,
      to_timestamp((entry ->> 'sent_at')::double precision / 1000.0),
      to_timestamp((entry ->> 'received_at')::double precision / 1000.0), ''
    );
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
