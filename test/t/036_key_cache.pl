# The keys that sessions keep in memory: how many, how much memory they take,
# what happens when the setting changes, and with a new pepper.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = new_node('keys', "autovacuum = off\napikey.cache_size = 64\napikey.flush_interval = '100ms'");
$node->safe_psql(
	'postgres', q(
	UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*';
	CREATE TABLE many AS SELECT n, i.key, i.key_id FROM generate_series(1, 3000) n, apikey.issue('acme', 'key ' || n) i;
	CREATE TABLE long AS SELECT n, i.key, i.key_id FROM generate_series(1, 30) n,
		apikey.issue('acme', 'long ' || n, allowed_ips => (SELECT array_agg(format('10.%s.%s.0/24', a / 250, a % 250)) FROM generate_series(1, 1000) a)) i));

my $session = session($node);

# verify(TABLE, FROM, TO): where the keys were found, and whether all passed
sub verify
{
	my ($table, $from, $to) = @_;
	return $session->query(
		qq(CREATE TEMP TABLE before AS SELECT * FROM apikey.stats;
		CREATE TEMP TABLE result AS SELECT v.code FROM $table k, apikey.verify(k.key, ip => '10.1.1.1') v WHERE n BETWEEN $from AND $to;
		SELECT format('%s in memory, %s in the table, %s', s.cache_hits - b.cache_hits, s.cache_misses - b.cache_misses,
			(SELECT string_agg(DISTINCT code, ' ') FROM result)) FROM apikey.stats s, before b;
		DROP TABLE before, result)) . $session->errors;
}

# memory(): what the session's keys take
sub memory
{
	return $session->query(q(SELECT coalesce(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name = 'apikey keys'));
}

# set_size(N): and wait until the session follows
sub set_size
{
	my ($size) = @_;
	$node->append_conf('postgresql.conf', "apikey.cache_size = $size");
	$node->reload;
	for (1 .. 6000)
	{
		return if $session->query('SHOW apikey.cache_size') eq $size;
		select undef, undef, undef, 0.01;
	}
	die 'the setting does not arrive';
}

is(verify('many', 1, 50), '0 in memory, 50 in the table, valid', 'keys are new at first');
is(verify('many', 1, 50), '50 in memory, 0 in the table, valid', '... and known then');
verify('many', 1, 3000);
like(verify('many', 1, 3000), qr/^\d{1,2} in memory, \d+ in the table, valid$/, 'more keys than have room: all verify, few are in memory');
is(verify('many', 1, 50) =~ /, valid$/ && verify('many', 1, 50) =~ /, valid$/ && verify('many', 1, 50),
	'50 in memory, 0 in the table, valid', 'those that come again get room');
my $bound = 64 * 4096 + 65536;
cmp_ok(memory(), '<', $bound, 'the memory is bounded');

verify('long', 1, 30) for 1 .. 3;
like(verify('long', 1, 30), qr/ in the table, valid$/, 'keys with long lists verify');
cmp_ok(memory(), '<', $bound, '... and are not all kept');
is(verify('many', 1, 3) =~ /, valid$/ && verify('many', 1, 3) =~ /, valid$/ && verify('many', 1, 3),
	'3 in memory, 0 in the table, valid', 'others still find room');

set_size(0);
is(verify('many', 1, 20), '0 in memory, 20 in the table, valid', 'size 0: all are read from the table');
is(verify('many', 1, 20), '0 in memory, 20 in the table, valid', '... each time');
is(memory(), '0', '... and nothing is kept');

set_size(5000);
verify('many', 1, 3000);
is(verify('many', 1, 3000), '3000 in memory, 0 in the table, valid', 'a large size has room for all');
verify('long', 1, 30);
is(verify('long', 1, 30), '30 in memory, 0 in the table, valid', '... with long lists, too');
set_size(10);
like(verify('many', 1, 3000), qr/ in the table, valid$/, 'smaller again');
cmp_ok(memory(), '<', 10 * 4096 + 65536, '... and the memory is given back');

# A large number of changes of other keys
set_size(1024);
verify('many', 1, 200);
$node->safe_psql('postgres', 'SELECT count(apikey.disable(key_id)) FROM many WHERE n > 500');
is(verify('many', 1, 200), '200 in memory, 0 in the table, valid', '2500 other keys were disabled');
is(verify('many', 501, 600), '0 in memory, 100 in the table, key_disabled', '... they are refused');

# A new pepper: keys are read until they are stored under it, which says
# nothing about the other keys.
$node->safe_psql('postgres', 'SELECT apikey.set_current_pepper(apikey.add_pepper())');
is(verify('many', 1, 2), '0 in memory, 2 in the table, valid', 'under the old pepper: read from the table');
$node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM apikey.key WHERE pepper_id = 2)) or die 'not moved to the new pepper';
is(verify('many', 1, 2), '0 in memory, 2 in the table, valid', 'moved to the new one: once more');
is(verify('many', 1, 2), '2 in memory, 0 in the table, valid', '... and known then');
is(verify('many', 3, 4), '0 in memory, 2 in the table, valid', 'two others follow');
$node->poll_query_until('postgres', q(SELECT count(*) = 4 FROM apikey.key WHERE pepper_id = 2)) or die 'not moved to the new pepper';
is(verify('many', 1, 2), '2 in memory, 0 in the table, valid', '... unnoticed by the first');

# Where the server can forget all it has cached at any moment
SKIP:
{
	skip 'this server has no debug_discard_caches', 2 if $node->safe_psql('postgres', 'SHOW debug_assertions') ne 'on';
	$session->query('SET debug_discard_caches = 1');
	like(verify('many', 1, 3), qr/, valid$/, 'caches discarded at any moment');
	$session->query(q(SELECT apikey.revoke(key_id) FROM many WHERE n = 1));
	like(verify('many', 1, 1), qr/, key_revoked$/, '... and obeyed');
}

$session->quit;
$node->stop;
done_testing();
