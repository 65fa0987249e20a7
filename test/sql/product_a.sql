-- A: TalkifAI authentication, organisation keys, as products.md describes them, by configuration alone.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_product_a;
CREATE DATABASE apikey_product_a;
\c apikey_product_a
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
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

\echo == Configuration by the operator: 64 characters without prefix, of which the last six are the checksum
INSERT INTO apikey.kind (kind, prefix, body_length, checksum, mask_head, mask_gap, mask_tail, default_scopes, default_lifetime, name_max)
VALUES ('org', '', 58, true, 6, '••••••••', 0, '*', '1 year', 50);

\echo == A1 (the key text) 64 characters, no prefix
SELECT key, key_id, display FROM apikey.issue('org1', 'backend', kind => 'org', actor => 'owner@org1.example',
    metadata => '{"org_id": "org1"}') \gset
SELECT length(:'key') AS length, :'key' ~ '^[0-9A-Za-z]+$' AS plain;
SELECT code, status FROM apikey.verify(:'key', 'anything:read');

-- ... in header x-api-key
SELECT key AS by_header FROM apikey.issue('a1', 'by header') \gset
SELECT h.n, c.allowed, c.status, c.body::jsonb ->> 'detail' AS message
FROM (VALUES (1, '{"x-api-key": "KEY"}'), (2, '{"X-API-Key": " KEY "}'), (3, '{"x-api-key": "KEx"}'), (4, '{"x-api-key": ""}'), (5, '{}')) h (n, headers),
     LATERAL apikey.http_check(replace(h.headers, '"KEY', '"' || :'by_header')::jsonb, 'GET', '/') c WHERE n <> 2
UNION ALL SELECT 2, c.allowed, c.status, NULL FROM apikey.http_check(jsonb_build_object('X-API-Key', ' ' || :'by_header' || ' '), 'GET', '/') c ORDER BY 1;

\echo == A2 only organisation owners create; admins and members have no access to keys
INSERT INTO apikey.capability (role, action) VALUES ('owner', 'create'), ('owner', 'view'), ('owner', 'update'), ('owner', 'revoke');
INSERT INTO apikey.account_policy (account, enforce_members) VALUES ('org2a', true);
INSERT INTO apikey.member (account, subject, role) VALUES ('org2a', 'olga', 'owner'), ('org2a', 'adam', 'admin'), ('org2a', 'mia', 'member'), ('org1', 'oscar', 'owner');
SELECT a.actor, pg_temp.fails(format('SELECT apikey.issue(%L, %L, kind => %L, actor => %L)', 'org2a', 'k', 'org', a.actor)) AS "create",
       pg_temp.fails(format('SELECT apikey.list_keys(%L, %L)', 'org2a', a.actor)) AS list
FROM (VALUES (1, 'olga'), (2, 'adam'), (3, 'mia'), (4, 'oscar'), (5, 'stranger')) a (n, actor) ORDER BY n;
SELECT name, created_by FROM apikey.list_keys('org2a', 'olga');

\echo == A3 a request for another organisation gets 403
SELECT a.account, v.code, v.status, v.message FROM (VALUES (1, 'org1'), (2, 'org2')) a (n, account),
     LATERAL apikey.verify(:'key', account => a.account) v ORDER BY n;

\echo == A4 default 1000 requests per hour and key; beyond it 429
INSERT INTO apikey.rate_limit (name, kind, max, per) VALUES ('hourly', 'org', 1000, '1 hour');
SELECT key AS busy, key_id AS busy_id FROM apikey.issue('org4', 'busy', kind => 'org') \gset
SELECT key AS idle FROM apikey.issue('org4', 'idle', kind => 'org') \gset
SELECT v.code, count(*) FROM generate_series(1, 1003) n, LATERAL apikey.verify(:'busy', cost => 1 + 0 * n) v GROUP BY v.code ORDER BY v.code COLLATE "C";
SELECT code, status, message, limit_name, limit_max, limit_per, limit_remaining, retry_after BETWEEN 1 AND 3825 AS retry_after FROM apikey.verify(:'busy');
SELECT code, limit_remaining FROM apikey.verify(:'idle');
SELECT apikey.set_limit(:'busy_id', 'hourly', 2000, '1 hour') AS this_key_may_more;
SELECT code, limit_max, limit_remaining FROM apikey.verify(:'busy');

\echo == A5 one year by default
SELECT expires_at = created_at + interval '1 year' AS one_year FROM apikey.keys WHERE key_id = :'key_id';
SELECT expires_at = created_at + interval '10 days' AS ten_days FROM apikey.issue('org1', 'short', kind => 'org', expires_in => '10 days');

\echo == A6 metadata: creator, creation time, organisation id
SELECT created_by, created_at BETWEEN clock_timestamp() - interval '1 hour' AND clock_timestamp() AS created, account, metadata
FROM apikey.keys WHERE key_id = :'key_id';
SELECT metadata FROM apikey.verify(:'key');

\echo == A7 401 missing, invalid, malformed or revoked; 403 insufficient permission; 403 wrong organisation (429: A4)
SELECT key AS reader FROM apikey.issue('org1', 'reader', '{calls:read}', kind => 'org') \gset
SELECT key AS dead, key_id AS dead_id FROM apikey.issue('org1', 'dead', kind => 'org') \gset
SELECT apikey.revoke(:'dead_id');
SELECT c.what, v.status, v.code, v.message
FROM (VALUES (1, 'missing', NULL, NULL, NULL), (2, 'empty', '', NULL, NULL), (3, 'malformed', 'abc', NULL, NULL),
             (4, 'bad checksum', overlay(:'key' PLACING CASE WHEN left(:'key', 1) = 'a' THEN 'b' ELSE 'a' END FROM 1 FOR 1), NULL, NULL),
             (5, 'revoked', :'dead', NULL, NULL),
             (6, 'insufficient permission', :'reader', 'calls:write', NULL), (7, 'wrong organisation', :'reader', NULL, 'org2'),
             (8, 'right', :'reader', 'calls:read', 'org1')) c (n, what, key, required, account),
     LATERAL apikey.verify(c.key, c.required, account => c.account) v ORDER BY n;

\echo == A8 deleting takes effect on the next request
SELECT key AS gone, key_id AS gone_id FROM apikey.issue('org1', 'gone', kind => 'org') \gset
SELECT code, status FROM apikey.verify(:'gone');
SELECT apikey.revoke(:'gone_id') AS deleted;
SELECT code, status, message FROM apikey.verify(:'gone');

\echo == A9 replace every 90 days: those due are listed
SELECT name FROM apikey.keys_to_rotate WHERE account = 'org9';
SELECT count(*) AS made FROM (VALUES ('of 89 days'), ('of 91 days'), ('of 200 days'), ('of 200 days, revoked'), ('of 200 days, expired')) n (name),
     LATERAL apikey.issue('org9', n.name, kind => 'org') i;
UPDATE apikey.key SET created_at = clock_timestamp() - substring(name FROM '[0-9]+ days')::interval WHERE account = 'org9';
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 day' WHERE account = 'org9' AND name LIKE '%expired';
SELECT apikey.revoke(key_id) AS revoked FROM apikey.keys WHERE account = 'org9' AND name LIKE '%revoked';
SELECT name, due_at = created_at + interval '90 days' AS due_after_90_days FROM apikey.keys_to_rotate WHERE account = 'org9' ORDER BY due_at DESC;

\echo == A10 name required, at most 50 characters
SELECT char_length(name) FROM apikey.issue('org1', repeat('x', 50), kind => 'org');
SELECT pg_temp.fails(format('SELECT apikey.issue(%L, %L, kind => %L)', 'org1', n.name, 'org')) AS refused
FROM (VALUES (1, repeat('x', 51)), (2, ''), (3, '   '), (4, NULL)) n (m, name) ORDER BY m;

\echo == A11 shown once; the list shows name, abc123••••••••, created, expires, status
SELECT :'display' = left(:'key', 6) || '••••••••' AS mask;
SELECT name, display = :'display' AS masked, created_at IS NOT NULL AS created, expires_at IS NOT NULL AS expires, status
FROM apikey.list_keys('org1') WHERE key_id = :'key_id';
SELECT count(*) AS shown_in_full FROM apikey.list_keys('org1') k WHERE k::text LIKE '%' || substr(:'key', 7, 40) || '%';

\echo == A12 separate keys per environment (unused keys can be found: with counting)
SELECT count(*) AS keys, count(DISTINCT key_id) AS ids, string_agg(name, ', ' ORDER BY name COLLATE "C") AS names
FROM (VALUES ('development'), ('production'), ('staging')) e (env), LATERAL apikey.issue('org12', e.env, kind => 'org', metadata => jsonb_build_object('env', e.env)) i;
SELECT name, metadata, last_used_at IS NULL AS unused FROM apikey.keys WHERE account = 'org12' ORDER BY name COLLATE "C";

\c :regression
DROP DATABASE apikey_product_a;
