-- CREATE EXTENSION: what it makes and ships, where, and that it goes away again.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;

SELECT extname, extrelocatable, extnamespace::regnamespace AS schema
FROM pg_extension WHERE extname IN ('apikey', 'pgcrypto') ORDER BY extname COLLATE "C" LIMIT 1;
SELECT count(*) AS pgcrypto FROM pg_extension WHERE extname = 'pgcrypto';

-- Nothing of ours lies outside of the schema apikey.
SELECT pg_describe_object(d.classid, d.objid, 0) AS outside
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
WHERE e.extname = 'apikey' AND d.deptype = 'e'
  AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass,
                    'pg_opclass'::regclass, 'pg_opfamily'::regclass)
  AND coalesce((SELECT relnamespace FROM pg_class WHERE oid = d.objid AND d.classid = 'pg_class'::regclass),
               (SELECT pronamespace FROM pg_proc WHERE oid = d.objid AND d.classid = 'pg_proc'::regclass),
               (SELECT typnamespace FROM pg_type WHERE oid = d.objid AND d.classid = 'pg_type'::regclass),
               (SELECT oprnamespace FROM pg_operator WHERE oid = d.objid AND d.classid = 'pg_operator'::regclass),
               (SELECT opcnamespace FROM pg_opclass WHERE oid = d.objid AND d.classid = 'pg_opclass'::regclass),
               (SELECT opfnamespace FROM pg_opfamily WHERE oid = d.objid AND d.classid = 'pg_opfamily'::regclass))
      IS DISTINCT FROM 'apikey'::regnamespace;

-- Every table, view, type and function for users says what it is.
SELECT c.relname AS uncommented FROM pg_class c
WHERE c.relnamespace = 'apikey'::regnamespace AND c.relkind IN ('r', 'v', 'p') AND obj_description(c.oid, 'pg_class') IS NULL
ORDER BY c.relname COLLATE "C";
SELECT p.proname AS uncommented FROM pg_proc p
WHERE p.pronamespace = 'apikey'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL AND p.proname !~ '^(scopes|scope_query)_'
ORDER BY p.proname COLLATE "C";

-- Functions that run with their owner's rights pin the path.
SELECT p.oid::regprocedure AS unpinned FROM pg_proc p
WHERE p.pronamespace = 'apikey'::regnamespace AND p.prosecdef
  AND NOT coalesce(p.proconfig @> '{"search_path=pg_catalog, pg_temp"}', false)
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- The signatures that callers depend on (contract, sections 3 to 5)
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
FROM pg_proc p
WHERE p.pronamespace = 'apikey'::regnamespace
  AND p.proname IN ('issue', 'rotate', 'alter_key', 'disable', 'enable', 'revoke', 'revoke_account', 'find_keys',
                    'revoke_leaked', 'scan_pattern', 'purge', 'list_keys', 'verify', 'explain', 'add_pepper',
                    'set_current_pepper', 'retire_pepper', 'open_session', 'close_session', 'jwks', 'rotate_signing_key', 'covers', 'satisfies', 'missing_scopes', 'grant_access', 'revoke_access')
ORDER BY p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C" \gx
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'apikey.verdict'::regclass AND attnum > 0 ORDER BY attnum;
SELECT provolatile, proparallel, proisstrict, count(*) AS verify_and_explain FROM pg_proc
WHERE pronamespace = 'apikey'::regnamespace AND proname IN ('verify', 'explain') GROUP BY 1, 2, 3;
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'apikey.issued_key'::regclass AND attnum > 0 ORDER BY attnum;
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'apikey.keys'::regclass AND attnum > 0 ORDER BY attnum;
SELECT attrelid::regclass AS view, string_agg(attname, ' ' ORDER BY attnum) AS columns
FROM pg_attribute
WHERE attrelid IN ('apikey.audit_log'::regclass, 'apikey.keys_to_rotate'::regclass, 'apikey.pepper_status'::regclass, 'apikey.sessions'::regclass, 'apikey.opened_session'::regclass) AND attnum > 0
GROUP BY 1 ORDER BY attrelid::regclass::text COLLATE "C";

-- In a database of its own: what is shipped, and a clean removal.
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_install;
CREATE DATABASE apikey_install;
\c apikey_install
SET client_min_messages = warning;
CREATE EXTENSION pgcrypto;
CREATE TEMP TABLE before AS
    SELECT (SELECT count(*) FROM pg_class WHERE relnamespace <> pg_my_temp_schema()) AS classes, (SELECT count(*) FROM pg_proc) AS procs,
           (SELECT count(*) FROM pg_operator) AS operators, (SELECT count(*) FROM pg_namespace) AS schemas,
           (SELECT count(*) FROM pg_cast) AS casts;
CREATE EXTENSION apikey;
SELECT kind, prefix, body_length, checksum, mask_prefix, mask_head, mask_gap, mask_tail, default_scopes,
       default_lifetime, origin_locked, allow_localhost, name_max, db_role, enabled
FROM apikey.kind ORDER BY kind COLLATE "C" \gx
SELECT account, api_enabled, allowed_scopes, max_keys, name_max, max_requests_per_day, default_lifetime = '0' AS lives_on,
       max_lifetime = '0' AS for_ever, require_allowed_ips, enforce_members, rotate_after = '90 days' AS rotate_after_90_days
FROM apikey.account_policy \gx
SELECT (SELECT count(*) FROM apikey.scope) AS scopes, (SELECT count(*) FROM apikey.key) AS keys,
       (SELECT count(*) FROM apikey.pepper) AS peppers, (SELECT count(*) FROM apikey.audit_log) AS audit_rows;

-- The first key needs no preparation but this.
SELECT key ~ '^ak_[0-9A-Za-z]{49}$' AS key_looks_right, display ~ '^ak_[0-9A-Za-z]{3}[.]{3}[0-9A-Za-z]{4}$' AS masked,
       account, name, kind, scopes, expires_at FROM apikey.issue('acme', 'first');
SELECT count(*) AS peppers FROM apikey.pepper;

-- The extension can be removed and made again.
DROP EXTENSION apikey;
SELECT (SELECT count(*) FROM pg_class WHERE relnamespace <> pg_my_temp_schema()) - b.classes AS classes,
       (SELECT count(*) FROM pg_proc) - b.procs AS procs,
       (SELECT count(*) FROM pg_operator) - b.operators AS operators, (SELECT count(*) FROM pg_namespace) - b.schemas AS schemas,
       (SELECT count(*) FROM pg_cast) - b.casts AS casts
FROM before b;
SELECT ok FROM apikey.verify('ak_x');
CREATE EXTENSION apikey;
SELECT ok, code FROM apikey.verify('ak_x');
SELECT display ~ '^ak_' AS again FROM apikey.issue('acme', 'first');
DROP EXTENSION apikey;

-- A schema that somebody prepared is not adopted, and nothing is left behind.
CREATE SCHEMA apikey;
CREATE EXTENSION apikey;
SELECT count(*) AS installed FROM pg_extension WHERE extname = 'apikey';
SELECT count(*) AS left_behind FROM pg_class WHERE relnamespace = 'apikey'::regnamespace;
DROP SCHEMA apikey;
CREATE EXTENSION apikey SCHEMA public;
CREATE EXTENSION apikey;
ALTER EXTENSION apikey SET SCHEMA public;
\c :regression
DROP DATABASE IF EXISTS apikey_install;
