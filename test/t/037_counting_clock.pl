# The server's clock set back and forth, as by an operator or a step of NTP:
# every call is counted once, in the hour that the clock shows; expiry follows
# the clock exactly; the flush worker goes on at its own pace.  Threat T94,
# fault F20.  The clock is the server's alone (faults.c).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Counting;

my $clock = PostgreSQL::Test::Utils::tempdir . '/clock';
my %offset = ('+0' => 0, '-1h' => -3600, '+1h' => 3600, '+1d' => 86400, '-1d' => -86400, '+40d' => 40 * 86400);

# set_clock(OFFSET): at once, as the file is moved there
sub set_clock
{
	my ($offset) = @_;
	PostgreSQL::Test::Utils::append_to_file("$clock.new", "$offset{$offset}\n");
	rename "$clock.new", $clock or die $!;
	return;
}

my $node = bare_node('clock', "apikey.flush_interval = '200ms'\nautovacuum = off");
sub under_clock
{
	return with_faults(sub { $node->start }, FAULTS_CLOCK => $clock);
}
set_clock('+0');
preload($node);
under_clock() or plan skip_all => 'the clock cannot be set: this needs a C compiler and Linux';
$node->safe_psql('postgres', 'CREATE EXTENSION apikey CASCADE');
some_keys($node, 'postgres', 3);
my $session = session($node);
my $real = time;
$session->query("CREATE TABLE e AS SELECT * FROM apikey.issue('acme', 'half an hour', expires_at => to_timestamp($real + 1800))");
set_clock('+1h');
cmp_ok(abs($session->query('SELECT round(extract(epoch FROM clock_timestamp()))') - $real - 3600), '<', 600, 'the clock can be set');

my $answered = 0;
for my $step (qw(+0 -1h +1h +1d -1d +0 -1d +1d -1h +40d +0))
{
	set_clock($step);
	my $expired = $offset{$step} >= 1800;
	is($session->query('SELECT v.code FROM e, apikey.verify(e.key) v'), $expired ? 'key_expired' : 'valid', "the clock at $step: the key that ends in half an hour");
	$session->query("SELECT v.code FROM k, generate_series(1, 10) g, apikey.verify(k.key, account => CASE WHEN n = 3 AND g > 0 THEN 'other' END, cost => g) v");
	$answered += 31;
	# of its own accord, whatever time it is
	ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats', 60), '... the worker writes what is counted');
	is(counted($node), $answered, '... all of it, once');
	is($session->query("SELECT count(*) FROM apikey.key_usage"), '4', '... the views can be read');
	is($session->query('SELECT flush_lag_seconds >= 0, last_flush_error IS NULL, events_lost FROM apikey.stats'), 't|t|0', '... no lag below zero, no error, nothing lost');
}
is($session->query('SELECT count(*) FROM (SELECT key_id, day, node FROM apikey.usage_day GROUP BY 1, 2, 3 HAVING count(*) > 1) twice'), '0', 'one row a day and key');
is($session->query("SELECT string_agg(DISTINCT r::text, ' ') FROM (SELECT sum(requests) AS r FROM apikey.counted_days JOIN k USING (key_id) GROUP BY key_id) s"), 110, 'each key has all its requests');
# Where the clock was, there they are
for my $step (sort keys %offset)
{
	my $times = grep { $_ eq $step } qw(+0 -1h +1h +1d -1d +0 -1d +1d -1h +40d +0);
	cmp_ok($session->query("SELECT coalesce(sum(requests), 0) FROM apikey.counted_hours JOIN k USING (key_id) WHERE hour BETWEEN to_timestamp($real + $offset{$step}) - interval '1 hour' AND to_timestamp($real + $offset{$step}) + interval '1 hour'"),
		'>=', 30 * $times, "the hours at $step have what was counted then");
}

# A flush that failed is tried again soon, though the clock be set back a day.
$session->query(q(
	CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE disk_full USING MESSAGE = 'no room for usage'; END$$;
	CREATE TRIGGER no_room AFTER INSERT OR UPDATE ON apikey.flush_state FOR EACH ROW EXECUTE FUNCTION no_room()));
set_clock('+1d');
$session->query('SELECT v.code FROM k, apikey.verify(k.key) v');
$answered += 3;
ok(soon($node, 'SELECT last_flush_error IS NOT NULL FROM apikey.stats', 60), 'a flush fails');
set_clock('-1d');
$session->query('DROP TRIGGER no_room ON apikey.flush_state');
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats', 60), '... and is tried again soon, by a clock that was set back');
is(counted($node), $answered, '... counted');

# Clean stops: what is saved with the clock set back is newer all the same.
$node->append_conf('postgresql.conf', "apikey.flush_interval = '1h'");
$session->quit;
for my $step (qw(+1h -1h +0))
{
	set_clock($step);
	$node->safe_psql('postgres', 'SELECT v.code FROM k, apikey.verify(k.key) v');
	$answered += 3;
	$node->stop('fast');
	under_clock();
	flush($node);
	is(counted($node), $answered, "a clean stop with the clock at $step: nothing lost, nothing twice");
}
is(log_lines($node, 0, 'PANIC|TRAP|terminated by signal'), '0', 'no crash');
$node->stop;
done_testing();
