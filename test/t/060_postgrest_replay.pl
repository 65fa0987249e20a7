# PostgREST's statements, literally, as its versions 10 to 16 send them: with
# named and unnamed statements, for reads, writes, functions, transactions
# that are rolled back though they succeed, retries, and in each isolation
# level.  After every transaction of one connection the next client on it must
# find nothing, and every call must have been counted.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Wire;

my $node = new_node('postgrest', qq(
log_min_duration_statement = 0
log_statement = none
apikey.trusted_proxies = '10.0.0.0/8'
));

$node->safe_psql('postgres', q(
	ALTER DATABASE postgres SET apikey.ip_source = 'xff';
	CREATE ROLE authenticator LOGIN NOINHERIT;
	CREATE ROLE careless LOGIN NOINHERIT;
	CREATE ROLE web_anon;
	CREATE ROLE partner;
	GRANT web_anon, partner TO authenticator, careless;
	-- what the documentation asks for: headers are parameters
	ALTER ROLE authenticator SET log_parameter_max_length = 0;
	SELECT apikey.grant_access('web_anon', 'anonymous'), apikey.grant_access('partner', 'anonymous');

	CREATE SCHEMA api;
	GRANT USAGE ON SCHEMA api TO web_anon, partner;
	CREATE TABLE api.items (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text NOT NULL, name text NOT NULL CHECK (name <> ''));
	GRANT SELECT, INSERT ON api.items TO web_anon, partner;
	ALTER TABLE api.items ENABLE ROW LEVEL SECURITY;
	CREATE POLICY reading ON api.items FOR SELECT USING ((SELECT apikey.allows('items:read')) AND account = (SELECT apikey.current_account()));
	CREATE POLICY writing ON api.items FOR INSERT WITH CHECK ((SELECT apikey.allows('items:write')) AND account = (SELECT apikey.current_account()));
	INSERT INTO api.items (account, name) SELECT a, 'item ' || n FROM unnest('{acme,globex}'::text[]) a, generate_series(1, 3) n;
	CREATE FUNCTION api.whoami() RETURNS text LANGUAGE sql STABLE AS 'SELECT concat_ws('' '', current_user, apikey.current_account())';
	CREATE FUNCTION api.touch() RETURNS text LANGUAGE sql VOLATILE AS 'SELECT concat_ws('' '', current_user, apikey.current_account())';
	CREATE FUNCTION api.collide() RETURNS text LANGUAGE plpgsql VOLATILE AS $$BEGIN RAISE EXCEPTION 'collision' USING ERRCODE = '40001'; END$$;
));

my %key;
for my $row (
	[ 'acme', "'acme', 'reads and writes', '{items:read,items:write}', allowed_ips => '{203.0.113.0/24}'" ],
	[ 'globex', "'globex', 'reads', '{items:read}'" ],
	[ 'partner', "'acme', 'with a role', '{items:read}', db_role => 'partner'" ],
	[ 'revoked', "'acme', 'revoked'" ],
	[ 'canary', "'canary', 'seen in the log'" ])
{
	my ($name, $arguments) = @$row;
	($key{$name}) = issue_keys($node, 'postgres', 1, $arguments);
}
$node->safe_psql('postgres', "SELECT apikey.revoke('$key{revoked}[1]')");

# Calls that must be counted, by key
my (%requests, %refused);

sub headers
{
	my ($name, %more) = @_;
	return encode_json({
			host => 'h', accept => '*/*', 'x-forwarded-for' => '203.0.113.9, 10.0.0.2',
			($name ? ('x-api-key' => $key{$name}[0]) : ()), %more });
}

my $tail = q(nullif(current_setting('response.headers', true), '') rh, nullif(current_setting('response.status', true), '') rs);
my %main = (
	read => qq(WITH src AS (SELECT * FROM "api"."items") SELECT null::bigint total, count(t) page, coalesce(json_agg(t), '[]')::text body, $tail FROM (SELECT * FROM src) t),
	write => qq(WITH src AS (INSERT INTO "api"."items" ("account", "name") SELECT "account", "name" FROM json_populate_record(null::"api"."items", \$1) RETURNING *) SELECT '' total, count(t) page, coalesce(json_agg(t), '[]')::text body, $tail FROM (SELECT * FROM src) t),
	map({ $_ => qq(WITH src AS (SELECT "api"."$_"() AS x) SELECT null::bigint total, count(t) page, (json_agg(x)->0)::text body, $tail FROM (SELECT * FROM src) t) } qw(whoami touch collide)));

# Before version 12 the names of settings are parameters as well.
sub pairs_sql
{
	my ($count) = @_;
	return 'select ' . join ', ', map { sprintf 'set_config($%d, $%d, true)', 2 * $_ - 1, 2 * $_ } 1 .. $count;
}

# The statement of settings of each version
my %settings = (
	11 => sub {
		my ($claims, $method, $path, $headers) = @_;
		my @pairs = (search_path => '"api", "public"', role => 'web_anon', statement_timeout => '60s', 'request.jwt.claims' => $claims,
			'request.method' => $method, 'request.path' => $path, 'request.headers' => $headers, 'request.cookies' => '{}');
		return (pairs_sql(@pairs / 2), @pairs);
	},
	12 => sub {
		my ($claims, $method, $path, $headers) = @_;
		return (q(select set_config('search_path', $1, true), set_config($2, $3, true), set_config('role', $4, true), set_config('request.jwt.claims', $5, true), )
			  . q(set_config('request.method', $6, true), set_config('request.path', $7, true), set_config('request.headers', $8, true), set_config('request.cookies', $9, true)),
			'"api", "public"', 'statement_timeout', '60s', 'web_anon', $claims, $method, $path, $headers, '{}');
	});
$settings{10} = sub {
	my ($sql, @pairs) = $settings{11}->(@_);
	my @kept;
	while (my ($name, $value) = splice @pairs, 0, 2) { push @kept, $name, $value if $name ne 'statement_timeout'; }
	return (pairs_sql(@kept / 2), @kept);
};

my $monitor = session($node);
my $json = JSON::PP->new->utf8;
my ($bad, @bad) = (0);

# An assertion of which there are thousands: only failures are shown.
sub holds
{
	my ($true, $what) = @_;
	return if $true;
	$bad++;
	push @bad, $what if @bad < 20;
	return;
}

# What PostgREST does with a transaction: BEGIN, settings, hook, main
# statement, end.  Returns what happened as a hash.
sub request
{
	my ($wire, $version, %is) = @_;
	my $what = "v$version $is{what}";
	my $level = $is{level} || 'READ COMMITTED';
	my $mode = $is{mode} || 'READ ONLY';
	my %happened;

	my $before = $wire->simple(q(SELECT apikey.is_authenticated(), current_setting('role'), coalesce(current_setting('request.headers', true), ''), coalesce(current_setting('request.jwt.claims', true), '')))->{rows}[0];
	holds("@$before" eq 'f none  ', "$what: nothing is left of the request before, but @$before");

	my $result = $wire->run("BEGIN ISOLATION LEVEL $level $mode");
	holds(!$result->{error}, "$what: BEGIN");
	my ($sql, @parameters) = $settings{$version}->($is{claims} || '{"role":"web_anon"}', $is{method} || 'GET', $is{path} || '/items', $is{headers});
	$result = $wire->run($sql, @parameters);
	holds(!$result->{error}, "$what: settings, " . ($result->{error}{M} || ''));
	$result = $version == 10 ? $wire->simple('select "apikey"."pre_request"();') : $wire->run('select "apikey"."pre_request"()');
	$happened{hook} = $result;
	if (!$result->{error})
	{
		# what the hook holds, and what it has left in sight
		my $locks = $monitor->query("SELECT count(*) FILTER (WHERE mode <> 'AccessShareLock'), count(*) FILTER (WHERE locktype IN ('advisory', 'transactionid', 'tuple')) FROM pg_locks WHERE pid = " . $wire->pid . " AND locktype <> 'virtualxid'");
		holds($locks eq '0|0', "$what: no lock, but $locks");
		# pg_settings leaves out settings that nobody has defined
		my $seen = $wire->run(q(SELECT sum(strpos(current_setting(n, true), $1)) FROM unnest('{request.headers,request.cookies,request.jwt.claims,response.headers}'::text[]) n)
			  . q( WHERE strpos(current_setting(n, true), $1) > 0), $is{key} ? $key{ $is{key} }[0] : 'no key at all')->{rows}[0][0];
		holds(!defined $seen, "$what: the key is in no setting");
		$result = $wire->run($main{ $is{main} || 'read' }, defined $is{body} ? $is{body} : ());
		$happened{main} = $result;
		$wire->run('SET CONSTRAINTS ALL IMMEDIATE') if $is{rollback} && !$result->{error};
	}
	my $end = $result->{error} || $is{rollback} ? 'ABORT' : 'COMMIT';
	$result = $wire->run($end);
	holds(!$result->{error} && $result->{state} eq 'I', "$what: $end");
	my $left = $monitor->query('SELECT count(*) FROM pg_locks WHERE pid = ' . $wire->pid);
	holds($left eq '0', "$what: $left locks left");
	return \%happened;
}

sub body { return $_[0]{main}{error} ? "error $_[0]{main}{error}{C}" : $_[0]{main}{rows}[0][2]; }
sub page { return $_[0]{main}{error} ? "error $_[0]{main}{error}{C}" : $_[0]{main}{rows}[0][1]; }

# A refusal must be what the version understands.
sub refusal
{
	my ($happened, $version) = @_;
	my $error = $happened->{hook}{error} or return 'none';
	return "$error->{C} $error->{M}" if $version < 12;
	return "$error->{C}?" if $error->{C} ne 'PGRST';
	my $body = eval { $json->decode($error->{M}) } or return 'no JSON in the message';
	my $head = eval { $json->decode($error->{D}) } or return 'no JSON in the detail';
	return 'incomplete body' if grep { !exists $body->{$_} } qw(code message details hint);
	return 'no headers' unless ref $head->{headers} eq 'HASH';
	return 'a header is no string' if grep { ref || !defined } values %{ $head->{headers} };
	return "$head->{status} $body->{code}" . (exists $head->{headers}{'WWW-Authenticate'} ? ' with challenge' : '');
}

# All kinds of requests, over one connection
sub all_requests
{
	my ($wire, $version) = @_;
	my $pt = $version < 12;
	my $happened;

	$happened = request($wire, $version, what => 'read', key => 'acme', headers => headers('acme'));
	holds(page($happened) eq '3', "v$version: reads its own three, but " . page($happened));
	$requests{acme}++;
	$happened = request($wire, $version, what => 'anonymous', headers => headers(undef));
	holds(page($happened) eq '0', "v$version: nobody reads nothing");
	$happened = request($wire, $version, what => 'another account', key => 'globex', headers => headers(undef, authorization => "ApiKey $key{globex}[0]"));
	holds(body($happened) =~ /globex/ && body($happened) !~ /acme/, "v$version: the next client reads its own");
	$requests{globex}++;
	$happened = request($wire, $version, what => 'role', key => 'partner', main => 'whoami', method => 'POST', path => '/rpc/whoami', headers => headers('partner'));
	holds(body($happened) eq '"partner acme"', "v$version: the key's role, but " . body($happened));
	$requests{partner}++;
	$happened = request($wire, $version, what => 'revoked', key => 'revoked', headers => headers('revoked'));
	holds(refusal($happened, $version) eq ($pt ? 'PT401 Invalid API key' : '401 key_invalid with challenge'), "v$version: revoked: " . refusal($happened, $version));
	$requests{revoked}++, $refused{revoked}++;
	$happened = request($wire, $version, what => 'address', key => 'acme', headers => headers('acme', 'x-forwarded-for' => '203.0.113.9, 198.51.100.7, 10.0.0.2'));
	holds(refusal($happened, $version) eq ($pt ? 'PT403 IP address not allowed' : '403 ip_not_allowed'), "v$version: address: " . refusal($happened, $version));
	$requests{acme}++, $refused{acme}++;
	$happened = request($wire, $version, what => 'two keys', headers => headers('acme', authorization => "ApiKey $key{globex}[0]"));
	holds(refusal($happened, $version) eq ($pt ? 'PT400 Bad request' : '400 bad_request with challenge'), "v$version: two keys: " . refusal($happened, $version));
	$happened = request($wire, $version, what => 'write', key => 'acme', mode => 'READ WRITE', method => 'POST', main => 'write', body => '{"account": "acme", "name": "new"}', headers => headers('acme'), rollback => 1);
	holds(page($happened) eq '1', "v$version: writes, and is rolled back as asked: " . page($happened));
	$requests{acme}++;
	$happened = request($wire, $version, what => 'forbidden write', key => 'globex', mode => 'READ WRITE', method => 'POST', main => 'write', body => '{"account": "globex", "name": "new"}', headers => headers('globex'));
	holds(page($happened) eq 'error 42501', "v$version: may not write: " . page($happened));
	$requests{globex}++;
	$happened = request($wire, $version, what => 'failing write', key => 'acme', mode => 'READ WRITE', method => 'POST', main => 'write', body => '{"account": "acme", "name": ""}', headers => headers('acme'));
	holds(page($happened) eq 'error 23514', "v$version: a constraint: " . page($happened));
	$requests{acme}++;
	$happened = request($wire, $version, what => 'function', key => 'acme', mode => 'READ WRITE', method => 'POST', path => '/rpc/touch', main => 'touch', headers => headers('acme'));
	holds(body($happened) eq '"web_anon acme"', "v$version: a function: " . body($happened));
	$requests{acme}++;
	for my $attempt (1 .. ($version < 16 ? 3 : 1))
	{
		$happened = request($wire, $version, what => "retry $attempt", key => 'acme', mode => 'READ WRITE', method => 'POST', path => '/rpc/collide', main => 'collide', headers => headers('acme'));
		holds(page($happened) eq 'error 40001', "v$version: a collision is the function's, not the hook's");
		$requests{acme}++;
	}
	for my $level ('REPEATABLE READ', 'SERIALIZABLE')
	{
		$happened = request($wire, $version, what => $level, key => 'acme', level => $level, headers => headers('acme'));
		holds(page($happened) eq '3', "v$version: in $level");
		$requests{acme}++;
	}
	return;
}

for my $version (10, 11, 12, 14, 16)
{
	my $as = $version > 12 ? 12 : $version;
	$settings{$version} ||= $settings{$as};
	$node->safe_psql('postgres', "ALTER ROLE authenticator SET apikey.error_style = " . ($version < 12 ? 'pt' : 'pgrst'));
	for my $named (1, 0)
	{
		my $wire = Wire->new($node, 'authenticator', $named);
		$bad = 0, @bad = ();
		# more than five times: then a named statement gets a generic plan
		all_requests($wire, $version) for 1 .. ($named ? 7 : 1);
		is($bad, 0, "version $version, " . ($named ? 'named' : 'unnamed') . ' statements') or diag join "\n", @bad;
		$wire->close;
	}
}

# Everything was counted, the refused and the rolled back as well.
$node->safe_psql('postgres', 'SELECT apikey.flush_usage()');
for my $name (qw(acme globex partner revoked))
{
	is( $node->safe_psql('postgres', "SELECT sum(requests), sum(refused) FROM apikey.usage_daily WHERE key_id = '$key{$name}[1]'"),
		$requests{$name} . '|' . ($refused{$name} || 0), "all calls of key $name are counted");
}
is($node->safe_psql('postgres', "SELECT count FROM apikey.stats_by_code WHERE code = 'bad_request'"), 5 * 8, 'bad requests as well');
is($node->safe_psql('postgres', 'SELECT count(*) FROM api.items'), 6, 'nothing was written by what was rolled back');

# A revocation counts at once on a warm connection, in mid-life.
{
	my $wire = Wire->new($node, 'authenticator', 1);
	my $happened = request($wire, 12, what => 'before', key => 'globex', headers => headers('globex'));
	is(refusal($happened, 12), 'none', 'a key passes');
	$node->safe_psql('postgres', "SELECT apikey.revoke('$key{globex}[1]')");
	$happened = request($wire, 12, what => 'after', key => 'globex', headers => headers('globex'));
	is(refusal($happened, 12), '401 key_invalid with challenge', '... and not once it is revoked');
	$wire->close;
}

# The log: nothing of the keys, and a proof that the search would find them.
{
	my $wire = Wire->new($node, 'careless', 1);
	request($wire, 12, what => 'careless', key => 'canary', headers => headers('canary'));
	$wire->close;
	$monitor->quit;
	$node->stop;
	my $log = slurp_file($node->logfile);
	like($log, qr/"apikey"\."pre_request"/, 'the log has the statements');
	like($log, qr/\Q$key{canary}[0]\E/, 'a login that logs parameters shows its key: the search works');
	unlike($log, qr/\Q$key{$_}[0]\E/, "key $_ is not in the log") for qw(acme globex partner revoked);
	unlike($log, qr/^.*ERROR:.*"code".*\n.*(STATEMENT|CONTEXT):/m, 'refusals come without statement and context');
}

done_testing();
