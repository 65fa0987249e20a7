--
-- Triggers of the policy tables
--

-- Makes every backend read the table anew once the change is committed (or
-- the prepared transaction is, or the standby has replayed it).
CREATE FUNCTION apikey.invalidate() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'apikey_sql_invalidate';
COMMENT ON FUNCTION apikey.invalidate() IS 'Trigger: drops what backends have cached of the table';

-- The first row that another installation wrote is a dump, or a publisher,
-- arriving: rows shipped here and not changed since go, so that just what was
-- dumped is there afterwards.
CREATE FUNCTION apikey.receive_policy() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    here apikey.installation;
BEGIN
    SELECT * INTO STRICT here FROM apikey.installation;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.installation = here.shipped_id THEN
            NEW.installation := here.local_id;
        END IF;
    ELSIF NEW.installation IS NULL THEN
        NEW.installation := here.local_id;
    ELSIF NEW.installation NOT IN (here.shipped_id, here.local_id)
          AND (EXISTS (SELECT FROM apikey.kind WHERE installation = here.shipped_id)
               OR EXISTS (SELECT FROM apikey.account_policy WHERE installation = here.shipped_id)) THEN
        UPDATE apikey.installation SET restored_by = pg_current_xact_id();
        DELETE FROM apikey.kind WHERE installation = here.shipped_id;
        DELETE FROM apikey.account_policy WHERE installation = here.shipped_id;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION apikey.receive_policy() IS 'Trigger: rows of a dump replace the shipped ones';

-- What nothing could work without
CREATE FUNCTION apikey.keep_default_policy() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.account = '*' THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' AND apikey.is_restoring() THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the default row "*" of apikey.account_policy cannot be removed'
        USING ERRCODE = 'KA409',
              DETAIL = 'It holds the policy of every account without a row of its own.',
              HINT = 'Change its columns with UPDATE, or remove other rows with DELETE ... WHERE account <> ''*''.';
END
$$;
COMMENT ON FUNCTION apikey.keep_default_policy() IS 'Trigger: the row * stays';

CREATE TRIGGER keep_default_row BEFORE UPDATE OR DELETE ON apikey.account_policy
    FOR EACH ROW WHEN (OLD.account = '*') EXECUTE FUNCTION apikey.keep_default_policy();
COMMENT ON TRIGGER keep_default_row ON apikey.account_policy IS 'The row * stays';

-- Keys already handed out must stay readable: their format is fixed, and
-- their kind stays.  The lock waits for calls of issue under way, which hold
-- the key table and read the kind after that.
CREATE FUNCTION apikey.keep_kind_of_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' AND apikey.is_restoring() THEN
        RETURN OLD;
    END IF;
    LOCK TABLE apikey.key IN SHARE MODE;
    -- Keys of other systems have no format of ours.
    IF NOT apikey.keys_exist(OLD.kind, NULL, TG_OP = 'UPDATE' AND NEW.kind = OLD.kind) THEN
        IF TG_OP = 'UPDATE' THEN
            RETURN NEW;
        END IF;
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'kind "%" has keys: it cannot be removed or renamed, nor its prefix, body_length or checksum changed', OLD.kind
        USING ERRCODE = 'KA409',
              DETAIL = 'Keys already handed out would not be recognised any more.',
              HINT = 'Make a new kind, and set enabled = false here when its keys are no longer wanted.';
END
$$;
COMMENT ON FUNCTION apikey.keep_kind_of_keys() IS 'Trigger: the format of a kind with keys is fixed';

CREATE TRIGGER keep_kind_of_keys BEFORE DELETE ON apikey.kind
    FOR EACH ROW EXECUTE FUNCTION apikey.keep_kind_of_keys();
COMMENT ON TRIGGER keep_kind_of_keys ON apikey.kind IS 'A kind with keys stays';
CREATE TRIGGER keep_format_of_keys BEFORE UPDATE ON apikey.kind
    FOR EACH ROW WHEN ((OLD.kind, OLD.prefix, OLD.body_length, OLD.checksum)
        IS DISTINCT FROM (NEW.kind, NEW.prefix, NEW.body_length, NEW.checksum))
    EXECUTE FUNCTION apikey.keep_kind_of_keys();
COMMENT ON TRIGGER keep_format_of_keys ON apikey.kind IS 'The format of a kind with keys is fixed';

-- What holds for argument db_role holds for a kind's default: the role exists,
-- is no superuser, and whoever writes the row may SET ROLE to it.
CREATE FUNCTION apikey.check_kind_role() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    how CONSTANT text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NEW.installation IS NULL OR TG_OP = 'UPDATE' THEN
        PERFORM FROM pg_roles r
            WHERE r.rolname = NEW.db_role AND NOT r.rolsuper AND pg_has_role(current_user, r.oid, how);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'role "%" cannot be given to keys', NEW.db_role
                USING ERRCODE = 'KA403',
                      DETAIL = 'Column "db_role" must name a role that exists, is no superuser, and to which you may SET ROLE.',
                      HINT = 'Ask a role that may GRANT it to you.';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION apikey.check_kind_role() IS 'Trigger: a kind gives out no role that its editor could not take';

CREATE TRIGGER check_role BEFORE INSERT OR UPDATE OF db_role ON apikey.kind
    FOR EACH ROW WHEN (NEW.db_role IS NOT NULL) EXECUTE FUNCTION apikey.check_kind_role();
COMMENT ON TRIGGER check_role ON apikey.kind IS 'A kind gives out no role that its editor could not take';

CREATE FUNCTION apikey.refuse_truncate() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'apikey.% cannot be truncated', TG_TABLE_NAME
        USING ERRCODE = 'KA409', DETAIL = 'Keys depend on some of its rows.', HINT = 'Remove rows with DELETE.';
END
$$;
COMMENT ON FUNCTION apikey.refuse_truncate() IS 'Trigger: rows are removed one by one, with their checks';

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON apikey.kind
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.refuse_truncate();
COMMENT ON TRIGGER refuse_truncate ON apikey.kind IS 'Rows are removed one by one, with their checks';
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON apikey.account_policy
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.refuse_truncate();
COMMENT ON TRIGGER refuse_truncate ON apikey.account_policy IS 'Rows are removed one by one, with their checks';

CREATE TRIGGER receive BEFORE INSERT OR UPDATE ON apikey.kind
    FOR EACH ROW EXECUTE FUNCTION apikey.receive_policy();
COMMENT ON TRIGGER receive ON apikey.kind IS 'Rows of a dump replace the shipped ones';
CREATE TRIGGER receive BEFORE INSERT OR UPDATE ON apikey.account_policy
    FOR EACH ROW EXECUTE FUNCTION apikey.receive_policy();
COMMENT ON TRIGGER receive ON apikey.account_policy IS 'Rows of a dump replace the shipped ones';
CREATE TRIGGER receive BEFORE INSERT OR UPDATE ON apikey.scope
    FOR EACH ROW EXECUTE FUNCTION apikey.receive_policy();
COMMENT ON TRIGGER receive ON apikey.scope IS 'Rows of a dump replace the shipped ones';
ALTER TABLE apikey.kind ENABLE ALWAYS TRIGGER receive;
ALTER TABLE apikey.account_policy ENABLE ALWAYS TRIGGER receive;
ALTER TABLE apikey.scope ENABLE ALWAYS TRIGGER receive;

CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.kind
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.kind IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.kind
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.kind IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.account_policy
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.account_policy IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.account_policy
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.account_policy IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.scope
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.scope IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.scope
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.scope IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
ALTER TABLE apikey.kind ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.kind ENABLE ALWAYS TRIGGER invalidate_truncate;
ALTER TABLE apikey.account_policy ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.account_policy ENABLE ALWAYS TRIGGER invalidate_truncate;
ALTER TABLE apikey.scope ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.scope ENABLE ALWAYS TRIGGER invalidate_truncate;

