--
-- Issue and manage
--

-- What issue and rotate return: the only time the key text is seen
CREATE TYPE apikey.issued_key AS (
    key text,
    key_id uuid,
    display text,
    account text,
    name text,
    kind text,
    scopes text[],
    created_at timestamptz,
    expires_at timestamptz
);
COMMENT ON TYPE apikey.issued_key IS 'A new key with its text, which is shown once and stored nowhere';

CREATE FUNCTION apikey.issue(
    account text,
    name text,
    scopes text[] DEFAULT NULL,
    kind text DEFAULT 'secret',
    allowed_ips text[] DEFAULT NULL,
    allowed_origins text[] DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    expires_in interval DEFAULT NULL,
    metadata jsonb DEFAULT '{}',
    actor text DEFAULT NULL,
    db_role text DEFAULT NULL,
    credits bigint DEFAULT NULL
) RETURNS apikey.issued_key
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'apikey_sql_issue';
COMMENT ON FUNCTION apikey.issue(text, text, text[], text, text[], text[], timestamptz, interval, jsonb, text, text, bigint)
    IS 'Makes a key and returns its text, this once';

CREATE FUNCTION apikey.rotate(
    key_id uuid,
    overlap interval DEFAULT '0',
    actor text DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    expires_in interval DEFAULT NULL,
    account text DEFAULT NULL
) RETURNS apikey.issued_key
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'apikey_sql_rotate';
COMMENT ON FUNCTION apikey.rotate(uuid, interval, text, timestamptz, interval, text)
    IS 'Makes the successor of a key; the old one ends at once or after the overlap';

CREATE FUNCTION apikey.alter_key(
    key_id uuid,
    name text DEFAULT NULL,
    scopes text[] DEFAULT NULL,
    allowed_ips text[] DEFAULT NULL,
    allowed_origins text[] DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    actor text DEFAULT NULL,
    db_role text DEFAULT NULL,
    account text DEFAULT NULL
) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'apikey_sql_alter_key';
COMMENT ON FUNCTION apikey.alter_key(uuid, text, text[], text[], text[], timestamptz, jsonb, text, text, text)
    IS 'Changes a key; NULL leaves as is, {} clears a list, infinity the expiry, ''none'' db_role';

-- Every change of one key starts here: locks its row, keeps other accounts'
-- keys out of sight, asks what the actor may do, and names the actor for the
-- audit log.
CREATE FUNCTION apikey.open_key(wanted uuid, guard text, actor text, action text DEFAULT 'update') RETURNS apikey.key
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    found_key apikey.key;
BEGIN
    IF wanted IS NULL THEN
        RAISE EXCEPTION 'key_id must not be null'
            USING ERRCODE = '22023', DETAIL = 'Argument "key_id" names the key to change.',
                  HINT = 'apikey.keys lists the keys.';
    END IF;
    SELECT * INTO found_key FROM apikey.key k WHERE k.key_id = wanted FOR UPDATE;
    IF found_key.key_id IS NULL OR found_key.account <> guard THEN
        RAISE EXCEPTION 'key % does not exist', wanted
            USING ERRCODE = 'KA404', DETAIL = 'No key of this account has this key_id.',
                  HINT = 'apikey.keys lists the keys.';
    END IF;
    PERFORM apikey.require_capability(found_key.account, action, actor);
    PERFORM apikey.acting_as(actor);
    RETURN found_key;
END
$$;
COMMENT ON FUNCTION apikey.open_key(uuid, text, text, text) IS 'Locks a key for a change, or raises KA404 or KA403';

CREATE FUNCTION apikey.disable(key_id uuid, actor text DEFAULT NULL, account text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k apikey.key;
BEGIN
    PERFORM apikey.require_writable('apikey.disable');
    k := apikey.open_key(key_id, account, actor);
    IF apikey.key_status(k.revoked_at, k.expires_at, k.disabled_at) <> 'active' THEN
        RETURN false;
    END IF;
    UPDATE apikey.key t SET disabled_at = clock_timestamp(), disabled_by = apikey.actor() WHERE t.key_id = k.key_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION apikey.disable(uuid, text, text) IS 'Switches a key off until enable; false if it is not active';

CREATE FUNCTION apikey.enable(key_id uuid, actor text DEFAULT NULL, account text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k apikey.key;
    status text;
BEGIN
    PERFORM apikey.require_writable('apikey.enable');
    k := apikey.open_key(key_id, account, actor);
    status := apikey.key_status(k.revoked_at, k.expires_at, k.disabled_at);
    IF status IN ('revoked', 'expired') THEN
        RAISE EXCEPTION 'key % is %', k.key_id, status
            USING ERRCODE = 'KA409', DETAIL = 'Revoked and expired keys stay so.', HINT = 'Issue a new key.';
    ELSIF status = 'active' THEN
        RETURN false;
    END IF;
    UPDATE apikey.key t SET disabled_at = NULL, disabled_by = NULL WHERE t.key_id = k.key_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION apikey.enable(uuid, text, text) IS 'Switches a disabled key on again; false if it was on';

CREATE FUNCTION apikey.revoke(key_id uuid, reason text DEFAULT NULL, actor text DEFAULT NULL, account text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k apikey.key;
BEGIN
    PERFORM apikey.require_writable('apikey.revoke');
    k := apikey.open_key(key_id, account, actor, 'revoke');
    IF apikey.key_status(k.revoked_at, k.expires_at, NULL) <> 'active' THEN
        RETURN false;
    END IF;
    UPDATE apikey.key t
        SET revoked_at = clock_timestamp(), revoked_by = apikey.actor(), revoke_reason = apikey.clean_text(reason, 255)
        WHERE t.key_id = k.key_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION apikey.revoke(uuid, text, text, text) IS 'Ends a key for good, from commit on; false if it had ended already';

CREATE FUNCTION apikey.revoke_account(account text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    revoked bigint;
BEGIN
    PERFORM apikey.require_writable('apikey.revoke_account');
    PERFORM apikey.require_capability(account, 'revoke', actor);
    PERFORM apikey.acting_as(actor);
    UPDATE apikey.key t
        SET revoked_at = clock_timestamp(), revoked_by = apikey.actor(), revoke_reason = apikey.clean_text(reason, 255)
        WHERE t.account = revoke_account.account
          AND apikey.key_status(t.revoked_at, t.expires_at, NULL) = 'active';
    GET DIAGNOSTICS revoked = ROW_COUNT;
    RETURN revoked;
END
$$;
COMMENT ON FUNCTION apikey.revoke_account(text, text, text) IS 'Revokes all keys of an account; returns how many';

CREATE FUNCTION apikey.purge(older_than interval, account text DEFAULT NULL, actor text DEFAULT NULL, keep_usage boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    accounts text[] := ARRAY[account];
    purged uuid[];
BEGIN
    PERFORM apikey.require_writable('apikey.purge');
    IF older_than IS NULL OR older_than NOT BETWEEN '0' AND '1000 years' THEN
        RAISE EXCEPTION 'older_than must not be null, negative or more than 1000 years'
            USING ERRCODE = '22023', DETAIL = 'Argument "older_than" says how long ago keys must have ended.',
                  HINT = 'For example apikey.purge(''2 years'').';
    END IF;
    IF account IS NULL THEN
        accounts := ARRAY(SELECT DISTINCT t.account FROM apikey.key t
                          WHERE least(t.revoked_at, t.expires_at) < clock_timestamp() - older_than);
    END IF;
    PERFORM apikey.require_capability(a.name, 'revoke', actor) FROM unnest(accounts) a (name);
    PERFORM apikey.acting_as(actor), apikey.lock_for_purge();
    WITH gone AS (
        DELETE FROM apikey.key t
        WHERE least(t.revoked_at, t.expires_at) < clock_timestamp() - older_than AND t.account = ANY (accounts)
        RETURNING t.key_id)
    SELECT array_agg(g.key_id ORDER BY g.key_id) INTO purged FROM gone g;
    PERFORM apikey.forget_sessions(purged);
    IF keep_usage IS NOT TRUE THEN
        PERFORM apikey.forget_usage(purged);
    END IF;
    RETURN coalesce(cardinality(purged), 0);
END
$$;
COMMENT ON FUNCTION apikey.purge(interval, text, text, boolean) IS 'Removes keys revoked or expired longer ago, and their usage unless keep_usage; audit rows stay';

--
-- Leaks
--

CREATE TYPE apikey.found_key AS (key_id uuid, display text, account text, status text);
COMMENT ON TYPE apikey.found_key IS 'A key of ours that was found in a text';

CREATE FUNCTION apikey.find_keys(document text) RETURNS SETOF apikey.found_key
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000 ROWS 10 AS 'MODULE_PATHNAME', 'apikey_sql_find_keys';
COMMENT ON FUNCTION apikey.find_keys(text) IS 'Keys of ours, live or dead, whose text occurs in a document of up to 64 MB';

CREATE FUNCTION apikey.revoke_leaked(document text, reason text DEFAULT 'leaked', actor text DEFAULT NULL)
    RETURNS TABLE (key_id uuid, display text, account text, status text, revoked boolean)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM apikey.require_writable('apikey.revoke_leaked');
    FOR key_id, display, account, status IN
        SELECT f.key_id, f.display, f.account, f.status FROM apikey.find_keys(document) f ORDER BY f.key_id
    LOOP
        revoked := apikey.revoke(key_id, reason, actor);
        status := CASE WHEN revoked THEN 'revoked' ELSE status END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION apikey.revoke_leaked(text, text, text) IS 'Revokes every key whose text occurs in a document; the document is not kept';

CREATE FUNCTION apikey.scan_pattern(kind text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pattern text;
BEGIN
    SELECT CASE WHEN k.prefix = '' THEN format('(^|[^0-9A-Za-z])[0-9A-Za-z]{%s}($|[^0-9A-Za-z])', digits)
                ELSE format('%s[0-9A-Za-z]{%s}', replace(k.prefix, '.', '[.]'), digits) END
        INTO pattern
        FROM apikey.kind k, LATERAL (SELECT k.body_length + CASE WHEN k.checksum THEN 6 ELSE 0 END AS digits) d
        WHERE k.kind = scan_pattern.kind;
    IF pattern IS NULL THEN
        RAISE EXCEPTION 'this kind does not exist'
            USING ERRCODE = '22023', DETAIL = 'Argument "kind" must name a row of apikey.kind.',
                  HINT = 'SELECT kind FROM apikey.kind lists them.';
    END IF;
    RETURN pattern;
END
$$;
COMMENT ON FUNCTION apikey.scan_pattern(text) IS 'Regular expression (POSIX extended, PCRE, RE2) that finds key texts of a kind';

