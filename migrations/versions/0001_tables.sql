-- The tables of billing and of the inbox. The classes in billing/ and webhooks/ are their definition;
-- tests/house/test_schema.py proves that the two agree.

CREATE TABLE billing.organizations (
  id UUID NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  touched_at TIMESTAMP WITH TIME ZONE,
  frozen_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (id)
);
CREATE INDEX organizations_stopped ON billing.organizations (id) WHERE frozen_at IS NOT NULL;

CREATE TABLE webhooks.letters (
  id UUID NOT NULL,
  source TEXT NOT NULL,
  provider_event_id TEXT NOT NULL,
  type TEXT NOT NULL,
  body BYTEA NOT NULL,
  state TEXT DEFAULT 'pending' NOT NULL,
  reason TEXT,
  tries INTEGER DEFAULT 0 NOT NULL,
  paged BOOLEAN DEFAULT false NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP WITH TIME ZONE NOT NULL,
  done_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (id),
  CONSTRAINT one_letter_per_event UNIQUE (source, provider_event_id),
  CONSTRAINT state_is_known CHECK (state IN ('pending', 'done', 'ignored', 'parked'))
);
CREATE INDEX letters_waiting ON webhooks.letters (next_try_at) WHERE state = 'pending';
CREATE INDEX letters_parked ON webhooks.letters (id) WHERE state = 'parked';
CREATE INDEX letters_by_arrival ON webhooks.letters (paged, id);

CREATE TABLE billing.activity_events (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  type TEXT NOT NULL,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  summary TEXT NOT NULL,
  operation TEXT,
  subject_type TEXT NOT NULL,
  subject_id TEXT NOT NULL,
  status TEXT NOT NULL,
  links JSONB NOT NULL,
  cost JSONB,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT event_of_an_organization FOREIGN KEY(organization_id) REFERENCES billing.organizations (id)
);
CREATE INDEX activity_events_by_link ON billing.activity_events USING gin (links jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX activity_events_by_type ON billing.activity_events (organization_id, type, id);

CREATE TABLE billing.agents (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  name TEXT NOT NULL,
  runtime TEXT NOT NULL,
  contact TEXT,
  discovery_source TEXT,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  revoked_at TIMESTAMP WITH TIME ZONE,
  limited_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT agent_belongs_to_organization FOREIGN KEY(organization_id) REFERENCES billing.organizations (id)
);
CREATE INDEX agents_by_contact ON billing.agents (contact);

CREATE TABLE billing.agent_tokens (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  agent_id UUID NOT NULL,
  secret_hash BYTEA NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  revoked_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_token_per_id UNIQUE (id),
  CONSTRAINT token_belongs_to_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id),
  CONSTRAINT hash_is_sha256 CHECK (octet_length(secret_hash) = 32)
);

CREATE TABLE billing.operator_keys (
  id UUID NOT NULL,
  name TEXT NOT NULL,
  scopes TEXT[] NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  rotated_at TIMESTAMP WITH TIME ZONE,
  revoked_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (id),
  CONSTRAINT holder_is_named CHECK (char_length(name) BETWEEN 1 AND 100),
  CONSTRAINT key_may_do_something CHECK (cardinality(scopes) > 0),
  CONSTRAINT scopes_are_known CHECK (scopes <@ ARRAY['spend', 'grant', 'read', 'operate', 'admin'])
);

CREATE TABLE billing.operator_secrets (
  key_id UUID NOT NULL,
  id UUID NOT NULL,
  secret_hash BYTEA NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  revoked_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (key_id, id),
  CONSTRAINT one_secret_per_id UNIQUE (id),
  CONSTRAINT secret_belongs_to_key FOREIGN KEY(key_id) REFERENCES billing.operator_keys (id),
  CONSTRAINT hash_is_sha256 CHECK (octet_length(secret_hash) = 32)
);

CREATE TABLE billing.credit_quotes (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  agent_id UUID NOT NULL,
  idempotency_key TEXT NOT NULL,
  credits BIGINT NOT NULL,
  pack_id TEXT,
  price_cents BIGINT NOT NULL,
  currency TEXT NOT NULL,
  payment_method TEXT NOT NULL,
  live_money BOOLEAN NOT NULL,
  credits_expire_after_days INTEGER,
  refund_second_payment BOOLEAN DEFAULT false NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  settled_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_quote_per_key UNIQUE (organization_id, agent_id, idempotency_key),
  CONSTRAINT quote_belongs_to_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id),
  CONSTRAINT credits_positive CHECK (credits > 0),
  CONSTRAINT price_positive CHECK (price_cents > 0)
);

CREATE TABLE billing.payment_attempts (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  agent_id UUID NOT NULL,
  quote_id UUID NOT NULL,
  idempotency_key TEXT NOT NULL,
  method TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  request_number INTEGER NOT NULL,
  object_id TEXT,
  cancel_requested_at TIMESTAMP WITH TIME ZONE,
  payable_until TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  looked_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_attempt_per_id UNIQUE (id),
  CONSTRAINT one_attempt_per_key UNIQUE (organization_id, agent_id, idempotency_key),
  CONSTRAINT attempt_pays_a_quote FOREIGN KEY(organization_id, quote_id) REFERENCES billing.credit_quotes (organization_id, id),
  CONSTRAINT attempt_belongs_to_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id),
  CONSTRAINT state_is_known CHECK (state IN ('created', 'action_required', 'processing', 'succeeded', 'expired', 'failed', 'canceled'))
);
CREATE INDEX attempts_by_object ON billing.payment_attempts (object_id);
CREATE INDEX attempts_open ON billing.payment_attempts (looked_at) WHERE state IN ('created', 'action_required', 'processing');
CREATE UNIQUE INDEX one_open_attempt_per_quote ON billing.payment_attempts (organization_id, quote_id) WHERE state IN ('created', 'action_required', 'processing');

CREATE TABLE billing.external_payments (
  kind TEXT NOT NULL,
  external_id TEXT NOT NULL,
  organization_id UUID NOT NULL,
  attempt_id UUID NOT NULL,
  purpose TEXT NOT NULL,
  amount_cents BIGINT NOT NULL,
  operation_id UUID NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (kind, external_id),
  CONSTRAINT payment_of_an_attempt FOREIGN KEY(organization_id, attempt_id) REFERENCES billing.payment_attempts (organization_id, id),
  CONSTRAINT purpose_is_known CHECK (purpose IN ('granted', 'unallocated'))
);
CREATE INDEX payments_of_attempt ON billing.external_payments (organization_id, attempt_id);
CREATE INDEX payments_unallocated ON billing.external_payments (created_at) WHERE purpose = 'unallocated';

CREATE TABLE billing.provider_requests (
  organization_id UUID NOT NULL,
  attempt_id UUID NOT NULL,
  number INTEGER NOT NULL,
  provider_key TEXT NOT NULL,
  parameters TEXT NOT NULL,
  api_version TEXT NOT NULL,
  state TEXT NOT NULL,
  error TEXT,
  external_id TEXT,
  action JSONB,
  tries INTEGER DEFAULT 0 NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  answered_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, attempt_id, number),
  CONSTRAINT one_request_per_provider_key UNIQUE (provider_key),
  CONSTRAINT request_belongs_to_attempt FOREIGN KEY(organization_id, attempt_id) REFERENCES billing.payment_attempts (organization_id, id),
  CONSTRAINT state_is_known CHECK (state IN ('stored', 'unknown', 'answered', 'refused'))
);
CREATE INDEX requests_unanswered ON billing.provider_requests (next_try_at) WHERE state IN ('stored', 'unknown');

CREATE TABLE billing.receipts (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  attempt_id UUID NOT NULL,
  quote_id UUID NOT NULL,
  operation_id UUID NOT NULL,
  credits BIGINT NOT NULL,
  subtotal_cents BIGINT NOT NULL,
  discount_cents BIGINT NOT NULL,
  tax_cents BIGINT NOT NULL,
  total_cents BIGINT NOT NULL,
  currency TEXT NOT NULL,
  late BOOLEAN NOT NULL,
  details JSONB NOT NULL,
  settled_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_receipt_per_attempt UNIQUE (organization_id, attempt_id),
  CONSTRAINT receipt_of_an_attempt FOREIGN KEY(organization_id, attempt_id) REFERENCES billing.payment_attempts (organization_id, id)
);

