# nginx in front of a server, with auth_request: a bridge asks http_check, and
# the server behind learns who calls from nginx alone.

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
use Wire;

my $nginx = (grep { -x } '/usr/sbin/nginx', '/usr/local/sbin/nginx')[0];
# short, for the paths of sockets are
my $dir = PostgreSQL::Test::Utils::tempdir_short();
if (!$nginx)
{
	my $reason = Fetch::debian("$dir/deb", 'nginx', 'nginx-common');
	plan skip_all => "nginx: $reason" if $reason;
	$nginx = "$dir/deb/root/usr/sbin/nginx";
}
my $version = `$nginx -V 2>&1`;
plan skip_all => 'nginx does not run here, or lacks auth_request' unless $version =~ /auth_request/;

my $node = new_node('gateway', '');
$node->safe_psql('postgres', q(
	CREATE ROLE bridge LOGIN;
	SELECT apikey.grant_access('bridge', 'verifier');
	ALTER ROLE bridge SET apikey.route_pattern = '/api/{account}/{resource}';
	ALTER ROLE bridge SET apikey.route_scope = on;
	ALTER ROLE bridge SET log_parameter_max_length = 0;
	INSERT INTO apikey.rate_limit (name, account, max, per) VALUES ('per_hour', 'slow', 2, '1 hour');
));
my ($key) = issue_keys($node, 'postgres', 1, "'acme', 'full', '{calls:read,calls:write}'");
my ($other) = issue_keys($node, 'postgres', 1, "'acme', 'another', '{calls:read}'");
my ($slow) = issue_keys($node, 'postgres', 1, "'slow', 'limited', '{calls:read}'");
my ($office) = issue_keys($node, 'postgres', 1, "'acme', 'office', '{calls:read}', allowed_ips => '{203.0.113.0/24}'");

my $json = JSON::PP->new->utf8;

# The bridge: what nginx asks becomes a call, and the row becomes the answer.
my $bridge_client;
my $bridge = Http::serve("$dir/bridge", sub {
	my ($method, $target, $headers) = @_;
	my (%headers, %about);
	for my $header (@$headers)
	{
		my $name = lc $header->[0];
		if ($name =~ /^x-original-(\w+)$/) { $about{$1} = $header->[1]; next; }
		push @{ $headers{$name} }, $header->[1];
	}
	$bridge_client ||= Wire->new($node, 'bridge', 1);
	my $result = $bridge_client->run(
		q(SELECT status, response_headers || upstream_headers, body, content_type FROM apikey.http_check($1, $2, $3, $4, dialect => 'nginx')),
		$json->encode(\%headers), @about{qw(method uri peer)});
	return [ 500, [], '' ] if $result->{error};
	my ($status, $answer, $body, $type) = @{ $result->{rows}[0] };
	return [ $status, [ @{ $json->decode($answer) }, $type ? [ 'Content-Type', $type ] : () ], $body ];
});

# The server behind: says what it was told.
my $backend = Http::serve("$dir/backend", sub {
	my ($method, $target, $headers) = @_;
	return [ 200, [ [ 'Content-Type', 'application/json' ] ], $json->encode({ map { lc $_->[0] => $_->[1] } @$headers }) ];
});

append_to_file("$dir/nginx.conf", qq(
daemon off;
master_process off;
error_log $dir/error.log info;
pid $dir/nginx.pid;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi; uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
	server {
		listen unix:$dir/front;
		location / {
			auth_request /_apikey;
			auth_request_set \$apikey_id \$upstream_http_x_apikey_id;
			auth_request_set \$apikey_account \$upstream_http_x_apikey_account;
			auth_request_set \$apikey_scopes \$upstream_http_x_apikey_scopes;
			auth_request_set \$apikey_status \$upstream_http_x_apikey_status;
			auth_request_set \$apikey_retry_after \$upstream_http_x_apikey_retry_after;
			auth_request_set \$apikey_limit \$upstream_http_ratelimit;
			error_page 403 = \@refused;
			add_header RateLimit \$apikey_limit always;
			proxy_set_header X-Apikey-Id \$apikey_id;
			proxy_set_header X-Apikey-Account \$apikey_account;
			proxy_set_header X-Apikey-Scopes \$apikey_scopes;
			proxy_set_header X-Apikey-Kind "";
			proxy_set_header X-Apikey-Session "";
			proxy_set_header X-Api-Key "";
			proxy_set_header Authorization "";
			proxy_pass http://unix:$dir/backend:;
		}
		location = /_apikey {
			internal;
			proxy_pass http://unix:$dir/bridge:/;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
			proxy_set_header X-Original-Method \$request_method;
			proxy_set_header X-Original-Uri \$request_uri;
			proxy_set_header X-Original-Peer "198.51.100.7";
		}
		location \@refused {
			internal;
			add_header Retry-After \$apikey_retry_after always;
			add_header RateLimit \$apikey_limit always;
			if (\$apikey_status = 400) { return 400; }
			if (\$apikey_status = 402) { return 402; }
			if (\$apikey_status = 429) { return 429; }
			if (\$apikey_status = 503) { return 503; }
			return 403;
		}
	}
}
));
my $server = fork;
die "fork: $!\n" unless defined $server;
if (!$server) { exec $nginx, '-p', $dir, '-c', "$dir/nginx.conf" or POSIX::_exit(127); }
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if -S "$dir/front";
	select undef, undef, undef, 0.1;
}

sub through { return Http::ask("$dir/front", @_); }
sub calls { return through('GET', '/api/acme/calls', [@_]); }

my $answer = calls([ 'X-Api-Key', $key->[0] ]);
is($answer->{status}, 200, 'a key passes');
my $told = $json->decode($answer->{body});
is("$told->{'x-apikey-id'} $told->{'x-apikey-account'} $told->{'x-apikey-scopes'}", "$key->[1] acme calls:read calls:write", '... and the server behind learns whose it is');
ok(!exists $told->{'x-api-key'} && index($answer->{body}, $key->[0]) < 0, '... but not the key');
is(calls([ 'Authorization', "Bearer $key->[0]" ])->{status}, 200, 'as a Bearer token, too');

$told = $json->decode(calls([ 'X-Api-Key', $other->[0] ], [ 'X-Apikey-Account', 'globex' ], [ 'X-Apikey-Id', $key->[1] ], [ 'X-Apikey-Session', 'forged' ], [ 'x_apikey_account', 'globex' ])->{body});
is("$told->{'x-apikey-id'} $told->{'x-apikey-account'}", "$other->[1] acme", 'what a client says of itself is overwritten');
ok(!exists $told->{'x-apikey-session'}, '... or removed');

$answer = calls();
is("$answer->{status} $answer->{'www-authenticate'}", '401 Bearer realm="api"', 'no key: a challenge');
$answer = calls([ 'X-Api-Key', 'nonsense' ]);
is("$answer->{status} $answer->{'www-authenticate'}", '401 Bearer realm="api", error="invalid_token", error_description="Invalid API key"', 'a wrong key: another');
is(calls([ 'X-Api-Key', $key->[0] ], [ 'Authorization', "Bearer $other->[0]" ])->{status}, 400, 'two different keys: a bad request');
is(calls([ 'X-Api-Key', $key->[0] ], [ 'X-Api-Key', $other->[0] ])->{status}, 400, '... also in two lines of one header');
is(through('POST', '/api/acme/calls', [ [ 'X-Api-Key', $other->[0] ] ], 'x' x 10000)->{status}, 403, 'method and path name the scope, which is missing');
is(through('POST', '/api/acme/calls', [ [ 'X-Api-Key', $key->[0] ] ], 'x' x 10000)->{status}, 200, '... or held');
is(through('GET', '/api/globex/calls', [ [ 'X-Api-Key', $key->[0] ] ])->{status}, 403, 'the path names another account');
is(through('GET', '/api/acme/../globex/calls', [ [ 'X-Api-Key', $key->[0] ] ])->{status}, 400, '... or perhaps another');
is(through('GET', '/api/acme/calls/../../globex/calls', [ [ 'X-Api-Key', $key->[0] ] ])->{status}, 400, '... in whatever way');
is(calls([ 'X-Api-Key', $office->[0] ], [ 'X-Forwarded-For', '203.0.113.9' ])->{status}, 403, 'an address that only the client claims');
is(through('OPTIONS', '/api/acme/calls', [ [ 'Origin', 'https://a.example' ], [ 'Access-Control-Request-Method', 'POST' ], [ 'X-Apikey-Account', 'globex' ] ])->{status}, 200, 'a preflight passes');

my @slow = map { through('GET', '/api/slow/calls', [ [ 'X-Api-Key', $slow->[0] ] ]) } 1 .. 3;
is(join(' ', map { $_->{status} } @slow), '200 200 429', 'beyond the rate limit: 429, which nginx itself does not let through');
like($slow[2]{'retry-after'}, qr/^[1-9]\d*$/, '... with the time to wait');
like($slow[0]{ratelimit}, qr/^"per_hour";r=1;t=\d+$/, '... and what is left before');

$node->safe_psql('postgres', "SELECT apikey.revoke('$key->[1]')");
is(calls([ 'X-Api-Key', $key->[0] ])->{status}, 401, 'a revocation counts at once');
$node->stop;
is(calls([ 'X-Api-Key', $other->[0] ])->{status}, 500, 'without a database nobody passes');

kill 'TERM', $server, $bridge, $backend;
waitpid $_, 0 for $server, $bridge, $backend;
unlike(slurp_file($node->logfile), qr/\Q$key->[0]\E/, 'no key is in the log');

done_testing();
