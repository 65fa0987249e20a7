-- Credits of keys and accounts: both must suffice; set, added, refilled, shared along rotations
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
-- Codes of so many calls, and what was left after each
CREATE FUNCTION pg_temp.calls(key text, count integer, cost integer DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE codes text[];
BEGIN
    FOR i IN 1 .. count LOOP
        codes := codes || (SELECT v.code || coalesce(' ' || v.credits_remaining, '') FROM apikey.verify(key, cost => cost) v);
    END LOOP;
    RETURN array_to_string(codes, ', ');
END $$;

\echo == Issued with credits; cost is spent, a refusal spends nothing
SELECT key, key_id FROM apikey.issue('credits-1', 'k', credits => 10) \gset
SELECT credits_remaining FROM apikey.keys WHERE key_id = :'key_id';
SELECT code, credits_remaining, limit_name, retry_after FROM apikey.verify(:'key');
SELECT pg_temp.calls(:'key', 1, 0) AS nothing, pg_temp.calls(:'key', 2, 4) AS four, pg_temp.calls(:'key', 1, 2) AS two;
SELECT ok, code, status, message, credits_remaining, retry_after FROM apikey.verify(:'key', cost => 5);
SELECT code, credits_remaining FROM apikey.verify(:'key', account => 'other');
SELECT pg_temp.calls(:'key', 3);
SELECT pg_temp.calls(:'key', 1, 0) AS free_of_charge;
SELECT step, passed, detail FROM apikey.explain(:'key') WHERE step LIKE 'credits%' OR step = 'verdict';
SELECT credits_remaining FROM apikey.keys WHERE key_id = :'key_id';
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT credits_remaining FROM apikey.keys WHERE key_id = :'key_id';

\echo == Adding and setting; NULL is unlimited again
SELECT apikey.add_credits(:'key_id', 5) AS added, apikey.add_credits(:'key_id', 2, account => 'credits-1', actor => 'alice') AS again;
SELECT pg_temp.calls(:'key', 2);
SELECT apikey.set_credits(:'key_id', 3) AS set;
SELECT pg_temp.calls(:'key', 1);
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT pg_temp.calls(:'key', 1);
SELECT apikey.set_credits(:'key_id', NULL) AS unlimited;
SELECT pg_temp.calls(:'key', 1, 1000);
SELECT credits_remaining FROM apikey.keys WHERE key_id = :'key_id';
SELECT pg_temp.fails(format('SELECT apikey.add_credits(%L, 1)', :'key_id')) AS add_to_unlimited;
SELECT apikey.set_credits(:'key_id', 0) AS none;
SELECT pg_temp.calls(:'key', 1);

\echo == Of the account, for all its keys; both must suffice, and the smaller is shown
SELECT key AS key2, key_id AS id2 FROM apikey.issue('credits-1', 'two') \gset
SELECT apikey.set_account_credits('credits-1', 6) AS set, apikey.set_credits(:'key_id', 4) AS of_the_key;
SELECT pg_temp.calls(:'key', 1) AS one, pg_temp.calls(:'key2', 1, 4) AS two;
SELECT pg_temp.calls(:'key', 1) AS one, pg_temp.calls(:'key2', 1) AS two;
SELECT code, credits_remaining FROM apikey.verify(:'key');
SELECT credits_remaining FROM apikey.keys WHERE account = 'credits-1' ORDER BY name COLLATE "C";
SELECT credits_remaining FROM apikey.account_usage WHERE account = 'credits-1';
SELECT apikey.add_account_credits('credits-1', 10) AS topped_up;
SELECT pg_temp.calls(:'key', 3) AS one, pg_temp.calls(:'key2', 1) AS two;
SELECT apikey.set_account_credits('credits-1', NULL) AS unlimited;
SELECT pg_temp.fails($$SELECT apikey.add_account_credits('credits-1', 1)$$) AS add_to_unlimited;

\echo == Undone with its transaction; spending is not
SELECT apikey.set_credits(:'id2', 10) AS set;
BEGIN;
SELECT apikey.set_credits(:'id2', 100) AS set;
SELECT pg_temp.calls(:'key2', 1);
SAVEPOINT s;
SELECT apikey.add_credits(:'id2', 50) AS added;
SELECT pg_temp.calls(:'key2', 1);
ROLLBACK TO s;
SELECT pg_temp.calls(:'key2', 1);
ROLLBACK;
SELECT pg_temp.calls(:'key2', 1);
BEGIN;
SELECT apikey.add_credits(:'id2', 50) AS added;
SELECT pg_temp.calls(:'key2', 1);
ROLLBACK;
SELECT pg_temp.calls(:'key2', 1);

\echo == Shared along a rotation
SELECT key AS new_key, key_id AS new_id FROM apikey.rotate(:'id2', '1 day') \gset
SELECT pg_temp.calls(:'new_key', 1) AS new, pg_temp.calls(:'key2', 1) AS old;
SELECT apikey.add_credits(:'new_id', 10) AS added;
SELECT pg_temp.calls(:'key2', 1) AS old, pg_temp.calls(:'new_key', 1) AS new;
SELECT name, credits_remaining FROM apikey.keys WHERE key_id IN (:'id2', :'new_id');

\echo == Refills replace, and never add; what was spent before stays behind
SELECT key AS key3, key_id AS id3 FROM apikey.issue('credits-3', 'k') \gset
SELECT apikey.set_credits(:'id3', 3, refill_amount => 5, refill_every => '1 month') AS set;
SELECT pg_temp.calls(:'key3', 2);
SELECT code, credits_remaining, retry_after > 27 * 86400 AS at_the_refill FROM apikey.verify(:'key3', cost => 4);
SELECT code, credits_remaining, retry_after FROM apikey.verify(:'key3', cost => 6);
UPDATE apikey.credit SET refill_from = refill_from - interval '40 days' WHERE lineage = :'id3';
SELECT pg_temp.calls(:'key3', 3);
SELECT credits_remaining FROM apikey.keys WHERE key_id = :'id3';
SELECT apikey.add_credits(:'id3', 10) AS added;
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT pg_temp.calls(:'key3', 1);
UPDATE apikey.credit SET refill_from = refill_from - interval '90 days' WHERE lineage = :'id3';
SELECT pg_temp.calls(:'key3', 1);
SELECT apikey.set_credits(:'id3', 2) AS no_more_refills;
UPDATE apikey.credit SET refill_from = refill_from - interval '90 days' WHERE lineage = :'id3';
SELECT pg_temp.calls(:'key3', 3);

\echo == With limits: the code comes in their order, a refusal spends nothing
SELECT apikey.set_limit(:'id3', 'few', 1, '1 hour') AS set, apikey.set_credits(:'id3', 5) AS credits;
SELECT pg_temp.calls(:'key3', 2);
SELECT apikey.set_credits(:'id3', 0) AS credits;
SELECT code, limit_name, credits_remaining FROM apikey.verify(:'key3');
SELECT apikey.reset_limit(:'id3', 'few') AS reset;
SELECT code, limit_name, limit_remaining, retry_after FROM apikey.verify(:'key3');
SELECT used FROM apikey.limits WHERE key_id = :'id3';

\echo == Bad input
SELECT c.n, pg_temp.fails(format('SELECT apikey.' || c.call, :'id3')) AS error FROM (VALUES
    (1, 'set_credits(%L, -1)'), (2, 'set_credits(%L, 1000000000000000001)'), (3, 'set_credits(%L, 1, refill_amount => 1)'), (4, $$set_credits(%L, 1, refill_every => '1 day')$$),
    (5, $$set_credits(%L, 1, refill_amount => 0, refill_every => '1 day')$$), (6, $$set_credits(%L, 1, refill_amount => 1, refill_every => '0')$$), (7, $$set_credits(%L, 1, refill_amount => 1, refill_every => '101 years')$$),
    (8, $$set_credits(%L, NULL, refill_amount => 1, refill_every => '1 day')$$), (9, 'add_credits(%L, 0)'), (10, 'add_credits(%L, -5)'), (11, 'add_credits(%L, NULL)'),
    (12, $$set_credits(%L, 1, account => 'credits-1')$$), (13, $$add_credits(%L, 1, account => 'credits-1')$$), (14, $$set_account_credits('', 1)$$), (15, $$set_account_credits('*', 1)$$),
    (16, $$set_account_credits('credits-1', -1)$$), (17, $$add_account_credits('credits-1', 0)$$), (18, 'set_credits(NULL, 1)'), (19, $$set_credits('00000000-0000-7000-8000-000000000000', 1)$$)) c (n, call) ORDER BY n;
SELECT apikey.revoke(:'id3') AS revoked;
SELECT pg_temp.fails(format('SELECT apikey.set_credits(%L, 1)', :'id3')) AS set_revoked, pg_temp.fails(format('SELECT apikey.add_credits(%L, 1)', :'id3')) AS add_revoked;
BEGIN READ ONLY;
SELECT pg_temp.fails(format('SELECT apikey.set_credits(%L, 1)', :'key_id')) AS read_only;
ROLLBACK;

\echo == Audited
SELECT action, account, object, actor, old, new FROM apikey.audit_log WHERE key_id = :'key_id' AND action <> 'issue' OR account = 'credits-1' AND object IS NOT NULL ORDER BY audit_id;

\echo == Gone with the last key of the lineage
SELECT count(*) AS credits FROM apikey.credit WHERE lineage = :'id2';
DELETE FROM apikey.key WHERE key_id = :'id2';
SELECT count(*) AS credits FROM apikey.credit WHERE lineage = :'id2';
DELETE FROM apikey.key WHERE account LIKE 'credits-%';
SELECT count(*) AS credits FROM apikey.credit WHERE lineage IS NOT NULL;
DELETE FROM apikey.credit;
