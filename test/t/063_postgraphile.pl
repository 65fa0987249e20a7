# PostGraphile as a living server: it can only set settings, so each request is
# verified once and hands a sealed context to its transactions.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Fetch;
use Http;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $reason = Fetch::npm("$dir/node", 'postgraphile@4', 'pg@8');
plan skip_all => "PostGraphile: $reason" if $reason;

my $node = new_node('graphql', '');
$node->safe_psql('postgres', q(
	CREATE ROLE gateway LOGIN NOINHERIT;
	CREATE ROLE web;
	GRANT web TO gateway;
	ALTER ROLE gateway SET log_parameter_max_length = 0;
	SELECT apikey.grant_access('gateway', 'verifier');
	CREATE SCHEMA api;
	GRANT USAGE ON SCHEMA api TO web, gateway;
	CREATE TABLE api.docs (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text NOT NULL, name text NOT NULL);
	GRANT SELECT, INSERT ON api.docs TO web;
	ALTER TABLE api.docs ENABLE ROW LEVEL SECURITY;
	CREATE POLICY reading ON api.docs FOR SELECT USING ((SELECT apikey.allows('docs:read')) AND account = (SELECT apikey.current_account()));
	CREATE POLICY writing ON api.docs FOR INSERT WITH CHECK ((SELECT apikey.allows('docs:write')) AND account = (SELECT apikey.current_account()));
	INSERT INTO api.docs (account, name) SELECT a, 'doc ' || n FROM (VALUES ('acme', 3), ('globex', 5)) v (a, many), generate_series(1, many) n;
));
my ($acme) = issue_keys($node, 'postgres', 1, "'acme', 'reads', '{docs:read}'");
my ($globex) = issue_keys($node, 'postgres', 1, "'globex', 'reads and writes', '{docs:read,docs:write}'");

append_to_file("$dir/node/server.cjs", <<'JAVASCRIPT');
const http = require('http'), { Pool } = require('pg'), { postgraphile } = require('postgraphile');
const pool = new Pool({ max: 2 });
const middleware = postgraphile(pool, 'api', {
  disableQueryLog: true,
  pgSettings: async (req) => {
    const { rows: [opened] } = await pool.query('SELECT * FROM apikey.open_context($1)', [req.headers['x-api-key']]);
    if (!opened.ok) throw Object.assign(new Error(opened.message), { status: opened.status });
    return { role: 'web', 'apikey.context': opened.context };
  },
});
http.createServer(middleware).listen(process.argv[2]);
JAVASCRIPT
my $server = fork;
die "fork: $!\n" unless defined $server;
if (!$server)
{
	@ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} = ($node->host, $node->port, 'gateway', 'postgres');
	open STDOUT, '>', "$dir/server.log" or die;
	open STDERR, '>&', \*STDOUT or die;
	exec 'node', "$dir/node/server.cjs", "$dir/front" or POSIX::_exit(127);
}
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if -S "$dir/front";
	select undef, undef, undef, 0.1;
}

my $json = JSON::PP->new->utf8->canonical;

sub graphql
{
	my ($key, $query) = @_;
	my $answer = Http::ask("$dir/front", 'POST', '/graphql',
		[ [ 'Content-Type', 'application/json' ], defined $key ? [ 'X-Api-Key', $key->[0] ] : () ], $json->encode({ query => $query }));
	# chunked, if its length was not known
	my $body = $answer->{body};
	if (lc($answer->{'transfer-encoding'} || '') eq 'chunked') { $body =~ s/^[0-9a-f]+\r\n//i; $body =~ s/\r\n0\r\n\r\n\z//; }
	return ($answer->{status}, eval { $json->decode($body) } || { unreadable => $body });
}

sub names
{
	my ($key) = @_;
	my ($status, $answer) = graphql($key, '{ allDocs { nodes { account } } }');
	return "$status " . ($answer->{errors} ? $answer->{errors}[0]{message} : join ',', map { $_->{account} } @{ $answer->{data}{allDocs}{nodes} });
}

is(names($acme), '200 acme,acme,acme', 'a key reads its own');
is(names($globex), '200 ' . join(',', ('globex') x 5), '... and another one the other\'s');
my $crossings = 0;
for my $n (1 .. 50)
{
	$crossings++ if names($n % 2 ? $acme : $globex) ne ($n % 2 ? '200 acme,acme,acme' : '200 ' . join(',', ('globex') x 5));
}
is($crossings, 0, 'fifty in turn over a pool of two: no crossing');

my $create = 'mutation { createDoc(input: {doc: {account: "globex", name: "new"}}) { doc { name } } }';
my ($status, $answer) = graphql($globex, $create);
is($json->encode($answer->{data}), '{"createDoc":{"doc":{"name":"new"}}}', 'a key with the scope writes');
($status, $answer) = graphql($acme, $create);
like($answer->{errors}[0]{message}, qr/row-level security/, '... and one without does not');
my ($read, $data) = graphql($globex, '{ a: allDocs { totalCount } b: allDocs { totalCount } }');
is($data->{data}{b}{totalCount}, 6, 'several queries in one request');

is(names(undef), '401 API key required', 'no key');
is(names([ 'nonsense' ]), '401 Invalid API key', 'a wrong key');
$node->safe_psql('postgres', "SELECT apikey.revoke('$acme->[1]')");
is(names($acme), '401 Invalid API key', 'a revoked key');

# One verification for each request, however many transactions it took
$node->safe_psql('postgres', 'SELECT apikey.flush_usage()');
is($node->safe_psql('postgres', "SELECT sum(requests), sum(refused) FROM apikey.usage_daily WHERE key_id = '$acme->[1]'"), '28|1', 'one call is counted for each request');
is($node->safe_psql('postgres', "SELECT sum(requests), sum(refused) FROM apikey.usage_daily WHERE key_id = '$globex->[1]'"), '28|0', '... of each key');

kill 'TERM', $server;
waitpid $server, 0;
$node->stop;
unlike(slurp_file($node->logfile), qr/\Q$globex->[0]\E/, 'no key is in the log');
unlike(slurp_file("$dir/server.log"), qr/\Q$globex->[0]\E/, '... of either server');

done_testing();
