# Bench::Inside: what a call costs inside the server: in a query over many keys,
# in a policy, in memory, in instructions.

package Bench::Inside;

use strict;
use warnings;
use FindBin;
use IPC::Open2 qw(open2);
use Bench::Keys qw(key_file answer has_relation run_command script);
use Bench::Load qw(rounds median ratio start_load wait_load sql);
use Bench::Scale;
use Bench::Report qw(section say_text table aim number times_text);

my $address = '203.0.113.7';
my $verify = "(apikey.verify(k.key, 'calls:read', '$address')).ok";
my $nothing = "(bench.nothing(k.key, 'calls:read', '$address')).ok";
my $block = 5000;    # calls a statement

# Keys in a random order, numbered; in blocks.
sub shuffled
{
	my ($size) = @_;
	return if has_relation('bench.shuffled');
	sql(q{CREATE TABLE bench.shuffled AS SELECT (row_number() OVER (ORDER BY md5(key)) - 1)::integer AS n, key FROM bench.issued});
	sql('ALTER TABLE bench.shuffled ADD PRIMARY KEY (n)');
	sql("CREATE TABLE bench.hot AS SELECT key FROM bench.shuffled WHERE n < $size->{hot}");
	sql('VACUUM (ANALYZE) bench.shuffled');
	sql('VACUUM (ANALYZE) bench.hot');
	return;
}

# ------------------------------------------------------------------ query

sub query
{
	my ($size) = @_;
	shuffled($size);
	my $blocks = key_file('bench', 'blocks', "SELECT to_char(g, 'FM000000000') FROM generate_series(0, $size->{keys} - $block, $block) g");
	my $times = $block / $size->{hot};
	my %from = (
		hot => "FROM generate_series(1, $times) g, bench.hot k WHERE \$1::integer >= 0",
		all => "FROM bench.shuffled k WHERE n >= \$1::integer AND n < \$1::integer + $block");
	my %what = (loop => q{k.key <> ''}, nothing => $nothing, verify => $verify);
	my @contestants;
	for my $from (qw(hot all))
	{
		for my $what (qw(loop nothing verify))
		{
			push @contestants, {
				name => "$what $from", sql => "SELECT count(*) FILTER (WHERE $what{$what}) $from{$from}", expected => $block,
				params => ['text:1'], file => $blocks, setup => [ answer('bench', Bench::Through::limits(1)) ],
				verifies => $what eq 'verify' ? $block : 0, policy => Bench::Through::limits($what eq 'verify' ? 1 : 0) };
		}
	}
	Bench::Through::counting_begins('bench');
	my $s = rounds('inside a query', $size->{rounds}, \@contestants, clients => 1);
	# The loop itself, a row at a time, is no part of a call.
	my $cost = sub {
		my ($name, $from, $field) = @_;
		my @of = map { $field eq 'rate' ? 1e6 / $_->{rate} / $block : $_->{$field} / $block } @{ $s->{"$name $from"} };
		my @loop = map { $field eq 'rate' ? 1e6 / $_->{rate} / $block : $_->{$field} / $block } @{ $s->{"loop $from"} };
		return median(map { $of[$_] - ($field eq 'others' ? 0 : $loop[$_]) } 0 .. $#of);
	};
	my %title = (hot => "$size->{hot} keys, again and again", all => 'each key once in ' . number($size->{keys}) . ', at random');
	section('Inside one query');
	say_text("Microseconds a call: `SELECT count(*) FILTER (WHERE $verify) FROM ...` less the same query with `k.key <> ''` in its place.");
	table([ '', 'do nothing: CPU', 'verify: time', 'verify: CPU', 'of other processes' ],
		map { [ $title{$_}, number($cost->('nothing', $_, 'cpu')), number($cost->('verify', $_, 'rate')), number($cost->('verify', $_, 'cpu')), number($cost->('verify', $_, 'others')) ] } qw(hot all));
	Bench::Through::counted('bench');
	aim('inside a query, hot set: microseconds a call (CPU)', '<=', 1.5, $cost->('verify', 'hot', 'cpu'));
	aim('inside a query, uniform: microseconds a call (CPU)', '<=', 5, $cost->('verify', 'all', 'cpu'));
	return;
}

# ----------------------------------------------------------------- policy

sub policy
{
	my ($size) = @_;
	if (sql(q{SELECT to_regprocedure('apikey.allows(text)') IS NULL OR to_regproc('apikey.authenticate') IS NULL}) eq 't')
	{
		section('In a policy');
		say_text('**Skipped**: this version has no `apikey.allows`.');
		return;
	}
	# One table for each policy, all alike.  The connection stays in one transaction,
	# as the identity does; the role that reads is not the owner, or no policy
	# would apply.
	my %using = (
		none => 'true', constant => '(SELECT true)', wrapped => q{(SELECT apikey.allows('calls:read'))},
		both_constant => q{(SELECT true) AND account = (SELECT 'account1'::text)},
		both => q{(SELECT apikey.allows('calls:read')) AND account = (SELECT apikey.current_account())});
	sql(q{CREATE ROLE bench_reader; GRANT USAGE ON SCHEMA bench TO bench_reader});
	my ($key, $account) = split /\t/, sql('SELECT key, account FROM bench.issued LIMIT 1');
	for my $name (sort keys %using)
	{
		sql("CREATE TABLE bench.document_$name (id integer, account text, body text);
			INSERT INTO bench.document_$name SELECT g, '$account', repeat('x', 50) FROM generate_series(1, 100000) g;
			ALTER TABLE bench.document_$name ENABLE ROW LEVEL SECURITY;
			CREATE POLICY p ON bench.document_$name USING (" . $using{$name} =~ s/account1/$account/r . ");
			GRANT SELECT ON bench.document_$name TO bench_reader");
		sql("VACUUM (ANALYZE) bench.document_$name");
	}
	my %common = (expected => 100000, setup => [ 'SET max_parallel_workers_per_gather = 0', 'BEGIN', "SELECT apikey.authenticate('$key', 'calls:read', '$address')", 'SET ROLE bench_reader' ]);
	my @contestants = (
		(map { { name => $_, sql => "SELECT count(*) FROM bench.document_$_", %common } } sort keys %using),
		{ name => 'loop', sql => q{SELECT count(*) FILTER (WHERE g > 0) FROM generate_series(1, 100000) g}, %common },
		{ name => 'plain', sql => q{SELECT count(*) FILTER (WHERE apikey.allows('calls:read') AND g > 0) FROM generate_series(1, 100000) g}, %common });
	my $s = rounds('in a policy', $size->{rounds} * 3, \@contestants, clients => 1);
	my $plain = median(map { ($s->{plain}[$_]{cpu} - $s->{loop}[$_]{cpu}) / 100000 } 0 .. $#{ $s->{plain} });
	section('In a policy');
	say_text('`SELECT count(*)` over 100,000 rows that all pass, under several policies.');
	table([ 'USING', 'milliseconds (CPU)', 'compared with', '×' ],
		map {
			my ($name, $to) = @$_;
			[ "`$using{$name}`", number(median(map { $_->{cpu} } @{ $s->{$name} }) / 1000), $to ? ("`$using{$to}`", sprintf('%.3f', ratio($s, 'cpu', $name, $to))) : ('', '') ]
		} [ 'none', '' ], [ 'constant', 'none' ], [ 'wrapped', 'constant' ], [ 'both_constant', '' ], [ 'both', 'both_constant' ]);
	say_text(sprintf 'One plain call of `apikey.allows`: %s microseconds.', number($plain));
	aim('scan under (SELECT apikey.allows(...)), × (SELECT true)', '<=', 1.02, ratio($s, 'cpu', 'wrapped', 'constant'));
	aim('the same with the account compared, × constants', '<=', 1.02, ratio($s, 'cpu', 'both', 'both_constant'));
	aim('plain call of apikey.allows: microseconds', '<=', 0.2, $plain);
	return;
}

# -------------------------------------------------------------- strangers

# Keys that nobody issued here, and texts that are no keys: fast, and without a
# trace but in counters.
sub strangers
{
	my ($size) = @_;
	Bench::Keys::database('strangers', $size->{keys});
	my $unknown = key_file('strangers', 'keys');
	my $malformed = key_file('strangers', 'malformed', q{SELECT overlay(key PLACING CASE right(key, 1) WHEN '0' THEN '1' ELSE '0' END FROM length(key)) FROM bench.issued});
	sql('CREATE TABLE bench.stranger (key text, digest text, number text)');
	run_command('psql', '-X', '-q', '-d', 'bench', '-c', "\\copy bench.stranger FROM '$unknown'");
	sql('VACUUM (ANALYZE) bench.stranger');
	Bench::Through::counting_begins('bench');
	my @contestants = (Bench::Through::ours('bench', 0, name => 'valid', file => key_file('bench', 'keys')),
		Bench::Through::ours('bench', 0, name => 'unknown', file => $unknown, expected => 'f', verifies => 0),
		Bench::Through::ours('bench', 0, name => 'malformed', file => $malformed, expected => 'f', verifies => 0));
	my %all = map { $_ => rounds("strangers, $_ client(s)", $size->{rounds}, \@contestants, clients => $_) } 1, 8;
	section('Strangers');
	say_text(number($size->{keys}) . ' keys of each sort, uniform: valid ones, ones that were issued elsewhere, and those with a wrong last character.');
	table([ 'keys', map { ("calls/s, $_ client(s)", '× valid', 'CPU', 'p50 µs', 'p99 µs') } 1, 8 ],
		map {
			my $name = $_;
			[ $name, map { (number(Bench::Through::figure($all{$_}, 'rate', $name)), times_text(ratio($all{$_}, 'rate', $name, 'valid')), Bench::Through::cpu_text($all{$_}, $name),
				number(Bench::Through::figure($all{$_}, 'p50', $name)), number(Bench::Through::figure($all{$_}, 'p99', $name))) } 1, 8 ]
		} qw(valid unknown malformed));
	strangers_leave($size);
	Bench::Through::counted('bench');
	return;
}

# What a million such calls, each from an address of its own, leave behind.
sub strangers_leave
{
	my ($size) = @_;
	my $log = "$size->{sandbox}/log/server.log";
	my $state = sub {
		sql('SELECT apikey.flush_usage()');
		return (-s $log, split /\t/, sql(q{SELECT sum(pg_total_relation_size(c.oid)), (SELECT sum(allocated_size) FROM pg_shmem_allocations)
			FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'apikey' AND relkind = 'r'}));
	};
	my $times = 1_000_000 / $size->{keys};
	my $call = sub { "SELECT count(*) FILTER (WHERE (apikey.verify(k.key, NULL, ('10.0.0.0'::inet + (g * $size->{keys} + hashtext(k.key) % $size->{keys}))::text)).ok) FROM generate_series(1, $_[0]) g, bench.stranger k" };
	my @before = $state->();
	my @kb = stages('SELECT count(*) FROM (SELECT ' . "apikey.verify('none')" . ') s', "SELECT count(*) FROM bench.stranger", $call->(1), $call->($times));
	my @after = $state->();
	table([ 'after ' . number(1_000_000 + $size->{keys}) . ' calls with unknown keys from as many addresses', 'before', 'after' ],
		[ 'server log, bytes', $before[0], $after[0] ], [ 'tables of the extension, bytes', $before[1], $after[1] ],
		[ 'shared memory, bytes', $before[2], $after[2] ], [ 'private memory of the connection, kB', $kb[1], $kb[-1] ]);
	aim('a million unknown keys: bytes of log', '<=', 1_000_000, $after[0] - $before[0]);
	aim('a million unknown keys: bytes of tables', '<=', 0, $after[1] - $before[1]);
	return;
}

# ----------------------------------------------------------------- memory

# Private memory of a process, in kB.
sub private_kb
{
	my ($pid) = @_;
	open my $fh, '<', "/proc/$pid/status" or die "/proc/$pid: $!\n";
	local $/;
	return <$fh> =~ /^RssAnon:\s*(\d+)/m ? $1 : undef;
}

# stages(STATEMENT...): private memory of one connection after each.
sub stages
{
	my @statements = @_;
	my $pid = open2(my $out, my $in, 'psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', 'bench');
	$in->autoflush(1);
	my $ask = sub { print $in "$_[0];\n"; my $line = <$out>; die "psql ended at: $_[0]\n" unless defined $line; chomp $line; return $line; };
	my $backend = $ask->('SELECT pg_backend_pid()');
	my @kb = map { $ask->($_); private_kb($backend) } @statements;
	close $in;
	close $out;
	waitpid $pid, 0;
	return @kb;
}

sub memory
{
	my ($size) = @_;
	shuffled($size);
	Bench::Through::counting_begins('bench');
	my $count = sub { "SELECT count(*) FILTER (WHERE $_[0]) FROM $_[1] k" };
	my ($one, $many) = ("(SELECT key FROM bench.hot LIMIT 1)", "(SELECT key FROM bench.shuffled WHERE n < 100000)");
	my @titles = ('connected', 'one key', "$size->{hot} keys", '100,000 keys', 'and 100,000 calls more');
	my @ours = stages('SELECT 1', map { $count->($verify, $_) } $one, 'bench.hot', $many, $many);
	my ($answer) = answer('bench', Bench::Through::limits(1));
	my @nothing = stages('SELECT 1', "WITH a AS MATERIALIZED ($answer) SELECT count(*) FROM a", map { $count->($nothing, $_) } 'bench.hot', $many, $many);
	section('Memory and disk');
	say_text('Private memory of one connection, in kB, after calls in one query each; beside it a connection that calls the do-nothing function instead.');
	table([ 'after', 'apikey.verify', 'do-nothing function' ], map { [ $titles[$_], $ours[$_], $nothing[$_] ] } 0 .. $#titles);
	my @shared = map { [ split /\t/ ] } split /\n/, sql(q{SELECT name, allocated_size FROM pg_shmem_allocations WHERE name ~* 'apikey' ORDER BY allocated_size DESC});
	say_text('Shared memory, in bytes:');
	table([ 'name', 'bytes' ], map { [ $_->[0], $_->[1] ] } @shared);
	my @sizes = map { [ split /\t/ ] } split /\n/, sql(qq{
		SELECT 'table apikey.key', pg_table_size('apikey.key') UNION ALL
		SELECT 'index ' || indexrelid::regclass, pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = 'apikey.key'::regclass UNION ALL
		SELECT 'audit log with indexes', pg_total_relation_size('apikey.audit_log')});
	my ($keys) = sql('SELECT count(*) FROM apikey.key');
	my $total = 0;
	$total += $_->[1] for @sizes;
	my ($limits) = grep { $_->[0] =~ /limit/ } @shared;
	my $slots = eval { sql('SELECT limit_slots FROM apikey.stats') };
	say_text(sprintf 'Of these %s bytes a limit in use: %s MB for 100,000 keys with one limit each (calculated).', number($limits->[1] / $slots), number(1e5 * $limits->[1] / $slots / 1048576))
	  if $limits && $slots;
	say_text('On disk, ' . number($keys) . ' keys with one scope and one network each, one audit row each:');
	table([ '', 'bytes a key', 'MB, 1 M keys', 'GB, 100 M keys (calculated)' ],
		map { [ $_->[0], number($_->[1] / $keys), number($_->[1] / $keys * 1e6 / 1048576), number($_->[1] / $keys * 1e8 / 1073741824) ] } @sizes, [ 'all', $total ]);
	say_text(sprintf 'Private memory of 1,000 connections that all have seen 100,000 keys (calculated): %s GB, of which %s GB would be there with a function that does nothing.',
		number(1000 * $ours[3] / 1048576), number(1000 * $nothing[3] / 1048576));
	Bench::Keys::own($size->{hot} + 1 + 2 * ($size->{keys} < 100_000 ? $size->{keys} : 100_000));
	Bench::Scale::know(key_bytes => $total / $keys, connection_kb => $ours[3], nothing_kb => $nothing[3]);
	flushes($size);
	Bench::Through::counted('bench');
	return;
}

# Memory of the processes that write what was counted, early and late in many
# flushes.
sub flushes
{
	my ($size) = @_;
	my $seconds = $size->{long} ? 120 : 8;
	my $workers = sub {
		my $most = 0;
		for (1 .. 20)
		{
			my $kb = 0;
			$kb += eval { private_kb($_) } || 0 for split /\n/, sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'apikey%'});
			$most = $kb if $kb > $most;
		}
		return $most;
	};
	my $ids = sub { sql('SELECT pg_snapshot_xmax(pg_current_snapshot())') };
	my $faster = sub { sql("ALTER SYSTEM $_[0]"); sql('SELECT pg_reload_conf()'); };
	$faster->(q{SET apikey.flush_interval = '10ms'});
	my $load = start_load(Bench::Through::ours('bench', 0), { clients => 1, first => $size->{hot}, seconds => $seconds, warm_up => 0.5, file => key_file('bench', 'keys') });
	sleep 2;
	my ($flushes, $early) = ($ids->(), $workers->());
	sleep $seconds - 4;
	my $late = $workers->();
	$flushes = $ids->() - $flushes;
	wait_load($load);
	$faster->('RESET apikey.flush_interval');
	say_text(sprintf 'Private memory of the launcher and the flush worker at most: %s kB, and after %s flushes more %s kB.', $early, number($flushes), $late);
	return;
}

# ----------------------------------------------------------- instructions

# A small cluster of its own, in single-user mode under callgrind: the
# instructions within the function, by the difference of two numbers of calls.
sub instructions
{
	my ($size) = @_;
	my $valgrind = $ENV{BENCH_VALGRIND};
	section('Instructions');
	if (!$valgrind)
	{
		say_text('**Skipped**: there is no valgrind here.');
		return;
	}
	my $data = "$size->{sandbox}/tmp/single";
	run_command('initdb', '-D', $data, '-U', 'postgres', '-A', 'trust', '-N', '--no-instructions', '--encoding=UTF8', '--locale=C');
	open my $conf, '>>', "$data/postgresql.conf" or die "$data: $!\n";
	print $conf "listen_addresses = ''\nunix_socket_directories = '$size->{sandbox}/run'\nport = 5440\nshared_preload_libraries = 'apikey'\nfsync = off\njit = off\n";
	close $conf;
	{
		local $ENV{PGPORT} = 5440;
		run_command('pg_ctl', '-D', $data, '-l', "$size->{sandbox}/log/single.log", '-w', 'start');
		run_command('createdb', 'single');
		script('single', 'setup');
		script('single', 'keys', keys => 4000);
		run_command('psql', '-X', '-q', '-d', 'single', '-c', 'CREATE TABLE bench.hot AS SELECT key FROM bench.issued LIMIT 500');
		run_command('pg_ctl', '-D', $data, '-m', 'fast', '-w', 'stop');
	}
	my $postgres = `$ENV{PG_CONFIG} --bindir`;
	chomp $postgres;
	my $run = sub {
		my ($what, $from) = @_;
		my $out = "$size->{sandbox}/tmp/callgrind.out";
		open my $script, '>', "$size->{sandbox}/tmp/single.sql" or die $!;
		print $script "SELECT count(*) FILTER (WHERE $what) FROM $from\n";
		close $script;
		run_command('sh', '-c', "'$valgrind' --tool=callgrind --toggle-collect=apikey_sql_verify --callgrind-out-file='$out' '$postgres/postgres' --single -D '$data' single <'$size->{sandbox}/tmp/single.sql'");
		my $text = `callgrind_annotate --inclusive=yes --threshold=100 '$out' 2>/dev/null`;
		my %by;
		while ($text =~ /^\s*([\d,]+)\s*(?:\([^)]*\)\s+)?\S*?:?(\w+)(?:'\d+)?\s+\[/mg)
		{
			my ($ir, $name) = ($1, $2);
			$ir =~ tr/,//d;
			$by{$name} = $ir unless exists $by{$name} && $by{$name} > $ir;
		}
		return \%by;
	};
	my %pair = (
		hot => [ 500 * 8, $run->($verify, 'generate_series(1, 2), bench.hot k'), $run->($verify, 'generate_series(1, 10), bench.hot k') ],
		cold => [ 2000, $run->($verify, '(SELECT key FROM bench.issued LIMIT 1000) k'), $run->($verify, '(SELECT key FROM bench.issued LIMIT 3000) k') ]);
	my $per_call = sub { my ($which, $name) = @_; my ($calls, $few, $many) = @{ $pair{$which} }; return (($many->{$name} || 0) - ($few->{$name} || 0)) / $calls; };
	my @names = sort { $per_call->('cold', $b) <=> $per_call->('cold', $a) } grep { /^apikey_/ && $per_call->('cold', $_) >= 20 } keys %{ $pair{cold}[2] };
	say_text('Instructions a call, counted by callgrind in single-user mode, with what a function calls: key seen before, and never before.');
	table([ 'function', 'seen before', 'never before' ], map { [ "`$_`", number($per_call->('hot', $_)), number($per_call->('cold', $_)) ] } @names);
	return;
}

1;
