/* apikey: API keys inside PostgreSQL */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION apikey CASCADE" to load this file. \quit

-- Nothing below depends on the path, and nothing found on the path of whoever
-- installs can come between.
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL check_function_bodies = off;

