--
-- In front of the database: requests over HTTP
--

CREATE FUNCTION apikey.scope_for(method text, path text) RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scope_for';
COMMENT ON FUNCTION apikey.scope_for(text, text)
    IS 'The scope that a request needs: resource:read for GET and HEAD, else resource:write; the resource by apikey.route_pattern';

CREATE FUNCTION apikey.http_check(
    headers jsonb,
    method text,
    path text,
    peer_ip text DEFAULT NULL,
    required text DEFAULT NULL,
    dialect text DEFAULT 'generic',
    kinds text[] DEFAULT NULL,
    account text DEFAULT NULL,
    cost integer DEFAULT 1,
    OUT allowed boolean,
    OUT status integer,
    OUT response_headers jsonb,
    OUT upstream_headers jsonb,
    OUT body text,
    OUT content_type text
)
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100 AS 'MODULE_PATHNAME', 'apikey_sql_http_check';
COMMENT ON FUNCTION apikey.http_check(jsonb, text, text, text, text, text, text[], text, integer)
    IS 'Judges a request for a gateway, and says what to answer; dialects generic, nginx, envoy, traefik, hasura, kong';

-- As its caller: a role cannot be set from within a SECURITY DEFINER function.
CREATE FUNCTION apikey.pre_request() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY INVOKER AS 'MODULE_PATHNAME', 'apikey_sql_pre_request';
COMMENT ON FUNCTION apikey.pre_request()
    IS 'PostgREST''s db-pre-request: verifies the key of the request, and works for it until the end of the transaction';
