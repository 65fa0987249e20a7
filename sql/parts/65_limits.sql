--
-- Managing limits and credits of keys, and looking at what is used
--

CREATE FUNCTION apikey.require_living(k apikey.key) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    status text := apikey.key_status(k.revoked_at, k.expires_at, k.disabled_at);
BEGIN
    IF status IN ('revoked', 'expired') THEN
        RAISE EXCEPTION 'key % is %', k.key_id, status
            USING ERRCODE = 'KA409', DETAIL = 'Revoked and expired keys stay as they are.', HINT = 'Issue a new key.';
    END IF;
END
$$;
COMMENT ON FUNCTION apikey.require_living(apikey.key) IS 'Raises KA409 for a key that has ended';

CREATE FUNCTION apikey.check_limit(name text, max integer, per interval) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    wrong text;
    rule text;
BEGIN
    IF name IS NULL OR name !~ '^[A-Za-z0-9_.:/-]([A-Za-z0-9_.:/ -]{0,61}[A-Za-z0-9_.:/-])?$' THEN
        wrong := 'name';
        rule := 'A limit''s name has 1 to 63 letters, digits, blanks and characters of "_.:/-".';
    ELSIF name = 'requests_per_day' THEN
        wrong := 'name';
        rule := 'This is the name of the quota max_requests_per_day in apikey.account_policy.';
    ELSIF max <= 0 THEN
        wrong := 'max';
        rule := 'It must be at least 1; NULL removes the limit.';
    ELSIF max IS NOT NULL AND (per IS NULL OR per NOT BETWEEN '1 millisecond' AND '31 days'
                               OR date_part('month', per) <> 0 OR date_part('year', per) <> 0) THEN
        wrong := 'per';
        rule := 'It must be from 1 millisecond to 31 days, without months.';
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'invalid value for argument "%"', wrong
            USING ERRCODE = '22023', DETAIL = rule, HINT = 'For example apikey.set_limit(key_id, ''hourly'', 1000, ''1 hour'').';
    END IF;
END
$$;
COMMENT ON FUNCTION apikey.check_limit(text, integer, interval) IS 'Raises 22023 for what cannot be a limit';

CREATE FUNCTION apikey.set_limit(key_id uuid, name text, max integer, per interval, actor text DEFAULT NULL, account text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k apikey.key;
BEGIN
    PERFORM apikey.require_writable('apikey.set_limit');
    PERFORM apikey.check_limit(name, max, per);
    k := apikey.open_key(key_id, account, actor);
    PERFORM apikey.require_living(k);
    IF max IS NULL THEN
        DELETE FROM apikey.rate_limit l WHERE l.key_id = k.key_id AND l.name = set_limit.name;
        RETURN FOUND;
    END IF;
    UPDATE apikey.rate_limit l SET max = set_limit.max, per = set_limit.per
        WHERE l.key_id = k.key_id AND l.name = set_limit.name
          AND (l.max, l.per::text) IS DISTINCT FROM (set_limit.max, set_limit.per::text);
    IF FOUND THEN
        RETURN true;
    END IF;
    -- the key's row is locked: nobody else does
    IF EXISTS (SELECT FROM apikey.rate_limit l WHERE l.key_id = k.key_id AND l.name = set_limit.name) THEN
        RETURN false;
    END IF;
    INSERT INTO apikey.rate_limit (name, key_id, max, per) VALUES (set_limit.name, k.key_id, set_limit.max, set_limit.per);
    RETURN true;
END
$$;
COMMENT ON FUNCTION apikey.set_limit(uuid, text, integer, interval, text, text)
    IS 'Gives a key a rate limit of its own; max NULL removes that; false if nothing changed';

CREATE FUNCTION apikey.limits_now(key_id uuid, lineage uuid, account text, kind text,
        OUT name text, OUT max integer, OUT per interval, OUT used integer, OUT remaining integer, OUT resets_at timestamptz)
    RETURNS SETOF record
    LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 2 AS 'MODULE_PATHNAME', 'apikey_sql_limits_now';
COMMENT ON FUNCTION apikey.limits_now(uuid, uuid, text, text) IS 'Behind the view apikey.limits';

CREATE VIEW apikey.limits WITH (security_barrier) AS
    SELECT k.key_id, k.account, l.name, l.max, l.per, l.used, l.remaining, l.resets_at
    FROM apikey.key k
         CROSS JOIN LATERAL apikey.limits_now(k.key_id, coalesce(k.lineage, k.key_id), k.account, k.kind) l
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp());
COMMENT ON VIEW apikey.limits IS 'Rate limits that bind each living key, and what is used of them on this server';

CREATE FUNCTION apikey.clear_limit(key_id uuid, lineage uuid, account text, kind text, name text) RETURNS boolean
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_clear_limit';
COMMENT ON FUNCTION apikey.clear_limit(uuid, uuid, text, text, text)
    IS 'Empties the window of a limit; was something used? NULL if there is no such limit';

CREATE FUNCTION apikey.reset_limit(key_id uuid, name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k apikey.key;
    cleared boolean;
BEGIN
    SELECT * INTO k FROM apikey.key t WHERE t.key_id = reset_limit.key_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'key % does not exist', coalesce(key_id::text, 'NULL')
            USING ERRCODE = 'KA404', DETAIL = 'No key has this key_id.', HINT = 'apikey.keys lists the keys.';
    END IF;
    PERFORM apikey.require_capability(k.account, 'update', NULL);
    cleared := apikey.clear_limit(k.key_id, coalesce(k.lineage, k.key_id), k.account, k.kind, name);
    IF cleared IS NULL THEN
        RAISE EXCEPTION 'no limit of this name binds the key'
            USING ERRCODE = '22023', DETAIL = 'Argument "name" must be the name of a rate limit that applies to the key.',
                  HINT = 'apikey.limits lists them.';
    END IF;
    RETURN cleared;
END
$$;
COMMENT ON FUNCTION apikey.reset_limit(uuid, text) IS 'Forgets at once what is used of a rate limit; of a shared one, by all its keys';

--
-- Credits
--

CREATE FUNCTION apikey.credit_period(credit apikey.credit) RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_credit_period';
COMMENT ON FUNCTION apikey.credit_period(apikey.credit) IS 'Refills since credits were set';

CREATE FUNCTION apikey.credits_spent(epoch bigint) RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_credits_spent';
COMMENT ON FUNCTION apikey.credits_spent(bigint) IS 'Credits spent in an epoch, unflushed calls of this server included';

CREATE FUNCTION apikey.credit_balance(credit apikey.credit) RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'apikey_sql_credit_balance';
COMMENT ON FUNCTION apikey.credit_balance(apikey.credit) IS 'What is left of credits, unflushed calls of this server included';

CREATE FUNCTION apikey.check_credits(credits bigint, refill_amount bigint, refill_every interval) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    wrong text;
    rule text;
BEGIN
    IF credits NOT BETWEEN 0 AND 1000000000000000000 THEN
        wrong := 'credits';
        rule := 'It must be from 0 to 10^18; NULL = unlimited.';
    ELSIF refill_amount NOT BETWEEN 1 AND 1000000000000000000 THEN
        wrong := 'refill_amount';
        rule := 'It must be from 1 to 10^18.';
    ELSIF refill_every NOT BETWEEN '1 second' AND '100 years' THEN
        wrong := 'refill_every';
        rule := 'It must be from 1 second to 100 years.';
    ELSIF (refill_amount IS NULL) <> (refill_every IS NULL) THEN
        wrong := CASE WHEN refill_amount IS NULL THEN 'refill_amount' ELSE 'refill_every' END;
        rule := 'Arguments "refill_amount" and "refill_every" go together.';
    ELSIF credits IS NULL AND refill_amount IS NOT NULL THEN
        wrong := 'credits';
        rule := 'Unlimited credits are not refilled.';
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'invalid value for argument "%"', wrong
            USING ERRCODE = '22023', DETAIL = rule,
                  HINT = 'For example apikey.set_credits(key_id, 1000, refill_amount => 1000, refill_every => ''1 month'').';
    END IF;
END
$$;
COMMENT ON FUNCTION apikey.check_credits(bigint, bigint, interval) IS 'Raises 22023 for what cannot be credits';

CREATE FUNCTION apikey.new_epoch() RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'apikey_sql_new_epoch';
COMMENT ON FUNCTION apikey.new_epoch() IS 'A random positive number of 62 bits';

CREATE FUNCTION apikey.start_credits(of_lineage uuid, of_account text, credits bigint, amount bigint DEFAULT NULL, every interval DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    started timestamptz := CASE WHEN every IS NOT NULL THEN clock_timestamp() END;
BEGIN
    IF of_lineage IS NOT NULL THEN
        INSERT INTO apikey.credit AS c (lineage, epoch, granted, refill_amount, refill_every, refill_from)
            VALUES (of_lineage, apikey.new_epoch(), credits, amount, every, started)
            ON CONFLICT (lineage) WHERE lineage IS NOT NULL DO UPDATE
                SET epoch = excluded.epoch, granted = excluded.granted, period = 0, refill_amount = excluded.refill_amount,
                    refill_every = excluded.refill_every, refill_from = excluded.refill_from;
    ELSE
        INSERT INTO apikey.credit AS c (account, epoch, granted, refill_amount, refill_every, refill_from)
            VALUES (of_account, apikey.new_epoch(), credits, amount, every, started)
            ON CONFLICT (account) WHERE account IS NOT NULL DO UPDATE
                SET epoch = excluded.epoch, granted = excluded.granted, period = 0, refill_amount = excluded.refill_amount,
                    refill_every = excluded.refill_every, refill_from = excluded.refill_from;
    END IF;
END
$$;
COMMENT ON FUNCTION apikey.start_credits(uuid, text, bigint, bigint, interval) IS 'Sets the credits of a lineage or an account, under a new epoch';

CREATE FUNCTION apikey.audit_credits(event text, key_id uuid, account text, was apikey.credit, becomes apikey.credit) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before jsonb := jsonb_strip_nulls(jsonb_build_object('credits', apikey.credit_balance(was),
        'refill_amount', was.refill_amount, 'refill_every', was.refill_every));
    after jsonb := jsonb_strip_nulls(jsonb_build_object('credits', apikey.credit_balance(becomes),
        'refill_amount', becomes.refill_amount, 'refill_every', becomes.refill_every));
BEGIN
    INSERT INTO apikey.audit_log (action, key_id, account, actor, object, old, new)
        VALUES (event, key_id, account, apikey.clean_text(apikey.actor(), 255),
                CASE WHEN key_id IS NULL THEN 'account ' || account END, nullif(before, '{}'), nullif(after, '{}'));
    PERFORM apikey.announce(event, key_id);
END
$$;
COMMENT ON FUNCTION apikey.audit_credits(text, uuid, text, apikey.credit, apikey.credit) IS 'Writes the audit row of a change of credits';

CREATE FUNCTION apikey.change_credits(event text, of_key uuid, of_lineage uuid, of_account text, owner text,
        credits bigint, refill_amount bigint DEFAULT NULL, refill_every interval DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was apikey.credit;
    becomes apikey.credit;
    now_period bigint;
BEGIN
    SELECT * INTO was FROM apikey.credit c WHERE c.lineage = of_lineage OR c.account = of_account FOR UPDATE;
    IF event = 'set_credits' AND credits IS NULL THEN
        DELETE FROM apikey.credit c WHERE c.lineage = of_lineage OR c.account = of_account;
    ELSIF event = 'set_credits' THEN
        PERFORM apikey.start_credits(of_lineage, of_account, credits, refill_amount, refill_every);
    ELSIF was.epoch IS NULL THEN
        RAISE EXCEPTION 'credits of % are unlimited', coalesce('key ' || of_key, format('account "%s"', of_account))
            USING ERRCODE = 'KA409', DETAIL = 'Nothing can be added to them.', HINT = 'Set credits first.';
    ELSE
        -- what was overspent, by several servers at a time, is forgiven
        now_period := apikey.credit_period(was);
        UPDATE apikey.credit c
            SET period = now_period,
                granted = greatest(CASE WHEN c.period = now_period THEN c.granted ELSE c.refill_amount END,
                                   apikey.credits_spent(c.epoch + now_period)) + credits
            WHERE c.lineage = of_lineage OR c.account = of_account;
    END IF;
    SELECT * INTO becomes FROM apikey.credit c WHERE c.lineage = of_lineage OR c.account = of_account;
    PERFORM apikey.audit_credits(event, of_key, owner, was, becomes);
    RETURN CASE WHEN becomes.epoch IS NOT NULL THEN apikey.credit_balance(becomes) END;
END
$$;
COMMENT ON FUNCTION apikey.change_credits(text, uuid, uuid, text, text, bigint, bigint, interval) IS 'Sets credits or adds to them; returns the balance';

CREATE FUNCTION apikey.check_added_credits(amount bigint) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF amount IS NULL OR amount NOT BETWEEN 1 AND 1000000000000000000 THEN
        RAISE EXCEPTION 'invalid value for argument "amount"'
            USING ERRCODE = '22023', DETAIL = 'It must be from 1 to 10^18.', HINT = 'To take credits away, set them.';
    END IF;
END
$$;
COMMENT ON FUNCTION apikey.check_added_credits(bigint) IS 'Raises 22023 for what cannot be added';

CREATE FUNCTION apikey.set_credits(key_id uuid, credits bigint, actor text DEFAULT NULL, account text DEFAULT NULL,
        refill_amount bigint DEFAULT NULL, refill_every interval DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k apikey.key;
BEGIN
    PERFORM apikey.require_writable('apikey.set_credits');
    PERFORM apikey.check_credits(credits, refill_amount, refill_every);
    k := apikey.open_key(key_id, account, actor);
    PERFORM apikey.require_living(k);
    RETURN apikey.change_credits('set_credits', k.key_id, coalesce(k.lineage, k.key_id), NULL, k.account,
                                 credits, refill_amount, refill_every);
END
$$;
COMMENT ON FUNCTION apikey.set_credits(uuid, bigint, text, text, bigint, interval)
    IS 'Sets the balance of a key and its refill, none if not given; NULL = unlimited; returns the balance';

CREATE FUNCTION apikey.add_credits(key_id uuid, amount bigint, actor text DEFAULT NULL, account text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k apikey.key;
BEGIN
    PERFORM apikey.require_writable('apikey.add_credits');
    PERFORM apikey.check_added_credits(amount);
    k := apikey.open_key(key_id, account, actor);
    PERFORM apikey.require_living(k);
    RETURN apikey.change_credits('add_credits', k.key_id, coalesce(k.lineage, k.key_id), NULL, k.account, amount);
END
$$;
COMMENT ON FUNCTION apikey.add_credits(uuid, bigint, text, text) IS 'Adds to the balance of a key; returns the balance';

CREATE FUNCTION apikey.set_account_credits(account text, credits bigint, actor text DEFAULT NULL,
        refill_amount bigint DEFAULT NULL, refill_every interval DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM apikey.require_writable('apikey.set_account_credits');
    PERFORM apikey.check_account(account), apikey.check_credits(credits, refill_amount, refill_every);
    PERFORM apikey.require_capability(account, 'update', actor);
    PERFORM apikey.acting_as(actor);
    RETURN apikey.change_credits('set_credits', NULL, NULL, account, account, credits, refill_amount, refill_every);
END
$$;
COMMENT ON FUNCTION apikey.set_account_credits(text, bigint, text, bigint, interval)
    IS 'Sets the balance that all keys of an account share, and its refill; NULL = unlimited; returns the balance';

CREATE FUNCTION apikey.add_account_credits(account text, amount bigint, actor text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM apikey.require_writable('apikey.add_account_credits');
    PERFORM apikey.check_account(account), apikey.check_added_credits(amount);
    PERFORM apikey.require_capability(account, 'update', actor);
    PERFORM apikey.acting_as(actor);
    RETURN apikey.change_credits('add_credits', NULL, NULL, account, account, amount);
END
$$;
COMMENT ON FUNCTION apikey.add_account_credits(text, bigint, text) IS 'Adds to the balance of an account; returns the balance';

-- What was spent before a set or a refill is of no use any more.  Once an
-- hour; the row of epoch 0, which is never drawn, says when.
CREATE FUNCTION apikey.maintain_credits() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM apikey.credit_spent s WHERE s.epoch = 0 AND s.updated_at > clock_timestamp() - interval '1 hour')
       OR NOT EXISTS (SELECT FROM apikey.credit_spent) THEN
        RETURN;
    END IF;
    INSERT INTO apikey.credit_spent AS t (epoch, node, spent, updated_at) VALUES (0, '', 0, clock_timestamp())
        ON CONFLICT ON CONSTRAINT credit_spent_pkey DO UPDATE SET updated_at = excluded.updated_at;
    DELETE FROM apikey.credit_spent s
        WHERE s.epoch <> 0 AND s.updated_at < clock_timestamp() - interval '1 day'
          AND s.epoch NOT IN (SELECT c.epoch + apikey.credit_period(c) FROM apikey.credit c);
END
$$;
COMMENT ON FUNCTION apikey.maintain_credits() IS 'Forgets what was spent of balances that were replaced, for the flush worker';
