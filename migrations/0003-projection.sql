-- The live statistics: which entries they cover, rebuilds that somebody asked for, and the latest verification.

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
insert into projection default values;

-- Rebuilds that somebody asked for.
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
  -- How many ledger entries were read, of how many; while it runs, `projection` knows.
  done bigint,
  total bigint,
  started_at timestamptz(3),
  finished_at timestamptz(3),
  error text,
  -- When the process that runs it was last heard of.
  seen_at timestamptz(3) not null default now(),
  check ((state in ('done', 'failed')) = (finished_at is not null)),
  check ((state = 'failed') = (error is not null))
);
create index rebuilds_by_time on rebuilds (requested_at);

-- One at a time, whichever process is asked.
create unique index rebuilds_unfinished on rebuilds ((true)) where state in ('requested', 'running');

-- What the processes of one ledger share about verification: who runs the scheduled one, and how the latest ended.
create table verification (
  only_row boolean primary key default true check (only_row),
  scheduled_at timestamptz(3),
  finished_at timestamptz(3),
  verified boolean,
  drift_cents bigint,
  succeeded_at timestamptz(3)
);
insert into verification default values;
