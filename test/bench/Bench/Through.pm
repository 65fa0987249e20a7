# Bench::Through: what a client sees that sends one statement after the other.

package Bench::Through;

use strict;
use warnings;
use Bench::Keys qw(key_file has_limits answer twin);
use Bench::Load qw(rounds median ratio start_load wait_load sql answered measure);
use Bench::Picture qw(line_chart);
use Bench::Report qw(section say_text table aim number times_text);

my $address = '203.0.113.7';
my @request = ('text:1', 'is:calls:read', "is:$address");

# ------------------------------------------------------------- contestants

sub select_1 { return { name => 'SELECT 1', sql => 'SELECT 1', expected => '1' }; }

# Its answer is that of verify under so many limits.
sub nothing
{
	my ($db, $limits) = @_;
	return {
		name => 'do-nothing function', sql => 'SELECT * FROM bench.nothing($1, $2, $3)', expected => 't',
		params => [@request], db => $db, setup => [ answer($db, limits($limits || 0)) ] };
}

# The same for those who need no more than the answer.
sub short
{
	my ($c) = @_;
	(my $sql = $c->{sql}) =~ s/\*/ok, code, status/;
	return { %$c, sql => $sql, name => "$c->{name}, three columns asked for" };
}

# What verify says of a key nobody knows: four columns, and the rest is NULL.
sub nothing_small
{
	my ($db) = @_;
	return {
		%{ nothing($db) }, name => 'do-nothing function, four columns not NULL',
		setup => [q{SELECT bench.answer_with(jsonb_populate_record(NULL::apikey.verdict, '{"ok": true, "code": "valid", "status": 200, "message": "OK"}'))}] };
}

sub by_digest
{
	my ($db) = @_;
	return {
		name => 'bare look-up, 32-byte digest bound', db => $db, params => ['bytes:2'],
		sql => 'SELECT account FROM bench.by_digest WHERE digest = $1' };
}

# The policy in force: so many limits a minute that nobody reaches.
sub limits
{
	my ($count) = @_;
	return undef unless has_limits();
	return join '; ', 'DELETE FROM apikey.rate_limit',
	  map { "INSERT INTO apikey.rate_limit (name, kind, max, per) VALUES ('limit$_', 'secret', 1000000000, '1 minute')" } 1 .. $count;
}

sub ours
{
	my ($db, $limits, %more) = @_;
	return {
		name => 'apikey.verify', sql => 'SELECT * FROM apikey.verify($1, $2, $3)', expected => 't',
		params => [@request], db => $db, policy => limits($limits), verifies => 1, %more };
}

sub handwritten
{
	my @checked = ('k.revoked_at IS NULL', '(k.expires_at > now()) IS NOT FALSE', 'NOT k.disabled',
		'$2 = ANY (k.scopes)', '(k.allowed IS NULL OR $3::inet <<= ANY (k.allowed))');
	my %function = (params => [@request], expected => 't');
	return (
		{
			name => 'bare look-up, 8-byte number bound', params => ['bytes:3'],
			sql => 'SELECT account FROM bench.by_number WHERE number = $1' },
		{
			name => 'look-up by sha256() in the query', params => ['text:1'],
			sql => q{SELECT account FROM bench.by_digest WHERE digest = sha256(convert_to($1, 'UTF8'))} },
		{
			name => 'all checks in one SELECT, by hand', %function,
			sql => 'SELECT ' . join(' AND ', @checked) . q{ AS ok, k.account, k.scopes FROM bench.api_key k WHERE k.digest = sha256(convert_to($1, 'UTF8'))} },
		{
			name => 'PL/pgSQL by hand, checks only', %function,
			sql => 'SELECT * FROM bench.checks($1, $2, $3)' },
		{
			name => 'PL/pgSQL by hand, counts and limits', %function,
			sql => 'SELECT * FROM bench.counting($1, $2, $3)' },
		{
			name => 'the same, tuned, synchronous_commit off', %function,
			sql => 'SELECT * FROM bench.tuned($1, $2, $3)', setup => ['SET synchronous_commit = off'] });
}

# ------------------------------------------------------- counted = answered

my %base;
my $wrong = 0;

sub requests
{
	my ($db, $server) = @_;
	sql('SELECT apikey.flush_usage()', $db, $server);
	return sql('SELECT coalesce(sum(requests), 0) FROM apikey.usage_daily', $db, $server);
}

sub counting_begins
{
	my ($db, $server) = @_;
	answered($db, $server);
	Bench::Keys::own_calls($db);
	$base{$db} = requests($db, $server);
	return;
}

# counted(DATABASE...): say under a table whether everything answered was counted.
sub counted
{
	my ($answered, $counted) = (0, 0);
	for my $db (@_)
	{
		$answered += answered($db) + Bench::Keys::own_calls($db);
		$counted += requests($db) - $base{$db};
	}
	my $same = $answered == $counted;
	my $lost = sql('SELECT events_lost FROM apikey.stats');
	say_text(sprintf 'Counted after a flush: %d of %d verifications that were answered%s.',
		$counted, $answered, $same ? '' : " (**not the same**; events lost: $lost)");
	$wrong++ unless $same;
	return;
}

# How many tables did not add up?
sub wrong { return $wrong; }

# ------------------------------------------------------------------- main

sub share { my ($samples, $field, @names) = @_; return times_text(ratio($samples, $field, @names)); }

sub figure { my ($samples, $field, $name) = @_; return median(map { $_->{$field} } @{ $samples->{$name} || [] }); }

sub cpu_text
{
	my ($samples, $name) = @_;
	return number(figure($samples, 'cpu', $name)) . ' + ' . number(figure($samples, 'others', $name));
}

# One table: rows are contestants, a group of columns for each number of clients.
sub main_table
{
	my ($title, $contestants, $by_clients) = @_;
	my @clients = sort { $a <=> $b } keys %$by_clients;
	my @rows;
	for my $c (@$contestants)
	{
		my $name = $c->{name};
		my @row = ($name);
		for my $clients (@clients)
		{
			my $s = $by_clients->{$clients};
			push @row, number(figure($s, 'rate', $name)), share($s, 'rate', $name, 'SELECT 1'), share($s, 'rate', $name, 'do-nothing function');
		}
		my $first = $by_clients->{ $clients[0] };
		push @row, cpu_text($first, $name), share($first, 'cpu', $name, 'SELECT 1'), share($first, 'cpu', $name, 'do-nothing function'), number(figure($by_clients->{ $clients[-1] }, 'p99', $name) / 1000);
		push @rows, \@row;
	}
	say_text("### $title");
	table([ 'contestant', (map { ("calls/s, $_ client" . ($_ > 1 ? 's' : ''), '× SELECT 1', '× limit') } @clients),
			"CPU, $clients[0] client" . ($clients[0] > 1 ? 's' : ''), '× SELECT 1', '× limit', "p99 ms, $clients[-1] clients" ], @rows);
	return;
}

my ($verify, $limit) = ('apikey.verify', 'do-nothing function');

sub main
{
	my ($size) = @_;
	my @contestants = (select_1(), nothing('bench', 1), nothing_small('bench'), short(nothing('bench', 1)), by_digest('bench'), handwritten(),
		ours('bench', 1), short(ours('bench', 1)));
	# Connections live long: what each must first map of the memory that all
	# share is not what a call costs.
	my %all_keys = (warm_up => 6 * $size->{warm_up}, seconds => 3 * $size->{seconds});
	my @workloads = (
		[ "$size->{hot} keys", 'hot set', first => $size->{hot} ],
		[ number($size->{keys}) . ' keys, uniform', 'uniform', %all_keys ],
		[ 'one hot key', 'one key', first => 1 ]);
	push @workloads, [ number($size->{keys}) . ' keys, Zipf', 'Zipf', zipf => 1, %all_keys ] if $size->{long};
	my %all;
	section('Through a connection');
	say_text('`apikey.verify` checks state, expiry, account, address list and scope, counts' .
		  (has_limits() ? ', and spends one limit a minute.' : '. There is no limit: this version has none.'));
	counting_begins('bench');
	for my $w (@workloads)
	{
		my ($title, $name, %how) = @$w;
		# Where one key is hot, waiting for each other is what is looked at.
		my @clients = $name eq 'one key' ? $size->{clients}[-1] : @{ $size->{clients} };
		for my $clients (@clients)
		{
			$all{$name}{$clients} = rounds("main, $name, $clients clients", $size->{rounds}, \@contestants,
				%how, clients => $clients, file => key_file('bench', 'keys'));
		}
		main_table($title, \@contestants, $all{$name});
	}
	counted('bench');
	main_aims(\%all);
	sql('VACUUM', 'bench');
	return;
}

sub main_aims
{
	my ($all) = @_;
	my ($hot, $uniform, $one) = @$all{ 'hot set', 'uniform', 'one key' };
	my $hand = 'PL/pgSQL by hand, counts and limits';
	for my $clients (1, 8)
	{
		for my $form ('', ', three columns asked for')
		{
			aim("hot set, $clients client(s)$form: throughput, × limit", '>=', 0.90, ratio($hot->{$clients}, 'rate', "$verify$form", "$limit$form"));
		}
	}
	aim('hot set, 1 client: CPU, × SELECT 1', '<=', 1.5, ratio($hot->{1}, 'cpu', $verify, 'SELECT 1'));
	aim('uniform keys, 1 client: CPU, × SELECT 1', '<=', 2.0, ratio($uniform->{1}, 'cpu', $verify, 'SELECT 1'));
	for my $clients (1, 8)
	{
		for my $form ('', ', three columns asked for')
		{
			aim("uniform keys, $clients client(s)$form: throughput, × bare look-up", '>=', 1.0,
				ratio($uniform->{$clients}, 'rate', "$verify$form", 'bare look-up, 32-byte digest bound'));
		}
	}
	# What is written by hand answers with five columns, verify with 21.
	for my $form ('', ', three columns asked for')
	{
		aim("uniform keys, 8 clients$form: throughput, × what counts by hand", '>=', 8, ratio($uniform->{8}, 'rate', "$verify$form", $hand));
		aim("one hot key, 8 clients$form: throughput, × what counts by hand", '>=', 15, ratio($one->{8}, 'rate', "$verify$form", $hand));
	}
	# Not of one round: the two were not measured side by side, but each against SELECT 1.
	my @shares = map { ratio($_, 'rate', $verify, 'SELECT 1') } $one->{8}, $uniform->{8};
	aim('8 clients: one hot key, × uniform keys', '>=', 1.0, $shares[1] ? $shares[0] / $shares[1] : undef);
	return;
}

# ----------------------------------------------------------------- growth

sub growth
{
	my ($size) = @_;
	my (@contestants, %points, @databases);
	my $on = sub {
		my ($keys, $c, $name, %how) = @_;
		push @contestants, { %$c, name => "$name $keys", file => key_file("keys_$keys", 'keys'), how => \%how };
	};
	for my $keys (@{ $size->{growth} })
	{
		my $db = "keys_$keys";
		push @databases, $db;
		counting_begins($db);
		$on->($keys, nothing($db), 'limit');
		$on->($keys, by_digest($db), 'bare');
		$on->($keys, ours($db, 0), 'hot', first => $size->{hot});
		$on->($keys, ours($db, 0), 'uniform');
	}
	# Checking in each database has its price; the first of it is no growth.
	my $s = rounds('growth', $size->{rounds}, [ select_1(), @contestants ], clients => 1);
	my @names = ([ uniform => 'apikey.verify, uniform' ], [ hot => "apikey.verify, $size->{hot} keys" ], [ bare => 'bare look-up, uniform' ], [ limit => 'do-nothing function' ]);
	section('Growth');
	say_text('One client, each number of keys in a database of its own. CPU is the connection\'s, in microseconds a call.');
	my @rows;
	for my $keys (@{ $size->{growth} })
	{
		push @rows, [ number($keys), map { (number(figure($s, 'rate', "$_->[0] $keys")), number(figure($s, 'cpu', "$_->[0] $keys"))) } @names ];
		push @{ $points{ $_->[0] } }, [ $keys, figure($s, 'cpu', "$_->[0] $keys") ] for @names;
	}
	table([ 'keys', map { ("$_->[1]: calls/s", 'CPU') } @names ], @rows);
	push @{ $points{one} }, map { [ $_, figure($s, 'cpu', 'SELECT 1') ] } @{ $size->{growth} };
	if (line_chart("$size->{results}/growth.svg", title => 'What a call costs the server as keys grow', x => 'keys in the table', y => 'CPU, microseconds a call',
			series => [ (map { [ $_->[1], $points{ $_->[0] } ] } @names), [ 'SELECT 1', $points{one} ] ]))
	{
		say_text('![CPU a call over the number of keys](growth.svg)');
	}
	counted(@databases);
	my ($from, $to) = (10_000, $size->{growth}[-1]);
	aim('uniform keys, from ' . number($from) . ' to ' . number($to) . ': CPU grows by', '<=', 1.5, ratio($s, 'cpu', "uniform $to", "uniform $from")) if $to > $from;
	return;
}

# ------------------------------------------------------------------ shape

# Keys with long lists: what is asked for stands at the end of them.
sub shape
{
	my ($size) = @_;
	my $scopes = sub { join ',', (map { "resource$_:read" } 2 .. $_[0]), 'calls:read' };
	my $ranges = sub { join ',', (map { sprintf '10.%d.%d.0/24', $_ / 100, 2 * ($_ % 100) } 2 .. $_[0]), '203.0.113.0/24' };
	my @shapes = ([ 0, 1 ], [ 10, 1 ], [ 1000, 1 ], [ 0, 20 ], [ 0, 256 ], [ 1000, 256 ]);
	my @contestants;
	counting_begins('bench');
	for my $shape (@shapes)
	{
		my ($networks, $grants) = @$shape;
		my ($list, $held) = ($networks ? "'{" . $ranges->($networks) . "}'" : 'NULL', "'{" . $scopes->($grants) . "}'");
		my $table = "bench.shape_${networks}_$grants";
		sql("CREATE TABLE $table AS SELECT i.key FROM generate_series(1, 20), LATERAL apikey.issue('shape', 'benchmark', $held, allowed_ips => $list) i", 'bench');
		my $file = key_file('bench', "shape_${networks}_$grants", "SELECT key FROM $table");
		push @contestants, ours('bench', 0, name => "$networks $grants", file => $file, sql => 'SELECT ok, code, status FROM apikey.verify($1, $2, $3)'),
		  ours('bench', 0, name => "all $networks $grants", file => $file);
	}
	my $s = rounds('shape', $size->{rounds}, \@contestants, clients => 1);
	section('Long lists');
	say_text('One client, 20 keys of each shape; the network and the grant that fit stand last. Three columns asked for, and all columns (which print all grants).');
	table([ 'networks', 'grants', 'calls/s', '× short lists', 'CPU', '× short lists', 'calls/s, all columns', 'CPU, all columns' ],
		map {
			my $name = "@$_";
			[ $_->[0], $_->[1], number(figure($s, 'rate', $name)), share($s, 'rate', $name, '0 1'), cpu_text($s, $name), share($s, 'cpu', $name, '0 1'),
				number(figure($s, 'rate', "all $name")), cpu_text($s, "all $name") ]
		} @shapes);
	counted('bench');
	return;
}

# ------------------------------------------------------------------- cost

# What counting costs, and limits: the same statement with and without.
sub cost
{
	my ($size) = @_;
	my @variants = (ours('bench', 0, name => 'counted'));
	unshift @variants, ours('bench', 0, name => 'not counted', server => 'twin', verifies => 0) if twin();
	push @variants, ours('bench', 1, name => 'counted, one limit'), ours('bench', 2, name => 'counted, two limits') if has_limits();
	my @workloads = (
		[ "$size->{hot} keys, 1 client", clients => 1, first => $size->{hot} ],
		[ 'one hot key, 8 clients', clients => 8, first => 1 ],
		[ number($size->{keys}) . ' keys, uniform, 8 clients', clients => 8 ]);
	section('What counting and limits cost');
	say_text('*Not counted*: a second server with the same keys, and a library linked from the same objects, except that the call which counts a verification leads to an empty function.')
	  if twin();
	say_text('Not counted: **skipped**, no library without counting could be linked.') unless twin();
	counting_begins('bench');
	for my $w (@workloads)
	{
		my ($title, %how) = @$w;
		my $s = rounds("cost, $title", $size->{rounds}, \@variants, %how, file => key_file('bench', 'keys'));
		say_text("### $title");
		table([ '', 'calls/s', 'time a call, × the row before', 'CPU', '× the row before', 'p99 ms' ],
			map {
				my ($name, $before) = ($variants[$_]{name}, $_ ? $variants[ $_ - 1 ]{name} : '');
				[ $name, number(figure($s, 'rate', $name)), share($s, 'rate', $before, $name), cpu_text($s, $name),
					share($s, 'cpu', $name, $before), number(figure($s, 'p99', $name) / 1000) ]
			} 0 .. $#variants);
		aim("counting, $title: time a call", '<=', 1.10, ratio($s, 'rate', 'not counted', 'counted'));
		aim("two limits, $title: time a call", '<=', 1.10, ratio($s, 'rate', 'counted', 'counted, two limits'));
	}
	counted('bench');
	writes($size);
	return;
}

# What is written: WAL and transaction ids, a second of quiet included in neither.
sub writes
{
	my ($size) = @_;
	my $position = sub {
		my ($db) = @_;
		sql('SELECT apikey.flush_usage()', $db);
		return split /\t/, sql(q{SELECT pg_current_wal_insert_lsn() - '0/0', pg_snapshot_xmax(pg_current_snapshot())}, $db);
	};
	my @rows;
	for my $c (ours('bench', 1), (grep { $_->{name} =~ /counts and limits|tuned/ } handwritten()))
	{
		next if $c->{sql} =~ /bench\./ && sql(q{SELECT to_regclass('bench.used') IS NULL}) eq 't';
		sql('CHECKPOINT');
		my @before = $position->('bench');
		my $sample = measure($c, { clients => 8, seconds => 5, file => key_file('bench', 'keys') });
		my @after = $position->('bench');
		push @rows, [ $c->{name}, number($sample->{total}), number(($after[0] - $before[0]) / $sample->{total}), number(($after[1] - $before[1]) / $sample->{total}), $after[1] - $before[1] ];
	}
	say_text('### What is written, 8 clients, uniform keys, some seconds; the flush is included');
	table([ '', 'calls', 'WAL bytes a call', 'transaction ids a call', 'transaction ids' ], @rows);
	return;
}

# ---------------------------------------------------------------- changes

# Verifying while keys change.
sub changes
{
	my ($size) = @_;
	my $ids = key_file('bench', 'ids', "SELECT key_id FROM bench.issued ORDER BY md5(key) OFFSET $size->{hot}");
	my %change = (name => 'changes', file => $ids, params => ['text:1'], setup => ['SET synchronous_commit = off']);
	my @sides = (
		[ 'nothing' ],
		[ '10 keys changed a second', %change, rate => 10, sql => q{SELECT apikey.alter_key($1::uuid, name => 'n' || random())} ],
		[ '1,000 keys changed a second', %change, rate => 1000, sql => q{SELECT apikey.alter_key($1::uuid, name => 'n' || random())} ],
		[ '1,000 rows of another table', %change, params => ['bytes:2'], rate => 1000, file => key_file('bench', 'keys'),
			sql => q{UPDATE bench.api_key SET last_used_at = now() WHERE digest = $1 RETURNING id} ]);
	my (%samples, %real);
	section('Verifying while keys change');
	counting_begins('bench');
	for my $round (1 .. $size->{rounds})
	{
		print "        changes: round $round of $size->{rounds}\n";
		for my $side (@sides)
		{
			my ($name, %load) = @$side;
			my $how = { clients => 1, first => $size->{hot}, file => key_file('bench', 'keys'), seed => $round };
			my $beside = %load && start_load(\%load, { seconds => $size->{seconds} + $size->{warm_up} + 0.5, warm_up => 0.1, seed => $round });
			push @{ $samples{$name} }, measure(ours('bench', 0), $how);
			push @{ $real{$name} }, wait_load($beside)->{rate} if $beside;
		}
	}
	say_text("One client verifies $size->{hot} keys; another connection changes other keys beside it, without waiting for the disk.");
	table([ 'beside', 'changes/s reached', 'verifications/s', '× alone', 'CPU of the verifying connection', '× alone', 'p99 ms' ],
		map {
			my $name = $_->[0];
			[ $name, number(median(@{ $real{$name} || [] })), number(figure(\%samples, 'rate', $name)), share(\%samples, 'rate', $name, 'nothing'),
				number(figure(\%samples, 'cpu', $name)), share(\%samples, 'cpu', $name, 'nothing'), number(figure(\%samples, 'p99', $name) / 1000) ]
		} @sides);
	counted('bench');
	return;
}

1;
