# What the tests in test/t share: servers with the extension, sessions that
# stay open, and keys to play with.
#
# A session of ours instead of background_psql, whose interface changed
# between the releases that we support.

package ApikeyTest;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node bare_node preload session contents issue_keys verdicts sql_error);

# Tables whose content a dump must carry over
our @tables = qw(kind account_policy scope member capability rate_limit credit pepper key import_secret import_scheme imported audit_log signing_key session);

# bare_node(NAME, SETTINGS [, INIT ARGUMENTS]): a server, not yet started.
sub bare_node
{
	my ($name, $settings, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ], %init);
	$node->append_conf('postgresql.conf', $settings) if $settings;
	return $node;
}

# new_node(NAME, SETTINGS [, INIT ARGUMENTS]): a running server that preloads
# the library, with the extension in its database postgres.
sub new_node
{
	my $node = bare_node(@_);

	preload($node);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION apikey CASCADE');
	return $node;
}

# preload(NODE [, LIBRARIES]): from its next start on.
sub preload
{
	my ($node, $libraries) = @_;
	$libraries = 'apikey' unless defined $libraries;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	return;
}

# session(NODE [, DATABASE [, PSQL ARGUMENT...]]): a psql that stays connected.
sub session
{
	return ApikeyTest::Session->new(@_);
}

# contents(NODE, DATABASE): all that the extension's tables hold, as text;
# without the bookkeeping that tells one installation from another.
sub contents
{
	my ($node, $database) = @_;
	my $content = '';

	for my $table (@tables)
	{
		$content .= "--- $table\n" . $node->safe_psql(
			$database, qq(
			SET timezone = 'UTC';
			SELECT to_jsonb(t) - 'installation' FROM apikey.$table t ORDER BY (to_jsonb(t) - 'installation')::text)
		) . "\n";
	}
	return $content;
}

# issue_keys(NODE, DATABASE, COUNT, ARGUMENTS): as [key text, key_id] each.
sub issue_keys
{
	my ($node, $database, $count, $arguments) = @_;
	my $rows = $node->safe_psql($database,
		"SELECT i.key, i.key_id FROM generate_series(1, $count) n, apikey.issue($arguments) i");

	return map { [ split /\|/ ] } split /\n/, $rows;
}

# verdicts(NODE, DATABASE, KEY TEXT...): their codes, in that order.
sub verdicts
{
	my ($node, $database, @keys) = @_;

	return join ' ', split /\n/,
	  $node->safe_psql($database, join("\n", map { "SELECT code FROM apikey.verify('$_');" } @keys));
}

# sql_error(NODE, DATABASE, STATEMENT [, PARAMETERS OF psql()]): what it fails
# with, as "SQLSTATE: message" and the lines of detail and hint.
sub sql_error
{
	my ($node, $database, $statement, %params) = @_;
	my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY verbose\n$statement", %params);

	$err =~ s/^.*?ERROR:  //s or return "no error: $out";
	return $err;
}

package ApikeyTest::Session;

use IPC::Run;

sub new
{
	my ($class, $node, $database, @arguments) = @_;
	my $self = bless { in => '', out => '', err => '', count => 0, errors => '' }, $class;

	$database = 'postgres' unless defined $database;
	local $ENV{PGAPPNAME} = 'session';
	$self->{timer} = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
	$self->{run} = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq', '-d', $node->connstr($database),
			'-v', 'VERBOSITY=sqlstate', '-v', 'ON_ERROR_STOP=0', @arguments, '-f', '-'
		],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	return $self;
}

# query(SQL): its rows; errors and notices go to $session->errors.
sub query
{
	my ($self, $sql) = @_;
	my $mark = 'end of query ' . ++$self->{count};

	$self->{timer}->start;
	$self->{in} .= "$sql\n;\n\\echo $mark\n\\warn $mark\n";
	$self->{run}->pump until $self->{out} =~ /^\Q$mark\E\n/m && $self->{err} =~ /^\Q$mark\E\n/m;
	my ($out, $err) = ($self->{out}, $self->{err});
	$self->{out} = $self->{err} = '';
	$out =~ s/^\Q$mark\E\n//m;
	$err =~ s/^\Q$mark\E\n//m;
	$err =~ s/^psql:<stdin>:\d+: //mg;
	chomp $out;
	$self->{errors} = $err;
	return $out;
}

sub errors { return $_[0]{errors}; }

# code(KEY TEXT [, ARGUMENTS]): what verify says.
sub code
{
	my ($self, $key, $arguments) = @_;
	$arguments = $arguments ? ", $arguments" : '';
	return $self->query("SELECT code FROM apikey.verify('$key'$arguments)");
}

sub quit
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	# The server may be gone already.
	eval { $self->{run}->finish };
	return;
}

1;
