-- The books: clock, hash, locks on the door, and the one function that writes them.
--
-- Theory of operation (docs/postings.md has the accounts, shared words in docs/glossary.md)
--   1. refuse arrays that do not fit together;
--   2. lock the books, in the order of their ids, in one statement (a sorted list alone does not order the locks);
--   3. look operations up by key in a new statement, so that a concurrent duplicate is visible after the lock;
--   4. evaluate the items in order; an expected "no" is a result and changes nothing;
--   5. write. Only a broken invariant raises.
-- seq, posted_at and the chain are taken under the book's lock, so they are gapless and in commit order. now() is
-- the start of the transaction and is never used.

CREATE FUNCTION ledger.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() $$;
COMMENT ON FUNCTION ledger.clock() IS 'Money time. Tests replace it, as the owner.';

CREATE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$ BEGIN
  RAISE EXCEPTION 'the journal is never changed: % on %', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

DO $$
DECLARE journal text;
BEGIN
  FOREACH journal IN ARRAY ARRAY['operations', 'transfers', 'lot_openings', 'hold_openings'] LOOP
    EXECUTE format('CREATE TRIGGER journal_is_never_changed BEFORE UPDATE OR DELETE ON ledger.%I
                    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change()', journal);
    EXECUTE format('CREATE TRIGGER journal_is_never_truncated BEFORE TRUNCATE ON ledger.%I
                    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', journal);
  END LOOP;
END $$;

CREATE VIEW ledger.entries AS
SELECT t.lane, t.organization_id, t.seq, t.line, side.account, t.currency, side.side, t.amount, side.balance_after,
       t.lot, o.id AS operation_id, o.kind, o.cause, o.event_at, o.posted_at, o.accounting_date
FROM ledger.transfers t
JOIN ledger.operations o USING (lane, organization_id, seq)
CROSS JOIN LATERAL (VALUES ('debit', t.debit, t.debit_after), ('credit', t.credit, t.credit_after))
     AS side (side, account, balance_after);
COMMENT ON VIEW ledger.entries IS 'A transfer seen from each of its two accounts.';

-- Binary form of the chain, version 1: every field is its length as int4 (-1 for NULL) and its bytes. Times are
-- integer microseconds since 1970, dates integer days. ledger/chain.py says the same in Python.
CREATE FUNCTION ledger.field(value bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT coalesce(int4send(octet_length(value)) || value, int4send(-1)) $$;

CREATE FUNCTION ledger.field(value text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ledger.field(convert_to(value, 'UTF8')) $$;

CREATE FUNCTION ledger.field(value bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ledger.field(int8send(value)) $$;

CREATE FUNCTION ledger.field(value uuid) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ledger.field(uuid_send(value)) $$;

CREATE FUNCTION ledger.field(value timestamptz) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT ledger.field((extract(epoch FROM value) * 1000000)::bigint) $$;

CREATE FUNCTION ledger.field(value date) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ledger.field((value - DATE '1970-01-01')::bigint) $$;

-- What post_v1 may take for granted of its arrays. They come from outside, so it does not rest on a caller's care.
CREATE FUNCTION ledger.require_sound_batch(
  p_operations integer,
  p_transfer_items integer[], p_debits text[], p_credits text[], p_amounts bigint[], p_into_lot boolean[],
  p_lot_items integer[], p_lot_credits bigint[], p_lengths_agree boolean
) RETURNS void
LANGUAGE plpgsql STABLE
AS $$ BEGIN
  IF p_lengths_agree IS NOT TRUE THEN
    RAISE EXCEPTION 'arrays are of different lengths' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- Read by subscript from 1, as post_v1 reads them: what it would not find there is NULL here, and not TRUE.
  IF EXISTS (SELECT FROM generate_series(1, cardinality(p_transfer_items)) AS n
             WHERE (p_transfer_items[n] BETWEEN coalesce(p_transfer_items[n - 1], 1) AND p_operations) IS NOT TRUE) THEN
    RAISE EXCEPTION 'transfers are not in the order of their operations' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF EXISTS (SELECT FROM generate_series(1, cardinality(p_lot_items)) AS n
             WHERE (p_lot_items[n] BETWEEN coalesce(p_lot_items[n - 1] + 1, 1) AND p_operations) IS NOT TRUE) THEN
    RAISE EXCEPTION 'lots are not one an operation, in the order of their operations'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF EXISTS (SELECT FROM unnest(p_debits, p_credits, p_into_lot) AS t (debit, credit, into_lot)
             WHERE t.into_lot IS NOT FALSE AND (t.debit = 'wallet' AND t.credit = 'issued') IS NOT TRUE) THEN
    RAISE EXCEPTION 'the credits of a lot move from issued into wallet' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF EXISTS (SELECT FROM (SELECT t.item, t.amount AS moved, 0 AS opened
                          FROM unnest(p_transfer_items, p_amounts, p_into_lot) AS t (item, amount, into_lot)
                          WHERE t.into_lot
                          UNION ALL
                          SELECT l.item, 0, l.credits FROM unnest(p_lot_items, p_lot_credits) AS l (item, credits)) AS s
             GROUP BY s.item HAVING sum(s.moved) IS DISTINCT FROM sum(s.opened)) THEN
    RAISE EXCEPTION 'what moves into a lot is not what the lot is opened with'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;

CREATE FUNCTION ledger.post_v1(
  p_lane smallint,
  p_organizations uuid[], p_ids uuid[], p_kinds text[], p_scopes text[], p_keys text[], p_fingerprints bytea[],
  p_event_ats timestamptz[], p_causes text[], p_terms text[],
  p_transfer_items integer[], p_debits text[], p_credits text[], p_currencies text[], p_amounts bigint[],
  p_into_lot boolean[],
  p_lot_items integer[], p_lot_causes text[], p_lot_credits bigint[], p_lot_basis_amounts bigint[],
  p_lot_basis_currencies text[], p_lot_expires_ats timestamptz[], p_lot_priorities smallint[]
) RETURNS TABLE (
  item integer, outcome text, replayed boolean, seq bigint, posted_at timestamptz, accounting_date date,
  available_after bigint, held_after bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ledger, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  i integer;
  t integer;
  l integer;
  v_next_transfer integer := 1;
  v_first_transfer integer;
  v_after_last_transfer integer;
  v_book ledger.books;
  v_existing ledger.operations;
  v_debit_account ledger.accounts;
  v_credit_account ledger.accounts;
  v_debit_side text;
  v_credit_side text;
  v_debit_afters bigint[];
  v_credit_afters bigint[];
  v_seq bigint;
  v_lot integer;
  v_posted_at timestamptz;
  v_accounting_date date;
  v_available bigint;
  v_held bigint;
  v_body bytea;
  v_transfers bytea;
  v_lots bytea;
  v_hash bytea;
BEGIN
  PERFORM ledger.require_sound_batch(
    cardinality(p_ids), p_transfer_items, p_debits, p_credits, p_amounts, p_into_lot, p_lot_items, p_lot_credits,
    cardinality(p_ids) = ALL (ARRAY[cardinality(p_organizations), cardinality(p_kinds), cardinality(p_scopes),
      cardinality(p_keys), cardinality(p_fingerprints), cardinality(p_event_ats), cardinality(p_causes),
      cardinality(p_terms)])
    AND cardinality(p_transfer_items) = ALL (ARRAY[cardinality(p_debits), cardinality(p_credits),
      cardinality(p_currencies), cardinality(p_amounts), cardinality(p_into_lot)])
    AND cardinality(p_lot_items) = ALL (ARRAY[cardinality(p_lot_causes), cardinality(p_lot_credits),
      cardinality(p_lot_basis_amounts), cardinality(p_lot_basis_currencies), cardinality(p_lot_expires_ats),
      cardinality(p_lot_priorities)]));

  INSERT INTO ledger.books (lane, organization_id)
  SELECT p_lane, opening.organization_id
  FROM (SELECT DISTINCT p_organizations[n] AS organization_id
        FROM generate_subscripts(p_kinds, 1) AS n WHERE p_kinds[n] = 'opening') AS opening
  ORDER BY opening.organization_id
  ON CONFLICT DO NOTHING;

  PERFORM FROM ledger.books AS b
  WHERE b.lane = p_lane AND b.organization_id = ANY (p_organizations)
  ORDER BY b.organization_id FOR NO KEY UPDATE;

  FOR i IN 1 .. coalesce(array_length(p_ids, 1), 0) LOOP
    v_first_transfer := v_next_transfer;
    WHILE v_next_transfer <= coalesce(array_length(p_transfer_items, 1), 0)
          AND p_transfer_items[v_next_transfer] = i LOOP
      v_next_transfer := v_next_transfer + 1;
    END LOOP;
    v_after_last_transfer := v_next_transfer;

    item := i; replayed := false; seq := NULL; posted_at := NULL; accounting_date := NULL;
    available_after := NULL; held_after := NULL;

    SELECT * INTO v_book FROM ledger.books AS b WHERE b.lane = p_lane AND b.organization_id = p_organizations[i];
    IF NOT FOUND THEN
      outcome := 'book_not_found'; RETURN NEXT; CONTINUE;
    END IF;

    SELECT * INTO v_existing FROM ledger.operations AS o
    WHERE o.lane = p_lane AND o.organization_id = p_organizations[i] AND o.scope = p_scopes[i] AND o.key = p_keys[i];
    IF FOUND THEN
      IF v_existing.fingerprint = p_fingerprints[i] THEN
        outcome := v_existing.outcome; replayed := true; seq := v_existing.seq;
        posted_at := v_existing.posted_at; accounting_date := v_existing.accounting_date;
        available_after := v_existing.available_after; held_after := v_existing.held_after;
      ELSE
        outcome := 'exists_with_different_content';
      END IF;
      RETURN NEXT; CONTINUE;
    END IF;
    IF EXISTS (SELECT FROM ledger.operations AS o
               WHERE o.lane = p_lane AND o.organization_id = p_organizations[i] AND o.id = p_ids[i]) THEN
      outcome := 'id_already_used'; RETURN NEXT; CONTINUE;
    END IF;
    IF EXISTS (
      SELECT FROM (
        SELECT moved.code, moved.currency, sum(moved.debit - moved.credit) AS net
        FROM (SELECT p_debits[n] AS code, p_currencies[n] AS currency, p_amounts[n] AS debit, 0 AS credit
              FROM generate_series(v_first_transfer, v_after_last_transfer - 1) AS n
              UNION ALL
              SELECT p_credits[n], p_currencies[n], 0, p_amounts[n]
              FROM generate_series(v_first_transfer, v_after_last_transfer - 1) AS n) AS moved
        GROUP BY moved.code, moved.currency) AS change
      JOIN ledger.chart AS c ON c.code = change.code AND c.currency = change.currency AND c.floored
      LEFT JOIN ledger.accounts AS a ON a.lane = p_lane AND a.organization_id = p_organizations[i]
                                    AND a.code = change.code AND a.currency = change.currency
      WHERE coalesce(a.debits - a.credits, 0) + change.net < 0) THEN
      outcome := 'would_fall_below_floor'; RETURN NEXT; CONTINUE;
    END IF;

    v_seq := v_book.last_seq + 1;
    v_posted_at := greatest(ledger.clock(), v_book.last_posted_at + interval '1 microsecond');
    v_accounting_date := greatest((p_event_ats[i] AT TIME ZONE 'UTC')::date, v_book.closed_through + 1);
    v_lot := NULL; v_lots := ''::bytea;
    l := array_position(p_lot_items, i);
    IF l IS NOT NULL THEN
      v_lot := v_book.last_lot + 1;
      v_lots := ledger.field(v_lot::bigint) || ledger.field(p_lot_causes[l]) || ledger.field(p_lot_credits[l])
        || ledger.field(p_lot_basis_amounts[l]) || ledger.field(p_lot_basis_currencies[l])
        || ledger.field(p_lot_expires_ats[l]) || ledger.field(p_lot_priorities[l]::bigint);
    END IF;

    v_debit_afters := '{}'; v_credit_afters := '{}'; v_transfers := ''::bytea;
    FOR t IN v_first_transfer .. v_after_last_transfer - 1 LOOP
      INSERT INTO ledger.accounts AS a (lane, organization_id, code, currency, debits, version)
      VALUES (p_lane, p_organizations[i], p_debits[t], p_currencies[t], p_amounts[t], 1)
      ON CONFLICT (lane, organization_id, code, currency)
      DO UPDATE SET debits = a.debits + excluded.debits, version = a.version + 1
      RETURNING * INTO v_debit_account;
      INSERT INTO ledger.accounts AS a (lane, organization_id, code, currency, credits, version)
      VALUES (p_lane, p_organizations[i], p_credits[t], p_currencies[t], p_amounts[t], 1)
      ON CONFLICT (lane, organization_id, code, currency)
      DO UPDATE SET credits = a.credits + excluded.credits, version = a.version + 1
      RETURNING * INTO v_credit_account;
      SELECT c.side INTO v_debit_side FROM ledger.chart AS c
      WHERE c.code = p_debits[t] AND c.currency = p_currencies[t];
      SELECT c.side INTO v_credit_side FROM ledger.chart AS c
      WHERE c.code = p_credits[t] AND c.currency = p_currencies[t];
      v_debit_afters := v_debit_afters || CASE v_debit_side WHEN 'debit'
        THEN v_debit_account.debits - v_debit_account.credits ELSE v_debit_account.credits - v_debit_account.debits END;
      v_credit_afters := v_credit_afters || CASE v_credit_side WHEN 'debit'
        THEN v_credit_account.debits - v_credit_account.credits
        ELSE v_credit_account.credits - v_credit_account.debits END;
      v_transfers := v_transfers || ledger.field((t - v_first_transfer)::bigint) || ledger.field(p_debits[t])
        || ledger.field(p_credits[t]) || ledger.field(p_currencies[t]) || ledger.field(p_amounts[t])
        || ledger.field(CASE WHEN p_into_lot[t] THEN v_lot END::bigint)
        || ledger.field(v_debit_afters[t - v_first_transfer + 1])
        || ledger.field(v_credit_afters[t - v_first_transfer + 1]);
    END LOOP;

    SELECT coalesce(max(a.debits - a.credits) FILTER (WHERE a.code = 'wallet'), 0),
           coalesce(max(a.debits - a.credits) FILTER (WHERE a.code = 'held'), 0)
    INTO v_available, v_held
    FROM ledger.accounts AS a
    WHERE a.lane = p_lane AND a.organization_id = p_organizations[i] AND a.code IN ('wallet', 'held')
      AND a.currency = 'CREDIT';

    v_body := ledger.field(p_lane::bigint) || ledger.field(p_organizations[i]) || ledger.field(v_seq)
      || ledger.field(p_ids[i]) || ledger.field(p_kinds[i]) || ledger.field(p_scopes[i]) || ledger.field(p_keys[i])
      || ledger.field(p_fingerprints[i]) || ledger.field('posted'::text) || ledger.field(p_causes[i])
      || ledger.field(NULL::uuid) || ledger.field(p_event_ats[i]) || ledger.field(v_posted_at)
      || ledger.field(v_accounting_date) || ledger.field(v_available) || ledger.field(v_held)
      || ledger.field(p_terms[i]);
    v_hash := sha256(v_book.head || '\x01'::bytea || v_body
      || int4send(v_after_last_transfer - v_first_transfer) || v_transfers
      || int4send(CASE WHEN v_lot IS NULL THEN 0 ELSE 1 END) || v_lots
      || int4send(0));

    INSERT INTO ledger.operations (lane, organization_id, seq, id, kind, scope, key, fingerprint, outcome, cause,
      event_at, posted_at, accounting_date, available_after, held_after, terms, hash)
    VALUES (p_lane, p_organizations[i], v_seq, p_ids[i], p_kinds[i], p_scopes[i], p_keys[i], p_fingerprints[i],
      'posted', p_causes[i], p_event_ats[i], v_posted_at, v_accounting_date, v_available, v_held, p_terms[i], v_hash);
    INSERT INTO ledger.transfers (lane, organization_id, seq, line, debit, credit, currency, amount, lot,
      debit_after, credit_after)
    SELECT p_lane, p_organizations[i], v_seq, n - v_first_transfer, p_debits[n], p_credits[n], p_currencies[n],
      p_amounts[n], CASE WHEN p_into_lot[n] THEN v_lot END, v_debit_afters[n - v_first_transfer + 1],
      v_credit_afters[n - v_first_transfer + 1]
    FROM generate_series(v_first_transfer, v_after_last_transfer - 1) AS n;
    IF v_lot IS NOT NULL THEN
      INSERT INTO ledger.lot_openings (lane, organization_id, lot, seq, cause, credits, basis_amount, basis_currency,
        expires_at, priority)
      VALUES (p_lane, p_organizations[i], v_lot, v_seq, p_lot_causes[l], p_lot_credits[l], p_lot_basis_amounts[l],
        p_lot_basis_currencies[l], p_lot_expires_ats[l], p_lot_priorities[l]);
      INSERT INTO ledger.lots (lane, organization_id, lot, cause, credits, remaining, expires_at, priority)
      VALUES (p_lane, p_organizations[i], v_lot, p_lot_causes[l], p_lot_credits[l], p_lot_credits[l],
        p_lot_expires_ats[l], p_lot_priorities[l]);
    END IF;
    UPDATE ledger.books AS b
    SET last_seq = v_seq, last_lot = coalesce(v_lot, b.last_lot), last_posted_at = v_posted_at, head = v_hash
    WHERE b.lane = p_lane AND b.organization_id = p_organizations[i];

    outcome := 'posted'; seq := v_seq; posted_at := v_posted_at; accounting_date := v_accounting_date;
    available_after := v_available; held_after := v_held;
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION ledger.post_v1 IS
  'Posts a batch of operations, one result an item. Transfers are listed in the order of their items.';

INSERT INTO ledger.chart (code, currency, side, floored) VALUES
  ('wallet', 'CREDIT', 'debit', true),
  ('held', 'CREDIT', 'debit', true),
  ('issued', 'CREDIT', 'credit', false),
  ('consumed', 'CREDIT', 'debit', true),
  ('expired', 'CREDIT', 'debit', true),
  ('clawed_back', 'CREDIT', 'debit', true),
  ('stripe_clearing', 'USD', 'debit', false),
  ('stripe_fees', 'USD', 'debit', false),
  ('usdc_clearing', 'USDC', 'debit', false),
  ('deferred_revenue', 'USD', 'credit', false),
  ('revenue_usage', 'USD', 'credit', false),
  ('revenue_breakage', 'USD', 'credit', false),
  ('refunds_payable', 'USD', 'credit', false),
  ('disputes', 'USD', 'debit', false),
  ('sales_tax_payable', 'USD', 'credit', false),
  ('receivable_owed', 'USD', 'debit', false),
  ('write_off', 'USD', 'debit', false),
  ('deposit_remainder', 'USD', 'credit', false),
  ('conversion', 'USD', 'debit', false),
  ('fx_gain_loss', 'USD', 'credit', false),
  ('between_books', 'USD', 'debit', false),
  ('bank', 'USD', 'debit', false),
  ('fees', 'USD', 'debit', false),
  ('fees_onchain', 'USD', 'debit', false),
  ('unallocated_deposits', 'USD', 'credit', false);

-- The platform book: what belongs to no organization.
SELECT ledger.post_v1(
  0::smallint, ARRAY['00000000-0000-7000-8000-000000000000']::uuid[],
  ARRAY['00000000-0000-7000-8000-000000000001']::uuid[], ARRAY['opening'], ARRAY['system'], ARRAY['opening'],
  ARRAY[substring(sha256('opening of the platform book'), 1, 16)], ARRAY[ledger.clock()], ARRAY['opening'],
  ARRAY[NULL]::text[], '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
