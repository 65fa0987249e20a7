# Moving in: 100,000 keys of another system in one statement, with the bad ones
# named first; again without a change; each verifies, and becomes a key of ours
# when it has been used; a dump carries what is not used yet.  Slow hashes can
# be cancelled, and leave their turn to others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $count = 100_000;
my $node = new_node('import', "apikey.usage_buffer_size = '64MB'\nTimeZone = 'UTC'");
my $file = PostgreSQL::Test::Utils::tempdir . '/old_keys';

# A dump of keys, salted ones among them, of which one was used
$node->safe_psql('postgres', q(SELECT apikey.import_key('moved', 'bcrypt', 'bcrypt', crypt('pre.salted', gen_salt('bf', 4)), lookup => 'pre', separator => '.'),
	apikey.import_key('moved', 'mac', 'hmac-sha256', encode(hmac('mac_key', 'the secret', 'sha256'), 'hex'), hash_secret => 'the secret'),
	apikey.import_key('moved', 'after', 'sha256', encode(sha256('the_rest'), 'hex'), lookup => '7', separator => '|', hashed_part => 'after');
	SELECT apikey.import_key('moved', t, 'sha256', encode(sha256(t::bytea), 'hex')) FROM unnest('{old_text,used_text}'::text[]) t));
my ($old, $used) = ('old_text', 'used_text');
my @texts = ('pre.salted', 'mac_key', '7|the_rest', 'the_rest', $old, $used);
my @wrong = ('pre.salte', 'mac_ke', '8|the_rest', 'other_rest', "x$old", 'the secret');
$node->safe_psql('postgres', "SELECT ok FROM apikey.verify('$used'); SELECT apikey.flush_usage()");
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'psql', '-Xqf', $dump, '-v', 'ON_ERROR_STOP=1', $node->connstr('restored') ], 'restored');
is(contents($node, 'restored'), contents($node, 'postgres'), '... with the same content');
is(verdicts($node, 'restored', @texts), join(' ', ('valid') x @texts), 'keys verify there, used or not');
is(verdicts($node, 'restored', @wrong), join(' ', ('key_invalid') x @wrong), '... and no others');
$node->safe_psql('restored', 'SELECT apikey.flush_usage()');
is(verdicts($node, 'restored', @texts), join(' ', ('valid') x @texts), '... and once they are native');
is($node->safe_psql('restored', "SELECT apikey.import_key('moved', 'again', 'sha256', encode(sha256('$old'), 'hex')) = key_id FROM apikey.keys WHERE name = '$old'"), 't',
	'... and are recognised when they are imported again');

# What the other system had, and three rows that cannot be imported
$node->safe_psql('postgres', qq(
	CREATE TABLE old_keys (id integer, owner text, name text, hash text, created timestamptz, used timestamptz);
	CREATE TABLE texts AS SELECT n AS id, 'old_' || md5('secret ' || n) AS key FROM generate_series(1, $count) n;
	COPY (SELECT id, 'customer ' || id % 1000, 'Key ' || id, encode(sha256(convert_to(key, 'UTF8')), 'hex'),
				 '2020-01-01 00:00:00+00'::timestamptz + id * interval '1 minute',
				 CASE WHEN id % 2 = 0 THEN '2023-01-01 00:00:00+00'::timestamptz + id * interval '1 minute' END
		  FROM texts) TO '$file'));
open my $more, '>>', $file or die;
print $more "-1\tcustomer 1\tno hash\tnot a hash\t2020-01-01\t\\N\n";
print $more "-2\tcustomer 1\t\t" . ('a' x 64) . "\t2020-01-01\t\\N\n";
print $more "-3\tcustomer 1\tfrom the future\t" . ('b' x 64) . "\t2999-01-01\t\\N\n";
close $more;
$node->safe_psql('postgres', "COPY old_keys FROM '$file'");

my $arguments = "owner, name, 'sha256', hash, created_at => created, last_used_at => used";
is($node->safe_psql('postgres', "BEGIN READ ONLY; SELECT id FROM old_keys WHERE apikey.import_check($arguments) IS NOT NULL ORDER BY id; COMMIT"),
	"-3\n-2\n-1", 'import_check finds the bad ones, in a READ ONLY transaction');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey.key WHERE account <> 'moved'"), '0', '... and writes nothing');
like(sql_error($node, 'postgres', "SELECT apikey.import_key($arguments) FROM old_keys"), qr/^22023: /, 'with them in it, the import fails');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey.key WHERE account <> 'moved'"), '0', '... as a whole');
$node->safe_psql('postgres', "DELETE FROM old_keys WHERE apikey.import_check($arguments) IS NOT NULL");

is($node->safe_psql('postgres', "SELECT count(DISTINCT k) FROM (SELECT apikey.import_key($arguments) AS k FROM old_keys) i"), $count, "$count keys imported in one statement");
my $state = 'SELECT count(*), md5(string_agg(k::text, \'\' ORDER BY key_id)) FROM apikey.key k';
my $before = $node->safe_psql('postgres', $state);
is($node->safe_psql('postgres', "SELECT count(DISTINCT k) FROM (SELECT apikey.import_key($arguments) AS k FROM old_keys) i"), $count, 'and again');
is($node->safe_psql('postgres', $state), $before, '... without a change');
is($node->safe_psql('postgres', q(SELECT count(*) FROM old_keys o JOIN apikey.keys k ON k.account = o.owner AND k.name = o.name
	WHERE k.created_at = o.created AND k.last_used_at IS NOT DISTINCT FROM o.used)), $count, 'created and last-used times are carried over');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey.audit_log WHERE action = 'import' AND account <> 'moved'"), $count, 'an audit row each');

# Each verifies, then is native.  An event that finds no room is lost, and the
# key waits for its next use.
is($node->safe_psql('postgres', 'SELECT count(*) FROM texts t, LATERAL apikey.verify(t.key) v WHERE v.ok'), $count, 'each verifies');
for (1 .. 20)
{
	last if $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM apikey.key WHERE algorithm = 3 AND account <> 'moved'")
	  || $node->safe_psql('postgres', 'SELECT events_lost FROM apikey.stats') == 0;
	$node->safe_psql('postgres', 'SELECT count(*) FROM texts t, LATERAL apikey.verify(t.key)');
}
is($node->safe_psql('postgres', q(SELECT count(*) FROM apikey.key WHERE account LIKE 'customer%' AND algorithm = 1)), $count, 'each is native');
is($node->safe_psql('postgres', 'SELECT count(*) FROM texts t, LATERAL apikey.verify(t.key) v WHERE v.ok'), $count, '... and verifies');
is($node->safe_psql('postgres', 'SELECT count(*) FROM old_keys o, LATERAL apikey.verify(o.hash) v WHERE v.ok'), '0', 'no stored hash is a key');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey.audit_log WHERE action NOT IN ('import', 'add_pepper')"), '0', 'becoming native is no change of a key');
$before = $node->safe_psql('postgres', $state);
is($node->safe_psql('postgres', "SELECT count(DISTINCT k) FROM (SELECT apikey.import_key($arguments) AS k FROM old_keys WHERE id <= 1000) i"), '1000', 'imported again when native');
is($node->safe_psql('postgres', $state), $before, '... without a change');

# A hash that takes a second: cancelled at once, and the next one has its turn
$node->safe_psql('postgres', q(SELECT apikey.import_key('slow', 'slow ' || n, 'bcrypt', '$2b$14$' || repeat(n::text, 53), lookup => 'slow' || n, separator => '.') FROM generate_series(1, 3) n));
like(sql_error($node, 'postgres', "SET statement_timeout = '20ms'; SELECT apikey.verify('slow1.x')"), qr/^57014: /, 'a slow hash can be cancelled');
like(sql_error($node, 'postgres', "SET statement_timeout = '20ms'; SELECT apikey.verify('slow1.x')"), qr/^57014: /, '... again');
is($node->safe_psql('postgres', "SELECT code FROM apikey.verify('slow2.x')"), 'key_invalid', '... and gives its turn back');

# A session that ends in the middle of it gives its turn back, too
my @sessions = map { session($node) } 1 .. 2;
my $pid = $sessions[0]->query('SELECT pg_backend_pid()');
$sessions[0]->{in} .= "SELECT apikey.verify('slow3.y');\n";
$sessions[0]->{run}->pump_nb for 1 .. 5;
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'");
$sessions[1]->query("SELECT pg_terminate_backend($pid)");
is($sessions[1]->query("SELECT code FROM apikey.verify('slow2.z', NULL, '192.0.2.1')"), 'key_invalid', 'terminated while hashing: others have their turn');
$sessions[1]->quit;
$sessions[0]->quit;

$node->stop;
done_testing();
