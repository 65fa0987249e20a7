-- Keys of other systems, taken over by hashes without a salt
\set VERBOSITY terse
SET client_min_messages = warning;
-- In a database of its own: once keys were imported, any text may be one.
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_import;
CREATE DATABASE apikey_import;
\c apikey_import
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
    RETURN regexp_replace(concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, '')), '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^ ]*\d', '<time>', 'g');
END $$;
CREATE FUNCTION pg_temp.sha256_hex(value text) RETURNS text LANGUAGE sql AS $$ SELECT encode(sha256(convert_to(value, 'UTF8')), 'hex') $$;
CREATE FUNCTION pg_temp.base64url(value bytea) RETURNS text LANGUAGE sql AS $$ SELECT rtrim(translate(encode(value, 'base64'), E'+/\n', '-_'), '=') $$;

\echo == Until something is imported, a text without the format of a kind is malformed
SELECT step, passed, detail FROM apikey.explain('no_key_of_ours') WHERE step LIKE 'key%';

\echo == Each algorithm in each spelling
CREATE TEMP TABLE old_keys (n integer, algorithm text, key text, hash text, secret text);
INSERT INTO old_keys
    SELECT n, 'sha256', 'sha256_key_' || n, CASE n WHEN 1 THEN encode(h, 'hex') WHEN 2 THEN upper(encode(h, 'hex')) WHEN 3 THEN encode(h, 'base64')
               WHEN 4 THEN rtrim(encode(h, 'base64'), '=') WHEN 5 THEN pg_temp.base64url(h) ELSE pg_temp.base64url(h) || '=' END
    FROM generate_series(1, 6) n, LATERAL (SELECT sha256(convert_to('sha256_key_' || n, 'UTF8')) AS h) s
    UNION ALL
    SELECT 10 + n, 'sha512', 'sha512_key_' || n, CASE n WHEN 1 THEN encode(h, 'hex') WHEN 2 THEN 'sha512$$' || encode(h, 'hex') WHEN 3 THEN translate(encode(h, 'base64'), E'\n', '') ELSE pg_temp.base64url(h) END
    FROM generate_series(1, 4) n, LATERAL (SELECT sha512(convert_to('sha512_key_' || n, 'UTF8')) AS h) s
    UNION ALL
    SELECT 20 + n, 'hmac-sha256', 'hmac_key_' || n, encode(hmac('hmac_key_' || n, repeat('secret', n * 10), 'sha256'), 'hex')
    FROM generate_series(1, 2) n;
UPDATE old_keys SET secret = repeat('secret', (n - 20) * 10) WHERE algorithm = 'hmac-sha256';
INSERT INTO old_keys VALUES (31, 'blake2b', 'blake_key_0123456789', '070e2184f70129b44d99c7683ecc0ce027ac389ba684191b74932c3763323551'), (32, 'blake2b', 'blake_key_9876543210', 'd97edaf7a2e0f86bfe54ce8800caac261119f98240fc3e811ffc8e41900a1e1c7d70eb5e711aeff6270dbff7f5d48b99d06418d92a221ac2463fc8a432a4cf8b');
SELECT n, apikey.import_check('import-1', 'old ' || n, algorithm, hash, hash_secret => secret) AS refused FROM old_keys
WHERE apikey.import_check('import-1', 'old ' || n, algorithm, hash, hash_secret => secret) IS NOT NULL;
CREATE TEMP TABLE new_keys AS SELECT n, key, apikey.import_key('import-1', 'old ' || n, algorithm, hash, hash_secret => secret) AS key_id FROM old_keys ORDER BY n;
SELECT n, v.code, v.account, v.name, v.kind, v.scopes, v.key_id = k.key_id AS same FROM new_keys k, LATERAL apikey.verify(k.key) v ORDER BY n;
SELECT n, key, v.code FROM (SELECT n, unnest(ARRAY[hash, key || 'x', left(key, -1), upper(key), ' ' || key]) AS key FROM old_keys) k, LATERAL apikey.verify(k.key) v WHERE v.code <> 'key_invalid';
SELECT count(*) AS stored_hashes FROM old_keys o, apikey.key k WHERE k::text LIKE '%' || left(o.hash, 20) || '%';
SELECT scheme_id, algorithm, separator, lookup_length, hashed_part, secret_id FROM apikey.import_scheme ORDER BY 1;
SELECT count(*) AS stored_hashes FROM old_keys o, apikey.imported i WHERE i::text LIKE '%' || left(o.hash, 20) || '%';

\echo == ... native after a use and a flush, and it still verifies
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT count(*) AS keys, count(*) FILTER (WHERE algorithm = 1) AS native FROM apikey.key WHERE account = 'import-1';
SELECT count(*) AS valid FROM new_keys k, LATERAL apikey.verify(k.key) v WHERE v.ok AND v.key_id = k.key_id;
SELECT count(*) AS verified_by_hash FROM old_keys o, LATERAL apikey.verify(o.hash) v WHERE v.ok;
SELECT count(*) AS audit_rows FROM apikey.audit_log WHERE account = 'import-1' AND action = 'alter';

\echo == Again: the same ids, nothing changes
CREATE TEMP TABLE before AS SELECT (SELECT count(*) FROM apikey.key) AS keys, (SELECT count(*) FROM apikey.imported) AS imported, (SELECT count(*) FROM apikey.audit_log) AS audited, (SELECT count(*) FROM apikey.import_secret) AS secrets;
SELECT count(*) AS again FROM old_keys o JOIN new_keys k USING (n) WHERE apikey.import_key('import-1', 'another name', o.algorithm, o.hash, '{calls:read}', hash_secret => o.secret) = k.key_id;
SELECT (SELECT count(*) FROM apikey.key) - keys AS keys, (SELECT count(*) FROM apikey.imported) - imported AS imported, (SELECT count(*) FROM apikey.audit_log) - audited AS audited, (SELECT count(*) FROM apikey.import_secret) - secrets AS secrets FROM before;
SELECT name FROM apikey.keys WHERE account = 'import-1' AND name = 'another name';
SELECT apikey.import_check('import-1', 'again', algorithm, hash) AS again FROM old_keys WHERE n = 1;
SELECT pg_temp.fails(format('SELECT apikey.import_key(''import-2'', ''n'', %L, %L)', algorithm, hash)) AS other_account, apikey.import_check('import-2', 'n', algorithm, hash) AS check FROM old_keys WHERE n = 1 \gx
-- two keys of one secret, which must not be told apart by the secret's number
SELECT count(*) AS secrets FROM apikey.import_secret WHERE secret_id > 0;

\echo == Everything that a key may carry
SELECT apikey.import_key('import-3', 'Full', 'sha256', pg_temp.sha256_hex('full_key'), '{calls:read,contacts:*}', allowed_ips => '{192.0.2.0/24}', expires_at => '2999-01-01 00:00:00+00',
    metadata => '{"old_id": 7}', actor => 'mover', created_at => '2020-02-03 04:05:06+00', last_used_at => '2021-02-03 04:05:06+00', display => 'full_...') AS full_id \gset
SET timezone = 'UTC';
SELECT account, name, kind, display, scopes, status, allowed_ips, created_at, created_by, expires_at, last_used_at, metadata FROM apikey.keys WHERE key_id = :'full_id' \gx
SELECT action, account, actor, new - 'expires_at' AS new FROM apikey.audit_log WHERE key_id = :'full_id';
SELECT code FROM apikey.verify('full_key', 'calls:read', '192.0.2.9');
SELECT code FROM apikey.verify('full_key', 'calls:read', '198.51.100.9');
SELECT code FROM apikey.verify('full_key', 'calls:write', '192.0.2.9');
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT last_used_at > now() - interval '1 day' AS used_here, created_at FROM apikey.keys WHERE key_id = :'full_id';
SELECT key AS successor FROM apikey.rotate(:'full_id', '1 day') \gset
SELECT :'successor' ~ '^ak_' AS native_format, code FROM apikey.verify(:'successor', 'calls:read', '192.0.2.9');
SELECT code FROM apikey.verify('full_key', NULL, '192.0.2.9');
SELECT apikey.import_key('import-3', 'Off', 'sha256', pg_temp.sha256_hex('off_key'), disabled => true, actor => 'mover') AS off_id \gset
SELECT status, disabled_by, disabled_at IS NOT NULL AS disabled, display FROM apikey.keys WHERE key_id = :'off_id';
SELECT code FROM apikey.verify('off_key');
SELECT apikey.enable(:'off_id');
SELECT code FROM apikey.verify('off_key');
SELECT apikey.import_key('import-3', 'Credits', 'sha256', pg_temp.sha256_hex('credit_key'), credits => 2) AS credit_id \gset
SELECT n, v.code, v.credits_remaining FROM generate_series(1, 3) n, LATERAL apikey.verify('credit_key' || left('', n)) v ORDER BY n;
SELECT apikey.import_key('import-3', 'Past', 'sha256', pg_temp.sha256_hex('past_key'), expires_at => '2020-01-01 00:00:00+00') AS past_id \gset
SELECT status, expires_at FROM apikey.keys WHERE key_id = :'past_id';
SELECT code FROM apikey.verify('past_key');
SELECT apikey.import_key('import-3', 'Never', 'sha256', pg_temp.sha256_hex('never_key'), expires_at => 'infinity') AS never_id \gset
SELECT status, expires_at FROM apikey.keys WHERE key_id = :'never_id';
SELECT apikey.import_key('import-3', 'Site', 'sha256', pg_temp.sha256_hex('site_key'), '{chat}', 'widget', allowed_origins => '{mysite.com}') IS NOT NULL AS imported;
SELECT code FROM apikey.verify('site_key', 'chat', NULL, 'https://mysite.com');
SELECT code FROM apikey.verify('site_key', 'chat', NULL, 'https://evil.example');
SELECT count(*) AS found FROM apikey.find_keys('full_key sha256_key_1');

\echo == A separator: only what is behind it was hashed, or all
SELECT apikey.import_key('import-4', 'Sanctum', 'sha256', pg_temp.sha256_hex('s3cret_rest'), lookup => '17', separator => '|', hashed_part => 'after') AS sanctum_id \gset
SELECT display FROM apikey.keys WHERE key_id = :'sanctum_id';
CREATE TEMP TABLE presented (n integer, key text);
INSERT INTO presented VALUES (1, '17|s3cret_rest'), (2, 's3cret_rest'), (3, '18|s3cret_rest'), (4, '|s3cret_rest'), (5, '17|'), (6, '17|s3cret_rest|'), (7, '17|17|s3cret_rest'), (8, '17'), (9, '17||s3cret_rest');
SELECT n, key, v.code FROM presented, LATERAL apikey.verify(key) v ORDER BY n;
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT algorithm AS native FROM apikey.key WHERE key_id = :'sanctum_id';
SELECT n, key, v.code FROM presented, LATERAL apikey.verify(key) v ORDER BY n;
-- without a lookup, whatever stands before
SELECT apikey.import_key('import-4', 'Any', 'sha256', pg_temp.sha256_hex('any_rest'), separator => '|', hashed_part => 'after') IS NOT NULL AS imported;
SELECT key, v.code FROM unnest('{any_rest,1|any_rest,2|any_rest,any_rest|1}'::text[]) key, LATERAL apikey.verify(key) v;
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT key, v.code FROM unnest('{any_rest,1|any_rest,2|any_rest,any_rest|1}'::text[]) key, LATERAL apikey.verify(key) v;
-- all of it was hashed: the separator cuts nothing off
SELECT apikey.import_key('import-4', 'Whole', 'sha512', encode(sha512('pre.fix.whole_rest'), 'hex'), lookup => 'pre', separator => '.') IS NOT NULL AS imported;
SELECT key, v.code FROM unnest('{pre.fix.whole_rest,fix.whole_rest,whole_rest,pre}'::text[]) key, LATERAL apikey.verify(key) v;
-- no separator: cut behind the lookup
SELECT apikey.import_key('import-4', 'Cut', 'sha256', pg_temp.sha256_hex('cut_rest'), lookup => 'prefix/+', hashed_part => 'after') IS NOT NULL AS imported;
SELECT key, v.code FROM unnest('{prefix/+cut_rest,cut_rest,prefiy/+cut_rest,prefix/cut_rest,prefix/+,prefix/}'::text[]) key, LATERAL apikey.verify(key) v;
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT key, v.code FROM unnest('{prefix/+cut_rest,cut_rest,prefiy/+cut_rest,prefix/cut_rest,prefix/+,prefix/}'::text[]) key, LATERAL apikey.verify(key) v;
-- a key of ours with something in front of it is none
SELECT key AS native FROM apikey.issue('import-4', 'native') \gset
SELECT code FROM apikey.verify(:'native');
SELECT code FROM apikey.verify('17|' || :'native');
SELECT step, passed, detail FROM apikey.explain('17|s3cret_rest') WHERE step LIKE 'key%';

\echo == An imported text may look like a key of a kind
INSERT INTO apikey.kind (kind, body_length, checksum, default_scopes) VALUES ('import_plain', 30, false, '*');
SELECT apikey.import_key('import-5', 'Looks native', 'sha256', pg_temp.sha256_hex('abcdefghijklmnopqrstuvwx012345'), kind => 'import_plain') IS NOT NULL AS imported;
SELECT code, kind FROM apikey.verify('abcdefghijklmnopqrstuvwx012345');
SELECT code FROM apikey.verify('abcdefghijklmnopqrstuvwX012345');

-- the format of a kind is that of its native keys
UPDATE apikey.kind SET prefix = 'pl_', checksum = true WHERE kind = 'import_plain';
SELECT pg_temp.fails($$UPDATE apikey.kind SET kind = 'other' WHERE kind = 'import_plain'$$) ~ '^KA409' AS not_renamed;
SELECT code FROM apikey.verify('abcdefghijklmnopqrstuvwx012345');
SELECT key ~ '^pl_' AS issued FROM apikey.issue('import-5', 'native', kind => 'import_plain');
SELECT pg_temp.fails($$UPDATE apikey.kind SET prefix = '' WHERE kind = 'import_plain'$$) ~ '^KA409' AS fixed_now;
-- ... or like a session token
SELECT apikey.import_key('import-5', 'Looks like a token', 'sha256', pg_temp.sha256_hex('eyJhIjoxfQ.eyJiIjoyfQ.c2lnbmF0dXJl')) IS NOT NULL AS imported;
SELECT code FROM apikey.verify('eyJhIjoxfQ.eyJiIjoyfQ.c2lnbmF0dXJl');
SELECT code FROM apikey.verify('eyJhIjoxfQ.eyJiIjozfQ.c2lnbmF0dXJl');
SELECT code FROM apikey.verify(repeat('x', 513));

\echo == What is refused; import_check says the same and writes nothing
CREATE TEMP TABLE faults (n integer, arguments text);
INSERT INTO faults VALUES
    (1, $$'a', 'n', NULL, 'x'$$), (2, $$'a', 'n', 'sha1', repeat('a', 40)$$), (3, $$'a', 'n', 'sha256', NULL$$), (4, $$'a', 'n', 'sha256', 'secret_not_a_hash'$$), (5, $$'a', 'n', 'sha256', repeat('a', 63)$$),
    (6, $$'a', 'n', 'sha256', repeat('g', 64)$$), (7, $$'a', 'n', 'sha256', repeat('a', 128)$$), (8, $$'a', 'n', 'sha256', repeat('A', 42) || 'B'$$), (9, $$'a', 'n', 'sha512', repeat('a', 64)$$), (10, $$'a', 'n', 'blake2b', repeat('a', 40)$$),
    (11, $$'a', 'n', 'hmac-sha256', repeat('a', 64)$$), (12, $$'a', 'n', 'hmac-sha256', repeat('a', 64), hash_secret => ''$$), (13, $$'a', 'n', 'sha256', repeat('a', 64), hash_secret => 's3cret'$$), (14, $$'a', 'n', 'sha256', repeat('a', 600)$$),
    (20, $$'a', 'n', 'sha256', repeat('a', 64), hashed_part => 'before'$$), (21, $$'a', 'n', 'sha256', repeat('a', 64), hashed_part => 'after'$$), (22, $$'a', 'n', 'sha256', repeat('a', 64), separator => ''$$), (23, $$'a', 'n', 'sha256', repeat('a', 64), lookup => ''$$),
    (24, $$'a', 'n', 'sha256', repeat('a', 64), lookup => '1|2', separator => '|'$$), (25, $$'a', 'n', 'sha256', repeat('a', 64), lookup => repeat('x', 256)$$), (26, $$'a', 'n', 'sha256', repeat('a', 64), separator => repeat('x', 17)$$),
    (30, $$'', 'n', 'sha256', repeat('a', 64)$$), (31, $$'a', '', 'sha256', repeat('a', 64)$$), (32, $$'a', 'n', 'sha256', repeat('a', 64), '{}'$$), (33, $$'a', 'n', 'sha256', repeat('a', 64), kind => 'none'$$), (34, $$'a', 'n', 'sha256', repeat('a', 64), allowed_ips => '{10}'$$),
    (35, $$'a', 'n', 'sha256', repeat('a', 64), allowed_origins => '{a.example}'$$), (36, $$'a', 'n', 'sha256', repeat('a', 64), metadata => '1'$$), (37, $$'a', 'n', 'sha256', repeat('a', 64), db_role => 'regress_apikey_absent'$$), (38, $$'a', 'n', 'sha256', repeat('a', 64), kind => 'widget'$$),
    (40, $$'a', 'n', 'sha256', repeat('a', 64), expires_at => '-infinity'$$), (41, $$'a', 'n', 'sha256', repeat('a', 64), created_at => '2999-01-01'$$), (42, $$'a', 'n', 'sha256', repeat('a', 64), last_used_at => 'infinity'$$), (43, $$'a', 'n', 'sha256', repeat('a', 64), created_at => '-infinity'$$),
    (44, $$'a', 'n', 'sha256', encode(sha256('shown_key'), 'hex'), display => 'shown_key'$$), (47, $$'a', 'n', 'sha256', repeat('a', 64), credits => -1$$), (45, $$'a', 'n', 'sha256', repeat('a', 64), display => ''$$), (46, $$'a', 'n', 'sha256', encode(sha256('rest'), 'hex'), separator => '|', hashed_part => 'after', display => '1|rest'$$);
CREATE FUNCTION pg_temp.checked(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; BEGIN EXECUTE format('SELECT apikey.import_check(%s)', arguments) INTO result; RETURN result; END $$;
SELECT n, pg_temp.fails(format('SELECT apikey.import_key(%s)', arguments)) AS error FROM faults ORDER BY n;
-- the reason is message and detail
SELECT n, e.error, c.reason FROM faults, LATERAL pg_temp.fails(format('SELECT apikey.import_key(%s)', arguments)) e (error), LATERAL pg_temp.checked(arguments) c (reason)
WHERE split_part(e.error, ' | ', 1) || ': ' || split_part(e.error, ' | ', 2) IS DISTINCT FROM left(e.error, 6) || c.reason;
BEGIN READ ONLY;
SELECT count(*) AS checked, count(*) FILTER (WHERE pg_temp.checked(arguments) IS NULL) AS let_pass, count(*) FILTER (WHERE pg_temp.checked(arguments) ~ 's3cret|secret_not|aaaa|shown_key') AS quoted FROM faults;
SELECT pg_temp.checked($$'a', 'n', 'sha256', repeat('g', 64)$$) AS reason;
SELECT pg_temp.checked($$'a', 'n', 'sha256', repeat('a', 64)$$) AS fine;
SELECT pg_temp.fails($$SELECT apikey.import_key('a', 'n', 'sha256', repeat('a', 64))$$) AS read_only;
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
COMMIT;
SELECT count(*) AS keys FROM apikey.key WHERE account = 'a';

\echo == Policy: as for new keys, but not bound by max_keys
BEGIN;
INSERT INTO apikey.account_policy (account, max_keys, allowed_scopes, max_lifetime) VALUES ('import-6', 0, 'calls:*', '1 year');
INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('import-7', false);
SELECT apikey.import_key('import-6', 'over the cap', 'sha256', pg_temp.sha256_hex('p1'), '{calls:read}') IS NOT NULL AS imported;
SELECT expires_at BETWEEN now() + interval '364 days' AND now() + interval '367 days' AS within_policy FROM apikey.keys WHERE account = 'import-6';
SELECT apikey.import_key('import-6', 'ended', 'sha256', pg_temp.sha256_hex('p2'), '{calls:read}', expires_at => '2001-01-01', created_at => '2000-01-01') IS NOT NULL AS imported;
SELECT pg_temp.fails($$SELECT apikey.import_key('import-6', 'n', 'sha256', repeat('a', 64), '{other}')$$) AS scope;
SELECT pg_temp.fails($$SELECT apikey.import_key('import-6', 'n', 'sha256', repeat('a', 64), '{calls:read}', expires_at => 'infinity')$$) AS expiry;
SELECT pg_temp.fails($$SELECT apikey.import_key('import-7', 'n', 'sha256', repeat('a', 64))$$) AS off;
SELECT apikey.import_check('import-7', 'n', 'sha256', repeat('a', 64)) AS off;
SELECT pg_temp.fails($$SELECT apikey.issue('import-6', 'one more', '{calls:read}')$$) ~ '^KA409' AS issue_is_bound;
ROLLBACK;
BEGIN;
UPDATE apikey.account_policy SET enforce_members = true WHERE account = '*';
INSERT INTO apikey.member VALUES ('import-8', 'ada', 'owner'), ('import-8', 'bob', 'member');
INSERT INTO apikey.capability VALUES ('owner', 'create'), ('member', 'view');
SELECT pg_temp.fails($$SELECT apikey.import_key('import-8', 'n', 'sha256', repeat('a', 64), actor => 'bob')$$) AS bob;
SELECT pg_temp.fails($$SELECT apikey.import_key('import-8', 'n', 'sha256', repeat('a', 64), actor => 'eve')$$) AS eve;
SELECT apikey.import_check('import-8', 'n', 'sha256', repeat('a', 64), actor => 'bob') AS check;
SELECT apikey.import_key('import-8', 'n', 'sha256', repeat('a', 64), actor => 'ada') IS NOT NULL AS ada;
ROLLBACK;

\echo == Undone by rollback; gone with a purge
BEGIN;
SELECT apikey.import_key('import-9', 'rolled back', 'sha256', pg_temp.sha256_hex('rolled_back')) IS NOT NULL AS imported;
SELECT code FROM apikey.verify('rolled_back');
ROLLBACK;
SELECT code FROM apikey.verify('rolled_back');
SELECT apikey.import_key('import-9', 'purged', 'sha256', pg_temp.sha256_hex('purged'), last_used_at => '2020-01-01') AS purged_id \gset
SELECT apikey.revoke(:'purged_id');
SELECT code FROM apikey.verify('purged');
SELECT apikey.purge('0', 'import-9');
SELECT code FROM apikey.verify('purged');
SELECT count(*) AS imported FROM apikey.imported WHERE key_id = :'purged_id';
SELECT apikey.import_key('import-9', 'again', 'sha256', pg_temp.sha256_hex('purged')) <> :'purged_id' AS new_one;
SELECT code FROM apikey.verify('purged');

\echo == Peppers: an imported hash is keyed with one, and moves like any key
SELECT apikey.import_key('import-10', 'pepper', 'sha256', pg_temp.sha256_hex('pepper_key'), separator => '|', hashed_part => 'after') AS pepper_key_id \gset
BEGIN;
DELETE FROM apikey.pepper;
SELECT code FROM apikey.verify('pepper_key');
SELECT code FROM apikey.verify('nonsense');
ROLLBACK;
SELECT pepper_id AS old_pepper FROM apikey.pepper WHERE is_current \gset
SELECT apikey.add_pepper() AS new_pepper \gset
SELECT apikey.set_current_pepper(:new_pepper);
SELECT code FROM apikey.verify('pepper_key');
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT pepper_id = :new_pepper AS moved, algorithm FROM apikey.key WHERE key_id = :'pepper_key_id';
SELECT apikey.set_current_pepper(:old_pepper);
SELECT code FROM apikey.verify('1|pepper_key');
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT pepper_id = :old_pepper AS moved, algorithm FROM apikey.key WHERE key_id = :'pepper_key_id';
SELECT code FROM apikey.verify('pepper_key');
SELECT apikey.retire_pepper(:new_pepper);

\echo == As many forms as a server can try, and no more
BEGIN;
SELECT count(*) < 32 AS room FROM apikey.import_scheme;
DO $$ BEGIN
    FOR i IN 1 .. 32 - (SELECT count(*) FROM apikey.import_scheme) LOOP
        PERFORM apikey.import_key('import-11', 'n', 'hmac-sha256', encode(hmac('many', 'secret ' || i, 'sha256'), 'hex'), hash_secret => 'secret ' || i);
    END LOOP;
END $$;
SELECT pg_temp.fails($$SELECT apikey.import_key('import-11', 'n', 'hmac-sha256', repeat('a', 64), hash_secret => 'one more')$$) AS full;
SELECT apikey.import_check('import-11', 'n', 'hmac-sha256', repeat('a', 64), hash_secret => 'one more') IS NOT NULL AS full;
SELECT apikey.import_check('import-11', 'n', 'hmac-sha256', repeat('a', 64), hash_secret => 'secret 1') AS known_form;
ROLLBACK;
\c :regression
DROP DATABASE apikey_import;
