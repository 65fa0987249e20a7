--
-- Policy: tables that a DBA edits with plain SQL, obeyed at commit
--
-- In numbers -1, in intervals '0' mean "no limit" or "never"; NULL means
-- "inherit".  The column installation is bookkeeping: see 10_schema.sql.
--

CREATE TABLE apikey.kind (
    kind text PRIMARY KEY
        CONSTRAINT kind_is_a_short_plain_name CHECK (kind ~ '^[A-Za-z0-9_.-]{1,63}$')
        CONSTRAINT kind_session_is_reserved_for_session_tokens CHECK (kind <> 'session'),
    prefix text NOT NULL DEFAULT ''
        CONSTRAINT kind_prefix_has_only_letters_digits_and_separators CHECK (prefix ~ '^[A-Za-z0-9_.-]{0,32}$'),
    body_length integer NOT NULL DEFAULT 43
        CONSTRAINT kind_body_length_is_22_to_200 CHECK (body_length BETWEEN 22 AND 200),
    checksum boolean NOT NULL DEFAULT true,
    mask_prefix boolean NOT NULL DEFAULT true,
    mask_head integer NOT NULL DEFAULT 3
        CONSTRAINT kind_mask_head_is_not_negative CHECK (mask_head >= 0),
    mask_gap text NOT NULL DEFAULT '...'
        CONSTRAINT kind_mask_gap_is_short_and_plain CHECK (octet_length(mask_gap) <= 32 AND mask_gap !~ '[\u0001-\u001f\u007f"\\]'),
    mask_tail integer NOT NULL DEFAULT 4
        CONSTRAINT kind_mask_tail_is_not_negative CHECK (mask_tail >= 0),
    default_scopes apikey.scopes,
    default_lifetime interval
        CONSTRAINT kind_default_lifetime_is_not_negative CHECK (default_lifetime >= '0'),
    origin_locked boolean NOT NULL DEFAULT false,
    allow_localhost boolean NOT NULL DEFAULT true,
    name_max integer
        CONSTRAINT kind_name_max_is_positive_or_minus_1 CHECK (name_max = -1 OR name_max >= 1),
    db_role text
        CONSTRAINT kind_db_role_is_a_role_name CHECK (db_role <> '' AND octet_length(db_role) <= 63),
    enabled boolean NOT NULL DEFAULT true,
    installation uuid NOT NULL,
    CONSTRAINT kind_mask_hides_at_least_128_bits CHECK (body_length - mask_head - mask_tail >= 22)
);
COMMENT ON TABLE apikey.kind IS 'Classes of keys: their format, display mask and defaults';
COMMENT ON COLUMN apikey.kind.kind IS 'Name of the kind';
COMMENT ON COLUMN apikey.kind.prefix IS 'Start of every key text, separators included';
COMMENT ON COLUMN apikey.kind.body_length IS 'Random base62 digits; 43 are 256 bits';
COMMENT ON COLUMN apikey.kind.checksum IS 'Append six digits by which a typo is refused before any hashing';
COMMENT ON COLUMN apikey.kind.mask_prefix IS 'Show the prefix, and count mask_head from the body; else from the whole text';
COMMENT ON COLUMN apikey.kind.mask_head IS 'Characters shown at the start of a display mask';
COMMENT ON COLUMN apikey.kind.mask_gap IS 'What stands for the hidden middle';
COMMENT ON COLUMN apikey.kind.mask_tail IS 'Characters shown at the end';
COMMENT ON COLUMN apikey.kind.default_scopes IS 'Grants of a key issued without scopes; NULL: scopes must be given';
COMMENT ON COLUMN apikey.kind.default_lifetime IS 'Lifetime without an explicit expiry; 0 = never expires, NULL = as the account policy';
COMMENT ON COLUMN apikey.kind.origin_locked IS 'Keys carry a list of web origins and are refused from elsewhere';
COMMENT ON COLUMN apikey.kind.allow_localhost IS 'Origin-locked keys also pass from localhost and loopback addresses';
COMMENT ON COLUMN apikey.kind.name_max IS 'Longest key name in characters; of this and the account policy the smaller binds';
COMMENT ON COLUMN apikey.kind.db_role IS 'Database role given to keys issued without one';
COMMENT ON COLUMN apikey.kind.enabled IS 'Off: no new keys, and its keys answer key_disabled';
COMMENT ON COLUMN apikey.kind.installation IS 'Bookkeeping for restores; leave alone';

CREATE TABLE apikey.account_policy (
    account text PRIMARY KEY
        CONSTRAINT account_policy_account_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(account) BETWEEN 1 AND 255 AND account !~ '[\u0001-\u001f\u007f]'),
    api_enabled boolean,
    allowed_scopes apikey.scopes,
    max_keys integer
        CONSTRAINT account_policy_max_keys_is_minus_1_or_more CHECK (max_keys >= -1),
    name_max integer
        CONSTRAINT account_policy_name_max_is_positive_or_minus_1 CHECK (name_max = -1 OR name_max >= 1),
    max_requests_per_day bigint
        CONSTRAINT account_policy_max_requests_per_day_is_minus_1_or_more CHECK (max_requests_per_day >= -1),
    default_lifetime interval
        CONSTRAINT account_policy_default_lifetime_is_not_negative CHECK (default_lifetime >= '0'),
    max_lifetime interval
        CONSTRAINT account_policy_max_lifetime_is_not_negative CHECK (max_lifetime >= '0'),
    require_allowed_ips boolean,
    enforce_members boolean,
    rotate_after interval
        CONSTRAINT account_policy_rotate_after_is_not_negative CHECK (rotate_after >= '0'),
    installation uuid NOT NULL,
    CONSTRAINT account_policy_default_row_leaves_nothing_open CHECK (
        account <> '*' OR (api_enabled IS NOT NULL AND allowed_scopes IS NOT NULL AND max_keys IS NOT NULL
            AND name_max IS NOT NULL AND max_requests_per_day IS NOT NULL AND default_lifetime IS NOT NULL
            AND max_lifetime IS NOT NULL AND require_allowed_ips IS NOT NULL AND enforce_members IS NOT NULL
            AND rotate_after IS NOT NULL))
);
COMMENT ON TABLE apikey.account_policy IS 'What accounts may do; the row * is the default, NULL in another row means "as in *"';
COMMENT ON COLUMN apikey.account_policy.account IS 'The tenant, as the application calls it; * = every account without a value of its own';
COMMENT ON COLUMN apikey.account_policy.api_enabled IS 'Off: no new keys, and existing ones answer api_disabled';
COMMENT ON COLUMN apikey.account_policy.allowed_scopes IS 'Grants that keys of the account may be given; "*" = any';
COMMENT ON COLUMN apikey.account_policy.max_keys IS 'Keys neither revoked, expired nor superseded by rotation; -1 = no limit';
COMMENT ON COLUMN apikey.account_policy.name_max IS 'Longest key name in characters; -1 = no limit';
COMMENT ON COLUMN apikey.account_policy.max_requests_per_day IS 'Calls that pass per UTC day, over all keys; -1 = no limit';
COMMENT ON COLUMN apikey.account_policy.default_lifetime IS 'Lifetime of keys without an explicit expiry whose kind has none; 0 = never expires';
COMMENT ON COLUMN apikey.account_policy.max_lifetime IS 'Longest lifetime; 0 = no limit';
COMMENT ON COLUMN apikey.account_policy.require_allowed_ips IS 'Keys must carry an address list (not those of origin-locked kinds)';
COMMENT ON COLUMN apikey.account_policy.enforce_members IS 'Management calls must name an actor who is a member with the capability';
COMMENT ON COLUMN apikey.account_policy.rotate_after IS 'Age at which a key is due for rotation; 0 = never';
COMMENT ON COLUMN apikey.account_policy.installation IS 'Bookkeeping for restores; leave alone';

CREATE TABLE apikey.scope (
    scope text PRIMARY KEY
        CONSTRAINT scope_is_well_formed CHECK (apikey.is_grant(scope))
        CONSTRAINT scope_is_not_the_grant_of_everything CHECK (scope <> '*'),
    description text,
    enabled boolean NOT NULL DEFAULT true,
    installation uuid NOT NULL
);
COMMENT ON TABLE apikey.scope IS 'Catalogue of scopes; while it is empty any well-formed scope exists';
COMMENT ON COLUMN apikey.scope.scope IS 'A scope, or "a:*" for a whole resource: where scopes below it are listed too only those exist, else all';
COMMENT ON COLUMN apikey.scope.description IS 'For people';
COMMENT ON COLUMN apikey.scope.enabled IS 'Off: requests that need it are refused, whoever holds it';
COMMENT ON COLUMN apikey.scope.installation IS 'Bookkeeping for restores; leave alone';

-- What CREATE EXTENSION ships.  Inserted before there are triggers: no audit.
INSERT INTO apikey.kind (kind, prefix, default_scopes, installation)
    SELECT 'secret', 'ak_', '*', shipped_id FROM apikey.installation;
INSERT INTO apikey.kind (kind, prefix, origin_locked, installation)
    SELECT 'widget', 'ak_widget_', true, shipped_id FROM apikey.installation;
INSERT INTO apikey.account_policy (account, api_enabled, allowed_scopes, max_keys, name_max, max_requests_per_day,
        default_lifetime, max_lifetime, require_allowed_ips, enforce_members, rotate_after, installation)
    SELECT '*', true, '*', 25, 100, -1, '0', '0', false, false, '90 days', shipped_id FROM apikey.installation;

