-- Writing one operation: what every kind but the hot ones (0001_spending.sql) goes through.
--
-- A kind decides (0001_granting, _holding, _reversing) and gives back a `judged`: an outcome and, when that is
-- 'posted', the lines. Lines alone say where credits went: the sums of the book and the parts of its lots follow from them
-- here, in one place, and `purser verify` follows them in the same way.

CREATE TYPE ledger.item AS (
  organization_id uuid, id uuid, kind text, scope uuid, key text, fingerprint bytea, event_at timestamptz, cause text,
  spender uuid, amount bigint, target uuid, deadline timestamptz, final boolean, details jsonb
);
COMMENT ON TYPE ledger.item IS 'What was asked for.';

CREATE TYPE ledger.judged AS (outcome text, lines bigint[], terms text, opened ledger.lot_openings);
COMMENT ON TYPE ledger.judged IS 'What a kind decided. Its lines are four numbers each: debit, credit, lot, amount.';

CREATE TYPE ledger.answer AS (
  item integer, outcome text, replayed boolean, seq bigint, posted_at timestamptz, accounting_date date,
  available_after bigint, held_after bigint, paid_after bigint
);

CREATE FUNCTION ledger.refused(p_outcome text) RETURNS ledger.judged
LANGUAGE sql IMMUTABLE
AS $$ SELECT ROW(p_outcome, '{}'::bigint[], NULL, NULL::ledger.lot_openings)::ledger.judged $$;

CREATE FUNCTION ledger.posted(p_lines bigint[], p_terms jsonb, p_opened ledger.lot_openings) RETURNS ledger.judged
LANGUAGE sql IMMUTABLE
AS $$ SELECT ROW('posted', p_lines, p_terms::text, p_opened)::ledger.judged $$;

CREATE FUNCTION ledger.line(p_debit text, p_credit text, p_lot integer, p_amount bigint) RETURNS bigint[]
LANGUAGE sql STABLE
AS $$
  SELECT CASE WHEN p_amount = 0 THEN '{}'::bigint[]
    ELSE ARRAY[(SELECT number FROM ledger.chart WHERE code = p_debit), (SELECT number FROM ledger.chart WHERE code = p_credit),
               coalesce(p_lot, 0), p_amount] END
$$;
COMMENT ON FUNCTION ledger.line IS 'A transfer of p_amount; none for an amount of 0.';

CREATE FUNCTION ledger.new_lot(
  p_book ledger.books, p_cause text, p_credits bigint, p_basis_amount bigint, p_basis_currency text,
  p_expires_at timestamptz, p_priority smallint
) RETURNS ledger.lot_openings
LANGUAGE sql IMMUTABLE
AS $$
  SELECT ROW(p_book.lane, p_book.organization_id, p_book.last_lot + 1, p_book.last_seq + 1, p_cause, p_credits,
             p_basis_amount, p_basis_currency, p_expires_at, p_priority)::ledger.lot_openings
$$;

-- One line's effect on its lot. The book's parts that depend on the lot (paid, frozen, next_due_at) are given back.
CREATE FUNCTION ledger.move_in_lot(INOUT p_book ledger.books, p_debit bigint, p_credit bigint, p_lot bigint, p_amount bigint)
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_into bigint[] := '{0,0,0,0,0,0}';
  v_remaining bigint;
  v_lot ledger.lots;
BEGIN
  v_into[p_debit] := v_into[p_debit] + p_amount;
  v_into[p_credit] := v_into[p_credit] - p_amount;
  v_remaining := v_into[1];
  UPDATE ledger.lots AS l
  SET remaining = l.remaining + v_remaining, open = l.remaining + v_remaining > 0, held = l.held + v_into[2],
      credits = l.credits - v_into[3], consumed = l.consumed + v_into[4], expired = l.expired + v_into[5],
      clawed_back = l.clawed_back + v_into[6]
  WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = p_lot
  RETURNING l.* INTO STRICT v_lot;
  IF v_lot.frozen THEN
    p_book.frozen := p_book.frozen + v_remaining;
  ELSIF v_lot.cause = 'paid' THEN
    p_book.paid := p_book.paid + v_remaining;
  END IF;
  IF v_remaining > 0 THEN
    p_book.next_due_at := least(p_book.next_due_at, v_lot.expires_at);
  END IF;
END $$;

-- The sums of two money accounts after one transfer between them, each on its normal side.
CREATE FUNCTION ledger.move_money(
  p_book ledger.books, p_debit bigint, p_credit bigint, p_amount bigint, OUT debit_after bigint, OUT credit_after bigint
)
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_debit ledger.chart;
  v_credit ledger.chart;
  v_account ledger.accounts;
BEGIN
  SELECT * INTO STRICT v_debit FROM ledger.chart WHERE number = p_debit;
  SELECT * INTO STRICT v_credit FROM ledger.chart WHERE number = p_credit;
  IF v_debit.currency <> v_credit.currency OR v_debit.code = v_credit.code THEN
    RAISE EXCEPTION 'a transfer moves one currency between two accounts' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  INSERT INTO ledger.accounts AS a (lane, organization_id, code, currency, debits, version)
  VALUES (p_book.lane, p_book.organization_id, v_debit.code, v_debit.currency, p_amount, 1)
  ON CONFLICT (lane, organization_id, code, currency)
  DO UPDATE SET debits = a.debits + excluded.debits, version = a.version + 1
  RETURNING * INTO v_account;
  debit_after := CASE v_debit.side WHEN 'debit' THEN 1 ELSE -1 END * (v_account.debits - v_account.credits);
  INSERT INTO ledger.accounts AS a (lane, organization_id, code, currency, credits, version)
  VALUES (p_book.lane, p_book.organization_id, v_credit.code, v_credit.currency, p_amount, 1)
  ON CONFLICT (lane, organization_id, code, currency)
  DO UPDATE SET credits = a.credits + excluded.credits, version = a.version + 1
  RETURNING * INTO v_account;
  credit_after := CASE v_credit.side WHEN 'debit' THEN 1 ELSE -1 END * (v_account.debits - v_account.credits);
END $$;

-- Journal, book and lots of one operation whose book is locked; everything but what its kind keeps by itself (holds,
-- caps, reversals). Raises when an invariant would break.
CREATE FUNCTION ledger.write_operation(p_lane smallint, p_item ledger.item, p_judged ledger.judged, p_now timestamptz)
RETURNS ledger.operations
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  c_side CONSTANT bigint[] := '{1,1,-1,1,1,1}';
  v_book ledger.books;
  v_written ledger.operations;
  v_opened ledger.lot_openings := p_judged.opened;
  v_sums bigint[];
  v_debit bigint;
  v_credit bigint;
  v_amount bigint;
  v_afters record;
  n integer;
BEGIN
  SELECT * INTO STRICT v_book FROM ledger.books WHERE lane = p_lane AND organization_id = p_item.organization_id;
  v_written.lane := p_lane;
  v_written.organization_id := p_item.organization_id;
  v_written.seq := v_book.last_seq + 1;
  v_written.id := p_item.id;
  v_written.kind := p_item.kind;
  v_written.scope := p_item.scope;
  v_written.key := p_item.key;
  v_written.fingerprint := p_item.fingerprint;
  v_written.outcome := p_judged.outcome;
  v_written.cause := p_item.cause;
  v_written.spender := p_item.spender;
  v_written.target := p_item.target;
  v_written.terms := p_judged.terms;
  v_written.lines := '{}';
  v_written.posted_at := greatest(p_now, v_book.last_posted_at + interval '1 microsecond');
  v_written.event_at := p_item.event_at;
  v_written.accounting_date :=
    greatest((coalesce(v_written.event_at, v_written.posted_at) AT TIME ZONE 'UTC')::date, v_book.closed_through + 1);

  IF v_opened.lot IS NOT NULL THEN
    INSERT INTO ledger.lot_openings SELECT v_opened.*;
    INSERT INTO ledger.lots (lane, organization_id, lot, cause, credits, remaining, open, expires_at, priority)
    VALUES (p_lane, p_item.organization_id, v_opened.lot, v_opened.cause, 0, 0, false, v_opened.expires_at,
            v_opened.priority);
    v_book.last_lot := v_opened.lot;
  END IF;

  v_sums := ARRAY[v_book.wallet, v_book.held, v_book.issued, v_book.consumed, v_book.expired, v_book.clawed_back];
  FOR n IN 1 .. cardinality(p_judged.lines) BY 4 LOOP
    v_debit := p_judged.lines[n];
    v_credit := p_judged.lines[n + 1];
    v_amount := p_judged.lines[n + 3];
    IF v_amount <= 0 OR (p_judged.lines[n + 2] <> 0) <> (v_debit <= 6 AND v_credit <= 6) THEN
      RAISE EXCEPTION 'a transfer moves a positive amount, and credits move in a lot'
        USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_judged.lines[n + 2] <> 0 THEN
      v_book := ledger.move_in_lot(v_book, v_debit, v_credit, p_judged.lines[n + 2], v_amount);
      v_sums[v_debit] := v_sums[v_debit] + c_side[v_debit] * v_amount;
      v_sums[v_credit] := v_sums[v_credit] - c_side[v_credit] * v_amount;
      v_written.lines := v_written.lines || p_judged.lines[n : n + 3] || v_sums[v_debit] || v_sums[v_credit];
    ELSE
      v_afters := ledger.move_money(v_book, v_debit, v_credit, v_amount);
      v_written.lines := v_written.lines || p_judged.lines[n : n + 3] || v_afters.debit_after || v_afters.credit_after;
    END IF;
  END LOOP;

  v_written.available_after := v_sums[1] - v_book.frozen;
  v_written.held_after := v_sums[2];
  v_written.paid_after := v_book.paid;
  v_written.hash := ledger.hash_v2(v_book.head, v_written, v_opened);
  INSERT INTO ledger.operations SELECT v_written.*;
  UPDATE ledger.books AS b
  SET last_seq = v_written.seq, last_lot = v_book.last_lot, last_posted_at = v_written.posted_at,
      head = v_written.hash, next_due_at = v_book.next_due_at, wallet = v_sums[1], held = v_sums[2],
      issued = v_sums[3], consumed = v_sums[4], expired = v_sums[5], clawed_back = v_sums[6],
      paid = v_book.paid, frozen = v_book.frozen
  WHERE b.lane = p_lane AND b.organization_id = p_item.organization_id;
  RETURN v_written;
END $$;
