# Requests counted = requests answered: under load, with transactions that are
# rolled back or READ ONLY, over a clean stop; and what a request costs in WAL
# and transactions: nothing.  Threats T42, T62, T63, T71; fault F5.  The long
# form (APIKEY_LONG=1) stops the server 50 times under load.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Counting;

my $long = $ENV{APIKEY_LONG};
my $seconds = $long ? 10 : 2;
my $stops = $long ? 50 : 4;
my $clients = 8;

my $node = new_node('exact', "autovacuum = off\nmax_prepared_transactions = 5");
some_keys($node, 'postgres', 20);
my $file = $node->data_dir . '/pg_stat/apikey.events';
my $one = q(\set n random(1, 20)
SELECT v.code FROM k, apikey.verify(k.key, NULL, '192.0.2.' || k.n) v WHERE k.n = :n;
);
my $hot = "SELECT v.code FROM k, apikey.verify(k.key) v WHERE k.n = 7;\n";
my @shapes = (
	[ 'plain', 1, $one ],
	[ 'one hot key', 1, $hot ],
	[ 'ROLLBACK', 1, "BEGIN;\n${one}ROLLBACK;\n" ],
	[ 'READ ONLY', 1, "BEGIN READ ONLY;\n${one}COMMIT;\n" ],
	[ 'READ ONLY, SERIALIZABLE, DEFERRABLE', 1, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;\n${one}COMMIT;\n" ],
	[ 'savepoint rolled back', 2, "BEGIN;\n${one}SAVEPOINT s;\n${hot}ROLLBACK TO s;\nCOMMIT;\n" ],
	[ 'as PostgREST does', 1, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;\nSELECT set_config('request.method', 'GET', true);\n${one}COMMIT;\n" ],
	[ 'refusals', 2, "${hot}SELECT v.code FROM k, apikey.verify(k.key, account => 'other', path => '/x') v WHERE k.n = 3;\n" ]);

my $answered = 0;
for my $shape (@shapes)
{
	my ($name, $verifies, $script) = @$shape;
	my ($transactions, $errors) = load($node, 'postgres', $script, '-c', $clients, '-j', 2, '-T', $name eq 'plain' ? $seconds : 1);
	is($errors =~ s/^pgbench \(.*\n//mr, '', "$name: no errors");
	$answered += $transactions * $verifies;
	is(stat_of($node, 'verifications'), $answered, '... verifications = answered');
	flush($node);
	is(counted($node), $answered, "... counted = answered, $transactions transactions");
}
is(stat_of($node, 'events_flushed', 'events_buffered', 'events_lost', 'last_flush_error'), "$answered|0|0|", 'nothing buffered, nothing lost');
is($node->safe_psql('postgres', q(SELECT count(*) FROM (SELECT key_id, sum(requests) r, sum(refused) f FROM apikey.counted_hours GROUP BY 1) h
	FULL JOIN (SELECT key_id, sum(requests) r, sum(refused) f FROM apikey.counted_days GROUP BY 1) d USING (key_id) WHERE h.r IS DISTINCT FROM d.r OR h.f IS DISTINCT FROM d.f)),
	'0', 'days are the sums of their hours, key by key');

# Ways of calling it
my $session = session($node);
my $key = $session->query('SELECT key FROM k WHERE n = 1');
my %ways = (
	'a cursor WITH HOLD' => [ 3, "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT v.code FROM k, apikey.verify(k.key) v WHERE n <= 3; COMMIT; FETCH ALL FROM c; CLOSE c" ],
	'a suspended portal' => [ 2, "BEGIN; DECLARE c CURSOR FOR SELECT (apikey.verify(k.key)).code FROM k; FETCH 2 FROM c; ROLLBACK" ],
	'COPY (query)' => [ 3, "COPY (SELECT v.code FROM k, apikey.verify(k.key) v WHERE n <= 3) TO STDOUT" ],
	'EXPLAIN ANALYZE' => [ 1, "EXPLAIN ANALYZE SELECT code FROM apikey.verify('$key')" ],
	'EXPLAIN' => [ 0, "EXPLAIN SELECT code FROM apikey.verify('$key')" ],
	'apikey.explain' => [ 0, "SELECT passed FROM apikey.explain('$key')" ],
	'a statement that fails' => [ 1, "SELECT 1 / (length(code) - 5) FROM apikey.verify('$key')" ],
	'an exception caught' => [ 1, "DO \$\$ BEGIN PERFORM apikey.verify('$key'); RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN NULL; END \$\$" ],
	'PREPARE TRANSACTION' => [ 1, "BEGIN; SELECT code FROM apikey.verify('$key'); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'" ],
	'an unknown key' => [ 0, "SELECT code FROM apikey.verify('ak_unknown')" ]);
for my $name (sort keys %ways)
{
	my ($verifies, $sql) = @{ $ways{$name} };
	$session->query($sql);
	flush($node);
	$answered += $verifies;
	is(counted($node), $answered, "$name counts $verifies");
}

# Clean stops: under load, the last requests answered are in the buffer.
$session->quit;
$node->append_conf('postgresql.conf', 'apikey.flush_interval = 1h');
$node->restart;
is(counted($node), $answered, 'a restart with nothing buffered changes nothing');
my ($most, $files) = (0, 0);
for my $mode (map { $_ % 2 ? 'fast' : 'smart' } 1 .. 2)
{
	$answered += load($node, 'postgres', $one, '-c', $clients, '-j', 2, '-t', 500);
	$node->stop($mode);
	ok(-s $file, "$mode stop: events are saved");
	$node->start;
	ok(!-e $file, '... and the file is gone after the start');
	flush($node);
	is(counted($node), $answered, '... counted = answered');
}

my ($least, $in_flight) = ($answered, 0);
for my $stop (1 .. $stops)
{
	my $load = start_load($node, 'postgres', $stop % 2 ? $one : $hot, '-c', $clients, '-j', 2, '-T', 60);
	my $delay = 0.3 + rand 0.7;

	select undef, undef, undef, $delay;
	$node->stop('fast');
	my $done = end_load($load);
	$files++ if -e $file;
	# a client whose answer was cut off does not know of it
	$least += $done;
	$in_flight += $clients;
	$node->start;
	flush($node);
	my $counted = counted($node);
	note "stop $stop after $delay s: answered $done, counted " . ($counted - $least) . ' more than the clients know of';
	cmp_ok($done, '>', 0, "stop $stop under load of $done requests");
	cmp_ok($counted, '>=', $least, '... none lost');
	cmp_ok($counted, '<=', $least + $clients, '... none counted twice');
	$least = $counted;
}
is($files, $stops, 'each time there was a file');
is(stat_of($node, 'events_lost'), '0', 'nothing was lost');

# What a request leaves behind: with the worker asleep, no transaction id and
# no byte of WAL.
$node->append_conf('postgresql.conf', 'checkpoint_timeout = 1h');
$node->reload;
$session = session($node);
$session->query("SELECT v.code FROM k, apikey.verify(k.key) v");
flush($node);
$session->query('CHECKPOINT');
$session->query("SELECT v.code FROM k, apikey.verify(k.key) v");
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()))
  or die 'somebody is busy';
my $before = $session->query('SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())');
for (1 .. 20)
{
	$session->query("SELECT v.code FROM k, apikey.verify(k.key) v");
	$session->query("BEGIN READ ONLY; SELECT v.code FROM k, apikey.verify(k.key, account => 'other') v; COMMIT");
}
is($session->query("BEGIN; SELECT v.code FROM k, apikey.verify(k.key) v WHERE n = 1; SELECT pg_current_xact_id_if_assigned() IS NULL; COMMIT"), "valid\nt",
	'a verify assigns no transaction id');
is($session->query('SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())'), $before,
	'801 requests: no WAL and no transaction');
is($session->query("SELECT string_agg(DISTINCT mode, ',') FROM (SELECT 1) x, apikey.verify('$key'), pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"),
	'AccessShareLock', 'a verify takes no more than AccessShareLock');

# ... and a flush is one transaction.
my ($xid) = $session->query('SELECT pg_snapshot_xmax(pg_current_snapshot())');
my $flushes = $session->query('SELECT sum(batch) FROM apikey.flush_state');
flush($node);
for (1 .. 10)
{
	$session->query("SELECT v.code FROM k, apikey.verify(k.key) v");
	flush($node);
}
$flushes = $session->query('SELECT sum(batch) FROM apikey.flush_state') - $flushes;
my $spent = $session->query('SELECT pg_snapshot_xmax(pg_current_snapshot())') - $xid;
cmp_ok($flushes, '>=', 11, 'after 11 rounds');
is($spent, $flushes, "a flush is one transaction: $spent in $flushes");

$session->quit;
$node->stop;
done_testing();
