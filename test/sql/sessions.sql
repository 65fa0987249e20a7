-- Sessions: opening, verifying and closing them; what a token must be; signing keys and jwks
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
CREATE FUNCTION pg_temp.b64u(bytea) RETURNS text LANGUAGE sql AS
    $$ SELECT rtrim(translate(encode($1, 'base64'), E'+/\n', '-_'), '=') $$;
CREATE FUNCTION pg_temp.part(token text, n integer) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT convert_from(decode(rpad(p, (length(p) + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb
       FROM translate(split_part(token, '.', n), '-_', '+/') p $$;
-- A token as somebody makes it who has the secret
CREATE FUNCTION pg_temp.hs256(header text, payload text, secret bytea) RETURNS text LANGUAGE sql AS
    $$ SELECT t || '.' || pg_temp.b64u(hmac(convert_to(t, 'UTF8'), secret, 'sha256'))
       FROM concat(pg_temp.b64u(convert_to(header, 'UTF8')), '.', pg_temp.b64u(convert_to(payload, 'UTF8'))) t $$;

DELETE FROM apikey.session;
DELETE FROM apikey.signing_key;

\echo == No key is made before the first session
SELECT apikey.jwks();
SELECT count(*) AS signing_keys FROM apikey.signing_key;

\echo == Opening one
INSERT INTO apikey.kind (kind, prefix, default_scopes, db_role) VALUES ('sessions', 'ses_', '*', NULL);
SELECT key, key_id FROM apikey.issue('sessions-1', 'backend', '{calls:*,contacts:read}', 'sessions', metadata => '{"env": "test", "a": 1}') \gset
CREATE TEMP TABLE opened AS SELECT * FROM apikey.open_session(:'key');
SELECT ok, code, status, message, retry_after, session_id IS NOT NULL AS session_id, token IS NOT NULL AS token FROM opened;
SELECT session_id, token, expires_at FROM opened \gset s_
SELECT expires_at - created_at AS lives FROM apikey.sessions WHERE session_id = :'s_session_id';
SELECT pg_temp.part(:'s_token', 1) - 'kid' AS header, pg_temp.part(:'s_token', 1) ->> 'kid' = kid AS kid FROM apikey.signing_key;
SELECT c - '{jti,iat,nbf,exp}'::text[] AS claims, c ->> 'jti' = :'s_session_id' AS jti, c -> 'iat' = c -> 'nbf' AS from_now,
       (c ->> 'exp')::bigint - (c ->> 'iat')::bigint AS seconds,
       (c ->> 'exp')::bigint = floor(extract(epoch FROM :'s_expires_at'::timestamptz)) AS exp
FROM pg_temp.part(:'s_token', 2) c;
SELECT ok, code, status, message, key_id = :'key_id' AS key_id, account, kind, name, db_role, scopes, missing_scopes, metadata,
       expires_at = :'s_expires_at' AS expires_at, session_id = :'s_session_id' AS session_id
FROM apikey.verify(:'s_token', 'calls:write & contacts:read') \gx
SELECT step, passed, detail FROM apikey.explain(:'s_token') WHERE step IN ('key well-formed', 'key known', 'kind allowed') ORDER BY step;
SELECT session_id = :'s_session_id' AS session_id, key_id = :'key_id' AS key_id, account, scopes, created_at < expires_at AS lives,
       expires_at = :'s_expires_at' AS expires_at, closed_at, last_used_at FROM apikey.sessions WHERE session_id = :'s_session_id';
SELECT session_id IS NULL AS of_a_key FROM apikey.verify(:'key');

\echo == What it may do
SELECT ok, code, pg_temp.part(token, 2) ->> 'scope' AS scope FROM apikey.open_session(:'key', scopes => '{calls:read,contacts:read,calls:read}');
SELECT token FROM apikey.open_session(:'key', scopes => '{calls:read}', metadata => '{"a": 2, "visitor": "7"}') \gset read_
SELECT v.code, v.scopes, v.missing_scopes, v.metadata FROM (VALUES (1, 'calls:read'), (2, 'calls:write'), (3, 'contacts:read')) r (n, required),
       LATERAL apikey.verify(:'read_token', r.required) v ORDER BY n;
SELECT s.scopes, o.ok, o.code, o.status, o.message, o.session_id, o.token, o.expires_at FROM (VALUES (1, '{calls:read,contacts:write}'::text[]), (2, '{*}'), (3, '{billing:read}')) s (n, scopes),
       LATERAL apikey.open_session(:'key', scopes => s.scopes) o ORDER BY n;
-- a key that loses a scope takes it from its sessions
SELECT apikey.alter_key(:'key_id', scopes => '{calls:read,billing:*}');
SELECT v.code, v.scopes FROM (VALUES (1, 'calls:read'), (2, 'calls:write'), (3, 'contacts:read'), (4, 'billing:read')) r (n, required),
       LATERAL apikey.verify(:'s_token', r.required) v ORDER BY n;
SELECT apikey.alter_key(:'key_id', scopes => '{calls:*,contacts:read}');

\echo == How long it lives
CREATE TEMP TABLE lives AS SELECT n, t.ttl, o.session_id
    FROM (VALUES (1, interval '1 minute'), (2, '90 min'), (3, '1 day'), (4, '1 day 00:00:01'), (5, '1000 years'), (6, '1 mon -29 days')) t (n, ttl), LATERAL apikey.open_session(:'key', t.ttl) o;
SELECT l.ttl, s.expires_at - s.created_at AS lives FROM lives l JOIN apikey.sessions s USING (session_id) ORDER BY n;
SELECT key AS short_key, expires_at AS short_end FROM apikey.issue('sessions-1', 'short', '{*}', expires_in => '10 minutes') \gset
SELECT o.expires_at = :'short_end' AS not_longer_than_its_key FROM apikey.open_session(:'short_key', '1 hour') o;
SELECT token FROM apikey.open_session(:'key', '200 ms') \gset brief_
SELECT pg_sleep(0.3);
SELECT ok, code, status, message FROM apikey.verify(:'brief_token');

\echo == Arguments
SELECT n, pg_temp.fails(format('SELECT apikey.open_session(%L, %s)', :'key', c.arguments)) AS error FROM (VALUES
    (1, 'ttl => NULL'), (2, 'ttl => ''0'''), (3, 'ttl => ''-1 min'''), (4, 'scopes => ''{}'''), (5, 'scopes => ''{a b}'''), (6, 'scopes => ''{NULL}'''), (7, 'metadata => ''[]'''),
    (8, 'metadata => jsonb_build_object(''a'', repeat(''x'', 8192))'), (9, 'kinds => ''{nonesuch}'''), (10, 'cost => -1')) c (n, arguments) ORDER BY n;
BEGIN READ ONLY;
SELECT apikey.open_session(:'key');
ROLLBACK;
BEGIN READ ONLY;
SELECT apikey.close_session(:'s_session_id');
ROLLBACK;
BEGIN READ ONLY;
SELECT code FROM apikey.verify(:'s_token');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT code FROM apikey.verify(:'s_token');
SELECT pg_current_xact_id_if_assigned() AS xid, (SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock' AND relation::regclass::text ~ '^apikey') AS predicate_locks;
COMMIT;
SELECT o.code, o.status, o.message, o.session_id, o.token, o.expires_at FROM (VALUES (1, NULL), (2, ''), (3, 'ses_x'), (4, :'s_token')) k (n, key), LATERAL apikey.open_session(k.key) o ORDER BY n;
SELECT code FROM apikey.open_session(:'key', account => 'sessions-2');
SELECT code FROM apikey.open_session(:'key', kinds => '{secret}');
SELECT code FROM apikey.open_session(:'key', kinds => '{sessions}');
SELECT code FROM apikey.open_session(:'s_token', kinds => '{session}');
-- more than fits into a token
SELECT key AS wide_key FROM apikey.issue('sessions-1', 'wide', array(SELECT format('%s:%s:read', repeat('r', 60), n) FROM generate_series(1, 150) n)) \gset
SELECT pg_temp.fails(format('SELECT apikey.open_session(%L)', :'wide_key')) AS too_long;
SELECT length(token) AS length FROM apikey.open_session(:'wide_key', scopes => array(SELECT format('%s:%s:read', repeat('r', 60), n) FROM generate_series(1, 80) n)) WHERE length(token) BETWEEN 7000 AND 8192 IS NOT TRUE;

\echo == Kinds, accounts, addresses and origins
SELECT k.kinds, v.code, v.status, v.message FROM (VALUES (1, '{session}'::text[]), (2, '{sessions}'), (3, '{sessions,session}'), (4, '{}'), (5, NULL)) k (n, kinds), LATERAL apikey.verify(:'s_token', kinds => k.kinds) v ORDER BY n;
SELECT k.kinds, v.code FROM (VALUES (1, '{session}'::text[]), (2, '{sessions,session}')) k (n, kinds), LATERAL apikey.verify(:'key', kinds => k.kinds) v ORDER BY n;
INSERT INTO apikey.kind (kind) VALUES ('session');
SELECT a.account, v.code FROM (VALUES (1, 'sessions-1'), (2, 'sessions-2')) a (n, account), LATERAL apikey.verify(:'s_token', account => a.account) v ORDER BY n;
SELECT token FROM apikey.open_session(:'key', ip => '192.0.2.1', bind_ip => true) \gset bound_
SELECT a.ip, v.code, v.status FROM (VALUES (1, '192.0.2.1'), (2, '::ffff:192.0.2.1'), (3, '192.0.2.2'), (4, '2001:db8::1'), (5, 'rubbish'), (6, NULL)) a (n, ip), LATERAL apikey.verify(:'bound_token', ip => a.ip) v ORDER BY n;
SELECT code, v.code AS with_inet FROM apikey.verify(:'bound_token', NULL, inet '192.0.2.1') v;
SELECT o.code, o.token FROM (VALUES (1, NULL), (2, 'rubbish')) a (n, ip), LATERAL apikey.open_session(:'key', ip => a.ip, bind_ip => true) o ORDER BY n;
SELECT key AS office_key FROM apikey.issue('sessions-1', 'office', '{*}', allowed_ips => '{198.51.100.0/24}') \gset
SELECT token FROM apikey.open_session(:'office_key', ip => '198.51.100.7') \gset office_
SELECT a.ip, v.code FROM (VALUES (1, '198.51.100.7'), (2, '198.51.100.8'), (3, '192.0.2.2')) a (n, ip), LATERAL apikey.verify(:'office_token', ip => a.ip) v ORDER BY n;
SELECT code FROM apikey.open_session(:'office_key', ip => '192.0.2.2');
SELECT key AS widget_key FROM apikey.issue('sessions-1', 'widget', '{chat:*}', 'widget', allowed_origins => '{mysite.com}') \gset
SELECT o.origin, s.code FROM (VALUES (1, 'https://mysite.com'), (2, 'https://evil.com'), (3, NULL)) o (n, origin), LATERAL apikey.open_session(:'widget_key', origin => o.origin) s ORDER BY n;
SELECT token FROM apikey.open_session(:'widget_key', origin => 'https://mysite.com') \gset widget_
SELECT o.origin, v.code, v.kind FROM (VALUES (1, 'https://mysite.com'), (2, 'https://staging.mysite.com'), (3, 'https://evil.com'), (4, NULL)) o (n, origin), LATERAL apikey.verify(:'widget_token', origin => o.origin) v ORDER BY n;

\echo == It ends with its key, and by itself
SELECT key, key_id FROM apikey.issue('sessions-1', 'ends') \gset e_
SELECT token, session_id FROM apikey.open_session(:'e_key') \gset e_
SELECT apikey.disable(:'e_key_id');
SELECT code FROM apikey.verify(:'e_token');
SELECT apikey.enable(:'e_key_id');
SELECT code FROM apikey.verify(:'e_token');
BEGIN;
SELECT apikey.revoke(:'e_key_id');
SELECT code FROM apikey.verify(:'e_token');
ROLLBACK;
SELECT code FROM apikey.verify(:'e_token');
SELECT apikey.close_session(:'e_session_id', 'sessions-2') AS of_another_account, apikey.close_session('00000000-0000-7000-8000-000000000000') AS unknown;
SELECT code FROM apikey.verify(:'e_token');
SELECT apikey.close_session(:'e_session_id', 'sessions-1') AS closed, apikey.close_session(:'e_session_id') AS again;
SELECT v.ok, v.status, v.message, v.key_id = :'e_key_id' AS key_id, (SELECT code FROM apikey.verify(:'e_key')) AS its_key FROM apikey.verify(:'e_token') v;
SELECT closed_at <= clock_timestamp() AS closed FROM apikey.sessions WHERE session_id = :'e_session_id';
SELECT pg_temp.fails('SELECT apikey.close_session(NULL)');
SELECT token, session_id FROM apikey.open_session(:'e_key') \gset e_
SELECT apikey.revoke(:'e_key_id');
SELECT code, status, message FROM apikey.verify(:'e_token');
SELECT s.closed_at = k.revoked_at AS closed FROM apikey.sessions s JOIN apikey.keys k USING (key_id) WHERE session_id = :'e_session_id';
SELECT code FROM apikey.open_session(:'e_key');
UPDATE apikey.key SET revoked_at = revoked_at - interval '1 year' WHERE key_id = :'e_key_id';
SELECT apikey.purge('1 month', 'sessions-1') AS purged;
SELECT count(*) AS sessions_left FROM apikey.session WHERE key_id = :'e_key_id';
SELECT code, key_id FROM apikey.verify(:'e_token');
SELECT key, key_id FROM apikey.issue('sessions-1', 'expires', expires_in => '1 hour') \gset x_
SELECT token FROM apikey.open_session(:'x_key') \gset x_
UPDATE apikey.key SET expires_at = clock_timestamp() WHERE key_id = :'x_key_id';
SELECT code, message FROM apikey.verify(:'x_token');
UPDATE apikey.account_policy SET api_enabled = false WHERE account = '*';
SELECT code FROM apikey.verify(:'s_token');
UPDATE apikey.account_policy SET api_enabled = true WHERE account = '*';

\echo == Not a token of ours
SELECT split_part(:'s_token', '.', 1) AS h, split_part(:'s_token', '.', 2) AS p, split_part(:'s_token', '.', 3) AS s \gset
SELECT c.what, v.code, v.key_id IS NOT NULL AS key_known FROM (VALUES
    (1, 'as it was made', :'s_token'),
    (2, 'two parts', :'h' || '.' || :'p'), (3, 'no signature', :'h' || '.' || :'p' || '.'), (4, 'four parts', :'s_token' || '.x'),
    (5, 'padded', :'s_token' || '=='), (6, 'blank behind', :'s_token' || ' '), (7, 'line end behind', :'s_token' || E'\n'),
    (8, 'signature cut', left(:'s_token', -1)), (9, 'signature longer', :'s_token' || 'A'),
    (10, 'signature of something else', :'h' || '.' || :'p' || '.' || split_part(:'read_token', '.', 3)),
    (11, 'payload of another session', :'h' || '.' || split_part(:'read_token', '.', 2) || '.' || :'s'),
    (12, 'alg none', concat(pg_temp.b64u('{"alg":"none","typ":"JWT"}'), '.', :'p', '.', :'s')),
    (13, 'alg none with kid', concat(pg_temp.b64u(convert_to((pg_temp.part(:'s_token', 1) || '{"alg":"none"}')::text, 'UTF8')), '.', :'p', '.', :'s')),
    (14, 'HS256 with the public key', pg_temp.hs256((pg_temp.part(:'s_token', 1) || '{"alg":"HS256"}')::text, pg_temp.part(:'s_token', 2)::text, (SELECT public_key FROM apikey.signing_key))),
    (15, 'unknown kid', pg_temp.hs256('{"alg":"HS256","kid":"nonesuch"}', pg_temp.part(:'s_token', 2)::text, 'secret')),
    (16, 'no kid', pg_temp.hs256('{"alg":"HS256"}', pg_temp.part(:'s_token', 2)::text, 'secret')),
    (17, 'no JSON', 'aaaa.bbbb.cccc'), (18, 'dots', '..'), (19, 'more dots', '...'),
    (20, 'oversized', :'h' || '.' || repeat('A', 8200) || '.' || :'s'), (21, 'very long', repeat(:'s_token', 2000)),
    (22, 'with a zero-like end', :'h' || '.' || :'p' || '.' || repeat('A', 86))) c (n, what, token), LATERAL apikey.verify(c.token) v ORDER BY n;

\echo == HS256, with a secret of the operator
INSERT INTO apikey.signing_key (kid, algorithm, secret) VALUES ('postgrest', 'HS256', 'a secret of thirty-two bytes, ok!');
UPDATE apikey.session SET kid = 'postgrest' WHERE session_id = :'s_session_id';
SELECT '{"alg":"HS256","typ":"JWT","kid":"postgrest"}' AS hs_header, pg_temp.part(:'s_token', 2) AS hs_claims, extract(epoch FROM clock_timestamp())::bigint AS now \gset
SELECT pg_temp.hs256(:'hs_header', :'hs_claims', 'a secret of thirty-two bytes, ok!') AS hs_token \gset
SELECT c.what, v.code FROM (VALUES
    (1, 'as we would make it', :'hs_header', :'hs_claims', 'a secret of thirty-two bytes, ok!'),
    (2, 'another secret', :'hs_header', :'hs_claims', 'b secret of thirty-two bytes, ok!'),
    (3, 'expired', :'hs_header', jsonb_set(:'hs_claims', '{exp}', to_jsonb(:now - 1))::text, 'a secret of thirty-two bytes, ok!'),
    (4, 'another end', :'hs_header', jsonb_set(:'hs_claims', '{exp}', to_jsonb(:now + 100000))::text, 'a secret of thirty-two bytes, ok!'),
    (5, 'not yet', :'hs_header', jsonb_set(:'hs_claims', '{nbf}', to_jsonb(:now + 3600))::text, 'a secret of thirty-two bytes, ok!'),
    (6, 'no end', :'hs_header', (:'hs_claims'::jsonb - 'exp')::text, 'a secret of thirty-two bytes, ok!'),
    (7, 'no beginning', :'hs_header', (:'hs_claims'::jsonb - 'nbf')::text, 'a secret of thirty-two bytes, ok!'),
    (8, 'no session', :'hs_header', (:'hs_claims'::jsonb - 'jti')::text, 'a secret of thirty-two bytes, ok!'),
    (9, 'another session', :'hs_header', jsonb_set(:'hs_claims', '{jti}', to_jsonb(gen_random_uuid()))::text, 'a secret of thirty-two bytes, ok!'),
    (10, 'session of another key', :'hs_header', jsonb_set(:'hs_claims', '{jti}', pg_temp.part(:'read_token', 2) -> 'jti')::text, 'a secret of thirty-two bytes, ok!'),
    (11, 'end as text', :'hs_header', jsonb_set(:'hs_claims', '{exp}', to_jsonb(:'now'::text))::text, 'a secret of thirty-two bytes, ok!'),
    (12, 'a member twice', :'hs_header', rtrim(:'hs_claims', '}') || ', "jti": "x"}', 'a secret of thirty-two bytes, ok!'),
    (13, 'nested', :'hs_header', jsonb_set(:'hs_claims', '{x}', '{}')::text, 'a secret of thirty-two bytes, ok!'),
    (14, 'no object', :'hs_header', '[]', 'a secret of thirty-two bytes, ok!'),
    (15, 'broken off', :'hs_header', rtrim(:'hs_claims', '}'), 'a secret of thirty-two bytes, ok!'),
    (16, 'a claim more', :'hs_header', jsonb_set(:'hs_claims', '{x}', '"\u00e9\n"')::text, 'a secret of thirty-two bytes, ok!'),
    (17, 'scopes more', :'hs_header', jsonb_set(:'hs_claims', '{scope}', '"*"')::text, 'a secret of thirty-two bytes, ok!'),
    (18, 'named as EdDSA', replace(:'hs_header', 'HS256', 'EdDSA'), :'hs_claims', 'a secret of thirty-two bytes, ok!'),
    (19, 'another hash', replace(:'hs_header', 'HS256', 'HS512'), :'hs_claims', 'a secret of thirty-two bytes, ok!'),
    (20, 'critical extension', rtrim(:'hs_header', '}') || ',"crit":"b64"}', :'hs_claims', 'a secret of thirty-two bytes, ok!'),
    (21, 'far away', :'hs_header', jsonb_set(:'hs_claims', '{exp}', '999999999999999')::text, 'a secret of thirty-two bytes, ok!'),
    (22, 'farther away', :'hs_header', jsonb_set(:'hs_claims', '{exp}', '99999999999999999999')::text, 'a secret of thirty-two bytes, ok!')
    ) c (n, what, header, payload, secret), LATERAL apikey.verify(pg_temp.hs256(c.header, c.payload, convert_to(c.secret, 'UTF8'))) v ORDER BY n;
-- what a token says it may do is for others: the session says it here
SELECT code, scopes FROM apikey.verify(pg_temp.hs256(:'hs_header', jsonb_set(:'hs_claims', '{scope}', '"*"')::text, 'a secret of thirty-two bytes, ok!'), 'billing:read');
SELECT apikey.jwks() @? '$.keys[*] ? (@.alg == "HS256" || @.kty != "OKP")' AS secret_published;
DELETE FROM apikey.signing_key WHERE kid = 'postgrest';
SELECT code FROM apikey.verify(:'hs_token');
UPDATE apikey.session SET kid = pg_temp.part(:'s_token', 1) ->> 'kid' WHERE session_id = :'s_session_id';

\echo == Signing keys rotate with overlap
SELECT j.key - '{kid,x}'::text[] AS published, j.key ->> 'kid' = k.kid AS kid, j.key ->> 'x' = pg_temp.b64u(k.public_key) AS x FROM apikey.signing_key k, jsonb_array_elements(apikey.jwks() -> 'keys') j (key);
SELECT pg_temp.part(:'s_token', 1) ->> 'kid' AS old_kid \gset
SELECT apikey.rotate_signing_key() AS new_kid \gset
SELECT :'new_kid' <> :'old_kid' AS another, jsonb_path_query_array(apikey.jwks(), '$.keys[*].kid') = jsonb_build_array(:'new_kid', :'old_kid') AS both_published;
SELECT kid = :'new_kid' AS new, retired_at IS NULL AS current, secret IS NULL AS forgotten FROM apikey.signing_key ORDER BY created_at;
SELECT (SELECT code FROM apikey.verify(:'s_token')) AS old_token, pg_temp.part(token, 1) ->> 'kid' = :'new_kid' AS signed_with_the_new_one FROM apikey.open_session(:'key');
SELECT count(*) AS audited FROM apikey.audit_log WHERE action = 'rotate_signing_key' AND object = 'signing_key ' || :'new_kid';
INSERT INTO apikey.signing_key (kid, algorithm, secret) VALUES ('x', 'HS256', 'short');
INSERT INTO apikey.signing_key (kid, algorithm, secret) VALUES ('x', 'none', repeat('x', 32)::bytea);
INSERT INTO apikey.signing_key (kid, algorithm, secret) VALUES ('a b', 'HS256', repeat('x', 32)::bytea);
SELECT pg_temp.fails(format('UPDATE apikey.signing_key SET retired_at = NULL, secret = %L WHERE kid = %L', repeat('x', 32), :'old_kid')) AS two_current;
-- until the last token of the old one has expired
UPDATE apikey.session SET expires_at = clock_timestamp() - interval '1 s' WHERE kid = :'old_kid';
SELECT jsonb_path_query_array(apikey.jwks(), '$.keys[*].kid') = jsonb_build_array(:'new_kid') AS old_one_gone;
-- a key whose private half is not that of the public one signs nothing
BEGIN;
UPDATE apikey.signing_key SET secret = decode(repeat('00', 32), 'hex') WHERE kid = :'new_kid';
SELECT pg_temp.fails(format('SELECT apikey.open_session(%L)', :'key')) AS refused;
SELECT apikey.rotate_signing_key() IS NOT NULL AS rotated;
SELECT code FROM apikey.open_session(:'key');
ROLLBACK;
-- a key that was stolen is removed, and its tokens with it
BEGIN;
SELECT token FROM apikey.open_session(:'key') \gset new_
DELETE FROM apikey.signing_key WHERE kid = :'new_kid';
SELECT code FROM apikey.verify(:'new_token');
ROLLBACK;

\echo == Use is noted, and what has expired is removed
SELECT token, session_id FROM apikey.open_session(:'key') \gset u_
SELECT count(*) FILTER (WHERE v.ok) AS passed FROM generate_series(1, 3), LATERAL apikey.verify(:'u_token') v;
SELECT code FROM apikey.verify(:'u_token', 'none:such');
SELECT apikey.flush_usage() >= 0 AS written;
SELECT last_used_at BETWEEN created_at AND clock_timestamp() AS used FROM apikey.sessions WHERE session_id = :'u_session_id';
SELECT count(*) AS of_its_key FROM apikey.recent_errors WHERE key_id = :'key_id' AND code = 'insufficient_scope' AND occurred_at > (SELECT created_at FROM apikey.sessions WHERE session_id = :'u_session_id');
SELECT key AS counted_key, key_id AS counted_id FROM apikey.issue('sessions-1', 'counted') \gset
SELECT token FROM apikey.open_session(:'counted_key') \gset counted_
SELECT code FROM apikey.verify(:'counted_token');
SELECT code FROM apikey.open_session(:'counted_key', account => 'sessions-2');
SELECT apikey.flush_usage() >= 0 AS written;
SELECT requests, refused FROM apikey.usage_daily WHERE key_id = :'counted_id';
-- the worker may be at it just now
DO $$ BEGIN
    -- what was used is written before it is removed
    PERFORM apikey.flush_usage();
    FOR i IN 1..600 LOOP
        PERFORM apikey.maintain_sessions(clock_timestamp());
        EXIT WHEN NOT EXISTS (SELECT FROM apikey.session WHERE expires_at <= clock_timestamp());
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;
SELECT count(*) AS expired, (SELECT count(*) FROM apikey.session_use u WHERE NOT EXISTS (SELECT FROM apikey.session s WHERE s.session_id = u.session_id)) AS uses FROM apikey.session WHERE expires_at <= clock_timestamp();
SELECT code, key_id FROM apikey.verify(:'brief_token');
SELECT count(*) AS signing_keys FROM apikey.signing_key;
UPDATE apikey.signing_key SET retired_at = clock_timestamp() - interval '25 hours' WHERE kid = :'old_kid';
SELECT apikey.maintain_sessions(clock_timestamp());
SELECT count(*) AS signing_keys FROM apikey.signing_key;

\echo == Limits and credits are those of its key
SELECT key AS limited_key, key_id AS limited_id FROM apikey.issue('sessions-1', 'limited', credits => 5) \gset
SELECT apikey.set_limit(:'limited_id', 'calls', 3, '1 hour');
SELECT token FROM apikey.open_session(:'limited_key', cost => 2) \gset limited_
SELECT code, limit_name, limit_remaining, credits_remaining FROM apikey.verify(:'limited_token');
SELECT code, limit_name, limit_remaining, credits_remaining FROM apikey.verify(:'limited_key');
SELECT code, status, limit_name, retry_after > 0 AS later FROM apikey.verify(:'limited_token');
SELECT ok, code, status, message, retry_after > 0 AS later, token FROM apikey.open_session(:'limited_key');
SELECT apikey.set_limit(:'limited_id', 'calls', NULL, NULL);
SELECT ok, code, status, token FROM apikey.open_session(:'limited_key', cost => 2);
SELECT code, credits_remaining FROM apikey.verify(:'limited_token');

\echo == The role of a kind is in the token
CREATE ROLE regress_apikey_session;
INSERT INTO apikey.kind (kind, prefix, default_scopes, db_role) VALUES ('sessions_role', 'sesr_', '*', 'regress_apikey_session');
SELECT pg_temp.part(o.token, 2) ->> 'role' AS role, v.db_role FROM apikey.issue('sessions-é"\user', 'role', kind => 'sessions_role') k, apikey.open_session(k.key) o, apikey.verify(o.token) v;
SELECT pg_temp.part(o.token, 2) ->> 'sub' AS sub, v.account FROM apikey.issue('sessions-é"\user', 'role', kind => 'sessions_role') k, apikey.open_session(k.key) o, apikey.verify(o.token) v;

DELETE FROM apikey.session;
DELETE FROM apikey.session_use;
DELETE FROM apikey.signing_key;
DELETE FROM apikey.key WHERE account LIKE 'sessions-%';
DELETE FROM apikey.kind WHERE kind LIKE 'sessions%';
DROP ROLE regress_apikey_session;
