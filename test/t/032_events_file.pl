# The file in which events outlive a clean stop: damaged, foreign or from
# before, it is dropped with one line in the log; where it cannot be written,
# the server stops and starts all the same.  Nothing is ever counted twice.
# Threat T44; faults F6, F7.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use File::Copy qw(copy);
use ApikeyTest;
use Counting;

my $node = new_node('events', "autovacuum = off\napikey.flush_interval = '1h'");
some_keys($node, 'postgres', 5);
my $directory = $node->data_dir . '/pg_stat';
my $file = "$directory/apikey.events";
my $saved = PostgreSQL::Test::Utils::tempdir . '/saved';

# use_keys(NODE): 20 requests, half of them refused, with texts.
sub use_keys
{
	my ($server) = @_;
	$server->safe_psql('postgres', q(SELECT apikey.verify(key), apikey.verify(key, account => 'other', method => 'GET', path => repeat('/path', n), request_id => 'r' || n)
		FROM k, generate_series(1, 2)));
	return;
}

# stop_with_events(): 20 of them in the file
sub stop_with_events
{
	use_keys($node);
	$node->stop;
	-s $file or die 'no file';
	return;
}

sub write_to
{
	my ($name, $content) = @_;
	open my $handle, '>', $name or die "$name: $!";
	binmode $handle;
	print $handle $content;
	close $handle or die "$name: $!";
	return;
}

# start_and_count(): what a start made of the file
sub start_and_count
{
	my $offset = -s $node->logfile;
	$node->start;
	flush($node);
	return join ' ', counted($node), log_lines($node, $offset, 'LOG:  ignoring file ".*apikey.events"'),
	  log_lines($node, $offset, 'dropping usage that was saved'), log_lines($node, $offset, 'apikey.events'), -e $file ? 'there' : 'gone';
}

use_keys($node);
flush($node);
my $counted = 20;
is(counted($node), $counted, 'before');
stop_with_events();
$counted += 20;
is(start_and_count(), "$counted 0 0 0 gone", 'a good file: its events are counted, nothing is said');
is($node->safe_psql('postgres', 'SELECT sum(refused) FROM apikey.counted_hours'), $counted / 2, '... refusals too');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikey.recent_errors WHERE method IS NOT NULL AND path IS NOT NULL AND request_id IS NOT NULL'), $counted / 2, '... and their texts');
is(stat_of($node, 'verifications'), '0', '... but not what this server has answered');

# Each damage costs what the file held, and no more.
stop_with_events();
my $good = slurp_file($file);
my $size = length $good;
my $flip = sub { my ($at) = @_; my $bad = $good; substr($bad, $at, 1) ^= chr(1 << int rand 8); return $bad };
my $other = new_node('other', "autovacuum = off\napikey.flush_interval = '1h'");
some_keys($other, 'postgres', 5);
use_keys($other);
$other->stop;
my $foreign = slurp_file($other->data_dir . '/pg_stat/apikey.events');
my %damages = (
	'empty' => '',
	'one byte' => substr($good, 0, 1),
	'only half of it' => substr($good, 0, $size / 2),
	'without its last byte' => substr($good, 0, -1),
	'without its last 64 bytes' => substr($good, 0, -64),
	'a bit of its first byte' => $flip->(0),
	'a bit of the first batch number' => $flip->(100),
	'a bit in the last event' => $flip->($size - 60),
	'a bit of the checksum' => $flip->($size - 2),
	'a byte behind' => $good . "\0",
	'twice' => $good . $good,
	'zeros' => "\0" x $size,
	'noise' => join('', map { chr int rand 256 } 1 .. $size),
	'of another server' => $foreign,
	'16 MB' => "\xff" x (16 * 1024 * 1024));
for my $name (sort keys %damages)
{
	write_to($file, $damages{$name});
	is(start_and_count(), "$counted 1 0 1 gone", "damaged: $name");
	$node->stop;
	die 'a new file' if -e $file;
}
write_to($file, $good);
$counted += 20;
is(start_and_count(), "$counted 0 0 0 gone", 'the undamaged one still is');

# A file from before: put back after its events were written
for my $run ('right away', 'after more requests')
{
	stop_with_events();
	copy($file, $saved) or die $!;
	$counted += 20;
	is(start_and_count(), "$counted 0 0 0 gone", 'saved and used');
	if ($run ne 'right away')
	{
		use_keys($node);
		flush($node);
		$counted += 20;
	}
	$node->stop;
	copy($saved, $file) or die $!;
	is(start_and_count(), "$counted 0 1 0 gone", "put back $run: dropped");
	$node->stop;
	copy($saved, $file) or die $!;
	is(start_and_count(), "$counted 0 1 0 gone", '... and again');
}

# ... although the server that wrote it had flushed nothing
$node->restart;
stop_with_events();
copy($file, $saved) or die $!;
$counted += 20;
is(start_and_count(), "$counted 0 0 0 gone", 'of a server that had flushed nothing');
$node->stop;
copy($saved, $file) or die $!;
is(start_and_count(), "$counted 0 1 0 gone", '... put back: dropped');

$counted = counted($node);

# What is counted after a start does not go with a dropped file.
$node->stop;
copy($saved, $file) or die $!;
$node->start;
use_keys($node);
flush($node);
$counted += 20;
is(counted($node), $counted, 'requests since the start count all the same');
$counted = counted($node);

# An event of a database that is gone, in the file
$node->safe_psql('postgres', 'CREATE DATABASE gone');
$node->safe_psql('gone', 'CREATE EXTENSION apikey CASCADE');
some_keys($node, 'gone', 5);
$node->safe_psql('gone', 'SELECT apikey.verify(key) FROM k');
$node->safe_psql('postgres', 'DROP DATABASE gone');
$node->append_conf('postgresql.conf', "apikey.flush_interval = '100ms'");
$node->restart;
ok(soon($node, 'SELECT events_buffered = 0 FROM apikey.stats'), 'events of a dropped database do not stay');
$node->append_conf('postgresql.conf', "apikey.flush_interval = '1h'");
$node->reload;

# Not enough room for the file's events: what is lost is counted
$node->safe_psql('postgres', 'SELECT apikey.verify(key) FROM k, generate_series(1, 800)');
my $buffered = stat_of($node, 'events_buffered');
$node->append_conf('postgresql.conf', 'apikey.usage_buffer_size = 64kB');
$node->restart;
my $lost = stat_of($node, 'events_lost');
flush($node);
cmp_ok($lost, '>', 0, "a smaller buffer than before: $lost of $buffered events are lost");
$counted += 4000 - $lost;
is(counted($node), $counted, '... and counted as lost');
$node->append_conf('postgresql.conf', 'apikey.usage_buffer_size = 8MB');
$node->restart;

# The file cannot be written: one line, and a server that starts
SKIP:
{
	skip 'root writes everywhere', 6 if $> == 0;
	use_keys($node);
	my $offset = -s $node->logfile;
	chmod 0500, $directory or die $!;
	$node->stop;
	is(log_lines($node, $offset, 'LOG:  could not write file ".*apikey.events"'), '1', 'where the file cannot be written: one line in the log');
	chmod 0700, $directory or die $!;
	is(start_and_count(), "$counted 0 0 0 gone", '... the server starts, those events are lost');
	# ... nor removed: then it must not be read again and again.
	stop_with_events();
	chmod 0500, $directory or die $!;
	$node->start;
	flush($node);
	$node->stop;
	ok(-e $file, 'a file that could not be removed');
	$node->start;
	flush($node);
	cmp_ok(counted($node), '<=', $counted + 20, '... is not counted twice');
	$node->stop;
	chmod 0700, $directory or die $!;
	unlink $file;
	$node->start;
	$counted = counted($node);
}

# In its place something else
$node->stop;
mkdir $file or die $!;
$node->start;
use_keys($node);
my $offset = -s $node->logfile;
$node->stop;
is(log_lines($node, $offset, 'LOG:  could not (write|rename) file'), '1', 'a directory in its place: one line in the log');
rmdir $file or die $!;
$node->start;
is(counted($node), $counted, '... and it starts');
ok(!-e "$file.tmp", '... nothing is left behind');

# A crash leaves no file, and a copy of a running server brings none.
use_keys($node);
$node->stop('immediate');
$node->start;
flush($node);
cmp_ok(counted($node), '<=', $counted + 20, 'an immediate stop counts nothing twice');
is(log_lines($node, 0, 'PANIC|TRAP|terminated by signal'), '0', 'no crash');
$node->stop;
done_testing();
