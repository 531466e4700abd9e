-- What the simulated payment provider knows. It stands for the books of a company elsewhere: nothing of the orders refers to
-- it, and it survives whatever ends this service.

create table simulated_charges (
  -- Whoever asks again with it asks for the same charge.
  key text primary key check (length(key) between 1 and 128),
  -- Null, like the amount and the currency, where the key was voided before anything was charged with it.
  order_id text,
  amount_cents bigint check (amount_cents > 0),
  currency text,
  -- refused: asked for, and so far nothing came of it. voided: this key is never captured.
  state text not null check (state in ('refused', 'processing', 'captured', 'declined', 'voided')),
  -- Why it was declined.
  reason text,
  attempts integer not null default 0,
  -- When what is being processed is captured; null where never.
  capture_at timestamptz(3),
  -- How many attempts to refund it are refused first; null: all of them, until somebody writes a number here.
  refund_refusals integer default 0 check (refund_refusals >= 0),
  captured_cents bigint not null generated always as (case when state = 'captured' then amount_cents else 0 end) stored,
  unique (key, captured_cents),
  check ((order_id is null) = (amount_cents is null) and (order_id is null) = (currency is null)),
  check (order_id is not null or state = 'voided'),
  check ((state = 'declined') = (reason is not null))
) with (fillfactor = 70);
create index simulated_charges_of_order on simulated_charges (order_id);
create index simulated_charges_to_capture on simulated_charges (capture_at)
  where state = 'processing' and capture_at is not null;
-- These keys limit refunds to the captured amount: a charge is refunded whole, and once.
create table simulated_refunds (
  key text primary key check (length(key) between 1 and 128),
  charge_key text not null unique,
  amount_cents bigint not null check (amount_cents > 0),
  attempts integer not null default 1,
  -- Null as long as every attempt was refused.
  refunded_at timestamptz(3),
  foreign key (charge_key, amount_cents) references simulated_charges (key, captured_cents)
) with (fillfactor = 70);

-- What the provider has to tell of its own accord.
create table simulated_webhooks (
  -- The same in every attempt to deliver it.
  id uuid primary key default gen_random_uuid(),
  charge_key text not null unique references simulated_charges (key),
  -- When that happened of which it tells.
  at timestamptz(3) not null default clock_timestamp(),
  attempts integer not null default 0,
  -- While an attempt is under way: when it is taken for dead.
  next_attempt_at timestamptz(3) not null default clock_timestamp(),
  delivered_at timestamptz(3)
) with (fillfactor = 70);
create index simulated_webhooks_to_deliver on simulated_webhooks (next_attempt_at) where delivered_at is null;
