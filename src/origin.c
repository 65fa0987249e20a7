/*
 * origin.c
 *		Web origins: the rules of an origin-locked key and the Origin header
 *		of a request.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#include "origin.h"

#include <string.h>

#include "ascii.h"
#include "netlist.h"

#define SCHEME_END		"://"
#define LABEL_MAX		63
#define LABELS_MIN		2		/* of a rule's host name */
#define PORT_MAX		65535

#define RULE_SCHEME		"the scheme must be a letter and up to 15 letters," \
	" digits, \"+\", \".\" or \"-\""
#define RULE_USER		"no user information is allowed"
#define RULE_PATH		"no path, query or fragment is allowed"
#define RULE_PORT		"the port must be a number from 1 to 65535"
#define RULE_BRACKETS	"an IPv6 address must be a good one, in brackets and" \
	" without zone"
#define RULE_HOST_EMPTY	"the host must not be empty"
#define RULE_HOST_LONG	"at most 253 bytes are allowed in a host name"
#define RULE_HOST_CHAR	"only letters, digits, \"-\", \"_\" and \".\" are" \
	" allowed in a host name"
#define RULE_LABEL		"each part of a host name must be 1 to 63 bytes long"
#define RULE_DIGITS		"the last part of a host name must not be all digits"
#define RULE_STAR		"a leading \"*.\" is not allowed: a name covers its" \
	" subdomains anyway"
#define RULE_SINGLE		"a host name must have at least two parts"

typedef struct DefaultPort
{
	const char *scheme;
	int			port;
} DefaultPort;

static const DefaultPort default_ports[] = {
	{"http", 80},
	{"https", 443},
	{"ws", 80},
	{"wss", 443}
};

#define NDEFAULT_PORTS	(sizeof(default_ports) / sizeof(default_ports[0]))

/*
 * The default port of a scheme, 0 if it has none.
 */
static int
default_port(const char *scheme)
{
	size_t		i;

	for (i = 0; i < NDEFAULT_PORTS; i++)
		if (strcmp(default_ports[i].scheme, scheme) == 0)
			return default_ports[i].port;
	return 0;
}

/*
 * The port that a rule or origin states, by itself or by its scheme; 0 if
 * neither does.
 */
static int
stated_port(const ApikeyOrigin *origin)
{
	return origin->port != 0 ? origin->port : default_port(origin->scheme);
}

/*
 * Does the text contain this byte?
 */
static bool
has_char(const char *text, size_t len, char c)
{
	return len > 0 && memchr(text, c, len) != NULL;
}

/*
 * Copy a text as a lower-case string; there is room for it.
 */
static void
copy_lower(char *out, const char *text, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
		out[i] = ascii_lower(text[i]);
	out[len] = '\0';
}

/*
 * Take the scheme off the front, if there is one.  NULL or the rule broken.
 */
static const char *
take_scheme(const char **text, size_t *len, ApikeyOrigin *origin)
{
	const size_t mark = strlen(SCHEME_END);
	size_t		end = 0;
	size_t		i;

	while (end + mark <= *len && memcmp(*text + end, SCHEME_END, mark) != 0)
		end++;
	if (end + mark > *len)
		return NULL;

	if (end == 0 || end > APIKEY_SCHEME_MAX || ascii_is_digit((*text)[0]))
		return RULE_SCHEME;
	for (i = 0; i < end; i++)
	{
		char		c = (*text)[i];

		if (!ascii_is_alnum(c) &&
			(i == 0 || (c != '+' && c != '.' && c != '-')))
			return RULE_SCHEME;
	}
	copy_lower(origin->scheme, *text, end);
	*text += end + mark;
	*len -= end + mark;
	return NULL;
}

/*
 * Take the port off the end, if there is one: what follows the last colon
 * outside of brackets.  NULL or the rule broken.
 */
static const char *
take_port(const char *text, size_t *len, ApikeyOrigin *origin)
{
	size_t		i = *len;

	while (i > 0 && text[i - 1] != ':' && text[i - 1] != ']')
		i--;
	if (i == 0 || text[i - 1] == ']')
		return NULL;
	if (!ascii_read_number(text + i, *len - i, PORT_MAX, &origin->port) ||
		origin->port == 0)
		return RULE_PORT;
	*len = i - 1;
	return NULL;
}

/*
 * Read a host in brackets: an IPv6 address.  NULL or the rule broken.
 */
static const char *
read_bracketed(const char *text, size_t len, ApikeyOrigin *origin)
{
	ApikeyNet	addr;
	size_t		i;

	if (len < strlen("[]") || text[0] != '[' || text[len - 1] != ']')
		return RULE_BRACKETS;
	text++;
	len -= strlen("[]");

	/* what may surround and follow an address elsewhere has no place here */
	for (i = 0; i < len; i++)
		if (text[i] == '/' || ascii_is_blank(text[i]))
			return RULE_BRACKETS;
	if (!has_char(text, len, ':') || !apikey_addr_parse(text, len, &addr))
		return RULE_BRACKETS;
	(void) apikey_net_print(&addr, origin->host);
	origin->is_address = true;
	return NULL;
}

/*
 * Count the labels of a host name, and tell whether the last one is made of
 * digits only.  NULL or the rule broken.
 */
static const char *
check_labels(const char *host, size_t len, int *labels, bool *last_digits)
{
	size_t		label_len = 0;
	size_t		i;

	*labels = 1;
	*last_digits = true;
	for (i = 0; i < len; i++)
	{
		char		c = host[i];

		if (c == '.')
		{
			if (label_len == 0)
				return RULE_LABEL;
			(*labels)++;
			*last_digits = true;
			label_len = 0;
			continue;
		}
		if (!ascii_is_alnum(c) && c != '-' && c != '_')
			return RULE_HOST_CHAR;
		if (!ascii_is_digit(c))
			*last_digits = false;
		if (++label_len > LABEL_MAX)
			return RULE_LABEL;
	}
	return label_len == 0 ? RULE_LABEL : NULL;
}

/*
 * Read the host: a name or an address.  NULL or the rule broken; *labels is
 * how many parts a name has.
 */
static const char *
read_host(const char *text, size_t len, ApikeyOrigin *origin, int *labels)
{
	const char *fault;
	bool		last_digits;
	ApikeyNet	addr;

	*labels = 0;
	if (has_char(text, len, '[') || has_char(text, len, ':'))
		return read_bracketed(text, len, origin);
	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0)
		return RULE_HOST_EMPTY;
	if (len > APIKEY_HOST_MAX)
		return RULE_HOST_LONG;

	fault = check_labels(text, len, labels, &last_digits);
	if (fault != NULL)
		return fault;
	if (last_digits)
	{
		/* browsers take such a host for an IPv4 address, good or not */
		if (!apikey_addr_parse(text, len, &addr))
			return RULE_DIGITS;
		origin->is_address = true;
	}
	copy_lower(origin->host, text, len);
	return NULL;
}

/*
 * Read what a rule and an Origin have in common.  NULL or the rule broken.
 */
static const char *
read_origin(const char *text, size_t len, bool allow_slash,
			ApikeyOrigin *origin, int *labels)
{
	const char *fault;

	memset(origin, 0, sizeof(*origin));
	*labels = 0;
	ascii_trim(&text, &len);
	if (len == 0)
		return "it must not be empty";
	if (len > APIKEY_ORIGIN_MAX)
		return "at most 320 bytes are allowed";

	fault = take_scheme(&text, &len, origin);
	if (fault != NULL)
		return fault;
	if (allow_slash && len > 0 && text[len - 1] == '/')
		len--;
	if (has_char(text, len, '/') || has_char(text, len, '?') ||
		has_char(text, len, '#'))
		return RULE_PATH;
	if (has_char(text, len, '@'))
		return RULE_USER;
	if (allow_slash && len > 0 && text[0] == '*')
		return RULE_STAR;
	fault = take_port(text, &len, origin);
	if (fault != NULL)
		return fault;
	return read_host(text, len, origin, labels);
}

/*
 * Read one rule.  A port that says no more than the scheme does is dropped,
 * so that equal rules read equal.
 */
const char *
apikey_origin_rule_parse(const char *text, size_t len, ApikeyOrigin *rule)
{
	int			labels;
	const char *fault = read_origin(text, len, true, rule, &labels);

	if (fault == NULL && !rule->is_address && labels < LABELS_MIN)
		fault = RULE_SINGLE;
	if (fault != NULL)
		memset(rule, 0, sizeof(*rule));
	return fault;
}

/*
 * Read an Origin header or a bare host.
 */
bool
apikey_origin_parse(const char *text, size_t len, ApikeyOrigin *origin)
{
	int			labels;

	if (read_origin(text, len, false, origin, &labels) != NULL ||
		(origin->scheme[0] == '\0' && strcmp(origin->host, "null") == 0))
	{
		memset(origin, 0, sizeof(*origin));
		return false;
	}
	origin->port = stated_port(origin);
	return true;
}

/*
 * Is the host below the domain, as in a.example.com below example.com?
 */
static bool
is_subdomain(const char *host, const char *domain)
{
	size_t		host_len = strlen(host);
	size_t		domain_len = strlen(domain);

	return host_len > domain_len &&
		host[host_len - domain_len - 1] == '.' &&
		strcmp(host + (host_len - domain_len), domain) == 0;
}

/*
 * Does the rule admit the origin?  What the rule states and the origin does
 * not is not met.
 */
bool
apikey_origin_matches(const ApikeyOrigin *rule, const ApikeyOrigin *origin)
{
	if (rule->host[0] == '\0' || rule->is_address != origin->is_address)
		return false;
	if (rule->scheme[0] != '\0' && strcmp(rule->scheme, origin->scheme) != 0)
		return false;
	if (rule->port != 0 && rule->port != origin->port)
		return false;
	return strcmp(rule->host, origin->host) == 0 ||
		(!rule->is_address && is_subdomain(origin->host, rule->host));
}

/*
 * Is it the machine itself that asks: localhost, *.localhost, 127.0.0.0/8 or
 * ::1?
 */
bool
apikey_origin_is_loopback(const ApikeyOrigin *origin)
{
	static const char loopback_net[] = "127.";

	if (!origin->is_address)
		return strcmp(origin->host, "localhost") == 0 ||
			is_subdomain(origin->host, "localhost");
	return strcmp(origin->host, "::1") == 0 ||
		strncmp(origin->host, loopback_net, strlen(loopback_net)) == 0;
}

/*
 * Append a string; returns the new length.
 */
static size_t
append(char *out, size_t len, const char *what)
{
	size_t		add = strlen(what);

	memcpy(out + len, what, add + 1);
	return len + add;
}

/*
 * Write the canonical text of a rule, NUL terminated.
 */
size_t
apikey_origin_print(const ApikeyOrigin *rule, char *out)
{
	bool		brackets = strchr(rule->host, ':') != NULL;
	size_t		len = 0;

	if (rule->scheme[0] != '\0')
	{
		len = append(out, len, rule->scheme);
		len = append(out, len, SCHEME_END);
	}
	if (brackets)
		len = append(out, len, "[");
	len = append(out, len, rule->host);
	if (brackets)
		len = append(out, len, "]");
	if (rule->port != 0)
	{
		len = append(out, len, ":");
		len += ascii_write_number(rule->port, out + len);
		out[len] = '\0';
	}
	return len;
}
