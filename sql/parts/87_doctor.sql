--
-- doctor(): what a careful DBA would look at
--

-- A setting as sessions of a role begin with it; role 0 is any.
CREATE FUNCTION apikey.setting_of(role oid, name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT substr(c.entry, length(name) + 2)
                     FROM pg_db_role_setting s, unnest(s.setconfig) AS c (entry)
                     WHERE s.setrole IN (role, 0) AND starts_with(c.entry, name || '=')
                       AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
                     ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1),
                    (SELECT p.reset_val FROM pg_settings p WHERE p.name = setting_of.name))
$$;
COMMENT ON FUNCTION apikey.setting_of(oid, text) IS 'A setting as sessions of a role begin with it, for apikey.doctor()';

-- Who sees keys: roles that log in and may verify, else role 0.
CREATE FUNCTION apikey.verifying_roles() RETURNS TABLE (role oid, name text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH found AS (
        SELECT r.oid, r.rolname::text
        FROM pg_roles r
        WHERE r.rolcanlogin AND NOT r.rolsuper
          AND EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'apikey'::regnamespace
                        AND p.proname IN ('verify', 'authenticate', 'open_context', 'open_session', 'http_check', 'pre_request')
                        AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
    )
    SELECT f.oid, f.rolname FROM found f
    UNION ALL
    SELECT 0, NULL WHERE NOT EXISTS (SELECT FROM found)
$$;
COMMENT ON FUNCTION apikey.verifying_roles() IS 'Login roles that are handed keys, for apikey.doctor()';

-- Settings of those roles: fine while they match, else of that severity
CREATE FUNCTION apikey.doctor_of_roles() RETURNS TABLE (setting text, value text, severity text, advice text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH checked (setting, fine, severity, advice) AS (VALUES
        ('log_min_messages', '^(debug.*|info|notice|warning|error)$', 'warning',
         'Errors that the log is not told of are not noted with the key: set it to error or lower.'),
        ('log_parameter_max_length', '^0', 'warning',
         'Keys in bind parameters reach the log with log_statement and log_min_duration_statement: ALTER ROLE ... SET log_parameter_max_length = 0.'),
        ('log_parameter_max_length_on_error', '^0', 'warning', 'Keys in bind parameters reach the log with every error: set it to 0.'),
        ('log_statement', '^(none|ddl|mod)$', 'notice', 'Keys and sealed contexts that are literals in statements reach the log: use bind parameters.'),
        ('auto_explain.log_verbose', '^off$', 'warning', 'Logged plans contain the arguments of functions, so keys: switch it off.'),
        ('auto_explain.log_parameter_max_length', '^0', 'warning', 'Bind parameters reach the log with plans: set it to 0.'),
        ('pgaudit.log_parameter', '^off$', 'warning', 'Bind parameters, so keys, reach the audit log: switch it off.'),
        ('pg_stat_statements.track_utility', '^off$', 'notice', 'Texts of SET and DO are kept, so literals in them: use bind parameters and set_config().'),
        ('session_replication_role', '^(origin|local)$', 'warning', 'Triggers that audit and announce changes do not fire in such sessions.'),
        ('synchronous_commit', '^(?!off)', 'notice', 'Changes of policy tables may be lost in a crash; the functions of this extension wait for the disk all the same.')
    ), seen AS (
        SELECT c.setting, s.value, coalesce(s.value !~ c.fine, false) AS bad, c.severity, c.advice, r.name
        FROM checked c, apikey.verifying_roles() r, LATERAL (SELECT apikey.setting_of(r.role, c.setting)) s (value)
        WHERE s.value IS NOT NULL
    )
    SELECT s.setting, coalesce(min(s.value) FILTER (WHERE s.bad), min(s.value)),
           CASE WHEN bool_or(s.bad) THEN s.severity ELSE 'ok' END,
           CASE WHEN bool_or(s.bad)
                THEN s.advice || coalesce(' Roles: ' || string_agg(s.name, ', ' ORDER BY s.name) FILTER (WHERE s.bad) || '.', '') ELSE '' END
    FROM seen s GROUP BY s.setting, s.severity, s.advice
$$;
COMMENT ON FUNCTION apikey.doctor_of_roles() IS 'Part of apikey.doctor(): settings of roles that are handed keys';

-- Settings of the server
CREATE FUNCTION apikey.doctor_of_server() RETURNS TABLE (setting text, value text, severity text, advice text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH checked (setting, value, bad, severity, advice) AS (VALUES
        ('shared_preload_libraries', current_setting('shared_preload_libraries'),
         current_setting('shared_preload_libraries') !~ '(^|[ ,"/])apikey([ ,"]|$)', 'critical',
         'Nothing is verified: add apikey and restart the server.'),
        ('fsync', current_setting('fsync'), current_setting('fsync') <> 'on', 'critical',
         'A crash may bring revoked keys back, or damage everything: switch it on.'),
        ('full_page_writes', current_setting('full_page_writes'), current_setting('full_page_writes') <> 'on', 'warning',
         'A crash may damage tables: switch it on unless the file system writes pages as a whole.'),
        ('ssl', current_setting('ssl'), current_setting('ssl') <> 'on' AND current_setting('listen_addresses') !~ '^(localhost|127[.]0[.]0[.]1|::1|[ ,])*$', 'warning',
         'Keys travel to this server unencrypted: switch it on, or keep the network to yourself.'),
        ('server_encoding', current_setting('server_encoding'), current_setting('server_encoding') = 'SQL_ASCII', 'notice',
         'Names are not checked to be text: use UTF8.'),
        ('apikey.pepper_file', CASE WHEN current_setting('apikey.pepper_file', true) <> '' THEN 'set' ELSE '' END,
         coalesce(current_setting('apikey.pepper_file', true), '') = '', 'notice',
         'Peppers are in the database: whoever has a dump or a backup can test guesses. A pepper file keeps them apart.'),
        ('apikey.ip_source', current_setting('apikey.ip_source', true),
         current_setting('apikey.ip_source', true) <> 'none' AND current_setting('apikey.trusted_proxies', true) = '', 'notice',
         'With apikey.trusted_proxies empty, the last address of the header counts: right behind exactly one proxy only.'),
        ('apikey.node_share', current_setting('apikey.node_share', true), current_setting('apikey.node_share', true)::numeric <> 1, 'notice',
         'This server lets through this share of every limit only.'),
        ('pg_is_in_recovery', pg_is_in_recovery()::text, pg_is_in_recovery(), 'notice',
         'A standby: changes of keys count here once they are replayed, and what is counted here is not written.')
    )
    SELECT c.setting, c.value, CASE WHEN c.bad THEN c.severity ELSE 'ok' END, CASE WHEN c.bad THEN c.advice ELSE '' END
    FROM checked c WHERE c.value IS NOT NULL
$$;
COMMENT ON FUNCTION apikey.doctor_of_server() IS 'Part of apikey.doctor(): settings of the server';

-- What is in the database
CREATE FUNCTION apikey.doctor_of_database() RETURNS TABLE (setting text, value text, severity text, advice text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH triggers AS (
        SELECT string_agg(format('%s on %s', t.tgname, t.tgrelid::regclass), ', ' ORDER BY t.tgrelid::regclass::text, t.tgname) AS list
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'apikey'::regnamespace AND NOT t.tgisinternal
          AND (t.tgenabled IN ('D', 'R') OR (t.tgenabled <> 'A' AND (t.tgname LIKE 'invalidate%' OR t.tgname = 'receive')))
    ), bypass AS (
        SELECT string_agg(r.rolname, ', ' ORDER BY r.rolname) AS list FROM pg_roles r
        WHERE r.rolbypassrls AND NOT r.rolsuper AND pg_has_role(r.oid, 'pg_read_all_data', 'USAGE')
    ), checked (setting, value, bad, severity, advice) AS (
        SELECT 'triggers', coalesce(t.list, ''), t.list IS NOT NULL, 'critical',
               'These do not fire as they must: ALTER TABLE ... ENABLE TRIGGER, for invalidate and receive ENABLE ALWAYS TRIGGER.' FROM triggers t
        UNION ALL
        SELECT 'extension version', e.extversion, e.extversion <> a.default_version, 'warning',
               format('Version %s is installed on this server: ALTER EXTENSION apikey UPDATE.', a.default_version)
        FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname WHERE e.extname = 'apikey'
        UNION ALL
        SELECT 'account_policy', CASE WHEN p.has THEN '*' ELSE '' END, NOT p.has, 'critical', 'Row "*" is missing, so no key passes: insert it.'
        FROM (SELECT EXISTS (SELECT FROM apikey.account_policy a WHERE a.account = '*')) p (has)
        UNION ALL
        SELECT 'peppers', count(*)::text, NOT coalesce(bool_or(p.is_current), false) AND EXISTS (SELECT FROM apikey.key), 'critical',
               'No pepper is current: use apikey.set_current_pepper().' FROM apikey.pepper p
        UNION ALL
        SELECT 'keys under missing peppers', count(*)::text, count(*) > 0, 'critical', 'These keys can not be verified: restore the rows of apikey.pepper.'
        FROM apikey.key k WHERE k.pepper_id <> 0 AND NOT EXISTS (SELECT FROM apikey.pepper p WHERE p.pepper_id = k.pepper_id)
        UNION ALL
        SELECT 'roles that read secrets', coalesce(b.list, ''), b.list IS NOT NULL, 'warning',
               'BYPASSRLS together with pg_read_all_data reads hashes and peppers: take one of them away.' FROM bypass b
        UNION ALL
        SELECT 'policy_violations', count(*)::text, count(*) > 0, 'notice', 'Keys that policy would not allow any more: see apikey.policy_violations.'
        FROM apikey.policy_violations
        UNION ALL
        SELECT 'keys_to_rotate', count(*)::text, count(*) > 0, 'notice', 'Keys that are due: see apikey.keys_to_rotate.'
        FROM apikey.keys_to_rotate r WHERE r.due_at <= clock_timestamp()
    )
    SELECT c.setting, c.value, CASE WHEN c.bad THEN c.severity ELSE 'ok' END, CASE WHEN c.bad THEN c.advice ELSE '' END FROM checked c
$$;
COMMENT ON FUNCTION apikey.doctor_of_database() IS 'Part of apikey.doctor(): tables, triggers and roles';

-- How counting goes; nothing of it is there where the library is not preloaded.
CREATE FUNCTION apikey.doctor_of_counting() RETURNS TABLE (setting text, value text, severity text, advice text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('shared_preload_libraries') !~ '(^|[ ,"/])apikey([ ,"]|$)' THEN
        RETURN;
    END IF;
    RETURN QUERY
        WITH s AS MATERIALIZED (SELECT * FROM apikey.stats), checked (setting, value, bad, severity, advice) AS (
            SELECT 'apikey launcher', CASE WHEN l.runs THEN 'running' ELSE 'not running' END, NOT (l.runs OR pg_is_in_recovery()), 'critical',
                   'Usage is not written: see the server log and max_worker_processes, and restart the server.'
            FROM (SELECT EXISTS (SELECT FROM pg_stat_activity a WHERE a.backend_type = 'apikey launcher')) l (runs)
            UNION ALL
            SELECT 'last_flush_error', coalesce(s.last_flush_error, ''), s.last_flush_error IS NOT NULL, 'warning',
                   'Usage could not be written; it is tried again. apikey.reset_stats() clears the message.' FROM s
            UNION ALL
            SELECT 'flush_lag_seconds', round(s.flush_lag_seconds)::text, s.flush_lag_seconds > 60 AND NOT pg_is_in_recovery(), 'warning',
                   'Usage waits to be written: see last_flush_error, and whether max_worker_processes leaves a worker.' FROM s
            UNION ALL
            SELECT 'events_lost', s.events_lost::text, s.events_lost > 0, 'warning',
                   'Usage came faster than it was written: raise apikey.usage_buffer_size. apikey.reset_stats() clears the number.' FROM s
            UNION ALL
            SELECT 'limit_slots', format('%s of %s', s.limit_slots_used, s.limit_slots), s.limit_slots_used > 0.9 * s.limit_slots, 'warning',
                   'When all are used, keys share a window and may be limited early: raise apikey.limit_slots.' FROM s WHERE s.limit_slots > 0
        )
        SELECT c.setting, c.value, CASE WHEN c.bad THEN c.severity ELSE 'ok' END, CASE WHEN c.bad THEN c.advice ELSE '' END FROM checked c;
END
$$;
COMMENT ON FUNCTION apikey.doctor_of_counting() IS 'Part of apikey.doctor(): launcher, flushes and memory';

CREATE FUNCTION apikey.doctor() RETURNS TABLE (setting text, value text, severity text, advice text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.setting, d.value, d.severity, d.advice
    FROM (SELECT * FROM apikey.doctor_of_server() UNION ALL SELECT * FROM apikey.doctor_of_roles()
          UNION ALL SELECT * FROM apikey.doctor_of_database() UNION ALL SELECT * FROM apikey.doctor_of_counting()) d
    ORDER BY array_position('{critical,warning,notice,ok}'::text[], d.severity), d.setting
$$;
COMMENT ON FUNCTION apikey.doctor() IS 'What a careful DBA would look at, worst first; severity ok, notice, warning or critical';
