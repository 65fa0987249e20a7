# HTTP over Unix sockets, as much of it as tests of gateways need: a server
# for one request a connection, and a client.

package Http;

use strict;
use warnings;
use IO::Socket::UNIX;
use POSIX ();

# Head and body of a message; headers as [name, value]
sub receive
{
	my ($socket) = @_;
	my $text = '';
	until ($text =~ /\r?\n\r?\n/)
	{
		return unless $socket->sysread($text, 65536, length $text);
	}
	my ($head, $body) = split /\r?\n\r?\n/, $text, 2;
	my ($first, @lines) = split /\r?\n/, $head;
	my @headers = map { [ split /:\s*/, $_, 2 ] } @lines;
	my ($length) = map { $_->[1] } grep { lc $_->[0] eq 'content-length' } @headers;
	if (defined $length)
	{
		while (length $body < $length)
		{
			last unless $socket->sysread($body, 65536, length $body);
		}
	}
	elsif ($first =~ m{^HTTP/})
	{
		1 while $socket->sysread($body, 65536, length $body);
	}
	return { first => $first, headers => \@headers, body => $body };
}

# serve(PATH, HANDLER): a child that answers with what HANDLER makes of
# (method, target, headers): [status, headers, body].  Returns its process id.
sub serve
{
	my ($path, $handler) = @_;
	my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $path, Listen => 10)
	  or die "$path: $!\n";
	my $child = fork;
	die "fork: $!\n" unless defined $child;
	return $child if $child;
	# never by way of END blocks: those of the server's modules end our server
	$SIG{TERM} = sub { POSIX::_exit(0); };
	while (my $socket = $listener->accept)
	{
		my $request = eval { receive($socket) } or next;
		my ($method, $target) = split / /, $request->{first};
		my $answer = eval { $handler->($method, $target, $request->{headers}) };
		my ($status, $headers, $body) = $answer ? @$answer : (500, [], '');
		$body = '' unless defined $body;
		$socket->syswrite("HTTP/1.1 $status Answer\r\n" . join('', map { "$_->[0]: $_->[1]\r\n" } @$headers)
			  . 'Content-Length: ' . length($body) . "\r\nConnection: close\r\n\r\n$body");
		close $socket;
	}
	POSIX::_exit(0);
}

# ask(PATH, METHOD, TARGET, HEADERS [, BODY]): what a server answers, as a
# hash: status, body, and headers with names in lower case.
sub ask
{
	my ($path, $method, $target, $headers, $body) = @_;
	my $socket = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) or die "$path: $!\n";
	$body = '' unless defined $body;
	$socket->syswrite("$method $target HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"
		  . join('', map { "$_->[0]: $_->[1]\r\n" } @$headers)
		  . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
	my $answer = receive($socket) or die "$method $target: no answer\n";
	my ($status) = $answer->{first} =~ /^\S+ (\d+)/;
	return { status => $status, body => $answer->{body}, map { lc $_->[0] => $_->[1] } @{ $answer->{headers} } };
}

1;
