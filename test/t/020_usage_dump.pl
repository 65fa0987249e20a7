#!/usr/bin/perl
# Dump and restore of usage: rows in default partitions, which are members of
# the extension, and in dated ones, which are made at run time and are not; and
# hours that are open.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'apikey'");
$node->start;

# What must come through, as text.
my %content = (
	usage => q{
		SELECT tableoid::regclass, u.* FROM apikey.usage_hour u ORDER BY 1, 2, 3, 4;
		SELECT tableoid::regclass, u.* FROM apikey.usage_day u ORDER BY 1, 2, 3, 4;
		SELECT u.* FROM apikey.key_use u ORDER BY 1, 2;
		SELECT e.* FROM apikey.recent_error e ORDER BY 1, 2, 3;
		SELECT * FROM apikey.usage_daily ORDER BY 1, 2},
	structure => q{
		SELECT i.inhparent::regclass, c.relname, pg_get_expr(c.relpartbound, c.oid), c.reloptions, coalesce(c.relacl, acldefault('r', c.relowner)), c.relowner::regrole,
			obj_description(c.oid, 'pg_class'), EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid ORDER BY 1, 2;
		SELECT c.relname, pg_get_indexdef(x.indexrelid), x.indisvalid
		FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid WHERE c.relnamespace = 'apikey'::regnamespace ORDER BY 1, 2});

sub dump_of { my ($database, $what) = @_; return $node->safe_psql($database, $content{$what}); }

$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql(
	'source', q{
	CREATE EXTENSION apikey CASCADE;
	SELECT count(*) FROM generate_series(1, 5) i, LATERAL apikey.issue('acme', 'key ' || i);
	SELECT apikey.apply_batch('n1', 41);
	CREATE FUNCTION public.fill(node text, first timestamptz, hours integer) RETURNS void LANGUAGE sql AS $$
		SELECT apikey.apply_usage(node, array_agg(k.key_id ORDER BY k.key_id, h), array_agg(h ORDER BY k.key_id, h), array_agg(10), array_agg(2),
			array_agg(1), array_agg(1), array_agg(substr(sha256((h::text || k.name)::bytea), 1, 8)), array_agg(h ORDER BY k.key_id, h))
		FROM apikey.key k, generate_series(first, first + (hours - 1) * interval '1 hour', interval '1 hour') h
	$$;
	SELECT apikey.maintain_usage('2031-05-30 12:00+00', '0', '0');
	SELECT public.fill('n1', '2031-05-30 00:00+00', 60);
	SELECT public.fill('n2', '2031-06-01 00:00+00', 1);
	SELECT public.fill('n1', '2020-01-01 00:00+00', 2);
	SELECT public.fill('n1', '2040-01-01 00:00+00', 2);
	SELECT apikey.apply_errors('n1', array_agg(key_id), array_agg('2031-05-30 00:00+00'::timestamptz), array_agg(404),
		array_agg('not_found'::text), array_agg('GET'::text), array_agg('/x'::text), array_agg('r'::text)) FROM apikey.key});

is( $node->safe_psql('source', q{SELECT string_agg(DISTINCT tableoid::regclass::text, ' ') FROM apikey.usage_hour}),
	'apikey.usage_hour_default apikey.usage_hour_p20310530 apikey.usage_hour_p20310531 apikey.usage_hour_p20310601',
	'rows lie in default and in dated partitions');

my $dump = $node->basedir . '/dump';
my %restore = (
	plain => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '-f', "$dump.sql", 'source' ], 'pg_dump');
		$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", $database ], 'restored without an error');
	},
	custom => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", 'source' ], 'pg_dump -Fc');
		$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $database, "$dump.custom" ], 'restored by two jobs without an error');
	},
	root => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '--load-via-partition-root', '-f', "$dump.root", 'source' ], 'pg_dump by way of the parents');
		$node->command_ok([ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.root", $database ], 'restored in one transaction');
	},
	again => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '-f', "$dump.again", 'restored_plain' ], 'pg_dump of what was restored');
		$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.again", $database ], 'restored without an error');
	});

for my $way (qw(plain custom root again))
{
	my $database = "restored_$way";
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$restore{$way}->($database);
	is(dump_of($database, $_), dump_of('source', $_), "$way: same $_") for sort keys %content;
	is($node->safe_psql($database, 'SELECT count(*) FROM apikey.flush_state'), '0', "$way: what was flushed there is not flushed here");
}

# Data alone goes into a fresh extension by way of the parents, as dated
# partitions are not there.
$node->safe_psql('postgres', 'CREATE DATABASE data_only');
$node->safe_psql('data_only', 'CREATE EXTENSION apikey CASCADE');
$node->command_ok([ 'pg_dump', '--data-only', '--load-via-partition-root', '-f', "$dump.data", 'source' ], 'pg_dump of data alone');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.data", 'data_only' ], 'restored into a fresh extension');
my $totals = q{SELECT * FROM apikey.usage_hourly ORDER BY 1, 2; SELECT * FROM apikey.usage_daily ORDER BY 1, 2};
is($node->safe_psql('data_only', $totals), $node->safe_psql('source', $totals), 'data only: same totals');
$node->safe_psql('data_only', q{SELECT apikey.maintain_usage('2031-06-05 12:00+00', '0', '0')});
is($node->safe_psql('data_only', $totals), $node->safe_psql('source', $totals), 'data only: same totals in partitions');
is( $node->safe_psql('data_only', q{SELECT string_agg(DISTINCT tableoid::regclass::text, ' ') FROM apikey.usage_hour}),
	'apikey.usage_hour_default apikey.usage_hour_p20310530 apikey.usage_hour_p20310531 apikey.usage_hour_p20310601',
	'data only: rows of the last month have their partitions again');

# Life goes on: counts are added, partitions made, rows moved, old ones dropped.
my $database = 'restored_plain';
$node->safe_psql(
	$database, q{
	SELECT apikey.apply_batch('n1', 1);
	SELECT public.fill('n1', '2031-05-30 00:00+00', 1);
	SELECT apikey.maintain_usage('2040-01-01 12:00+00', '0', '0')});
is( $node->safe_psql($database, q{
		SELECT requests, count(*) FROM apikey.usage_hour WHERE hour = '2031-05-30 00:00+00' GROUP BY 1}),
	'20|5', 'counts are added to restored rows');
is( $node->safe_psql($database, q{
		SELECT node, hour AT TIME ZONE 'UTC', count(*) FROM apikey.key_use GROUP BY 1, 2 ORDER BY 1, 2}),
	"n1|2040-01-01 01:00:00|5\nn2|2031-06-01 00:00:00|5", 'hours that were open are open');
$node->safe_psql($database, q{SELECT public.fill('n1', '2040-01-01 01:00+00', 2)});
is( $node->safe_psql($database, q{
		SELECT hour AT TIME ZONE 'UTC', requests, count(*) FROM apikey.usage_hourly WHERE hour >= '2040-01-01' GROUP BY 1, 2 ORDER BY 1}),
	"2040-01-01 00:00:00|10|5\n2040-01-01 01:00:00|20|5\n2040-01-01 02:00:00|10|5", '... counted on, and closed');
is( $node->safe_psql($database, q{
		SELECT tableoid::regclass, count(*) FROM apikey.usage_hour WHERE hour NOT BETWEEN '2031-01-01' AND '2032-01-01' GROUP BY tableoid ORDER BY tableoid::regclass::text}),
	"apikey.usage_hour_default|10\napikey.usage_hour_p20400101|10", 'restored rows of the default partition are moved');
$node->safe_psql($database, q{SELECT apikey.settle_usage(apikey.usage_kept_from('2040-01-01 12:00+00', '90 days', '90 days')), apikey.maintain_usage('2040-01-01 12:00+00', '90 days', '90 days')});
is( $node->safe_psql($database, q{
		SELECT (SELECT count(*) FROM apikey.counted_hours), (SELECT count(*) FROM apikey.usage_day),
			(SELECT count(*) FROM apikey.key_use WHERE hour IS NOT NULL),
			(SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'apikey.usage_day'::regclass)}),
	'15|5|5|apikey.usage_day_default apikey.usage_day_p204001 apikey.usage_day_p204002 apikey.usage_day_p204003',
	'restored partitions are dropped when their time has come');

for my $which ('source', 'restored_plain', 'restored_custom')
{
	$node->safe_psql($which, 'DROP EXTENSION apikey');
	is( $node->safe_psql($which, q{
			SELECT (SELECT count(*) FROM pg_class WHERE relname ~ '^(usage_hour|usage_day|key_use|recent_error|flush_state)') + (SELECT count(*) FROM pg_namespace WHERE nspname = 'apikey')}),
		'0', "$which: DROP EXTENSION leaves nothing, partitions included");
	$node->safe_psql($which, 'CREATE EXTENSION apikey');
}

$node->stop;
done_testing();
