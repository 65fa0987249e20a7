--
-- Usage, as the worker has written it
--
-- now() is the start of the transaction: what is asked in one fits together.
--

CREATE VIEW apikey.usage_hourly WITH (security_barrier) AS
    SELECT u.key_id,
           u.hour,
           sum(u.requests)::bigint AS requests,
           sum(u.refused)::bigint AS refused,
           sum(u.errors_4xx + u.errors_5xx)::bigint AS errors,
           sum(u.errors_4xx)::bigint AS errors_4xx,
           sum(u.errors_5xx)::bigint AS errors_5xx,
           coalesce(apikey.cardinality(apikey.sketch_union_agg(u.addresses)), 0) AS unique_ips,
           apikey.sketch_union_agg(u.addresses) AS addresses
    FROM apikey.counted_hours u
    GROUP BY u.key_id, u.hour;
COMMENT ON VIEW apikey.usage_hourly IS 'Requests, errors and distinct addresses per key and UTC hour, over all nodes';

CREATE VIEW apikey.usage_daily WITH (security_barrier) AS
    SELECT u.key_id,
           u.day,
           sum(u.requests)::bigint AS requests,
           sum(u.refused)::bigint AS refused,
           sum(u.errors_4xx + u.errors_5xx)::bigint AS errors,
           sum(u.errors_4xx)::bigint AS errors_4xx,
           sum(u.errors_5xx)::bigint AS errors_5xx,
           coalesce(apikey.cardinality(apikey.sketch_union_agg(u.addresses)), 0) AS unique_ips,
           apikey.sketch_union_agg(u.addresses) AS addresses,
           u.account
    FROM apikey.counted_days u
    GROUP BY u.key_id, u.day, u.account;
COMMENT ON VIEW apikey.usage_daily IS 'Requests, errors and distinct addresses per key and UTC day, over all nodes';

CREATE VIEW apikey.key_usage WITH (security_barrier) AS
    SELECT k.key_id,
           h.requests AS requests_24h,
           d.requests_7d,
           d.requests_30d,
           h.errors AS errors_24h,
           d.errors_7d,
           d.errors_30d,
           (SELECT max(u.last_used_at) FROM apikey.key_use u WHERE u.key_id = k.key_id) AS last_used_at,
           k.account
    FROM apikey.key k
         CROSS JOIN (SELECT date_trunc('hour', now(), 'UTC') AS hour, (now() AT TIME ZONE 'UTC')::date AS today) this
         CROSS JOIN LATERAL (
             SELECT coalesce(sum(u.requests), 0)::bigint AS requests,
                    coalesce(sum(u.errors_4xx + u.errors_5xx), 0)::bigint AS errors
             FROM apikey.counted_hours u
             WHERE u.key_id = k.key_id AND u.hour > this.hour - interval '24 hours' AND u.hour <= this.hour) h
         CROSS JOIN LATERAL (
             SELECT coalesce(sum(u.requests) FILTER (WHERE u.day > this.today - 7), 0)::bigint AS requests_7d,
                    coalesce(sum(u.requests), 0)::bigint AS requests_30d,
                    coalesce(sum(u.errors_4xx + u.errors_5xx) FILTER (WHERE u.day > this.today - 7), 0)::bigint AS errors_7d,
                    coalesce(sum(u.errors_4xx + u.errors_5xx), 0)::bigint AS errors_30d
             FROM apikey.counted_days u
             WHERE u.key_id = k.key_id AND u.day > this.today - 30 AND u.day <= this.today) d;
COMMENT ON VIEW apikey.key_usage IS 'Use of every key in the last 24 UTC hours, and 7 and 30 UTC days, the current one included';

CREATE FUNCTION apikey.requests_today(account text) RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_requests_today';
COMMENT ON FUNCTION apikey.requests_today(text) IS 'Calls of an account that passed this UTC day, unflushed ones included';

CREATE VIEW apikey.account_usage WITH (security_barrier) AS
    SELECT a.account,
           (SELECT count(*) FROM apikey.key k
            WHERE k.account = a.account AND k.revoked_at IS NULL AND k.rotated_to IS NULL
              AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())) AS active_keys,
           coalesce(own.max_keys, def.max_keys) AS max_keys,
           apikey.requests_today(a.account) AS requests_today,
           coalesce(own.max_requests_per_day, def.max_requests_per_day) AS max_requests_per_day,
           CASE WHEN EXISTS (SELECT FROM apikey.scope)
                THEN ARRAY(SELECT s.scope FROM apikey.scope s
                           WHERE s.enabled AND apikey.covers(coalesce(own.allowed_scopes, def.allowed_scopes), s.scope)
                             AND NOT EXISTS (SELECT FROM apikey.scope off
                                             WHERE NOT off.enabled AND apikey.covers(off.scope::apikey.scopes, s.scope))
                           ORDER BY s.scope COLLATE "C")
                ELSE coalesce(own.allowed_scopes, def.allowed_scopes)::text[] END AS available_scopes,
           CASE WHEN c.epoch IS NOT NULL THEN apikey.credit_balance(c) END AS credits_remaining
    FROM (SELECT k.account FROM apikey.key k
          UNION
          SELECT p.account FROM apikey.account_policy p WHERE p.account <> '*') a
         CROSS JOIN apikey.account_policy def
         LEFT JOIN apikey.account_policy own ON own.account = a.account
         LEFT JOIN apikey.credit c ON c.account = a.account
    WHERE def.account = '*';
COMMENT ON VIEW apikey.account_usage IS 'What each account uses of what it may: keys, requests of the UTC day, credits; and the scopes its keys may be given';

CREATE VIEW apikey.recent_errors WITH (security_barrier) AS
    SELECT e.key_id,
           e.occurred_at,
           e.status,
           e.code,
           e.method,
           e.path,
           e.request_id
    FROM apikey.recent_error e;
COMMENT ON VIEW apikey.recent_errors IS 'The newest 50 errors of each key: refused requests, and outcomes of 400 and more that were recorded';

-- Eighths of blocks where both ends know them; their codes, as this script is
-- read in the encoding of any database.
CREATE FUNCTION apikey.usage_bar(share double precision) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN current_setting('server_encoding') = 'UTF8' AND current_setting('client_encoding') = 'UTF8'
                THEN repeat(chr(9608), eighths / 8) || CASE WHEN eighths % 8 > 0 THEN chr(9616 - eighths % 8) ELSE '' END
                ELSE repeat('#', (eighths + 7) / 8) END
    FROM (SELECT ceil(share * 320)::integer AS eighths) bar
$$;
COMMENT ON FUNCTION apikey.usage_bar(double precision) IS 'A bar of up to 40 characters';

CREATE FUNCTION apikey.usage_report(account text DEFAULT NULL, key_id uuid DEFAULT NULL, days integer DEFAULT 30)
    RETURNS TABLE (day date, requests bigint, errors bigint, unique_ips bigint, bar text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 30 SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    IF days IS NULL OR days NOT BETWEEN 1 AND 800 THEN
        RAISE EXCEPTION 'days must be 1 to 800'
            USING ERRCODE = '22023', DETAIL = format('Argument "days" is %s.', coalesce(days::text, 'NULL')),
                  HINT = 'For example apikey.usage_report(''acme'', days => 7).';
    END IF;
    RETURN QUERY
        SELECT s.date, coalesce(u.requests, 0), coalesce(u.errors, 0), coalesce(u.unique_ips, 0),
               apikey.usage_bar(coalesce(u.requests::float8 / nullif(max(u.requests) OVER (), 0), 0))
        FROM (SELECT today - ago AS date FROM generate_series(0, days - 1) ago) s
             LEFT JOIN (SELECT t.day AS date, sum(t.requests)::bigint AS requests,
                               sum(t.errors_4xx + t.errors_5xx)::bigint AS errors,
                               apikey.cardinality(apikey.sketch_union_agg(t.addresses)) AS unique_ips
                        FROM apikey.counted_days t
                        WHERE t.day BETWEEN today - days + 1 AND today
                          AND (usage_report.account IS NULL OR t.account = usage_report.account)
                          AND (usage_report.key_id IS NULL OR t.key_id = usage_report.key_id)
                        GROUP BY t.day) u USING (date)
        ORDER BY s.date;
END
$$;
COMMENT ON FUNCTION apikey.usage_report(text, uuid, integer) IS 'A picture for psql: the days of an account, a key, or all, oldest first';
