# What callers say about a request, and what is kept of it: cut, cleaned, free
# of keys, the newest 50 of each key.  What unknown keys leave behind: no rows,
# no log, a few counters.  Threats T98, T117, F21.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;
use Counting;

my $long = $ENV{APIKEY_LONG};
my $node = new_node('texts', "autovacuum = off\napikey.flush_interval = '100ms'\nlog_statement = none");
some_keys($node, 'postgres', 5);
my $session = session($node);
my @keys = map { [ split /\|/ ] } split /\n/, $session->query('SELECT key, key_id FROM k ORDER BY n');
my ($key, $id) = @{ $keys[0] };

# kept(): the newest error of the first key
sub kept
{
	$session->query('SELECT apikey.flush_usage()');
	return $session->query("SELECT status, code, method, path, request_id FROM apikey.recent_errors WHERE key_id = '$id' ORDER BY occurred_at DESC LIMIT 1");
}

# refuse(METHOD, PATH, REQUEST ID): SQL expressions
sub refuse
{
	my ($method, $path, $request_id) = @_;
	my $code = $session->query("SELECT code FROM apikey.verify('$key', account => 'other', method => $method, path => $path, request_id => $request_id)");
	is($code, 'account_mismatch', "refused with path $path");
	return kept();
}

sub record
{
	my ($status, $code, $method, $path, $request_id) = @_;
	is($session->query("SELECT apikey.record('$id', $status, $code, $method, $path, $request_id)") . $session->errors, 't', "recorded with path $path");
	return kept();
}
is(refuse("'GET'", "'/v1/calls'", "'req-1'"), '403|account_mismatch|GET|/v1/calls|req-1', 'a refusal is kept');
is(refuse('NULL', 'NULL', 'NULL'), '403|account_mismatch|||', '... with nothing said about it');
is(record(502, "'upstream'", "'POST'", "'/v1/calls'", "'req-2'"), '502|upstream|POST|/v1/calls|req-2', 'an outcome is kept');
is(record(418, 'NULL', 'NULL', 'NULL', 'NULL'), '418||||', '... with nothing said about it');

# Long ones
my $rows = $session->query('SELECT count(*) FROM apikey.recent_errors');
for my $text ("repeat('x', 1000000)", "repeat(E'\\u00e9', 500000)", "repeat(E'\\U0001F600', 200000)", "repeat(E'\\n', 1000000)", "repeat(chr(127) || chr(133), 100000)")
{
	for my $kept (refuse($text, $text, $text), record(500, $text, $text, $text, $text))
	{
		my @lengths = split /\|/, $session->query("SELECT octet_length(coalesce(code, '')), octet_length(coalesce(method, '')), octet_length(coalesce(path, '')), octet_length(coalesce(request_id, '')),
			concat(code, method, path, request_id) !~ '[\\x01-\\x1f\\x7f-\\x9f]'
			FROM apikey.recent_errors WHERE key_id = '$id' ORDER BY occurred_at DESC LIMIT 1");
		ok($lengths[0] <= 64 && $lengths[1] <= 16 && $lengths[2] <= 128 && $lengths[3] <= 64, "$text is cut (@lengths)");
		is($lengths[4], 't', '... and no control characters');
	}
}

# Control characters and what a terminal or a log might make of them
for my $text ("E'/a\\r\\nFake: line'", "E'/a\\x1b[2Jb'", "E'/a\\tb'", "E'/a\\u202Eb\\u0000b'", "E'/a\\\\b\"c''d'")
{
	my $kept = refuse("'GET'", $text =~ s/\\u0000//r, "'r'");
	unlike($kept, qr/[\x00-\x1f\x7f]/, "no control characters of $text: $kept");
}

# No key, and no query
for my $path ("'/v1/$key/calls'", "'/v1?key=$key'", "'/v1#$key'", "'$key'", "repeat('x', 100) || '$key'", "repeat('x', 127) || '$key'", "'/$key$key'",
	"upper('/$key')", "'/$keys[1][0]'", "E'/\\n$key'")
{
	my $body = substr $key, 3;
	my $second = substr $keys[1][0], 3;
	for my $kept (refuse($path, $path, $path), record(500, $path, $path, $path, $path))
	{
		my $shown = $path =~ s/\Q$key\E/KEY/gr;
		# Of a cut text, no long piece either
		ok(index($kept, substr $body, 0, 20) < 0 && index($kept, substr $second, 0, 20) < 0 && index($kept, substr $body, -20) < 0, "no key text is kept of $shown")
		  or diag $kept;
	}
}
is(refuse("'GET'", "'/v1/calls?account=7&x=y'", "'r?x'"), '403|account_mismatch|GET|/v1/calls|r?x', 'a path ends before its query');
is($session->query("SELECT count(*) FROM apikey.recent_error e, k WHERE strpos(e::text, k.key) > 0"), '0', 'no key text in the table');
is(log_lines($node, 0, substr $key, 3, 20), '0', '... nor in the log');

# record: what it takes and what it does
my $before = $session->query('SELECT sum(requests), sum(refused), sum(errors_4xx), sum(errors_5xx) FROM apikey.counted_days');
for my $call ("'$id', 200", "'$id', 399", "'$id', 100", "'$id', 301, 'moved'", "'$id', 401, 'key_revoked'", "'$id', 429, 'rate_limited'", "'$id', 403, 'account_mismatch'")
{
	is($session->query("SELECT apikey.record($call)") . $session->errors, 'f', "record($call) does nothing");
}
$session->query('SELECT apikey.flush_usage()');
is($session->query('SELECT sum(requests), sum(refused), sum(errors_4xx), sum(errors_5xx) FROM apikey.counted_days'), $before, '... nothing is counted');
for my $call ("NULL, 500", "'$id', NULL", "'$id', 0", "'$id', -1", "'$id', 99", "'$id', 600", "'$id', 2147483647")
{
	like(sql_error($node, 'postgres', "SELECT apikey.record($call)"), qr/^22023: .*^HINT: /ms, "record($call) raises 22023");
}
my @counts = split /\|/, $before;
is($session->query("BEGIN READ ONLY; SELECT apikey.record('$id', s) FROM unnest(ARRAY[400, 404, 499, 500, 599]) s; ROLLBACK"), join("\n", ('t') x 5), 'record in a transaction that is READ ONLY and rolled back');
$session->query("SELECT apikey.record('00000000-0000-0000-0000-000000000000', 500)");
$session->query('SELECT apikey.flush_usage()');
is($session->query('SELECT sum(requests), sum(refused), sum(errors_4xx), sum(errors_5xx) FROM apikey.counted_days'),
	join('|', @counts[ 0, 1 ], $counts[2] + 3, $counts[3] + 2), '... counts by class, and is no request; of a key that does not exist, nothing');

# The newest 50 of each key, exactly: in one flush, over several, out of order
for my $n (1 .. 300)
{
	my $which = 2 + $n % 2;
	$session->query("SELECT apikey.record('$keys[$which][1]', 500, request_id => 'n$n')");
	$session->query('SELECT apikey.flush_usage()') if $n == 40 || $n == 41 || $n == 170 || $n == 280;
}
$session->query('SELECT apikey.flush_usage()');
for my $which (2, 3)
{
	my @wanted = grep { $_ % 2 == $which % 2 } 201 .. 300;
	is($session->query("SELECT string_agg(request_id, ' ' ORDER BY occurred_at) FROM apikey.recent_errors WHERE key_id = '$keys[$which][1]'"),
		join(' ', map { "n$_" } @wanted), 'exactly the newest 50 of 150 errors of a key');
}
$session->query("SELECT apikey.record('$keys[4][1]', 500, request_id => 'n' || n) FROM generate_series(1, 300) n");
$session->query('SELECT apikey.flush_usage()');
is($session->query("SELECT string_agg(request_id, ' ' ORDER BY occurred_at, substr(request_id, 2)::integer) FROM apikey.recent_errors WHERE key_id = '$keys[4][1]'"),
	join(' ', map { "n$_" } 251 .. 300), '... of 300 within one statement');

# Unknown keys
my $unknown = $long ? 1_000_000 : 20_000;
my $tables = q(SELECT (SELECT count(*) FROM apikey.counted_hours) + (SELECT count(*) FROM apikey.counted_days) + (SELECT count(*) FROM apikey.recent_error)
	+ (SELECT count(*) FROM apikey.key_use) + (SELECT count(*) FROM apikey.audit_log));
my $counted = $session->query($tables);
$session->query('SELECT apikey.reset_stats()');
my $offset = -s $node->logfile;
my $lsn = $session->query('SELECT pg_current_wal_insert_lsn()');
$session->query(qq(SELECT v.code, count(*) FROM generate_series(1, $unknown) n, apikey.verify(CASE WHEN n % 2 = 0 THEN 'ak_' || md5(n::text)
	ELSE overlay('$key' placing substr(md5(n::text), 1, 20) from 6) END, ip => '198.51.100.7', path => '/x') v GROUP BY 1));
is($session->query(q(SELECT sum(count), sum(count) FILTER (WHERE code = 'key_invalid') FROM apikey.stats_by_code)), "$unknown|$unknown", "$unknown unknown keys: counted by code");
is(stat_of($node, 'verifications', 'refusals', 'events_buffered', 'events_lost'), "$unknown|$unknown|0|0", '... in stats too, no event');
is($session->query($tables), $counted, '... no row');
cmp_ok((-s $node->logfile) - $offset, '<', 20_000, '... little log');
cmp_ok($session->query("SELECT pg_current_wal_insert_lsn() - '$lsn'"), '<', 100_000, '... little WAL');
is($session->query('SELECT address, attempts FROM apikey.guesses'), "198.51.100.7|$unknown", '... one row in guesses');

# Who guesses: the heavy one stays, IPv6 counts by /64, memory is bounded
$session->query('SELECT apikey.reset_stats()');
is($session->query('SELECT count(*) FROM apikey.guesses') . '|' . stat_of($node, 'verifications', 'refusals', 'events_flushed'), '0|0|0|0', 'reset_stats() resets');
$session->query(q(SELECT count(v) FROM generate_series(1, 500) n, apikey.verify('ak_no' || n, ip => '203.0.113.9') v));
$session->query(q(SELECT count(v) FROM generate_series(1, 400) n, apikey.verify('ak_no', ip => '2001:db8:1:2::' || to_hex(n)) v));
$session->query(q(SELECT count(v) FROM generate_series(1, 2000) n, apikey.verify('ak_no', ip => '10.' || n / 65536 || '.' || n / 256 % 256 || '.' || n % 256) v));
$session->query(q(SELECT count(v) FROM generate_series(1, 2000) n, apikey.verify('ak_no', ip => '2001:db8:' || to_hex(n) || ':' || to_hex(n) || '::1') v));
is($session->query('SELECT address, attempts FROM apikey.guesses LIMIT 2'), "203.0.113.9|500\n2001:db8:1:2::/64|400", 'a flood of 4000 others does not push out the heavy ones');
cmp_ok($session->query('SELECT count(*) FROM apikey.guesses'), '<=', 256, '... and takes no more room');
is($session->query('SELECT sum(attempts) FROM apikey.guesses'), '4900', '... all attempts are there');
$session->query(q(SELECT count(v) FROM apikey.verify('ak_no') v));
$session->query(qq(SELECT count(v) FROM apikey.verify('$key', account => 'other', ip => '192.0.2.55') v));
is($session->query("SELECT count(*) FROM apikey.guesses WHERE address = '192.0.2.55'"), '0', 'who presents a known key does not guess');

# Texts in a database that does not check them
$node->safe_psql('postgres', q(CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'));
$node->safe_psql('ascii', 'CREATE EXTENSION apikey CASCADE');
some_keys($node, 'ascii', 1);
my $ascii = session($node, 'ascii');
$ascii->query("SET client_encoding = 'SQL_ASCII'");
is($ascii->query(q(SELECT v.code FROM k, apikey.verify(k.key, account => 'other', method => E'\xff\xfe', path => repeat(E'/\xc3', 1000), request_id => E'\x80\x81') v)) . $ascii->errors,
	'account_mismatch', 'invalid encodings in a SQL_ASCII database');
is($ascii->query('SELECT apikey.record(key_id, 500, E\'\xf0\x9f\', E\'\xf0\', E\'\xf0\x9f\', E\'\x1b\xf0\') FROM k') . $ascii->errors, 't', '... in record');
is($ascii->query('SELECT apikey.flush_usage() > 0') . $ascii->errors, 't', '... are written');
is($ascii->query('SELECT count(*) FROM apikey.recent_errors') . $ascii->errors, '2', '... and can be read');
$ascii->quit;
is(stat_of($node, 'last_flush_error'), '', 'no flush has failed');
$session->quit;
$node->stop;
done_testing();
