# Bench::Setting: under what circumstances it was measured.

package Bench::Setting;

use strict;
use warnings;
use Exporter qw(import);
use Bench::Load qw(sql);
use Bench::Report qw(number);

our @EXPORT_OK = qw(describe);

sub slurp
{
	my ($file) = @_;
	open my $fh, '<', $file or return '';
	local $/;
	my $text = <$fh>;
	return defined $text ? $text : '';
}

# The machine in general words: no names, no addresses.
sub machine
{
	my $info = slurp('/proc/cpuinfo');
	my $cores = () = $info =~ /^processor\s*:/mg;
	my ($model) = $info =~ /^model name\s*:\s*(.*)/m;
	$model = 'unknown processor' unless defined $model;
	$model =~ s/\s+/ /g;
	my ($memory) = slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	my $virtual = $info =~ /\bhypervisor\b/ ? ', a virtual machine' : '';
	return sprintf '%d cores (%s), %.0f GB of memory%s', $cores, $model, $memory / 1048576, $virtual;
}

# describe(SIZE, SECONDS): the head of the report.
sub describe
{
	my ($size, $took) = @_;
	my %setting = map { split /\t/ } split /\n/, sql(q{SELECT name, current_setting(name) FROM pg_settings WHERE name IN
		('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'autovacuum', 'jit',
		 'apikey.flush_interval', 'apikey.usage_buffer_size', 'apikey.cache_size', 'apikey.limit_slots', 'apikey.key_places')});
	my $version = (split ' ', $setting{server_version})[0];
	my $others = $size->{others_before};
	return join "\n",
	  '# Results', '',
	  'Machine: ' . machine() . ". PostgreSQL $version.",
	  "Load average when the run began, which other work on the machine made: $others.",
	  'Settings: ' . join(', ', map { "`$_ = $setting{$_}`" } grep { $_ ne 'server_version' } sort keys %setting) . '.',
	  sprintf('%s keys (growth: %s), ten an account. %d rounds of %s s for each figure, after %s s of warming up; %.0f minutes in all.',
		number($size->{keys}), join(', ', map { number($_) } @{ $size->{growth} }), $size->{rounds}, $size->{seconds}, $size->{warm_up}, $took / 60),
	  '',
	  'Each round gives every contestant its turn; a ratio is formed within a round, and the median of the rounds is shown. `CPU` is what the kernel',
	  'accounts to the server\'s processes per call, in microseconds: the connection\'s own, + everything else the server runs (writers, vacuum, the',
	  'flush worker). Load and server share the machine. *limit* is the do-nothing function that returns the same row.',
	  '';
}

1;
