--
-- A story in psql: Talkif, a voice campaign product, gives its customers API
-- keys.  Played by "make demo"; what you read is what psql was told.
--
\set QUIET on
\set ECHO none
SET client_min_messages = warning;
\pset border 1
\pset footer off
\pset null '-'

\echo '==== 1. The extension ===================================================='
\echo
\set ECHO queries
CREATE EXTENSION apikey CASCADE;
\set ECHO none

\echo
\echo '==== 2. The operator says what keys look like, and what they may do ======'
\echo
\echo 'Both are tables, edited with plain SQL.  First the format: a prefix, and a'
\echo 'mask that shows three characters and the last four.  Then the catalogue:'
\echo 'twelve resources.  Billing is read-only, by listing only its :read.'
\echo
\set ECHO queries
INSERT INTO apikey.kind (kind, prefix, default_scopes, mask_head, mask_gap, mask_tail)
VALUES ('live', 'tif_live_', '*', 3, '...', 4);

INSERT INTO apikey.scope (scope, description) VALUES
    ('calls:*', 'Place calls and read their recordings'),
    ('flows:*', 'Conversation flows'),
    ('contacts:*', 'Contacts and contact lists'),
    ('phones:*', 'Phone numbers'),
    ('billing:read', 'Invoices and balance'),
    ('analytics:*', 'Reports'),
    ('schedules:*', 'Calling hours'),
    ('campaigns:*', 'Campaigns'),
    ('dnc:*', 'Do-not-call lists'),
    ('templates:*', 'Message templates'),
    ('models:*', 'Voice and language models'),
    ('flow_templates:*', 'Ready-made flows');
\set ECHO none

\echo
\echo '==== 3. Ada, of the account acme, makes a key ============================'
\echo
\echo 'It reads calls, does all with contacts, and works from the office only.'
\echo
\set ECHO queries
SELECT key, key_id
FROM apikey.issue('acme', 'Campaign dashboard', '{calls:read,contacts:*}', 'live',
                  allowed_ips => '{203.0.113.0/24,2001:db8::7}',
                  expires_in => '1 year', actor => 'ada@acme.example') \gset
\set ECHO none
\echo
\echo 'The key, shown this once:'
\echo
\echo '   ' :key
\echo
\echo 'From now on there is only its mask.  The database keeps a keyed hash.'
\echo
\set ECHO queries
SELECT display, name, scopes, allowed_ips, status FROM apikey.keys;
\set ECHO none

\echo '==== 4. Requests come in ================================================='
\echo
\echo 'One call answers "may this request pass?"  From the office, by IPv4 and by'
\echo 'IPv6:'
\echo
\set ECHO queries
SELECT ok, code, status, account, scopes
FROM apikey.verify(:'key', 'calls:read', '203.0.113.42');

SELECT ok, code, status, account, scopes
FROM apikey.verify(:'key', 'contacts:write', '2001:db8::7');
\set ECHO none

\echo 'From anywhere else:'
\echo
\set ECHO queries
SELECT ok, code, status, message
FROM apikey.verify(:'key', 'calls:read', '198.51.100.9');
\set ECHO none

\echo 'With a scope that the key has not got:'
\echo
\set ECHO queries
SELECT ok, code, status, message, missing_scopes
FROM apikey.verify(:'key', 'calls:write & contacts:read', '203.0.113.42');
\set ECHO none

\echo 'With a key that somebody made up, or mistyped:'
\echo
\set ECHO queries
SELECT ok, code, status, message
FROM apikey.verify(reverse(:'key'), 'calls:read', '203.0.113.42');
\set ECHO none

\echo 'Why was it refused?  explain shows every check, and counts nothing:'
\echo
\set ECHO queries
SELECT step, passed, detail
FROM apikey.explain(:'key', 'calls:write', '198.51.100.9');
\set ECHO none

\echo '==== 5. Billing can be read, and not written ============================='
\echo
\echo 'A key for writing to it can not be made, whoever asks:'
\echo
\set ECHO queries
\set ON_ERROR_STOP off
SELECT key FROM apikey.issue('acme', 'Bookkeeping', '{billing:write}', 'live');
\set ON_ERROR_STOP on
\set ECHO none

\echo
\echo '==== 6. Time for a new key, without an outage ============================'
\echo
\echo 'The successor has the same name, scopes and addresses.  For an hour both work.'
\echo
\set ECHO queries
SELECT key AS new_key, key_id AS new_key_id
FROM apikey.rotate(:'key_id', overlap => '1 hour', actor => 'ada@acme.example') \gset
\set ECHO none
\echo
\set ECHO queries
SELECT 'old' AS which, ok, code, expires_at FROM apikey.verify(:'key', 'calls:read', '203.0.113.42')
UNION ALL
SELECT 'new', ok, code, expires_at FROM apikey.verify(:'new_key', 'calls:read', '203.0.113.42');
\set ECHO none

\echo '==== 7. The old key turns up in a public place ==========================='
\echo
\echo 'A secret scanner hands over what it read.  Keys of ours in any text are found,'
\echo 'revoked, and refused from the next request on.'
\echo
\set ECHO queries
SELECT display, account, revoked
FROM apikey.revoke_leaked('curl -H "Authorization: Bearer ' || :'key' || '" https://...',
                          reason => 'posted in a forum', actor => 'scanner');

SELECT ok, code, status, message
FROM apikey.verify(:'key', 'calls:read', '203.0.113.42');
\set ECHO none

\echo 'The code is for the backend.  The caller of the API is told status and message,'
\echo 'which are the same as for a key that never was.'
\echo

\echo '==== 8. Who used what ===================================================='
\echo
\echo 'Every call was counted, in memory; a worker writes it to tables each second.'
\echo 'How requests end can be told too:'
\echo
\set ECHO queries
SELECT apikey.record(:'new_key_id', 503, 'upstream_down', 'GET', '/api/v1/calls', 'req-42');
SELECT apikey.flush_usage() AS events_written;

SELECT k.display, u.requests_24h, u.errors_24h, u.last_used_at IS NOT NULL AS used
FROM apikey.key_usage u JOIN apikey.keys k USING (key_id) ORDER BY k.created_at;

SELECT * FROM apikey.usage_report('acme', days => 7);

SELECT e.status, e.code, e.method, e.path, e.request_id
FROM apikey.recent_errors e ORDER BY e.occurred_at DESC LIMIT 5;
\set ECHO none

\echo '==== 9. What is left ====================================================='
\echo
\set ECHO queries
SELECT display, name, status, revoked_by, revoke_reason FROM apikey.keys ORDER BY created_at;

SELECT a.action, k.display, a.actor, a.reason
FROM apikey.audit_log a JOIN apikey.keys k USING (key_id) ORDER BY a.audit_id;
\set ECHO none

\echo 'The new key goes on working.  In the session that is offered below, try'
\echo
SELECT format('SELECT * FROM apikey.verify(%L, %L, %L);', :'new_key', 'calls:read', '203.0.113.42') AS try \gset
\echo '   ' :try
