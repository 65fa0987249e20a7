-- Bare look-ups, the least that any check of a key in a table can do: by digest,
-- and by its first eight bytes.
\set ON_ERROR_STOP on
CREATE TABLE bench.by_digest (digest bytea PRIMARY KEY, account text NOT NULL);
INSERT INTO bench.by_digest SELECT sha256(convert_to(key, 'UTF8')), account FROM bench.issued;

CREATE TABLE bench.by_number (number bigint PRIMARY KEY, account text NOT NULL);
INSERT INTO bench.by_number
SELECT ('x' || encode(substr(digest, 1, 8), 'hex'))::bit(64)::bigint, account FROM bench.by_digest;
VACUUM (ANALYZE, FREEZE) bench.by_digest;
VACUUM (ANALYZE, FREEZE) bench.by_number;
