-- A gateway asks: may this request pass, and what is to be answered?
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
-- An answer without the ids in it
CREATE FUNCTION pg_temp.plain(anything text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(anything, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g') $$;
-- The code of a refusal's body, or 'passed'
CREATE FUNCTION pg_temp.code(headers jsonb, method text DEFAULT 'GET', path text DEFAULT '/calls', peer_ip text DEFAULT NULL, required text DEFAULT NULL,
                             kinds text[] DEFAULT NULL, account text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN c.allowed THEN 'passed' ELSE c.status || ' ' || (c.body::jsonb ->> 'code') END
    FROM apikey.http_check(headers, method, path, peer_ip, required, kinds => kinds, account => account) c $$;

SELECT key AS key, key_id FROM apikey.issue('gate', 'full', '{calls:read,contacts:*}') \gset
SELECT key AS other FROM apikey.issue('gate', 'other', '{calls:read}') \gset
SELECT key AS revoked, key_id AS revoked_id FROM apikey.issue('gate', 'revoked') \gset
SELECT key AS disabled, key_id AS disabled_id FROM apikey.issue('gate', 'disabled') \gset
SELECT key AS expired, key_id AS expired_id FROM apikey.issue('gate', 'expired', expires_in => '1 day') \gset
SELECT key AS office FROM apikey.issue('gate', 'office', '{calls:read}', allowed_ips => '{203.0.113.0/24}') \gset
SELECT key AS widget FROM apikey.issue('gate', 'widget', '{chat}', 'widget', allowed_origins => '{mysite.com}') \gset
SELECT apikey.revoke(:'revoked_id'), apikey.disable(:'disabled_id');
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 minute' WHERE key_id = :'expired_id';

\echo == Where the key is
SELECT h.n, pg_temp.code(replace(replace(h.headers, 'KEY', :'key'), 'OTHER', :'other')::jsonb) AS answer
FROM (VALUES (1, '{"x-api-key": "KEY"}'), (2, '{"X-Api-Key": " KEY "}'), (3, '{"authorization": "Bearer KEY"}'), (4, '{"Authorization": "bearer KEY"}'),
             (5, '{"authorization": "ApiKey KEY"}'), (6, '{"x-api-key": ["KEY"]}'), (7, '{"x-api-key": ["KEY", "KEY"]}'), (8, '{"x-api-key": "KEY", "authorization": "Bearer KEY"}'),
             (9, '{"x-api-key": "KEY", "authorization": "Basic dTpw"}'),
             (11, '{"x-api-key": ["KEY", "OTHER"]}'), (12, '{"x-api-key": "KEY, OTHER"}'), (13, '{"x-api-key": "KEY", "authorization": "Bearer OTHER"}'),
             (14, '{"x-api-key": "KEY", "X-Api-Key": "OTHER"}'), (15, '{"authorization": "Bearer KEY OTHER"}'), (16, '{"x-api-key": "OTHER", "authorization": "Bearer x"}'),
             (21, '{}'), (22, '{"x-api-key": ""}'), (23, '{"x-api-key": null}'), (24, '{"x-api-key": []}'), (25, '{"authorization": "Bearer"}'), (26, '{"authorization": "KEY"}'),
             (27, '{"apikey": "KEY"}'), (28, '{"cookie": "x-api-key=KEY"}'), (29, '{"authorization": "Basic KEY"}'),
             (31, '{"x-api-key": "nonsense"}'), (32, '{"x-api-key": "KEYx"}'), (33, '{"x-api-key": 17}'), (34, '{"x-api-key": true}'), (35, '{"authorization": "Bearer nonsense"}'),
             (41, '[]'), (42, '"KEY"'), (43, 'null'), (44, '17'), (45, '[["x-api-key", "KEY"]]'), (46, '{"x-api-key": {"KEY": 1}}'), (47, '{"x-api-key": [["KEY"]]}'), (48, '{"x-api-key": "KEY", "x": {"y": 1}}'),
             (51, '[["x-api-key", "KEY"], ["X-Api-Key", "KEY"], ["x", null]]'), (52, '[["x-api-key", "KEY"], ["X-Api-Key", "OTHER"]]'), (53, '[["x-api-key"]]'), (54, '["x-api-key", "KEY"]'),
             (55, '[["x-api-key", "KEY", "x"]]'), (56, '[[1, "KEY"]]'), (57, '[["x-api-key", ["KEY"]]]'), (58, '[["x-api-key", "KEY"], 1]'), (59, '[{"x-api-key": "KEY"}]')) h (n, headers)
ORDER BY n;
SELECT pg_temp.code(NULL) AS no_headers, pg_temp.code(jsonb_build_object('x-api-key', repeat('x', 100000))) AS long_key,
       pg_temp.code(jsonb_build_object('x-api-key', :'key', 'x-other', repeat('x', 2000000))) AS two_megabytes,
       pg_temp.code((SELECT jsonb_object_agg('x-' || n, 'y') FROM generate_series(1, 2500) n)) AS many_headers;
SET apikey.key_headers = 'X-My-Key';
SELECT pg_temp.code(jsonb_build_object('x-my-key', :'key')) AS own_header, pg_temp.code(jsonb_build_object('x-api-key', :'key')) AS the_usual_one,
       pg_temp.code(jsonb_build_object('x-my-key', 'Bearer ' || :'key')) AS no_scheme_there;
RESET apikey.key_headers;

\echo == Answers, dialect generic
CREATE TEMP TABLE asked (n integer, what text, headers jsonb, required text, kinds text[], account text);
INSERT INTO asked VALUES
    (1, 'valid', jsonb_build_object('x-api-key', :'key'), 'calls:read', NULL, NULL),
    (2, 'missing', '{}', NULL, NULL, NULL),
    (3, 'unknown', '{"x-api-key": "ak_0000000000000000000000000000000000000000000aaaaaa"}', NULL, NULL, NULL),
    (4, 'revoked', jsonb_build_object('x-api-key', :'revoked'), NULL, NULL, NULL),
    (5, 'disabled', jsonb_build_object('x-api-key', :'disabled'), NULL, NULL, NULL),
    (6, 'wrong kind', jsonb_build_object('x-api-key', :'key'), NULL, '{widget}', NULL),
    (7, 'expired', jsonb_build_object('x-api-key', :'expired'), NULL, NULL, NULL),
    (8, 'scope', jsonb_build_object('x-api-key', :'key'), 'calls:write & billing:read', NULL, NULL),
    (9, 'account', jsonb_build_object('x-api-key', :'key'), NULL, NULL, 'globex'),
    (10, 'address', jsonb_build_object('x-api-key', :'office'), NULL, NULL, NULL),
    (11, 'origin', jsonb_build_object('x-api-key', :'widget', 'origin', 'https://evil.example'), NULL, NULL, NULL),
    (12, 'two keys', jsonb_build_object('x-api-key', jsonb_build_array(:'key', :'other')), NULL, NULL, NULL);
SELECT a.what, c.allowed, c.status, c.response_headers, c.body, c.content_type
FROM asked a, LATERAL apikey.http_check(a.headers, 'GET', '/calls', NULL, a.required, kinds => a.kinds, account => a.account) c WHERE a.n > 1 ORDER BY a.n;
SELECT c.allowed, c.status, c.response_headers, pg_temp.plain(c.upstream_headers::text) AS upstream_headers, c.body, c.content_type
FROM asked a, LATERAL apikey.http_check(a.headers, 'GET', '/calls', NULL, a.required) c WHERE a.n = 1 \gx
-- malformed, unknown, revoked, disabled and of the wrong kind: the same answer
SELECT count(*) AS asked, count(DISTINCT (c.*)::text) AS answers
FROM asked a, LATERAL apikey.http_check(a.headers, 'GET', '/calls', NULL, a.required, kinds => a.kinds) c WHERE a.n BETWEEN 3 AND 6;
-- no answer repeats the key
SELECT count(*) AS with_key FROM asked a, unnest('{generic,nginx,envoy,traefik,hasura,kong}'::text[]) d,
    LATERAL apikey.http_check(a.headers, 'GET', '/calls', NULL, a.required, d, a.kinds, a.account) c
WHERE strpos((c.*)::text, :'key') > 0 OR strpos((c.*)::text, :'widget') > 0 OR strpos((c.*)::text, :'office') > 0;
-- each body is JSON
SELECT count(*) FILTER (WHERE c.body::jsonb ->> 'status' = c.status::text) AS bodies FROM asked a, LATERAL apikey.http_check(a.headers, 'GET', '/calls', NULL, a.required, 'generic', a.kinds, a.account) c WHERE n > 1;

\echo == ... and the other dialects
SELECT d.d AS dialect, string_agg(c.status::text, ' ' ORDER BY a.n) AS statuses, string_agg(CASE WHEN c.allowed THEN 't' ELSE 'f' END, '' ORDER BY a.n) AS allowed
FROM asked a, unnest('{generic,nginx,envoy,traefik,hasura,kong}'::text[]) WITH ORDINALITY d (d, m),
     LATERAL apikey.http_check(a.headers, 'GET', '/calls', NULL, a.required, d.d, a.kinds, a.account) c GROUP BY d.d, m ORDER BY m;
SELECT d.d AS dialect, a.what, c.status, c.response_headers, pg_temp.plain(c.upstream_headers::text) AS upstream_headers, pg_temp.plain(c.body) AS body, c.content_type
FROM asked a, unnest('{nginx,envoy,traefik,hasura,kong}'::text[]) WITH ORDINALITY d (d, m),
     LATERAL apikey.http_check(a.headers, 'GET', '/calls', NULL, a.required, d.d, a.kinds, a.account) c WHERE a.n IN (1, 2, 3, 8, 12) ORDER BY m, n \gx
SELECT pg_temp.fails(format('SELECT apikey.http_check(%L, NULL, NULL, dialect => %L)', '{}', d)) AS error FROM unnest('{NGINX,"",apache}'::text[]) d;
SELECT pg_temp.fails($$SELECT apikey.http_check('{}', NULL, NULL, dialect => NULL)$$) AS error;

\echo == Who the caller is: headers for the server behind
SELECT key AS odd FROM apikey.issue('Zürich 100%', 'odd', '{calls:read}') \gset
SELECT pg_temp.plain(upstream_headers::text) AS upstream FROM apikey.http_check(jsonb_build_object('x-api-key', :'odd', 'x-apikey-account', 'forged'), 'GET', '/calls');

\echo == Scope by method and path
SET apikey.route_scope = on;
SELECT r.method, r.path, pg_temp.code(jsonb_build_object('x-api-key', :'key'), r.method, r.path) AS answer
FROM (VALUES (1, 'GET', '/calls/1'), (2, 'POST', '/calls'), (3, 'DELETE', '/contacts/7'), (4, 'GET', '/billing'), (5, 'GET', '/'), (6, 'GET', '/contacts/../billing'), (7, NULL, NULL)) r (n, method, path) ORDER BY n;
SELECT pg_temp.code(jsonb_build_object('x-api-key', :'key'), 'POST', '/calls', required => 'calls:read') AS an_argument_wins;
RESET apikey.route_scope;

\echo == Account by path
SET apikey.route_pattern = '/api/v1/accounts/{account}/{resource}';
SELECT left(r.path, 44) AS path, r.account, pg_temp.code(jsonb_build_object('x-api-key', :'key'), 'GET', r.path, account => r.account) AS answer
FROM (VALUES (1, '/api/v1/accounts/gate/calls', NULL), (2, '/api/v1/accounts/globex/calls', NULL), (3, '/API/v1/accounts/globex/calls', NULL), (4, '/%61pi/v1/accounts/globex/calls', NULL),
             (5, '/api/v1/accounts/%67ate/calls', NULL), (6, '/api/v1/accounts/globex', NULL), (7, '/health', NULL), (8, '//api/v1/accounts/globex/calls', NULL), (9, '/x/../api/v1/accounts/globex/calls', NULL),
             (10, '/health', 'globex'), (11, '/api/v1/accounts/gate/calls', 'gate'), (12, '/api/v1/accounts/gate/calls', 'globex'), (13, '/api/v1/accounts/' || repeat('g', 300) || '/calls', NULL),
             (14, 'http://host/api/v1/accounts/globex/calls', NULL)) r (n, path, account) ORDER BY n;
RESET apikey.route_pattern;

\echo == The address of the client
SELECT pg_temp.code(jsonb_build_object('x-api-key', :'office', 'x-forwarded-for', '203.0.113.9'), peer_ip => p) AS by_peer, p FROM unnest('{203.0.113.9,198.51.100.1,"203.0.113.9:80",NULL}'::text[]) p;
SET apikey.ip_source = 'xff';
SELECT h.xff, h.peer, pg_temp.code(jsonb_build_object('x-api-key', :'office', 'x-forwarded-for', h.xff), peer_ip => h.peer) AS answer
FROM (VALUES (1, '203.0.113.9', NULL), (2, '198.51.100.1, 203.0.113.9', NULL), (3, '203.0.113.9, 198.51.100.1', NULL), (4, 'rubbish', NULL), (5, NULL, NULL),
             (6, '203.0.113.9', '198.51.100.1'), (7, '198.51.100.1', '203.0.113.7'), (8, '203.0.113.9', 'rubbish')) h (n, xff, peer) ORDER BY n;
SET apikey.ip_source = 'x-real-ip';
SELECT pg_temp.code(jsonb_build_object('x-api-key', :'office', 'x-real-ip', '203.0.113.9')) AS real_ip, pg_temp.code(jsonb_build_object('x-api-key', :'office', 'x-forwarded-for', '203.0.113.9')) AS another_header;
SET apikey.ip_source = 'forwarded';
SELECT pg_temp.code(jsonb_build_object('x-api-key', :'office', 'forwarded', 'for="[2001:db8::1]", for=203.0.113.9;proto=https')) AS forwarded;
RESET apikey.ip_source;

\echo == Browsers
SELECT o.origin, pg_temp.code(jsonb_build_object('x-api-key', :'widget', 'Origin', o.origin)) AS answer FROM unnest('{https://mysite.com,https://app.mysite.com,https://evil.example,null,NULL}'::text[]) WITH ORDINALITY o (origin, n) ORDER BY n;
SELECT response_headers FROM apikey.http_check(jsonb_build_object('x-api-key', :'widget', 'Origin', 'https://app.mysite.com'), 'GET', '/chat');
SELECT response_headers AS not_for_other_kinds FROM apikey.http_check(jsonb_build_object('x-api-key', :'key', 'Origin', 'https://app.mysite.com'), 'GET', '/chat');
-- a preflight passes without a key, and is not counted
SELECT verifications AS before FROM apikey.stats \gset
SELECT d AS dialect, c.* FROM unnest('{generic,envoy}'::text[]) d, LATERAL apikey.http_check('{"origin": "https://mysite.com", "access-control-request-method": "POST", "x-apikey-account": "forged"}', 'OPTIONS', '/chat', dialect => d) c;
SELECT pg_temp.code('{"origin": "https://mysite.com"}', 'OPTIONS') AS no_preflight, pg_temp.code('{"access-control-request-method": "POST"}', 'POST') AS no_preflight_either;
SELECT verifications - :before AS counted FROM apikey.stats;

\echo == Limits
-- An answer without the seconds in it
CREATE FUNCTION pg_temp.timeless(anything text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(anything, '(;t=|"Retry-After", "|-Retry-After", "|-Reset", "|"retry_after":)[0-9]+', '\1<n>', 'g'), '"[0-9]{9,}"', '"<time>"', 'g') $$;
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('per_hour', 'gate-limited', 4, '1 hour');
SELECT key AS limited FROM apikey.issue('gate-limited', 'limited', '{calls:read}') \gset
SELECT set_config('apikey.limit_headers', 'ietf', false);
SELECT pg_temp.timeless(response_headers::text) AS ietf FROM apikey.http_check(jsonb_build_object('x-api-key', :'limited'), 'GET', '/calls');
SET apikey.limit_headers = 'legacy';
SELECT pg_temp.timeless(response_headers::text) AS legacy FROM apikey.http_check(jsonb_build_object('x-api-key', :'limited'), 'GET', '/calls');
SET apikey.limit_headers = 'both';
SELECT pg_temp.timeless(response_headers::text) AS both FROM apikey.http_check(jsonb_build_object('x-api-key', :'limited'), 'GET', '/calls');
SET apikey.limit_headers = 'none';
SELECT pg_temp.timeless(response_headers::text) AS none FROM apikey.http_check(jsonb_build_object('x-api-key', :'limited'), 'GET', '/calls');
RESET apikey.limit_headers;
SELECT d.d AS dialect, c.allowed, c.status, pg_temp.timeless(c.response_headers::text) AS response_headers, pg_temp.timeless(c.body) AS body
FROM unnest('{generic,nginx,envoy,traefik,hasura,kong}'::text[]) WITH ORDINALITY d (d, n), LATERAL apikey.http_check(jsonb_build_object('x-api-key', :'limited'), 'GET', '/calls', dialect => d.d) c ORDER BY n \gx
-- Retry-After is when the limit says that something remains again
SELECT (SELECT (h ->> 1)::int FROM jsonb_array_elements(c.response_headers) h WHERE h ->> 0 = 'Retry-After') BETWEEN 1 AND 3826 AS retry_after,
       (SELECT h ->> 1 FROM jsonb_array_elements(c.response_headers) h WHERE h ->> 0 = 'Retry-After') = (SELECT substring(h ->> 1 FROM ';t=(.*)') FROM jsonb_array_elements(c.response_headers) h WHERE h ->> 0 = 'RateLimit') AS same
FROM apikey.http_check(jsonb_build_object('x-api-key', :'limited'), 'GET', '/calls') c;
SELECT key AS poor FROM apikey.issue('gate', 'poor', '{calls:read}', credits => 1) \gset
SELECT c.allowed, c.status, c.body::jsonb ->> 'code' AS code FROM generate_series(1, 2) n, LATERAL apikey.http_check(jsonb_build_object('x-api-key', :'poor'), 'GET', '/calls/' || n) c;
SELECT status, response_headers FROM apikey.http_check(jsonb_build_object('x-api-key', :'poor'), 'GET', '/calls', dialect => 'nginx');
DELETE FROM apikey.rate_limit WHERE account = 'gate-limited';

\echo == What was refused is on record
SELECT key AS k, key_id FROM apikey.issue('gate', 'counted', '{calls:read}') \gset
SELECT pg_temp.code(jsonb_build_object('x-api-key', :'k', 'X-Request-Id', ' r-1 '), 'POST', '/calls?key=' || :'k', required => 'calls:write');
SELECT pg_temp.code(jsonb_build_object('x-api-key', :'k'));
SELECT apikey.flush_usage() >= 0 AS written;
SELECT requests, refused FROM apikey.usage_daily WHERE key_id = :'key_id';
SELECT status, code, method, path, request_id FROM apikey.recent_errors WHERE key_id = :'key_id';
SELECT count AS before FROM apikey.stats_by_code WHERE code = 'bad_request' \gset
SELECT pg_temp.code('[1]');
SELECT count - :before AS bad_requests FROM apikey.stats_by_code WHERE code = 'bad_request';

\echo == Faults of the programmer
SELECT n, pg_temp.fails('SELECT apikey.http_check(' || call || ')') AS error
FROM (VALUES (1, $$'{}', 'GET', '/', required => ''$$), (2, $$'{}', 'GET', '/', required => 'a &'$$), (3, $$'{}', 'GET', '/', kinds => '{absent}'$$), (4, $$'{}', 'GET', '/', cost => -1$$)) c (n, call) ORDER BY n;
