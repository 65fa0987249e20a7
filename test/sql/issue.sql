-- apikey.issue: what a key is given, and what is refused
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

\echo == What is returned and stored
SELECT key, key_id, display, created_at FROM apikey.issue('issue-1', 'all arguments', '{b:read,a:*,b:read}', 'secret', '{192.0.2.0/24,2001:db8::1}', NULL,
    '2100-01-01 00:00:00+00', NULL, '{"z": 1, "a": [1, 2]}', 'ada@example.org') \gset
SELECT account, name, kind, display = :'display' AS display, scopes, status, allowed_ips, allowed_origins, created_at = :'created_at' AS created_at, created_by,
       expires_at = '2100-01-01 00:00:00+00' AS expires_at, revoked_at, revoked_by, revoke_reason, last_used_at, db_role, metadata,
       rotated_from, rotated_to, disabled_at, disabled_by, credits_remaining
FROM apikey.keys WHERE key_id = :'key_id' \gx
SELECT :'key' ~ '^ak_[0-9A-Za-z]{49}$' AS key, substr(:'key_id', 15, 1) AS uuid_version, substr(:'key_id', 20, 1) IN ('8', '9', 'a', 'b') AS uuid_variant,
       abs(extract(epoch FROM clock_timestamp()) * 1000 - ('x' || lpad(replace(left(:'key_id', 13), '-', ''), 16, '0'))::bit(64)::bigint) < 600000 AS uuid_tells_time;
SELECT key_id AS id2 FROM apikey.issue('issue-1', 'two arguments') \gset
SELECT account, name, kind, scopes, expires_at, metadata, created_by, allowed_ips, allowed_origins
FROM apikey.keys WHERE key_id = :'id2';
SELECT key_id AS id3 FROM apikey.issue(name => 'by name', account => 'issue-1', kind => 'widget', scopes => '{x}', allowed_origins => '{a.example}') \gset
SELECT name, scopes, kind, allowed_origins FROM apikey.keys WHERE key_id = :'id3';
-- NULL is the default for everything with one
SELECT kind, scopes, expires_at FROM apikey.issue('issue-1', 'explicit NULLs', NULL, 'secret', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
-- a set of them in one statement: ids in order of issue, texts all different
SELECT count(*) AS keys, count(DISTINCT key) AS texts, count(DISTINCT key_id) AS ids, count(DISTINCT display) > 990 AS masks
FROM generate_series(1, 1000) n, LATERAL apikey.issue('issue-many-' || n, 'key') i;

\echo == Names
SELECT n.name, char_length(i.name) AS length, i.name = n.name AS kept FROM (VALUES (1, 'x'), (2, 'Ünïcödé ☎ 電話'), (3, $$it's "quoted" \ <b>$$), (4, ' padded ')) n (n, name),
    LATERAL apikey.issue('issue-names', n.name) i ORDER BY n;
-- composed: two spellings of é are one name
SELECT i.name = U&'caf\00E9' AS composed FROM apikey.issue('issue-names', U&'cafe\0301') i;
SELECT count(*) AS same_name_twice FROM (VALUES (1), (2)) t (n), LATERAL apikey.issue('issue-names', 'same') i;
SELECT n.what, pg_temp.fails(format('SELECT apikey.issue(%L, %L)', 'issue-names', n.name)) AS error FROM (VALUES
    (1, 'NULL', NULL), (2, 'empty', ''), (3, 'blanks', '   '), (4, 'newline', E'a\nb'), (5, 'tab', E'a\tb'), (6, 'DEL', E'a\x7f'), (7, '101 characters', repeat('a', 101)),
    (8, '101 wide characters', repeat('é', 101)), (9, 'right-to-left override', U&'a\202Eb'), (10, 'zero width space', U&'a\200Bb'), (11, 'C1 control', U&'a\0085b'),
    (12, 'byte order mark', U&'\FEFFa')) n (n, what, name) ORDER BY n;
-- a key text in a name is masked
SELECT name = 'mine is ' || :'display' || '!' AS masked FROM apikey.issue('issue-names', 'mine is ' || :'key' || '!');

\echo == Accounts
SELECT a.account = i.account AS kept, octet_length(a.account) AS bytes FROM (VALUES (1, 'a'), (2, repeat('a', 255)), (3, 'Org 7/Ü ☎'), (4, '**'), (5, ' ')) a (n, account),
    LATERAL apikey.issue(a.account, 'account') i ORDER BY n;
SELECT a.what, pg_temp.fails(format('SELECT apikey.issue(%L, %L)', a.account, 'bad account')) AS error FROM (VALUES (1, 'NULL', NULL), (2, 'empty', ''), (3, 'star', '*'),
    (4, '256 bytes', repeat('a', 256)), (5, '256 bytes in 128 characters', repeat('é', 128)), (6, 'newline', E'a\n'), (7, 'escape', E'\x1b[0m')) a (n, what, account) ORDER BY n;

\echo == Scopes
SELECT s.scopes AS given, i.scopes AS kept FROM (VALUES (1, '{*}'::text[]), (2, '{b,a,b}'), (3, '{a:*,a:read}'), (4, '{a.b-c_d:E}'), (5, '{a:b:c:d}'), (6, '{a:b:c:*}'), (7, NULL)) s (n, scopes),
    LATERAL apikey.issue('issue-scopes', 'scopes', s.scopes) i ORDER BY n;
SELECT s.scopes, pg_temp.fails(format('SELECT apikey.issue(%L, %L, %L)', 'issue-scopes', 'bad scopes', s.scopes)) AS error FROM (VALUES (1, '{}'), (2, '{""}'), (3, '{NULL}'),
    (4, '{{a},{b}}'), (5, '{a b}'), (6, '{"a,b"}'), (7, '{*:read}'), (8, '{a*}'), (9, '{a:*:b}'), (10, '{a:}'), (11, '{:a}'), (12, '{a:b:c:d:e}'), (13, '{é}')) s (n, scopes) ORDER BY n;
SELECT pg_temp.fails(format('SELECT apikey.issue(%L, %L, ARRAY[%L])', 'issue-scopes', 'bad scopes', repeat('a', 65))) AS segment_of_65,
       pg_temp.fails(format('SELECT apikey.issue(%L, %L, ARRAY[%L])', 'issue-scopes', 'bad scopes', repeat('a', 64) || ':' || repeat('a', 64))) AS grant_of_129,
       pg_temp.fails($$SELECT apikey.issue('issue-scopes', 'bad scopes', (SELECT array_agg('s' || n) FROM generate_series(1, 257) n))$$) AS grants_257 \gx
SELECT cardinality(scopes) AS grants FROM apikey.issue('issue-scopes', 'many', (SELECT array_agg('s' || n) FROM generate_series(1, 256) n));

\echo == Expiry
SELECT expires_at = created_at + interval '1 month' AS in_a_month FROM apikey.issue('issue-expiry', 'in', expires_in => '1 month');
SELECT expires_at = created_at + interval '1 microsecond' AS in_a_microsecond FROM apikey.issue('issue-expiry', 'in', expires_in => '1 microsecond');
SELECT expires_at IS NULL AS never FROM apikey.issue('issue-expiry', 'never', expires_at => 'infinity');
SELECT e.what, pg_temp.fails(format('SELECT apikey.issue(%L, %L, expires_at => %s, expires_in => %s)', 'issue-expiry', 'bad expiry', e.at, e.in_)) AS error FROM (VALUES
    (1, 'both', $$'infinity'$$, $$'1 day'$$), (2, 'past', $$clock_timestamp() - interval '1 s'$$, 'NULL'), (3, 'now', 'now()', 'NULL'), (4, '-infinity', $$'-infinity'$$, 'NULL'),
    (5, 'zero', 'NULL', $$'0'$$), (6, 'negative', 'NULL', $$'-1 day'$$), (7, 'negative in sum', 'NULL', $$'1 day -25 hours'$$), (8, 'too long', 'NULL', $$'178000000 years'$$),
    (9, 'very negative', 'NULL', $$'-178000000 years'$$)) e (n, what, at, in_) ORDER BY n;
BEGIN;
UPDATE apikey.account_policy SET default_lifetime = '30 days', max_lifetime = '90 days' WHERE account = '*';
INSERT INTO apikey.account_policy (account, max_lifetime) VALUES ('issue-short', '10 days');
INSERT INTO apikey.account_policy (account, default_lifetime, max_lifetime) VALUES ('issue-free', '0', '0');
INSERT INTO apikey.kind (kind, prefix, default_scopes, default_lifetime) VALUES ('issue_year', 'iy_', '*', '1 year'), ('issue_week', 'iw_', '*', '7 days'), ('issue_ever', 'ie_', '*', '0');
SELECT e.what, e.lives, i.expires_at IS NOT DISTINCT FROM i.created_at + e.lives::interval AS it_does
FROM (VALUES (1, 'default of *', 'issue-expiry', 'secret', '30 days'), (2, 'default cut to max_lifetime', 'issue-short', 'secret', '10 days'), (3, 'account without limits', 'issue-free', 'secret', NULL),
             (4, 'default of the kind', 'issue-expiry', 'issue_week', '7 days'), (5, 'kind cut to max_lifetime', 'issue-expiry', 'issue_year', '90 days'), (6, 'kind, no limits', 'issue-free', 'issue_year', '1 year'),
             (7, 'kind for ever, no limits', 'issue-free', 'issue_ever', NULL), (8, 'kind for ever cut to max_lifetime', 'issue-expiry', 'issue_ever', '90 days')) e (n, what, account, kind, lives),
     LATERAL apikey.issue(e.account, 'life', kind => e.kind) i ORDER BY n;
SELECT pg_temp.fails($$SELECT apikey.issue('issue-expiry', 'beyond', expires_in => '91 days')$$) AS beyond,
       pg_temp.fails($$SELECT apikey.issue('issue-expiry', 'beyond', expires_at => 'infinity')$$) AS never,
       pg_temp.fails($$SELECT apikey.issue('issue-expiry', 'within', expires_in => '90 days')$$) AS within,
       pg_temp.fails($$SELECT apikey.issue('issue-short', 'beyond', expires_in => '11 days')$$) AS of_the_account \gx
ROLLBACK;

\echo == Metadata
CREATE TEMP TABLE m AS
    SELECT m.n, m.metadata, i.key_id FROM (VALUES (1, '{}'::jsonb), (2, '{"b": null, "a": {"x": [1, "ü"]}}'), (3, NULL)) m (n, metadata),
         LATERAL apikey.issue('issue-metadata', 'metadata', metadata => m.metadata) i;
SELECT m.metadata AS given, k.metadata AS kept FROM m JOIN apikey.keys k USING (key_id) ORDER BY n;
SELECT m.what, pg_temp.fails(format('SELECT apikey.issue(%L, %L, metadata => %L)', 'issue-metadata', 'size', m.metadata)) AS error FROM (VALUES (1, 'array', '[]'), (2, 'string', '"x"'),
    (3, 'number', '1'), (4, 'null', 'null'), (5, 'too large', jsonb_build_object('a', repeat('x', 8200))::text), (6, 'just right', jsonb_build_object('a', repeat('x', 8183))::text),
    (7, 'one more', jsonb_build_object('a', repeat('x', 8184))::text)) m (n, what, metadata) ORDER BY n;

\echo == db_role: exists, no superuser, and the caller may SET ROLE to it
CREATE ROLE regress_apikey_api;
CREATE ROLE regress_apikey_super SUPERUSER;
CREATE ROLE regress_apikey_other;
CREATE ROLE regress_apikey_issuer;
GRANT regress_apikey_api TO regress_apikey_issuer;
SELECT apikey.grant_access('regress_apikey_issuer', 'issuer');
SET ROLE regress_apikey_issuer;
SELECT r.role, pg_temp.fails(format('SELECT apikey.issue(%L, %L, db_role => %L)', 'issue-role', 'role', r.role)) AS error
FROM (VALUES (1, 'regress_apikey_api'), (2, 'regress_apikey_other'), (3, 'regress_apikey_super'), (4, 'regress_apikey_absent'), (5, ''), (6, repeat('x', 64)), (7, 'REGRESS_APIKEY_API'),
             (8, 'regress_apikey_issuer')) r (n, role) ORDER BY n;
RESET ROLE;
SELECT name, db_role FROM apikey.keys WHERE account = 'issue-role' ORDER BY db_role COLLATE "C";
SELECT v.db_role FROM (SELECT key FROM apikey.issue('issue-role', 'as superuser', db_role => 'regress_apikey_other')) k, LATERAL apikey.verify(k.key) v;
SELECT pg_temp.fails($$SELECT apikey.issue('issue-role', 'as superuser', db_role => 'regress_apikey_super')$$) AS superuser;
SELECT apikey.revoke_access('regress_apikey_issuer', 'issuer');
DROP ROLE regress_apikey_api, regress_apikey_super, regress_apikey_other, regress_apikey_issuer;

\echo == Kinds
SELECT k.kind, pg_temp.fails(format('SELECT apikey.issue(%L, %L, kind => %L)', 'issue-kind', 'kind', k.kind)) AS error FROM (VALUES (1, 'nokind'), (2, ''), (3, NULL), (4, 'SECRET'), (5, 'session'), (6, 'widget')) k (n, kind) ORDER BY n;
BEGIN;
UPDATE apikey.kind SET enabled = false WHERE kind = 'secret';
SELECT pg_temp.fails($$SELECT apikey.issue('issue-kind', 'kind')$$) AS disabled_kind;
ROLLBACK;

\echo == Not yet, and not here
SELECT pg_temp.fails($$SELECT apikey.issue('issue-1', 'credits', credits => -5)$$) AS credits;
BEGIN READ ONLY;
SELECT apikey.issue('issue-1', 'read only');
ROLLBACK;
SELECT count(*) AS refused_but_kept FROM apikey.keys WHERE account LIKE 'issue-%' AND (name LIKE 'bad %' OR name IN ('credits', 'read only', 'beyond', 'kind'));
SELECT count(*) AS audited_but_refused FROM apikey.audit_log WHERE account LIKE 'issue-%' AND new ->> 'name' LIKE 'bad %';
