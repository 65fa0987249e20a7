-- apikey.verify: required scopes against grants, the catalogue and its switches
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

\echo == Without a catalogue any well-formed scope exists
BEGIN;
DELETE FROM apikey.scope;
SELECT key FROM apikey.issue('verify-scope', 'k', '{calls:read,contacts:*,x:y:*,flat}') \gset
SELECT q.required, v.code, v.missing_scopes FROM (VALUES
    (1, NULL), (2, 'calls:read'), (3, 'calls:write'), (4, 'contacts:read'), (5, 'contacts:a:b:c'), (6, 'contacts'), (7, 'x:y:z'), (8, 'x:z'), (9, 'flat'), (10, 'flat:read'),
    (11, 'Calls:read'), (12, 'calls:read & contacts:write'), (13, 'calls:read, contacts:write'), (14, 'calls:read contacts:write'), (15, 'calls:read AND contacts:write'),
    (16, 'calls:write | contacts:write'), (17, 'calls:write or billing:read'), (18, 'calls:write & (billing:read | contacts:read)'),
    (19, 'calls:read & (billing:read | admin & root)'), (20, 'a:b & c:d | e:f'), (21, 'a:b | c:d'), (22, '(a:b & c:d) | (e:f & g:h)'), (23, 'a:b & a:b'),
    (24, 'calls:write & calls:write & flat')) q (n, required),
    LATERAL apikey.verify(:'key', q.required) v ORDER BY n;
SELECT q.required, v.code FROM (VALUES (1, 'anything:at:all'), (2, 'x')) q (n, required),
    LATERAL apikey.verify((SELECT key FROM apikey.issue('verify-scope', 'all', '{*}')), q.required) v ORDER BY n;

\echo == With one, a scope that is not listed is held by nobody
INSERT INTO apikey.scope (scope, description) VALUES ('calls:read', 'See'), ('calls:write', 'Place'), ('billing:read', 'See'), ('notes:*', 'All of it'), ('flat', 'One');
SELECT key AS star FROM apikey.issue('verify-scope', 'star', '{*}') \gset
SELECT q.required, v.code AS star, w.code AS first_key, v.missing_scopes FROM (VALUES
    (1, 'calls:read'), (2, 'calls:write'), (3, 'billing:read'), (4, 'billing:write'), (5, 'notes:read'), (6, 'notes:a:b'), (7, 'notes'), (8, 'flat'), (9, 'contacts:read'),
    (10, 'calls:read | contacts:read'), (11, NULL)) q (n, required),
    LATERAL apikey.verify(:'star', q.required) v, LATERAL apikey.verify(:'key', q.required) w ORDER BY n;
SELECT g.grants, pg_temp.fails(format('SELECT apikey.issue(%L, %L, %L)', 'verify-scope', 'grants', g.grants)) AS error FROM (VALUES
    (1, '{billing:write}'), (2, '{contacts:*}'), (3, '{calls:read,contacts:read}'), (4, '{calls:*}'), (5, '{notes:*}'), (6, '{notes:read}'), (7, '{notes:a:*}'), (8, '{*}'),
    (9, '{flat:*}'), (10, '{notes}')) g (n, grants) ORDER BY n;

\echo == A row a:* beside rows below it is description and switch; what exists is then what is listed
INSERT INTO apikey.scope (scope, description) VALUES ('calls:*', 'Telephony');
SELECT q.required, v.code FROM (VALUES (1, 'calls:read'), (2, 'calls:write'), (3, 'calls:delete')) q (n, required), LATERAL apikey.verify(:'star', q.required) v ORDER BY n;

\echo == Switched off
UPDATE apikey.scope SET enabled = false WHERE scope = 'calls:write';
SELECT q.required, v.code, v.missing_scopes, w.code AS without_grant FROM (VALUES (1, 'calls:read'), (2, 'calls:write'), (3, 'calls:read & calls:write'), (4, 'calls:read | calls:write'),
    (5, 'calls:write & billing:write')) q (n, required),
    LATERAL apikey.verify(:'star', q.required) v, LATERAL apikey.verify(:'key', q.required) w ORDER BY n;
UPDATE apikey.scope SET enabled = true WHERE scope = 'calls:write';
UPDATE apikey.scope SET enabled = false WHERE scope IN ('calls:*', 'notes:*');
SELECT q.required, v.code, v.missing_scopes FROM (VALUES (1, 'calls:read'), (2, 'calls:write'), (3, 'notes:read'), (4, 'notes:a:b'), (5, 'flat'), (6, 'calls:read | flat')) q (n, required),
    LATERAL apikey.verify(:'star', q.required) v ORDER BY n;
UPDATE apikey.scope SET enabled = true;
SELECT code FROM apikey.verify(:'star', 'calls:read & notes:read');
ROLLBACK;

\echo == A switched-off scope can still be granted (it comes on again)
BEGIN;
INSERT INTO apikey.scope (scope, enabled) VALUES ('later:read', false);
SELECT scopes FROM apikey.issue('verify-scope', 'for later', '{later:read}');
ROLLBACK;
