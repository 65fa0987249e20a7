# Programs and libraries that some tests play with, and that nobody else needs:
# taken from Debian's packages and from npm into a directory of the test's,
# without any rights, and gone with it.

package Fetch;

use strict;
use warnings;
use Cwd qw(getcwd);
use File::Path qw(make_path);

sub have
{
	my ($program) = @_;
	return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

# Runs a command in a directory, its output appended to a file there.
sub quietly
{
	my ($dir, @command) = @_;
	my $here = getcwd();
	chdir $dir or die "$dir: $!\n";
	open my $out, '>&', \*STDOUT or die;
	open my $err, '>&', \*STDERR or die;
	open STDOUT, '>>', "$dir/fetch.log" or die;
	open STDERR, '>&', \*STDOUT or die;
	my $status = system @command;
	open STDOUT, '>&', $out or die;
	open STDERR, '>&', $err or die;
	chdir $here or die "$here: $!\n";
	return $status == 0;
}

# debian(DIR, PACKAGE...): unpack Debian's packages below DIR/root.  Returns
# nothing if they are there, else the reason why not.
sub debian
{
	my ($dir, @packages) = @_;
	return 'there is no apt-get here' unless have('apt-get') && have('dpkg');
	make_path("$dir/root");
	quietly($dir, 'apt-get', '-q', 'download', @packages)
	  or return "apt-get could not download @packages";
	for my $file (glob "$dir/*.deb")
	{
		quietly($dir, 'dpkg', '-x', $file, "$dir/root") or return "dpkg could not unpack $file";
	}
	return;
}

# npm(DIR, PACKAGE...): install packages of npm below DIR/node_modules; no
# script of theirs is run.
sub npm
{
	my ($dir, @packages) = @_;
	return 'there is no node here' unless have('node') && have('npm');
	make_path($dir);
	open my $file, '>', "$dir/package.json" or die "$dir: $!\n";
	print $file qq({"name": "played-with", "private": true}\n);
	close $file;
	# without a network, give up soon
	quietly($dir, 'npm', 'install', '--no-audit', '--no-fund', '--ignore-scripts', '--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-timeout=60000', @packages)
	  or return "npm could not install @packages";
	return;
}

1;
