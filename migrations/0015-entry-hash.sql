-- The hash of an entry covers everything that the entry says. What was appended before is hashed again, the same way as
-- functions/entry_item.sql does it.

alter table ledger add body_hash bytea;
update ledger set body_hash = sha256(convert_to(body, 'UTF8'));
alter table ledger alter body_hash set not null;

do $$
declare
  hash bytea := sha256('');
  entry ledger%rowtype;
begin
  for entry in select * from ledger order by ledger.position loop
    hash := sha256(
      hash || convert_to(
        json_build_array(
          entry.position, entry.kind, entry.outcome, entry.order_id, entry.user_id,
          (extract(epoch from entry.ordered_at) * 1000)::bigint, entry.value_cents, entry.claimed_cents, entry.lines,
          entry.reasons, encode(entry.content_hash, 'hex'), entry.message_id, entry.ref_position, entry.refund_id,
          entry.actor, (extract(epoch from entry.sent_at) * 1000)::bigint,
          (extract(epoch from entry.received_at) * 1000)::bigint, encode(entry.body_hash, 'hex')
        )::text,
        'UTF8'
      )
    );
    update ledger set entry_hash = hash where ledger.position = entry.position;
  end loop;
  update ledger_head set entry_hash = hash;
end
$$;

-- What the processes of one ledger share about verifying it.
create table ledger_verification (
  only_row boolean primary key default true check (only_row),
  -- When the scheduled verification was begun last.
  scheduled_at timestamptz(3),
  -- All entries up to this one were found to be what was appended, and the hash of the last of them.
  position bigint not null default 0,
  entry_hash bytea not null default sha256(''),
  -- The first entry that is not what was appended; null where none is known.
  first_bad_position bigint
);
insert into ledger_verification default values;
