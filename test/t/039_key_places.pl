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

# How often an index was asked
sub index_scans
{
	my ($index) = (@_, 'key_lookup');
	$session->query('SELECT pg_stat_force_next_flush()');
	return $session->query("SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = '$index'");
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

# So are the rows in which keys are counted: no count goes astray.
my @counted = map { [ new_key("counted $_") ] } 1 .. 20;
my $expected = 0;
$session->query('SET enable_nestloop = off');	# for only the worker to use the index
sub requests
{
	return $session->query("SELECT string_agg(DISTINCT requests::text, ' ') FROM apikey.key_use JOIN apikey.key USING (key_id) WHERE name LIKE 'counted %' AND $_[0]");
}
sub verify_all
{
	$session->query("SELECT count(apikey.verify(key)) FROM unnest('{" . join(',', map { $_->[0] } @counted) . "}'::text[]) key");
	return;
}
sub flush_all { return $session->query('SELECT apikey.flush_usage()'); }
sub count_all
{
	my ($what, $stay) = @_;
	verify_all();
	my $scans = index_scans('key_use_pkey');
	my $owners = index_scans('key_pkey');
	flush_all();
	$expected++;
	is(requests(q(node <> 'other')), $expected, "counted: $what");
	is(index_scans('key_use_pkey') - $scans, 0, '... without the index') if $stay;
	is(index_scans('key_pkey') - $owners, 0, '... nor that of the keys');
}
flush_all();
count_all('at first');
count_all('again', 1);
count_all('and again', 1);
$session->query('UPDATE apikey.key_use SET account = account');
count_all('after an update');
$session->query('VACUUM FULL apikey.key_use');
count_all('after VACUUM FULL');
count_all('again', 1);
$session->query('CREATE TABLE used AS SELECT * FROM apikey.key_use; TRUNCATE apikey.key_use; INSERT INTO apikey.key_use SELECT * FROM used ORDER BY key_id DESC');
count_all('each in the place of another');
# nor do those that other servers count
$session->query('DROP TABLE used; CREATE TABLE used AS SELECT * FROM apikey.key_use');
$session->query(q(TRUNCATE apikey.key_use; INSERT INTO apikey.key_use SELECT (u).* FROM (SELECT jsonb_populate_record(u, '{"node": "other"}') AS u FROM used u) s));
$session->query('INSERT INTO apikey.key_use SELECT * FROM used');
count_all(q(in the place of another server's));
is(requests(q(node = 'other')), $expected - 1, '... whose counts stay');
$session->query('TRUNCATE apikey.key_use');
$expected = 0;
count_all('behind the end');
$session->query("UPDATE apikey.key_use SET addresses = NULL, hour = hour - interval '1 hour'");
$expected = 0;
count_all('of another hour');
count_all('again');
count_all('and again', 1);

# Whose a key is that is counted for the first time: an event says where its row was.
$session->query("ALTER SYSTEM SET apikey.flush_interval = '1h'");
$session->query('SELECT pg_reload_conf()');
$session->query("UPDATE apikey.key SET account = name WHERE name LIKE 'counted %'");
for my $change (
	[ 'keys that moved', q(UPDATE apikey.key SET name = name WHERE name LIKE 'counted %'; VACUUM apikey.key) ],
	[ 'keys in the places of others', q(CREATE TEMP TABLE k AS SELECT * FROM apikey.key; DELETE FROM apikey.key; VACUUM apikey.key; INSERT INTO apikey.key SELECT * FROM k ORDER BY key_id DESC) ],
	[ 'places behind the end', q(DELETE FROM apikey.key; VACUUM apikey.key; INSERT INTO apikey.key SELECT * FROM k WHERE name LIKE 'counted %') ],
	[ 'places on a page that is back', q(INSERT INTO apikey.key SELECT * FROM k WHERE name NOT LIKE 'counted %') ],
	[ 'of other accounts now', q(UPDATE apikey.key SET account = account || '!' WHERE name LIKE 'counted %') ])
{
	my ($what, $sql) = @$change;
	$session->query('TRUNCATE apikey.key_use');
	$session->query('VACUUM FULL apikey.key');
	verify_all();
	$session->query($_) for split /; /, $sql;
	$session->query('SELECT apikey.flush_usage()');
	is($session->query("SELECT count(*), count(*) FILTER (WHERE u.account = k.account), sum(requests) FROM apikey.key_use u JOIN apikey.key k USING (key_id) WHERE name LIKE 'counted %'"),
		'20|20|20', "counted: $what");
}
verify_all();
$session->query(q(TRUNCATE apikey.key_use; CREATE TEMP TABLE gone AS SELECT * FROM apikey.key WHERE name LIKE 'counted %'; DELETE FROM apikey.key WHERE name LIKE 'counted %'));
$session->query('SELECT apikey.flush_usage()');
is($session->query('SELECT count(*) FROM apikey.key_use'), 0, 'keys that are gone are not counted');
$session->query('INSERT INTO apikey.key SELECT * FROM gone');

# Where it was before the server was stopped there may be no buffer any more.
verify_all();
$_->quit for $session, $reader;
$node->append_conf('postgresql.conf', 'shared_buffers = 128kB');
$node->restart;
$node->safe_psql('postgres', 'SELECT apikey.flush_usage()');
is($node->safe_psql('postgres', 'SELECT count(*), sum(requests) FROM apikey.key_use'), '20|20', 'counted after a restart with fewer buffers');
$node->append_conf('postgresql.conf', 'shared_buffers = 16MB');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET apikey.flush_interval');
$node->restart;
$session = session($node);
$reader = session($node);

# A copy of the database has its own places.
$_->quit for $session, $reader;
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
$node->safe_psql('copy', "UPDATE apikey.key SET disabled_at = now() WHERE key_id = '$id'");
is(verdicts($node, 'copy', $key) . ' ' . verdicts($node, 'postgres', $key), 'key_disabled valid', 'a copy of the database');

# After a restart the first look is through the index; and without places, each.
$session = session($node);
verify_all();
flush_all();	# their rows in key_use are second versions
$session->quit;
$node->restart;
is(verdicts($node, 'postgres', $key, $key), 'valid valid', 'after a restart');
# and with a key its neighbours on the page are known
$session = session($node);
$before = index_scans();
my $pages = $session->query(q(SELECT count(DISTINCT (ctid::text::point)[0]) FROM apikey.key WHERE name LIKE 'counted %'));
is(join(' ', map { $session->code($_->[0]) } @counted), join(' ', ('valid') x @counted), 'many keys after a restart');
cmp_ok(index_scans() - $before, '<=', $pages, "... the index is asked for one of each page ($pages)");
# and so are they where they are counted
$before = index_scans('key_use_pkey');
$pages = $session->query(q(SELECT count(DISTINCT (ctid::text::point)[0]) FROM apikey.key_use));
flush_all();
cmp_ok(index_scans('key_use_pkey') - $before, '<=', $pages, "... counted, the index is asked for one of each page ($pages)");
$session->quit;
$node->append_conf('postgresql.conf', 'apikey.key_places = 0');
$node->restart;
$session = session($node);
$before = index_scans();
is($session->code($key) . ' ' . $session->code($key), 'valid valid', 'without places');
is(index_scans(), $before + 2, '... through the index each time');
$session->quit;
$node->stop;
done_testing();
