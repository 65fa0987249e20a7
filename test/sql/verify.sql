-- apikey.verify: every code that can be reached, in the order of the contract's table
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

-- A kind of its own, so that disabling it does not meet other tests.
INSERT INTO apikey.kind (kind, prefix, default_scopes, origin_locked) VALUES ('vk', 'vk_', 'calls:read calls:off', true)
    ON CONFLICT DO NOTHING;
SELECT key, key_id FROM apikey.issue('verify-1', 'the key', kind => 'vk', allowed_ips => '{192.0.2.0/24}',
    allowed_origins => '{good.example}', metadata => '{"plan": "gold"}', expires_in => '1 day') \gset

\echo == All of it right
SELECT ok, code, status, message, key_id = :'key_id' AS key_id, account, kind, name, db_role, scopes, missing_scopes, metadata,
       expires_at > clock_timestamp() AS expires_at, limit_name, limit_max, limit_per, limit_remaining, limit_reset, retry_after,
       credits_remaining, session_id
FROM apikey.verify(:'key', 'calls:read', '192.0.2.1', 'https://good.example', 'verify-1', '{vk}', 1, 'GET', '/calls', 'r-1') \gx
SELECT ok, code FROM apikey.verify(key => :'key', required => 'calls:read', ip => '192.0.2.1'::inet, origin => 'good.example');
SELECT ok, code FROM apikey.verify(:'key', 'calls:read', '192.0.2.1'::inet, 'good.example', 'verify-1', '{vk}', 0, 'GET', '/calls', 'r-1');

\echo == Nothing is said of a key that is not known
SELECT k.what, v.ok, v.code, v.status, v.message, to_jsonb(v) - '{ok,code,status,message}'::text[] = jsonb_build_object(
           'key_id', NULL, 'account', NULL, 'kind', NULL, 'name', NULL, 'db_role', NULL, 'scopes', NULL, 'missing_scopes', NULL,
           'metadata', NULL, 'expires_at', NULL, 'limit_name', NULL, 'limit_max', NULL, 'limit_per', NULL, 'limit_remaining', NULL,
           'limit_reset', NULL, 'retry_after', NULL, 'credits_remaining', NULL, 'session_id', NULL) AS rest_is_null
FROM (VALUES (1, 'NULL', NULL), (2, 'empty', ''), (3, 'blank', ' '), (4, 'too short', left(:'key', -1)), (5, 'too long', :'key' || 'x'),
             (6, 'other prefix', 'xx' || substr(:'key', 3)), (7, 'upper case', upper(:'key')), (8, 'blank before', ' ' || :'key'),
             (9, 'blank behind', :'key' || ' '), (10, 'newline behind', :'key' || E'\n'), (11, 'Bearer', 'Bearer ' || :'key'),
             (12, 'one digit wrong', overlay(:'key' PLACING CASE substr(:'key', 20, 1) WHEN 'a' THEN 'b' ELSE 'a' END FROM 20 FOR 1)),
             (13, 'two digits swapped', overlay(:'key' PLACING reverse(substr(:'key', 4, 43)) FROM 4 FOR 43)),
             (14, '513 bytes', repeat('a', 513)), (15, '512 bytes', repeat('a', 512)), (16, 'not ASCII', 'vk_' || repeat('é', 49)),
             (17, 'the key_id', :'key_id'), (18, 'the mask', (SELECT display FROM apikey.keys WHERE key_id = :'key_id'))) k (n, what, key),
     LATERAL apikey.verify(k.key, 'calls:read', '192.0.2.1', 'good.example') v ORDER BY n;
-- well-formed, checksum right, never issued
SELECT ok, code, status, message, key_id FROM apikey.verify('vk_00000000000000000000000000000000000000000003LbN5Q');
DO $$
DECLARE gone apikey.issued_key; v apikey.verdict;
BEGIN
    BEGIN
        gone := apikey.issue('verify-1', 'rolled back', kind => 'vk', allowed_origins => '{good.example}');
        RAISE EXCEPTION USING ERRCODE = 'ZZ000';
    EXCEPTION WHEN SQLSTATE 'ZZ000' THEN NULL;
    END;
    v := apikey.verify(gone.key);
    RAISE WARNING 'never issued: % % % %', v.ok, v.code, v.status, v.message;
END $$;

\echo == Each code, and the order: all that is wrong is repaired from the first to the last, one at a time
-- Everything is wrong with this request: a wrong kind list, account, address, origin and scope, and below with the key.
CREATE FUNCTION pg_temp.judge(key text, kinds text[] DEFAULT '{widget}', account text DEFAULT 'other', ip text DEFAULT '198.51.100.1',
    origin text DEFAULT 'bad.example', required text DEFAULT 'other:scope') RETURNS text LANGUAGE sql
AS $$ SELECT concat_ws(' ', v.status, v.code, '"' || v.message || '"', v.missing_scopes::text, CASE WHEN v.key_id IS NULL THEN 'unknown' END)
      FROM apikey.verify(key, required, ip, origin, account, kinds) v $$;
UPDATE apikey.key SET revoked_at = clock_timestamp(), disabled_at = clock_timestamp(), expires_at = clock_timestamp() - interval '1 s'
    WHERE key_id = :'key_id';
UPDATE apikey.kind SET enabled = false WHERE kind = 'vk';
INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('verify-1', false);
BEGIN;
UPDATE apikey.kind SET enabled = true WHERE kind = 'vk';
INSERT INTO apikey.scope (scope, enabled) VALUES ('calls:read', true), ('calls:off', false);
SELECT pg_temp.judge(NULL) AS missing, pg_temp.judge('') AS empty, pg_temp.judge('x') AS malformed \gx
SELECT pg_temp.judge(:'key') AS revoked;
UPDATE apikey.key SET revoked_at = NULL WHERE key_id = :'key_id';
SELECT pg_temp.judge(:'key') AS expired;
UPDATE apikey.key SET expires_at = NULL WHERE key_id = :'key_id';
SELECT pg_temp.judge(:'key') AS disabled;
UPDATE apikey.key SET disabled_at = NULL WHERE key_id = :'key_id';
UPDATE apikey.kind SET enabled = false WHERE kind = 'vk';
SELECT pg_temp.judge(:'key') AS kind_disabled;
UPDATE apikey.kind SET enabled = true WHERE kind = 'vk';
SELECT pg_temp.judge(:'key') AS access_off;
UPDATE apikey.account_policy SET api_enabled = true WHERE account = 'verify-1';
SELECT pg_temp.judge(:'key') AS kind_not_wanted;
SELECT pg_temp.judge(:'key', '{widget,vk}') AS of_another_account;
SELECT pg_temp.judge(:'key', '{widget,vk}', 'verify-1') AS from_elsewhere;
SELECT pg_temp.judge(:'key', '{widget,vk}', 'verify-1', '192.0.2.255') AS from_another_site;
SELECT pg_temp.judge(:'key', '{widget,vk}', 'verify-1', '192.0.2.255', 'good.example') AS lacking_a_scope;
SELECT pg_temp.judge(:'key', '{widget,vk}', 'verify-1', '192.0.2.255', 'good.example', 'calls:off & calls:read') AS switched_off;
SELECT pg_temp.judge(:'key', '{widget,vk}', 'verify-1', '192.0.2.255', 'good.example', 'calls:read') AS all_repaired;
ROLLBACK;
SELECT pg_temp.judge(:'key') AS undone_by_rollback;

-- key_id and what is known of the key are told of refused keys, too.
SELECT ok, code, key_id = :'key_id' AS key_id, account, kind, name, scopes, metadata, expires_at < clock_timestamp() AS expires_at
FROM apikey.verify(:'key');

\echo == unavailable: a pepper that stored keys refer to is missing; before "unknown", after "malformed"
BEGIN;
DELETE FROM apikey.pepper WHERE pepper_id = (SELECT pepper_id FROM apikey.key WHERE key_id = :'key_id');
SELECT k.what, pg_temp.judge(k.key) FROM (VALUES (1, 'stored', :'key'), (2, 'unknown', 'vk_00000000000000000000000000000000000000000003LbN5Q'),
    (3, 'malformed', 'x'), (4, 'missing', NULL)) k (n, what, key) ORDER BY n;
ROLLBACK;
SELECT pg_temp.judge(:'key') AS back_again;

\echo == kinds
UPDATE apikey.kind SET enabled = true WHERE kind = 'vk';
DELETE FROM apikey.account_policy WHERE account = 'verify-1';
SELECT key FROM apikey.issue('verify-2', 'plain') \gset
SELECT k.kinds, v.code FROM (VALUES (1, NULL::text[]), (2, '{secret}'), (3, '{vk,secret}'), (4, '{vk}'), (5, '{session}'), (6, '{session,secret}'),
                                    (7, '{}')) k (n, kinds), LATERAL apikey.verify(:'key', kinds => k.kinds) v ORDER BY n;

\echo == Faults of the programmer are errors, whatever the key
SELECT c.call, pg_temp.fails('SELECT apikey.verify(' || c.call || ')') AS error
FROM (VALUES (1, $$NULL, required => ''$$), (2, $$'x', required => '  '$$), (3, $$'x', required => 'calls:'$$), (4, $$'x', required => 'calls:*'$$),
             (5, $$'x', required => 'a & | b'$$), (6, $$NULL, cost => -1$$), (7, $$'x', cost => -2147483648$$), (8, $$NULL, kinds => '{nokind}'$$),
             (9, $$'x', kinds => '{secret,Secret}'$$), (10, $$'x', kinds => '{NULL}'$$), (11, $$'x', kinds => '{{secret},{vk}}'$$)) c (n, call)
ORDER BY n;

\echo == Where it can be called: READ ONLY, without a transaction id, in every isolation level
BEGIN READ ONLY;
SELECT code FROM apikey.verify(:'key');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
SELECT count(*) AS row_or_predicate_locks FROM pg_locks WHERE pid = pg_backend_pid() AND (mode = 'SIReadLock' OR locktype = 'tuple');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT code FROM apikey.verify(:'key');
SELECT count(*) AS predicate_locks FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'SIReadLock' AND relation::regclass::text LIKE 'apikey.%';
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT code FROM apikey.verify(:'key');
COMMIT;

\echo == Own changes are seen before commit, and undone with the savepoint
SELECT key, key_id FROM apikey.issue('verify-2', 'savepoint') \gset
BEGIN;
SAVEPOINT a;
SELECT apikey.revoke(:'key_id');
SELECT code FROM apikey.verify(:'key');
ROLLBACK TO a;
SELECT code FROM apikey.verify(:'key');
SAVEPOINT b;
SELECT apikey.disable(:'key_id');
RELEASE b;
SELECT code FROM apikey.verify(:'key');
ROLLBACK;
SELECT code FROM apikey.verify(:'key');

-- A prepared statement, a cursor, plpgsql, many rows at once, in an expression
PREPARE v (text) AS SELECT code FROM apikey.verify($1);
EXECUTE v (:'key');
SELECT apikey.revoke(:'key_id');
EXECUTE v (:'key');
DEALLOCATE v;
SELECT (apikey.verify(:'key')).code, (apikey.verify('x')).status;
SELECT count(*) FILTER (WHERE ok) AS valid, count(*) FILTER (WHERE code = 'key_invalid') AS invalid
FROM (SELECT key FROM generate_series(1, 10) n, LATERAL apikey.issue('verify-3', 'n' || n) UNION ALL SELECT 'ak_' || n FROM generate_series(1, 10) n) k,
     LATERAL apikey.verify(k.key);

-- db_role of the verdict: the key's, else the kind's
BEGIN;
CREATE ROLE regress_apikey_verify;
UPDATE apikey.kind SET db_role = 'regress_apikey_verify' WHERE kind = 'secret';
SELECT db_role FROM apikey.verify((SELECT key FROM apikey.issue('verify-2', 'role of the kind')));
ROLLBACK;
