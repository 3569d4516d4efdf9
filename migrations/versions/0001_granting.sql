-- Credits that come, come back, or run out: grants, refunds of spends, and what falls due.

-- The lines of transfers of money: [[debit, credit, amount] …].
CREATE FUNCTION ledger.money_lines(p_transfers jsonb) RETURNS bigint[]
LANGUAGE sql STABLE
SET search_path = ledger, pg_temp
AS $$
  SELECT coalesce(array_agg(number ORDER BY t.at, line.at), '{}')
  FROM jsonb_array_elements(p_transfers) WITH ORDINALITY AS t (transfer, at)
  CROSS JOIN LATERAL unnest(ledger.line(t.transfer ->> 0, t.transfer ->> 1, NULL, (t.transfer ->> 2)::bigint))
       WITH ORDINALITY AS line (number, at)
$$;

-- A promotional grant joins an open lot of the same terms, so that many small gifts do not make every spend slow.
CREATE FUNCTION ledger.judge_grant(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_lot jsonb := p_item.details -> 'lot';
  v_expires_at timestamptz := (v_lot ->> 'expires_at')::timestamptz;
  v_opened ledger.lot_openings;
  v_joined integer;
BEGIN
  IF v_expires_at <= p_now AND v_lot ->> 'cause' <> 'paid' THEN
    RETURN ledger.refused('expires_in_the_past');
  END IF;
  IF p_book.issued + (v_lot ->> 'credits')::bigint > 9007199254740991 AND v_lot ->> 'cause' <> 'paid' THEN
    RETURN ledger.refused('too_many_credits'); -- for a reader of JSON; what was paid for is never refused
  END IF;
  -- Two statements, because only these two find their rows in the index of the burn order.
  IF v_lot ->> 'cause' = 'promotional' AND v_expires_at IS NULL THEN
    SELECT l.lot INTO v_joined FROM ledger.lots AS l
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.open AND NOT l.frozen
      AND l.priority = (v_lot ->> 'priority')::smallint AND l.expires_at IS NULL AND l.cause = 'promotional'
    ORDER BY l.lot LIMIT 1;
  ELSIF v_lot ->> 'cause' = 'promotional' THEN
    SELECT l.lot INTO v_joined FROM ledger.lots AS l
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.open AND NOT l.frozen
      AND l.priority = (v_lot ->> 'priority')::smallint AND l.expires_at = v_expires_at AND l.cause = 'promotional'
    ORDER BY l.lot LIMIT 1;
  END IF;
  IF v_joined IS NULL THEN
    v_opened := ledger.new_lot(p_book, v_lot ->> 'cause', (v_lot ->> 'credits')::bigint,
      (v_lot ->> 'basis_amount')::bigint, v_lot ->> 'basis_currency', v_expires_at, (v_lot ->> 'priority')::smallint);
  END IF;
  RETURN ledger.posted(
    ledger.line('wallet', 'issued', coalesce(v_joined, v_opened.lot), (v_lot ->> 'credits')::bigint)
      || ledger.money_lines(p_item.details -> 'transfers'),
    p_item.details -> 'terms', v_opened);
END $$;

-- Gives back what a spend or a capture consumed, its last line first. What is still owed for a reversed payment is lowered
-- before anything comes back; what belongs to a lot that has expired comes back in a new lot.
CREATE FUNCTION ledger.judge_spend_refund(p_book ledger.books, p_item ledger.item, p_now timestamptz)
RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  c_days CONSTANT interval := interval '30 days'; -- docs/postings.md names it
  v_spend ledger.operations;
  v_back bigint[];
  v_left bigint := p_item.amount;
  v_part bigint;
  v_lowered bigint;
  v_lot ledger.lots;
  v_anew bigint := 0;
  v_opened ledger.lot_openings;
  v_lines bigint[] := '{}';
  n integer;
BEGIN
  SELECT * INTO v_spend FROM ledger.operations
  WHERE id = p_item.target AND organization_id = p_book.organization_id
    AND kind IN ('spend', 'capture') AND outcome = 'posted';
  IF NOT FOUND THEN
    RETURN ledger.refused('spend_not_found');
  END IF;
  SELECT r.amounts INTO v_back FROM ledger.spend_refunds AS r
  WHERE r.lane = p_book.lane AND r.organization_id = p_book.organization_id AND r.id = p_item.target;
  v_back := coalesce(v_back, array_fill(0::bigint, ARRAY[cardinality(v_spend.lines) / 6]));
  IF p_item.amount > (SELECT sum(v_spend.lines[6 * l - 2] - v_back[l])
                      FROM generate_series(1, cardinality(v_back)) AS l WHERE v_spend.lines[6 * l - 5] = 4) THEN
    RETURN ledger.refused('exceeds_target');
  END IF;
  FOR n IN REVERSE cardinality(v_spend.lines) / 6 .. 1 LOOP
    CONTINUE WHEN v_spend.lines[6 * n - 5] <> 4 OR v_left = 0;
    v_part := least(v_left, v_spend.lines[6 * n - 2] - v_back[n]);
    CONTINUE WHEN v_part = 0;
    v_back[n] := v_back[n] + v_part;
    v_left := v_left - v_part;
    SELECT * INTO STRICT v_lot FROM ledger.lots
    WHERE lane = p_book.lane AND organization_id = p_book.organization_id AND lot = v_spend.lines[6 * n - 3];
    v_lowered := least(v_part, v_lot.owed);
    IF v_lowered > 0 THEN
      PERFORM ledger.change_reversal(p_book, v_lot.lot, p_owed => -v_lowered, p_taken => v_lowered);
      v_lines := v_lines || ledger.line('clawed_back', 'consumed', v_lot.lot, v_lowered);
    END IF;
    IF v_lot.expires_at <= p_now THEN
      v_anew := v_anew + v_part - v_lowered;
      PERFORM ledger.change_reversal(p_book, v_lot.lot, p_reissued => v_part - v_lowered);
      v_lines := v_lines || ledger.line('expired', 'consumed', v_lot.lot, v_part - v_lowered);
    ELSE
      v_lines := v_lines || ledger.line('wallet', 'consumed', v_lot.lot, v_part - v_lowered);
    END IF;
  END LOOP;
  IF v_anew > 0 THEN
    v_opened := ledger.new_lot(p_book, 'correction', v_anew, NULL, NULL, p_now + c_days, 100::smallint);
    v_lines := v_lines || ledger.line('wallet', 'issued', v_opened.lot, v_anew);
  END IF;
  INSERT INTO ledger.spend_refunds VALUES (p_book.lane, p_book.organization_id, p_item.target, v_back)
  ON CONFLICT (lane, organization_id, id) DO UPDATE SET amounts = excluded.amounts;
  -- A capture was charged when its hold was made, to whom the hold was made for.
  SELECT h.spender, h.made_at INTO v_spend.spender, v_spend.posted_at FROM ledger.holds AS h
  WHERE h.lane = p_book.lane AND h.organization_id = p_book.organization_id AND h.id = v_spend.target
  UNION ALL SELECT v_spend.spender, v_spend.posted_at WHERE v_spend.kind = 'spend';
  PERFORM ledger.uncharge(p_book, v_spend.spender, p_item.amount, v_spend.posted_at);
  RETURN ledger.posted(v_lines, NULL, v_opened);
END $$;

-- Posts what has fallen due in one locked book, holds before lots, at most p_bound of it. Says how much, and if more is left.
CREATE FUNCTION ledger.post_due(
  p_lane smallint, p_organization uuid, p_now timestamptz, p_bound integer, OUT posted integer, OUT more boolean
)
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_hold ledger.holds;
  v_lot ledger.lots;
  v_book ledger.books;
  v_next timestamptz;
BEGIN
  -- Money time never goes back in a book, whatever the clock does.
  posted := 0;
  SELECT greatest(p_now, b.last_posted_at) INTO p_now FROM ledger.books AS b
  WHERE b.lane = p_lane AND b.organization_id = p_organization;
  FOR v_hold IN
    SELECT h.* FROM ledger.holds AS h
    WHERE h.lane = p_lane AND h.organization_id = p_organization AND h.open AND h.deadline <= p_now
    ORDER BY h.deadline, h.id LIMIT p_bound
  LOOP
    SELECT * INTO STRICT v_book FROM ledger.books WHERE lane = p_lane AND organization_id = p_organization;
    PERFORM ledger.write_operation(p_lane,
      ledger.own_item(v_book, 'hold_expiry', 'hold_expiry:' || v_hold.id, v_hold.deadline, v_hold.id),
      ledger.posted(ledger.release_hold(v_book, v_hold, 'expired', v_hold.deadline), NULL, NULL), p_now);
    posted := posted + 1;
  END LOOP;
  FOR v_lot IN
    SELECT l.* FROM ledger.lots AS l
    WHERE l.lane = p_lane AND l.organization_id = p_organization AND l.open AND l.expires_at <= p_now
      AND posted < p_bound
    ORDER BY l.expires_at, l.lot LIMIT p_bound - posted
  LOOP
    SELECT * INTO STRICT v_book FROM ledger.books WHERE lane = p_lane AND organization_id = p_organization;
    PERFORM ledger.write_operation(p_lane,
      ledger.own_item(v_book, 'lot_expiry', 'lot_expiry:' || v_lot.lot, v_lot.expires_at, NULL),
      ledger.posted(ledger.line('expired', 'wallet', v_lot.lot, v_lot.remaining), NULL, NULL), p_now);
    posted := posted + 1;
  END LOOP;
  SELECT least((SELECT min(h.deadline) FROM ledger.holds AS h
                WHERE h.lane = p_lane AND h.organization_id = p_organization AND h.open),
               (SELECT min(l.expires_at) FROM ledger.lots AS l
                WHERE l.lane = p_lane AND l.organization_id = p_organization AND l.open AND l.expires_at IS NOT NULL))
  INTO v_next;
  UPDATE ledger.books AS b SET next_due_at = v_next WHERE b.lane = p_lane AND b.organization_id = p_organization;
  more := coalesce(v_next <= p_now, false);
END $$;

-- What the books post by themselves.
CREATE FUNCTION ledger.own_item(
  p_book ledger.books, p_kind text, p_key text, p_event_at timestamptz, p_target uuid
) RETURNS ledger.item
LANGUAGE sql STABLE
AS $$
  SELECT ROW(p_book.organization_id, ledger.operation_id(p_book.organization_id, ledger.system_scope(), p_key), p_kind,
             ledger.system_scope(), p_key, substr(sha256(convert_to(p_key, 'UTF8')), 1, 16), p_event_at, p_kind,
             NULL, 0, p_target, NULL, NULL, NULL)::ledger.item
$$;
