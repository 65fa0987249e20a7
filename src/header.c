/*
 * header.c
 *		What the headers of an HTTP request say of who sent it: credentials,
 *		and the client's address behind proxies.
 *
 * All of it is a stranger's text, except for what trusted proxies appended.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#include "header.h"

#include <string.h>

#include "ascii.h"

/* A position in a header's value */
typedef struct Scan
{
	const char *at;
	const char *end;
	bool		done;
} Scan;

bool
apikey_same_name(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t		i;

	if (a_len != b_len)
		return false;
	for (i = 0; i < a_len; i++)
		if (ascii_lower(a[i]) != ascii_lower(b[i]))
			return false;
	return true;
}

bool
apikey_header_name_check(const char *text, size_t len)
{
	size_t		i;

	if (len == 0 || len > APIKEY_HEADER_NAME_MAX)
		return false;
	for (i = 0; i < len; i++)
		if (text[i] == '\0' ||
			(!ascii_is_alnum(text[i]) && !strchr("!#$%&'*+-.^_`|~", text[i])))
			return false;
	return true;
}

/*
 * Cut off the piece before the next separator that is not inside a quoted
 * string, blanks trimmed.  False at the end of the text; *open tells of a
 * quoted string that does not end.
 */
static bool
next_piece(Scan *scan, char separator, ApikeySlice *piece, bool *open)
{
	bool		quoted = false;
	const char *p;

	*open = false;
	if (scan->done)
		return false;
	for (p = scan->at; p < scan->end && (quoted || *p != separator); p++)
	{
		if (*p == '"')
			quoted = !quoted;
		else if (*p == '\\' && quoted && p + 1 < scan->end)
			p++;
	}
	piece->data = scan->at;
	piece->len = (size_t) (p - scan->at);
	ascii_trim(&piece->data, &piece->len);
	*open = quoted;
	scan->done = p == scan->end;
	scan->at = scan->done ? p : p + 1;
	return true;
}

static Scan
scan_text(const char *text, size_t len)
{
	/* an empty text has no piece, not even an empty one */
	return (Scan) {text, len == 0 ? text : text + len, len == 0};
}

static void
add_credential(ApikeyCredentials *found, const char *text, size_t len)
{
	if (len == 0)
		return;
	if (found->key.data == NULL)
		found->key = (ApikeySlice) {text, len};
	else if (found->key.len != len || memcmp(found->key.data, text, len) != 0)
		found->bad = true;
}

void
apikey_credentials_authorization(ApikeyCredentials *found,
								 const char *text, size_t len,
								 ApikeyTakesBearer takes_bearer)
{
	Scan		scan = scan_text(text, len);
	ApikeySlice piece;
	bool		open;

	while (next_piece(&scan, ',', &piece, &open))
	{
		size_t		scheme = 0;
		bool		bearer;
		const char *token;
		size_t		token_len;
		size_t		i;

		while (scheme < piece.len && !ascii_is_blank(piece.data[scheme]))
			scheme++;
		bearer = apikey_same_name(piece.data, scheme, "bearer", 6);
		if (!bearer && !apikey_same_name(piece.data, scheme, "apikey", 6))
			continue;
		token = piece.data + scheme;
		token_len = piece.len - scheme;
		ascii_trim(&token, &token_len);
		for (i = 0; i < token_len; i++)
			if (ascii_is_blank(token[i]))
				found->bad = true;
		if (bearer && token_len > 0 && takes_bearer != NULL &&
			!takes_bearer(token, token_len))
			found->foreign_bearer = true;
		else
			add_credential(found, token, token_len);
	}
}

void
apikey_credentials_bare(ApikeyCredentials *found, const char *text, size_t len)
{
	/* no quoted strings here: a key may hold any byte but a comma */
	while (len > 0)
	{
		const char *comma = memchr(text, ',', len);
		const char *piece = text;
		size_t		piece_len = comma ? (size_t) (comma - text) : len;

		text += comma ? piece_len + 1 : piece_len;
		len -= comma ? piece_len + 1 : piece_len;
		ascii_trim(&piece, &piece_len);
		add_credential(found, piece, piece_len);
	}
}

const char *
apikey_ip_source_header(ApikeyIpSource source)
{
	switch (source)
	{
		case APIKEY_IP_XFF:
			return "x-forwarded-for";
		case APIKEY_IP_REAL:
			return "x-real-ip";
		case APIKEY_IP_FORWARDED:
			return "forwarded";
		default:
			return NULL;
	}
}

/*
 * Is it what may follow an address: nothing, or a port (RFC 7239 lets it be
 * obfuscated)?
 */
static bool
is_port(const char *text, size_t len)
{
	size_t		i;

	if (len == 0)
		return true;
	if (text[0] != ':' || len == 1)
		return false;
	for (i = 1; i < len; i++)
		if (!ascii_is_alnum(text[i]) && !strchr("._-", text[i]))
			return false;
	return true;
}

bool
apikey_hop_parse(const char *text, size_t len, ApikeyNet *addr)
{
	const char *end;
	const char *zone;

	ascii_trim(&text, &len);
	if (len == 0 || memchr(text, '/', len) != NULL ||
		memchr(text, '\0', len) != NULL)
		return false;
	if (text[0] == '[')
	{
		end = memchr(text, ']', len);
		if (end == NULL ||
			!is_port(end + 1, len - (size_t) (end + 1 - text)))
			return false;
		text++;
		len = (size_t) (end - text);
		if (memchr(text, ':', len) == NULL)
			return false;
	}
	else if ((end = memchr(text, ':', len)) != NULL &&
			 memchr(end + 1, ':', len - (size_t) (end + 1 - text)) == NULL)
	{
		/* one colon: it ends an IPv4 address */
		if (!is_port(end, len - (size_t) (end - text)))
			return false;
		len = (size_t) (end - text);
	}
	zone = memchr(text, '%', len);
	if (zone != NULL && zone + 1 < text + len &&
		memchr(text, ':', (size_t) (zone - text)) != NULL)
		len = (size_t) (zone - text);
	return apikey_addr_parse(text, len, addr);
}

/*
 * Read an element of Forwarded: name=value pairs, of which "for" counts.
 */
static bool
forwarded_hop_parse(const char *text, size_t len, ApikeyNet *addr)
{
	Scan		scan = scan_text(text, len);
	ApikeySlice pair;
	bool		open;
	bool		found = false;

	while (next_piece(&scan, ';', &pair, &open))
	{
		const char *value = pair.len > 0 ? memchr(pair.data, '=', pair.len) : NULL;
		size_t		value_len;

		if (open)
			return false;
		if (value == NULL ||
			!apikey_same_name(pair.data, (size_t) (value - pair.data), "for", 3))
			continue;
		value++;
		value_len = pair.len - (size_t) (value - pair.data);
		if (value_len >= 2 && value[0] == '"' && value[value_len - 1] == '"')
		{
			value++;
			value_len -= 2;
		}
		if (found || !apikey_hop_parse(value, value_len, addr))
			return false;
		found = true;
	}
	return found;
}

static bool
is_trusted(const ApikeyNet *addr, const ApikeyNet *trusted, int ntrusted)
{
	int			i;

	for (i = 0; i < ntrusted; i++)
		if (apikey_net_contains(&trusted[i], addr))
			return true;
	return false;
}

/* How walking a line of the header from the right ended */
typedef enum Walk
{
	WALK_ON,					/* all were trusted */
	WALK_FOUND,
	WALK_LOST					/* cannot be told */
} Walk;

/*
 * Walk a line from the right until an address is not trusted; *client is the
 * last one seen, *hops counts them.
 */
static Walk
walk_line(ApikeyIpSource source, ApikeySlice line,
		  const ApikeyNet *trusted, int ntrusted, ApikeyNet *client, int *hops)
{
	ApikeySlice last[APIKEY_HOPS_MAX];	/* a ring: the rightmost ones */
	Scan		scan = scan_text(line.data, line.len);
	ApikeySlice piece;
	size_t		count = 0;
	size_t		left;
	bool		open;

	while (next_piece(&scan, ',', &piece, &open))
	{
		if (open)
			return WALK_LOST;
		if (piece.len > 0)
			last[count++ % APIKEY_HOPS_MAX] = piece;
	}
	for (left = count; left > 0; left--)
	{
		const ApikeySlice *hop = &last[(left - 1) % APIKEY_HOPS_MAX];

		if (++*hops > APIKEY_HOPS_MAX)
			return WALK_LOST;
		if (!(source == APIKEY_IP_FORWARDED ?
			  forwarded_hop_parse(hop->data, hop->len, client) :
			  apikey_hop_parse(hop->data, hop->len, client)))
			return WALK_LOST;
		if (!is_trusted(client, trusted, ntrusted))
			return WALK_FOUND;
	}
	return WALK_ON;
}

bool
apikey_client_address(ApikeyIpSource source,
					  const ApikeySlice *lines, int nlines,
					  const ApikeyNet *peer,
					  const ApikeyNet *trusted, int ntrusted,
					  ApikeyNet *client)
{
	int			hops = 0;
	int			i;

	if (source == APIKEY_IP_NONE ||
		(peer != NULL && !is_trusted(peer, trusted, ntrusted)))
	{
		if (peer != NULL)
			*client = *peer;
		return peer != NULL;
	}
	if (source == APIKEY_IP_REAL)
		return nlines == 1 &&
			apikey_hop_parse(lines[0].data, lines[0].len, client);
	for (i = nlines - 1; i >= 0; i--)
	{
		Walk		walk = walk_line(source, lines[i], trusted, ntrusted,
									 client, &hops);

		if (walk != WALK_ON)
			return walk == WALK_FOUND;
	}
	return hops > 0;
}
