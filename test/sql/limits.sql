-- Rate limits: windows per key, shared, weighted; which row wins; all or nothing; the columns of the verdict
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
-- Codes of so many calls, one after the other
CREATE FUNCTION pg_temp.calls(key text, count integer, cost integer DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE codes text[];
BEGIN
    FOR i IN 1 .. count LOOP
        codes := codes || (SELECT v.code FROM apikey.verify(key, cost => cost) v);
    END LOOP;
    RETURN array_to_string(codes, ' ');
END $$;

\echo == Nothing shipped limits anything
SELECT count(*) AS shipped FROM apikey.rate_limit;
SELECT key, key_id FROM apikey.issue('limits-1', 'k') \gset
SELECT code, limit_name, limit_max, limit_per, limit_remaining, limit_reset, retry_after, credits_remaining FROM apikey.verify(:'key');

\echo == set_limit: of a key; true if something changed
SELECT apikey.set_limit(:'key_id', 'hourly', 3, '1 hour') AS set, apikey.set_limit(:'key_id', 'hourly', 3, '1 hour') AS again,
       apikey.set_limit(:'key_id', 'hourly', 3, '60 minutes') AS the_same, apikey.set_limit(:'key_id', 'other', NULL, NULL) AS nothing_to_remove;
SELECT code, status, message, limit_name, limit_max, limit_per, limit_remaining, limit_reset BETWEEN 3601 AND 3825 AS reset, retry_after FROM apikey.verify(:'key');
SELECT name, max, per, used, remaining, resets_at > clock_timestamp() + interval '1 hour' AS later FROM apikey.limits WHERE account = 'limits-1';
SELECT pg_temp.calls(:'key', 3);
SELECT code, status, message, limit_name, limit_max, limit_per, limit_remaining, retry_after BETWEEN 3500 AND 3825 AS retry_after FROM apikey.verify(:'key');
SELECT step, passed, detail FROM apikey.explain(:'key') WHERE step LIKE 'limit%' OR step = 'verdict';
SELECT name, used, remaining FROM apikey.limits WHERE account = 'limits-1';

\echo == Changing max keeps what was used; removing the limit, and giving it anew
SELECT apikey.set_limit(:'key_id', 'hourly', 5, '1 hour') AS changed;
SELECT pg_temp.calls(:'key', 3);
SELECT apikey.set_limit(:'key_id', 'hourly', 1, '1 hour') AS changed;
SELECT code, limit_max, limit_remaining FROM apikey.verify(:'key');
SELECT apikey.set_limit(:'key_id', 'hourly', NULL, NULL) AS removed;
SELECT code, limit_name FROM apikey.verify(:'key');
SELECT apikey.set_limit(:'key_id', 'hourly', 6, '2 hours') AS longer;
SELECT code, limit_per, limit_remaining FROM apikey.verify(:'key');
SELECT apikey.reset_limit(:'key_id', 'hourly') AS was_used, apikey.reset_limit(:'key_id', 'hourly') AS again;
SELECT code, limit_remaining FROM apikey.verify(:'key');

\echo == Undone with its transaction, and with a savepoint; what was used stays used
BEGIN;
SELECT apikey.set_limit(:'key_id', 'tiny', 1, '1 day') AS set;
SELECT pg_temp.calls(:'key', 2);
SAVEPOINT s;
SELECT apikey.set_limit(:'key_id', 'tiny', NULL, NULL) AS removed;
SELECT pg_temp.calls(:'key', 1);
ROLLBACK TO s;
SELECT pg_temp.calls(:'key', 1);
ROLLBACK;
SELECT code, limit_name, limit_remaining FROM apikey.verify(:'key');
BEGIN READ ONLY;
SELECT pg_temp.calls(:'key', 1);
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
ROLLBACK;
SELECT code, limit_name, limit_remaining FROM apikey.verify(:'key');

\echo == Bad input
SELECT c.n, pg_temp.fails(format('SELECT apikey.set_limit(%L, %s)', :'key_id', c.arguments)) AS error FROM (VALUES
    (1, $$'hourly', 0, '1 hour'$$), (2, $$'hourly', -1, '1 hour'$$), (3, $$'hourly', 1, NULL$$), (4, $$'hourly', 1, '0'$$), (5, $$'hourly', 1, '-1 hour'$$),
    (6, $$'hourly', 1, '999 microseconds'$$), (7, $$'hourly', 1, '1 millisecond'$$), (8, $$'hourly', 1, '31 days'$$), (9, $$'hourly', 1, '31 days 1 second'$$), (10, $$'hourly', 1, '1 month'$$),
    (11, $$'hourly', 1, '1 year'$$), (12, $$NULL, 1, '1 hour'$$), (13, $$'', 1, '1 hour'$$), (14, $$E'a\nb', 1, '1 hour'$$), (15, $$repeat('n', 64), 1, '1 hour'$$),
    (16, $$'requests_per_day', 1, '1 day'$$), (17, $$'a"b', 1, '1 hour'$$), (18, $$'hourly', 1, '1 hour', account => 'limits-2'$$)) c (n, arguments) ORDER BY n;
SELECT pg_temp.fails($$SELECT apikey.set_limit(NULL, 'hourly', 1, '1 hour')$$) AS no_key,
       pg_temp.fails($$SELECT apikey.set_limit('00000000-0000-7000-8000-000000000000', 'hourly', 1, '1 hour')$$) AS unknown,
       pg_temp.fails($$SELECT apikey.reset_limit('00000000-0000-7000-8000-000000000000', 'hourly')$$) AS reset_unknown,
       pg_temp.fails(format('SELECT apikey.reset_limit(%L, %L)', :'key_id', 'no such')) AS reset_no_such,
       pg_temp.fails(format('SELECT apikey.reset_limit(%L, NULL)', :'key_id')) AS reset_null,
       pg_temp.fails(format('SELECT apikey.verify(%L, cost => -1)', :'key')) AS negative_cost \gx
SELECT key_id AS dead FROM apikey.issue('limits-1', 'dead') \gset
SELECT apikey.revoke(:'dead') AS revoked;
SELECT pg_temp.fails(format('SELECT apikey.set_limit(%L, %L, 1, %L)', :'dead', 'hourly', '1 hour')) AS revoked;
SELECT c.n, split_part(pg_temp.fails('INSERT INTO apikey.rate_limit (' || c.columns || ') VALUES (' || c.row || ')'), '|', 1) AS error FROM (VALUES
    (1, 'name, max, per', $$'n', 1, '1 h'$$), (2, 'name, kind, account, max, per', $$'n', 'secret', 'a', 1, '1 h'$$), (3, 'name, kind, max, per', $$'n', 'no such', 1, '1 h'$$),
    (4, 'name, account, max, per', $$'n', '', 1, '1 h'$$), (5, 'name, account, max, per', $$'n', 'a', 0, '1 h'$$), (6, 'name, account, max, per', $$'n', 'a', 1, '1 month'$$),
    (7, 'name, account, max', $$'n', 'a', 1$$), (8, 'name, account', $$NULL, 'a'$$), (9, 'name, account', $$' n', 'a'$$), (10, 'name, key_id, max, per, shared', format('%L, %L, 1, %L, true', 'n', :'key_id', '1 h')),
    (11, 'name, key_id, max, per', $$'n', '00000000-0000-7000-8000-000000000000', 1, '1 h'$$), (12, 'name, account, max, per', $$'n', 'a', 1, '10 microseconds'$$)) c (n, columns, row) ORDER BY n;
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('twice', 'limits-1', 1000000, '1 h');
SELECT split_part(pg_temp.fails($$INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('twice', 'limits-1', 2, '1 h')$$), '|', 1) AS twice;
DELETE FROM apikey.rate_limit WHERE account = 'limits-1';

\echo == Of one name the key wins over the account, that over the kind, that over *; NULL binds nobody; several names all bind
INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('lim', 'lim_', '*');
SELECT key, key_id FROM apikey.issue('limits-2', 'k', kind => 'lim') \gset
CREATE FUNCTION pg_temp.binds(key text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(regexp_replace(step, 'limit ', '') || ' ' || split_part(detail, ' ', 3), ', ') FROM apikey.explain(key) WHERE step LIKE 'limit %' $$;
BEGIN;
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('a', '*', 10, '1 h'), ('b', '*', 11, '1 h');
SELECT pg_temp.binds(:'key') AS any;
INSERT INTO apikey.rate_limit (name, kind, max, per) VALUES ('a', 'lim', 20, '1 h'), ('c', 'lim', 21, '1 h'), ('d', 'secret', 22, '1 h');
SELECT pg_temp.binds(:'key') AS kind;
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('a', 'limits-2', 30, '1 h'), ('e', 'limits-1', 31, '1 h');
SELECT pg_temp.binds(:'key') AS account;
SELECT apikey.set_limit(:'key_id', 'a', 40, '1 h') AS set;
SELECT pg_temp.binds(:'key') AS key;
UPDATE apikey.rate_limit SET max = NULL WHERE key_id = :'key_id';
INSERT INTO apikey.rate_limit (name, account) VALUES ('c', 'limits-2');
SELECT pg_temp.binds(:'key') AS null_in_stronger_rows;
DELETE FROM apikey.rate_limit WHERE name = 'b';
SELECT coalesce(pg_temp.binds(:'key'), 'nothing') AS left_over;
ROLLBACK;
SELECT coalesce(pg_temp.binds(:'key'), 'nothing') AS rolled_back;
-- a kind takes its limits along
BEGIN;
INSERT INTO apikey.kind (kind, prefix) VALUES ('lim2', 'lim2_');
INSERT INTO apikey.rate_limit (name, kind, max, per) VALUES ('a', 'lim2', 20, '1 h');
UPDATE apikey.kind SET kind = 'lim3' WHERE kind = 'lim2';
SELECT kind FROM apikey.rate_limit;
DELETE FROM apikey.kind WHERE kind = 'lim3';
SELECT kind FROM apikey.rate_limit;
ROLLBACK;

\echo == The least remaining is shown; of several that refuse the one that waits longest
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('minute', 'limits-2', 3, '10 minutes'), ('hour', 'limits-2', 4, '1 hour'), ('day', 'limits-2', 4, '1 day');
SELECT v.code, v.limit_name, v.limit_remaining, v.retry_after FROM apikey.verify(:'key') v;
SELECT pg_temp.calls(:'key', 3);
SELECT code, limit_name, limit_remaining, retry_after BETWEEN 300 AND 638 AS retry_after FROM apikey.verify(:'key');
\echo == A refusal spends nothing of the others
SELECT name, used, remaining FROM apikey.limits WHERE account = 'limits-2' ORDER BY name COLLATE "C";
SELECT apikey.reset_limit(:'key_id', 'minute') AS reset;
SELECT pg_temp.calls(:'key', 2);
SELECT code, limit_name, limit_remaining, retry_after BETWEEN 86000 AND 91800 AS retry_after FROM apikey.verify(:'key');
SELECT name, used, remaining FROM apikey.limits WHERE account = 'limits-2' ORDER BY name COLLATE "C";
DELETE FROM apikey.rate_limit WHERE account = 'limits-2';

\echo == Shared: over all keys of the account, or those of a kind; not shared: for each key
SELECT key AS k1, key_id AS id1 FROM apikey.issue('limits-3', 'one') \gset
SELECT key AS k2 FROM apikey.issue('limits-3', 'two') \gset
SELECT key AS k3 FROM apikey.issue('limits-3', 'three', kind => 'lim') \gset
SELECT key AS k4 FROM apikey.issue('limits-4', 'four') \gset
INSERT INTO apikey.rate_limit (name, account, max, per, shared) VALUES ('all', 'limits-3', 4, '1 h', true);
SELECT pg_temp.calls(:'k1', 2) AS k1, pg_temp.calls(:'k2', 1) AS k2, pg_temp.calls(:'k3', 2) AS k3, pg_temp.calls(:'k4', 5) AS k4;
UPDATE apikey.rate_limit SET account = NULL, kind = 'secret' WHERE name = 'all';
SELECT pg_temp.calls(:'k1', 2) AS k1, pg_temp.calls(:'k2', 3) AS k2, pg_temp.calls(:'k3', 2) AS k3, pg_temp.calls(:'k4', 5) AS k4;
UPDATE apikey.rate_limit SET shared = false, max = 2 WHERE name = 'all';
SELECT pg_temp.calls(:'k1', 3) AS k1, pg_temp.calls(:'k2', 3) AS k2, pg_temp.calls(:'k3', 3) AS k3;
DELETE FROM apikey.rate_limit WHERE name = 'all';
-- shared over every account: for each of them
INSERT INTO apikey.rate_limit (name, account, max, per, shared) VALUES ('every', '*', 2, '1 h', true);
SELECT pg_temp.calls(:'k1', 1) AS k1, pg_temp.calls(:'k2', 2) AS k2, pg_temp.calls(:'k4', 3) AS k4;
DELETE FROM apikey.rate_limit WHERE name = 'every';

\echo == Weighted: the cost counts; more than max never passes
SELECT key, key_id FROM apikey.issue('limits-5', 'k') \gset
INSERT INTO apikey.rate_limit (name, account, max, per, weighted) VALUES ('tokens', 'limits-5', 10, '1 h', true);
INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('calls', 'limits-5', 100, '1 h');
SELECT code, limit_name, limit_remaining, retry_after FROM apikey.verify(:'key', cost => 11);
SELECT code, limit_name, limit_remaining, retry_after FROM apikey.verify(:'key', cost => 7);
SELECT code, limit_name, limit_remaining, retry_after > 3500 AS retry_after FROM apikey.verify(:'key', cost => 4);
SELECT pg_temp.calls(:'key', 2, 0) AS for_nothing, pg_temp.calls(:'key', 1, 3) AS the_rest, pg_temp.calls(:'key', 1, 0) AS for_nothing_still, pg_temp.calls(:'key', 1) AS usual;
SELECT name, used, remaining FROM apikey.limits WHERE account = 'limits-5' ORDER BY name COLLATE "C";
SELECT code, limit_name, retry_after FROM apikey.verify(:'key', cost => 2147483647);

\echo == Whoever is refused for another reason uses nothing
SELECT code, limit_name FROM apikey.verify(:'key', account => 'other', cost => 0);
SELECT code, limit_name FROM apikey.verify(:'key', ip => 'x', kinds => '{widget}');
SELECT name, used FROM apikey.limits WHERE account = 'limits-5' ORDER BY name COLLATE "C";

\echo == Rotation: the successor has the limits, and shares the window
SELECT key, key_id FROM apikey.issue('limits-6', 'k') \gset
SELECT apikey.set_limit(:'key_id', 'hourly', 4, '1 hour') AS set;
SELECT pg_temp.calls(:'key', 2);
SELECT key AS new_key, key_id AS new_id FROM apikey.rotate(:'key_id', '1 day') \gset
SELECT pg_temp.calls(:'new_key', 1) AS new, pg_temp.calls(:'key', 1) AS old, pg_temp.calls(:'new_key', 1) AS new_again, pg_temp.calls(:'key', 1) AS old_again;
SELECT name, max, used, remaining FROM apikey.limits WHERE account = 'limits-6';
SELECT apikey.reset_limit(:'new_id', 'hourly') AS reset;
SELECT pg_temp.calls(:'key', 1) AS old;
SELECT apikey.revoke(:'new_id') AS revoked;
DELETE FROM apikey.key WHERE account = 'limits-6';
SELECT count(*) AS limits_of_keys_that_are_gone FROM apikey.rate_limit l WHERE key_id IS NOT NULL AND NOT EXISTS (SELECT FROM apikey.key k WHERE k.key_id = l.key_id);

\echo == Audited, with the key and its account
SELECT action, key_id IS NOT NULL AS of_key, account, object, actor, old - 'id' - 'key_id' AS old, new - 'id' - 'key_id' AS new FROM apikey.audit_log WHERE account = 'limits-6' AND object IS NOT NULL ORDER BY audit_id;
SELECT key_id FROM apikey.issue('limits-7', 'k') \gset
SELECT apikey.set_limit(:'key_id', 'hourly', 4, '1 hour', actor => 'alice'), apikey.set_limit(:'key_id', 'hourly', 5, '1 hour', account => 'limits-7', actor => 'bob');
SELECT action, account, object, actor, old - 'id' - 'key_id' AS old, new - 'id' - 'key_id' AS new FROM apikey.audit_log WHERE key_id = :'key_id' AND object IS NOT NULL ORDER BY audit_id;

\echo == Figures of the server
SELECT limit_slots, limit_slots_used > 5 AS some_used, limit_overflows FROM apikey.stats;
DELETE FROM apikey.key WHERE account LIKE 'limits-%';
DELETE FROM apikey.rate_limit;
DELETE FROM apikey.kind WHERE kind = 'lim';
