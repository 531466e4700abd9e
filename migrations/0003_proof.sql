-- Rebuilds that somebody asked for, and the latest verification of the figures.

create table rebuilds (
  id uuid primary key default gen_random_uuid(),
  requested_by text not null,
  requested_at timestamptz(3) not null default now(),
  -- Whether a clear is undone: the figures then cover the whole ledger.
  from_beginning boolean not null,
  state text not null default 'requested' check (state in ('requested', 'running', 'done', 'failed')),
  -- The generation that is built, and, when it serves, the last entry it covered then.
  generation bigint,
  position bigint,
  started_at timestamptz(3),
  finished_at timestamptz(3),
  error text,
  check ((state in ('done', 'failed')) = (finished_at is not null)),
  check ((state = 'failed') = (error is not null))
);
--> statement-breakpoint
create index rebuilds_by_time on rebuilds (requested_at);
--> statement-breakpoint
-- What the processes of one ledger share about verification: who runs the scheduled one, and how the latest ended.
create table verification (
  only_row boolean primary key default true check (only_row),
  scheduled_at timestamptz(3),
  finished_at timestamptz(3),
  verified boolean,
  drift_cents bigint,
  succeeded_at timestamptz(3)
);
--> statement-breakpoint
insert into verification default values;
