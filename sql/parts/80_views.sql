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
           NULL::bigint AS credits_remaining
    FROM apikey.key k;
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
           k.created_at + p.rotate_after AS due_at,
           k.last_used_at,
           k.rotated_to
    FROM apikey.keys k
         CROSS JOIN LATERAL (
             SELECT coalesce(own.rotate_after, def.rotate_after) AS rotate_after
             FROM apikey.account_policy def LEFT JOIN apikey.account_policy own ON own.account = k.account
             WHERE def.account = '*') p
    WHERE k.status IN ('active', 'disabled')
      AND p.rotate_after > '0'
      AND k.created_at + p.rotate_after <= clock_timestamp();
COMMENT ON VIEW apikey.keys_to_rotate IS 'Living keys older than rotate_after of their account''s policy';

CREATE VIEW apikey.pepper_status WITH (security_barrier) AS
    SELECT p.pepper_id,
           p.source,
           p.created_at,
           p.is_current,
           (SELECT count(*) FROM apikey.key k WHERE k.pepper_id = p.pepper_id) AS keys
    FROM apikey.pepper p;
COMMENT ON VIEW apikey.pepper_status IS 'Peppers and how many keys are stored under each';

