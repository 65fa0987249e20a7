--
-- apikey.sketch: how many different addresses, approximately
--

CREATE TYPE apikey.sketch;

CREATE FUNCTION apikey.sketch_in(cstring) RETURNS apikey.sketch
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_sketch_in';
COMMENT ON FUNCTION apikey.sketch_in(cstring) IS 'Reads \x and hexadecimal digits: two for each of 4096 registers, or six for each of those that are not zero';
CREATE FUNCTION apikey.sketch_out(apikey.sketch) RETURNS cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_sketch_out';
COMMENT ON FUNCTION apikey.sketch_out(apikey.sketch) IS 'Writes \x and hexadecimal digits: the registers that are not zero if these are few, else all';
CREATE FUNCTION apikey.sketch_recv(internal) RETURNS apikey.sketch
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_sketch_recv';
COMMENT ON FUNCTION apikey.sketch_recv(internal) IS 'Reads the binary form: a version byte, and the registers or a list of some';
CREATE FUNCTION apikey.sketch_send(apikey.sketch) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_sketch_send';
COMMENT ON FUNCTION apikey.sketch_send(apikey.sketch) IS 'Writes the binary form';

-- Most sketches are of few addresses: of these, three bytes for each.
CREATE TYPE apikey.sketch (
    INPUT = apikey.sketch_in,
    OUTPUT = apikey.sketch_out,
    RECEIVE = apikey.sketch_recv,
    SEND = apikey.sketch_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended,
    CATEGORY = 'U'
);
COMMENT ON TYPE apikey.sketch IS 'Approximate set of addresses (HyperLogLog, 4096 registers): can be merged and counted, not listed';

CREATE FUNCTION apikey.cardinality(apikey.sketch) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'apikey_sql_sketch_cardinality';
COMMENT ON FUNCTION apikey.cardinality(apikey.sketch) IS 'About how many different addresses; the standard error is 1.7 % at most';

CREATE FUNCTION apikey.sketch_union(apikey.sketch, apikey.sketch) RETURNS apikey.sketch
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'apikey_sql_sketch_union';
COMMENT ON FUNCTION apikey.sketch_union(apikey.sketch, apikey.sketch) IS 'The addresses of both';

-- NULL for the sketch means an empty one; NULL for the hashes changes nothing.
CREATE FUNCTION apikey.sketch_add_hashes(apikey.sketch, hashes bytea) RETURNS apikey.sketch
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'apikey_sql_sketch_add_hashes';
COMMENT ON FUNCTION apikey.sketch_add_hashes(apikey.sketch, bytea) IS 'Adds hashes of addresses, four bytes each, most significant first';

-- Not for parallel plans: the first call may have to make the secret.
CREATE FUNCTION apikey.sketch_add(apikey.sketch, inet) RETURNS apikey.sketch
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'apikey_sql_sketch_add';
COMMENT ON FUNCTION apikey.sketch_add(apikey.sketch, inet) IS 'Adds an address; step of apikey.sketch_agg';

CREATE AGGREGATE apikey.sketch_agg(inet) (
    SFUNC = apikey.sketch_add,
    STYPE = apikey.sketch,
    SSPACE = 4100,
    COMBINEFUNC = apikey.sketch_union,
    PARALLEL = UNSAFE
);
COMMENT ON AGGREGATE apikey.sketch_agg(inet) IS 'Sketch of addresses, their masks left aside; NULL without any';

CREATE AGGREGATE apikey.sketch_union_agg(apikey.sketch) (
    SFUNC = apikey.sketch_union,
    STYPE = apikey.sketch,
    SSPACE = 4100,
    COMBINEFUNC = apikey.sketch_union,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE apikey.sketch_union_agg(apikey.sketch) IS 'Merges sketches: of several days, of several keys; NULL without any';
