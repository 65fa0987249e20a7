--
-- Recent errors, and how the background worker writes what it has counted
--
-- Called by the worker as the owner, all in one transaction: apply_batch, and if
-- that says true the counts (usage.c; apply_usage is the same for SQL) and
-- apply_errors.
--

-- No index but that of the primary key, which serves "the newest of a key" too.
CREATE TABLE apikey.recent_error (
    key_id uuid,
    occurred_at timestamptz,
    error_id uuid DEFAULT apikey.new_id(),
    node text NOT NULL,
    status integer,
    code text,
    method text,
    path text,
    request_id text,
    PRIMARY KEY (key_id, occurred_at, error_id)
) WITH (autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE apikey.recent_error IS 'The newest 50 errors of each key. Look at apikey.recent_errors instead';
COMMENT ON COLUMN apikey.recent_error.key_id IS 'The key';
COMMENT ON COLUMN apikey.recent_error.occurred_at IS 'When the request was refused, or its outcome recorded';
COMMENT ON COLUMN apikey.recent_error.error_id IS 'UUID version 7; tells errors of the same microsecond apart';
COMMENT ON COLUMN apikey.recent_error.node IS 'The server that counted';
COMMENT ON COLUMN apikey.recent_error.status IS 'HTTP status';
COMMENT ON COLUMN apikey.recent_error.code IS 'Code of the verdict, or as given to apikey.record';
COMMENT ON COLUMN apikey.recent_error.method IS 'Of the request';
COMMENT ON COLUMN apikey.recent_error.path IS 'Of the request, without query string';
COMMENT ON COLUMN apikey.recent_error.request_id IS 'Of the request, as its caller names it';

-- The row lock, kept to the end of the transaction, makes sessions that write
-- for the same node wait for one another.
CREATE FUNCTION apikey.apply_batch(node text, batch bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO apikey.flush_state AS f (node, batch, flushed_at)
        VALUES (apply_batch.node, apply_batch.batch, clock_timestamp())
        ON CONFLICT ON CONSTRAINT flush_state_pkey DO UPDATE SET batch = excluded.batch, flushed_at = excluded.flushed_at
            WHERE f.batch < excluded.batch;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION apikey.apply_batch(text, bigint) IS 'Notes that a batch is written; false if it, or a later one of the node, was written before';

CREATE FUNCTION apikey.lock_for_purge() RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_lock_for_purge';
COMMENT ON FUNCTION apikey.lock_for_purge() IS 'Waits until no usage is being written, and lets the flush worker know that keys are being removed';

CREATE FUNCTION apikey.try_lock_for_usage() RETURNS boolean
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_try_lock_for_usage';
COMMENT ON FUNCTION apikey.try_lock_for_usage() IS 'Makes who would remove keys wait for this transaction; false if keys are being removed';

-- While keys are being removed: only ended keys are, and those that are locked
-- may be among them.  An hour is more than a flush takes.
-- Many keys of even more: through the index all the same, not through the table.
CREATE FUNCTION apikey.keys_to_count(wanted uuid[]) RETURNS TABLE (key_id uuid, account text)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET max_parallel_workers_per_gather = 0
AS $$
BEGIN
    IF apikey.try_lock_for_usage() THEN
        RETURN QUERY SELECT k.key_id, k.account FROM apikey.key k WHERE k.key_id = ANY (wanted);
    ELSE
        RETURN QUERY
            WITH ended AS MATERIALIZED (
                SELECT k.key_id, k.account FROM apikey.key k
                WHERE k.key_id = ANY (wanted) AND (k.revoked_at IS NOT NULL OR k.expires_at < now() + interval '1 hour')
                FOR KEY SHARE SKIP LOCKED)
            SELECT e.key_id, e.account FROM ended e
            UNION ALL
            SELECT k.key_id, k.account FROM apikey.key k
            WHERE k.key_id = ANY (wanted) AND k.revoked_at IS NULL AND (k.expires_at < now() + interval '1 hour') IS NOT TRUE;
    END IF;
END
$$;
COMMENT ON FUNCTION apikey.keys_to_count(uuid[]) IS 'Keys that exist, and will when this transaction ends, with their accounts';

CREATE FUNCTION apikey.accounts_to_count(wanted uuid[]) RETURNS text[]
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(k.account ORDER BY u.i)
    FROM unnest(wanted) WITH ORDINALITY u (key_id, i) LEFT JOIN apikey.keys_to_count(wanted) k ON k.key_id = u.key_id
$$;
COMMENT ON FUNCTION apikey.accounts_to_count(uuid[]) IS 'The account of each of these keys; NULL for one that is gone, or may be when this transaction ends';

CREATE FUNCTION apikey.apply_usage(
    node text,
    key_ids uuid[],
    hours timestamptz[],
    requests bigint[],
    refused bigint[],
    errors_4xx bigint[],
    errors_5xx bigint[],
    addresses bytea[],
    last_used timestamptz[]
) RETURNS bigint
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'apikey_sql_apply_usage';
COMMENT ON FUNCTION apikey.apply_usage(text, uuid[], timestamptz[], bigint[], bigint[], bigint[], bigint[], bytea[], timestamptz[])
    IS 'Adds counts to the rows of their keys and UTC hours; skips keys that are gone, and returns how many events were theirs';

CREATE FUNCTION apikey.apply_errors(
    node text,
    key_ids uuid[],
    occurred timestamptz[],
    status integer[],
    codes text[],
    methods text[],
    paths text[],
    request_ids text[]
) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
BEGIN
    -- Of one batch no more than are kept; of the same time those first in it.
    INSERT INTO apikey.recent_error (key_id, occurred_at, node, status, code, method, path, request_id)
        SELECT u.key_id, u.occurred, apply_errors.node, u.status, u.code, u.method, u.path, u.request_id
        FROM (SELECT *, row_number() OVER (PARTITION BY n.key_id ORDER BY n.occurred DESC, n.i) AS age
              FROM unnest(key_ids, occurred, status, codes, methods, paths, request_ids) WITH ORDINALITY
                  n (key_id, occurred, status, code, method, path, request_id, i)) u
             JOIN apikey.keys_to_count(key_ids) k ON k.key_id = u.key_id
        WHERE u.age <= 50
        ORDER BY u.key_id, u.occurred, u.i DESC;
    DELETE FROM apikey.recent_error e
        USING (SELECT DISTINCT u.key_id FROM unnest(key_ids) u (key_id)) touched
              CROSS JOIN LATERAL (SELECT o.occurred_at, o.error_id FROM apikey.recent_error o
                                  WHERE o.key_id = touched.key_id
                                  ORDER BY o.occurred_at DESC, o.error_id DESC OFFSET 50) old
        WHERE e.key_id = touched.key_id AND e.occurred_at = old.occurred_at AND e.error_id = old.error_id;
END
$$;
COMMENT ON FUNCTION apikey.apply_errors(text, uuid[], timestamptz[], integer[], text[], text[], text[], text[])
    IS 'Adds errors, and removes all but the newest 50 of each key that has new ones';

CREATE FUNCTION apikey.forget_usage(key_ids uuid[]) RETURNS void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'apikey_sql_forget_usage';
COMMENT ON FUNCTION apikey.forget_usage(uuid[]) IS 'Removes all that was counted for these keys';
