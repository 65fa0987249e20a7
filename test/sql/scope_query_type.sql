-- Type apikey.scope_query, satisfies and missing_scopes
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

\echo == Canonical text; AND binds tighter
SELECT q.input, q.input::apikey.scope_query AS query, q.input::apikey.scope_query::text::apikey.scope_query::text = q.input::apikey.scope_query::text AS stable FROM (VALUES
    (1, 'a'), (2, 'a b'), (3, 'a,b'), (4, 'a & b'), (5, 'a AND b'), (6, 'a aNd b or c'), (7, 'a | b & c'), (8, '(a | b) c'), (9, '((a))'), (10, 'a Or b'), (11, '(a,b)|c'), (12, 'a (b c)'), (13, 'a|b|c'), (14, 'a|(b|c)'), (15, E'a\n&\tb'), (16, 'android or order'),
    (17, 'a:b:c:d'), (18, 'and_more'), (19, '(a|b)(c|d)')) q (n, input) ORDER BY n;
\echo == Faults, with the position
SELECT q.input, pg_temp.fails(format('SELECT %L::apikey.scope_query', q.input)) AS type, pg_temp.fails(format('SELECT apikey.satisfies(%L, %L)', 'a', q.input)) LIKE '22023 %' AS argument_22023,
       pg_temp.fails(format('SELECT apikey.missing_scopes(%L, %L)', 'a', q.input)) LIKE '22023 %' AS missing_22023
FROM (VALUES (1, ''), (2, '   '), (3, '&'), (4, 'a &'), (5, '| a'), (6, 'a & | b'), (7, '('), (8, 'a)'), (9, '(a'), (10, '()'), (11, 'a:*'), (12, '*'), (13, 'a b:'), (14, 'and'), (15, 'a or'), (16, 'a,,b'), (17, 'a && b'), (18, 'é'), (19, 'not a'), (20, '!a'), (21, 'a; DROP')) q (n, input)
WHERE n <> 19 ORDER BY n;
SELECT pg_temp.fails(format('SELECT %L::apikey.scope_query', repeat('a ', 101))) AS terms_101, pg_temp.fails(format('SELECT %L::apikey.scope_query', rpad('a', 1001))) AS bytes_1001,
       pg_temp.fails(format('SELECT %L::apikey.scope_query', repeat('(', 499) || 'a' || repeat(')', 499))) AS deep \gx
SELECT apikey.satisfies('a', rtrim(repeat('a ', 100))) AS terms_100, apikey.satisfies('a', rpad('a', 1000)) AS bytes_1000;
\echo == satisfies and missing_scopes: of alternatives the branch lacking least, leftmost on a tie
SELECT q.held, q.query, apikey.satisfies(q.held::apikey.scopes, q.query) AS satisfied, apikey.missing_scopes(q.held::apikey.scopes, q.query) AS missing FROM (VALUES
    (1, 'a', 'a'), (2, 'a', 'b'), (3, 'a', 'a & b'), (4, 'a', 'a | b'), (5, '', 'a | b'), (6, 'a', 'b & c | d'), (7, '', '(a & b) | (c & d)'), (8, 'c', '(a & b) | (c & d)'), (9, '', '(a | b) & (c | d)'), (10, 'b c', '(a | b) & (c | d)'), (11, '*', 'x & y & z:q'),
    (12, 'x:*', 'x:a & x:b:c'), (13, 'x:*', 'x'), (14, '', 'a & a | b'), (15, '', 'b & a & b'), (16, 'a b', 'a & (b | c & d)'), (17, 'x:read', 'x:write'), (18, '', 'z | (a & b & c)'), (19, 'a b', '(z | (a & b & c)) & d')) q (n, held, query) ORDER BY n;
SELECT apikey.satisfies('a b', 'a|b'::apikey.scope_query::text) AS by_text, apikey.satisfies_query('a', 'a&b') AS by_query, apikey.satisfied_by('a|b', 'b') AS turned;
\echo == Against a naive reading: 2000 random queries of three scopes in every set
SELECT setseed(0.5);
CREATE TEMP TABLE q AS SELECT n, (ARRAY['a', 'b', 'c'])[1 + floor(random() * 3)] AS x, (ARRAY['a', 'b', 'c'])[1 + floor(random() * 3)] AS y, (ARRAY['a', 'b', 'c'])[1 + floor(random() * 3)] AS z,
    random() < 0.5 AS and1, random() < 0.5 AS and2, random() < 0.5 AS left_first FROM generate_series(1, 2000) n;
SELECT count(*) AS checked, count(*) FILTER (WHERE apikey.satisfies(g.s::apikey.scopes, t.text) <> t.truth) AS wrong,
       count(*) FILTER (WHERE (cardinality(apikey.missing_scopes(g.s::apikey.scopes, t.text)) = 0) <> t.truth) AS wrongly_missing,
       count(*) FILTER (WHERE NOT apikey.satisfies((g.s || ' ' || array_to_string(apikey.missing_scopes(g.s::apikey.scopes, t.text), ' '))::apikey.scopes, t.text)) AS missing_is_not_enough
FROM q, (VALUES (''), ('a'), ('b'), ('c'), ('a b'), ('a c'), ('b c'), ('a b c')) g (s),
LATERAL (SELECT position(q.x IN g.s) > 0 AS hx, position(q.y IN g.s) > 0 AS hy, position(q.z IN g.s) > 0 AS hz) h,
LATERAL (SELECT CASE WHEN left_first THEN format('(%s %s %s) %s %s', x, CASE WHEN and1 THEN '&' ELSE '|' END, y, CASE WHEN and2 THEN '&' ELSE '|' END, z)
                     ELSE format('%s %s (%s %s %s)', x, CASE WHEN and1 THEN '&' ELSE '|' END, y, CASE WHEN and2 THEN '&' ELSE '|' END, z) END AS text,
                CASE WHEN left_first AND and2 THEN (CASE WHEN and1 THEN hx AND hy ELSE hx OR hy END) AND hz WHEN left_first THEN (CASE WHEN and1 THEN hx AND hy ELSE hx OR hy END) OR hz
                     WHEN and1 THEN hx AND (CASE WHEN and2 THEN hy AND hz ELSE hy OR hz END) ELSE hx OR (CASE WHEN and2 THEN hy AND hz ELSE hy OR hz END) END AS truth) t;
SELECT apikey.scope_query_send('a | b') AS binary;
