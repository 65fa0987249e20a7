-- Keys of other systems, taken over by salted hashes: Argon2id, bcrypt and its like
\set VERBOSITY terse
SET client_min_messages = warning;
-- In a database of its own: once keys were imported, any text may be one.
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_import_schemes;
CREATE DATABASE apikey_import_schemes;
\c apikey_import_schemes
SET client_min_messages = warning;
-- pgcrypto is found wherever it is, and no namesake is taken for it.
CREATE SCHEMA crypto;
CREATE EXTENSION pgcrypto SCHEMA crypto;
CREATE EXTENSION apikey;
CREATE FUNCTION public.crypt(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the wrong crypt() was called'; END $$;
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

\echo == Each scheme; what it was made with says the first word of the key
CREATE TEMP TABLE old_keys (n integer, algorithm text, key text, hash text, separator text, lookup text, part text DEFAULT 'whole');
INSERT INTO old_keys (n, algorithm, key, hash, separator, lookup) VALUES
    (1, 'argon2id', 'pre1.argon_secret', '$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$Iax72XieSjLElBcwVGU3OM91BDafw5nqAYcIcNhZQP0', '.', 'pre1'),
    (2, 'argon2id', 'pre3.argon_lanes', '$argon2id$v=19$m=1024,t=2,p=4$c2FsdHNhbHRzYWx0c2FsdA$PcRJN1uWvC9CLmgl6jvKeIZNulCeXkdilCnAiaJEqVw', NULL, 'pre3.'),
    (3, 'bcrypt', 'pre2.bcrypt_secret', '$2b$04$HJxB7gZRiu9cdxxW9XhFeeXlEiqzXd/eAL.tPNazV9VvtgqC2Y.0q', '.', 'pre2');
INSERT INTO old_keys SELECT 4, 'bcrypt', 'pre4.pgcrypto', replace(crypto.crypt('pre4.pgcrypto', crypto.gen_salt('bf', 4)), '$2a$', '$2y$'), '.', 'pre4';
INSERT INTO old_keys SELECT 5, 'md5-crypt', 'pre5.md5', crypto.crypt('pre5.md5', crypto.gen_salt('md5')), '.', 'pre5';
INSERT INTO old_keys SELECT 6, 'xdes', 'pre6.xdes', crypto.crypt('pre6.xdes', crypto.gen_salt('xdes', 101)), '.', 'pre6';
INSERT INTO old_keys SELECT 7, 'crypt', 'pre7.any', crypto.crypt('pre7.any', crypto.gen_salt('bf', 4)), '.', 'pre7';
INSERT INTO old_keys VALUES (8, 'bcrypt', 'pre8|bcrypt_secret_rest', '$2b$04$CChUN3hkVNCJ9KgKOVb8X.1wF2MVPDt/WlNuD05yIDaq6cEgfUQOm', '|', 'pre8', 'after');
INSERT INTO old_keys SELECT 9, 'bcrypt', 'prefix__9_the_rest', crypto.crypt('9_the_rest', crypto.gen_salt('bf', 4)), NULL, 'prefix__', 'after';
SELECT n, apikey.import_check('schemes-1', 'old ' || n, algorithm, hash, lookup => lookup, separator => separator, hashed_part => part) AS refused FROM old_keys
WHERE apikey.import_check('schemes-1', 'old ' || n, algorithm, hash, lookup => lookup, separator => separator, hashed_part => part) IS NOT NULL;
CREATE TEMP TABLE new_keys AS
    SELECT o.*, apikey.import_key('schemes-1', 'old ' || n, algorithm, hash, lookup => lookup, separator => separator, hashed_part => part) AS key_id FROM old_keys o ORDER BY n;
SELECT count(hash) AS hashes FROM apikey.imported;
SELECT n, display FROM new_keys JOIN apikey.keys USING (key_id) ORDER BY n;
SELECT n, v.code, v.name, v.key_id = k.key_id AS same FROM new_keys k, LATERAL apikey.verify(k.key) v ORDER BY n;
-- without a turn lost: each wrong text from an address of its own
SELECT n, i, v.code FROM new_keys, LATERAL unnest(ARRAY[hash, lookup, lookup || coalesce(separator, ''), key || 'x', left(key, -1), upper(key), replace(key, 'pre', 'pra')]) WITH ORDINALITY wrong (text, i), LATERAL apikey.verify(wrong.text, NULL, '192.0.2.' || n * 10 + i) v
WHERE v.code <> 'key_invalid';

\echo == ... native after a use and a flush, without the hash
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT count(hash) AS hashes FROM apikey.imported;
SELECT algorithm, count(*) FROM apikey.key GROUP BY 1 ORDER BY 1;
SELECT n, v.code, v.key_id = k.key_id AS same FROM new_keys k, LATERAL apikey.verify(k.key) v ORDER BY n;
SELECT count(*) AS wrong FROM new_keys, LATERAL unnest(ARRAY[hash, lookup, lookup || coalesce(separator, ''), key || 'x', left(key, -1), upper(key), replace(key, 'pre', 'pra')]) wrong (text), LATERAL apikey.verify(wrong.text) v WHERE v.ok;
-- what was found by its lookup is so still; not without it
SELECT code FROM apikey.verify('bcrypt_secret_rest');
SELECT code FROM apikey.verify('other|bcrypt_secret_rest');
SELECT count(*) AS again FROM new_keys WHERE apikey.import_key('schemes-1', 'again', algorithm, hash, lookup => lookup, separator => separator, hashed_part => part) = key_id;
SELECT pg_temp.fails(format('SELECT apikey.import_key(''schemes-2'', ''n'', %L, %L, lookup => %L)', algorithm, hash, lookup)) AS other_account FROM new_keys WHERE n = 3;

\echo == Several keys of one lookup, up to four
SELECT apikey.import_key('schemes-3', 'user 42, key ' || n, 'bcrypt', crypto.crypt('42.secret' || n, crypto.gen_salt('bf', 4)), lookup => '42', separator => '.') IS NOT NULL AS imported FROM generate_series(1, 4) n;
SELECT pg_temp.fails($$SELECT apikey.import_key('schemes-3', 'one more', 'bcrypt', '$2b$04$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', lookup => '42', separator => '.')$$) AS five;
SELECT n, v.code, v.name FROM generate_series(1, 5) n, LATERAL apikey.verify('42.secret' || n) v ORDER BY n;
-- one is no wrong guess at another
SELECT n, v.code, v.name FROM generate_series(1, 20) n, LATERAL apikey.verify('42.secret' || 1 + n % 4) v WHERE NOT v.ok;
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT apikey.import_key('schemes-3', 'room again', 'bcrypt', crypto.crypt('42.secret5', crypto.gen_salt('bf', 4)), lookup => '42', separator => '.') IS NOT NULL AS imported;
SELECT n, v.code, v.name FROM generate_series(1, 6) n, LATERAL apikey.verify('42.secret' || n, NULL, '198.51.100.' || n) v ORDER BY n;

\echo == Who guesses has to pause, from that address; a text that was wrong is not tried again
SELECT apikey.import_key('schemes-4', 'guessed', 'bcrypt', crypto.crypt('guess.right', crypto.gen_salt('bf', 4)), lookup => 'guess', separator => '.') AS guessed_id \gset
SELECT n, v.code, v.status FROM generate_series(1, 8) n, LATERAL apikey.verify('guess.wrong' || n, NULL, '203.0.113.1') v ORDER BY n;
SELECT v.code FROM apikey.verify('guess.right', NULL, '203.0.113.1') v;
SELECT step, detail FROM apikey.explain('guess.right', NULL, '203.0.113.1') WHERE step = 'key known';
SELECT v.code FROM apikey.verify('guess.wrong5', NULL, '203.0.113.1') v;
SELECT v.code FROM apikey.verify('guess.right', NULL, '203.0.113.2') v;
SELECT n, v.code FROM generate_series(1, 10) n, LATERAL apikey.verify('guess.same', NULL, '203.0.113.3') v WHERE v.code <> 'key_invalid';
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT v.code FROM apikey.verify('guess.right', NULL, '203.0.113.1') v;

\echo == What is refused
CREATE TEMP TABLE faults (n integer, arguments text);
INSERT INTO faults VALUES
    (1, $$'a', 'n', 'bcrypt', '$2b$04$CChUN3hkVNCJ9KgKOVb8X.1wF2MVPDt/WlNuD05yIDaq6cEgfUQOm'$$), (2, $$'a', 'n', 'bcrypt', '$2b$15$CChUN3hkVNCJ9KgKOVb8X.1wF2MVPDt/WlNuD05yIDaq6cEgfUQOm', lookup => 'x'$$),
    (3, $$'a', 'n', 'bcrypt', 'nonsense', lookup => 'x'$$), (4, $$'a', 'n', 'crypt', 'abJnggxhB/yWI', lookup => 'x'$$), (5, $$'a', 'n', 'des', 'abJnggxhB/yWI', lookup => 'x'$$),
    (6, $$'a', 'n', 'argon2id', '$argon2i$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$Iax72XieSjLElBcwVGU3OM91BDafw5nqAYcIcNhZQP0', lookup => 'x'$$),
    (7, $$'a', 'n', 'argon2id', '$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$Iax72XieSjLElBcwVGU3OM91BDafw5nqAYcIcNhZQP0', lookup => 'x'$$),
    (8, $$'a', 'n', 'xdes', '_zzzzrasmBYk8r9AiWNc', lookup => 'x'$$), (9, $$'a', 'n', 'bcrypt', '$2b$04$CChUN3hkVNCJ9KgKOVb8X.1wF2MVPDt/WlNuD05yIDaq6cEgfUQOm', lookup => 'x', hash_secret => 's'$$),
    (10, $$'a', 'n', 'md5-crypt', '$2b$04$CChUN3hkVNCJ9KgKOVb8X.1wF2MVPDt/WlNuD05yIDaq6cEgfUQOm', lookup => 'x'$$);
SELECT n, pg_temp.fails(format('SELECT apikey.import_key(%s)', arguments)) AS error FROM faults ORDER BY n;
-- 18 has SHA-crypt, and those before have not
SELECT CASE WHEN current_setting('server_version_num')::integer >= 180000 THEN reason IS NULL ELSE reason ~ 'does not have this scheme' END AS as_this_server_has_it
FROM apikey.import_check('a', 'n', 'sha256-crypt', '$5$rounds=1000$salt$' || repeat('a', 43), lookup => 'x') reason;

\echo == Without a trace in errors
SELECT pg_temp.fails($$SELECT apikey.import_key('a', 'n', 'bcrypt', 's3cret_in_the_wrong_place', lookup => 'x')$$) ~ 's3cret' AS quoted;
\c :regression
DROP DATABASE apikey_import_schemes;
