--
-- Views
--

CREATE VIEW apikey.keys WITH (security_barrier) AS
    SELECT k.key_id,
           k.account,
           k.name,
           k.kind,
           k.display,
           k.scopes,
           -- apikey.key_status() spelled out: whoever may read the view needs no function
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                WHEN k.expires_at <= clock_timestamp() THEN 'expired'
                WHEN k.disabled_at IS NOT NULL THEN 'disabled'
                ELSE 'active' END AS status,
           coalesce(string_to_array(array_to_string(k.allowed_ips, ','), ','), '{}') AS allowed_ips,
           coalesce(k.allowed_origins, '{}') AS allowed_origins,
           k.created_at,
           k.created_by,
           k.expires_at,
           k.revoked_at,
           k.revoked_by,
           k.revoke_reason,
           (SELECT max(u.last_used_at) FROM apikey.key_use u WHERE u.key_id = k.key_id) AS last_used_at,
           k.db_role,
           coalesce(k.metadata, '{}') AS metadata,
           k.rotated_from,
           k.rotated_to,
           k.disabled_at,
           k.disabled_by,
           CASE WHEN c.epoch IS NOT NULL THEN apikey.credit_balance(c) END AS credits_remaining
    FROM apikey.key k LEFT JOIN apikey.credit c ON c.lineage = coalesce(k.lineage, k.key_id);
COMMENT ON VIEW apikey.keys IS 'All keys, live and ended, without anything secret';

CREATE FUNCTION apikey.list_keys(account text, actor text DEFAULT NULL) RETURNS SETOF apikey.keys
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM apikey.require_capability(account, 'view', actor);
    RETURN QUERY SELECT * FROM apikey.keys k WHERE k.account = list_keys.account ORDER BY k.created_at, k.key_id;
END
$$;
COMMENT ON FUNCTION apikey.list_keys(text, text) IS 'The keys of one account, oldest first';

CREATE VIEW apikey.keys_to_rotate WITH (security_barrier) AS
    SELECT k.key_id,
           k.account,
           k.name,
           k.display,
           k.created_at,
           k.created_at + least(p.rotate_after, '1000 years') AS due_at,
           k.last_used_at,
           k.rotated_to
    FROM apikey.keys k
         CROSS JOIN LATERAL (
             SELECT coalesce(own.rotate_after, def.rotate_after) AS rotate_after
             FROM apikey.account_policy def LEFT JOIN apikey.account_policy own ON own.account = k.account
             WHERE def.account = '*') p
    WHERE k.status IN ('active', 'disabled')
      AND p.rotate_after > '0'
      AND k.created_at + least(p.rotate_after, '1000 years') <= clock_timestamp();
COMMENT ON VIEW apikey.keys_to_rotate IS 'Living keys older than rotate_after of their account''s policy';

CREATE FUNCTION apikey.unlisted_scopes(apikey.scopes) RETURNS text[]
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'apikey_sql_unlisted_scopes';
COMMENT ON FUNCTION apikey.unlisted_scopes(apikey.scopes) IS 'Grants that the catalogue does not list, nor cover anything listed';

-- What policy was when a key was made or changed is not known: this is what it
-- is now.  In which time zone a lifetime of months was reckoned is not known
-- either, therefore a day and a bit is let pass.
CREATE VIEW apikey.policy_violations WITH (security_barrier) AS
    SELECT l.key_id, l.account, v.rule, v.detail
    FROM (SELECT k.key_id, k.account, k.name, k.scopes, k.allowed_ips, k.allowed_origins, k.created_at,
                 coalesce(k.expires_at, 'infinity') AS expires_at,
                 coalesce(k.db_role, kind.db_role) AS db_role,
                 kind.origin_locked,
                 apikey.unlisted_scopes(k.scopes) AS unlisted,
                 coalesce(own.allowed_scopes, def.allowed_scopes) AS allowed_scopes,
                 coalesce(own.max_lifetime, def.max_lifetime) AS max_lifetime,
                 coalesce(own.require_allowed_ips, def.require_allowed_ips) AS require_allowed_ips,
                 -- NULL: no limit
                 nullif(coalesce(own.max_keys, def.max_keys), -1) AS max_keys,
                 least(nullif(kind.name_max, -1), nullif(coalesce(own.name_max, def.name_max), -1)) AS name_max,
                 CASE WHEN k.rotated_to IS NULL
                      THEN row_number() OVER (PARTITION BY k.account, k.rotated_to IS NULL ORDER BY k.created_at, k.key_id) END AS number
          FROM apikey.key k
               JOIN apikey.kind ON kind.kind = k.kind
               JOIN apikey.account_policy def ON def.account = '*'
               LEFT JOIN apikey.account_policy own ON own.account = k.account
          WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())) l
         CROSS JOIN LATERAL (VALUES
             ('max_lifetime', CASE WHEN l.max_lifetime > '0' AND l.max_lifetime <= '1000 years'
                                        AND l.expires_at > l.created_at + least(l.max_lifetime, '1000 years') + interval '26 hours'
                                   THEN concat(CASE WHEN l.expires_at = 'infinity' THEN 'never expires'
                                                    ELSE format('lives %s', justify_hours(l.expires_at - l.created_at)) END,
                                               format(', %s at most', l.max_lifetime)) END),
             ('require_allowed_ips', CASE WHEN l.require_allowed_ips AND NOT l.origin_locked AND l.allowed_ips IS NULL
                                          THEN 'has no list of addresses' END),
             ('allowed_scopes', (SELECT 'not allowed: ' || string_agg(g, ' ') FROM unnest(apikey.scopes_to_array(l.scopes)) g
                                 WHERE NOT apikey.covers(l.allowed_scopes, g))),
             ('scope', CASE WHEN l.unlisted <> '{}' THEN 'not in the catalogue: ' || array_to_string(l.unlisted, ' ') END),
             ('max_keys', CASE WHEN l.number > l.max_keys THEN format('the account''s key number %s, %s at most', l.number, l.max_keys) END),
             ('name_max', CASE WHEN char_length(l.name) > l.name_max
                               THEN format('name of %s characters, %s at most', char_length(l.name), l.name_max) END),
             ('origin_locked', CASE WHEN l.origin_locked AND l.allowed_origins IS NULL THEN 'has no list of origins' END),
             ('db_role', CASE WHEN NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = l.db_role) AND l.db_role IS NOT NULL
                              THEN format('role %s does not exist', quote_ident(l.db_role))
                              WHEN EXISTS (SELECT FROM pg_roles r WHERE r.rolname = l.db_role AND r.rolsuper)
                              THEN format('role %s is a superuser', quote_ident(l.db_role)) END)
         ) v (rule, detail)
    WHERE v.detail IS NOT NULL;
COMMENT ON VIEW apikey.policy_violations IS 'Living keys that would not be issued like this any more, with the rule that they break';

CREATE VIEW apikey.pepper_status WITH (security_barrier) AS
    SELECT p.pepper_id,
           p.source,
           p.created_at,
           p.is_current,
           (SELECT count(*) FROM apikey.key k WHERE k.pepper_id = p.pepper_id) AS keys
    FROM apikey.pepper p;
COMMENT ON VIEW apikey.pepper_status IS 'Peppers and how many keys are stored under each';

