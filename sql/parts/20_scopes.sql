--
-- apikey.scopes: a set of grants
--

CREATE TYPE apikey.scopes;

CREATE FUNCTION apikey.scopes_in(cstring) RETURNS apikey.scopes
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_in';
CREATE FUNCTION apikey.scopes_out(apikey.scopes) RETURNS cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_out';
CREATE FUNCTION apikey.scopes_recv(internal) RETURNS apikey.scopes
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_recv';
CREATE FUNCTION apikey.scopes_send(apikey.scopes) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_send';

CREATE TYPE apikey.scopes (
    INPUT = apikey.scopes_in,
    OUTPUT = apikey.scopes_out,
    RECEIVE = apikey.scopes_recv,
    SEND = apikey.scopes_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended,
    CATEGORY = 'U'
);
COMMENT ON TYPE apikey.scopes IS 'A set of grants such as "calls:read contacts:*"';

CREATE FUNCTION apikey.scopes_from_array(text[]) RETURNS apikey.scopes
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_from_array';
CREATE FUNCTION apikey.scopes_to_array(apikey.scopes) RETURNS text[]
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_to_array';
CREATE FUNCTION apikey.scopes_from_jsonb(jsonb) RETURNS apikey.scopes
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_from_jsonb';
CREATE FUNCTION apikey.scopes_to_jsonb(apikey.scopes) RETURNS jsonb
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_to_jsonb';

CREATE CAST (text AS apikey.scopes) WITH INOUT AS ASSIGNMENT;
CREATE CAST (varchar AS apikey.scopes) WITH INOUT AS ASSIGNMENT;
CREATE CAST (apikey.scopes AS text) WITH INOUT AS ASSIGNMENT;
CREATE CAST (apikey.scopes AS varchar) WITH INOUT AS ASSIGNMENT;
CREATE CAST (text[] AS apikey.scopes) WITH FUNCTION apikey.scopes_from_array(text[]) AS ASSIGNMENT;
CREATE CAST (apikey.scopes AS text[]) WITH FUNCTION apikey.scopes_to_array(apikey.scopes) AS ASSIGNMENT;
CREATE CAST (jsonb AS apikey.scopes) WITH FUNCTION apikey.scopes_from_jsonb(jsonb) AS ASSIGNMENT;
CREATE CAST (apikey.scopes AS jsonb) WITH FUNCTION apikey.scopes_to_jsonb(apikey.scopes) AS ASSIGNMENT;

-- Order and equality

CREATE FUNCTION apikey.scopes_eq(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_eq';
CREATE FUNCTION apikey.scopes_ne(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_ne';
CREATE FUNCTION apikey.scopes_lt(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_lt';
CREATE FUNCTION apikey.scopes_le(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_le';
CREATE FUNCTION apikey.scopes_gt(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_gt';
CREATE FUNCTION apikey.scopes_ge(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_ge';
CREATE FUNCTION apikey.scopes_cmp(apikey.scopes, apikey.scopes) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_cmp';
CREATE FUNCTION apikey.scopes_hash(apikey.scopes) RETURNS integer
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_hash';
CREATE FUNCTION apikey.scopes_hash_extended(apikey.scopes, bigint) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_hash_extended';

CREATE OPERATOR apikey.= (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_eq,
    COMMUTATOR = OPERATOR(apikey.=), NEGATOR = OPERATOR(apikey.<>),
    RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR apikey.<> (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_ne,
    COMMUTATOR = OPERATOR(apikey.<>), NEGATOR = OPERATOR(apikey.=),
    RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR apikey.< (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_lt,
    COMMUTATOR = OPERATOR(apikey.>), NEGATOR = OPERATOR(apikey.>=),
    RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR apikey.<= (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_le,
    COMMUTATOR = OPERATOR(apikey.>=), NEGATOR = OPERATOR(apikey.>),
    RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR apikey.> (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_gt,
    COMMUTATOR = OPERATOR(apikey.<), NEGATOR = OPERATOR(apikey.<=),
    RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
CREATE OPERATOR apikey.>= (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_ge,
    COMMUTATOR = OPERATOR(apikey.<=), NEGATOR = OPERATOR(apikey.<),
    RESTRICT = scalargesel, JOIN = scalargejoinsel
);

CREATE OPERATOR CLASS apikey.scopes_ops DEFAULT FOR TYPE apikey.scopes USING btree AS
    OPERATOR 1 apikey.<, OPERATOR 2 apikey.<=, OPERATOR 3 apikey.=,
    OPERATOR 4 apikey.>=, OPERATOR 5 apikey.>,
    FUNCTION 1 apikey.scopes_cmp(apikey.scopes, apikey.scopes);
CREATE OPERATOR CLASS apikey.scopes_hash_ops DEFAULT FOR TYPE apikey.scopes USING hash AS
    OPERATOR 1 apikey.=,
    FUNCTION 1 apikey.scopes_hash(apikey.scopes),
    FUNCTION 2 apikey.scopes_hash_extended(apikey.scopes, bigint);

-- What a set covers

CREATE FUNCTION apikey.covers(apikey.scopes, text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_covers';
COMMENT ON FUNCTION apikey.covers(apikey.scopes, text) IS 'Does the set cover this scope or grant? A grant is covered when all that it covers is';
CREATE FUNCTION apikey.covers_all(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_covers_all';
COMMENT ON FUNCTION apikey.covers_all(apikey.scopes, apikey.scopes) IS 'Does the first set cover every grant of the second?';
CREATE FUNCTION apikey.covered_by(text, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_covered_by';
COMMENT ON FUNCTION apikey.covered_by(text, apikey.scopes) IS 'Is this scope or grant covered by the set?';
CREATE FUNCTION apikey.covered_by_all(apikey.scopes, apikey.scopes) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_covered_by_all';
COMMENT ON FUNCTION apikey.covered_by_all(apikey.scopes, apikey.scopes) IS 'Does the second set cover every grant of the first?';
CREATE FUNCTION apikey.scopes_union(apikey.scopes, apikey.scopes) RETURNS apikey.scopes
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_union';
COMMENT ON FUNCTION apikey.scopes_union(apikey.scopes, apikey.scopes) IS 'Grants that are in either set';
CREATE FUNCTION apikey.scopes_difference(apikey.scopes, apikey.scopes) RETURNS apikey.scopes
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_scopes_difference';
COMMENT ON FUNCTION apikey.scopes_difference(apikey.scopes, apikey.scopes) IS 'Grants of the first set that are not in the second';
CREATE FUNCTION apikey.is_grant(text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_is_grant';
COMMENT ON FUNCTION apikey.is_grant(text) IS 'Is the text a well-formed scope or grant?';

CREATE OPERATOR apikey.@> (
    LEFTARG = apikey.scopes, RIGHTARG = text, FUNCTION = apikey.covers,
    COMMUTATOR = OPERATOR(apikey.<@), RESTRICT = contsel, JOIN = contjoinsel
);
CREATE OPERATOR apikey.@> (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.covers_all,
    COMMUTATOR = OPERATOR(apikey.<@), RESTRICT = contsel, JOIN = contjoinsel
);
CREATE OPERATOR apikey.<@ (
    LEFTARG = text, RIGHTARG = apikey.scopes, FUNCTION = apikey.covered_by,
    COMMUTATOR = OPERATOR(apikey.@>), RESTRICT = contsel, JOIN = contjoinsel
);
CREATE OPERATOR apikey.<@ (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.covered_by_all,
    COMMUTATOR = OPERATOR(apikey.@>), RESTRICT = contsel, JOIN = contjoinsel
);
CREATE OPERATOR apikey.+ (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_union,
    COMMUTATOR = OPERATOR(apikey.+)
);
CREATE OPERATOR apikey.- (
    LEFTARG = apikey.scopes, RIGHTARG = apikey.scopes, FUNCTION = apikey.scopes_difference
);

