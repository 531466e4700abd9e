-- The ledger: an append-only list of entries with gapless positions in commit order.

create type ledger_line as (
  product_id text,
  quantity integer,
  price_per_unit numeric,
  cents bigint
);

-- The single row under whose lock every append takes its positions.
create table ledger_head (
  only_row boolean primary key default true check (only_row),
  ledger_id uuid not null default gen_random_uuid(),
  position bigint not null default 0,
  -- Hash of the whole history up to this position: each entry's hash covers the one before it.
  entry_hash bytea not null default sha256('')
) with (fillfactor = 50);
insert into ledger_head default values;

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
  constraint ledger_value_of_order check (kind <> 'order' or (outcome = 'failed') = (value_cents is null)),
  constraint ledger_repair check (
    kind <> 'repair' or (outcome <> 'failed' and value_cents is null and ref_position is not null and actor is not null)
  ),
  -- Of an entry of kind refund value_cents is what it takes away, ref_position the order that counts, and user_id that
  -- order's user. One that fails by what it says itself has neither.
  constraint ledger_refund check (
    kind <> 'refund' or (
      outcome <> 'corrected' and (outcome = 'failed') = (value_cents is null) and (
        outcome = 'failed' or (
          refund_id is not null and order_id is not null and user_id is not null and ordered_at is not null
          and ref_position is not null
        )
      )
    )
  )
);

-- What is too long for a row is compressed; lz4 takes about a tenth of pglz's time. The embedded build lacks lz4.
do $$
begin
  if 'lz4' = any((select enumvals from pg_settings where name = 'default_toast_compression')::text[]) then
    alter table ledger alter column body set compression lz4, alter column lines set compression lz4;
  end if;
end
$$;

create index ledger_of_user on ledger (user_id, position) where user_id is not null;
create index ledger_of_order on ledger (order_id, position) where order_id is not null;
create index ledger_not_accepted on ledger (outcome, position) where outcome <> 'accepted';
create index ledger_by_reason on ledger using gin (reasons) where outcome = 'failed';

-- Orders arrive roughly in the order they were placed, so a summary of each range of blocks finds a range of days.
create index ledger_by_time on ledger using brin (ordered_at) with (pages_per_range = 32, autosummarize = on);
create index ledger_refunds on ledger (position) where kind = 'refund';

-- A failed entry is repaired once.
create unique index ledger_repairs on ledger (ref_position) where kind = 'repair';

-- Uniqueness lives in these small tables, so that old ledger rows can be partitioned by position and detached.
create table counted_orders (
  order_id text primary key,
  content_hash bytea not null,
  position bigint not null
);

create table failed_contents (
  content_hash bytea primary key,
  position bigint not null
);
