-- Holds after they were made (0001_spending.sql makes them), and spend caps.

-- Gives back to a spender's windows what was charged in them at p_charged_at. A window that has passed stays as it was:
-- it will never be asked again.
CREATE FUNCTION ledger.uncharge(p_book ledger.books, p_spender uuid, p_amount bigint, p_charged_at timestamptz)
RETURNS void
LANGUAGE sql
SET search_path = ledger, pg_temp
AS $$
  UPDATE ledger.spenders AS s
  SET hour_used = s.hour_used - CASE WHEN p_charged_at >= s.hour_start THEN p_amount ELSE 0 END,
      day_used = s.day_used - CASE WHEN p_charged_at >= s.day_start THEN p_amount ELSE 0 END,
      month_used = s.month_used - CASE WHEN p_charged_at >= s.month_start THEN p_amount ELSE 0 END,
      total_used = s.total_used - p_amount
  WHERE s.lane = p_book.lane AND s.organization_id = p_book.organization_id AND s.spender = p_spender
    AND p_charged_at >= s.since
$$;

-- Takes a whole hold, or what a capture left of it, back out of `held`: the reversed part of each lot is clawed back, the
-- rest returns to its lot, or expires with it. The lines that do it are given back.
CREATE FUNCTION ledger.release_hold(p_book ledger.books, p_hold ledger.holds, p_ended text, p_at timestamptz)
RETURNS bigint[]
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_lines bigint[] := '{}';
  v_expires_at timestamptz;
  v_free bigint;
  n integer;
BEGIN
  FOR n IN 1 .. cardinality(p_hold.lots) LOOP
    CONTINUE WHEN p_hold.amounts[n] = 0;
    SELECT l.expires_at INTO STRICT v_expires_at FROM ledger.lots AS l
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = p_hold.lots[n];
    IF p_hold.reversed_amounts[n] > 0 THEN
      PERFORM ledger.change_reversal(p_book, p_hold.lots[n], p_taken => p_hold.reversed_amounts[n],
                                     p_held_reversed => -p_hold.reversed_amounts[n]);
      v_lines := v_lines || ledger.line('clawed_back', 'held', p_hold.lots[n], p_hold.reversed_amounts[n]);
    END IF;
    v_free := p_hold.amounts[n] - p_hold.reversed_amounts[n];
    v_lines := v_lines || ledger.line(CASE WHEN v_expires_at <= p_at THEN 'expired' ELSE 'wallet' END, 'held',
                                      p_hold.lots[n], v_free);
  END LOOP;
  UPDATE ledger.holds AS h
  SET remaining = 0, reversed = 0, open = false, ended = p_ended,
      amounts = array_fill(0::bigint, ARRAY[cardinality(h.lots)]),
      reversed_amounts = array_fill(0::bigint, ARRAY[cardinality(h.lots)])
  WHERE h.lane = p_book.lane AND h.organization_id = p_book.organization_id AND h.id = p_hold.id;
  PERFORM ledger.uncharge(p_book, p_hold.spender, p_hold.remaining, p_hold.made_at);
  RETURN v_lines;
END $$;

-- The hold that an item is about; NULL columns when the book has none such.
CREATE FUNCTION ledger.hold_named(p_book ledger.books, p_item ledger.item) RETURNS ledger.holds
LANGUAGE sql STABLE
SET search_path = ledger, pg_temp
AS $$
  SELECT h FROM ledger.holds AS h
  WHERE h.lane = p_book.lane AND h.organization_id = p_book.organization_id AND h.id = p_item.target
$$;

CREATE FUNCTION ledger.judge_capture(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_hold ledger.holds := ledger.hold_named(p_book, p_item);
  v_refusal text := ledger.hold_refusal(v_hold);
  v_frozen boolean[];
  v_taken bigint[];
  v_left bigint := p_item.amount;
  v_part bigint;
  v_consumed bigint[];
  v_owing ledger.judged;
  v_reversed jsonb := '[]';
  v_lines bigint[] := '{}';
  n integer;
BEGIN
  IF v_refusal IS NOT NULL THEN
    RETURN ledger.refused(v_refusal);
  END IF;
  IF p_item.amount > v_hold.remaining THEN
    RETURN ledger.refused('exceeds_target');
  END IF;
  SELECT array_agg(l.frozen ORDER BY h.at) INTO v_frozen
  FROM unnest(v_hold.lots) WITH ORDINALITY AS h (lot, at)
  JOIN ledger.lots AS l ON l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = h.lot;
  v_taken := array_fill(0::bigint, ARRAY[cardinality(v_hold.lots)]);
  v_consumed := v_taken;

  -- First what nobody takes back, then what was reversed: that is consumed, and something else is taken or it is owed.
  FOR n IN 1 .. cardinality(v_hold.lots) LOOP
    CONTINUE WHEN v_frozen[n] OR v_left = 0;
    v_taken[n] := least(v_left, v_hold.amounts[n] - v_hold.reversed_amounts[n]);
    v_left := v_left - v_taken[n];
  END LOOP;
  FOR n IN 1 .. cardinality(v_hold.lots) LOOP
    CONTINUE WHEN v_frozen[n] OR v_left = 0;
    v_part := least(v_left, v_hold.reversed_amounts[n]);
    CONTINUE WHEN v_part = 0;
    v_taken[n] := v_taken[n] + v_part;
    v_left := v_left - v_part;
    v_hold.reversed_amounts[n] := v_hold.reversed_amounts[n] - v_part;
    v_hold.reversed := v_hold.reversed - v_part;
    v_consumed[n] := v_part;
  END LOOP;
  IF v_left > 0 THEN
    RETURN ledger.refused('hold_frozen');
  END IF;

  FOR n IN 1 .. cardinality(v_hold.lots) LOOP
    CONTINUE WHEN v_consumed[n] = 0;
    v_owing := ledger.owe(p_book, v_hold.id, v_hold.lots[n], v_consumed[n]);
    v_lines := v_lines || v_owing.lines;
    v_reversed := v_reversed || v_owing.terms::jsonb;
  END LOOP;
  FOR n IN 1 .. cardinality(v_hold.lots) LOOP
    v_hold.amounts[n] := v_hold.amounts[n] - v_taken[n];
    v_lines := v_lines || ledger.line('consumed', 'held', v_hold.lots[n], v_taken[n]);
  END LOOP;
  v_hold.remaining := v_hold.remaining - p_item.amount;
  IF p_item.final OR v_hold.remaining = 0 THEN
    v_lines := v_lines || ledger.release_hold(p_book, v_hold, 'captured', p_now);
  ELSE
    UPDATE ledger.holds AS h
    SET remaining = v_hold.remaining, reversed = v_hold.reversed, amounts = v_hold.amounts,
        reversed_amounts = v_hold.reversed_amounts
    WHERE h.lane = p_book.lane AND h.organization_id = p_book.organization_id AND h.id = v_hold.id;
  END IF;
  RETURN ledger.posted(v_lines, CASE WHEN v_reversed <> '[]' THEN jsonb_build_object('reversed', v_reversed) END, NULL);
END $$;

-- Why nothing can be done with a hold any more; none when it is open.
CREATE FUNCTION ledger.hold_refusal(p_hold ledger.holds) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
  SELECT CASE WHEN p_hold.id IS NULL THEN 'hold_not_found'
              WHEN p_hold.ended = 'expired' THEN 'hold_expired'
              WHEN NOT p_hold.open THEN 'hold_closed' END
$$;

CREATE FUNCTION ledger.judge_void(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_hold ledger.holds := ledger.hold_named(p_book, p_item);
  v_refusal text := ledger.hold_refusal(v_hold);
BEGIN
  IF v_refusal IS NOT NULL THEN
    RETURN ledger.refused(v_refusal);
  END IF;
  RETURN ledger.posted(ledger.release_hold(p_book, v_hold, 'voided', p_now), NULL, NULL);
END $$;

CREATE FUNCTION ledger.judge_extend(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_hold ledger.holds := ledger.hold_named(p_book, p_item);
  v_refusal text := ledger.hold_refusal(v_hold);
BEGIN
  IF v_refusal IS NOT NULL THEN
    RETURN ledger.refused(v_refusal);
  END IF;
  IF (p_item.deadline > v_hold.deadline AND p_item.deadline <= v_hold.made_at + interval '30 days') IS NOT TRUE THEN
    RETURN ledger.refused('deadline_out_of_range');
  END IF;
  UPDATE ledger.holds AS h SET deadline = p_item.deadline
  WHERE h.lane = p_book.lane AND h.organization_id = p_book.organization_id AND h.id = v_hold.id;
  RETURN ledger.posted('{}', ledger.deadline_terms(p_item.deadline), NULL);
END $$;

CREATE FUNCTION ledger.deadline_terms(p_deadline timestamptz) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$ SELECT jsonb_build_object('deadline', (extract(epoch FROM p_deadline) * 1000000)::bigint) $$;
COMMENT ON FUNCTION ledger.deadline_terms IS 'Microseconds since 1970.';

-- Sets all caps of a spender at once (absent: no limit) and whether it is paused. What was used stays counted.
CREATE FUNCTION ledger.judge_caps(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_caps jsonb := jsonb_build_object(
    'per_spend', p_item.details -> 'per_spend', 'per_hour', p_item.details -> 'per_hour',
    'per_day', p_item.details -> 'per_day', 'per_month', p_item.details -> 'per_month',
    'total', p_item.details -> 'total', 'paused', coalesce(p_item.details -> 'paused', 'false'));
  v_at timestamptz := greatest(p_now, p_book.last_posted_at + interval '1 microsecond');
BEGIN
  INSERT INTO ledger.spenders AS s
    (lane, organization_id, spender, per_spend, per_hour, per_day, per_month, total, paused, since,
     hour_start, day_start, month_start)
  VALUES (p_book.lane, p_book.organization_id, p_item.spender, (v_caps ->> 'per_spend')::bigint,
    (v_caps ->> 'per_hour')::bigint, (v_caps ->> 'per_day')::bigint, (v_caps ->> 'per_month')::bigint,
    (v_caps ->> 'total')::bigint, (v_caps ->> 'paused')::boolean, v_at,
    date_trunc('hour', v_at, 'UTC'), date_trunc('day', v_at, 'UTC'), date_trunc('month', v_at, 'UTC'))
  ON CONFLICT (lane, organization_id, spender) DO UPDATE
  SET per_spend = excluded.per_spend, per_hour = excluded.per_hour, per_day = excluded.per_day,
      per_month = excluded.per_month, total = excluded.total, paused = excluded.paused;
  RETURN ledger.posted('{}', jsonb_strip_nulls(v_caps), NULL);
END $$;
