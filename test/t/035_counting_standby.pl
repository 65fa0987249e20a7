# On a hot standby verify counts in memory; nobody writes it until the standby
# is promoted, and then it is written once.  Threats T63, T75; fault F14.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use ApikeyTest;
use Counting;

my $primary = new_node('primary', "autovacuum = off\napikey.flush_interval = '100ms'", allows_streaming => 1);
some_keys($primary, 'postgres', 20);
my $one = q(\set n random(1, 20)
SELECT v.code FROM k, apikey.verify(k.key) v WHERE k.n = :n;
);
my $total = load($primary, 'postgres', $one, '-c', 2, '-t', 100);
flush($primary);

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
is(counted($standby), $total, 'what the primary counted is there');

my ($here, $errors) = load($standby, 'postgres', $one, '-c', 4, '-t', 250);
is($errors =~ s/^pgbench \(.*\n//mr, '', 'verify works on the standby');
is(stat_of($standby, 'verifications', 'events_buffered', 'events_flushed', 'events_lost'), "$here|$here|0|0", '... and counts, in memory');
is(stat_of($primary, 'verifications'), $total, '... on its own');
my ($id) = $standby->safe_psql('postgres', 'SELECT key_id FROM k WHERE n = 1');
is($standby->safe_psql('postgres', "SELECT apikey.record('$id', 500)"), 't', 'record works');
is($standby->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'apikey%')), '0', 'no worker there');
my $start = time;
like(sql_error($standby, 'postgres', 'SELECT apikey.flush_usage()'), qr/^(55000|25006): .*^HINT: /ms, 'flush_usage says that it cannot');
cmp_ok(time - $start, '<', 5, '... at once');
is($standby->safe_psql('postgres', "SELECT count(*) FROM apikey.usage_daily") > 0, 1, 'views work');

# Over a restart of the standby, and with what the primary counts meanwhile
$standby->restart;
is(stat_of($standby, 'events_buffered'), $here + 1, 'a restarted standby keeps its own');
my $more = load($primary, 'postgres', $one, '-c', 2, '-t', 100);
flush($primary);
$total += $more;
$primary->wait_for_catchup($standby);
$here += load($standby, 'postgres', $one, '-c', 4, '-t', 250);
is(counted($standby), $total, 'until then only the primary counts in the tables');

# Promoted under load
$primary->stop;
my $load = start_load($standby, 'postgres', $one, '-c', 4, '-T', 3);
$standby->poll_query_until('postgres', "SELECT count(*) >= 4 FROM pg_stat_activity WHERE application_name = 'load'") or die 'no load';
$standby->promote;
ok(soon($standby, 'SELECT events_flushed > 0 FROM apikey.stats'), 'promoted: flushed within 10 s');
$here += end_load($load);
flush($standby);
is(counted($standby), $total + $here, '... everything once');
is(stat_of($standby, 'events_lost', 'events_buffered'), '0|0', '... nothing lost');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM apikey.recent_errors'), '1', '... the error too');
is(log_lines($standby, 0, 'PANIC|TRAP|terminated by signal'), '0', 'no crash');

$standby->stop;
done_testing();
