# CREATE EXTENSION runs as superuser in a database that others may have
# prepared: with a schema of our name, with functions and operators that hide
# those of the system, with a schema name that breaks out of quotes.  It must
# fail without a trace or work untouched, and so must every call later.
# Threats T1 to T5, T88.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = bare_node('hostile', '');
preload($node);
$node->start;

my $count = 0;

sub database
{
	my $name = 'd' . ++$count;
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE template0");
	return $name;
}

# What an installation that failed must not leave behind
sub leftovers
{
	my ($database) = @_;
	return $node->safe_psql(
		$database, q(
		SELECT count(*) FROM pg_proc WHERE probin LIKE '%apikey%'
		UNION ALL SELECT count(*) FROM pg_extension WHERE extname = 'apikey'
		UNION ALL SELECT count(*) FROM pg_class WHERE relname IN ('key', 'pepper', 'account_policy')
			AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname = 'evil')));
}
my $nothing = "0\n0\n0";

# A schema of that name
my $database = database();
$node->safe_psql($database, 'CREATE EXTENSION pgcrypto; CREATE ROLE attacker; CREATE SCHEMA apikey AUTHORIZATION attacker');
like(sql_error($node, $database, 'CREATE EXTENSION apikey'), qr/^42P06: /, 'a schema apikey that exists is not adopted');
like(sql_error($node, $database, 'CREATE EXTENSION IF NOT EXISTS apikey CASCADE'), qr/^42P06: /, '... by no form of the command');
is(leftovers($database), $nothing, 'nothing is left behind');
is($node->safe_psql($database, q(SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'apikey')),
	'attacker', 'the schema is as it was');
$node->safe_psql($database, 'CREATE TABLE apikey.key (); CREATE FUNCTION apikey.verify(text) RETURNS text LANGUAGE sql AS $$SELECT $1$$');
like(sql_error($node, $database, 'CREATE EXTENSION apikey'), qr/^42P06: /, '... nor is one with objects of our names in it');
$node->safe_psql($database, 'DROP SCHEMA apikey CASCADE; CREATE EXTENSION apikey');
my ($key) = issue_keys($node, $database, 1, q('acme', 'key'));
is(verdicts($node, $database, $key->[0]), 'valid', 'once it is gone, all works');

# Where the extension goes is fixed, whatever the name
$database = database();
$node->safe_psql($database, 'CREATE EXTENSION pgcrypto');
for my $schema ('public', q("a'b$$"), q("a""b"), q("$apikey$"), 'nowhere', 'apikey')
{
	like(sql_error($node, $database, "CREATE SCHEMA IF NOT EXISTS $schema; CREATE EXTENSION apikey SCHEMA $schema"),
		qr/^(0A000|42P06|3F000): /, "SCHEMA $schema is refused");
	$node->safe_psql($database, "DROP SCHEMA IF EXISTS $schema") unless $schema eq 'public';
	is(leftovers($database), $nothing, 'nothing is left behind');
}
like(sql_error($node, $database, 'CREATE EXTENSION apikey; ALTER EXTENSION apikey SET SCHEMA public'),
	qr/^0A000: /, 'nor can it be moved');

# Only a superuser installs
$node->safe_psql('postgres', 'CREATE ROLE plain LOGIN CREATEDB');
$database = database();
$node->safe_psql($database, "GRANT CREATE ON DATABASE $database TO plain; GRANT CREATE ON SCHEMA public TO plain; CREATE EXTENSION pgcrypto");
like(sql_error($node, $database, 'SET ROLE plain; CREATE EXTENSION apikey'), qr/^42501: /, 'a plain role cannot install');
like(sql_error($node, $database, 'ALTER DATABASE ' . $database . ' OWNER TO plain; SET ROLE plain; CREATE EXTENSION apikey CASCADE'),
	qr/^42501: /, 'nor the owner of the database');
is(leftovers($database), $nothing, 'nothing is left behind');

# pgcrypto: missing, and elsewhere
$database = database();
like(sql_error($node, $database, 'CREATE EXTENSION apikey'), qr/^42704: .*pgcrypto/s, 'without pgcrypto the error names it');
is(leftovers($database), $nothing, 'nothing is left behind');
$node->safe_psql($database, 'CREATE SCHEMA "Odd ""one"""; CREATE EXTENSION pgcrypto SCHEMA "Odd ""one"""; CREATE EXTENSION apikey');
($key) = issue_keys($node, $database, 1, q('acme', 'key'));
is(verdicts($node, $database, $key->[0]), 'valid', 'pgcrypto may be in any schema');

# Doubles of every function and operator of the system on types that we use,
# first on the path.  Each tells the log that it was called.
$database = database();
$node->safe_psql(
	$database, q(
	CREATE EXTENSION pgcrypto;
	CREATE ROLE evil SUPERUSER;
	CREATE SCHEMA evil AUTHORIZATION evil;
	DO $do$
	DECLARE
		types CONSTANT oid[] := ARRAY['text', 'varchar', 'name', 'uuid', 'int4', 'int8', 'int2', 'bool', 'timestamptz', 'interval',
			'inet', 'cidr', 'text[]', 'inet[]', 'jsonb', 'json', 'bytea', 'oid', 'regclass', 'float8', 'numeric', '"char"', 'date',
			'xid8', 'regrole', 'regprocedure', 'regnamespace', 'anyarray', 'anyelement', 'anycompatiblearray', 'anycompatible', '"any"',
			'record']::regtype[];
		f record;
	BEGIN
		FOR f IN
			SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS args, p.proretset, p.prorettype, p.pronargs, p.provariadic, p.proisstrict
			FROM pg_proc p
			WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.proargtypes::oid[] <@ types
				AND p.prorettype = ANY (types || 'void'::regtype::oid) AND p.proargmodes IS NULL
		LOOP
			BEGIN
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS %L', f.proname, f.args,
					CASE WHEN f.proretset THEN 'SETOF ' END, f.prorettype::regtype,
					format('BEGIN RAISE LOG %L; RAISE EXCEPTION %L; END', 'hijacked ' || f.proname, 'hijacked ' || f.proname));
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		FOR f IN
			SELECT o.oprname, o.oprleft, o.oprright, o.oprresult, o.oid AS id FROM pg_operator o
			WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft = ANY (types || 0::oid) AND o.oprright = ANY (types)
				AND o.oprresult = ANY (types)
		LOOP
			BEGIN
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', 'op_' || f.id,
					concat_ws(', ', nullif(f.oprleft, 0)::regtype, f.oprright::regtype), f.oprresult::regtype,
					format('BEGIN RAISE LOG %L; RAISE EXCEPTION %L; END', 'hijacked operator ' || f.oprname, 'hijacked operator ' || f.oprname));
				EXECUTE format('CREATE OPERATOR evil.%s (%s RIGHTARG = %s, FUNCTION = evil.%I)', f.oprname,
					CASE WHEN f.oprleft <> 0 THEN format('LEFTARG = %s,', f.oprleft::regtype) ELSE '' END, f.oprright::regtype, 'op_' || f.id);
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		-- what has our names
		FOR f IN SELECT unnest('{key,keys,kind,scope,account_policy,member,capability,pepper,audit_log,installation,verdict,issued_key,pg_roles,pg_proc,pg_class}'::text[]) AS name LOOP
			EXECUTE format('CREATE TABLE evil.%I (kind text, account text, scope text, key_id uuid, installation uuid)', f.name);
		END LOOP;
		FOR f IN SELECT unnest('{issue,verify,revoke,actor,acting_as,clean_text,new_id,open_key,announce,key_status,require_writable}'::text[]) AS name LOOP
			EXECUTE format('CREATE FUNCTION evil.%I(text) RETURNS text LANGUAGE plpgsql AS %L', f.name, 'BEGIN RAISE LOG ''hijacked ours''; RAISE EXCEPTION ''hijacked ours''; END');
		END LOOP;
		CREATE DOMAIN evil.scopes AS text;
		CREATE DOMAIN evil.text AS pg_catalog.text;
		CREATE DOMAIN evil.uuid AS pg_catalog.uuid;
		CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz;
	END $do$));
my $doubles = $node->safe_psql($database, q(SELECT (SELECT count(*) > 800 FROM pg_proc WHERE pronamespace = 'evil'::regnamespace), (SELECT count(*) > 300 FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace)));
is($doubles, 't|t', 'the trap has been set');

my $path = 'SET search_path = evil, pg_catalog, public;';
my ($rc, $out, $err) = $node->psql($database, "$path SELECT now(); SELECT 1 + 1;");
like($err, qr/hijacked/, 'the trap works');
my $trapped = () = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /LOG:  hijacked/g;

# call(SQL): under the hostile path, with doubles in pg_temp too
my $session = session($node, $database);
$session->query('CREATE TEMP TABLE key (key_id uuid); CREATE TEMP TABLE kind (kind text); CREATE TEMP TABLE installation (local_id uuid); CREATE TEMP TABLE pg_roles (rolname name)');
$session->query($path);

sub call
{
	my ($name, $sql, $expected) = @_;
	my $result = $session->query($sql);
	is($result . $session->errors, $expected, $name);
	return;
}
call('CREATE EXTENSION works under a hostile path', 'CREATE EXTENSION apikey', '');
my ($text, $id) = split /\|/, $session->query("SELECT key, key_id FROM apikey.issue('acme', 'key', actor => 'ada', expires_in => '1 day')");
is($session->errors, '', 'issue');
call('verify', "SELECT code FROM apikey.verify('$text', 'calls:read & (a | b)', '192.0.2.1', kinds => '{secret}', account => 'acme')", 'valid');
call('explain', "SELECT passed FROM apikey.explain('$text') LIMIT 1", 't');
call('alter_key', "SELECT apikey.alter_key('$id', 'other', '{a:b}', '{192.0.2.0/24}', metadata => '{\"a\":1}', expires_at => 'infinity', actor => 'ada', db_role => 'plain', account => 'acme')", 't');
call('disable', "SELECT apikey.disable('$id', 'ada', 'acme')", 't');
call('enable', "SELECT apikey.enable('$id', 'ada', 'acme')", 't');
my ($new, $new_id) = split /\|/, $session->query("SELECT key, key_id FROM apikey.rotate('$id', '1 day', 'ada', account => 'acme')");
is($session->errors, '', 'rotate');
call('find_keys', "SELECT status FROM apikey.find_keys('see $new')", 'active');
call('revoke_leaked', "SELECT revoked FROM apikey.revoke_leaked('see $new', 'found', 'ada')", 't');
call('revoke', "SELECT apikey.revoke('$id', 'lost', 'ada', 'acme')", 't');
call('revoke_account', "SELECT apikey.revoke_account('acme', 'gone', 'ada')", '0');
call('scan_pattern', "SELECT apikey.scan_pattern('secret')", 'ak_[0-9A-Za-z]{49}');
call('list_keys', "SELECT status FROM apikey.list_keys('acme', 'ada')", "revoked\nrevoked");
call('purge', "SELECT apikey.purge('1 day', 'acme', 'ada')", '0');
call('add_pepper', 'SELECT apikey.add_pepper()', '2');
call('set_current_pepper', 'SELECT apikey.set_current_pepper(2)', '');
call('set_current_pepper back', 'SELECT apikey.set_current_pepper(1)', '');
call('retire_pepper', 'SELECT apikey.retire_pepper(2)', '');
call('grant_access', "SELECT apikey.grant_access('plain', 'admin')", '');
call('revoke_access', "SELECT apikey.revoke_access('plain', 'admin')", '');
call('views', 'SELECT status FROM apikey.keys LIMIT 1', 'revoked');
call('view keys_to_rotate', 'SELECT key_id FROM apikey.keys_to_rotate', '');
call('view pepper_status', 'SELECT keys FROM apikey.pepper_status', '2');
call('policy rows: insert', "INSERT INTO apikey.kind (kind, prefix) VALUES ('evil', 'evil_'); INSERT INTO apikey.account_policy (account, max_keys) VALUES ('x', 3); INSERT INTO apikey.scope (scope) VALUES ('a:b'); INSERT INTO apikey.member (account, subject, role) VALUES ('x', 'y', 'z'); INSERT INTO apikey.capability (role, action) VALUES ('z', 'view')", '');
call('policy rows: update', 'UPDATE apikey.kind SET enabled = true, mask_head = 4; UPDATE apikey.account_policy SET name_max = 50; UPDATE apikey.scope SET enabled = false', '');
call('policy rows: truncate', 'TRUNCATE apikey.scope', '');
call('the types', "SELECT 'b a:*'::apikey.scopes, 'a & b'::apikey.scope_query, apikey.covers('a:*', 'a:b')", 'a:* b|a & b|t');
call('DROP EXTENSION', 'DROP EXTENSION apikey', '');
is($trapped, scalar(() = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /LOG:  hijacked/g), 'nothing was hijacked in all that');
$session->quit;

# A temporary schema first in line is what a plain role can do.
is( $node->safe_psql(
		$database, q(
		CREATE EXTENSION apikey;
		SET search_path = pg_temp, evil, pg_catalog;
		CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
		SELECT v.code FROM apikey.issue('acme', 'temp') i, apikey.verify(i.key) v;)),
	'valid', 'nor through pg_temp');

# Each function of ours that runs with its owner's rights pins its path.
is( $node->safe_psql(
		$database, q(
		SELECT p.oid::regprocedure FROM pg_proc p
		WHERE p.pronamespace = 'apikey'::regnamespace AND p.prosecdef
			AND NOT coalesce(p.proconfig::text LIKE '%search\_path=pg\_catalog, pg\_temp%', false))),
	'', 'functions with the rights of their owner pin their path');

# Dropped and created again, with warm sessions around
$database = database();
$node->safe_psql($database, 'CREATE EXTENSION apikey CASCADE');
my $warm = session($node, $database);
my $dba = session($node, $database);
my $old = $warm->query("SELECT key FROM apikey.issue('acme', 'old')");
for my $round (1 .. 3)
{
	is($warm->code($old), $round == 1 ? 'valid' : 'key_invalid', "round $round: a key of the previous installation");
	is($dba->code($old), $round == 1 ? 'valid' : 'key_invalid', '... in the other session');
	$dba->query('DROP EXTENSION apikey');
	is($dba->errors, '', 'dropped');
	is($warm->code($old) . $warm->errors, "ERROR:  3F000\n", 'then there is no verify');
	$dba->query('CREATE EXTENSION apikey');
	is($dba->errors, '', 'created again');
	for my $session ($dba, $warm)
	{
		my $other = $session == $dba ? $warm : $dba;
		my ($text, $id) = split /\|/, $session->query("SELECT key, key_id FROM apikey.issue('acme', 'new')");
		is($session->code($text), 'valid', 'a new key verifies where it was issued');
		is($other->code($text), 'valid', '... and in the other session');
		is($session->query("SELECT apikey.revoke('$id')"), 't', '... can be revoked');
		is($other->code($text), 'key_revoked', '... which the other session obeys');
		$session->query("INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('off $round', false) ON CONFLICT DO NOTHING");
		($text) = $session->query("SELECT key FROM apikey.issue('acme', 'live')");
		$other->query("UPDATE apikey.account_policy SET api_enabled = false WHERE account = '*'");
		is($session->code($text), 'api_disabled', 'policy is obeyed');
		$other->query("UPDATE apikey.account_policy SET api_enabled = true WHERE account = '*'");
		is($session->code($text), 'valid', '... and back');
	}
}

# The same in one transaction, rolled back: as if nothing had happened
my $kept = $dba->query("SELECT key FROM apikey.issue('acme', 'kept')");
is($dba->code($kept), 'valid', 'a key before');
$dba->query('BEGIN; DROP EXTENSION apikey; CREATE EXTENSION apikey;');
is($dba->code($kept), 'key_invalid', 'dropped and created in a transaction: the key is gone');
my $lost = $dba->query("SELECT key FROM apikey.issue('acme', 'lost')");
is($dba->code($lost), 'valid', '... a new one verifies');
$dba->query('ROLLBACK');
is($dba->code($kept) . ' ' . $dba->code($lost), 'valid key_invalid', 'rolled back: the other way round');
is($warm->code($kept) . ' ' . $warm->code($lost), 'valid key_invalid', '... in the other session too');
$_->quit for $dba, $warm;

# Nothing stays after DROP EXTENSION
$node->safe_psql($database, 'DROP EXTENSION apikey');
is(leftovers($database), $nothing, 'DROP EXTENSION leaves nothing');
is($node->safe_psql($database, q(SELECT count(*) FROM pg_namespace WHERE nspname = 'apikey')), '0', '... no schema either');

$node->stop;
done_testing();
