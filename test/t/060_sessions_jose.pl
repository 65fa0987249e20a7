# Session tokens and an independent implementation of JOSE, the npm package
# jose: it verifies our tokens from our jwks, and we refuse what it makes of
# them.  Signing keys that rotate, HS256, and what the settings do.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy qw(copy);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $json = JSON::PP->new->canonical;

# Where npm takes it from is the business of this machine's configuration.
sub install_jose
{
	for my $tool (qw(node npm))
	{
		return "there is no $tool here" unless grep { -x "$_/$tool" } split /:/, $ENV{PATH};
	}
	copy("$FindBin::RealBin/../jose/$_", $dir) or die "$_: $!" for qw(package.json verify.mjs tamper.mjs);
	my ($out, $err) = ('', '');
	my $good = eval {
		IPC::Run::run([ 'npm', 'install', '--cache', "$dir/cache", '--ignore-scripts', '--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--no-audit', '--no-fund', '--loglevel=error' ],
			'<', \undef, '>', \$out, '2>', \$err,
			init => sub { chdir $dir or die }, IPC::Run::timeout(300));
	};
	return if $good;
	$err =~ s/\s+/ /g;
	return 'npm could not install jose: ' . substr($err || $@, 0, 300);
}
my $missing = install_jose();
plan skip_all => $missing if $missing;

my $node = new_node('jose', "autovacuum = off\nlog_statement = none\nlog_min_error_statement = panic");
my $session = session($node);

# jose(PROGRAM, INPUT): what it prints
sub jose
{
	my ($program, $input) = @_;
	my ($out, $err) = ('', '');

	open my $file, '>', "$dir/input.json" or die $!;
	print $file $json->encode($input);
	close $file;
	IPC::Run::run([ 'node', "$dir/$program.mjs", "$dir/input.json" ], '<', \undef, '>', \$out, '2>', \$err)
	  or die "$program: $err";
	return $json->decode($out);
}

sub jwks { return $json->decode($session->query('SELECT apikey.jwks()')); }

# open_session(ARGUMENTS): its row by names
sub open_session
{
	my ($arguments) = @_;
	return $json->decode($session->query("SELECT to_jsonb(o) FROM k, apikey.open_session(k.key$arguments) o"));
}

sub verify_by_jose
{
	my ($tokens, %options) = @_;
	return jose('verify', { jwks => jwks(), issuer => 'apikey', audience => 'apikey', algorithms => ['EdDSA'], tokens => $tokens, %options });
}

# reload(SETTING): and wait until the session has it
sub reload
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('$name') = '$value'") or die "$name is not set";
	for (1 .. 1000)
	{
		last if $session->query("SELECT current_setting('$name')") eq $value;
		select undef, undef, undef, 0.1;
	}
	is($session->query("SELECT current_setting('$name')"), $value, "$name is set");
	return;
}

$session->query("CREATE TABLE k AS SELECT key, key_id FROM apikey.issue('jose \x22\\ 1', 'key', '{calls:*,contacts:read}')");

# Our tokens, verified by others
my $first = open_session('');
my $narrow = open_session(", '1 hour', '{calls:read}'");
my $seen = verify_by_jose({ first => $first->{token}, narrow => $narrow->{token} });
my ($header, $claims) = @{ $seen->{first} }{qw(header payload)};
is_deeply([ sort keys %$header ], [qw(alg kid typ)], 'the header has alg, kid and typ');
is($header->{alg}, 'EdDSA', '... alg is EdDSA');
is_deeply([ sort keys %$claims ], [qw(aud exp iat iss jti nbf scope sub)], 'the payload has the claims that it should');
is($claims->{sub}, 'jose "\\ 1', 'sub is the account');
is($claims->{jti}, $first->{session_id}, 'jti is the session');
is($claims->{scope}, 'calls:* contacts:read', 'scope has the scopes');
is($seen->{narrow}{payload}{scope}, 'calls:read', '... of the session');
is($claims->{exp} - $claims->{iat}, 900, 'it lives for 15 minutes');
is($seen->{narrow}{payload}{exp} - $seen->{narrow}{payload}{iat}, 3600, '... or as long as it was asked for');
is(verify_by_jose({ t => $first->{token} }, now => $claims->{exp} + 1)->{t}, 'ERR_JWT_EXPIRED', 'elsewhere it ends with exp');
is(verify_by_jose({ t => $first->{token} }, issuer => 'another')->{t}, 'ERR_JWT_CLAIM_VALIDATION_FAILED', 'another issuer is told');

# What others make of them
my $seed = $session->query("SELECT rtrim(translate(encode(secret, 'base64'), E'+/\\n', '-_'), '=') FROM apikey.signing_key");
my ($jwk) = grep { $_->{kid} eq $header->{kid} } @{ jwks()->{keys} };
my $made = jose('tamper', { token => $first->{token}, other => $narrow->{token}, jwk => $jwk, seed => $seed, now => time });
cmp_ok(scalar(keys %$made), '>', 40, 'there are tokens to try');
for my $name (sort keys %$made)
{
	(my $token = $made->{$name}) =~ s/'/''/g;
	my $want = $name =~ /^good/ ? 'valid' : $name =~ /^expired/ ? 'key_expired' : 'key_invalid';
	is($session->query("SELECT code FROM apikey.verify('$token')") . $session->errors, $want, $name);
}
is($session->query("SELECT scopes FROM apikey.verify('$made->{'good: other scopes, which are for others'}')"),
	'{calls:*,contacts:read}', 'a session has the scopes of its row');
is($session->query("SELECT count(*) FROM unnest(ARRAY['$first->{token}', '$narrow->{token}']) t, apikey.open_session(t) o WHERE o.code = 'key_invalid'"), 2, 'a token opens no session');

# Rotation
my $new_kid = $session->query('SELECT apikey.rotate_signing_key()');
my $second = open_session('');
$seen = verify_by_jose({ old => $first->{token}, new => $second->{token} });
is($seen->{old}{header}{kid}, $header->{kid}, 'after rotation others still verify tokens of the old key');
is($seen->{new}{header}{kid}, $new_kid, '... and those of the new one');
is($session->query("SELECT string_agg(v.code, ' ') FROM unnest(ARRAY['$first->{token}', '$second->{token}']) t, apikey.verify(t) v"), 'valid valid', 'so do we');
$session->query("SELECT apikey.close_session('$first->{session_id}')");
is(ref verify_by_jose({ t => $first->{token} })->{t}, 'HASH', 'that a session was closed, others can not know');
is($session->code($first->{token}), 'key_revoked', '... and we do');
$session->query("UPDATE apikey.session SET expires_at = clock_timestamp() WHERE kid = '$header->{kid}'");
is(scalar @{ jwks()->{keys} }, 1, 'when its last token has expired, the old key is published no more');
is(verify_by_jose({ t => $first->{token} })->{t}, 'ERR_JWKS_NO_MATCHING_KEY', '... so others refuse its tokens too');

# HS256
reload('apikey.session_algorithm', 'HS256');
my $third = open_session('');
is(scalar @{ jwks()->{keys} }, 1, 'the secret is not published');
is($session->query("SELECT string_agg(v.code, ' ') FROM unnest(ARRAY['$second->{token}', '$third->{token}']) t, apikey.verify(t) v"), 'valid valid', 'tokens of both algorithms are good');
is(verify_by_jose({ t => $third->{token} }, algorithms => ['HS256'])->{t}, 'ERR_JOSE_NOT_SUPPORTED', 'no public key verifies a token of HS256');
my $secret = $json->decode($session->query(q{SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object('kty', 'oct', 'alg', 'HS256', 'kid', kid,
           'k', rtrim(translate(encode(secret, 'base64'), E'+/\n', '-_'), '=')))) FROM apikey.signing_key WHERE algorithm = 'HS256'}));
$seen = verify_by_jose({ t => $third->{token} }, jwks => $secret, algorithms => ['HS256']);
is($seen->{t}{header}{alg}, 'HS256', 'who knows the secret verifies it');
is($seen->{t}{payload}{jti}, $third->{session_id}, '... and reads its claims');
$session->query('SELECT apikey.rotate_signing_key()');
is($session->query("SELECT count(*) FILTER (WHERE retired_at IS NULL), count(*) FROM apikey.signing_key WHERE algorithm = 'HS256'"), '1|2', 'secrets rotate, too');
is($session->code($third->{token}), 'valid', '... with overlap');

# Settings
reload('apikey.session_issuer', 'https://api.example.org');
reload('apikey.session_audience', '');
reload('apikey.session_max_ttl', '30s');
my $fourth = open_session(", '1 hour'");
$secret = $json->decode($session->query(q{SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object('kty', 'oct', 'alg', 'HS256', 'kid', kid,
           'k', rtrim(translate(encode(secret, 'base64'), E'+/\n', '-_'), '=')))) FROM apikey.signing_key WHERE algorithm = 'HS256'}));
$claims = verify_by_jose({ t => $fourth->{token} }, jwks => $secret, algorithms => ['HS256'], issuer => 'https://api.example.org', audience => undef)->{t}{payload};
is($claims->{iss}, 'https://api.example.org', 'iss is the setting');
ok(!exists $claims->{aud}, 'an empty setting leaves a claim out');
is($claims->{exp} - $claims->{iat}, 30, 'the longest life is a setting');

$session->quit;
$node->stop;
my $log = slurp_file($node->logfile);
for my $token (map { $_->{token} } $first, $narrow, $second, $third, $fourth)
{
	my ($signature) = $token =~ /([^.]+)$/;
	unlike($log, qr/\Q$signature\E/, 'no token is in the log');
}

done_testing();
