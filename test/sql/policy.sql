-- Policy tables: constraints, defaults, effect within the transaction and after rollback
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

\echo == kind: nonsense is refused, by a constraint whose name tells why
SELECT c.n, split_part(pg_temp.fails('INSERT INTO apikey.kind (kind, ' || c.columns || ') VALUES (' || c.row || ')'), '|', 1) AS error FROM (VALUES
    (1, 'prefix', $$'', ''$$), (2, 'prefix', $$'a b', ''$$), (3, 'prefix', $$'session', ''$$), (4, 'prefix', $$'p', 'a b'$$), (5, 'prefix', $$'p', 'é'$$), (6, 'prefix', $$'p', repeat('a', 33)$$), (7, 'body_length', $$'p', 21$$), (8, 'body_length', $$'p', 201$$),
    (9, 'mask_head', $$'p', -1$$), (10, 'mask_tail', $$'p', -1$$), (11, 'mask_gap', $$'p', repeat('.', 33)$$), (12, 'mask_gap', $$'p', E'\n'$$), (13, 'mask_head, mask_tail', $$'p', 12, 10$$), (14, 'default_lifetime', $$'p', '-1 day'$$), (15, 'name_max', $$'p', 0$$), (16, 'name_max', $$'p', -2$$),
    (17, 'db_role', $$'p', ''$$), (18, 'prefix', $$'secret', ''$$), (19, 'default_scopes', $$'p', 'a b:'$$), (20, 'prefix', $$NULL, ''$$), (21, 'prefix', $$'p', NULL$$), (22, 'prefix', $$repeat('k', 64), ''$$)) c (n, columns, row) ORDER BY n;
\echo == account_policy
SELECT c.n, split_part(pg_temp.fails('INSERT INTO apikey.account_policy (account, ' || c.columns || ') VALUES (' || c.row || ')'), '|', 1) AS error FROM (VALUES
    (1, 'max_keys', $$'', 1$$), (2, 'max_keys', $$E'a\n', 1$$), (3, 'max_keys', $$repeat('a', 256), 1$$), (4, 'max_keys', $$'p', -2$$), (5, 'name_max', $$'p', 0$$), (6, 'name_max', $$'p', -2$$), (7, 'max_requests_per_day', $$'p', -2$$), (8, 'default_lifetime', $$'p', '-1 s'$$),
    (9, 'max_lifetime', $$'p', '-1 s'$$), (10, 'rotate_after', $$'p', '-1 s'$$), (11, 'max_keys', $$'*', 1$$), (12, 'max_keys', $$NULL, 1$$), (13, 'allowed_scopes', $$'p', ':'$$)) c (n, columns, row) ORDER BY n;
SELECT c.name, split_part(pg_temp.fails(format('UPDATE apikey.account_policy SET %I = NULL WHERE account = ''*''', c.name)), '|', 1) AS error FROM (SELECT attname AS name, attnum FROM pg_attribute WHERE attrelid = 'apikey.account_policy'::regclass AND attnum > 1 AND attname <> 'installation' AND NOT attisdropped) c ORDER BY attnum;
\echo == scope
SELECT c.n, split_part(pg_temp.fails('INSERT INTO apikey.scope (scope) VALUES (' || c.row || ')'), '|', 1) AS error FROM (VALUES (1, $$''$$), (2, $$'*'$$), (3, $$'a b'$$), (4, $$'a:'$$), (5, $$'a:*:b'$$), (6, 'NULL'), (7, $$'a:*'$$), (8, $$'é'$$)) c (n, row) ORDER BY n;
DELETE FROM apikey.scope WHERE scope = 'a:*';
SELECT conrelid::regclass AS "table", conname FROM pg_constraint WHERE conrelid IN ('apikey.kind'::regclass, 'apikey.account_policy'::regclass, 'apikey.scope'::regclass, 'apikey.member'::regclass, 'apikey.capability'::regclass, 'apikey.pepper'::regclass) AND contype = 'c' ORDER BY conrelid::regclass::text COLLATE "C", conname COLLATE "C";

\echo == The default row stays, shipped kinds can go
SELECT pg_temp.fails($$DELETE FROM apikey.account_policy WHERE account = '*'$$) AS delete, pg_temp.fails($$UPDATE apikey.account_policy SET account = 'x' WHERE account = '*'$$) AS rename,
       pg_temp.fails('TRUNCATE apikey.account_policy') AS truncate, pg_temp.fails('TRUNCATE apikey.kind') AS truncate_kind, pg_temp.fails('DELETE FROM apikey.account_policy') AS delete_all \gx
SELECT account FROM apikey.account_policy WHERE account = '*';

\echo == Obeyed at once, and undone by rollback; also by a savepoint
INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('pol', 'pol_', 'a b');
SELECT key, key_id FROM apikey.issue('policy-1', 'key', kind => 'pol') \gset
CREATE FUNCTION pg_temp.now_is(key text) RETURNS text LANGUAGE sql AS $$ SELECT code FROM apikey.verify(key, 'a') $$;
SELECT pg_temp.now_is(:'key') AS start;
BEGIN;
UPDATE apikey.kind SET enabled = false WHERE kind = 'pol';
SELECT pg_temp.now_is(:'key') AS kind_off;
SAVEPOINT s;
UPDATE apikey.kind SET enabled = true WHERE kind = 'pol';
INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('policy-1', false);
SELECT pg_temp.now_is(:'key') AS account_off;
UPDATE apikey.account_policy SET api_enabled = true WHERE account = 'policy-1';
SELECT pg_temp.now_is(:'key') AS account_on;
INSERT INTO apikey.scope (scope) VALUES ('b');
SELECT pg_temp.now_is(:'key') AS scope_not_listed;
INSERT INTO apikey.scope (scope, enabled) VALUES ('a', false);
SELECT pg_temp.now_is(:'key') AS scope_off;
ROLLBACK TO s;
SELECT pg_temp.now_is(:'key') AS kind_off_still;
ROLLBACK;
SELECT pg_temp.now_is(:'key') AS as_before;
-- within one statement of plpgsql, too
DO $$ DECLARE k apikey.issued_key; BEGIN
    INSERT INTO apikey.account_policy (account, name_max) VALUES ('policy-2', 3);
    BEGIN k := apikey.issue('policy-2', 'four', kind => 'pol'); RAISE WARNING 'not obeyed'; EXCEPTION WHEN SQLSTATE '22023' THEN RAISE WARNING 'obeyed'; END;
    UPDATE apikey.account_policy SET name_max = 4 WHERE account = 'policy-2';
    k := apikey.issue('policy-2', 'four', kind => 'pol');
    RAISE WARNING 'obeyed: %', k.name;
END $$;
\echo == NULL inherits from *, -1 and 0 mean no limit; of two name limits the smaller binds
BEGIN;
UPDATE apikey.account_policy SET name_max = 5 WHERE account = '*';
UPDATE apikey.kind SET name_max = 8 WHERE kind = 'pol';
INSERT INTO apikey.account_policy (account, name_max) VALUES ('pol-null', NULL), ('pol-free', -1), ('pol-7', 7), ('pol-9', 9);
SELECT a.account, k.kind, (SELECT max(l) FROM generate_series(1, 12) l WHERE pg_temp.fails(format('SELECT apikey.issue(%L, %L, kind => %L)', a.account, repeat('n', l), k.kind)) = 'no error') AS longest_up_to_12
FROM (VALUES ('pol-none'), ('pol-null'), ('pol-free'), ('pol-7'), ('pol-9')) a (account), (VALUES ('pol'), ('secret')) k (kind) ORDER BY a.account COLLATE "C", k.kind COLLATE "C";
ROLLBACK;
\echo == keys_to_rotate follows the policy of the account, 0 = never
BEGIN;
INSERT INTO apikey.account_policy (account, rotate_after) VALUES ('pol-never', '0'), ('pol-soon', '1 day'), ('pol-inherit', NULL);
SELECT count(*) AS made FROM (VALUES ('pol-never'), ('pol-soon'), ('pol-inherit'), ('pol-none')) a (account), LATERAL apikey.issue(a.account, 'k', kind => 'pol') i;
UPDATE apikey.key SET created_at = created_at - interval '10 days' WHERE account LIKE 'pol-%';
SELECT account, due_at = created_at + interval '1 day' AS due_at FROM apikey.keys_to_rotate WHERE account LIKE 'pol-%' ORDER BY account COLLATE "C";
UPDATE apikey.account_policy SET rotate_after = '5 days' WHERE account = '*';
SELECT account FROM apikey.keys_to_rotate WHERE account LIKE 'pol-%' ORDER BY account COLLATE "C";
ROLLBACK;
\echo == The format of a kind is fixed while it has keys, not before and not after
SELECT pg_temp.fails($$UPDATE apikey.kind SET prefix = 'x_' WHERE kind = 'pol'$$) AS with_keys, pg_temp.fails($$DELETE FROM apikey.kind WHERE kind = 'pol'$$) AS removal \gx
DELETE FROM apikey.key WHERE kind = 'pol';
UPDATE apikey.kind SET prefix = 'x_', body_length = 50, checksum = false WHERE kind = 'pol';
DELETE FROM apikey.kind WHERE kind = 'pol';
DELETE FROM apikey.account_policy WHERE account LIKE 'policy-%';
\echo == Bulk changes of policy: TRUNCATE of the catalogue counts as well
BEGIN;
INSERT INTO apikey.scope (scope) VALUES ('only:this');
SELECT key FROM apikey.issue('policy-3', 'k') \gset
SELECT code FROM apikey.verify(:'key', 'a:b');
TRUNCATE apikey.scope;
SELECT code FROM apikey.verify(:'key', 'a:b');
ROLLBACK;
