-- apikey.verify: addresses of requests against allowed_ips
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

\echo == Which texts are an address
SELECT key FROM apikey.issue('verify-ip', 'a list', allowed_ips => '{192.0.2.7,2001:db8::7,10.0.0.0/8,fd00::/8}') \gset
SELECT left(a.ip, 30) AS ip, v.code FROM (VALUES
    (1, '192.0.2.7'), (2, ' 192.0.2.7 '), (3, '192.0.2.7/32'), (4, '::ffff:192.0.2.7'), (5, '::ffff:c000:207'), (6, '::FFFF:192.0.2.7/128'),
    (7, '2001:db8::7'), (8, '2001:DB8:0:0:0:0:0:7'), (9, '2001:db8::7/128'), (10, '10.255.255.255'), (11, 'fdff::1'),
    (20, '192.0.2.8'), (21, '11.0.0.0'), (22, '2001:db8::8'), (23, 'fe80::1'), (24, '::192.0.2.7'),
    (30, '192.0.2.7:443'), (31, '[2001:db8::7]'), (32, '[2001:db8::7]:443'), (33, 'fd00::1%eth0'), (34, '192.0.2.7, 10.0.0.1'),
    (35, '10.0.0.0/8'), (36, '10'), (37, '10.1'), (38, '010.0.0.1'), (39, '0x0a.0.0.1'), (40, '10.0.0.256'), (41, '10.0.0.1.'),
    (42, 'localhost'), (43, ''), (44, ' '), (45, 'unknown'), (46, '10.0.0.1 or 1=1'), (47, '192.0.2.7/31'), (48, NULL), (49, repeat('1', 1000)),
    (50, '١٠.0.0.1')) a (n, ip),
    LATERAL apikey.verify(:'key', ip => a.ip) v ORDER BY n;

\echo == As inet
SELECT a.ip, v.code FROM (VALUES (1, '192.0.2.7'::inet), (2, '192.0.2.7/32'), (3, '192.0.2.7/24'), (4, '::ffff:192.0.2.7'), (5, '2001:db8::7'), (6, '2001:db8::7/64'),
    (7, '192.0.2.8'), (8, NULL)) a (n, ip), LATERAL apikey.verify(:'key', NULL, a.ip) v ORDER BY n;

\echo == Without a list any address will do, an unknown one too
SELECT key FROM apikey.issue('verify-ip', 'no list') \gset
SELECT a.ip, v.code FROM (VALUES (1, '192.0.2.7'), (2, 'rubbish'), (3, NULL)) a (n, ip), LATERAL apikey.verify(:'key', ip => a.ip) v ORDER BY n;

\echo == Policy may require a list (not of origin-locked kinds)
BEGIN;
SELECT key AS widget FROM apikey.issue('verify-ip', 'widget', '{a}', 'widget', allowed_origins => '{a.example}') \gset
INSERT INTO apikey.account_policy (account, require_allowed_ips) VALUES ('verify-ip', true);
SELECT pg_temp.fails($$SELECT apikey.issue('verify-ip', 'no list')$$) AS issue;
SELECT pg_temp.fails(format('SELECT apikey.alter_key(%L, allowed_ips => %L)', key_id, '{}')) AS alter_key
FROM apikey.keys WHERE account = 'verify-ip' AND name = 'a list';
SELECT name FROM apikey.issue('verify-ip', 'with a list', allowed_ips => '{192.0.2.7}');
SELECT name FROM apikey.issue('verify-ip', 'widget', '{a}', 'widget', allowed_origins => '{a.example}');
SELECT a.ip, v.code AS key_without_list, w.code AS widget FROM (VALUES (1, '192.0.2.7'), (2, 'rubbish'), (3, NULL)) a (n, ip),
     LATERAL apikey.verify(:'key', ip => a.ip) v, LATERAL apikey.verify(:'widget', ip => a.ip, origin => 'a.example') w ORDER BY n;
ROLLBACK;

\echo == What can be put on a list, and how it is kept
SELECT apikey.alter_key(key_id, allowed_ips => '{0.0.0.0/0}') AS everything4 FROM apikey.keys WHERE account = 'verify-ip' AND name = 'no list';
SELECT a.ip, v.code FROM (VALUES (1, '192.0.2.7'), (2, '::ffff:1.2.3.4'), (3, '2001:db8::1')) a (n, ip), LATERAL apikey.verify(:'key', ip => a.ip) v ORDER BY n;
SELECT apikey.alter_key(key_id, allowed_ips => '{::/0}') AS everything6 FROM apikey.keys WHERE account = 'verify-ip' AND name = 'no list';
SELECT a.ip, v.code FROM (VALUES (1, '192.0.2.7'), (2, '::ffff:1.2.3.4'), (3, '2001:db8::1')) a (n, ip), LATERAL apikey.verify(:'key', ip => a.ip) v ORDER BY n;
SELECT apikey.alter_key(key_id, allowed_ips => ARRAY[' 192.0.2.7 ', '::ffff:10.0.0.0/104', '2001:DB8:0:0::/64', '192.0.2.128/25']) AS changed
FROM apikey.keys WHERE account = 'verify-ip' AND name = 'no list';
SELECT allowed_ips FROM apikey.keys WHERE account = 'verify-ip' AND name = 'no list';
SELECT a.ip, v.code FROM (VALUES (1, '192.0.2.7'), (2, '10.200.0.1'), (3, '2001:db8::ffff'), (4, '2001:db8:0:1::'), (5, '192.0.2.127'), (6, '192.0.2.128'),
    (7, '192.0.2.255')) a (n, ip), LATERAL apikey.verify(:'key', ip => a.ip) v ORDER BY n;
SELECT l.list, pg_temp.fails(format('SELECT apikey.issue(%L, %L, allowed_ips => %L)', 'verify-ip', 'bad list', l.list)) AS error
FROM (VALUES (1, '{10}'), (2, '{192.0.2.7/24}'), (3, '{2001:db8::7/64}'), (4, '{192.0.2.07}'), (5, '{1.2.3.4,1.2.3.4/33}'), (6, '{example.com}'),
    (7, '{""}'), (8, '{"1.2.3.4, 5.6.7.8"}'), (9, '{fe80::1%eth0}'), (10, '{1.2.3.4/}'), (11, '{1.2.3.4:80}'), (12, '{NULL}'), (13, '{{1.2.3.4},{5.6.7.8}}'),
    (14, '{1.2.3.4/255.255.255.0}')) l (n, list) ORDER BY n;
SELECT count(*) AS bad_lists_kept FROM apikey.keys WHERE account = 'verify-ip' AND name = 'bad list';
