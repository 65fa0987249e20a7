# Bench::Scale: what can't be tried on a small machine, by calculation from
# what was measured and by simulation of the data structures.

package Bench::Scale;

use strict;
use warnings;
use Exporter qw(import);
use Bench::Report qw(section say_text table number);

our @EXPORT_OK = qw(know);

# As in src/keyplace.c and src/keycache.c
my ($ways, $set_bytes, $tables) = (5, 64, 2);
my ($offer_sets, $offer_ways) = (1024, 4);

# know(NAME => VALUE...): measured by other parts. key_bytes: on disk, with its
# indexes and one audit row; connection_kb, nothing_kb: private memory of a
# connection that has seen many keys, and of one that called the function that
# does nothing.
my %known;
sub know { %known = (%known, @_); return; }

# A repeatable sequence, the same on every machine (Park and Miller).
my $state = 1;
sub draw { $state = $state * 48271 % 2147483647; return $state / 2147483647; }

# The rank of a key whose share falls with the inverse of its rank, as client.c draws it.
sub zipf { my ($keys) = @_; return int(($keys + 1)**draw()) - 1; }

# ----------------------------------------------------------------- places

# The share of keys that find a place when sets have so many keys on average.
sub placed
{
	my ($load) = @_;
	my ($probability, $found) = (exp(-$load), 0);
	for my $k (1 .. 60)
	{
		$probability *= $load / $k;
		$found += $probability * ($k < $ways ? $k : $ways);
	}
	return $found / $load;
}

# ------------------------------------------------------------------ cache

# The share of calls that find their key in a cache of one connection: the clock
# and the admission of keycache.c, after a warm-up.
sub hits
{
	my ($keys, $size, $next) = @_;
	my (%at, @ring, %touched, @offers);
	my ($hand, $hits, $calls, $warm) = (0, 0, 150_000, 100_000);
	for my $call (1 .. $warm + $calls)
	{
		my $key = $next->($keys);
		if (exists $at{$key})
		{
			$touched{$key} = 1;
			$hits++ if $call > $warm;
			next;
		}
		if (@ring >= $size)
		{
			my $set = $offers[ $key % $offer_sets ] ||= [];
			my ($before) = grep { $set->[$_] == $key } 0 .. $#$set;
			splice @$set, $before, 1 if defined $before;
			unshift @$set, $key;
			$#$set = $offer_ways - 1 if @$set > $offer_ways;
			next unless defined $before;
			$hand = ($hand + 1) % @ring while delete $touched{ $ring[$hand] };
			delete $at{ $ring[$hand] };
			$ring[$hand] = $key;
			$at{$key} = 1;
			$hand = ($hand + 1) % @ring;
		}
		else
		{
			push @ring, $key;
			$at{$key} = 1;
		}
	}
	return $hits / $calls;
}

# ------------------------------------------------------------------ flush

# Different keys among so many calls: uniform, and Zipf (an integral over the
# logarithm of the rank).
sub different_uniform { my ($keys, $calls) = @_; return $keys * (1 - exp(-$calls / $keys)); }

sub different_zipf
{
	my ($keys, $calls) = @_;
	my ($steps, $sum) = (2000, 0);
	my $scale = log($keys + 1);
	for my $i (0 .. $steps - 1)
	{
		my $rank = exp($scale * ($i + 0.5) / $steps);
		$sum += $rank * (1 - exp(-$calls / ($rank * $scale))) * $scale / $steps;
	}
	return $sum;
}

sub percent { return sprintf '%.1f %%', 100 * $_[0]; }

sub scale
{
	section('Scale, by calculation and simulation');
	say_text("Shared memory for the places of keys: sets of $ways in $set_bytes bytes. Keys beyond the room of their set are found through the index.");
	table([ 'places for each key', 'bytes a key and table', 'keys that have a place' ],
		map { [ $_, number($_ * $set_bytes / $ways), percent(placed($ways / $_)) ] } 0.5, 1, 1.5, 2, 3);
	say_text('Hits of one connection\'s cache, simulated (250,000 calls, the last 150,000 counted; Zipf: the share of a key falls with the inverse of its rank).');
	table([ 'keys in use', map { "Zipf, cache of $_" } 256, 1024, 8192 ],
		map { my $keys = $_; [ number($keys), map { percent(hits($keys, $_, \&zipf)) } 256, 1024, 8192 ] } 1e4, 1e6, 1e8);
	say_text('Keys that a flush writes each second (a row each; when an hour begins, two more), calculated.');
	table([ 'calls a second', map { (number($_) . ' keys, uniform', number($_) . ' keys, Zipf') } 1e4, 1e6, 1e8 ],
		map { my $calls = $_; [ number($calls), map { (number(different_uniform($_, $calls)), number(different_zipf($_, $calls))) } 1e4, 1e6, 1e8 ] } 1e2, 1e3, 1e4, 1e5);
	size_table() if $known{key_bytes} && $known{connection_kb};
	return;
}

sub size_table
{
	my $gb = sub { number($_[0] / 1073741824) };
	say_text('Room, from bytes measured above: disk with one audit row a key; shared memory for two places a key in each of the two tables whose rows are remembered, and one limit in use (148 bytes).');
	table([ 'keys', 'disk, GB', 'places, GB', 'one limit each, GB' ],
		map { [ number($_), $gb->($_ * $known{key_bytes}), $gb->($_ * 2 * $tables * $set_bytes / $ways), $gb->($_ * 148) ] } 1e6, 1e7, 1e8);
	say_text(sprintf '1,000 connections that have all seen more keys than their cache holds: %s GB of private memory, %s GB of it ours.',
		number(1000 * $known{connection_kb} / 1048576), number(1000 * ($known{connection_kb} - $known{nothing_kb}) / 1048576));
	return;
}

1;
