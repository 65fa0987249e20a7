--
-- Credits: what was granted, and what of it was spent
--
-- Granting is rare and invalidates what backends have cached of apikey.credit.
-- Spending goes through memory to apikey.credit_spent, which only the flush
-- worker writes, so that neither waits for the other.  What is spent is
-- counted under an epoch, which each set draws anew: spending on its way from
-- before a set has nothing to do with what was set.
--

CREATE TABLE apikey.credit (
    lineage uuid,
    account text
        CONSTRAINT credit_account_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(account) BETWEEN 1 AND 255 AND account !~ '[\u0001-\u001f\u007f]' AND account <> '*'),
    epoch bigint NOT NULL,
    granted bigint NOT NULL
        CONSTRAINT credit_granted_is_0_to_10_to_the_18 CHECK (granted BETWEEN 0 AND 1000000000000000000),
    period bigint NOT NULL DEFAULT 0,
    refill_amount bigint
        CONSTRAINT credit_refill_amount_is_1_to_10_to_the_18 CHECK (refill_amount BETWEEN 1 AND 1000000000000000000),
    refill_every interval
        CONSTRAINT credit_refill_every_is_1_second_to_100_years CHECK (refill_every BETWEEN '1 second' AND '100 years'),
    refill_from timestamptz,
    CONSTRAINT credit_is_for_one_of_lineage_and_account CHECK (num_nonnulls(lineage, account) = 1),
    CONSTRAINT credit_refill_is_complete_or_not_there CHECK (num_nulls(refill_amount, refill_every, refill_from) IN (0, 3))
);
COMMENT ON TABLE apikey.credit IS 'Credits granted to keys and accounts; without a row they are unlimited. Changed by apikey.set_credits and its like';
COMMENT ON COLUMN apikey.credit.lineage IS 'First key of a chain of rotations, which share a balance';
COMMENT ON COLUMN apikey.credit.account IS 'Or an account: all its keys share the balance';
COMMENT ON COLUMN apikey.credit.epoch IS 'Random, new with each set; apikey.credit_spent counts under epoch + number of refills since';
COMMENT ON COLUMN apikey.credit.granted IS 'Set, and added since; what is spent stands apart';
COMMENT ON COLUMN apikey.credit.period IS 'Number of refills for which granted is valid; later periods have refill_amount';
COMMENT ON COLUMN apikey.credit.refill_amount IS 'What each refill replaces the balance with';
COMMENT ON COLUMN apikey.credit.refill_every IS 'Time from refill to refill, by the calendar of UTC';
COMMENT ON COLUMN apikey.credit.refill_from IS 'When the first period began';

CREATE UNIQUE INDEX credit_lineage ON apikey.credit (lineage) WHERE lineage IS NOT NULL;
CREATE UNIQUE INDEX credit_account ON apikey.credit (account) WHERE account IS NOT NULL;

CREATE TABLE apikey.credit_spent (
    epoch bigint,
    node text,
    spent bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (epoch, node)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE apikey.credit_spent IS 'Credits spent, as far as they are flushed. Look at credits_remaining in apikey.keys and apikey.account_usage instead';
COMMENT ON COLUMN apikey.credit_spent.epoch IS 'Of apikey.credit, plus the number of refills';
COMMENT ON COLUMN apikey.credit_spent.node IS 'The server that counted';
COMMENT ON COLUMN apikey.credit_spent.spent IS 'Sum';
COMMENT ON COLUMN apikey.credit_spent.updated_at IS 'Last flush that changed it';

CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.credit
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.credit IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.credit
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.credit IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
ALTER TABLE apikey.credit ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.credit ENABLE ALWAYS TRIGGER invalidate_truncate;

-- Limits of a key go with it, credits of a chain of rotations with its last key.
CREATE FUNCTION apikey.follow_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM apikey.rate_limit l USING gone g WHERE l.key_id = g.key_id;
    DELETE FROM apikey.credit c USING (SELECT DISTINCT coalesce(g.lineage, g.key_id) AS lineage FROM gone g) g
        WHERE c.lineage = g.lineage
          AND NOT EXISTS (SELECT FROM apikey.key k WHERE k.key_id = g.lineage)
          AND NOT EXISTS (SELECT FROM apikey.key k WHERE k.lineage = g.lineage);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION apikey.follow_keys() IS 'Trigger: limits and credits of keys go with them';
CREATE INDEX key_lineage ON apikey.key (lineage) WHERE lineage IS NOT NULL;
CREATE TRIGGER follow_removal AFTER DELETE ON apikey.key REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.follow_keys();
COMMENT ON TRIGGER follow_removal ON apikey.key IS 'Limits and credits of keys go with them';

-- Epochs come sorted, and rows are written in that order.
CREATE FUNCTION apikey.apply_credits(node text, epochs bigint[], amounts bigint[]) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO apikey.credit_spent AS t (epoch, node, spent, updated_at)
        SELECT u.epoch, apply_credits.node, u.amount, clock_timestamp()
        FROM unnest(epochs, amounts) WITH ORDINALITY u (epoch, amount, i) ORDER BY u.i
        ON CONFLICT ON CONSTRAINT credit_spent_pkey DO UPDATE
            SET spent = t.spent + excluded.spent, updated_at = excluded.updated_at
$$;
COMMENT ON FUNCTION apikey.apply_credits(text, bigint[], bigint[]) IS 'Adds credits spent to the rows of their epochs, for the flush worker';
