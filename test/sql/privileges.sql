-- Privileges: what PUBLIC, plain roles, pg_read_all_data and each level of access may do
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

\echo == What PUBLIC may execute
SELECT p.oid::regprocedure AS function FROM pg_proc p
WHERE p.pronamespace = 'apikey'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT has_schema_privilege('public', 'apikey', 'USAGE') AS usage, has_schema_privilege('public', 'apikey', 'CREATE') AS "create";
SELECT c.relname AS public_may_use FROM pg_class c
WHERE c.relnamespace = 'apikey'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S', 'm', 'f')
  AND has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') ORDER BY 1;
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL WHERE c.relnamespace = 'apikey'::regnamespace ORDER BY 1, 2;
SELECT t.typname AS type_not_usable FROM pg_type t WHERE t.typnamespace = 'apikey'::regnamespace AND t.typtype = 'b' AND t.typcategory <> 'A' AND NOT has_type_privilege('public', t.oid, 'USAGE');

\echo == A plain role: the types and nothing else
CREATE ROLE regress_apikey_plain;
SELECT key, key_id FROM apikey.issue('privileges-1', 'key') \gset
SELECT apikey.rotate_signing_key() IS NOT NULL AS signing_key_made;
SET ROLE regress_apikey_plain;
SELECT apikey.covers('calls:*', 'calls:read') AS covers, 'a b'::apikey.scopes OPERATOR(apikey.@>) 'b'::text AS operator, apikey.missing_scopes('a', 'b & c') AS missing, 'a|b'::apikey.scope_query AS query;
SELECT c.call, pg_temp.fails(c.call) AS error FROM (VALUES
    (1, format('SELECT apikey.verify(%L)', :'key')), (2, format('SELECT apikey.verify(%L, NULL, inet %L)', :'key', '::1')), (3, 'SELECT apikey.explain(NULL)'), (4, $$SELECT apikey.issue('a', 'b')$$),
    (5, format('SELECT apikey.rotate(%L)', :'key_id')), (6, format('SELECT apikey.revoke(%L)', :'key_id')), (7, $$SELECT apikey.list_keys('a')$$), (8, $$SELECT apikey.find_keys('a')$$), (9, 'SELECT apikey.add_pepper()'),
    (10, $$SELECT apikey.grant_access('regress_apikey_plain', 'admin')$$), (11, $$SELECT apikey.change_access('regress_apikey_plain', 'admin', true)$$), (12, $$SELECT apikey.purge('0')$$),
    (13, 'SELECT * FROM apikey.key'), (14, 'SELECT * FROM apikey.pepper'), (15, 'SELECT * FROM apikey.keys'), (16, 'SELECT * FROM apikey.audit_log'), (17, 'SELECT * FROM apikey.kind'),
    (18, 'SELECT * FROM apikey.account_policy'), (19, 'SELECT * FROM apikey.scope'), (20, 'SELECT * FROM apikey.installation'), (21, 'SELECT * FROM apikey.keys_to_rotate'), (22, 'SELECT * FROM apikey.pepper_status'),
    (23, 'INSERT INTO apikey.audit_log (action) VALUES (''x'')'), (24, 'UPDATE apikey.account_policy SET max_keys = -1'), (25, 'DELETE FROM apikey.key'), (26, 'CREATE TABLE apikey.mine ()'),
    (27, 'SELECT apikey.acting_as(''x'')'), (28, 'SELECT apikey.clean_text(''x'', 5)'), (29, 'SELECT apikey.announce(''x'', NULL)'), (30, 'SELECT apikey.actor()'), (31, 'SELECT apikey.new_id()'),
    (32, $$SELECT apikey.open_key('00000000-0000-7000-8000-000000000000', NULL, NULL)$$), (33, 'SELECT apikey.key_status(NULL, NULL, NULL)'), (34, 'SELECT apikey.local_installation()'),
    (35, 'SELECT apikey.require_writable(''x'')'), (38, 'SELECT * FROM apikey.member'), (39, 'SELECT * FROM apikey.capability'), (40, $$SELECT apikey.require_capability('a', 'view', 'x')$$), (36, $$SET apikey.pepper_file = '/etc/passwd'$$), (37, $$SET apikey.made_up = 'x'$$), (50, 'SELECT * FROM apikey.signing_key'), (51, 'SELECT * FROM apikey.session'), (52, 'SELECT * FROM apikey.sessions'),
    (53, 'SELECT apikey.open_session(NULL)'), (54, 'SELECT apikey.close_session(NULL)'), (55, 'SELECT apikey.rotate_signing_key()'), (56, 'SELECT apikey.jwks() IS NOT NULL')) c (n, call) WHERE c.n NOT IN (1, 2, 5, 6) ORDER BY n;
SELECT pg_temp.fails(format('SELECT apikey.verify(%L)', :'key')) AS verify, pg_temp.fails(format('SELECT apikey.verify(%L, NULL, inet %L)', :'key', '::1')) AS verify_inet,
       pg_temp.fails(format('SELECT apikey.rotate(%L)', :'key_id')) AS rotate, pg_temp.fails(format('SELECT apikey.revoke(%L)', :'key_id')) AS revoke \gx
RESET ROLE;

\echo == pg_read_all_data reads no key and no pepper
CREATE ROLE regress_apikey_reader;
GRANT pg_read_all_data TO regress_apikey_reader;
SET ROLE regress_apikey_reader;
SELECT (SELECT count(*) FROM apikey.key) AS keys, (SELECT count(*) FROM apikey.pepper) AS peppers, (SELECT count(*) FROM apikey.signing_key) AS signing_keys;
SELECT count(*) > 0 AS searched, count(*) FILTER (WHERE k::text ~ '\\x[0-9a-f]{16}') AS with_hash FROM apikey.keys k;
RESET ROLE;
SELECT relname, relrowsecurity AS row_security, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies
FROM pg_class c WHERE relnamespace = 'apikey'::regnamespace AND relname IN ('key', 'pepper', 'signing_key') ORDER BY relname;
SELECT count(*) AS statistics_with_secrets FROM pg_stats WHERE schemaname = 'apikey' AND attname IN ('digest', 'lookup', 'secret', 'fingerprint');
ANALYZE apikey.key, apikey.pepper, apikey.signing_key;
SELECT count(*) AS statistics_with_secrets FROM pg_stats WHERE schemaname = 'apikey' AND attname IN ('digest', 'lookup', 'secret', 'fingerprint');
DROP ROLE regress_apikey_reader;

\echo == What each level gives
CREATE ROLE regress_apikey_verifier; CREATE ROLE regress_apikey_issuer; CREATE ROLE regress_apikey_auditor; CREATE ROLE regress_apikey_admin; CREATE ROLE regress_apikey_anonymous;
DO $$ DECLARE l text; BEGIN
    FOREACH l IN ARRAY '{verifier,issuer,auditor,admin,anonymous}'::text[] LOOP PERFORM apikey.grant_access(('regress_apikey_' || l)::name, l); END LOOP; END $$;
CREATE TEMP VIEW functions_of AS
    SELECT p.oid::regprocedure::text AS function, string_agg(l, ' ' ORDER BY n) AS levels
    FROM pg_proc p, unnest('{verifier,issuer,auditor,admin,anonymous}'::text[]) WITH ORDINALITY l (l, n)
    WHERE p.pronamespace = 'apikey'::regnamespace AND NOT has_function_privilege('public', p.oid, 'EXECUTE') AND has_function_privilege('regress_apikey_' || l, p.oid, 'EXECUTE')
    GROUP BY p.oid;
-- each line by itself: a new function changes one line of the output
\pset format unaligned
SELECT * FROM functions_of ORDER BY function COLLATE "C";
\pset format aligned
CREATE TEMP VIEW tables_of AS
    SELECT c.relname, l AS level, concat_ws(' ', CASE WHEN has_table_privilege('regress_apikey_' || l, c.oid, 'SELECT') THEN 'SELECT' END, CASE WHEN has_any_column_privilege('regress_apikey_' || l, c.oid, 'INSERT') THEN 'INSERT' END,
               CASE WHEN has_any_column_privilege('regress_apikey_' || l, c.oid, 'UPDATE') THEN 'UPDATE' END, CASE WHEN has_table_privilege('regress_apikey_' || l, c.oid, 'DELETE') THEN 'DELETE' END,
               CASE WHEN has_table_privilege('regress_apikey_' || l, c.oid, 'TRUNCATE') THEN 'TRUNCATE' END) AS privileges
    FROM pg_class c, unnest('{verifier,issuer,auditor,admin,anonymous}'::text[]) l WHERE c.relnamespace = 'apikey'::regnamespace AND c.relkind IN ('r', 'p', 'v');
SELECT * FROM tables_of WHERE privileges <> '' ORDER BY relname COLLATE "C", level COLLATE "C";

-- of the tables that an admin may write, columns that stay out of reach
SELECT a.attrelid::regclass AS "table", a.attname, has_column_privilege('regress_apikey_admin', a.attrelid, a.attnum, 'INSERT') AS insert, has_column_privilege('regress_apikey_admin', a.attrelid, a.attnum, 'UPDATE') AS update
FROM pg_attribute a WHERE a.attrelid IN ('apikey.kind'::regclass, 'apikey.account_policy'::regclass, 'apikey.scope'::regclass, 'apikey.member'::regclass, 'apikey.capability'::regclass) AND a.attnum > 0 AND NOT a.attisdropped
  AND NOT (has_column_privilege('regress_apikey_admin', a.attrelid, a.attnum, 'INSERT') AND has_column_privilege('regress_apikey_admin', a.attrelid, a.attnum, 'UPDATE')) ORDER BY a.attrelid::regclass::text COLLATE "C", a.attnum;

\echo == ... and that it works: a verifier verifies and no more
SET ROLE regress_apikey_verifier;
SELECT code FROM apikey.verify(:'key');
SELECT code FROM apikey.verify(:'key', NULL, '192.0.2.1'::inet);
SELECT count(*) > 5 AS explained FROM apikey.explain(:'key');
SELECT pg_temp.fails($$SELECT apikey.issue('privileges-1', 'by a verifier')$$) AS issue, pg_temp.fails('SELECT * FROM apikey.keys') AS keys, pg_temp.fails('SELECT * FROM apikey.kind') AS kind \gx
\echo == an issuer manages and does not verify, purge or read
SET ROLE regress_apikey_issuer;
SELECT key_id AS made FROM apikey.issue('privileges-2', 'by an issuer') \gset
SELECT apikey.alter_key(:'made', name => 'renamed') AS alter, apikey.disable(:'made') AS disable, apikey.enable(:'made') AS enable;
SELECT key AS turned, key_id AS made FROM apikey.rotate(:'made') \gset
SELECT count(*) AS found FROM apikey.find_keys('x ' || :'turned');
SELECT apikey.scan_pattern('secret') AS scan_pattern;
SELECT revoked FROM apikey.revoke_leaked(:'turned');
SELECT name, status FROM apikey.list_keys('privileges-2') ORDER BY created_at, key_id;
SELECT apikey.revoke_account('privileges-2') AS revoked;
SELECT pg_temp.fails(format('SELECT apikey.verify(%L)', :'key')) AS verify, pg_temp.fails($$SELECT apikey.purge('0')$$) AS purge, pg_temp.fails('SELECT * FROM apikey.keys') AS keys,
       pg_temp.fails('SELECT apikey.add_pepper()') AS add_pepper, pg_temp.fails('UPDATE apikey.kind SET enabled = true') AS kind \gx
\echo == an auditor reads
SET ROLE regress_apikey_auditor;
SELECT name, status FROM apikey.keys WHERE account = 'privileges-1';
SELECT count(*) > 0 AS searched, count(*) FILTER (WHERE k::text ~ '\\x[0-9a-f]{16}') AS with_hash FROM apikey.keys k;
SELECT count(*) > 0 AS searched, count(*) FILTER (WHERE a::text ~ '\\x[0-9a-f]{16}|digest|lookup|pepper_id') AS with_hash FROM apikey.audit_log a;
SELECT action, actor, db_user = session_user AS by_this_login FROM apikey.audit_log WHERE account = 'privileges-1' ORDER BY occurred_at, action COLLATE "C";
SELECT (SELECT count(*) FROM apikey.keys_to_rotate WHERE account = 'privileges-1') AS to_rotate, (SELECT count(*) > 0 FROM apikey.pepper_status) AS peppers, (SELECT count(*) > 0 FROM apikey.kind) AS kinds,
       (SELECT count(*) > 0 FROM apikey.account_policy) AS policies, (SELECT count(*) >= 0 FROM apikey.scope) AS scopes;
SELECT pg_temp.fails('SELECT * FROM apikey.key') AS key, pg_temp.fails('SELECT * FROM apikey.pepper') AS pepper, pg_temp.fails('UPDATE apikey.kind SET enabled = true') AS kind,
       pg_temp.fails($$DELETE FROM apikey.audit_log$$) AS audit_log, pg_temp.fails($$SELECT apikey.issue('a', 'b')$$) AS issue, pg_temp.fails($$SELECT apikey.list_keys('a')$$) AS list_keys \gx
\echo == an admin does all but touch the audit log and the secrets
SET ROLE regress_apikey_admin;
BEGIN;
UPDATE apikey.kind SET enabled = true WHERE kind = 'secret';
INSERT INTO apikey.account_policy (account, max_keys) VALUES ('privileges-3', 1);
INSERT INTO apikey.scope (scope) VALUES ('privileges:read');
SELECT key_id AS made FROM apikey.issue('privileges-3', 'by an admin', '{privileges:read}') \gset
SELECT apikey.revoke(:'made') AS revoke, apikey.purge('0', account => 'privileges-3') AS purge;
SELECT apikey.add_pepper() > 0 AS add_pepper;
SELECT action, object FROM apikey.audit_log WHERE account = 'privileges-3' OR object ~ '^(scope|kind|account_policy) .*privileges' ORDER BY occurred_at, action COLLATE "C";
ROLLBACK;
SELECT c.call, pg_temp.fails(c.call) AS error FROM (VALUES (1, 'DELETE FROM apikey.audit_log'), (2, $$UPDATE apikey.audit_log SET actor = 'somebody else'$$), (3, 'TRUNCATE apikey.audit_log'),
    (4, $$INSERT INTO apikey.audit_log (action) VALUES ('x')$$), (5, 'SELECT * FROM apikey.key'), (6, 'UPDATE apikey.key SET revoked_at = NULL'), (7, 'SELECT * FROM apikey.pepper'), (8, 'DELETE FROM apikey.pepper'),
    (9, 'ALTER TABLE apikey.audit_log DISABLE TRIGGER ALL'), (10, 'ALTER TABLE apikey.kind DISABLE TRIGGER ALL'), (11, 'TRUNCATE apikey.kind'), (12, 'DROP VIEW apikey.keys')) c (n, call) ORDER BY n;
-- An admin hands out access, in levels only.
SELECT apikey.grant_access('regress_apikey_plain', 'verifier');
RESET ROLE;
SELECT has_function_privilege('regress_apikey_plain', 'apikey.explain(text, text, text, text, text, text[], integer, text, text, text)', 'EXECUTE') AS granted;
SELECT apikey.revoke_access('regress_apikey_plain', 'verifier');
SELECT has_function_privilege('regress_apikey_plain', 'apikey.explain(text, text, text, text, text, text[], integer, text, text, text)', 'EXECUTE') AS granted;

\echo == revoke_access takes it all back
DO $$ DECLARE l text; BEGIN
    FOREACH l IN ARRAY '{verifier,issuer,auditor,admin,anonymous}'::text[] LOOP PERFORM apikey.revoke_access(('regress_apikey_' || l)::name, l); END LOOP; END $$;
SELECT (SELECT count(*) FROM functions_of) AS functions_left, (SELECT count(*) FROM tables_of WHERE privileges <> '') AS tables_left;
SELECT action, object, new ->> 'level' AS level FROM apikey.audit_log WHERE object LIKE 'role regress_apikey_%' AND action IN ('grant_access', 'revoke_access')
    AND object NOT IN ('role regress_apikey_plain') AND occurred_at > now() - interval '1 hour' AND object ~ '(verifier|auditor|admin|anonymous)$' ORDER BY occurred_at, action COLLATE "C";
SELECT c.call, pg_temp.fails('SELECT apikey.' || c.call) AS error FROM (VALUES (1, $$grant_access('regress_apikey_absent', 'verifier')$$), (2, $$grant_access('regress_apikey_plain', 'root')$$), (3, $$grant_access(NULL, 'verifier')$$),
    (5, $$revoke_access('regress_apikey_plain', '')$$), (6, $$grant_access('public', 'admin')$$)) c (n, call) ORDER BY n;
SELECT pg_temp.fails($$SELECT apikey.grant_access('regress_apikey_plain', NULL)$$) ~ '^22023 [^|]*level' AS it_is_the_level_that_is_wrong;
DROP VIEW functions_of, tables_of;
DROP ROLE regress_apikey_plain, regress_apikey_verifier, regress_apikey_issuer, regress_apikey_auditor, regress_apikey_admin, regress_apikey_anonymous;
