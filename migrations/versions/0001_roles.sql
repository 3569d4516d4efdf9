-- Three roles. `purser_owner` owns the books and cannot log in; `purser_run` may execute the posting function, read the
-- books and write what billing and the inbox need; the role that migrates is a member of the owner. Logins are made
-- members by `purser migrate`. Roles belong to the cluster, so another database may have made them already.
DO $$
BEGIN
  CREATE ROLE purser_owner NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
  CREATE ROLE purser_run NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
  IF NOT pg_has_role(current_user, 'purser_owner', 'USAGE') THEN
    EXECUTE format('GRANT purser_owner TO %I', current_user);
  END IF;
END $$;
