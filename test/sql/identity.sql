-- Identity: authenticate, the helpers, what ends it, and attempts to forge it
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
    RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
-- Who are we?
CREATE FUNCTION pg_temp.who() RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN apikey.is_authenticated()
                THEN concat_ws(' ', apikey.current_account(), apikey.current_scopes()::text, apikey.current_metadata()::text,
                               (SELECT k.name FROM apikey.keys k WHERE k.key_id = apikey.current_key_id()))
                WHEN apikey.current_key_id() IS NULL AND apikey.current_account() IS NULL AND apikey.current_scopes() IS NULL
                     AND apikey.current_metadata() IS NULL AND NOT apikey.allows('docs:read') THEN 'nobody'
                ELSE 'half of somebody' END $$;

SELECT key AS one, key_id AS one_id FROM apikey.issue('identity-1', 'key one', '{docs:read}', metadata => '{"sub": "u1"}') \gset
SELECT key AS two, key_id AS two_id FROM apikey.issue('identity-2', 'key two', '{*}') \gset
SELECT key AS gone, key_id AS gone_id FROM apikey.issue('identity-3', 'revoked') \gset
SELECT key AS off, key_id AS off_id FROM apikey.issue('identity-3', 'disabled') \gset
SELECT key AS past, key_id AS past_id FROM apikey.issue('identity-3', 'expired', expires_in => '1 day') \gset
SELECT key AS listed, key_id AS listed_id FROM apikey.issue('identity-3', 'with addresses', allowed_ips => '{192.0.2.1}') \gset
SELECT apikey.revoke(:'gone_id') AND apikey.disable(:'off_id') AS made;
UPDATE apikey.key SET expires_at = clock_timestamp() WHERE key_id = :'past_id';

\echo == The functions
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, p.provolatile AS volatile, p.proparallel AS parallel, p.proisstrict AS strict, p.prosecdef AS definer
FROM pg_proc p WHERE p.pronamespace = 'apikey'::regnamespace
    AND p.proname IN ('authenticate', 'current_key_id', 'current_account', 'current_scopes', 'current_metadata', 'is_authenticated', 'allows')
ORDER BY p.proname COLLATE "C" \gx

\echo == Without identity
SELECT pg_temp.who() AS who, apikey.current_key_id() AS key_id, apikey.current_account() AS account, apikey.current_scopes() AS scopes,
       apikey.current_metadata() AS metadata, apikey.is_authenticated() AS is_authenticated, apikey.allows('docs:read') AS allows, apikey.allows(NULL) AS allows_null;

\echo == In a transaction
BEGIN;
SELECT ok, code, status, message, key_id = :'one_id' AS key_id, account, scopes, metadata FROM apikey.authenticate(:'one', 'docs:read', method => 'GET', path => '/docs');
SELECT pg_temp.who() AS who, apikey.current_key_id() = :'one_id' AS key_id;
SELECT q.query, apikey.allows(q.query) AS allows FROM (VALUES (1, 'docs:read'), (2, 'docs:write'), (3, 'docs'), (4, 'docs:read docs:write'), (5, 'docs:write | docs:read'),
    (6, 'docs:read and (a or docs:read)'), (7, NULL)) q (n, query) ORDER BY n;
COMMIT;
SELECT pg_temp.who() AS committed;
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); ROLLBACK;
SELECT pg_temp.who() AS rolled_back;
BEGIN READ ONLY; SELECT ok FROM apikey.authenticate(:'one'); SELECT pg_temp.who() AS who, pg_current_xact_id_if_assigned() AS xid; COMMIT;
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); SELECT 1/0; ROLLBACK;
SELECT pg_temp.who() AS failed;
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); CREATE TEMP TABLE t () ON COMMIT DROP; ROLLBACK AND CHAIN;
SELECT pg_temp.who() AS chained; COMMIT;
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); CREATE TABLE identity_prepared (); PREPARE TRANSACTION 'identity';
SELECT pg_temp.who() AS prepared;
COMMIT PREPARED 'identity';
SELECT pg_temp.who() AS commit_prepared;
DROP TABLE identity_prepared;

\echo == Outside a transaction block, and faults
SELECT ok FROM apikey.authenticate(:'one');
SELECT pg_temp.who() AS who;
DO $$ BEGIN PERFORM apikey.authenticate('x'); END $$;
SELECT left(f.query, 10) AS query, pg_temp.fails(format('SELECT apikey.allows(%L)', f.query)) AS error
FROM (VALUES (1, ''), (2, ' '), (3, 'a &'), (4, 'a:*'), (5, repeat('a ', 1000)), (6, 'a:'), (7, '(a')) f (n, query) ORDER BY n;
BEGIN; SELECT pg_temp.fails(format('SELECT apikey.authenticate(%L, %L)', :'one', '')) AS empty, pg_temp.fails(format('SELECT apikey.authenticate(%L, cost => -1)', :'one')) AS cost,
    pg_temp.fails(format('SELECT apikey.authenticate(%L, kinds => %L)', :'one', '{x}')) AS kinds \gx
SELECT pg_temp.who() AS who; COMMIT;

\echo == Refusals: what a caller of the API may know, and no more
BEGIN;
SELECT ok FROM apikey.authenticate(:'one');
SELECT r.what, pg_temp.fails('SELECT apikey.authenticate(' || r.arguments || ')') AS error
FROM (VALUES (1, 'missing', 'NULL'), (2, 'malformed', '''ak_x'''), (3, 'unknown', '''ak_00000000000000000000000000000000000000000000Upjk1'''), (4, 'revoked', quote_literal(:'gone')),
    (5, 'disabled', quote_literal(:'off')), (6, 'wrong kind', format('%L, kinds => ''{widget}''', :'one')), (7, 'expired', quote_literal(:'past')),
    (8, 'account', format('%L, account => ''identity-2''', :'one')), (9, 'address', quote_literal(:'listed')), (10, 'scope', format('%L, ''docs:write''', :'one'))) r (n, what, arguments) ORDER BY n;
SELECT count(DISTINCT pg_temp.fails('SELECT apikey.authenticate(' || r.arguments || ')')) AS different_answers_to_bad_keys
FROM (VALUES ('''ak_x'''), ('''ak_00000000000000000000000000000000000000000000Upjk1'''), (quote_literal(:'gone')), (quote_literal(:'off')), (format('%L, kinds => ''{widget}''', :'one'))) r (arguments);
-- A refusal that is caught leaves the identity as it was.
SELECT pg_temp.who() AS who;
COMMIT;

\echo == Savepoints
BEGIN;
SAVEPOINT a; SELECT ok FROM apikey.authenticate(:'one'); SELECT pg_temp.who() AS inside;
ROLLBACK TO a; SELECT pg_temp.who() AS rolled_back;
SELECT ok FROM apikey.authenticate(:'one'); RELEASE a; SELECT pg_temp.who() AS released;
SAVEPOINT b; SELECT ok FROM apikey.authenticate(:'two'); SELECT pg_temp.who() AS inner_;
SAVEPOINT c; SELECT pg_temp.who() AS inherited; SELECT ok FROM apikey.authenticate(:'one'); SAVEPOINT d; SELECT ok FROM apikey.authenticate(:'two'); SELECT pg_temp.who() AS innermost;
RELEASE c; SELECT pg_temp.who() AS handed_up;
ROLLBACK TO b; SELECT pg_temp.who() AS outer_again;
SELECT ok FROM apikey.authenticate(:'two'); SELECT 1/0; SELECT pg_temp.who(); ROLLBACK TO b; SELECT pg_temp.who() AS after_error;
SAVEPOINT b; SELECT ok FROM apikey.authenticate(:'two'); RELEASE b; SELECT pg_temp.who() AS released;
COMMIT; SELECT pg_temp.who() AS committed;
BEGIN;
SELECT ok FROM apikey.authenticate(:'one');
DO $$ BEGIN
    BEGIN PERFORM apikey.authenticate('x'); EXCEPTION WHEN SQLSTATE 'KA401' THEN RAISE WARNING 'refused, still %', pg_temp.who(); END;
END $$;
SELECT ok FROM apikey.authenticate(:'two'); SELECT pg_temp.who() AS a_second_one_replaces;
SELECT ok FROM apikey.authenticate(:'one'); SELECT pg_temp.who() AS and_back;
COMMIT;

\echo == What policy says of the catalogue holds for allows() as for verify()
BEGIN;
SELECT ok FROM apikey.authenticate(:'two');
SELECT apikey.allows('docs:read') AS any_scope;
INSERT INTO apikey.scope (scope, enabled) VALUES ('docs:read', true), ('docs:write', false);
SELECT q.query, apikey.allows(q.query) AS allows, v.ok AS verify, v.code FROM (VALUES (1, 'docs:read'), (2, 'docs:write'), (3, 'docs:other'), (4, 'docs:write | docs:read'), (5, 'docs:read docs:write'), (6, 'docs:other | docs:read')) q (n, query),
    LATERAL apikey.verify(:'two', q.query) v ORDER BY n;
-- parsed queries are kept, and do not get mixed up
SELECT bool_and(apikey.allows(s || ' | docs:read') AND NOT apikey.allows(s || ' & docs:read')) AS right_ FROM generate_series(1, 40) n, LATERAL (SELECT 'x:y' || n % 11) q (s);
ROLLBACK;

\echo == Forging: every attempt must leave nobody, or who was there
CREATE ROLE regress_apikey_forger;
CREATE ROLE regress_apikey_other;
GRANT regress_apikey_other TO regress_apikey_forger;
CREATE FUNCTION pg_temp.as_owner(text) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT apikey.allows($1)';
CREATE TEMP TABLE attempt (n integer GENERATED ALWAYS AS IDENTITY, sql text);
GRANT SELECT ON attempt TO PUBLIC;
INSERT INTO attempt (sql)
SELECT format('SET %s = %L', s, v) FROM unnest('{apikey.key_id,apikey.current_key_id,apikey.account,apikey.current_account,apikey.scopes,apikey.current_scopes,apikey.identity,apikey.context,apikey.actor,apikey.is_authenticated,request.jwt.claims}'::text[]) s,
    unnest(ARRAY[:'two_id', 'identity-2', '*', '{"apikey":{"account":"identity-2","scopes":["*"]}}']) v;
INSERT INTO attempt (sql) VALUES
    ('SELECT set_config(''apikey.current_account'', ''identity-2'', true)'), ('SELECT set_config(''apikey.current_key_id'', ''x'', false)'), ('UPDATE pg_settings SET setting = ''identity-2'' WHERE name = ''apikey.actor'''),
    ('RESET ALL'), ('SET ROLE regress_apikey_other'), ('SET LOCAL ROLE regress_apikey_other'), ('RESET ROLE'), ('SET SESSION AUTHORIZATION DEFAULT'), ('SET search_path = pg_temp, apikey'), ('DISCARD PLANS'), ('DISCARD SEQUENCES'), ('DISCARD TEMP'), ('DISCARD ALL'),
    ('SET row_security = off'), ('SET session_replication_role = replica'), ('SET request.headers = ''{"x-api-key":"ak_x"}'''),
    ('CREATE FUNCTION apikey.is_authenticated(text DEFAULT ''x'') RETURNS boolean LANGUAGE sql AS ''SELECT true'''), ('CREATE OR REPLACE FUNCTION apikey.is_authenticated() RETURNS boolean LANGUAGE sql AS ''SELECT true'''),
    ('CREATE OR REPLACE FUNCTION apikey.current_account() RETURNS text LANGUAGE sql AS ''SELECT ''''identity-2'''''''), ('ALTER FUNCTION apikey.allows(text) IMMUTABLE'), ('DROP FUNCTION apikey.allows(text)'), ('ALTER FUNCTION apikey.current_account() OWNER TO regress_apikey_forger'),
    ('CREATE FUNCTION pg_temp.take() RETURNS void LANGUAGE c AS ''apikey'', ''apikey_identity_take'''), ('SELECT apikey.authenticate(NULL)'), ('SELECT apikey.authenticate(''ak_x'')'),
    ('SELECT * FROM apikey.key'), ('SELECT * FROM apikey.secret'), ('LOAD ''apikey'''), ('SELECT apikey.verify(NULL)'), ('PREPARE TRANSACTION ''forged''');
GRANT USAGE ON SCHEMA apikey TO regress_apikey_forger;
-- from 18 on not if there is no such parameter
DO $$ DECLARE parameter text; BEGIN
    FOREACH parameter IN ARRAY '{apikey.current_account,apikey.context,apikey.actor}'::text[] LOOP
        BEGIN EXECUTE format('GRANT SET ON PARAMETER %s TO regress_apikey_forger', parameter); EXCEPTION WHEN invalid_name THEN NULL; END;
    END LOOP;
END $$;
-- One attempt as a plain user, in a transaction that works for nobody or for key one: who is it afterwards?
CREATE PROCEDURE pg_temp.forge(key text) LANGUAGE plpgsql AS $$
DECLARE a record; outcome text; found integer := 0; tried integer := 0; errors integer := 0;
BEGIN
    FOR a IN SELECT * FROM attempt ORDER BY n LOOP
        tried := tried + 1;
        BEGIN
            IF key IS NOT NULL THEN PERFORM apikey.authenticate(key); END IF;
            SET LOCAL ROLE regress_apikey_forger;
            BEGIN
                EXECUTE a.sql;
            EXCEPTION WHEN OTHERS THEN errors := errors + 1;
            END;
            outcome := concat_ws(' ', apikey.is_authenticated(), apikey.current_account(), apikey.current_scopes(), apikey.allows('docs:write'), pg_temp.as_owner('docs:write'));
            IF outcome <> (CASE WHEN key IS NULL THEN 'f f f' ELSE 't identity-1 {docs:read} f f' END) THEN
                found := found + 1;
                RAISE WARNING '% -> %', a.sql, outcome;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'ZZ000';
        EXCEPTION WHEN SQLSTATE 'ZZ000' THEN NULL;
        END;
    END LOOP;
    RAISE WARNING '% attempts, % of them errors, % succeeded', tried, errors, found;
END $$;
CALL pg_temp.forge(NULL);
BEGIN; CALL pg_temp.forge(:'one'); ROLLBACK;

\echo == Statements that end no identity and widen none
BEGIN;
SELECT ok FROM apikey.authenticate(:'one');
RESET ALL; SET client_min_messages = warning; SELECT pg_temp.who() AS reset_all;
SET LOCAL ROLE regress_apikey_forger; SELECT apikey.current_account() AS set_role, pg_temp.as_owner('docs:read') AS as_owner; RESET ROLE;
SET LOCAL SESSION AUTHORIZATION regress_apikey_forger; SELECT apikey.current_account() AS set_session_authorization; RESET SESSION AUTHORIZATION;
DISCARD PLANS; SELECT pg_temp.who() AS discard_plans;
COMMIT;
DISCARD ALL;
SELECT apikey.is_authenticated();

\echo == Row level security
CREATE TABLE identity_doc (id integer PRIMARY KEY, account text NOT NULL, body text);
INSERT INTO identity_doc SELECT n, 'identity-' || 1 + n % 2, 'doc ' || n FROM generate_series(1, 100000) n;
ANALYZE identity_doc;
ALTER TABLE identity_doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON identity_doc USING ((SELECT apikey.allows('docs:read')) AND account = (SELECT apikey.current_account()));
GRANT SELECT, UPDATE ON identity_doc TO regress_apikey_forger, regress_apikey_other;
-- How many times was each function of the policy evaluated?
CREATE FUNCTION identity_plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF, BUFFERS OFF) ' || query LOOP
        -- what servers write alike
        CONTINUE WHEN line !~ '^ *InitPlan |loops=';
        RETURN NEXT regexp_replace(regexp_replace(line, 'rows=(\d+)\.00', 'rows=\1'), 'InitPlan .*', 'InitPlan');
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION identity_plan(text) TO PUBLIC;
SET max_parallel_workers_per_gather = 0;
SET ROLE regress_apikey_forger;
SELECT count(*) AS nobody FROM identity_doc;
RESET ROLE;
BEGIN;
SELECT ok FROM apikey.authenticate(:'one');
SET LOCAL ROLE regress_apikey_forger;
SELECT count(*), min(account), max(account) FROM identity_doc;
SELECT * FROM identity_plan('SELECT count(*) FROM identity_doc');
SELECT ok FROM apikey.verify('x');
ROLLBACK;
-- The same plan, prepared once, serves two tenants and nobody.
SET plan_cache_mode = force_generic_plan;
SET ROLE regress_apikey_forger;
PREPARE docs AS SELECT count(*), min(account), max(account) FROM identity_doc;
EXECUTE docs;
RESET ROLE;
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); SET LOCAL ROLE regress_apikey_forger; EXECUTE docs; RESET ROLE; SELECT ok FROM apikey.authenticate(:'two'); SET LOCAL ROLE regress_apikey_forger; EXECUTE docs; COMMIT;
BEGIN; SELECT ok FROM apikey.authenticate(:'two'); SET LOCAL ROLE regress_apikey_other; EXECUTE docs; COMMIT;
SET ROLE regress_apikey_other; EXECUTE docs; RESET ROLE; EXECUTE docs;
SET plan_cache_mode = force_custom_plan;
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); SET LOCAL ROLE regress_apikey_other; EXECUTE docs; COMMIT;
SET ROLE regress_apikey_other; EXECUTE docs; RESET ROLE; RESET plan_cache_mode;
DEALLOCATE docs;
-- In parallel plans, also where the policy must be read anew meanwhile
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
BEGIN;
SELECT ok FROM apikey.authenticate(:'one');
SET LOCAL ROLE regress_apikey_forger;
SELECT count(*) > 0 AS parallel FROM identity_plan('SELECT count(*) FROM identity_doc') p WHERE p ~ 'Gather';
SELECT count(*), min(account), max(account) FROM identity_doc;
RESET ROLE;
UPDATE apikey.kind SET enabled = enabled WHERE kind = 'secret';
SET LOCAL ROLE regress_apikey_forger;
SELECT count(*), min(account), max(account) FROM identity_doc;
ROLLBACK;
RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
-- A cursor that outlives the transaction holds what the tenant could see, and no more.
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); SET LOCAL ROLE regress_apikey_forger; DECLARE held CURSOR WITH HOLD FOR SELECT account, count(*) FROM identity_doc GROUP BY 1; COMMIT;
FETCH ALL FROM held; SELECT apikey.is_authenticated() AS after_it; CLOSE held;
-- Functions inside functions, SECURITY DEFINER and triggers see the same identity.
CREATE FUNCTION identity_trigger() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN NEW.body := 'by ' || coalesce(apikey.current_account(), 'nobody'); RETURN NEW; END $$;
CREATE TRIGGER t BEFORE UPDATE ON identity_doc FOR EACH ROW EXECUTE FUNCTION identity_trigger();
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); SET LOCAL ROLE regress_apikey_forger; UPDATE identity_doc SET body = '' WHERE id < 5 RETURNING id, body; ROLLBACK;
-- A deferred trigger runs while the transaction still works for the key.
CREATE FUNCTION identity_deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'at commit: %', coalesce(apikey.current_account(), 'nobody'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER d AFTER UPDATE ON identity_doc DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION identity_deferred();
BEGIN; SELECT ok FROM apikey.authenticate(:'one'); UPDATE identity_doc SET body = '' WHERE id = 2; COMMIT;
-- A procedure that commits ends the identity.
CREATE PROCEDURE identity_commit(key text) LANGUAGE plpgsql AS $$ BEGIN
    BEGIN PERFORM apikey.authenticate(key); EXCEPTION WHEN division_by_zero THEN NULL; END;
    RAISE WARNING 'before: %', apikey.current_account(); COMMIT; RAISE WARNING 'after: %', apikey.is_authenticated(); END $$;
CALL identity_commit(:'one');

\echo == Counted as verify is
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT k.name, d.requests > 0 AS requests, d.refused FROM apikey.usage_daily d JOIN apikey.keys k USING (key_id) WHERE k.account = 'identity-3' ORDER BY k.name;

DROP TABLE identity_doc;
DROP PROCEDURE identity_commit(text);
DROP FUNCTION identity_plan(text), identity_trigger(), identity_deferred();
REVOKE SET ON PARAMETER apikey.current_account, apikey.context, apikey.actor FROM regress_apikey_forger;
REVOKE USAGE ON SCHEMA apikey FROM regress_apikey_forger;
DROP ROLE regress_apikey_forger, regress_apikey_other;
