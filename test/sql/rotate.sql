-- apikey.rotate: successors, overlap and what they inherit
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

\echo == At once: the predecessor is revoked, reason rotated
SELECT key AS k1, key_id AS id1 FROM apikey.issue('rotate-1', 'name', '{a:read}', allowed_ips => '{192.0.2.1}', metadata => '{"a": 1}', expires_at => '2100-01-01 00:00:00+00') \gset
SELECT key AS k2, key_id AS id2, account, name, kind, scopes, expires_at = '2100-01-01 00:00:00+00' AS same_expiry, display FROM apikey.rotate(:'id1', actor => 'ada') \gset
SELECT :'account' AS account, :'name' AS name, :'kind' AS kind, :'scopes' AS scopes, :'same_expiry' AS same_expiry, :'k1' <> :'k2' AS new_text, :'display' = left(:'k2', 6) || '...' || right(:'k2', 4) AS display;
SELECT code FROM apikey.verify(:'k1', 'a:read', '192.0.2.1');
SELECT code, name, scopes, metadata FROM apikey.verify(:'k2', 'a:read', '192.0.2.1');
SELECT code FROM apikey.verify(:'k2', 'a:read', '192.0.2.2');
SELECT name, status, revoked_by, revoke_reason, rotated_from = :'id1' AS from_first, rotated_to = :'id2' AS to_second, created_by, allowed_ips, metadata
FROM apikey.keys WHERE account = 'rotate-1' ORDER BY created_at, key_id;
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L)', :'id1')) AS again;

\echo == With overlap both work until it is over
SELECT key AS k3, key_id AS id3 FROM apikey.rotate(:'id2', overlap => '7 days') \gset
SELECT (SELECT code FROM apikey.verify(:'k2', 'a:read', '192.0.2.1')) AS old, (SELECT code FROM apikey.verify(:'k3', 'a:read', '192.0.2.1')) AS new;
SELECT status, abs(extract(epoch FROM expires_at - (clock_timestamp() + interval '7 days'))) < 600 AS ends_in_a_week, revoke_reason FROM apikey.keys WHERE key_id = :'id2';
SELECT expires_at = '2100-01-01 00:00:00+00' AS successor_keeps_the_instant FROM apikey.keys WHERE key_id = :'id3';
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L)', :'id2')) AS second_successor;
UPDATE apikey.key SET expires_at = clock_timestamp() - interval '1 microsecond' WHERE key_id = :'id2';
SELECT (SELECT code FROM apikey.verify(:'k2', 'a:read', '192.0.2.1')) AS old, (SELECT code FROM apikey.verify(:'k3', 'a:read', '192.0.2.1')) AS new;

\echo == The overlap does not lengthen the life of the predecessor
SELECT key_id FROM apikey.issue('rotate-2', 'short', expires_in => '1 hour') \gset
SELECT expires_at AS ends FROM apikey.keys WHERE key_id = :'key_id' \gset
SELECT expires_at = :'ends' AS successor_has_the_same_instant FROM apikey.rotate(:'key_id', '30 days');
SELECT expires_at = :'ends' AS unchanged FROM apikey.keys WHERE key_id = :'key_id';

\echo == Expiry of the successor: given ones are kept, defaults start anew, arguments override within policy
BEGIN;
INSERT INTO apikey.account_policy (account, default_lifetime, max_lifetime) VALUES ('rotate-3', '30 days', '90 days');
SELECT key_id FROM apikey.issue('rotate-3', 'default') \gset
UPDATE apikey.key SET created_at = created_at - interval '20 days', expires_at = expires_at - interval '20 days' WHERE key_id = :'key_id';
SELECT expires_at = created_at + interval '30 days' AS anew, key_id FROM apikey.rotate(:'key_id') \gset
SELECT :'anew' AS default_starts_anew;
SELECT expires_at = created_at + interval '5 days' AS given_in, key_id FROM apikey.rotate(:'key_id', expires_in => '5 days') \gset
SELECT :'given_in' AS given_in;
SELECT expires_at AS given FROM apikey.keys WHERE key_id = :'key_id' \gset
SELECT expires_at = :'given' AS a_given_one_is_kept FROM apikey.rotate(:'key_id');
SELECT key_id FROM apikey.issue('rotate-3', 'other') \gset
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L, expires_in => %L)', :'key_id', '91 days')) AS beyond,
       pg_temp.fails(format('SELECT apikey.rotate(%L, expires_at => %L)', :'key_id', 'infinity')) AS never,
       pg_temp.fails(format('SELECT apikey.rotate(%L, expires_at => now() + %L, expires_in => %L)', :'key_id', '1 day', '1 day')) AS both,
       pg_temp.fails(format('SELECT apikey.rotate(%L, expires_at => now() - interval %L)', :'key_id', '1 day')) AS past,
       pg_temp.fails(format('SELECT apikey.rotate(%L, expires_in => %L)', :'key_id', '0')) AS zero,
       pg_temp.fails(format('SELECT apikey.rotate(%L, %L)', :'key_id', '-1 day')) AS negative_overlap \gx
SELECT status, rotated_to FROM apikey.keys WHERE key_id = :'key_id';
SELECT expires_at = created_at + interval '90 days' AS up_to_the_limit FROM apikey.rotate(:'key_id', expires_in => '90 days');
ROLLBACK;

\echo == Only active keys; the guard
SELECT key_id FROM apikey.issue('rotate-4', 'k') \gset
SELECT apikey.disable(:'key_id');
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L)', :'key_id')) AS disabled;
SELECT apikey.enable(:'key_id');
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L, account => %L)', :'key_id', 'rotate-5')) AS of_another,
       pg_temp.fails(format('SELECT apikey.rotate(%L, account => %L)', '00000000-0000-7000-8000-000000000000', 'rotate-5')) AS unknown,
       pg_temp.fails('SELECT apikey.rotate(NULL)') AS null_key \gx
SELECT name FROM apikey.rotate(:'key_id', account => 'rotate-4');
SELECT key_id FROM apikey.issue('rotate-4', 'expired', expires_in => '1 day') \gset
UPDATE apikey.key SET expires_at = clock_timestamp() WHERE key_id = :'key_id';
SELECT pg_temp.fails(format('SELECT apikey.rotate(%L)', :'key_id')) AS expired;

\echo == A full account can still rotate: a superseded key does not count, with or without overlap
BEGIN;
INSERT INTO apikey.account_policy (account, max_keys) VALUES ('rotate-6', 2);
SELECT key_id FROM apikey.issue('rotate-6', 'one') \gset
SELECT name FROM apikey.issue('rotate-6', 'two');
SELECT name FROM apikey.rotate(:'key_id', '7 days');
SELECT pg_temp.fails($$SELECT apikey.issue('rotate-6', 'three')$$) AS full;
SELECT count(*) AS living FROM apikey.keys WHERE account = 'rotate-6' AND status = 'active';
ROLLBACK;

\echo == Widget keys keep their origins, keys their role
CREATE ROLE regress_apikey_rotate;
SELECT key_id FROM apikey.issue('rotate-7', 'w', '{a}', 'widget', allowed_origins => '{a.example}', db_role => 'regress_apikey_rotate') \gset
SELECT v.code, v.db_role, v.kind FROM (SELECT key FROM apikey.rotate(:'key_id')) k, LATERAL apikey.verify(k.key, origin => 'a.example') v;
UPDATE apikey.key SET db_role = NULL WHERE account = 'rotate-7';
DROP ROLE regress_apikey_rotate;

\echo == A chain of rotations: one lineage
SELECT key_id AS id0 FROM apikey.issue('rotate-8', 'chain') \gset
SELECT key_id AS id1 FROM apikey.rotate(:'id0') \gset
SELECT key_id AS id2 FROM apikey.rotate(:'id1') \gset
SELECT count(*) AS keys, count(*) FILTER (WHERE lineage = :'id0') AS of_the_first, count(*) FILTER (WHERE status = 'active') AS active
FROM apikey.keys JOIN apikey.key k USING (key_id) WHERE k.account = 'rotate-8';
