--
-- The schema, and what tells this installation from a restored one
--

CREATE SCHEMA apikey;
COMMENT ON SCHEMA apikey IS 'API keys: issue, verify, restrict, rotate, revoke';

-- Rows of the policy tables say which installation wrote them.  A dump carries
-- them along but not this table, so a restored row is recognised by a foreign
-- installation, and the rows shipped by CREATE EXTENSION make room for it.
CREATE TABLE apikey.installation (
    only_row boolean PRIMARY KEY DEFAULT true
        CONSTRAINT installation_has_one_row CHECK (only_row),
    shipped_id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    local_id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    restored_by pg_catalog.xid8
);
COMMENT ON TABLE apikey.installation IS 'Identity of this installation; deliberately not part of a dump';
COMMENT ON COLUMN apikey.installation.only_row IS 'Keeps it one row';
COMMENT ON COLUMN apikey.installation.shipped_id IS 'Marks rows shipped by CREATE EXTENSION and not changed since';
COMMENT ON COLUMN apikey.installation.local_id IS 'Marks rows written here since';
COMMENT ON COLUMN apikey.installation.restored_by IS 'Transaction that replaced the shipped rows by those of a dump';

INSERT INTO apikey.installation DEFAULT VALUES;

CREATE FUNCTION apikey.local_installation() RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS 'SELECT i.local_id FROM apikey.installation i';
COMMENT ON FUNCTION apikey.local_installation() IS 'What rows of policy tables written here carry';

CREATE FUNCTION apikey.is_restoring() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS 'SELECT EXISTS (SELECT FROM apikey.installation i WHERE i.restored_by = pg_current_xact_id_if_assigned())';
COMMENT ON FUNCTION apikey.is_restoring() IS 'Has this transaction replaced the shipped rows by those of a dump?';

