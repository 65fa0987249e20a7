-- K: the call-agent product, as products.md describes it, by configuration alone.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_product_k;
CREATE DATABASE apikey_product_k;
\c apikey_product_k
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
UPDATE apikey.kind SET default_scopes = NULL WHERE kind = 'secret';
INSERT INTO apikey.scope (scope, description)
    SELECT r || ':' || a, initcap(a) || ' ' || r
    FROM unnest('{calls,leads,agents,contacts,knowledge_base,integrations}'::text[]) r, unnest('{read,write}'::text[]) a
    UNION ALL SELECT 'analytics:read', 'Read analytics';

\echo == K1 name; optional expiry, none = never
SELECT name, expires_at FROM apikey.issue('k1', 'for ever', '{calls:read}');
SELECT name, expires_at = created_at + interval '90 days' AS ninety_days FROM apikey.issue('k1', 'for a while', '{calls:read}', expires_in => '90 days');
SELECT pg_temp.fails($$SELECT apikey.issue('k1', NULL, '{calls:read}')$$) AS no_name;

\echo == K2 at least one permission
SELECT pg_temp.fails($$SELECT apikey.issue('k2', 'none')$$) AS not_given;
SELECT pg_temp.fails($$SELECT apikey.issue('k2', 'none', '{}')$$) AS empty;
SELECT scopes FROM apikey.issue('k2', 'one', '{leads:read}');
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, scopes => %L)', key_id, '{}')) AS taken_away FROM apikey.keys WHERE account = 'k2';
SELECT scopes FROM apikey.keys WHERE account = 'k2';

\echo == K3 seven resources; read, write or both
SELECT count(DISTINCT split_part(scope, ':', 1)) AS resources FROM apikey.scope;
CREATE TEMP TABLE k3 AS
    SELECT g.n, g.grants, i.key FROM (VALUES (1, '{leads:read}'::text[]), (2, '{leads:write}'), (3, '{leads:read,leads:write}')) g (n, grants),
         LATERAL apikey.issue('k3', 'key ' || g.n, g.grants) i;
SELECT k.grants, r.required, v.code, v.missing_scopes
FROM k3 k, (VALUES (1, 'leads:read'), (2, 'leads:write'), (3, 'agents:read')) r (m, required), LATERAL apikey.verify(k.key, r.required) v
ORDER BY k.n, r.m;
-- write does not include read (K4, as far as scopes go)


\echo == K4 read = GET; write = POST, PATCH, DELETE (and PUT)    K6 Bearer header
SET apikey.route_scope = on;
SELECT k.grants, string_agg(CASE WHEN c.allowed THEN m.method ELSE c.status::text END, ' ' ORDER BY m.n) AS answers
FROM k3 k, unnest('{GET,HEAD,POST,PATCH,PUT,DELETE}'::text[]) WITH ORDINALITY m (method, n),
     LATERAL apikey.http_check(jsonb_build_object('authorization', 'Bearer ' || k.key), m.method, '/leads/17') c GROUP BY k.n, k.grants ORDER BY k.n;
RESET apikey.route_scope;

\echo == K5 analytics is read-only: a write grant on it is refused when the key is made
SELECT pg_temp.fails($$SELECT apikey.issue('k5', 'reports', '{analytics:write}')$$) AS write;
SELECT pg_temp.fails($$SELECT apikey.issue('k5', 'reports', '{analytics:read,analytics:write}')$$) AS both;
SELECT scopes FROM apikey.issue('k5', 'reports', '{analytics:read}');
SELECT count(*) AS keys_made FROM apikey.keys WHERE account = 'k5';

\echo == K7 revoked keys are shown with the expired ones, and can not be reactivated
CREATE TEMP TABLE k7 AS
    SELECT n.name, i.key, i.key_id FROM (VALUES ('active'), ('disabled'), ('revoked'), ('expired'), ('expired and disabled')) n (name),
         LATERAL apikey.issue('k7', n.name, '{calls:read}', expires_in => '1 day') i;
SELECT name, apikey.disable(key_id) AS disabled FROM k7 WHERE name LIKE '%disabled' ORDER BY name COLLATE "C";
SELECT name, apikey.revoke(key_id) AS revoked FROM k7 WHERE name = 'revoked';
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 minute' WHERE account = 'k7' AND name LIKE 'expired%';
SELECT CASE WHEN status IN ('revoked', 'expired') THEN 'ended' ELSE 'keys' END AS section, name, status
FROM apikey.keys WHERE account = 'k7' ORDER BY name COLLATE "C";
SELECT name, pg_temp.fails(format('SELECT apikey.enable(%L)', key_id)) AS reactivate FROM k7 WHERE name LIKE 'expired%' OR name = 'revoked' ORDER BY name COLLATE "C";

\echo == K10 expired keys are listed with the revoked ones, also when they were disabled
SELECT name, status, disabled_at IS NOT NULL AS was_disabled FROM apikey.list_keys('k7') WHERE status IN ('revoked', 'expired') ORDER BY name COLLATE "C";
SELECT k.name, v.code, v.status, v.message FROM k7 k, LATERAL apikey.verify(k.key) v ORDER BY k.name COLLATE "C";

\echo == K9 rotation after staff changes: revoke and replace
SELECT key, key_id FROM apikey.issue('k9', 'crm', '{leads:read,leads:write}') \gset
SELECT key AS new_key, scopes, name FROM apikey.rotate(:'key_id', actor => 'hr@k9.example') \gset
SELECT :'name' AS name, :'scopes' AS scopes, (SELECT code FROM apikey.verify(:'key')) AS old, (SELECT code FROM apikey.verify(:'new_key', 'leads:write')) AS new;
SELECT name, status, revoke_reason, revoked_by FROM apikey.keys WHERE account = 'k9' ORDER BY created_at, key_id;

\echo == K8 use counts for the last 24 hours, 7 days and 30 days
SELECT key, key_id FROM apikey.issue('k8', 'agent', '{calls:read}') \gset
SELECT count(*) FILTER (WHERE v.ok) AS passed FROM generate_series(1, 5) n, LATERAL apikey.verify(:'key', 'calls:read', '198.51.100.' || n) v;
SELECT apikey.flush_usage() >= 0 AS written;
SELECT apikey.apply_usage('another', ARRAY[:'key_id', :'key_id']::uuid[], ARRAY[now() - interval '3 days', now() - interval '20 days'], '{10,100}', '{0,0}', '{0,0}', '{0,0}', '{"",""}', ARRAY[NULL, NULL]::timestamptz[]);
SELECT requests_24h, requests_7d, requests_30d, last_used_at IS NOT NULL AS used FROM apikey.key_usage WHERE key_id = :'key_id';

\c :regression
DROP DATABASE apikey_product_k;
