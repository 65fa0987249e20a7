# Bench::Peers: what an application in Node sees, beside what other projects offer;
# and libpq's pipeline mode, which many calls in flight are to be compared with.

package Bench::Peers;

use strict;
use warnings;
use Bench::Keys qw(key_file answer);
use Bench::Load qw(rounds ratio sql note child gone);
use Bench::Report qw(section say_text table aim number times_text);

# run leaves what could be had here, and a line for each that could not.
my $peers;

sub skipped
{
	open my $fh, '<', "$peers/skipped" or return;
	my @lines = <$fh>;
	chomp @lines;
	return @lines;
}

# A Redis of our own, as its distributor sets it up, but on a socket alone.
sub start_redis
{
	my ($size) = @_;
	return unless -x "$peers/redis-server";
	my $socket = "$size->{sandbox}/run/redis.sock";
	my $pid = fork;
	die "fork: $!\n" unless defined $pid;
	if ($pid == 0)
	{
		open STDOUT, '>>', "$size->{sandbox}/log/redis.log";
		open STDERR, '>&', \*STDOUT;
		$ENV{LD_LIBRARY_PATH} = "$peers/lib";
		exec "$peers/redis-server", '--port', 0, '--unixsocket', $socket, '--dir', "$size->{sandbox}/tmp", '--daemonize', 'no' or die;
	}
	child($pid);
	for (1 .. 100) { last if -S $socket; select undef, undef, undef, 0.1; }
	die "Redis did not start\n" unless -S $socket;
	return ($pid, $socket);
}

sub from_node
{
	my ($size, $redis, $socket) = @_;
	my %samples;
	local $ENV{BENCH_REDIS} = $socket || '';
	local $ENV{BENCH_SERVERS} = join ' ', Bench::Load::postmaster('main'), $redis || ();
	local $ENV{BENCH_ANSWER} = answer('bench', Bench::Through::limits(1));
	sql("CREATE DATABASE $_") for qw(better_auth better_auth_async better_auth_redis);
	Bench::Load::set_policy(Bench::Through::limits(1) || 'SELECT 1', 'bench');
	my $node = open my $out, '-|', 'node', "$peers/peers.mjs", key_file('bench', 'keys'), $size->{hot}, 2.5 * $size->{seconds}, $size->{rounds} or die "node: $!\n";
	child($node);
	my $said = 0;
	while (my $line = <$out>)
	{
		chomp $line;
		my ($name, $depth, $round, $rate, $total, $cpu, $node) = split /\t/, $line;
		Bench::Keys::own($total) if $name =~ /^apikey\.verify/;
		next if $round == 0;
		print "        node: round $round of $size->{rounds}\n" if $round > $said;
		$said = $round;
		my $sample = { rate => $rate, cpu => $cpu, others => $node };
		push @{ $samples{$depth}{$name} }, $sample;
		note("node, $depth in flight", $name, $round, $sample);
	}
	my $closed = close $out;
	gone($node);
	die "the peers failed\n" unless $closed;
	return \%samples;
}

sub node
{
	my ($size) = @_;
	$peers = "$size->{sandbox}/peers";
	section('From Node, and what others offer');
	my @missing = skipped();
	say_text("**Skipped**: $_.") for @missing;
	Bench::Through::counting_begins('bench');
	my $depths = {};
	if (-e "$peers/node_modules")
	{
		my ($redis, $socket) = start_redis($size);
		$depths = eval { from_node($size, $redis, $socket) };
		my $error = $@;
		if ($redis) { kill 'TERM', $redis; waitpid $redis, 0; gone($redis); }
		die $error if $error;
		node_table($size, $depths);
	}
	pipeline($size);
	Bench::Through::counted('bench');
	node_aims($depths);
	return;
}

sub node_table
{
	my ($size, $depths) = @_;
	my @names = sort { Bench::Through::figure($depths->{1}, 'rate', $b) <=> Bench::Through::figure($depths->{1}, 'rate', $a) } keys %{ $depths->{1} };
	say_text("One Node process, $size->{hot} keys; node-postgres with named statements and a connection for each call in flight, asking for the five columns that the README shows, where nothing else is said; Redis (as packaged: snapshots, no log) and PostgreSQL on local sockets.");
	say_text('CPU here: of the servers with all they run, + of Node, in microseconds a call.');
	table([ 'contestant', map { ("calls/s, $_ in flight", '× SELECT 1', 'CPU') } 1, 16 ],
		map {
			my $name = $_;
			[ $name, map { (number(Bench::Through::figure($depths->{$_}, 'rate', $name)), times_text(ratio($depths->{$_}, 'rate', $name, 'SELECT 1')), Bench::Through::cpu_text($depths->{$_}, $name)) } 1, 16 ]
		} @names);
	return;
}

# One connection, 16 statements in flight.
sub pipeline
{
	my ($size) = @_;
	my @contestants = (Bench::Through::select_1(), Bench::Through::nothing('bench', 1), Bench::Through::ours('bench', 1));
	my $s = rounds('libpq pipeline', $size->{rounds}, \@contestants, clients => 1, first => $size->{hot}, in_flight => 16, file => key_file('bench', 'keys'));
	say_text('### libpq, pipeline mode, one connection, 16 in flight');
	table([ 'contestant', 'calls/s', '× SELECT 1', '× limit' ],
		map { [ $_->{name}, number(Bench::Through::figure($s, 'rate', $_->{name})), times_text(ratio($s, 'rate', $_->{name}, 'SELECT 1')), times_text(ratio($s, 'rate', $_->{name}, 'do-nothing function')) ] } @contestants);
	return;
}

sub node_aims
{
	my ($depths) = @_;
	for my $depth (1, 16)
	{
		aim("Node, $depth in flight: × Better Auth with PostgreSQL", '>=', 30, ratio($depths->{$depth}, 'rate', 'apikey.verify', 'Better Auth, PostgreSQL'));
	}
	aim("Node, 1 in flight: × $_", '>=', 1, ratio($depths->{1}, 'rate', 'apikey.verify', $_)) for 'Redis, HMGET, then INCR', 'Redis, HMGET and INCR at once';
	aim("Node, 16 in flight: × SELECT 1$_->[1]", '>=', 0.8, ratio($depths->{16}, 'rate', "apikey.verify$_->[0]", 'SELECT 1')) for [ '', '' ], [ ', ok and code', ', ok and code asked for' ];
	return;
}

1;
