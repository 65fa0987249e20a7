-- apikey.sketch: approximate sets of addresses, hashed with a secret of the installation (threat T108)
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_sketch;
CREATE DATABASE apikey_sketch;
\c apikey_sketch
SET client_min_messages = warning;
SET search_path = public;
CREATE EXTENSION apikey CASCADE;
-- Runs a command that must fail: SQLSTATE, message, detail and hint
CREATE FUNCTION pg_temp.fails(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
-- Addresses 10.0.0.0 + first and so on
CREATE FUNCTION pg_temp.addresses(first bigint, n bigint) RETURNS SETOF inet LANGUAGE sql ROWS 100000 AS
    $$ SELECT '10.0.0.0'::inet + i FROM generate_series($1, $1 + $2 - 1) i $$;
CREATE FUNCTION pg_temp.sketch(first bigint, n bigint) RETURNS apikey.sketch LANGUAGE sql AS
    $$ SELECT apikey.sketch_agg(a) FROM pg_temp.addresses($1, $2) a $$;

\echo == The secret: none to begin with, made when it is needed, gone with its transaction, and then for ever
SELECT count(*) AS secrets FROM apikey.secret WHERE name = 'addresses';
SELECT apikey.sketch_agg(a) IS NULL AS of_nothing FROM (VALUES (NULL::inet)) v (a);
SELECT count(*) AS secrets FROM apikey.secret WHERE name = 'addresses';
BEGIN READ ONLY;
SELECT pg_temp.fails('SELECT apikey.sketch_agg(inet ''::1'')') AS read_only;
ROLLBACK;
BEGIN;
SELECT name FROM apikey.issue('sketch', 'rolled back');
SELECT octet_length(secret) AS bytes FROM apikey.secret WHERE name = 'addresses';
SELECT pg_temp.sketch(1, 100)::text AS rolled_back \gset
ROLLBACK;
SELECT count(*) AS secrets FROM apikey.secret WHERE name = 'addresses';
BEGIN;
SAVEPOINT s;
SELECT pg_temp.sketch(1, 100)::text AS by_sketch_agg \gset
ROLLBACK TO SAVEPOINT s;
SELECT count(*) AS secrets FROM apikey.secret WHERE name = 'addresses';
SELECT name FROM apikey.issue('sketch', 'kept');
SELECT pg_temp.sketch(1, 100)::text AS first \gset
COMMIT;
SELECT :'rolled_back' <> :'by_sketch_agg' AND :'by_sketch_agg' <> :'first' AND :'rolled_back' <> :'first' AS differ;
SELECT name FROM apikey.issue('sketch', 'second');
SELECT name, octet_length(secret) AS bytes FROM apikey.secret WHERE name = 'addresses';
SELECT pg_temp.sketch(1, 100)::text = :'first' AS same;
BEGIN READ ONLY;
SELECT pg_temp.sketch(1, 100)::text = :'first' AS same_read_only;
ROLLBACK;
SELECT pg_temp.fails('INSERT INTO apikey.secret VALUES (''short'', ''\x00'')') ~ '^23514' AS short_secret;

-- From here on one that is known: results are the same on every run and machine.
UPDATE apikey.secret SET secret = '\x000102030405060708090a0b0c0d0e0f' WHERE name = 'addresses';
SELECT pg_temp.sketch(1, 100)::text = :'first' AS same;
-- What is stored must mean the same for ever.
SELECT md5(pg_temp.sketch(0, 1000)::text) AS sketch_v4,
       md5(apikey.sketch_agg('2001:db8::'::inet + i)::text) AS sketch_v6 FROM generate_series(0, 999) i;

\echo == Accuracy
SELECT n, abs(apikey.cardinality(pg_temp.sketch(0, n)) - n) <= 0.05 * n AS within_5_percent
FROM unnest('{1,2,3,10,100,1000,4096,10000,10240,12000,100000}'::int[]) n ORDER BY n;
SELECT 1000000 AS n, abs(apikey.cardinality(pg_temp.sketch(0, 1000000)) - 1000000) <= 50000 AS within_5_percent;
SELECT 1000 AS n_v6, abs(apikey.cardinality(apikey.sketch_agg('2001:db8::'::inet + (i << 40))) - 1000) <= 50 AS within_5_percent
FROM generate_series(1::bigint, 1000) i;
-- The standard error; at 10500 the two formulas of the server's estimate meet, and are 2.5 % off.
SELECT n, sqrt(avg(((e - n) / n) ^ 2)) <= 0.017 AS standard_error_good, abs(avg((e - n) / n)) < 0.01 AS unbiased
FROM (SELECT n, apikey.cardinality(pg_temp.sketch(n * i, n))::float AS e FROM generate_series(0, 39) i, unnest('{100,6000,8500,10500,12000,16500}'::bigint[]) n) x
GROUP BY n ORDER BY n;

\echo == What is the same address
SELECT apikey.cardinality(apikey.sketch_agg(a)) AS different FROM unnest('{192.0.2.7,192.0.2.7/32,192.0.2.7/24,::ffff:192.0.2.7,::ffff:192.0.2.7/104,::ffff:192.0.2.7/8,NULL}'::inet[]) a;
SELECT apikey.cardinality(apikey.sketch_agg(a)) AS different FROM unnest('{192.0.2.7,192.0.2.8,::192.0.2.7,::ffff:192.0.2.9,2001:db8::7,2001:db8::7/64,2001:db8:0:1::7,c000:207::}'::inet[]) a;
SELECT pg_temp.sketch(0, 500)::text = (SELECT apikey.sketch_agg('::ffff:10.0.0.0'::inet + i)::text FROM generate_series(0, 499) i) AS mapped_equals_v4;

\echo == Union
CREATE TEMP TABLE s AS SELECT i, pg_temp.sketch(i * 1000, 2000) AS sketch FROM generate_series(0, 19) i;
SELECT apikey.sketch_union_agg(sketch)::text = pg_temp.sketch(0, 21000)::text AS union_is_sketch_of_union FROM s;
SELECT apikey.sketch_union(a.sketch, b.sketch)::text = pg_temp.sketch(0, 3000)::text AS both,
       apikey.sketch_union(a.sketch, b.sketch)::text = apikey.sketch_union(b.sketch, a.sketch)::text AS either_order,
       apikey.sketch_union(a.sketch, a.sketch)::text = a.sketch::text AS with_itself,
       apikey.sketch_union(a.sketch, NULL) IS NULL AND apikey.sketch_union(NULL, a.sketch) IS NULL AS strict
FROM s a, s b WHERE a.i = 0 AND b.i = 1;
-- Arguments stay as they were.
SELECT bool_and(sketch::text = pg_temp.sketch(i * 1000, 2000)::text) AS unchanged FROM s;
SELECT apikey.sketch_union(x, y)::text <> x::text AS more, apikey.sketch_add_hashes(y, '\x00000000')::text <> y::text AS one_more,
       x::text = pg_temp.sketch(0, 1000)::text AND y::text = pg_temp.sketch(5000, 1000)::text AS unchanged
FROM (SELECT pg_temp.sketch(0, 1000) AS x, pg_temp.sketch(5000, 1000) AS y OFFSET 0) v;
SELECT apikey.sketch_union_agg(sketch) IS NULL AS of_nothing, apikey.cardinality(NULL) IS NULL AS cardinality FROM s WHERE false;
SELECT apikey.sketch_union_agg(x)::text = pg_temp.sketch(0, 2000)::text AS nulls_left_out FROM (SELECT NULL::apikey.sketch UNION ALL SELECT sketch FROM s WHERE i = 0 UNION ALL SELECT NULL) n (x);
-- The same as a window, with running results
SELECT bool_and(running = pg_temp.sketch(0, 1000 * (i + 2))::text) AS window_good
FROM (SELECT i, (apikey.sketch_union_agg(sketch) OVER (ORDER BY i))::text AS running FROM s) w;
SELECT bool_and(n = apikey.cardinality(pg_temp.sketch(0, i))) AS window_good
FROM (SELECT i, apikey.cardinality(apikey.sketch_agg('10.0.0.0'::inet + (i - 1)) OVER (ORDER BY i)) AS n FROM generate_series(1, 50) i) w;
-- In groups, and in parallel
SELECT i % 3 AS third, md5(apikey.sketch_union_agg(sketch ORDER BY i)::text) = md5(apikey.sketch_union_agg(sketch ORDER BY i DESC)::text) AS any_order,
       apikey.cardinality(apikey.sketch_union_agg(sketch)) BETWEEN 11400 AND 14700 AS counted FROM s GROUP BY 1 ORDER BY 1;
CREATE TABLE many AS SELECT i, pg_temp.sketch(i * 1000, 2000) AS sketch FROM generate_series(0, 39) i;
BEGIN;
SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL max_parallel_workers_per_gather = 2;
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT bool_or(p ~ 'Partial Aggregate') AS union_in_parallel FROM pg_temp.plan('SELECT apikey.sketch_union_agg(sketch) FROM many') p;
SELECT bool_or(p ~ 'Gather') AS agg_in_parallel FROM pg_temp.plan('SELECT apikey.sketch_agg(''10.0.0.0''::inet + i) FROM many') p;
SELECT md5(apikey.sketch_union_agg(sketch)::text) = md5(pg_temp.sketch(0, 41000)::text) AS good FROM many;
ROLLBACK;

\echo == Hashes, as the worker adds them
SELECT apikey.cardinality(apikey.sketch_add_hashes(NULL, '')) AS of_none, apikey.sketch_add_hashes(NULL, NULL) IS NULL AS nothing_to_add;
SELECT apikey.sketch_add_hashes(NULL, '\x00000000 fff00001 80080000 80000001'::bytea) AS leading_zeros_and_one,
       ('\x15' || repeat('00', 2047) || '14' || repeat('00', 2046) || '14')::apikey.sketch AS of_registers;
SELECT apikey.sketch_add_hashes(sketch, '\x00000000')::text = apikey.sketch_union(sketch, apikey.sketch_add_hashes(NULL, '\x00000000'))::text AS added,
       apikey.sketch_add_hashes(sketch, NULL)::text = sketch::text AS null_adds_nothing, apikey.sketch_add_hashes(sketch, '')::text = sketch::text AS none FROM s WHERE i = 0;
SELECT bool_and(sketch::text = pg_temp.sketch(i * 1000, 2000)::text) AS unchanged FROM s;
SELECT pg_temp.fails($$SELECT apikey.sketch_add_hashes(NULL, '\x000000')$$) AS three_bytes;

\echo == Text and binary forms
-- A list of registers where these are few, else all of them
SELECT pg_temp.sketch(0, 1) AS one, pg_temp.sketch(0, 3) AS three;
SELECT n, length(e) AS length, left(e, 2) AS start FROM unnest('{200,250,300,1000,10000}'::int[]) n, LATERAL (SELECT pg_temp.sketch(0, n)::text) x (e);
SELECT bool_and(sketch::text::apikey.sketch::text = sketch::text) AS round_trip FROM s;
SELECT n, bool_and(sketch::text::apikey.sketch::text = sketch::text AND pg_column_size(sketch::text::apikey.sketch) <= pg_column_size(sketch)) AS round_trip
FROM unnest('{1,10,200,250,300,1000}'::int[]) n, LATERAL (SELECT pg_temp.sketch(5, n)) x (sketch) GROUP BY n ORDER BY n;
SELECT ('\x' || upper(substr(sketch::text, 3)))::apikey.sketch::text = sketch::text AS upper_case FROM s WHERE i = 0;
SELECT apikey.cardinality('\x') AS empty, ('\x' || repeat('00', 4096))::apikey.sketch AS no_registers, ('\x00' || repeat('01', 2) || repeat('00', 4093))::apikey.sketch AS two;
SELECT pg_temp.fails(format('SELECT %L::apikey.sketch', t.bad)) AS error, array_agg(t.n ORDER BY t.n) AS of FROM (VALUES (1, ''), (2, '\'), (3, '\x00'), (4, repeat('00', 4097)), (5, '\x' || repeat('00', 4097)),
    (6, '\x' || repeat('00', 4095) || '0'), (7, '\x' || repeat('00', 4095) || '16'), (8, '\x16' || repeat('00', 4095)), (9, '\x' || repeat('ff', 4096)),
    (10, '\x' || repeat('00', 4095) || '0g'), (11, '\x0 ' || repeat('00', 4095)), (12, '\X' || repeat('00', 4096)), (13, repeat('x', 100000)),
    (14, '\x000100'), (15, '\x000116'), (16, '\x100001'), (17, '\x000201000101'), (18, '\x000101000101'), (19, '\x00010'), (20, '\x0001010002'), (21, '\x000101 '),
    (22, (SELECT '\x' || string_agg(lpad(to_hex(i), 4, '0') || '01', '' ORDER BY i) FROM generate_series(0, 256) i))) t (n, bad) GROUP BY error;
-- The largest there is: hashes of 32 bits tell no more apart.
SELECT apikey.cardinality(('\x' || repeat('15', 4096))::apikey.sketch) AS forged, apikey.cardinality(('\x' || repeat('00', 4096))::apikey.sketch) AS empty,
       apikey.cardinality(('\x' || repeat('14', 4096))::apikey.sketch) AS nearly, apikey.cardinality(('\x' || repeat('0f', 4096))::apikey.sketch) AS many;
SELECT octet_length(apikey.sketch_send(sketch)) AS bytes, get_byte(apikey.sketch_send(sketch), 0) AS version FROM s WHERE i = 0;
SELECT apikey.sketch_send(pg_temp.sketch(0, 1)) AS one;
SELECT current_setting('data_directory') || '/apikey_sketch.copy' AS file \gset
COPY (SELECT i, sketch FROM s UNION ALL SELECT -n, pg_temp.sketch(3, n) FROM generate_series(1, 5) n) TO :'file' (FORMAT binary);
CREATE TEMP TABLE back (i int, sketch apikey.sketch);
COPY back FROM :'file' (FORMAT binary);
SELECT count(*) AS rows, bool_and(b.sketch::text = s.sketch::text) AS round_trip FROM s JOIN back b USING (i);
SELECT count(*) AS rows, bool_and(sketch::text = pg_temp.sketch(3, -i)::text) AS round_trip FROM back WHERE i < 0;
CREATE TEMP TABLE raw (value bytea);
SELECT b.n, pg_temp.fails(format('TRUNCATE raw, back; INSERT INTO raw VALUES (%L); COPY raw TO %L (FORMAT binary); COPY back (sketch) FROM %L (FORMAT binary)', b.value, :'file', :'file')) AS error
FROM (VALUES (1, '\x01'::bytea || decode(repeat('00', 4096), 'hex')), (2, '\x'), (3, '\x01'), (4, '\x01'::bytea || decode(repeat('00', 4095), 'hex')), (5, '\x01'::bytea || decode(repeat('00', 4097), 'hex')),
    (6, '\x03'::bytea || decode(repeat('00', 4096), 'hex')), (7, '\x01'::bytea || decode(repeat('00', 4095) || '16', 'hex')), (8, '\x01ff'::bytea || decode(repeat('00', 4095), 'hex')),
    (9, '\x02'::bytea || decode(repeat('00', 4096), 'hex')), (10, '\x02000100'), (11, '\x02000101'), (12, '\x0200010100'), (13, '\x02')) b (n, value) ORDER BY n;
COPY (SELECT 1 WHERE false) TO :'file';
-- Of few addresses they are small.
CREATE TABLE stored (n int, sketch apikey.sketch);
INSERT INTO stored SELECT n, pg_temp.sketch(0, n) FROM unnest('{1,10,100,10000}'::int[]) n;
SELECT n, pg_column_size(sketch) < CASE n WHEN 1 THEN 100 WHEN 10 THEN 200 WHEN 100 THEN 900 ELSE 4105 END AS small FROM stored ORDER BY n;
SELECT apikey.sketch_union_agg(sketch)::text = pg_temp.sketch(0, 10000)::text AS good FROM (SELECT sketch FROM stored ORDER BY n) x;
SELECT bool_and(sketch::text = pg_temp.sketch(0, n)::text) AS unchanged FROM stored;

\echo == Addresses crafted without the key (T108)
-- An attacker has the program, but not the key: he knows what each address does under a key of his own.
UPDATE apikey.secret SET secret = '\xa77ac4e2a77ac4e2a77ac4e2a77ac4e2' WHERE name = 'addresses';
CREATE TEMP TABLE studied AS
    SELECT a, 256 * get_byte(bytes, 1) + get_byte(bytes, 2) AS register, get_byte(bytes, 3) AS rank
    FROM (SELECT a, apikey.sketch_send(apikey.sketch_agg(a)) AS bytes FROM pg_temp.addresses(5000000, 40000) a GROUP BY a) x;
-- For each register the address that raises it most
CREATE TEMP TABLE inflating AS SELECT DISTINCT ON (register) a, register, rank FROM studied ORDER BY register, rank DESC, a;
-- 1000 into registers of their own, and 1000 that share a few
CREATE TEMP TABLE spread AS SELECT a FROM inflating ORDER BY rank DESC, register LIMIT 1000;
CREATE TEMP TABLE hiding AS SELECT a FROM studied ORDER BY register, rank, a LIMIT 1000;
CREATE TEMP VIEW effect AS
    SELECT abs(apikey.cardinality((SELECT apikey.sketch_agg(a) FROM inflating)) / (SELECT count(*) FROM inflating)::float - 1) <= 0.05 AS one_a_register,
           abs(apikey.cardinality((SELECT apikey.sketch_agg(a) FROM spread)) / 1000.0 - 1) <= 0.05 AS spread,
           abs(apikey.cardinality((SELECT apikey.sketch_agg(a) FROM hiding)) / 1000.0 - 1) <= 0.05 AS hiding,
           abs(apikey.cardinality((SELECT apikey.sketch_agg(a) FROM (SELECT a FROM spread UNION ALL SELECT pg_temp.addresses(0, 100000)) x)) / apikey.cardinality(pg_temp.sketch(0, 100000))::float - 1) <= 0.05 AS among_100000;
SELECT count(*) > 4000 AS enough FROM inflating;
-- Where the key is known it works ...
SELECT apikey.cardinality((SELECT apikey.sketch_agg(a) FROM inflating)) > 30000 AS inflated, apikey.cardinality((SELECT apikey.sketch_agg(a) FROM hiding)) < 200 AS hidden;
SELECT * FROM effect;
-- ... where it is not, it does not.
UPDATE apikey.secret SET secret = '\x000102030405060708090a0b0c0d0e0f' WHERE name = 'addresses';
SELECT * FROM effect;

\echo == Privileges
CREATE ROLE regress_apikey_sketch_plain;
CREATE ROLE regress_apikey_sketch_auditor;
SELECT apikey.grant_access('regress_apikey_sketch_auditor', 'auditor');
GRANT pg_read_all_data TO regress_apikey_sketch_plain;
GRANT SELECT ON stored TO regress_apikey_sketch_auditor;
SELECT p.oid::regprocedure AS function, has_function_privilege('public', p.oid, 'EXECUTE') AS public, has_function_privilege('regress_apikey_sketch_auditor', p.oid, 'EXECUTE') AS auditor,
       p.provolatile AS volatile, p.proisstrict AS strict, p.proparallel AS parallel, obj_description(p.oid, 'pg_proc') IS NOT NULL AS commented
FROM pg_proc p WHERE p.pronamespace = 'apikey'::regnamespace AND (p.proname ~ 'sketch' OR p.proname = 'cardinality') ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT relrowsecurity AS row_security, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies, 'apikey.secret'::regclass = ANY (e.extconfig) AS dumped
FROM pg_class c, pg_extension e WHERE c.oid = 'apikey.secret'::regclass AND e.extname = 'apikey';
ANALYZE apikey.secret;
SELECT count(*) AS statistics FROM pg_stats WHERE schemaname = 'apikey' AND tablename = 'secret' AND attname = 'secret';
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'apikey.secret'::regclass AND NOT tgisinternal ORDER BY 1;
SET ROLE regress_apikey_sketch_plain;
SELECT count(*) AS secrets_of_pg_read_all_data FROM apikey.secret;
SELECT count(sketch::text::apikey.sketch) AS can_use_the_type FROM stored;
SELECT c.n, pg_temp.fails(c.call) AS error FROM (VALUES (1, 'SELECT apikey.cardinality(sketch) FROM stored'), (2, 'SELECT apikey.sketch_agg(inet ''::1'')'), (3, 'SELECT apikey.sketch_union_agg(sketch) FROM stored'),
    (4, 'SELECT apikey.sketch_union(sketch, sketch) FROM stored'), (5, 'SELECT apikey.sketch_add_hashes(NULL, '''')'), (6, 'SELECT apikey.sketch_add(NULL, ''::1'')')) c (n, call) ORDER BY n;
SET ROLE regress_apikey_sketch_auditor;
SELECT apikey.cardinality(apikey.sketch_union_agg(sketch)) BETWEEN 9500 AND 10500 AS counted, apikey.cardinality(apikey.sketch_union(min(sketch::text)::apikey.sketch, max(sketch::text)::apikey.sketch)) > 0 AS merged FROM stored;
SELECT apikey.cardinality(apikey.sketch_agg(a)) AS counted FROM unnest('{192.0.2.7,192.0.2.8}'::inet[]) a;
SELECT c.n, pg_temp.fails(c.call) AS error FROM (VALUES (1, 'SELECT * FROM apikey.secret'), (2, 'SELECT apikey.sketch_add_hashes(NULL, '''')'), (3, 'SELECT apikey.sketch_add(NULL, ''::1'')')) c (n, call) ORDER BY n;
RESET ROLE;
-- Whoever needs a secret and may not write: an auditor's first call makes it as the owner.
BEGIN;
DELETE FROM apikey.secret;
SET LOCAL ROLE regress_apikey_sketch_auditor;
SELECT apikey.cardinality(apikey.sketch_agg(a)) AS counted, current_user AS still FROM unnest('{192.0.2.7,192.0.2.8}'::inet[]) a;
RESET ROLE;
SELECT count(*) AS secrets FROM apikey.secret WHERE name = 'addresses';
ROLLBACK;
-- Without its trigger the table is read each time.
ALTER TABLE apikey.secret DISABLE TRIGGER invalidate;
UPDATE apikey.secret SET secret = '\xa77ac4e2a77ac4e2a77ac4e2a77ac4e2';
SELECT apikey.cardinality((SELECT apikey.sketch_agg(a) FROM hiding)) < 200 AS noticed;
ALTER TABLE apikey.secret ENABLE ALWAYS TRIGGER invalidate;
TRUNCATE apikey.secret;
BEGIN READ ONLY;
SELECT pg_temp.fails('SELECT apikey.sketch_agg(inet ''::1'')') ~ '^25006' AS gone;
ROLLBACK;

SELECT apikey.revoke_access('regress_apikey_sketch_auditor', 'auditor');
\c :regression
DROP DATABASE apikey_sketch;
DROP ROLE regress_apikey_sketch_plain, regress_apikey_sketch_auditor;
