# What transactions that work for a key leave behind when the session ends in
# the middle, when the log is told less, and when strangers try keys.  Threat
# T98 for authenticate: no flood of bad keys fills the log.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Counting;

my $node = new_node('failures', "autovacuum = off\nlog_statement = none");
my ($key) = issue_keys($node, 'postgres', 1, "'acme', 'key'");
my $watch = session($node);

# noted(): newest errors, newest last
sub noted
{
	$watch->query('SELECT apikey.flush_usage()');
	return $watch->query('SELECT status, code, path FROM apikey.recent_errors ORDER BY occurred_at');
}

# A session that is ended, at work and while it waits for its client
for my $statement ('SELECT pg_sleep(600)', '')
{
	my $victim = session($node);
	$victim->query("BEGIN; SELECT ok FROM apikey.authenticate('$key->[0]', path => '/[$statement]')");
	my $pid = $victim->query('SELECT pg_backend_pid()');
	$victim->{in} .= "$statement;\n" if $statement;
	$victim->{run}->pump_nb;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $pid AND wait_event = 'PgSleep'") if $statement;
	$watch->query("SELECT pg_terminate_backend($pid)");
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	$victim->quit;
}
is(noted(), "503|57P01|/[SELECT pg_sleep(600)]\n503|57P01|/[]", 'a session that is terminated');

# What the log is not told of is not noted.
my $quiet = session($node);
$quiet->query('SET log_min_messages = fatal');
$quiet->query("BEGIN; SELECT ok FROM apikey.authenticate('$key->[0]', path => '/quiet'); SELECT 1/0; ROLLBACK");
unlike(noted(), qr/quiet/, 'an error that log_min_messages hides');
$quiet->query('RESET log_min_messages');
$quiet->query("BEGIN; SELECT ok FROM apikey.authenticate('$key->[0]', path => '/loud'); SELECT 1/0; ROLLBACK");
like(noted(), qr{400\|22012\|/loud$}, '... and one that it does not');

# Refusals: few lines of log, without statement and key, all of them counted
my $tries = 2000;
my $before = $watch->query("SELECT count FROM apikey.stats_by_code WHERE code = 'key_invalid'");
my $start = time;
my $offset = -s $node->logfile;
$quiet->query(join ' ', map { "BEGIN; SELECT apikey.authenticate('ak_wrong$_'); ROLLBACK;" } 1 .. $tries);
my $elapsed = time - $start;
is($watch->query("SELECT count - $before FROM apikey.stats_by_code WHERE code = 'key_invalid'"), $tries, 'refusals are counted');
my $log = slurp_file($node->logfile, $offset);
my $lines = () = $log =~ /ERROR:  Invalid API key/g;
cmp_ok($lines, '>=', 1, '... and logged');
cmp_ok($lines, '<=', $elapsed + 2, "... at most once a second ($lines lines in $elapsed s)");
unlike($log, qr/ak_wrong/, '... without the statement');
$quiet->query("BEGIN; SELECT apikey.verify('x'); SELECT 1/0; ROLLBACK");
like(slurp_file($node->logfile, $offset), qr/ERROR:  division by zero/, 'other errors are logged all the while');

$_->quit for $quiet, $watch;
$node->stop;
done_testing();
