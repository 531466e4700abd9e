-- What the hash of an entry covers beside the hash of the entry before it: every column, of the body its hash.
--
-- entry   a row of the ledger; its entry_hash and its body are not looked at
--
-- Result: a JSON array in UTF-8, of the columns in the order below. Times are whole ms since 1970 in UTC, hashes are hex.
create or replace function entry_item(entry ledger) returns bytea
language sql stable parallel safe
as $$
  select convert_to(
    json_build_array(
      entry.position, entry.kind, entry.outcome, entry.order_id, entry.user_id,
      (extract(epoch from entry.ordered_at) * 1000)::bigint, entry.value_cents, entry.claimed_cents, entry.lines,
      entry.reasons, encode(entry.content_hash, 'hex'), entry.message_id, entry.ref_position, entry.refund_id, entry.actor,
      (extract(epoch from entry.sent_at) * 1000)::bigint, (extract(epoch from entry.received_at) * 1000)::bigint,
      encode(entry.body_hash, 'hex')
    )::text,
    'UTF8'
  )
$$;
