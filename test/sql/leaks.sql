-- Leaks: find_keys, revoke_leaked, scan_pattern
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

CREATE TEMP TABLE l AS SELECT n.name, i.key, i.key_id, i.display FROM (VALUES ('active'), ('disabled'), ('revoked'), ('expired'), ('other')) n (name), LATERAL apikey.issue('leaks-1', n.name, expires_in => '1 day') i;
SELECT apikey.disable(key_id) AS disabled FROM l WHERE name = 'disabled';
SELECT apikey.revoke(key_id, 'before', 'ada') AS revoked FROM l WHERE name = 'revoked';
UPDATE apikey.key SET expires_at = clock_timestamp() WHERE account = 'leaks-1' AND name = 'expired';
CREATE FUNCTION pg_temp.k(wanted text) RETURNS text LANGUAGE sql AS $$ SELECT key FROM l WHERE name = wanted $$;
\echo == Live or dead, in any text, each once
SELECT l.name, f.account, f.status, f.display = l.display AS display FROM apikey.find_keys((SELECT string_agg(key, ' and ') || ' and ' || string_agg(key, '') FROM l)) f JOIN l USING (key_id) ORDER BY l.name COLLATE "C";
SELECT d.n, (SELECT string_agg(l.name, ' ' ORDER BY l.name COLLATE "C") FROM apikey.find_keys(d.document) f JOIN l USING (key_id)) AS found FROM (VALUES
    (1, pg_temp.k('active')), (2, 'Authorization: Bearer ' || pg_temp.k('active') || E'\r\n'), (3, '{"key":"' || pg_temp.k('active') || '","b":"' || pg_temp.k('other') || '"}'), (4, 'https://a.example/?key=' || pg_temp.k('active') || '&x=1'), (5, 'xxx' || pg_temp.k('active') || 'xxx'),
    (6, 'ak_ak_' || pg_temp.k('active')), (7, left(pg_temp.k('active'), -1)), (8, left(pg_temp.k('active'), 30) || E'\n' || substr(pg_temp.k('active'), 31)), (9, lower(pg_temp.k('active'))), (10, ''), (11, NULL), (12, 'nothing'),
    (13, 'ak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4XSolN'), (14, U&'\00FC\2022' || pg_temp.k('active') || U&'\2022'), (15, (SELECT display FROM l WHERE name = 'active')), (16, (SELECT key_id::text FROM l WHERE name = 'active')),
    (17, repeat('x', 1000000) || pg_temp.k('active') || repeat('y', 1000000) || pg_temp.k('other'))) d (n, document) ORDER BY n;
\echo == Nothing is changed by looking, and the document is kept nowhere
SELECT l.name, k.status FROM l JOIN apikey.keys k USING (key_id) ORDER BY l.name COLLATE "C";
\echo == revoke_leaked
SELECT l.name, r.account, r.status, r.revoked, r.display = l.display AS display FROM apikey.revoke_leaked((SELECT string_agg(key, E'\n') FROM l WHERE name <> 'other'), actor => 'scanner') r JOIN l USING (key_id) ORDER BY l.name COLLATE "C";
SELECT l.name, k.status, k.revoked_by, k.revoke_reason, v.code FROM l JOIN apikey.keys k USING (key_id), LATERAL apikey.verify(l.key) v ORDER BY l.name COLLATE "C";
SELECT revoked FROM apikey.revoke_leaked('x ' || pg_temp.k('active'));
SELECT revoked FROM apikey.revoke_leaked(pg_temp.k('other'), 'seen in ' || pg_temp.k('other'), 'bot');
SELECT revoked_by, revoke_reason = 'seen in ' || display AS reason_is_masked FROM apikey.keys WHERE account = 'leaks-1' AND name = 'other';
SELECT count(*) AS nothing_there FROM apikey.revoke_leaked('nothing');
SELECT count(*) AS kept_in_audit FROM apikey.audit_log a, l WHERE a::text LIKE '%' || substr(l.key, 8, 30) || '%';
SELECT pg_temp.fails('SELECT apikey.find_keys(repeat(''a'', 67108865))') AS too_large, pg_temp.fails('SELECT apikey.find_keys(repeat('' '', 67108864))') AS just_right \gx
\echo == A kind without prefix or checksum: whole words only
INSERT INTO apikey.kind (kind, prefix, body_length, checksum, default_scopes) VALUES ('leak_bare', '', 64, false, '*'), ('leak_dot', 'l.k_', 30, true, '*') ON CONFLICT DO NOTHING;
SELECT key AS bare, key_id AS bare_id FROM apikey.issue('leaks-2', 'bare', kind => 'leak_bare') \gset
SELECT d.n, (SELECT count(*) FROM apikey.find_keys(d.document) f WHERE f.key_id = :'bare_id') AS found FROM (VALUES (1, :'bare'), (2, 'x ' || :'bare' || '.'), (3, 'x' || :'bare'), (4, :'bare' || '0'), (5, '_' || :'bare' || '_'), (6, '"' || :'bare' || '"')) d (n, document) ORDER BY n;
\echo == What looks like a key and is none hides none that overlaps it
INSERT INTO apikey.kind (kind, prefix, body_length, checksum, default_scopes) VALUES ('leak_aa', 'aa', 30, false, '*'), ('leak_aa_long', 'aa', 34, false, '*');
SELECT key AS short, key_id AS short_id FROM apikey.issue('leaks-2', 'short', kind => 'leak_aa') \gset
SELECT d.n, (SELECT count(*) FROM apikey.find_keys(d.document) f WHERE f.key_id = :'short_id') AS found FROM (VALUES (1, :'short'), (2, 'aa' || :'short'), (3, 'aaaaaaaaaaaaaaaaaaaaa' || :'short' || 'aaaaaaaaaaaaaaaaaaaa'), (4, :'short' || 'bbbbbbbb'), (5, left(:'short', 20) || :'short' || 'b')) d (n, document) ORDER BY n;
\echo == scan_pattern finds the keys of its kind, as POSIX expression, and offline
SELECT kind, apikey.scan_pattern(kind) AS pattern FROM apikey.kind WHERE kind IN ('secret', 'widget', 'leak_bare', 'leak_dot') ORDER BY kind COLLATE "C";
SELECT k.kind, count(*) AS keys, count(*) FILTER (WHERE i.key ~ ('^' || apikey.scan_pattern(k.kind) || '$')) AS matched, count(*) FILTER (WHERE 'key="' || i.key || '";' ~ apikey.scan_pattern(k.kind)) AS matched_in_text,
       count(*) FILTER (WHERE left(i.key, -1) ~ apikey.scan_pattern(k.kind)) AS matched_when_cut, count(*) FILTER (WHERE replace(i.key, '.', 'x') ~ apikey.scan_pattern('leak_dot')) AS dot_taken_for_any
FROM (VALUES ('secret', NULL::text[]), ('widget', '{a.example}'), ('leak_bare', NULL), ('leak_dot', NULL)) k (kind, origins), generate_series(1, 5) n, LATERAL apikey.issue('leaks-3', 'k', '{a}', k.kind, allowed_origins => k.origins) i GROUP BY k.kind ORDER BY k.kind COLLATE "C";
SELECT pg_temp.fails($$SELECT apikey.scan_pattern('nokind')$$) AS unknown;
DELETE FROM apikey.key WHERE kind LIKE 'leak\_%';
DELETE FROM apikey.kind WHERE kind LIKE 'leak\_%';
