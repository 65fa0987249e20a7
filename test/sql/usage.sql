-- Usage tables: what the worker's functions write, partitions, and the views
\set VERBOSITY terse
SET client_min_messages = warning;
-- In a database of its own: partitions are made and dropped.
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_usage;
CREATE DATABASE apikey_usage;
\c apikey_usage
SET client_min_messages = warning;
CREATE EXTENSION apikey CASCADE;
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
-- The key of a name
CREATE FUNCTION pg_temp.key(wanted text) RETURNS uuid LANGUAGE sql STABLE AS 'SELECT key_id FROM apikey.keys WHERE name = wanted';
-- One row for apply_usage, closed at once; addresses are the integers from a to b
CREATE FUNCTION pg_temp.use(node text, name text, hour timestamptz, requests bigint DEFAULT 1, refused bigint DEFAULT 0,
    errors_4xx bigint DEFAULT 0, errors_5xx bigint DEFAULT 0, a integer DEFAULT 1, b integer DEFAULT 0) RETURNS void LANGUAGE sql AS $$
    SELECT apikey.apply_usage(node, ARRAY[pg_temp.key(name)], ARRAY[date_trunc('hour', hour, 'UTC')], ARRAY[requests], ARRAY[refused],
                              ARRAY[errors_4xx], ARRAY[errors_5xx],
                              ARRAY[coalesce((SELECT string_agg(substr(sha256(i::text::bytea), 1, 4), '') FROM generate_series(a, b) i), '')],
                              ARRAY[CASE WHEN requests > refused THEN hour END]);
    SELECT apikey.settle_usage('infinity');
$$;
CREATE VIEW partitions AS
    SELECT c.relname, EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') AS member,
           (SELECT count(*) FROM (SELECT tableoid FROM apikey.usage_hour UNION ALL SELECT tableoid FROM apikey.usage_day) r
            WHERE r.tableoid = c.oid) AS rows
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent IN ('apikey.usage_hour'::regclass, 'apikey.usage_day'::regclass);

\echo == Nothing is made ahead as long as there are no keys: a dump may be about to bring its partitions
SELECT apikey.maintain_usage('2031-03-30 12:00+00', '90 days', '800 days');
SELECT relname, rows, member FROM partitions ORDER BY relname;
SELECT count(*) AS issued FROM (VALUES ('one', 'acme'), ('two', 'acme'), ('other', 'umbrella'), ('idle', 'umbrella')) n (name, account),
    LATERAL apikey.issue(n.account, n.name);

\echo == A batch is written once
SELECT apikey.apply_batch('n1', 7) AS first, apikey.apply_batch('n1', 7) AS again, apikey.apply_batch('n1', 6) AS earlier,
       apikey.apply_batch('n1', 8) AS next, apikey.apply_batch('n2', 7) AS of_another_node;
SELECT node, batch, flushed_at <= clock_timestamp() AS flushed FROM apikey.flush_state ORDER BY node;

\echo == Without partitions all goes to the default ones, and is moved when partitions are made
SELECT pg_temp.use('n1', 'one', '2031-03-30 23:59:59+00', 10, 2, 3, 1, 1, 100);
SELECT pg_temp.use('n1', 'one', '2031-03-31 00:00:00+00', 5, 0, 0, 0, 1, 50);
SELECT pg_temp.use('n1', 'one', '2031-05-01 00:00:00+00'), pg_temp.use('n1', 'one', '1999-01-01 00:00:00+00'),
       pg_temp.use('n1', 'one', '9999-12-31 23:00:00+00');
SELECT relname, rows FROM partitions WHERE rows > 0 ORDER BY relname;
SELECT apikey.maintain_usage('2031-03-30 12:00+00', '0', '0');
SELECT relname, rows, member FROM partitions ORDER BY relname;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SELECT relname, pg_get_expr(relpartbound, oid) AS bounds, obj_description(oid, 'pg_class') AS comment, reloptions,
       (SELECT count(*) FROM aclexplode(relacl) a WHERE a.grantee <> c.relowner) AS granted
FROM pg_class c WHERE relname IN ('usage_hour_p20310330', 'usage_day_p203105') ORDER BY relname;
RESET TimeZone;
RESET DateStyle;
-- Those of the last month that came before their partition get one, too.
BEGIN;
SELECT pg_temp.use('n1', 'one', '2031-02-27 00:00:00+00'), pg_temp.use('n1', 'one', '2031-02-26 23:00:00+00');
SELECT apikey.maintain_usage('2031-03-30 12:00+00', '0', '0');
SELECT relname, rows FROM partitions WHERE rows > 0 ORDER BY relname;
ROLLBACK;
CREATE TEMP TABLE before AS SELECT oid, relname FROM pg_class;
SELECT apikey.maintain_usage('2031-03-30 12:00+00', '0', '0');
SELECT count(*) AS changed FROM pg_class c FULL JOIN before b USING (oid)
WHERE (c.oid IS NULL OR b.oid IS NULL) AND coalesce(c.relname, b.relname) <> 'before' AND coalesce(c.relname, b.relname) !~ 'pg_toast';

\echo == Sums, over batches and over nodes
SELECT pg_temp.use('n1', 'one', '2031-03-30 23:10:00+00', 1, 1, 1, 0, 51, 150), pg_temp.use('n2', 'one', '2031-03-30 23:20:00+00', 100, 0, 0, 7, 101, 200),
       pg_temp.use('n2', 'two', '2031-03-30 01:00:00+00', 3);
SELECT k.name, u.node, u.hour AT TIME ZONE 'UTC' AS hour, u.account, u.requests, u.refused, u.errors_4xx, u.errors_5xx, u.addresses IS NULL AS no_address
FROM apikey.usage_hour u JOIN apikey.key k USING (key_id) ORDER BY name, hour, node;
SELECT k.name, u.hour AT TIME ZONE 'UTC' AS hour, requests, refused, errors, errors_4xx, errors_5xx, unique_ips BETWEEN 190 AND 210 AS about_200
FROM apikey.usage_hourly u JOIN apikey.key k USING (key_id) WHERE hour < '2031-04-01' AND hour > '2031-03-01' ORDER BY name, hour;
SELECT k.name, u.day, requests, refused, errors, errors_4xx, errors_5xx, unique_ips, u.account
FROM apikey.usage_daily u JOIN apikey.key k USING (key_id) WHERE day < '2031-04-01' AND day > '2031-03-01' AND unique_ips < 60 ORDER BY name, day;
SELECT k.name, k.last_used_at AT TIME ZONE 'UTC' AS last_used_at FROM apikey.keys k ORDER BY name;
-- An earlier use does not put the last one back, a refused one is none, keys that are gone are skipped.
SELECT pg_temp.use('n1', 'two', '2031-03-30 00:00:00+00'), pg_temp.use('n2', 'two', '2031-03-30 00:00:00+00'), pg_temp.use('n1', 'idle', '2031-03-30 00:00:00+00', 1, 1, 1);
SELECT k.name, k.last_used_at AT TIME ZONE 'UTC' AS last_used_at FROM apikey.keys k WHERE name IN ('two', 'idle') ORDER BY name;
SELECT apikey.apply_usage('n1', ARRAY['00000000-0000-7000-8000-000000000000'::uuid, pg_temp.key('other')], '{2031-03-30 00:00+00,2031-03-30 00:00+00}',
    '{1,9007199254740993}', '{1,0}', '{0,0}', '{0,0}', '{"",""}', '{2031-03-30 00:00+00,2031-03-30 00:00+00}');
SELECT apikey.settle_usage('infinity');
SELECT count(*) AS rows, sum(requests) AS requests FROM apikey.usage_day WHERE key_id NOT IN (SELECT key_id FROM apikey.key WHERE name <> 'other');
SELECT apikey.apply_usage('n1', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'), apikey.apply_errors('n1', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
-- A sketch stays as it is when no address comes.
CREATE TEMP TABLE was AS SELECT addresses::text AS was FROM apikey.usage_hour WHERE node = 'n2' AND requests = 100;
SELECT pg_temp.use('n2', 'one', '2031-03-30 23:00:00+00');
SELECT requests, addresses::text = was AS same FROM apikey.usage_hour, was WHERE node = 'n2' AND requests >= 100;

\echo == The hour that is open: one row a key and node, as long as the hour lasts
BEGIN;
DELETE FROM apikey.key_use;
DELETE FROM apikey.usage_hour;
DELETE FROM apikey.usage_day;
CREATE FUNCTION pg_temp.add(node text, name text, hours timestamptz[], requests bigint[], refused bigint DEFAULT 0, addresses bytea DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT apikey.apply_usage(node, array_agg(pg_temp.key(name)), array_agg(h), array_agg(r), array_agg(refused), array_agg(0::bigint), array_agg(0::bigint),
                              array_agg(addresses), array_agg(CASE WHEN r > refused THEN h + interval '59 minutes' END))
    FROM unnest(hours, requests) n (h, r)
$$;
CREATE VIEW pg_temp.state AS
    SELECT node, 'open' AS what, hour AT TIME ZONE 'UTC' AS hour, requests, refused, addresses IS NULL AS none, account FROM apikey.key_use
    UNION ALL SELECT node, 'hour', hour AT TIME ZONE 'UTC', requests, refused, addresses IS NULL, account FROM apikey.usage_hour
    UNION ALL SELECT node, 'day', day, requests, refused, addresses IS NULL, account FROM apikey.usage_day;
SELECT pg_temp.add('n1', 'one', '{2031-03-30 10:00+00}', '{1}', addresses => '\x01020304'), pg_temp.add('n1', 'one', '{2031-03-30 10:00+00}', '{2}', 1, '\xf1020304');
SELECT * FROM pg_temp.state ORDER BY 1, 2, 3;
SELECT hour AT TIME ZONE 'UTC' AS hour, requests, refused, unique_ips FROM apikey.usage_hourly;
SELECT day, requests, refused, unique_ips, account FROM apikey.usage_daily;
-- a later hour closes it, what comes late goes to its own
SELECT pg_temp.add('n1', 'one', '{2031-03-30 11:00+00}', '{4}', addresses => '\x01020304');
SELECT pg_temp.add('n1', 'one', '{2031-03-30 10:00+00}', '{8}', addresses => '\x81020304');
SELECT pg_temp.add('n1', 'one', '{2031-03-29 23:00+00,2031-03-30 11:00+00,2031-03-30 12:00+00,2031-03-31 00:00+00}', '{16,32,64,128}');
SELECT * FROM pg_temp.state ORDER BY 1, 2, 3;
SELECT hour AT TIME ZONE 'UTC' AS hour, requests, refused, unique_ips FROM apikey.usage_hourly ORDER BY 1;
SELECT day, requests, refused, unique_ips, account FROM apikey.usage_daily ORDER BY 1;
SELECT last_used_at AT TIME ZONE 'UTC' AS last_used_at FROM apikey.keys WHERE name = 'one';
-- a key of which nothing passes has never been used; an earlier use does not put the last one back
SELECT pg_temp.add('n1', 'idle', '{2031-03-30 10:00+00}', '{1}', 1), pg_temp.add('n1', 'one', '{2031-03-30 10:00+00}', '{256}');
SELECT k.name, k.last_used_at AT TIME ZONE 'UTC' AS last_used_at FROM apikey.keys k WHERE name IN ('one', 'idle') ORDER BY name;
-- other nodes have rows of their own, and what is there twice is one hour
SELECT pg_temp.add('n2', 'one', '{2031-03-30 11:00+00}', '{1000}', addresses => '\xc1020304'), pg_temp.add('n1', 'one', '{2031-03-31 00:00+00}', '{1}');
SELECT hour AT TIME ZONE 'UTC' AS hour, requests, unique_ips FROM apikey.usage_hourly WHERE key_id = pg_temp.key('one') ORDER BY 1;
SELECT day, requests, unique_ips FROM apikey.usage_daily WHERE key_id = pg_temp.key('one') ORDER BY 1;
-- those before a time are settled, sums stay; what is settled can be opened again
CREATE TEMP TABLE sums ON COMMIT DROP AS SELECT * FROM apikey.usage_daily;
SELECT apikey.settle_usage('2031-03-31 00:00+00') AS settled, apikey.settle_usage('2031-03-31 00:00+00') AS again, apikey.settle_usage(NULL);
SELECT * FROM pg_temp.state ORDER BY 1, 2, 3;
SELECT count(*) AS differ FROM (SELECT key_id, day, requests, refused, unique_ips FROM apikey.usage_daily EXCEPT SELECT key_id, day, requests, refused, unique_ips FROM sums) d;
SELECT pg_temp.add('n2', 'one', '{2031-03-30 11:00+00}', '{2000}');
SELECT hour AT TIME ZONE 'UTC' AS hour, requests, unique_ips FROM apikey.usage_hourly WHERE key_id = pg_temp.key('one') AND hour = '2031-03-30 11:00+00';
SELECT apikey.settle_usage('infinity');
SELECT requests FROM apikey.usage_hour WHERE node = 'n2';
-- retention settles those that nothing closes, then they go with the others: by the whole day of UTC, by what ends first
SELECT hourly, daily, apikey.usage_kept_from('2031-06-01 23:59+00', hourly, daily) AT TIME ZONE 'UTC' AS kept_from
    FROM (VALUES (interval '24 hours', interval '0'), ('36 hours', '2 days'), ('0', '61 days'), ('0', '0'), (NULL, '-1 day'), ('178000000 years', '0')) r (hourly, daily);
SELECT pg_temp.add('n1', 'two', '{2031-03-31 00:00+00}', '{7}'), pg_temp.add('n1', 'other', '{2031-05-31 00:00+00}', '{9}');
SELECT apikey.settle_usage(apikey.usage_kept_from('2031-06-01 00:00+00', '24 hours', '0')) AS settled, apikey.maintain_usage('2031-06-01 00:00+00', '24 hours', '0');
SELECT name, u.hour IS NULL AS settled, u.requests, d.requests AS of_day, h.requests AS of_hour FROM apikey.key_use u JOIN apikey.key USING (key_id)
    LEFT JOIN apikey.usage_daily d USING (key_id) LEFT JOIN apikey.usage_hourly h USING (key_id) WHERE name IN ('two', 'other') ORDER BY name;
SELECT apikey.maintain_usage('2031-06-01 00:00+00', '0', '62 days'), apikey.maintain_usage('2031-06-01 00:00+00', '0', '61 days');
SELECT name, d.requests AS of_day FROM apikey.usage_daily d JOIN apikey.key USING (key_id) WHERE name IN ('two', 'other');
-- an open hour has an account; who repairs by hand is told
SELECT pg_temp.fails('UPDATE apikey.key_use SET account = NULL') ~ '^23514' AS fails;
ROLLBACK;

\echo == Hours of one day, in any order, and the same hour twice, add up in one call
SELECT apikey.apply_usage('n1', array_agg(pg_temp.key('idle') ORDER BY i), array_agg('2031-03-30 00:00+00'::timestamptz + h * interval '1 hour' ORDER BY i), array_agg(i::bigint ORDER BY i),
    array_fill(0::bigint, '{4}'), array_fill(0::bigint, '{4}'), array_fill(0::bigint, '{4}'), ARRAY['\x01020304', NULL, '\x0102030401020304', '\xf1020304']::bytea[],
    array_agg(CASE WHEN i < 4 THEN '2031-03-30 00:00+00'::timestamptz + h * interval '1 hour' END ORDER BY i))
FROM (VALUES (1, 5), (2, 3), (3, 5), (4, 29)) n (i, h);
SELECT h.hour AT TIME ZONE 'UTC' AS hour, h.requests, h.unique_ips FROM apikey.usage_hourly h WHERE key_id = pg_temp.key('idle') ORDER BY 1;
SELECT d.day, d.requests, d.unique_ips FROM apikey.usage_daily d WHERE key_id = pg_temp.key('idle') ORDER BY 1;
SELECT k.last_used_at AT TIME ZONE 'UTC' AS last_used_at FROM apikey.keys k WHERE name = 'idle';

\echo == Sketches grow from lists to registers, and are what sketch_add_hashes() makes of the same addresses
CREATE FUNCTION pg_temp.grow(a integer, b integer, total integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.use('n1', 'idle', '2031-04-02 00:00+00', 1, 0, 0, 0, a, b);
    RETURN (SELECT u.addresses::text = apikey.sketch_add_hashes(NULL, (
        SELECT string_agg(substr(sha256(i::text::bytea), 1, 4), '') FROM generate_series(1, total) i))::text
        FROM apikey.usage_hour u WHERE u.hour = '2031-04-02 00:00+00');
END $$;
SELECT n.*, pg_temp.grow(a, b, total) AS same FROM (VALUES (1, 10, 10), (5, 20, 20), (1, 20, 20), (21, 250, 250), (240, 300, 300), (1, 300, 300), (301, 3000, 3000), (1, 3000, 3000)) n (a, b, total);
SELECT pg_column_size(addresses) BETWEEN 1000 AND 4200 AS registers FROM apikey.usage_hour u WHERE u.hour = '2031-04-02 00:00+00';

\echo == What does not fit together is refused
SELECT hours, requests, pg_temp.fails(format($$SELECT apikey.apply_usage('n1', %L, %L, %L, '{0}', '{0}', '{0}', '{""}', '{NULL}')$$, ARRAY[pg_temp.key('idle')], hours, requests))
FROM (VALUES ('{2031-03-30 00:00+00}', '{1,2}'), ('{2031-03-30 00:00+00}', '{NULL}'), ('{}', '{1}'), ('{2031-03-30 00:00+00}', '{1}')) n (hours, requests);
SELECT pg_temp.fails(format($$SELECT apikey.apply_usage('n1', %L, '{2031-03-30 00:00+00}', '{1}', '{0}', '{0}', '{0}', %L, '{NULL}')$$, ARRAY[pg_temp.key('idle')], ARRAY['\x0102030405'::bytea]));

\echo == Columns are found by name; a partition without its key is not written to, nor that of another owner
BEGIN;
ALTER TABLE apikey.usage_day_p203103 DROP CONSTRAINT usage_day_p203103_pkey;
SELECT pg_temp.fails($$SELECT pg_temp.use('n1', 'one', '2031-03-30 00:00+00')$$);
ROLLBACK;
BEGIN;
CREATE ROLE regress_apikey_other;
ALTER TABLE apikey.usage_hour_p20310330 OWNER TO regress_apikey_other;
SELECT replace(pg_temp.fails($$SELECT pg_temp.use('n1', 'one', '2031-03-30 00:00+00')$$), quote_ident(current_user), 'me') AS fails;
ROLLBACK;
BEGIN;
CREATE TABLE apikey.usage_day_p203901 (node text NOT NULL, addresses apikey.sketch, gone integer, errors_5xx bigint NOT NULL, errors_4xx bigint NOT NULL,
    refused bigint NOT NULL, requests bigint NOT NULL, account text NOT NULL, day date NOT NULL, key_id uuid NOT NULL, PRIMARY KEY (key_id, day, node));
ALTER TABLE apikey.usage_day_p203901 DROP COLUMN gone;
ALTER TABLE apikey.usage_day ATTACH PARTITION apikey.usage_day_p203901 FOR VALUES FROM ('2039-01-01') TO ('2039-02-01');
ALTER TABLE apikey.usage_day ADD COLUMN note text NOT NULL DEFAULT 'of ' || current_user, ADD COLUMN empty text;
SELECT pg_temp.use('n1', 'other', '2039-01-31 00:00+00', 5, 4, 3, 2, 1, 1), pg_temp.use('n1', 'other', '2039-01-31 23:00+00', 50, 40, 30, 20, 1, 1);
SELECT requests, refused, errors_4xx, errors_5xx, unique_ips, account FROM apikey.usage_daily u WHERE key_id = pg_temp.key('other') AND day = '2039-01-31' \gx
SELECT u.note = 'of ' || current_user AS has_default, u.empty, u.node FROM apikey.usage_day_p203901 u;
ROLLBACK;
DELETE FROM apikey.key_use WHERE key_id = pg_temp.key('idle');

\echo == Days are those of UTC, whatever the session
CREATE FUNCTION pg_temp.in_zone(zone text) RETURNS TABLE (zone_name text, hours text, days text, parts text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    PERFORM set_config('DateStyle', CASE WHEN zone ~ 'XYZ' THEN 'SQL, DMY' ELSE 'ISO' END, true);
    DELETE FROM apikey.usage_hour;
    DELETE FROM apikey.usage_day;
    PERFORM apikey.maintain_usage('2031-10-26 00:30+00', '0', '0');
    PERFORM apikey.maintain_usage('2031-10-31 23:59:59+00', '0', '0');
    PERFORM pg_temp.use('n1', 'one', h) FROM generate_series('2031-10-25 22:00+00', '2031-10-27 01:00+00', interval '1 hour') h;
    PERFORM pg_temp.use('n1', 'one', '2031-10-31 23:59:59+00'), pg_temp.use('n1', 'one', '2031-11-01 00:00:00+00');
    RETURN QUERY SELECT zone, (SELECT string_agg(to_char(u.hour AT TIME ZONE 'UTC', 'DD-HH24'), ' ' ORDER BY u.hour) FROM apikey.usage_hourly u WHERE u.hour > '2031-10-26 23:30+00'),
        (SELECT string_agg(to_char(u.day, 'MM-DD') || ':' || u.requests, ' ' ORDER BY u.day) FROM apikey.usage_daily u),
        (SELECT string_agg(p.relname || ':' || p.rows, ' ' ORDER BY p.relname COLLATE "C") FROM partitions p WHERE p.rows > 0);
END $$;
SELECT i.* FROM unnest('{UTC,America/New_York,Europe/Berlin,Pacific/Kiritimati,XYZ+99:30}'::text[]) WITH ORDINALITY z (zone, n), pg_temp.in_zone(z.zone) i ORDER BY n \gx
RESET TimeZone;
RESET DateStyle;

\echo == Retention: partitions go when the whole of them is too old, and rows of the default ones
DELETE FROM apikey.usage_hour;
DELETE FROM apikey.usage_day;
SELECT apikey.maintain_usage('2031-10-26 00:30+00', '24 hours', '30 days');
SELECT string_agg(relname, ' ' ORDER BY relname) FROM partitions WHERE relname ~ '_p';
SELECT pg_temp.use('n1', 'one', h) FROM unnest('{2031-10-25 23:00+00,2031-10-26 00:00+00,2031-07-01 00:00+00,2031-12-01 00:00+00}'::timestamptz[]) h;
SELECT apikey.maintain_usage('2031-10-27 23:30+00', '24 hours', '30 days');
SELECT string_agg(relname || ':' || rows, ' ' ORDER BY relname) FROM partitions WHERE relname < 'usage_hour_p20311028' AND relname >= 'usage_hour';
SELECT apikey.maintain_usage('2031-11-30 00:00+00', '36 hours', '30 days');
SELECT string_agg(relname || ':' || rows, ' ' ORDER BY relname) FROM partitions;
SELECT apikey.maintain_usage('2031-11-30 00:00+00', '2147483647 hours', '178000000 years');
SELECT apikey.maintain_usage('2031-11-30 00:00+00', NULL, '-1 day');
SELECT count(*) AS partitions FROM partitions;
SELECT pg_temp.fails('SELECT apikey.maintain_usage(NULL, ''1 day'', ''1 day'')'), pg_temp.fails('SELECT apikey.maintain_usage(''infinity'', ''1 day'', ''1 day'')');

\echo == Errors: the newest 50 of a key, exactly
SELECT apikey.apply_errors('n1', array_agg(pg_temp.key('one')), array_agg('2031-01-01 00:00+00'::timestamptz + i * interval '1 second' ORDER BY i), array_agg(404),
    array_agg('c' || i ORDER BY i), array_agg('GET'::text), array_agg('/p/' || i ORDER BY i), array_agg(NULL::text)) FROM generate_series(1, 120) i;
SELECT count(*), min(code), max(code), min(occurred_at AT TIME ZONE 'UTC') AS oldest FROM apikey.recent_errors;
-- Of the same microsecond those first in the batch, which hands over the newest first, are the newest.
BEGIN;
SELECT apikey.apply_errors('n1', array_agg(pg_temp.key('two')), array_agg('2031-01-01 00:00+00'::timestamptz), array_agg(404), array_agg('t' || i ORDER BY i DESC), array_agg('GET'::text), array_agg(NULL::text), array_agg(NULL::text))
FROM generate_series(1, 60) i;
SELECT apikey.apply_errors('n1', array_agg(pg_temp.key('two')), array_agg('2031-01-01 00:00+00'::timestamptz), array_agg(404), array_agg('t' || i ORDER BY i DESC), array_agg('GET'::text), array_agg(NULL::text), array_agg(NULL::text))
FROM generate_series(61, 70) i;
SELECT count(*), min(substr(code, 2)::integer), max(substr(code, 2)::integer) FROM apikey.recent_errors WHERE key_id = pg_temp.key('two');
ROLLBACK;
-- Older ones that come late stay only if they are among the newest.
SELECT apikey.apply_errors('n2', ARRAY[pg_temp.key('one'), pg_temp.key('one'), pg_temp.key('two'), '00000000-0000-7000-8000-000000000000'],
    '{2031-01-01 00:00:01+00,2031-01-01 00:01:30.5+00,2031-01-01 00:00+00,2031-01-01 00:00+00}', '{500,501,502,503}', '{old,late,of two,of none}',
    '{PUT,PUT,PUT,PUT}', '{NULL,NULL,/x,NULL}', '{r1,r2,r3,r4}');
SELECT k.name, count(*), min(occurred_at AT TIME ZONE 'UTC') AS oldest FROM apikey.recent_errors e JOIN apikey.key k USING (key_id) GROUP BY 1 ORDER BY 1;
SELECT status, code, method, path, request_id FROM apikey.recent_errors WHERE status >= 500 ORDER BY status;

\echo == key_usage: 24 hours, 7 and 30 days, the current ones included
BEGIN;
SELECT apikey.maintain_usage(now(), '0', '0');
SELECT pg_temp.use('n' || n, 'two', date_trunc('hour', now(), 'UTC') - ago * interval '1 hour', (10 ^ n)::bigint, 0, 1, 1)
    FROM (VALUES (0, 0), (1, 23), (2, 24), (3, -1)) v (n, ago);
SELECT requests_24h, errors_24h FROM apikey.key_usage WHERE key_id = pg_temp.key('two');
DELETE FROM apikey.usage_day WHERE key_id = pg_temp.key('two');
SELECT pg_temp.use('n' || n, 'two', (date_trunc('day', now(), 'UTC') AT TIME ZONE 'UTC' - ago * interval '1 day') AT TIME ZONE 'UTC', (10 ^ n)::bigint, 0, 0, 1)
    FROM (VALUES (0, 0), (1, 6), (2, 7), (3, 29), (4, 30), (5, -1)) v (n, ago);
SELECT requests_7d, requests_30d, errors_7d, errors_30d, last_used_at = (SELECT last_used_at FROM apikey.keys WHERE name = 'two') AS last_used_at
FROM apikey.key_usage WHERE key_id = pg_temp.key('two');
SELECT k.name, u.requests_30d, u.last_used_at IS NULL AS never FROM apikey.key_usage u JOIN apikey.key k USING (key_id) WHERE name = 'idle';

\echo == account_usage: what passed today, of what may
INSERT INTO apikey.account_policy (account, max_keys, max_requests_per_day, allowed_scopes) VALUES ('quiet', 3, 1000, 'calls:* a:read');
SELECT pg_temp.use('n7', 'other', now(), 50, 8, 9);
SELECT * FROM apikey.account_usage ORDER BY account;
INSERT INTO apikey.scope (scope, enabled) VALUES ('calls:read', true), ('calls:write', false), ('a:*', false), ('a:read', true), ('b', true);
SELECT account, available_scopes FROM apikey.account_usage WHERE account <> 'acme' ORDER BY account;
SELECT count(*) AS one_row FROM apikey.account_usage WHERE account = 'quiet';

\echo == A report: a row for each day, the longest bar for the busiest
SET LOCAL client_encoding = 'UTF8';
SELECT (now() AT TIME ZONE 'UTC')::date - day AS ago, requests, errors, unique_ips, length(bar) AS bar FROM apikey.usage_report('acme', days => 8);
SELECT count(*) AS days, count(DISTINCT day) AS distinct_days, sum(requests) AS requests, max(length(bar)) AS longest, min(day) = (now() AT TIME ZONE 'UTC')::date - 29 AS begins,
       max(day) = (now() AT TIME ZONE 'UTC')::date AS ends, bool_and(bar ~ '^[\u2588-\u258F]*$') AS blocks FROM apikey.usage_report(key_id => pg_temp.key('two'));
SELECT count(*) AS days, sum(requests) AS requests, string_agg(bar, '') AS bars FROM apikey.usage_report('nobody', NULL, 800);
SELECT count(*) AS days, sum(requests) AS requests FROM apikey.usage_report('umbrella', pg_temp.key('two'), 1);
SET LOCAL client_encoding = 'LATIN1';
SELECT (now() AT TIME ZONE 'UTC')::date - day AS ago, requests, bar FROM apikey.usage_report(days => 8) WHERE requests > 0;
RESET client_encoding;
COMMIT;
SELECT pg_temp.fails(format('SELECT apikey.usage_report(days => %L)', d)) FROM unnest('{0,-1,801,NULL}'::text[]) d;

\echo == Who may look
CREATE ROLE regress_usage;
SELECT apikey.grant_access('regress_usage', 'auditor');
SET ROLE regress_usage;
SELECT (SELECT count(*) FROM apikey.usage_hourly) > 0 AS hourly, (SELECT count(unique_ips) FROM apikey.usage_daily) > 0 AS daily, (SELECT count(*) FROM apikey.key_usage) AS keys,
       (SELECT count(available_scopes) FROM apikey.account_usage) AS accounts, (SELECT count(*) FROM apikey.recent_errors) AS errors,
       (SELECT count(*) FROM apikey.usage_report()) AS days;
SELECT DISTINCT pg_temp.fails(format('SELECT FROM %s', t)) LIKE '42501 permission denied%' AS no_table FROM unnest('{usage_hour,usage_day,key_use,recent_error,flush_state,usage_hour_default}'::text[]) n, LATERAL (SELECT 'apikey.' || n) f (t);
SELECT pg_temp.fails('SELECT apikey.apply_batch(''n1'', 100)'), pg_temp.fails('SELECT apikey.maintain_usage(now(), ''1 day'', ''1 day'')');
RESET ROLE;
SELECT apikey.revoke_access('regress_usage', 'auditor');
DROP ROLE regress_usage;

\echo == purge takes the usage of a key along, or not
SELECT count(*) FROM apikey.keys k, LATERAL apikey.revoke(k.key_id) r WHERE k.name IN ('one', 'two');
CREATE FUNCTION pg_temp.left_of(account text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', (SELECT count(*) > 0 FROM apikey.usage_hour u WHERE u.account = left_of.account), (SELECT count(*) > 0 FROM apikey.usage_day u WHERE u.account = left_of.account),
                     (SELECT count(*) > 0 FROM apikey.key_use), (SELECT count(*) > 0 FROM apikey.recent_error))
$$;
SELECT pg_temp.left_of('acme');
BEGIN;
SELECT apikey.purge('0', keep_usage => true), pg_temp.left_of('acme');
ROLLBACK;
SELECT apikey.purge('0', account => 'umbrella'), pg_temp.left_of('acme');
SELECT apikey.purge('0', account => 'acme'), pg_temp.left_of('acme'), pg_temp.left_of('umbrella');
SELECT count(*) AS errors FROM apikey.recent_errors;

\echo == It all goes away with the extension
DROP VIEW partitions;
DROP EXTENSION apikey;
SELECT count(*) AS left_behind FROM pg_class WHERE relname ~ '^usage_(hour|day)';
\c :regression
DROP DATABASE apikey_usage;
