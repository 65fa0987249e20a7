# On a hot standby verify works, management says why it does not, and what was
# revoked or changed on the primary is obeyed once replayed: by a session that
# verified before, in a transaction that began before.  Threats T63, T78;
# fault F11.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $primary = new_node('primary', "max_prepared_transactions = 5\nautovacuum = off", allows_streaming => 1);
$primary->safe_psql('postgres', "UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*'; INSERT INTO apikey.account_policy (account) VALUES ('other')");
my @keys = issue_keys($primary, 'postgres', 60, q('acme', 'key ' || n));
my ($other) = issue_keys($primary, 'postgres', 1, q('other', 'key'));

my %opened = map { split /\|/ } split /\n/,
  $primary->safe_psql('postgres', join '', map { "SELECT session_id, token FROM apikey.open_session('$_->[0]');" } @keys[ 5, 5, 6 ]);
my ($closed, $kept, $ended) = sort keys %opened;

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# Nothing of the test depends on when a conflict cancels a query.
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\nhot_standby_feedback = on");
$standby->start;
$primary->wait_for_catchup($standby);

my $warm = session($standby);
my $in_block = session($standby);
is($warm->code($keys[0][0]), 'valid', 'verify works on a standby');
is($warm->code($other->[0]), 'valid', '... for another account too');
is($warm->code('ak_malformed') . ' ' . $warm->code(substr($keys[0][0], 0, -1) . '!'), 'key_invalid key_invalid', '... and refuses');
is($warm->query("SELECT passed FROM apikey.explain('$keys[0][0]') WHERE step = 'verdict'"), 't', 'explain works');
is($warm->query('SELECT count(*) FROM apikey.keys'), '61', 'views work');
is($warm->query("SELECT count(*) FROM apikey.list_keys('acme')") . $warm->errors, '60', 'list_keys works');
is($warm->query("SELECT count(*) FROM apikey.find_keys('$keys[0][0]')") . $warm->errors, '1', 'find_keys works');
is($warm->query("SELECT apikey.scan_pattern('secret')") . $warm->errors, 'ak_[0-9A-Za-z]{49}', 'scan_pattern works');

# Management
my $id = $keys[0][1];
for my $call (
	"issue('acme', 'x')", "rotate('$id')", "alter_key('$id', name => 'x')", "disable('$id')", "enable('$id')",
	"revoke('$id')", "revoke_account('acme')", "revoke_leaked('$keys[0][0]')", "purge('1 day')", 'add_pepper()',
	'set_current_pepper(1)', 'retire_pepper(1)', "open_session('$keys[0][0]')", "close_session('$kept')", 'rotate_signing_key()', "grant_access('postgres', 'admin')", "revoke_access('postgres', 'admin')")
{
	my $error = sql_error($standby, 'postgres', "SELECT * FROM apikey.$call");
	like($error, qr/^25006: /, "$call raises 25006");
	like($error, qr/^HINT: /m, '... with a hint');
}
is($warm->code($keys[0][0]), 'valid', 'the key is as it was');

# What happens on the primary
$in_block->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($in_block->code($_->[0]), 'valid', 'a transaction that has verified before') for $keys[1], $other;

sub on_primary
{
	my ($sql) = @_;
	$primary->safe_psql('postgres', $sql);
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}
on_primary("SELECT apikey.revoke('$keys[1][1]')");
is($warm->code($keys[1][0]) . ' ' . $in_block->code($keys[1][0]), 'key_revoked key_revoked', 'revoked: obeyed once replayed');
on_primary("SELECT apikey.disable('$keys[2][1]')");
is($warm->code($keys[2][0]) . ' ' . $in_block->code($keys[2][0]), 'key_disabled key_disabled', 'disabled');
on_primary("SELECT apikey.enable('$keys[2][1]')");
is($warm->code($keys[2][0]) . ' ' . $in_block->code($keys[2][0]), 'valid valid', 'enabled');
on_primary("UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'other'");
is($warm->code($other->[0]) . ' ' . $in_block->code($other->[0]), 'api_disabled api_disabled', 'access switched off');
on_primary("UPDATE apikey.account_policy SET api_enabled = NULL WHERE account = 'other'");
is($warm->code($other->[0]) . ' ' . $in_block->code($other->[0]), 'valid valid', '... and on');
on_primary("INSERT INTO apikey.scope (scope, enabled) VALUES ('a:b', false)");
is($warm->code($keys[3][0], "'a:b'") . ' ' . $in_block->code($keys[3][0], "'a:b'"), 'scope_disabled scope_disabled', 'a scope switched off');
on_primary('TRUNCATE apikey.scope');
is($warm->code($keys[3][0], "'a:b'") . ' ' . $in_block->code($keys[3][0], "'a:b'"), 'valid valid', '... and on by TRUNCATE');
on_primary("UPDATE apikey.kind SET enabled = false WHERE kind = 'secret'");
is($warm->code($keys[3][0]) . ' ' . $in_block->code($keys[3][0]), 'key_disabled key_disabled', 'a kind switched off');
on_primary("UPDATE apikey.kind SET enabled = true WHERE kind = 'secret'");
is($warm->code($keys[3][0]) . ' ' . $in_block->code($keys[3][0]), 'valid valid', '... and on');

on_primary("BEGIN; SELECT apikey.revoke('$keys[4][1]'); UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'other'; PREPARE TRANSACTION 'x'");
is($warm->code($keys[4][0]) . ' ' . $in_block->code($other->[0]), 'valid valid', 'prepared: not yet');
on_primary("COMMIT PREPARED 'x'");
is($warm->code($keys[4][0]) . ' ' . $in_block->code($keys[4][0]), 'key_revoked key_revoked', 'COMMIT PREPARED: obeyed once replayed');
is($warm->code($other->[0]) . ' ' . $in_block->code($other->[0]), 'api_disabled api_disabled', '... policy too');

# Sessions
sub codes { return join ' ', map { ($warm->code($opened{$_}), $in_block->code($opened{$_})) } @_; }
is(codes($closed, $kept, $ended), 'valid valid valid valid valid valid', 'session tokens verify on a standby');
is($warm->query('SELECT count(*) FROM apikey.sessions') . $warm->errors, '3', '... and the view lists them');
on_primary("SELECT apikey.close_session('$closed')");
on_primary("SELECT apikey.revoke('$keys[6][1]')");
is(codes($closed, $kept, $ended), 'key_revoked key_revoked valid valid key_revoked key_revoked', 'closed, and revoked: obeyed once replayed');
on_primary('SELECT apikey.rotate_signing_key()');
is(codes($kept), 'valid valid', 'a token of a retired signing key verifies');
my ($new_token) = split /\n/, $primary->safe_psql('postgres', "SELECT token FROM apikey.open_session('$keys[5][0]')");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($warm->code($new_token) . ' ' . $in_block->code($new_token), 'valid valid', 'one of the new signing key does, too');
on_primary('DELETE FROM apikey.signing_key WHERE retired_at IS NOT NULL');
is(codes($kept), 'key_invalid key_invalid', 'a signing key removed: its tokens are refused');

# A new pepper, and a key under it
on_primary('SELECT apikey.set_current_pepper(apikey.add_pepper())');
my ($new) = issue_keys($primary, 'postgres', 1, q('acme', 'under the second pepper'));
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($warm->code($new->[0]) . ' ' . $in_block->code($new->[0]), 'valid valid', 'a key under a new pepper verifies');

cmp_ok($warm->query('SELECT cache_hits FROM apikey.stats'), '>', 10, 'keys that were verified before are found in memory');

# One after the other: none accepted after its revocation was replayed
my $accepted = 0;
my $revoker = session($primary);
for my $key (@keys[ 10 .. 59 ])
{
	$accepted-- if $warm->code($key->[0]) ne 'valid';
	$revoker->query("SELECT apikey.revoke('$key->[1]')");
	my $lsn = $revoker->query('SELECT pg_current_wal_insert_lsn()');
	for (1 .. 6000)
	{
		last if $warm->query("SELECT pg_last_wal_replay_lsn() >= '$lsn'") eq 't';
		select undef, undef, undef, 0.005;
	}
	$accepted++ if $warm->code($key->[0]) ne 'key_revoked';
}
is($accepted, 0, '50 revocations, each obeyed once replayed');

# Promoted: a primary like any other
$_->quit for $in_block, $revoker;
$primary->stop;
$standby->promote;
is($warm->code($keys[0][0]), 'valid', 'promoted: a session from before verifies');
is($warm->query("SELECT apikey.revoke('$keys[0][1]')") . $warm->errors, 't', '... and revokes');
is($warm->code($keys[0][0]), 'key_revoked', '... and obeys');

$warm->quit;
$standby->stop;
done_testing();
