# Where keys lie is remembered for all sessions, and is a hint only: keys that
# move, go, come back, or leave their place to others are found all the same,
# and none is found that is not there.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

# Without a cache of its own, a session asks the table each time.
my $node = new_node('places', "apikey.cache_size = 0\nautovacuum = off");
$node->safe_psql('postgres', "UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*'");
my $session = session($node);

# How often the index was asked
sub index_scans
{
	$session->query('SELECT pg_stat_force_next_flush()');
	return $session->query(q(SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'key_lookup'));
}

sub new_key { return split /\|/, $session->query("SELECT key, key_id FROM apikey.issue('acme', '$_[0]')"); }

my ($key, $id) = new_key('one');
my $before = index_scans();
is(join(' ', map { $session->code($key) } 1 .. 5), 'valid valid valid valid valid', 'a key that was just issued');
is(index_scans(), $before, '... is found without the index');
is($session->code($key . 'x'), 'key_invalid', 'no key');

# Another version in another place, and the old one cleaned away
for my $change ("name = 'two'", "metadata = jsonb_build_object('x', repeat('y', 3000))", 'disabled_at = now()', 'disabled_at = NULL')
{
	$session->query("UPDATE apikey.key SET $change WHERE key_id = '$id'");
	my $expected = $change =~ /now/ ? 'key_disabled' : 'valid';
	is($session->code($key) . ' ' . $session->code($key), "$expected $expected", "after UPDATE: $change");
	$session->query('VACUUM apikey.key');
	is($session->code($key), $expected, '... and VACUUM');
}
$session->query("BEGIN; UPDATE apikey.key SET revoked_at = now() WHERE key_id = '$id'");
is($session->code($key), 'key_revoked', 'own change that is not committed');
my $reader = session($node);
is($reader->code($key), 'valid', '... is nothing to others');
$session->query('ROLLBACK');
is($session->code($key) . ' ' . $reader->code($key), 'valid valid', '... and undone');

# Its place is taken by another key.
$session->query("CREATE TABLE kept AS SELECT * FROM apikey.key WHERE key_id = '$id'; DELETE FROM apikey.key WHERE key_id = '$id'");
is($session->code($key), 'key_invalid', 'deleted');
$session->query('VACUUM apikey.key');
my ($next) = new_key('next');
is($session->code($key) . ' ' . $session->code($next), 'key_invalid valid', 'another key in its place');
$session->query('INSERT INTO apikey.key SELECT * FROM kept');
is($session->code($key) . ' ' . $reader->code($key), 'valid valid', 'put back, elsewhere');

# The table becomes shorter than the place.
my @many = map { [ new_key("many $_") ] } 1 .. 200;
is(join(' ', map { $session->code($_->[0]) } @many[ 0, 100, 199 ]), 'valid valid valid', 'many keys');
my $blocks = $session->query(q(SELECT pg_relation_size('apikey.key')));
$session->query("DELETE FROM apikey.key WHERE name LIKE 'many %'");
$session->query('VACUUM apikey.key');
cmp_ok($session->query(q(SELECT pg_relation_size('apikey.key'))), '<', $blocks, 'deleted and cut off by VACUUM');
is(join(' ', map { $_->code($many[199][0]) } $session, $reader), 'key_invalid key_invalid', '... their places are behind the end');
$session->query('VACUUM FULL apikey.key');
is(join(' ', map { $_->code($key) } $session, $reader), 'valid valid', 'after VACUUM FULL');
my ($undone) = split /\|/, $session->query("BEGIN; SELECT key FROM apikey.issue('acme', 'undone')");
is($session->code($undone) . ' ' . $reader->code($undone), 'valid key_invalid', 'not committed yet');
$session->query('ROLLBACK');
is($session->code($undone), 'key_invalid', '... and never');

# A copy of the database has its own places.
$_->quit for $session, $reader;
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
$node->safe_psql('copy', "UPDATE apikey.key SET disabled_at = now() WHERE key_id = '$id'");
is(verdicts($node, 'copy', $key) . ' ' . verdicts($node, 'postgres', $key), 'key_disabled valid', 'a copy of the database');

# After a restart the first look is through the index; and without places, each.
$node->restart;
is(verdicts($node, 'postgres', $key, $key), 'valid valid', 'after a restart');
$node->append_conf('postgresql.conf', 'apikey.key_places = 0');
$node->restart;
$session = session($node);
$before = index_scans();
is($session->code($key) . ' ' . $session->code($key), 'valid valid', 'without places');
is(index_scans(), $before + 2, '... through the index each time');
$session->quit;
$node->stop;
done_testing();
