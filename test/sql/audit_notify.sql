-- Audit log: one row per change, by whom; no key texts. NOTIFY does not get in the way
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
-- What NOTIFY says is shown by the TAP tests, for psql prints the server's process id with it.

CREATE TEMP VIEW log AS SELECT a.action, a.account, a.actor, a.object, a.old - '{revoked_at,disabled_at,expires_at,rotated_to}'::text[] AS old, a.new - '{revoked_at,disabled_at,expires_at,rotated_to,rotated_from,display}'::text[] AS new, a.reason, a.occurred_at
    FROM apikey.audit_log a WHERE a.account LIKE 'audit-%' OR a.object ~ 'audit';
\echo == One row per changed key
SELECT key AS k1, key_id AS id1 FROM apikey.issue('audit-1', 'first', '{a}', allowed_ips => '{192.0.2.1}', actor => 'ada') \gset
SELECT apikey.alter_key(:'id1', name => 'renamed', scopes => '{b}', actor => 'bob'), apikey.disable(:'id1', 'carol'), apikey.enable(:'id1', 'dave');
SELECT key_id AS id2 FROM apikey.rotate(:'id1', actor => 'erin') \gset
SELECT apikey.revoke(:'id2', 'no longer used', 'frank');
SELECT action, account, actor, old, new, reason FROM log WHERE account = 'audit-1' ORDER BY occurred_at, action COLLATE "C";
SELECT count(*) FILTER (WHERE key_id IS NULL) AS without_key_id, count(*) FILTER (WHERE db_user <> session_user) AS other_user, count(*) FILTER (WHERE substr(audit_id::text, 15, 1) <> '7') AS ids_not_v7,
       count(*) FILTER (WHERE client_addr IS DISTINCT FROM inet_client_addr()) AS other_address FROM apikey.audit_log WHERE account = 'audit-1';
-- no change, no row
SELECT apikey.revoke(:'id2'), apikey.disable(:'id2');
SELECT count(*) AS rows FROM log WHERE account = 'audit-1';
\echo == Whole accounts, leaks and purges: a row for each key
SELECT count(*) AS made FROM generate_series(1, 3) n, LATERAL apikey.issue('audit-2', 'k' || n) i;
SELECT apikey.revoke_account('audit-2', 'closed', 'ada');
SELECT apikey.purge('0', account => 'audit-2', actor => 'janitor') AS purged;
SELECT action, actor, reason, count(*), count(DISTINCT a.key_id) AS keys FROM apikey.audit_log a WHERE account = 'audit-2' GROUP BY action, actor, reason ORDER BY action COLLATE "C";
\echo == By SET apikey.actor; an argument goes before it, and does not outlive the call
SET apikey.actor = 'setting';
SELECT key_id AS id3 FROM apikey.issue('audit-3', 'by setting') \gset
SELECT apikey.disable(:'id3');
SELECT apikey.enable(:'id3', 'argument');
SELECT current_setting('apikey.actor') AS after_the_call;
SELECT apikey.alter_key(:'id3', name => 'x');
SELECT created_by FROM apikey.keys WHERE key_id = :'id3';
RESET apikey.actor;
SELECT apikey.alter_key(:'id3', name => 'y', actor => 'argument');
SELECT apikey.revoke_account('audit-none', actor => 'argument'), count(*) AS listed FROM apikey.list_keys('audit-3', 'argument');
SELECT current_setting('apikey.actor') = '' AS nobody_after_the_call;
SELECT apikey.alter_key(:'id3', name => 'z');
BEGIN;
SET LOCAL apikey.actor = 'local';
SELECT apikey.disable(:'id3');
COMMIT;
SELECT apikey.enable(:'id3');
SELECT pg_temp.fails(format('SELECT apikey.enable(%L, %L, %L)', :'id3', 'argument', 'another account')) LIKE 'KA404%' AS refused, current_setting('apikey.actor') = '' AS nobody_after_an_error;
SELECT action, actor, old ->> 'name' AS old, new ->> 'name' AS new FROM log WHERE account = 'audit-3' ORDER BY occurred_at;
\echo == Direct DML on policy tables and on keys
INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('audit', 'audit_', 'a b');
UPDATE apikey.kind SET enabled = false, default_scopes = 'c' WHERE kind = 'audit';
UPDATE apikey.kind SET enabled = false WHERE kind = 'audit';
INSERT INTO apikey.account_policy (account, max_keys) VALUES ('audit-4', 2), ('audit-5', 3);
SET apikey.actor = 'dba';
UPDATE apikey.account_policy SET max_keys = max_keys + 1 WHERE account LIKE 'audit-%';
INSERT INTO apikey.scope (scope, description) VALUES ('audit:read', 'x');
UPDATE apikey.scope SET enabled = false WHERE scope = 'audit:read';
DELETE FROM apikey.scope WHERE scope = 'audit:read';
DELETE FROM apikey.account_policy WHERE account LIKE 'audit-%';
DELETE FROM apikey.kind WHERE kind = 'audit';
RESET apikey.actor;
UPDATE apikey.key SET name = 'by a superuser' WHERE key_id = :'id3';
SELECT action, account, actor, object, old, new FROM log WHERE object IS NOT NULL AND action <> 'insert' OR new ->> 'name' = 'by a superuser' ORDER BY occurred_at, object COLLATE "C";
SELECT action, object, new ->> 'max_keys' AS max_keys, new ? 'installation' AS bookkeeping FROM log WHERE action = 'insert' ORDER BY occurred_at, object COLLATE "C";
BEGIN;
TRUNCATE apikey.scope;
SELECT action, object FROM apikey.audit_log WHERE occurred_at >= now() AND action = 'truncate';
ROLLBACK;
\echo == Transactional
BEGIN;
SELECT apikey.disable(:'id3', 'ghost');
ROLLBACK;
SELECT count(*) AS rows_of_a_rolled_back_change FROM log WHERE actor = 'ghost';
\echo == Key texts in whatever is recorded become their mask
SELECT key AS k4, key_id AS id4, display AS d4 FROM apikey.issue('audit-6', 'k') \gset
SELECT apikey.alter_key(:'id4', name => 'I am ' || :'k4', actor => 'me with ' || :'k4');
SELECT apikey.disable(:'id4', :'k4');
SET apikey.actor = :'k4';
SELECT apikey.enable(:'id4');
RESET apikey.actor;
SELECT apikey.revoke(:'id4', 'leaked: ' || :'k4' || ' in a forum', 'scanner');
SELECT name = 'I am ' || :'d4' AS name, revoke_reason = 'leaked: ' || :'d4' || ' in a forum' AS reason FROM apikey.keys WHERE key_id = :'id4';
SELECT action, replace(actor, :'d4', '<mask>') AS actor, replace(new ->> 'name', :'d4', '<mask>') AS name, replace(reason, :'d4', '<mask>') AS reason FROM log WHERE account = 'audit-6' ORDER BY occurred_at;
SELECT count(*) AS key_texts_in_the_log, (SELECT count(*) FROM apikey.key k WHERE k::text LIKE '%' || substr(:'k4', 7, 40) || '%') AS in_the_keys FROM apikey.audit_log a WHERE a::text LIKE '%' || substr(:'k4', 7, 40) || '%' OR a::text LIKE '%' || substr(:'k1', 7, 40) || '%';
-- a key text that begins where the text is cut is not half shown
SELECT key_id AS id5 FROM apikey.issue('audit-6', 'cut') \gset
SELECT apikey.revoke(:'id5', repeat('x', 225) || ' ' || :'k4') AS revoked;
SELECT octet_length(revoke_reason) <= 255 AS cut, revoke_reason LIKE '%' || substr(:'k4', 1, 12) || '%' AS half_shown FROM apikey.keys WHERE key_id = :'id5';
\echo == No secrets, no hashes
SELECT count(*) AS rows_with_secrets FROM apikey.audit_log
WHERE coalesce(old, '{}') || coalesce(new, '{}') ?| '{digest,lookup,pepper_id,algorithm,secret,fingerprint}' OR concat(old, new) ~ '\\\\x[0-9a-f]{16}';

\echo == NOTIFY never makes a change fail: savepoints, switched off, many in one transaction
SELECT key_id AS id6 FROM apikey.issue('audit-7', 'k') \gset
BEGIN;
SELECT apikey.disable(:'id6');
SELECT pg_temp.fails('SELECT 1/0') LIKE '22012%' AS an_error_inside;
SAVEPOINT a; SELECT apikey.enable(:'id6'); ROLLBACK TO a;
SAVEPOINT b; SELECT apikey.enable(:'id6'); RELEASE b;
COMMIT;
SELECT status FROM apikey.keys WHERE key_id = :'id6';
SET apikey.notify = off;
SELECT apikey.disable(:'id6'), apikey.enable(:'id6');
RESET apikey.notify;
-- many in one transaction
BEGIN;
SELECT count(*) FROM generate_series(1, 300) n, LATERAL apikey.issue('audit-8-' || n, 'k') i;
COMMIT;

\echo == Retention: older rows go, by the time in their id and in their column
BEGIN;
INSERT INTO apikey.audit_log (audit_id, occurred_at, action, account) VALUES
    ('00000000-0000-7000-8000-000000000001', '1970-01-01 00:00+00', 'first', 'audit-9'),
    ('016f5e66-e800-7000-8000-000000000000', '2020-01-01 00:00+00', 'second', 'audit-9'),
    ('016f5e66-e800-7000-8000-000000000001', '2026-01-01 00:00+00', 'later than its id says', 'audit-9');
SELECT count(*) AS others FROM apikey.audit_log WHERE account IS DISTINCT FROM 'audit-9' \gset
SELECT apikey.maintain_audit('2020-01-01 00:00+00');
SELECT action FROM apikey.audit_log WHERE account = 'audit-9' ORDER BY audit_id;
SELECT apikey.maintain_audit('2020-01-01 00:00:01+00');
SELECT action FROM apikey.audit_log WHERE account = 'audit-9' ORDER BY audit_id;
SELECT apikey.maintain_audit('2000-01-01 BC');
SELECT count(*) = :others AS others_remain FROM apikey.audit_log WHERE account IS DISTINCT FROM 'audit-9';
ROLLBACK;
