# The key ring outside the database: what can be wrong with the file closes
# the door (verify answers unavailable, issue fails) and never falls back to a
# hash without a pepper; sessions notice a reload.  Threats T32, T33.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ApikeyTest;

my $directory = PostgreSQL::Test::Utils::tempdir_short;
my $file = "$directory/peppers";
my %secret = map { $_ => join('', map { sprintf '%02x', int(rand 256) } 1 .. 32) } 1 .. 9;

# write_ring(TEXT [, MODE]): the file, replaced as an operator would
sub write_ring
{
	my ($text, $mode) = @_;
	open my $handle, '>', "$file.new" or die;
	print $handle $text;
	close $handle;
	chmod defined $mode ? $mode : 0600, "$file.new";
	rename "$file.new", $file or die;
	return;
}

sub line { return map { "$_ $secret{$_}\n" } @_; }

write_ring("# our peppers\n\n" . join('', line(1)));
# Slots for the launchers alone: no flush worker moves keys to another pepper
# while this test looks at them.
my $node = new_node('ring', "apikey.pepper_file = '$file'\nmax_worker_processes = 2");
my $warm = session($node);

# reload(): the running session has seen it when this returns
sub reload
{
	my $before = $warm->query('SELECT pg_conf_load_time()');
	$node->reload;
	for (1 .. 1000)
	{
		return if $warm->query('SELECT pg_conf_load_time()') ne $before;
		select undef, undef, undef, 0.01;
	}
	die 'no reload';
}

my ($key) = $warm->query("SELECT key FROM apikey.issue('acme', 'first')");
is($warm->code($key), 'valid', 'a key under the pepper of the file');
is($warm->query('SELECT pepper_id, source, is_current, keys FROM apikey.pepper_status'), '1|file|t|1', 'pepper_status says so');
is($warm->query('SELECT count(*) FROM apikey.pepper WHERE secret IS NOT NULL'), '0', 'no secret in the table');
is($node->safe_psql('postgres', "SELECT v.code FROM apikey.verify('$key') v"), 'valid', 'another session');
my $unknown = $warm->query("BEGIN; SELECT key FROM apikey.issue('acme', 'never'); ROLLBACK");

# What can be wrong, seen by a session that verified before, and by a new one
my %faults = (
	'no file' => sub { unlink $file },
	'an empty file' => sub { write_ring('') },
	'readable by the group' => sub { write_ring(join('', line(1)), 0640) },
	'readable by everybody' => sub { write_ring(join('', line(1)), 0604) },
	'writable by everybody' => sub { write_ring(join('', line(1)), 0602) },
	'a directory' => sub { unlink $file; mkdir $file },
	'another secret under the id' => sub { write_ring("1 $secret{2}\n") },
	'another id' => sub { write_ring("2 $secret{1}\n") },
	'a short secret' => sub { write_ring('1 ' . substr($secret{1}, 2) . "\n") },
	'a long secret' => sub { write_ring("1 $secret{1}00\n") },
	'no hexadecimal digits' => sub { write_ring('1 ' . ('zz' x 32) . "\n") },
	'an id twice' => sub { write_ring(join('', line(1), line(1))) },
	'a line too much' => sub { write_ring(join('', line(1), "nonsense\n")) },
	'words behind the secret' => sub { write_ring("1 $secret{1} current\n") },
	'an id that is too large' => sub { write_ring("4294967297 $secret{1}\n") },
	'binary rubbish' => sub { write_ring(join('', line(1)) . "\0\xff" x 100) },
	'a huge file' => sub { write_ring(join('', line(1)) . "# x\n" x 1_000_000) },
	'a dangling link' => sub { unlink $file; symlink "$directory/nowhere", $file });
for my $fault (sort keys %faults)
{
	$faults{$fault}->();
	reload();
	is($warm->code($key), 'unavailable', "$fault: verify answers unavailable");
	is($warm->query("SELECT status FROM apikey.verify('$key')"), '503', '... 503');
	is($warm->code($unknown), 'unavailable', '... for a key that is unknown too');
	is($warm->code('ak_malformed'), 'key_invalid', '... not for a malformed one');
	$warm->query("SELECT key FROM apikey.issue('acme', 'no')");
	is($warm->errors, "ERROR:  55000\n", '... issue raises 55000');
	is($node->safe_psql('postgres', "SELECT v.code FROM apikey.verify('$key') v"), 'unavailable', '... in a new session as well');
	rmdir $file if -d $file && !-l $file;
	unlink $file if -l $file;
	write_ring(join('', line(1)));
	reload();
	is($warm->code($key), 'valid', '... and is back after a reload');
}
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
like($log, qr/LOG: .*pepper file/, 'the log says why');
my $secrets = join '|', map { substr $_, 0, 16 } values %secret;
unlike($log, qr/$secrets/i, '... without a secret');

# The ring grows
write_ring(join('', line(1, 2, 3)));
reload();
is($warm->query('SELECT apikey.add_pepper()'), '2', 'add_pepper takes the next one of the file');
is($warm->code($key), 'valid', 'keys under the first go on');
$warm->query('SELECT apikey.set_current_pepper(2)');
my $second = $warm->query("SELECT key FROM apikey.issue('acme', 'second')");
is($warm->code($key) . ' ' . $warm->code($second), 'valid valid', 'keys under both verify');
is($warm->query('SELECT pepper_id, source, is_current, keys FROM apikey.pepper_status ORDER BY 1'),
	"1|file|f|1\n2|file|t|1", 'pepper_status tells them apart');
$warm->query('SELECT apikey.retire_pepper(1)');
is($warm->errors, "ERROR:  KA409\n", 'a pepper in use cannot be retired');
$warm->query('SELECT apikey.retire_pepper(2)');
is($warm->errors, "ERROR:  KA409\n", 'nor the current one');

# One of two is missing: keys under the other are told apart as far as one can
write_ring(join('', line(2)));
reload();
is($warm->code($second), 'valid', 'the first is missing: a key under the second verifies');
is($warm->code($key), 'unavailable', '... one under the first cannot be told from an unknown one');
is($warm->code($unknown), 'unavailable', '... nor an unknown one from that');
is($warm->query("SELECT count(*) FROM apikey.issue('acme', 'third')"), '1', '... issue works, with the current one');
$warm->query("DELETE FROM apikey.key WHERE pepper_id = 1");
is($warm->code($key), 'key_invalid', 'no key refers to the missing one any more: unknown is unknown');
$warm->query('SELECT apikey.retire_pepper(1)');
is($warm->errors, '', 'and it can be retired');
is($warm->query('SELECT apikey.add_pepper()') . $warm->errors, "ERROR:  55000\n", 'add_pepper without a new one in the file: 55000');

# From the file to the table and back
$node->append_conf('postgresql.conf', "apikey.pepper_file = ''");
reload();
is($warm->code($second), 'unavailable', 'setting taken away: unavailable');
my $table = $warm->query('SELECT apikey.add_pepper()');
is($warm->query("SELECT source FROM apikey.pepper_status WHERE pepper_id = $table"), 'table', 'without the file, a pepper goes into the table');
$warm->query("SELECT apikey.set_current_pepper($table)");
my $third = $warm->query("SELECT key FROM apikey.issue('acme', 'in the table')");
is($warm->code($third), 'valid', 'a key under it verifies');
$node->append_conf('postgresql.conf', "apikey.pepper_file = '$file'");
reload();
is($warm->code($second) . ' ' . $warm->code($third), 'valid valid', 'with the file again, both do');

# Who may see and set it
$node->safe_psql('postgres', 'CREATE ROLE reader LOGIN; CREATE ROLE settings LOGIN; GRANT pg_read_all_data TO reader; GRANT pg_monitor TO reader');
like(sql_error($node, 'postgres', 'SET ROLE settings; SHOW apikey.pepper_file'), qr/^42501: /, 'a plain role is not shown the path');
is($node->safe_psql('postgres', q(SET ROLE settings; SELECT count(*) FROM pg_settings WHERE name = 'apikey.pepper_file')), '0', '... nor in pg_settings');
like(sql_error($node, 'postgres', "SET ROLE settings; SET apikey.pepper_file = '/tmp/x'"), qr/^(55P02|42501): /, '... nor may it set it');
like(sql_error($node, 'postgres', "SET apikey.pepper_file = '/tmp/x'"), qr/^55P02: /, 'nobody sets it for a session');
is($node->safe_psql('postgres', 'SET ROLE reader; SELECT count(*) FROM apikey.pepper') , '0', 'pg_read_all_data sees no pepper');
is($node->safe_psql('postgres', 'SET ROLE reader; SELECT count(*) FROM apikey.key') , '0', '... and no hash');

$warm->quit;
$node->stop;
done_testing();
