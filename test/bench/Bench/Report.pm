# Bench::Report: what was measured, as Markdown, as a picture, and as a table of
# aims with what became of them.

package Bench::Report;

use strict;
use warnings;
use Exporter qw(import);

our @EXPORT_OK = qw(section say_text table aim aims_table save number times_text);

my @parts;
my @aims;

sub section { push @parts, "## $_[0]\n"; return; }
sub say_text { push @parts, "$_[0]\n"; return; }

# A figure as people read it: three significant digits, thousands separated.
sub number
{
	my ($value) = @_;
	return '' unless defined $value;
	my $size = abs $value;
	return sprintf('%.3f', $value) if $size < 0.995;
	return sprintf('%.2f', $value) if $size < 9.995;
	return sprintf('%.1f', $value) if $size < 99.95;
	my $text = sprintf '%.0f', $value;
	if ($size >= 10000)
	{
		my $unit = 10**(length(sprintf '%.0f', $size) - 3);
		$text = sprintf '%.0f', sprintf('%.0f', $value / $unit) * $unit;
	}
	1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
	return $text;
}

sub times_text
{
	my ($value) = @_;
	return defined $value ? sprintf($value < 0.0995 ? '%.3f' : $value < 19.95 ? '%.2f' : '%.0f', $value) : '';
}

# table([ HEADING... ], [ CELL... ]...): the first column is text, the others figures.
sub table
{
	my ($head, @rows) = @_;
	my $text = join('', '| ', join(' | ', @$head), " |\n|---|", '---:|' x $#$head, "\n");
	$text .= '| ' . join(' | ', map { defined ? $_ : '' } @$_) . " |\n" for @rows;
	push @parts, $text;
	return;
}

# aim(WHAT, SIGN, GOAL, MEASURED): SIGN is >= or <=; MEASURED undef: not measured.
sub aim
{
	my ($what, $sign, $goal, $measured) = @_;
	my $met = !defined $measured ? 'not measured' : ($sign eq '>=' ? $measured >= $goal : $measured <= $goal) ? 'met' : '**missed**';
	push @aims, [ $what, "$sign $goal", $measured, $met ];
	return;
}

sub aims_table
{
	return unless @aims;
	section('Aims');
	table([ 'aim', 'wanted', 'measured', '' ], map { [ $_->[0], $_->[1], times_text($_->[2]), $_->[3] ] } @aims);
	return;
}

sub save
{
	my ($file, $head) = @_;
	open my $out, '>', $file or die "$file: $!\n";
	print $out $head, "\n", join("\n", @parts);
	close $out or die "$file: $!\n";
	return;
}

1;
