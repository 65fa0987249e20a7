-- W: TalkifAI keys, secret and widget, as products.md describes them, by configuration alone.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_product_w;
CREATE DATABASE apikey_product_w;
\c apikey_product_w
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

\echo == Configuration by the operator
UPDATE apikey.kind SET prefix = '', default_scopes = '*', default_lifetime = '1 year', name_max = 50,
    mask_prefix = false, mask_head = 8, mask_gap = '••••••••', mask_tail = 0 WHERE kind = 'secret';
UPDATE apikey.kind SET prefix = 'tk_widget_', default_scopes = 'chat:* voice:*', default_lifetime = '1 year', name_max = 50,
    mask_prefix = false, mask_head = 8, mask_gap = '••••••••', mask_tail = 0 WHERE kind = 'widget';
UPDATE apikey.account_policy SET rotate_after = '6 months' WHERE account = '*';

\echo == W1 kind secret: no prefix, URL-safe, unique, full access, no domain restriction, one year
SELECT key AS secret, key_id AS secret_id, display AS secret_display FROM apikey.issue('w1', 'backend') \gset
SELECT :'secret' ~ '^[0-9A-Za-z]{49}$' AS url_safe_without_prefix;
SELECT kind, scopes, allowed_origins, expires_at = created_at + interval '1 year' AS one_year FROM apikey.keys WHERE key_id = :'secret_id';
SELECT o.origin, v.ok, v.code FROM (VALUES (1, NULL), (2, 'https://anywhere.example')) o (n, origin),
     LATERAL apikey.verify(:'secret', 'chat:write & admin:everything', origin => o.origin) v ORDER BY n;
SELECT count(DISTINCT i.key) AS different, count(*) AS made FROM generate_series(1, 24) n, LATERAL apikey.issue('w1', 'key ' || n) i;
SELECT pg_temp.fails($$SELECT apikey.issue('w1', 'bound', allowed_origins => '{mysite.com}')$$) AS domains_for_a_secret_key;

\echo == W2 kind widget: prefix tk_widget_, bound to domains, one year
SELECT key AS widget, key_id AS widget_id, display AS widget_display
FROM apikey.issue('w2', 'chat bubble', kind => 'widget', allowed_origins => '{mysite.com}') \gset
SELECT :'widget' ~ '^tk_widget_[0-9A-Za-z]{49}$' AS format;
SELECT kind, scopes, allowed_origins, expires_at = created_at + interval '1 year' AS one_year FROM apikey.keys WHERE key_id = :'widget_id';
SELECT pg_temp.fails($$SELECT apikey.issue('w2', 'unbound', kind => 'widget')$$) AS without_domain;
SELECT pg_temp.fails($$SELECT apikey.issue('w2', 'unbound', kind => 'widget', allowed_origins => '{}')$$) AS with_no_domain;
SELECT pg_temp.fails($$SELECT apikey.issue('w2', 'unbound', kind => 'widget', allowed_origins => '{" , "}')$$) AS with_blank_domain;

\echo == W3 comma separated; protocol optional; subdomains covered; localhost always allowed; others refused as CORS error
SELECT key, key_id FROM apikey.issue('w3', 'site', kind => 'widget', allowed_origins => ARRAY['mysite.com, https://shop.example.org']) \gset
SELECT allowed_origins FROM apikey.keys WHERE key_id = :'key_id';
SELECT o.origin, v.code, v.status, v.message
FROM (VALUES (1, 'https://mysite.com'), (2, 'http://mysite.com'), (3, 'https://staging.mysite.com'), (4, 'mysite.com'),
             (5, 'https://shop.example.org'), (6, 'http://shop.example.org'), (7, 'https://example.org'),
             (8, 'http://localhost:3000'), (9, 'http://127.0.0.1:8080'), (10, 'https://evil.com'), (11, 'https://notmysite.com'),
             (12, 'https://mysite.com.evil.com'), (13, 'null'), (14, ''), (15, NULL)) o (n, origin),
     LATERAL apikey.verify(:'key', 'chat:read', origin => o.origin) v ORDER BY n;

\echo == W4 name of at most 50 characters
SELECT char_length(name) FROM apikey.issue('w4', repeat('n', 50));
SELECT pg_temp.fails(format('SELECT apikey.issue(%L, %L)', 'w4', repeat('n', 51))) AS secret_51;
SELECT pg_temp.fails(format('SELECT apikey.issue(%L, %L, kind => %L, allowed_origins => %L)', 'w4', repeat('n', 51), 'widget', '{a.com}')) AS widget_51;

\echo == W5 owners create and manage; admins and members may only look
INSERT INTO apikey.capability (role, action) VALUES ('owner', 'create'), ('owner', 'view'), ('owner', 'update'), ('owner', 'revoke'), ('admin', 'view'), ('member', 'view');
INSERT INTO apikey.account_policy (account, enforce_members) VALUES ('w5', true);
INSERT INTO apikey.member (account, subject, role) VALUES ('w5', 'olga', 'owner'), ('w5', 'adam', 'admin'), ('w5', 'mia', 'member'), ('w1', 'oscar', 'owner');
SELECT key_id FROM apikey.issue('w5', 'by the owner', actor => 'olga') \gset
SELECT a.actor, c.call, pg_temp.fails(c.command) AS result
FROM (VALUES (1, 'olga'), (2, 'adam'), (3, 'mia'), (4, 'oscar'), (5, 'stranger')) a (n, actor),
     LATERAL (VALUES (1, 'look', format('SELECT apikey.list_keys(%L, %L)', 'w5', a.actor)), (2, 'create', format('SELECT apikey.issue(%L, %L, actor => %L)', 'w5', 'new', a.actor)),
                     (3, 'change', format('SELECT apikey.alter_key(%L, name => %L, actor => %L)', :'key_id', a.actor, a.actor)), (4, 'disable', format('SELECT apikey.disable(%L, %L)', :'key_id', a.actor)),
                     (5, 'enable', format('SELECT apikey.enable(%L, %L)', :'key_id', a.actor))) c (m, call, command) ORDER BY n, m;
SELECT pg_temp.fails(format('SELECT apikey.revoke(%L, NULL, %L)', :'key_id', 'adam')) AS revoke_by_admin, pg_temp.fails(format('SELECT apikey.rotate(%L, actor => %L)', :'key_id', 'mia')) AS rotate_by_member \gx
SELECT name, status, created_by FROM apikey.list_keys('w5', 'mia') ORDER BY created_at;
SELECT apikey.revoke(:'key_id', 'leaver', 'olga') AS revoked_by_owner;

\echo == W6 shown once; afterwards the first 8 characters of the whole text and ••••••••
SELECT :'secret_display' = left(:'secret', 8) || '••••••••' AS secret, :'widget_display' AS widget;
SELECT count(*) FILTER (WHERE display = :'secret_display') AS listed_masked,
       count(*) FILTER (WHERE k::text LIKE '%' || substr(:'secret', 9, 30) || '%') AS listed_in_full
FROM apikey.keys k WHERE account = 'w1';

\echo == W7 details: name, kind, created, expires, allowed domains, organisation, status
SELECT name, kind, created_at > clock_timestamp() - interval '1 hour' AS created, expires_at > clock_timestamp() + interval '364 days' AS expires,
       allowed_origins, account, status
FROM apikey.keys WHERE key_id = :'widget_id';
SELECT apikey.disable(:'widget_id') AS disabled;
SELECT k.status, v.code, v.status AS http, v.message FROM apikey.keys k, apikey.verify(:'widget', origin => 'mysite.com') v WHERE k.key_id = :'widget_id';
SELECT apikey.enable(:'widget_id') AS enabled;
SELECT k.status, v.code FROM apikey.keys k, apikey.verify(:'widget', origin => 'mysite.com') v WHERE k.key_id = :'widget_id';

\echo == W8 revoking one key leaves the others; every session opened with it ends; can not be undone
SELECT key AS k1, key_id AS id1 FROM apikey.issue('w8', 'one') \gset
SELECT key AS k2 FROM apikey.issue('w8', 'two') \gset
CREATE TEMP TABLE w8 AS
    SELECT s.n, s.key, o.token FROM (VALUES (1, 'one'), (2, 'one'), (3, 'two')) s (n, key),
           LATERAL apikey.open_session(CASE s.key WHEN 'one' THEN :'k1' ELSE :'k2' END) o;
SELECT s.n, s.key, v.code FROM w8 s, LATERAL apikey.verify(s.token) v ORDER BY n;
SELECT apikey.revoke(:'id1') AS revoked;
SELECT (SELECT code FROM apikey.verify(:'k1')) AS one, (SELECT code FROM apikey.verify(:'k2')) AS two;
SELECT s.n, s.key, v.code, v.status, v.message FROM w8 s, LATERAL apikey.verify(s.token) v ORDER BY n;
SELECT code, token IS NULL AS no_token FROM apikey.open_session(:'k1');
SELECT s.closed_at IS NOT NULL AS ended, count(*) FROM apikey.sessions s WHERE account = 'w8' GROUP BY 1 ORDER BY 1;
SELECT pg_temp.fails(format('SELECT apikey.enable(%L)', :'id1')) AS undo;

\echo == W9 endpoints take certain kinds; the wrong kind is answered as an invalid key
SELECT k.key_kind, e.kinds, v.code, v.status, v.message
FROM (VALUES (1, 'secret', :'secret'), (2, 'widget', :'widget')) k (m, key_kind, key),
     (VALUES (1, '{secret,widget}'::text[]), (2, '{secret}'), (3, '{widget}'), (4, '{session}'), (5, NULL)) e (n, kinds),
     LATERAL apikey.verify(k.key, 'chat:read', origin => 'https://mysite.com', kinds => e.kinds) v
ORDER BY m, n;

-- chat and voice sessions are opened with secret or widget keys, from the widget's own sites ...
SELECT o.origin, s.code, s.status, s.message, s.token IS NOT NULL AS token
FROM (VALUES (1, 'https://mysite.com'), (2, 'https://evil.com')) o (n, origin),
     LATERAL apikey.open_session(:'widget', '10 min', '{chat:*}', origin => o.origin, kinds => '{secret,widget}') s ORDER BY n;
SELECT token AS chat FROM apikey.open_session(:'widget', '10 min', '{chat:*}', origin => 'https://mysite.com', kinds => '{secret,widget}') \gset
SELECT token AS voice FROM apikey.open_session(:'secret', '10 min', '{chat:*}', kinds => '{secret,widget}') \gset
SELECT code, status, message, token FROM apikey.open_session(:'chat', kinds => '{secret,widget}');
-- ... messages, history and end need the session token
SELECT c.credential, e.endpoint, v.code, v.status, v.message, v.kind
FROM (VALUES (1, 'secret key', :'secret'), (2, 'widget key', :'widget'), (3, 'widget session', :'chat'), (4, 'secret session', :'voice')) c (m, credential, key),
     (VALUES (1, 'open', '{secret,widget}'::text[]), (2, 'messages', '{session}')) e (n, endpoint, kinds),
     LATERAL apikey.verify(c.key, 'chat:read', origin => 'https://mysite.com', kinds => e.kinds) v
ORDER BY m, n;
SELECT code, status FROM apikey.verify(:'chat', 'chat:read', origin => 'https://evil.com', kinds => '{session}');
SELECT session_id AS chat_id FROM apikey.verify(:'chat', 'chat:read', origin => 'https://mysite.com', kinds => '{session}') \gset
SELECT apikey.close_session(:'chat_id') AS ended, (SELECT code FROM apikey.verify(:'chat', origin => 'https://mysite.com', kinds => '{session}')) AS afterwards;

\echo == W9 at a gateway: sessions are opened with secret or widget keys; messages, history and end need the session token
SELECT token FROM apikey.open_session(:'widget', origin => 'https://mysite.com', kinds => '{secret,widget}') \gset
SELECT c.n, e.path, c.credential, a.allowed, a.status, a.body::jsonb ->> 'detail' AS message
FROM (VALUES (1, 'secret', :'secret'), (2, 'widget', :'widget'), (3, 'session token', :'token'), (4, 'none', '')) c (n, credential, key),
     (VALUES (1, '/chat/sessions', '{secret,widget}'::text[]), (2, '/chat/messages', '{session}')) e (m, path, kinds),
     LATERAL apikey.http_check(jsonb_build_object('authorization', 'Bearer ' || c.key, 'origin', 'https://mysite.com'), 'POST', e.path, kinds => e.kinds) a
ORDER BY e.m, c.n;

\echo == W10 a changed domain list counts at once
SELECT code FROM apikey.verify(:'widget', origin => 'https://new.example');
SELECT apikey.alter_key(:'widget_id', allowed_origins => '{new.example}') AS changed;
SELECT o.origin, v.code FROM (VALUES (1, 'https://new.example'), (2, 'https://mysite.com')) o (n, origin),
     LATERAL apikey.verify(:'widget', origin => o.origin) v ORDER BY n;
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, allowed_origins => %L)', :'widget_id', '{}')) AS no_domain_left;

\echo == W11 no credits left in the organisation: refused until topped up
SELECT key AS voice FROM apikey.issue('w11', 'voice') \gset
SELECT key AS chat FROM apikey.issue('w11', 'chat', kind => 'widget', allowed_origins => '{mysite.com}') \gset
SELECT apikey.set_account_credits('w11', 3) AS credits;
SELECT v.code, v.status, v.message, v.credits_remaining FROM (VALUES (1, :'voice', 2), (2, :'chat', 1), (3, :'voice', 1), (4, :'chat', 1)) c (n, key, cost),
     LATERAL apikey.verify(c.key, 'chat:read', origin => 'mysite.com', cost => c.cost) v ORDER BY n;
SELECT credits_remaining FROM apikey.account_usage WHERE account = 'w11';
SELECT apikey.add_account_credits('w11', 5) AS topped_up;
SELECT v.code, v.credits_remaining FROM (VALUES (1, :'voice'), (2, :'chat')) c (n, key), LATERAL apikey.verify(c.key, 'chat:read', origin => 'mysite.com') v ORDER BY n;

\echo == W12 rotation with overlap, without an outage; keys due for rotation can be listed
SELECT key, key_id FROM apikey.issue('w12', 'production') \gset
SELECT name, due_at <= clock_timestamp() AS due FROM apikey.keys_to_rotate WHERE account = 'w12';
UPDATE apikey.key SET created_at = clock_timestamp() - interval '7 months', expires_at = clock_timestamp() + interval '5 months' WHERE key_id = :'key_id';
SELECT name, due_at <= clock_timestamp() AS due, rotated_to FROM apikey.keys_to_rotate WHERE account = 'w12';
SELECT key AS new_key, key_id AS new_id FROM apikey.rotate(:'key_id', '7 days') \gset
SELECT :'new_key' <> :'key' AS another, (SELECT code FROM apikey.verify(:'key')) AS old, (SELECT code FROM apikey.verify(:'new_key')) AS new;
SELECT rotated_to = :'new_id' AS old_is_listed_as_superseded FROM apikey.keys_to_rotate WHERE account = 'w12' ORDER BY 1;
SELECT apikey.revoke(:'key_id', 'moved over') AS old_revoked;
SELECT (SELECT code FROM apikey.verify(:'key')) AS old, (SELECT code FROM apikey.verify(:'new_key')) AS new;
SELECT count(*) AS still_due FROM apikey.keys_to_rotate WHERE account = 'w12';

\echo == W13 separate keys per environment with separate usage
SELECT key AS prod FROM apikey.issue('w13', 'production', metadata => '{"env": "production"}') \gset
SELECT key AS test FROM apikey.issue('w13', 'test', metadata => '{"env": "test"}') \gset
SELECT v.code, v.name, v.metadata FROM (VALUES (1, :'prod'), (2, :'test')) k (n, key), LATERAL apikey.verify(k.key) v ORDER BY n;
SELECT count(DISTINCT v.key_id) AS told_apart FROM (VALUES (:'prod'), (:'test')) k (key), LATERAL apikey.verify(k.key) v;

-- each with its own usage
SELECT count(*) FILTER (WHERE v.ok) AS passed FROM generate_series(1, 3), LATERAL apikey.verify(:'prod') v;
SELECT apikey.flush_usage() >= 0 AS written;
SELECT k.name, sum(u.requests) AS requests FROM apikey.usage_daily u JOIN apikey.keys k USING (key_id) WHERE k.account = 'w13' GROUP BY k.name ORDER BY k.name COLLATE "C";

\c :regression
DROP DATABASE apikey_product_w;
