--
-- apikey.scope_query: what a request needs
--

CREATE TYPE apikey.scope_query;

CREATE FUNCTION apikey.scope_query_in(cstring) RETURNS apikey.scope_query
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scope_query_in';
CREATE FUNCTION apikey.scope_query_out(apikey.scope_query) RETURNS cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scope_query_out';
CREATE FUNCTION apikey.scope_query_recv(internal) RETURNS apikey.scope_query
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scope_query_recv';
CREATE FUNCTION apikey.scope_query_send(apikey.scope_query) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scope_query_send';

CREATE TYPE apikey.scope_query (
    INPUT = apikey.scope_query_in,
    OUTPUT = apikey.scope_query_out,
    RECEIVE = apikey.scope_query_recv,
    SEND = apikey.scope_query_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended,
    CATEGORY = 'U'
);
COMMENT ON TYPE apikey.scope_query IS 'Scopes that a request needs, such as "calls:read & (billing:read | admin)"';

CREATE CAST (text AS apikey.scope_query) WITH INOUT AS ASSIGNMENT;
CREATE CAST (varchar AS apikey.scope_query) WITH INOUT AS ASSIGNMENT;
CREATE CAST (apikey.scope_query AS text) WITH INOUT AS ASSIGNMENT;
CREATE CAST (apikey.scope_query AS varchar) WITH INOUT AS ASSIGNMENT;

CREATE FUNCTION apikey.satisfies(apikey.scopes, text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_satisfies';
COMMENT ON FUNCTION apikey.satisfies(apikey.scopes, text) IS 'Does the set hold what this query needs?';
CREATE FUNCTION apikey.satisfies_query(apikey.scopes, apikey.scope_query) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_satisfies_query';
COMMENT ON FUNCTION apikey.satisfies_query(apikey.scopes, apikey.scope_query) IS 'Does the set hold what this query needs?';
CREATE FUNCTION apikey.satisfied_by(apikey.scope_query, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_satisfied_by';
COMMENT ON FUNCTION apikey.satisfied_by(apikey.scope_query, apikey.scopes) IS 'Is what this query needs held by the set?';
CREATE FUNCTION apikey.missing_scopes(apikey.scopes, text) RETURNS text[]
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_missing_scopes';
COMMENT ON FUNCTION apikey.missing_scopes(apikey.scopes, text) IS 'The scopes that the set lacks for this query; of alternatives the branch lacking least';

CREATE OPERATOR apikey.@@ (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scope_query, FUNCTION = apikey.satisfies_query,
    COMMUTATOR = OPERATOR(apikey.@@), RESTRICT = contsel, JOIN = contjoinsel
);
CREATE OPERATOR apikey.@@ (
    LEFTARG = apikey.scope_query, RIGHTARG = apikey.scopes, FUNCTION = apikey.satisfied_by,
    COMMUTATOR = OPERATOR(apikey.@@), RESTRICT = contsel, JOIN = contjoinsel
);

