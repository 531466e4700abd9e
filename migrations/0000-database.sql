-- What the database module needs itself. PostgreSQL 15 or later.

-- Which files of migrations/ were applied, and with which content.
create table schema_migrations (
  name text primary key,
  hash text not null,
  applied_at timestamptz(3) not null default now()
);

-- A row that is written to find out whether the database takes writes.
create table write_probe (
  only_row boolean primary key default true check (only_row),
  probed_at timestamptz not null default now()
);
insert into write_probe default values;
