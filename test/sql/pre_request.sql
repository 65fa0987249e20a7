-- PostgREST's db-pre-request: what PostgREST sets, what it is answered, and what is left for the request
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
CREATE ROLE regress_apikey_login LOGIN NOINHERIT;
CREATE ROLE regress_apikey_anon;
CREATE ROLE regress_apikey_partner;
CREATE ROLE regress_apikey_stranger;
GRANT regress_apikey_anon, regress_apikey_partner TO regress_apikey_login;
SELECT apikey.grant_access(r::name, 'anonymous') FROM unnest('{regress_apikey_anon,regress_apikey_partner}'::text[]) r;

-- What PostgREST sets before it calls the hook
CREATE FUNCTION pg_temp.request(headers text, method text DEFAULT 'GET', path text DEFAULT '/items', claims text DEFAULT '{"role": "regress_apikey_anon"}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', 'regress_apikey_anon', true), set_config('request.jwt.claims', claims, true), set_config('request.method', method, true),
            set_config('request.path', path, true), set_config('request.headers', headers, true), set_config('request.cookies', '{}', true);
END $$;
-- The hook, with its error as text
CREATE FUNCTION pg_temp.hook() RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text; context text;
BEGIN
    PERFORM apikey.pre_request();
    RETURN 'passed';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
-- Both, in a transaction's place; what the request finds afterwards
CREATE FUNCTION pg_temp.tried(headers text, method text DEFAULT 'GET', path text DEFAULT '/items', claims text DEFAULT '{"role": "regress_apikey_anon"}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
    PERFORM pg_temp.request(headers, method, path, claims);
    answer := pg_temp.hook();
    IF answer = 'passed' THEN
        answer := concat_ws(' ', 'passed as', current_user, coalesce(apikey.current_account(), 'nobody'));
    END IF;
    RETURN answer;
END $$;
CREATE FUNCTION pg_temp.plain(anything text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(anything, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g') $$;

SELECT key, key_id FROM apikey.issue('acme', 'full', '{items:read,items:write}', metadata => '{"sub": "user-1"}') \gset
SELECT key AS partner, key_id AS partner_id FROM apikey.issue('00000000-0000-4000-8000-00000000000a', 'with role', '{items:read}', db_role => 'regress_apikey_partner') \gset
SELECT key AS foreign, key_id AS foreign_id FROM apikey.issue('acme', 'role of somebody else', '{items:read}', db_role => 'regress_apikey_stranger') \gset
SELECT key AS revoked, key_id AS revoked_id FROM apikey.issue('acme', 'revoked') \gset
SELECT apikey.revoke(:'revoked_id');
SELECT jsonb_build_object('host', 'h', 'x-api-key', :'key', 'accept', '*/*') AS good, jsonb_build_object('x-api-key', :'partner') AS good_partner,
       jsonb_build_object('x-api-key', :'foreign') AS good_foreign, jsonb_build_object('x-api-key', :'revoked') AS dead \gset

SET SESSION AUTHORIZATION regress_apikey_login;

\echo == Outside of PostgREST it does nothing
SELECT apikey.pre_request();
SET ROLE regress_apikey_anon;
SELECT apikey.pre_request();
SELECT apikey.is_authenticated();

\echo == A good key
BEGIN READ ONLY;
SELECT pg_temp.request(:'good');
SELECT apikey.pre_request();
SELECT current_user, apikey.is_authenticated(), apikey.current_key_id() = :'key_id' AS key_id, apikey.current_account(), apikey.allows('items:write') AS may_write, apikey.allows('billing:read') AS may_bill;
SELECT pg_temp.plain(current_setting('request.jwt.claims')) AS claims;
SELECT current_setting('request.headers') AS headers, current_setting('response.headers', true) AS response_headers;
SELECT count(*) AS settings_with_key FROM unnest('{request.headers,request.cookies,request.jwt.claims,response.headers}'::text[]) n WHERE strpos(current_setting(n, true), :'key') > 0;
SELECT txid_current_if_assigned() IS NULL AS wrote_nothing;
-- called again, as by a hook of the user's own
SELECT apikey.pre_request();
SELECT apikey.current_account();
COMMIT;
SELECT apikey.is_authenticated(), coalesce(current_setting('request.headers', true), '') AS headers;
-- the empty settings that are left behind are no request
SELECT pg_temp.hook();
SELECT set_config('request.method', 'GET', false), set_config('request.headers', '', false);
SELECT pg_temp.hook();
SELECT set_config('request.method', '', false);

\echo == A key with a role in the database
BEGIN;
SELECT pg_temp.request(:'good_partner');
SELECT apikey.pre_request();
SELECT current_user, session_user, current_setting('role') AS role, pg_temp.plain(current_setting('request.jwt.claims')) AS claims;
ROLLBACK;
SELECT current_user;
-- ... to which the login may not change
BEGIN;
SELECT pg_temp.tried(:'good_foreign');
ROLLBACK;
-- ... or cannot, in a function of somebody else's
RESET SESSION AUTHORIZATION;
CREATE FUNCTION pg_temp.as_definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT pg_temp.hook()';
BEGIN;
SELECT pg_temp.request(:'good_partner');
SELECT pg_temp.as_definer();
ROLLBACK;
SET SESSION AUTHORIZATION regress_apikey_login;
SET ROLE regress_apikey_anon;

\echo == Refusals
BEGIN;
SELECT h.n, pg_temp.tried(h.headers) AS answer FROM (VALUES
    (1, '{"x-api-key": "nonsense"}'), (2, :'dead'), (3, format('{"x-api-key": "%s", "authorization": "ApiKey %s"}', :'key', :'partner')), (4, format('{"x-api-key": ["%s", "%s"]}', :'key', :'partner')),
    (5, format('{"x-api-key": "%s", "x-api-key": "%s"}', :'key', :'partner')), (6, '{"x-api-key": "' || :'key'), (7, '[]'), (8, 'null'), (9, '{"a": {"b": 1}}'), (10, '{"x-api-key": "\ud800"}'), (11, '{"x-api-key": "\u0000"}'),
    (12, repeat('[', 100)), (13, '{"x-api-key": "' || repeat('x', 10000) || '"}')) h (n, headers) ORDER BY n;
SELECT h.n, pg_temp.tried(h.headers) AS answer FROM (VALUES (1, ''), (2, '{}'), (3, '{"x-api-key": ""}'), (4, '{"x-api-key": null}'), (5, '{"authorization": "Basic dTpw"}'), (6, '{"authorization": "Bearer a.b.c"}')) h (n, headers) ORDER BY n;
ROLLBACK;
RESET SESSION AUTHORIZATION;
SET apikey.pre_request_mode = 'required';
SET SESSION AUTHORIZATION regress_apikey_login;
BEGIN;
SELECT h.n, pg_temp.tried(h.headers) AS answer FROM (VALUES (1, ''), (2, '{}'), (3, '{"x-api-key": ""}'), (5, '{"authorization": "Basic dTpw"}'), (6, '{"authorization": "Bearer a.b.c"}'), (7, :'good')) h (n, headers) ORDER BY n;
ROLLBACK;
RESET SESSION AUTHORIZATION;
RESET apikey.pre_request_mode;

\echo == The scope by method and path
SET apikey.route_scope = on;
SET SESSION AUTHORIZATION regress_apikey_login;
BEGIN;
SELECT r.method, r.path, pg_temp.tried(:'good_partner', r.method, r.path) AS answer FROM (VALUES (1, 'GET', '/items?id=eq.1'), (2, 'POST', '/items'), (3, 'GET', '/billing'), (4, 'GET', '/items/../billing')) r (n, method, path) ORDER BY n;
ROLLBACK;
RESET SESSION AUTHORIZATION;
RESET apikey.route_scope;

\echo == For a PostgREST before version 12
SET apikey.error_style = 'pt';
SET SESSION AUTHORIZATION regress_apikey_login;
BEGIN;
SELECT h.n, pg_temp.tried(h.headers) AS answer FROM (VALUES (1, '{"x-api-key": "nonsense"}'), (2, '[]'), (3, :'good_foreign'), (4, :'good')) h (n, headers) ORDER BY n;
ROLLBACK;
RESET SESSION AUTHORIZATION;
RESET apikey.error_style;

\echo == Each error has all that PostgREST demands
CREATE FUNCTION pg_temp.complete(headers text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
    PERFORM pg_temp.request(headers);
    PERFORM apikey.pre_request();
    RETURN 'no error';
EXCEPTION WHEN SQLSTATE 'PGRST' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' ', SQLERRM::jsonb ?& '{code,message}', detail::jsonb ?& '{status,headers}', jsonb_typeof(detail::jsonb -> 'status'), jsonb_typeof(detail::jsonb -> 'headers'),
                     (SELECT string_agg(DISTINCT jsonb_typeof(value), ',') FROM jsonb_each(detail::jsonb -> 'headers')));
END $$;
BEGIN;
SELECT pg_temp.complete('{"x-api-key": "nonsense"}') AS unknown, pg_temp.complete('[]') AS rubbish;
ROLLBACK;

\echo == Claims of a token stay, but for what the key says
BEGIN;
SELECT pg_temp.tried(:'good', claims => '{"role": "regress_apikey_anon", "sub": "somebody", "exp": 17, "apikey": "forged"}');
SELECT pg_temp.plain(current_setting('request.jwt.claims')) AS claims;
SELECT pg_temp.tried(:'good', claims => 'no json {');
SELECT pg_temp.plain(current_setting('request.jwt.claims')) AS claims;
SELECT pg_temp.tried(:'good', claims => '');
SELECT pg_temp.plain(current_setting('request.jwt.claims')) AS claims;
ROLLBACK;

\echo == Only the key goes from the headers
BEGIN;
SELECT pg_temp.tried(format('{"authorization": "Bearer a.b.c", "X-Api-Key": " %s ", "apikey": "%1$s", "accept": "\"é\\"}', :'key'));
SELECT current_setting('request.headers') AS headers;
ROLLBACK;

\echo == Limits: in the headers of passes and of refusals
CREATE FUNCTION pg_temp.timeless(anything text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(anything, '(;t=|"Retry-After":"|"retry_after":)[0-9]+', '\1<n>', 'g') $$;
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('per_hour', 'limited', 2, '1 hour');
SELECT jsonb_build_object('x-api-key', key) AS limited FROM apikey.issue('limited', 'limited', '{items:read}') \gset
BEGIN;
SELECT pg_temp.tried(:'limited');
SELECT pg_temp.timeless(current_setting('response.headers')) AS response_headers;
ROLLBACK;
-- others may have set some already
BEGIN;
SELECT set_config('response.headers', '[{"X-Mine": "1"}, {"X-Mine": "2"}]', true);
SELECT pg_temp.tried(:'limited');
SELECT pg_temp.timeless(current_setting('response.headers')) AS response_headers;
SELECT pg_temp.timeless(pg_temp.tried(:'limited'));
ROLLBACK;
SET apikey.error_style = 'pt';
BEGIN;
SELECT pg_temp.timeless(pg_temp.tried(:'limited'));
ROLLBACK;
RESET apikey.error_style;
DELETE FROM apikey.rate_limit WHERE account = 'limited';

\echo == Sessions: a token that names one of our signing keys is judged here
SELECT token, session_id FROM apikey.open_session(:'key', scopes => '{items:read}') \gset
BEGIN;
SELECT pg_temp.tried(format('{"authorization": "Bearer %s"}', :'token'));
SELECT apikey.current_scopes();
ROLLBACK;
SELECT apikey.close_session(:'session_id');
BEGIN;
SELECT pg_temp.tried(format('{"authorization": "Bearer %s"}', :'token'));
ROLLBACK;

\echo == Counted, though some of it was rolled back
SELECT apikey.flush_usage() >= 0 AS written;
SELECT key_id = :'foreign_id' AS of_foreign, requests > 0 AS requests, errors > 0 AS errors FROM apikey.usage_daily WHERE key_id IN (:'key_id', :'foreign_id') ORDER BY 1;
SELECT DISTINCT code, status, method, path FROM apikey.recent_errors WHERE key_id = :'partner_id' ORDER BY path;

\echo == Who may call it
CREATE ROLE regress_apikey_none;
SET ROLE regress_apikey_none;
SELECT pg_temp.hook();
RESET ROLE;
DROP OWNED BY regress_apikey_login, regress_apikey_anon, regress_apikey_partner, regress_apikey_stranger, regress_apikey_none;
DROP ROLE regress_apikey_login, regress_apikey_anon, regress_apikey_partner, regress_apikey_stranger, regress_apikey_none;
