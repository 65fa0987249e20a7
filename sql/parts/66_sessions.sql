--
-- Sessions: short-lived tokens that are opened with a key and end with it
--

CREATE TABLE apikey.signing_key (
    kid text PRIMARY KEY
        CONSTRAINT signing_key_kid_is_a_short_plain_name CHECK (kid ~ '^[A-Za-z0-9_.-]{1,64}$'),
    algorithm text NOT NULL
        CONSTRAINT signing_key_algorithm_is_eddsa_or_hs256 CHECK (algorithm IN ('EdDSA', 'HS256')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz,
    public_key bytea
        CONSTRAINT signing_key_public_key_has_32_bytes CHECK (octet_length(public_key) = 32),
    secret bytea,
    CONSTRAINT signing_key_of_eddsa_has_a_public_key CHECK ((algorithm = 'EdDSA') = (public_key IS NOT NULL)),
    CONSTRAINT signing_key_has_a_secret_of_fitting_length CHECK (
        CASE WHEN secret IS NULL THEN algorithm = 'EdDSA' AND retired_at IS NOT NULL
             WHEN algorithm = 'EdDSA' THEN octet_length(secret) = 32
             ELSE octet_length(secret) BETWEEN 32 AND 1024 END)
);
COMMENT ON TABLE apikey.signing_key IS 'Keys that sign session tokens; apikey.jwks() publishes the public ones';
COMMENT ON COLUMN apikey.signing_key.kid IS 'Name of the key in the header of tokens';
COMMENT ON COLUMN apikey.signing_key.algorithm IS 'EdDSA (Ed25519) or HS256: tokens of this key are checked with no other';
COMMENT ON COLUMN apikey.signing_key.created_at IS 'When it was made';
COMMENT ON COLUMN apikey.signing_key.retired_at IS 'Signs nothing since; its tokens stay good until they expire';
COMMENT ON COLUMN apikey.signing_key.public_key IS 'Of EdDSA';
COMMENT ON COLUMN apikey.signing_key.secret IS 'EdDSA: the seed of 32 bytes, forgotten when the key is retired; HS256: the secret';
CREATE UNIQUE INDEX signing_key_one_is_current ON apikey.signing_key (algorithm) WHERE retired_at IS NULL;

-- No samples in the statistics.
ALTER TABLE apikey.signing_key ALTER COLUMN secret SET STATISTICS 0;

CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.signing_key
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.signing_key IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.signing_key
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.signing_key IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
ALTER TABLE apikey.signing_key ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.signing_key ENABLE ALWAYS TRIGGER invalidate_truncate;

CREATE TABLE apikey.session (
    session_id uuid PRIMARY KEY,
    key_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    closed_at timestamptz,
    kid text NOT NULL,
    scopes apikey.scopes NOT NULL,
    bound_ip inet,
    metadata jsonb
) WITH (autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE apikey.session IS 'Open sessions; expired ones are removed. Look at apikey.sessions instead';
COMMENT ON COLUMN apikey.session.session_id IS 'Public id, UUID version 7; claim jti of the token';
COMMENT ON COLUMN apikey.session.key_id IS 'The key it was opened with, and ends with';
COMMENT ON COLUMN apikey.session.created_at IS 'When it was opened';
COMMENT ON COLUMN apikey.session.expires_at IS 'Refused from then on';
COMMENT ON COLUMN apikey.session.closed_at IS 'Refused since, by apikey.close_session()';
COMMENT ON COLUMN apikey.session.kid IS 'Row of apikey.signing_key';
COMMENT ON COLUMN apikey.session.scopes IS 'What it may do, as long as its key may';
COMMENT ON COLUMN apikey.session.bound_ip IS 'The one address it may be used from; NULL = those of its key';
COMMENT ON COLUMN apikey.session.metadata IS 'Laid over that of its key; NULL stands for the empty object';
CREATE INDEX session_key ON apikey.session (key_id);
CREATE INDEX session_kid_end ON apikey.session (kid, expires_at);

CREATE TABLE apikey.session_use (
    session_id uuid,
    node text,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (session_id, node)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE apikey.session_use IS 'When each session was last used. Look at apikey.sessions instead';
COMMENT ON COLUMN apikey.session_use.session_id IS 'The session';
COMMENT ON COLUMN apikey.session_use.node IS 'The server that counted';
COMMENT ON COLUMN apikey.session_use.last_used_at IS 'The last request that passed';

CREATE VIEW apikey.sessions WITH (security_barrier) AS
    SELECT s.session_id,
           s.key_id,
           k.account,
           s.scopes,
           s.created_at,
           s.expires_at,
           least(s.closed_at, CASE WHEN k.revoked_at < s.expires_at THEN k.revoked_at END) AS closed_at,
           (SELECT max(u.last_used_at) FROM apikey.session_use u WHERE u.session_id = s.session_id) AS last_used_at
    FROM apikey.session s JOIN apikey.key k ON k.key_id = s.key_id;
COMMENT ON VIEW apikey.sessions IS 'Sessions until they expire; closed_at: closed, or their key revoked';

--
-- Opening and closing
--

CREATE TYPE apikey.opened_session AS (
    ok boolean,
    code text,
    status integer,
    message text,
    retry_after integer,
    session_id uuid,
    token text,
    expires_at timestamptz
);
COMMENT ON TYPE apikey.opened_session IS 'A session with its token, or why there is none';

CREATE FUNCTION apikey.open_session(
    key text,
    ttl interval DEFAULT '15 min',
    scopes text[] DEFAULT NULL,
    ip text DEFAULT NULL,
    origin text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    account text DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    cost integer DEFAULT 1,
    bind_ip boolean DEFAULT false
) RETURNS apikey.opened_session
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'apikey_sql_open_session';
COMMENT ON FUNCTION apikey.open_session(text, interval, text[], text, text, jsonb, text, text[], integer, boolean)
    IS 'Verifies a key, once, and returns a token that stands for it for a short time';

CREATE FUNCTION apikey.close_session(session_id uuid, account text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM apikey.require_writable('apikey.close_session');
    IF session_id IS NULL THEN
        RAISE EXCEPTION 'session_id must not be null'
            USING ERRCODE = '22023', DETAIL = 'Argument "session_id" names the session to close.',
                  HINT = 'apikey.open_session() and the verdict of its token have it.';
    END IF;
    UPDATE apikey.session s SET closed_at = clock_timestamp()
        FROM apikey.key k
        WHERE s.session_id = close_session.session_id AND k.key_id = s.key_id
          AND (close_session.account IS NULL OR k.account = close_session.account)
          AND s.closed_at IS NULL AND s.expires_at > clock_timestamp();
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION apikey.close_session(uuid, text) IS 'Ends a session before its time, from commit on; false if there is none of this account that is open';

CREATE FUNCTION apikey.jwks() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('keys', coalesce(jsonb_agg(jsonb_build_object(
               'kty', 'OKP', 'crv', 'Ed25519', 'alg', 'EdDSA', 'use', 'sig', 'kid', k.kid,
               'x', rtrim(translate(encode(k.public_key, 'base64'), '+/', '-_'), '=')) ORDER BY k.created_at DESC, k.kid), '[]'))
    FROM apikey.signing_key k
    WHERE k.algorithm = 'EdDSA'
      AND (k.retired_at IS NULL
           OR EXISTS (SELECT FROM apikey.session s WHERE s.kid = k.kid AND s.expires_at > clock_timestamp()))
$$;
COMMENT ON FUNCTION apikey.jwks() IS 'The public keys with which session tokens are verified elsewhere, as a JWK set (RFC 7517, RFC 8037)';

CREATE FUNCTION apikey.rotate_signing_key() RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'apikey_sql_rotate_signing_key';
COMMENT ON FUNCTION apikey.rotate_signing_key() IS 'Makes a new key for the tokens to come and returns its kid; tokens of the old one stay good until they expire';

--
-- How the background worker looks after them
--

CREATE FUNCTION apikey.apply_session_use(node text, session_ids uuid[], last_used timestamptz[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
BEGIN
    INSERT INTO apikey.session_use AS t (session_id, node, last_used_at)
        SELECT u.session_id, apply_session_use.node, max(u.last_used)
        FROM unnest(session_ids, last_used) u (session_id, last_used) JOIN apikey.session s ON s.session_id = u.session_id
        GROUP BY 1 ORDER BY 1
        ON CONFLICT ON CONSTRAINT session_use_pkey DO UPDATE SET last_used_at = excluded.last_used_at
            WHERE t.last_used_at < excluded.last_used_at;
END
$$;
COMMENT ON FUNCTION apikey.apply_session_use(text, uuid[], timestamptz[]) IS 'Notes when sessions were used; those that are gone are skipped';

CREATE FUNCTION apikey.maintain_sessions(now timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Key by key, as the index is
    WITH RECURSIVE signed (kid) AS (
        SELECT min(s.kid) FROM apikey.session s
        UNION ALL
        SELECT (SELECT min(s.kid) FROM apikey.session s WHERE s.kid > signed.kid) FROM signed WHERE signed.kid IS NOT NULL
    ), gone AS (
        -- What somebody is changing just now can wait
        DELETE FROM apikey.session s USING (
            SELECT o.session_id FROM signed JOIN apikey.session o ON o.kid = signed.kid AND o.expires_at <= now
            FOR UPDATE OF o SKIP LOCKED) ended
        WHERE s.session_id = ended.session_id RETURNING s.session_id
    )
    DELETE FROM apikey.session_use u USING gone WHERE u.session_id = gone.session_id;
    -- What the flush worker noted just when its session was removed
    DELETE FROM apikey.session_use u
        WHERE u.last_used_at < now - interval '1 day'
          AND NOT EXISTS (SELECT FROM apikey.session s WHERE s.session_id = u.session_id);
    -- Not while a transaction that signed with one may still be open
    DELETE FROM apikey.signing_key k
        WHERE k.retired_at < now - interval '1 day'
          AND NOT EXISTS (SELECT FROM apikey.session s WHERE s.kid = k.kid);
END
$$;
COMMENT ON FUNCTION apikey.maintain_sessions(timestamptz) IS 'Removes expired sessions, and retired signing keys without any';

CREATE FUNCTION apikey.forget_sessions(key_ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WITH gone AS (
        DELETE FROM apikey.session s USING unnest(key_ids) k (key_id) WHERE s.key_id = k.key_id RETURNING s.session_id)
    DELETE FROM apikey.session_use u USING gone WHERE u.session_id = gone.session_id;
END
$$;
COMMENT ON FUNCTION apikey.forget_sessions(uuid[]) IS 'Removes the sessions of keys that are gone';
