--
-- Verify
--

CREATE TYPE apikey.verdict AS (
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
COMMENT ON TYPE apikey.verdict IS 'May this request pass?';

CREATE FUNCTION apikey.verify(
    key text,
    required text DEFAULT NULL,
    ip text DEFAULT NULL,
    origin text DEFAULT NULL,
    account text DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    cost integer DEFAULT 1,
    method text DEFAULT NULL,
    path text DEFAULT NULL,
    request_id text DEFAULT NULL
) RETURNS apikey.verdict
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100 AS 'MODULE_PATHNAME', 'apikey_sql_verify';
COMMENT ON FUNCTION apikey.verify(text, text, text, text, text, text[], integer, text, text, text)
    IS 'Judges one request: SELECT * FROM apikey.verify($1, ''calls:read'', $2)';

CREATE FUNCTION apikey.verify(
    key text,
    required text,
    ip inet,
    origin text DEFAULT NULL,
    account text DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    cost integer DEFAULT 1,
    method text DEFAULT NULL,
    path text DEFAULT NULL,
    request_id text DEFAULT NULL
) RETURNS apikey.verdict
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100 AS 'MODULE_PATHNAME', 'apikey_sql_verify_inet';
COMMENT ON FUNCTION apikey.verify(text, text, inet, text, text, text[], integer, text, text, text)
    IS 'The same for a caller that holds an inet, such as inet_client_addr()';

CREATE FUNCTION apikey.explain(
    key text,
    required text DEFAULT NULL,
    ip text DEFAULT NULL,
    origin text DEFAULT NULL,
    account text DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    cost integer DEFAULT 1,
    method text DEFAULT NULL,
    path text DEFAULT NULL,
    request_id text DEFAULT NULL
) RETURNS TABLE (step text, passed boolean, detail text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 ROWS 15 AS 'MODULE_PATHNAME', 'apikey_sql_explain';
COMMENT ON FUNCTION apikey.explain(text, text, text, text, text, text[], integer, text, text, text)
    IS 'Dry run of verify: every check with its result; nothing spent, nothing counted';

