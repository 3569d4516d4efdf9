-- Our own re-implementation of the shape that pgledger has, for runs without its SQL: one call a transfer that locks both
-- accounts one by one in order, then 2 UPDATEs and 3 INSERTs; text ids of the same length (31), numeric amounts, entries
-- with the balance before and after, and as many indexes (7 and 3 foreign keys beside the accounts' own). Its ids cost
-- less to make. Needs PostgreSQL 18 for uuidv7().
CREATE FUNCTION new_text_id() RETURNS text
LANGUAGE sql VOLATILE AS $$ SELECT left(replace(uuidv7()::text, '-', ''), 31) $$;

CREATE TABLE row_accounts (
  id text PRIMARY KEY DEFAULT new_text_id(),
  name text NOT NULL,
  currency text NOT NULL,
  balance numeric NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 0,
  may_be_negative boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE row_transfers (
  id text PRIMARY KEY DEFAULT new_text_id(),
  source_id text NOT NULL REFERENCES row_accounts,
  destination_id text NOT NULL REFERENCES row_accounts,
  amount numeric NOT NULL CHECK (amount > 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  event_at timestamptz NOT NULL DEFAULT now(),
  CHECK (source_id <> destination_id)
);
CREATE INDEX ON row_transfers (source_id);
CREATE INDEX ON row_transfers (destination_id);
CREATE INDEX ON row_transfers (event_at);

CREATE TABLE row_entries (
  id text PRIMARY KEY DEFAULT new_text_id(),
  account_id text NOT NULL REFERENCES row_accounts,
  transfer_id text NOT NULL REFERENCES row_transfers,
  amount numeric NOT NULL,
  balance_before numeric NOT NULL,
  balance_after numeric NOT NULL,
  account_version bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON row_entries (account_id);
CREATE INDEX ON row_entries (transfer_id);

CREATE FUNCTION row_by_row_transfer(p_source text, p_destination text, p_amount numeric) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  v_source row_accounts;
  v_destination row_accounts;
  v_transfer text;
BEGIN
  PERFORM 1 FROM row_accounts WHERE id = least(p_source, p_destination) FOR UPDATE;
  PERFORM 1 FROM row_accounts WHERE id = greatest(p_source, p_destination) FOR UPDATE;
  UPDATE row_accounts SET balance = balance - p_amount, version = version + 1, updated_at = now()
    WHERE id = p_source RETURNING * INTO v_source;
  UPDATE row_accounts SET balance = balance + p_amount, version = version + 1, updated_at = now()
    WHERE id = p_destination RETURNING * INTO v_destination;
  IF v_source.balance < 0 AND NOT v_source.may_be_negative THEN
    RAISE EXCEPTION 'account % may not be negative', v_source.id;
  END IF;
  IF v_source.currency <> v_destination.currency THEN
    RAISE EXCEPTION 'accounts of two currencies';
  END IF;
  INSERT INTO row_transfers (source_id, destination_id, amount)
    VALUES (p_source, p_destination, p_amount) RETURNING id INTO v_transfer;
  INSERT INTO row_entries (account_id, transfer_id, amount, balance_before, balance_after, account_version)
    VALUES (p_source, v_transfer, -p_amount, v_source.balance + p_amount, v_source.balance, v_source.version);
  INSERT INTO row_entries (account_id, transfer_id, amount, balance_before, balance_after, account_version)
    VALUES (p_destination, v_transfer, p_amount, v_destination.balance - p_amount, v_destination.balance,
            v_destination.version);
  RETURN v_transfer;
END $$;
