# A client that speaks the server's protocol itself: whoever replays what
# another program sends must say which statements are named, and what comes by
# simple Query.  libpq decides that by itself.

package Wire;

use strict;
use warnings;
use IO::Socket::UNIX;

# new(NODE, USER [, NAMED]): a connection to database postgres.  NAMED: what is
# sent by run() is prepared once under a name, else each time without one.
sub new
{
	my ($class, $node, $user, $named) = @_;
	my $path = $node->host . '/.s.PGSQL.' . $node->port;
	my $socket = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path)
	  or die "$path: $!\n";
	my $self = bless { socket => $socket, named => $named, names => {}, pid => undef }, $class;

	my $startup = pack('N', 196608) . join('', map { "$_\0" } 'user', $user, 'database', 'postgres') . "\0";
	$socket->syswrite(pack('N', 4 + length $startup) . $startup);
	my $result = $self->_results;
	die "connection refused: $result->{error}{M}\n" if $result->{error};
	return $self;
}

sub pid { return $_[0]{pid}; }

# run(SQL [, PARAMETER...]): by the extended protocol, parameters of no
# declared type.  A hash: rows, tag, and error with its fields by letter.
sub run
{
	my ($self, $sql, @parameters) = @_;
	my $name = '';
	my $out = '';

	if ($self->{named} && exists $self->{names}{$sql})
	{
		$name = $self->{names}{$sql};
	}
	else
	{
		$name = scalar keys %{ $self->{names} } if $self->{named};
		$out .= _message('P', "$name\0$sql\0" . pack('n', 0));
	}
	$out .= _message('B', "\0$name\0" . pack('nn', 0, scalar @parameters)
		  . join('', map { defined $_ ? pack('N', length $_) . $_ : pack('N', 0xffffffff) } @parameters)
		  . pack('n', 0));
	$out .= _message('E', "\0" . pack('N', 0)) . _message('S', '');
	$self->_send($out);
	my $result = $self->_results;
	$self->{names}{$sql} = $name if $self->{named} && $result->{parsed};
	return $result;
}

# simple(SQL): by simple Query.
sub simple
{
	my ($self, $sql) = @_;
	$self->_send(_message('Q', "$sql\0"));
	return $self->_results;
}

sub close
{
	my ($self) = @_;
	$self->_send(_message('X', ''));
	close $self->{socket};
	return;
}

sub _message { return $_[0] . pack('N', 4 + length $_[1]) . $_[1]; }

sub _send
{
	my ($self, $bytes) = @_;
	while (length $bytes)
	{
		my $sent = $self->{socket}->syswrite($bytes);
		die "connection lost: $!\n" unless defined $sent;
		substr $bytes, 0, $sent, '';
	}
	return;
}

sub _read
{
	my ($self, $want) = @_;
	my $bytes = '';
	while (length $bytes < $want)
	{
		my $got = $self->{socket}->sysread($bytes, $want - length $bytes, length $bytes);
		die "connection lost\n" unless $got;
	}
	return $bytes;
}

# All answers up to ReadyForQuery
sub _results
{
	my ($self) = @_;
	my %result = (rows => []);

	while (1)
	{
		my ($type, $length) = unpack 'aN', $self->_read(5);
		my $body = $self->_read($length - 4);
		if ($type eq 'Z') { $result{state} = $body; return \%result; }
		elsif ($type eq '1') { $result{parsed} = 1; }
		elsif ($type eq 'K') { ($self->{pid}) = unpack 'N', $body; }
		elsif ($type eq 'C') { ($result{tag}) = unpack 'Z*', $body; }
		elsif ($type eq 'E') { $result{error} = { map { substr($_, 0, 1) => substr($_, 1) } split /\0/, $body }; }
		elsif ($type eq 'D')
		{
			my ($count) = unpack 'n', $body;
			my $at = 2;
			my @row;
			for (1 .. $count)
			{
				my $size = unpack 'N', substr $body, $at, 4;
				$at += 4;
				if ($size == 0xffffffff) { push @row, undef; next; }
				push @row, substr $body, $at, $size;
				$at += $size;
			}
			push @{ $result{rows} }, \@row;
		}
	}
}

1;
