-- apikey.explain: every check is shown, the verdict last; nothing of the key is shown
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

SELECT key, key_id FROM apikey.issue('explain-1', 'key', '{a:read}', 'widget', allowed_ips => '{192.0.2.0/24}', allowed_origins => '{a.example}') \gset
CREATE FUNCTION pg_temp.shown(key text, required text DEFAULT NULL, ip text DEFAULT NULL, origin text DEFAULT NULL, account text DEFAULT NULL, kinds text[] DEFAULT NULL)
    RETURNS TABLE (n bigint, step text, passed boolean, detail text) LANGUAGE sql AS $$
    SELECT n, step, passed, regexp_replace(detail, ' at \d{4}-.*', ' at <time>') FROM apikey.explain(key, required, ip, origin, account, kinds) WITH ORDINALITY e (step, passed, detail, n) $$;
\echo == All right
SELECT step, passed, detail FROM pg_temp.shown(:'key', 'a:read', '192.0.2.9', 'https://a.example', 'explain-1', '{widget}') ORDER BY n;
\echo == All wrong
BEGIN;
UPDATE apikey.key SET revoked_at = now(), disabled_at = now(), expires_at = now() WHERE key_id = :'key_id';
INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('explain-1', false);
SELECT step, passed, detail FROM pg_temp.shown(:'key', 'b:read', '198.51.100.1', 'https://b.example', 'explain-2', '{secret}') ORDER BY n;
ROLLBACK;
\echo == What is not known
SELECT step, passed, detail FROM pg_temp.shown(NULL) ORDER BY n;
SELECT step, passed, detail FROM pg_temp.shown('rubbish') ORDER BY n;
SELECT step, passed, detail FROM pg_temp.shown('ak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4XSolN') ORDER BY n;
\echo == Explained and verified alike
SELECT c.n, e.passed, e.detail, v.ok, v.code, e.passed = v.ok AND e.detail = v.code AS alike FROM (VALUES (1, :'key', 'a:read', '192.0.2.1', 'a.example', NULL), (2, :'key', 'a:write', '192.0.2.1', 'a.example', NULL),
    (3, :'key', NULL, NULL, 'a.example', NULL), (4, :'key', NULL, '192.0.2.1', NULL, NULL), (5, :'key', NULL, '192.0.2.1', 'a.example', 'other'), (6, 'x', NULL, NULL, NULL, NULL), (7, NULL, NULL, NULL, NULL, NULL)) c (n, key, required, ip, origin, account),
    LATERAL apikey.verify(c.key, c.required, c.ip, c.origin, c.account) v, LATERAL (SELECT * FROM apikey.explain(c.key, c.required, c.ip, c.origin, c.account) WHERE step = 'verdict') e ORDER BY n;
SELECT count(*) AS rows_with_key_text FROM apikey.explain(:'key', 'a:read', :'key', :'key', :'key') e WHERE e::text LIKE '%' || substr(:'key', 11, 20) || '%';
SELECT pg_temp.fails($$SELECT apikey.explain('x', '')$$) AS required, pg_temp.fails($$SELECT apikey.explain('x', cost => -1)$$) AS cost, pg_temp.fails($$SELECT apikey.explain('x', kinds => '{x}')$$) AS kinds \gx
BEGIN READ ONLY;
SELECT count(*) > 10 AS explained FROM apikey.explain(:'key');
COMMIT;
