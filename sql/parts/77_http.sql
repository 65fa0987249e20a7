--
-- In front of the database: requests over HTTP
--

CREATE FUNCTION apikey.scope_for(method text, path text) RETURNS text
    LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scope_for';
COMMENT ON FUNCTION apikey.scope_for(text, text)
    IS 'The scope that a request needs: resource:read for GET and HEAD, else resource:write; the resource by apikey.route_pattern';
