# The extension in two databases of one server: keys, peppers and policy of
# one are nothing to the other, although the library, and the settings, are
# the same; a copy made with CREATE DATABASE ... TEMPLATE goes its own way.
# Threat T91.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use ApikeyTest;

my $node = new_node('two', '');
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION apikey CASCADE');
my $first = session($node, 'postgres');
my $second = session($node, 'second');

my ($key, $id) = split /\|/, $first->query("SELECT key, key_id FROM apikey.issue('acme', 'one')");
my ($key2, $id2) = split /\|/, $second->query("SELECT key, key_id FROM apikey.issue('acme', 'two')");
is($first->code($key) . ' ' . $first->code($key2), 'valid key_invalid', 'each database knows its own keys');
is($second->code($key) . ' ' . $second->code($key2), 'key_invalid valid', '... only');

$second->query("UPDATE apikey.account_policy SET api_enabled = false WHERE account = '*'");
is($first->code($key) . ' ' . $second->code($key2), 'valid api_disabled', 'policy as well');
$first->query("UPDATE apikey.kind SET enabled = false");
$second->query("UPDATE apikey.account_policy SET api_enabled = true WHERE account = '*'");
is($first->code($key) . ' ' . $second->code($key2), 'key_disabled valid', '... in both directions');
$first->query("UPDATE apikey.kind SET enabled = true");
$second->query("SELECT apikey.revoke('$id')");
is($second->errors, "ERROR:  KA404\n", 'a key of the other database is unknown to management');
is($first->query('SELECT count(*) FROM apikey.pepper'), '1', 'one pepper here');
isnt($first->query('SELECT fingerprint FROM apikey.pepper'), $second->query('SELECT fingerprint FROM apikey.pepper'), '... which is not that of the other');

# A copy
$first->quit;
$node->safe_psql('second', 'CREATE DATABASE copy TEMPLATE postgres');
$first = session($node, 'postgres');
my $copy = session($node, 'copy');
is($copy->code($key), 'valid', 'a copy of the database knows the keys');
$copy->query("SELECT apikey.revoke('$id')");
is($copy->code($key) . ' ' . $first->code($key), 'key_revoked valid', '... and goes its own way from then on');
$first->query("SELECT apikey.set_current_pepper(apikey.add_pepper())");
my $late = $first->query("SELECT key FROM apikey.issue('acme', 'late')");
is($first->code($late) . ' ' . $copy->code($late), 'valid key_invalid', '... with peppers of its own');

# Dropped in one, it stays in the others.
$second->query('DROP EXTENSION apikey');
is($second->errors, '', 'dropped in one database');
is($first->code($key) . ' ' . $copy->code($key), 'valid key_revoked', '... the others go on');
$copy->quit;
$second->quit;
$first->quit;
$node->safe_psql('postgres', 'DROP DATABASE copy');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
is($node->safe_psql('copy', "CREATE EXTENSION apikey CASCADE; SELECT v.code FROM apikey.verify('$key') v"), 'key_invalid',
	'a database of the same name starts anew');

# A database that goes leaves its place among those that are counted for; who
# comes next must not take it, if its own database has one already.
$node->append_conf('postgresql.conf', "apikey.flush_interval = '1h'");
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE gone TEMPLATE copy');
my ($counted, $id3) = split /\|/, $node->safe_psql('copy', "SELECT key, key_id FROM apikey.issue('acme', 'counted')");
$node->safe_psql('gone', "SELECT count(*) FROM apikey.issue('acme', 'x') i, apikey.verify(i.key)");
my $calls = 0;
my $kept = session($node, 'copy');
my $verified = sub { $calls += $_[1]; return $_[0]->query("SELECT count(*) FILTER (WHERE v.ok) FROM generate_series(1, $_[1]) g, apikey.verify('$counted', cost => g * 0) v"); };
is($verified->($kept, 10), '10', 'counting in a database, after another');
$node->safe_psql('postgres', 'DROP DATABASE gone WITH (FORCE)');
my @wrong;
for (1 .. 30)
{
	my $new = session($node, 'copy');
	$verified->($new, 10);
	$verified->($kept, 1);
	$new->query('SELECT apikey.flush_usage()');
	my $seen = $new->query(
		"SELECT (SELECT CASE WHEN events_buffered BETWEEN 0 AND 10 THEN 'few' ELSE events_buffered::text END FROM apikey.stats) || ' ' || (SELECT sum(requests) FROM apikey.usage_daily WHERE key_id = '$id3')");
	push @wrong, "$seen of $calls" if $seen ne "few $calls";
	$new->quit;
	usleep(100_000);
}
is(join(', ', @wrong), '', '... which is dropped: counted once, whoever counts');
$kept->quit;

$node->stop;
done_testing();
