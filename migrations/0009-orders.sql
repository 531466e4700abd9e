-- Orders taken over HTTP, and all that carries them through stock, payment and shipment.

create table orders (
  id text collate "C" primary key check (id ~ '^ORD-[0-9A-Z]{16}$'),
  -- Follows the order of placing; concurrent orders may swap.
  number bigint generated always as identity unique,
  -- Who placed it, as records name callers, and whose it is.
  placed_by text not null,
  user_id text collate "C" not null,
  status text not null default 'pending' check (
    status in (
      'pending', 'reserved', 'paid', 'shipped', 'completed',
      'failed_no_stock', 'payment_failed', 'payment_unknown', 'cancelled'
    )
  ),
  currency text not null,
  total_cents bigint not null check (total_cents > 0),
  shipping_address text not null,
  payment_method text not null,
  placed_at timestamptz(3) not null default clock_timestamp(),
  -- When the status changed last.
  changed_at timestamptz(3) not null default clock_timestamp(),
  -- When anything happened to it last.
  active_at timestamptz(3) not null default clock_timestamp(),
  -- How many entries its timeline has; whoever adds one holds this row.
  events integer not null default 0,
  -- How often a step was asked for again since the status changed.
  redriven integer not null default 0
) with (fillfactor = 80);
create index orders_of_user on orders (user_id, placed_at, number);
create index orders_by_status on orders (status, placed_at, number);
create index orders_by_time on orders (placed_at, number);

-- Those that something has to happen to yet.
create index orders_under_way on orders (active_at)
  where status in ('pending', 'reserved', 'paid', 'shipped', 'payment_unknown');
-- Lines keep the price at the time of the order.
create table order_lines (
  order_id text collate "C" not null references orders (id),
  sku text collate "C" not null references products (sku),
  name text not null,
  quantity integer not null check (quantity > 0),
  price_cents bigint not null check (price_cents > 0),
  primary key (order_id, sku)
);
create index order_lines_of_sku on order_lines (sku, order_id);

-- What happened to an order, without gaps from 1.
create table order_timeline (
  order_id text collate "C" not null references orders (id),
  sequence integer not null check (sequence > 0),
  event text not null,
  status text not null,
  -- JSON, and nothing personal.
  detail text,
  actor text not null,
  at timestamptz(3) not null default clock_timestamp(),
  primary key (order_id, sequence)
);

-- The first answers to requests that may be repeated.
create table idempotency_keys (
  -- The account, or whoever else called.
  caller text not null,
  route text not null,
  key text not null,
  -- SHA-256 of the request's body, however it was written down.
  fingerprint bytea not null,
  status integer not null,
  answer text not null,
  expires_at timestamptz(3) not null,
  primary key (caller, route, key)
);
create index idempotency_keys_by_expiry on idempotency_keys (expires_at);

-- Messages that are to be sent because something was committed. What was sent is gone from here.
create table outbox (
  id bigint generated always as identity primary key,
  order_id text collate "C" not null references orders (id),
  -- That of the timeline's entry that it follows from; of one order they are sent in this order.
  sequence integer not null,
  queue text not null check (queue in ('orders', 'inventory', 'payment', 'shipment')),
  body text not null,
  -- How long the queue is to keep it back, in seconds.
  delay_seconds integer not null default 0 check (delay_seconds between 0 and 900),
  created_at timestamptz(3) not null default clock_timestamp(),
  -- Until then somebody is about to send it.
  claimed_until timestamptz(3) not null default '-infinity'
) with (fillfactor = 50);
create index outbox_of_order on outbox (order_id, sequence);
create index outbox_by_age on outbox (created_at);

-- Messages that had their effect, by the sender's id.
create table inbox (
  queue text not null,
  message_id text not null,
  at timestamptz(3) not null default now(),
  primary key (queue, message_id)
);
create index inbox_by_age on inbox (at);

-- What of the stock is promised to an order, and until when.
create table reservations (
  order_id text collate "C" not null,
  sku text collate "C" not null,
  warehouse text not null,
  quantity integer not null check (quantity > 0),
  state text not null default 'held' check (state in ('held', 'released', 'shipped')),
  expires_at timestamptz(3) not null,
  primary key (order_id, sku, warehouse),
  foreign key (order_id, sku) references order_lines (order_id, sku),
  foreign key (sku, warehouse) references stock (sku, warehouse)
);
create index reservations_by_expiry on reservations (expires_at) where state = 'held';

-- A charge, and what undoes it. Written before the provider is asked, so that nothing is charged that nobody knows of.
create table payment_attempts (
  -- The provider's idempotency key.
  id uuid primary key default gen_random_uuid(),
  order_id text collate "C" not null references orders (id),
  number integer not null check (number > 0),
  amount_cents bigint not null check (amount_cents > 0),
  state text not null default 'started' check (
    state in ('started', 'unknown', 'unavailable', 'captured', 'declined', 'voided')
  ),
  -- Whether it is what the order was paid by, which is what statistics know of.
  paid_order boolean not null default false,
  -- How often the provider was asked what became of it.
  asked integer not null default 0,
  -- Where the money has to go back, or must not be taken any more: 'armed' until that is so.
  compensation text not null default 'armed' check (compensation in ('armed', 'due', 'done', 'failed')),
  compensation_tries integer not null default 0,
  -- When it was last asked for.
  compensation_at timestamptz(3),
  refunded_at timestamptz(3),
  unique (order_id, number),
  check (refunded_at is null or state = 'captured')
);
create unique index one_captured_attempt_kept on payment_attempts (order_id)
  where state = 'captured' and compensation = 'armed';
create index compensations_due on payment_attempts (compensation_at) where compensation = 'due';

create table shipments (
  tracking_number text primary key,
  order_id text collate "C" not null unique references orders (id),
  carrier text not null,
  status text not null default 'created' check (status in ('created', 'in_transit', 'delayed', 'delivered')),
  -- When the carrier is to be asked next.
  next_at timestamptz(3) not null
);
create index shipments_under_way on shipments (next_at) where status <> 'delivered';

create table shipment_events (
  tracking_number text not null references shipments (tracking_number),
  sequence integer not null check (sequence > 0),
  event text not null check (event in ('created', 'in_transit', 'delayed', 'delivered')),
  at timestamptz(3) not null default clock_timestamp(),
  primary key (tracking_number, sequence)
);

-- What did not succeed however often it was tried, until somebody has seen to it.
create table failed_jobs (
  id bigint generated always as identity primary key,
  order_id text collate "C" not null references orders (id),
  job text not null,
  -- What of the order it is about, such as a payment attempt; empty where it is the order itself.
  reference text not null default '',
  error text not null,
  failed_at timestamptz(3) not null default clock_timestamp(),
  state text not null default 'open' check (state in ('open', 'retried', 'resolved')),
  seen_to_by text,
  seen_to_at timestamptz(3),
  note text,
  check ((state = 'open') = (seen_to_at is null))
);
create unique index open_failed_jobs on failed_jobs (order_id, job, reference) where state = 'open';
