# Limits, quotas and credits are exact while 32 clients want more than there
# is, and all or nothing; windows outlive a clean stop and not a crash; quotas
# and credits outlive both, a crash within what was not flushed; full memory
# lets nobody through too often.  Threats T39, T44, T45, T62, T65.  The long
# form (APIKEY_LONG=1) repeats the races ten times.

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
my $runs = $long ? 10 : 2;
my $clients = 32;
my $calls = 60;                 # of each client: nearly twice what there is

my $node = new_node('limits', "autovacuum = off\nmax_connections = 60\nrestart_after_crash = on\napikey.flush_interval = '200ms'");
my $one = "SELECT v.code FROM k, apikey.verify(k.key) v WHERE k.n = 1;\n";
my $five = "\\set n random(1, 5)\nSELECT v.code FROM k, apikey.verify(k.key) v WHERE k.n = :n;\n";

# with_keys(ACCOUNT): five keys of it in table k
sub with_keys
{
	my ($account) = @_;
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS k;
		CREATE TABLE k AS SELECT n, i.key, i.key_id FROM generate_series(1, 5) n, apikey.issue('$account', 'key ' || n) i");
	return;
}

# passed(SCRIPT): how many calls of a race passed, and that nothing went wrong
sub passed
{
	my ($script, $name) = @_;
	my $before = $node->safe_psql('postgres', q(SELECT count FROM apikey.stats_by_code WHERE code = 'valid'));
	my ($answered, $errors) = load($node, 'postgres', $script, '-c', $clients, '-j', 2, '-t', $calls);
	is($answered, $clients * $calls, "$name: all calls answered") or diag $errors;
	return $node->safe_psql('postgres', q(SELECT count FROM apikey.stats_by_code WHERE code = 'valid')) - $before;
}

for my $run (1 .. $runs)
{
	with_keys("limit-$run");
	$node->safe_psql('postgres', q(SELECT apikey.set_limit(key_id, 'hourly', 1000, '1 hour') FROM k WHERE n = 1));
	is(passed($one, 'a limit of one key'), '1000', '... exactly 1000 pass');

	with_keys("shared-$run");
	$node->safe_psql('postgres', "INSERT INTO apikey.rate_limit (name, account, max, per, shared) VALUES ('hourly', 'shared-$run', 1000, '1 hour', true)");
	is(passed($five, 'a limit shared by five keys'), '1000', '... exactly 1000 pass');

	with_keys("quota-$run");
	$node->safe_psql('postgres', "INSERT INTO apikey.account_policy (account, max_requests_per_day) VALUES ('quota-$run', 1000)");
	# The race could fall on midnight.
	my $day = "SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date";
	my $today = $node->safe_psql('postgres', $day);
	my $count = passed($five, 'a quota');
	ok($count == 1000 || $today ne $node->safe_psql('postgres', $day), "... exactly 1000 pass: $count");

	with_keys("credits-$run");
	$node->safe_psql('postgres', q(SELECT apikey.set_credits(key_id, 1000) FROM k WHERE n = 1));
	is(passed($one, 'credits of a key'), '1000', '... exactly 1000 pass');
	is($node->safe_psql('postgres', 'SELECT credits_remaining FROM apikey.keys WHERE key_id = (SELECT key_id FROM k WHERE n = 1)'), '0', '... none is left');

	with_keys("account-credits-$run");
	$node->safe_psql('postgres', "SELECT apikey.set_account_credits('account-credits-$run', 1000)");
	is(passed($five, 'credits of an account'), '1000', '... exactly 1000 pass');

	# Three limits and both balances: what refuses leaves the others alone.
	with_keys("all-$run");
	$node->safe_psql('postgres', "INSERT INTO apikey.rate_limit (name, account, max, per, shared, weighted) VALUES
		('a', 'all-$run', 1500, '1 hour', true, false), ('b', 'all-$run', 1000, '1 hour', true, true), ('c', 'all-$run', 100000, '1 day', false, false);
		SELECT apikey.set_account_credits('all-$run', 5000), (SELECT sum(apikey.set_credits(key_id, 5000)) FROM k)");
	is(passed($five, 'three limits and credits'), '1000', '... exactly 1000 pass');
	is($node->safe_psql('postgres', "SELECT sum(used) FILTER (WHERE name = 'a') / 5, sum(used) FILTER (WHERE name = 'b') / 5, sum(used) FILTER (WHERE name = 'c') FROM apikey.limits WHERE account = 'all-$run'"),
		'1000|1000|1000', '... each limit has used 1000');
	is($node->safe_psql('postgres', "SELECT credits_remaining, (SELECT 25000 - sum(credits_remaining) FROM apikey.keys WHERE account = 'all-$run') FROM apikey.account_usage WHERE account = 'all-$run'"),
		'4000|1000', '... and the balances paid for 1000');
}

# Refused by one, nothing is spent of the rest; whatever it is that refuses.
my %refusals = (
	rate_limited => "UPDATE apikey.rate_limit SET max = 10 WHERE name = 'a'",
	quota_exceeded => "UPDATE apikey.account_policy SET max_requests_per_day = 10 WHERE account = 'refusals'",
	credits_exhausted => "SELECT apikey.set_account_credits('refusals', 0)");
for my $code (sort keys %refusals)
{
	$node->safe_psql('postgres', "DELETE FROM apikey.rate_limit; DELETE FROM apikey.account_policy WHERE account = 'refusals'; DELETE FROM apikey.key WHERE account = 'refusals'");
	with_keys('refusals');
	# with a flush the quota forgets calls of keys that are gone: not just between two looks
	$node->safe_psql('postgres', 'SELECT apikey.flush_usage()');
	$node->safe_psql('postgres', "INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('a', 'refusals', 100, '1 hour'), ('b', 'refusals', 100, '1 minute');
		INSERT INTO apikey.account_policy (account, max_requests_per_day) VALUES ('refusals', 100000);
		SELECT apikey.set_account_credits('refusals', 1000), apikey.set_credits(key_id, 1000) FROM k WHERE n = 1");
	my $state = "SELECT (SELECT string_agg(name || used, ' ' ORDER BY name) FROM apikey.limits WHERE key_id = (SELECT key_id FROM k WHERE n = 1)),
		(SELECT credits_remaining FROM apikey.keys WHERE key_id = (SELECT key_id FROM k WHERE n = 1)), requests_today FROM apikey.account_usage WHERE account = 'refusals'";
	$node->safe_psql('postgres', 'SELECT v.code FROM k, generate_series(1, 10) g, LATERAL apikey.verify(k.key, cost => 1 + 0 * g) v WHERE n = 1');
	$node->safe_psql('postgres', $refusals{$code});
	my $before = $node->safe_psql('postgres', $state);
	is($node->safe_psql('postgres', 'SELECT DISTINCT v.code FROM k, generate_series(1, 7) g, LATERAL apikey.verify(k.key, cost => 1 + 0 * g) v WHERE n = 1'), $code, "$code");
	is($node->safe_psql('postgres', $state), $before, '... spends nothing of the others');
}
$node->safe_psql('postgres', 'DELETE FROM apikey.rate_limit');

# A rollback gives nothing back.
with_keys('rollback');
$node->safe_psql('postgres', q(SELECT apikey.set_limit(key_id, 'daily', 3, '1 day'), apikey.set_credits(key_id, 5) FROM k WHERE n = 1));
my $verify = 'SELECT v.code FROM k, apikey.verify(k.key) v WHERE n = 1';
$node->safe_psql('postgres', "BEGIN; $verify; ROLLBACK") for 1 .. 3;
is($node->safe_psql('postgres', 'SELECT v.code, v.credits_remaining FROM k, apikey.verify(k.key) v WHERE n = 1'), 'rate_limited|2', 'a rollback gives nothing back');

# Sets that were rolled back, or prepared, with spending on its way
with_keys('sets');
my ($id) = $node->safe_psql('postgres', 'SELECT key_id FROM k WHERE n = 1');
my $session = session($node);
my $spend = 'SELECT v.credits_remaining FROM k, apikey.verify(k.key) v WHERE n = 1';
$node->safe_psql('postgres', "SELECT apikey.set_credits('$id', 100)");
$session->query("BEGIN; SELECT apikey.set_credits('$id', 10)");
is($session->query($spend), '9', 'an uncommitted set is spent from by its own transaction');
is($node->safe_psql('postgres', $spend), '99', '... and not by another');
$session->query('ROLLBACK');
is($session->query($spend), '98', '... and gone when that is rolled back');
flush($node);
is($session->query($spend), '97', '... also after a flush');
SKIP:
{
	$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\napikey.flush_interval = '1h'");
	$session->quit;
	$node->restart;
	$session = session($node);
	is($session->query($spend), '96', 'a restart keeps a balance');
	$session->query("BEGIN; SELECT apikey.set_credits('$id', 50); PREPARE TRANSACTION 'set'");
	is($node->safe_psql('postgres', $spend), '95', 'a prepared set is not in force');
	$node->safe_psql('postgres', "COMMIT PREPARED 'set'");
	is($session->query($spend), '49', '... until it is committed');
	flush($node);
	is($session->query($spend), '48', '... and what was spent before it, and flushed after it, is not taken from it');
	is($node->safe_psql('postgres', "SELECT credits_remaining FROM apikey.keys WHERE key_id = '$id'"), '48', '... nor is it shown so');
	is($node->safe_psql('postgres', "SELECT apikey.add_credits('$id', 2)"), '50', 'adding');
	is($session->query($spend), '49', '... is seen by all');
	$node->append_conf('postgresql.conf', "apikey.flush_interval = '200ms'");
	$node->reload;
}

# A share of every maximum, at least 1; quotas and credits are whole.
with_keys('share');
$node->safe_psql('postgres', "INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('five', 'share', 5, '1 day'), ('one', 'share', 1, '1 ms');
	INSERT INTO apikey.account_policy (account, max_requests_per_day) VALUES ('share', 100)");
$node->append_conf('postgresql.conf', 'apikey.node_share = 0.5');
$node->reload;
ok(soon($node, "SELECT string_agg(name || ' ' || max, ', ' ORDER BY name) = 'five 2, one 1' FROM apikey.limits WHERE key_id = (SELECT key_id FROM k WHERE n = 1)"), 'apikey.node_share');
is($node->safe_psql('postgres', q(SELECT max_requests_per_day FROM apikey.account_usage WHERE account = 'share')), '100', '... leaves quotas alone');
$node->append_conf('postgresql.conf', 'apikey.node_share = 1');
$node->reload;

# A clean stop keeps everything; a crash empties windows, and takes from quota
# and credits no more than what was not flushed.
with_keys('restart');
$node->safe_psql('postgres', q(SELECT apikey.set_limit(key_id, 'daily', 20, '1 day'), apikey.set_credits(key_id, 100) FROM k;
	INSERT INTO apikey.account_policy (account, max_requests_per_day) VALUES ('restart', 100000)));
my $look = q(SELECT (SELECT string_agg(used::text, ' ') FROM apikey.limits WHERE account = 'restart'), (SELECT string_agg(credits_remaining::text, ' ') FROM apikey.keys WHERE account = 'restart'),
	requests_today FROM apikey.account_usage WHERE account = 'restart');
my $ten = 'SELECT v.code FROM k, generate_series(1, 10) g, LATERAL apikey.verify(k.key, cost => 1 + 0 * g) v';
$node->safe_psql('postgres', $ten);
my $seen = $node->safe_psql('postgres', $look);
like($seen, qr/^10 10 10 10 10\|90 90 90 90 90\|/, 'used');
$session->quit;
for my $mode ('fast', 'smart')
{
	$node->stop($mode);
	ok(-e $node->data_dir . '/pg_stat/apikey.limits', "stopped, $mode: what is used is saved");
	$node->start;
	ok(!-e $node->data_dir . '/pg_stat/apikey.limits', '... and loaded once');
	is($node->safe_psql('postgres', $look), $seen, '... nothing is forgotten');
}
$node->safe_psql('postgres', $ten);
is($node->safe_psql('postgres', 'SELECT DISTINCT v.code FROM k, apikey.verify(k.key) v'), 'rate_limited', 'the limits still bind');
flush($node);
$node->kill9;
start_again($node);
$seen = $node->safe_psql('postgres', $look);
like($seen, qr/^0 0 0 0 0\|80 80 80 80 80\|/, 'kill -9 after a flush: windows are empty, credits as they were');
$node->safe_psql('postgres', $ten);
is($node->safe_psql('postgres', 'SELECT DISTINCT v.credits_remaining FROM k, apikey.verify(k.key) v'), '69', '... and all works on');
flush($node);

# A damaged file is no reason not to start.
$node->stop;
my $file = $node->data_dir . '/pg_stat/apikey.limits';
my $good = slurp_file($file);
for my $damage (substr($good, 0, length($good) / 2), $good . 'x', "\xff" x length $good, substr($good, 0, 300) . 'x' . substr($good, 301), '')
{
	open my $handle, '>', $file or die $!;
	binmode $handle;
	print $handle $damage;
	close $handle or die $!;
	my $offset = -s $node->logfile;
	$node->start;
	is(log_lines($node, $offset, 'LOG:  ignoring file ".*apikey.limits"'), '1', 'a damaged file is ignored, with one line in the log');
	like($node->safe_psql('postgres', $look), qr/^0 0 0 0 0\|69 69 69 69 69\|/, '... windows are empty');
	$node->stop;
}

# Memory for 64 meters, and 1000 keys, of which each may pass five times
$node->append_conf('postgresql.conf', 'apikey.limit_slots = 64');
$node->start;
$node->safe_psql('postgres', "DROP TABLE k; CREATE TABLE k AS SELECT n, i.key FROM generate_series(1, 1000) n, apikey.issue('crowd-' || n, 'key') i;
	INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('crowd', '*', 5, '1 day')");
my $crowd = $node->safe_psql('postgres', 'SELECT max(passed), sum(passed) > 100, bool_and(codes) FROM (
	SELECT k.n, count(*) FILTER (WHERE v.ok) AS passed, bool_and(v.code IN ($$valid$$, $$rate_limited$$)) AS codes FROM generate_series(1, 7) g, k, LATERAL apikey.verify(k.key, cost => 1 + 0 * g) v GROUP BY k.n) s');
is($crowd, '5|t|t', 'full memory: nobody passes more often than allowed, and there is no error');
is($node->safe_psql('postgres', 'SELECT limit_slots_used <= 64, limit_slots, limit_overflows > 0 FROM apikey.stats'), 't|64|t', '... and it shows');
# Quotas and credits have room of their own.
$node->safe_psql('postgres', "UPDATE apikey.account_policy SET max_requests_per_day = 3 WHERE account = '*'; DELETE FROM apikey.rate_limit;
	DROP TABLE k; CREATE TABLE k AS SELECT n, i.key FROM generate_series(1, 200) n, apikey.issue('quotas-' || n, 'key') i");
is($node->safe_psql('postgres', 'SELECT min(passed), max(passed) FROM (SELECT k.n, count(*) FILTER (WHERE v.ok) AS passed
	FROM generate_series(1, 5) g, k, LATERAL apikey.verify(k.key, cost => 1 + 0 * g) v GROUP BY k.n) s'), '3|3', 'quotas of more accounts than there is room for are exact still');

is(log_lines($node, 0, 'PANIC|TRAP'), '0', 'no PANIC');
$node->stop;
done_testing();
