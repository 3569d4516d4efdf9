-- What happened to money after it settled, and which operators had a hand in it. billing/reversal_tables.py and
-- webhooks/tables.py are the definition; tests/house/test_schema.py proves that the two agree.

CREATE TABLE billing.payment_reversals (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  kind TEXT NOT NULL,
  external_id TEXT NOT NULL,
  attempt_id UUID NOT NULL,
  payment_kind TEXT NOT NULL,
  payment_id TEXT NOT NULL,
  amount_cents BIGINT NOT NULL,
  live_cents BIGINT NOT NULL,
  lost BOOLEAN NOT NULL,
  status TEXT NOT NULL,
  reason TEXT,
  told TEXT,
  details JSONB NOT NULL,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  read_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_row_per_reversal UNIQUE (kind, external_id),
  CONSTRAINT reversal_of_an_attempt FOREIGN KEY(organization_id, attempt_id) REFERENCES billing.payment_attempts (organization_id, id),
  CONSTRAINT kind_is_known CHECK (kind IN ('refund', 'dispute', 'fraud_warning', 'reorganization')),
  CONSTRAINT live_is_within_amount CHECK (live_cents BETWEEN 0 AND amount_cents)
);
CREATE INDEX reversals_of_attempt ON billing.payment_reversals (organization_id, attempt_id);

CREATE TABLE billing.reversal_standings (
  payment_kind TEXT NOT NULL,
  payment_id TEXT NOT NULL,
  organization_id UUID NOT NULL,
  attempt_id UUID NOT NULL,
  credits_reversed BIGINT DEFAULT 0 NOT NULL,
  credits_written_off BIGINT DEFAULT 0 NOT NULL,
  refunded_cents BIGINT DEFAULT 0 NOT NULL,
  lost_cents BIGINT DEFAULT 0 NOT NULL,
  disputed_cents BIGINT DEFAULT 0 NOT NULL,
  written_off_cents BIGINT DEFAULT 0 NOT NULL,
  frozen BOOLEAN DEFAULT false NOT NULL,
  number INTEGER DEFAULT 0 NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (payment_kind, payment_id),
  CONSTRAINT standing_of_a_payment FOREIGN KEY(payment_kind, payment_id) REFERENCES billing.external_payments (kind, external_id),
  CONSTRAINT nothing_is_negative CHECK (credits_reversed >= 0 AND credits_written_off >= 0 AND refunded_cents >= 0 AND lost_cents >= 0 AND disputed_cents >= 0)
);

CREATE TABLE billing.balance_transactions (
  id TEXT NOT NULL,
  organization_id UUID NOT NULL,
  attempt_id UUID,
  source_id TEXT,
  category TEXT NOT NULL,
  amount_cents BIGINT NOT NULL,
  fee_cents BIGINT NOT NULL,
  net_cents BIGINT NOT NULL,
  currency TEXT NOT NULL,
  payout_id TEXT,
  operation_id UUID,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id)
);
CREATE INDEX transactions_of_attempt ON billing.balance_transactions (organization_id, attempt_id);
CREATE INDEX transactions_of_payout ON billing.balance_transactions (payout_id) WHERE payout_id IS NOT NULL;

CREATE TABLE billing.payouts (
  id TEXT NOT NULL,
  amount_cents BIGINT NOT NULL,
  currency TEXT NOT NULL,
  status TEXT NOT NULL,
  automatic BOOLEAN NOT NULL,
  complete BOOLEAN NOT NULL,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  read_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE billing.watched_objects (
  kind TEXT NOT NULL,
  external_id TEXT NOT NULL,
  looks INTEGER DEFAULT 0 NOT NULL,
  next_look_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  done_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (kind, external_id)
);
CREATE INDEX objects_to_look_at ON billing.watched_objects (next_look_at) WHERE done_at IS NULL;

CREATE TABLE billing.refund_requests (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  attempt_id UUID NOT NULL,
  payment_kind TEXT NOT NULL,
  payment_id TEXT NOT NULL,
  amount_cents BIGINT NOT NULL,
  reason TEXT NOT NULL,
  asked_by UUID NOT NULL,
  idempotency_key TEXT NOT NULL,
  provider_key TEXT NOT NULL,
  parameters TEXT,
  api_version TEXT,
  state TEXT NOT NULL,
  error TEXT,
  refund_id TEXT,
  tries INTEGER DEFAULT 0 NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  answered_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_refund_per_id UNIQUE (id),
  CONSTRAINT one_refund_per_provider_key UNIQUE (provider_key),
  CONSTRAINT one_refund_per_key UNIQUE (asked_by, idempotency_key),
  CONSTRAINT refund_of_an_attempt FOREIGN KEY(organization_id, attempt_id) REFERENCES billing.payment_attempts (organization_id, id),
  CONSTRAINT state_is_known CHECK (state IN ('stored', 'unknown', 'answered', 'refused')),
  CONSTRAINT refund_of_something CHECK (amount_cents > 0)
);
CREATE INDEX refunds_unanswered ON billing.refund_requests (next_try_at) WHERE state IN ('stored', 'unknown');

CREATE TABLE billing.operator_actions (
  id UUID NOT NULL,
  key_id UUID,
  holder TEXT NOT NULL,
  idempotency_key TEXT,
  action TEXT NOT NULL,
  organization_id UUID,
  subject TEXT NOT NULL,
  reason TEXT NOT NULL,
  details JSONB NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT one_action_per_key UNIQUE (key_id, idempotency_key)
);

CREATE TABLE webhooks.event_cursors (
  source TEXT NOT NULL,
  read_through TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (source)
);
