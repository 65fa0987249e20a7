# Two tenants over one server connection, through a real pgbouncer in
# transaction mode: thousands of swaps, and nobody ever sees what is the
# other's.  Threat T72, fault F23.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Fetch;

my $transactions = 7500;    # of each tenant
my $swaps_wanted = 10_000;

# short, for the paths of sockets are
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $pgbouncer = (grep { -x } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/usr/local/bin/pgbouncer')[0];
if (!$pgbouncer)
{
	my $reason = Fetch::debian("$dir/deb", qw(pgbouncer libevent-2.1-7 libc-ares2));
	plan skip_all => "pgbouncer: $reason" if $reason;
	$pgbouncer = "$dir/deb/root/usr/sbin/pgbouncer";
	$ENV{LD_LIBRARY_PATH} = join ':', glob("$dir/deb/root/usr/lib/*-linux-*"), $ENV{LD_LIBRARY_PATH} || ();
}
my $version = `$pgbouncer --version 2>&1`;
plan skip_all => 'pgbouncer does not run here' unless $version =~ /PgBouncer ([\d.]+)/;
note "pgbouncer $1";

my $node = new_node('pooled', "autovacuum = off\nlog_statement = none");
my $port = $node->port;
my $host = $node->host;
my @tenants = map { { account => "tenant-$_", key => (issue_keys($node, 'postgres', 1, "'tenant-$_', 'key', '{docs:read}'"))[0][0] } } 0, 1;
$node->safe_psql('postgres', q(
	CREATE ROLE app LOGIN;
	SELECT apikey.grant_access('app', 'verifier');
	CREATE TABLE doc (id integer, account text);
	INSERT INTO doc SELECT n, 'tenant-' || n % 3 FROM generate_series(1, 30) n;
	ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
	CREATE POLICY tenant ON doc USING ((SELECT apikey.allows('docs:read')) AND account = (SELECT apikey.current_account()));
	CREATE TABLE visit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text, pid integer DEFAULT (pg_backend_pid()),
		stale boolean DEFAULT (apikey.is_authenticated() OR apikey.allows('docs:read') OR apikey.current_account() IS NOT NULL), seen text);
	GRANT SELECT ON doc TO app;
	GRANT SELECT, INSERT, UPDATE ON visit TO app;
));
$_->{context} = $node->safe_psql('postgres', "SELECT context FROM apikey.open_context('$_->{key}', ttl => '1 hour')") for @tenants;

# The pooler: one connection to the server, and nothing resets it.
append_to_file("$dir/pgbouncer.ini", <<"END");
[databases]
postgres = host=$host port=$port dbname=postgres user=app
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $dir
auth_type = any
pool_mode = transaction
default_pool_size = 1
max_client_conn = 50
ignore_startup_parameters = extra_float_digits
logfile = $dir/pgbouncer.log
END
my ($in, $out) = ('', '');
my $pooler = IPC::Run::start([ $pgbouncer, "$dir/pgbouncer.ini" ], '<', \$in, '>&', \$out);
my $ready = 0;
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$ready = -S "$dir/.s.PGSQL.6432" && system("psql -XAtq -h $dir -p 6432 -U app -d postgres -c 'SELECT 1' >$dir/ready 2>&1") == 0;
	last if $ready || !$pooler->pumpable;
	select undef, undef, undef, 0.1;
}
ok($ready, 'pgbouncer runs') or BAIL_OUT('pgbouncer: ' . slurp_file("$dir/pgbouncer.log"));

# Each transaction notes first whether it finds somebody, works for its own
# tenant, and notes whose rows it sees.
sub script
{
	my ($name, $tenant, $begin, $end) = @_;
	append_to_file("$dir/$name.sql", <<"END");
BEGIN;
INSERT INTO visit (tenant) VALUES ('$tenant->{account}') RETURNING id \\gset
$begin
UPDATE visit SET seen = (SELECT string_agg(DISTINCT account, ',') FROM doc) WHERE id = :id;
$end
END
	return "$dir/$name.sql";
}
my @runs;
for my $tenant (@tenants)
{
	my $name = $tenant->{account};
	my $authenticate = "SELECT ok FROM apikey.authenticate('$tenant->{key}', 'docs:read');";
	my $context = "SET LOCAL apikey.context = '$tenant->{context}';";
	my @scripts = (
		script("$name-authenticate", $tenant, $authenticate, 'COMMIT;') . '@8',
		script("$name-context", $tenant, $context, 'COMMIT;') . '@8',
		# what is left behind carelessly
		script("$name-session", $tenant, "SET apikey.context = '$tenant->{context}';", 'COMMIT;') . '@2',
		script("$name-outside", $tenant, $authenticate, "COMMIT;\nSET apikey.context = '$tenant->{context}';") . '@2',
		script("$name-savepoint", $tenant, "SAVEPOINT s; $authenticate RELEASE s;", 'COMMIT;') . '@1');
	push @runs, IPC::Run::start([ 'pgbench', '-n', '-h', $dir, '-p', 6432, '-U', 'app', '-c', 1, '-t', $transactions,
			(map { ('-f', $_) } @scripts), 'postgres' ],
		'<', \undef, '>', \$tenant->{out}, '2>', \$tenant->{err});
}
my @ended = map { $_->finish } @runs;
ok($ended[$_], "pgbench of $tenants[$_]{account} ends well") or diag($tenants[$_]{err}) for 0, 1;

my ($visits, $backends, $stale, $own, $other) = split /\|/, $node->safe_psql('postgres', q(
	SELECT count(*), count(DISTINCT pid), count(*) FILTER (WHERE stale), count(*) FILTER (WHERE seen = tenant),
		count(*) FILTER (WHERE seen IS DISTINCT FROM tenant) FROM visit));
my $swaps = $node->safe_psql('postgres',
	'SELECT count(*) FROM (SELECT tenant <> lag(tenant) OVER (ORDER BY id) AS swap FROM visit) v WHERE swap');
is($visits, 2 * $transactions, "$visits transactions");
is($backends, 1, '... over one server connection');
cmp_ok($swaps, '>=', $swaps_wanted, "... $swaps swaps between tenants");
is($stale, 0, '... none begins as somebody');
is($own, $visits, '... each sees its own rows');
is($other, 0, '... 0 crossings');

# The detector works: an ordinary setting is carried over.
is($node->safe_psql('postgres', qq(SELECT current_setting('apikey.context') = ''), connstr => "host=$dir port=6432 user=app dbname=postgres"),
	'f', 'a setting left behind is still there for the next client');

$pooler->kill_kill;
$node->stop;
done_testing();
