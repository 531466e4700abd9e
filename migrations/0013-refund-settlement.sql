-- Refunds whose order is counted are settled a portion at a time, so that no order holds up the ledger for all others.

-- Orders that are counted and have refunds in early_refunds.
create table refunds_due (
  order_id text primary key
);
