-- Peppers: several, current, retired, missing
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
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

SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_peppers;
CREATE DATABASE apikey_peppers;
\c apikey_peppers
SET client_min_messages = warning;
CREATE EXTENSION apikey CASCADE;
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
\echo == None until the first key
SELECT count(*) AS peppers FROM apikey.pepper_status;
SELECT code FROM apikey.verify('ak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4XSolN');
SELECT key AS k1, key_id AS id1 FROM apikey.issue('p', 'first') \gset
SELECT pepper_id, source, is_current, created_at <= clock_timestamp() AS created, keys FROM apikey.pepper_status;
SELECT octet_length(secret) AS secret, octet_length(fingerprint) AS fingerprint, secret <> fingerprint AS different FROM apikey.pepper;
SELECT string_agg(attname, ' ' ORDER BY attnum) AS shown FROM pg_attribute WHERE attrelid = 'apikey.pepper_status'::regclass AND attnum > 0;
\echo == Several: new ones are not current until they are made so
SELECT apikey.add_pepper() AS second;
SELECT pepper_id, is_current, keys FROM apikey.pepper_status ORDER BY pepper_id;
SELECT key AS k2 FROM apikey.issue('p', 'second') \gset
SELECT apikey.set_current_pepper(2);
SELECT key AS k3 FROM apikey.issue('p', 'third') \gset
SELECT pepper_id, is_current, keys FROM apikey.pepper_status ORDER BY pepper_id;
SELECT count(DISTINCT secret) AS secrets FROM apikey.pepper;
SELECT n, v.code, v.name FROM (VALUES (1, :'k1'), (2, :'k2'), (3, :'k3')) k (n, key), LATERAL apikey.verify(k.key) v ORDER BY n;
SELECT apikey.set_current_pepper(2), apikey.set_current_pepper(1), apikey.set_current_pepper(2);
SELECT pepper_id, is_current FROM apikey.pepper_status ORDER BY pepper_id;
\echo == Retired only when no key is stored under it, and not the current one
SELECT p.id, pg_temp.fails(format('SELECT apikey.retire_pepper(%s)', p.id)) AS error FROM (VALUES (1), (2), (3)) p (id) ORDER BY id;
BEGIN;
SELECT apikey.revoke_account('p');
SELECT pg_temp.fails('SELECT apikey.retire_pepper(1)') AS dead_keys_are_keys;
SELECT apikey.purge('0');
SELECT apikey.retire_pepper(1);
SELECT pepper_id, is_current, keys FROM apikey.pepper_status ORDER BY pepper_id;
SELECT pg_temp.fails('SELECT apikey.retire_pepper(2)') AS the_current_one;
ROLLBACK;
SELECT apikey.add_pepper() AS third;
SELECT apikey.retire_pepper(3);
SELECT pepper_id, is_current, keys FROM apikey.pepper_status ORDER BY pepper_id;
SELECT action, object, actor FROM apikey.audit_log WHERE action LIKE '%pepper%' ORDER BY occurred_at;
\echo == A missing pepper: closed, for what is not found; others go on
BEGIN;
DELETE FROM apikey.pepper WHERE pepper_id = 1;
SELECT n, v.code, v.status, v.message, v.ok, v.key_id IS NULL AS nothing_known FROM (VALUES (1, :'k1'), (2, :'k2'), (3, :'k3'), (4, 'ak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4XSolN'), (5, 'malformed')) k (n, key), LATERAL apikey.verify(k.key) v ORDER BY n;
SELECT name FROM apikey.issue('p', 'under the current one');
ROLLBACK;
BEGIN;
DELETE FROM apikey.pepper;
SELECT n, v.code FROM (VALUES (1, :'k1'), (3, :'k3'), (4, 'ak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4XSolN'), (5, 'malformed')) k (n, key), LATERAL apikey.verify(k.key) v ORDER BY n;
ROLLBACK;
-- a pepper that points into a file which is not there
BEGIN;
UPDATE apikey.pepper SET source = 'file', secret = NULL WHERE pepper_id = 2;
SELECT n, v.code FROM (VALUES (1, :'k1'), (3, :'k3'), (4, 'ak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4XSolN'), (5, 'malformed')) k (n, key), LATERAL apikey.verify(k.key) v ORDER BY n;
SELECT pg_temp.fails($$SELECT apikey.issue('p', 'under a missing one')$$) AS issue;
ROLLBACK;
-- a pepper of another content under the same id opens no door
BEGIN;
UPDATE apikey.pepper SET secret = decode(repeat('00', 32), 'hex') WHERE pepper_id = 1;
SELECT ok FROM apikey.verify(:'k1');
ROLLBACK;
SELECT n, v.code FROM (VALUES (1, :'k1'), (2, :'k2'), (3, :'k3')) k (n, key), LATERAL apikey.verify(k.key) v ORDER BY n;
SELECT c.n, split_part(pg_temp.fails(c.dml), '|', 1) AS error FROM (VALUES (1, $$INSERT INTO apikey.pepper VALUES (0, 'table', decode(repeat('00', 32), 'hex'), 'x')$$), (2, $$INSERT INTO apikey.pepper VALUES (9, 'table', 'short', 'x')$$), (3, $$INSERT INTO apikey.pepper VALUES (9, 'table', NULL, 'x')$$),
    (4, $$INSERT INTO apikey.pepper VALUES (9, 'other', NULL, 'x')$$), (5, $$UPDATE apikey.pepper SET is_current = true$$)) c (n, dml) ORDER BY n;
BEGIN READ ONLY;
SELECT pg_temp.fails('SELECT apikey.add_pepper()') LIKE '25006 %' AS read_only;
COMMIT;
\c :regression
DROP DATABASE apikey_peppers;
