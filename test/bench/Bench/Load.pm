# Bench::Load: run the load generator, in rounds, contestants in turn.
#
# What is compared is measured side by side: in each round every contestant
# has its turn, and ratios are formed within a round before the median is
# taken, so that a machine that is slower for a minute is slower for all.

package Bench::Load;

use strict;
use warnings;
use List::Util qw(shuffle);
use Exporter qw(import);

our @EXPORT_OK = qw(configure measure rounds median ratio start_load wait_load sql answered note child gone end_children);

my %config;
my %answered;    # calls of apikey.verify that were answered, by database
my %policy;      # the statement that was last run before a measurement, by place

# client: the program; servers: { name => { port, postmaster } }; seconds,
# warm_up; progress: called with a text; raw: called with each measurement.
sub configure { %config = (%config, @_); return; }

# What runs beside us must not outlive us.
my %children;

sub child { $children{ $_[0] } = 1; return $_[0]; }
sub gone { delete $children{ $_[0] }; return; }
sub end_children { kill 'TERM', keys %children if %children; return; }

sub place { my ($c) = @_; return ($c->{server} || 'main', $c->{db} || $config{db}); }

sub postmaster { return $config{servers}{ $_[0] }{postmaster}; }

# sql(STATEMENT, [DATABASE, [SERVER]]): its result, columns separated by tabs.
sub sql
{
	my ($statement, $db, $server) = @_;
	$db ||= $config{db};
	my $port = $config{servers}{ $server || 'main' }{port};
	open my $out, '-|', 'psql', '-X', '-q', '-A', '-t', '-F', "\t", '-v', 'ON_ERROR_STOP=1', '-p', $port, '-d', $db, '-c', $statement
	  or die "psql: $!\n";
	local $/;
	my $result = <$out>;
	close $out or die "psql failed: $statement\n";
	$result =~ s/\n\z// if defined $result;
	return $result;
}

# The command line for a contestant under given circumstances.
sub command
{
	my ($c, $how) = @_;
	my ($server, $db) = place($c);
	my $where = $config{servers}{$server};
	my @command = ($config{client}, '-d', "port=$where->{port} dbname=$db", '-m', $where->{postmaster},
		'-t', $how->{seconds} || $config{seconds}, '-w', $how->{warm_up} || $config{warm_up},
		'-c', $how->{clients} || 1, '-S', $how->{seed} || 1);
	my $file = $c->{file} || $how->{file};
	push @command, '-k', $file if $file && grep { !/^is:/ } @{ $c->{params} || [] };
	push @command, '-n', $how->{first} if $how->{first};
	push @command, '-z' if $how->{zipf};
	push @command, '-f', $how->{in_flight} if $how->{in_flight};
	push @command, '-r', $c->{rate} if $c->{rate};
	push @command, '-e', $c->{expected} if defined $c->{expected};
	push @command, map { ('-p', $_) } @{ $c->{params} || [] };
	push @command, map { ('-s', $_) } @{ $c->{setup} || [] };
	return (@command, $c->{sql});
}

# start_load, wait_load: a load beside others.
sub start_load
{
	my ($c, $how) = @_;
	my $pid = open my $out, '-|', command($c, $how);
	die "client: $!\n" unless $pid;
	return { out => $out, contestant => $c, pid => child($pid) };
}

sub wait_load
{
	my ($load) = @_;
	my $fh = $load->{out};
	my $line = <$fh>;
	my $closed = close $fh;
	gone($load->{pid});
	die "The load failed: $load->{contestant}{name}\n" unless $closed && defined $line;
	my %sample = $line =~ /(\w+)=(\S+)/g;
	my ($server, $db) = place($load->{contestant});
	$answered{"$server $db"} += $sample{total} * ($load->{contestant}{verifies} || 0);
	return \%sample;
}

# answered(DATABASE, [SERVER]): the verifications answered since it was last asked.
sub answered
{
	my ($db, $server) = @_;
	return delete($answered{ ($server || 'main') . ' ' . ($db || $config{db}) }) || 0;
}

# set_policy(STATEMENT, DATABASE, [SERVER]): unless it is in force.
sub set_policy
{
	my ($statement, $db, $server) = @_;
	$server ||= 'main';
	return if ($policy{"$server $db"} || '') eq $statement;
	sql($statement, $db, $server);
	$policy{"$server $db"} = $statement;
	return;
}

sub measure
{
	my ($c, $how) = @_;
	my ($server, $db) = place($c);
	set_policy($c->{policy}, $db, $server) if defined $c->{policy};
	# What another one left to be written is not this one's.
	sql('SELECT apikey.flush_usage()', delete $config{unwritten}) if $config{unwritten};
	$config{unwritten} = $db if $c->{verifies} && $server eq 'main';
	return wait_load(start_load($c, $how));
}

# note(PART, CONTESTANT, ROUND, SAMPLE): into the file of all measurements.
sub note { $config{raw}->(@_); return; }

# rounds(TITLE, COUNT, [ { name, sql, ... how => { } }, ... ]): samples by name.
sub rounds
{
	my ($title, $count, $contestants, %how) = @_;
	my %samples;
	for my $round (1 .. $count)
	{
		$config{progress}->("$title: round $round of $count");
		# Nobody is always in the wake of the same one, whose rows are still
		# written or vacuumed; the order is that of every other run.
		srand $round;
		for my $c (shuffle @$contestants)
		{
			my $sample = measure($c, { %how, %{ $c->{how} || {} }, seed => $round });
			push @{ $samples{ $c->{name} } }, $sample;
			note($title, $c->{name}, $round, $sample);
		}
	}
	return \%samples;
}

sub median
{
	my @sorted = sort { $a <=> $b } grep { defined } @_;
	return unless @sorted;
	return $sorted[$#sorted / 2] if @sorted % 2;
	return ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}

# ratio(SAMPLES, FIELD, NAME, REFERENCE): the median of the rounds' ratios.
sub ratio
{
	my ($samples, $field, $name, $reference) = @_;
	my ($of, $to) = @$samples{ $name, $reference };
	return unless $of && $to;
	return median(map { $to->[$_]{$field} ? $of->[$_]{$field} / $to->[$_]{$field} : undef } 0 .. $#$of);
}

1;
