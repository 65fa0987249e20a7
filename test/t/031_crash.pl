# kill -9 of a backend, of the flush worker, of the postmaster: what was
# counted is never counted twice, what a flush had written stays, and no more
# is lost than came since the last flush.  Workers that are terminated or fail
# lose nothing.  Threats T39-T41, T43; faults F1-F4.  The long form
# (APIKEY_LONG=1) does each 20 times and more.

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
my $runs = $long ? 20 : 2;
my $terminations = $long ? 200 : 15;
my $clients = 8;
my $interval = 0.2;

my $node = new_node('crash', "restart_after_crash = on\nautovacuum = off\napikey.flush_interval = '200ms'\nfsync = on");
some_keys($node, 'postgres', 20);
my ($key) = $node->safe_psql('postgres', 'SELECT key FROM k WHERE n = 1');
my $one = q(\set n random(1, 20)
SELECT v.code FROM k, apikey.verify(k.key) v WHERE k.n = :n;
);
my $busy = q(SELECT pid FROM pg_stat_activity WHERE application_name = 'load' AND state = 'active' ORDER BY random() LIMIT 1);
my $worker = q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'apikey flush worker');

# kill_under_load(WHAT): one run; returns what was lost.
my %worst = ();
sub kill_under_load
{
	my ($what, $victim) = @_;
	flush($node);
	my $before = counted($node);
	my $load = start_load($node, 'postgres', $one, '-c', $clients, '-j', 2, '-T', 60);
	$node->poll_query_until('postgres', qq(SELECT count(*) >= $clients FROM pg_stat_activity WHERE application_name = 'load'))
	  or die 'no load';
	my $started = time;
	my $session = session($node);
	usleep(300_000 + rand 700_000);

	# What a flush has confirmed
	$session->query('SELECT apikey.flush_usage()');
	my $confirmed = $session->query('SELECT sum(requests) FROM apikey.counted_hours');
	my $offset = -s $node->logfile;
	if ($what eq 'postmaster')
	{
		usleep(rand 300_000);
		$node->kill9;
	}
	else
	{
		# A worker may have ended meanwhile: then the next one.
		for (1 .. 5000)
		{
			my $pid = $session->query($victim);
			next if $pid eq '';
			usleep(rand 50_000);
			last if kill 9, $pid;
		}
	}
	my ($answered) = end_load($load);
	my $rate = $answered / (time - $started);
	$session->quit;
	if ($what eq 'postmaster')
	{
		start_again($node);
	}
	else
	{
		restart_from_crash($node);
		is(log_lines($node, $offset, 'all server processes terminated; reinitializing'), '1', "kill -9 of a $what: the server restarts");
	}
	flush($node);
	my $counted = counted($node);
	my $lost = $answered - ($counted - $before);
	cmp_ok($counted, '>=', $confirmed, "kill -9 of a $what: what a flush has confirmed is there");
	cmp_ok($counted, '<=', $before + $answered + $clients, '... nothing counted twice');
	cmp_ok($lost, '<=', $rate * ($interval + 1) + 1, sprintf '... lost %d of %d at %d a second', $lost, $answered, $rate);
	$worst{$what} = $lost if $lost > ($worst{$what} || 0);
	return;
}

for (1 .. $runs)
{
	kill_under_load('backend', $busy);
	kill_under_load('worker', $worker);
	kill_under_load('postmaster');
}
note "worst losses: ", join ', ', map { "$_ $worst{$_}" } sort keys %worst;

# What flush_usage() has confirmed is on disk: killed at once afterwards, with
# nothing else that would have written it out.
my $total = counted($node);
for my $run (1 .. ($long ? 10 : 2))
{
	$node->safe_psql('postgres', "SELECT apikey.verify('$key') FROM generate_series(1, 10); SELECT apikey.flush_usage()");
	$node->kill9;
	start_again($node);
	$total += 10;
	is(counted($node), $total, 'flush_usage() and kill -9 of the postmaster at once: counted');
	$total = counted($node);
}

# The worker, caught in the middle: it waits for a lock of ours, for half a
# second, and if it is gone before the fault happens there is another soon.
sub catch_worker
{
	my ($locker, $fault) = @_;
	my $watch = session($node);
	$locker->query('BEGIN; LOCK TABLE apikey.usage_hour IN SHARE MODE');
	$watch->query("SELECT apikey.verify('$key') FROM generate_series(1, 100)");
	for (1 .. 5000)
	{
		my $pid = $watch->query("$worker AND wait_event_type = 'Lock'");
		if ($pid ne '' && $fault->($watch, $pid))
		{
			$watch->quit;
			return $pid;
		}
		usleep(10_000);
	}
	die 'no worker waits';
}
flush($node);
$total = counted($node);
for my $run (1 .. $runs)
{
	my $locker = session($node);
	my $pid = catch_worker($locker, sub { kill 9, $_[1] });
	eval { $locker->query('SELECT 1') };
	$locker->quit;
	restart_from_crash($node);
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'apikey launcher'))
	  or die 'no launcher';
	flush($node);
	is(counted($node), $total, 'kill -9 of a worker in mid-flush: its batch is lost, not doubled');
	$total = counted($node);

	$locker = session($node);
	$pid = catch_worker($locker, sub { $_[0]->query("SELECT pg_terminate_backend($_[1])") eq 't' });
	pass('a worker in mid-flush is terminated');
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die 'it stays';
	$locker->query('COMMIT');
	$locker->quit;
	flush($node);
	$total += 100;
	is(counted($node), $total, '... its batch is written by the next, once');
	is(stat_of($node, 'events_lost'), '0', '... and nothing was lost');
}

# Terminated at any time
my $load = start_load($node, 'postgres', $one, '-c', $clients, '-j', 2, '-T', $long ? 30 : 5);
my $session = session($node);
my $done = 0;
$node->append_conf('postgresql.conf', "apikey.flush_interval = '10ms'");
$node->reload;
for (1 .. 20 * $terminations)
{
	$done += $session->query(q(SELECT count(*) FILTER (WHERE CASE WHEN backend_type = 'apikey flush worker' THEN pg_terminate_backend(pid) END) FROM pg_stat_activity));
	usleep(rand 20_000);
	last if $done >= $terminations || !$load->{run}->pumpable;
}
$total += end_load($load);
cmp_ok($done, '>', 0, "workers terminated under load $done times");
flush($node);
is(counted($node), $total, '... counted = answered');
is(stat_of($node, 'events_lost'), '0', '... nothing was lost');
$session->query(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'apikey launcher'));
ok(soon($node, q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'apikey launcher')), 'the launcher terminated');
$session->query("SELECT apikey.verify('$key')") for 1 .. 10;
$total += 10;
ok(soon($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'apikey launcher'), 20), '... comes back')
  or $node->restart;
flush($node);
is(counted($node), $total, '... counted = answered');
$total = counted($node);

$session->quit;
$session = session($node);

# An error in mid-flush: nothing lost, said once a try, tried less and less often.
my $offset = -s $node->logfile;
$session->query(q(
	CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE disk_full USING MESSAGE = 'no room for usage'; END$$;
	CREATE TRIGGER no_room AFTER INSERT OR UPDATE ON apikey.flush_state FOR EACH ROW EXECUTE FUNCTION no_room()));
$session->query("SELECT apikey.verify('$key')") for 1 .. 50;
$total += 50;
$node->poll_query_until('postgres', q(SELECT last_flush_error = 'no room for usage' FROM apikey.stats)) or die 'no error';
usleep(2_000_000);
cmp_ok(log_lines($node, $offset, 'ERROR:  no room for usage'), '<=', 3, 'a flush that fails is not tried all the time');
is(stat_of($node, 'events_buffered', 'events_lost'), '50|0', '... its events are kept');
$session->query('DROP TRIGGER no_room ON apikey.flush_state');
flush($node);
is(counted($node), $total, '... and written once, when it works again');
is(stat_of($node, 'last_flush_error'), '', '... and the error is over');
$total = counted($node);

# An immediate stop is as a crash.
$session->query("SELECT apikey.verify('$key')") for 1 .. 20;
$session->quit;
$node->stop('immediate');
$node->start;
flush($node);
my $now = counted($node);
cmp_ok($now, '>=', $total, 'an immediate stop: nothing gone that was counted');
cmp_ok($now, '<=', $total + 20, '... and nothing counted twice');

is(log_lines($node, 0, 'PANIC|TRAP|corrupt'), '0', 'no PANIC');
$node->stop;
done_testing();
