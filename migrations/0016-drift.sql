-- What Redis holds instead of a sum may be any number, and so may the drift.
alter table verification alter drift_cents type numeric;
