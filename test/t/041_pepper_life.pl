# A pepper's life: made, made current, keys move to it as they are used, the
# old one retired; from the table and from a file.

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
my $node = new_node('life', '');
my @keys = issue_keys($node, 'postgres', 20, q('acme', 'key ' || n));
my @texts = map { $_->[0] } @keys;
my $all = join ' ', ('valid') x @texts;

# flush(): until nothing is on its way
sub flush { return $node->safe_psql('postgres', 'SELECT apikey.flush_usage()'); }
sub status { return $node->safe_psql('postgres', 'SELECT pepper_id, source, is_current, keys FROM apikey.pepper_status ORDER BY 1'); }

is(status(), '1|table|t|20', 'the first pepper');
my $next = $node->safe_psql('postgres', 'SELECT apikey.add_pepper()');
is(status(), "1|table|t|20\n2|table|f|0", 'another one');
$node->safe_psql('postgres', "SELECT apikey.set_current_pepper($next)");
is(verdicts($node, 'postgres', @texts[ 0 .. 9 ]), join(' ', ('valid') x 10), 'ten keys are used');
flush();
is(status(), "1|table|f|10\n2|table|t|10", '... and moved');
like(sql_error($node, 'postgres', 'SELECT apikey.retire_pepper(1)'), qr/^KA409: pepper 1 is in use/, 'the old one cannot be retired yet');
is(verdicts($node, 'postgres', @texts), $all, 'all are used');
flush();
is(status(), "1|table|f|0\n2|table|t|20", '... and moved');
$node->safe_psql('postgres', 'SELECT apikey.retire_pepper(1)');
is(status(), '2|table|t|20', 'retired');
is(verdicts($node, 'postgres', @texts), $all, 'all verify');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT action, ' ') FROM apikey.audit_log WHERE key_id IS NOT NULL"), 'issue', 'no key was changed by that');

# Out of the table, into a file: a dump alone then verifies nothing
open my $ring, '>', $file or die;
print $ring '7 ' . ('ab' x 32) . "\n";
close $ring;
chmod 0600, $file;
$node->append_conf('postgresql.conf', "apikey.pepper_file = '$file'");
$node->reload;
ok($node->poll_query_until('postgres', "SELECT current_setting('apikey.pepper_file') = '$file'"), 'a pepper file');
is($node->safe_psql('postgres', 'SELECT apikey.add_pepper()'), '7', 'its pepper');
$node->safe_psql('postgres', 'SELECT apikey.set_current_pepper(7)');
is(verdicts($node, 'postgres', @texts), $all, 'all are used');
flush();
is(status(), "2|table|f|0\n7|file|t|20", '... and moved');
$node->safe_psql('postgres', 'SELECT apikey.retire_pepper(2)');
is($node->safe_psql('postgres', 'SELECT count(*) FROM apikey.pepper WHERE secret IS NOT NULL'), '0', 'no secret is left in the table');

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dumped');
my $other = new_node('other', '');
$other->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'psql', '-Xqf', $dump, '-v', 'ON_ERROR_STOP=1', $other->connstr('restored') ], 'restored elsewhere, without the file');
is(verdicts($other, 'restored', @texts), join(' ', ('unavailable') x @texts), '... nothing verifies');
like(sql_error($other, 'restored', "SELECT apikey.issue('acme', 'new')"), qr/^55000: /, '... and no key is made');
$other->append_conf('postgresql.conf', "apikey.pepper_file = '$file'");
$other->reload;
ok($other->poll_query_until('restored', "SELECT count(*) = 20 FROM (SELECT code FROM apikey.key k, LATERAL apikey.verify('$texts[0]') v WHERE v.ok) x"), 'with the file it does');
is(verdicts($other, 'restored', @texts), $all, '... all of it');

# The file is lost, and found again
rename $file, "$file.away" or die;
$node->restart;
is(verdicts($node, 'postgres', $texts[0]), 'unavailable', 'the file is gone at the start: unavailable');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/pepper file .* cannot be used/, '... and the log says so');
is(status(), '7|file|t|20', 'pepper_status shows what is expected in it');
rename "$file.away", $file or die;
$node->reload;
ok($node->poll_query_until('postgres', "SELECT ok FROM apikey.verify('$texts[0]')"), 'back, after a reload');

$other->stop;
$node->stop;
done_testing();
