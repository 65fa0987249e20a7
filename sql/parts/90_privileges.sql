--
-- Privileges: all of them, on one page
--
-- PUBLIC may use the types and read nothing.  Everything else is handed out
-- in levels by apikey.grant_access.
--

-- Secrets stay out of reach of pg_read_all_data too: no policy, no rows.
ALTER TABLE apikey.pepper ENABLE ROW LEVEL SECURITY;
ALTER TABLE apikey.secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE apikey.key ENABLE ROW LEVEL SECURITY;
ALTER TABLE apikey.signing_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE apikey.imported ENABLE ROW LEVEL SECURITY;
ALTER TABLE apikey.import_secret ENABLE ROW LEVEL SECURITY;

-- The names behind each level; functions are granted with all their overloads.
CREATE FUNCTION apikey.access_level(level text, OUT functions text[], OUT readable text[], OUT writable text[])
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- a line for each subject
    verifier CONSTANT text[] := ARRAY[
        'verify', 'explain', 'record',
        'open_session', 'close_session',
        'authenticate', 'open_context',
        'http_check', 'scope_for'
    ];
    issuer CONSTANT text[] := ARRAY[
        'issue', 'rotate', 'alter_key', 'disable', 'enable', 'revoke', 'revoke_account', 'list_keys',
        'find_keys', 'revoke_leaked', 'scan_pattern',
        'set_limit', 'set_credits', 'add_credits', 'set_account_credits', 'add_account_credits',
        'import_key', 'import_check'
    ];
    auditor CONSTANT text[] := ARRAY[
        'usage_report', 'cardinality', 'sketch_agg', 'sketch_union', 'sketch_union_agg',
        'stats_now', 'code_counts', 'guesses_now', 'doctor',
        'unlisted_scopes',
        'limits_now', 'credit_balance', 'requests_today'
    ];
    admin CONSTANT text[] := ARRAY[
        'purge', 'flush_usage', 'reset_stats',
        'add_pepper', 'set_current_pepper', 'retire_pepper',
        'rotate_signing_key',
        'reset_limit',
        'grant_access', 'revoke_access'
    ];
    policy CONSTANT text[] := '{kind,account_policy,scope,member,capability,rate_limit}';
    views CONSTANT text[] := '{keys,sessions,audit_log,keys_to_rotate,policy_violations,pepper_status,usage_hourly,usage_daily,key_usage,account_usage,recent_errors,stats,stats_by_code,guesses,limits}';
BEGIN
    readable := '{}';
    writable := '{}';
    CASE level
        WHEN 'verifier' THEN
            functions := verifier;
        WHEN 'issuer' THEN
            functions := issuer;
        WHEN 'auditor' THEN
            functions := auditor;
            readable := views || policy;
        WHEN 'admin' THEN
            functions := verifier || issuer || auditor || admin || 'pre_request'::text;
            readable := views || policy;
            writable := policy;
        WHEN 'anonymous' THEN
            functions := '{pre_request}';
        ELSE
            RAISE EXCEPTION 'this level of access does not exist'
                USING ERRCODE = '22023', DETAIL = 'Argument "level" must be one of the levels of access.',
                      HINT = 'Levels are verifier, issuer, auditor, admin and anonymous.';
    END CASE;
END
$$;
COMMENT ON FUNCTION apikey.access_level(text) IS 'Functions, readable and writable tables and views of a level of access';

CREATE FUNCTION apikey.change_access(role name, level text, is_grant boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    access record;
    wanted text;
    action CONSTANT text := CASE WHEN is_grant THEN 'GRANT %s ON %s TO %I' ELSE 'REVOKE %s ON %s FROM %I' END;
BEGIN
    PERFORM apikey.require_writable(CASE WHEN is_grant THEN 'apikey.grant_access' ELSE 'apikey.revoke_access' END);
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
        RAISE EXCEPTION 'this role does not exist'
            USING ERRCODE = '22023', DETAIL = 'Argument "role" must name a role.',
                  HINT = 'Make it with CREATE ROLE first.';
    END IF;
    access := apikey.access_level(level);
    FOR wanted IN
        SELECT format(action, 'EXECUTE', 'FUNCTION ' || p.oid::regprocedure::text, role)
            FROM pg_proc p WHERE p.pronamespace = 'apikey'::regnamespace AND p.proname = ANY (access.functions)
        UNION ALL
        SELECT format(action, 'SELECT', format('TABLE apikey.%I', t), role) FROM unnest(access.readable) t
        UNION ALL
        -- all columns but installation, by which a dump is recognised
        SELECT format(action, format('INSERT (%1$s), UPDATE (%1$s), DELETE', columns), format('TABLE apikey.%I', t), role)
            FROM unnest(access.writable) t,
                 LATERAL (SELECT string_agg(quote_ident(a.attname), ', ') AS columns FROM pg_attribute a
                          WHERE a.attrelid = ('apikey.' || t)::regclass AND a.attnum > 0 AND NOT a.attisdropped
                            AND a.attname <> 'installation') c
    LOOP
        EXECUTE wanted;
    END LOOP;
    INSERT INTO apikey.audit_log (action, actor, object, new)
        VALUES (CASE WHEN is_grant THEN 'grant_access' ELSE 'revoke_access' END, apikey.actor(), 'role ' || role,
                jsonb_build_object('level', level));
END
$$;
COMMENT ON FUNCTION apikey.change_access(name, text, boolean) IS 'Grants or revokes what belongs to a level';

CREATE FUNCTION apikey.grant_access(role name, level text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'SELECT apikey.change_access(role, level, true)';
COMMENT ON FUNCTION apikey.grant_access(name, text) IS 'Gives a role a level: verifier, issuer, auditor, admin or anonymous';

CREATE FUNCTION apikey.revoke_access(role name, level text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'SELECT apikey.change_access(role, level, false)';
COMMENT ON FUNCTION apikey.revoke_access(name, text) IS 'Takes a level from a role; levels share functions, so grant again what is to stay';

REVOKE ALL ON ALL TABLES IN SCHEMA apikey FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA apikey FROM PUBLIC;
GRANT USAGE ON SCHEMA apikey TO PUBLIC;

-- Input, output, casts, comparison and operators of the types: without these
-- the types would be of no use.
GRANT EXECUTE ON FUNCTION
    apikey.scopes_in(cstring), apikey.scopes_out(apikey.scopes),
    apikey.scopes_recv(internal), apikey.scopes_send(apikey.scopes),
    apikey.scopes_from_array(text[]), apikey.scopes_to_array(apikey.scopes),
    apikey.scopes_from_jsonb(jsonb), apikey.scopes_to_jsonb(apikey.scopes),
    apikey.scopes_eq(apikey.scopes, apikey.scopes), apikey.scopes_ne(apikey.scopes, apikey.scopes),
    apikey.scopes_lt(apikey.scopes, apikey.scopes), apikey.scopes_le(apikey.scopes, apikey.scopes),
    apikey.scopes_gt(apikey.scopes, apikey.scopes), apikey.scopes_ge(apikey.scopes, apikey.scopes),
    apikey.scopes_cmp(apikey.scopes, apikey.scopes), apikey.scopes_hash(apikey.scopes),
    apikey.scopes_hash_extended(apikey.scopes, bigint),
    apikey.covers(apikey.scopes, text), apikey.covers_all(apikey.scopes, apikey.scopes),
    apikey.covered_by(text, apikey.scopes), apikey.covered_by_all(apikey.scopes, apikey.scopes),
    apikey.scopes_union(apikey.scopes, apikey.scopes), apikey.scopes_difference(apikey.scopes, apikey.scopes),
    apikey.scope_query_in(cstring), apikey.scope_query_out(apikey.scope_query),
    apikey.scope_query_recv(internal), apikey.scope_query_send(apikey.scope_query),
    apikey.satisfies(apikey.scopes, text), apikey.satisfies_query(apikey.scopes, apikey.scope_query),
    apikey.satisfied_by(apikey.scope_query, apikey.scopes), apikey.missing_scopes(apikey.scopes, text),
    apikey.is_grant(text),
    apikey.sketch_in(cstring), apikey.sketch_out(apikey.sketch),
    apikey.sketch_recv(internal), apikey.sketch_send(apikey.sketch)
    TO PUBLIC;

-- Who the transaction works for: policies of any table ask, for any role.
GRANT EXECUTE ON FUNCTION
    apikey.current_key_id(), apikey.current_account(), apikey.current_scopes(),
    apikey.current_metadata(), apikey.is_authenticated(), apikey.allows(text)
    TO PUBLIC;

-- Public keys are public.
GRANT EXECUTE ON FUNCTION apikey.jwks() TO PUBLIC;

-- The counters of this server are for whoever watches it.
GRANT SELECT ON apikey.stats, apikey.stats_by_code, apikey.guesses TO pg_monitor;
GRANT EXECUTE ON FUNCTION apikey.stats_now(), apikey.code_counts(), apikey.guesses_now() TO pg_monitor;

-- Views with figures that are not in the tables, for whoever reads all data.
GRANT EXECUTE ON FUNCTION apikey.limits_now(uuid, uuid, text, text), apikey.credit_balance(apikey.credit), apikey.requests_today(text)
    TO pg_read_all_data;

-- Content that pg_dump takes along (apikey.installation and apikey.flush_state are
-- left out on purpose).  Partitioned tables hold nothing themselves; of their
-- partitions only the default ones are members.
SELECT pg_catalog.pg_extension_config_dump('apikey.kind', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.account_policy', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.scope', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.member', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.capability', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.pepper', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.secret', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.key', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.signing_key', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.session', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.session_use', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.rate_limit', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.credit', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.credit_spent', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.import_secret', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.import_scheme', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.imported', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.audit_log', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.usage_hour_default', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.usage_day_default', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.key_use', '');
SELECT pg_catalog.pg_extension_config_dump('apikey.recent_error', '');
