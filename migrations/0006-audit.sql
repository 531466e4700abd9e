-- Who changed what. A row is written in the transaction of the change; which place it has in the chain is decided
-- afterwards, by one sealer at a time, so that no change waits for another's.
create table audit_log (
  id bigint generated always as identity primary key,
  at timestamptz(3) not null default clock_timestamp(),
  actor text not null,
  action text not null,
  target text not null,
  -- JSON as it was written; text, so that it stays the same byte by byte.
  before text,
  after text,
  request_id text,
  -- Of a row that is written before a change outside of this database, so that trying again does not write it twice.
  announcement uuid unique,
  -- Given out by the sealer, gapless from 1; the hash covers the row and the hash of the one before it.
  sequence bigint unique,
  hash bytea,
  check ((sequence is null) = (hash is null))
);
create index audit_log_unsealed on audit_log (id) where sequence is null;
create index audit_log_of_actor on audit_log (actor, id);
create index audit_log_of_action on audit_log (action, id);
create index audit_log_of_target on audit_log (target, id);
create index audit_log_of_request on audit_log (request_id, id);
create index audit_log_at on audit_log (at);

-- Where the chain ends, so that rows missing from its end are noticed.
create table audit_head (
  only_row boolean primary key default true check (only_row),
  sequence bigint not null default 0,
  hash bytea not null default sha256('')
);
insert into audit_head default values;
