# A standby has limits of its own, and learns what its primary has let pass of
# quotas and credits once that is flushed and replayed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Counting;

my $primary = new_node('primary', "autovacuum = off\napikey.flush_interval = '200ms'", allows_streaming => 1);
some_keys($primary, 'postgres', 2);
$primary->safe_psql('postgres', q(SELECT apikey.set_limit(key_id, 'daily', 5, '1 day') FROM k WHERE n = 1; SELECT apikey.set_credits(key_id, 100) FROM k WHERE n = 2));
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

# calls(NODE, NUMBER OF THE KEY, HOW MANY): what the last of them says
sub calls
{
	my ($node, $n, $count) = @_;
	my @rows = split /\n/, $node->safe_psql('postgres',
		"SELECT v.code, v.limit_remaining, v.credits_remaining FROM k, generate_series(1, $count) g, LATERAL apikey.verify(k.key, cost => 1 + 0 * g) v WHERE n = $n");
	return $rows[-1];
}

is(calls($primary, 1, 4), 'valid|1|', 'a limit on the primary');
is(calls($standby, 1, 5), 'valid|0|', '... and on the standby');
is(calls($standby, 1, 1), 'rate_limited|0|', '... each has its own window');

is(calls($standby, 2, 10), 'valid||90', 'credits are spent on a standby');
is(calls($primary, 2, 30), 'valid||70', '... and on the primary');
flush($primary);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $left = '';
my $asked = 0;
for (1 .. 200)
{
	$asked++;
	$left = $standby->safe_psql('postgres', 'SELECT v.credits_remaining FROM k, apikey.verify(k.key, cost => 0) v WHERE n = 2');
	last if $left eq '60';
	select undef, undef, undef, 0.1;
}
is($left, '60', '... which the standby learns');

$primary->safe_psql('postgres', q(INSERT INTO apikey.account_policy (account, max_requests_per_day) VALUES ('acme', 100000); SELECT apikey.set_credits(key_id, 7) FROM k WHERE n = 2));
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
# 34 calls have passed on the primary, 15 and these on the standby.
is(calls($standby, 2, 1), join('|', 'valid', 100000 - 34 - 15 - $asked - 1, 6), 'a quota and credits that were set count once replayed');

$standby->stop;
$primary->stop;
done_testing();
