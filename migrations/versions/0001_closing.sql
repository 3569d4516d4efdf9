-- Periods: up to which day a book is closed. What comes later gets the first open day, whatever day it happened on.

-- A new book is closed as far as the platform's book is, so that nothing of a closed month can come into it. The lock is
-- shared by all that open books: a walk that has closed the platform's book takes it alone once, and so waits for those
-- who have read the platform's row before. finance/closing/walking.py has the same number.
CREATE FUNCTION ledger.judge_opening(p_book ledger.books) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_through date;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1330660686);
  SELECT b.closed_through INTO v_through FROM ledger.books AS b
  WHERE b.lane = p_book.lane AND b.organization_id = '00000000-0000-7000-8000-000000000000';
  IF v_through IS NULL THEN
    RETURN ledger.posted('{}', NULL, NULL);
  END IF;
  UPDATE ledger.books AS b SET closed_through = v_through
  WHERE b.lane = p_book.lane AND b.organization_id = p_book.organization_id;
  RETURN ledger.posted('{}', jsonb_build_object('closed_through', v_through), NULL);
END $$;

-- `close` moves the end of what is closed forward, `reopen` moves it back; the deadline is the first moment that is open, at
-- midnight UTC. A day that is not over is never closed.
CREATE FUNCTION ledger.judge_closing(p_book ledger.books, p_item ledger.item, p_now timestamptz) RETURNS ledger.judged
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_through date := (p_item.deadline AT TIME ZONE 'UTC')::date - 1;
BEGIN
  IF (p_item.deadline AT TIME ZONE 'UTC' = v_through + 1) IS NOT TRUE THEN
    RAISE EXCEPTION 'a period ends at midnight UTC' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF p_item.kind = 'close' AND p_item.deadline > p_now THEN
    RETURN ledger.refused('period_not_over');
  ELSIF p_item.kind = 'close' AND v_through <= p_book.closed_through THEN
    RETURN ledger.refused('period_closed');
  ELSIF p_item.kind = 'reopen' AND (v_through < p_book.closed_through) IS NOT TRUE THEN
    RETURN ledger.refused('period_open');
  END IF;
  UPDATE ledger.books AS b SET closed_through = v_through
  WHERE b.lane = p_book.lane AND b.organization_id = p_book.organization_id;
  RETURN ledger.posted('{}', jsonb_build_object('closed_through', v_through), NULL);
END $$;
