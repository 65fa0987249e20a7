-- The databases' common part: the extension, and a policy for keys by the million.
-- Each contestant keeps its own tables; all hold the same keys.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION apikey;
CREATE SCHEMA bench;

UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*';

CREATE FUNCTION bench.answer_with(record) RETURNS void
    LANGUAGE C AS 'donothing', 'donothing_answer_with';
CREATE FUNCTION bench.nothing(
    key text,
    required text DEFAULT NULL,
    ip text DEFAULT NULL,
    origin text DEFAULT NULL,
    account text DEFAULT NULL,
    kinds text[] DEFAULT NULL,
    cost integer DEFAULT 1,
    method text DEFAULT NULL,
    path text DEFAULT NULL,
    request_id text DEFAULT NULL
) RETURNS apikey.verdict
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100 AS 'donothing', 'donothing';

-- What the keys' texts are is known to the benchmark alone.
CREATE TABLE bench.issued (key text NOT NULL, key_id uuid NOT NULL, account text NOT NULL);
