-- Refunds: money that is given back for an order that counts. One that comes before its order waits here, in the
-- database, and is settled in the transaction that counts the order.

-- Which refund_id stands for which content, once it counts.
create table counted_refunds (
  refund_id text primary key,
  content_hash bytea not null,
  position bigint not null
);

-- How much of an order is refunded: never more than it is worth.
create table refunded_orders (
  order_id text primary key,
  refunded_cents bigint not null check (refunded_cents > 0)
) with (fillfactor = 70);

-- Refunds that came before their order. A row goes when the ledger has its entry.
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
  -- As received.
  body text not null
);
create index early_refunds_of_order on early_refunds (order_id, number);

-- A refund on its way through the functions.
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
