-- A number of keys (:keys), ten an account, each with one scope and one network.
\set ON_ERROR_STOP on
INSERT INTO bench.issued
SELECT i.key, i.key_id, i.account
FROM generate_series(1, :keys) g,
     LATERAL apikey.issue('account' || g / 10, 'benchmark', '{calls:read}', allowed_ips => '{203.0.113.0/24}') i;
VACUUM (ANALYZE, FREEZE) apikey.key;
VACUUM (ANALYZE, FREEZE) bench.issued;
