-- max_keys: what counts, and that it binds exactly
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

BEGIN;
INSERT INTO apikey.account_policy (account, max_keys) VALUES ('caps-1', 3), ('caps-0', 0), ('caps-free', -1);
SELECT count(*) AS made FROM generate_series(1, 3) n, LATERAL apikey.issue('caps-1', 'k' || n, expires_in => '1 day') i;
SELECT pg_temp.fails($$SELECT apikey.issue('caps-1', 'one too many')$$) AS full, pg_temp.fails($$SELECT apikey.issue('caps-0', 'none at all')$$) AS none \gx
CREATE FUNCTION pg_temp.another() RETURNS text LANGUAGE sql AS $$ SELECT left(pg_temp.fails($i$SELECT apikey.issue('caps-1', 'another')$i$), 8) $$;
SELECT key_id AS k1 FROM apikey.keys WHERE account = 'caps-1' AND name = 'k1' \gset
SELECT key_id AS k2 FROM apikey.keys WHERE account = 'caps-1' AND name = 'k2' \gset
SAVEPOINT s;
SELECT apikey.disable(:'k1'), pg_temp.another() AS disabled_counts;
ROLLBACK TO s;
SELECT apikey.revoke(:'k1'), pg_temp.another() AS revoked_does_not;
ROLLBACK TO s;
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 s' WHERE key_id = :'k1';
SELECT pg_temp.another() AS expired_does_not;
ROLLBACK TO s;
SELECT name FROM apikey.rotate(:'k1', '1 day');
SELECT pg_temp.another() AS superseded_does_not_but_its_successor_does;
SELECT count(*) AS active FROM apikey.keys WHERE account = 'caps-1' AND status = 'active';
ROLLBACK TO s;
-- a rolled back key does not count
SAVEPOINT t;
SELECT apikey.revoke(:'k1');
SELECT name FROM apikey.issue('caps-1', 'in its place');
ROLLBACK TO t;
SELECT pg_temp.another() AS full_again;
UPDATE apikey.account_policy SET max_keys = 1 WHERE account = 'caps-1';
SELECT apikey.revoke(:'k1'), pg_temp.another() AS lowered_below_what_is_there;
UPDATE apikey.account_policy SET max_keys = -1 WHERE account = 'caps-1';
SELECT pg_temp.another() AS no_limit;
SELECT count(*) AS without_limit FROM generate_series(1, 100) n, LATERAL apikey.issue('caps-free', 'k' || n) i;
SELECT count(*) AS other_accounts_are_not_met FROM apikey.issue('caps-2', 'k');
ROLLBACK;
-- One statement that makes too many makes none.
SELECT count(*) FROM generate_series(1, 26) n, LATERAL apikey.issue('caps-3', 'k' || n) i;
SELECT count(*) AS kept FROM apikey.keys WHERE account = 'caps-3';
SELECT count(*) AS audited FROM apikey.audit_log WHERE account = 'caps-3';
SELECT count(*) FROM generate_series(1, 25) n, LATERAL apikey.issue('caps-3', 'k' || n) i;
SELECT pg_temp.fails($$SELECT apikey.issue('caps-3', 'k26')$$) AS default_25;
-- The same account with another kind, and in another isolation level
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.fails($$SELECT apikey.issue('caps-3', 'w', '{a}', 'widget', allowed_origins => '{a.example}')$$) AS other_kind;
COMMIT;
SELECT max_keys, (SELECT count(*) FROM apikey.keys k WHERE k.account = 'caps-3') AS used FROM apikey.account_policy WHERE account = '*';
