-- The hot path: a run of spends and holds, evaluated in memory and written with a constant number of statements.
--
-- The books are locked, nothing is due in them, no id stands in the run twice, and the items come sorted by book. Each
-- book's sums and its current lot stand in plain variables while its items are evaluated in order; further lots are
-- read in pages of 32, in burn order. Rows are collected and written set-based at the end. Amounts are checked by post_v1.
CREATE FUNCTION ledger.post_spending(
  p_lane smallint, p_now timestamptz,
  p_organizations uuid[], p_ids uuid[], p_kinds text[], p_scopes uuid[], p_keys text[], p_fingerprints bytea[],
  p_event_ats timestamptz[], p_causes text[], p_spenders uuid[], p_amounts bigint[], p_deadlines timestamptz[]
) RETURNS ledger.answer[]
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  c_lots_max CONSTANT integer := 256;
  c_page CONSTANT integer := 32;
  c_hold_max CONSTANT interval := interval '30 days';
  v_answers ledger.answer[] := array_fill(NULL::ledger.answer, ARRAY[cardinality(p_ids)]);
  v_operations ledger.operations[] := '{}';
  v_holds ledger.holds[] := '{}';
  v_books ledger.books[] := '{}';
  v_caps ledger.spenders[];
  v_lot_books uuid[] := '{}';
  v_lot_numbers integer[] := '{}';
  v_lot_consumed bigint[] := '{}';
  v_lot_held bigint[] := '{}';
  v_found ledger.operations[];
  v_row record;
  i integer := 1;
  k integer;
  v_book ledger.books;
  v_cap ledger.spenders;
  v_capped integer;
  -- the lot that is burning, its place in the burn order, and the lots behind it
  v_lot integer;
  v_left bigint;
  v_paid_lot boolean;
  v_consumed bigint;
  v_held bigint;
  v_ordinal integer;
  v_page_lots integer[];
  v_page_left bigint[];
  v_page_paid boolean[];
  v_page_at integer;
  -- the item
  v_outcome text;
  v_hold boolean;
  v_need bigint;
  v_part bigint;
  v_lines bigint[];
  v_parts integer;
  v_hold_lots integer[];
  v_hold_amounts bigint[];
  v_terms text;
  v_posted_at timestamptz;
  v_operation ledger.operations;
  -- the state to go back to when an item needs too many lots
  v_was ledger.books;
  v_was_lot integer;
  v_was_left bigint;
  v_was_paid boolean;
  v_was_consumed bigint;
  v_was_held bigint;
  v_was_ordinal integer;
  v_was_flushed integer;
BEGIN
  SELECT (SELECT array_agg(o) FROM ledger.operations AS o WHERE o.id = ANY (p_ids)),
         (SELECT coalesce(array_agg(s ORDER BY s.organization_id, s.spender), '{}') FROM ledger.spenders AS s
          WHERE s.lane = p_lane AND s.organization_id = ANY (p_organizations) AND s.spender = ANY (p_spenders))
  INTO v_found, v_caps;
  IF v_found IS NOT NULL THEN
    FOREACH v_operation IN ARRAY v_found LOOP
      k := array_position(p_ids, v_operation.id);
      v_answers[k] := CASE WHEN v_operation.fingerprint = p_fingerprints[k]
        THEN ROW(k, v_operation.outcome, true, v_operation.seq, v_operation.posted_at, v_operation.accounting_date,
                 v_operation.available_after, v_operation.held_after, v_operation.paid_after)::ledger.answer
        ELSE ROW(k, 'exists_with_different_content', false, NULL, NULL, NULL, NULL, NULL, NULL)::ledger.answer END;
    END LOOP;
  END IF;

  FOR v_row IN
    SELECT b AS book, l.lot, l.remaining, l.cause
    FROM ledger.books AS b
    LEFT JOIN LATERAL (
      SELECT l.lot, l.remaining, l.cause FROM ledger.lots AS l
      WHERE l.lane = b.lane AND l.organization_id = b.organization_id AND l.open AND NOT l.frozen
      ORDER BY l.priority, l.expires_at, l.lot LIMIT 1) AS l ON true
    WHERE b.lane = p_lane AND b.organization_id = ANY (p_organizations)
    ORDER BY b.organization_id
  LOOP
    v_book := v_row.book;
    v_lot := v_row.lot;
    v_left := coalesce(v_row.remaining, 0);
    v_paid_lot := v_row.cause = 'paid';
    v_consumed := 0;
    v_held := 0;
    v_ordinal := 1;
    v_page_lots := '{}';
    v_page_at := 0;

    WHILE p_organizations[i] = v_book.organization_id LOOP
      IF v_found IS NOT NULL AND (v_answers[i]).item IS NOT NULL THEN
        i := i + 1;
        CONTINUE;
      END IF;
      v_need := p_amounts[i];
      v_hold := p_kinds[i] = 'hold';
      v_posted_at := greatest(p_now, v_book.last_posted_at + interval '1 microsecond');
      v_outcome := 'posted';

      IF v_hold THEN
        IF p_deadlines[i] > v_posted_at AND p_deadlines[i] <= v_posted_at + c_hold_max THEN
          v_terms := ledger.deadline_terms(p_deadlines[i])::text; -- which an infinite time does not have
        ELSE
          v_outcome := 'deadline_out_of_range';
        END IF;
      END IF;
      IF v_caps <> '{}' THEN
        v_capped := NULL;
        FOR k IN 1 .. cardinality(v_caps) LOOP
          CONTINUE WHEN (v_caps[k]).spender IS DISTINCT FROM p_spenders[i]
            OR (v_caps[k]).organization_id <> v_book.organization_id;
          v_cap := ledger.charged(v_caps[k], v_need, v_posted_at);
          v_capped := k;
          IF v_outcome = 'posted' AND v_cap.paused THEN
            v_outcome := 'spender_paused';
          ELSIF v_outcome = 'posted' AND ledger.over_a_cap(v_cap, v_need) THEN
            v_outcome := 'cap_exceeded';
          END IF;
          EXIT;
        END LOOP;
      END IF;
      IF v_outcome = 'posted' AND v_need > v_book.wallet - v_book.frozen THEN
        v_outcome := 'not_enough_credits';
      END IF;

      IF v_outcome = 'posted' AND v_need <= v_left THEN
        -- Nearly always the lot that is burning has enough.
        v_left := v_left - v_need;
        v_book.wallet := v_book.wallet - v_need;
        IF v_paid_lot THEN
          v_book.paid := v_book.paid - v_need;
        END IF;
        IF v_hold THEN
          v_held := v_held + v_need;
          v_book.held := v_book.held + v_need;
          v_lines := ARRAY[2, 1, v_lot, v_need, v_book.held, v_book.wallet];
          v_hold_lots := ARRAY[v_lot];
          v_hold_amounts := ARRAY[v_need];
        ELSE
          v_consumed := v_consumed + v_need;
          v_book.consumed := v_book.consumed + v_need;
          v_lines := ARRAY[4, 1, v_lot, v_need, v_book.consumed, v_book.wallet];
        END IF;
        v_need := 0;
      ELSIF v_outcome = 'posted' THEN
        v_was := v_book; v_was_lot := v_lot; v_was_left := v_left; v_was_paid := v_paid_lot;
        v_was_consumed := v_consumed; v_was_held := v_held; v_was_ordinal := v_ordinal;
        v_was_flushed := cardinality(v_lot_books);
        v_parts := 0;
        v_lines := '{}';
        v_hold_lots := '{}';
        v_hold_amounts := '{}';
      END IF;
      WHILE v_outcome = 'posted' AND v_need > 0 LOOP
        IF v_left = 0 THEN
          -- the next lot in burn order
          IF v_consumed + v_held > 0 THEN
            v_lot_books := v_lot_books || v_book.organization_id;
            v_lot_numbers := v_lot_numbers || v_lot;
            v_lot_consumed := v_lot_consumed || v_consumed;
            v_lot_held := v_lot_held || v_held;
          END IF;
          IF v_page_at = cardinality(v_page_lots) THEN
            SELECT array_agg(l.lot ORDER BY l.priority, l.expires_at, l.lot),
                   array_agg(l.remaining ORDER BY l.priority, l.expires_at, l.lot),
                   array_agg(l.cause = 'paid' ORDER BY l.priority, l.expires_at, l.lot)
            INTO STRICT v_page_lots, v_page_left, v_page_paid
            FROM (SELECT l.lot, l.remaining, l.cause, l.priority, l.expires_at FROM ledger.lots AS l
                  WHERE l.lane = p_lane AND l.organization_id = v_book.organization_id AND l.open AND NOT l.frozen
                  ORDER BY l.priority, l.expires_at, l.lot OFFSET v_ordinal LIMIT c_page) AS l;
            v_page_at := 0;
            IF v_page_lots IS NULL THEN
              RAISE EXCEPTION 'the lots of book % hold less than its wallet', v_book.organization_id;
            END IF;
          END IF;
          v_page_at := v_page_at + 1;
          v_ordinal := v_ordinal + 1;
          v_lot := v_page_lots[v_page_at];
          v_left := v_page_left[v_page_at];
          v_paid_lot := v_page_paid[v_page_at];
          v_consumed := 0;
          v_held := 0;
        END IF;
        v_parts := v_parts + 1;
        IF v_parts > c_lots_max THEN
          v_outcome := 'too_fragmented';
          EXIT;
        END IF;
        v_part := least(v_need, v_left);
        v_need := v_need - v_part;
        v_left := v_left - v_part;
        v_book.wallet := v_book.wallet - v_part;
        IF v_paid_lot THEN
          v_book.paid := v_book.paid - v_part;
        END IF;
        IF v_hold THEN
          v_held := v_held + v_part;
          v_book.held := v_book.held + v_part;
          v_lines := v_lines || ARRAY[2, 1, v_lot, v_part, v_book.held, v_book.wallet];
          v_hold_lots := v_hold_lots || v_lot;
          v_hold_amounts := v_hold_amounts || v_part;
        ELSE
          v_consumed := v_consumed + v_part;
          v_book.consumed := v_book.consumed + v_part;
          v_lines := v_lines || ARRAY[4, 1, v_lot, v_part, v_book.consumed, v_book.wallet];
        END IF;
      END LOOP;
      IF v_outcome = 'too_fragmented' THEN
        v_book := v_was; v_lot := v_was_lot; v_left := v_was_left; v_paid_lot := v_was_paid;
        v_consumed := v_was_consumed; v_held := v_was_held; v_ordinal := v_was_ordinal;
        v_page_lots := '{}'; v_page_at := 0;
        v_lot_books := v_lot_books[: v_was_flushed];
        v_lot_numbers := v_lot_numbers[: v_was_flushed];
        v_lot_consumed := v_lot_consumed[: v_was_flushed];
        v_lot_held := v_lot_held[: v_was_flushed];
      END IF;
      IF v_outcome <> 'posted' THEN
        v_lines := '{}';
        v_terms := NULL;
      END IF;

      IF v_outcome = 'posted' OR p_scopes[i] <> ledger.system_scope() AND ledger.freezes_key(v_outcome) THEN
        v_book.last_seq := v_book.last_seq + 1;
        v_book.last_posted_at := v_posted_at;
        v_operation := ROW(v_book.last_seq, p_event_ats[i], v_posted_at, v_book.wallet - v_book.frozen, v_book.held,
          v_book.paid, greatest((coalesce(p_event_ats[i], v_posted_at) AT TIME ZONE 'UTC')::date, v_book.closed_through + 1), p_lane,
          v_book.organization_id, p_ids[i], p_scopes[i], p_spenders[i], NULL, p_kinds[i], v_outcome, p_causes[i], p_keys[i],
          p_fingerprints[i], NULL, v_lines, v_terms)::ledger.operations;
        v_book.head := ledger.hash_v2(v_book.head, v_operation, NULL);
        v_operation.hash := v_book.head;
        v_operations := v_operations || v_operation;
        IF v_outcome = 'posted' AND v_hold THEN
          v_holds := v_holds || ROW(p_lane, v_book.organization_id, p_ids[i], p_scopes[i], p_spenders[i], p_amounts[i],
            p_amounts[i], 0, v_posted_at, p_deadlines[i], v_hold_lots, v_hold_amounts,
            array_fill(0::bigint, ARRAY[cardinality(v_hold_lots)]), true, NULL)::ledger.holds;
          v_terms := NULL;
          v_book.next_due_at := least(v_book.next_due_at, p_deadlines[i]);
        END IF;
        IF v_outcome = 'posted' AND v_capped IS NOT NULL THEN
          v_caps[v_capped] := v_cap;
        END IF;
        v_answers[i] := ROW(i, v_outcome, false, v_operation.seq, v_posted_at, v_operation.accounting_date,
          v_operation.available_after, v_operation.held_after, v_operation.paid_after)::ledger.answer;
      ELSE
        v_answers[i] := ROW(i, v_outcome, false, NULL, NULL, NULL, NULL, NULL, NULL)::ledger.answer;
      END IF;
      i := i + 1;
    END LOOP;

    IF v_consumed + v_held > 0 THEN
      v_lot_books := v_lot_books || v_book.organization_id;
      v_lot_numbers := v_lot_numbers || v_lot;
      v_lot_consumed := v_lot_consumed || v_consumed;
      v_lot_held := v_lot_held || v_held;
    END IF;
    v_books := v_books || v_book;
  END LOOP;
  IF i <= cardinality(p_ids) THEN
    RAISE EXCEPTION 'items are not sorted by book, or a book is missing' USING ERRCODE = 'invalid_parameter_value';
  END IF;

  -- One statement writes what every batch writes. Each list is joined by the lane too, and not compared with p_lane: so no
  -- plan, made when a table was small, can begin with that table and look through the list for each of its rows.
  WITH written AS (
    INSERT INTO ledger.operations SELECT o.* FROM unnest(v_operations) AS o
  ), kept AS (
    UPDATE ledger.books AS b
    SET last_seq = n.last_seq, last_posted_at = n.last_posted_at, head = n.head, next_due_at = n.next_due_at,
        wallet = n.wallet, held = n.held, consumed = n.consumed, paid = n.paid
    FROM unnest(v_books) AS n
    WHERE b.lane = n.lane AND b.organization_id = n.organization_id
  )
  UPDATE ledger.lots AS l
  SET remaining = l.remaining - n.consumed - n.held, open = l.remaining - n.consumed - n.held > 0,
      consumed = l.consumed + n.consumed, held = l.held + n.held
  FROM unnest(array_fill(p_lane, ARRAY[cardinality(v_lot_books)]), v_lot_books, v_lot_numbers, v_lot_consumed, v_lot_held)
       AS n (lane, organization_id, lot, consumed, held)
  WHERE l.lane = n.lane AND l.organization_id = n.organization_id AND l.lot = n.lot;
  IF v_holds <> '{}' THEN
    INSERT INTO ledger.holds SELECT h.* FROM unnest(v_holds) AS h;
  END IF;
  IF v_caps <> '{}' THEN
    UPDATE ledger.spenders AS s
    SET hour_start = n.hour_start, hour_used = n.hour_used, day_start = n.day_start, day_used = n.day_used,
        month_start = n.month_start, month_used = n.month_used, total_used = n.total_used
    FROM unnest(v_caps) AS n
    WHERE s.lane = n.lane AND s.organization_id = n.organization_id AND s.spender = n.spender;
  END IF;
  RETURN v_answers;
END $$;

CREATE FUNCTION ledger.freezes_key(p_outcome text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT p_outcome IN ('not_enough_credits', 'cap_exceeded') $$;
COMMENT ON FUNCTION ledger.freezes_key IS 'Whether a refusal is stored, so that the same key is refused for ever.';

-- A spender after being charged p_amount at p_at: windows that have passed begin anew.
CREATE FUNCTION ledger.charged(INOUT p_cap ledger.spenders, p_amount bigint, p_at timestamptz)
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  v_hour timestamptz := date_trunc('hour', p_at, 'UTC');
  v_day timestamptz := date_trunc('day', p_at, 'UTC');
  v_month timestamptz := date_trunc('month', p_at, 'UTC');
BEGIN
  p_cap.hour_used := p_amount + CASE WHEN p_cap.hour_start = v_hour THEN p_cap.hour_used ELSE 0 END;
  p_cap.day_used := p_amount + CASE WHEN p_cap.day_start = v_day THEN p_cap.day_used ELSE 0 END;
  p_cap.month_used := p_amount + CASE WHEN p_cap.month_start = v_month THEN p_cap.month_used ELSE 0 END;
  p_cap.total_used := p_cap.total_used + p_amount;
  p_cap.hour_start := v_hour;
  p_cap.day_start := v_day;
  p_cap.month_start := v_month;
END $$;

CREATE FUNCTION ledger.over_a_cap(p_cap ledger.spenders, p_amount bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
  SELECT coalesce(p_amount > p_cap.per_spend, false) OR coalesce(p_cap.hour_used > p_cap.per_hour, false)
    OR coalesce(p_cap.day_used > p_cap.per_day, false) OR coalesce(p_cap.month_used > p_cap.per_month, false)
    OR coalesce(p_cap.total_used > p_cap.total, false)
$$;
