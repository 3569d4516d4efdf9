-- Jobs, what people have to do with organizations, and webhooks that we send. The classes in billing/job_tables.py,
-- contact_tables.py and outbound_tables.py are the definition; tests/house/test_schema.py proves that the two agree.

CREATE TABLE billing.jobs (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  agent_id UUID NOT NULL,
  idempotency_key TEXT NOT NULL,
  fingerprint BYTEA NOT NULL,
  operation TEXT NOT NULL,
  model_id TEXT NOT NULL,
  executor TEXT NOT NULL,
  request JSONB NOT NULL,
  price JSONB NOT NULL,
  units INTEGER NOT NULL,
  credits BIGINT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  message TEXT,
  hold_id UUID,
  deadline TIMESTAMP WITH TIME ZONE NOT NULL,
  result JSONB,
  result_digest BYTEA,
  charged BIGINT,
  capture_id UUID,
  tries INTEGER DEFAULT 0 NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  ended_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_job_per_key UNIQUE (organization_id, agent_id, idempotency_key),
  CONSTRAINT one_job_per_id UNIQUE (id),
  CONSTRAINT job_belongs_to_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id),
  CONSTRAINT state_is_known CHECK (state IN ('planned', 'refused', 'queued', 'running', 'completed', 'failed', 'canceled')),
  CONSTRAINT reason_is_known CHECK (reason IN ('provider_failure', 'content_policy', 'artifact_storage', 'deadline_passed', 'hold_ended', 'canceled') OR state = 'refused'),
  CONSTRAINT job_of_something CHECK (credits > 0 AND units > 0),
  CONSTRAINT never_charged_above_the_hold CHECK (charged BETWEEN 0 AND credits)
);
CREATE INDEX jobs_by_asset ON billing.jobs USING gin ((result -> 'assets') jsonb_path_ops);
CREATE INDEX jobs_by_capture ON billing.jobs (organization_id, capture_id) WHERE capture_id IS NOT NULL;
CREATE INDEX jobs_to_look_at ON billing.jobs (next_try_at) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_under_way ON billing.jobs (organization_id) WHERE state IN ('queued', 'running');

CREATE TABLE billing.job_days (
  organization_id UUID NOT NULL,
  day DATE NOT NULL,
  jobs INTEGER NOT NULL,
  PRIMARY KEY (organization_id, day),
  CONSTRAINT day_of_an_organization FOREIGN KEY(organization_id) REFERENCES billing.organizations (id),
  CONSTRAINT days_with_jobs_only CHECK (jobs > 0)
);

CREATE TABLE billing.feedback (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  agent_id UUID NOT NULL,
  dedupe_key TEXT,
  said JSONB NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_feedback_per_key UNIQUE (organization_id, agent_id, dedupe_key),
  CONSTRAINT feedback_of_an_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id)
);
CREATE INDEX feedback_by_time ON billing.feedback (id);

CREATE TABLE billing.claim_requests (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  agent_id UUID,
  contact TEXT NOT NULL,
  secret_hash BYTEA NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  used_at TIMESTAMP WITH TIME ZONE,
  failed_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_claim_request_per_id UNIQUE (id),
  CONSTRAINT claim_of_an_organization FOREIGN KEY(organization_id) REFERENCES billing.organizations (id),
  CONSTRAINT claim_asked_by_an_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id),
  CONSTRAINT hash_is_sha256 CHECK (octet_length(secret_hash) = 32)
);
CREATE INDEX claim_requests_by_contact ON billing.claim_requests (contact, created_at);

CREATE TABLE billing.owners (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  contact TEXT NOT NULL,
  claimed_at TIMESTAMP WITH TIME ZONE NOT NULL,
  ended_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT owner_of_an_organization FOREIGN KEY(organization_id) REFERENCES billing.organizations (id)
);
CREATE UNIQUE INDEX one_owner_at_a_time ON billing.owners (organization_id) WHERE ended_at IS NULL;
CREATE INDEX owners_by_contact ON billing.owners (contact);

CREATE TABLE billing.owner_sessions (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  owner_id UUID NOT NULL,
  secret_hash BYTEA NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  ended_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_owner_session_per_id UNIQUE (id),
  CONSTRAINT session_of_an_owner FOREIGN KEY(organization_id, owner_id) REFERENCES billing.owners (organization_id, id),
  CONSTRAINT hash_is_sha256 CHECK (octet_length(secret_hash) = 32)
);

CREATE TABLE billing.webhook_endpoints (
  id UUID NOT NULL,
  url TEXT NOT NULL,
  types TEXT[] NOT NULL,
  description TEXT NOT NULL,
  secret TEXT NOT NULL,
  old_secret TEXT,
  old_until TIMESTAMP WITH TIME ZONE,
  disabled_reason TEXT,
  wants_since TIMESTAMP WITH TIME ZONE NOT NULL,
  failing_since TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT old_secrets_end CHECK ((old_secret IS NULL) = (old_until IS NULL))
);

CREATE TABLE billing.untold_events (
  organization_id UUID NOT NULL,
  event_id UUID NOT NULL,
  PRIMARY KEY (organization_id, event_id)
);

CREATE TABLE billing.told_books (
  organization_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (organization_id),
  CONSTRAINT told_book_of_an_organization FOREIGN KEY(organization_id) REFERENCES billing.organizations (id)
);

CREATE TABLE billing.webhook_deliveries (
  id UUID NOT NULL,
  endpoint_id UUID NOT NULL,
  organization_id UUID,
  event_id UUID,
  type TEXT NOT NULL,
  body TEXT NOT NULL,
  state TEXT NOT NULL,
  priority SMALLINT DEFAULT 0 NOT NULL,
  tries INTEGER DEFAULT 0 NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
  last_status INTEGER,
  last_error TEXT,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT one_delivery_per_event UNIQUE (endpoint_id, organization_id, event_id),
  CONSTRAINT delivery_to_an_endpoint FOREIGN KEY(endpoint_id) REFERENCES billing.webhook_endpoints (id),
  CONSTRAINT state_is_known CHECK (state IN ('pending', 'delivered', 'failed')),
  CONSTRAINT priority_is_known CHECK (priority BETWEEN 0 AND 1)
);
CREATE INDEX deliveries_due ON billing.webhook_deliveries (endpoint_id, priority, next_try_at) WHERE state = 'pending';
CREATE INDEX deliveries_of_endpoint ON billing.webhook_deliveries (endpoint_id, id);
CREATE INDEX deliveries_failed ON billing.webhook_deliveries (id) WHERE state = 'failed';
