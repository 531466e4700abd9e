-- The schema of the database, written by `npm run schema` from migrations/. Not to be edited.

create type ledger_line as (
  product_id text,
  quantity integer,
  price_per_unit numeric,
  cents bigint
);

create type refund_event as (
  content_hash bytea,
  refund_id text,
  order_id text,
  refunded_at timestamp with time zone,
  cents bigint,
  message_id text,
  sent_at timestamp with time zone,
  received_at timestamp with time zone,
  body text,
  failure_hash bytea
);

create table accounts (
  id uuid not null default gen_random_uuid(),
  email text not null,
  password_hash text not null,
  full_name text not null,
  role text not null default 'customer'::text,
  user_id text not null,
  created_at timestamp(3) with time zone not null default now(),
  closed_at timestamp(3) with time zone,
  demo boolean not null default false,
  constraint accounts_email_key UNIQUE (email),
  constraint accounts_pkey PRIMARY KEY (id),
  constraint accounts_user_id_key UNIQUE (user_id),
  constraint accounts_check CHECK (closed_at IS NULL OR password_hash = ''::text),
  constraint accounts_email_check CHECK (email = lower(email)),
  constraint accounts_role_check CHECK (role = ANY (ARRAY['customer'::text, 'vendor'::text, 'analyst'::text, 'admin'::text]))
);
CREATE INDEX accounts_by_time ON public.accounts USING btree (created_at, id);

create table api_keys (
  id uuid not null default gen_random_uuid(),
  account_id uuid,
  name text not null,
  hash bytea not null,
  scopes text[] not null,
  created_at timestamp(3) with time zone not null default now(),
  revoked_at timestamp(3) with time zone,
  last_used_at timestamp(3) with time zone,
  constraint api_keys_hash_key UNIQUE (hash),
  constraint api_keys_pkey PRIMARY KEY (id),
  constraint api_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(id)
);
CREATE INDEX api_keys_of_account ON public.api_keys USING btree (account_id, created_at, id);

create table audit_head (
  only_row boolean not null default true,
  sequence bigint not null default 0,
  hash bytea not null default sha256('\x'::bytea),
  constraint audit_head_pkey PRIMARY KEY (only_row),
  constraint audit_head_only_row_check CHECK (only_row)
);

create table audit_log (
  id bigint not null generated always as identity,
  at timestamp(3) with time zone not null default clock_timestamp(),
  actor text not null,
  action text not null,
  target text not null,
  before text,
  after text,
  request_id text,
  announcement uuid,
  sequence bigint,
  hash bytea,
  constraint audit_log_announcement_key UNIQUE (announcement),
  constraint audit_log_pkey PRIMARY KEY (id),
  constraint audit_log_sequence_key UNIQUE (sequence),
  constraint audit_log_check CHECK ((sequence IS NULL) = (hash IS NULL))
);
CREATE INDEX audit_log_at ON public.audit_log USING btree (at);
CREATE INDEX audit_log_of_action ON public.audit_log USING btree (action, id);
CREATE INDEX audit_log_of_actor ON public.audit_log USING btree (actor, id);
CREATE INDEX audit_log_of_request ON public.audit_log USING btree (request_id, id);
CREATE INDEX audit_log_of_target ON public.audit_log USING btree (target, id);
CREATE INDEX audit_log_unsealed ON public.audit_log USING btree (id) WHERE (sequence IS NULL);
CREATE TRIGGER audit_log_is_kept BEFORE UPDATE ON public.audit_log FOR EACH ROW WHEN (((old.sequence IS NOT NULL) OR (((((((((new.id IS DISTINCT FROM old.id) OR (new.at IS DISTINCT FROM old.at)) OR (new.actor IS DISTINCT FROM old.actor)) OR (new.action IS DISTINCT FROM old.action)) OR (new.target IS DISTINCT FROM old.target)) OR (new.before IS DISTINCT FROM old.before)) OR (new.after IS DISTINCT FROM old.after)) OR (new.request_id IS DISTINCT FROM old.request_id)) OR (new.announcement IS DISTINCT FROM old.announcement)))) EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_log_is_never_shortened BEFORE DELETE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

create table counted_orders (
  order_id text not null,
  content_hash bytea not null,
  position bigint not null,
  constraint counted_orders_pkey PRIMARY KEY (order_id)
);

create table counted_refunds (
  refund_id text not null,
  content_hash bytea not null,
  position bigint not null,
  constraint counted_refunds_pkey PRIMARY KEY (refund_id)
);

create table delivery_failures (
  message_id text not null,
  failures integer not null default 1,
  first_failed_at timestamp(3) with time zone not null default now(),
  last_failed_at timestamp(3) with time zone not null default now(),
  last_error text not null,
  constraint delivery_failures_pkey PRIMARY KEY (message_id)
);
CREATE INDEX delivery_failures_by_age ON public.delivery_failures USING btree (last_failed_at);

create table early_refunds (
  number bigint not null generated always as identity,
  content_hash bytea not null,
  refund_id text not null,
  order_id text not null,
  refunded_at timestamp(3) with time zone not null,
  cents bigint not null,
  message_id text,
  sent_at timestamp(3) with time zone not null,
  received_at timestamp(3) with time zone not null,
  body text not null,
  failure_hash bytea not null,
  constraint early_refunds_failure_hash_key UNIQUE (failure_hash),
  constraint early_refunds_pkey PRIMARY KEY (number),
  constraint early_refunds_cents_check CHECK (cents > 0)
);
CREATE INDEX early_refunds_of_order ON public.early_refunds USING btree (order_id, number);

create table failed_contents (
  content_hash bytea not null,
  position bigint not null,
  constraint failed_contents_pkey PRIMARY KEY (content_hash)
);

create table failed_jobs (
  id bigint not null generated always as identity,
  order_id text collate "C" not null,
  job text not null,
  reference text not null default ''::text,
  error text not null,
  failed_at timestamp(3) with time zone not null default clock_timestamp(),
  state text not null default 'open'::text,
  seen_to_by text,
  seen_to_at timestamp(3) with time zone,
  note text,
  constraint failed_jobs_pkey PRIMARY KEY (id),
  constraint failed_jobs_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
  constraint failed_jobs_check CHECK ((state = 'open'::text) = (seen_to_at IS NULL)),
  constraint failed_jobs_state_check CHECK (state = ANY (ARRAY['open'::text, 'retried'::text, 'resolved'::text]))
);
CREATE UNIQUE INDEX open_failed_jobs ON public.failed_jobs USING btree (order_id, job, reference) WHERE (state = 'open'::text);

create table idempotency_keys (
  caller text not null,
  route text not null,
  key text not null,
  fingerprint bytea not null,
  status integer not null,
  answer text not null,
  expires_at timestamp(3) with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (caller, route, key)
);
CREATE INDEX idempotency_keys_by_expiry ON public.idempotency_keys USING btree (expires_at);

create table inbox (
  queue text not null,
  message_id text not null,
  at timestamp(3) with time zone not null default now(),
  constraint inbox_pkey PRIMARY KEY (queue, message_id)
);
CREATE INDEX inbox_by_age ON public.inbox USING btree (at);

create table ledger (
  position bigint not null,
  kind text not null,
  outcome text not null,
  order_id text,
  user_id text,
  ordered_at timestamp(3) with time zone,
  value_cents bigint,
  claimed_cents bigint,
  lines ledger_line[] not null default '{}'::ledger_line[],
  reasons text[] not null default '{}'::text[],
  content_hash bytea not null,
  entry_hash bytea not null,
  message_id text,
  ref_position bigint,
  refund_id text,
  actor text,
  sent_at timestamp(3) with time zone not null,
  received_at timestamp(3) with time zone not null,
  body text not null,
  body_hash bytea not null,
  constraint ledger_pkey PRIMARY KEY ("position"),
  constraint ledger_check CHECK ((outcome = 'failed'::text) = (cardinality(reasons) > 0)),
  constraint ledger_kind_check CHECK (kind = ANY (ARRAY['order'::text, 'repair'::text, 'refund'::text])),
  constraint ledger_outcome_check CHECK (outcome = ANY (ARRAY['accepted'::text, 'corrected'::text, 'failed'::text])),
  constraint ledger_refund CHECK (kind <> 'refund'::text OR outcome <> 'corrected'::text AND (outcome = 'failed'::text) = (value_cents IS NULL) AND (outcome = 'failed'::text OR refund_id IS NOT NULL AND order_id IS NOT NULL AND user_id IS NOT NULL AND ordered_at IS NOT NULL AND ref_position IS NOT NULL)),
  constraint ledger_repair CHECK (kind <> 'repair'::text OR outcome <> 'failed'::text AND value_cents IS NULL AND ref_position IS NOT NULL AND actor IS NOT NULL),
  constraint ledger_value_cents_check CHECK (value_cents > 0),
  constraint ledger_value_of_order CHECK (kind <> 'order'::text OR (outcome = 'failed'::text) = (value_cents IS NULL))
);
CREATE INDEX ledger_by_reason ON public.ledger USING gin (reasons) WHERE (outcome = 'failed'::text);
CREATE INDEX ledger_by_time ON public.ledger USING brin (ordered_at) WITH (pages_per_range='32', autosummarize='on');
CREATE INDEX ledger_not_accepted ON public.ledger USING btree (outcome, "position") WHERE (outcome <> 'accepted'::text);
CREATE INDEX ledger_of_order ON public.ledger USING btree (order_id, "position") WHERE (order_id IS NOT NULL);
CREATE INDEX ledger_of_user ON public.ledger USING btree (user_id, "position") WHERE (user_id IS NOT NULL);
CREATE INDEX ledger_refunds ON public.ledger USING btree ("position") WHERE (kind = 'refund'::text);
CREATE UNIQUE INDEX ledger_repairs ON public.ledger USING btree (ref_position) WHERE (kind = 'repair'::text);
CREATE TRIGGER ledger_is_kept BEFORE UPDATE ON public.ledger FOR EACH ROW WHEN (((entry_item(old.*) IS DISTINCT FROM entry_item(new.*)) OR (old.entry_hash IS DISTINCT FROM new.entry_hash) OR (POSITION(('[erased]'::text) IN (new.body)) = 0))) EXECUTE FUNCTION refuse_ledger_change();
CREATE TRIGGER ledger_is_never_shortened BEFORE DELETE OR TRUNCATE ON public.ledger FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

create table ledger_head (
  only_row boolean not null default true,
  ledger_id uuid not null default gen_random_uuid(),
  position bigint not null default 0,
  entry_hash bytea not null default sha256('\x'::bytea),
  constraint ledger_head_pkey PRIMARY KEY (only_row),
  constraint ledger_head_only_row_check CHECK (only_row)
) with (fillfactor=50);

create table ledger_verification (
  only_row boolean not null default true,
  scheduled_at timestamp(3) with time zone,
  position bigint not null default 0,
  entry_hash bytea not null default sha256('\x'::bytea),
  first_bad_position bigint,
  constraint ledger_verification_pkey PRIMARY KEY (only_row),
  constraint ledger_verification_only_row_check CHECK (only_row)
);

create table order_lines (
  order_id text collate "C" not null,
  sku text collate "C" not null,
  name text not null,
  quantity integer not null,
  price_cents bigint not null,
  constraint order_lines_pkey PRIMARY KEY (order_id, sku),
  constraint order_lines_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
  constraint order_lines_sku_fkey FOREIGN KEY (sku) REFERENCES products(sku),
  constraint order_lines_price_cents_check CHECK (price_cents > 0),
  constraint order_lines_quantity_check CHECK (quantity > 0)
);
CREATE INDEX order_lines_of_sku ON public.order_lines USING btree (sku, order_id);

create table order_timeline (
  order_id text collate "C" not null,
  sequence integer not null,
  event text not null,
  status text not null,
  detail text,
  actor text not null,
  at timestamp(3) with time zone not null default clock_timestamp(),
  constraint order_timeline_pkey PRIMARY KEY (order_id, sequence),
  constraint order_timeline_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
  constraint order_timeline_sequence_check CHECK (sequence > 0)
);

create table orders (
  id text collate "C" not null,
  number bigint not null generated always as identity,
  placed_by text not null,
  user_id text collate "C" not null,
  status text not null default 'pending'::text,
  currency text not null,
  total_cents bigint not null,
  shipping_address text not null,
  payment_method text not null,
  placed_at timestamp(3) with time zone not null default clock_timestamp(),
  changed_at timestamp(3) with time zone not null default clock_timestamp(),
  active_at timestamp(3) with time zone not null default clock_timestamp(),
  events integer not null default 0,
  redriven integer not null default 0,
  constraint orders_number_key UNIQUE (number),
  constraint orders_pkey PRIMARY KEY (id),
  constraint orders_id_check CHECK (id ~ '^ORD-[0-9A-Z]{16}$'::text),
  constraint orders_status_check CHECK (status = ANY (ARRAY['pending'::text, 'reserved'::text, 'paid'::text, 'shipped'::text, 'completed'::text, 'failed_no_stock'::text, 'payment_failed'::text, 'payment_unknown'::text, 'cancelled'::text])),
  constraint orders_total_cents_check CHECK (total_cents > 0)
) with (fillfactor=80);
CREATE INDEX orders_by_status ON public.orders USING btree (status, placed_at, number);
CREATE INDEX orders_by_time ON public.orders USING btree (placed_at, number);
CREATE INDEX orders_of_user ON public.orders USING btree (user_id, placed_at, number);
CREATE INDEX orders_under_way ON public.orders USING btree (active_at) WHERE (status = ANY (ARRAY['pending'::text, 'reserved'::text, 'paid'::text, 'shipped'::text, 'payment_unknown'::text]));

create table outbox (
  id bigint not null generated always as identity,
  order_id text collate "C" not null,
  sequence integer not null,
  queue text not null,
  body text not null,
  delay_seconds integer not null default 0,
  created_at timestamp(3) with time zone not null default clock_timestamp(),
  claimed_until timestamp(3) with time zone not null default '-infinity'::timestamp with time zone,
  constraint outbox_pkey PRIMARY KEY (id),
  constraint outbox_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
  constraint outbox_delay_seconds_check CHECK (delay_seconds >= 0 AND delay_seconds <= 900),
  constraint outbox_queue_check CHECK (queue = ANY (ARRAY['orders'::text, 'inventory'::text, 'payment'::text, 'shipment'::text]))
) with (fillfactor=50);
CREATE INDEX outbox_by_age ON public.outbox USING btree (created_at);
CREATE INDEX outbox_of_order ON public.outbox USING btree (order_id, sequence);

create table payment_attempts (
  id uuid not null default gen_random_uuid(),
  order_id text collate "C" not null,
  number integer not null,
  amount_cents bigint not null,
  state text not null default 'started'::text,
  paid_order boolean not null default false,
  asked integer not null default 0,
  compensation text not null default 'armed'::text,
  compensation_tries integer not null default 0,
  compensation_at timestamp(3) with time zone,
  refunded_at timestamp(3) with time zone,
  constraint payment_attempts_order_id_number_key UNIQUE (order_id, number),
  constraint payment_attempts_pkey PRIMARY KEY (id),
  constraint payment_attempts_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
  constraint payment_attempts_amount_cents_check CHECK (amount_cents > 0),
  constraint payment_attempts_check CHECK (refunded_at IS NULL OR state = 'captured'::text),
  constraint payment_attempts_compensation_check CHECK (compensation = ANY (ARRAY['armed'::text, 'due'::text, 'done'::text, 'failed'::text])),
  constraint payment_attempts_number_check CHECK (number > 0),
  constraint payment_attempts_state_check CHECK (state = ANY (ARRAY['started'::text, 'unknown'::text, 'unavailable'::text, 'captured'::text, 'declined'::text, 'voided'::text]))
);
CREATE INDEX compensations_due ON public.payment_attempts USING btree (compensation_at) WHERE (compensation = 'due'::text);
CREATE UNIQUE INDEX one_captured_attempt_kept ON public.payment_attempts USING btree (order_id) WHERE ((state = 'captured'::text) AND (compensation = 'armed'::text));

create table products (
  sku text collate "C" not null,
  name text not null,
  price_cents bigint not null,
  vendor_id uuid,
  low_stock_at integer not null,
  created_at timestamp(3) with time zone not null default now(),
  constraint products_pkey PRIMARY KEY (sku),
  constraint products_low_stock_at_check CHECK (low_stock_at >= 0),
  constraint products_price_cents_check CHECK (price_cents > 0),
  constraint products_sku_check CHECK (sku ~ '^[A-Z0-9][A-Z0-9._-]{0,63}$'::text)
);
CREATE INDEX products_of_vendor ON public.products USING btree (vendor_id, sku) WHERE (vendor_id IS NOT NULL);

create table projection (
  only_row boolean not null default true,
  generation bigint not null default 0,
  base bigint not null default 0,
  state text not null default 'empty'::text,
  last_generation bigint not null default 0,
  builder uuid,
  builder_until timestamp with time zone,
  build_done bigint not null default 0,
  build_total bigint not null default 0,
  constraint projection_pkey PRIMARY KEY (only_row),
  constraint projection_check CHECK ((builder IS NULL) = (builder_until IS NULL)),
  constraint projection_only_row_check CHECK (only_row),
  constraint projection_state_check CHECK (state = ANY (ARRAY['empty'::text, 'ready'::text]))
);

create table quality_findings (
  number bigint not null generated always as identity,
  id uuid not null default gen_random_uuid(),
  found_at timestamp(3) with time zone not null default clock_timestamp(),
  position bigint not null,
  order_id text,
  body_hash bytea not null,
  cause text not null,
  suspects text not null,
  verdict text not null,
  constraint quality_findings_id_key UNIQUE (id),
  constraint quality_findings_pkey PRIMARY KEY (number),
  constraint quality_findings_position_cause_key UNIQUE ("position", cause),
  constraint quality_findings_cause_check CHECK (cause = ANY (ARRAY['failed'::text, 'suspect'::text]))
);
CREATE INDEX quality_findings_by_time ON public.quality_findings USING btree (found_at);

create table quality_schedule (
  only_row boolean not null default true,
  began_at timestamp(3) with time zone,
  claim uuid,
  claimed_until timestamp(3) with time zone,
  failed_position bigint not null default 0,
  suspect_position bigint not null default 0,
  constraint quality_schedule_pkey PRIMARY KEY (only_row),
  constraint quality_schedule_check CHECK ((claim IS NULL) = (claimed_until IS NULL)),
  constraint quality_schedule_only_row_check CHECK (only_row)
);

create table rebuilds (
  id uuid not null default gen_random_uuid(),
  requested_by text not null,
  requested_at timestamp(3) with time zone not null default now(),
  from_beginning boolean not null,
  state text not null default 'requested'::text,
  generation bigint,
  position bigint,
  done bigint,
  total bigint,
  started_at timestamp(3) with time zone,
  finished_at timestamp(3) with time zone,
  error text,
  seen_at timestamp(3) with time zone not null default now(),
  constraint rebuilds_pkey PRIMARY KEY (id),
  constraint rebuilds_check CHECK ((state = ANY (ARRAY['done'::text, 'failed'::text])) = (finished_at IS NOT NULL)),
  constraint rebuilds_check1 CHECK ((state = 'failed'::text) = (error IS NOT NULL)),
  constraint rebuilds_state_check CHECK (state = ANY (ARRAY['requested'::text, 'running'::text, 'done'::text, 'failed'::text]))
);
CREATE INDEX rebuilds_by_time ON public.rebuilds USING btree (requested_at);
CREATE UNIQUE INDEX rebuilds_unfinished ON public.rebuilds USING btree ((true)) WHERE (state = ANY (ARRAY['requested'::text, 'running'::text]));

create table refresh_tokens (
  hash bytea not null,
  session_id uuid not null,
  issued_at timestamp(3) with time zone not null default now(),
  used_at timestamp(3) with time zone,
  constraint refresh_tokens_pkey PRIMARY KEY (hash),
  constraint refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_by_use ON public.refresh_tokens USING btree (used_at) WHERE (used_at IS NOT NULL);
CREATE INDEX refresh_tokens_of_session ON public.refresh_tokens USING btree (session_id);

create table refunded_orders (
  order_id text not null,
  refunded_cents bigint not null,
  constraint refunded_orders_pkey PRIMARY KEY (order_id),
  constraint refunded_orders_refunded_cents_check CHECK (refunded_cents > 0)
) with (fillfactor=70);

create table refunds_due (
  order_id text not null,
  constraint refunds_due_pkey PRIMARY KEY (order_id)
);

create table repairs (
  id uuid not null default gen_random_uuid(),
  number bigint not null generated always as identity,
  failed_position bigint not null,
  requested_by text not null,
  requested_at timestamp(3) with time zone not null default now(),
  body text,
  changes json not null default '[]'::json,
  state text not null default 'pending'::text,
  sends integer not null default 0,
  sent_at timestamp(3) with time zone,
  ended_at timestamp(3) with time zone,
  reasons text[] not null default '{}'::text[],
  counted_position bigint,
  repair_position bigint,
  constraint repairs_number_key UNIQUE (number),
  constraint repairs_pkey PRIMARY KEY (id),
  constraint repairs_check CHECK ((state = 'pending'::text) = (ended_at IS NULL)),
  constraint repairs_check1 CHECK ((state = 'failed'::text) = (cardinality(reasons) > 0)),
  constraint repairs_check2 CHECK ((state = 'repaired'::text) = (counted_position IS NOT NULL)),
  constraint repairs_check3 CHECK ((state = 'repaired'::text) = (repair_position IS NOT NULL)),
  constraint repairs_state_check CHECK (state = ANY (ARRAY['pending'::text, 'repaired'::text, 'failed'::text]))
);
CREATE INDEX repairs_of_entry ON public.repairs USING btree (failed_position, number);
CREATE INDEX repairs_to_send ON public.repairs USING btree (number) WHERE (state = 'pending'::text);
CREATE UNIQUE INDEX repairs_under_way ON public.repairs USING btree (failed_position) WHERE (state = 'pending'::text);

create table reservations (
  order_id text collate "C" not null,
  sku text collate "C" not null,
  warehouse text not null,
  quantity integer not null,
  state text not null default 'held'::text,
  expires_at timestamp(3) with time zone not null,
  constraint reservations_pkey PRIMARY KEY (order_id, sku, warehouse),
  constraint reservations_order_id_sku_fkey FOREIGN KEY (order_id, sku) REFERENCES order_lines(order_id, sku),
  constraint reservations_sku_warehouse_fkey FOREIGN KEY (sku, warehouse) REFERENCES stock(sku, warehouse),
  constraint reservations_quantity_check CHECK (quantity > 0),
  constraint reservations_state_check CHECK (state = ANY (ARRAY['held'::text, 'released'::text, 'shipped'::text]))
);
CREATE INDEX reservations_by_expiry ON public.reservations USING btree (expires_at) WHERE (state = 'held'::text);

create table schema_migrations (
  name text not null,
  hash text not null,
  applied_at timestamp(3) with time zone not null default now(),
  constraint schema_migrations_pkey PRIMARY KEY (name)
);

create table sessions (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  created_at timestamp(3) with time zone not null default now(),
  expires_at timestamp(3) with time zone not null,
  ended_at timestamp(3) with time zone,
  ended_because text,
  constraint sessions_pkey PRIMARY KEY (id),
  constraint sessions_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(id),
  constraint sessions_check CHECK ((ended_at IS NULL) = (ended_because IS NULL)),
  constraint sessions_ended_because_check CHECK (ended_because = ANY (ARRAY['logged_out'::text, 'token_reused'::text, 'erased'::text]))
);
CREATE INDEX sessions_by_expiry ON public.sessions USING btree (expires_at);
CREATE INDEX sessions_of_account ON public.sessions USING btree (account_id) WHERE (ended_at IS NULL);

create table shipment_events (
  tracking_number text not null,
  sequence integer not null,
  event text not null,
  at timestamp(3) with time zone not null default clock_timestamp(),
  constraint shipment_events_pkey PRIMARY KEY (tracking_number, sequence),
  constraint shipment_events_tracking_number_fkey FOREIGN KEY (tracking_number) REFERENCES shipments(tracking_number),
  constraint shipment_events_event_check CHECK (event = ANY (ARRAY['created'::text, 'in_transit'::text, 'delayed'::text, 'delivered'::text])),
  constraint shipment_events_sequence_check CHECK (sequence > 0)
);

create table shipments (
  tracking_number text not null,
  order_id text collate "C" not null,
  carrier text not null,
  status text not null default 'created'::text,
  next_at timestamp(3) with time zone not null,
  constraint shipments_order_id_key UNIQUE (order_id),
  constraint shipments_pkey PRIMARY KEY (tracking_number),
  constraint shipments_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
  constraint shipments_status_check CHECK (status = ANY (ARRAY['created'::text, 'in_transit'::text, 'delayed'::text, 'delivered'::text]))
);
CREATE INDEX shipments_under_way ON public.shipments USING btree (next_at) WHERE (status <> 'delivered'::text);

create table simulated_charges (
  key text not null,
  order_id text,
  amount_cents bigint,
  currency text,
  state text not null,
  reason text,
  attempts integer not null default 0,
  capture_at timestamp(3) with time zone,
  refund_refusals integer default 0,
  captured_cents bigint not null generated always as (
CASE
    WHEN (state = 'captured'::text) THEN amount_cents
    ELSE (0)::bigint
END) stored,
  constraint simulated_charges_key_captured_cents_key UNIQUE (key, captured_cents),
  constraint simulated_charges_pkey PRIMARY KEY (key),
  constraint simulated_charges_amount_cents_check CHECK (amount_cents > 0),
  constraint simulated_charges_check CHECK ((order_id IS NULL) = (amount_cents IS NULL) AND (order_id IS NULL) = (currency IS NULL)),
  constraint simulated_charges_check1 CHECK (order_id IS NOT NULL OR state = 'voided'::text),
  constraint simulated_charges_check2 CHECK ((state = 'declined'::text) = (reason IS NOT NULL)),
  constraint simulated_charges_key_check CHECK (length(key) >= 1 AND length(key) <= 128),
  constraint simulated_charges_refund_refusals_check CHECK (refund_refusals >= 0),
  constraint simulated_charges_state_check CHECK (state = ANY (ARRAY['refused'::text, 'processing'::text, 'captured'::text, 'declined'::text, 'voided'::text]))
) with (fillfactor=70);
CREATE INDEX simulated_charges_of_order ON public.simulated_charges USING btree (order_id);
CREATE INDEX simulated_charges_to_capture ON public.simulated_charges USING btree (capture_at) WHERE ((state = 'processing'::text) AND (capture_at IS NOT NULL));

create table simulated_refunds (
  key text not null,
  charge_key text not null,
  amount_cents bigint not null,
  attempts integer not null default 1,
  refunded_at timestamp(3) with time zone,
  constraint simulated_refunds_charge_key_key UNIQUE (charge_key),
  constraint simulated_refunds_pkey PRIMARY KEY (key),
  constraint simulated_refunds_charge_key_amount_cents_fkey FOREIGN KEY (charge_key, amount_cents) REFERENCES simulated_charges(key, captured_cents),
  constraint simulated_refunds_amount_cents_check CHECK (amount_cents > 0),
  constraint simulated_refunds_key_check CHECK (length(key) >= 1 AND length(key) <= 128)
) with (fillfactor=70);
CREATE INDEX simulated_refunds_by_time ON public.simulated_refunds USING btree (refunded_at) WHERE (refunded_at IS NOT NULL);

create table simulated_webhooks (
  id uuid not null default gen_random_uuid(),
  charge_key text not null,
  at timestamp(3) with time zone not null default clock_timestamp(),
  attempts integer not null default 0,
  next_attempt_at timestamp(3) with time zone not null default clock_timestamp(),
  delivered_at timestamp(3) with time zone,
  constraint simulated_webhooks_charge_key_key UNIQUE (charge_key),
  constraint simulated_webhooks_pkey PRIMARY KEY (id),
  constraint simulated_webhooks_charge_key_fkey FOREIGN KEY (charge_key) REFERENCES simulated_charges(key)
) with (fillfactor=70);
CREATE INDEX simulated_webhooks_by_time ON public.simulated_webhooks USING btree (at);
CREATE INDEX simulated_webhooks_to_deliver ON public.simulated_webhooks USING btree (next_attempt_at) WHERE (delivered_at IS NULL);

create table stock (
  sku text collate "C" not null,
  warehouse text not null,
  on_hand integer not null default 0,
  reserved integer not null default 0,
  constraint stock_pkey PRIMARY KEY (sku, warehouse),
  constraint stock_sku_fkey FOREIGN KEY (sku) REFERENCES products(sku),
  constraint stock_warehouse_fkey FOREIGN KEY (warehouse) REFERENCES warehouses(code),
  constraint stock_check CHECK (reserved >= 0 AND reserved <= on_hand),
  constraint stock_on_hand_check CHECK (on_hand >= 0)
) with (fillfactor=70);

create table stock_movements (
  id bigint not null generated always as identity,
  sku text collate "C" not null,
  warehouse text not null,
  quantity integer not null,
  cause text not null,
  order_id text,
  actor text not null,
  at timestamp(3) with time zone not null default clock_timestamp(),
  constraint stock_movements_pkey PRIMARY KEY (id),
  constraint stock_movements_sku_warehouse_fkey FOREIGN KEY (sku, warehouse) REFERENCES stock(sku, warehouse),
  constraint stock_movements_cause_check CHECK (cause = ANY (ARRAY['received'::text, 'corrected'::text, 'shipped'::text, 'returned'::text])),
  constraint stock_movements_quantity_check CHECK (quantity <> 0)
);
CREATE INDEX stock_movements_of_sku ON public.stock_movements USING btree (sku, id);

create table verification (
  only_row boolean not null default true,
  scheduled_at timestamp(3) with time zone,
  finished_at timestamp(3) with time zone,
  verified boolean,
  drift_cents numeric,
  succeeded_at timestamp(3) with time zone,
  constraint verification_pkey PRIMARY KEY (only_row),
  constraint verification_only_row_check CHECK (only_row)
);

create table warehouses (
  code text not null,
  name text not null,
  constraint warehouses_pkey PRIMARY KEY (code),
  constraint warehouses_code_check CHECK (code ~ '^[A-Z0-9-]{1,32}$'::text)
);

create table write_probe (
  only_row boolean not null default true,
  probed_at timestamp with time zone not null default now(),
  constraint write_probe_pkey PRIMARY KEY (only_row),
  constraint write_probe_only_row_check CHECK (only_row)
);

-- Functions, see migrations/functions/
-- function append_entries(entries json, refunds json DEFAULT NULL::json, bodies bytea DEFAULT NULL::bytea, max_settled integer DEFAULT 200) returns TABLE(i integer, outcome text, reasons text[], "position" bigint, duplicate boolean)
-- function append_refund(head ledger_head, refund refund_event, faults text[], order_user text, order_position bigint) returns ledger_head
-- function append_retries(entries json) returns TABLE(i integer, kind text, outcome text, reasons text[], "position" bigint)
-- function chain(first bytea, item bytea) returns bytea
-- function chain_step(state bytea, first bytea, item bytea) returns bytea
-- function entry_item(entry ledger) returns bytea
-- function refuse_audit_change() returns trigger
-- function refuse_ledger_change() returns trigger
-- function settle_refund(INOUT head ledger_head, refund refund_event, OUT "position" bigint, OUT reasons text[], OUT duplicate boolean) returns record
