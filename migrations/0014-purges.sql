-- By which rows are found that are kept long enough.

create index refresh_tokens_by_use on refresh_tokens (used_at) where used_at is not null;
create index simulated_refunds_by_time on simulated_refunds (refunded_at) where refunded_at is not null;
create index simulated_webhooks_by_time on simulated_webhooks (at);
