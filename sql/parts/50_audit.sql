--
-- Who changed what, and the context that management functions share
--

CREATE FUNCTION apikey.new_id() RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_new_id';
COMMENT ON FUNCTION apikey.new_id() IS 'A UUID version 7 (RFC 9562): time ordered, 62 random bits';

CREATE FUNCTION apikey.require_writable(what text) RETURNS void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'apikey_sql_require_writable';
COMMENT ON FUNCTION apikey.require_writable(text) IS 'Raises 25006 in a READ ONLY transaction and on a standby';

CREATE FUNCTION apikey.check_account(account text) RETURNS void
    LANGUAGE C IMMUTABLE AS 'MODULE_PATHNAME', 'apikey_sql_check_account';
COMMENT ON FUNCTION apikey.check_account(text) IS 'Raises 22023 for what cannot be an account';

CREATE FUNCTION apikey.acting_as(actor text) RETURNS text
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_acting_as';
COMMENT ON FUNCTION apikey.acting_as(text) IS 'Sets apikey.actor until the calling function returns; NULL leaves it as it is';

CREATE FUNCTION apikey.actor() RETURNS text
    LANGUAGE sql STABLE
AS $$ SELECT nullif(pg_catalog.current_setting('apikey.actor', true), '') $$;
COMMENT ON FUNCTION apikey.actor() IS 'Who performs a management action, as the application names people';

CREATE FUNCTION apikey.clean_text(value text, max_bytes integer) RETURNS text
    LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'apikey_sql_clean_text';
COMMENT ON FUNCTION apikey.clean_text(text, integer) IS 'Text fit to be recorded: cut, control characters escaped, key texts replaced by their mask';

CREATE FUNCTION apikey.announce(event text, key_id uuid) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_announce';
COMMENT ON FUNCTION apikey.announce(text, uuid) IS 'Queues a NOTIFY on channel apikey for commit';

CREATE TABLE apikey.audit_log (
    audit_id uuid PRIMARY KEY DEFAULT apikey.new_id(),
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    action text NOT NULL,
    key_id uuid,
    account text,
    actor text,
    db_user text NOT NULL DEFAULT session_user,
    client_addr inet DEFAULT inet_client_addr(),
    object text,
    old jsonb,
    new jsonb,
    reason text
);
COMMENT ON TABLE apikey.audit_log IS 'Every change of a key, of policy and of access, in the transaction that made it';
COMMENT ON COLUMN apikey.audit_log.audit_id IS 'UUID version 7: sorts by time';
COMMENT ON COLUMN apikey.audit_log.occurred_at IS 'Of the change, not of the commit';
COMMENT ON COLUMN apikey.audit_log.action IS 'issue, rotate, alter, disable, enable, revoke, purge; insert, update, delete, truncate of policy';
COMMENT ON COLUMN apikey.audit_log.key_id IS 'The key that was changed';
COMMENT ON COLUMN apikey.audit_log.account IS 'The account whose key or policy was changed';
COMMENT ON COLUMN apikey.audit_log.actor IS 'Who asked for it, as the application names people';
COMMENT ON COLUMN apikey.audit_log.db_user IS 'Login role of the session';
COMMENT ON COLUMN apikey.audit_log.client_addr IS 'Where the database client was connected from';
COMMENT ON COLUMN apikey.audit_log.object IS 'What was changed if not a key, such as "kind secret"';
COMMENT ON COLUMN apikey.audit_log.old IS 'Changed fields before; no secrets or hashes';
COMMENT ON COLUMN apikey.audit_log.new IS 'Changed fields after; no secrets or hashes';
COMMENT ON COLUMN apikey.audit_log.reason IS 'As given to revoke and its like';
CREATE INDEX audit_log_key ON apikey.audit_log (key_id);
CREATE INDEX audit_log_occurred ON apikey.audit_log USING brin (occurred_at);

-- By the primary key, as audit_id begins with its milliseconds; so many at a
-- time that no transaction takes long.
CREATE FUNCTION apikey.maintain_audit(kept_from timestamptz) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM apikey.audit_log a USING (
        SELECT o.audit_id FROM apikey.audit_log o
        WHERE o.audit_id < (lpad(to_hex(greatest(extract(epoch FROM kept_from) * 1000, 0)::bigint), 12, '0') || repeat('0', 20))::uuid
          AND o.occurred_at < kept_from
        ORDER BY o.audit_id LIMIT 100000) old
    WHERE a.audit_id = old.audit_id
$$;
COMMENT ON FUNCTION apikey.maintain_audit(timestamptz) IS 'Removes audit rows from before this time';

-- The fields of one row that differ in the other
CREATE FUNCTION apikey.changed_fields(this jsonb, other jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_object_agg(f.key, f.value)
    FROM jsonb_each(this - '{digest,lookup,pepper_id,algorithm,lineage,installation}'::text[]) f
    WHERE f.value IS DISTINCT FROM (other -> f.key)
$$;
COMMENT ON FUNCTION apikey.changed_fields(jsonb, jsonb) IS 'Fields of a row that differ in another, hashes left out';

-- Changes of keys after their issue, by functions and by direct DML alike
CREATE FUNCTION apikey.audit_key() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was jsonb := to_jsonb(OLD) || jsonb_build_object('scopes', OLD.scopes::jsonb);
    new_row jsonb := CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(NEW) || jsonb_build_object('scopes', NEW.scopes::jsonb) END;
    event text := CASE
        WHEN TG_OP = 'DELETE' THEN 'purge'
        WHEN NEW.rotated_to IS DISTINCT FROM OLD.rotated_to THEN 'rotate'
        WHEN NEW.revoked_at IS NOT NULL AND OLD.revoked_at IS NULL THEN 'revoke'
        WHEN NEW.disabled_at IS NOT NULL AND OLD.disabled_at IS NULL THEN 'disable'
        WHEN NEW.disabled_at IS NULL AND OLD.disabled_at IS NOT NULL THEN 'enable'
        ELSE 'alter' END;
    before jsonb := apikey.changed_fields(was, new_row);
    after jsonb := apikey.changed_fields(new_row, was);
BEGIN
    IF before IS NULL AND after IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO apikey.audit_log (action, key_id, account, actor, old, new, reason)
        VALUES (event, OLD.key_id, OLD.account, apikey.clean_text(apikey.actor(), 255), before, after,
                (after ->> 'revoke_reason'));
    PERFORM apikey.announce(event, OLD.key_id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION apikey.audit_key() IS 'Trigger: one audit row and one notification per changed key';

-- The flush worker moves keys to the current pepper by the thousand.
CREATE FUNCTION apikey.is_rehashing() RETURNS boolean
    LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'apikey_sql_is_rehashing';
COMMENT ON FUNCTION apikey.is_rehashing() IS 'Is this the flush worker, storing other digests of the same key texts?';

CREATE TRIGGER audit AFTER UPDATE OR DELETE ON apikey.key
    FOR EACH ROW WHEN (NOT apikey.is_rehashing()) EXECUTE FUNCTION apikey.audit_key();
COMMENT ON TRIGGER audit ON apikey.key IS 'Writes the audit row';

-- Changes of policy; object is the table and the columns named by the trigger
CREATE FUNCTION apikey.audit_policy() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was jsonb := CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN to_jsonb(NEW) END;
    affected jsonb := coalesce(new_row, was);
    before jsonb := apikey.changed_fields(was, new_row);
    after jsonb := apikey.changed_fields(new_row, was);
BEGIN
    IF apikey.is_restoring()
       OR TG_OP = 'INSERT' AND affected ->> 'installation' <> apikey.local_installation()::text
       OR TG_OP = 'UPDATE' AND before IS NULL AND after IS NULL THEN
        RETURN NULL;            -- a dump arrives with its own audit rows
    END IF;
    INSERT INTO apikey.audit_log (action, key_id, account, actor, object, old, new)
        VALUES (lower(TG_OP), (affected ->> 'key_id')::uuid,
                coalesce(affected ->> 'account', (SELECT k.account FROM apikey.key k WHERE k.key_id = (affected ->> 'key_id')::uuid)),
                apikey.clean_text(apikey.actor(), 255),
                concat_ws(' ', TG_TABLE_NAME, (SELECT string_agg(affected ->> a.name, ' ' ORDER BY a.n)
                                               FROM unnest(TG_ARGV) WITH ORDINALITY a (name, n))),
                before, after);
    PERFORM apikey.announce('policy', NULL);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION apikey.audit_policy() IS 'Trigger: one audit row per changed row of a policy table';

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON apikey.kind
    FOR EACH ROW EXECUTE FUNCTION apikey.audit_policy('kind');
COMMENT ON TRIGGER audit ON apikey.kind IS 'Writes the audit row';
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON apikey.account_policy
    FOR EACH ROW EXECUTE FUNCTION apikey.audit_policy('account');
COMMENT ON TRIGGER audit ON apikey.account_policy IS 'Writes the audit row';
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON apikey.scope
    FOR EACH ROW EXECUTE FUNCTION apikey.audit_policy('scope');
COMMENT ON TRIGGER audit ON apikey.scope IS 'Writes the audit row';
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON apikey.scope
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.audit_policy('scope');
COMMENT ON TRIGGER audit_truncate ON apikey.scope IS 'Writes the audit row';

