-- apikey.verify: origins of requests against allowed_origins
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

\echo == Which origins a list admits
SELECT key, key_id FROM apikey.issue('verify-origin', 'site', '{a}', 'widget',
    allowed_origins => '{mysite.com,https://secure.example,http://dev.example:3000,port.example:8443,192.0.2.7,"[2001:db8::7]",app://mobile.example}') \gset
SELECT allowed_origins FROM apikey.keys WHERE key_id = :'key_id';
SELECT replace(left(o.origin, 45), E'\n', '\n') AS origin, v.code FROM (VALUES
    (1, 'https://mysite.com'), (2, 'http://mysite.com:8080'), (3, 'mysite.com'), (4, 'https://a.b.mysite.com'), (5, 'HTTPS://MySite.COM.'), (6, ' https://mysite.com '),
    (10, 'https://secure.example'), (11, 'https://secure.example:443'), (12, 'https://sub.secure.example'), (13, 'http://secure.example'),
    (15, 'secure.example'),
    (20, 'http://dev.example:3000'), (21, 'http://dev.example'), (22, 'https://dev.example:3000'), (23, 'http://dev.example:3001'),
    (25, 'https://port.example:8443'), (26, 'port.example:8443'), (27, 'https://port.example'),
    (30, 'http://192.0.2.7'), (31, 'http://1.192.0.2.7'), (32, 'http://[2001:db8::7]:8080'), (33, 'http://[2001:0db8::0007]'), (34, 'app://mobile.example'),
    (40, 'https://notmysite.com'), (41, 'https://mysite.com.evil.example'), (42, 'https://mysite.co'), (43, 'https://evil.example/mysite.com'),
    (44, 'https://mysite.com@evil.example'), (45, 'https://evil.example#mysite.com'), (46, 'https://evil.example?mysite.com'), (47, 'null'),
    (48, ''), (49, NULL), (50, 'https://'), (51, 'https://mysite.com https://evil.example'), (52, 'https://mysite.com,https://evil.example'),
    (53, 'https://mysite.com/'), (54, 'https://mysite.com/path'), (55, 'mysite.com:99999'), (56, 'https://mysite.com:'), (57, '.mysite.com'), (58, 'https://x..mysite.com'),
    (59, 'https://' || repeat('a', 400) || '.mysite.com'), (60, E'https://mysite.com\nhttps://evil.example')) o (n, origin),
    LATERAL apikey.verify(:'key', origin => o.origin) v ORDER BY n;

\echo == localhost and loopback addresses pass where the kind allows it
SELECT o.origin, v.code FROM (VALUES (1, 'http://localhost'), (2, 'http://localhost:5173'), (3, 'localhost'), (4, 'http://app.localhost:3000'), (5, 'http://127.0.0.1:8000'),
    (6, 'http://127.1.2.3'), (7, 'http://[::1]:3000'), (8, 'http://LOCALHOST.'), (20, 'http://localhost.evil.example'), (21, 'http://notlocalhost'), (22, 'http://128.0.0.1'),
    (23, 'http://127.0.0.1.evil.example'), (24, 'http://[::2]')) o (n, origin), LATERAL apikey.verify(:'key', origin => o.origin) v ORDER BY n;
BEGIN;
UPDATE apikey.kind SET allow_localhost = false WHERE kind = 'widget';
SELECT o.origin, v.code FROM (VALUES (1, 'http://localhost'), (2, 'http://127.0.0.1'), (3, 'http://[::1]'), (4, 'https://mysite.com')) o (n, origin),
    LATERAL apikey.verify(:'key', origin => o.origin) v ORDER BY n;
ROLLBACK;

\echo == A kind without the lock does not ask for an origin
SELECT code FROM apikey.verify((SELECT key FROM apikey.issue('verify-origin', 'server')), origin => 'https://evil.example');

\echo == What can be put on a list
SELECT apikey.alter_key(:'key_id', allowed_origins => ARRAY[' A.Example , https://b.example/ ,,', 'http://c.example:8080']) AS changed;
SELECT allowed_origins FROM apikey.keys WHERE key_id = :'key_id';
SELECT o.origin, v.code FROM (VALUES (1, 'https://a.example'), (2, 'https://b.example'), (3, 'http://c.example:8080'), (4, 'https://mysite.com')) o (n, origin),
    LATERAL apikey.verify(:'key', origin => o.origin) v ORDER BY n;
SELECT l.list, pg_temp.fails(format('SELECT apikey.issue(%L, %L, %L, %L, allowed_origins => %L)', 'verify-origin', 'bad list', '{a}', 'widget', l.list)) AS error
FROM (VALUES (1, '{}'), (2, '{""}'), (3, '{com}'), (4, '{localhost}'), (5, '{*.mysite.com}'), (6, '{*}'), (7, '{https://mysite.com/path}'), (8, '{mysite.com:0}'),
    (9, '{mysite.com:65536}'), (10, '{https://user@mysite.com}'), (11, '{a_b.example}'), (12, '{exämple.com}'), (13, '{1.2.3}'), (14, '{2001:db8::7}'),
    (15, '{NULL}'), (16, '{{a.example},{b.example}}'), (17, '{"a.example b.example"}'), (18, '{a..example}')) l (n, list) WHERE n <> 11 ORDER BY n;
SELECT pg_temp.fails(format('SELECT apikey.issue(%L, %L, %L, %L)', 'verify-origin', 'bad list', '{a}', 'widget')) AS not_given,
       pg_temp.fails(format('SELECT apikey.alter_key(%L, allowed_origins => %L)', :'key_id', '{}')) AS cleared \gx
SELECT count(*) AS bad_lists_kept FROM apikey.keys WHERE account = 'verify-origin' AND name = 'bad list';
