-- Repairs: a failed entry is validated again, as it was or corrected. What the API recorded here is what the consumer
-- honours; a message alone repairs nothing.

create table repairs (
  id uuid primary key default gen_random_uuid(),
  -- The order in which repairs were requested, for paging; it may have gaps.
  number bigint generated always as identity unique,
  failed_position bigint not null,
  requested_by text not null,
  requested_at timestamptz(3) not null default now(),
  -- What is to be validated; null where it is what was received.
  body text,
  -- Which fields of the order differ from what was received: [{field, before, after}].
  changes json not null default '[]',
  state text not null default 'pending' check (state in ('pending', 'repaired', 'failed')),
  -- How often it was put on the queue, and when last; counted before it is sent.
  sends integer not null default 0,
  sent_at timestamptz(3),
  ended_at timestamptz(3),
  -- Why it failed again.
  reasons text[] not null default '{}',
  -- The entry that counts for the failed one, and the entry of kind repair.
  counted_position bigint,
  repair_position bigint,
  check ((state = 'pending') = (ended_at is null)),
  check ((state = 'failed') = (cardinality(reasons) > 0)),
  check ((state = 'repaired') = (counted_position is not null)),
  check ((state = 'repaired') = (repair_position is not null))
);
create unique index repairs_under_way on repairs (failed_position) where state = 'pending';
create index repairs_of_entry on repairs (failed_position, number);
create index repairs_to_send on repairs (number) where state = 'pending';
