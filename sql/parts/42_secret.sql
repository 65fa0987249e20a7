--
-- Fixed secrets of the installation: a table nobody but the owner reads
--

-- Kept by pg_dump, for what was hashed with them is.
CREATE TABLE apikey.secret (
    name text PRIMARY KEY,
    secret bytea NOT NULL
        CONSTRAINT secret_has_16_bytes CHECK (octet_length(secret) = 16)
);
COMMENT ON TABLE apikey.secret IS 'Secrets of this installation that never change; made by the first apikey.issue()';
COMMENT ON COLUMN apikey.secret.name IS 'addresses: keys the hash of addresses in sketches; contexts: seals what apikey.open_context() hands out';
COMMENT ON COLUMN apikey.secret.secret IS '16 random bytes';

-- No samples in the statistics.
ALTER TABLE apikey.secret ALTER COLUMN secret SET STATISTICS 0;

CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON apikey.secret
    FOR EACH ROW EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate ON apikey.secret IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
CREATE TRIGGER invalidate_truncate AFTER TRUNCATE ON apikey.secret
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.invalidate();
COMMENT ON TRIGGER invalidate_truncate ON apikey.secret IS 'Makes every backend read the table anew; must stay ENABLE ALWAYS';
ALTER TABLE apikey.secret ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE apikey.secret ENABLE ALWAYS TRIGGER invalidate_truncate;
