# Keys made and stored by Better Auth itself, the npm package, imported and
# verified.  Skipped where npm or its registry is not to be had.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $directory = PostgreSQL::Test::Utils::tempdir;

# Versions that belong together.
my $installed = !system("cd '$directory' && npm --version >/dev/null 2>&1"
	  . " && timeout 300 npm install --silent --no-audit --no-fund --ignore-scripts --legacy-peer-deps better-auth\@1.7.5 \@better-auth/api-key\@1.7.5 >npm.log 2>&1");
plan skip_all => 'npm can not install better-auth here' unless $installed;

open my $program, '>', "$directory/make.mjs" or die;
print $program <<'END';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { apiKey } from '@better-auth/api-key';

const store = { user: [], session: [], account: [], verification: [], apikey: [] };
const auth = betterAuth({
	baseURL: 'http://localhost:3000',
	secret: 'a secret of this test, long enough to be one',
	database: memoryAdapter(store),
	emailAndPassword: { enabled: true },
	plugins: [apiKey()],
	logger: { disabled: true },
	telemetry: { enabled: false },
});
const { user } = await auth.api.signUpEmail({ body: { name: 'Ada', email: 'ada@example.com', password: 'correct horse' } });
for (const options of [{ name: 'plain' }, { name: 'prefixed', prefix: 'shop_' }, { name: 'long lived', expiresIn: 60 * 60 * 24 * 30 }]) {
	const made = await auth.api.createApiKey({ body: { ...options, userId: user.id } });
	const row = store.apikey.find((k) => k.id === made.id);
	console.log([made.key, row.key, row.name, row.start].join('\t'));
}
END
close $program;
my $output = `cd '$directory' && timeout 120 node make.mjs 2>make.log`;
if ($? || $output !~ /\t/)
{
	diag(PostgreSQL::Test::Utils::slurp_file("$directory/make.log"));
	plan skip_all => 'this version of better-auth has another interface';
}
my @keys = map { [ split /\t/ ] } split /\n/, $output;
is(scalar @keys, 3, 'Better Auth made keys');

my $node = new_node('better_auth', '');
for (@keys)
{
	my ($key, $hash, $name, $start) = @$_;
	isnt($hash, $key, "$name: stored as a hash");
	is($node->safe_psql('postgres', "SELECT apikey.import_key('ada', '$name', 'sha256', '$hash', display => '$start...') IS NOT NULL"), 't', '... imported');
	is($node->safe_psql('postgres', "SELECT code, name FROM apikey.verify('$key')"), "valid|$name", '... the key verifies');
	is($node->safe_psql('postgres', "SELECT code FROM apikey.verify('$hash')"), 'key_invalid', '... the hash does not');
}
$node->safe_psql('postgres', 'SELECT apikey.flush_usage()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikey.key WHERE algorithm = 1'), 3, 'native after a use');
is(verdicts($node, 'postgres', map { $_->[0] } @keys), 'valid valid valid', '... and valid');

$node->stop;
done_testing();
