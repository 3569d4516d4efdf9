-- The one function that writes the books. Its order is a correctness requirement:
--   1. refuse arrays that do not fit together;
--   2. lock the books in the order of their ids, in one statement (a sorted list alone does not order the locks);
--   3. post what has fallen due in them;
--   4. look operations up by key in a new statement, so that a concurrent duplicate is visible after the lock;
--   5. evaluate the items in order: spends and holds in runs (0001_spending.sql), the rest one by one, groups inside a
--      subtransaction that undoes them whole;
--   6. write. An expected "no" is a result; only a broken invariant raises.
-- seq, posted_at and the chain are taken under the book's lock, so they are gapless and in commit order. now() is the
-- start of the transaction and is never used.
-- Plans are made once a session: planning a batch of one or two anew took PostgreSQL a third of their time, and it went on
-- doing so for larger ones. No plan may rest on how many items there are, or on what a table held when it was made.

-- One item whose book is locked, of any kind but spend and hold.
CREATE FUNCTION ledger.post_one(p_lane smallint, p_now timestamptz, p_item ledger.item) RETURNS ledger.answer
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_book ledger.books;
  v_found ledger.operations;
  v_judged ledger.judged;
  v_now timestamptz;
BEGIN
  SELECT * INTO v_found FROM ledger.operations WHERE id = p_item.id;
  IF FOUND AND v_found.fingerprint <> p_item.fingerprint THEN
    RETURN ROW(NULL, 'exists_with_different_content', false, NULL, NULL, NULL, NULL, NULL, NULL)::ledger.answer;
  END IF;
  IF FOUND THEN
    RETURN ledger.answered(v_found, true);
  END IF;
  SELECT * INTO STRICT v_book FROM ledger.books WHERE lane = p_lane AND organization_id = p_item.organization_id;
  v_now := greatest(p_now, v_book.last_posted_at);
  v_judged := CASE p_item.kind
    WHEN 'opening' THEN ledger.judge_opening(v_book)
    WHEN 'grant' THEN ledger.judge_grant(v_book, p_item, v_now)
    WHEN 'money' THEN ledger.posted(ledger.money_lines(p_item.details -> 'transfers'), NULL, NULL)
    WHEN 'capture' THEN ledger.judge_capture(v_book, p_item, v_now)
    WHEN 'void' THEN ledger.judge_void(v_book, p_item, v_now)
    WHEN 'extend' THEN ledger.judge_extend(v_book, p_item, v_now)
    WHEN 'spend_refund' THEN ledger.judge_spend_refund(v_book, p_item, v_now)
    WHEN 'claw_back' THEN ledger.judge_claw_back(v_book, p_item, v_now)
    WHEN 'reinstate' THEN ledger.judge_reinstate(v_book, p_item, v_now)
    WHEN 'settle_owed' THEN ledger.judge_settle_owed(v_book, p_item, v_now)
    WHEN 'write_off' THEN ledger.judge_write_off(v_book, p_item, v_now)
    WHEN 'freeze' THEN ledger.judge_freeze(v_book, p_item, v_now)
    WHEN 'unfreeze' THEN ledger.judge_freeze(v_book, p_item, v_now)
    WHEN 'set_caps' THEN ledger.judge_caps(v_book, p_item, v_now)
    WHEN 'close' THEN ledger.judge_closing(v_book, p_item, v_now)
    WHEN 'reopen' THEN ledger.judge_closing(v_book, p_item, v_now) END;
  IF v_judged.outcome IS NULL THEN
    RAISE EXCEPTION 'no operation is of the kind %', p_item.kind USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF v_judged.outcome <> 'posted' THEN
    RETURN ROW(NULL, v_judged.outcome, false, NULL, NULL, NULL, NULL, NULL, NULL)::ledger.answer;
  END IF;
  v_found := ledger.write_operation(p_lane, p_item, v_judged, v_now);
  IF p_item.kind = 'grant' AND v_book.owed > 0 THEN
    PERFORM ledger.settle_from_grant(p_lane, v_found, v_now);
  END IF;
  IF (p_item.details -> 'lot' ->> 'expires_at')::timestamptz <= v_now THEN
    PERFORM ledger.post_due(p_lane, p_item.organization_id, v_now, 1); -- paid for so late that it has expired already
  END IF;
  RETURN ledger.answered(v_found, false);
END $$;

CREATE FUNCTION ledger.answered(p_operation ledger.operations, p_replayed boolean) RETURNS ledger.answer
LANGUAGE sql IMMUTABLE
AS $$
  SELECT ROW(NULL, p_operation.outcome, p_replayed, p_operation.seq, p_operation.posted_at, p_operation.accounting_date,
             p_operation.available_after, p_operation.held_after, p_operation.paid_after)::ledger.answer
$$;

-- For items that cannot be posted now: the stored answers of those that were posted before, p_outcome for the others.
CREATE FUNCTION ledger.replays_or(p_outcome text, p_items ledger.item[]) RETURNS ledger.answer[]
LANGUAGE sql STABLE
SET search_path = ledger, pg_temp
AS $$
  SELECT array_agg(CASE WHEN o.fingerprint = i.fingerprint THEN ledger.answered(o, true)
      ELSE ROW(NULL, CASE WHEN o.id IS NULL THEN p_outcome ELSE 'exists_with_different_content' END, false,
               NULL, NULL, NULL, NULL, NULL, NULL)::ledger.answer END ORDER BY i.at)
  FROM unnest(p_items) WITH ORDINALITY
       AS i (organization_id, id, kind, scope, key, fingerprint, event_at, cause, spender, amount, target, deadline,
             final, details, at)
  LEFT JOIN ledger.operations AS o ON o.id = i.id
$$;

-- Items of locked books, in order: the longest runs of spends and holds whose ids are all different, and single others.
CREATE FUNCTION ledger.post_items(p_lane smallint, p_now timestamptz, p_items ledger.item[]) RETURNS ledger.answer[]
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_answers ledger.answer[] := '{}';
  v_run ledger.answer[];
  v_ids uuid[];
  v_from integer := 1;
  v_to integer;
  n integer;
BEGIN
  WHILE v_from <= cardinality(p_items) LOOP
    v_to := v_from;
    IF (p_items[v_from]).kind IN ('spend', 'hold') THEN
      v_ids := '{}';
      WHILE (p_items[v_to]).kind IN ('spend', 'hold') AND (p_items[v_to]).id <> ALL (v_ids) LOOP
        v_ids := v_ids || (p_items[v_to]).id;
        v_to := v_to + 1;
      END LOOP;
      SELECT ledger.post_spending(p_lane, p_now, array_agg(t.organization_id ORDER BY at), array_agg(t.id ORDER BY at),
        array_agg(t.kind ORDER BY at), array_agg(t.scope ORDER BY at), array_agg(t.key ORDER BY at),
        array_agg(t.fingerprint ORDER BY at), array_agg(t.event_at ORDER BY at), array_agg(t.cause ORDER BY at),
        array_agg(t.spender ORDER BY at), array_agg(t.amount ORDER BY at), array_agg(t.deadline ORDER BY at))
      INTO v_run
      FROM unnest(p_items[v_from : v_to - 1]) WITH ORDINALITY
           AS t (organization_id, id, kind, scope, key, fingerprint, event_at, cause, spender, amount, target, deadline,
                 final, details, at);
    ELSE
      v_run := ARRAY[ledger.post_one(p_lane, p_now, p_items[v_from])];
      v_to := v_from + 1;
    END IF;
    v_answers := v_answers || v_run;
    v_from := v_to;
  END LOOP;
  RETURN v_answers;
END $$;

-- Items that stand or fall together. When one is refused, nothing of the others stays; its refusal is frozen if that kind
-- of refusal is, so that the same group is answered alike for ever.
CREATE FUNCTION ledger.post_group(p_lane smallint, p_now timestamptz, p_items ledger.item[]) RETURNS ledger.answer[]
LANGUAGE plpgsql
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_answers ledger.answer[];
  v_refused integer;
  v_refusal ledger.answer;
BEGIN
  -- Asked before and refused: the same answers, whatever the balance is now. What of it is posted says so.
  v_answers := ledger.replays_or('group_refused', p_items);
  IF EXISTS (SELECT FROM unnest(v_answers) AS a
             WHERE a.replayed AND a.outcome <> 'posted' OR a.outcome = 'exists_with_different_content') THEN
    RETURN v_answers;
  END IF;
  BEGIN
    v_answers := ledger.post_items(p_lane, p_now, p_items);
    FOR v_refused IN 1 .. cardinality(v_answers) LOOP
      IF (v_answers[v_refused]).outcome <> 'posted' THEN
        v_refusal := v_answers[v_refused];
        RAISE EXCEPTION USING ERRCODE = 'PU001', MESSAGE = 'a group is undone';
      END IF;
    END LOOP;
    RETURN v_answers;
  EXCEPTION WHEN SQLSTATE 'PU001' THEN
    v_refused := 1;
    WHILE (v_answers[v_refused]).outcome = 'posted' LOOP
      v_refused := v_refused + 1;
    END LOOP;
  END;
  v_answers := ledger.replays_or('group_refused', p_items);
  IF NOT v_refusal.replayed AND ledger.freezes_key(v_refusal.outcome)
     AND (p_items[v_refused]).scope <> ledger.system_scope() THEN
    v_refusal := ledger.answered(ledger.write_operation(p_lane, p_items[v_refused],
      ROW(v_refusal.outcome, '{}'::bigint[], NULL, NULL::ledger.lot_openings)::ledger.judged, p_now), false);
  ELSIF NOT v_refusal.replayed THEN
    v_refusal := ROW(NULL, v_refusal.outcome, false, NULL, NULL, NULL, NULL, NULL, NULL)::ledger.answer;
  END IF;
  v_answers[v_refused] := v_refusal;
  RETURN v_answers;
END $$;

-- Why a batch is refused whose items are not all sound. They come from outside, so post_v1 does not rest on a caller's care.
CREATE FUNCTION ledger.refuse_batch(
  p_kinds text[], p_amounts bigint[], p_spenders uuid[], p_groups integer[], p_organizations uuid[]
) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_why text := 'an item names its book, kind, amount and group';
BEGIN
  FOR n IN 1 .. cardinality(p_kinds) LOOP
    IF p_amounts[n] NOT BETWEEN ledger.least_amount(p_kinds[n]) AND 9007199254740991 THEN
      v_why := format('a %s is of 1 credit or more', p_kinds[n]);
    ELSIF p_organizations[n] < p_organizations[n - 1] THEN
      v_why := 'items are not sorted by book';
    ELSIF p_kinds[n] = 'set_caps' AND p_spenders[n] IS NULL THEN
      v_why := 'caps belong to a spender';
    END IF;
  END LOOP;
  RAISE EXCEPTION '%', v_why USING ERRCODE = 'invalid_parameter_value';
END $$;

CREATE FUNCTION ledger.least_amount(p_kind text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE WHEN p_kind IN ('spend', 'hold', 'capture', 'spend_refund', 'claw_back', 'reinstate', 'settle_owed',
                              'write_off') THEN 1 ELSE 0 END::bigint
$$;

-- Groups stand together in one book, and lots and transfers are sound. Most batches have neither.
CREATE FUNCTION ledger.require_sound_rest(p_kinds text[], p_groups integer[], p_organizations uuid[], p_details jsonb[])
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = ledger, pg_temp
AS $$ BEGIN
  FOR n IN 1 .. cardinality(p_kinds) LOOP
    IF p_groups[n] > 0 AND p_groups[n] = ANY (p_groups[: n - 1])
       AND (p_groups[n], p_organizations[n]) <> (p_groups[n - 1], p_organizations[n - 1]) THEN
      RAISE EXCEPTION 'a group stays in one book, and stands together' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_kinds[n] IN ('grant', 'money') THEN
      PERFORM ledger.require_sound_details(p_kinds[n], p_details[n]);
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION ledger.require_sound_details(p_kind text, p_details jsonb) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = ledger, pg_temp
AS $$
DECLARE
  v_lot jsonb := p_details -> 'lot';
BEGIN
  IF p_kind = 'money' AND (v_lot IS NULL AND jsonb_array_length(p_details -> 'transfers') > 0) IS NOT TRUE THEN
    RAISE EXCEPTION 'a money operation has transfers and no lot' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF p_kind = 'grant' AND ((v_lot ->> 'credits')::bigint BETWEEN 1 AND 9007199254740991
                            AND v_lot ->> 'cause' IN ('paid', 'promotional', 'correction')
                            AND (v_lot ->> 'priority')::smallint IS NOT NULL) IS NOT TRUE THEN
    RAISE EXCEPTION 'a grant is of a lot with a cause, a priority and 1 credit or more'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF EXISTS (SELECT FROM jsonb_array_elements(coalesce(p_details -> 'transfers', '[]')) AS t
             WHERE NOT EXISTS (SELECT FROM ledger.chart AS d JOIN ledger.chart AS c USING (currency)
                               WHERE d.code = t ->> 0 AND c.code = t ->> 1 AND d.code <> c.code
                                 AND d.currency <> 'CREDIT')
                OR ((t ->> 2)::bigint BETWEEN 1 AND 9007199254740991) IS NOT TRUE) THEN
    RAISE EXCEPTION 'a transfer moves a positive amount between two money accounts of one currency'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
END $$;

CREATE FUNCTION ledger.post_v1(
  p_lane smallint, p_organizations uuid[], p_kinds text[], p_scopes uuid[], p_keys text[], p_fingerprints bytea[],
  p_event_ats timestamptz[], p_causes text[], p_spenders uuid[], p_amounts bigint[], p_targets uuid[],
  p_deadlines timestamptz[], p_finals boolean[], p_groups integer[], p_details jsonb[], p_wait boolean
) RETURNS TABLE (
  item integer, outcome text, replayed boolean, seq bigint, posted_at timestamptz, accounting_date date,
  available_after bigint, held_after bigint, paid_after bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ledger, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  c_due CONSTANT integer := 100;
  v_due_left integer := 1000;
  v_due_done record;
  v_locked uuid[];
  v_last_ats timestamptz[];
  v_due_ats timestamptz[];
  v_due uuid;
  v_now timestamptz;
  v_behind uuid[] := '{}';
  v_ids uuid[];
  v_different integer;
  v_books integer;
  v_sound boolean;
  v_plain boolean;
  v_opening boolean;
  v_items ledger.item[];
  v_together integer[];
  v_run ledger.answer[];
  v_answers ledger.answer[] := '{}';
  v_blocked text;
  v_from integer := 1;
  v_to integer;
BEGIN
  IF (cardinality(p_organizations) = ALL (ARRAY[cardinality(p_kinds), cardinality(p_scopes), cardinality(p_keys),
       cardinality(p_fingerprints), cardinality(p_event_ats), cardinality(p_causes), cardinality(p_spenders),
       cardinality(p_amounts), cardinality(p_targets), cardinality(p_deadlines), cardinality(p_finals),
       cardinality(p_groups), cardinality(p_details)])) IS NOT TRUE THEN
    RAISE EXCEPTION 'arrays are of different lengths' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT array_agg(i.id ORDER BY i.n), count(DISTINCT i.id), count(DISTINCT i.book), bool_and(i.sound IS TRUE),
         bool_and(i.kind IN ('spend', 'hold') AND i.grouped = 0), bool_or(i.kind = 'opening')
  INTO v_ids, v_different, v_books, v_sound, v_plain, v_opening
  FROM (SELECT n, p_organizations[n] AS book, p_kinds[n] AS kind, p_groups[n] AS grouped,
               ledger.operation_id(p_organizations[n], p_scopes[n], p_keys[n]) AS id,
               p_amounts[n] BETWEEN ledger.least_amount(p_kinds[n]) AND 9007199254740991 AND p_groups[n] >= 0
               AND (n = 1 OR p_organizations[n] >= p_organizations[n - 1])
               AND (p_kinds[n] <> 'set_caps' OR p_spenders[n] IS NOT NULL) AS sound
        FROM generate_subscripts(p_organizations, 1) AS n OFFSET 0) AS i;
  IF NOT v_sound THEN
    PERFORM ledger.refuse_batch(p_kinds, p_amounts, p_spenders, p_groups, p_organizations);
  END IF;
  IF NOT v_plain THEN
    PERFORM ledger.require_sound_rest(p_kinds, p_groups, p_organizations, p_details);
  END IF;

  IF v_opening THEN
    INSERT INTO ledger.books (lane, organization_id)
    SELECT p_lane, opening.organization_id
    FROM (SELECT DISTINCT p_organizations[n] AS organization_id
          FROM generate_subscripts(p_kinds, 1) AS n WHERE p_kinds[n] = 'opening') AS opening
    ORDER BY opening.organization_id
    ON CONFLICT DO NOTHING;
  END IF;
  IF p_wait THEN
    SELECT coalesce(array_agg(b.organization_id), '{}'), array_agg(b.next_due_at), array_agg(b.last_posted_at)
    INTO v_locked, v_due_ats, v_last_ats
    FROM (SELECT b.organization_id, b.next_due_at, b.last_posted_at FROM ledger.books AS b
          WHERE b.lane = p_lane AND b.organization_id = ANY (p_organizations)
          ORDER BY b.organization_id FOR NO KEY UPDATE) AS b;
  ELSE
    SELECT coalesce(array_agg(b.organization_id), '{}'), array_agg(b.next_due_at), array_agg(b.last_posted_at)
    INTO v_locked, v_due_ats, v_last_ats
    FROM (SELECT b.organization_id, b.next_due_at, b.last_posted_at FROM ledger.books AS b
          WHERE b.lane = p_lane AND b.organization_id = ANY (p_organizations)
          ORDER BY b.organization_id FOR NO KEY UPDATE SKIP LOCKED) AS b;
  END IF;
  v_now := ledger.clock();
  IF array_remove(v_due_ats, NULL) <> '{}' THEN
    FOR v_due IN
      SELECT d.book FROM unnest(v_locked, v_due_ats, v_last_ats) AS d (book, at, last_at)
      WHERE d.at <= greatest(v_now, d.last_at) ORDER BY d.book
    LOOP
      v_due_done := ledger.post_due(p_lane, v_due, v_now, least(c_due, v_due_left));
      v_due_left := v_due_left - v_due_done.posted;
      IF v_due_done.more THEN
        v_behind := v_behind || v_due;
      END IF;
    END LOOP;
  END IF;

  IF v_plain AND v_behind = '{}' AND cardinality(v_locked) = v_books AND v_different = cardinality(v_ids) THEN
    v_answers := ledger.post_spending(p_lane, v_now, p_organizations, v_ids, p_kinds, p_scopes, p_keys, p_fingerprints,
      p_event_ats, p_causes, p_spenders, p_amounts, p_deadlines);
  ELSE
    v_answers := array_fill(NULL::ledger.answer, ARRAY[cardinality(p_organizations)]);
    -- Books with nothing but spends and holds, each once, still go together; one odd item costs its own book only.
    SELECT coalesce(array_agg(b.n ORDER BY b.n), '{}') INTO v_together
    FROM (SELECT i.n, bool_and(i.plain) OVER (PARTITION BY p_organizations[i.n]) AS plain
          FROM (SELECT n, p_kinds[n] IN ('spend', 'hold') AND p_groups[n] = 0
                          AND row_number() OVER (PARTITION BY v_ids[n]) = 1 AS plain
                FROM generate_subscripts(p_organizations, 1) AS n) AS i) AS b
    WHERE b.plain AND p_organizations[b.n] = ANY (v_locked) AND p_organizations[b.n] <> ALL (v_behind);
    IF v_together <> '{}' THEN
      SELECT ledger.post_spending(p_lane, v_now, array_agg(p_organizations[t.n] ORDER BY t.at),
        array_agg(v_ids[t.n] ORDER BY t.at), array_agg(p_kinds[t.n] ORDER BY t.at), array_agg(p_scopes[t.n] ORDER BY t.at),
        array_agg(p_keys[t.n] ORDER BY t.at), array_agg(p_fingerprints[t.n] ORDER BY t.at),
        array_agg(p_event_ats[t.n] ORDER BY t.at), array_agg(p_causes[t.n] ORDER BY t.at),
        array_agg(p_spenders[t.n] ORDER BY t.at), array_agg(p_amounts[t.n] ORDER BY t.at),
        array_agg(p_deadlines[t.n] ORDER BY t.at))
      INTO v_run FROM unnest(v_together) WITH ORDINALITY AS t (n, at);
      FOR n IN 1 .. cardinality(v_together) LOOP
        v_answers[v_together[n]] := v_run[n];
      END LOOP;
    END IF;
    SELECT array_agg(ROW(p_organizations[n], v_ids[n], p_kinds[n], p_scopes[n], p_keys[n], p_fingerprints[n],
      p_event_ats[n], p_causes[n], p_spenders[n], p_amounts[n], p_targets[n], p_deadlines[n], p_finals[n],
      p_details[n])::ledger.item ORDER BY n)
    INTO v_items FROM generate_subscripts(p_organizations, 1) AS n;
    WHILE v_from <= cardinality(p_organizations) LOOP
      IF (v_answers[v_from]).outcome IS NOT NULL THEN
        v_from := v_from + 1;
        CONTINUE;
      END IF;
      v_to := v_from;
      v_blocked := CASE WHEN p_organizations[v_from] = ANY (v_behind) THEN 'catch_up'
        WHEN p_organizations[v_from] = ANY (v_locked) THEN NULL
        WHEN EXISTS (SELECT FROM ledger.books AS b WHERE b.lane = p_lane AND b.organization_id = p_organizations[v_from])
        THEN 'busy' ELSE 'book_not_found' END;
      WHILE p_organizations[v_to + 1] = p_organizations[v_from] AND p_groups[v_to + 1] = p_groups[v_from] LOOP
        v_to := v_to + 1;
      END LOOP;
      v_run := CASE
        WHEN v_blocked = 'catch_up' THEN ledger.replays_or(v_blocked, v_items[v_from : v_to])
        WHEN v_blocked IS NOT NULL THEN
          array_fill(ROW(NULL, v_blocked, false, NULL, NULL, NULL, NULL, NULL, NULL)::ledger.answer,
                     ARRAY[v_to - v_from + 1])
        WHEN p_groups[v_from] > 0 THEN ledger.post_group(p_lane, v_now, v_items[v_from : v_to])
        ELSE ledger.post_items(p_lane, v_now, v_items[v_from : v_to]) END;
      IF v_blocked = 'catch_up' AND p_groups[v_from] > 0
         AND EXISTS (SELECT FROM unnest(v_run) AS a WHERE a.replayed AND a.outcome <> 'posted') THEN
        v_run := ledger.replays_or('group_refused', v_items[v_from : v_to]);
      END IF;
      FOR n IN v_from .. v_to LOOP
        v_answers[n] := v_run[n - v_from + 1];
      END LOOP;
      v_from := v_to + 1;
    END LOOP;
  END IF;
  RETURN QUERY SELECT a.at::integer, a.outcome, a.replayed, a.seq, a.posted_at, a.accounting_date, a.available_after,
    a.held_after, a.paid_after
  FROM unnest(v_answers) WITH ORDINALITY AS a (item, outcome, replayed, seq, posted_at, accounting_date,
                                               available_after, held_after, paid_after, at);
END $$;
COMMENT ON FUNCTION ledger.post_v1 IS 'Posts a batch of operations, sorted by book; one result an item.';

-- What has fallen due in one book, at most a hundred of it: true when more is left. For books that fell far behind.
CREATE FUNCTION ledger.catch_up_v1(p_lane smallint, p_organization uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ledger, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$ BEGIN
  PERFORM FROM ledger.books AS b WHERE b.lane = p_lane AND b.organization_id = p_organization FOR NO KEY UPDATE;
  RETURN FOUND AND (ledger.post_due(p_lane, p_organization, ledger.clock(), 100)).more;
END $$;

-- The platform book: what belongs to no organization.
SELECT ledger.post_v1(
  0::smallint, ARRAY['00000000-0000-7000-8000-000000000000']::uuid[], ARRAY['opening'], ARRAY[ledger.system_scope()],
  ARRAY['opening'], ARRAY[substr(sha256('opening of the platform book'), 1, 16)], ARRAY[NULL]::timestamptz[],
  ARRAY['opening'], ARRAY[NULL]::uuid[], ARRAY[0]::bigint[], ARRAY[NULL]::uuid[], ARRAY[NULL]::timestamptz[],
  ARRAY[false], ARRAY[0], ARRAY[NULL]::jsonb[], true);
