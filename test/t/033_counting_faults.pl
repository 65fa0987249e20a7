# Counting when something is in its way: locks, a full buffer, no room for
# workers, settings and triggers of the database, the extension or the
# database dropped, renamed or copied.  The request never notices.  Threats
# T42, T49, T50, T67, T68, T88-T93, T112, T113; faults F8, F16, F24.

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

my $node = new_node('faults', "autovacuum = off\nmax_prepared_transactions = 5\napikey.usage_buffer_size = 64kB\napikey.flush_interval = '100ms'");
some_keys($node, 'postgres', 20);
my ($key) = $node->safe_psql('postgres', 'SELECT key FROM k WHERE n = 1');
my $answered = 0;                                  # and not lost

# verify_times(SESSION, COUNT): calls; returns seconds.
sub verify_times
{
	my ($session, $count) = @_;
	my $start = time;
	my $verdicts = $session->query("SELECT DISTINCT (apikey.verify('$key')).code FROM generate_series(1, $count)");

	die "$verdicts " . $session->errors if $verdicts ne 'valid';
	$answered += $count;
	return time - $start;
}
sub set_interval
{
	$node->append_conf('postgresql.conf', "apikey.flush_interval = '$_[0]'");
	$node->reload;
}
my $session = session($node);
my $locker = session($node);

# Somebody reads before there are partitions, and goes on reading: a dump, say.
$locker->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM apikey.usage_hourly');
verify_times($session, 5);
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats'), 'a long reader of usage does not keep it from being written');
is(counted($node), $answered, '... nor counted');
$locker->query('COMMIT');
flush($node);
my $parts = "SELECT count(*) > 8 FROM pg_inherits WHERE inhparent = 'apikey.usage_hour'::regclass";
# Tried again after a while, when there is something to write
sub partitions_come
{
	for (1 .. 30)
	{
		verify_times($session, 1);
		flush($node);
		return 1 if $session->query($parts) eq 't';
		usleep(500_000);
	}
	return '';
}
ok(partitions_come(), 'partitions are made when he is gone');

# Nor does it matter that DDL is forbidden here.
$session->query(q(
	CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no DDL here, says %', tg_event; END$$;
	DO $$BEGIN EXECUTE (SELECT coalesce('DROP TABLE ' || max(inhrelid::regclass::text), 'SELECT') FROM pg_inherits
		WHERE inhparent = 'apikey.usage_hour'::regclass
		  AND inhrelid::regclass::text > 'apikey.usage_hour_p' || to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')
		  AND inhrelid::regclass::text LIKE 'apikey.usage_hour_p%'); END$$;
	CREATE EVENT TRIGGER forbid ON ddl_command_start EXECUTE FUNCTION forbid();));
verify_times($session, 5);
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats'), 'an event trigger that forbids DDL does not keep usage from being written');
is(counted($node), $answered, '... nor counted');
$session->query('DROP EVENT TRIGGER forbid');
flush($node);

# The table locked: calls are quick, nothing is lost while there is room, it
# catches up.
my $free = verify_times($session, 1000);
flush($node);
$answered -= stat_of($node, 'events_lost');
$node->safe_psql('postgres', 'SELECT apikey.reset_stats()');
$locker->query('BEGIN; LOCK TABLE apikey.usage_hour');
verify_times($session, 100);
ok($node->poll_query_until('postgres', "SELECT last_flush_error LIKE '%lock%' FROM apikey.stats"), 'usage locked: last_flush_error says so');
is(stat_of($node, 'events_buffered', 'events_lost'), '100|0', '... events wait, none is lost');
my $lag = stat_of($node, 'flush_lag_seconds');
usleep(300_000);
cmp_ok(stat_of($node, 'flush_lag_seconds'), '>=', $lag + 0.3, '... and the lag is the age of the oldest of them');

# The buffer full: what finds no place is counted as lost, each.
my $slow = verify_times($session, 1000);
cmp_ok($slow, '<', 0.5 + 3 * $free, sprintf '... 1000 calls take %.3f s (%.3f s before)', $slow, $free);
my ($buffered, $lost) = split /\|/, stat_of($node, 'events_buffered', 'events_lost');
cmp_ok($lost, '>', 0, "a full buffer: $lost events are lost");
is($buffered + $lost, 1100, '... and counted exactly');
is($session->query("SELECT apikey.record(key_id, 500) FROM k WHERE n = 1"), 'f', 'record says that it was not kept');
$lost++;
my ($pgbench, $errors) = load($node, 'postgres', $one, '-c', 8, '-j', 2, '-T', 1);
is($errors =~ s/^pgbench \(.*\n//mr, '', 'no request fails');
$answered += $pgbench;
$lost = stat_of($node, 'events_lost') - 1;
$locker->query('COMMIT');
ok($node->poll_query_until('postgres', 'SELECT events_buffered = 0 FROM apikey.stats'), 'released: it catches up by itself');
is(counted($node), $answered - $lost, '... counted = answered - lost, exactly');
is(stat_of($node, 'last_flush_error IS NULL', 'flush_lag_seconds'), 't|0', '... the error is over, and nothing waits');
$node->safe_psql('postgres', 'SELECT apikey.reset_stats()');

# Too much for so small a buffer, while it is written
($pgbench, $errors) = load($node, 'postgres', $one, '-c', 8, '-j', 2, '-T', 2);
flush($node);
my $before = $answered - $lost;
($buffered, $lost) = split /\|/, stat_of($node, 'events_buffered', 'events_lost');
is(counted($node) - $before, $pgbench - $lost, "load on a small buffer: of $pgbench counted all but the $lost that are lost");
$answered = counted($node);

# Two databases share the buffer: each has its own.
$node->safe_psql('postgres', 'SELECT apikey.reset_stats()');
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION apikey CASCADE');
some_keys($node, 'second', 20);
set_interval('10ms');
my $batch = "SELECT count(v) FROM k, generate_series(1, 10) g, apikey.verify(k.key, account => CASE WHEN g % 2 = 0 THEN 'other' END, path => repeat('/p', g * 4)) v;\n";
my @loads = map { start_load($node, $_, $batch, '-c', 4, '-j', 1, '-T', $long ? 60 : 10) } qw(postgres second);
my @done = map { 200 * scalar end_load($_) } @loads;
flush($node, $_) for qw(postgres second);
$lost = stat_of($node, 'events_lost');
my $second = counted($node, 'second');
my $first = counted($node) - $answered;
is($first + $second, $done[0] + $done[1] - $lost, "two databases: $done[0] and $done[1] answered, $first and $second counted, $lost lost");
cmp_ok($first, '<=', $done[0], '... the first no more than its own');
cmp_ok($second, '<=', $done[1], '... nor the second');
is($node->safe_psql($_, 'SELECT count(*) FROM apikey.counted_hours u WHERE NOT EXISTS (SELECT FROM k WHERE key_id = u.key_id)'), '0', "... only its own keys in $_") for qw(postgres second);
$answered += $first;
$session->quit;
$locker->quit;

# Databases without events have no workers, and names tell what runs where.
$node->append_conf('postgresql.conf', "apikey.usage_buffer_size = 8MB\napikey.flush_interval = '100ms'");
$node->restart;
$session = session($node);
$locker = session($node);
$node->safe_psql('postgres', "CREATE DATABASE plain$_") for 1 .. 3;
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'apikey launcher'"), '1', 'the launcher by name');
$locker->query('BEGIN; LOCK TABLE apikey.usage_hour');
verify_times($session, 1);
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'apikey flush worker' AND wait_event_type = 'Lock'") or die 'no worker';
is($node->safe_psql('postgres', "SELECT datname, query <> '', state FROM pg_stat_activity WHERE backend_type = 'apikey flush worker'"),
	'postgres|t|active', 'a flush worker by name');
my $worker_pid = q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'apikey flush worker');
my $worker = $node->safe_psql('postgres', $worker_pid);
$locker->query('COMMIT');
flush($node);
verify_times($session, 1);
flush($node);
is($node->safe_psql('postgres', $worker_pid), $worker, 'it stays for the next flush');

# Settings of the database and of roles; a new partition is due each time, so
# that making it is tried as well.
my %settings = (
	default_transaction_read_only => 'on', default_transaction_isolation => 'serializable', default_transaction_deferrable => 'on',
	statement_timeout => '1ms', lock_timeout => '1ms', idle_in_transaction_session_timeout => '1ms',
	search_path => 'evil', TimeZone => 'Asia/Kathmandu', DateStyle => 'German', IntervalStyle => 'sql_standard', bytea_output => 'escape',
	default_tablespace => 'nowhere', default_table_access_method => 'nowhere', session_preload_libraries => 'nowhere',
	'plpgsql.variable_conflict' => 'use_column', 'plpgsql.extra_errors' => 'all', check_function_bodies => 'off',
	row_security => 'off', session_replication_role => 'replica', array_nulls => 'off', standard_conforming_strings => 'off',
	enable_indexscan => 'off', work_mem => '64kB', log_statement => 'all', role => 'nobody', temp_tablespaces => 'nowhere',
	synchronous_commit => 'remote_apply', client_min_messages => 'debug5', exit_on_error => 'on', restrict_nonsystem_relation_kind => 'view');
$settings{transaction_timeout} = '1ms' if $node->pg_version >= 17;
delete $settings{restrict_nonsystem_relation_kind} if $node->pg_version < 17;
delete $settings{standard_conforming_strings} if $node->pg_version >= '19devel';
$session->query("CREATE ROLE nobody; LOAD 'plpgsql'");
my $user = $session->query('SELECT quote_ident(current_user)');
for my $name (sort keys %settings)
{
	$session->query(q(DO $$BEGIN EXECUTE (SELECT coalesce('DROP TABLE ' || max(inhrelid::regclass::text), 'SELECT') FROM pg_inherits
		WHERE inhparent = 'apikey.usage_hour'::regclass
		  AND inhrelid::regclass::text > 'apikey.usage_hour_p' || to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')
		  AND inhrelid::regclass::text LIKE 'apikey.usage_hour_p%'); END$$;));
	end_workers($node);
	$session->query($_ . " SET $name = '$settings{$name}'") for 'ALTER DATABASE postgres', "ALTER ROLE $user";
	unlike($session->errors, qr/ERROR/, "ALTER DATABASE, ROLE SET $name = $settings{$name}");
	verify_times($session, 3);
	my $buffered = 3;
	for (1 .. 100)
	{
		last if ($buffered = $session->query('SELECT events_buffered FROM apikey.stats')) eq '0';
		usleep(50_000);
	}
	is($session->query('SELECT sum(requests) FROM apikey.counted_hours'), $answered, '... usage is written')
	  or diag $session->query('SELECT last_flush_error FROM apikey.stats');
	$session->query($_ . " RESET $name") for 'ALTER DATABASE postgres', "ALTER ROLE $user";
	if ($buffered ne '0')
	{
		$session->query('SELECT apikey.flush_usage()');
	}
}
ok(partitions_come(), 'and so are partitions');

# Databases come and go: nobody has to wait for the flush worker, however
# seldom it comes.
sub within
{
	my ($what, $statement) = @_;
	my $start = time;
	my ($rc, $out, $err) = $node->psql('postgres', $statement);
	my $took = time - $start;
	is($err, '', sprintf '%s right after load, in %.1f s', $what, $took);
	cmp_ok($took, '<', 10, '... in time');
	return $rc == 0;
}
for my $interval ('100ms', '1s', '1h')
{
	set_interval($interval);
	for my $what ('CREATE DATABASE copy TEMPLATE second', 'ALTER DATABASE second RENAME TO third', 'ALTER DATABASE third RENAME TO second',
		'DROP DATABASE copy', 'DROP DATABASE second')
	{
		my $database = $what =~ /DATABASE (copy|third)|TEMPLATE/ && $what !~ /TEMPLATE/ ? $1 : 'second';
		load($node, $database, $one, '-c', 2, '-t', 200);
		# So much that the worker is called, and might wait for more
		$node->safe_psql($database, 'SELECT count(apikey.verify(key)) FROM k, generate_series(1, 500)') if $interval eq '1h';
		# If it is in the way now, it might be for an hour.
		within("$what (flush_interval $interval)", $what) or last;
	}
	$node->restart;
	$session->quit;
	$session = session($node);
	$node->safe_psql('postgres', "DROP DATABASE IF EXISTS $_") for qw(copy third second);
	$node->safe_psql('postgres', 'CREATE DATABASE second');
	$node->safe_psql('second', 'CREATE EXTENSION apikey CASCADE');
	some_keys($node, 'second', 20);
}
set_interval('100ms');
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats'), 'events of databases that are gone do not stay');

# A worker that is terminated while it connects has not failed: the next one
# does not wait, which would be for 1, 2 and 4 seconds.
set_interval('1h');
ok(soon($node, q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'apikey flush worker')), 'no worker is there');
my $counted_before = counted($node, 'second');
my $more = load($node, 'second', $one, '-c', 1, '-t', 10);
my $renamer = session($node);
$renamer->query('BEGIN; ALTER DATABASE second RENAME TO third');
set_interval('100ms');
my $waiting = q(FROM pg_locks WHERE NOT granted AND classid = 'pg_database'::regclass);
my ($begin, $last);
for (1 .. 3)
{
	ok(soon($node, "SELECT count(*) = 1 $waiting"), "a worker waits for its database, $_");
	$last = time;
	$begin //= $last;
	my $pid = $renamer->query("SELECT pid $waiting");
	$renamer->query("SELECT pg_terminate_backend($pid)");
	soon($node, "SELECT NOT EXISTS (SELECT $waiting AND pid = $pid)");
}
cmp_ok($last - $begin, '<', 2.5, '... and is terminated three times without a pause');
$renamer->query('ROLLBACK');
$renamer->quit;
flush($node, 'second');
is(counted($node, 'second') - $counted_before, $more, '... what was counted is written');

# One that takes no connections is not knocked at all the time.
$session->query('SELECT 1');
load($node, 'second', $one, '-c', 2, '-t', 100);
my $offset = -s $node->logfile;
$node->safe_psql('postgres', 'UPDATE pg_database SET datallowconn = false WHERE datname = $$second$$');
usleep(3_000_000);
cmp_ok(log_lines($node, $offset, 'FATAL:.*(not currently accepting|second)'), '<=', 3, 'a database that takes no connections: a few lines in the log');
$node->safe_psql('postgres', 'UPDATE pg_database SET datallowconn = true WHERE datname = $$second$$');

# DROP EXTENSION with events buffered: they are of no use, no errors, and a new
# one starts clean.
for my $run (1 .. ($long ? 100 : 3))
{
	my $load = start_load($node, 'second', $one, '-c', 2, '-T', 10);
	usleep(200_000 + rand 200_000);
	my ($rc, $out, $err) = $node->psql('second', 'DROP EXTENSION apikey; DROP TABLE k');
	is($err =~ s/^(psql:.*)?NOTICE.*\n?//gmr, '', "DROP EXTENSION under load, $run");
	end_load($load);
	$offset = -s $node->logfile;
	ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats'), '... its events are gone');
	$node->safe_psql('second', 'CREATE EXTENSION apikey CASCADE');
	some_keys($node, 'second', 20);
	is(counted($node, 'second'), '0', '... a new one starts with nothing');
	is(stat_of($node, 'events_lost', 'events_buffered'), '0|0', '... what belonged to the old one is not lost but dropped');
	my $done = load($node, 'second', $one, '-c', 2, '-t', 100);
	flush($node, 'second');
	is(counted($node, 'second'), $done, '... and counts');
}
is(log_lines($node, $offset, 'ERROR|exited with exit code 1'), '0', 'no errors of the worker');

# A table that was given to somebody else is not written to: triggers on it
# would act for the extension's owner.
$node->safe_psql('second', q(
	CREATE ROLE mallory;
	CREATE TABLE caught AS SELECT current_user AS who WHERE false;
	CREATE FUNCTION catch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO caught VALUES (current_user); RETURN NULL; END$$;
	GRANT USAGE ON SCHEMA apikey TO mallory;
	ALTER TABLE apikey.key_use OWNER TO mallory;
	SET ROLE mallory;
	CREATE TRIGGER catch AFTER INSERT OR UPDATE ON apikey.key_use FOR EACH ROW EXECUTE FUNCTION catch()));
load($node, 'second', $one, '-c', 2, '-t', 10);
$node->psql('second', "SET statement_timeout = '1s'; SELECT apikey.flush_usage()");
is($node->safe_psql('second', 'SELECT who FROM caught GROUP BY 1'), '', 'a table that belongs to somebody else is left alone');
$node->safe_psql('postgres', 'DROP DATABASE second');
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats'), 'and once its database is gone, nothing is left');
$session->quit;
$locker->quit;
flush($node);
$before = counted($node);
$node->stop;

# No room for workers: the server starts, requests pass, and whoever asks is told.
for my $processes ($long ? (0, 1, 2) : 2)
{
	$node->append_conf('postgresql.conf', "max_worker_processes = $processes");
	$offset = -s $node->logfile;
	$node->start;
	$before++;
	is($node->safe_psql('postgres', "SELECT code FROM apikey.verify('$key')"), 'valid', "max_worker_processes = $processes: verify works");
	my $start = time;
	my $error = sql_error($node, 'postgres', 'SELECT apikey.flush_usage()');
	like($error, qr/^55000: .*^HINT: .*max_worker_processes/ms, '... flush_usage says what to look at');
	cmp_ok(time - $start, '<', 40, '... in the end');
	cmp_ok(log_lines($node, $offset, 'could not start a worker'), '<=', 1, '... one warning');
	is(stat_of($node, 'events_lost'), '0', '... nothing is lost while there is room');
	$node->stop;
}

# Room for one: it goes from database to database.
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION apikey CASCADE');
some_keys($node, 'other', 1);
for my $database ('other', 'postgres', 'other')
{
	my $start = time;
	load($node, $database, 'SELECT apikey.verify(key) FROM k WHERE n = 1;', '-t', 1);
	flush($node, $database);
	cmp_ok(time - $start, '<', 10, "one worker for two databases: $database is not kept waiting");
}
$before++;
$node->stop;

$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->start;
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats'), 'with workers again: what waited is written');
is(counted($node), $before, '... and counted');

is(log_lines($node, 0, 'PANIC|TRAP|terminated by signal'), '0', 'no crash');
$node->stop;
done_testing();
