-- Reversals: a payment's credits are taken back, given back, frozen. The payment is named by the grant that it made.
--
-- Of each lot, always: reversed = taken + held_reversed + owed + settled (a CHECK). Taking goes in the order unspent, held
-- (marked in the holds), expired, spent (owed); giving back goes the other way. So nobody keeps credits by holding and
-- voiding, and nobody loses more than was reversed.

-- Adds to the reversal columns of one lot, and to what the book owes.
CREATE FUNCTION ledger.change_reversal(
  p_book ledger.books, p_lot integer, p_reversed bigint DEFAULT 0, p_taken bigint DEFAULT 0,
  p_taken_expired bigint DEFAULT 0, p_held_reversed bigint DEFAULT 0, p_owed bigint DEFAULT 0,
  p_settled bigint DEFAULT 0, p_reissued bigint DEFAULT 0
) RETURNS void
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$ BEGIN
  UPDATE ledger.lots AS l
  SET reversed = l.reversed + p_reversed, taken = l.taken + p_taken, taken_expired = l.taken_expired + p_taken_expired,
      held_reversed = l.held_reversed + p_held_reversed, owed = l.owed + p_owed, settled = l.settled + p_settled,
      reissued = l.reissued + p_reissued
  WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = p_lot;
  IF p_owed <> 0 THEN
    UPDATE ledger.books AS b SET owed = b.owed + p_owed
    WHERE b.lane = p_book.lane AND b.organization_id = p_book.organization_id;
  END IF;
END $$;

-- The lot that the operation opened, of whatever kind it is; NULL columns when there is none.
CREATE FUNCTION ledger.lot_opened_by(p_book ledger.books, p_operation uuid) RETURNS ledger.lots
LANGUAGE sql STABLE
SET search_path = ledger, pg_temp
AS $$
  SELECT l FROM ledger.operations AS o
  JOIN ledger.lot_openings AS g ON g.lane = o.lane AND g.organization_id = o.organization_id AND g.seq = o.seq
  JOIN ledger.lots AS l ON l.lane = g.lane AND l.organization_id = g.organization_id AND l.lot = g.lot
  WHERE o.id = p_operation AND o.organization_id = p_book.organization_id
$$;

-- The paid lot that the grant opened; NULL columns when there is none.
CREATE FUNCTION ledger.lot_of_grant(p_book ledger.books, p_grant uuid) RETURNS ledger.lots
LANGUAGE sql STABLE
SET search_path = ledger, pg_temp
AS $$ SELECT l FROM ledger.lot_opened_by(p_book, p_grant) AS l WHERE l.cause = 'paid' $$;

-- Marks (p_sign 1) or unmarks (-1) up to p_amount of a lot's credits in open holds but p_except, in the order of the holds'
-- ids. The list of [hold, amount] that was changed is given back.
CREATE FUNCTION ledger.mark_holds(
  p_book ledger.books, p_lot integer, p_amount bigint, p_sign integer, p_except uuid DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_left bigint := p_amount;
  v_part bigint;
  v_hold ledger.holds;
  v_marked jsonb := '[]';
  n integer;
BEGIN
  FOR v_hold IN
    SELECT h.* FROM ledger.holds AS h
    WHERE h.lane = p_book.lane AND h.organization_id = p_book.organization_id AND h.open AND p_lot = ANY (h.lots)
      AND h.id IS DISTINCT FROM p_except
    ORDER BY h.id
  LOOP
    EXIT WHEN v_left = 0;
    n := array_position(v_hold.lots, p_lot);
    v_part := least(v_left, CASE p_sign WHEN 1 THEN v_hold.amounts[n] - v_hold.reversed_amounts[n]
                            ELSE v_hold.reversed_amounts[n] END);
    CONTINUE WHEN v_part = 0;
    UPDATE ledger.holds AS h
    SET reversed_amounts[n] = h.reversed_amounts[n] + p_sign * v_part, reversed = h.reversed + p_sign * v_part
    WHERE h.lane = p_book.lane AND h.organization_id = p_book.organization_id AND h.id = v_hold.id;
    v_marked := v_marked || jsonb_build_array(jsonb_build_array(v_hold.id, v_part));
    v_left := v_left - v_part;
  END LOOP;
  RETURN v_marked;
END $$;

CREATE FUNCTION ledger.judge_claw_back(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_lot ledger.lots := ledger.lot_of_grant(p_book, p_item.target);
  v_unspent bigint;
  v_held bigint;
  v_expired bigint;
  v_owed bigint;
  v_marked jsonb;
BEGIN
  IF v_lot.lot IS NULL THEN
    RETURN ledger.refused('grant_not_found');
  END IF;
  IF p_item.amount > v_lot.credits - v_lot.reversed THEN
    RETURN ledger.refused('exceeds_target');
  END IF;
  v_unspent := least(p_item.amount, v_lot.remaining);
  v_held := least(p_item.amount - v_unspent, v_lot.held - v_lot.held_reversed);
  -- What expired and came back in another lot was not lost to the payer: it counts as spent.
  v_expired := least(p_item.amount - v_unspent - v_held, v_lot.expired - v_lot.reissued);
  v_owed := p_item.amount - v_unspent - v_held - v_expired;
  v_marked := ledger.mark_holds(p_book, v_lot.lot, v_held, 1);
  PERFORM ledger.change_reversal(p_book, v_lot.lot, p_reversed => p_item.amount, p_taken => v_unspent + v_expired,
    p_taken_expired => v_expired, p_held_reversed => v_held, p_owed => v_owed);
  RETURN ledger.posted(
    ledger.line('clawed_back', 'wallet', v_lot.lot, v_unspent)
      || ledger.line('clawed_back', 'expired', v_lot.lot, v_expired),
    jsonb_build_object('lot', v_lot.lot, 'reversed', p_item.amount, 'held', v_marked, 'owed', v_owed), NULL);
END $$;

-- Marked credits of a hold are being consumed: what else the lot has is taken in their place, in the order of claw_back, and
-- only the rest is owed. So something of a lot is owed only when nothing of it remains and all that is held is marked. Gives
-- back the lines, and as terms [[lot, consumed, owed, [[hold, amount] …]]].
CREATE FUNCTION ledger.owe(p_book ledger.books, p_hold uuid, p_lot integer, p_consumed bigint) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_lot ledger.lots;
  v_unspent bigint;
  v_marked jsonb;
  v_held bigint;
  v_expired bigint;
  v_owed bigint;
BEGIN
  SELECT * INTO STRICT v_lot FROM ledger.lots AS l
  WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = p_lot;
  v_unspent := least(p_consumed, v_lot.remaining);
  v_marked := ledger.mark_holds(p_book, p_lot, p_consumed - v_unspent, 1, p_hold);
  SELECT coalesce(sum((m ->> 1)::bigint), 0) INTO v_held FROM jsonb_array_elements(v_marked) AS m;
  v_expired := least(p_consumed - v_unspent - v_held, v_lot.expired - v_lot.reissued);
  v_owed := p_consumed - v_unspent - v_held - v_expired;
  PERFORM ledger.change_reversal(p_book, p_lot, p_taken => v_unspent + v_expired, p_taken_expired => v_expired,
    p_held_reversed => v_held - p_consumed, p_owed => v_owed);
  RETURN ledger.posted(
    ledger.line('clawed_back', 'wallet', p_lot, v_unspent) || ledger.line('clawed_back', 'expired', p_lot, v_expired),
    jsonb_build_array(jsonb_build_array(p_lot, p_consumed, v_owed, v_marked)), NULL);
END $$;

CREATE FUNCTION ledger.judge_reinstate(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  c_days CONSTANT interval := interval '30 days'; -- docs/postings.md names it
  v_lot ledger.lots := ledger.lot_of_grant(p_book, p_item.target);
  v_source ledger.lots;
  v_left bigint := p_item.amount;
  v_owed bigint;
  v_settled jsonb := '[]';
  v_held bigint;
  v_taken bigint;
  v_part bigint;
  v_debt bigint;
  v_anew bigint := 0;
  v_marked jsonb;
  v_opened ledger.lot_openings;
  v_lines bigint[] := '{}';
  n integer;
BEGIN
  IF v_lot.lot IS NULL THEN
    RETURN ledger.refused('grant_not_found');
  END IF;
  IF p_item.amount > v_lot.reversed THEN
    RETURN ledger.refused('exceeds_target');
  END IF;
  v_owed := least(v_left, v_lot.owed);
  v_left := v_left - v_owed;

  -- What other lots paid for this one goes back to them, the last first.
  FOR n IN REVERSE cardinality(v_lot.settled_lots) .. 1 LOOP
    v_part := least(v_left, v_lot.settled_amounts[n]);
    CONTINUE WHEN v_part = 0;
    v_left := v_left - v_part;
    v_lot.settled_amounts[n] := v_lot.settled_amounts[n] - v_part;
    v_settled := v_settled || jsonb_build_array(jsonb_build_array(n, v_part));
    SELECT * INTO STRICT v_source FROM ledger.lots AS l
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = v_lot.settled_lots[n];
    v_debt := least(v_part, v_source.owed); -- stays taken, for the payment of that lot
    PERFORM ledger.change_reversal(p_book, v_source.lot, p_owed => -v_debt, p_taken => v_debt);
    v_part := v_part - v_debt;
    IF v_source.expires_at <= p_now THEN
      v_anew := v_anew + v_part;
      PERFORM ledger.change_reversal(p_book, v_source.lot, p_reissued => v_part);
      v_lines := v_lines || ledger.line('expired', 'clawed_back', v_source.lot, v_part);
    ELSE
      v_lines := v_lines || ledger.line('wallet', 'clawed_back', v_source.lot, v_part);
    END IF;
  END LOOP;
  UPDATE ledger.lots AS l SET settled_amounts = v_lot.settled_amounts
  WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = v_lot.lot;

  v_held := least(v_left, v_lot.held_reversed);
  v_left := v_left - v_held;
  v_marked := ledger.mark_holds(p_book, v_lot.lot, v_held, -1);

  v_taken := least(v_left, v_lot.taken - v_lot.taken_expired);
  v_left := v_left - v_taken;
  IF v_lot.expires_at <= p_now THEN
    v_anew := v_anew + v_taken;
    v_lines := v_lines || ledger.line('expired', 'clawed_back', v_lot.lot, v_taken)
      || ledger.line('expired', 'clawed_back', v_lot.lot, v_left);
  ELSE
    v_lines := v_lines || ledger.line('wallet', 'clawed_back', v_lot.lot, v_taken)
      || ledger.line('expired', 'clawed_back', v_lot.lot, v_left);
  END IF;
  PERFORM ledger.change_reversal(p_book, v_lot.lot, p_reversed => -p_item.amount, p_owed => -v_owed,
    p_settled => -(p_item.amount - v_owed - v_held - v_taken - v_left), p_held_reversed => -v_held,
    p_taken => -(v_taken + v_left), p_taken_expired => -v_left,
    p_reissued => CASE WHEN v_lot.expires_at <= p_now THEN v_taken ELSE 0 END);
  IF v_anew > 0 THEN
    v_opened := ledger.new_lot(p_book, 'correction', v_anew, NULL, NULL, p_now + c_days, 100::smallint);
    v_lines := v_lines || ledger.line('wallet', 'issued', v_opened.lot, v_anew);
  END IF;
  RETURN ledger.posted(v_lines, jsonb_build_object('lot', v_lot.lot, 'reinstated', p_item.amount, 'owed', v_owed,
    'settled', v_settled, 'held', v_marked, 'taken', v_taken, 'taken_expired', v_left), v_opened);
END $$;

-- Gives up what is owed for a payment. What was consumed stays consumed, and what is owed no longer counts as reversed.
CREATE FUNCTION ledger.judge_write_off(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_lot ledger.lots := ledger.lot_of_grant(p_book, p_item.target);
BEGIN
  IF v_lot.lot IS NULL THEN
    RETURN ledger.refused('grant_not_found');
  END IF;
  IF p_item.amount > v_lot.owed THEN
    RETURN ledger.refused('exceeds_target');
  END IF;
  PERFORM ledger.change_reversal(p_book, v_lot.lot, p_reversed => -p_item.amount, p_owed => -p_item.amount);
  RETURN ledger.posted('{}', jsonb_build_object('lot', v_lot.lot, 'written_off', p_item.amount), NULL);
END $$;

-- Settles up to p_amount of what the book owes out of one lot, the oldest debt first: the line, and who got how much.
CREATE FUNCTION ledger.settle_from(p_book ledger.books, p_source ledger.lots, p_amount bigint) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_left bigint := least(p_amount, p_source.remaining);
  v_part bigint;
  v_debt ledger.lots;
  v_settled jsonb := '[]';
BEGIN
  FOR v_debt IN
    SELECT l.* FROM ledger.lots AS l
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.owed > 0
    ORDER BY l.lot
  LOOP
    EXIT WHEN v_left = 0;
    v_part := least(v_left, v_debt.owed);
    v_left := v_left - v_part;
    UPDATE ledger.lots AS l
    SET settled_lots = l.settled_lots || p_source.lot, settled_amounts = l.settled_amounts || v_part
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = v_debt.lot;
    PERFORM ledger.change_reversal(p_book, v_debt.lot, p_owed => -v_part, p_settled => v_part);
    v_settled := v_settled || jsonb_build_array(jsonb_build_array(v_debt.lot, p_source.lot, v_part));
  END LOOP;
  RETURN v_settled;
END $$;

-- Settles owed credits from what is paid for and unspent, in burn order, at most the amount asked for.
CREATE FUNCTION ledger.judge_settle_owed(p_book ledger.books, p_item ledger.item, p_now timestamptz)
RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_source ledger.lots;
  v_left bigint := least(p_item.amount, p_book.owed, p_book.paid);
  v_settled jsonb;
  v_all jsonb := '[]';
  v_part bigint;
  v_lines bigint[] := '{}';
BEGIN
  IF v_left = 0 THEN
    RETURN ledger.refused('nothing_to_settle');
  END IF;
  FOR v_source IN
    SELECT l.* FROM ledger.lots AS l
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.open AND NOT l.frozen
      AND l.cause = 'paid'
    ORDER BY l.priority, l.expires_at, l.lot
  LOOP
    EXIT WHEN v_left = 0;
    v_settled := ledger.settle_from(p_book, v_source, v_left);
    SELECT coalesce(sum((s ->> 2)::bigint), 0) INTO v_part FROM jsonb_array_elements(v_settled) AS s;
    v_left := v_left - v_part;
    v_all := v_all || v_settled;
    v_lines := v_lines || ledger.line('clawed_back', 'wallet', v_source.lot, v_part);
  END LOOP;
  RETURN ledger.posted(v_lines, jsonb_build_object('settled', v_all), NULL);
END $$;

-- After a paid grant: what is owed is settled from the lot that it opened, as an operation of its own.
CREATE FUNCTION ledger.settle_from_grant(p_lane smallint, p_grant ledger.operations, p_now timestamptz) RETURNS void
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_book ledger.books;
  v_lot ledger.lots;
  v_settled jsonb;
BEGIN
  SELECT * INTO STRICT v_book FROM ledger.books
  WHERE lane = p_lane AND organization_id = p_grant.organization_id;
  v_lot := ledger.lot_of_grant(v_book, p_grant.id);
  IF v_book.owed = 0 OR v_lot.lot IS NULL THEN
    RETURN;
  END IF;
  v_settled := ledger.settle_from(v_book, v_lot, v_book.owed);
  PERFORM ledger.write_operation(p_lane,
    ledger.own_item(v_book, 'settle_owed', 'settle_owed:' || p_grant.id,
      coalesce(p_grant.event_at, p_grant.posted_at), p_grant.id),
    ledger.posted(ledger.line('clawed_back', 'wallet', v_lot.lot, (SELECT sum((s ->> 2)::bigint)
                                                                   FROM jsonb_array_elements(v_settled) AS s)::bigint),
                  jsonb_build_object('settled', v_settled), NULL), p_now);
END $$;

-- Freezing stops spending, not the clock: a frozen lot expires when its time has come. Any lot can be frozen, also one that
-- was given away or that credits came back in; it is named by the operation that opened it.
CREATE FUNCTION ledger.judge_freeze(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_lot ledger.lots := ledger.lot_opened_by(p_book, p_item.target);
  v_freeze boolean := p_item.kind = 'freeze';
  v_change bigint := CASE WHEN v_freeze THEN v_lot.remaining ELSE -v_lot.remaining END;
BEGIN
  IF v_lot.lot IS NULL THEN
    RETURN ledger.refused('grant_not_found');
  END IF;
  IF v_lot.frozen <> v_freeze THEN
    UPDATE ledger.lots AS l SET frozen = v_freeze
    WHERE l.lane = p_book.lane AND l.organization_id = p_book.organization_id AND l.lot = v_lot.lot;
    UPDATE ledger.books AS b
    SET frozen = b.frozen + v_change, paid = b.paid - CASE v_lot.cause WHEN 'paid' THEN v_change ELSE 0 END
    WHERE b.lane = p_book.lane AND b.organization_id = p_book.organization_id;
  END IF;
  RETURN ledger.posted('{}', jsonb_build_object('lot', v_lot.lot), NULL);
END $$;
