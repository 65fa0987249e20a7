# pg_dump and restore: the same rows, peppers and audit log afterwards, keys
# verify, and rows that CREATE EXTENSION ships neither clash with rows of the
# dump nor come back where they had been removed.  Threats T81, T83.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = new_node('source', "max_connections = 20\napikey.flush_interval = '1h'");
# Restores go anywhere, so the library is not preloaded there.
my $other = bare_node('other');
$other->start;

my $dumps = PostgreSQL::Test::Utils::tempdir;
my $count = 0;

sub run_tool
{
	my ($node, @command) = @_;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my ($out, $err);
	my $ok = IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	note("@command: $err") unless $ok && $err eq '';
	return $ok && $err eq '';
}

# dump(NODE, DATABASE, ARGUMENT...): the file
sub dump_to
{
	my ($node, $database, @arguments) = @_;
	my $file = "$dumps/" . ++$count;
	run_tool($node, 'pg_dump', @arguments, '-f', $file, $database) or die "pg_dump failed";
	return $file;
}

# A new database; with the extension in it, if wanted
sub fresh
{
	my ($node, $extension) = @_;
	my $database = 'restored_' . ++$count;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	$node->safe_psql($database, 'CREATE EXTENSION apikey CASCADE') if $extension;
	return $database;
}

sub load_plain
{
	my ($node, $file, $database, @arguments) = @_;
	return run_tool($node, 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', @arguments, '-f', $file, $database);
}

sub load_custom
{
	my ($node, $file, $database, @arguments) = @_;
	return run_tool($node, 'pg_restore', '--exit-on-error', @arguments, '-d', $database, $file);
}

# What must be the same in a restored database as in its origin
my (@keys, %expected);

sub same
{
	my ($name, $to, $database, $from, $origin) = @_;
	is(contents($to, $database), contents($from, $origin), "$name: same rows");
	is(verdicts($to, $database, @keys), $expected{$origin}, "$name: keys verify as before") if $to == $node;
	return;
}

# A database with every kind of change of what is shipped
$node->safe_psql(
	'postgres', q(
	UPDATE apikey.kind SET prefix = 'tif_live_', default_scopes = 'calls:* contacts:*', default_lifetime = '1 year' WHERE kind = 'secret';
	DELETE FROM apikey.kind WHERE kind = 'widget';
	INSERT INTO apikey.kind (kind, prefix, origin_locked, mask_gap) VALUES ('site', 'tk_site_', true, '••••');
	INSERT INTO apikey.kind (kind, prefix, checksum) VALUES ('bare', '', false);
	UPDATE apikey.account_policy SET max_keys = -1, rotate_after = '30 days' WHERE account = '*';
	INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('closed', true), ('näme "quoted"', NULL);
	INSERT INTO apikey.scope (scope, description, enabled) VALUES ('calls:read', 'Read calls', true), ('calls:write', E'tab\tand\nline', true), ('contacts:*', NULL, false);
	INSERT INTO apikey.capability (role, action) VALUES ('owner', 'create'), ('owner', 'view'), ('a "role"', 'view');
	INSERT INTO apikey.member (account, subject, role) VALUES ('acme', 'ada', 'owner'), ('*', 'staff@example.com', 'a "role"'), ('näme "quoted"', E'back\\\\slash', 'owner');
	));
push @keys, map { $_->[0] } issue_keys($node, 'postgres', 8, q('acme', 'key ' || n, actor => 'ada'));
$node->safe_psql(
	'postgres', q(
	INSERT INTO apikey.rate_limit (name, kind, account, key_id, max, per, shared, weighted)
		SELECT 'hourly', kind, account, CASE WHEN of_key THEN (SELECT key_id FROM apikey.keys WHERE name = 'key 6') END, max, per, shared, weighted
		FROM (VALUES (NULL, '*', false, 100000, interval '1 hour', false, false), ('site', NULL, false, NULL, NULL, false, false),
			(NULL, 'acme', false, 90000, '1 hour', true, true), (NULL, NULL, true, 80000, '90 minutes 30.5 s', false, false)) v (kind, account, of_key, max, per, shared, weighted);
	SELECT apikey.set_credits(key_id, 1000, refill_amount => 10, refill_every => '1 day') FROM apikey.keys WHERE name = 'key 7';
	SELECT apikey.set_account_credits('acme', 5000)));
push @keys, map { $_->[0] } issue_keys($node, 'postgres', 2,
	q('acme', 'bare ' || n, '{calls:read}', 'bare', '{192.0.2.0/24,2001:db8::/32}', metadata => '{"a": [1, "\\\\ \"x"]}'));
push @keys, map { $_->[0] } issue_keys($node, 'postgres', 1, q('closed', 'key', '{calls:read}'));
push @keys, map { $_->[0] } issue_keys($node, 'postgres', 1,
	q('acme', 'key', '{calls:read}', 'site', allowed_origins => '{https://example.com:8443}'));
$node->safe_psql(
	'postgres', q(
	SELECT apikey.set_current_pepper(apikey.add_pepper());
	SELECT apikey.revoke(key_id, E'lost,\nsaid "ada"') FROM apikey.keys WHERE name = 'key 1';
	SELECT apikey.disable(key_id) FROM apikey.keys WHERE name = 'key 2';
	SELECT apikey.alter_key(key_id, name => 'renamed') FROM apikey.keys WHERE name = 'key 3';
	SELECT apikey.rotate(key_id, '7 days') IS NULL FROM apikey.keys WHERE name = 'key 4';
	UPDATE apikey.key SET expires_at = now() - interval '1 s' WHERE name = 'key 5';
	UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'closed'));
push @keys, map { $_->[0] } issue_keys($node, 'postgres', 2, q('acme', 'under the second pepper'));
# Sessions: one open, one closed, one of a revoked key; under two signing keys
my $opened = "SELECT o.token FROM unnest(ARRAY['$keys[6]', '$keys[6]', '$keys[7]']) k, apikey.open_session(k) o";
push @keys, split /\n/, $node->safe_psql('postgres', $opened);
$node->safe_psql(
	'postgres', q(
	SELECT apikey.close_session((SELECT session_id FROM apikey.sessions ORDER BY session_id OFFSET 1 LIMIT 1));
	SELECT apikey.rotate_signing_key();
	SELECT apikey.revoke(key_id) FROM apikey.keys WHERE name = 'key 8'));
push @keys, split /\n/, $node->safe_psql('postgres', "SELECT token FROM apikey.open_session('$keys[6]')");
$expected{postgres} = verdicts($node, 'postgres', @keys);
is( $expected{postgres},
	'key_revoked key_disabled valid valid key_expired valid valid key_revoked ip_not_allowed ip_not_allowed'
	  . ' api_disabled origin_not_allowed valid valid'
	  . ' valid key_revoked key_revoked valid',
	'the source has live and dead keys');
my $plain = dump_to($node, 'postgres');
my $custom = dump_to($node, 'postgres', '-Fc');

my $database = fresh($node);
ok(load_plain($node, $plain, $database), 'plain: psql restores it');
same('plain', $node, $database, $node, 'postgres');

$database = fresh($node);
ok(load_plain($node, $plain, $database, '-1'), 'plain in one transaction: psql restores it');
same('plain in one transaction', $node, $database, $node, 'postgres');

$database = fresh($node);
ok(load_plain($node, dump_to($node, 'postgres', '--inserts'), $database), 'inserts: psql restores it');
same('inserts', $node, $database, $node, 'postgres');

$database = fresh($node);
ok(load_plain($node, dump_to($node, 'postgres', '--column-inserts', '--rows-per-insert=3'), $database), 'column inserts: psql restores it');
same('column inserts', $node, $database, $node, 'postgres');

$database = fresh($node);
ok(load_custom($node, $custom, $database, '-j2'), 'two jobs: pg_restore restores it');
same('two jobs', $node, $database, $node, 'postgres');

$database = fresh($node);
for my $section (qw(pre-data data post-data))
{
	ok(load_custom($node, $custom, $database, "--section=$section"), "sections: pg_restore restores $section");
}
same('sections', $node, $database, $node, 'postgres');

$database = fresh($node, 1);
ok(load_plain($node, dump_to($node, 'postgres', '--data-only'), $database), 'data only, plain: into a fresh extension');
same('data only, plain', $node, $database, $node, 'postgres');

$database = fresh($node, 1);
ok(load_custom($node, $custom, $database, '--data-only', '-j2'), 'data only, two jobs: into a fresh extension');
same('data only, two jobs', $node, $database, $node, 'postgres');

# Elsewhere, and from there once more, with changes in between
$other->safe_psql('postgres', 'CREATE DATABASE moved TEMPLATE template0');
ok(load_custom($other, $custom, 'moved', '-1'), 'new cluster: pg_restore restores it');
same('new cluster', $other, 'moved', $node, 'postgres');

my $second = dump_to($other, 'moved', '-Fc');
$database = fresh($node);
ok(load_custom($node, $second, $database), 'second generation: pg_restore restores it');
same('second generation', $node, $database, $node, 'postgres');

$other->safe_psql(
	'moved', q(
	DELETE FROM apikey.scope WHERE scope = 'contacts:*';
	INSERT INTO apikey.scope (scope) VALUES ('contacts:read');
	UPDATE apikey.account_policy SET max_keys = 70 WHERE account = '*';
	INSERT INTO apikey.kind (kind, prefix) VALUES ('widget', 'again_')));
is( $other->safe_psql('moved', q(SELECT string_agg(action || ' ' || object, ', ' ORDER BY audit_id) FROM apikey.audit_log WHERE occurred_at > (SELECT max(occurred_at) FROM apikey.audit_log WHERE key_id IS NOT NULL))),
	'delete scope contacts:*, insert scope contacts:read, update account_policy *, insert kind widget',
	'a restored database audits changes of policy like any other');
$database = fresh($node);
ok(load_custom($node, dump_to($other, 'moved', '-Fc'), $database), 'changed in between: pg_restore restores it');
is(contents($node, $database), contents($other, 'moved'), 'changed in between: same rows');
is(verdicts($node, $database, @keys), $expected{postgres}, 'changed in between: keys verify as before');

preload($other);
$other->restart;
is(verdicts($other, 'moved', @keys), $expected{postgres}, 'new cluster: keys verify once the library is preloaded');
my ($fresh_key) = issue_keys($other, 'moved', 1, q('acme', 'issued after the restore'));
is(verdicts($other, 'moved', $fresh_key->[0]), 'valid', 'new cluster: it goes on issuing keys');
is( $other->safe_psql('moved', 'SELECT pepper_id, is_current FROM apikey.pepper_status ORDER BY 1'),
	"1|f\n2|t", 'new cluster: under the current pepper of the dump');

# Databases in which other parts of what is shipped were left alone or removed
my %cases = (
	'nothing touched' => '',
	'nothing touched, with keys' => q(SELECT count(apikey.issue('acme', 'key', kind => 'secret')) FROM generate_series(1, 3)),
	'one kind edited' => q(UPDATE apikey.kind SET mask_head = 4 WHERE kind = 'widget'),
	'default policy edited' => q(UPDATE apikey.account_policy SET max_keys = 3 WHERE account = '*'),
	'a policy row added' => q(INSERT INTO apikey.account_policy (account) VALUES ('acme')),
	'members added' => q(INSERT INTO apikey.member (account, subject, role) VALUES ('acme', 'ada', 'owner'); INSERT INTO apikey.capability (role, action) VALUES ('owner', 'view')),
	'limits added' => q(INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('hourly', '*', 1000, '1 hour'); INSERT INTO apikey.rate_limit (name, kind, max, per) VALUES ('hourly', 'widget', 10, '1 s')),
	'scopes added' => q(INSERT INTO apikey.scope (scope) VALUES ('a:b'), ('a:c')),
	'one kind removed' => q(DELETE FROM apikey.kind WHERE kind = 'widget'),
	'all kinds removed' => q(DELETE FROM apikey.kind),
	'all kinds removed, default policy edited' => q(DELETE FROM apikey.kind; UPDATE apikey.account_policy SET max_keys = 3 WHERE account = '*'),
	'kinds have changed places' => q(
		UPDATE apikey.kind SET kind = 'x' WHERE kind = 'secret';
		UPDATE apikey.kind SET kind = 'secret' WHERE kind = 'widget';
		UPDATE apikey.kind SET kind = 'widget' WHERE kind = 'x'),
	'edited there and back' => q(
		UPDATE apikey.kind SET enabled = false; UPDATE apikey.kind SET enabled = true));
for my $case (sort keys %cases)
{
	my $origin = fresh($node, 1);
	$node->safe_psql($origin, $cases{$case}) if $cases{$case};
	my $file = dump_to($node, $origin, '-Fc');
	my $all = fresh($node);
	ok(load_custom($node, $file, $all), "$case: pg_restore restores it");
	is(contents($node, $all), contents($node, $origin), "$case: same rows");
	my $data = fresh($node, 1);
	ok(load_custom($node, $file, $data, '--data-only', '-j2'), "$case: pg_restore restores the data into a fresh extension");
	is(contents($node, $data), contents($node, $origin), "$case: same rows in a fresh extension");
}

$node->stop;
$other->stop;
done_testing();
