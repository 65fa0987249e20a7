-- P: TelAPI, teams and calls over WebRTC, as products.md describes it, by configuration alone.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_product_p;
CREATE DATABASE apikey_product_p;
\c apikey_product_p
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
    RETURN regexp_replace(concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, '')),
                          '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g');
END $$;

\echo == Configuration by the operator
UPDATE apikey.account_policy SET api_enabled = false WHERE account = '*';
UPDATE apikey.kind SET prefix = 'tel_', default_scopes = NULL WHERE kind = 'secret';
INSERT INTO apikey.scope (scope, description) VALUES
    ('CREATE_CALL_TOKEN', 'Make a token for a call'), ('READ_CALL_TOKEN', 'See tokens'), ('READ_TEAM_APPS', 'See the apps of the team');

\echo == P12 teams start with access off
SELECT pg_temp.fails($$SELECT apikey.issue('newteam', 'first', '{READ_TEAM_APPS}')$$) AS new_team;

\echo == P1 a superadmin turns access on per team; off: no key can be made, existing ones are refused
INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('team1', true);
SELECT key, key_id FROM apikey.issue('team1', 'first', '{READ_TEAM_APPS}') \gset
SELECT code, status FROM apikey.verify(:'key', 'READ_TEAM_APPS');
UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'team1';
SELECT code, status, message FROM apikey.verify(:'key', 'READ_TEAM_APPS');
SELECT pg_temp.fails($$SELECT apikey.issue('team1', 'second', '{READ_TEAM_APPS}')$$) AS issue;
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L)', :'key_id')) AS rotate;
UPDATE apikey.account_policy SET api_enabled = true WHERE account = 'team1';
SELECT code, status FROM apikey.verify(:'key', 'READ_TEAM_APPS');
UPDATE apikey.account_policy SET api_enabled = NULL WHERE account = 'team1';
SELECT code AS inherited FROM apikey.verify(:'key', 'READ_TEAM_APPS');
DELETE FROM apikey.account_policy WHERE account = 'team1';
SELECT code AS row_removed FROM apikey.verify(:'key', 'READ_TEAM_APPS');

\echo == P2 the superadmin fixes which scopes a team may assign
INSERT INTO apikey.account_policy (account, api_enabled, allowed_scopes) VALUES ('team2', true, 'READ_CALL_TOKEN READ_TEAM_APPS');
SELECT scopes FROM apikey.issue('team2', 'allowed', '{READ_TEAM_APPS,READ_CALL_TOKEN}');
SELECT pg_temp.fails($$SELECT apikey.issue('team2', 'too much', '{READ_TEAM_APPS,CREATE_CALL_TOKEN}')$$) AS too_much;
SELECT pg_temp.fails($$SELECT apikey.issue('team2', 'everything', '{*}')$$) AS everything;
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, scopes => %L)', key_id, '{CREATE_CALL_TOKEN}')) AS later FROM apikey.keys WHERE account = 'team2';

\echo == P3 ... and the number of keys: 1 of 2 used
INSERT INTO apikey.account_policy (account, api_enabled, max_keys) VALUES ('team3', true, 2);
SELECT name FROM apikey.issue('team3', 'one', '{READ_TEAM_APPS}');
SELECT (SELECT count(*) FROM apikey.keys k WHERE k.account = p.account AND k.status IN ('active', 'disabled')) AS used, p.max_keys AS allowed
FROM apikey.account_policy p WHERE p.account = 'team3';
SELECT name FROM apikey.issue('team3', 'two', '{READ_TEAM_APPS}');
SELECT pg_temp.fails($$SELECT apikey.issue('team3', 'three', '{READ_TEAM_APPS}')$$) AS three;
UPDATE apikey.account_policy SET max_keys = 3 WHERE account = 'team3';
SELECT name FROM apikey.issue('team3', 'three', '{READ_TEAM_APPS}');

\echo == P4 ... and optionally requests per day, over all keys of the team; beyond it 429
INSERT INTO apikey.account_policy (account, api_enabled, max_requests_per_day) VALUES ('team4', true, 5);
SELECT key AS one FROM apikey.issue('team4', 'one', '{READ_TEAM_APPS}') \gset
SELECT key AS two FROM apikey.issue('team4', 'two', '{READ_TEAM_APPS}') \gset
SELECT v.code, count(*) FROM generate_series(1, 3) n, (VALUES (:'one'), (:'two')) k (key), LATERAL apikey.verify(k.key, 'READ_TEAM_APPS', cost => 1 + 0 * n) v GROUP BY v.code ORDER BY v.code COLLATE "C";
SELECT code, status, message, limit_name, limit_max, limit_remaining, retry_after BETWEEN 1 AND 86400 AS retry_after FROM apikey.verify(:'two', 'READ_TEAM_APPS');
UPDATE apikey.account_policy SET max_requests_per_day = NULL WHERE account = 'team4';
SELECT code AS without FROM apikey.verify(:'two', 'READ_TEAM_APPS');

\echo == P6 flat scopes with descriptions
SELECT scope, description FROM apikey.scope ORDER BY scope COLLATE "C";
INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('team6', true);
CREATE TEMP TABLE p6 AS SELECT s.scope, i.key FROM apikey.scope s, LATERAL apikey.issue('team6', s.scope, ARRAY[s.scope]) i;
SELECT k.scope AS granted, r.scope AS required, v.code FROM p6 k, apikey.scope r, LATERAL apikey.verify(k.key, r.scope) v
ORDER BY k.scope COLLATE "C", r.scope COLLATE "C";
SELECT pg_temp.fails($$SELECT apikey.issue('team6', 'other', '{DELETE_EVERYTHING}')$$) AS unlisted;

\echo == P7 a platform switch off: of no use for these scopes until it is on again
UPDATE apikey.scope SET enabled = false WHERE scope IN ('CREATE_CALL_TOKEN', 'READ_CALL_TOKEN');
SELECT k.scope AS granted, v.code, v.status, v.message, v.missing_scopes FROM p6 k, LATERAL apikey.verify(k.key, k.scope) v ORDER BY k.scope COLLATE "C";
SELECT code AS of_one_not_granted FROM p6 k, LATERAL apikey.verify(k.key, 'CREATE_CALL_TOKEN') v WHERE k.scope = 'READ_TEAM_APPS';
UPDATE apikey.scope SET enabled = true;
SELECT k.scope AS granted, v.code FROM p6 k, LATERAL apikey.verify(k.key, k.scope) v ORDER BY k.scope COLLATE "C";

\echo == P8 list: name, scopes, created, last used
SELECT name, scopes, created_at IS NOT NULL AS created, last_used_at FROM apikey.list_keys('team6') ORDER BY name COLLATE "C";

\echo == P9 shown once, masked afterwards, lost means delete and make a new one
SELECT display ~ '^tel_[0-9A-Za-z]{3}[.]{3}[0-9A-Za-z]{4}$' AS masked FROM apikey.keys WHERE key_id = :'key_id';
SELECT count(*) FILTER (WHERE attname IN ('key', 'digest', 'lookup')) AS columns_with_secrets, count(*) > 20 AS searched
FROM pg_attribute WHERE attrelid = 'apikey.keys'::regclass AND attnum > 0;
SELECT key_id AS lost_id FROM apikey.keys WHERE account = 'team2' \gset
SELECT apikey.revoke(:'lost_id', 'lost') AS deleted;
SELECT key AS replacement FROM apikey.issue('team2', 'replacement', '{READ_TEAM_APPS}') \gset
SELECT code FROM apikey.verify(:'replacement', 'READ_TEAM_APPS');

\echo == P10 deleted: invalid at once
SELECT v.code FROM p6 k, LATERAL apikey.verify(k.key) v WHERE k.scope = 'READ_TEAM_APPS';
SELECT apikey.revoke(key_id) AS deleted FROM apikey.keys WHERE account = 'team6' AND name = 'READ_TEAM_APPS';
SELECT v.code, v.status, v.message FROM p6 k, LATERAL apikey.verify(k.key) v WHERE k.scope = 'READ_TEAM_APPS';

\echo == P11 another endpoint with its own authentication is untouched by these scopes
-- It asks for no scope of the catalogue, so neither the catalogue nor the switch has a say.
UPDATE apikey.scope SET enabled = false;
SELECT v.code FROM p6 k, LATERAL apikey.verify(k.key) v WHERE k.scope = 'CREATE_CALL_TOKEN';
SELECT v.code FROM p6 k, LATERAL apikey.verify(k.key, 'CREATE_CALL_TOKEN') v WHERE k.scope = 'CREATE_CALL_TOKEN';

\echo == P5 header figures: keys used / allowed, requests today / limit, assignable scopes; P8 last used
UPDATE apikey.scope SET enabled = scope <> 'READ_TEAM_APPS';
INSERT INTO apikey.account_policy (account, api_enabled, max_keys, max_requests_per_day) VALUES ('team5', true, 2, 1000);
SELECT key FROM apikey.issue('team5', 'only', '{READ_CALL_TOKEN}') \gset
SELECT v.code FROM apikey.verify(:'key', 'READ_CALL_TOKEN') v;
SELECT v.code FROM apikey.verify(:'key', 'CREATE_CALL_TOKEN') v;
SELECT active_keys, max_keys, requests_today, max_requests_per_day, available_scopes FROM apikey.account_usage WHERE account = 'team5';
SELECT apikey.flush_usage() >= 0 AS written;
SELECT name, last_used_at > created_at AS last_used FROM apikey.list_keys('team5');

\c :regression
DROP DATABASE apikey_product_p;
