# NOTIFY is a hint beside the audit log: one message a change, a single one
# for very many, in step with savepoints and rollbacks, and never the reason
# why a transaction cannot be prepared or committed.  Threat T22.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = new_node('notify', 'max_prepared_transactions = 5');
$node->safe_psql('postgres', "UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*'");
my $listener = session($node);
my $sender = session($node);
$listener->query('LISTEN apikey');

# heard(): the payloads that arrived since
sub heard
{
	my $out = $listener->query('SELECT 1');
	my @payloads = $out =~ /^Asynchronous notification "apikey" with payload "(.*)" received/mg;
	return @payloads;
}

# says(NAME, SQL, PAYLOADS): what SQL makes the listener hear
sub says
{
	my ($name, $sql, @expected) = @_;
	my $out = $sender->query($sql);
	is($sender->errors, '', "$name: works");
	is(join("\n", heard()), join("\n", @expected), "$name: says so");
	return $out;
}

sub payload { return qq({"event":"$_[0]","key_id":) . (defined $_[1] ? qq("$_[1]") : 'null') . '}'; }

heard();
my $id = $sender->query("SELECT key_id FROM apikey.issue('acme', 'a')");
is(join("\n", heard()), payload('issue', $id), 'issue');
says('disable', "SELECT apikey.disable('$id')", payload('disable', $id));
says('disable again', "SELECT apikey.disable('$id')");
says('enable', "SELECT apikey.enable('$id')", payload('enable', $id));
says('alter_key', "SELECT apikey.alter_key('$id', name => 'b')", payload('alter', $id));
says('alter_key to the same', "SELECT apikey.alter_key('$id', name => 'b')");
says('direct UPDATE', "UPDATE apikey.key SET name = 'c' WHERE key_id = '$id'", payload('alter', $id));
my $next = $sender->query("SELECT key_id FROM apikey.rotate('$id', '1 day')");
is(join("\n", sort { $a cmp $b } heard()), join("\n", payload('issue', $next), payload('rotate', $id)), 'rotate: both keys');
says('revoke', "SELECT apikey.revoke('$id')", payload('revoke', $id));
says('revoke again', "SELECT apikey.revoke('$id')");
says('purge', "UPDATE apikey.key SET revoked_at = now() - interval '2 days' WHERE key_id = '$id'", payload('alter', $id));
says('purge', "SELECT apikey.purge('1 day')", payload('purge', $id));
says('policy', "UPDATE apikey.account_policy SET name_max = 99 WHERE account = '*'", payload('policy'));
says('verify', "SELECT code FROM apikey.verify('x')");

# In step with the transaction
says('rolled back', "BEGIN; SELECT apikey.disable('$next'); ROLLBACK");
says('a savepoint rolled back', "BEGIN; SAVEPOINT a; SELECT apikey.disable('$next'); ROLLBACK TO a; SELECT apikey.alter_key('$next', name => 'd'); COMMIT",
	payload('alter', $next));
says('a savepoint released', "BEGIN; SAVEPOINT a; SELECT apikey.disable('$next'); SAVEPOINT b; SELECT apikey.enable('$next'); RELEASE b; SELECT apikey.alter_key('$next', name => 'e'); RELEASE a; COMMIT",
	map { payload($_, $next) } qw(disable enable alter));
says('released, then rolled back', "BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT apikey.disable('$next'); RELEASE b; ROLLBACK TO a; COMMIT");
says('inner rolled back', "BEGIN; SAVEPOINT a; SELECT apikey.disable('$next'); SAVEPOINT b; SELECT apikey.enable('$next'); ROLLBACK TO b; RELEASE a; COMMIT",
	payload('disable', $next));
says('a block with an exception', "DO \$\$ BEGIN PERFORM apikey.enable('$next'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END \$\$");
$sender->query("BEGIN; SELECT apikey.enable('$next')");
is(join("\n", heard()), '', 'nothing before commit');
$sender->query('COMMIT');
is(join("\n", heard()), payload('enable', $next), '... then it comes');

# Many at once
my $many = sub { return "SELECT count(*) FROM (SELECT apikey.issue('acme', 'n' || n) FROM generate_series(1, $_[0]) n OFFSET 0) i"; };
$sender->query($many->(100));
my @payloads = heard();
is(scalar @payloads, 100, '100 changes: a message each');
is(scalar(grep { /^\{"event":"issue","key_id":"[0-9a-f-]{36}"\}$/ } @payloads), 100, '... in the agreed form');
my %seen = map { $_ => 1 } @payloads;
is(scalar keys %seen, 100, '... each of its own key');
says('101 changes', $many->(101), '{"event":"bulk","count":101}');
says('101 in savepoints', 'BEGIN; ' . join(' ', map { "SAVEPOINT s$_; SELECT count(apikey.issue('acme', 'm$_')); RELEASE s$_;" } 1 .. 101) . ' COMMIT',
	'{"event":"bulk","count":101}');
says('101 changes of which 2 are rolled back', 'BEGIN; ' . $many->(60) . '; SAVEPOINT a; ' . $many->(2) . '; ROLLBACK TO a; SAVEPOINT b; ' . $many->(41) . '; COMMIT',
	'{"event":"bulk","count":101}');
$sender->query('BEGIN; ' . $many->(60) . '; SAVEPOINT a; ' . $many->(2) . '; ROLLBACK TO a; SAVEPOINT b; ' . $many->(40) . '; COMMIT');
is(scalar(heard()), 100, '100 of 102: a message each');
says('a whole account', "SELECT apikey.revoke_account('acme') > 500", '{"event":"bulk","count":' . $sender->query("SELECT count(*) FROM apikey.keys WHERE status = 'active'") . '}');

# Two-phase commit: a transaction with notifications cannot be prepared, ours can
$id = $sender->query("SELECT key_id FROM apikey.issue('acme', 'x')");
heard();
says('prepared', "BEGIN; SELECT apikey.revoke('$id'); UPDATE apikey.account_policy SET name_max = 98 WHERE account = '*'; PREPARE TRANSACTION 'x'");
says('commit prepared', "COMMIT PREPARED 'x'");
is($sender->query("SELECT status FROM apikey.keys WHERE key_id = '$id'"), 'revoked', '... has happened');
$id = $sender->query("SELECT key_id FROM apikey.issue('acme', 'y')");
heard();
says('prepared with a savepoint', "BEGIN; SAVEPOINT a; SELECT apikey.disable('$id'); RELEASE a; PREPARE TRANSACTION 'y'");
says('rolled back', "ROLLBACK PREPARED 'y'");
says('the next transaction of the session', "SELECT apikey.disable('$id')", payload('disable', $id));

# Switched off
says('off', "SET apikey.notify = off; SELECT apikey.enable('$id'); RESET apikey.notify");
says('off for a part', "BEGIN; SET LOCAL apikey.notify = off; SELECT apikey.disable('$id'); SET LOCAL apikey.notify = on; SELECT apikey.enable('$id'); COMMIT",
	payload('enable', $id));

# An application's own messages are left alone, and none has a key in it.
says('beside others', "BEGIN; NOTIFY apikey, 'mine'; SELECT apikey.disable('$id'); COMMIT", 'mine', payload('disable', $id));
my $key = $sender->query("SELECT key FROM apikey.issue('acme', 'z')");
unlike(join("\n", heard()), qr/\Q$key\E/, 'no key in a payload');
is($sender->query("SELECT apikey.alter_key(key_id, name => '$key', actor => '$key') FROM apikey.keys WHERE name = 'z'"), 't', 'a key as a name');
unlike(join("\n", heard()), qr/\Q$key\E/, 'no key in a payload');

$_->quit for $listener, $sender;
$node->stop;
done_testing();
