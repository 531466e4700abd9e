-- Who may use this service, and how they show that it is them.

create table accounts (
  id uuid primary key default gen_random_uuid(),
  -- In lower case: what a person types twice in different cases is one address.
  email text not null unique check (email = lower(email)),
  -- In the PHC format, which names the algorithm and its parameters; empty where the account is closed.
  password_hash text not null,
  full_name text not null,
  role text not null default 'customer' check (role in ('customer', 'vendor', 'analyst', 'admin')),
  -- Whose order events are this account's own.
  user_id text not null unique,
  created_at timestamptz(3) not null default now(),
  -- Since when nobody can use it any more; there is then no password, no name and no address.
  closed_at timestamptz(3),
  -- Made by demo data, which may give only such accounts another password.
  demo boolean not null default false,
  check (closed_at is null or password_hash = '')
);
create index accounts_by_time on accounts (created_at, id);

-- A log-in. Every refresh token that follows from it belongs to it and ends with it.
create table sessions (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id),
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz(3) not null,
  ended_at timestamptz(3),
  ended_because text check (ended_because in ('logged_out', 'token_reused', 'erased')),
  check ((ended_at is null) = (ended_because is null))
);
create index sessions_of_account on sessions (account_id) where ended_at is null;
create index sessions_by_expiry on sessions (expires_at);

create table refresh_tokens (
  -- SHA-256 of the token, which is random enough to need no more.
  hash bytea primary key,
  session_id uuid not null references sessions (id) on delete cascade,
  issued_at timestamptz(3) not null default now(),
  -- A token is good for one refresh. It is kept, so that a second one is noticed.
  used_at timestamptz(3)
);
create index refresh_tokens_of_session on refresh_tokens (session_id);

create table api_keys (
  id uuid primary key default gen_random_uuid(),
  -- Null where it was made by the operator of a service that nobody logs in to.
  account_id uuid references accounts (id),
  name text not null,
  -- SHA-256 of the key.
  hash bytea not null unique,
  scopes text[] not null,
  created_at timestamptz(3) not null default now(),
  revoked_at timestamptz(3),
  -- To the minute.
  last_used_at timestamptz(3)
);
create index api_keys_of_account on api_keys (account_id, created_at, id);
