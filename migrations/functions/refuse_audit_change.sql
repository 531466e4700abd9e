-- Trigger of audit_log: refuses every change but sealing a row once.
create or replace function refuse_audit_change() returns trigger
language plpgsql
as $$ begin raise exception 'the audit log is only ever added to'; end $$;

-- A row may be sealed once; nothing else ever changes.
create or replace trigger audit_log_is_kept before update on audit_log for each row
when (
  old.sequence is not null
  or (new.id, new.at, new.actor, new.action, new.target, new.before, new.after, new.request_id, new.announcement)
    is distinct from (old.id, old.at, old.actor, old.action, old.target, old.before, old.after, old.request_id, old.announcement)
)
execute function refuse_audit_change();

create or replace trigger audit_log_is_never_shortened before delete or truncate on audit_log for each statement
execute function refuse_audit_change();
