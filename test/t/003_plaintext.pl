# No key text, nor a piece of one, may be found in the server's log, the data
# directory with its WAL, or a dump: with a server that logs all it can but
# bound parameters, after everything the extension can do and every way in
# which it can fail, with keys even in arguments where they do not belong.
# Peppers must not reach the log either.  Threats T18 to T20, T22; fault F27.
#
# A canary, put on purpose where keys must not be, in every encoding that is
# searched for, proves that the search finds something in each place.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Find;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = bare_node('hunted', q(
log_statement = all
log_min_duration_statement = 0
log_parameter_max_length = 0
log_min_messages = debug1
log_error_verbosity = verbose
log_connections = on
log_disconnections = on
log_lock_waits = on
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_buffers = on
auto_explain.log_triggers = on
auto_explain.log_nested_statements = on
auto_explain.log_verbose = off
wal_compression = off
wal_level = logical
max_prepared_transactions = 5
track_activity_query_size = 16384
));
preload($node, 'auto_explain, apikey');
# From 16 on it has a switch of its own for parameters.
$node->append_conf('postgresql.conf', 'auto_explain.log_parameter_max_length = 0')
  if $node->pg_version->major >= 16;
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION apikey CASCADE;
	INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('tif', 'tif_live_', '*');
	INSERT INTO apikey.kind (kind, prefix, default_scopes, checksum, mask_prefix, mask_head, mask_tail) VALUES ('bare', '', '*', false, false, 8, 0);
	UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*'));

# The corpus.  Texts leave the server in results only.
my @keys = (
	issue_keys($node, 'postgres', 120, q('acme', 'key ' || n)),
	issue_keys($node, 'postgres', 40, q('acme', 'key ' || n, kind => 'tif')),
	issue_keys($node, 'postgres', 30, q('acme', 'key ' || n, kind => 'bare')),
	issue_keys($node, 'postgres', 10, q('acme', 'key ' || n, '{a:b}', 'widget', allowed_origins => '{example.com}')));
is(scalar @keys, 200, '200 keys issued');
push @keys, map { [ split /\|/ ] } split /\n/,
  $node->safe_psql('postgres', q(SELECT r.key, r.key_id FROM apikey.keys k, apikey.rotate(k.key_id, '1 day') r WHERE k.name = 'key 7'));

# run(SCRIPT, VARIABLES): statements with the variables as bound parameters,
# which psql can't do before 16.  1 if all succeeded, 0 if not.
my $scripts = PostgreSQL::Test::Utils::tempdir;
my $run = 0;

sub run
{
	my ($script, %variables) = @_;
	my $file = "$scripts/" . ++$run;
	PostgreSQL::Test::Utils::append_to_file($file, $script);
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my ($out, $err);
	my $ok = IPC::Run::run(
		[
			$node->installed_command('pgbench'), '-n', '-c1', '-t1', '-M', $run % 2 ? 'extended' : 'prepared',
			'-f', $file, (map { ('-D', "$_=$variables{$_}") } sort keys %variables), 'postgres'
		],
		'>', \$out, '2>', \$err);
	# pgbench reports aborted clients by its exit status from 14 on.
	note($err) unless $ok;
	# Not because the test is wrong
	return 'misused' if $err =~ /data type of parameter|bind message|does not exist: |syntax error|function .* does not exist/;
	return $ok ? 1 : 0;
}

# Verified, in every way it can turn out
for my $first (0, 50, 100, 150)
{
	my @some = @keys[ $first .. $first + 49 ];
	my %variables = map { ("k$_" => $some[$_][0]) } 0 .. $#some;
	is(run(join('', map { "SELECT * FROM apikey.verify(:k$_);\n" } 0 .. $#some), %variables), 1,
		'keys ' . ($first + 1) . ' to ' . ($first + 50) . ' verified');
}

my ($key, $id) = @{ $keys[0] };
my $gone = $keys[1][0];
my $secret = $keys[125][0];
my %all = (
	k => $key, id => $id, dead => $gone, dead_id => $keys[1][1], off_id => $keys[2][1], off => $keys[2][0],
	typo => $key =~ s/(.)(.)$/$2$1/r, doc => "config: token=$key; other='$secret' and $keys[165][0].",
	long => $key x 20, padded => " $key ", cut => substr($key, 0, -1), list => "{$key}", json => qq({"key":"$key"}),
	bearer => "Bearer $key", path => "/v1/calls/$key/x?key=$key", query => "$key &", word => "$key!",
	three => $keys[3][0], three_id => $keys[3][1], four_id => $keys[4][1], live_id => $keys[10][1], uuid_of_nobody => '00000000-0000-7000-8000-000000000000');

my @works = (
	'SELECT apikey.revoke(:dead_id, :doc, :bearer)', 'SELECT apikey.disable(:off_id, :k)',
	'SELECT * FROM apikey.verify(:dead)', 'SELECT * FROM apikey.verify(:off)', 'SELECT * FROM apikey.verify(:typo)',
	'SELECT * FROM apikey.verify(:long)', 'SELECT * FROM apikey.verify(:padded)', 'SELECT * FROM apikey.verify(:cut)',
	'SELECT * FROM apikey.verify(:bearer)', 'SELECT * FROM apikey.verify(:json)',
	"SELECT * FROM apikey.verify(:k, :k, '192.0.2.1', :k, :k)", "SELECT * FROM apikey.verify(:k, 'ab', :k, :doc, :k)",
	"SELECT * FROM apikey.verify(:k, 'ab', inet '192.0.2.1')",
	"SELECT * FROM apikey.verify(:k, method => :k, path => :path, request_id => :bearer)",
	"SELECT * FROM apikey.explain(:k, 'ab', :k, :path, :k)", 'SELECT * FROM apikey.explain(:typo)',
	'SELECT * FROM apikey.explain(:dead)', 'SELECT * FROM apikey.find_keys(:doc)',
	q(SELECT apikey.alter_key(:id, name => :k, actor => :bearer)), 'SELECT apikey.alter_key(:id, name => :doc)',
	'SELECT apikey.enable(:off_id, :doc)', 'SELECT key_id FROM apikey.rotate(:three_id, actor => :k)',
	"SELECT key_id FROM apikey.issue('acme', :doc, actor => :path)", 'SELECT * FROM apikey.revoke_leaked(:doc, :path, :k)',
	"SET apikey.notify = off", 'SELECT apikey.revoke_account(:uuid_of_nobody, :k, :k)',
	"SELECT count(*) FROM apikey.list_keys('acme', :k)", "SELECT set_config('apikey.actor', :k, false)",
	"SELECT key_id FROM apikey.issue('acme', 'x', actor => :long || E'\\n')", 'SELECT apikey.disable(:four_id)',
	'BEGIN;
SELECT apikey.revoke(:four_id, :doc);
ROLLBACK');
for my $statement (@works)
{
	is(run("$statement;\n", %all), 1, "works: $statement");
}

my @fails = (
	'SELECT * FROM apikey.verify(:k, cost => -1)', 'SELECT * FROM apikey.verify(:k, :query)',
	'SELECT * FROM apikey.verify(:k, :word)', 'SELECT * FROM apikey.verify(:k, :bearer || :word)',
	'SELECT * FROM apikey.verify(:k, kinds => ARRAY[:k])', "SELECT * FROM apikey.verify(:k, kinds => ARRAY[[:k], ['x']])",
	'SELECT * FROM apikey.verify(:k, kinds => ARRAY[NULL, :k])', 'SELECT * FROM apikey.explain(:k, :query)',
	'SELECT * FROM apikey.explain(:k, kinds => ARRAY[:k])',
	"SELECT key_id FROM apikey.issue('acme', 'x', kind => :k)", "SELECT key_id FROM apikey.issue('acme', 'x', ARRAY[:word])",
	"SELECT key_id FROM apikey.issue('acme', 'x', kind => 'widget', scopes => '{ab}', allowed_origins => ARRAY[:k])",
	"SELECT key_id FROM apikey.issue('acme', 'x', allowed_ips => ARRAY[:k])",
	"SELECT key_id FROM apikey.issue('acme', 'x', db_role => :k)", "SELECT key_id FROM apikey.issue('acme', :long)",
	"SELECT key_id FROM apikey.issue(:long, 'x')",
	"SELECT key_id FROM apikey.issue('acme', :k || E'\\n')", "SELECT key_id FROM apikey.issue('acme', 'x', metadata => to_jsonb(:k::text))",
	"SELECT key_id FROM apikey.issue('acme', 'x', expires_in => '-1 day', actor => :k)",
	'SELECT apikey.alter_key(:live_id, allowed_ips => ARRAY[:k])', 'SELECT apikey.alter_key(:live_id, scopes => ARRAY[:word])',
	'SELECT apikey.alter_key(:live_id, db_role => :k)', 'SELECT apikey.alter_key(:live_id, name => :long)',
	'SELECT apikey.alter_key(:dead_id, name => :k)', 'SELECT apikey.alter_key(:uuid_of_nobody, name => :k)',
	'SELECT apikey.revoke(:uuid_of_nobody, :k)', 'SELECT apikey.revoke(:off_id, :k, account => :k)',
	'SELECT apikey.enable(:dead_id, :k)', 'SELECT key FROM apikey.rotate(:dead_id, actor => :k)',
	'SELECT key FROM apikey.rotate(:uuid_of_nobody, account => :k)',
	"SELECT apikey.purge('-1 day', :k, :k)",
	'SELECT apikey.find_keys(NULL::text) FROM apikey.find_keys(:doc) WHERE 1 / 0 > 0',
	# Plans of nested statements show constants: there the operator must not
	# log them.  Our own messages need not quote what they got.
	(map { "SET auto_explain.log_min_duration = -1;\n$_" } 'SELECT apikey.scan_pattern(:k)',
		'SELECT apikey.grant_access(:k, :k)', "SELECT apikey.grant_access('postgres', :k)"),
	'BEGIN READ ONLY;
SELECT apikey.revoke(:id, :k)', 'BEGIN READ ONLY;
SELECT * FROM apikey.revoke_leaked(:doc)');
for my $statement (@fails)
{
	is(run("$statement;\n", %all), 0, "fails: $statement");
}

# A second pepper, made while all that is logged
$node->safe_psql('postgres', 'SELECT apikey.add_pepper(); SELECT apikey.set_current_pepper(2)');
issue_keys($node, 'postgres', 3, q('acme', 'under another pepper'));

my @peppers = split /\n/, $node->safe_psql('postgres', q(SELECT encode(secret, 'hex') FROM apikey.pepper));
is(scalar @peppers, 2, 'two peppers');
push @keys, map { [ split /\|/ ] } split /\n/,
  $node->safe_psql('postgres', q(SELECT r.key, r.key_id FROM apikey.keys k, apikey.rotate(k.key_id) r WHERE k.name = 'under another pepper'));

# encodings(TEXT): patterns by which a piece of it would be recognised
sub encodings
{
	my ($text) = @_;
	my %found = (
		raw => [$text],
		hex => [ unpack('H*', $text), uc unpack('H*', $text) ],
		utf16 => [ join('', map { "$_\0" } split //, $text), join('', map { "\0$_" } split //, $text) ]);
	for my $offset (0 .. 2)
	{
		my $code = encode_base64("\0" x $offset . $text, '');
		# What depends on the neighbours goes
		$code = substr($code, (0, 2, 3)[$offset], int(length("\0" x $offset . $text) * 8 / 6) - (0, 2, 3)[$offset]);
		push @{ $found{"base64 at $offset"} }, $code;
		(my $url = $code) =~ tr,+/,-_,;
		push @{ $found{"base64url at $offset"} }, $url;
	}
	return \%found;
}

# A piece from the middle: what a cut or masked text would still show
sub piece { return substr($_[0], length($_[0]) - 28, 18); }

sub pattern
{
	my %seen = map { $_ => 1 } map { map { @$_ } values %{ encodings($_) } } @_;
	my $alternatives = join '|', map { quotemeta } sort keys %seen;
	return qr/$alternatives/;
}

# The canary: planted raw and encoded
my $canary = 'ak_Ca9aRy0123456789abcdefghijKLMNOPQRSTUVWXYZ0Ab1Cd';
my $planted = encodings(piece($canary));
my @rows = ("('$canary')", "(repeat('x', 3000) || '$canary')");
for my $encoding (sort keys %$planted)
{
	push @rows, map { /\0/ ? () : "('$_')" } @{ $planted->{$encoding} };
}
$node->safe_psql(
	'postgres', 'CREATE TABLE canary (c text); ALTER TABLE canary ALTER c SET STORAGE PLAIN;'
	  . "SET wal_compression = off; INSERT INTO canary VALUES " . join(', ', @rows) . '; CREATE TABLE canary16 (c bytea);'
	  . "ALTER TABLE canary16 ALTER c SET STORAGE PLAIN; INSERT INTO canary16 VALUES "
	  . join(', ', map { "('\\x" . unpack('H*', $_) . "')" } @{ $planted->{utf16} })
	  . "; SELECT '" . join("', '", map { s/\0//gr } @{ $planted->{utf16} }) . "'");

# hunt(PATTERN, FILES): the files in which it is found, with an excerpt
sub hunt
{
	my ($pattern, @files) = @_;
	my @hits;
	for my $file (@files)
	{
		open my $handle, '<:raw', $file or next;
		local $/;
		my $content = <$handle>;
		next unless defined $content;
		push @hits, $file . ': ' . (substr($content, $-[0] > 60 ? $-[0] - 60 : 0, 160) =~ s/[^\x20-\x7e]+/./gr)
		  if $content =~ $pattern;
	}
	return @hits;
}

# Dumps, while the server runs
my $dumps = PostgreSQL::Test::Utils::tempdir;
$node->command_ok([ 'pg_dump', '-f', "$dumps/plain", $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-Fc', '-Z0', '-f', "$dumps/custom", $node->connstr('postgres') ], 'pg_dump -Fc');
$node->command_ok([ 'pg_dumpall', '-f', "$dumps/all", '-d', $node->connstr('postgres') ], 'pg_dumpall');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop;

my (@heap, @wal, @rest);
find(
	{
		no_chdir => 1,
		wanted => sub {
			return unless -f $_;
			push @{ m,/pg_wal/, ? \@wal : m,/base/, ? \@heap : \@rest }, $_;
		}
	},
	$node->data_dir);
my %places = (
	'server log' => [ $node->logfile ],
	'tables' => \@heap,
	'WAL' => \@wal,
	'dumps' => [ map { "$dumps/$_" } qw(plain custom all) ]);

for my $place (sort keys %places)
{
	for my $encoding (sort keys %$planted)
	{
		# Text can't hold it
		next if $encoding eq 'utf16' && $place =~ /log|dumps/;
		my @missed = grep { !hunt(qr/\Q$_\E/, @{ $places{$place} }) } @{ $planted->{$encoding} };
		is("@missed", '', "the canary is found: $place, $encoding");
	}
}

my $corpus = pattern(map { piece($_->[0]) } @keys);
for my $place (sort keys %places)
{
	my @hits = hunt($corpus, @{ $places{$place} });
	is(scalar @hits, 0, "no key in: $place") or diag(join "\n", @hits);
}
is(scalar hunt($corpus, @rest), 0, 'no key anywhere else in the data directory');

# Each hit in the log by its own line, for the reader
open my $log, '<', $node->logfile or die;
my $shown = 0;
while (my $line = <$log>)
{
	diag("line $.: $line") if $line =~ $corpus && $shown++ < 20;
}

is(join("\n", hunt(pattern(map { pack 'H*', $_ } @peppers), $node->logfile)), '', 'no pepper in the server log');
isnt(join("\n", hunt(pattern(map { pack 'H*', $_ } @peppers), @heap)), '', '... but in its table, where it belongs');

done_testing();
