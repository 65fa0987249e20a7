# With very many policy rows a session keeps only those it has asked for: they
# too are obeyed as soon as a change is committed, whether they had been read
# before, or been found absent, or the table crosses that size on the way.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = new_node('many', '');
my %key = map { $_ => (issue_keys($node, 'postgres', 1, "'$_', 'key'"))[0][0] } qw(early late absent);
my $warm = session($node);
my $dba = session($node);

# codes(EXPECTED, NAME): of the three accounts, twice, as the first call reads
sub codes
{
	my ($expected, $name) = @_;
	for my $time ('', ', once more')
	{
		is(join(' ', map { $warm->code($key{$_}) } qw(early late absent)), $expected, "$name$time");
	}
	return;
}

codes('valid valid valid', 'few rows');
$dba->query("INSERT INTO apikey.account_policy (account, max_keys) VALUES ('early', 5)");
codes('valid valid valid', 'a row that allows');
for my $rows (4000, 4094, 4095, 4096, 4097, 20000)
{
	$dba->query("INSERT INTO apikey.account_policy (account, api_enabled) SELECT 'n' || n, false FROM generate_series(1, $rows) n ON CONFLICT DO NOTHING");
	$dba->query("INSERT INTO apikey.account_policy (account) VALUES ('late') ON CONFLICT DO NOTHING");
	codes('valid valid valid', "$rows rows");
	$dba->query("UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'late'");
	codes('valid api_disabled valid', "$rows rows: one switched off");
	$dba->query("UPDATE apikey.account_policy SET api_enabled = NULL WHERE account = 'late'; UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'early'");
	codes('api_disabled valid valid', "$rows rows: another one instead");
	$dba->query("INSERT INTO apikey.account_policy (account, api_enabled) VALUES ('absent', false)");
	codes('api_disabled valid api_disabled', "$rows rows: one added");
	$dba->query("DELETE FROM apikey.account_policy WHERE account = 'absent'; UPDATE apikey.account_policy SET api_enabled = true WHERE account = 'early'");
	codes('valid valid valid', "$rows rows: removed");
	$dba->query("UPDATE apikey.account_policy SET api_enabled = false WHERE account = '*'");
	codes('valid api_disabled api_disabled', "$rows rows: the default switched off");
	$dba->query("UPDATE apikey.account_policy SET api_enabled = true WHERE account = '*'");
	codes('valid valid valid', "$rows rows: and on");
}

# In one transaction of the session itself
$warm->query("BEGIN; SAVEPOINT a; UPDATE apikey.account_policy SET api_enabled = false WHERE account = 'late'");
codes('valid api_disabled valid', 'its own change');
$warm->query('ROLLBACK TO a');
codes('valid valid valid', '... rolled back');
$warm->query('COMMIT');

# Thousands of different accounts in one session
$dba->query("UPDATE apikey.account_policy SET api_enabled = (account LIKE 'n%7') WHERE account LIKE 'n%'");
is( $warm->query(
		"SELECT v.code, count(*) FROM generate_series(1, 10000) n, apikey.issue('n' || n, 'key') i, apikey.verify(i.key) v WHERE n % 10 = 7 GROUP BY 1"),
	'valid|1000', 'accounts by the thousand');
codes('valid valid valid', '... and those from before');

$_->quit for $warm, $dba;
$node->stop;
done_testing();
