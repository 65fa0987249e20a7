-- Errors of transactions that work for a key are noted by themselves
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
SELECT key, key_id FROM apikey.issue('failures-1', 'key', '{docs:read}') \gset
SELECT key AS other, key_id AS other_id FROM apikey.issue('failures-1', 'other', '{docs:read}') \gset
CREATE TABLE failures_doc (id integer PRIMARY KEY CHECK (id < 100), other integer REFERENCES failures_doc DEFERRABLE INITIALLY DEFERRED);
INSERT INTO failures_doc VALUES (1);
CREATE ROLE regress_apikey_failing;
-- What was noted since the last look, oldest first
CREATE TEMP TABLE seen (at timestamptz);
INSERT INTO seen VALUES ('-infinity');
CREATE FUNCTION pg_temp.noted() RETURNS TABLE (name text, status integer, code text, method text, path text, request_id text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM apikey.flush_usage();
    RETURN QUERY SELECT k.name, e.status, e.code, e.method, replace(e.path, k.display, '<mask>'), e.request_id FROM apikey.recent_errors e JOIN apikey.keys k USING (key_id)
        WHERE k.account = 'failures-1' AND e.occurred_at > (SELECT at FROM seen) ORDER BY e.occurred_at;
    UPDATE seen SET at = clock_timestamp();
END $$;

\echo == Each kind of error, with status, SQLSTATE and the request
BEGIN; SELECT ok FROM apikey.authenticate(:'key', method => 'POST', path => '/docs?id=1', request_id => 'r1'); INSERT INTO failures_doc VALUES (1); ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key', method => 'PUT', path => '/docs/' || :'key', request_id => 'r2'); INSERT INTO failures_doc VALUES (200); ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); SET LOCAL ROLE regress_apikey_failing; SELECT * FROM failures_doc; COMMIT;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); DO $$ BEGIN RAISE EXCEPTION 'no'; END $$; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'PT418'; END $$; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'PGRST', MESSAGE = '{"code":"x","message":"y"}', DETAIL = '{"status":422,"headers":{}}'; END $$; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'PT304'; END $$; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); SELECT * FROM failures_missing; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); SELECT apikey.revoke('00000000-0000-7000-8000-000000000000'); ROLLBACK;
BEGIN READ ONLY; SELECT ok FROM apikey.authenticate(:'key'); DELETE FROM failures_doc; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); SET LOCAL statement_timeout = 1; SELECT pg_sleep(60); ROLLBACK;
-- only at commit
BEGIN; SELECT ok FROM apikey.authenticate(:'key', method => 'PATCH'); UPDATE failures_doc SET other = 77; COMMIT;
SELECT * FROM pg_temp.noted();

\echo == What is no failure of a request
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); ROLLBACK;
SELECT 1/0;
BEGIN; SELECT 1/0; ROLLBACK;
-- refusals, which verify has counted
BEGIN; SELECT ok FROM apikey.authenticate(:'key', 'docs:write', path => '/refused'); ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); SELECT ok FROM apikey.authenticate(:'key', 'docs:write', path => '/refused, the second time'); ROLLBACK;
-- caught by a function
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END $$; COMMIT;
-- repaired by a savepoint, also when the transaction is then rolled back on purpose
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); SAVEPOINT s; SELECT 1/0; ROLLBACK TO s; COMMIT;
BEGIN; SELECT ok FROM apikey.authenticate(:'key'); SAVEPOINT s; SELECT 1/0; ROLLBACK TO s; ROLLBACK;
-- rolled back with the authentication itself
BEGIN; SAVEPOINT s; SELECT ok FROM apikey.authenticate(:'key'); ROLLBACK TO s; SELECT 1/0; ROLLBACK;
SELECT * FROM pg_temp.noted();

\echo == Savepoints: what ends the transaction counts
BEGIN; SELECT ok FROM apikey.authenticate(:'key', path => '/1'); SAVEPOINT s; SELECT 1/0; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key', path => '/2'); SAVEPOINT s; SELECT 1/0; ROLLBACK TO s; SELECT 'x'::integer; ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key', path => '/3'); SAVEPOINT s; SELECT ok FROM apikey.authenticate(:'other', path => '/4'); SELECT 1/0; COMMIT;
BEGIN; SELECT ok FROM apikey.authenticate(:'key', path => '/5'); SAVEPOINT s; SELECT ok FROM apikey.authenticate(:'other', path => '/6'); ROLLBACK TO s; SELECT 1/0; COMMIT;
SELECT * FROM pg_temp.noted();

\echo == A COPY, a cursor and a prepared statement
BEGIN; SELECT ok FROM apikey.authenticate(:'key', path => '/copy');
COPY failures_doc FROM STDIN;
not a number
\.
ROLLBACK;
BEGIN; SELECT ok FROM apikey.authenticate(:'key', path => '/cursor'); DECLARE c CURSOR FOR SELECT 1 / (2 - n) FROM generate_series(1, 3) n; FETCH 1 FROM c; FETCH ALL FROM c; ROLLBACK;
PREPARE failing AS SELECT 1 / $1::integer;
BEGIN; SELECT ok FROM apikey.authenticate(:'key', path => '/prepared'); EXECUTE failing(0); ROLLBACK;
DEALLOCATE failing;
SELECT * FROM pg_temp.noted();

\echo == Counted as errors, not as requests of their own
SELECT k.name, sum(d.requests) AS requests, sum(d.refused) AS refused, sum(d.errors_4xx) AS errors_4xx, sum(d.errors_5xx) AS errors_5xx
FROM apikey.usage_daily d JOIN apikey.keys k USING (key_id) WHERE k.account = 'failures-1' GROUP BY 1 ORDER BY 1;
DROP TABLE failures_doc;
DROP ROLE regress_apikey_failing;
