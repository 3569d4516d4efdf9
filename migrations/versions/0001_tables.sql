-- The tables of the books, of billing and of the inbox. The classes in ledger/, billing/ and webhooks/tables.py are their
-- definition; tests/house/test_schema.py proves that the two agree.

CREATE TABLE billing.organizations (
  id UUID NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  touched_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (id)
);

CREATE TABLE ledger.books (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  last_seq BIGINT DEFAULT 0 NOT NULL,
  last_lot INTEGER DEFAULT 0 NOT NULL,
  last_posted_at TIMESTAMP WITH TIME ZONE,
  head BYTEA DEFAULT '\x'::bytea NOT NULL,
  closed_through DATE,
  PRIMARY KEY (lane, organization_id)
);

CREATE TABLE ledger.cap_counters (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  spender UUID NOT NULL,
  span CHAR(1) NOT NULL,
  starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
  used BIGINT DEFAULT 0 NOT NULL,
  PRIMARY KEY (lane, organization_id, spender, span, starts_at),
  CONSTRAINT used_not_negative CHECK (used >= 0)
);

CREATE TABLE ledger.chart (
  code TEXT NOT NULL,
  currency TEXT NOT NULL,
  side TEXT NOT NULL,
  floored BOOLEAN NOT NULL,
  PRIMARY KEY (code, currency),
  CONSTRAINT side_is_debit_or_credit CHECK (side IN ('debit', 'credit'))
);

CREATE TABLE ledger.operations (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  id UUID NOT NULL,
  kind TEXT NOT NULL,
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint BYTEA NOT NULL,
  outcome TEXT NOT NULL,
  cause TEXT NOT NULL,
  spender UUID,
  event_at TIMESTAMP WITH TIME ZONE NOT NULL,
  posted_at TIMESTAMP WITH TIME ZONE NOT NULL,
  accounting_date DATE NOT NULL,
  available_after BIGINT NOT NULL,
  held_after BIGINT NOT NULL,
  terms TEXT,
  hash BYTEA NOT NULL,
  PRIMARY KEY (lane, organization_id, seq),
  CONSTRAINT one_outcome_per_key UNIQUE (lane, organization_id, scope, key),
  CONSTRAINT one_operation_per_id UNIQUE (lane, organization_id, id),
  CONSTRAINT seq_positive CHECK (seq > 0),
  CONSTRAINT fingerprint_is_16_bytes CHECK (octet_length(fingerprint) = 16),
  CONSTRAINT hash_is_sha256 CHECK (octet_length(hash) = 32)
);

CREATE TABLE webhooks.letters (
  id UUID NOT NULL,
  source TEXT NOT NULL,
  provider_event_id TEXT NOT NULL,
  type TEXT NOT NULL,
  body BYTEA NOT NULL,
  state TEXT DEFAULT 'pending' NOT NULL,
  reason TEXT,
  tries INTEGER DEFAULT 0 NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP WITH TIME ZONE NOT NULL,
  done_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (id),
  CONSTRAINT one_letter_per_event UNIQUE (source, provider_event_id),
  CONSTRAINT state_is_known CHECK (state IN ('pending', 'done', 'ignored', 'parked'))
);
CREATE INDEX letters_waiting ON webhooks.letters (next_try_at) WHERE state = 'pending';

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

CREATE TABLE billing.agents (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  name TEXT NOT NULL,
  runtime TEXT NOT NULL,
  contact TEXT,
  discovery_source TEXT,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  revoked_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT agent_belongs_to_organization FOREIGN KEY(organization_id) REFERENCES billing.organizations (id)
);
CREATE INDEX agents_by_contact ON billing.agents (contact);

CREATE TABLE ledger.accounts (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  code TEXT NOT NULL,
  currency TEXT NOT NULL,
  debits BIGINT DEFAULT 0 NOT NULL,
  credits BIGINT DEFAULT 0 NOT NULL,
  version BIGINT DEFAULT 0 NOT NULL,
  PRIMARY KEY (lane, organization_id, code, currency),
  CONSTRAINT account_is_in_the_chart FOREIGN KEY(code, currency) REFERENCES ledger.chart (code, currency),
  CONSTRAINT posted_sums_not_negative CHECK (debits >= 0 AND credits >= 0),
  CONSTRAINT no_account_below_its_floor CHECK (code NOT IN ('wallet', 'held', 'consumed', 'expired', 'clawed_back') OR debits >= credits)
);

CREATE TABLE ledger.hold_openings (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  seq BIGINT NOT NULL,
  spender UUID,
  credits BIGINT NOT NULL,
  deadline TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (lane, organization_id, id),
  CONSTRAINT hold_belongs_to_operation FOREIGN KEY(lane, organization_id, seq) REFERENCES ledger.operations (lane, organization_id, seq),
  CONSTRAINT hold_has_credits CHECK (credits > 0)
);

CREATE TABLE ledger.lot_openings (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  lot INTEGER NOT NULL,
  seq BIGINT NOT NULL,
  cause TEXT NOT NULL,
  credits BIGINT NOT NULL,
  basis_amount BIGINT,
  basis_currency TEXT,
  expires_at TIMESTAMP WITH TIME ZONE,
  priority SMALLINT NOT NULL,
  PRIMARY KEY (lane, organization_id, lot),
  CONSTRAINT lot_belongs_to_operation FOREIGN KEY(lane, organization_id, seq) REFERENCES ledger.operations (lane, organization_id, seq),
  CONSTRAINT lot_has_credits CHECK (credits > 0),
  CONSTRAINT paid_lot_has_basis CHECK ((cause = 'paid') = (basis_amount IS NOT NULL)),
  CONSTRAINT basis_has_currency CHECK ((basis_amount IS NULL) = (basis_currency IS NULL)),
  CONSTRAINT basis_not_negative CHECK (basis_amount >= 0)
);

CREATE TABLE ledger.transfers (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  line SMALLINT NOT NULL,
  debit TEXT NOT NULL,
  credit TEXT NOT NULL,
  currency TEXT NOT NULL,
  amount BIGINT NOT NULL,
  lot INTEGER,
  debit_after BIGINT NOT NULL,
  credit_after BIGINT NOT NULL,
  PRIMARY KEY (lane, organization_id, seq, line),
  CONSTRAINT transfer_belongs_to_operation FOREIGN KEY(lane, organization_id, seq) REFERENCES ledger.operations (lane, organization_id, seq),
  CONSTRAINT amount_positive CHECK (amount > 0),
  CONSTRAINT two_different_accounts CHECK (debit <> credit)
);

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
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  settled_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_quote_per_key UNIQUE (organization_id, agent_id, idempotency_key),
  CONSTRAINT quote_belongs_to_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id),
  CONSTRAINT credits_positive CHECK (credits > 0),
  CONSTRAINT price_positive CHECK (price_cents > 0)
);

CREATE TABLE ledger.holds (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  remaining BIGINT NOT NULL,
  reversed BIGINT DEFAULT 0 NOT NULL,
  deadline TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (lane, organization_id, id),
  CONSTRAINT hold_has_an_opening FOREIGN KEY(lane, organization_id, id) REFERENCES ledger.hold_openings (lane, organization_id, id),
  CONSTRAINT hold_not_overdrawn CHECK (remaining >= 0 AND reversed >= 0 AND reversed <= remaining)
);

CREATE TABLE ledger.lots (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  lot INTEGER NOT NULL,
  cause TEXT NOT NULL,
  credits BIGINT NOT NULL,
  remaining BIGINT NOT NULL,
  held BIGINT DEFAULT 0 NOT NULL,
  consumed BIGINT DEFAULT 0 NOT NULL,
  expired BIGINT DEFAULT 0 NOT NULL,
  clawed_back BIGINT DEFAULT 0 NOT NULL,
  frozen BOOLEAN DEFAULT false NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  priority SMALLINT NOT NULL,
  PRIMARY KEY (lane, organization_id, lot),
  CONSTRAINT lot_has_an_opening FOREIGN KEY(lane, organization_id, lot) REFERENCES ledger.lot_openings (lane, organization_id, lot),
  CONSTRAINT every_credit_is_somewhere CHECK (credits = remaining + held + consumed + expired + clawed_back),
  CONSTRAINT no_part_negative CHECK (remaining >= 0 AND held >= 0 AND consumed >= 0 AND expired >= 0 AND clawed_back >= 0)
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
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_attempt_per_id UNIQUE (id),
  CONSTRAINT one_attempt_per_key UNIQUE (organization_id, agent_id, idempotency_key),
  CONSTRAINT attempt_pays_a_quote FOREIGN KEY(organization_id, quote_id) REFERENCES billing.credit_quotes (organization_id, id),
  CONSTRAINT attempt_belongs_to_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id),
  CONSTRAINT state_is_known CHECK (state IN ('created', 'action_required', 'processing', 'succeeded', 'expired', 'failed', 'canceled'))
);
CREATE INDEX attempts_by_object ON billing.payment_attempts (object_id);
CREATE INDEX attempts_open ON billing.payment_attempts (updated_at) WHERE state IN ('created', 'action_required', 'processing');
CREATE UNIQUE INDEX one_open_attempt_per_quote ON billing.payment_attempts (organization_id, quote_id) WHERE state IN ('created', 'action_required', 'processing');

CREATE TABLE billing.external_payments (
  kind TEXT NOT NULL,
  external_id TEXT NOT NULL,
  organization_id UUID NOT NULL,
  attempt_id UUID NOT NULL,
  operation_id UUID NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (kind, external_id),
  CONSTRAINT payment_of_an_attempt FOREIGN KEY(organization_id, attempt_id) REFERENCES billing.payment_attempts (organization_id, id)
);

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

