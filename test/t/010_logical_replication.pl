# Keys, peppers and policy replicated to another server: what arrives there
# replaces the rows shipped with the extension, is obeyed by sessions that
# verified before although triggers do not fire for a subscription, and makes
# no audit rows of its own.  Threats T61, T80.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $publisher = new_node('publisher', "apikey.flush_interval = '1h'", allows_streaming => 'logical');
my $subscriber = new_node('subscriber', "apikey.flush_interval = '1h'", allows_streaming => 'logical');

$publisher->safe_psql(
	'postgres', q(
	UPDATE apikey.kind SET prefix = 'tif_live_' WHERE kind = 'secret';
	DELETE FROM apikey.kind WHERE kind = 'widget';
	UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*';
	INSERT INTO apikey.account_policy (account) VALUES ('other');
	INSERT INTO apikey.account_policy (account, enforce_members) VALUES ('club', true);
	INSERT INTO apikey.capability (role, action) VALUES ('owner', 'view');
	INSERT INTO apikey.member (account, subject, role) VALUES ('club', 'ada', 'owner');
	CREATE PUBLICATION keys FOR TABLE apikey.kind, apikey.account_policy, apikey.scope, apikey.member, apikey.capability, apikey.rate_limit, apikey.pepper, apikey.key));
my @keys = issue_keys($publisher, 'postgres', 40, q('acme', 'key ' || n));
my ($other) = issue_keys($publisher, 'postgres', 1, q('other', 'key'));

my $warm = session($subscriber);
is($warm->code($keys[0][0]), 'key_invalid', 'before: unknown to the subscriber');
my $audit = $subscriber->safe_psql('postgres', 'SELECT count(*) FROM apikey.audit_log');
my $connection = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION keys CONNECTION '$connection' PUBLICATION keys");
$subscriber->poll_query_until('postgres', q(SELECT count(*) = 8 AND bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel))
  or die 'no initial copy: ' . PostgreSQL::Test::Utils::slurp_file($subscriber->logfile);
pass('the tables have been copied: shipped rows did not clash');

# caught_up(): all that the publisher has committed is there
sub caught_up
{
	$publisher->wait_for_catchup('keys', 'replay', $publisher->lsn('insert'));
	return;
}

# rows(NODE): without audit_log
sub rows
{
	my ($node) = @_;
	return contents($node, 'postgres') =~ s/^--- audit_log.*//msr;
}
caught_up();
is(rows($subscriber), rows($publisher), 'the same rows');
is($warm->code($keys[0][0]), 'valid', 'a warm session knows the keys');
is($warm->code($other->[0]), 'valid', '... of every account');

my $block = session($subscriber);
$block->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($block->code($_->[0]), 'valid', 'a transaction that has verified before') for $keys[1], $other;

sub on_publisher
{
	my ($sql) = @_;
	$publisher->safe_psql('postgres', $sql);
	caught_up();
	return;
}
on_publisher("SELECT apikey.revoke('$keys[1][1]')");
is($warm->code($keys[1][0]) . ' ' . $block->code($keys[1][0]), 'key_revoked key_revoked', 'revoked: obeyed');
on_publisher("UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'other'");
is($warm->code($other->[0]) . ' ' . $block->code($other->[0]), 'api_disabled api_disabled', 'access switched off');
on_publisher("DELETE FROM apikey.account_policy WHERE account = 'other'");
is($warm->code($other->[0]) . ' ' . $block->code($other->[0]), 'valid valid', 'row removed');
on_publisher("INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('other', false)");
is($warm->code($other->[0]) . ' ' . $block->code($other->[0]), 'api_disabled api_disabled', 'row inserted');
on_publisher("UPDATE apikey.kind SET enabled = false");
is($warm->code($keys[0][0]) . ' ' . $block->code($keys[0][0]), 'key_disabled key_disabled', 'kind switched off');
on_publisher("UPDATE apikey.kind SET enabled = true");
is($warm->code($keys[0][0]) . ' ' . $block->code($keys[0][0]), 'valid valid', '... and on');
on_publisher("INSERT INTO apikey.scope (scope, enabled) VALUES ('a:b', false)");
is($warm->code($keys[0][0], "'a:b'") . ' ' . $block->code($keys[0][0], "'a:b'"), 'scope_disabled scope_disabled', 'scope switched off');
on_publisher('TRUNCATE apikey.scope');
is($warm->code($keys[0][0], "'a:b'") . ' ' . $block->code($keys[0][0], "'a:b'"), 'valid valid', '... and on by TRUNCATE');
# Membership
sub looks
{
	my ($actor) = @_;
	$warm->query("SELECT apikey.list_keys('club', '$actor')");
	return $warm->errors =~ /KA403/ ? 'refused' : 'looks';
}
is(looks('ada') . ' ' . looks('bob'), 'looks refused', 'members were copied');
on_publisher("UPDATE apikey.member SET subject = 'bob'");
is(looks('ada') . ' ' . looks('bob'), 'refused looks', '... and are replicated');
on_publisher("DELETE FROM apikey.capability");
is(looks('bob'), 'refused', '... with what their roles may do');
# Limits
on_publisher("INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('few', 'acme', 1, '1 day')");
$warm->code($keys[3][0]);
is($warm->code($keys[3][0]) . ' ' . $block->code($keys[3][0]), 'rate_limited rate_limited', 'a limit is replicated');
on_publisher("UPDATE apikey.rate_limit SET max = NULL, per = NULL");
is($warm->code($keys[3][0]) . ' ' . $block->code($keys[3][0]), 'valid valid', '... and lifted');
on_publisher('SELECT apikey.set_current_pepper(apikey.add_pepper())');
my ($new) = issue_keys($publisher, 'postgres', 1, q('acme', 'under the second pepper'));
caught_up();
is($warm->code($new->[0]) . ' ' . $block->code($new->[0]), 'valid valid', 'a key under a new pepper');
on_publisher("SELECT apikey.rotate('$keys[2][1]') IS NULL");
is($warm->code($keys[2][0]), 'key_revoked', 'rotated');

# One after the other
my $wrong = 0;
for my $key (@keys[ 10 .. 29 ])
{
	$wrong++ if $warm->code($key->[0]) ne 'valid';
	on_publisher("SELECT apikey.revoke('$key->[1]')");
	$wrong++ if $warm->code($key->[0]) ne 'key_revoked';
}
is($wrong, 0, '20 revocations, each obeyed once applied');

is(rows($subscriber), rows($publisher), 'the same rows in the end');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM apikey.audit_log'), $audit, 'no audit row was made by all that');

# Changes made on the subscriber itself are audited as ever.
$subscriber->safe_psql('postgres', "UPDATE apikey.account_policy SET api_enabled = true WHERE account = 'other'");
is($warm->code($other->[0]), 'valid', 'the subscriber may have its own policy');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM apikey.audit_log'), $audit + 1, '... which is audited there');

# A trigger that someone switched off: no cache, rather than a stale one
$subscriber->safe_psql('postgres', 'ALTER TABLE apikey.account_policy DISABLE TRIGGER ALL');
$warm->code($other->[0]);
on_publisher("UPDATE apikey.account_policy SET api_enabled = false, name_max = 7 WHERE account = 'other'");
is($warm->code($other->[0]), 'api_disabled', 'with triggers disabled: obeyed all the same');
on_publisher("UPDATE apikey.account_policy SET api_enabled = true WHERE account = 'other'");
is($warm->code($other->[0]), 'valid', '... and back');

$_->quit for $warm, $block;
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION keys');
$subscriber->stop;
$publisher->stop;
done_testing();
