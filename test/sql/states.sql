-- States of keys: disable, enable, revoke, revoke_account, expiry, purge
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

CREATE TEMP TABLE s AS SELECT n.name, i.key, i.key_id FROM (VALUES ('active'), ('disabled'), ('revoked'), ('expired'), ('disabled, expired'), ('disabled, revoked'), ('expired, revoked')) n (name),
    LATERAL apikey.issue('states-1', n.name, expires_in => '1 day') i;
CREATE FUNCTION pg_temp.id(wanted text) RETURNS uuid LANGUAGE sql AS $$ SELECT key_id FROM s WHERE name = wanted $$;
SELECT name, apikey.disable(key_id, 'ada') AS disabled FROM s WHERE name LIKE '%disabled%' ORDER BY name COLLATE "C";
SELECT name, apikey.revoke(key_id, 'because', 'bob') AS revoked FROM s WHERE name LIKE '%revoked%' ORDER BY name COLLATE "C";
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 microsecond' WHERE account = 'states-1' AND name LIKE '%expired%';

\echo == revoked, else expired, else disabled, else active
SELECT k.name, k.status, v.code, k.disabled_by, k.revoked_by, k.revoke_reason FROM s JOIN apikey.keys k USING (key_id), LATERAL apikey.verify(s.key) v ORDER BY k.name COLLATE "C";

\echo == What each call does in each state
SELECT s.name, apikey.disable(s.key_id, 'nobody') AS disable FROM s WHERE name <> 'active' ORDER BY name COLLATE "C";
SELECT s.name, pg_temp.fails(format('SELECT apikey.enable(%L)', s.key_id)) AS enable FROM s WHERE name NOT IN ('active', 'disabled') ORDER BY name COLLATE "C";
SELECT s.name, apikey.revoke(s.key_id, 'nobody') AS revoke FROM s WHERE name LIKE '%expired%' OR name LIKE '%revoked%' ORDER BY name COLLATE "C";
SELECT apikey.enable(pg_temp.id('active')) AS enable_active, apikey.disable(pg_temp.id('active')) AS disable_active, apikey.disable(pg_temp.id('active')) AS disable_twice;
SELECT code FROM apikey.verify((SELECT key FROM s WHERE name = 'active'));
SELECT apikey.enable(pg_temp.id('active')) AS enable, apikey.enable(pg_temp.id('active')) AS enable_twice;
SELECT code FROM apikey.verify((SELECT key FROM s WHERE name = 'active'));
SELECT disabled_at, disabled_by FROM apikey.keys WHERE key_id = pg_temp.id('active');
SELECT apikey.revoke(pg_temp.id('disabled'), reason => 'a disabled key can be revoked') AS revoke_disabled;
SELECT name, status, revoke_reason FROM apikey.keys WHERE key_id = pg_temp.id('disabled');

\echo == Revoking is final and remembers the first reason
SELECT apikey.revoke(pg_temp.id('revoked'), 'another', 'carol') AS revoked;
SELECT status, revoked_by, revoke_reason, revoked_at BETWEEN now() - interval '10 min' AND clock_timestamp() AS dated FROM apikey.keys WHERE key_id = pg_temp.id('revoked');

\echo == Boundaries of expiry: the real clock, not that of the transaction
SELECT key, key_id FROM apikey.issue('states-2', 'boundary', expires_in => '1 day') \gset
BEGIN;
UPDATE apikey.key SET expires_at = now() + interval '1 microsecond' WHERE key_id = :'key_id';
SELECT now() < expires_at AS by_the_transaction_still_alive, status FROM apikey.keys WHERE key_id = :'key_id';
SELECT code FROM apikey.verify(:'key');
ROLLBACK;
UPDATE apikey.key SET expires_at = 'infinity' WHERE key_id = :'key_id';
SELECT k.status, v.code FROM apikey.keys k, apikey.verify(:'key') v WHERE k.key_id = :'key_id';
UPDATE apikey.key SET expires_at = clock_timestamp() + interval '1 hour' WHERE key_id = :'key_id';
SELECT code FROM apikey.verify(:'key');

\echo == The account as a guard
SELECT key_id FROM apikey.issue('states-3', 'guarded') \gset
SELECT f.call, pg_temp.fails(format('SELECT apikey.' || f.call, :'key_id', 'states-4')) AS of_another, pg_temp.fails(format('SELECT apikey.' || f.call, '00000000-0000-7000-8000-000000000000', 'states-4')) AS unknown
FROM (VALUES (1, 'disable(%L, account => %L)'), (2, 'enable(%L, account => %L)'), (3, 'revoke(%L, account => %L)')) f (n, call) ORDER BY n \gx
SELECT f.call, pg_temp.fails('SELECT apikey.' || f.call) AS error FROM (VALUES (1, 'disable(NULL)'), (2, 'enable(NULL)'), (3, 'revoke(NULL)'), (4, 'revoke_account(NULL)')) f (n, call) ORDER BY n;
SELECT status FROM apikey.keys WHERE key_id = :'key_id';
SELECT apikey.disable(:'key_id', account => 'states-3') AS disable, apikey.enable(:'key_id', account => 'states-3') AS enable, apikey.revoke(:'key_id', account => 'states-3') AS revoke;

\echo == A whole account
CREATE TEMP TABLE whole AS SELECT n.name, i.key, i.key_id FROM (VALUES ('a'), ('b'), ('c disabled'), ('d revoked'), ('e expired')) n (name), LATERAL apikey.issue('states-5', n.name, expires_in => '1 day') i;
SELECT count(*) AS other_account FROM apikey.issue('states-6', 'bystander');
SELECT apikey.disable(key_id) AS disabled FROM whole WHERE name = 'c disabled';
SELECT apikey.revoke(key_id, 'before') AS revoked FROM whole WHERE name = 'd revoked';
UPDATE apikey.key SET expires_at = clock_timestamp() WHERE account = 'states-5' AND name = 'e expired';
SELECT apikey.revoke_account('states-5', 'account closed', 'ada') AS revoked;
SELECT w.name, k.status, k.revoked_by, k.revoke_reason, v.code FROM whole w JOIN apikey.keys k USING (key_id), LATERAL apikey.verify(w.key) v ORDER BY w.name COLLATE "C";
SELECT status FROM apikey.keys WHERE account = 'states-6';
SELECT apikey.revoke_account('states-5') AS again, apikey.revoke_account('states-none') AS unknown_account;

\echo == purge removes what ended long ago; its audit rows stay
CREATE TEMP TABLE old AS SELECT n.name, i.key_id FROM (VALUES ('active'), ('disabled'), ('revoked 10 days ago'), ('revoked 100 days ago'), ('expired 10 days ago'), ('expired 100 days ago'),
    ('revoked 10, expired 100 days ago')) n (name), LATERAL apikey.issue('states-7', n.name) i;
SELECT count(*) FROM apikey.issue('states-8', 'revoked 100 days ago');
SELECT apikey.disable(key_id) FROM old WHERE name = 'disabled';
UPDATE apikey.key SET created_at = created_at - interval '200 days' WHERE account IN ('states-7', 'states-8');
UPDATE apikey.key SET revoked_at = clock_timestamp() - substring(name FROM 'revoked ([0-9]+)')::integer * interval '1 day' WHERE account IN ('states-7', 'states-8') AND name LIKE '%revoked%';
UPDATE apikey.key SET expires_at = clock_timestamp() - substring(name FROM 'expired ([0-9]+)')::integer * interval '1 day' WHERE account = 'states-7' AND name LIKE '%expired%';
BEGIN;
SELECT apikey.purge('50 days', account => 'states-7', actor => 'janitor') AS purged;
SELECT name FROM apikey.keys WHERE account = 'states-7' ORDER BY name COLLATE "C";
SELECT a.action, a.actor, a.account, o.name, a.old ->> 'name' AS old_name FROM apikey.audit_log a JOIN old o USING (key_id) WHERE a.action = 'purge' ORDER BY o.name COLLATE "C";
SELECT count(*) AS audit_rows_of_purged_keys_that_stay FROM apikey.audit_log a JOIN old o USING (key_id) WHERE a.action = 'issue' AND NOT EXISTS (SELECT FROM apikey.keys k WHERE k.key_id = a.key_id);
SELECT apikey.purge('101 days', account => 'states-8') AS too_young, apikey.purge('99 days', account => 'states-8') AS old_enough;
SELECT apikey.purge('0', account => 'states-7') AS all_that_ended;
SELECT name FROM apikey.keys WHERE account = 'states-7' ORDER BY name COLLATE "C";
ROLLBACK;
SELECT i.older_than, pg_temp.fails(format('SELECT apikey.purge(%L)', i.older_than)) AS error FROM (VALUES (1, NULL), (2, '-1 day'), (3, '1 day -25 hours')) i (n, older_than) ORDER BY n;
BEGIN READ ONLY;
SELECT pg_temp.fails(format('SELECT apikey.%s', c.call)) AS read_only FROM (VALUES (1, format('disable(%L)', :'key_id')), (2, format('enable(%L)', :'key_id')), (3, format('revoke(%L)', :'key_id')),
    (4, 'revoke_account(''x'')'), (5, 'purge(''1 day'')'), (6, format('rotate(%L)', :'key_id')), (7, format('alter_key(%L)', :'key_id')), (8, 'revoke_leaked(''x'')'), (9, 'add_pepper()'),
    (10, 'set_current_pepper(1)'), (11, 'retire_pepper(1)')) c (n, call) ORDER BY n;
SELECT count(*) AS listed FROM apikey.list_keys('states-8');
ROLLBACK;

\echo == Lists
SELECT name, status FROM apikey.list_keys('states-1', 'ada');
SELECT count(*) AS of_nobody FROM apikey.list_keys('states-nobody');
SELECT pg_temp.fails('SELECT apikey.list_keys(NULL)') AS error;
