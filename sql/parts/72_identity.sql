--
-- Identity: who the current transaction works for
--

CREATE FUNCTION apikey.authenticate(
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
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100 AS 'MODULE_PATHNAME', 'apikey_sql_authenticate';
COMMENT ON FUNCTION apikey.authenticate(text, text, text, text, text, text[], integer, text, text, text)
    IS 'Like verify, and the transaction works for the key until it ends; a refusal is an error KA400 to KA503';

-- Parallel restricted: the identity is in the leader's memory.
CREATE FUNCTION apikey.current_key_id() RETURNS uuid
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_current_key_id';
COMMENT ON FUNCTION apikey.current_key_id() IS 'The key that this transaction works for; NULL without one';

CREATE FUNCTION apikey.current_account() RETURNS text
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_current_account';
COMMENT ON FUNCTION apikey.current_account() IS 'The account that this transaction works for; NULL without one';

CREATE FUNCTION apikey.current_scopes() RETURNS text[]
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_current_scopes';
COMMENT ON FUNCTION apikey.current_scopes() IS 'Grants of the key that this transaction works for; NULL without one';

CREATE FUNCTION apikey.current_metadata() RETURNS jsonb
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_current_metadata';
COMMENT ON FUNCTION apikey.current_metadata() IS 'Metadata of the key that this transaction works for; NULL without one';

CREATE FUNCTION apikey.is_authenticated() RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_is_authenticated';
COMMENT ON FUNCTION apikey.is_authenticated() IS 'Does this transaction work for a key?';

CREATE FUNCTION apikey.allows(required text) RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_allows';
COMMENT ON FUNCTION apikey.allows(text)
    IS 'Does the key that this transaction works for hold these scopes? In policies: (SELECT apikey.allows(''docs:read''))';
