-- The ledger: an append-only list of entries with gapless positions in commit order, and its authority over the
-- live statistics. PostgreSQL 15 or later.

-- A row that is written to find out whether the database takes writes.
create table write_probe (
  only_row boolean primary key default true check (only_row),
  probed_at timestamptz not null default now()
);
--> statement-breakpoint
insert into write_probe default values;
--> statement-breakpoint
create type ledger_line as (
  product_id text,
  quantity integer,
  price_per_unit numeric,
  cents bigint
);
--> statement-breakpoint
-- The single row under whose lock every append takes its positions.
create table ledger_head (
  only_row boolean primary key default true check (only_row),
  ledger_id uuid not null default gen_random_uuid(),
  position bigint not null default 0,
  -- Hash of the whole history up to this position: each entry's hash covers the one before it.
  entry_hash bytea not null default sha256('')
) with (fillfactor = 50);
--> statement-breakpoint
insert into ledger_head default values;
--> statement-breakpoint
-- The position has no default: only append_entries, which holds the head's lock, may give one out.
create table ledger (
  position bigint primary key,
  kind text not null check (kind in ('order', 'repair', 'refund')),
  outcome text not null check (outcome in ('accepted', 'corrected', 'failed')),
  order_id text,
  user_id text,
  ordered_at timestamptz(3),
  value_cents bigint check (value_cents > 0),
  claimed_cents bigint,
  lines ledger_line[] not null default '{}',
  reasons text[] not null default '{}',
  content_hash bytea not null,
  entry_hash bytea not null,
  message_id text,
  ref_position bigint,
  refund_id text,
  actor text,
  sent_at timestamptz(3) not null,
  received_at timestamptz(3) not null,
  -- As received; text and never jsonb, which would change it.
  body text not null,
  check ((outcome = 'failed') = (cardinality(reasons) > 0)),
  check ((outcome = 'failed') = (value_cents is null))
);
--> statement-breakpoint
create index ledger_of_user on ledger (user_id, position) where user_id is not null;
--> statement-breakpoint
create index ledger_of_order on ledger (order_id, position) where order_id is not null;
--> statement-breakpoint
create index ledger_not_accepted on ledger (outcome, position) where outcome <> 'accepted';
--> statement-breakpoint
create index ledger_by_reason on ledger using gin (reasons) where outcome = 'failed';
--> statement-breakpoint
-- Orders arrive roughly in the order they were placed, so a summary of each range of blocks finds a range of days.
create index ledger_by_time on ledger using brin (ordered_at) with (pages_per_range = 32, autosummarize = on);
--> statement-breakpoint
-- Uniqueness lives in these small tables, so that old ledger rows can be partitioned by position and detached.
create table counted_orders (
  order_id text primary key,
  content_hash bytea not null,
  position bigint not null
);
--> statement-breakpoint
create table failed_contents (
  content_hash bytea primary key,
  position bigint not null
);
--> statement-breakpoint
-- The authority for the statistics: figures cover the entries base + 1 and up, and only generation is served.
create table projection (
  only_row boolean primary key default true check (only_row),
  generation bigint not null default 0,
  base bigint not null default 0,
  state text not null default 'empty' check (state in ('empty', 'ready')),
  -- The highest generation number ever given out, so that a crashed build's keys are never taken for another's.
  last_generation bigint not null default 0,
  -- The process that builds the next generation, until when it may be silent, and how far it is.
  builder uuid,
  builder_until timestamptz,
  build_done bigint not null default 0,
  build_total bigint not null default 0,
  check ((builder is null) = (builder_until is null))
);
--> statement-breakpoint
insert into projection default values;
--> statement-breakpoint
create function chain_step(state bytea, first bytea, item bytea) returns bytea
language plpgsql immutable parallel safe
as $$ begin return sha256(coalesce(state, first) || item); end $$;
--> statement-breakpoint
-- chain(first, item) over (order by …): each row's hash covers the hash of the row before it.
create aggregate chain(first bytea, item bytea) (sfunc = chain_step, stype = bytea);
--> statement-breakpoint
-- Appends judged messages. Takes a JSON array of objects numbered by "i" in the order that decides between them;
-- answers one row for each: its outcome, reasons and position, and whether it is a duplicate of that position.
-- "lines" is the text form of ledger_line[], which PostgreSQL reads five times as fast as nested JSON.
--
-- The lock and the look-up are two statements on purpose: one statement would look with a snapshot taken before it
-- waited for the lock, and miss what the previous holder committed. That also needs READ COMMITTED.
create function append_entries(entries json)
returns table (i integer, outcome text, reasons text[], "position" bigint, duplicate boolean)
language plpgsql
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
declare
  head ledger_head%rowtype;
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
end
$$;
