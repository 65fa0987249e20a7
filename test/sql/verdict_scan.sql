-- SELECT ... FROM apikey.verify(...): the scan of a single verdict
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
CREATE FUNCTION pg_temp.plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; lines text[];
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF, VERBOSE) ' || query LOOP lines := lines || trim(line); END LOOP;
    RETURN array_to_string(lines, ' | ');
END $$;
INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('scan', 'scan_', 'calls:read');
INSERT INTO apikey.rate_limit (name, kind, max, per) VALUES ('hourly', 'scan', 1000, '1 hour');
SELECT key, key_id FROM apikey.issue('scan', 'a', kind => 'scan', metadata => '{"plan": "gold"}') \gset
CREATE TABLE wanted (key text, required text);
INSERT INTO wanted VALUES (:'key', 'calls:read'), (:'key', 'calls:write'), ('scan_nonsense', NULL);
ANALYZE wanted;
-- what is left of the limit tells how often the function was called
CREATE FUNCTION pg_temp.used() RETURNS bigint LANGUAGE sql AS
    $$SELECT used FROM apikey.limits WHERE key_id = (SELECT key_id FROM apikey.keys WHERE account = 'scan')$$;

\echo == What is planned; the key is not shown
SELECT pg_temp.plan(format('SELECT ok, code, status FROM apikey.verify(%L, %L)', 'scan_secret', 'calls:read'));
SELECT pg_temp.plan('SELECT * FROM apikey.verify(''x'', ''calls:read'', inet ''192.0.2.1'')');
SELECT pg_temp.plan('SELECT ok FROM apikey.authenticate(''x'')');
SELECT pg_temp.plan('SELECT status + 1 FROM apikey.verify(''x'') v WHERE v.code <> ''valid'' AND NOT v.ok');
\echo == What is left to the server's own scan
SELECT n, pg_temp.plan(q) NOT LIKE '%Custom Scan%' AS function_scan FROM (VALUES
    (1, 'SELECT v FROM apikey.verify(''x'') v'),
    (2, 'SELECT ok FROM apikey.verify(''x'') WITH ORDINALITY'),
    (3, 'SELECT v.ok FROM wanted w, apikey.verify(w.key) v'),
    (4, 'SELECT (SELECT v.ok FROM apikey.verify(w.key) v) FROM wanted w'),
    (5, 'SELECT * FROM ROWS FROM (apikey.verify(''x''), generate_series(1, 2)) v'),
    (6, 'SELECT step FROM apikey.explain(''x'')')) t (n, q) ORDER BY n;

\echo == The same answers
SELECT (v.ok, v.code, v.status, v.key_id) IS NOT DISTINCT FROM (w.ok, w.code, w.status, w.key_id) AS same
FROM (SELECT (apikey.verify('scan_nonsense')).*) w,
     (SELECT ok, code, status, key_id FROM apikey.verify('scan_nonsense')) v;
SELECT status, code, ok, status AS again, upper(code) AS upper, kind, scopes, metadata ->> 'plan' AS plan, limit_remaining, session_id
FROM apikey.verify(:'key', 'calls:read');
SELECT * FROM apikey.verify('scan_nonsense');
SELECT count(*) FROM apikey.verify(:'key');
SELECT 1 AS one FROM apikey.verify(:'key') v WHERE v.code = 'valid' AND v.metadata ? 'plan';
SELECT 1 AS one FROM apikey.verify(:'key') v WHERE NOT v.ok;
SELECT ok FROM apikey.verify(:'key') WHERE false;
SELECT used.used FROM pg_temp.used();
SELECT code, count(*) FROM apikey.verify((SELECT w.key FROM wanted w WHERE w.required = 'calls:write'), 'calls:write') GROUP BY code ORDER BY code;
WITH v AS MATERIALIZED (SELECT ok, code FROM apikey.verify(:'key')) SELECT a.code, b.ok FROM v a, v b;
SELECT w.required, v.code FROM wanted w CROSS JOIN LATERAL (SELECT code FROM apikey.verify(w.key, w.required) OFFSET 0) v ORDER BY 2, 1;
SELECT code, account FROM apikey.verify((apikey.verify(:'key')).account);
SELECT code, account FROM apikey.verify((apikey.verify('scan_nonsense')).code || :'key');
-- what is shown was true when it was asked, whatever becomes of the key meanwhile
CREATE FUNCTION pg_temp.rename(key text, name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE apikey.key k SET name = $2 WHERE account = 'scan';
    RETURN (SELECT v.name FROM apikey.verify($1) v);
END $$;
SELECT account, name, scopes, metadata, pg_temp.rename(:'key', 'b') AS now FROM apikey.verify(:'key');
SELECT account, name, scopes, metadata, pg_temp.rename(:'key', 'c') AS now FROM apikey.verify(:'key');
SELECT account, name, scopes, missing_scopes, pg_temp.rename(:'key', 'a') AS now FROM apikey.verify(:'key', 'calls:write');
CREATE TABLE noted AS SELECT code, account FROM apikey.verify(:'key');
INSERT INTO noted SELECT code, account FROM apikey.verify(:'key', 'calls:write');
SELECT * FROM noted ORDER BY code;

\echo == Called once, however it is read
CREATE TEMP TABLE before AS SELECT pg_temp.used() AS used;
BEGIN;
DECLARE back SCROLL CURSOR FOR SELECT ok, code FROM apikey.verify(:'key');
FETCH ALL FROM back;
FETCH BACKWARD 1 FROM back;
MOVE ABSOLUTE 0 FROM back;
FETCH ALL FROM back;
COMMIT;
SELECT pg_temp.used() - used AS used FROM before;
PREPARE ask(text, text) AS SELECT code, account FROM apikey.verify($1, $2);
SET plan_cache_mode = force_generic_plan;
EXECUTE ask(:'key', 'calls:read');
EXECUTE ask(:'key', 'calls:write');
EXECUTE ask(NULL, NULL);
EXECUTE ask(:'key', 'calls:read');
EXPLAIN (COSTS OFF) EXECUTE ask('x', NULL);
RESET plan_cache_mode;
SELECT pg_temp.used() - used AS used FROM before;
SELECT pg_temp.plan('SELECT ok FROM apikey.verify((SELECT max(key) FROM wanted WHERE required = ''calls:read''))') LIKE 'Custom Scan%' AS custom_scan;
EXPLAIN (ANALYZE) SELECT ok FROM apikey.verify(:'key') \g /dev/null
SELECT pg_temp.used() - used AS used FROM before;
DO $$
DECLARE answer record;
BEGIN
    FOR i IN 1 .. 3 LOOP SELECT ok, code INTO answer FROM apikey.verify((SELECT max(key) FROM wanted WHERE required = 'calls:read')); END LOOP;
    RAISE WARNING '%', answer;
END $$;
SELECT pg_temp.used() - used AS used FROM before;

\echo == Errors and privileges
SELECT ok FROM apikey.verify(:'key', 'not a scope query (');
CREATE ROLE regress_apikey_scan;
GRANT USAGE ON SCHEMA apikey TO regress_apikey_scan;
SET ROLE regress_apikey_scan;
SELECT ok FROM apikey.verify('x');
EXECUTE ask('x', NULL);
RESET ROLE;
-- a function of another schema that only has the name
CREATE SCHEMA other_verify;
CREATE FUNCTION other_verify.verify(text) RETURNS apikey.verdict LANGUAGE plpgsql AS $$BEGIN RETURN apikey.verify($1); END$$;
SELECT pg_temp.plan('SELECT ok FROM other_verify.verify(''x'')') NOT LIKE '%Custom Scan%' AS function_scan;
SELECT code FROM other_verify.verify(:'key');
-- one with settings of its own, as a DBA can make it
ALTER FUNCTION apikey.authenticate SET work_mem = '4MB';
SELECT pg_temp.plan('SELECT ok FROM apikey.authenticate(''x'')') NOT LIKE '%Custom Scan%' AS function_scan;
ALTER FUNCTION apikey.authenticate RESET work_mem;
-- the type grows
PREPARE wide AS SELECT * FROM apikey.verify('scan_nonsense');
EXECUTE wide;
BEGIN;
ALTER TYPE apikey.verdict ADD ATTRIBUTE extra text;
EXECUTE ask(:'key', 'calls:read');
SELECT code, extra FROM apikey.verify(:'key');
ALTER TYPE apikey.verdict DROP ATTRIBUTE extra;
EXECUTE ask(:'key', 'calls:read');
ROLLBACK;
EXECUTE wide;

DROP SCHEMA other_verify CASCADE;
DROP TABLE wanted, noted;
REVOKE USAGE ON SCHEMA apikey FROM regress_apikey_scan;
DROP ROLE regress_apikey_scan;
SELECT apikey.revoke(:'key_id');
DELETE FROM apikey.rate_limit WHERE kind = 'scan';
