# Large documents are searched for leaked keys in one pass, whatever is in
# them, and a search can be cancelled; the expressions of apikey.scan_pattern()
# mean the same to several engines, and keep to the syntax that all have: RE2
# (Go, gitleaks, trufflehog), PCRE, Python and POSIX.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $node = new_node('searched', "apikey.flush_interval = '1h'");
$node->safe_psql('postgres', q(
	UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*';
	INSERT INTO apikey.kind (kind, prefix, default_scopes) VALUES ('dotted', 'a.b-c_d.', '*'), ('letters', 'key', '*');
	INSERT INTO apikey.kind (kind, prefix, checksum, default_scopes) VALUES ('plain', 'aa', false, '*'), ('bare', '', false, '*');
	INSERT INTO apikey.kind (kind, prefix, body_length, default_scopes) VALUES ('long', '', 200, '*')));
my @kinds = qw(secret dotted letters plain bare long);
my %keys = map { my $kind = $_; $kind => [ issue_keys($node, 'postgres', 40, qq('acme', '$kind ' || n, kind => '$kind')) ] } @kinds;
my %pattern = map { $_ => $node->safe_psql('postgres', "SELECT apikey.scan_pattern('$_')") } @kinds;

# --- The expressions

# What is in the syntax of all of them, and in no other way
for my $kind (@kinds)
{
	like($pattern{$kind},
		qr/^(?: [A-Za-z0-9_-] | \[\.\] | \[\^?0-9A-Za-z\] | \{\d+\} | \((?:\^|\$)?\| | [|)^\$] | \( )+$/x,
		"$kind: $pattern{$kind} keeps to the common syntax");
	my ($repetitions) = $pattern{$kind} =~ /\{(\d+)\}/;
	cmp_ok($repetitions, '<=', 255, "$kind: no more repetitions than POSIX promises, and RE2 allows 1000");
}

# Lines in which each engine must find the key, and lines in which it must not
my (@with, @without);
for my $kind (@kinds)
{
	for my $key (map { $_->[0] } @{ $keys{$kind} })
	{
		push @with, [ $kind, $_ ] for $key, "Authorization: Bearer $key", "{\"key\":\"$key\"}", "https://example.com/?key=$key&x=1", "export KEY=$key;";
		my $cut = substr $key, 0, -1;
		push @without, [ $kind, $_ ] for $cut, "$cut-", substr($key, 1) =~ s/[0-9A-Za-z]$/./r, substr($cut, 0, 30) . ' ' . substr($cut, 30);
	}
	push @without, [ $kind, $_ ] for 'nothing here', 'x' x 30, '';
}
push @without, [ 'bare', 'x' . $keys{bare}[0][0] ], [ 'bare', $keys{bare}[0][0] . '0' ], [ 'dotted', $keys{dotted}[0][0] =~ s/[.]/x/r ];

my $dir = PostgreSQL::Test::Utils::tempdir;

# matches(ENGINE, EXPRESSION, LINES): of how many lines it thinks so
my %engines = (
	perl => sub { my ($re, @lines) = @_; return scalar grep { /$re/ } @lines; },
	'PostgreSQL' => sub {
		my ($re, @lines) = @_;
		my $list = join ', ', map { "('" . s/'/''/gr . "')" } @lines;
		return $node->safe_psql('postgres', "SELECT count(*) FROM (VALUES $list) v (line) WHERE line ~ '$re'");
	});
my %commands = (
	'grep -E' => [ 'grep', '-cE', '-e' ],
	'grep -P' => [ 'grep', '-cP', '-e' ],
	'rg' => [ 'rg', '-c', '-e' ],
	'python3' => [ 'python3', '-c', 'import re, sys; print(sum(1 for l in open(sys.argv[2]) if re.search(sys.argv[1], l.rstrip("\n"))))' ]);
for my $engine (sort keys %commands)
{
	my @command = @{ $commands{$engine} };
	# 1: works, and found nothing
	my ($out, $err);
	my $works = eval { IPC::Run::run([ @command, 'a{2}', '/dev/null' ], '<', \undef, '>', \$out, '2>', \$err); ($? >> 8) <= 1 && $err eq '' };
	unless ($works)
	{
		note("$engine is not here");
		next;
	}
	$engines{$engine} = sub {
		my ($re, @lines) = @_;
		my $file = "$dir/lines";
		PostgreSQL::Test::Utils::append_to_file($file, join '', map { "$_\n" } @lines);
		my $count;
		IPC::Run::run([ @command, $re, $file ], '<', \undef, '>', \$count);
		unlink $file;
		return ($count || 0) + 0;
	};
}
for my $engine (sort keys %engines)
{
	for my $kind (@kinds)
	{
		my @yes = map { $_->[1] } grep { $_->[0] eq $kind } @with;
		my @no = map { $_->[1] } grep { $_->[0] eq $kind } @without;
		is($engines{$engine}->($pattern{$kind}, @yes), scalar @yes, "$engine: finds keys of kind $kind");
		is($engines{$engine}->($pattern{$kind}, @no), 0, "$engine: and nothing else");
	}
}

# --- Documents of 10 MB

my $mb = 1024 * 1024;
my $session = session($node);
$session->query("SET statement_timeout = '10min'");

# document(NAME, SQL): how many keys are found, and how many there should be
sub found
{
	my ($name, $sql, $expected) = @_;
	is($session->query("SELECT count(*) FROM apikey.find_keys($sql)") . $session->errors, $expected, $name);
	return;
}

my $all = join ' ', map { $_->[0] } map { @$_ } values %keys;
my $size = scalar(@kinds) * 40;
$session->query("CREATE TEMP TABLE doc AS SELECT '$all' AS keys, '$keys{secret}[0][0]' AS one");
# a log with all keys here and there, beginning, middle and end
found('a log of 10 MB', "(SELECT keys || repeat(E'2026-01-01 00:00:00 GET /x?y=1 200 some text\\n', 115000) || keys || repeat('x ', 2621440) || keys FROM doc)", $size);
# one over the edge of each part that is searched at a time, and of each step beside it
found('keys over the edges of parts', "(SELECT repeat('.', 1048576 - $_) || keys FROM doc)", $size) for 1, 20, 49, 52, 511, 512, 513;
# what begins like a key everywhere, and what has the form of one everywhere
found("10 MB of $_", "(SELECT repeat('$_', 10485760 / length('$_')) || ' ' || one FROM doc)", 1) for 'ak_', 'key', 'k', '.', 'a.b-c_d.', ' ', 'aA0';
found('1 MB in which every place is one of a key without checksum', "(SELECT repeat('a', 1048576) || ' ' || one FROM doc)", 1);
found('10 MB of words of the length of a key', "(SELECT repeat(repeat('x', 43) || ' ', 10485760 / 44) || ' ' || one FROM doc)", 1);
found('the same key 200000 times', "(SELECT repeat(one || ' ', 200000) FROM doc)", 1);
# what merely looks like a key hides none that overlaps it
found('a key behind the prefix twice', "'aa$keys{plain}[0][0]'", 1);
found('a key behind half of another', "'" . substr($keys{plain}[1][0], 0, 20) . "$keys{plain}[0][0]'", 1);
found('a key inside a longer word', "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa$keys{secret}[1][0]aaaaaaaaaaaaaaaaaaa'", 1);

# Revoking what is found: once, and for good
is($session->query("SELECT count(*) FILTER (WHERE revoked) || '/' || count(*) FROM apikey.revoke_leaked((SELECT repeat(E'line\\n', 2000000) || keys FROM doc), 'in a log', 'scanner')"),
	"$size/$size", 'revoke_leaked: all');
is($session->query("SELECT count(*) FILTER (WHERE revoked) || '/' || count(*) FROM apikey.revoke_leaked((SELECT repeat(E'line\\n', 2000000) || keys FROM doc), 'again', 'scanner')"),
	"0/$size", 'revoke_leaked: again, and nothing changes');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey.keys WHERE revoke_reason = 'in a log' AND revoked_by = 'scanner'"), $size, 'the first reason stays');
is($node->safe_psql('postgres', "SELECT count(*) FROM apikey.audit_log WHERE action = 'revoke'"), $size, 'one audit row for each');

# A search obeys a cancel: one that would take minutes does not end of itself
$session->query("SET statement_timeout = '100ms'");
$session->query("SELECT count(*) FROM generate_series(1, 100000), apikey.find_keys((SELECT repeat('aa', 5242880) FROM doc))");
like($session->errors, qr/57014/, 'a search can be cancelled');
$session->query('RESET statement_timeout');
is($session->query('SELECT 1'), '1', 'and the session lives on');

$session->quit;
$node->stop;
done_testing();
