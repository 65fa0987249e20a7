-- Members and capabilities: who may manage keys where policy enforces it
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
    RETURN regexp_replace(concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, '')),
                          '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g');
END $$;
-- Runs a command and undoes it: what it said
CREATE FUNCTION pg_temp.tries(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RAISE EXCEPTION USING ERRCODE = '00001', MESSAGE = 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN CASE SQLSTATE WHEN '00001' THEN 'done' ELSE SQLSTATE || ' ' || SQLERRM END;
END $$;

\echo == Nonsense is refused, by a constraint whose name tells why
SELECT c.n, split_part(pg_temp.fails('INSERT INTO apikey.' || c.target || ' VALUES (' || c.row || ')'), '|', 1) AS error FROM (VALUES
    (1, 'member (account, subject, role)', $$'', 'a', 'r'$$), (2, 'member (account, subject, role)', $$E'a\n', 'a', 'r'$$), (3, 'member (account, subject, role)', $$repeat('a', 256), 'a', 'r'$$),
    (4, 'member (account, subject, role)', $$NULL, 'a', 'r'$$), (5, 'member (account, subject, role)', $$'a', '', 'r'$$), (6, 'member (account, subject, role)', $$'a', '*', 'r'$$),
    (7, 'member (account, subject, role)', $$'a', E'\t', 'r'$$), (8, 'member (account, subject, role)', $$'a', repeat('s', 256), 'r'$$), (9, 'member (account, subject, role)', $$'a', NULL, 'r'$$),
    (10, 'member (account, subject, role)', $$'a', 'a', ''$$), (11, 'member (account, subject, role)', $$'a', 'a', '*'$$), (12, 'member (account, subject, role)', $$'a', 'a', NULL$$), (13, 'member (account, subject, role)', $$'a', 'a', E'\x7f'$$),
    (14, 'capability (role, action)', $$'owner', 'delete'$$), (15, 'capability (role, action)', $$'owner', '*'$$), (16, 'capability (role, action)', $$'owner', 'Create'$$), (17, 'capability (role, action)', $$'owner', NULL$$),
    (18, 'capability (role, action)', $$'*', 'view'$$), (19, 'capability (role, action)', $$'', 'view'$$), (20, 'capability (role, action)', $$NULL, 'view'$$)) c (n, target, row) ORDER BY n;
SELECT (SELECT count(*) FROM apikey.member) AS members, (SELECT count(*) FROM apikey.capability) AS capabilities_shipped;

\echo == Members do not matter until policy says so
SELECT name FROM apikey.issue('mem-1', 'first', actor => 'stranger');

\echo == Then nobody may do anything, actor or not, but with level admin and without an actor
INSERT INTO apikey.account_policy (account, enforce_members) VALUES ('mem-1', true), ('mem-2', true);
CREATE TEMP TABLE mem_key AS SELECT i.account, i.name, i.key, i.key_id FROM (VALUES ('mem-1'), ('mem-2'), ('mem-free')) a (name), LATERAL apikey.issue(a.name, 'key') i;
GRANT SELECT ON mem_key TO PUBLIC;
SELECT key_id AS id1, key AS key1 FROM mem_key WHERE account = 'mem-1' \gset
SELECT key_id AS id2, key AS key2 FROM mem_key WHERE account = 'mem-2' \gset
SELECT apikey.set_credits(:'id1', 5) AS credits, apikey.set_account_credits('mem-1', 5) AS credits;
CREATE FUNCTION pg_temp.calls(actor text) RETURNS TABLE (n integer, call text, command text) LANGUAGE sql AS $$
    SELECT c.n, c.call, replace(replace(c.command, ':id', (SELECT quote_literal(key_id) FROM mem_key WHERE account = 'mem-1')), ':actor', quote_nullable(actor)) FROM (VALUES
        (1, 'issue', 'SELECT apikey.issue(''mem-1'', ''by an actor'', actor => :actor)'),
        (2, 'list_keys', 'SELECT apikey.list_keys(''mem-1'', :actor)'),
        (3, 'alter_key', 'SELECT apikey.alter_key(:id, name => ''renamed'', actor => :actor)'),
        (4, 'disable', 'SELECT apikey.disable(:id, :actor)'),
        (5, 'enable', 'SELECT apikey.enable(:id, :actor)'),
        (6, 'rotate', 'SELECT apikey.rotate(:id, actor => :actor)'),
        (7, 'revoke', 'SELECT apikey.revoke(:id, ''test'', :actor)'),
        (8, 'revoke_account', 'SELECT apikey.revoke_account(''mem-1'', ''test'', :actor)'),
        (9, 'revoke_leaked', 'SELECT apikey.revoke_leaked((SELECT key FROM mem_key WHERE account = ''mem-1''), ''test'', :actor)'),
        (10, 'purge', 'SELECT apikey.purge(''0'', ''mem-1'', :actor)'),
        (11, 'set_limit', 'SELECT apikey.set_limit(:id, ''few'', 10, ''1 minute'', :actor)'),
        (12, 'set_credits', 'SELECT apikey.set_credits(:id, 10, :actor)'),
        (13, 'add_credits', 'SELECT apikey.add_credits(:id, 1, :actor)'),
        (14, 'set_account_credits', 'SELECT apikey.set_account_credits(''mem-1'', 10, :actor)'),
        (15, 'add_account_credits', 'SELECT apikey.add_account_credits(''mem-1'', 1, :actor)'),
        (16, 'import_key', 'SELECT apikey.import_key(''mem-1'', ''imported'', ''sha256'', repeat(''0a'', 32), actor => :actor)')) c (n, call, command) $$;
SELECT c.call, pg_temp.tries(c.command) AS stranger, pg_temp.tries(d.command) AS nobody_but_superuser
FROM pg_temp.calls('stranger') c JOIN pg_temp.calls(NULL) d USING (n) ORDER BY n;

\echo == Product W: owners manage, admins and members look; a role may also have one part only
INSERT INTO apikey.capability (role, action) VALUES ('owner', 'create'), ('owner', 'view'), ('owner', 'update'), ('owner', 'revoke'), ('admin', 'view'), ('member', 'view'),
    ('creator', 'create'), ('updater', 'update'), ('revoker', 'revoke'), ('turner', 'create'), ('turner', 'revoke');
INSERT INTO apikey.member (account, subject, role) VALUES ('mem-1', 'olga', 'owner'), ('mem-1', 'adam', 'admin'), ('mem-1', 'mia', 'member'), ('mem-1', 'carl', 'creator'), ('mem-1', 'uma', 'updater'),
    ('mem-1', 'rita', 'revoker'), ('mem-1', 'tom', 'turner'), ('mem-1', 'ned', 'a role that can do nothing'), ('mem-2', 'oscar', 'owner'), ('*', 'staff', 'member');
SELECT c.call, a.actor, pg_temp.tries(c.command) AS result
FROM (VALUES (1, 'olga'), (2, 'adam'), (3, 'mia'), (4, 'carl'), (5, 'uma'), (6, 'rita'), (7, 'tom'), (8, 'ned'), (9, 'oscar'), (10, 'staff')) a (m, actor), LATERAL pg_temp.calls(a.actor) c ORDER BY c.n, a.m;

\echo == What the refusals say
SELECT pg_temp.fails($$SELECT apikey.issue('mem-1', 'x', actor => 'stranger')$$) AS stranger, pg_temp.fails($$SELECT apikey.issue('mem-1', 'x', actor => 'mia')$$) AS member \gx
-- before anything else about the account is told, and after a wrong guard
SELECT pg_temp.fails($$SELECT apikey.issue('mem-1', 'x', kind => 'widget', actor => 'mia')$$) AS before_rules, pg_temp.fails(format('SELECT apikey.revoke(%L, NULL, %L, %L)', :'id1', 'mia', 'mem-2')) AS guard \gx

\echo == An actor is a member word for word; the empty one and one too long are nobody
SELECT a.n, pg_temp.tries(format('SELECT apikey.list_keys(%L, %L)', 'mem-1', a.actor)) AS result FROM (VALUES (1, 'mia'), (2, 'MIA'), (3, 'mia '), (4, ''), (5, '%'), (6, 'mi_'), (7, '*')) a (n, actor) ORDER BY n;
INSERT INTO apikey.member (account, subject, role) VALUES ('mem-1', repeat('s', 255), 'owner'), ('mem-1', 'a\x0ab', 'owner');
SELECT a.n, pg_temp.tries(format('SELECT apikey.list_keys(%L, %L)', 'mem-1', a.actor)) AS view, pg_temp.tries(format('SELECT apikey.disable(%L, %L)', :'id1', a.actor)) AS "update",
       pg_temp.tries(format('SELECT apikey.issue(%L, %L, actor => %L)', 'mem-1', 'k', a.actor)) AS "create", pg_temp.tries(format('SELECT apikey.rotate(%L, actor => %L)', :'id1', a.actor)) AS rotate
FROM (VALUES (1, repeat('s', 255)), (2, repeat('s', 256)), (3, repeat('s', 5000)), (4, E'a\nb'), (5, 'a\x0ab')) a (n, actor) ORDER BY n;
-- the same where the setting names it
SET apikey.actor = 'olga';
SELECT pg_temp.tries($$SELECT apikey.list_keys('mem-1')$$) AS olga, pg_temp.tries($$SELECT apikey.list_keys('mem-1', 'mia')$$) AS mia, pg_temp.tries($$SELECT apikey.issue('mem-1', 'k', actor => 'mia')$$) AS argument_wins;
SELECT set_config('apikey.actor', repeat('s', 256), false) IS NOT NULL AS too_long;
SELECT c.call, pg_temp.tries(c.command) AS result FROM pg_temp.calls(NULL) c ORDER BY n;
RESET apikey.actor;
DELETE FROM apikey.member WHERE account = 'mem-1' AND subject IN (repeat('s', 255), 'a\x0ab');

\echo == A row for every account counts beside those of one account
INSERT INTO apikey.member (account, subject, role) VALUES ('*', 'adam', 'revoker');
SELECT a.account, pg_temp.tries(format('SELECT apikey.list_keys(%L, %L)', a.account, 'adam')) AS view, pg_temp.tries(format('SELECT apikey.revoke_account(%L, NULL, %L)', a.account, 'adam')) AS revoke,
       pg_temp.tries(format('SELECT apikey.issue(%L, %L, actor => %L)', a.account, 'k', 'adam')) AS "create" FROM (VALUES ('mem-1'), ('mem-2'), ('mem-free')) a (account) ORDER BY 1;
DELETE FROM apikey.member WHERE (account, subject) = ('*', 'adam');

\echo == Nothing is half done: keys of two accounts in one call, of which the actor may revoke one
INSERT INTO apikey.member (account, subject, role) VALUES ('mem-2', 'rita', 'member');
SELECT pg_temp.fails(format('SELECT apikey.revoke_leaked(%L, %L, %L)', concat_ws(' ', :'key1', :'key2'), 'leaked', 'rita')) AS refused;
SELECT account, status FROM apikey.keys WHERE key_id IN (:'id1', :'id2') ORDER BY account;
UPDATE apikey.member SET role = 'revoker' WHERE (account, subject) = ('mem-2', 'rita');
BEGIN;
SELECT account, revoked FROM apikey.revoke_leaked(concat_ws(' ', :'key1', :'key2'), 'leaked', 'rita') ORDER BY account;
SELECT account, revoked_by FROM apikey.keys WHERE key_id IN (:'id1', :'id2') ORDER BY account;
-- purge of all accounts asks each whose keys would go
SELECT apikey.purge('0', actor => 'rita') >= 2 AS purged;
ROLLBACK;
UPDATE apikey.member SET role = 'member' WHERE (account, subject) = ('mem-2', 'rita');
BEGIN;
SELECT apikey.revoke_account('mem-1', NULL, 'olga') AS revoked, apikey.revoke_account('mem-2', NULL, 'oscar') AS revoked;
SELECT pg_temp.fails($$SELECT apikey.purge('0', actor => 'rita')$$) AS purge;
SELECT count(*) AS still_there FROM apikey.keys WHERE account IN ('mem-1', 'mem-2') AND status = 'revoked';
ROLLBACK;

\echo == What the transaction itself changed counts, and is undone by rollback
BEGIN;
DELETE FROM apikey.member WHERE (account, subject) = ('mem-1', 'olga');
SELECT pg_temp.tries($$SELECT apikey.issue('mem-1', 'k', actor => 'olga')$$) AS removed;
SAVEPOINT s;
INSERT INTO apikey.member (account, subject, role) VALUES ('mem-1', 'olga', 'updater');
SELECT pg_temp.tries($$SELECT apikey.issue('mem-1', 'k', actor => 'olga')$$) AS back_with_less;
DELETE FROM apikey.capability WHERE (role, action) = ('updater', 'update');
SELECT pg_temp.tries(format('SELECT apikey.disable(%L, %L)', :'id1', 'olga')) AS capability_gone;
TRUNCATE apikey.member;
SELECT pg_temp.tries(format('SELECT apikey.disable(%L, %L)', :'id1', 'olga')) AS truncated;
ROLLBACK;
SELECT pg_temp.tries($$SELECT apikey.issue('mem-1', 'k', actor => 'olga')$$) AS undone;

\echo == Without an actor it is the role of the session that counts, not the owner of a function in between
CREATE ROLE regress_mem_issuer; CREATE ROLE regress_mem_admin; CREATE ROLE regress_mem_chief; CREATE ROLE regress_mem_deputy NOINHERIT;
GRANT regress_mem_admin TO regress_mem_chief, regress_mem_deputy;
SELECT apikey.grant_access('regress_mem_issuer', 'issuer'), apikey.grant_access('regress_mem_admin', 'admin'), apikey.grant_access('regress_mem_deputy', 'issuer') \gset ignored_
CREATE SCHEMA mem_test;
GRANT CREATE, USAGE ON SCHEMA mem_test TO PUBLIC;
CREATE FUNCTION mem_test.by_superuser(command text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN EXECUTE command; RETURN 'done'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM; END $$;
SET ROLE regress_mem_issuer;
CREATE FUNCTION mem_test.by_issuer(command text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN EXECUTE command; RETURN 'done'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM; END $$;
CREATE MATERIALIZED VIEW mem_test.lure AS SELECT mem_test.by_issuer($$SELECT apikey.issue('mem-1', 'by maintenance')$$) AS result WITH NO DATA;
SELECT c.call, pg_temp.tries(c.command) AS issuer, pg_temp.tries(d.command) AS issuer_with_actor FROM pg_temp.calls(NULL) c JOIN pg_temp.calls('tom') d USING (n) WHERE n IN (1, 2, 3, 7) ORDER BY n;
SELECT mem_test.by_superuser($$SELECT apikey.list_keys('mem-1')$$) AS list_keys, mem_test.by_superuser($$SELECT apikey.issue('mem-1', 'k')$$) AS issue;
SET ROLE regress_mem_admin;
SELECT c.call, pg_temp.tries(c.command) AS admin FROM pg_temp.calls(NULL) c ORDER BY n;
SELECT c.call, pg_temp.tries(c.command) AS admin_who_names_a_stranger FROM pg_temp.calls('stranger') c WHERE n IN (1, 2, 3, 7) ORDER BY n;
SET ROLE regress_mem_chief;
SELECT pg_temp.tries($$SELECT apikey.list_keys('mem-1')$$) AS member_of_admin;
SET ROLE regress_mem_deputy;
SELECT pg_temp.tries($$SELECT apikey.list_keys('mem-1')$$) AS member_that_does_not_inherit;
RESET ROLE;
SET SESSION AUTHORIZATION regress_mem_deputy;
SET ROLE regress_mem_admin;
SELECT pg_temp.tries($$SELECT apikey.list_keys('mem-1')$$) AS role_set;
RESET SESSION AUTHORIZATION;
-- what somebody hid in a table or view does not act with the level of whoever maintains it
REFRESH MATERIALIZED VIEW mem_test.lure;
SELECT result FROM mem_test.lure;
SELECT apikey.revoke_access('regress_mem_admin', 'admin'), apikey.grant_access('regress_mem_admin', 'issuer') \gset ignored_
SET ROLE regress_mem_admin;
SELECT pg_temp.tries($$SELECT apikey.list_keys('mem-1')$$) AS level_taken_away;
RESET ROLE;
SELECT apikey.revoke_access('regress_mem_admin', 'issuer'), apikey.revoke_access('regress_mem_issuer', 'issuer'), apikey.revoke_access('regress_mem_deputy', 'issuer') \gset ignored_
DROP SCHEMA mem_test CASCADE;
DROP ROLE regress_mem_issuer, regress_mem_admin, regress_mem_chief, regress_mem_deputy;

\echo == Every change leaves an audit row
BEGIN;
SET LOCAL apikey.actor = 'operator';
UPDATE apikey.member SET role = 'owner' WHERE (account, subject) = ('mem-1', 'mia');
DELETE FROM apikey.member WHERE (account, subject) = ('*', 'staff');
INSERT INTO apikey.capability (role, action) VALUES ('admin', 'update');
TRUNCATE apikey.member, apikey.capability;
SELECT action, account, object, old, new FROM apikey.audit_log WHERE actor = 'operator' ORDER BY audit_id;
ROLLBACK;

\echo == Faults of the caller
SELECT c.n, pg_temp.fails('SELECT apikey.require_capability(' || c.arguments || ')') AS error FROM (VALUES (1, $$'mem-1', 'delete', 'olga'$$), (2, $$'mem-1', NULL, 'olga'$$), (3, $$NULL, 'view', 'olga'$$), (4, $$'*', 'view', 'olga'$$), (5, $$'mem-1', 'view', 'olga'$$)) c (n, arguments) ORDER BY n;
SELECT c.call, pg_temp.tries(c.command) AS of_the_account_without_enforcement FROM pg_temp.calls(NULL) c WHERE n = 1;

SELECT apikey.set_account_credits('mem-1', NULL);
DELETE FROM apikey.member;
DELETE FROM apikey.capability;
DELETE FROM apikey.account_policy WHERE account LIKE 'mem-%';
DELETE FROM apikey.key WHERE account LIKE 'mem-%';
