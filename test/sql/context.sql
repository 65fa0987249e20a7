-- Sealed contexts: who they bind, for how long, and attempts to forge them
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
    RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
CREATE FUNCTION pg_temp.who() RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN apikey.is_authenticated()
                THEN concat_ws(' ', apikey.current_account(), apikey.current_scopes()::text, apikey.current_metadata()::text,
                               (SELECT k.name FROM apikey.keys k WHERE k.key_id = apikey.current_key_id()))
                WHEN apikey.current_key_id() IS NULL AND apikey.current_account() IS NULL AND apikey.current_scopes() IS NULL
                     AND apikey.current_metadata() IS NULL AND NOT apikey.allows('docs:read') THEN 'nobody'
                ELSE 'half of somebody' END $$;
SELECT key AS one, key_id AS one_id FROM apikey.issue('context-1', 'key one', '{docs:read,notes:*}', metadata => '{"sub": "u1"}') \gset
SELECT key AS two, key_id AS two_id FROM apikey.issue('context-2', 'key two') \gset

\echo == The function
SELECT pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, p.provolatile AS volatile, p.proparallel AS parallel, p.proisstrict AS strict
FROM pg_proc p WHERE p.pronamespace = 'apikey'::regnamespace AND p.proname = 'open_context' \gx
SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'apikey.opened_context'::regclass AND attnum > 1
EXCEPT SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'apikey.verdict'::regclass AND attnum > 0;
SELECT context ~ '^akc1[.][A-Za-z0-9_-]+$' AS context, ok, code, status, message, key_id = :'one_id' AS key_id, account, kind, name, scopes, metadata FROM apikey.open_context(:'one', 'docs:read') \gx
SELECT context IS NULL AS context, ok, code, status, message, key_id, missing_scopes FROM apikey.open_context('ak_x');
SELECT context IS NULL AS context, ok, code, status, message, key_id = :'one_id' AS key_id, missing_scopes FROM apikey.open_context(:'one', 'docs:write');
SELECT t.ttl, pg_temp.fails(format('SELECT apikey.open_context(%L, ttl => %L)', :'one', t.ttl)) AS error FROM (VALUES (1, NULL), (2, '0'), (3, '-1 s'), (4, '1 us'), (5, '1000 years')) t (n, ttl) ORDER BY n;
SELECT pg_temp.fails(format('SELECT apikey.open_context(%L, %L)', :'one', '')) AS error;
SELECT context AS c1 FROM apikey.open_context(:'one', ttl => '1 hour') \gset
SELECT context AS c2 FROM apikey.open_context(:'two', ttl => '59 min') \gset
SELECT context AS brief FROM apikey.open_context(:'two', ttl => '1 us') \gset
-- When it ends: after 60 seconds, an hour at the longest
CREATE FUNCTION pg_temp.lives(key text, ttl interval) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE before timestamptz := clock_timestamp(); ends timestamptz; context text;
BEGIN
    IF ttl IS NULL THEN SELECT o.context INTO context FROM apikey.open_context(key) o; ELSE SELECT o.context INTO context FROM apikey.open_context(key, ttl => ttl) o; END IF;
    context := translate(substr(context, 6, 4 * (length(context) / 4 - 1)), '-_', '+/');
    ends := timestamptz '2000-01-01 00:00Z' + ('x' || encode(substr(decode(left(context, 60), 'base64'), 34, 8), 'hex'))::bit(64)::bigint * interval '1 us';
    RETURN round(extract(epoch FROM ends - before), -1); -- in tens of seconds
END $$;
SELECT pg_temp.lives(:'one', NULL) AS "default", pg_temp.lives(:'one', '5 min') AS five_minutes, pg_temp.lives(:'one', '2 hours') AS more_than_an_hour;
BEGIN READ ONLY; SELECT context IS NOT NULL AS read_only FROM apikey.open_context(:'one'); SET LOCAL apikey.context = :'c1'; SELECT pg_temp.who() AS who, pg_current_xact_id_if_assigned() AS xid; COMMIT;

\echo == SET LOCAL binds, in that transaction only
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT pg_temp.who() AS who, apikey.current_key_id() = :'one_id' AS key_id, apikey.allows('notes:write') AS notes, apikey.allows('docs:write') AS docs; COMMIT;
SELECT pg_temp.who() AS afterwards;
BEGIN; SET LOCAL apikey.context = :'c1'; SET LOCAL apikey.context = :'c2'; SELECT pg_temp.who() AS the_last_one; SET LOCAL apikey.context = ''; SELECT pg_temp.who() AS emptied; SET LOCAL apikey.context = :'c1'; RESET apikey.context; SELECT pg_temp.who() AS reset; COMMIT;
BEGIN; SELECT set_config('apikey.context', :'c1', true) = :'c1' AS set_config; SELECT pg_temp.who() AS who; ROLLBACK;
SELECT pg_temp.who() AS afterwards;
\echo == SET without LOCAL binds in that transaction too, and never after it
BEGIN; SET apikey.context = :'c1'; SELECT pg_temp.who() AS who; COMMIT;
SELECT current_setting('apikey.context') = :'c1' AS still_set, pg_temp.who() AS who;
BEGIN; SELECT pg_temp.who() AS who; SAVEPOINT s; SET LOCAL apikey.context = :'c2'; SELECT pg_temp.who() AS inside; ROLLBACK TO s; SELECT pg_temp.who() AS restored; SAVEPOINT t; SET LOCAL apikey.context = 'x'; RELEASE t; SELECT pg_temp.who() AS released; ROLLBACK;
BEGIN; SELECT pg_temp.who() AS who; COMMIT;
CREATE FUNCTION pg_temp.with_setting() RETURNS text LANGUAGE sql SET apikey.context = 'x' AS 'SELECT pg_temp.who()';
BEGIN; SELECT pg_temp.with_setting() AS in_function, pg_temp.who() AS after_function; COMMIT;
SET apikey.context = :'c1'; SELECT pg_temp.who() AS in_autocommit; SELECT set_config('apikey.context', :'c1', false) = :'c1' AS set_config; SELECT pg_temp.who() AS in_autocommit; RESET apikey.context;
BEGIN; SET LOCAL apikey.context = :'c1'; COMMIT AND CHAIN; SELECT pg_temp.who() AS chained; COMMIT;
BEGIN; SET LOCAL apikey.context = :'c1'; CREATE TABLE context_prepared (); PREPARE TRANSACTION 'context'; SELECT pg_temp.who() AS prepared; ROLLBACK PREPARED 'context';

\echo == Savepoints
BEGIN; SET LOCAL apikey.context = :'c1'; SAVEPOINT a; SET LOCAL apikey.context = :'c2'; SELECT pg_temp.who() AS inside; ROLLBACK TO a; SELECT pg_temp.who() AS rolled_back;
SET LOCAL apikey.context = :'c2'; RELEASE a; SELECT pg_temp.who() AS released; COMMIT;

\echo == authenticate wins
BEGIN; SELECT ok FROM apikey.authenticate(:'two'); SET LOCAL apikey.context = :'c1'; SELECT pg_temp.who() AS who; COMMIT;
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT pg_temp.who() AS who; SAVEPOINT s; SELECT ok FROM apikey.authenticate(:'two'); SELECT pg_temp.who() AS who; ROLLBACK TO s; SELECT pg_temp.who() AS who; COMMIT;

\echo == Unexpired, its key alive; what it was granted, and still is
BEGIN; SELECT pg_sleep(0.001); SET LOCAL apikey.context = :'brief'; SELECT pg_temp.who() AS expired; COMMIT;
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT pg_temp.who() AS alive; SELECT apikey.disable(:'one_id'); SELECT pg_temp.who() AS disabled; SELECT apikey.enable(:'one_id'); SELECT pg_temp.who() AS enabled;
SAVEPOINT s; SELECT apikey.revoke(:'one_id'); SELECT pg_temp.who() AS revoked; ROLLBACK TO s; SELECT pg_temp.who() AS not_revoked; ROLLBACK;
BEGIN; SET LOCAL apikey.context = :'c1'; UPDATE apikey.kind SET enabled = false WHERE kind = 'secret'; SELECT pg_temp.who() AS kind_disabled; ROLLBACK;
BEGIN; SET LOCAL apikey.context = :'c1'; INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('context-1', false); SELECT pg_temp.who() AS api_disabled; ROLLBACK;
BEGIN; SET LOCAL apikey.context = :'c1'; UPDATE apikey.key SET expires_at = clock_timestamp() WHERE key_id = :'one_id'; SELECT pg_temp.who() AS key_expired; ROLLBACK;
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT apikey.alter_key(:'one_id', scopes => '{notes:read,extra}', metadata => '{"sub": "u2"}'); SELECT pg_temp.who() AS what_is_left; ROLLBACK;
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT apikey.alter_key(:'one_id', scopes => '{*}'); SELECT pg_temp.who() AS no_more; ROLLBACK;
BEGIN; SET LOCAL apikey.context = :'c1'; UPDATE apikey.secret SET secret = '\x000102030405060708090a0b0c0d0e0f' WHERE name = 'contexts'; SELECT pg_temp.who() AS other_secret; DELETE FROM apikey.secret WHERE name = 'contexts'; SELECT pg_temp.who() AS no_secret;
SELECT pg_temp.fails(format('SELECT apikey.open_context(%L)', :'one')) AS error; ROLLBACK;
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT pg_temp.who() AS as_before; ROLLBACK;

\echo == Of a session
SELECT token, session_id FROM apikey.open_session(:'two', scopes => '{docs:read}', metadata => '{"of": "the session"}') \gset
SELECT context AS cs, kind, scopes, metadata FROM apikey.open_context(:'token') \gset
BEGIN; SET LOCAL apikey.context = :'cs'; SELECT pg_temp.who() AS who; COMMIT;
SELECT apikey.close_session(:'session_id');
BEGIN; SET LOCAL apikey.context = :'cs'; SELECT pg_temp.who() AS closed; COMMIT;

\echo == Forging: every attempt must bind nobody, raise nothing and show nothing
CREATE ROLE regress_apikey_sealer;
GRANT USAGE ON SCHEMA apikey TO regress_apikey_sealer;
GRANT SET ON PARAMETER apikey.context TO regress_apikey_sealer;
CREATE TEMP TABLE attempt (n integer GENERATED ALWAYS AS IDENTITY, value text);
CREATE TEMP TABLE good AS SELECT :'c2' AS value;
GRANT SELECT ON attempt, good TO PUBLIC;
INSERT INTO attempt (value) VALUES (''), (' '), ('x'), ('akc1.'), ('akc1.AAAA'), ('akc2.' || substr(:'c2', 6)), (upper(:'c2')), (:'c2' || 'A'), (:'c2' || 'AA'), (:'c2' || '='), (left(:'c2', -1)), (left(:'c2', -10)), (' ' || :'c2'), (:'c2' || ' '), (:'c2' || E'\n'),
    (:'two'), (:'two_id'), (:'c1' || substr(:'c2', 6)), ('akc1.' || repeat('A', 200)), ('akc1.' || repeat('_', 100000)), (repeat('a', 1000000)), ('{"key_id": "x"}'), ('akc1.%s%n'), (E'akc1.\u00e9'), (:'brief'), ('akc1.' || replace(replace(encode(decode(repeat('00', 120), 'hex'), 'base64'), E'\n', ''), '+', '-'));
-- each character of a good one changed, in every bit
INSERT INTO attempt (value) SELECT overlay(:'c2' PLACING substr(digits, (strpos(digits, substr(:'c2', n, 1)) - 1 # (1 << b)) + 1, 1) FROM n FOR 1)
    FROM (VALUES ('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')) d (digits), generate_series(6, length(:'c2')) n, generate_series(0, 5) b;
-- parts of two good ones: as long as each other, as the keys have the same grants
SELECT context AS c3 FROM apikey.open_context(:'two', ttl => '58 min') \gset
INSERT INTO attempt (value) SELECT left(:'c2', n) || substr(:'c3', n + 1) FROM generate_series(6, length(:'c2') - 1) n WHERE left(:'c2', n) || substr(:'c3', n + 1) NOT IN (:'c2', :'c3');
DO $$
DECLARE a record; found integer := 0; tried integer := 0;
BEGIN
    SET LOCAL ROLE regress_apikey_sealer;
    FOR a IN SELECT * FROM attempt LOOP
        tried := tried + 1;
        PERFORM set_config('apikey.context', a.value, true);
        IF apikey.is_authenticated() OR apikey.current_account() IS NOT NULL OR apikey.allows('docs:read') THEN
            found := found + 1;
            RAISE WARNING 'attempt % worked', a.n;
        END IF;
    END LOOP;
    PERFORM set_config('apikey.context', (SELECT value FROM good), true);
    IF apikey.current_account() IS DISTINCT FROM 'context-2' THEN RAISE WARNING 'the good one does not work'; END IF;
    RAISE WARNING '% attempts, % succeeded', CASE WHEN tried > 500 THEN 'more than 500' ELSE tried::text END, found;
END $$;
-- The positive control
BEGIN; SET LOCAL ROLE regress_apikey_sealer; SELECT set_config('apikey.context', :'c2', true) = :'c2' AS set; SELECT apikey.current_account() AS who; COMMIT;
-- Not listed
SELECT name, setting FROM pg_settings WHERE name = 'apikey.context';
\echo == In row level security and parallel plans
CREATE TABLE context_doc (id integer, account text NOT NULL);
INSERT INTO context_doc SELECT n, 'context-' || 1 + n % 2 FROM generate_series(1, 20000) n;
ANALYZE context_doc;
ALTER TABLE context_doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON context_doc USING ((SELECT apikey.allows('docs:read')) AND account = (SELECT apikey.current_account()));
GRANT SELECT ON context_doc TO regress_apikey_sealer;
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET ROLE regress_apikey_sealer;
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT count(*), min(account), max(account) FROM context_doc; COMMIT;
BEGIN; SET LOCAL apikey.context = :'c2'; SELECT count(*), min(account), max(account) FROM context_doc; COMMIT;
SELECT count(*) FROM context_doc;
RESET ROLE;
RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
\echo == Errors are noted with its key, too
BEGIN; SET LOCAL apikey.context = :'c1'; SELECT apikey.current_account(); SELECT 1/0; ROLLBACK;
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT e.status, e.code FROM apikey.recent_errors e WHERE e.key_id = :'one_id' AND e.code = '22012';
DROP TABLE context_doc;
DELETE FROM apikey.session;
DELETE FROM apikey.session_use;
REVOKE SET ON PARAMETER apikey.context FROM regress_apikey_sealer;
REVOKE USAGE ON SCHEMA apikey FROM regress_apikey_sealer;
DROP ROLE regress_apikey_sealer;
