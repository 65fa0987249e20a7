-- Errors of management functions always carry a SQLSTATE of the contract, a detail and a hint
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS apikey CASCADE;
CREATE FUNCTION pg_temp.shape(call text) RETURNS TABLE (sqlstate_ text, has_detail boolean, has_hint boolean, good_style boolean) LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    EXECUTE 'SELECT ' || call;
    sqlstate_ := 'no error';
    RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    sqlstate_ := SQLSTATE;
    has_detail := detail <> '';
    has_hint := hint <> '';
    -- as the server's own: message without full stop and capital, sentences in detail and hint
    good_style := SQLERRM !~ '[.]$' AND SQLERRM !~ '^[A-Z][a-z]' AND detail ~ '[.]$';
    RETURN NEXT;
END $$;
SELECT key_id AS active FROM apikey.issue('shape-1', 'active') \gset
SELECT key_id AS disabled FROM apikey.issue('shape-1', 'disabled') \gset
SELECT key_id AS revoked FROM apikey.issue('shape-1', 'revoked') \gset
SELECT key_id AS expired FROM apikey.issue('shape-1', 'expired', expires_in => '1 day') \gset
SELECT apikey.disable(:'disabled') AND apikey.revoke(:'revoked') AS made;
UPDATE apikey.key SET expires_at = clock_timestamp() WHERE key_id = :'expired';
BEGIN;
INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('shape-off', false);
INSERT INTO apikey.account_policy (account, max_keys) VALUES ('shape-full', 0);
INSERT INTO apikey.account_policy (account, require_allowed_ips, allowed_scopes, max_lifetime) VALUES ('shape-strict', true, 'a:*', '1 day');
INSERT INTO apikey.kind (kind, prefix, default_scopes, enabled) VALUES ('shape_off', 'so_', '*', false);
SELECT c.wanted, c.call, s.sqlstate_ = c.wanted AS right_code, s.has_detail, s.has_hint, s.good_style
FROM (VALUES (1, 'KA403', $$apikey.issue('shape-off', 'n')$$), (2, 'KA409', $$apikey.issue('shape-full', 'n')$$), (3, 'KA403', $$apikey.issue('shape-strict', 'n', '{a:b}')$$), (4, 'KA403', $$apikey.issue('shape-strict', 'n', '{b}', allowed_ips => '{192.0.2.1}')$$),
    (5, 'KA403', $$apikey.issue('shape-strict', 'n', '{a:b}', allowed_ips => '{192.0.2.1}', expires_in => '2 days')$$), (6, 'KA403', $$apikey.issue('shape-1', 'n', kind => 'shape_off')$$), (7, 'KA403', $$apikey.issue('shape-1', 'n', db_role => 'regress_apikey_absent')$$),
    (8, '22023', $$apikey.issue('', 'n')$$), (9, '22023', $$apikey.issue('shape-1', '')$$), (10, '22023', $$apikey.issue('shape-1', 'n', '{a b}')$$), (11, '22023', $$apikey.issue('shape-1', 'n', kind => 'x')$$), (12, '22023', $$apikey.issue('shape-1', 'n', allowed_ips => '{x}')$$),
    (13, '22023', $$apikey.issue('shape-1', 'n', allowed_origins => '{a.example}')$$), (14, '22023', $$apikey.issue('shape-1', 'n', expires_in => '-1 s')$$), (15, '22023', $$apikey.issue('shape-1', 'n', metadata => '1')$$), (16, '22023', $$apikey.issue('shape-1', 'n', credits => -1)$$),
    (20, 'KA404', $$apikey.rotate('00000000-0000-7000-8000-000000000000')$$), (21, 'KA404', $$apikey.alter_key('00000000-0000-7000-8000-000000000000')$$), (22, 'KA404', $$apikey.disable('00000000-0000-7000-8000-000000000000')$$),
    (23, 'KA404', $$apikey.enable('00000000-0000-7000-8000-000000000000')$$), (24, 'KA404', $$apikey.revoke('00000000-0000-7000-8000-000000000000')$$), (25, 'KA404', $$apikey.revoke(ACTIVE, account => 'shape-2')$$),
    (30, 'KA409', 'apikey.rotate(REVOKED)'), (31, 'KA409', 'apikey.rotate(EXPIRED)'), (32, 'KA409', 'apikey.rotate(DISABLED)'), (33, 'KA409', 'apikey.enable(REVOKED)'), (34, 'KA409', 'apikey.enable(EXPIRED)'), (35, 'KA409', 'apikey.alter_key(REVOKED)'), (36, 'KA409', 'apikey.alter_key(EXPIRED)'),
    (40, '22023', 'apikey.rotate(ACTIVE, ''-1 s'')'), (41, '22023', 'apikey.alter_key(ACTIVE, name => '''')'), (42, '22023', 'apikey.revoke(NULL)'), (43, '22023', 'apikey.revoke_account(NULL)'), (44, '22023', 'apikey.purge(NULL)'), (45, '22023', 'apikey.list_keys(NULL)'), (46, '22023', 'apikey.scan_pattern(''x'')'),
    (47, '22023', 'apikey.find_keys(repeat(''a'', 67108865))'), (48, '22023', 'apikey.set_current_pepper(0)'), (49, '22023', 'apikey.retire_pepper(0)'), (50, 'KA409', 'apikey.retire_pepper((SELECT pepper_id FROM apikey.pepper WHERE is_current))'),
    (51, '22023', 'apikey.grant_access(''regress_apikey_absent'', ''verifier'')'), (52, '22023', 'apikey.grant_access(current_user, ''x'')'),
    (60, '22023', 'apikey.verify(NULL, '''')'), (61, '22023', 'apikey.verify(NULL, cost => -1)'), (62, '22023', 'apikey.verify(NULL, kinds => ''{x}'')'), (63, '22023', 'apikey.covers(''a'', '''')'), (64, '22023', 'apikey.satisfies(''a'', '''')'),
    (65, '22P02', 'apikey.covers(''a b:'', ''a'')'), (66, '22P02', '''a &''::apikey.scope_query'), (67, '22P02', '''[1]''::apikey.scopes'), (69, '22P02', '''{"a":"b"}''::apikey.scopes')) c (n, wanted, call),
    LATERAL pg_temp.shape(replace(replace(replace(replace(c.call, 'ACTIVE', quote_literal(:'active')), 'REVOKED', quote_literal(:'revoked')), 'EXPIRED', quote_literal(:'expired')), 'DISABLED', quote_literal(:'disabled'))) s
ORDER BY n;
ROLLBACK;
\echo == Where nothing can be written: 25006
BEGIN READ ONLY;
SELECT c.call, s.sqlstate_, s.has_detail, s.has_hint
FROM (VALUES (1, 'apikey.issue(''a'', ''n'')'), (2, 'apikey.rotate(ACTIVE)'), (3, 'apikey.alter_key(ACTIVE, name => ''x'')'), (4, 'apikey.disable(ACTIVE)'), (5, 'apikey.revoke(ACTIVE)'), (6, 'apikey.purge(''0'')'), (7, 'apikey.add_pepper()'), (8, 'apikey.grant_access(current_user, ''verifier'')')) c (n, call),
    LATERAL pg_temp.shape(replace(c.call, 'ACTIVE', quote_literal(:'active'))) s ORDER BY n;
COMMIT;
SELECT name, status FROM apikey.keys WHERE account = 'shape-1' ORDER BY name COLLATE "C";
