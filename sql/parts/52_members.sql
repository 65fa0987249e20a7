--
-- Members of accounts, and what their roles may do
--

-- Read as they are at the moment of each call, and cached by nobody: there is
-- no trigger "invalidate" here.

CREATE TABLE apikey.member (
    account text
        CONSTRAINT member_account_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(account) BETWEEN 1 AND 255 AND account !~ '[\u0001-\u001f\u007f]'),
    subject text
        CONSTRAINT member_subject_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(subject) BETWEEN 1 AND 255 AND subject !~ '[\u0001-\u001f\u007f]')
        CONSTRAINT member_subject_is_one_actor_not_everybody CHECK (subject <> '*'),
    role text NOT NULL
        CONSTRAINT member_role_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(role) BETWEEN 1 AND 255 AND role !~ '[\u0001-\u001f\u007f]')
        CONSTRAINT member_role_is_one_role_not_all CHECK (role <> '*'),
    installation uuid NOT NULL,
    PRIMARY KEY (account, subject)
);
COMMENT ON TABLE apikey.member IS 'Who may manage keys of an account where account_policy.enforce_members is on';
COMMENT ON COLUMN apikey.member.account IS 'The tenant; * = every account, beside the rows of its own';
COMMENT ON COLUMN apikey.member.subject IS 'The person or service, exactly as named by the argument actor';
COMMENT ON COLUMN apikey.member.role IS 'What apikey.capability says about this role counts';
COMMENT ON COLUMN apikey.member.installation IS 'Bookkeeping for restores; leave alone';

CREATE TABLE apikey.capability (
    role text
        CONSTRAINT capability_role_is_1_to_255_bytes_without_control_characters
        CHECK (octet_length(role) BETWEEN 1 AND 255 AND role !~ '[\u0001-\u001f\u007f]')
        CONSTRAINT capability_role_is_one_role_not_all CHECK (role <> '*'),
    action text
        CONSTRAINT capability_action_is_create_view_update_or_revoke
        CHECK (action IN ('create', 'view', 'update', 'revoke')),
    installation uuid NOT NULL,
    PRIMARY KEY (role, action)
);
COMMENT ON TABLE apikey.capability IS 'What members of a role may do; a role without rows may do nothing';
COMMENT ON COLUMN apikey.capability.role IS 'As in apikey.member';
COMMENT ON COLUMN apikey.capability.action IS 'create, view, update or revoke; rotate needs create and revoke';
COMMENT ON COLUMN apikey.capability.installation IS 'Bookkeeping for restores; leave alone';

CREATE TRIGGER receive BEFORE INSERT OR UPDATE ON apikey.member
    FOR EACH ROW EXECUTE FUNCTION apikey.receive_policy();
COMMENT ON TRIGGER receive ON apikey.member IS 'Rows of a dump replace the shipped ones';
CREATE TRIGGER receive BEFORE INSERT OR UPDATE ON apikey.capability
    FOR EACH ROW EXECUTE FUNCTION apikey.receive_policy();
COMMENT ON TRIGGER receive ON apikey.capability IS 'Rows of a dump replace the shipped ones';
ALTER TABLE apikey.member ENABLE ALWAYS TRIGGER receive;
ALTER TABLE apikey.capability ENABLE ALWAYS TRIGGER receive;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON apikey.member
    FOR EACH ROW EXECUTE FUNCTION apikey.audit_policy('subject');
COMMENT ON TRIGGER audit ON apikey.member IS 'Writes the audit row';
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON apikey.member
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.audit_policy('subject');
COMMENT ON TRIGGER audit_truncate ON apikey.member IS 'Writes the audit row';
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON apikey.capability
    FOR EACH ROW EXECUTE FUNCTION apikey.audit_policy('role', 'action');
COMMENT ON TRIGGER audit ON apikey.capability IS 'Writes the audit row';
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON apikey.capability
    FOR EACH STATEMENT EXECUTE FUNCTION apikey.audit_policy('role', 'action');
COMMENT ON TRIGGER audit_truncate ON apikey.capability IS 'Writes the audit row';

-- To be called before acting_as(): the actor counts as it was named, not as it
-- is cut and escaped to be recorded.
CREATE FUNCTION apikey.require_capability(account text, action text, actor text) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'apikey_sql_require_capability';
COMMENT ON FUNCTION apikey.require_capability(text, text, text)
    IS 'Raises KA403 if policy enforces members and the actor may not do this in the account';
