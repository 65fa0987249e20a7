# What the tests of counting share: load, and what was counted of it.

package Counting;

use strict;
use warnings;
use Exporter 'import';
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Utils;
use ApikeyTest;

our @EXPORT = qw(some_keys soon load start_load end_load flush counted stat_of log_lines end_workers start_again restart_from_crash with_faults);

my $scripts = 0;

# some_keys(NODE, DATABASE, COUNT): table "k" with keys numbered from 1.
sub some_keys
{
	my ($node, $database, $count) = @_;

	$node->safe_psql(
		$database, qq(
		UPDATE apikey.account_policy SET max_keys = -1 WHERE account = '*';
		CREATE TABLE k AS SELECT n, i.key, i.key_id FROM generate_series(1, $count) n, apikey.issue('acme', 'key ' || n) i;
		ALTER TABLE k ADD PRIMARY KEY (n)));
	$node->safe_psql($database, 'VACUUM ANALYZE k');
	return;
}

# soon(NODE, QUERY [, SECONDS]): does it become true?
sub soon
{
	my ($node, $query, $seconds) = @_;

	for (1 .. 20 * ($seconds || 10))
	{
		return 1 if $node->safe_psql('postgres', $query) eq 't';
		select undef, undef, undef, 0.05;
	}
	return '';
}

# start_load(NODE, DATABASE, SCRIPT, PGBENCH ARGUMENT...): pgbench, running.
sub start_load
{
	my ($node, $database, $script, @arguments) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir . '/load' . ++$scripts . '.sql';
	my $load = { out => '', err => '', in => '' };

	PostgreSQL::Test::Utils::append_to_file($file, $script);
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGAPPNAME} = 'load';
	$load->{run} = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-M', 'prepared', '-f', $file, @arguments, $database ],
		'<', \$load->{in}, '>', \$load->{out}, '2>', \$load->{err});
	return $load;
}

# end_load(LOAD): wait for it; returns the transactions that were answered, and
# what clients complained about.
sub end_load
{
	my ($load) = @_;

	eval { $load->{run}->finish };
	my ($answered) = $load->{out} =~ /^number of transactions actually processed: (\d+)/m;
	return wantarray ? ($answered || 0, $load->{err}) : $answered || 0;
}

# load(NODE, DATABASE, SCRIPT, PGBENCH ARGUMENT...): both.
sub load { return end_load(start_load(@_)); }

sub flush
{
	my ($node, $database) = @_;
	return $node->safe_psql($database || 'postgres', 'SELECT apikey.flush_usage()');
}

# counted(NODE [, DATABASE]): requests in the tables, by hour and by day.
sub counted
{
	my ($node, $database) = @_;
	my ($hours, $days) = split /\|/, $node->safe_psql(
		$database || 'postgres', 'SELECT (SELECT coalesce(sum(requests), 0) FROM apikey.counted_hours),
		(SELECT coalesce(sum(requests), 0) FROM apikey.counted_days)');

	die "by hour $hours, by day $days" if $hours != $days;
	return $hours;
}

# stat_of(NODE, COLUMN...): of apikey.stats
sub stat_of
{
	my ($node, @columns) = @_;
	return $node->safe_psql('postgres', 'SELECT ' . join(', ', @columns) . ' FROM apikey.stats');
}

# end_workers(NODE): the next flush is by a worker that begins anew.
sub end_workers
{
	my ($node) = @_;
	my $workers = q(FROM pg_stat_activity WHERE backend_type = 'apikey flush worker');

	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) $workers");
	soon($node, "SELECT count(*) = 0 $workers") or die 'a worker stays';
	return;
}

# log_lines(NODE, OFFSET, PATTERN): how many lines of the log from there match.
sub log_lines
{
	my ($node, $offset, $pattern) = @_;
	my $log = substr(PostgreSQL::Test::Utils::slurp_file($node->logfile), $offset);

	return scalar grep { /$pattern/ } split /\n/, $log;
}

# start_again(NODE): after kill9, once the last of its processes is gone.
sub start_again
{
	my ($node) = @_;

	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		select undef, undef, undef, 0.1;
		# It may have found the old one's pid file.
		$node->stop('fast', fail_ok => 1);
	}
	die 'server did not start again';
}

# with_faults(CODE, VARIABLE => VALUE...): run it with faults.c preloaded, so
# that a server started by it has such a clock and such a disk.  Returns false,
# and does nothing, where that cannot be: it needs a compiler and Linux.
my $faults;
sub with_faults
{
	my ($code, %environment) = @_;

	if (!defined $faults)
	{
		my $source = dirname(__FILE__) . '/faults.c';
		my $library = PostgreSQL::Test::Utils::tempdir . '/faults.so';
		my $out = '';
		my $built = $^O eq 'linux'
		  && eval { IPC::Run::run([ $ENV{CC} || 'cc', '-shared', '-fPIC', '-o', $library, $source ], '>&', \$out) };
		$faults = $built ? $library : '';
	}
	return 0 if $faults eq '';
	local %ENV = (%ENV, LD_PRELOAD => $faults, %environment);
	$code->();
	return 1;
}

# restart_from_crash(NODE): wait until it is up again, of its own accord.
sub restart_from_crash
{
	my ($node) = @_;

	# Nothing on standard input: a psql that cannot connect does not read it,
	# and who writes to it dies.
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my ($answer) = PostgreSQL::Test::Utils::run_command(
			[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT 1' ]);
		return if $answer eq '1';
		select undef, undef, undef, 0.1;
	}
	die 'server did not come back';
}

1;
