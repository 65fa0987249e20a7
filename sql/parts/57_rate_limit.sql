--
-- Rate limits: policy, as in 30_policy.sql
--

CREATE TABLE apikey.rate_limit (
    id uuid PRIMARY KEY DEFAULT apikey.new_id(),
    name text NOT NULL
        CONSTRAINT rate_limit_name_is_short_and_plain CHECK (name ~ '^[A-Za-z0-9_.:/-]([A-Za-z0-9_.:/ -]{0,61}[A-Za-z0-9_.:/-])?$')
        CONSTRAINT rate_limit_name_requests_per_day_is_the_quota_in_account_policy CHECK (name <> 'requests_per_day'),
    kind text,
    account text
        CONSTRAINT rate_limit_account_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(account) BETWEEN 1 AND 255 AND account !~ '[\u0001-\u001f\u007f]'),
    key_id uuid,
    max integer
        CONSTRAINT rate_limit_max_is_positive CHECK (max > 0),
    per interval
        CONSTRAINT rate_limit_per_is_1_ms_to_31_days_without_months
        CHECK (per BETWEEN '1 millisecond' AND '31 days' AND date_part('month', per) = 0 AND date_part('year', per) = 0),
    shared boolean NOT NULL DEFAULT false,
    weighted boolean NOT NULL DEFAULT false,
    installation uuid NOT NULL,
    CONSTRAINT rate_limit_is_for_one_of_kind_account_and_key CHECK (num_nonnulls(kind, account, key_id) = 1),
    CONSTRAINT rate_limit_of_one_key_is_not_shared CHECK (key_id IS NULL OR NOT shared),
    CONSTRAINT rate_limit_with_max_says_per CHECK (max IS NULL OR per IS NOT NULL)
);
COMMENT ON TABLE apikey.rate_limit IS 'How many requests may pass in how much time; of one name a key''s row wins over its account''s, that over its kind''s, that over account *';
COMMENT ON COLUMN apikey.rate_limit.id IS 'UUID version 7';
COMMENT ON COLUMN apikey.rate_limit.name IS 'Limits of different names all bind; of one name the row of the strongest target';
COMMENT ON COLUMN apikey.rate_limit.kind IS 'For every key of this kind';
COMMENT ON COLUMN apikey.rate_limit.account IS 'For every key of this account; * = of every account, weakest of all';
COMMENT ON COLUMN apikey.rate_limit.key_id IS 'For this key';
COMMENT ON COLUMN apikey.rate_limit.max IS 'So many may pass; NULL = no limit of this name binds the target';
COMMENT ON COLUMN apikey.rate_limit.per IS 'In no stretch of this length more than max; 1 ms to 31 days of 24 hours';
COMMENT ON COLUMN apikey.rate_limit.shared IS 'Counted over all keys of the account (of that kind, for a row of a kind), not for each key';
COMMENT ON COLUMN apikey.rate_limit.weighted IS 'Counts the cost of a request instead of 1';
COMMENT ON COLUMN apikey.rate_limit.installation IS 'Bookkeeping for restores; leave alone';

CREATE UNIQUE INDEX rate_limit_is_unique_per_key_and_name ON apikey.rate_limit (key_id, name) WHERE key_id IS NOT NULL;
CREATE UNIQUE INDEX rate_limit_is_unique_per_account_and_name ON apikey.rate_limit (account, name) WHERE account IS NOT NULL;
CREATE UNIQUE INDEX rate_limit_is_unique_per_kind_and_name ON apikey.rate_limit (kind, name) WHERE kind IS NOT NULL;

-- No foreign keys: a dump may bring limits before their keys.  Rows of a dump
-- say who wrote them.
CREATE FUNCTION apikey.check_limit_target() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.installation IS NOT NULL THEN
        RETURN NEW;
    ELSIF NEW.kind IS NOT NULL AND NOT EXISTS (SELECT FROM apikey.kind k WHERE k.kind = NEW.kind) THEN
        RAISE EXCEPTION 'kind "%" does not exist', NEW.kind
            USING ERRCODE = '22023', DETAIL = 'Column "kind" must name a row of apikey.kind.',
                  HINT = 'SELECT kind FROM apikey.kind lists them.';
    ELSIF NEW.key_id IS NOT NULL AND NOT EXISTS (SELECT FROM apikey.key k WHERE k.key_id = NEW.key_id) THEN
        RAISE EXCEPTION 'key % does not exist', NEW.key_id
            USING ERRCODE = 'KA404', DETAIL = 'Column "key_id" must name a key.', HINT = 'apikey.keys lists the keys.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION apikey.check_limit_target() IS 'Trigger: a limit is for a kind or key that exists';
CREATE TRIGGER check_target BEFORE INSERT OR UPDATE OF kind, key_id ON apikey.rate_limit
    FOR EACH ROW EXECUTE FUNCTION apikey.check_limit_target();
COMMENT ON TRIGGER check_target ON apikey.rate_limit IS 'A limit is for a kind or key that exists';

CREATE FUNCTION apikey.follow_kind() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM apikey.rate_limit l WHERE l.kind = OLD.kind;
    ELSE
        UPDATE apikey.rate_limit l SET kind = NEW.kind WHERE l.kind = OLD.kind;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION apikey.follow_kind() IS 'Trigger: limits of a kind go with it, and change their name with it';
CREATE TRIGGER follow_rename AFTER UPDATE ON apikey.kind
    FOR EACH ROW WHEN (OLD.kind <> NEW.kind) EXECUTE FUNCTION apikey.follow_kind();
COMMENT ON TRIGGER follow_rename ON apikey.kind IS 'Limits of a kind change their name with it';
CREATE TRIGGER follow_removal AFTER DELETE ON apikey.kind
    FOR EACH ROW EXECUTE FUNCTION apikey.follow_kind();
COMMENT ON TRIGGER follow_removal ON apikey.kind IS 'Limits of a kind go with it';

CREATE TRIGGER receive BEFORE INSERT OR UPDATE ON apikey.rate_limit
    FOR EACH ROW EXECUTE FUNCTION apikey.receive_policy();
COMMENT ON TRIGGER receive ON apikey.rate_limit IS 'Rows of a dump replace the shipped ones';
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.rate_limit
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.rate_limit IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.rate_limit
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.rate_limit IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
ALTER TABLE apikey.rate_limit ENABLE ALWAYS TRIGGER receive;
ALTER TABLE apikey.rate_limit ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.rate_limit ENABLE ALWAYS TRIGGER invalidate_truncate;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON apikey.rate_limit
    FOR EACH ROW EXECUTE FUNCTION apikey.audit_policy('name');
COMMENT ON TRIGGER audit ON apikey.rate_limit IS 'Writes the audit row';
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON apikey.rate_limit
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.audit_policy('name');
COMMENT ON TRIGGER audit_truncate ON apikey.rate_limit IS 'Writes the audit row';
