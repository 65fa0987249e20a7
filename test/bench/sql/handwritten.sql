-- What people write by hand: functions that check, limit and count.  Written
-- as well as we can, without tricks that a reader of the server's manual would
-- not find.
\set ON_ERROR_STOP on

-- The table of a product of its own.
CREATE TABLE bench.api_key (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    account text NOT NULL,
    scopes text[] NOT NULL,
    allowed cidr[],
    max_per_minute integer NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    disabled boolean NOT NULL DEFAULT false,
    last_used_at timestamptz
) WITH (fillfactor = 90);
INSERT INTO bench.api_key (digest, account, scopes, allowed, max_per_minute)
SELECT digest, account, '{calls:read}', '{203.0.113.0/24}', 1000000000 FROM bench.by_digest;

-- A row for each key from the start: after some days of work they are there.
CREATE TABLE bench.rate (
    key_id bigint PRIMARY KEY,
    started timestamptz NOT NULL,
    used integer NOT NULL
) WITH (fillfactor = 90);
INSERT INTO bench.rate SELECT id, date_trunc('minute', now()), 0 FROM bench.api_key;

CREATE TABLE bench.usage (
    key_id bigint,
    day date,
    requests bigint NOT NULL,
    PRIMARY KEY (key_id, day)
) WITH (fillfactor = 90);
INSERT INTO bench.usage SELECT id, current_date, 0 FROM bench.api_key;

-- The tuned version has all that changes in one narrow row.
CREATE TABLE bench.used (
    key_id bigint PRIMARY KEY,
    started timestamptz NOT NULL,
    used integer NOT NULL,
    day date NOT NULL,
    requests bigint NOT NULL,
    last_used_at timestamptz
) WITH (fillfactor = 50);
INSERT INTO bench.used SELECT id, date_trunc('minute', now()), 0, current_date, 0, NULL FROM bench.api_key;

CREATE TYPE bench.answer AS (ok boolean, code text, status integer, account text, scopes text[]);

-- Checks only: one function, nothing called but what must be.
CREATE FUNCTION bench.checks(key text, required text, ip inet) RETURNS bench.answer
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    k bench.api_key;
BEGIN
    SELECT * INTO k FROM bench.api_key WHERE digest = public.digest(key, 'sha256');
    IF NOT FOUND THEN
        RETURN (false, 'key_invalid', 401, NULL, NULL)::bench.answer;
    ELSIF k.revoked_at IS NOT NULL THEN
        RETURN (false, 'key_revoked', 401, k.account, k.scopes)::bench.answer;
    ELSIF k.expires_at <= now() THEN
        RETURN (false, 'key_expired', 401, k.account, k.scopes)::bench.answer;
    ELSIF k.disabled THEN
        RETURN (false, 'key_disabled', 403, k.account, k.scopes)::bench.answer;
    ELSIF k.allowed IS NOT NULL AND NOT ip <<= ANY (k.allowed) THEN
        RETURN (false, 'ip_not_allowed', 403, k.account, k.scopes)::bench.answer;
    ELSIF NOT required = ANY (k.scopes) THEN
        RETURN (false, 'insufficient_scope', 403, k.account, k.scopes)::bench.answer;
    END IF;
    RETURN (true, 'valid', 200, k.account, k.scopes)::bench.answer;
END
$$;

-- The same, with a limit a minute, usage a day and the time of last use.
CREATE FUNCTION bench.counting(key text, required text, ip inet) RETURNS bench.answer
    LANGUAGE plpgsql
AS $$
DECLARE
    k bench.api_key;
    calls integer;
BEGIN
    SELECT * INTO k FROM bench.api_key WHERE digest = public.digest(key, 'sha256');
    IF NOT FOUND THEN
        RETURN (false, 'key_invalid', 401, NULL, NULL)::bench.answer;
    ELSIF k.revoked_at IS NOT NULL THEN
        RETURN (false, 'key_revoked', 401, k.account, k.scopes)::bench.answer;
    ELSIF k.expires_at <= now() THEN
        RETURN (false, 'key_expired', 401, k.account, k.scopes)::bench.answer;
    ELSIF k.disabled THEN
        RETURN (false, 'key_disabled', 403, k.account, k.scopes)::bench.answer;
    ELSIF k.allowed IS NOT NULL AND NOT ip <<= ANY (k.allowed) THEN
        RETURN (false, 'ip_not_allowed', 403, k.account, k.scopes)::bench.answer;
    ELSIF NOT required = ANY (k.scopes) THEN
        RETURN (false, 'insufficient_scope', 403, k.account, k.scopes)::bench.answer;
    END IF;

    INSERT INTO bench.rate AS r VALUES (k.id, date_trunc('minute', now()), 1)
    ON CONFLICT (key_id) DO UPDATE
    SET started = excluded.started,
        used = CASE WHEN r.started = excluded.started THEN r.used + 1 ELSE 1 END
    RETURNING r.used INTO calls;
    IF calls > k.max_per_minute THEN
        RETURN (false, 'rate_limited', 429, k.account, k.scopes)::bench.answer;
    END IF;
    INSERT INTO bench.usage AS u VALUES (k.id, current_date, 1)
    ON CONFLICT (key_id, day) DO UPDATE SET requests = u.requests + 1;
    UPDATE bench.api_key SET last_used_at = now() WHERE id = k.id;
    RETURN (true, 'valid', 200, k.account, k.scopes)::bench.answer;
END
$$;

-- Tuned: one row to write, on a page with room for its next version.  The
-- benchmark calls it with synchronous_commit = off.
CREATE FUNCTION bench.tuned(key text, required text, ip inet) RETURNS bench.answer
    LANGUAGE plpgsql
AS $$
DECLARE
    k bench.api_key;
    calls integer;
BEGIN
    SELECT * INTO k FROM bench.api_key WHERE digest = sha256(convert_to(key, 'UTF8'));
    IF NOT FOUND THEN
        RETURN (false, 'key_invalid', 401, NULL, NULL)::bench.answer;
    ELSIF k.revoked_at IS NOT NULL THEN
        RETURN (false, 'key_revoked', 401, k.account, k.scopes)::bench.answer;
    ELSIF k.expires_at <= now() THEN
        RETURN (false, 'key_expired', 401, k.account, k.scopes)::bench.answer;
    ELSIF k.disabled THEN
        RETURN (false, 'key_disabled', 403, k.account, k.scopes)::bench.answer;
    ELSIF k.allowed IS NOT NULL AND NOT ip <<= ANY (k.allowed) THEN
        RETURN (false, 'ip_not_allowed', 403, k.account, k.scopes)::bench.answer;
    ELSIF NOT required = ANY (k.scopes) THEN
        RETURN (false, 'insufficient_scope', 403, k.account, k.scopes)::bench.answer;
    END IF;

    INSERT INTO bench.used AS u VALUES (k.id, date_trunc('minute', now()), 1, current_date, 1, now())
    ON CONFLICT (key_id) DO UPDATE
    SET started = excluded.started,
        used = CASE WHEN u.started = excluded.started THEN u.used + 1 ELSE 1 END,
        day = excluded.day,
        requests = CASE WHEN u.day = excluded.day THEN u.requests + 1 ELSE 1 END,
        last_used_at = excluded.last_used_at
    RETURNING u.used INTO calls;
    IF calls > k.max_per_minute THEN
        RETURN (false, 'rate_limited', 429, k.account, k.scopes)::bench.answer;
    END IF;
    RETURN (true, 'valid', 200, k.account, k.scopes)::bench.answer;
END
$$;

VACUUM (ANALYZE, FREEZE) bench.api_key;
VACUUM (ANALYZE, FREEZE) bench.rate;
VACUUM (ANALYZE, FREEZE) bench.usage;
VACUUM (ANALYZE, FREEZE) bench.used;
