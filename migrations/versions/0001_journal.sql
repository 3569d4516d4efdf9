-- The journal: money time, ids, the chain, the locks on the door, and the views that show transfers and entries.

CREATE FUNCTION ledger.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() $$;
COMMENT ON FUNCTION ledger.clock() IS 'Money time. Tests replace it, as the owner.';

CREATE FUNCTION ledger.system_scope() RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '00000000-0000-0000-0000-000000000000'::uuid $$;
COMMENT ON FUNCTION ledger.system_scope() IS 'The scope of what the service itself posts. No request can reach it.';

-- The id of an operation is its key: sha256(organization ‖ scope ‖ key) in the form of a version 8 UUID (RFC 9562, 5.8). So
-- one index keeps both unique, and whoever knows a key knows the id beforehand. ledger/operations.py says it in Python.
CREATE FUNCTION ledger.operation_id(p_organization uuid, p_scope uuid, p_key text) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE -- not IMMUTABLE, because convert_to is not: it would not be inlined then
AS $$
  SELECT left(overlay(overlay(
    encode(sha256(uuid_send(p_organization) || uuid_send(p_scope) || convert_to(p_key, 'UTF8')), 'hex')
    PLACING '8' FROM 13) PLACING 'a' FROM 17), 32)::uuid
$$;

-- Binary form of the chain, version 2: what PostgreSQL itself sends of a row (record_send: number of columns, then for
-- each its type, its length and its bytes; times are integer microseconds since 2000). Texts go in as their UTF-8 bytes,
-- because a text would be sent in the encoding of the client. ledger/chain.py says the same in Python.
CREATE FUNCTION ledger.hash_v2(p_previous bytea, p_operation ledger.operations, p_opened ledger.lot_openings)
RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
  SELECT sha256(p_previous || '\x02'::bytea
    || record_send(ROW(p_operation.lane, p_operation.organization_id, p_operation.seq, p_operation.id,
         convert_to(p_operation.kind, 'UTF8'), p_operation.scope, convert_to(p_operation.key, 'UTF8'),
         p_operation.fingerprint, convert_to(p_operation.outcome, 'UTF8'), convert_to(p_operation.cause, 'UTF8'),
         p_operation.spender, p_operation.target, p_operation.event_at, p_operation.posted_at,
         p_operation.accounting_date, p_operation.available_after, p_operation.held_after, p_operation.paid_after,
         p_operation.lines, convert_to(p_operation.terms, 'UTF8')))
    || CASE WHEN (p_opened).lot IS NULL THEN ''::bytea
       ELSE record_send(ROW(p_opened.lot, convert_to(p_opened.cause, 'UTF8'), p_opened.credits, p_opened.basis_amount,
              convert_to(p_opened.basis_currency, 'UTF8'), p_opened.expires_at, p_opened.priority)) END)
$$;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$ BEGIN
  RAISE EXCEPTION 'the journal is never changed: % on %', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

DO $$
DECLARE journal text;
BEGIN
  FOREACH journal IN ARRAY ARRAY['operations', 'lot_openings'] LOOP
    EXECUTE format('CREATE TRIGGER journal_is_never_changed BEFORE UPDATE OR DELETE ON ledger.%I
                    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change()', journal);
    EXECUTE format('CREATE TRIGGER journal_is_never_truncated BEFORE TRUNCATE ON ledger.%I
                    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', journal);
  END LOOP;
END $$;

INSERT INTO ledger.chart (number, code, currency, side) VALUES
  (1, 'wallet', 'CREDIT', 'debit'),
  (2, 'held', 'CREDIT', 'debit'),
  (3, 'issued', 'CREDIT', 'credit'),
  (4, 'consumed', 'CREDIT', 'debit'),
  (5, 'expired', 'CREDIT', 'debit'),
  (6, 'clawed_back', 'CREDIT', 'debit'),
  (7, 'stripe_clearing', 'USD', 'debit'),
  (8, 'stripe_fees', 'USD', 'debit'),
  (9, 'usdc_clearing', 'USDC', 'debit'),
  (10, 'deferred_revenue', 'USD', 'credit'),
  (11, 'revenue_usage', 'USD', 'credit'),
  (12, 'revenue_breakage', 'USD', 'credit'),
  (13, 'refunds_payable', 'USD', 'credit'),
  (14, 'disputes', 'USD', 'debit'),
  (15, 'sales_tax_payable', 'USD', 'credit'),
  (16, 'receivable_owed', 'USD', 'debit'),
  (17, 'write_off', 'USD', 'debit'),
  (18, 'deposit_remainder', 'USD', 'credit'),
  (19, 'conversion', 'USD', 'debit'),
  (20, 'fx_gain_loss', 'USD', 'credit'),
  (21, 'between_books', 'USD', 'debit'),
  (22, 'bank', 'USD', 'debit'),
  (23, 'fees', 'USD', 'debit'),
  (24, 'fees_onchain', 'ETH', 'debit'),
  (25, 'unallocated_deposits', 'USD', 'credit'),
  (26, 'conversion_usdc', 'USDC', 'credit'),
  (27, 'gas_wallet', 'ETH', 'debit'),
  (28, 'disputed_payments', 'USD', 'credit'),
  (29, 'reconciliation_differences', 'USD', 'debit'),
  (30, 'conversion_eth', 'ETH', 'credit');

CREATE VIEW ledger.transfers AS
SELECT o.lane, o.organization_id, o.seq, (n.at / 6)::smallint AS line, d.code AS debit, c.code AS credit, d.currency,
       o.lines[n.at + 4] AS amount, nullif(o.lines[n.at + 3], 0)::integer AS lot,
       o.lines[n.at + 5] AS debit_after, o.lines[n.at + 6] AS credit_after
FROM ledger.operations AS o
CROSS JOIN LATERAL generate_series(0, cardinality(o.lines) - 1, 6) AS n (at)
JOIN ledger.chart AS d ON d.number = o.lines[n.at + 1]
JOIN ledger.chart AS c ON c.number = o.lines[n.at + 2];
COMMENT ON VIEW ledger.transfers IS 'The lines of the operations, one row a transfer.';

CREATE VIEW ledger.entries AS
SELECT t.lane, t.organization_id, t.seq, t.line, side.account, t.currency, side.side, t.amount, side.balance_after,
       t.lot, o.id AS operation_id, o.kind, o.cause, coalesce(o.event_at, o.posted_at) AS event_at, o.posted_at, o.accounting_date
FROM ledger.transfers AS t
JOIN ledger.operations AS o USING (lane, organization_id, seq)
CROSS JOIN LATERAL (VALUES ('debit', t.debit, t.debit_after), ('credit', t.credit, t.credit_after))
     AS side (side, account, balance_after);
COMMENT ON VIEW ledger.entries IS 'A transfer seen from each of its two accounts.';
