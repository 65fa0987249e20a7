--
-- Peppers and keys: tables nobody but the owner reads
--

CREATE TABLE apikey.pepper (
    pepper_id integer PRIMARY KEY
        CONSTRAINT pepper_id_is_positive CHECK (pepper_id > 0),
    source text NOT NULL
        CONSTRAINT pepper_source_is_table_or_file CHECK (source IN ('table', 'file')),
    secret bytea
        CONSTRAINT pepper_secret_has_32_bytes CHECK (octet_length(secret) = 32),
    fingerprint bytea NOT NULL,
    is_current boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pepper_secret_is_kept_here_or_in_the_file CHECK ((source = 'table') = (secret IS NOT NULL))
);
COMMENT ON TABLE apikey.pepper IS 'Secrets that key the hash of keys, or pointers into the file apikey.pepper_file';
COMMENT ON COLUMN apikey.pepper.pepper_id IS 'What apikey.key.pepper_id refers to';
COMMENT ON COLUMN apikey.pepper.source IS 'table: the secret stands here; file: in apikey.pepper_file';
COMMENT ON COLUMN apikey.pepper.secret IS '32 random bytes';
COMMENT ON COLUMN apikey.pepper.fingerprint IS 'Recognises the secret, so that a file with another one under this id is noticed';
COMMENT ON COLUMN apikey.pepper.is_current IS 'New keys are hashed under this one';
COMMENT ON COLUMN apikey.pepper.created_at IS 'When it was added';
CREATE UNIQUE INDEX pepper_one_is_current ON apikey.pepper (is_current) WHERE is_current;

CREATE TABLE apikey.key (
    key_id uuid PRIMARY KEY,
    lookup bigint NOT NULL,
    created_at timestamptz NOT NULL,
    pepper_id integer NOT NULL,
    algorithm smallint NOT NULL,
    expiry_given boolean NOT NULL DEFAULT false,
    expires_at timestamptz,
    revoked_at timestamptz,
    disabled_at timestamptz,
    rotated_from uuid,
    rotated_to uuid,
    lineage uuid,
    digest bytea NOT NULL,
    account text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    scopes apikey.scopes NOT NULL,
    display text NOT NULL,
    allowed_ips inet[],
    allowed_origins text[],
    db_role text,
    metadata jsonb,
    created_by text,
    disabled_by text,
    revoked_by text,
    revoke_reason text
);
COMMENT ON TABLE apikey.key IS 'Keys by their keyed hash; the key text is nowhere. Look at apikey.keys instead';
COMMENT ON COLUMN apikey.key.lookup IS 'Leading 8 bytes of the digest, big endian: what verify searches by';
COMMENT ON COLUMN apikey.key.algorithm IS '1 = BLAKE2b-256 keyed with the pepper';
COMMENT ON COLUMN apikey.key.expiry_given IS 'The expiry was asked for, not a default';
COMMENT ON COLUMN apikey.key.lineage IS 'First key of a chain of rotations, NULL if it is this one: limits and credits are shared along it';
COMMENT ON COLUMN apikey.key.allowed_ips IS 'NULL, never empty, where any address may use the key: rows are kept small';
COMMENT ON COLUMN apikey.key.metadata IS 'NULL stands for the empty object';
COMMENT ON COLUMN apikey.key.digest IS 'Keyed hash of the whole key text';

COMMENT ON COLUMN apikey.key.key_id IS 'Public id, UUID version 7';
COMMENT ON COLUMN apikey.key.created_at IS 'When it was issued';
COMMENT ON COLUMN apikey.key.pepper_id IS 'Pepper that keys the digest';
COMMENT ON COLUMN apikey.key.expires_at IS 'Refused from then on; NULL = never';
COMMENT ON COLUMN apikey.key.revoked_at IS 'Refused since, for good';
COMMENT ON COLUMN apikey.key.disabled_at IS 'Refused until enabled';
COMMENT ON COLUMN apikey.key.rotated_from IS 'Its predecessor';
COMMENT ON COLUMN apikey.key.rotated_to IS 'Its successor';
COMMENT ON COLUMN apikey.key.account IS 'The tenant that owns it';
COMMENT ON COLUMN apikey.key.kind IS 'Row of apikey.kind';
COMMENT ON COLUMN apikey.key.name IS 'What it is for';
COMMENT ON COLUMN apikey.key.scopes IS 'Its grants';
COMMENT ON COLUMN apikey.key.display IS 'Mask by which people recognise it';
COMMENT ON COLUMN apikey.key.allowed_origins IS 'NULL, never empty, where there are none';
COMMENT ON COLUMN apikey.key.db_role IS 'Role for PostgREST-style set-ups; NULL = the kind''s';
COMMENT ON COLUMN apikey.key.created_by IS 'Actor';
COMMENT ON COLUMN apikey.key.disabled_by IS 'Actor';
COMMENT ON COLUMN apikey.key.revoked_by IS 'Actor';
COMMENT ON COLUMN apikey.key.revoke_reason IS 'As given';

-- One page to read where a btree needs three, on the path of every request.
CREATE INDEX key_lookup ON apikey.key USING hash (lookup);
CREATE INDEX key_account ON apikey.key (account);
CREATE INDEX key_pepper ON apikey.key (pepper_id);

-- No samples of hashes in the statistics.
ALTER TABLE apikey.key ALTER COLUMN digest SET STATISTICS 0;
ALTER TABLE apikey.key ALTER COLUMN lookup SET STATISTICS 0;
ALTER TABLE apikey.pepper ALTER COLUMN secret SET STATISTICS 0;
ALTER TABLE apikey.pepper ALTER COLUMN fingerprint SET STATISTICS 0;

--
-- Backends keep keys that they have verified.  New keys need not be announced.
-- What stands in the messages is the number of a type, since one with the
-- table's would make every backend read its catalog entries anew.
--
CREATE TYPE apikey.key_change AS ();
COMMENT ON TYPE apikey.key_change IS 'Never used as a type: its relation number tells backends that keys have changed';
CREATE TRIGGER invalidate AFTER UPDATE OR DELETE ON apikey.key
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.key IS 'Makes every backend look at the keys it has kept; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.key
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.key IS 'Makes every backend look at the keys it has kept; must stay ENABLE ALWAYS';
ALTER TABLE apikey.key ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.key ENABLE ALWAYS TRIGGER invalidate_truncate;

CREATE FUNCTION apikey.key_status(revoked_at timestamptz, expires_at timestamptz, disabled_at timestamptz) RETURNS text
    LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
    SELECT CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
                WHEN expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() THEN 'expired'
                WHEN disabled_at IS NOT NULL THEN 'disabled'
                ELSE 'active' END
$$;
COMMENT ON FUNCTION apikey.key_status(timestamptz, timestamptz, timestamptz) IS 'revoked, else expired, else disabled, else active';

--
-- Peppers
--

-- Peppers live in backends' memory until this says otherwise.
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.pepper
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.pepper IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.pepper
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.pepper IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
ALTER TABLE apikey.pepper ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.pepper ENABLE ALWAYS TRIGGER invalidate_truncate;

CREATE FUNCTION apikey.add_pepper() RETURNS integer
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_add_pepper';
COMMENT ON FUNCTION apikey.add_pepper() IS 'Adds a pepper: a random one, or the next one of the file apikey.pepper_file; returns its id';

-- Whatever the isolation level: what a snapshot of the past shows is no reason
-- to remove what a key needs.
CREATE FUNCTION apikey.keys_exist(of_kind text, of_pepper integer, only_ours boolean DEFAULT false) RETURNS boolean
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_keys_exist';
COMMENT ON FUNCTION apikey.keys_exist(text, integer, boolean) IS 'Are there keys of a kind, perhaps not counting imported ones, or under a pepper, at this very moment?';

CREATE FUNCTION apikey.set_current_pepper(id integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM apikey.require_writable('apikey.set_current_pepper');
    LOCK TABLE apikey.pepper IN SHARE ROW EXCLUSIVE MODE;
    PERFORM FROM apikey.pepper p WHERE p.pepper_id = id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pepper % does not exist', coalesce(id::text, 'NULL')
            USING ERRCODE = '22023', DETAIL = 'Argument "id" must name a row of apikey.pepper_status.',
                  HINT = 'apikey.add_pepper() makes one and returns its id.';
    END IF;
    UPDATE apikey.pepper SET is_current = false WHERE is_current AND pepper_id <> id;
    UPDATE apikey.pepper SET is_current = true WHERE NOT is_current AND pepper_id = id;
    INSERT INTO apikey.audit_log (action, actor, object) VALUES ('set_current_pepper', apikey.actor(), 'pepper ' || id);
END
$$;
COMMENT ON FUNCTION apikey.set_current_pepper(integer) IS 'New keys are hashed under this pepper from now on';

CREATE FUNCTION apikey.retire_pepper(id integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM apikey.require_writable('apikey.retire_pepper');
    LOCK TABLE apikey.key IN SHARE MODE;
    PERFORM FROM apikey.pepper p WHERE p.pepper_id = id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pepper % does not exist', coalesce(id::text, 'NULL')
            USING ERRCODE = '22023', DETAIL = 'Argument "id" must name a row of apikey.pepper_status.',
                  HINT = 'Look at apikey.pepper_status.';
    ELSIF apikey.keys_exist(NULL, id) THEN
        RAISE EXCEPTION 'pepper % is in use', id
            USING ERRCODE = 'KA409', DETAIL = 'Keys are stored under it and could not be verified without it.',
                  HINT = 'apikey.pepper_status counts them; rotate, revoke and purge them first.';
    ELSIF EXISTS (SELECT FROM apikey.pepper p WHERE p.pepper_id = id AND p.is_current) THEN
        RAISE EXCEPTION 'pepper % is the current one', id
            USING ERRCODE = 'KA409', DETAIL = 'New keys are hashed under it.',
                  HINT = 'Make another one current first with apikey.set_current_pepper().';
    END IF;
    DELETE FROM apikey.pepper WHERE pepper_id = id;
    INSERT INTO apikey.audit_log (action, actor, object) VALUES ('retire_pepper', apikey.actor(), 'pepper ' || id);
END
$$;
COMMENT ON FUNCTION apikey.retire_pepper(integer) IS 'Removes a pepper under which no key is stored any more';

