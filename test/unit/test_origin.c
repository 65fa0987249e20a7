/*
 * test_origin.c
 *		Rules of an origin-locked key, and the origins that they admit.
 */
#include "../../src/origin.h"
#include "unit.h"

/*
 * Read a rule from a copy that ends where it ends.
 */
static const char *
parse_rule(const char *text, size_t len, ApikeyOrigin *rule)
{
	char	   *copy = unit_copy(text, len);
	const char *fault = apikey_origin_rule_parse(copy, len, rule);

	free(copy);
	return fault;
}

/*
 * The same for an origin.
 */
static bool
parse_origin(const char *text, size_t len, ApikeyOrigin *origin)
{
	char	   *copy = unit_copy(text, len);
	bool		good = apikey_origin_parse(copy, len, origin);

	free(copy);
	return good;
}

static const struct
{
	const char *text;
	size_t		len;
	const char *printed;		/* NULL: refused, for this reason */
	const char *fault;
}			rules[] = {
	{TEXT("mysite.com"), "mysite.com", NULL},
	{TEXT(" \tMySite.COM\r\n"), "mysite.com", NULL},
	{TEXT("mysite.com."), "mysite.com", NULL},
	{TEXT("mysite.com/"), "mysite.com", NULL},
	{TEXT("https://mysite.com./"), "https://mysite.com", NULL},
	{TEXT("HTTPS://mysite.com:443"), "https://mysite.com:443", NULL},
	{TEXT("https://mysite.com:80"), "https://mysite.com:80", NULL},
	{TEXT("http://mysite.com:80/"), "http://mysite.com:80", NULL},
	{TEXT("ws://mysite.com:80"), "ws://mysite.com:80", NULL},
	{TEXT("wss://mysite.com:443"), "wss://mysite.com:443", NULL},
	{TEXT("ftp://mysite.com:21"), "ftp://mysite.com:21", NULL},
	{TEXT("mysite.com:443"), "mysite.com:443", NULL},
	{TEXT("mysite.com:1"), "mysite.com:1", NULL},
	{TEXT("mysite.com.:65535"), "mysite.com:65535", NULL},
	{TEXT("my_site-1.co.uk"), "my_site-1.co.uk", NULL},
	{TEXT("xn--bcher-kva.example"), "xn--bcher-kva.example", NULL},
	{TEXT("1.2.3.com"), "1.2.3.com", NULL},
	{TEXT("app.localhost"), "app.localhost", NULL},
	{TEXT("192.0.2.1"), "192.0.2.1", NULL},
	{TEXT("192.0.2.1."), "192.0.2.1", NULL},
	{TEXT("http://192.0.2.1:8080"), "http://192.0.2.1:8080", NULL},
	{TEXT("[2001:DB8:0::1]"), "[2001:db8::1]", NULL},
	{TEXT("https://[::1]:8443/"), "https://[::1]:8443", NULL},
	{TEXT("[::ffff:192.0.2.1]"), "192.0.2.1", NULL},
	{TEXT("chrome-extension://a.b"), "chrome-extension://a.b", NULL},
	{TEXT("a+b.c-1://a.b"), "a+b.c-1://a.b", NULL},
	{TEXT(""), NULL, "empty"}, {TEXT(" \r\n"), NULL, "empty"},
	{TEXT("/"), NULL, "host must not be empty"},
	{TEXT("."), NULL, "host must not be empty"},
	{TEXT("https://"), NULL, "host must not be empty"},
	{TEXT("https:///"), NULL, "host must not be empty"},
	{TEXT(":80"), NULL, "host must not be empty"},
	{TEXT("localhost"), NULL, "two parts"},
	{TEXT("com."), NULL, "two parts"},
	{TEXT("http://localhost:3000"), NULL, "two parts"},
	{TEXT("null"), NULL, "two parts"},
	{TEXT("*.mysite.com"), NULL, "subdomains"},
	{TEXT("https://*.mysite.com"), NULL, "subdomains"},
	{TEXT("*"), NULL, "subdomains"},
	{TEXT("my*.site.com"), NULL, "only letters"},
	{TEXT(".mysite.com"), NULL, "1 to 63"},
	{TEXT("mysite..com"), NULL, "1 to 63"},
	{TEXT("mysite.com.."), NULL, "1 to 63"},
	{TEXT("mysite.com/path"), NULL, "no path"},
	{TEXT("mysite.com//"), NULL, "no path"},
	{TEXT("mysite.com?q"), NULL, "no path"},
	{TEXT("mysite.com#f"), NULL, "no path"},
	{TEXT("user@mysite.com"), NULL, "no user"},
	{TEXT("https://a:b@mysite.com"), NULL, "no user"},
	{TEXT("mysite.com\\x"), NULL, "only letters"},
	{TEXT("my site.com"), NULL, "only letters"},
	{TEXT("mysite.com, a.com"), NULL, "only letters"},
	{TEXT("mysite.com\0"), NULL, "only letters"},
	{TEXT("\0mysite.com"), NULL, "only letters"},
	{TEXT("b\303\274cher.example"), NULL, "only letters"},
	{TEXT("mysite.com%2e"), NULL, "only letters"},
	{TEXT("mysite.com:"), NULL, "port"}, {TEXT("mysite.com:0"), NULL, "port"},
	{TEXT("mysite.com:080"), NULL, "port"},
	{TEXT("mysite.com:65536"), NULL, "port"},
	{TEXT("mysite.com:8 0"), NULL, "port"},
	{TEXT("mysite.com:-1"), NULL, "port"},
	{TEXT("mysite.com:80:80"), NULL, "brackets"},
	{TEXT("1.2.3"), NULL, "all digits"}, {TEXT("1.2.3.256"), NULL, "all digits"},
	{TEXT("01.2.3.4"), NULL, "all digits"}, {TEXT("a.1"), NULL, "all digits"},
	{TEXT("2130706433"), NULL, "all digits"},
	{TEXT("1.2.3.4/32"), NULL, "no path"},
	{TEXT("2001:db8::1"), NULL, "brackets"}, {TEXT("::1"), NULL, "brackets"},
	{TEXT("[1.2.3.4]"), NULL, "brackets"}, {TEXT("[]"), NULL, "brackets"},
	{TEXT("["), NULL, "brackets"}, {TEXT("[::1"), NULL, "brackets"},
	{TEXT("::1]"), NULL, "brackets"}, {TEXT("[::1]x"), NULL, "brackets"},
	{TEXT("x[::1]"), NULL, "brackets"}, {TEXT("[[::1]]"), NULL, "brackets"},
	{TEXT("[ ::1]"), NULL, "brackets"}, {TEXT("[::1%lo]"), NULL, "brackets"},
	{TEXT("[::1]."), NULL, "brackets"}, {TEXT("[::1]:"), NULL, "port"},
	{TEXT("://mysite.com"), NULL, "scheme"},
	{TEXT("1http://mysite.com"), NULL, "scheme"},
	{TEXT("+a://mysite.com"), NULL, "scheme"},
	{TEXT("ht tp://mysite.com"), NULL, "scheme"},
	{TEXT("h\303\244://mysite.com"), NULL, "scheme"},
	{TEXT("aaaaaaaaaaaaaaaaa://mysite.com"), NULL, "scheme"},
	{TEXT("https://http://mysite.com"), NULL, "no path"},
	{TEXT("http:mysite.com"), NULL, "port"},
};

static void
test_rules(void)
{
	int			i;

	for (i = 0; i < LENGTH_OF(rules); i++)
	{
		ApikeyOrigin rule;
		ApikeyOrigin again;
		char		out[APIKEY_ORIGIN_MAX + 1];
		const char *fault = parse_rule(rules[i].text, rules[i].len, &rule);
		size_t		len;

		if (!CHECK((fault == NULL) == (rules[i].printed != NULL), "%s: %s",
				   rules[i].text, fault))
			continue;
		if (fault != NULL)
		{
			CHECK(strstr(fault, rules[i].fault) != NULL, "%s: %s",
				  rules[i].text, fault);
			CHECK(strstr(fault, "mysite") == NULL, "input in %s", fault);
			CHECK(rule.host[0] == '\0', "no host from %s", rules[i].text);
			continue;
		}
		len = apikey_origin_print(&rule, out);
		CHECK(strcmp(out, rules[i].printed) == 0 && len == strlen(out),
			  "%s prints as %s", rules[i].text, out);
		CHECK(parse_rule(out, len, &again) == NULL &&
			  memcmp(&rule, &again, sizeof(rule)) == 0, "%s again", out);
	}
}

/*
 * A rule whose host has labels of these lengths, of letters.
 */
static const char *
parse_labels(const int *lengths, int count, size_t *host_len)
{
	char		text[2 * APIKEY_ORIGIN_MAX] = "";
	ApikeyOrigin rule;
	int			i;

	for (i = 0; i < count; i++)
	{
		char	   *label = unit_repeat('a', (size_t) lengths[i]);

		strcat(text, i > 0 ? "." : "");
		strncat(text, label, (size_t) lengths[i]);
		free(label);
	}
	*host_len = strlen(text);
	return parse_rule(text, *host_len, &rule);
}

static void
test_limits(void)
{
	static const int at_limit[] = {63, 63, 63, 61};
	static const int beyond[] = {63, 63, 63, 62};
	static const int long_label[] = {64, 3};
	static const int longest_label[] = {3, 63};
	ApikeyOrigin rule;
	char		text[APIKEY_ORIGIN_MAX * 2];
	char	   *out = unit_alloc(APIKEY_ORIGIN_MAX + 1);
	const char *fault;
	size_t		len;
	int			i;

	CHECK(parse_labels(at_limit, 4, &len) == NULL && len == 253, "253 bytes");
	fault = parse_labels(beyond, 4, &len);
	CHECK(fault && strstr(fault, "253") && len == 254, "254 bytes");
	fault = parse_labels(long_label, 2, &len);
	CHECK(fault && strstr(fault, "63"), "a label of 64 bytes");
	CHECK(parse_labels(longest_label, 2, &len) == NULL, "one of 63 bytes");

	/* everything at its limit */
	strcpy(text, "abcdefghijklmnop://");
	len = strlen(text);
	for (i = 0; i < 253; i++)
		text[len++] = i % 64 == 63 ? '.' : 'A';
	strcpy(text + len, ".:65535/");
	len += strlen(text + len);
	CHECK(parse_rule(text, len, &rule) == NULL, "the longest rule");
	CHECK(apikey_origin_print(&rule, out) == len - 2, "the longest print");

	memset(text, ' ', sizeof(text));
	memcpy(text + APIKEY_ORIGIN_MAX, "a.b", 3);
	CHECK(parse_rule(text, sizeof(text), &rule) == NULL, "many blanks");
	memset(text, 'a', sizeof(text));
	fault = parse_rule(text, APIKEY_ORIGIN_MAX, &rule);
	CHECK(fault && strstr(fault, "253"), "320 bytes: %s", fault);
	fault = parse_rule(text, APIKEY_ORIGIN_MAX + 1, &rule);
	CHECK(fault && strstr(fault, "320"), "321 bytes: %s", fault);
	free(out);
}

static void
test_origins(void)
{
	static const struct
	{
		const char *text;
		size_t		len;
		const char *host;		/* NULL: refused */
		int			port;
		bool		loopback;
	}			cases[] = {
		{TEXT("https://mysite.com"), "mysite.com", 443, false},
		{TEXT("http://MYSITE.com."), "mysite.com", 80, false},
		{TEXT("ws://mysite.com"), "mysite.com", 80, false},
		{TEXT("wss://mysite.com"), "mysite.com", 443, false},
		{TEXT("https://mysite.com:8443"), "mysite.com", 8443, false},
		{TEXT("ftp://mysite.com"), "mysite.com", 0, false},
		{TEXT("mysite.com"), "mysite.com", 0, false},
		{TEXT("mysite.com:81"), "mysite.com", 81, false},
		{TEXT(" mysite.com "), "mysite.com", 0, false},
		{TEXT("intranet"), "intranet", 0, false},
		{TEXT("http://null"), "null", 80, false},
		{TEXT("localhost"), "localhost", 0, true},
		{TEXT("http://LocalHost:3000"), "localhost", 3000, true},
		{TEXT("localhost."), "localhost", 0, true},
		{TEXT("http://app.localhost"), "app.localhost", 80, true},
		{TEXT("http://notlocalhost"), "notlocalhost", 80, false},
		{TEXT("http://localhost.evil.org"), "localhost.evil.org", 80, false},
		{TEXT("http://127.0.0.1:5173"), "127.0.0.1", 5173, true},
		{TEXT("127.255.255.254"), "127.255.255.254", 0, true},
		{TEXT("127.0.0.1.evil.org"), "127.0.0.1.evil.org", 0, false},
		{TEXT("128.0.0.1"), "128.0.0.1", 0, false},
		{TEXT("12.7.0.0"), "12.7.0.0", 0, false},
		{TEXT("http://[::1]"), "::1", 80, true},
		{TEXT("http://[0:0::1]"), "::1", 80, true},
		{TEXT("http://[::2]"), "::2", 80, false},
		{TEXT("http://[::ffff:7f00:1]"), "127.0.0.1", 80, true},
		{TEXT("capacitor://localhost"), "localhost", 0, true},
		{TEXT("null"), NULL, 0, false}, {TEXT("NULL"), NULL, 0, false},
		{TEXT(""), NULL, 0, false}, {TEXT(" "), NULL, 0, false},
		{TEXT("file://"), NULL, 0, false},
		{TEXT("https://mysite.com/"), NULL, 0, false},
		{TEXT("mysite.com/"), NULL, 0, false},
		{TEXT("https://mysite.com/x"), NULL, 0, false},
		{TEXT("https://a.com https://b.com"), NULL, 0, false},
		{TEXT("a.com b.com"), NULL, 0, false},
		{TEXT("a.com,b.com"), NULL, 0, false},
		{TEXT("https://u@mysite.com"), NULL, 0, false},
		{TEXT("*.mysite.com"), NULL, 0, false},
		{TEXT("mysite.com\0"), NULL, 0, false},
		{TEXT("mysite.com\0.evil.org"), NULL, 0, false},
		{TEXT("mysite.com\n.evil.org"), NULL, 0, false},
		{TEXT("mysite.com:0"), NULL, 0, false},
		{TEXT("127.1"), NULL, 0, false}, {TEXT("2130706433"), NULL, 0, false},
		{TEXT("::1"), NULL, 0, false}, {TEXT("[::1"), NULL, 0, false},
		{TEXT("\377"), NULL, 0, false}, {TEXT("."), NULL, 0, false},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyOrigin origin;
		bool		good = parse_origin(cases[i].text, cases[i].len, &origin);

		if (!CHECK(good == (cases[i].host != NULL), "origin %s",
				   cases[i].text))
			continue;
		CHECK(strcmp(origin.host, good ? cases[i].host : "") == 0 &&
			  origin.port == cases[i].port, "%s is host %s, port %d",
			  cases[i].text, origin.host, origin.port);
		CHECK(apikey_origin_is_loopback(&origin) == cases[i].loopback,
			  "loopback %s", cases[i].text);
	}
}

static void
test_matches(void)
{
	static const struct
	{
		const char *rule;
		const char *origin;
		bool		matches;
	}			cases[] = {
		{"mysite.com", "https://mysite.com", true},
		{"mysite.com", "http://mysite.com:8080", true},
		{"mysite.com", "https://staging.mysite.com", true},
		{"mysite.com", "https://a.b.mysite.com.", true},
		{"mysite.com", "https://STAGING.MySite.com", true},
		{"mysite.com", "mysite.com", true},
		{"mysite.com", "https://evilmysite.com", false},
		{"mysite.com", "https://evil-mysite.com", false},
		{"mysite.com", "https://mysite.com.evil.org", false},
		{"mysite.com", "https://mysite.co", false},
		{"mysite.com", "https://ysite.com", false},
		{"mysite.com", "https://com", false},
		{"MySite.com.", "https://mysite.com", true},
		{"staging.mysite.com", "https://mysite.com", false},
		/* schemes */
		{"https://mysite.com", "https://mysite.com", true},
		{"https://mysite.com", "https://a.mysite.com", true},
		{"https://mysite.com", "http://mysite.com", false},
		{"https://mysite.com", "wss://mysite.com", false},
		{"https://mysite.com", "mysite.com", false},
		{"https://mysite.com", "mysite.com:443", false},
		{"ftp://mysite.com", "ftp://mysite.com:2121", true},
		/* ports; that of the scheme counts as given */
		{"https://mysite.com", "https://mysite.com:443", true},
		{"https://mysite.com", "https://mysite.com:8443", true},
		{"https://mysite.com:443", "https://mysite.com", true},
		{"https://mysite.com:8443", "https://mysite.com", false},
		{"https://mysite.com:8443", "https://mysite.com:8443", true},
		{"https://mysite.com:8443", "http://mysite.com:8443", false},
		{"mysite.com:443", "https://mysite.com", true},
		{"mysite.com:443", "wss://mysite.com", true},
		{"mysite.com:443", "http://mysite.com", false},
		{"mysite.com:443", "http://mysite.com:443", true},
		{"mysite.com:443", "mysite.com", false},
		{"mysite.com:443", "mysite.com:443", true},
		{"mysite.com:8080", "http://a.mysite.com:8080", true},
		/* addresses admit themselves only */
		{"192.0.2.1", "http://192.0.2.1:8080", true},
		{"192.0.2.1", "http://192.0.2.10", false},
		{"192.0.2.1", "http://5.192.0.2.1.com", false},
		{"[2001:db8::1]", "http://[2001:DB8:0:0::1]:80", true},
		{"[2001:db8::1]", "http://[2001:db8::2]", false},
		{"192.0.2.1", "http://[::ffff:c000:201]", true},
	};
	ApikeyOrigin nothing;
	int			i;

	memset(&nothing, 0, sizeof(nothing));
	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyOrigin rule;
		ApikeyOrigin origin;

		CHECK(parse_rule(cases[i].rule, strlen(cases[i].rule), &rule) == NULL,
			  "rule %s", cases[i].rule);
		CHECK(parse_origin(cases[i].origin, strlen(cases[i].origin), &origin),
			  "origin %s", cases[i].origin);
		CHECK(apikey_origin_matches(&rule, &origin) == cases[i].matches,
			  "rule %s, origin %s", cases[i].rule, cases[i].origin);
		CHECK(!apikey_origin_matches(&nothing, &origin) &&
			  !apikey_origin_matches(&rule, &nothing) &&
			  !apikey_origin_matches(&nothing, &nothing),
			  "nothing admits nothing");
	}
}

/*
 * Each byte in the middle of a host.
 */
static void
test_bytes(void)
{
	int			c;

	for (c = 0; c < 256; c++)
	{
		char		text[] = "ab.cd";
		ApikeyOrigin rule;
		bool		good = c != 0 &&
			strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789-_", c) != NULL;

		text[1] = (char) c;
		CHECK((parse_rule(text, strlen("ab.cd"), &rule) == NULL) == good,
			  "byte %d in a rule", c);
		CHECK(parse_origin(text, strlen("ab.cd"), &rule) == good,
			  "byte %d in an origin", c);
	}
}

int
main(void)
{
	test_rules();
	test_limits();
	test_origins();
	test_matches();
	test_bytes();
	return unit_finish("test_origin");
}
