-- A failed message is known again by all that its body says, and so is a refund that waits for its order: two that differ in
-- a field without a meaning are both kept.

alter type refund_event add attribute failure_hash bytea;

alter table early_refunds add failure_hash bytea;
update early_refunds set failure_hash = content_hash;
alter table early_refunds
  alter failure_hash set not null,
  add unique (failure_hash),
  drop constraint early_refunds_content_hash_key;
