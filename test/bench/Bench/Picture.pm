# Bench::Picture: a line chart as SVG, from nothing but text.

package Bench::Picture;

use strict;
use warnings;
use Exporter qw(import);

our @EXPORT_OK = qw(line_chart);

# Told apart by colour and by dash, so that a printout in grey will do.
my @styles = ([ '#1f4e9c', '' ], [ '#b5472f', '6 3' ], [ '#3c7a3c', '2 3' ], [ '#6b6b6b', '8 3 2 3' ], [ '#8a5aa8', '12 4' ]);

my ($width, $height) = (760, 420);
my %margin = (left => 64, right => 210, top => 48, bottom => 52);

sub escape
{
	my ($text) = @_;
	$text =~ s/&/&amp;/g;
	$text =~ s/</&lt;/g;
	$text =~ s/>/&gt;/g;
	return $text;
}

sub short
{
	my ($n) = @_;
	return $n >= 1e6 ? $n / 1e6 . ' M' : $n >= 1e3 ? $n / 1e3 . ' k' : $n;
}

# A step of 1, 2 or 5 that makes about five lines.
sub step_of
{
	my ($max) = @_;
	my $step = 10**int(log($max) / log(10) - 1);
	for my $factor (2, 2.5, 2, 2, 2.5, 2) { last if $max / $step <= 6; $step *= $factor; }
	return $step;
}

# line_chart(FILE, title, x, y: texts; series: [ [ NAME, [ [X, Y]... ] ]... ]); X is
# logarithmic, Y begins at 0.
sub line_chart
{
	my ($file, %chart) = @_;
	my @points = map { @{ $_->[1] } } @{ $chart{series} };
	my @x = sort { $a <=> $b } keys %{ { map { $_->[0] => 1 } @points } };
	return if @x < 2;
	my ($top) = sort { $b <=> $a } map { $_->[1] } @points;
	my $step = step_of($top);
	my $ceiling = $step * (1 + int($top / $step));
	my $w = $width - $margin{left} - $margin{right};
	my $h = $height - $margin{top} - $margin{bottom};
	my $at_x = sub { $margin{left} + $w * log($_[0] / $x[0]) / log($x[-1] / $x[0]) };
	my $at_y = sub { $margin{top} + $h * (1 - $_[0] / $ceiling) };
	my @out = (
		qq{<svg xmlns="http://www.w3.org/2000/svg" width="$width" height="$height" viewBox="0 0 $width $height" font-family="sans-serif" font-size="12">},
		qq{<rect width="$width" height="$height" fill="#ffffff"/>},
		sprintf(q{<text x="%d" y="24" font-size="15" font-weight="bold">%s</text>}, $margin{left}, escape($chart{title})));

	for (my $y = 0; $y <= $ceiling + $step / 2; $y += $step)
	{
		push @out, sprintf(q{<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>}, $margin{left}, $at_y->($y), $margin{left} + $w, $at_y->($y)),
		  sprintf(q{<text x="%d" y="%.1f" text-anchor="end">%g</text>}, $margin{left} - 8, $at_y->($y) + 4, $y);
	}
	for my $x (@x)
	{
		push @out, sprintf(q{<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#eeeeee"/>}, $at_x->($x), $margin{top}, $at_x->($x), $margin{top} + $h),
		  sprintf(q{<text x="%.1f" y="%d" text-anchor="middle">%s</text>}, $at_x->($x), $margin{top} + $h + 18, short($x));
	}
	push @out, sprintf(q{<text x="%.1f" y="%d" text-anchor="middle">%s</text>}, $margin{left} + $w / 2, $height - 12, escape($chart{x})),
	  sprintf(q{<text x="16" y="%.1f" text-anchor="middle" transform="rotate(-90 16 %.1f)">%s</text>}, ($margin{top} + $h / 2) x 2, escape($chart{y}));

	# Names stand where their lines end, pushed apart where they would touch.
	my $free = 0;
	my @order = sort { $chart{series}[$b][1][-1][1] <=> $chart{series}[$a][1][-1][1] } 0 .. $#{ $chart{series} };
	for my $i (@order)
	{
		my ($name, $line) = @{ $chart{series}[$i] };
		my ($colour, $dash) = @{ $styles[ $i % @styles ] };
		my $path = join ' ', map { sprintf '%.1f,%.1f', $at_x->($_->[0]), $at_y->($_->[1]) } @$line;
		push @out, qq{<polyline points="$path" fill="none" stroke="$colour" stroke-width="2" stroke-dasharray="$dash"/>};
		push @out, sprintf(q{<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>}, $at_x->($_->[0]), $at_y->($_->[1]), $colour) for @$line;
		my $y = $at_y->($line->[-1][1]) + 4;
		$y = $free if $y < $free;
		$free = $y + 15;
		push @out, sprintf(q{<text x="%d" y="%.1f" fill="%s">%s</text>}, $margin{left} + $w + 10, $y, $colour, escape($name));
	}
	open my $out, '>', $file or die "$file: $!\n";
	print $out "$_\n" for @out, '</svg>';
	close $out or die "$file: $!\n";
	return 1;
}

1;
