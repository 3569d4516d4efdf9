-- The tables of finance. The classes in finance/tables.py and finance/statement_tables.py are their definition;
-- tests/house/test_schema.py proves that the two agree.

CREATE TABLE finance.bank_lines (
  id UUID NOT NULL,
  import_id UUID NOT NULL,
  digest BYTEA NOT NULL,
  booked_on DATE NOT NULL,
  amount_cents BIGINT NOT NULL,
  currency TEXT NOT NULL,
  description TEXT NOT NULL,
  reference TEXT NOT NULL,
  known_as TEXT,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT one_row_per_bank_line UNIQUE (digest)
);
CREATE UNIQUE INDEX one_bank_line_per_booking ON finance.bank_lines (known_as) WHERE known_as IS NOT NULL;

CREATE TABLE finance.chain_transfers (
  network TEXT NOT NULL,
  transaction_hash TEXT NOT NULL,
  log_index BIGINT NOT NULL,
  treasury TEXT NOT NULL,
  block_number BIGINT NOT NULL,
  incoming BOOLEAN NOT NULL,
  amount BIGINT NOT NULL,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (network, transaction_hash, log_index, treasury),
  CONSTRAINT amount_not_negative CHECK (amount >= 0)
);

CREATE TABLE finance.closes (
  id UUID NOT NULL,
  period TEXT NOT NULL,
  first_day DATE NOT NULL,
  last_day DATE NOT NULL,
  state TEXT NOT NULL,
  holder TEXT NOT NULL,
  reason TEXT NOT NULL,
  books BIGINT DEFAULT 0 NOT NULL,
  seal BYTEA,
  started_at TIMESTAMP WITH TIME ZONE NOT NULL,
  sealed_at TIMESTAMP WITH TIME ZONE,
  reopened_at TIMESTAMP WITH TIME ZONE,
  reopened_by TEXT,
  reopen_reason TEXT,
  PRIMARY KEY (id),
  CONSTRAINT state_is_known CHECK (state IN ('walking', 'sealed', 'reopening', 'reopened')),
  CONSTRAINT sealed_when_walked CHECK ((state = 'walking') = (seal IS NULL))
);
CREATE UNIQUE INDEX one_close_per_period ON finance.closes (period) WHERE state <> 'reopened';

CREATE TABLE finance.exceptions (
  id UUID NOT NULL,
  source TEXT NOT NULL,
  subject TEXT NOT NULL,
  finding TEXT NOT NULL,
  organization_id UUID,
  amount BIGINT NOT NULL,
  currency TEXT NOT NULL,
  here JSONB NOT NULL,
  there JSONB NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  adjustment JSONB,
  holder TEXT,
  holder_key UUID,
  approver TEXT,
  approver_key UUID,
  operation_id UUID,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
  opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
  last_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT one_exception_per_subject UNIQUE (source, subject),
  CONSTRAINT finding_is_known CHECK (finding IN ('missing_here', 'missing_there', 'different')),
  CONSTRAINT state_is_known CHECK (state IN ('open', 'acknowledged', 'proposed', 'resolved', 'gone')),
  CONSTRAINT resolved_with_a_reason CHECK (state <> 'resolved' OR reason IS NOT NULL)
);
CREATE INDEX exceptions_by_state ON finance.exceptions (state, id);

CREATE TABLE finance.exports (
  id UUID NOT NULL,
  period TEXT NOT NULL,
  holder TEXT NOT NULL,
  reconciliation_id UUID,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE finance.folded_books (
  organization_id UUID NOT NULL,
  seq BIGINT DEFAULT 0 NOT NULL,
  recognized_through DATE,
  updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (organization_id)
);

CREATE TABLE finance.imports (
  id UUID NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  digest BYTEA NOT NULL,
  lines BIGINT NOT NULL,
  holder TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT one_import_per_content UNIQUE (kind, digest),
  CONSTRAINT kind_is_known CHECK (kind IN ('stripe_itemized', 'bank'))
);

CREATE TABLE finance.lot_days (
  organization_id UUID NOT NULL,
  lot BIGINT NOT NULL,
  day DATE NOT NULL,
  consumed BIGINT DEFAULT 0 NOT NULL,
  expired BIGINT DEFAULT 0 NOT NULL,
  given BIGINT DEFAULT 0 NOT NULL,
  reversed BIGINT DEFAULT 0 NOT NULL,
  owed BIGINT DEFAULT 0 NOT NULL,
  settled BIGINT DEFAULT 0 NOT NULL,
  taken_cents BIGINT DEFAULT 0 NOT NULL,
  PRIMARY KEY (organization_id, lot, day)
);
CREATE INDEX lots_of_day ON finance.lot_days (organization_id, day);

CREATE TABLE finance.recognitions (
  organization_id UUID NOT NULL,
  day DATE NOT NULL,
  operation_id UUID,
  usage_cents BIGINT NOT NULL,
  breakage_cents BIGINT NOT NULL,
  receivable_cents BIGINT NOT NULL,
  loss_cents BIGINT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (organization_id, day)
);

CREATE TABLE finance.recognized_days (
  day DATE NOT NULL,
  PRIMARY KEY (day)
);

CREATE TABLE finance.reconciliations (
  id UUID NOT NULL,
  holder TEXT NOT NULL,
  report JSONB NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE finance.statement_lines (
  id TEXT NOT NULL,
  category TEXT NOT NULL,
  amount_cents BIGINT NOT NULL,
  fee_cents BIGINT NOT NULL,
  net_cents BIGINT NOT NULL,
  currency TEXT NOT NULL,
  source_id TEXT,
  payout_id TEXT,
  import_id UUID,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id),
  CONSTRAINT gross_less_fee_is_net CHECK (amount_cents - fee_cents = net_cents)
);
CREATE INDEX statement_lines_of_payout ON finance.statement_lines (payout_id) WHERE payout_id IS NOT NULL;

CREATE TABLE finance.statement_payouts (
  id TEXT NOT NULL,
  amount_cents BIGINT NOT NULL,
  currency TEXT NOT NULL,
  status TEXT NOT NULL,
  automatic BOOLEAN NOT NULL,
  reconciliation_status TEXT NOT NULL,
  arrives_on DATE NOT NULL,
  occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
  read_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE finance.treasury_readings (
  network TEXT NOT NULL,
  treasury TEXT NOT NULL,
  block_number BIGINT NOT NULL,
  block_hash TEXT NOT NULL,
  balance BIGINT NOT NULL,
  block_at TIMESTAMP WITH TIME ZONE NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (network, treasury, block_number)
);

CREATE TABLE finance.watermark_books (
  watermark_id UUID NOT NULL,
  organization_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  head BYTEA NOT NULL,
  PRIMARY KEY (watermark_id, organization_id)
);

CREATE TABLE finance.watermarks (
  id UUID NOT NULL,
  is_seal BOOLEAN NOT NULL,
  books BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (id)
);
