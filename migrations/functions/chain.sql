-- chain(first, item) over (order by …): each row's hash covers the hash of the row before it.
--
-- first   the hash before the first row
-- item    what the hash of a row covers besides
create or replace function chain_step(state bytea, first bytea, item bytea) returns bytea
language plpgsql immutable parallel safe
as $$ begin return sha256(coalesce(state, first) || item); end $$;

create or replace aggregate chain(first bytea, item bytea) (sfunc = chain_step, stype = bytea);
