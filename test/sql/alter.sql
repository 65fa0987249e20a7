-- apikey.alter_key: changes of a living key
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

SELECT key, key_id FROM apikey.issue('alter-1', 'first name', '{a:read,b:read}', allowed_ips => '{192.0.2.1}', expires_in => '30 days', metadata => '{"a": 1}') \gset
CREATE FUNCTION pg_temp.state(id uuid) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', name, scopes, allowed_ips, allowed_origins, CASE WHEN expires_at IS NULL THEN 'never' WHEN expires_at > now() THEN 'later' ELSE 'past' END, metadata, coalesce(db_role, 'no role'), status)
    FROM apikey.keys WHERE key_id = id $$;
SELECT pg_temp.state(:'key_id') AS state;

\echo == NULL leaves as is; true only where something changed
SELECT apikey.alter_key(:'key_id') AS changed;
SELECT apikey.alter_key(:'key_id', name => 'first name', scopes => '{b:read,a:read,a:read}', allowed_ips => '{192.0.2.1/32}', metadata => '{"a": 1}') AS changed;
SELECT pg_temp.state(:'key_id') AS state;
SELECT count(*) AS audit_rows FROM apikey.audit_log WHERE key_id = :'key_id' AND action <> 'issue';
SELECT apikey.alter_key(:'key_id', name => 'second name') AS changed, pg_temp.state(:'key_id') AS state;
SELECT pg_temp.state(:'key_id') AS state;
SELECT apikey.alter_key(:'key_id', scopes => '{c:*}') AS changed;
SELECT apikey.alter_key(:'key_id', allowed_ips => '{198.51.100.0/24,2001:db8::/32}') AS changed;
SELECT apikey.alter_key(:'key_id', metadata => '{"b": 2}') AS changed;
SELECT apikey.alter_key(:'key_id', expires_at => now() + interval '60 days') AS changed;
SELECT pg_temp.state(:'key_id') AS state;
SELECT required, code FROM (VALUES ('a:read'), ('c:d')) r (required), LATERAL apikey.verify(:'key', required, '2001:db8::1') v ORDER BY required COLLATE "C";

\echo == {} clears a list, infinity the expiry
SELECT apikey.alter_key(:'key_id', allowed_ips => '{}') AS ips, apikey.alter_key(:'key_id', expires_at => 'infinity') AS expiry, apikey.alter_key(:'key_id', metadata => '{}') AS metadata;
SELECT pg_temp.state(:'key_id') AS state;
SELECT apikey.alter_key(:'key_id', allowed_ips => '{}') AS ips, apikey.alter_key(:'key_id', expires_at => 'infinity') AS expiry, apikey.alter_key(:'key_id', metadata => '{}') AS metadata;

\echo == db_role, and the word none to remove it
CREATE ROLE regress_apikey_alter;
SELECT apikey.alter_key(:'key_id', db_role => 'regress_apikey_alter') AS changed;
SELECT db_role FROM apikey.verify(:'key');
SELECT apikey.alter_key(:'key_id', db_role => 'regress_apikey_alter') AS changed;
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, db_role => %L)', :'key_id', 'regress_apikey_absent')) AS absent;
SELECT apikey.alter_key(:'key_id', db_role => 'none') AS changed;
SELECT db_role FROM apikey.verify(:'key');
SELECT apikey.alter_key(:'key_id', db_role => 'none') AS changed;
DROP ROLE regress_apikey_alter;

\echo == Refused: the key stays as it was
SELECT pg_temp.state(:'key_id') AS before \gset
SELECT c.change, pg_temp.fails(format('SELECT apikey.alter_key(%L, %s)', :'key_id', c.change)) AS error FROM (VALUES (1, $$name => ''$$), (2, $$name => E'a\nb'$$), (3, $$name => repeat('a', 101)$$),
    (4, $$scopes => '{}'$$), (5, $$scopes => '{a b}'$$), (6, $$allowed_ips => '{10}'$$), (7, $$allowed_ips => '{10.0.0.1/8}'$$), (8, $$allowed_origins => '{a.example}'$$),
    (9, $$expires_at => now() - interval '1 day'$$), (10, $$expires_at => '-infinity'$$), (11, $$metadata => '[]'$$), (12, $$db_role => ''$$)) c (n, change) ORDER BY n;
SELECT pg_temp.state(:'key_id') = :'before' AS unchanged;

\echo == The account is a guard: a key of another account is like an unknown one
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, name => %L, account => %L)', :'key_id', 'stolen', 'alter-2')) AS of_another,
       pg_temp.fails(format('SELECT apikey.alter_key(%L, name => %L, account => %L)', '00000000-0000-7000-8000-000000000000', 'stolen', 'alter-2')) AS unknown,
       pg_temp.fails(format('SELECT apikey.alter_key(%L, name => %L)', '00000000-0000-7000-8000-000000000000', 'stolen')) AS unknown_without_guard,
       pg_temp.fails('SELECT apikey.alter_key(NULL, name => ''stolen'')') AS null_key \gx
SELECT apikey.alter_key(:'key_id', name => 'third name', account => 'alter-1') AS changed;
SELECT pg_temp.state(:'key_id') AS state;

\echo == A disabled key can be changed, an ended one can not
SELECT apikey.disable(:'key_id');
SELECT apikey.alter_key(:'key_id', name => 'while disabled') AS changed;
SELECT pg_temp.state(:'key_id') AS state;
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 s' WHERE key_id = :'key_id';
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, name => %L)', :'key_id', 'x')) AS expired, pg_temp.fails(format('SELECT apikey.alter_key(%L)', :'key_id')) AS expired_nothing \gx
UPDATE apikey.key SET expires_at = NULL WHERE key_id = :'key_id';
SELECT apikey.revoke(:'key_id');
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, name => %L)', :'key_id', 'x')) AS revoked;
SELECT pg_temp.state(:'key_id') AS state;

\echo == Policy holds for changes, too; max_lifetime counts from the making of the key
BEGIN;
INSERT INTO apikey.account_policy (account, max_lifetime, name_max, allowed_scopes) VALUES ('alter-3', '90 days', 10, 'a:*');
SELECT key_id FROM apikey.issue('alter-3', 'k', '{a:read}') \gset
UPDATE apikey.key SET created_at = created_at - interval '80 days' WHERE key_id = :'key_id';
SELECT c.change, pg_temp.fails(format('SELECT apikey.alter_key(%L, %s)', :'key_id', c.change)) AS error FROM (VALUES (1, $$expires_at => now() + interval '9 days'$$), (2, $$expires_at => now() + interval '11 days'$$),
    (3, $$expires_at => 'infinity'$$), (4, $$name => 'elevenchars'$$), (5, $$name => 'ten chars!'$$), (6, $$scopes => '{b:read}'$$), (7, $$scopes => '{a:*}'$$)) c (n, change) ORDER BY n;
ROLLBACK;
