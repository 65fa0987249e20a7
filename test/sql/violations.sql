-- Policy made stricter: what keys that exist may still do, and which of them are listed
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
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
                          '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( ?[A-Z]+|[+-]\d\d(:\d\d)?)?', '<time>', 'g');
END $$;
CREATE ROLE regress_vio_role;
CREATE VIEW pg_temp.listed AS
    SELECT v.account, k.name, v.rule, v.detail FROM apikey.policy_violations v JOIN apikey.keys k USING (key_id, account)
    WHERE v.account LIKE 'vio-%' ORDER BY v.account COLLATE "C", k.name COLLATE "C", v.rule COLLATE "C";

BEGIN;
INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('vio', 'vio_', 'a:read');
CREATE TEMP TABLE vio_key AS SELECT i.* FROM (VALUES ('vio-1', 'plain', '{a:read}'::text[], NULL::text[], NULL::interval, NULL::text),
    ('vio-1', 'of some addresses', '{a:read}', '{192.0.2.1}', NULL, NULL), ('vio-1', 'short', '{a:read}', NULL, '30 days', NULL), ('vio-1', 'long', '{a:read}', NULL, '365 days', NULL),
    ('vio-1', 'wide', '{a:*,b:read}', NULL, '30 days', NULL), ('vio-1', 'with a role', '{a:read}', NULL, '30 days', 'regress_vio_role'), ('vio-2', 'elsewhere', '{*}', NULL, NULL, NULL)) n (account, name, scopes, ips, lives, role),
    LATERAL apikey.issue(n.account, n.name, n.scopes, 'vio', n.ips, expires_in => n.lives, db_role => n.role) i;
SELECT count(*) AS nothing_yet FROM pg_temp.listed;
CREATE FUNCTION pg_temp.codes() RETURNS TABLE (account text, codes text) LANGUAGE sql AS $$
    SELECT k.account, string_agg(DISTINCT v.code, ' ') FROM vio_key k, LATERAL apikey.verify(k.key, 'a:read', '192.0.2.1') v GROUP BY 1 $$;

\echo == Each rule by itself; verify goes on as before
SAVEPOINT s;
INSERT INTO apikey.account_policy (account, max_lifetime) VALUES ('vio-1', '90 days');
SELECT * FROM pg_temp.listed;
SELECT * FROM pg_temp.codes() ORDER BY 1;
SELECT pg_temp.fails($$SELECT apikey.issue('vio-1', 'new', kind => 'vio', expires_in => '91 days')$$) AS new;
-- a change of something else goes through; the successor of a key is cut to what is allowed now
SELECT apikey.alter_key(key_id, name => 'longer') AS renamed FROM vio_key WHERE name = 'long';
SELECT r.expires_at = r.created_at + interval '90 days' AS cut FROM vio_key k, apikey.rotate(k.key_id) r WHERE k.name = 'long';
SELECT r.expires_at = r.created_at + interval '90 days' AS cut FROM vio_key k, apikey.rotate(k.key_id) r WHERE k.name = 'plain';
SELECT count(*) AS rotated_away FROM pg_temp.listed WHERE rule = 'max_lifetime';
-- an hour more or less is a matter of time zones
UPDATE apikey.key SET expires_at = created_at + interval '90 days 25 hours' WHERE account = 'vio-1' AND name = 'short';
SELECT count(*) AS within_a_day FROM pg_temp.listed WHERE name = 'short';
UPDATE apikey.key SET expires_at = created_at + interval '90 days 27 hours' WHERE account = 'vio-1' AND name = 'short';
SELECT detail AS beyond FROM pg_temp.listed WHERE name = 'short';
-- no limit, and limits beyond all reason
UPDATE apikey.account_policy SET max_lifetime = '0' WHERE account = 'vio-1';
SELECT count(*) AS without_limit FROM pg_temp.listed;
UPDATE apikey.account_policy SET max_lifetime = '170000000 years', rotate_after = '170000000 years' WHERE account = 'vio-1';
SELECT count(*) AS not_in_our_time FROM pg_temp.listed;
SELECT count(*) AS not_in_our_time FROM apikey.keys_to_rotate WHERE account = 'vio-1';
ROLLBACK TO s;
INSERT INTO apikey.account_policy (account, require_allowed_ips) VALUES ('vio-1', true);
SELECT * FROM pg_temp.listed;
SELECT k.name, v.code AS known, w.code AS unknown FROM vio_key k, LATERAL apikey.verify(k.key, 'a:read', '192.0.2.1') v, LATERAL apikey.verify(k.key, 'a:read') w WHERE k.name IN ('plain', 'of some addresses') ORDER BY 1;
UPDATE apikey.kind SET origin_locked = true WHERE kind = 'vio';
SELECT * FROM pg_temp.listed WHERE name LIKE 'of%' OR name = 'elsewhere';
ROLLBACK TO s;
INSERT INTO apikey.account_policy (account, allowed_scopes) VALUES ('vio-1', 'a:read');
SELECT * FROM pg_temp.listed;
SELECT * FROM pg_temp.codes() ORDER BY 1;
SELECT pg_temp.fails($$SELECT apikey.issue('vio-1', 'new', '{b:read}', 'vio')$$) AS new;
SELECT r.scopes AS kept FROM vio_key k, apikey.rotate(k.key_id) r WHERE k.name = 'wide';
ROLLBACK TO s;
INSERT INTO apikey.scope (scope) VALUES ('a:read'), ('c:read');
SELECT * FROM pg_temp.listed;
SELECT pg_temp.fails($$SELECT apikey.issue('vio-1', 'new', '{b:read}', 'vio')$$) AS new;
ROLLBACK TO s;
INSERT INTO apikey.account_policy (account, max_keys, name_max) VALUES ('vio-1', 4, 10);
SELECT name, detail FROM pg_temp.listed WHERE rule = 'name_max';
SELECT count(*) AS too_many, string_agg(detail, '; ' ORDER BY detail) AS detail FROM pg_temp.listed WHERE rule = 'max_keys';
SELECT pg_temp.fails($$SELECT apikey.issue('vio-1', 'new', kind => 'vio')$$) AS new;
SELECT apikey.disable(key_id) AS disabled FROM vio_key WHERE name = 'plain';
SELECT count(*) AS disabled_ones_count FROM pg_temp.listed WHERE rule = 'max_keys';
SELECT apikey.revoke(key_id) AS revoked FROM vio_key WHERE name = 'long';
SELECT count(*) AS fewer FROM pg_temp.listed WHERE rule = 'max_keys';
SELECT count(*) AS superseded FROM vio_key k, apikey.rotate(k.key_id, '1 day') r WHERE k.name = 'short';
SELECT count(*) AS as_many FROM pg_temp.listed WHERE rule = 'max_keys';
UPDATE apikey.account_policy SET max_keys = -1, name_max = -1 WHERE account = 'vio-1';
SELECT count(*) AS without_limit FROM pg_temp.listed;
ROLLBACK TO s;
ALTER ROLE regress_vio_role RENAME TO regress_vio_gone;
SELECT * FROM pg_temp.listed;
ALTER ROLE regress_vio_gone RENAME TO regress_vio_role;
ALTER ROLE regress_vio_role SUPERUSER;
SELECT * FROM pg_temp.listed;
ROLLBACK TO s;
\echo == Ended keys are not listed, nor those due for rotation; several rules at a time are several rows
UPDATE apikey.account_policy SET rotate_after = '1 s' WHERE account = '*';
INSERT INTO apikey.account_policy (account, max_lifetime, require_allowed_ips, allowed_scopes, max_keys) VALUES ('vio-1', '1 day', true, 'x', 0);
SELECT name, string_agg(rule, ' ' ORDER BY rule COLLATE "C") AS rules FROM pg_temp.listed GROUP BY 1 ORDER BY name COLLATE "C";
SELECT apikey.revoke_account('vio-1') AS revoked;
SELECT count(*) AS revoked_ones FROM pg_temp.listed;
ROLLBACK TO s;
UPDATE apikey.account_policy SET allowed_scopes = 'x', max_keys = 1 WHERE account = '*';
SELECT account, count(*) AS by_the_default_row FROM pg_temp.listed GROUP BY 1 ORDER BY 1;
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 s' WHERE account LIKE 'vio-%';
SELECT count(*) AS expired_ones FROM pg_temp.listed;
ROLLBACK;
DROP VIEW pg_temp.listed;
DROP ROLE regress_vio_role;
