-- Type apikey.scopes: forms, limits, order, cover, sets, casts, binary form
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
-- Runs a command that must fail: SQLSTATE, message, detail and hint
CREATE FUNCTION pg_temp.fails(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(regexp_replace(concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, '')),
                                         '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g'),
                          '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( ?[A-Z]+|[+-]\d\d(:\d\d)?)?', '<time>', 'g');
END $$;

\echo == Forms of input; output is sorted, without duplicates
SELECT s.input, s.input::apikey.scopes AS scopes FROM (VALUES (1, 'calls:read contacts:*'), (2, 'b, a ,c'), (3, 'b,a'), (4, '["b:x","a"]'), (5, '{calls:read,"contacts:*"}'), (6, '{"calls":["read","write"],"contacts":["*"]}'),
    (7, ''), (8, '{}'), (9, '  '), (10, '[]'), (11, '*'), (12, 'a a a'), (13, E'b\ta\nc\rd'), (14, '{"a:b":["c"]}'), (15, ' { a , b } '), (16, 'B a A b'), (17, 'a:b a.b a-b a_b a'), (18, '{"calls":[]}'), (19, 'x1:2')) s (n, input) ORDER BY n;
\echo == Faults
SELECT s.input, pg_temp.fails(format('SELECT %L::apikey.scopes', s.input)) AS error FROM (VALUES (1, 'a,,b'), (2, ',a'), (3, 'a,'), (4, 'a::b'), (5, ':'), (6, 'a:'), (7, '*:a'), (8, 'a*'), (9, '**'), (10, 'a:*:b'), (11, 'a:b:c:d:e'), (12, 'é'), (13, 'a/b'), (14, '["a b"]'),
    (15, '[1]'), (16, '[["a"]]'), (17, '{"a":"b"}'), (18, '{"a":{"b":["c"]}}'), (19, '{"a":[["b"]]}'), (20, '{a,NULL}'), (21, '{{a},{b}}'), (22, '["a",null]'), (23, '{"":["a"]}'), (24, 'a;b'), (25, '"a"')) s (n, input) ORDER BY n;
SELECT pg_temp.fails(format('SELECT %L::apikey.scopes', repeat('a', 65))) AS segment, pg_temp.fails(format('SELECT %L::apikey.scopes', repeat('a', 64) || ':' || repeat('b', 64))) AS "grant",
       pg_temp.fails($$SELECT (SELECT string_agg('s' || n, ' ') FROM generate_series(1, 257) n)::apikey.scopes$$) AS "set" \gx
SELECT length((repeat('a', 64) || ':' || repeat('b', 63))::apikey.scopes::text) AS longest_grant,
       cardinality((SELECT string_agg('s' || n, ' ') FROM generate_series(1, 256) n)::apikey.scopes::text[]) AS largest_set,
       cardinality((SELECT string_agg('s' || n % 256, ' ') FROM generate_series(1, 4000) n)::apikey.scopes::text[]) AS duplicates_do_not_count;

\echo == covers: one scope or grant
SELECT g.grants, string_agg(CASE WHEN apikey.covers(g.grants::apikey.scopes, s.scope) THEN s.scope END, ' ' ORDER BY s.n) AS covered
FROM (VALUES (1, '*'), (2, 'a:*'), (3, 'a'), (4, 'a:b'), (5, 'a:b:*'), (6, 'a:b a:c'), (7, ''), (8, 'A:*'), (9, 'a:read')) g (n, grants),
     (VALUES (1, 'a'), (2, 'a:b'), (3, 'a:b:c'), (4, 'a:b:c:d'), (5, 'ab:c'), (6, 'a:write'), (7, 'a:read'), (8, '*'), (9, 'a:*'), (10, 'a:b:*'), (11, 'z')) s (n, scope) GROUP BY g.n, g.grants ORDER BY g.n;
SELECT s.scope, pg_temp.fails(format('SELECT apikey.covers(%L, %L)', 'a', s.scope)) AS error FROM (VALUES (1, ''), (2, 'a b'), (3, 'a:'), (4, '*:a')) s (n, scope) ORDER BY n;
\echo == Operators
SET search_path = public, apikey;
SELECT 'a:* b'::scopes @> 'a:x'::text AS holds, 'a:* b'::scopes @> 'c'::text AS holds_not, 'a:x'::text <@ 'a:*'::scopes AS held, 'a:* b'::scopes @> 'a:x b'::scopes AS holds_all, 'a:*'::scopes @> 'a:x b'::scopes AS not_all,
       'a:x'::scopes <@ '*'::scopes AS within, ''::scopes <@ 'a'::scopes AS empty_within, 'a'::scopes @> '*'::scopes AS star_within, 'a:*'::scopes @> 'a:b:*'::scopes AS wildcard_within;
SELECT 'b a'::scopes + 'c a'::scopes AS union, 'a b c'::scopes - 'b'::scopes AS difference, 'a:* b'::scopes - 'a:x'::scopes AS difference_is_literal, ''::scopes + ''::scopes = ''::scopes AS empty,
       'a b'::scopes = 'b,a'::scopes AS equal, 'a'::scopes <> 'b'::scopes AS different, 'a'::scopes < 'a b'::scopes AS less, 'a b' @@ 'a&b'::scope_query AS satisfied, 'a|c'::scope_query @@ 'c'::scopes AS satisfies;
RESET search_path;
SELECT pg_temp.fails($$SELECT (SELECT string_agg('s' || n, ' ') FROM generate_series(1, 256) n)::apikey.scopes OPERATOR(apikey.+) 'x'::apikey.scopes$$) AS union_too_large;

\echo == Order, hash and index: sets that are equal are one
CREATE TEMP TABLE t (n integer, s apikey.scopes);
INSERT INTO t SELECT n, (CASE WHEN n % 2 = 0 THEN 'a:' || n % 50 || ' b' ELSE 'b,a:' || n % 50 END)::apikey.scopes FROM generate_series(0, 999) n;
SELECT count(DISTINCT s) AS distinct_sets, (SELECT count(*) FROM (SELECT s FROM t GROUP BY s) g) AS groups FROM t;
SELECT s FROM (VALUES ('b'::apikey.scopes), ('a b'), ('a'), (''), ('a:z'), ('B'), ('ab')) v (s) ORDER BY s;
CREATE INDEX t_btree ON t (s); CREATE INDEX t_hash ON t USING hash (s);
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT count(*) AS by_btree FROM t WHERE s OPERATOR(apikey.=) 'b a:7';
DROP INDEX t_btree;
SELECT count(*) AS by_hash FROM t WHERE s OPERATOR(apikey.=) 'b a:7';
RESET enable_seqscan; RESET enable_bitmapscan;
SET enable_hashjoin = off; SET enable_nestloop = off;
SELECT count(*) AS merge_join FROM t a JOIN t b ON a.s OPERATOR(apikey.=) b.s WHERE a.n < 50;
RESET enable_hashjoin; RESET enable_nestloop; SET enable_mergejoin = off;
SELECT count(*) AS hash_join FROM t a JOIN t b ON a.s OPERATOR(apikey.=) b.s WHERE a.n < 50;
RESET enable_mergejoin;
SELECT count(*) AS hash_differs_from_equality FROM t a, t b WHERE a.n < 100 AND b.n < 100 AND (a.s OPERATOR(apikey.=) b.s) <> (apikey.scopes_hash(a.s) = apikey.scopes_hash(b.s) AND apikey.scopes_hash_extended(a.s, 7) = apikey.scopes_hash_extended(b.s, 7));

\echo == Casts: on assignment, not by themselves
CREATE TEMP TABLE c (s apikey.scopes, t text, a text[], j jsonb);
INSERT INTO c (s) VALUES ('a b'::text), ('a b'::varchar), ('{b,a}'::text[]), ('["b","a"]'::jsonb), ('{"a":["x"]}'::jsonb), (NULL);
UPDATE c SET t = s, a = s, j = s;
SELECT * FROM c;
SELECT pg_temp.fails($$SELECT length('a'::apikey.scopes)$$) LIKE '42883 %' AS no_implicit_cast;
\echo == Binary form
CREATE FUNCTION pg_temp.sent(s apikey.scopes) RETURNS bytea LANGUAGE sql AS 'SELECT apikey.scopes_send(s)';
SELECT pg_temp.sent('b a:*') AS binary, pg_temp.sent('') AS empty;
COPY (SELECT * FROM (VALUES ('b a'::apikey.scopes), (''), ('*')) v (s)) TO PROGRAM 'cat >apikey_regress.copy' (FORMAT binary);
CREATE TEMP TABLE received (s apikey.scopes);
COPY received FROM PROGRAM 'cat apikey_regress.copy && rm apikey_regress.copy' (FORMAT binary);
SELECT s FROM received ORDER BY s;
