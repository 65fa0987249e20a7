# Real clients: psql, pgbench in its three protocols, psycopg2, node-postgres,
# and pgbouncer between many clients and one connection.  Each shows what its
# driver makes of our rows and errors, and that no transaction sees another
# one's identity.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Fetch;

my $node = new_node('clients', '');
$node->safe_psql('postgres', q(
	CREATE ROLE app LOGIN;
	SELECT apikey.grant_access('app', 'verifier');
	ALTER ROLE app SET log_parameter_max_length = 0;
	CREATE TABLE docs (account text NOT NULL, name text NOT NULL);
	INSERT INTO docs SELECT a, 'doc ' || n FROM (VALUES ('acme', 3), ('globex', 5)) v (a, many), generate_series(1, many) n;
	GRANT SELECT ON docs TO app;
	ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
	CREATE POLICY reading ON docs USING ((SELECT apikey.allows('docs:read')) AND account = (SELECT apikey.current_account()));
));
my ($acme) = issue_keys($node, 'postgres', 1, "'acme', 'docs', '{docs:read}', metadata => '{\"plan\": \"pro\"}'");
my ($globex) = issue_keys($node, 'postgres', 1, "'globex', 'docs', '{docs:read}'");
my %calls = (acme => 0, globex => 0);
my $dir = PostgreSQL::Test::Utils::tempdir_short();
local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PGUSER} = 'app';
local $ENV{PGDATABASE} = 'postgres';

# psql: a session as people type it
{
	my $out = $node->safe_psql('postgres', qq(
		BEGIN;
		SELECT account FROM apikey.authenticate('$acme->[0]');
		SELECT count(*) FROM docs;
		SAVEPOINT s;
		SELECT account FROM apikey.authenticate('$globex->[0]');
		SELECT count(*) FROM docs;
		ROLLBACK TO s;
		SELECT count(*) FROM docs;
		COMMIT;
		SELECT count(*) FROM docs;), extra_params => [ '-U', 'app' ]);
	is(join(' ', split /\n/, $out), 'acme 3 globex 5 3 0', 'psql: the identity follows the transaction');
	$calls{acme}++, $calls{globex}++;
}

# pgbench: a transaction that fails unless it sees its own rows
sub script
{
	my ($name, @lines) = @_;
	append_to_file("$dir/$name.sql", join("\n", @lines) . "\n");
	return "$dir/$name.sql";
}
my @statements = ('SELECT 1 / (ok AND account = :account)::int FROM apikey.authenticate(:key);', 'SELECT 1 / (count(*) = :many AND min(account) = :account)::int FROM docs;');
my $plain = script('plain', 'BEGIN;', @statements, 'COMMIT;', 'SELECT 1 / (NOT apikey.is_authenticated())::int;', 'SELECT 1 / (code = \'valid\')::int FROM apikey.verify(:key);');
for my $mode (qw(simple extended prepared))
{
	# in simple mode a variable is put into the text as it is
	my $q = $mode eq 'simple' ? "'" : '';
	for my $tenant ([ 'acme', $acme, 3 ], [ 'globex', $globex, 5 ])
	{
		my ($account, $key, $many) = @$tenant;
		my ($out, $err) = ('', '');
		my $done = IPC::Run::run(
			[
				$node->installed_command('pgbench'), '-n', '-M', $mode, '-c', 3, '-t', 40, '-f', $plain,
				'-D', "account=$q$account$q", '-D', "key=$q$key->[0]$q", '-D', "many=$many"
			],
			'>', \$out, '2>', \$err);
		ok($done && $out =~ m{actually processed: 120/120}, "pgbench -M $mode as $account") or diag $err;
		$calls{$account} += 2 * 120;
	}
}

# psycopg2, from Debian's package
SKIP:
{
	my $reason = -x '/usr/bin/python3' ? undef : 'there is no /usr/bin/python3';
	my $path = '/usr/lib/python3/dist-packages';
	if (!$reason && !-d "$path/psycopg2")
	{
		$reason = Fetch::debian("$dir/python", 'python3-psycopg2', 'libpq5');
		$path = "$dir/python/root$path";
	}
	skip "psycopg2: $reason", 2 if $reason;
	local $ENV{PYTHONPATH} = $path;
	append_to_file("$dir/client.py", <<'PYTHON');
import psycopg2, psycopg2.errors, sys
key, key_id = sys.argv[1:3]
db = psycopg2.connect("")
cur = db.cursor()
cur.execute("SELECT ok, status, key_id::text, scopes, metadata, expires_at, retry_after FROM apikey.verify(%s, 'docs:read', %s)", (key, "203.0.113.9"))
assert cur.fetchone() == (True, 200, key_id, ["docs:read"], {"plan": "pro"}, None, None)
db.commit()
cur.execute("SELECT account FROM apikey.authenticate(%s, 'docs:read')", (key,))
cur.execute("SELECT count(*) FROM docs")
assert cur.fetchone() == (3,)
db.commit()
cur.execute("SELECT count(*) FROM docs")
assert cur.fetchone() == (0,)
db.rollback()
for wrong, code, status in (("nonsense", "KA401", '"status": 401'), (None, "KA401", '"key_missing"')):
    try:
        cur.execute("SELECT * FROM apikey.authenticate(%s)", (wrong,))
        assert False
    except psycopg2.Error as e:
        assert e.pgcode == code and status in e.diag.message_detail, (e.pgcode, e.diag.message_detail)
    db.rollback()
db.autocommit = True
try:
    cur.execute("SELECT * FROM apikey.authenticate(%s)", (key,))
    assert False
except psycopg2.Error as e:
    assert e.pgcode == "25P01", e.pgcode
print("all well")
PYTHON
	if (!PostgreSQL::Test::Utils::run_log([ '/usr/bin/python3', '-c', 'import psycopg2' ])) { skip 'psycopg2: its package does not fit this Python', 2; }
	my ($out, $err) = run_command([ '/usr/bin/python3', "$dir/client.py", @$acme ]);
	is($out, 'all well', 'psycopg2: rows, errors, transactions') or diag $err;
	unlike($err, qr/\Q$acme->[0]\E/, '... and the key is in no message');
	$calls{acme} += 2;
}

# node-postgres, from npm
SKIP:
{
	my $reason = Fetch::npm("$dir/node", 'pg@8');
	skip "node-postgres: $reason", 1 if $reason;
	append_to_file("$dir/node/client.cjs", <<'JAVASCRIPT');
const { Pool } = require('pg'), assert = require('assert');
const [key, keyId, other] = process.argv.slice(2);
const pool = new Pool({ max: 2 });
async function seen(key) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query({ name: 'authenticate', text: 'SELECT account FROM apikey.authenticate($1, $2)', values: [key, 'docs:read'] });
    const { rows } = await client.query({ name: 'docs', text: 'SELECT count(*)::int AS n, min(account) AS account FROM docs' });
    await client.query('COMMIT');
    return `${rows[0].account} ${rows[0].n}`;
  } catch (e) { await client.query('ROLLBACK'); throw e; } finally { client.release(); }
}
(async () => {
  const { rows: [v] } = await pool.query("SELECT * FROM apikey.verify($1, 'docs:read', $2)", [key, '203.0.113.9']);
  assert.strictEqual(v.ok, true); assert.strictEqual(v.status, 200); assert.strictEqual(v.key_id, keyId);
  assert.deepStrictEqual(v.scopes, ['docs:read']); assert.deepStrictEqual(v.metadata, { plan: 'pro' });
  assert.strictEqual(v.retry_after, null); assert.strictEqual(v.missing_scopes, null);
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => seen(i % 2 ? key : other)));
  answers.forEach((answer, i) => assert.strictEqual(answer, i % 2 ? 'acme 3' : 'globex 5'));
  const { rows: [left] } = await pool.query('SELECT count(*)::int AS n FROM docs');
  assert.strictEqual(left.n, 0);
  await assert.rejects(seen('nonsense'), (e) => e.code === 'KA401' && JSON.parse(e.detail).code === 'key_invalid' && !String(e.stack).includes('nonsense'));
  const { rows: [h] } = await pool.query('SELECT * FROM apikey.http_check($1, $2, $3)', [{ 'x-api-key': key }, 'GET', '/docs']);
  assert.strictEqual(h.allowed, true); assert.ok(h.upstream_headers.some(([n, v]) => n === 'X-Apikey-Account' && v === 'acme'));
  await pool.end();
  console.log('all well');
})().catch((e) => { console.error(e); process.exit(1); });
JAVASCRIPT
	my ($out, $err) = run_command([ 'node', "$dir/node/client.cjs", @$acme, $globex->[0] ]);
	is($out, 'all well', 'node-postgres: rows, errors, named statements, a pool of two') or diag $err;
	$calls{acme} += 102;
	$calls{globex} += 100;
}

# pgbouncer, in transaction mode: two tenants and a stranger over one server
# connection
SKIP:
{
	my $pgbouncer = (grep { -x } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer')[0];
	my $reason;
	if (!$pgbouncer)
	{
		$reason = Fetch::debian("$dir/bouncer", 'pgbouncer', 'libc-ares2', 'libevent-2.1-7');
		$pgbouncer = "$dir/bouncer/root/usr/sbin/pgbouncer";
	}
	my ($library) = glob "$dir/bouncer/root/usr/lib/*-linux-gnu";
	local $ENV{LD_LIBRARY_PATH} = join ':', grep { defined && length } $library, $ENV{LD_LIBRARY_PATH};
	$reason ||= 'it does not run here' unless $reason || (run_command([ $pgbouncer, '--version' ]))[0] =~ /PgBouncer/;
	skip "pgbouncer: $reason", 4 if $reason;

	my $port = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$dir/bouncer.ini", join "\n", '[databases]', "postgres = host=$ENV{PGHOST} port=$ENV{PGPORT} user=app", '[pgbouncer]',
		'listen_addr =', "listen_port = $port", "unix_socket_dir = $dir", 'auth_type = any', 'pool_mode = transaction', 'default_pool_size = 1', 'max_client_conn = 50',
		'ignore_startup_parameters = extra_float_digits', "logfile = $dir/bouncer.log", "pidfile = $dir/bouncer.pid", '');
	my $child = fork;
	die "fork: $!\n" unless defined $child;
	if (!$child) { open STDOUT, '>', '/dev/null'; open STDERR, '>&', \*STDOUT; exec $pgbouncer, "$dir/bouncer.ini" or POSIX::_exit(127); }
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if -S "$dir/.s.PGSQL.$port";
		select undef, undef, undef, 0.1;
	}
	local $ENV{PGHOST} = $dir;
	local $ENV{PGPORT} = $port;

	# one message each, so that ten thousand take seconds
	my @transactions = map {
		my ($account, $key, $many) = @$_;
		"BEGIN\\; SELECT 1 / (NOT apikey.is_authenticated())::int\\; SELECT 1 / (ok AND account = '$account')::int FROM apikey.authenticate('$key->[0]')\\; SELECT 1 / (count(*) = $many AND min(account) = '$account')::int FROM docs\\; "
	} [ 'acme', $acme, 3 ], [ 'globex', $globex, 5 ];
	my @scripts = (script('bounced0', $transactions[0] . 'COMMIT;'), script('bounced1', $transactions[1] . 'ROLLBACK;'),
		script('bounced2', 'SELECT 1 / (NOT apikey.is_authenticated() AND apikey.current_account() IS NULL AND (SELECT count(*) FROM docs) = 0)::int;'));
	my ($out, $err) = run_command([ $node->installed_command('pgbench'), '-n', '-c', 8, '-t', 1250, map({ ('-f', $_) } @scripts) ]);
	like($out, qr{actually processed: 10000/10000}, 'pgbouncer: 10000 transactions of two tenants and a stranger, and no crossing') or diag $err;
	my @counts = map { /- (\d+) transactions/ ? $1 : () } split /\n/, $out;
	$calls{acme} += $counts[0], $calls{globex} += $counts[1];
	is(scalar(@counts), 3, '... all three took part');
	my ($servers) = run_command([ $node->installed_command('psql'), '-XAt', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-c', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'" ]);
	is($servers, '1', '... over one connection');
	kill 'TERM', $child;
	waitpid $child, 0;
	unlike(slurp_file("$dir/bouncer.log"), qr/\Q$acme->[0]\E/, '... and its log has no key');
}

# each of these calls was counted
local $ENV{PGUSER} = 'postgres';
$node->safe_psql('postgres', 'SELECT apikey.flush_usage()');
is( $node->safe_psql('postgres', "SELECT k.account, sum(u.requests), sum(u.refused) FROM apikey.usage_daily u JOIN apikey.keys k USING (key_id) GROUP BY 1 ORDER BY 1"),
	"acme|$calls{acme}|0\nglobex|$calls{globex}|0", 'every call is counted');

$node->stop;
done_testing();
