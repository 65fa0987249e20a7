--
-- Sealed contexts: an identity handed over as a text
--

CREATE TYPE apikey.opened_context AS (
    context text,
    ok boolean,
    code text,
    status integer,
    message text,
    key_id uuid,
    account text,
    kind text,
    name text,
    db_role text,
    scopes text[],
    missing_scopes text[],
    metadata jsonb,
    expires_at timestamptz,
    limit_name text,
    limit_max integer,
    limit_per integer,
    limit_remaining integer,
    limit_reset integer,
    retry_after integer,
    credits_remaining bigint,
    session_id uuid
);
COMMENT ON TYPE apikey.opened_context IS 'A sealed identity, and the verdict it comes from';

CREATE FUNCTION apikey.open_context(
    key text,
    required text DEFAULT NULL,
    ip text DEFAULT NULL,
    origin text DEFAULT NULL,
    account text DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    cost integer DEFAULT 1,
    method text DEFAULT NULL,
    path text DEFAULT NULL,
    request_id text DEFAULT NULL,
    ttl interval DEFAULT '60 s'
) RETURNS apikey.opened_context
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100 AS 'MODULE_PATHNAME', 'apikey_sql_open_context';
COMMENT ON FUNCTION apikey.open_context(text, text, text, text, text, text[], integer, text, text, text, interval)
    IS 'Like verify, with a text for SET LOCAL apikey.context that makes later transactions work for the key';
