# Bench::Keys: the databases, their keys and key files, and the second server.

package Bench::Keys;

use strict;
use warnings;
use Exporter qw(import);
use FindBin;
use Bench::Load qw(configure sql);

our @EXPORT_OK = qw(make_databases stop_twin key_file has_limits has_relation answer twin run_command script);

my %state;
my $progress = sub { print "        $_[0]\n"; };

sub run_command
{
	my (@command) = @_;
	my $log = "$ENV{SANDBOX}/log/bench.log";
	my $pid = fork;
	die "fork: $!\n" unless defined $pid;
	if ($pid == 0)
	{
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		exec @command or die "$command[0]: $!\n";
	}
	waitpid $pid, 0;
	return if $? == 0;
	open my $fh, '<', $log;
	my @lines = <$fh>;
	die "@command failed:\n", @lines > 20 ? @lines[ -20 .. -1 ] : @lines;
}

sub script
{
	my ($db, $name, %variables) = @_;
	run_command('psql', '-X', '-q', '-d', $db, (map { ('-v', "$_=$variables{$_}") } sort keys %variables),
		'-f', "$FindBin::Bin/sql/$name.sql");
	return;
}

# key_file(DATABASE, [QUERY]): lines of one length: key text, its SHA-256, and the
# first 8 bytes of that.
sub key_file
{
	my ($db, $name, $query) = @_;
	my $file = "$state{sandbox}/tmp/$db.$name";
	return $file if -e $file;
	$query ||= q{SELECT key, encode(sha256(convert_to(key, 'UTF8')), 'hex'), encode(substr(sha256(convert_to(key, 'UTF8')), 1, 8), 'hex')
		FROM bench.issued ORDER BY md5(key)};
	$query =~ s/\s+/ /g;
	run_command('psql', '-X', '-q', '-d', $db, '-c', "\\copy ($query) TO '$file'");
	return $file;
}

sub has_relation
{
	my ($name) = @_;
	return sql("SELECT to_regclass('$name') IS NOT NULL") eq 't';
}

sub has_limits { return has_relation('apikey.rate_limit'); }

# answer(DATABASE, POLICY): set-up that makes the do-nothing function return
# the row that verify returns under this policy.  It counts one call.
my %answers;

sub answer
{
	my ($db, $policy) = @_;
	$db ||= 'bench';
	$policy ||= '';
	return $answers{"$db $policy"} ||= do {
		open my $fh, '<', key_file($db, 'keys') or die $!;
		my ($key) = split /\t/, <$fh>;
		Bench::Load::set_policy($policy, $db) if $policy;
		my $row = sql("SELECT quote_literal(v::text) FROM apikey.verify('$key', 'calls:read', '203.0.113.7') v", $db);
		own(1, $db);
		"SELECT bench.answer_with($row\::apikey.verdict)";
	};
}

# own(COUNT, [DATABASE]): calls that the benchmark itself made, by the way.
sub own
{
	my ($count, $db) = @_;
	$state{own_calls}{ $db || 'bench' } += $count;
	return;
}

sub own_calls { return delete($state{own_calls}{ $_[0] }) || 0; }

sub database
{
	my ($name, $keys) = @_;
	$progress->("$keys keys");
	run_command('createdb', $name);
	script($name, 'setup');
	script($name, 'keys', keys => $keys);
	return;
}

# As after some days of work: what is written for a key that is used again is
# there already, as it is in the tables of the others.
sub use_once
{
	my ($name) = @_;
	$progress->("each key of $name is used once");
	sql("SELECT count(*) FROM bench.issued i, apikey.verify(i.key, 'calls:read', '203.0.113.7') v WHERE v.ok", $name);
	sql('SELECT apikey.flush_usage()', $name);
	sql('VACUUM (ANALYZE) apikey.key_use', $name) if has_relation('apikey.key_use');
	return;
}

# The second server: a copy of the first with its keys, and a library linked from
# the same objects, but for the call that counts a verification: that one
# leads to an empty function.
sub make_twin
{
	my ($postmaster) = @_;
	my $sandbox = $state{sandbox};
	return unless -e "$sandbox/tmp/twin.so";
	$progress->('the second server, which does not count');
	my $lib = `$ENV{PG_CONFIG} --pkglibdir`;
	my $bin = `$ENV{PG_CONFIG} --bindir`;
	chomp($lib, $bin);
	(my $twin_lib = $lib) =~ s{^\Q$sandbox\E/pg/}{$sandbox/tmp/pg/};
	(my $twin_bin = $bin) =~ s{^\Q$sandbox\E/pg/}{$sandbox/tmp/pg/};
	run_command('cp', '-a', "$sandbox/pg", "$sandbox/tmp/pg");
	run_command('cp', '--remove-destination', "$sandbox/tmp/twin.so", "$twin_lib/apikey.so");
	run_command('pg_ctl', '-D', "$sandbox/data", '-m', 'fast', '-w', '-t', 600, 'stop');
	run_command('cp', '-a', "$sandbox/data", "$sandbox/tmp/data");
	run_command('pg_ctl', '-D', "$sandbox/data", '-l', "$sandbox/log/server.log", '-w', 'start');
	my $port = $ENV{PGPORT} + 1;
	run_command("$twin_bin/pg_ctl", '-D', "$sandbox/tmp/data", '-l', "$sandbox/log/twin.log", '-w', '-o', "-p $port", 'start');
	$state{twin} = "$twin_bin/pg_ctl";
	configure(servers => {
		main => { port => $ENV{PGPORT}, postmaster => $postmaster->("$sandbox/data") },
		twin => { port => $port, postmaster => $postmaster->("$sandbox/tmp/data") } });
	return;
}

sub twin { return $state{twin}; }

sub stop_twin
{
	run_command($state{twin}, '-D', "$state{sandbox}/tmp/data", '-m', 'fast', '-w', 'stop') if $state{twin};
	$state{twin} = undef;
	return;
}

sub make_databases
{
	my ($size, $postmaster) = @_;
	$state{sandbox} = $size->{sandbox};
	open my $fh, '<', '/proc/loadavg';
	($size->{others_before}) = split ' ', <$fh>;
	database('bench', $size->{keys});
	script('bench', 'lookup');
	make_twin($postmaster) if $size->{chosen}{cost};
	$progress->('the tables of the others');
	script('bench', 'handwritten') if grep { $size->{chosen}{$_} } qw(main growth node changes);
	use_once('bench');
	key_file('bench', 'keys');
	return unless $size->{chosen}{growth};
	for my $keys (@{ $size->{growth} })
	{
		database("keys_$keys", $keys);
		script("keys_$keys", 'lookup');
		use_once("keys_$keys");
		key_file("keys_$keys", 'keys');
	}
	sql('CHECKPOINT');
	return;
}

1;
