--
-- Counting: what requests leave behind, and the counters of this server
--

CREATE FUNCTION apikey.record(
    key_id uuid,
    status integer,
    code text DEFAULT NULL,
    method text DEFAULT NULL,
    path text DEFAULT NULL,
    request_id text DEFAULT NULL
) RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'apikey_sql_record';
COMMENT ON FUNCTION apikey.record(uuid, integer, text, text, text, text)
    IS 'Notes how a request ended; 4xx and 5xx count as errors, the rest and refusals do nothing';

CREATE FUNCTION apikey.flush_usage() RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'apikey_sql_flush_usage';
COMMENT ON FUNCTION apikey.flush_usage() IS 'Has the worker write what is buffered for this database, and waits for it';

CREATE FUNCTION apikey.reset_stats() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'apikey_sql_reset_stats';
COMMENT ON FUNCTION apikey.reset_stats() IS 'Sets the counters of this server to zero; usage tables stay';

CREATE FUNCTION apikey.stats_now(
    OUT verifications bigint,
    OUT refusals bigint,
    OUT cache_hits bigint,
    OUT cache_misses bigint,
    OUT events_buffered bigint,
    OUT events_flushed bigint,
    OUT events_lost bigint,
    OUT flush_lag_seconds double precision,
    OUT last_flush_at timestamptz,
    OUT last_flush_error text,
    OUT limit_slots_used bigint,
    OUT limit_slots bigint,
    OUT stats_reset timestamptz,
    OUT limit_overflows bigint
)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_stats_now';
COMMENT ON FUNCTION apikey.stats_now() IS 'Behind the view apikey.stats';

CREATE FUNCTION apikey.code_counts(OUT code text, OUT count bigint) RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 18 AS 'MODULE_PATHNAME', 'apikey_sql_code_counts';
COMMENT ON FUNCTION apikey.code_counts() IS 'Behind the view apikey.stats_by_code';

CREATE FUNCTION apikey.guesses_now(OUT address inet, OUT attempts bigint, OUT last_at timestamptz) RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 256 AS 'MODULE_PATHNAME', 'apikey_sql_guesses_now';
COMMENT ON FUNCTION apikey.guesses_now() IS 'Behind the view apikey.guesses';

CREATE VIEW apikey.stats AS
    SELECT s.verifications, s.refusals, s.cache_hits, s.cache_misses, s.events_buffered, s.events_flushed,
           s.events_lost, s.flush_lag_seconds, s.last_flush_at, s.last_flush_error,
           s.limit_slots_used, s.limit_slots, s.stats_reset, s.limit_overflows
    FROM apikey.stats_now() s;
COMMENT ON VIEW apikey.stats IS 'Counters of this server since its start or reset_stats()';

CREATE VIEW apikey.stats_by_code AS SELECT c.code, c.count FROM apikey.code_counts() c;
COMMENT ON VIEW apikey.stats_by_code IS 'Verdicts of this server by code';

CREATE VIEW apikey.guesses AS
    SELECT g.address, g.attempts, g.last_at FROM apikey.guesses_now() g ORDER BY g.attempts DESC, g.last_at DESC;
COMMENT ON VIEW apikey.guesses IS 'Addresses that present unknown keys most often, IPv6 by /64; counts are upper bounds';

-- A predecessor that is still used once its successor is: one row a day
CREATE FUNCTION apikey.note_superseded(key_ids uuid[], last_used timestamptz[]) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO apikey.audit_log (action, key_id, account, new)
        SELECT DISTINCT 'superseded_key_used', k.key_id, k.account, jsonb_build_object('rotated_to', k.rotated_to)
        FROM unnest(key_ids, last_used) AS u (key_id, last_used)
             JOIN apikey.key k ON k.key_id = u.key_id
        WHERE k.rotated_to IS NOT NULL
          AND EXISTS (SELECT FROM apikey.key_use s WHERE s.key_id = k.rotated_to AND s.last_used_at < u.last_used)
          AND NOT EXISTS (SELECT FROM apikey.audit_log a
                          WHERE a.key_id = k.key_id AND a.action = 'superseded_key_used'
                            AND (a.occurred_at AT TIME ZONE 'UTC')::date = (u.last_used AT TIME ZONE 'UTC')::date)
$$;
COMMENT ON FUNCTION apikey.note_superseded(uuid[], timestamptz[]) IS 'Audit rows superseded_key_used, for the flush worker';

