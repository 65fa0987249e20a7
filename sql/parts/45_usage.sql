--
-- Usage: tables that only the background worker writes, and their partitions
--
-- Each row carries the node that counted it: two servers never write the same
-- row.  Days and hours are those of UTC.
--
-- The tables by hour and by day are partitioned.  Here only their default
-- partitions are made; apikey.maintain_usage makes the dated ones, which so do
-- not become members of the extension: pg_dump takes them along as they are,
-- and DROP EXTENSION drops them with their parent.  For the same reason each
-- partition has a primary key of its own and the parents have none: a restore
-- attaches partitions to the parent that CREATE EXTENSION made, and if that had
-- a key it would give them one each, before the dump's own comes.
--

CREATE TABLE apikey.usage_hour (
    key_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    node text NOT NULL,
    account text NOT NULL,
    requests bigint NOT NULL,
    refused bigint NOT NULL,
    errors_4xx bigint NOT NULL,
    errors_5xx bigint NOT NULL,
    addresses apikey.sketch
) PARTITION BY RANGE (hour);
COMMENT ON TABLE apikey.usage_hour IS 'Requests per key, UTC hour and node, a partition a day; without the hours open in key_use. Look at apikey.usage_hourly instead';
COMMENT ON COLUMN apikey.usage_hour.key_id IS 'The key';
COMMENT ON COLUMN apikey.usage_hour.hour IS 'Its start';
COMMENT ON COLUMN apikey.usage_hour.node IS 'The server that counted';
COMMENT ON COLUMN apikey.usage_hour.account IS 'Owner of the key';
COMMENT ON COLUMN apikey.usage_hour.requests IS 'Calls of verify';
COMMENT ON COLUMN apikey.usage_hour.refused IS 'Those that were not valid';
COMMENT ON COLUMN apikey.usage_hour.errors_4xx IS 'Refusals and recorded outcomes of 400 to 499';
COMMENT ON COLUMN apikey.usage_hour.errors_5xx IS 'Refusals and recorded outcomes of 500 and more';
COMMENT ON COLUMN apikey.usage_hour.addresses IS 'Client addresses, NULL if there were none';

CREATE TABLE apikey.usage_day (
    key_id uuid NOT NULL,
    day date NOT NULL,
    node text NOT NULL,
    account text NOT NULL,
    requests bigint NOT NULL,
    refused bigint NOT NULL,
    errors_4xx bigint NOT NULL,
    errors_5xx bigint NOT NULL,
    addresses apikey.sketch
) PARTITION BY RANGE (day);
COMMENT ON TABLE apikey.usage_day IS 'Requests per key, UTC day and node, a partition a month; without the hours open in key_use. Look at apikey.usage_daily instead';
COMMENT ON COLUMN apikey.usage_day.key_id IS 'The key';
COMMENT ON COLUMN apikey.usage_day.day IS 'Of UTC';
COMMENT ON COLUMN apikey.usage_day.node IS 'The server that counted';
COMMENT ON COLUMN apikey.usage_day.account IS 'Owner of the key';
COMMENT ON COLUMN apikey.usage_day.requests IS 'Calls of verify';
COMMENT ON COLUMN apikey.usage_day.refused IS 'Those that were not valid';
COMMENT ON COLUMN apikey.usage_day.errors_4xx IS 'Refusals and recorded outcomes of 400 to 499';
COMMENT ON COLUMN apikey.usage_day.errors_5xx IS 'Refusals and recorded outcomes of 500 and more';
COMMENT ON COLUMN apikey.usage_day.addresses IS 'Client addresses, NULL if there were none';

-- Rows are updated in place, again and again: pages keep room for the new
-- version beside the old one, and indexes need not know.
CREATE TABLE apikey.usage_hour_default PARTITION OF apikey.usage_hour (PRIMARY KEY (key_id, hour, node)) DEFAULT
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE apikey.usage_hour_default IS 'Hours for which there is no partition yet';
CREATE TABLE apikey.usage_day_default PARTITION OF apikey.usage_day (PRIMARY KEY (key_id, day, node)) DEFAULT
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE apikey.usage_day_default IS 'Days for which there is no partition yet';
CREATE INDEX usage_day_default_account ON apikey.usage_day_default (account, day);

-- What a flush writes is one row a key: counts go here as long as they are of
-- the same hour, and to the tables above when a later one begins.  Apart from the
-- key table, whose rows and caches so stay as they are.
CREATE TABLE apikey.key_use (
    key_id uuid,
    node text,
    last_used_at timestamptz,
    hour timestamptz,
    account text,
    requests bigint,
    refused bigint,
    errors_4xx bigint,
    errors_5xx bigint,
    addresses apikey.sketch,
    PRIMARY KEY (key_id, node),
    CONSTRAINT key_use_open_hour_has_account CHECK (hour IS NULL OR account IS NOT NULL)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);
-- None knows the hour: a row stays on its page when a later one begins
CREATE INDEX key_use_account ON apikey.key_use (account);
COMMENT ON TABLE apikey.key_use IS 'When each key was last used, and the counts of its open hour. Look at apikey.keys and the views of usage instead';
COMMENT ON COLUMN apikey.key_use.key_id IS 'The key';
COMMENT ON COLUMN apikey.key_use.node IS 'The server that counted';
COMMENT ON COLUMN apikey.key_use.last_used_at IS 'The last request that passed, NULL if none has';
COMMENT ON COLUMN apikey.key_use.hour IS 'Start of the last hour with counts, which are not in usage_hour and usage_day yet; NULL if all are';
COMMENT ON COLUMN apikey.key_use.account IS 'Owner of the key';
COMMENT ON COLUMN apikey.key_use.requests IS 'Calls of verify in that hour';
COMMENT ON COLUMN apikey.key_use.refused IS 'Those that were not valid';
COMMENT ON COLUMN apikey.key_use.errors_4xx IS 'Refusals and recorded outcomes of 400 to 499';
COMMENT ON COLUMN apikey.key_use.errors_5xx IS 'Refusals and recorded outcomes of 500 and more';
COMMENT ON COLUMN apikey.key_use.addresses IS 'Client addresses, NULL if there were none';

CREATE VIEW apikey.counted_hours AS
    SELECT u.key_id, u.hour, u.node, u.account, u.requests, u.refused, u.errors_4xx, u.errors_5xx, u.addresses
    FROM apikey.usage_hour u
    UNION ALL
    SELECT o.key_id, o.hour, o.node, o.account, o.requests, o.refused, o.errors_4xx, o.errors_5xx, o.addresses
    FROM apikey.key_use o WHERE o.hour IS NOT NULL;
COMMENT ON VIEW apikey.counted_hours IS 'All counts by hour, those of open hours included; may have two rows for one hour of a key and node';

CREATE VIEW apikey.counted_days AS
    SELECT u.key_id, u.day, u.node, u.account, u.requests, u.refused, u.errors_4xx, u.errors_5xx, u.addresses
    FROM apikey.usage_day u
    UNION ALL
    SELECT o.key_id, (o.hour AT TIME ZONE 'UTC')::date, o.node, o.account, o.requests, o.refused, o.errors_4xx, o.errors_5xx, o.addresses
    FROM apikey.key_use o WHERE o.hour IS NOT NULL;
COMMENT ON VIEW apikey.counted_days IS 'All counts by day, those of open hours included, which have rows of their own';

CREATE TABLE apikey.flush_state (
    node text PRIMARY KEY,
    batch bigint NOT NULL,
    flushed_at timestamptz NOT NULL,
    restored bigint
) WITH (fillfactor = 50);
COMMENT ON TABLE apikey.flush_state IS 'What each node has written last; deliberately not part of a dump';
COMMENT ON COLUMN apikey.flush_state.node IS 'The server that counted';
COMMENT ON COLUMN apikey.flush_state.batch IS 'Number of the last batch of events in these tables';
COMMENT ON COLUMN apikey.flush_state.flushed_at IS 'When it was written';
COMMENT ON COLUMN apikey.flush_state.restored IS 'Number of the last file, saved at a clean stop, whose events are in these tables';

--
-- Partitions
--

CREATE FUNCTION apikey.add_usage_partition(parent text, part text, part_column text, low text, high text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rest text := parent || '_default';
BEGIN
    -- In this order, which is that of everybody who reads them
    EXECUTE format('LOCK TABLE ONLY apikey.%I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    EXECUTE format('LOCK TABLE apikey.%I IN ACCESS EXCLUSIVE MODE', rest);
    EXECUTE format('CREATE TABLE apikey.%I (LIKE apikey.%I INCLUDING ALL) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1)',
                   part, rest);
    EXECUTE format('COMMENT ON TABLE apikey.%I IS %L', part, format('From %s to before %s', low, high));
    EXECUTE format('REVOKE ALL ON TABLE apikey.%I FROM PUBLIC', part);
    EXECUTE format('WITH moved AS (DELETE FROM apikey.%1$I WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING *)
                    INSERT INTO apikey.%5$I SELECT * FROM moved', rest, part_column, low, high, part);
    EXECUTE format('ALTER TABLE apikey.%I ATTACH PARTITION apikey.%I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
END
$$;
COMMENT ON FUNCTION apikey.add_usage_partition(text, text, text, text, text) IS 'Makes a partition, and moves what it is for out of the default one';

CREATE FUNCTION apikey.settle_usage(before timestamptz) RETURNS bigint
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'apikey_sql_settle_usage';
COMMENT ON FUNCTION apikey.settle_usage(timestamptz)
    IS 'Moves open hours before a time to usage_hour and usage_day; says how many, none while keys are being removed';

-- No further back than the calendar goes
CREATE FUNCTION apikey.usage_kept_from(now timestamptz, hourly_retention interval, daily_retention interval) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (date_trunc('day', now AT TIME ZONE 'UTC') - least(min(r), '1900 years')) AT TIME ZONE 'UTC'
    FROM unnest(ARRAY[hourly_retention, daily_retention]) r WHERE r > '0' HAVING count(*) > 0
$$;
COMMENT ON FUNCTION apikey.usage_kept_from(timestamptz, interval, interval) IS 'Open hours before this are to be settled, as retention (0 = keep) has an end; NULL if it has none';

CREATE FUNCTION apikey.drop_usage_partitions(parent text, part_column text, pattern text, kept_from timestamp) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part name;
BEGIN
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = format('apikey.%I', parent)::regclass
          AND c.relname ~ ('^' || parent || '_p[0-9]+$') AND c.relname < parent || to_char(kept_from, pattern)
        ORDER BY c.relname
    LOOP
        EXECUTE format('LOCK TABLE ONLY apikey.%I IN ACCESS EXCLUSIVE MODE', parent);
        EXECUTE format('DROP TABLE apikey.%I', part);
    END LOOP;
    EXECUTE format('DELETE FROM apikey.%I WHERE %I < %L', parent || '_default', part_column,
                   to_char(kept_from, 'YYYY-MM-DD 00:00:00+00'));
END
$$;
COMMENT ON FUNCTION apikey.drop_usage_partitions(text, text, text, timestamp) IS 'Drops partitions that end before a time, and such rows of the default one';

-- While it is being restored a dump brings its own partitions, and then the keys
CREATE FUNCTION apikey.is_in_use() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM apikey.key) OR EXISTS (SELECT FROM apikey.flush_state)
$$;
COMMENT ON FUNCTION apikey.is_in_use() IS 'Are there keys, or has usage been written? If not, the database may be just being restored';

CREATE FUNCTION apikey.maintain_usage(now timestamptz, hourly_retention interval, daily_retention interval) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today timestamp;
    wanted record;
BEGIN
    IF now IS NULL OR NOT isfinite(now) THEN
        RAISE EXCEPTION 'now must be a time'
            USING ERRCODE = '22023', DETAIL = 'Argument "now" says for which day partitions are needed.',
                  HINT = 'For example apikey.maintain_usage(clock_timestamp(), ''90 days'', ''800 days'').';
    ELSIF NOT apikey.is_in_use() THEN
        RETURN;
    END IF;
    today := date_trunc('day', now AT TIME ZONE 'UTC');
    IF hourly_retention > '0' THEN
        PERFORM apikey.drop_usage_partitions('usage_hour', 'hour', '"_p"YYYYMMDD', today - least(hourly_retention, '1900 years'));
    END IF;
    IF daily_retention > '0' THEN
        PERFORM apikey.drop_usage_partitions('usage_day', 'day', '"_p"YYYYMM', today - least(daily_retention, '1900 years'));
    END IF;
    -- Ahead, and for rows of the last month that came before their partition
    FOR wanted IN
        SELECT p.* FROM (
            SELECT 'usage_hour' AS parent, 'hour' AS part_column, to_char(d, '"usage_hour_p"YYYYMMDD') AS part,
                   to_char(d, 'YYYY-MM-DD 00:00:00+00') AS low, to_char(d + '1 day', 'YYYY-MM-DD 00:00:00+00') AS high
            FROM (SELECT * FROM generate_series(today, today + '8 days', '1 day')
                  UNION
                  SELECT date_trunc('day', u.hour AT TIME ZONE 'UTC') FROM apikey.usage_hour_default u
                  WHERE u.hour >= (today - interval '31 days') AT TIME ZONE 'UTC' AND u.hour < today AT TIME ZONE 'UTC') days (d)
            UNION ALL
            SELECT 'usage_day', 'day', to_char(m, '"usage_day_p"YYYYMM'),
                   to_char(m, 'YYYY-MM-DD'), to_char(m + '1 month', 'YYYY-MM-DD')
            FROM (SELECT * FROM generate_series(date_trunc('month', today), today + '2 months', '1 month')
                  UNION
                  SELECT date_trunc('month', u.day::timestamp) FROM apikey.usage_day_default u
                  WHERE u.day >= (today - interval '31 days')::date AND u.day < today::date) months (m)) p
        WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.relname = p.part AND c.relnamespace = 'apikey'::regnamespace)
        ORDER BY p.parent DESC, p.part
    LOOP
        PERFORM apikey.add_usage_partition(wanted.parent, wanted.part, wanted.part_column, wanted.low, wanted.high);
    END LOOP;
END
$$;
COMMENT ON FUNCTION apikey.maintain_usage(timestamptz, interval, interval) IS 'Makes partitions ahead and drops those past retention (0 = keep); nothing before there are keys';
