# Without shared_preload_libraries: whoever restores a backup, or tries the
# extension out, must be able to install it and to manage keys, and must be
# told what is missing where verify cannot work.  Threat T51.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = bare_node('plain');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION apikey CASCADE');
pass('CREATE EXTENSION works');

is($node->safe_psql('postgres', "SELECT apikey.covers('calls:* contacts:read', 'calls:read')"),
	't', 'types work');

# What says what is missing, in the first call of a session and after others
for my $function (qw(verify explain authenticate))
{
	for my $before ('', "SELECT 'a:b'::apikey.scopes;", "LOAD 'apikey';")
	{
		my $error = sql_error($node, 'postgres', "$before SELECT * FROM apikey.$function('x')");
		like($error, qr/^55000: /, "$function raises 55000 after \"$before\"");
		like($error, qr/^HINT: .*shared_preload_libraries/m, '... and names the setting');
	}
}
# PostgREST wants an answer that it can hand on.
for my $headers ('{}', '{"x-api-key": "x"}')
{
	my $error = sql_error($node, 'postgres', qq(
		BEGIN READ ONLY;
		SELECT set_config('request.method', 'GET', true), set_config('request.headers', '$headers', true);
		SELECT apikey.pre_request()));
	like($error, qr/^PGRST: .*"code":"unavailable".*^DETAIL: .*"status":503/ms, "pre_request answers 503 to headers $headers");
}
is($node->psql('postgres', 'SELECT apikey.pre_request()'), 0, '... and does nothing outside of PostgREST');
like(
	sql_error($node, 'postgres', "SELECT * FROM apikey.verify(NULL)",
		extra_params => [ '-d', $node->connstr('postgres') . " options='-c session_preload_libraries=apikey'" ]),
	qr/^55000: .*shared_preload_libraries/s, 'another way to load the library is not enough');

is($node->safe_psql('postgres', "SELECT apikey.is_authenticated(), apikey.allows('a'), apikey.current_account() IS NULL AND apikey.current_key_id() IS NULL"),
	'f|f|t', 'the helpers know nobody');

# Management
my @keys = issue_keys($node, 'postgres', 5, "'acme', 'key ' || n");
is(scalar @keys, 5, 'issue works');
my ($revoked, $disabled, $renamed, $rotated, $live) = @keys;
is( $node->safe_psql(
		'postgres', qq(
		SELECT apikey.revoke('$revoked->[1]'), apikey.disable('$disabled->[1]'),
			apikey.alter_key('$renamed->[1]', name => 'renamed', actor => 'ada'), apikey.set_current_pepper(apikey.add_pepper()))),
	't|t|t|', 'management works');
my ($successor) = split /\|/, $node->safe_psql('postgres', "SELECT key FROM apikey.rotate('$rotated->[1]')");
is( $node->safe_psql('postgres', "SELECT status, count(*) FROM apikey.keys GROUP BY 1 ORDER BY 1"),
	"active|3\ndisabled|1\nrevoked|2", 'views work');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey.find_keys('see $live->[0] here')"),
	'1', 'find_keys works');
is($node->safe_psql('postgres', "UPDATE apikey.account_policy SET max_keys = 50 WHERE account = '*'; SELECT action, object FROM apikey.audit_log WHERE object LIKE 'account%'"),
	'update|account_policy *', 'policy can be edited, and is audited');

# Until the library is loaded, anybody may make up settings with its prefix.
my ($rc, $out, $err) = $node->psql('postgres', qq(
	CREATE ROLE stranger;
	SET ROLE stranger;
	SET apikey.pepper_file = '/tmp/stranger';
	SET apikey.made_up = 'x';
	RESET ROLE;
	SELECT 'a:b'::apikey.scopes;
	SELECT '[' || current_setting('apikey.pepper_file') || ']', '[' || coalesce(current_setting('apikey.made_up', true), '') || ']'));
is($out, "a:b\n[]|[]", 'settings made up before the library was loaded are void');

# With the library all is as it should be.
preload($node);
$node->restart;
is(verdicts($node, 'postgres', map({ $_->[0] } @keys), $successor),
	'key_revoked key_disabled valid key_revoked valid valid',
	'once preloaded, verify works with the keys made before');
is( $node->safe_psql('postgres', "SELECT passed FROM apikey.explain('$live->[0]') WHERE step = 'verdict'"),
	't', 'explain as well');

$node->stop;
done_testing();
