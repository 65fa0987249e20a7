--
-- Keys of other systems: known by the hash that was stored there
--
-- Of an imported hash the key table has a digest keyed with the pepper, by
-- which verify finds it; of a salted one a digest of the lookup.  After the
-- first use the worker stores the key's own digest instead.
--

-- What keys the HMAC of imported keys, and as number 0 the fingerprints below.
CREATE TABLE apikey.import_secret (
    secret_id integer PRIMARY KEY
        CONSTRAINT import_secret_id_is_not_negative CHECK (secret_id >= 0),
    secret bytea NOT NULL
);
COMMENT ON TABLE apikey.import_secret IS 'Secrets that imported hashes were made with, each once';
COMMENT ON COLUMN apikey.import_secret.secret_id IS 'What apikey.import_scheme refers to; 0 keys the fingerprints of apikey.imported';
COMMENT ON COLUMN apikey.import_secret.secret IS 'As given to import_key(hash_secret => ...); of number 0, 32 random bytes';

-- The ways in which a presented text is taken apart and hashed: few, and each
-- tried for a text that is no key of ours.
CREATE TABLE apikey.import_scheme (
    scheme_id integer PRIMARY KEY
        CONSTRAINT import_scheme_id_is_positive CHECK (scheme_id > 0),
    algorithm text NOT NULL,
    separator text,
    lookup_length integer,
    hashed_part text NOT NULL
        CONSTRAINT import_scheme_hashed_part_is_whole_or_after CHECK (hashed_part IN ('whole', 'after')),
    secret_id integer
);
COMMENT ON TABLE apikey.import_scheme IS 'How keys of other systems are written and hashed; a row for each way that was imported';
COMMENT ON COLUMN apikey.import_scheme.scheme_id IS 'What apikey.imported refers to';
COMMENT ON COLUMN apikey.import_scheme.algorithm IS 'As given to import_key()';
COMMENT ON COLUMN apikey.import_scheme.separator IS 'The text is cut at its first occurrence; NULL = it is not';
COMMENT ON COLUMN apikey.import_scheme.lookup_length IS 'The text is cut behind so many bytes; NULL = it is not';
COMMENT ON COLUMN apikey.import_scheme.hashed_part IS 'whole: all of the text was hashed; after: what is behind the cut';
COMMENT ON COLUMN apikey.import_scheme.secret_id IS 'Row of apikey.import_secret, for an HMAC';

CREATE TABLE apikey.imported (
    key_id uuid PRIMARY KEY,
    fingerprint uuid NOT NULL,
    scheme_id integer NOT NULL,
    lookup text,
    hash text
);
COMMENT ON TABLE apikey.imported IS 'Keys that were imported';
COMMENT ON COLUMN apikey.imported.key_id IS 'The key';
COMMENT ON COLUMN apikey.imported.fingerprint IS '128 bits of a keyed digest of the hash: recognises one that was imported before';
COMMENT ON COLUMN apikey.imported.scheme_id IS 'Row of apikey.import_scheme';
COMMENT ON COLUMN apikey.imported.lookup IS 'What stands before the cut, if it matters';
COMMENT ON COLUMN apikey.imported.hash IS 'String of a salted scheme, until the first use';
CREATE INDEX imported_fingerprint ON apikey.imported USING hash (fingerprint);

-- No samples in the statistics.
ALTER TABLE apikey.import_secret ALTER COLUMN secret SET STATISTICS 0;
ALTER TABLE apikey.imported ALTER COLUMN fingerprint SET STATISTICS 0;
ALTER TABLE apikey.imported ALTER COLUMN hash SET STATISTICS 0;

-- Schemes and secrets live in backends' memory until this says otherwise.
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.import_secret
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.import_secret IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.import_secret
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.import_secret IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.import_scheme
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.import_scheme IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.import_scheme
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.import_scheme IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
ALTER TABLE apikey.import_secret ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.import_secret ENABLE ALWAYS TRIGGER invalidate_truncate;
ALTER TABLE apikey.import_scheme ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.import_scheme ENABLE ALWAYS TRIGGER invalidate_truncate;

CREATE FUNCTION apikey.forget_imported() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM apikey.imported i USING gone WHERE i.key_id = gone.key_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION apikey.forget_imported() IS 'Trigger: what was imported goes with its key';

CREATE TRIGGER forget_imported AFTER DELETE ON apikey.key
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.forget_imported();
COMMENT ON TRIGGER forget_imported ON apikey.key IS 'What was imported goes with its key';

CREATE FUNCTION apikey.import_key(
    account text,
    name text,
    algorithm text,
    hash text,
    scopes text[] DEFAULT NULL,
    kind text DEFAULT 'secret',
    lookup text DEFAULT NULL,
    separator text DEFAULT NULL,
    hashed_part text DEFAULT 'whole',
    hash_secret text DEFAULT NULL,
    allowed_ips text[] DEFAULT NULL,
    allowed_origins text[] DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT '{}',
    actor text DEFAULT NULL,
    db_role text DEFAULT NULL,
    credits bigint DEFAULT NULL,
    created_at timestamptz DEFAULT NULL,
    last_used_at timestamptz DEFAULT NULL,
    disabled boolean DEFAULT false,
    display text DEFAULT NULL
) RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'apikey_sql_import_key';
COMMENT ON FUNCTION apikey.import_key(text, text, text, text, text[], text, text, text, text, text, text[], text[], timestamptz, jsonb, text, text, bigint, timestamptz, timestamptz, boolean, text)
    IS 'Takes over a key of another system by the hash stored there; returns its key_id, the same one for the same hash';

CREATE FUNCTION apikey.import_check(
    account text,
    name text,
    algorithm text,
    hash text,
    scopes text[] DEFAULT NULL,
    kind text DEFAULT 'secret',
    lookup text DEFAULT NULL,
    separator text DEFAULT NULL,
    hashed_part text DEFAULT 'whole',
    hash_secret text DEFAULT NULL,
    allowed_ips text[] DEFAULT NULL,
    allowed_origins text[] DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT '{}',
    actor text DEFAULT NULL,
    db_role text DEFAULT NULL,
    credits bigint DEFAULT NULL,
    created_at timestamptz DEFAULT NULL,
    last_used_at timestamptz DEFAULT NULL,
    disabled boolean DEFAULT false,
    display text DEFAULT NULL
) RETURNS text
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 AS 'MODULE_PATHNAME', 'apikey_sql_import_check';
COMMENT ON FUNCTION apikey.import_check(text, text, text, text, text[], text, text, text, text, text, text[], text[], timestamptz, jsonb, text, text, bigint, timestamptz, timestamptz, boolean, text)
    IS 'Why import_key would refuse these arguments; NULL if it would not. Writes nothing';

-- Called by the flush worker.  Keys that somebody is changing just now have
-- to wait for their next use.
CREATE FUNCTION apikey.apply_rehashes(
    key_ids uuid[],
    pepper_ids integer[],
    algorithms integer[],
    lookups bigint[],
    digests bytea[]
) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
BEGIN
    WITH wanted AS (
        SELECT u.* FROM unnest(key_ids, pepper_ids, algorithms::smallint[], lookups, digests)
                u (key_id, pepper_id, algorithm, lookup, digest)
            JOIN apikey.pepper p ON p.pepper_id = u.pepper_id AND p.is_current
    ), locked AS (
        SELECT k.key_id FROM apikey.key k JOIN wanted w ON w.key_id = k.key_id
        WHERE (k.pepper_id, k.algorithm) <> (w.pepper_id, w.algorithm)
        FOR UPDATE OF k SKIP LOCKED
    ), moved AS (
        UPDATE apikey.key k
            SET pepper_id = w.pepper_id, algorithm = w.algorithm, lookup = w.lookup, digest = w.digest
            FROM wanted w JOIN locked l ON l.key_id = w.key_id
            WHERE k.key_id = w.key_id
            RETURNING k.key_id
    )
    UPDATE apikey.imported i SET hash = NULL FROM moved m WHERE i.key_id = m.key_id AND i.hash IS NOT NULL;
END
$$;
COMMENT ON FUNCTION apikey.apply_rehashes(uuid[], integer[], integer[], bigint[], bytea[])
    IS 'Stores keys that were used under the current pepper, and forgets what was imported of them';
