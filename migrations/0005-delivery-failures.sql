-- Why messages could not be processed, so that a dead letter can tell: SQS itself keeps no error. A row goes when the
-- queue no longer keeps its message either.
create table delivery_failures (
  message_id text primary key,
  failures integer not null default 1,
  first_failed_at timestamptz(3) not null default now(),
  last_failed_at timestamptz(3) not null default now(),
  last_error text not null
);
create index delivery_failures_by_age on delivery_failures (last_failed_at);
