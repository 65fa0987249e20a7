# Counting under pressure: the table of open hours locked for long, its disk full,
# rows that are updated all the time, strangers who try keys by the thousand.
# No request fails, memory and tables stay small, all is counted in the end.
# Threats T68, T71, T98, T99, T112; faults F8, F16, F21.  The long form
# (APIKEY_LONG=1) holds the lock for five minutes, fills the disk for one, and
# has a million keys tried.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use ApikeyTest;
use Counting;

my $long = $ENV{APIKEY_LONG};
my $one = q(\set n random(1, 20)
SELECT v.code FROM k, apikey.verify(k.key) v WHERE k.n = :n;
);

my $node = bare_node('pressure', "autovacuum = off\napikey.flush_interval = '200ms'\napikey.usage_buffer_size = 8MB");
my $room = PostgreSQL::Test::Utils::tempdir;
my $full = PostgreSQL::Test::Utils::tempdir . '/full';
preload($node);
my $has_faults = with_faults(sub { $node->start }, FAULTS_DIRECTORY => $room, FAULTS_FULL => $full);
$node->start unless $has_faults;
$node->safe_psql('postgres', 'CREATE EXTENSION apikey CASCADE');
some_keys($node, 'postgres', 20);
my $session = session($node);
$session->query("SELECT apikey.verify(key) FROM k");
flush($node);
my $answered = 20;

# memory(): kB that the worker and the launcher have for themselves
sub memory
{
	my $most = 0;
	for my $pid (split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'apikey %'"))
	{
		open my $file, '<', "/proc/$pid/status" or next;
		my ($kb) = join('', <$file>) =~ /^RssAnon:\s+(\d+)/m;
		$most = $kb if $kb && $kb > $most;
	}
	return $most;
}

# --- The table of open hours locked, by a client that sits idle in its transaction

my $hold = $long ? 300 : 6;
my $locker = session($node);
$locker->query('BEGIN; LOCK TABLE apikey.key_use');
my $offset = -s $node->logfile;
my $load = start_load($node, 'postgres', $one, '-c', 4, '-j', 1, '-R', 600, '-T', $hold + 2);
my ($until, $most) = (time + $hold, 0);
while (time < $until)
{
	my $kb = memory();
	$most = $kb if $kb > $most;
	usleep(500_000);
}
my $buffered = stat_of($node, 'events_buffered');
cmp_ok($buffered, '>', 100, "key_use locked for $hold s: events wait, $buffered of them");
like(stat_of($node, 'last_flush_error'), qr/lock/, '... last_flush_error says why');
cmp_ok(stat_of($node, 'flush_lag_seconds'), '>=', $hold / 2, '... and flush_lag_seconds for how long');
cmp_ok($most, '<', 64 * 1024, "... the worker has no more than 64 MB ($most kB)");
cmp_ok(log_lines($node, $offset, 'ERROR:'), '<=', 5 + $hold, '... it says so no more than once a second');
my ($done, $errors) = end_load($load);
is($errors =~ s/^pgbench \(.*\n//mr, '', '... no request fails');
$answered += $done;
$locker->query('COMMIT');
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats', 120), '... released: it catches up by itself');
my $lost = stat_of($node, 'events_lost');
is(counted($node), $answered - $lost, "... counted = answered - lost: $answered, of which $lost are lost");
is($lost, '0', '... nothing is lost while there is room') unless $long;
$answered -= $lost;

# --- The disk full

SKIP:
{
	skip 'a full disk cannot be had: this needs a C compiler and Linux', 7 unless $has_faults;
	$node->safe_psql('postgres', 'SELECT apikey.reset_stats()');
	$session->query("CREATE TABLESPACE small LOCATION '$room'");
	$session->query("ALTER TABLE apikey.key_use SET TABLESPACE small");
	# rows of new keys need new pages
	$session->query("CREATE TABLE many AS SELECT i.key FROM generate_series(1, 3000) n, apikey.issue('acme', 'new ' || n) i");
	PostgreSQL::Test::Utils::append_to_file($full, '');
	is($session->query('SELECT v.code, count(*) FROM many, apikey.verify(many.key) v GROUP BY 1'), 'valid|3000', 'the disk full: requests pass');
	$answered += 3000;
	ok(soon($node, "SELECT last_flush_error LIKE '%No space left on device%' FROM apikey.stats", 60), '... flushing fails for want of space');
	for (1 .. ($long ? 60 : 3))
	{
		$session->query('SELECT count(*) FROM k, apikey.verify(k.key) v');
		$answered += 20;
		usleep(1_000_000);
	}
	is(stat_of($node, 'events_lost', 'events_buffered > 3000'), '0|t', '... nothing is lost, it waits');
	is($session->query("SELECT count(*) FROM many, apikey.verify(many.key) v WHERE v.ok"), '3000', '... requests pass');
	$answered += 3000;
	unlink $full;
	ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats', 120), '... room again: it catches up by itself');
	is(counted($node), $answered, '... counted = answered');
	is(stat_of($node, 'events_lost', 'last_flush_error'), '0|', '... nothing is lost, and the error is over');
}

# --- More different keys than are written in the time for which a call waits
# for room: the buffer fills up, calls wait for one batch after the other.

$session->query("CREATE TABLE crowd AS SELECT n, i.key FROM generate_series(1, 20000) n, apikey.issue('crowd', 'c' || n) i");

# crowd(): seconds for more calls of different keys than the buffer has room for
sub crowd
{
	my ($name) = @_;
	my $began = time;
	is($session->query('SELECT count(*) FROM generate_series(1, 15) g, crowd c, apikey.verify(c.key, cost => 1 + 0 * g) v WHERE v.ok'), '300000', "more calls of different keys than the buffer has room for, $name");
	my $seconds = time - $began;
	$answered += 300_000;
	flush($node);
	is(counted($node), $answered, '... counted = answered');
	is(stat_of($node, 'events_lost', 'events_buffered'), '0|0', '... nothing is lost');
	return $seconds;
}

# The worker does not rest while the buffer is so full that calls are slowed
# down, however far apart flushes are.
my $often = crowd('with five flushes a second');
$session->query("ALTER SYSTEM SET apikey.flush_interval = '1min'");
$session->query('SELECT pg_reload_conf()');
my $seldom = crowd('with one flush a minute');
cmp_ok($seldom, '<', 3 * $often + 1, sprintf('... in %.1f s; the other took %.1f s', $seldom, $often));
$session->query('ALTER SYSTEM RESET apikey.flush_interval');
$session->query('SELECT pg_reload_conf()');

# --- The worker stands still for longer than a call waits for room, as when the
# disk does, where calls come faster than they are written: these are slowed
# down before the buffer is full, so there is room for that time.

my $many_calls = "SELECT count(*) FROM (SELECT key FROM crowd ORDER BY random() LIMIT 2000) c, apikey.verify(c.key) v WHERE v.ok;\n";
$load = start_load($node, 'postgres', $many_calls, '-c', 2, '-j', 1, '-T', 5);
usleep(1_000_000);
my $worker = '';
$worker = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'apikey flush worker'") while $worker eq '';
kill 'STOP', $worker;
usleep(1_500_000);
kill 'CONT', $worker;
($done, $errors) = end_load($load);
is($errors =~ s/^pgbench \(.*\n//mr, '', 'the worker stands still for a while: no request fails');
$answered += 2000 * $done;
flush($node);
is(counted($node), $answered, "... counted = answered, $answered");
is(stat_of($node, 'events_lost', 'events_buffered'), '0|0', '... nothing is lost');

# --- Rows that are updated with each flush, with no vacuum: pruned in place

$session->query("VACUUM ANALYZE apikey.usage_hour, apikey.usage_day, apikey.key_use, apikey.flush_state, apikey.recent_error");
my $tables = q(FROM pg_stat_user_tables WHERE schemaname = 'apikey' AND (relname ~ '^usage_' OR relname IN ('key_use', 'flush_state')));
my $size = $session->query("SELECT sum(pg_relation_size(relid)) $tables");
my $batches = $session->query('SELECT sum(batch) FROM apikey.flush_state');
$answered += load($node, 'postgres', $one, '-c', 4, '-j', 1, '-T', $long ? 60 : 6);
flush($node);
my $updates = 20 * ($session->query('SELECT sum(batch) FROM apikey.flush_state') - $batches);
$session->quit;
$session = session($node);
my ($dead, $live) = split /\|/, $session->query("SELECT sum(n_dead_tup), sum(n_live_tup) $tables");
my $growth = $session->query("SELECT sum(pg_relation_size(relid)) $tables") - $size;
# 20 keys have rows on few pages: what one page holds of dead rows before it is pruned, for each table
cmp_ok($dead, '<', 1000, "$updates rows updated: $dead dead ones, of $live");
cmp_ok($growth, '<=', 64 * 8192, "... and the tables have grown by $growth bytes");
is(counted($node), $answered, '... counted = answered');

# Long rows, one a page, of keys that are used from many addresses: a page is pruned in time for one more
$session->query("CREATE TABLE spread AS SELECT n, key FROM (SELECT row_number() OVER (ORDER BY key_id) AS n, c.key FROM crowd c, apikey.keys i WHERE i.account = 'crowd' AND i.name = 'c' || c.n) x WHERE n % 500 = 0");
is($session->query("SELECT count(*) FROM spread s, generate_series(1, 1000) g, apikey.verify(s.key, NULL, '10.0.0.0'::inet + g % (400 + (s.n / 20)::int)) v WHERE v.ok"), '40000', 'keys used from hundreds of addresses');
$answered += 40_000;
flush($node);
my $changes = q(SELECT n_tup_upd - n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'apikey.key_use'::regclass);
my $moved = $node->safe_psql('postgres', $changes);
for (1 .. 40)
{
	$session->query('SELECT count(*) FROM spread s, apikey.verify(s.key) v');
	$answered += 40;
	flush($node);
}
cmp_ok($node->safe_psql('postgres', $changes) - $moved, '<', 10, '... their rows stay on their pages through 40 flushes');
is(counted($node), $answered, '... counted = answered');
$session->query("UPDATE apikey.key_use SET hour = hour - interval '1 hour'");
$session->query('SELECT pg_stat_force_next_flush()');    # not counted with what follows
flush($node);
$moved = $node->safe_psql('postgres', $changes);
$session->query('SELECT count(*) FROM spread s, apikey.verify(s.key) v');
$answered += 40;
flush($node);
cmp_ok($node->safe_psql('postgres', $changes) - $moved, '<', 10, '... and when an hour begins');
is(counted($node), $answered, '... counted = answered');

# --- Strangers

my $strangers = $long ? 1_000_000 : 20_000;
$session->query("SET session_replication_role = replica; SET apikey.notify = off");
$session->query("CREATE TABLE s AS SELECT n, i.key FROM generate_series(1, $strangers / 2) n, apikey.issue('strangers', 'key') i");
$session->query("DELETE FROM apikey.key WHERE account = 'strangers'");
$session->query("INSERT INTO s SELECT n, overlay(key PLACING '!' FROM 20 FOR 1) FROM s");
$session->query('RESET session_replication_role; VACUUM ANALYZE apikey.key, apikey.audit_log, s');
flush($node);
my $rows = q(SELECT sum((xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %s', oid::regclass), false, true, '')))[1]::text::bigint)
	FROM pg_class WHERE relnamespace = 'apikey'::regnamespace AND relkind = 'r');
my $before = $session->query($rows);
my $log = -s $node->logfile;
my $lines = log_lines($node, 0, '.');
is($session->query("SELECT v.code, count(*) FROM s, apikey.verify(s.key, 'a:b', '2001:db8:' || to_hex(s.n % 65536) || '::1', path => '/x') v GROUP BY 1"), "key_invalid|$strangers", "$strangers keys of strangers, half of them well-formed");
flush($node);
is($session->query($rows), $before, '... leave no row in any table');
cmp_ok((-s $node->logfile) - $log, '<', 1_000_000, '... and less than 1 MB in the log');
cmp_ok(log_lines($node, 0, '.') - $lines, '<', 100, '... in a few lines');
is(stat_of($node, 'events_buffered', 'events_lost'), '0|0', '... nor anything in the buffer');
cmp_ok($session->query('SELECT count(*) FROM apikey.guesses'), '<=', 256, '... and of their addresses the heaviest 256');
is(counted($node), $answered, '... while all else is as it was');

# --- Hours of keys that are not used any more are settled when retention says so, a part of the table at a time

sub open_hours { return $session->query("SELECT count(*) FROM apikey.key_use WHERE hour < now() - interval '45 days'"); }
$session->query('CREATE TEMP TABLE used AS SELECT * FROM apikey.key_use WHERE hour IS NOT NULL');
$session->query('TRUNCATE apikey.key_use; INSERT INTO apikey.key_use SELECT * FROM used WHERE get_byte(uuid_send(key_id), 15) < 128');
$session->query("INSERT INTO apikey.key_use (key_id, node) SELECT apikey.new_id(), 'filler' FROM generate_series(1, 250000)");
$session->query("INSERT INTO apikey.key_use SELECT * FROM used WHERE get_byte(uuid_send(key_id), 15) >= 128; UPDATE apikey.key_use SET hour = hour - interval '50 days' WHERE hour IS NOT NULL");
my $old = open_hours();
cmp_ok($session->query("SELECT pg_relation_size('apikey.key_use')"), '>', 2 * 16 * 1024 * 1024, "hours of $old keys in a table of more than two parts");
$session->query("ALTER SYSTEM SET apikey.usage_hourly_retention = '40d'");
$session->query('SELECT pg_reload_conf()');
for (1 .. 50)
{
	$session->query('SELECT v.code FROM k, apikey.verify(k.key) v WHERE k.n = 1');
	$answered++;
	flush($node);
	last if open_hours() == 0;
}
is(open_hours(), 0, '... are settled');
is($session->query('SELECT sum(requests) FROM apikey.counted_days'), $answered, '... days have them all');
is($session->query("SELECT count(*) FROM apikey.key_use WHERE hour IS NULL AND node <> 'filler' AND last_used_at IS NOT NULL") + 1, $old, '... and when they were used last is kept');

# Not in a database that is being restored: the tables by hour and day may come later
$node->safe_psql('postgres', 'CREATE DATABASE restoring');
$node->safe_psql('restoring', "CREATE EXTENSION apikey CASCADE; INSERT INTO apikey.key_use (key_id, node, hour, account, requests, refused, errors_4xx, errors_5xx) VALUES (apikey.new_id(), 'n', now() - interval '50 days', 'acme', 1, 0, 0, 0)");
$node->safe_psql('restoring', 'SELECT apikey.record(apikey.new_id(), 404)');
flush($node, 'restoring');
is($node->safe_psql('restoring', 'SELECT count(*) FROM apikey.key_use WHERE hour IS NOT NULL'), 1, 'no hours are settled before there are keys');

is(log_lines($node, 0, 'PANIC|TRAP|terminated by signal'), '0', 'no crash');
$session->quit;
$locker->quit;
$node->stop;
done_testing();
