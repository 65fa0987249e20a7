-- The daily quota of an account: over all its keys, calls that pass, from the moment it is set
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
    RETURN regexp_replace(concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, '')),
                          '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g');
END $$;
-- Codes of so many calls, one after the other
CREATE FUNCTION pg_temp.calls(key text, count integer, cost integer DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE codes text[];
BEGIN
    FOR i IN 1 .. count LOOP
        codes := codes || (SELECT v.code FROM apikey.verify(key, cost => cost) v);
    END LOOP;
    RETURN array_to_string(codes, ' ');
END $$;
CREATE FUNCTION pg_temp.today(account text) RETURNS TABLE (today bigint, max bigint) LANGUAGE sql AS
    $$ SELECT requests_today, max_requests_per_day FROM apikey.account_usage u WHERE u.account = today.account $$;

\echo == None as shipped; calls are counted all the same, unflushed ones too
SELECT key AS k1, key_id AS id1 FROM apikey.issue('quota-1', 'one') \gset
SELECT key AS k2 FROM apikey.issue('quota-1', 'two') \gset
SELECT key AS other FROM apikey.issue('quota-2', 'other') \gset
SELECT pg_temp.calls(:'k1', 2), code AS refused FROM apikey.verify(:'k1', account => 'x');
SELECT * FROM pg_temp.today('quota-1');
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT * FROM pg_temp.today('quota-1');

\echo == Set in the middle of the day it knows what has passed, flushed or not; over all keys of the account
SELECT pg_temp.calls(:'k2', 1);
INSERT INTO apikey.account_policy (account, max_requests_per_day) VALUES ('quota-1', 5);
SELECT ok, code, status, limit_name, limit_max, limit_per, limit_remaining, limit_reset BETWEEN 1 AND 86400 AS reset, retry_after FROM apikey.verify(:'k1');
SELECT pg_temp.calls(:'k2', 2);
SELECT ok, code, status, message, limit_name, limit_max, limit_remaining, retry_after BETWEEN 1 AND 86400 AND retry_after = limit_reset AS until_midnight FROM apikey.verify(:'k1');
SELECT * FROM pg_temp.today('quota-1');
SELECT step, passed, detail FROM apikey.explain(:'k1') WHERE step LIKE 'limit%' OR step = 'verdict';
SELECT pg_temp.calls(:'other', 1) AS another_account;

\echo == Changed at once; -1 is no limit; what passed meanwhile counts when it is back; 0 lets nobody in
UPDATE apikey.account_policy SET max_requests_per_day = 6 WHERE account = 'quota-1';
SELECT pg_temp.calls(:'k1', 2);
UPDATE apikey.account_policy SET max_requests_per_day = -1 WHERE account = 'quota-1';
SELECT pg_temp.calls(:'k1', 3);
UPDATE apikey.account_policy SET max_requests_per_day = 10 WHERE account = 'quota-1';
SELECT pg_temp.calls(:'k1', 2);
SELECT * FROM pg_temp.today('quota-1');
UPDATE apikey.account_policy SET max_requests_per_day = 0 WHERE account = 'quota-1';
SELECT code, limit_max, limit_remaining, retry_after FROM apikey.verify(:'k1');
BEGIN;
UPDATE apikey.account_policy SET max_requests_per_day = 100 WHERE account = 'quota-1';
SELECT pg_temp.calls(:'k1', 1);
ROLLBACK;
SELECT pg_temp.calls(:'k1', 1);
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT * FROM pg_temp.today('quota-1');

\echo == By default for every account; cost does not count, 0 included
UPDATE apikey.account_policy SET max_requests_per_day = 3 WHERE account = '*';
SELECT pg_temp.calls(:'other', 1, 0) AS zero, pg_temp.calls(:'other', 2, 1000) AS much;
UPDATE apikey.account_policy SET max_requests_per_day = -1 WHERE account = '*';

\echo == With a limit: the code comes in their order, a refusal counts for neither
INSERT INTO apikey.account_policy (account, max_requests_per_day) VALUES ('quota-3', 2);
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('few', 'quota-3', 1, '10 minutes');
SELECT key, key_id FROM apikey.issue('quota-3', 'k') \gset
SELECT code, limit_name, limit_remaining FROM apikey.verify(:'key');
SELECT code, limit_name, limit_remaining FROM apikey.verify(:'key');
SELECT today FROM pg_temp.today('quota-3');
SELECT apikey.reset_limit(:'key_id', 'few') AS reset;
SELECT code FROM apikey.verify(:'key');
SELECT apikey.reset_limit(:'key_id', 'few') AS reset;
SELECT code, limit_name FROM apikey.verify(:'key');
SELECT used FROM apikey.limits WHERE key_id = :'key_id';

\echo == A rotated key, a new one and a removed one do not change what the account has used
SELECT key AS new_key FROM apikey.rotate(:'key_id') \gset
SELECT code FROM apikey.verify(:'new_key');
DELETE FROM apikey.key WHERE account LIKE 'quota-%';
DELETE FROM apikey.rate_limit WHERE account LIKE 'quota-%';
DELETE FROM apikey.account_policy WHERE account LIKE 'quota-%';
