-- Bad input to every argument: a clear error or a verdict, nothing half written
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
-- Is the command refused with this SQLSTATE, the argument named, with detail and hint, and without repeating what was passed?
CREATE FUNCTION pg_temp.refused(call text, argument text, state text DEFAULT '22023') RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    BEGIN
        EXECUTE 'SELECT ' || call;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        RETURN CASE WHEN SQLSTATE <> state THEN 'wrong SQLSTATE'
                    WHEN concat_ws(' ', SQLERRM, detail) !~ format('(^|[^a-z_])%s($|[^a-z_])', argument) THEN 'argument not named'
                    WHEN detail = '' THEN 'no detail' WHEN hint = '' THEN 'no hint'
                    WHEN octet_length(SQLERRM || detail || hint) > 1000 THEN 'too long' END
               || format(': %s %s | %s | %s', SQLSTATE, left(SQLERRM, 200), left(detail, 200), left(hint, 200));
    END;
    RETURN 'not refused';
END $$;
CREATE TEMP TABLE big AS SELECT repeat('a', 1000000) AS text, array_fill('a'::text, '{1000000}') AS list, array_fill('a'::text, '{2,2}') AS square, array_fill('192.0.2.1'::text, '{1000000}') AS ips,
    jsonb_build_object('a', repeat('a', 1000000)) AS json, repeat('é', 200) AS wide;
CREATE FUNCTION pg_temp.big() RETURNS big LANGUAGE sql AS 'SELECT * FROM big';
SELECT key, key_id FROM apikey.issue('bad-input', 'the key', '{a}', allowed_ips => '{192.0.2.1}') \gset
SELECT key AS widget, key_id AS widget_id FROM apikey.issue('bad-input', 'the widget', '{a}', 'widget', allowed_origins => '{a.example}') \gset
CREATE TEMP VIEW everything AS
    SELECT (SELECT count(*) FROM apikey.key) AS keys, (SELECT count(*) FROM apikey.audit_log) AS audit_rows, (SELECT count(*) FROM apikey.pepper) AS peppers, (SELECT count(*) FROM apikey.kind) AS kinds,
           (SELECT count(*) FROM apikey.account_policy) AS policies, (SELECT count(*) FROM apikey.scope) AS scopes, (SELECT md5(string_agg(k::text, ',' ORDER BY key_id)) FROM apikey.key k WHERE account = 'bad-input') AS content;
CREATE TEMP TABLE before AS SELECT * FROM everything;

\echo == Management: NULL in the second column is what should be
CREATE TEMP TABLE bad (n serial, argument text, call text);
INSERT INTO bad (argument, call) VALUES
    ('account', $$apikey.issue(NULL, 'n')$$), ('account', $$apikey.issue('', 'n')$$), ('account', $$apikey.issue('*', 'n')$$), ('account', $$apikey.issue((big).text, 'n') FROM big() big$$), ('account', $$apikey.issue(wide, 'n') FROM big()$$), ('account', $$apikey.issue(E'a\x01', 'n')$$),
    ('name', $$apikey.issue('a', NULL)$$), ('name', $$apikey.issue('a', '')$$), ('name', $$apikey.issue('a', (big).text) FROM big() big$$), ('name', $$apikey.issue('a', wide) FROM big()$$), ('name', $$apikey.issue('a', E'\x7f')$$), ('name', $$apikey.issue('a', E'a\rb')$$),
    ('scopes', $$apikey.issue('a', 'n', '{}')$$), ('scopes', $$apikey.issue('a', 'n', '{NULL}')$$), ('scopes', $$apikey.issue('a', 'n', '{a,NULL}')$$), ('scopes', $$apikey.issue('a', 'n', '{""}')$$), ('scopes', $$apikey.issue('a', 'n', '{é}')$$), ('scopes', $$apikey.issue('a', 'n', (big).list) FROM big() big$$),
    ('scopes', $$apikey.issue('a', 'n', (big).square) FROM big() big$$), ('scopes', $$apikey.issue('a', 'n', ARRAY[(big).text]) FROM big() big$$), ('scopes', $$apikey.issue('a', 'n', (SELECT array_agg('s' || n) FROM generate_series(1, 257) n))$$),
    ('kind', $$apikey.issue('a', 'n', kind => NULL)$$), ('kind', $$apikey.issue('a', 'n', kind => '')$$), ('kind', $$apikey.issue('a', 'n', kind => (big).text) FROM big() big$$), ('kind', $$apikey.issue('a', 'n', kind => E'\n')$$), ('kind', $$apikey.issue('a', 'n', kind => 'session')$$),
    ('allowed_ips', $$apikey.issue('a', 'n', allowed_ips => '{NULL}')$$), ('allowed_ips', $$apikey.issue('a', 'n', allowed_ips => '{""}')$$), ('allowed_ips', $$apikey.issue('a', 'n', allowed_ips => (big).ips) FROM big() big$$), ('allowed_ips', $$apikey.issue('a', 'n', allowed_ips => (big).square) FROM big() big$$),
    ('allowed_ips', $$apikey.issue('a', 'n', allowed_ips => ARRAY[(big).text]) FROM big() big$$), ('allowed_ips', $$apikey.issue('a', 'n', allowed_ips => '{192.0.2.1/24}')$$), ('allowed_ips', $$apikey.issue('a', 'n', allowed_ips => '{10}')$$),
    ('allowed_origins', $$apikey.issue('a', 'n', '{a}', 'widget')$$), ('allowed_origins', $$apikey.issue('a', 'n', '{a}', 'widget', allowed_origins => '{NULL}')$$), ('allowed_origins', $$apikey.issue('a', 'n', '{a}', 'widget', allowed_origins => (big).list) FROM big() big$$),
    ('allowed_origins', $$apikey.issue('a', 'n', '{a}', 'widget', allowed_origins => (big).square) FROM big() big$$), ('allowed_origins', $$apikey.issue('a', 'n', '{a}', 'widget', allowed_origins => ARRAY[(big).text]) FROM big() big$$), ('allowed_origins', $$apikey.issue('a', 'n', allowed_origins => '{a.example}')$$),
    ('allowed_origins', $$apikey.issue('a', 'n', '{a}', 'widget', allowed_origins => ARRAY[repeat(',', 1000)])$$), ('allowed_origins', $$apikey.issue('a', 'n', '{a}', 'widget', allowed_origins => ARRAY[repeat('a.example,', 1001)])$$),
    ('expires_at', $$apikey.issue('a', 'n', expires_at => '-infinity')$$), ('expires_at', $$apikey.issue('a', 'n', expires_at => '2000-01-01')$$), ('expires_at', $$apikey.issue('a', 'n', expires_at => '4713-01-01 BC')$$),
    ('expires_in', $$apikey.issue('a', 'n', expires_in => '0')$$), ('expires_in', $$apikey.issue('a', 'n', expires_in => '-1 s')$$), ('expires_in', $$apikey.issue('a', 'n', expires_in => '178000000 years')$$), ('expires_in', $$apikey.issue('a', 'n', expires_in => '-178000000 years')$$),
    ('expires_in', $$apikey.issue('a', 'n', expires_in => '2147483647 days')$$), ('expires_in', $$apikey.issue('a', 'n', expires_in => '2562047788 hours')$$), ('expires_in', $$apikey.issue('a', 'n', expires_in => '-178000000 years 2562047788 hours')$$),
    ('expires_in', $$apikey.issue('a', 'n', expires_in => '1 day', expires_at => 'infinity')$$),
    ('metadata', $$apikey.issue('a', 'n', metadata => '[]')$$), ('metadata', $$apikey.issue('a', 'n', metadata => '1')$$), ('metadata', $$apikey.issue('a', 'n', metadata => (big).json) FROM big() big$$), ('metadata', $$apikey.issue('a', 'n', metadata => to_jsonb((big).list)) FROM big() big$$),
    ('key_id', 'apikey.rotate(NULL)'), ('overlap', 'apikey.rotate(KEY, ''-1 s'')'), ('overlap', 'apikey.rotate(KEY, ''178000000 years'')'), ('overlap', 'apikey.rotate(KEY, ''-178000000 years'')'), ('overlap', 'apikey.rotate(KEY, ''1 day -25 hours'')'), ('expires_at', 'apikey.rotate(KEY, expires_at => ''-infinity'')'),
    ('expires_at', 'apikey.rotate(KEY, expires_at => ''2000-01-01'')'), ('expires_in', 'apikey.rotate(KEY, expires_in => ''-1 day'')'), ('expires_in', 'apikey.rotate(KEY, expires_in => ''178000000 years'')'),
    ('key_id', 'apikey.alter_key(NULL)'), ('name', 'apikey.alter_key(KEY, name => '''')'), ('name', 'apikey.alter_key(KEY, name => (big).text) FROM big() big'), ('name', 'apikey.alter_key(KEY, name => E''\n'')'), ('scopes', 'apikey.alter_key(KEY, scopes => ''{}'')'),
    ('scopes', 'apikey.alter_key(KEY, scopes => ''{NULL}'')'), ('scopes', 'apikey.alter_key(KEY, scopes => ''{a b}'')'), ('scopes', 'apikey.alter_key(KEY, scopes => (big).list) FROM big() big'), ('scopes', 'apikey.alter_key(KEY, scopes => (big).square) FROM big() big'),
    ('allowed_ips', 'apikey.alter_key(KEY, allowed_ips => ''{x}'')'), ('allowed_ips', 'apikey.alter_key(KEY, allowed_ips => ''{NULL}'')'), ('allowed_ips', 'apikey.alter_key(KEY, allowed_ips => (big).ips) FROM big() big'), ('allowed_ips', 'apikey.alter_key(KEY, allowed_ips => (big).square) FROM big() big'),
    ('allowed_origins', 'apikey.alter_key(KEY, allowed_origins => ''{a.example}'')'), ('allowed_origins', 'apikey.alter_key(WIDGET, allowed_origins => ''{}'')'), ('allowed_origins', 'apikey.alter_key(WIDGET, allowed_origins => ''{x}'')'), ('allowed_origins', 'apikey.alter_key(WIDGET, allowed_origins => (big).list) FROM big() big'),
    ('expires_at', 'apikey.alter_key(KEY, expires_at => ''-infinity'')'), ('expires_at', 'apikey.alter_key(KEY, expires_at => ''2000-01-01'')'), ('metadata', 'apikey.alter_key(KEY, metadata => ''"x"'')'), ('metadata', 'apikey.alter_key(KEY, metadata => (big).json) FROM big() big'),
    ('key_id', 'apikey.disable(NULL)'), ('key_id', 'apikey.enable(NULL)'), ('key_id', 'apikey.revoke(NULL)'), ('account', 'apikey.revoke_account(NULL)'), ('account', 'apikey.revoke_account('''')'), ('account', 'apikey.revoke_account(''*'')'), ('account', 'apikey.revoke_account((big).text) FROM big() big'),
    ('account', 'apikey.list_keys(NULL)'), ('account', 'apikey.list_keys('''')'), ('account', 'apikey.list_keys((big).text) FROM big() big'), ('document', 'apikey.find_keys(repeat(''a'', 67108865))'), ('document', 'apikey.revoke_leaked(repeat(''a'', 100000000))'),
    ('kind', 'apikey.scan_pattern(NULL)'), ('kind', 'apikey.scan_pattern('''')'), ('kind', 'apikey.scan_pattern((big).text) FROM big() big'), ('older_than', 'apikey.purge(NULL)'), ('older_than', 'apikey.purge(''-1 s'')'), ('older_than', 'apikey.purge(''178000000 years'')'),
    ('older_than', 'apikey.purge(''-178000000 years'')'), ('account', 'apikey.purge(''100 years'', account => '''')'), ('id', 'apikey.set_current_pepper(NULL)'), ('id', 'apikey.set_current_pepper(-1)'), ('id', 'apikey.set_current_pepper(2147483647)'), ('id', 'apikey.retire_pepper(NULL)'), ('id', 'apikey.retire_pepper(0)'),
    ('role', 'apikey.grant_access(NULL, ''verifier'')'), ('role', 'apikey.grant_access('''', ''verifier'')'), ('role', 'apikey.grant_access(''regress_apikey_absent'', ''verifier'')'), ('level', 'apikey.grant_access(current_user, NULL)'), ('level', 'apikey.grant_access(current_user, '''')'),
    ('level', 'apikey.grant_access(current_user, (big).text) FROM big() big'), ('level', 'apikey.revoke_access(current_user, ''Verifier'')'), ('level', 'apikey.revoke_access(current_user, NULL)');
SELECT argument, left(call, 90) AS call, pg_temp.refused(replace(replace(replace(call, 'big()', 'pg_temp.big()'), 'KEY', quote_literal(:'key_id')), 'WIDGET', quote_literal(:'widget_id')), argument) AS wrong
FROM bad ORDER BY n;

\echo == Guards and roles that can not be: KA404 and KA403
SELECT c.call, pg_temp.refused(replace(c.call, 'KEY', quote_literal(:'key_id')), c.word, c.state) AS wrong FROM (VALUES
    (1, 'KA404', 'key', $$apikey.rotate(KEY, account => '')$$), (2, 'KA404', 'key', $$apikey.rotate(KEY, account => (big).text) FROM pg_temp.big() big$$), (3, 'KA404', 'key', $$apikey.alter_key(KEY, account => (big).text) FROM pg_temp.big() big$$),
    (4, 'KA404', 'key', $$apikey.disable(KEY, account => (big).text) FROM pg_temp.big() big$$), (5, 'KA404', 'key', $$apikey.revoke(KEY, account => '*')$$), (6, 'KA404', 'key', $$apikey.enable('ffffffff-ffff-ffff-ffff-ffffffffffff')$$),
    (7, 'KA403', 'db_role', $$apikey.issue('a', 'n', db_role => (big).text) FROM pg_temp.big() big$$), (8, 'KA403', 'db_role', $$apikey.issue('a', 'n', db_role => '')$$), (9, 'KA403', 'db_role', $$apikey.alter_key(KEY, db_role => (big).text) FROM pg_temp.big() big$$)) c (n, state, word, call) ORDER BY n;

\echo == verify: whatever a stranger sends is a verdict
SELECT c.what, v.code FROM (VALUES (1, 'key of 100 MB', repeat('a', 100000000), NULL, NULL, NULL), (2, 'address of 100 MB', :'key', repeat('a', 100000000), NULL, NULL), (3, 'origin of 100 MB', :'widget', NULL, repeat('a', 100000000), NULL),
    (4, 'account of 100 MB', :'key', '192.0.2.1', NULL, repeat('a', 100000000)), (5, 'empty account', :'key', '192.0.2.1', NULL, ''), (6, 'origin of wide characters', :'widget', NULL, repeat('é', 200), NULL), (7, 'control characters in all', E'\x01', E'\x01', E'\x01', E'\x01'),
    (8, 'nothing wrong', :'key', '192.0.2.1', NULL, NULL)) c (n, what, key, ip, origin, account), LATERAL apikey.verify(c.key, 'a', c.ip, c.origin, c.account) v ORDER BY n;
SELECT code FROM apikey.verify(:'key', 'a', '192.0.2.1', method => repeat('a', 100000000), path => repeat('a', 100000000), request_id => repeat('a', 100000000));
SELECT code FROM apikey.verify(:'key', 'a', '192.0.2.1', cost => 2147483647, method => '', path => E'\x01', request_id => '');
SELECT code FROM apikey.verify(:'key', NULL, '192.0.2.1', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT step, passed FROM apikey.explain(repeat('a', 100000000));
\echo == ... and what the programmer wrote an error
SELECT left(c.call, 70) AS call, pg_temp.refused('apikey.' || f || '(' || replace(c.call, 'KEY', quote_literal(:'key')), c.argument) AS wrong FROM unnest('{verify,explain}'::text[]) f, (VALUES
    (1, 'required', 'KEY, repeat(''a'', 100000000))'), (2, 'required', 'NULL, '''')'), (3, 'required', 'KEY, ''é'')'), (4, 'required', 'KEY, ''a &'')'), (5, 'required', 'KEY, repeat(''('', 500) || ''a'' || repeat('')'', 499))'), (6, 'required', 'KEY, repeat(''a '', 101))'),
    (7, 'kinds', 'KEY, kinds => (big).list) FROM pg_temp.big() big'), (8, 'kinds', 'KEY, kinds => (big).square) FROM pg_temp.big() big'), (9, 'kinds', 'KEY, kinds => ''{NULL}'')'), (10, 'kinds', 'KEY, kinds => ARRAY[repeat(''a'', 100000000)])'), (11, 'kinds', 'NULL, kinds => ''{""}'')'),
    (12, 'cost', 'KEY, cost => -1)'), (13, 'cost', 'NULL, cost => -2147483648)')) c (n, argument, call) ORDER BY f DESC, n;

\echo == The types
SELECT c.call, left(pg_temp.refused(c.call, c.word, c.state), 150) AS wrong FROM (VALUES (1, '22P02', 'scopes', $$(big).text::apikey.scopes FROM pg_temp.big() big$$), (2, '22P02', 'list', $$repeat('a ', 100000)::apikey.scopes IS NOT NULL AND repeat('b', 129)::apikey.scopes IS NULL$$),
    (3, '22P02', 'scopes', $$((big).list)::apikey.scopes FROM pg_temp.big() big$$), (4, '22P02', 'scopes', $$((big).square)::apikey.scopes FROM pg_temp.big() big$$), (5, '22P02', 'scopes', $$to_jsonb((big).list)::apikey.scopes FROM pg_temp.big() big$$),
    (6, '22P02', 'query', $$(big).text::apikey.scope_query FROM pg_temp.big() big$$), (7, '22023', 'scope', $$apikey.covers('a', (big).text) FROM pg_temp.big() big$$), (8, '22023', 'query', $$apikey.satisfies('a', (big).text) FROM pg_temp.big() big$$),
    (9, '22023', 'query', $$apikey.missing_scopes('a', '')$$), (10, '22023', 'scope', $$apikey.covers('a', '')$$)) c (n, state, word, call) ORDER BY n;
SELECT apikey.covers(NULL, 'a') IS NULL AND apikey.covers('a', NULL) IS NULL AND apikey.satisfies(NULL, 'a') IS NULL AND apikey.missing_scopes('a', NULL) IS NULL AS null_in_null_out;

\echo == Recorded texts are cut, not refused
SELECT apikey.alter_key(:'key_id', name => 'x', actor => (pg_temp.big()).text) AS changed;
SELECT octet_length(actor) FROM apikey.audit_log WHERE key_id = :'key_id' AND action = 'alter';
SELECT apikey.alter_key(:'key_id', name => 'the key', actor => E'line\nbreak') AS changed;
SELECT actor FROM apikey.audit_log WHERE key_id = :'key_id' AND action = 'alter' ORDER BY occurred_at DESC LIMIT 1;
DELETE FROM apikey.audit_log WHERE key_id = :'key_id' AND action = 'alter';
SELECT count(*) AS found FROM apikey.find_keys(NULL);
SELECT count(*) AS found FROM apikey.find_keys('');
SELECT count(*) AS found FROM apikey.find_keys(repeat('ak_', 20000000) || :'key');

\echo == Nothing half written
SELECT b.* IS NOT DISTINCT FROM e.* AS unchanged FROM before b, everything e;
SELECT key_id AS id2 FROM apikey.issue('bad-input-2', 'reason', actor => (pg_temp.big()).wide) \gset
SELECT apikey.revoke(:'id2', reason => (pg_temp.big()).text) AS revoked;
SELECT octet_length(created_by) AS created_by, octet_length(revoke_reason) AS reason FROM apikey.keys WHERE key_id = :'id2';
