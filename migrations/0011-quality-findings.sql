-- What the scheduled check of orders found, and how far it came.

create table quality_findings (
  number bigint generated always as identity primary key,
  id uuid not null default gen_random_uuid() unique,
  found_at timestamptz(3) not null default clock_timestamp(),
  position bigint not null,
  order_id text,
  -- Of what was checked: whatever became of the entry's body since, the finding is of that text.
  body_hash bytea not null,
  cause text not null check (cause in ('failed', 'suspect')),
  -- JSON as it is answered. It may quote what was erased from a body, so it goes with it.
  suspects text not null,
  verdict text not null,
  unique (position, cause)
);
create index quality_findings_by_time on quality_findings (found_at);

-- What the processes of one ledger share about the schedule: who checks, until when others leave it to them, and the last
-- entries that were considered.
create table quality_schedule (
  only_row boolean primary key default true check (only_row),
  began_at timestamptz(3),
  claim uuid,
  claimed_until timestamptz(3),
  failed_position bigint not null default 0,
  suspect_position bigint not null default 0,
  check ((claim is null) = (claimed_until is null))
);
insert into quality_schedule default values;
