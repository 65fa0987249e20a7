-- Key texts: format, checksum, masks, uniqueness and uniform digits
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

INSERT INTO apikey.kind (kind, prefix, body_length, checksum, mask_prefix, mask_head, mask_gap, mask_tail, default_scopes) VALUES
    ('kf_plain', '', 43, true, true, 3, '...', 4, '*'), ('kf_none', 'kfn_', 43, false, true, 3, '...', 4, '*'), ('kf_short', 'kfs-', 22, false, true, 0, '****', 0, '*'), ('kf_long', 'kf.l_', 200, true, false, 8, U&'\2022\2022', 10, '*'),
    ('kf_whole', 'kfw_live_', 40, true, false, 8, U&'\2022\2022\2022\2022', 0, '*'), ('kf_tail', 'kft_', 30, true, true, 0, '~', 8, '*') ON CONFLICT DO NOTHING;
-- one key of each
CREATE TEMP TABLE k AS SELECT d.*, i.key, i.display FROM apikey.kind d, LATERAL apikey.issue('key-format', d.kind, kind => d.kind) i WHERE d.kind LIKE 'kf\_%';
SELECT kind, length(key) AS length, starts_with(key, prefix) AS prefixed, substr(key, length(prefix) + 1) ~ '^[0-9A-Za-z]+$' AS base62,
       length(key) = length(prefix) + body_length + CASE WHEN checksum THEN 6 ELSE 0 END AS right_length FROM k ORDER BY kind COLLATE "C";
SELECT kind, display = CASE WHEN mask_prefix THEN prefix || substr(key, length(prefix) + 1, mask_head) ELSE left(key, mask_head) END || mask_gap || CASE WHEN mask_tail > 0 THEN right(key, mask_tail) ELSE '' END AS as_the_contract_says,
       length(display) AS length FROM k ORDER BY kind COLLATE "C";
SELECT k.kind, v.code, v.kind = k.kind AS told FROM k, LATERAL apikey.verify(k.key) v ORDER BY k.kind COLLATE "C";

\echo == The checksum is CRC-32 of prefix and body as six base62 digits
CREATE FUNCTION pg_temp.checksum(t text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE crc bigint := 4294967295; b bigint; out text := ''; digits CONSTANT text := '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
BEGIN
    FOR i IN 0 .. octet_length(t) - 1 LOOP
        b := (crc # get_byte(convert_to(t, 'UTF8'), i)) & 255;
        FOR j IN 1 .. 8 LOOP b := CASE WHEN b & 1 = 1 THEN (b >> 1) # 3988292384 ELSE b >> 1 END; END LOOP;
        crc := (crc >> 8) # b;
    END LOOP;
    crc := crc # 4294967295;
    FOR i IN 1 .. 6 LOOP out := substr(digits, (crc % 62)::integer + 1, 1) || out; crc := crc / 62; END LOOP;
    RETURN out;
END $$;
SELECT pg_temp.checksum('123456789') AS check_value, pg_temp.checksum('') AS of_nothing;
SELECT kind, right(key, 6) = pg_temp.checksum(left(key, -6)) AS checksum FROM k WHERE checksum ORDER BY kind COLLATE "C";
-- Every single wrong character, and every two neighbours swapped, is noticed before the key is looked for.
SELECT count(*) AS typos, count(*) FILTER (WHERE v.code <> 'key_invalid') AS not_noticed, count(DISTINCT e.detail) AS verdicts, min(e.detail) AS detail
FROM k, generate_series(1, length(k.key)) pos, LATERAL (SELECT overlay(k.key PLACING CASE substr(k.key, pos, 1) WHEN 'x' THEN 'y' ELSE 'x' END FROM pos FOR 1) AS typo) t, LATERAL apikey.verify(t.typo) v,
     LATERAL (SELECT detail FROM apikey.explain(t.typo) WHERE step = 'key well-formed') e WHERE k.kind = 'kf_whole';
SELECT count(*) > 20 AS enough_swaps, count(*) FILTER (WHERE v.code <> 'key_invalid') AS not_noticed
FROM k, generate_series(1, length(k.key) - 1) pos, LATERAL (SELECT overlay(k.key PLACING substr(k.key, pos + 1, 1) || substr(k.key, pos, 1) FROM pos FOR 2) AS swapped) t, LATERAL apikey.verify(t.swapped) v
WHERE k.kind = 'kf_plain' AND t.swapped <> k.key;
-- A kind's key in another kind's clothes is no key.
SELECT count(*) AS disguised, count(*) FILTER (WHERE v.ok) AS accepted FROM k a, k b, LATERAL apikey.verify(b.prefix || substr(a.key, length(a.prefix) + 1)) v WHERE a.kind <> b.kind;

\echo == 20000 keys: unique, and digits uniform
CREATE TEMP TABLE many AS SELECT n, i.key, i.key_id FROM generate_series(1, 20000) n, LATERAL apikey.issue('key-format-' || n % 1000, 'n', kind => CASE n % 2 WHEN 0 THEN 'kf_short' ELSE 'kf_none' END) i;
SELECT count(*) AS keys, count(DISTINCT key) AS texts, count(DISTINCT key_id) AS ids, count(DISTINCT substr(key, 5, 8)) AS beginnings, count(DISTINCT right(key, 8)) AS ends FROM many;
-- chi-square over all digits, 61 degrees of freedom: 150 is exceeded once in 10^8 times; and over each of the first 22 places
CREATE TEMP TABLE digits AS SELECT pos, substr(key, 4 + pos, 1) AS digit, count(*) AS seen FROM many, generate_series(1, 43) pos WHERE length(key) >= 4 + pos GROUP BY 1, 2;
SELECT count(*) AS digits, sum(power(seen - total / 62.0, 2) / (total / 62.0)) < 150 AS uniform, sum(power(seen - total / 62.0, 2) / (total / 62.0)) > 15 AS random
FROM (SELECT digit, sum(seen) AS seen, sum(sum(seen)) OVER () AS total FROM digits GROUP BY digit) d;
SELECT count(*) AS places, count(*) FILTER (WHERE chi < 170) AS uniform FROM (SELECT pos, sum(power(seen - total / 62.0, 2) / (total / 62.0)) AS chi FROM (SELECT pos, seen, sum(seen) OVER (PARTITION BY pos) AS total FROM digits) d GROUP BY pos) c;
SELECT count(*) FILTER (WHERE v.ok AND v.key_id = many.key_id) AS verified FROM many, LATERAL apikey.verify(many.key) v WHERE n % 20 = 0;
-- not stored, anywhere
SELECT count(*) AS stored_texts FROM apikey.key k JOIN many m USING (key_id) WHERE k::text LIKE '%' || substr(m.key, 5) || '%' OR encode(k.digest, 'escape') LIKE '%' || substr(m.key, 5, 8) || '%' OR position(convert_to(substr(m.key, 5, 8), 'UTF8') IN k.digest) > 0;
SELECT bool_and(octet_length(digest) = 32) AS digests_of_32_bytes, count(DISTINCT digest) = count(*) AS all_different, bool_and(algorithm = 1) AS algorithm FROM apikey.key k JOIN many m USING (key_id);

\echo == Masks leave 128 bits hidden; the format of a kind with keys is fixed
SELECT pg_temp.fails($$INSERT INTO apikey.kind (kind, body_length, mask_head, mask_tail) VALUES ('kf_bad', 28, 3, 4)$$) LIKE '23514 %"kind_mask_hides_at_least_128_bits"%' AS head_and_tail,
       pg_temp.fails($$UPDATE apikey.kind SET mask_tail = 9 WHERE kind = 'kf_tail'$$) LIKE '23514 %"kind_mask_hides_at_least_128_bits"%' AS tail;
SELECT c.change, pg_temp.fails(format('UPDATE apikey.kind SET %s WHERE kind = %L', c.change, 'kf_tail')) AS error FROM (VALUES (1, $$prefix = 'other_'$$), (2, 'body_length = 31'), (3, 'checksum = false'), (4, $$kind = 'kf_other'$$), (5, $$mask_gap = '***'$$), (6, 'mask_tail = 0'), (7, 'name_max = 60')) c (n, change) ORDER BY n;
SELECT pg_temp.fails($$DELETE FROM apikey.kind WHERE kind = 'kf_tail'$$) AS removal;
UPDATE apikey.kind SET mask_gap = '~', mask_tail = 8, name_max = NULL WHERE kind = 'kf_tail';
-- a changed mask counts for new keys; the others keep theirs
SELECT k.display = i.display AS kept FROM k JOIN apikey.keys i ON i.account = 'key-format' AND i.name = k.kind WHERE k.kind = 'kf_tail';
DELETE FROM apikey.key WHERE account LIKE 'key-format%';
DELETE FROM apikey.audit_log WHERE account LIKE 'key-format%';
DELETE FROM apikey.kind WHERE kind LIKE 'kf\_%';
SELECT count(*) AS kinds_left FROM apikey.kind WHERE kind LIKE 'kf\_%';
