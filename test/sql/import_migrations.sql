-- Moving in from Better Auth, Unkey, Laravel Sanctum, djangorestframework-api-key and KeyHippo: their tables,
-- rows as they write them, and the statement of the README for each
\set VERBOSITY terse
SET client_min_messages = warning;
-- In a database of its own: once keys were imported, any text may be one.
SELECT current_database() AS regression \gset
DROP DATABASE IF EXISTS apikey_import_migrations;
CREATE DATABASE apikey_import_migrations;
\c apikey_import_migrations
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION apikey CASCADE;
CREATE TABLE shown (source text, key text);      -- what customers hold

\echo == Better Auth: SHA-256 of the whole key, base64url without padding
CREATE TABLE apikey (id text PRIMARY KEY, name text, start text, prefix text, key text NOT NULL, "userId" text NOT NULL, enabled boolean, remaining integer,
    "lastRequest" timestamptz, "expiresAt" timestamptz, "createdAt" timestamptz NOT NULL, permissions text, metadata text);
-- made and stored by version 1.7.5 of the package
INSERT INTO shown VALUES ('better-auth', 'shop_reZEGWKslWkbrKbAxFvowvSHcfwmwlukBSrNJfGSXnMPFPKxBDtWoVoGxrXQmuEa'), ('better-auth', 'GfVcqeZfjIfAJXzxRrPDBRYAHqDzwZYvbOiYbTNPPrYfPJoRJghsNbbOWpSwFlSZ');
INSERT INTO apikey VALUES ('1', 'Backend', 'shop_r', 'shop_', '_T6qhdrx9wCwPNT-xChUFGZdcMuJg_mgfVo5QnK6nqk', 'user_1', true, 3, '2025-01-02 00:00:00+00', NULL, '2024-01-02 00:00:00+00', '{"files":["read","write"]}', '{"plan":"pro"}'),
    ('2', NULL, 'GfVcqe', NULL, '1veefocfRBx5yLzsnNUTB5A23HCiRHNlozkg-Klfyfk', 'user_1', true, NULL, NULL, NULL, '2024-01-02 00:00:00+00', NULL, NULL);
SELECT count(apikey.import_key("userId", coalesce(name, 'API key'), 'sha256', key, scopes => permissions::apikey.scopes::text[],
           expires_at => coalesce("expiresAt", 'infinity'), metadata => coalesce(metadata::jsonb, '{}'), credits => remaining,
           created_at => "createdAt", last_used_at => "lastRequest", disabled => NOT enabled, display => start || '...')) AS imported FROM apikey;

\echo == Unkey: SHA-256 of the whole key, base64
CREATE TABLE unkey_keys (id text PRIMARY KEY, hash text NOT NULL, start text NOT NULL, owner_id text, name text, expires timestamptz, created_at timestamptz NOT NULL, deleted_at timestamptz, enabled boolean NOT NULL, remaining_requests integer);
INSERT INTO shown VALUES ('unkey', 'api_3ZQqMkzfhYwcPZ5b7rvv8mRD');
INSERT INTO unkey_keys SELECT 'key_1', encode(sha256(convert_to(key, 'UTF8')), 'base64'), left(key, 8), 'team_1', 'Production', NULL, '2024-01-02 00:00:00+00', NULL, true, NULL FROM shown WHERE source = 'unkey';
SELECT count(apikey.import_key(owner_id, coalesce(name, 'API key'), 'sha256', hash, expires_at => coalesce(expires, 'infinity'), credits => remaining_requests,
           created_at => created_at, disabled => NOT enabled, display => start || '...')) AS imported FROM unkey_keys WHERE deleted_at IS NULL;

\echo == Laravel Sanctum: SHA-256 of what is behind the |, hexadecimal
CREATE TABLE personal_access_tokens (id bigint PRIMARY KEY, tokenable_type text NOT NULL, tokenable_id bigint NOT NULL, name text NOT NULL, token varchar(64) NOT NULL UNIQUE, abilities text,
    last_used_at timestamp, expires_at timestamp, created_at timestamp, updated_at timestamp);
INSERT INTO shown VALUES ('sanctum', '17|9gK3vXq0ZtL8wRb5nYc2mHs6pJd4fTa1uEo7iWxQ0c5f1a2b'), ('sanctum', '18|AAAAvXq0ZtL8wRb5nYc2mHs6pJd4fTa1uEo7iWxQ11223344');
INSERT INTO personal_access_tokens SELECT split_part(key, '|', 1)::bigint, 'App\Models\User', 42, 'mobile', encode(sha256(convert_to(split_part(key, '|', 2), 'UTF8')), 'hex'), CASE WHEN key ~ '^17' THEN '["*"]' ELSE '["server:update"]' END,
        '2025-01-02', NULL, '2024-01-02', '2024-01-02' FROM shown WHERE source = 'sanctum';
SELECT count(apikey.import_key(tokenable_id::text, name, 'sha256', token, scopes => abilities::apikey.scopes::text[], lookup => id::text, separator => '|', hashed_part => 'after',
           expires_at => coalesce(expires_at AT TIME ZONE 'UTC', 'infinity'), created_at => created_at AT TIME ZONE 'UTC', last_used_at => last_used_at AT TIME ZONE 'UTC')) AS imported FROM personal_access_tokens;

\echo == djangorestframework-api-key: SHA-512 of the whole key, behind the name of the algorithm
CREATE TABLE rest_framework_api_key_apikey (id varchar(150) PRIMARY KEY, prefix varchar(8) NOT NULL UNIQUE, hashed_key varchar(150) NOT NULL, created timestamptz NOT NULL, name varchar(50) NOT NULL, revoked boolean NOT NULL, expiry_date timestamptz);
INSERT INTO shown VALUES ('django', 'Xk3dPq8R.zT5nWb1vYc7mHs2pJd9fKg4aLr6eQx0u');
INSERT INTO rest_framework_api_key_apikey SELECT '1', split_part(key, '.', 1), 'sha512$$' || encode(sha512(convert_to(key, 'UTF8')), 'hex'), '2024-01-02 00:00:00+00', 'partner', false, NULL FROM shown WHERE source = 'django';
-- one that was not used since the hash was PBKDF2, and one of bcrypt
INSERT INTO rest_framework_api_key_apikey VALUES ('2', 'Old00000', 'pbkdf2_sha256$260000$salt$aGFzaA==', '2020-01-02 00:00:00+00', 'old partner', false, NULL);
INSERT INTO shown VALUES ('django', 'Bc7dPq8R.secret_of_bcrypt');
INSERT INTO rest_framework_api_key_apikey SELECT '3', 'Bc7dPq8R', 'bcrypt$' || replace(crypt(key, gen_salt('bf', 4)), '$2a$', '$2b$'), '2024-01-02 00:00:00+00', 'bcrypt partner', true, NULL FROM shown WHERE source = 'django' AND key ~ 'bcrypt';
SELECT name, apikey.import_check('django', name, CASE WHEN hashed_key LIKE 'bcrypt%' THEN 'bcrypt' ELSE 'sha512' END, hashed_key, lookup => prefix, separator => '.') AS reason FROM rest_framework_api_key_apikey ORDER BY name;
SELECT count(apikey.import_key('django', name, CASE WHEN hashed_key LIKE 'bcrypt%' THEN 'bcrypt' ELSE 'sha512' END, hashed_key, lookup => prefix, separator => '.', expires_at => coalesce(expiry_date, 'infinity'),
           created_at => created, disabled => revoked)) AS imported FROM rest_framework_api_key_apikey WHERE hashed_key NOT LIKE 'pbkdf2%';

\echo == KeyHippo: SHA-512 of the last 128 characters, hexadecimal
CREATE SCHEMA keyhippo;
CREATE TABLE keyhippo.api_key_metadata (id uuid PRIMARY KEY, user_id uuid NOT NULL, description text, prefix text NOT NULL UNIQUE, created_at timestamptz NOT NULL, last_used_at timestamptz, expires_at timestamptz NOT NULL, is_revoked boolean NOT NULL, claims jsonb);
CREATE TABLE keyhippo.api_key_secrets (key_metadata_id uuid PRIMARY KEY, key_hash text NOT NULL);
INSERT INTO shown SELECT 'keyhippo', 'ab+cd/EFgh01ij23KLmn45OPqr67STuv' || encode(digest('random bytes', 'sha512'), 'hex');
INSERT INTO keyhippo.api_key_metadata SELECT '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000042', 'Primary', left(key, length(key) - 128), '2024-01-02 00:00:00+00', '2025-01-02 00:00:00+00', '2124-01-02 00:00:00+00', false, '{}' FROM shown WHERE source = 'keyhippo';
INSERT INTO keyhippo.api_key_secrets SELECT '00000000-0000-4000-8000-000000000001', encode(digest(right(key, 128), 'sha512'), 'hex') FROM shown WHERE source = 'keyhippo';
SELECT count(apikey.import_key(user_id::text, coalesce(description, 'API key'), 'sha512', key_hash, lookup => prefix, hashed_part => 'after', expires_at => expires_at,
           metadata => coalesce(claims, '{}'), created_at => created_at, last_used_at => last_used_at, disabled => is_revoked)) AS imported
FROM keyhippo.api_key_metadata m JOIN keyhippo.api_key_secrets s ON s.key_metadata_id = m.id;

\echo == Every key that a customer holds verifies; before and after it is native
SELECT source, v.code, v.account, v.name, v.scopes, v.metadata, v.credits_remaining FROM shown, LATERAL apikey.verify(key) v ORDER BY source, key COLLATE "C";
SELECT apikey.flush_usage() >= 0 AS flushed;
SELECT source, v.code, v.credits_remaining FROM shown, LATERAL apikey.verify(key) v ORDER BY source, key COLLATE "C";
SELECT count(*) AS wrong FROM shown, LATERAL unnest(ARRAY[key || 'x', left(key, -1), 'x' || key, lower(key)]) wrong, LATERAL apikey.verify(wrong) v WHERE v.ok;
SELECT account, name, display, status, created_at::date, expires_at::date FROM apikey.keys ORDER BY account, name COLLATE "C", display COLLATE "C";
\c :regression
DROP DATABASE apikey_import_migrations;
