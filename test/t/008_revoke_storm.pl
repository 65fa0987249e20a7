# Many sessions verify while keys are revoked: once the COMMIT of a revocation
# has returned, no verify that starts later may accept the key, in a session
# that has accepted it a moment before.  And a revocation or a new key that
# was reported to the client survives a crash.  Threat T57; faults F9, F10,
# F12, F13.  With APIKEY_LONG: 32 verifiers, 10,000 revocations and 1,000
# prepared ones; otherwise few of each.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my ($clients, $plain, $prepared) = $ENV{APIKEY_LONG} ? (32, 10_000, 1_000) : (6, 250, 100);
my $ended = $plain + $prepared;
my $all = $ended + 250;

my $node = new_node('storm', "max_prepared_transactions = 10\nmax_connections = 60\nfsync = on");
$node->safe_psql('postgres', "UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*'");
$node->safe_psql('postgres', qq(
	CREATE TABLE storm AS SELECT n, i.key, i.key_id FROM generate_series(1, $all) n, apikey.issue('acme', 'key ' || n) i;
	ALTER TABLE storm ADD PRIMARY KEY (n);
	CREATE TABLE gone (n integer PRIMARY KEY)));
my @keys = map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres', 'SELECT key, key_id FROM storm ORDER BY n');

# Verifiers at full speed, each of which also checks for itself: a key that is
# in table "gone", by its own snapshot, was revoked before and must be refused.
my $directory = PostgreSQL::Test::Utils::tempdir;
my $script = "$directory/verify.sql";
PostgreSQL::Test::Utils::append_to_file($script, qq(\\set n random(1, $all)
SELECT 1 / (CASE WHEN g.n IS NOT NULL AND v.ok THEN 0 ELSE 1 END) FROM storm s LEFT JOIN gone g USING (n), apikey.verify(s.key) v WHERE s.n = :n;
));
my ($in, $out, $err) = ('', '', '');
my $verifiers;
{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGAPPNAME} = 'verifiers';
	$verifiers = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-c', $clients, '-j', '2', '-T', '3000', '-M', 'prepared', '-f', $script, 'postgres' ],
		'<', \$in, '>', \$out, '2>', \$err);
}
$node->poll_query_until('postgres', qq(SELECT count(*) >= $clients FROM pg_stat_activity WHERE application_name = 'verifiers'))
  or die 'no verifiers';

my $revoker = session($node);
my $verifier = session($node);
my $block = session($node);
my ($wrong_before, $wrong_after, $wrong_in_block) = (0, 0, 0);
$block->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
for my $n (1 .. $plain)
{
	my ($key, $id) = @{ $keys[ $n - 1 ] };
	$wrong_before++ if $verifier->code($key) ne 'valid' || $block->code($key) ne 'valid';
	$revoker->query("SELECT apikey.revoke('$id')");
	$wrong_after++ if $verifier->code($key) ne 'key_revoked';
	$wrong_in_block++ if $block->code($key) ne 'key_revoked';
	$revoker->query("INSERT INTO gone VALUES ($n)");
}
is($wrong_before, 0, "$plain keys were accepted before");
is($wrong_after, 0, 'none was after its revocation');
is($wrong_in_block, 0, '... nor in a REPEATABLE READ transaction that began before');

# The same by prepared transactions, committed by another session
my $other = session($node);
$wrong_before = $wrong_after = $wrong_in_block = 0;
for my $n ($plain + 1 .. $ended)
{
	my ($key, $id) = @{ $keys[ $n - 1 ] };
	$revoker->query("BEGIN; SELECT apikey.revoke('$id'); PREPARE TRANSACTION 'r$n'");
	$wrong_before++ if $verifier->code($key) ne 'valid' || $block->code($key) ne 'valid';
	$other->query("COMMIT PREPARED 'r$n'");
	$wrong_after++ if $verifier->code($key) ne 'key_revoked';
	$wrong_in_block++ if $block->code($key) ne 'key_revoked';
	$revoker->query("INSERT INTO gone VALUES ($n)");
}
is("$wrong_before $wrong_after $wrong_in_block", '0 0 0', "$prepared prepared revocations: valid until COMMIT PREPARED, refused after");

# And a switch of policy, to and fro
$wrong_after = 0;
for my $n (1 .. 60)
{
	my $on = $n % 2 ? 'false' : 'true';
	$revoker->query("UPDATE apikey.account_policy SET api_enabled = $on WHERE account = '*'");
	$wrong_after++ for grep { $_->code($keys[-1][0]) ne ($n % 2 ? 'api_disabled' : 'valid') } $verifier, $block, $other;
}
is($wrong_after, 0, '60 changes of policy, each obeyed by three sessions');

cmp_ok($node->safe_psql('postgres', 'SELECT cache_hits FROM apikey.stats'), '>', 1000, 'all the while keys were found in memory');

ok($verifiers->pumpable, 'the verifiers are still at it');
# not INT, which whoever was started in the background ignores
$verifiers->signal('TERM');
eval { $verifiers->finish };
is($err =~ /division by zero/ ? $err : '', '', 'none of theirs was accepted after it had been revoked');
is($node->safe_psql('postgres', q(SELECT count(*) FROM apikey.keys WHERE status = 'revoked')), $ended, "$ended keys are revoked");
$_->quit for $verifier, $block, $other, $revoker;

# Crashes, with what was acknowledged just before.  Whoever runs without
# waiting for the disk does not mean revocations.
my %revoked = map { $keys[ $_ - 1 ][0] => 1 } 1 .. $ended;
my @new;
for my $round (1 .. 6)
{
	my $commit = $round % 2 ? 'on' : 'off';
	my $client = session($node);
	$client->query("SET synchronous_commit = $commit");
	my ($key, $id) = split /\|/, $client->query("SELECT key, key_id FROM apikey.issue('acme', 'new $round')");
	push @new, $key;
	my ($direct, $by_function, $at_once) = @keys[ $ended + 3 * $round .. $ended + 2 + 3 * $round ];
	$client->query("UPDATE apikey.key SET revoked_at = clock_timestamp() WHERE key_id = '$direct->[1]'") if $commit eq 'on';
	$client->query("SELECT apikey.revoke('$at_once->[1]')");
	my $result = $client->query("SELECT apikey.revoke('$by_function->[1]')");
	$node->stop('immediate');
	$client->quit;
	is($result, 't', "round $round: revoked with synchronous_commit $commit, then crashed");
	$node->start;
	is(verdicts($node, 'postgres', $by_function->[0], $at_once->[0]), 'key_revoked key_revoked', '... it stays revoked');
	is(verdicts($node, 'postgres', $direct->[0]), 'key_revoked', '... so does one revoked by UPDATE') if $commit eq 'on';
	is(verdicts($node, 'postgres', $key), 'valid', '... and the key that was issued verifies');
}
is(verdicts($node, 'postgres', @new), join(' ', ('valid') x 6), 'all of them in the end');

$node->stop;
done_testing();
