-- The scope that a request over HTTP needs, and the settings behind it
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
    RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;

\echo == Methods
SELECT m.method, apikey.scope_for(m.method, '/calls')
FROM unnest('{GET,HEAD,get,POST,PUT,PATCH,DELETE,OPTIONS,TRACE,PROPFIND,"",NULL,"GET "}'::text[]) WITH ORDINALITY m (method, n) ORDER BY n;

\echo == Paths
SELECT p.path, apikey.scope_for('GET', p.path)
FROM (VALUES (1, '/calls'), (2, '/calls/17/notes?x=1'), (3, 'calls'), (4, '/calls?select=*'), (5, '/calls#x'), (6, '/'), (7, ''), (8, NULL), (9, '/?x'),
             (10, '/my calls'), (11, '/my%20calls'), (12, '/café'), (13, '/日本'), (14, '/a:b*c'), (15, '/knowledge_base.v2-x'),
             (16, '/rpc/place_call'), (17, '/calls/../billing'), (18, '/calls/%2e%2e/billing'), (19, '//calls'), (20, 'http://host/calls'), (21, '/100%'),
             (22, '/*'), (23, '*')) p (n, path) ORDER BY n;

\echo == It is always a scope
SELECT count(*) AS paths, count(*) FILTER (WHERE (apikey.scope_for('GET', c.path)::apikey.scope_query) IS NULL) AS no_query,
       count(*) FILTER (WHERE NOT apikey.is_grant(apikey.scope_for('GET', c.path))) AS no_grant,
       max(octet_length(apikey.scope_for('DELETE', c.path))) AS longest
FROM (SELECT '/' || chr(n) || 'x' FROM generate_series(1, 1000) n UNION ALL SELECT '/' || repeat('x', n) FROM generate_series(0, 200) n
      UNION ALL SELECT '/' || repeat('é', n) || '/y' FROM generate_series(0, 200) n UNION ALL SELECT repeat('/.', n) FROM generate_series(0, 20) n) c (path);
SELECT apikey.scope_for('GET', '/' || repeat('x', 100000)) AS longer_than_a_path;
SELECT apikey.scope_for(repeat('GET', 100000), '/calls') AS longer_than_a_method;

\echo == Patterns
SET apikey.route_pattern = '/api/v1/accounts/{account}/{resource}';
SELECT p.path, apikey.scope_for('POST', p.path)
FROM unnest('{/api/v1/accounts/acme/calls/17,/API/v1/accounts/acme/calls,/api/v1/accounts/acme,/health,//api/v1/accounts/acme/calls}'::text[]) WITH ORDINALITY p (path, n) ORDER BY n;
SET apikey.route_pattern = '/*/{resource}';
SELECT p.path, apikey.scope_for('POST', p.path)
FROM unnest('{/api/v1/accounts/acme/calls/17,/API/v1/accounts/acme/calls,/api/v1/accounts/acme,/health,//api/v1/accounts/acme/calls}'::text[]) WITH ORDINALITY p (path, n) ORDER BY n;
RESET apikey.route_pattern;
SHOW apikey.route_pattern;
SELECT n, pg_temp.fails(format('SET apikey.route_pattern = %L', p)) AS error
FROM unnest(ARRAY['', 'calls', '/', '//', '/a/', '/a//b', '/{id}', '/{resource}/{resource}', '/x{account}', '/a*', '/a b', '/a?b', '/..', '/café']) WITH ORDINALITY v (p, n) ORDER BY n;

\echo == The other settings of requests over HTTP
SELECT name, setting, context, vartype, enumvals FROM pg_settings
WHERE name IN ('apikey.key_headers', 'apikey.ip_source', 'apikey.pre_request_mode', 'apikey.route_scope', 'apikey.route_pattern', 'apikey.limit_headers', 'apikey.error_style', 'apikey.trusted_proxies') ORDER BY name;
SELECT n, pg_temp.fails(format('SET apikey.key_headers = %L', v)) AS error
FROM unnest(ARRAY['x-api-key', 'Authorization X-Api-Key', '', ' , ', 'x api:key', 'clé', repeat('x', 65), repeat('x,', 17)]) WITH ORDINALITY t (v, n) ORDER BY n;
SELECT pg_temp.fails('SET apikey.ip_source = leftmost') AS ip_source, pg_temp.fails('SET apikey.pre_request_mode = maybe') AS mode \gx
\set VERBOSITY default
ALTER SYSTEM SET apikey.trusted_proxies = '10.0.0.1/8';
ALTER SYSTEM SET apikey.trusted_proxies = '10';
ALTER SYSTEM SET apikey.trusted_proxies = '10.0.0.0/8, nonsense';
\set VERBOSITY terse

-- Plain users change none of them.
CREATE ROLE regress_apikey_web;
SET ROLE regress_apikey_web;
SELECT n, pg_temp.fails(format('SET apikey.%s', v)) AS error
FROM unnest('{key_headers = x,ip_source = xff,pre_request_mode = optional,route_scope = off,route_pattern = ''/x'',limit_headers = none,error_style = pt,trusted_proxies = ''''}'::text[]) WITH ORDINALITY t (v, n) ORDER BY n;
RESET ROLE;
DROP ROLE regress_apikey_web;
