-- Keys that a backend keeps once it has verified them: they are used, and they
-- never outlive a change, whoever makes it and however it ends.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;

CREATE TEMP TABLE mine AS
    SELECT n.name, i.key, i.key_id
    FROM (VALUES ('one'), ('two'), ('three')) n (name), apikey.issue('cache', n.name, '{calls:read}') i;
CREATE TEMP TABLE mark AS SELECT cache_hits, cache_misses FROM apikey.stats;
-- where keys were found since the last call
CREATE FUNCTION pg_temp.since() RETURNS text LANGUAGE sql AS $$
    UPDATE mark SET cache_hits = s.cache_hits, cache_misses = s.cache_misses FROM apikey.stats s, mark m
    RETURNING format('%s in memory, %s in the table', s.cache_hits - m.cache_hits, s.cache_misses - m.cache_misses)
$$;
CREATE FUNCTION pg_temp.verdict(wanted text, required text = 'calls:read', ip text = '192.0.2.1') RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', v.code, v.name, v.scopes::text, v.metadata::text, v.db_role)
    FROM mine m, apikey.verify(m.key, required, ip, account => 'cache', kinds => '{secret}') v WHERE m.name = wanted
$$;
CREATE FUNCTION pg_temp.id(wanted text) RETURNS uuid LANGUAGE sql AS 'SELECT key_id FROM mine WHERE name = wanted';

SELECT pg_temp.verdict('one'), pg_temp.since();
SELECT pg_temp.verdict('one'), pg_temp.since();
SELECT pg_temp.verdict('one'), pg_temp.verdict('two'), pg_temp.since();
SELECT count(v.ok) AS verified, pg_temp.since() FROM generate_series(1, 100) n, mine m, apikey.verify(m.key, cost => n * 0) v WHERE m.name = 'one';

-- A change of one key costs the others no more than a look at their row.
SELECT apikey.alter_key(pg_temp.id('two'), name => 'second');
SELECT pg_temp.verdict('one'), pg_temp.since();
SELECT pg_temp.verdict('two'), pg_temp.since();
SELECT pg_temp.verdict('one'), pg_temp.verdict('two'), pg_temp.since();

-- New keys announce nothing.
SELECT count(*) FROM apikey.issue('cache', 'another');
SELECT pg_temp.verdict('one'), pg_temp.since();

-- Direct changes of all that a decision reads; and back again
CREATE FUNCTION pg_temp.change(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text := pg_temp.verdict('one');
BEGIN
    BEGIN
        EXECUTE format('UPDATE apikey.key SET %s WHERE key_id = %L', what, pg_temp.id('one'));
        result := result || ' -> ' || pg_temp.verdict('one');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        RETURN result || ' -> ' || pg_temp.verdict('one');
    END;
END
$$;
SELECT what, pg_temp.change(what) FROM (VALUES
    ('name = ''eins'''), ('name = name'), ('scopes = ''calls:* billing:read'''), ('scopes = ''billing:read'''), ('allowed_ips = ''{198.51.100.0/24}'''),
    ('allowed_ips = ''{}'''), ('allowed_ips = ''{NULL,192.0.2.0/24}'''), ('account = ''other'''), ('kind = ''widget'''), ('kind = ''none'''),
    ('db_role = ''somebody'''), ('metadata = ''{"plan": "pro"}'''), ('revoked_at = now()'), ('disabled_at = now()'), ('expires_at = now()'),
    ('expires_at = now() + interval ''1 day'''), ('digest = ''\x00'''), ('lookup = 0'), ('algorithm = 99')) c (what);
SELECT pg_temp.since() ~ '^[1-9][0-9]* in memory' AS some_were_in_memory;
BEGIN;
UPDATE apikey.key SET key_id = '01234567-0123-7123-8123-0123456789ab' WHERE key_id = pg_temp.id('one');
SELECT v.key_id FROM mine m, apikey.verify(m.key) v WHERE m.name = 'one';
ROLLBACK;
SELECT v.key_id = m.key_id AS same_id FROM mine m, apikey.verify(m.key) v WHERE m.name = 'one';

-- ... where triggers do not fire
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE apikey.key SET disabled_at = now() WHERE key_id = pg_temp.id('one');
SELECT pg_temp.verdict('one');
ROLLBACK;
SELECT pg_temp.verdict('one');

-- Removed, and put back; what is unknown is asked for each time.
CREATE TEMP TABLE kept AS SELECT * FROM apikey.key WHERE key_id = pg_temp.id('one');
DELETE FROM apikey.key WHERE key_id = pg_temp.id('one');
SELECT pg_temp.verdict('one');
INSERT INTO apikey.key SELECT * FROM kept;
SELECT pg_temp.verdict('one');
BEGIN;
TRUNCATE apikey.key;
SELECT pg_temp.verdict('one'), pg_temp.verdict('two');
ROLLBACK;
SELECT pg_temp.verdict('one'), pg_temp.verdict('two');

-- What this transaction has written may yet be undone, and is not kept.
BEGIN;
INSERT INTO mine SELECT 'new', key, key_id FROM apikey.issue('cache', 'new', '{calls:read}');
SELECT pg_temp.verdict('new'), pg_temp.verdict('new');
SELECT key AS undone FROM mine WHERE name = 'new' \gset
ROLLBACK;
SELECT code FROM apikey.verify(:'undone');
BEGIN;
SAVEPOINT s;
INSERT INTO mine SELECT 'new', key, key_id FROM apikey.issue('cache', 'new', '{calls:read}');
SELECT pg_temp.verdict('new'), pg_temp.verdict('new');
SELECT key AS undone FROM mine WHERE name = 'new' \gset
ROLLBACK TO s;
SELECT code FROM apikey.verify(:'undone');
COMMIT;
SELECT code FROM apikey.verify(:'undone');
BEGIN;
SELECT pg_temp.verdict('two');
SELECT apikey.disable(pg_temp.id('two'));
SELECT pg_temp.verdict('two');
SAVEPOINT s;
SELECT apikey.enable(pg_temp.id('two'));
SELECT pg_temp.verdict('two');
ROLLBACK TO s;
SELECT pg_temp.verdict('two');
ROLLBACK;
SELECT pg_temp.verdict('two');

-- The clock is looked at each time.
UPDATE mine SET key = i.key, key_id = i.key_id FROM apikey.issue('cache', 'short', '{calls:read}', expires_in => '2 s') i WHERE mine.name = 'three';
SELECT pg_temp.since() IS NOT NULL AS marked;
DO $$
BEGIN
    WHILE (SELECT v.ok FROM mine m, apikey.verify(m.key) v WHERE m.name = 'three') LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
SELECT pg_temp.since() ~ ' 1 in the table$' AS expired_in_memory, pg_temp.verdict('three') ~ '^key_expired' AS expired;

-- Rows that move
VACUUM FULL apikey.key;
SELECT pg_temp.verdict('one'), pg_temp.since() IS NOT NULL AS marked;
SELECT pg_temp.verdict('one'), pg_temp.since();

-- A long list
SELECT apikey.alter_key(pg_temp.id('one'),
    allowed_ips => (SELECT array_agg(format('10.%s.%s.0/25', n / 250, n % 250)) FROM generate_series(0, 998) n) || '{2001:db8::/32}');
SELECT n, ip, split_part(pg_temp.verdict('one', ip => ip), ' ', 1) AS code
FROM (VALUES (1, '10.0.0.1'), (2, '10.0.0.200'), (3, '10.2.100.127'), (4, '10.2.100.128'), (5, '10.3.248.1'), (6, '10.3.249.1'), (7, '2001:db8::1'),
             (8, '2001:db9::1'), (9, '::ffff:10.1.1.1'), (10, 'nonsense'), (11, NULL)) c (n, ip) ORDER BY n;
SELECT pg_temp.since();
SELECT apikey.alter_key(pg_temp.id('one'), allowed_ips => '{}', metadata => jsonb_build_object('long', repeat('x', 8000)));
SELECT length(pg_temp.verdict('one')), length(pg_temp.verdict('one')), pg_temp.since();

-- Without its trigger firing always the table is read each time; one warning.
ALTER TABLE apikey.key DISABLE TRIGGER invalidate;
SELECT pg_temp.verdict('two'), pg_temp.since();
UPDATE apikey.key SET name = 'zwei' WHERE key_id = pg_temp.id('two');
SELECT pg_temp.verdict('two'), pg_temp.since();
-- this leaves it firing in most sessions only
ALTER TABLE apikey.key DISABLE TRIGGER ALL;
ALTER TABLE apikey.key ENABLE TRIGGER ALL;
SELECT pg_temp.verdict('two'), pg_temp.verdict('two'), pg_temp.since();
ALTER TABLE apikey.key ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.key ENABLE ALWAYS TRIGGER invalidate_truncate;
SELECT pg_temp.verdict('two'), pg_temp.verdict('two'), pg_temp.since();

-- A column that somebody has added is no reason to fail, and has its default.
ALTER TABLE apikey.key ADD COLUMN note text NOT NULL DEFAULT 'of ' || current_user, ADD COLUMN empty text;
SELECT pg_temp.verdict('two');
SELECT apikey.alter_key(pg_temp.id('two'), name => 'again');
SELECT name FROM apikey.rotate(pg_temp.id('two'));
SELECT count(apikey.issue('cache', 'noted'));
SELECT k.note = 'of ' || tableowner AS of_owner, k.empty
FROM apikey.key k, pg_tables WHERE name = 'noted' AND schemaname = 'apikey' AND tablename = 'key';
ALTER TABLE apikey.key DROP COLUMN note, DROP COLUMN empty;
SELECT pg_temp.verdict('one') ~ '^valid one ' AS valid;
SELECT v.code FROM apikey.issue('cache', 'last') i, apikey.verify(i.key) v;

-- A column that a later version has added to the verdict, in sessions that have rows without it
SELECT pg_temp.verdict('one') ~ '^valid one ' AS valid, pg_temp.verdict('one') ~ '^valid one ' AS remembered;
BEGIN;
ALTER TYPE apikey.verdict ADD ATTRIBUTE later text;
SELECT v.code, v.name, v.session_id, v.later FROM mine m, generate_series(1, 3), apikey.verify(m.key) v WHERE m.name = 'one';
SELECT v.code, v.name, v.later FROM apikey.verify('none') v;
ROLLBACK;
SELECT v.code, v.name FROM mine m, generate_series(1, 3), apikey.verify(m.key) v WHERE m.name = 'one';

DELETE FROM apikey.key WHERE account = 'cache';
