-- The tables of the books. The classes in ledger/tables.py are their definition; tests/house/test_schema.py proves that the
-- two agree. Journal: operations and lot_openings, insert-only. All others are projections, rebuilt by `purser verify`.

CREATE TABLE ledger.books (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  last_seq BIGINT DEFAULT 0 NOT NULL,
  last_lot INTEGER DEFAULT 0 NOT NULL,
  last_posted_at TIMESTAMP WITH TIME ZONE,
  head BYTEA DEFAULT '\x'::bytea NOT NULL,
  closed_through DATE,
  next_due_at TIMESTAMP WITH TIME ZONE,
  issued BIGINT DEFAULT 0 NOT NULL,
  wallet BIGINT DEFAULT 0 NOT NULL,
  held BIGINT DEFAULT 0 NOT NULL,
  consumed BIGINT DEFAULT 0 NOT NULL,
  expired BIGINT DEFAULT 0 NOT NULL,
  clawed_back BIGINT DEFAULT 0 NOT NULL,
  frozen BIGINT DEFAULT 0 NOT NULL,
  paid BIGINT DEFAULT 0 NOT NULL,
  owed BIGINT DEFAULT 0 NOT NULL,
  PRIMARY KEY (lane, organization_id),
  CONSTRAINT every_issued_credit_is_somewhere CHECK (issued = wallet + held + consumed + expired + clawed_back),
  CONSTRAINT no_account_below_its_floor CHECK (wallet >= 0 AND held >= 0 AND consumed >= 0 AND expired >= 0 AND clawed_back >= 0),
  CONSTRAINT no_part_negative CHECK (frozen >= 0 AND paid >= 0 AND owed >= 0)
)
 WITH (fillfactor = 40);

CREATE TABLE ledger.chart (
  code TEXT NOT NULL,
  currency TEXT NOT NULL,
  side TEXT NOT NULL,
  number SMALLINT NOT NULL,
  PRIMARY KEY (code, currency),
  CONSTRAINT one_account_per_number UNIQUE (number),
  CONSTRAINT side_is_debit_or_credit CHECK (side IN ('debit', 'credit'))
);

CREATE TABLE ledger.holds (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  maker UUID NOT NULL,
  spender UUID,
  credits BIGINT NOT NULL,
  remaining BIGINT NOT NULL,
  reversed BIGINT DEFAULT 0 NOT NULL,
  made_at TIMESTAMP WITH TIME ZONE NOT NULL,
  deadline TIMESTAMP WITH TIME ZONE NOT NULL,
  lots INTEGER[] NOT NULL,
  amounts BIGINT[] NOT NULL,
  reversed_amounts BIGINT[] NOT NULL,
  open BOOLEAN DEFAULT true NOT NULL,
  ended TEXT,
  PRIMARY KEY (lane, organization_id, id),
  CONSTRAINT hold_not_overdrawn CHECK (remaining >= 0 AND reversed >= 0 AND reversed <= remaining),
  CONSTRAINT open_while_something_remains CHECK (open = (remaining > 0) AND open = (ended IS NULL)),
  CONSTRAINT ending_is_known CHECK (ended IN ('captured', 'voided', 'expired'))
);
CREATE INDEX holds_by_deadline ON ledger.holds (lane, organization_id, deadline, id) WHERE open;

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
  CONSTRAINT one_lot_per_operation UNIQUE (lane, organization_id, seq),
  CONSTRAINT lot_has_credits CHECK (credits > 0),
  CONSTRAINT paid_lot_has_basis CHECK ((cause = 'paid') = (basis_amount IS NOT NULL)),
  CONSTRAINT basis_has_currency CHECK ((basis_amount IS NULL) = (basis_currency IS NULL)),
  CONSTRAINT basis_not_negative CHECK (basis_amount >= 0)
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
  open BOOLEAN NOT NULL,
  frozen BOOLEAN DEFAULT false NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  priority SMALLINT NOT NULL,
  reversed BIGINT DEFAULT 0 NOT NULL,
  taken BIGINT DEFAULT 0 NOT NULL,
  taken_expired BIGINT DEFAULT 0 NOT NULL,
  held_reversed BIGINT DEFAULT 0 NOT NULL,
  owed BIGINT DEFAULT 0 NOT NULL,
  settled BIGINT DEFAULT 0 NOT NULL,
  reissued BIGINT DEFAULT 0 NOT NULL,
  settled_lots INTEGER[] DEFAULT '{}'::integer[] NOT NULL,
  settled_amounts BIGINT[] DEFAULT '{}'::bigint[] NOT NULL,
  PRIMARY KEY (lane, organization_id, lot),
  CONSTRAINT every_credit_is_somewhere CHECK (credits = remaining + held + consumed + expired + clawed_back),
  CONSTRAINT no_part_negative CHECK (remaining >= 0 AND held >= 0 AND consumed >= 0 AND expired >= 0 AND clawed_back >= 0),
  CONSTRAINT open_while_something_remains CHECK (open = (remaining > 0)),
  CONSTRAINT never_more_taken_than_reversed CHECK (reversed = taken + held_reversed + owed + settled AND reversed <= credits),
  CONSTRAINT no_reversal_negative CHECK (taken >= taken_expired AND taken_expired >= 0 AND held_reversed >= 0 AND held_reversed <= held AND owed >= 0 AND settled >= 0 AND reissued >= 0)
)
 WITH (fillfactor = 40);
CREATE INDEX lots_by_expiry ON ledger.lots (lane, organization_id, expires_at, lot) WHERE open AND expires_at IS NOT NULL;
CREATE INDEX lots_in_burn_order ON ledger.lots (lane, organization_id, priority, expires_at, lot) WHERE open AND NOT frozen;
CREATE INDEX lots_with_owed ON ledger.lots (lane, organization_id, lot) WHERE owed > 0;

CREATE TABLE ledger.operations (
  seq BIGINT NOT NULL,
  event_at TIMESTAMP WITH TIME ZONE,
  posted_at TIMESTAMP WITH TIME ZONE NOT NULL,
  available_after BIGINT NOT NULL,
  held_after BIGINT NOT NULL,
  paid_after BIGINT NOT NULL,
  accounting_date DATE NOT NULL,
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  scope UUID NOT NULL,
  spender UUID,
  target UUID,
  kind TEXT NOT NULL,
  outcome TEXT NOT NULL,
  cause TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint BYTEA NOT NULL,
  hash BYTEA NOT NULL,
  lines BIGINT[] NOT NULL,
  terms TEXT,
  PRIMARY KEY (lane, organization_id, seq),
  CONSTRAINT one_outcome_per_key UNIQUE (id, lane),
  CONSTRAINT seq_positive CHECK (seq > 0),
  CONSTRAINT fingerprint_is_16_bytes CHECK (octet_length(fingerprint) = 16),
  CONSTRAINT hash_is_sha256 CHECK (octet_length(hash) = 32)
);

CREATE TABLE ledger.spend_refunds (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  id UUID NOT NULL,
  amounts BIGINT[] NOT NULL,
  PRIMARY KEY (lane, organization_id, id)
);

CREATE TABLE ledger.spenders (
  lane SMALLINT NOT NULL,
  organization_id UUID NOT NULL,
  spender UUID NOT NULL,
  per_spend BIGINT,
  per_hour BIGINT,
  per_day BIGINT,
  per_month BIGINT,
  total BIGINT,
  paused BOOLEAN DEFAULT false NOT NULL,
  since TIMESTAMP WITH TIME ZONE NOT NULL,
  hour_start TIMESTAMP WITH TIME ZONE NOT NULL,
  hour_used BIGINT DEFAULT 0 NOT NULL,
  day_start TIMESTAMP WITH TIME ZONE NOT NULL,
  day_used BIGINT DEFAULT 0 NOT NULL,
  month_start TIMESTAMP WITH TIME ZONE NOT NULL,
  month_used BIGINT DEFAULT 0 NOT NULL,
  total_used BIGINT DEFAULT 0 NOT NULL,
  PRIMARY KEY (lane, organization_id, spender),
  CONSTRAINT cap_not_negative CHECK (per_spend >= 0 AND per_hour >= 0 AND per_day >= 0 AND per_month >= 0 AND total >= 0),
  CONSTRAINT used_not_negative CHECK (hour_used >= 0 AND day_used >= 0 AND month_used >= 0 AND total_used >= 0)
);

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
  CONSTRAINT credits_stand_in_the_book CHECK (currency <> 'CREDIT')
);
