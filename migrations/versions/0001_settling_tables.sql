-- Payments that a wallet signs and we carry out. billing/settling_tables.py is the definition; tests/house/test_schema.py
-- proves that the two agree.

CREATE TABLE billing.settlements (
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  attempt_id UUID NOT NULL,
  network TEXT NOT NULL,
  asset TEXT NOT NULL,
  payer TEXT NOT NULL,
  nonce BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  signature BYTEA NOT NULL,
  pay_to TEXT NOT NULL,
  amount_atomic BIGINT NOT NULL,
  valid_after BIGINT NOT NULL,
  valid_before BIGINT NOT NULL,
  payment_identifier TEXT,
  submitter TEXT NOT NULL,
  handed_over INTEGER DEFAULT 0 NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  from_block BIGINT NOT NULL,
  transaction_hash TEXT,
  log_index INTEGER,
  block_number BIGINT,
  block_hash TEXT,
  paid_at TIMESTAMP WITH TIME ZONE,
  decision TEXT,
  reorganizations INTEGER DEFAULT 0 NOT NULL,
  final BOOLEAN DEFAULT false NOT NULL,
  tries INTEGER DEFAULT 0 NOT NULL,
  next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT one_settlement_per_authorization UNIQUE (network, asset, payer, nonce),
  CONSTRAINT one_settlement_per_transfer UNIQUE (network, transaction_hash, log_index),
  CONSTRAINT settlement_of_an_attempt FOREIGN KEY(organization_id, attempt_id) REFERENCES billing.payment_attempts (organization_id, id),
  CONSTRAINT state_is_known CHECK (state IN ('claimed', 'settling', 'unknown', 'held', 'settled', 'kept', 'vanished', 'failed')),
  CONSTRAINT words_have_32_bytes CHECK (octet_length(nonce) = 32 AND octet_length(digest) = 32),
  CONSTRAINT settlement_of_something CHECK (amount_atomic > 0),
  CONSTRAINT decision_is_known CHECK (decision IN ('release', 'keep'))
);
CREATE UNIQUE INDEX one_payment_per_identifier ON billing.settlements (network, payer, payment_identifier) WHERE payment_identifier IS NOT NULL;
CREATE UNIQUE INDEX one_settlement_at_a_time ON billing.settlements (organization_id, attempt_id) WHERE state <> 'failed';
CREATE INDEX settlements_by_state ON billing.settlements (state, created_at) WHERE NOT final;
CREATE INDEX settlements_to_look_at ON billing.settlements (next_try_at) WHERE NOT final;

CREATE TABLE billing.gas_transactions (
  hash TEXT NOT NULL,
  network TEXT NOT NULL,
  wallet TEXT NOT NULL,
  nonce BIGINT NOT NULL,
  organization_id UUID NOT NULL,
  settlement_id UUID NOT NULL,
  purpose TEXT NOT NULL,
  by_contract BOOLEAN NOT NULL,
  raw BYTEA NOT NULL,
  gas_limit BIGINT NOT NULL,
  max_fee_wei BIGINT NOT NULL,
  tip_wei BIGINT NOT NULL,
  worst_cost_wei BIGINT NOT NULL,
  sent_at TIMESTAMP WITH TIME ZONE,
  refused_at TIMESTAMP WITH TIME ZONE,
  block_number BIGINT,
  cost_wei BIGINT,
  booked_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (hash),
  CONSTRAINT transaction_of_a_settlement FOREIGN KEY(organization_id, settlement_id) REFERENCES billing.settlements (organization_id, id),
  CONSTRAINT purpose_is_known CHECK (purpose IN ('settlement', 'clearing'))
);
CREATE INDEX gas_of_the_hour ON billing.gas_transactions (network, wallet, created_at);
CREATE INDEX gas_to_book ON billing.gas_transactions (network, wallet, nonce) WHERE booked_at IS NULL;
CREATE INDEX transactions_of_settlement ON billing.gas_transactions (organization_id, settlement_id);
CREATE INDEX transactions_of_wallet ON billing.gas_transactions (network, wallet, nonce);

CREATE TABLE billing.gas_wallets (
  network TEXT NOT NULL,
  address TEXT NOT NULL,
  next_nonce BIGINT NOT NULL,
  organization_id UUID,
  settlement_id UUID,
  unbooked_wei BIGINT DEFAULT 0 NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (network, address)
);

CREATE TABLE billing.payer_wallets (
  network TEXT NOT NULL,
  address TEXT NOT NULL,
  organization_id UUID NOT NULL,
  agent_id UUID NOT NULL,
  founded BOOLEAN NOT NULL,
  signed_in_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (network, address),
  CONSTRAINT wallet_of_an_agent FOREIGN KEY(organization_id, agent_id) REFERENCES billing.agents (organization_id, id)
);
CREATE UNIQUE INDEX one_founding_wallet ON billing.payer_wallets (organization_id) WHERE founded;

CREATE TABLE billing.sign_in_challenges (
  nonce TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  used_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (nonce)
);
CREATE INDEX challenges_by_end ON billing.sign_in_challenges (expires_at);
