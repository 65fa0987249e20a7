-- doctor(): each thing it looks at, found to be wrong and then right again
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
CREATE FUNCTION pg_temp.says(what text) RETURNS TABLE (setting text, value text, severity text, advice text) LANGUAGE sql AS
    'SELECT d.setting, d.value, d.severity, d.advice FROM apikey.doctor() d WHERE d.setting = what';
SELECT pg_get_function_result(p.oid) AS result, p.prosecdef AS definer, p.provolatile AS volatile FROM pg_proc p WHERE p.oid = 'apikey.doctor()'::regprocedure;
SELECT bool_and(severity IN ('ok', 'notice', 'warning', 'critical')) AS severities, bool_and((severity = 'ok') = (advice = '')) AS advice_where_needed, count(*) = count(DISTINCT setting) AS one_row_each,
       bool_and(setting <> '' AND value IS NOT NULL) AS complete FROM apikey.doctor();
SELECT array_agg(severity) = array_agg(severity ORDER BY array_position('{critical,warning,notice,ok}'::text[], severity)) AS worst_first FROM apikey.doctor();
SELECT setting FROM apikey.doctor() WHERE setting !~ '^(auto_explain|pgaudit|pg_stat_statements)' ORDER BY setting COLLATE "C";
\echo == The server
SELECT severity FROM pg_temp.says('shared_preload_libraries');
SELECT severity = CASE current_setting('fsync') WHEN 'on' THEN 'ok' ELSE 'critical' END AS fsync FROM pg_temp.says('fsync');
SELECT severity = CASE current_setting('apikey.pepper_file') WHEN '' THEN 'notice' ELSE 'ok' END AS pepper_file FROM pg_temp.says('apikey.pepper_file');
SELECT * FROM pg_temp.says('apikey launcher');
\echo == Settings of roles that may verify
CREATE ROLE regress_apikey_login LOGIN;
CREATE ROLE regress_apikey_second LOGIN;
SELECT apikey.grant_access('regress_apikey_login', 'verifier'), apikey.grant_access('regress_apikey_second', 'verifier');
SELECT setting, value, severity FROM pg_temp.says('log_parameter_max_length');
ALTER ROLE regress_apikey_login SET log_parameter_max_length = 0;
SELECT * FROM pg_temp.says('log_parameter_max_length') WHERE advice ~ 'regress_apikey_second' AND advice !~ 'regress_apikey_login';
ALTER ROLE regress_apikey_second SET log_parameter_max_length = 0;
SELECT advice ~ 'regress_apikey' AS still_named FROM pg_temp.says('log_parameter_max_length');
ALTER ROLE regress_apikey_login SET log_min_messages = fatal;
ALTER ROLE regress_apikey_login SET log_statement = 'all';
ALTER ROLE regress_apikey_login SET log_parameter_max_length_on_error = -1;
ALTER ROLE regress_apikey_second SET synchronous_commit = off;
SELECT s.setting, s.value, s.severity, s.advice ~ ' Roles: (.*, )?regress_apikey_(login|second)[.,]' AS names_the_role
FROM unnest('{log_min_messages,log_statement,log_parameter_max_length_on_error,synchronous_commit}'::text[]) w, pg_temp.says(w) s ORDER BY s.setting COLLATE "C";
-- of the database; a role's own setting comes first
SELECT current_database() AS regression \gset
ALTER DATABASE :regression SET log_min_messages = panic;
ALTER ROLE regress_apikey_login SET log_min_messages = error;
SELECT value, severity, advice ~ 'regress_apikey_second' AS second, advice ~ 'regress_apikey_login' AS login FROM pg_temp.says('log_min_messages');
ALTER DATABASE :regression RESET log_min_messages;
DROP OWNED BY regress_apikey_login, regress_apikey_second;
DROP ROLE regress_apikey_login, regress_apikey_second;
\echo == The database
SELECT * FROM pg_temp.says('triggers');
BEGIN; SET LOCAL client_min_messages = error; ALTER TABLE apikey.kind ENABLE TRIGGER invalidate; ALTER TABLE apikey.key DISABLE TRIGGER ALL; SELECT severity, value ~ 'invalidate on apikey.kind' AS invalidate, value ~ 'on apikey.key,' AS audit FROM pg_temp.says('triggers'); ROLLBACK;
BEGIN; SET LOCAL client_min_messages = error; ALTER TABLE apikey.account_policy DISABLE TRIGGER ALL; DELETE FROM apikey.account_policy WHERE account = '*'; SELECT * FROM pg_temp.says('account_policy'); ROLLBACK;
SELECT * FROM pg_temp.says('account_policy');
SELECT key_id AS doctored FROM apikey.issue('doctor-1', 'key') \gset
BEGIN; UPDATE apikey.pepper SET is_current = false; SELECT setting, severity, advice FROM pg_temp.says('peppers'); ROLLBACK;
SELECT setting, severity FROM pg_temp.says('peppers');
BEGIN; CREATE ROLE regress_apikey_reader BYPASSRLS; GRANT pg_read_all_data TO regress_apikey_reader; SELECT setting, value ~ 'regress_apikey_reader' AS named, severity FROM pg_temp.says('roles that read secrets'); ROLLBACK;
BEGIN; INSERT INTO apikey.account_policy (account, allowed_scopes) VALUES ('doctor-1', 'a:b'); SELECT setting, value::integer > 0 AS some, severity FROM pg_temp.says('policy_violations'); ROLLBACK;
BEGIN; UPDATE apikey.key SET created_at = created_at - interval '1 year' WHERE key_id = :'doctored'; SELECT setting, value::integer > 0 AS some, severity FROM pg_temp.says('keys_to_rotate'); ROLLBACK;
SELECT setting, severity FROM pg_temp.says('extension version');
\echo == Who may ask
CREATE ROLE regress_apikey_asks;
SET ROLE regress_apikey_asks; SELECT count(*) FROM apikey.doctor(); RESET ROLE;
SELECT apikey.grant_access('regress_apikey_asks', 'auditor');
SET ROLE regress_apikey_asks; SELECT count(*) > 10 AS answered FROM apikey.doctor(); SELECT * FROM apikey.doctor_of_database(); RESET ROLE;
SELECT apikey.revoke_access('regress_apikey_asks', 'auditor');
DROP ROLE regress_apikey_asks;
