-- What is sold, and how much of it is where.

create table warehouses (
  code text primary key check (code ~ '^[A-Z0-9-]{1,32}$'),
  name text not null
);

create table products (
  -- By bytes: its order is the same everywhere.
  sku text collate "C" primary key check (sku ~ '^[A-Z0-9][A-Z0-9._-]{0,63}$'),
  name text not null,
  price_cents bigint not null check (price_cents > 0),
  -- Whose it is; null for what no vendor owns.
  vendor_id uuid,
  -- It is low when no more than this can be sold.
  low_stock_at integer not null check (low_stock_at >= 0),
  created_at timestamptz(3) not null default now()
);
create index products_of_vendor on products (vendor_id, sku) where vendor_id is not null;

-- These checks prevent overselling.
create table stock (
  sku text collate "C" not null references products (sku),
  warehouse text not null references warehouses (code),
  on_hand integer not null default 0 check (on_hand >= 0),
  reserved integer not null default 0 check (reserved >= 0 and reserved <= on_hand),
  primary key (sku, warehouse)
) with (fillfactor = 70);

-- Why there is as much as there is: the sum of a place's movements is what is on hand there.
create table stock_movements (
  id bigint generated always as identity primary key,
  sku text collate "C" not null,
  warehouse text not null,
  quantity integer not null check (quantity <> 0),
  cause text not null check (cause in ('received', 'corrected', 'shipped', 'returned')),
  order_id text,
  actor text not null,
  at timestamptz(3) not null default clock_timestamp(),
  foreign key (sku, warehouse) references stock (sku, warehouse)
);
create index stock_movements_of_sku on stock_movements (sku, id);
