-- Everything works, and nothing hostile runs, under a hostile search_path
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

-- Somebody has put these in front of everybody: they fail when they are run.
CREATE SCHEMA regress_apikey_evil;
CREATE FUNCTION regress_apikey_evil.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the trap was run' USING ERRCODE = 'ZZ666'; END $$;
DO $$
DECLARE f text; t text; op text;
BEGIN
    FOREACH f IN ARRAY '{now,clock_timestamp,current_setting,lower,to_jsonb,format,count,coalesce_text,pg_current_xact_id,pg_current_xact_id_if_assigned,gen_random_uuid,inet_client_addr}'::text[] LOOP
        EXECUTE format('CREATE FUNCTION regress_apikey_evil.%I() RETURNS timestamptz LANGUAGE sql AS $f$ SELECT regress_apikey_evil.trap(); SELECT now() $f$', f);
        EXECUTE format('CREATE FUNCTION regress_apikey_evil.%I(text) RETURNS text LANGUAGE sql AS $f$ SELECT regress_apikey_evil.trap(); SELECT $1 $f$', f);
    END LOOP;
    FOREACH t IN ARRAY '{text,uuid,timestamptz,integer,bigint,interval,jsonb,boolean,apikey.scopes}'::text[] LOOP
        EXECUTE format('CREATE FUNCTION regress_apikey_evil.cmp(%s, %s) RETURNS boolean LANGUAGE sql AS $f$ SELECT regress_apikey_evil.trap(); SELECT true $f$', t, t);
        FOREACH op IN ARRAY '{=,<>,<,>,<=,>=}'::text[] LOOP
            EXECUTE format('CREATE OPERATOR regress_apikey_evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = regress_apikey_evil.cmp)', op, t, t);
        END LOOP;
    END LOOP;
END $$;
CREATE TEMP TABLE key (key_id uuid, account text); CREATE TEMP TABLE kind (kind text, prefix text, enabled boolean); CREATE TEMP TABLE account_policy (account text);
CREATE TEMP TABLE scope (scope text, enabled boolean); CREATE TEMP TABLE pepper (pepper_id integer, secret bytea); CREATE TEMP TABLE audit_log (action text); CREATE TEMP TABLE installation (local_id uuid);
CREATE TEMP TABLE pg_proc (oid oid); CREATE TEMP TABLE pg_roles (rolname name);
CREATE ROLE regress_apikey_path;
SET search_path = regress_apikey_evil, pg_temp, apikey, pg_catalog;
-- The trap works:
SELECT 'a'::text = 'b'::text;

SELECT key, key_id FROM apikey.issue('path-1', 'key', '{a:read}', expires_in => '1 day', actor => 'ada') \gset
SELECT key AS key2, key_id AS id2 FROM apikey.issue('path-1', 'second key') \gset
SELECT code, scopes FROM apikey.verify(:'key', 'a:read', '192.0.2.1');
SELECT step, passed FROM apikey.explain(:'key', 'a:read') WHERE passed IS NOT true;
SELECT apikey.alter_key(:'key_id', name => 'renamed', metadata => '{"a": 1}') AS alter, apikey.disable(:'key_id') AS disable, apikey.enable(:'key_id') AS enable;
SELECT key AS key3, key_id AS id3 FROM apikey.rotate(:'key_id', '1 day', actor => 'ada') \gset
SELECT account, status FROM apikey.find_keys('found ' || :'key3');
SELECT account, revoked FROM apikey.revoke_leaked('found ' || :'key3', actor => 'ada');
SELECT apikey.scan_pattern('secret') AS scan_pattern;
SELECT apikey.revoke(:'id2', 'reason', 'ada') AS revoke, apikey.revoke_account('path-1') AS revoke_account;
SELECT name, status FROM apikey.list_keys('path-1');
INSERT INTO apikey.account_policy (account, max_keys) VALUES ('path-1', 5);
UPDATE apikey.account_policy SET max_keys = 6 WHERE account OPERATOR(pg_catalog.=) 'path-1';
DELETE FROM apikey.account_policy WHERE account OPERATOR(pg_catalog.=) 'path-1';
INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('path_kind', 'pk_', 'a');
UPDATE apikey.kind SET prefix = 'pk2_' WHERE kind OPERATOR(pg_catalog.=) 'path_kind';
DELETE FROM apikey.kind WHERE kind OPERATOR(pg_catalog.=) 'path_kind';
INSERT INTO apikey.scope (scope) VALUES ('path:read');
DELETE FROM apikey.scope WHERE scope OPERATOR(pg_catalog.=) 'path:read';
BEGIN;
SELECT apikey.add_pepper() IS NOT NULL AS add_pepper, apikey.set_current_pepper((SELECT pepper_id FROM apikey.pepper LIMIT 1)) IS NOT NULL AS set_current_pepper;
ROLLBACK;
SELECT apikey.grant_access('regress_apikey_path', 'admin') IS NOT NULL AS granted, apikey.revoke_access('regress_apikey_path', 'admin') IS NOT NULL AS revoked;
RESET search_path;
SELECT name, status, revoke_reason, revoked_by FROM apikey.keys WHERE account = 'path-1' ORDER BY created_at, key_id;
SELECT action, actor FROM apikey.audit_log WHERE account = 'path-1' AND key_id IS NOT NULL ORDER BY occurred_at, action COLLATE "C";
SET search_path = regress_apikey_evil, pg_temp, apikey, pg_catalog;
SELECT apikey.purge('0', account => 'path-1') AS purged;
RESET search_path;
SELECT (SELECT count(*) FROM pg_temp.key) + (SELECT count(*) FROM pg_temp.kind) + (SELECT count(*) FROM pg_temp.account_policy) + (SELECT count(*) FROM pg_temp.scope)
     + (SELECT count(*) FROM pg_temp.pepper) + (SELECT count(*) FROM pg_temp.audit_log) AS rows_in_temp_tables;
DROP ROLE regress_apikey_path;

-- CREATE EXTENSION, with the same path in force
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_hostile;
CREATE DATABASE apikey_hostile;
\c apikey_hostile
SET client_min_messages = warning;
CREATE EXTENSION pgcrypto;
CREATE SCHEMA evil;
CREATE FUNCTION evil.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the trap was run' USING ERRCODE = 'ZZ666'; END $$;
CREATE FUNCTION evil.cmp(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.cmp);
CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.cmp);
CREATE FUNCTION evil.gen_random_uuid() RETURNS uuid LANGUAGE sql AS 'SELECT evil.trap(); SELECT NULL::uuid';
CREATE FUNCTION evil.pg_extension_config_dump(regclass, text) RETURNS void LANGUAGE sql AS 'SELECT evil.trap(); SELECT NULL::void';
CREATE FUNCTION evil.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT evil.trap(); SELECT 1';
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
CREATE DOMAIN evil.uuid AS pg_catalog.uuid CHECK (false);
ALTER DATABASE apikey_hostile SET search_path = evil, pg_catalog;
\c apikey_hostile
SHOW search_path;
CREATE EXTENSION apikey;
SELECT key AS key FROM apikey.issue('path-2', 'key') \gset
SELECT code FROM apikey.verify(:'key');
SELECT pg_catalog.count(*) AS uses_something_evil FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_depend o ON o.classid OPERATOR(pg_catalog.=) d.classid AND o.objid OPERATOR(pg_catalog.=) d.objid AND o.deptype OPERATOR(pg_catalog.=) 'e'
JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) o.refobjid AND e.extname OPERATOR(pg_catalog.=) 'apikey'
WHERE d.refobjid IN (SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) 'evil'::regnamespace UNION ALL SELECT p.oid FROM pg_catalog.pg_type p WHERE p.typnamespace OPERATOR(pg_catalog.=) 'evil'::regnamespace);
\c :regression
SET client_min_messages = warning;
DROP DATABASE apikey_hostile;
DROP SCHEMA regress_apikey_evil CASCADE;
