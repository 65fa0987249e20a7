-- V: Talkif, voice campaigns.  Account keys, as products.md describes them, by configuration alone.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_product_v;
CREATE DATABASE apikey_product_v;
\c apikey_product_v
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
UPDATE apikey.kind SET prefix = 'tif_live_', default_scopes = '*' WHERE kind = 'secret';
DELETE FROM apikey.kind WHERE kind = 'widget';
INSERT INTO apikey.scope (scope, description) VALUES
    ('calls:read', 'See calls'), ('calls:write', 'Place calls'),
    ('flows:read', 'See flows'), ('flows:write', 'Change flows'),
    ('contacts:read', 'See contacts'), ('contacts:write', 'Change contacts'),
    ('phones:read', 'See numbers'), ('phones:write', 'Change numbers'),
    ('billing:read', 'See invoices'),
    ('analytics:read', 'See reports'), ('analytics:write', 'Change reports'),
    ('schedules:read', 'See hours'), ('schedules:write', 'Change hours'),
    ('campaigns:read', 'See campaigns'), ('campaigns:write', 'Run campaigns'),
    ('dnc:read', 'See the list'), ('dnc:write', 'Change the list'),
    ('templates:read', 'See templates'), ('templates:write', 'Change templates'),
    ('models:read', 'See models'), ('models:write', 'Change models'),
    ('flow_templates:read', 'See flow templates'), ('flow_templates:write', 'Change flow templates');

\echo == V1 name of 1 to 100 characters, scopes (default full access), optional expiry, optional IP allowlist
SELECT char_length(name) AS name_length, scopes, expires_at IS NULL AS never_expires
FROM apikey.issue('v1', 'x');
SELECT char_length(name) AS name_length FROM apikey.issue('v1', repeat('é', 100));
SELECT pg_temp.fails(format('SELECT apikey.issue(%L, %L)', 'v1', repeat('é', 101))) AS name_of_101;
SELECT pg_temp.fails(format('SELECT apikey.issue(%L, %L)', 'v1', '')) AS name_of_0;
SELECT name, scopes, expires_at = created_at + interval '30 days' AS expires_in_30_days
FROM apikey.issue('v1', 'restricted', '{calls:read}', allowed_ips => '{198.51.100.0/24}', expires_in => '30 days');
SELECT char_length(name), scopes, allowed_ips, status FROM apikey.keys WHERE account = 'v1' ORDER BY created_at, key_id;

\echo == V2 the full key shown once, afterwards only tif_live_aBc...hijk
SELECT key, key_id, display FROM apikey.issue('v2', 'dashboard') \gset
SELECT :'key' ~ '^tif_live_[0-9A-Za-z]{49}$' AS format, :'display' = left(:'key', 12) || '...' || right(:'key', 4) AS mask,
       length(:'display') AS mask_length;
SELECT display = :'display' AS same_mask, keys::text LIKE '%' || :'key' || '%' AS text_shown FROM apikey.keys WHERE key_id = :'key_id';
SELECT count(*) FILTER (WHERE k::text LIKE '%' || substr(:'key', 13, 30) || '%') AS in_key_table,
       (SELECT count(*) FROM apikey.audit_log a WHERE a::text LIKE '%' || substr(:'key', 13, 30) || '%') AS in_audit_log,
       count(*) AS searched
FROM apikey.key k WHERE account = 'v2';

\echo == V4 scopes *, resource:read, resource:write, resource:*; at least one per key; write alone does not read
SELECT pg_temp.fails($$SELECT apikey.issue('v4', 'none', '{}')$$) AS no_scope;
CREATE TEMP TABLE v4 AS
    SELECT g.n, g.grants, i.key FROM (VALUES (1, '*'), (2, 'calls:read'), (3, 'calls:write'), (4, 'calls:*')) g (n, grants),
         LATERAL apikey.issue('v4', g.grants, ARRAY[g.grants]) i;
SELECT k.grants, string_agg(r.required, ' ' ORDER BY r.m) FILTER (WHERE v.ok) AS passes,
       string_agg(r.required || '=' || v.code || '/' || v.status, ' ' ORDER BY r.m) FILTER (WHERE NOT v.ok) AS refused
FROM v4 k, (VALUES (1, 'calls:read'), (2, 'calls:write'), (3, 'flows:read')) r (m, required), LATERAL apikey.verify(k.key, r.required) v
GROUP BY k.n, k.grants ORDER BY k.n;

\echo == V5 twelve resources, each with a description; billing is read-only
SELECT count(DISTINCT split_part(scope, ':', 1)) AS resources, bool_and(description <> '') AS all_described FROM apikey.scope;
SELECT pg_temp.fails($$SELECT apikey.issue('v5', 'pays', '{billing:write}')$$) AS billing_write;
SELECT pg_temp.fails($$SELECT apikey.issue('v5', 'pays', '{pets:read}')$$) AS no_such_resource;
SELECT key FROM apikey.issue('v5', 'all') \gset
SELECT r.required, v.code, v.missing_scopes FROM (VALUES (1, 'billing:read'), (2, 'billing:write')) r (m, required),
     LATERAL apikey.verify(:'key', r.required) v ORDER BY m;
SELECT key FROM apikey.issue('v5', 'billing', '{billing:*}') \gset
SELECT r.required, v.code, v.missing_scopes FROM (VALUES (1, 'billing:read'), (2, 'billing:write')) r (m, required),
     LATERAL apikey.verify(:'key', r.required) v ORDER BY m;
-- which of all scopes does a key of full access hold?
SELECT count(*) FILTER (WHERE v.ok) AS held, count(*) AS listed
FROM apikey.scope s, (SELECT key FROM apikey.issue('v5', 'full')) k, LATERAL apikey.verify(k.key, s.scope) v;

\echo == V6 the three examples: read-only on two; full on two and read on a third; full access
CREATE TEMP TABLE v6 AS
    SELECT e.n, e.grants, i.key FROM (VALUES (1, '{calls:read,analytics:read}'::text[]),
                                            (2, '{campaigns:*,contacts:*,analytics:read}'), (3, '{*}')) e (n, grants),
         LATERAL apikey.issue('v6', 'example ' || e.n, e.grants) i;
SELECT k.grants, r.required, v.ok, v.code
FROM v6 k, (VALUES (1, 'calls:read'), (2, 'calls:write'), (3, 'analytics:read'), (4, 'analytics:write'), (5, 'campaigns:write'),
                   (6, 'contacts:read & contacts:write'), (7, 'dnc:read')) r (m, required),
     LATERAL apikey.verify(k.key, r.required) v
ORDER BY k.n, r.m;

\echo == V7 ranges and addresses; another gets 403; an empty list lets all in; editable later
SELECT key, key_id FROM apikey.issue('v7', 'office', '{calls:read}', allowed_ips => '{203.0.113.0/24,192.0.2.7,2001:db8::/32}') \gset
SELECT a.ip, v.code, v.status, v.message
FROM (VALUES (1, '203.0.113.200'), (2, '192.0.2.7'), (3, '192.0.2.8'), (4, '2001:db8:1::1'), (5, '2001:db9::1'), (6, NULL)) a (n, ip),
     LATERAL apikey.verify(:'key', 'calls:read', a.ip) v ORDER BY n;
SELECT apikey.alter_key(:'key_id', allowed_ips => '{192.0.2.8}') AS changed;
SELECT a.ip, v.code FROM (VALUES (1, '203.0.113.200'), (2, '192.0.2.7'), (3, '192.0.2.8')) a (n, ip),
     LATERAL apikey.verify(:'key', 'calls:read', a.ip) v ORDER BY n;
SELECT apikey.alter_key(:'key_id', allowed_ips => '{}') AS changed;
SELECT a.ip, v.code FROM (VALUES (1, '203.0.113.200'), (2, '8.8.8.8'), (3, NULL)) a (n, ip),
     LATERAL apikey.verify(:'key', 'calls:read', a.ip) v ORDER BY n;

\echo == V8 after expiry refused; still listed
SELECT key, key_id FROM apikey.issue('v8', 'short', '{calls:read}', expires_in => '1 hour') \gset
SELECT code, status FROM apikey.verify(:'key', 'calls:read');
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 second' WHERE key_id = :'key_id';
SELECT code, status, message FROM apikey.verify(:'key', 'calls:read');
SELECT name, status FROM apikey.keys WHERE account = 'v8';
SELECT name, status FROM apikey.list_keys('v8');
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, expires_at => %L)', :'key_id', 'infinity')) AS prolong;

\echo == V11 revoked: refused from the next request on; can not be enabled again
SELECT key, key_id FROM apikey.issue('v11', 'leaver', '{calls:read}') \gset
SELECT code FROM apikey.verify(:'key', 'calls:read');
SELECT apikey.revoke(:'key_id', 'left the company', 'ada') AS revoked;
SELECT code, status, message FROM apikey.verify(:'key', 'calls:read');
SELECT pg_temp.fails(format('SELECT apikey.enable(%L)', :'key_id')) AS enable;
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L)', :'key_id')) AS rotate;
SELECT code FROM apikey.verify(:'key', 'calls:read');
SELECT name, status, revoked_by, revoke_reason, revoked_at IS NOT NULL AS dated FROM apikey.keys WHERE account = 'v11';

\echo == V12 at most 25 keys per account (also under concurrent creation: see the isolation tests)
SELECT count(*) AS made FROM generate_series(1, 25) n, LATERAL apikey.issue('v12', 'key ' || n, '{calls:read}') i;
SELECT pg_temp.fails($$SELECT apikey.issue('v12', 'key 26', '{calls:read}')$$) AS the_26th;
SELECT count(*) AS kept FROM apikey.keys WHERE account = 'v12';
SELECT count(*) AS other_account FROM apikey.issue('v12b', 'key 1', '{calls:read}');
SELECT apikey.revoke(key_id) AS revoked FROM apikey.keys WHERE account = 'v12' AND name = 'key 3';
SELECT name FROM apikey.issue('v12', 'in its place', '{calls:read}');
SELECT pg_temp.fails($$SELECT apikey.issue('v12', 'key 27', '{calls:read}')$$) AS the_next;

\echo == V13 request paths name the account: a key of another account gets 403
SELECT key FROM apikey.issue('v13', 'mine', '{calls:read}') \gset
SELECT a.account, v.code, v.status, v.message
FROM (VALUES (1, 'v13'), (2, 'v13-other'), (3, 'V13'), (4, '')) a (n, account),
     LATERAL apikey.verify(:'key', 'calls:read', account => a.account) v ORDER BY n;

-- ... by the path alone, at a gateway
SET apikey.route_pattern = '/api/v1/accounts/{account}/{resource}';
SET apikey.route_scope = on;
SELECT key FROM apikey.issue('acme', 'gateway', '{calls:read}') \gset
SELECT r.method, r.path, c.allowed, c.status, c.body::jsonb ->> 'detail' AS message
FROM (VALUES (1, 'GET', '/api/v1/accounts/acme/calls'), (2, 'GET', '/api/v1/accounts/acme/calls/17'), (3, 'GET', '/api/v1/accounts/globex/calls'), (4, 'POST', '/api/v1/accounts/acme/calls'), (5, 'GET', '/api/v1/accounts/acme/billing')) r (n, method, path),
     LATERAL apikey.http_check(jsonb_build_object('authorization', 'Bearer ' || :'key'), r.method, r.path) c ORDER BY n;

\echo == V3 the key travels as Authorization: Bearer; no user session needed
SELECT h.n, c.allowed, c.status FROM (VALUES (1, '{"Authorization": "Bearer KEY"}'), (2, '{"authorization": "bearer KEY"}'), (3, '{"Authorization": "KEY"}'), (4, '{"Authorization": "Basic KEY"}'), (5, '{}')) h (n, headers),
     LATERAL apikey.http_check(replace(h.headers, 'KEY', :'key')::jsonb, 'GET', '/api/v1/accounts/acme/calls') c ORDER BY n;
RESET apikey.route_pattern;
RESET apikey.route_scope;

\echo == V9 usage per key and day: requests, errors (4xx/5xx), approximate distinct source addresses
SELECT key, key_id FROM apikey.issue('v9', 'dashboard', '{calls:read}') \gset
SELECT count(*) FILTER (WHERE v.ok) AS passed FROM generate_series(1, 20) n, LATERAL apikey.verify(:'key', 'calls:read', '198.51.100.' || n) v;
SELECT v.code FROM apikey.verify(:'key', 'calls:write', '198.51.100.1', method => 'POST', path => '/api/v1/accounts/v9/calls?token=x', request_id => 'r-1') v;
SELECT apikey.record(:'key_id', 500, 'timeout', 'GET', '/api/v1/accounts/v9/calls', 'r-2') AS kept;
SELECT apikey.record(:'key_id', 200, NULL, 'GET', '/api/v1/accounts/v9/calls', 'r-3') AS kept;
SELECT apikey.flush_usage() >= 0 AS written;
SELECT sum(requests) AS requests, sum(refused) AS refused, sum(errors) AS errors, sum(errors_4xx) AS errors_4xx, sum(errors_5xx) AS errors_5xx,
    apikey.cardinality(apikey.sketch_union_agg(addresses)) BETWEEN 19 AND 21 AS about_20_addresses
FROM apikey.usage_daily WHERE key_id = :'key_id';

\echo == V10 the last 50 errors per key: HTTP status, error code, path, method, request id, time
SELECT status, code, path, method, request_id, occurred_at > clock_timestamp() - interval '1 hour' AS timed
FROM apikey.recent_errors WHERE key_id = :'key_id' ORDER BY occurred_at;
SELECT count(apikey.record(:'key_id', 503, 'e' || n)) AS recorded FROM generate_series(1, 60) n;
SELECT apikey.flush_usage() >= 0 AS written;
SELECT count(*) AS kept, min(substr(code, 2)::integer) AS oldest FROM apikey.recent_errors WHERE key_id = :'key_id';

\c :regression
DROP DATABASE apikey_product_v;
