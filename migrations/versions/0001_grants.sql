-- Who may do what. The run role owns nothing, deletes nothing but expired challenges and what the product was told, and
-- writes the books through one function only.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT USAGE ON SCHEMA ledger, billing, webhooks, finance TO purser_run;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO purser_run;
GRANT EXECUTE ON FUNCTION ledger.post_v1, ledger.catch_up_v1, ledger.clock() TO purser_run;

-- Insert-only: proof and history.
GRANT SELECT, INSERT ON billing.external_payments, billing.receipts, billing.activity_events, billing.operator_actions
  TO purser_run;
-- A role without UPDATE may not even lock a row, so each of these may change the columns that really change.
GRANT SELECT, INSERT ON billing.organizations, billing.agents, billing.agent_tokens, billing.credit_quotes,
  billing.payment_attempts, billing.provider_requests, webhooks.letters TO purser_run;
GRANT UPDATE (touched_at, frozen_at) ON billing.organizations TO purser_run;
GRANT UPDATE (name, runtime, contact, revoked_at, limited_at) ON billing.agents TO purser_run;
GRANT UPDATE (revoked_at) ON billing.agent_tokens TO purser_run;
GRANT SELECT, INSERT ON billing.operator_keys, billing.operator_secrets TO purser_run;
GRANT UPDATE (rotated_at, revoked_at) ON billing.operator_keys TO purser_run;
GRANT UPDATE (revoked_at) ON billing.operator_secrets TO purser_run;
GRANT UPDATE (settled_at) ON billing.credit_quotes TO purser_run;
GRANT UPDATE (state, reason, request_number, object_id, cancel_requested_at, payable_until, updated_at,
  looked_at) ON billing.payment_attempts TO purser_run;
GRANT UPDATE (state, error, external_id, action, tries, next_try_at, answered_at)
  ON billing.provider_requests TO purser_run;
GRANT UPDATE (state, reason, tries, paged, next_try_at, done_at) ON webhooks.letters TO purser_run;
GRANT SELECT, INSERT ON billing.payment_reversals, billing.reversal_standings, billing.balance_transactions,
  billing.payouts, billing.watched_objects, billing.refund_requests, webhooks.event_cursors TO purser_run;
GRANT UPDATE (amount_cents, live_cents, lost, status, reason, told, details, read_at, updated_at)
  ON billing.payment_reversals TO purser_run;
GRANT UPDATE (credits_reversed, credits_written_off, refunded_cents, lost_cents, disputed_cents, written_off_cents, frozen,
  number, updated_at) ON billing.reversal_standings TO purser_run;
GRANT UPDATE (payout_id) ON billing.balance_transactions TO purser_run;
GRANT UPDATE (status, complete, read_at, updated_at) ON billing.payouts TO purser_run;
GRANT UPDATE (looks, next_look_at, done_at) ON billing.watched_objects TO purser_run;
GRANT UPDATE (parameters, api_version, state, error, refund_id, tries, next_try_at, answered_at) ON billing.refund_requests TO purser_run;
GRANT UPDATE (read_through, updated_at) ON webhooks.event_cursors TO purser_run;
GRANT SELECT, INSERT ON billing.settlements, billing.gas_transactions, billing.gas_wallets, billing.payer_wallets,
  billing.sign_in_challenges TO purser_run;
GRANT UPDATE (state, reason, handed_over, transaction_hash, log_index, block_number, block_hash, paid_at, decision, reorganizations, final,
  tries, next_try_at, updated_at) ON billing.settlements TO purser_run;
GRANT UPDATE (sent_at, refused_at, block_number, cost_wei, booked_at, created_at) ON billing.gas_transactions TO purser_run;
GRANT UPDATE (next_nonce, organization_id, settlement_id, unbooked_wei, updated_at)
  ON billing.gas_wallets TO purser_run;
GRANT UPDATE (signed_in_at) ON billing.payer_wallets TO purser_run;
GRANT SELECT, INSERT ON billing.jobs, billing.job_days, billing.feedback, billing.claim_requests, billing.owners,
  billing.owner_sessions, billing.webhook_endpoints, billing.untold_events, billing.told_books, billing.webhook_deliveries
  TO purser_run;
GRANT UPDATE (state, reason, message, result, result_digest, charged, capture_id, tries, next_try_at, updated_at, ended_at)
  ON billing.jobs TO purser_run;
GRANT UPDATE (jobs) ON billing.job_days TO purser_run;
GRANT UPDATE (used_at, failed_at) ON billing.claim_requests TO purser_run;
GRANT UPDATE (ended_at) ON billing.owners, billing.owner_sessions TO purser_run;
GRANT UPDATE (url, types, description, secret, old_secret, old_until, disabled_reason, wants_since, failing_since,
  updated_at) ON billing.webhook_endpoints TO purser_run;
GRANT UPDATE (seq) ON billing.told_books TO purser_run;
-- Events wait here until they were spread to the endpoints; their deliveries are thrown away when they are old.
GRANT UPDATE (event_id), DELETE ON billing.untold_events TO purser_run;
GRANT UPDATE (state, tries, next_try_at, last_status, last_error, updated_at), DELETE
  ON billing.webhook_deliveries TO purser_run;
-- Finance: what was recognized, marked, imported and read stays; what was found wrong is resolved, never taken away.
GRANT SELECT, INSERT ON finance.folded_books, finance.lot_days, finance.recognitions, finance.recognized_days, finance.closes,
  finance.watermarks, finance.watermark_books, finance.exports, finance.imports, finance.statement_lines, finance.statement_payouts,
  finance.bank_lines, finance.chain_transfers, finance.treasury_readings, finance.exceptions, finance.reconciliations
  TO purser_run;
GRANT UPDATE (seq, recognized_through, updated_at) ON finance.folded_books TO purser_run;
GRANT UPDATE (consumed, expired, given, reversed, owed, settled, taken_cents) ON finance.lot_days TO purser_run;
GRANT UPDATE (state, books, seal, sealed_at, reopened_at, reopened_by, reopen_reason)
  ON finance.closes TO purser_run;
GRANT UPDATE (payout_id) ON finance.statement_lines TO purser_run;
GRANT UPDATE (known_as) ON finance.bank_lines TO purser_run;
GRANT UPDATE (amount_cents, status, reconciliation_status, arrives_on, read_at) ON finance.statement_payouts TO purser_run;
GRANT UPDATE (finding, amount, here, there, state, reason, adjustment, holder, holder_key, approver, approver_key,
  operation_id, opened_at, last_seen_at, updated_at) ON finance.exceptions TO purser_run;
-- A challenge proves nothing once it has expired: this role may delete it.
GRANT UPDATE (used_at), DELETE ON billing.sign_in_challenges TO purser_run;
GRANT SELECT ON public.alembic_version TO purser_run;

ALTER SCHEMA ledger OWNER TO purser_owner;
DO $$
DECLARE thing record;
BEGIN
  FOR thing IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'ledger' AND c.relkind IN ('r', 'v') LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO purser_owner', thing.name);
  END LOOP;
  FOR thing IN SELECT t.oid::regtype AS name FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
               JOIN pg_class c ON c.oid = t.typrelid WHERE n.nspname = 'ledger' AND c.relkind = 'c' LOOP
    EXECUTE format('ALTER TYPE %s OWNER TO purser_owner', thing.name);
  END LOOP;
  FOR thing IN SELECT p.oid::regprocedure AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
               WHERE n.nspname = 'ledger' LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO purser_owner', thing.name);
  END LOOP;
END $$;
