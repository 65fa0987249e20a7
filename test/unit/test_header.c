/*
 * test_header.c
 *		Credentials in headers, and the client's address behind proxies.
 */
#include "../../src/header.h"
#include "unit.h"

/* Takes those that begin with "our". */
static bool
takes_ours(const char *token, size_t len)
{
	return len >= 3 && memcmp(token, "our", 3) == 0;
}

static const struct
{
	const char *text;
	size_t		len;
	const char *key;			/* NULL: none */
	bool		bad;
	const char *key_if_ours;	/* when only some bearer tokens are taken */
	bool		foreign;
}			authorizations[] = {
	{TEXT("Bearer abc"), "abc", false, NULL, true},
	{TEXT("bearer our1"), "our1", false, "our1", false},
	{TEXT("BEARER\t abc  "), "abc", false, NULL, true},
	{TEXT("ApiKey abc"), "abc", false, "abc", false},
	{TEXT("apikey 17|x/y+z==."), "17|x/y+z==.", false, "17|x/y+z==.", false},
	{TEXT(""), NULL, false, NULL, false},
	{TEXT(" \t"), NULL, false, NULL, false},
	{TEXT("Bearer"), NULL, false, NULL, false},
	{TEXT("Bearer  "), NULL, false, NULL, false},
	{TEXT("abc"), NULL, false, NULL, false},
	{TEXT("Basic dXNlcjpwYXNz"), NULL, false, NULL, false},
	{TEXT("Bearerabc"), NULL, false, NULL, false},
	{TEXT("Token abc"), NULL, false, NULL, false},
	{TEXT("Bearer a b"), "a b", true, NULL, true},
	{TEXT("ApiKey a b"), "a b", true, "a b", false},
	{TEXT("Bearer a, Bearer a"), "a", false, NULL, true},
	{TEXT("Bearer a, Bearer b"), "a", true, NULL, true},
	{TEXT("Bearer a, ApiKey b"), "a", true, "b", true},
	{TEXT("ApiKey a,ApiKey b"), "a", true, "a", false},
	{TEXT("Basic x, ApiKey b"), "b", false, "b", false},
	{TEXT("Digest username=\"Bearer x, Bearer y\", nonce=Bearer"), NULL, false, NULL, false},
	{TEXT("Digest u=\"a\\\", Bearer x"), NULL, false, NULL, false},
	{TEXT(",,Bearer a,"), "a", false, NULL, true},
	{TEXT("Bearer a\0b"), "a\0b", false, NULL, true},
};

static void
test_authorization(void)
{
	int			i;

	for (i = 0; i < LENGTH_OF(authorizations); i++)
	{
		char	   *copy = unit_copy(authorizations[i].text, authorizations[i].len);
		ApikeyCredentials all = {{NULL, 0}, false, false};
		ApikeyCredentials ours = {{NULL, 0}, false, false};
		const char *wanted = authorizations[i].key;

		apikey_credentials_authorization(&all, copy, authorizations[i].len, NULL);
		apikey_credentials_authorization(&ours, copy, authorizations[i].len,
										 takes_ours);
		CHECK((all.key.data != NULL) == (wanted != NULL) &&
			  (wanted == NULL || memcmp(all.key.data, wanted, all.key.len) == 0),
			  "key of %s", authorizations[i].text);
		CHECK(all.bad == authorizations[i].bad && !all.foreign_bearer,
			  "%s is %s", authorizations[i].text, all.bad ? "bad" : "good");
		wanted = authorizations[i].key_if_ours;
		CHECK((ours.key.data != NULL) == (wanted != NULL) &&
			  (wanted == NULL ||
			   (ours.key.len == strlen(wanted) &&
				memcmp(ours.key.data, wanted, ours.key.len) == 0)),
			  "our key of %s", authorizations[i].text);
		CHECK(ours.foreign_bearer == authorizations[i].foreign,
			  "foreign token in %s", authorizations[i].text);
		free(copy);
	}
}

static const struct
{
	const char *authorization;
	const char *bare;
	const char *key;
	bool		bad;
}			pairs[] = {
	{"", "abc", "abc", false},
	{"", " abc ", "abc", false},
	{"", "", NULL, false},
	{"", " , ,", NULL, false},
	{"", "a, a", "a", false},
	{"", "a,b", "a", true},
	{"", "a b", "a b", false},
	{"", "\"a,b\"", "\"a", true},
	{"Bearer a", "a", "a", false},
	{"Bearer a", "b", "a", true},
	{"Bearer a", "A", "a", true},
	{"Bearer a", "aa", "a", true},
	{"Basic a", "b", "b", false},
	{"Bearer", "b", "b", false},
};

static void
test_several(void)
{
	int			i;

	for (i = 0; i < LENGTH_OF(pairs); i++)
	{
		size_t		len = strlen(pairs[i].bare);
		char	   *bare = unit_copy(pairs[i].bare, len);
		ApikeyCredentials found = {{NULL, 0}, false, false};

		apikey_credentials_authorization(&found, pairs[i].authorization,
										 strlen(pairs[i].authorization), NULL);
		apikey_credentials_bare(&found, bare, len);
		CHECK((found.key.data != NULL) == (pairs[i].key != NULL) &&
			  (found.key.data == NULL ||
			   (found.key.len == strlen(pairs[i].key) &&
				memcmp(found.key.data, pairs[i].key, found.key.len) == 0)),
			  "key of %s and %s", pairs[i].authorization, pairs[i].bare);
		CHECK(found.bad == pairs[i].bad, "%s and %s are %s",
			  pairs[i].authorization, pairs[i].bare, found.bad ? "bad" : "good");
		free(bare);
	}
}

static const struct
{
	const char *text;
	size_t		len;
	const char *printed;		/* NULL: none */
}			hops[] = {
	{TEXT("203.0.113.9"), "203.0.113.9"}, {TEXT(" 203.0.113.9\t"), "203.0.113.9"},
	{TEXT("203.0.113.9:4711"), "203.0.113.9"}, {TEXT("203.0.113.9:_x"), "203.0.113.9"},
	{TEXT("2001:db8::9"), "2001:db8::9"}, {TEXT("[2001:db8::9]"), "2001:db8::9"},
	{TEXT("[2001:db8::9]:443"), "2001:db8::9"}, {TEXT("fe80::1%eth0"), "fe80::1"},
	{TEXT("[fe80::1%25eth0]:1"), "fe80::1"}, {TEXT("::ffff:192.0.2.1"), "192.0.2.1"},
	{TEXT("[::ffff:192.0.2.1]:80"), "192.0.2.1"}, {TEXT("::"), "::"},
	{TEXT(""), NULL}, {TEXT("unknown"), NULL}, {TEXT("_hidden"), NULL},
	{TEXT("203.0.113.9:"), NULL}, {TEXT("203.0.113.9:4 7"), NULL},
	{TEXT("203.0.113.9/32"), NULL}, {TEXT("203.0.113.0/24"), NULL},
	{TEXT("203.0.113"), NULL}, {TEXT("203.0.113.09"), NULL},
	{TEXT("203.0.113.9%eth0"), NULL}, {TEXT("fe80::1%"), NULL},
	{TEXT("[203.0.113.9]"), NULL}, {TEXT("[2001:db8::9"), NULL},
	{TEXT("2001:db8::9]"), NULL}, {TEXT("[2001:db8::9]x"), NULL},
	{TEXT("[]"), NULL}, {TEXT("["), NULL}, {TEXT(":"), NULL},
	{TEXT("203.0.113.9\0"), NULL}, {TEXT("203.0.113.9, 10.0.0.1"), NULL},
	{TEXT("evil 203.0.113.9"), NULL}, {TEXT("\"203.0.113.9\""), NULL},
};

static void
test_hops(void)
{
	int			i;

	for (i = 0; i < LENGTH_OF(hops); i++)
	{
		char	   *copy = unit_copy(hops[i].text, hops[i].len);
		char		out[APIKEY_NET_TEXT_MAX] = "";
		ApikeyNet	addr;

		if (apikey_hop_parse(copy, hops[i].len, &addr))
			apikey_net_print(&addr, out);
		CHECK(strcmp(out, hops[i].printed ? hops[i].printed : "") == 0,
			  "%s is %s", hops[i].text, out);
		free(copy);
	}
}

/* Trusted throughout: 10.0.0.0/8 and 2001:db8:1::/48 */
static const struct
{
	ApikeyIpSource source;
	const char *line[3];
	const char *peer;
	const char *client;			/* NULL: cannot be told */
}			clients[] = {
	/* from the right: what stands left of the client is its own word */
	{APIKEY_IP_XFF, {"203.0.113.9, 10.0.0.2"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"127.0.0.1, 203.0.113.9, 10.0.0.2"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"127.0.0.1, 203.0.113.9"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"10.0.0.9, 203.0.113.9"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"203.0.113.9"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"10.0.0.3,10.0.0.2"}, NULL, "10.0.0.3"},
	{APIKEY_IP_XFF, {"203.0.113.9:1234, [2001:db8:1::5]:80, 10.0.0.2"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"203.0.113.9,, 10.0.0.2 ,"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"rubbish, 203.0.113.9"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"203.0.113.9, rubbish"}, NULL, NULL},
	{APIKEY_IP_XFF, {"203.0.113.9, rubbish, 10.0.0.2"}, NULL, NULL},
	{APIKEY_IP_XFF, {"203.0.113.9, unknown"}, NULL, NULL},
	{APIKEY_IP_XFF, {""}, NULL, NULL}, {APIKEY_IP_XFF, {" , "}, NULL, NULL},
	{APIKEY_IP_XFF, {NULL}, NULL, NULL},
	/* several lines are one */
	{APIKEY_IP_XFF, {"198.51.100.1", "203.0.113.9", "10.0.0.2"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"203.0.113.9", "", "10.0.0.2"}, NULL, "203.0.113.9"},
	{APIKEY_IP_XFF, {"203.0.113.9", "x", "10.0.0.2"}, NULL, NULL},
	/* the peer's word counts only if it is trusted */
	{APIKEY_IP_XFF, {"203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
	{APIKEY_IP_XFF, {"203.0.113.9"}, "198.51.100.7", "198.51.100.7"},
	{APIKEY_IP_XFF, {NULL}, "198.51.100.7", "198.51.100.7"},
	{APIKEY_IP_XFF, {NULL}, "10.0.0.1", NULL},
	{APIKEY_IP_NONE, {"203.0.113.9"}, "198.51.100.7", "198.51.100.7"},
	{APIKEY_IP_NONE, {"203.0.113.9"}, NULL, NULL},
	/* X-Real-IP: one address */
	{APIKEY_IP_REAL, {"203.0.113.9"}, NULL, "203.0.113.9"},
	{APIKEY_IP_REAL, {"203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
	{APIKEY_IP_REAL, {"203.0.113.9"}, "198.51.100.7", "198.51.100.7"},
	{APIKEY_IP_REAL, {"203.0.113.9, 10.0.0.2"}, NULL, NULL},
	{APIKEY_IP_REAL, {"203.0.113.9", "203.0.113.8"}, NULL, NULL},
	{APIKEY_IP_REAL, {NULL}, NULL, NULL},
	/* Forwarded */
	{APIKEY_IP_FORWARDED, {"for=203.0.113.9"}, NULL, "203.0.113.9"},
	{APIKEY_IP_FORWARDED, {"for=1.1.1.1, For=\"[2001:db8::9]:47011\" ;proto=https;by=10.0.0.1, for=10.0.0.2"}, NULL, "2001:db8::9"},
	{APIKEY_IP_FORWARDED, {"host=\"a,b;for=1.1.1.1\";for=203.0.113.9"}, NULL, "203.0.113.9"},
	{APIKEY_IP_FORWARDED, {"for=unknown, for=203.0.113.9, for=10.0.0.2"}, NULL, "203.0.113.9"},
	{APIKEY_IP_FORWARDED, {"for=203.0.113.9, for=_hidden"}, NULL, NULL},
	{APIKEY_IP_FORWARDED, {"for=203.0.113.9, proto=https"}, NULL, NULL},
	{APIKEY_IP_FORWARDED, {"for=203.0.113.9;for=1.1.1.1"}, NULL, NULL},
	{APIKEY_IP_FORWARDED, {"for=\"203.0.113.9"}, NULL, NULL},
	{APIKEY_IP_FORWARDED, {"for=\"evil, for=203.0.113.9"}, NULL, NULL},
	{APIKEY_IP_FORWARDED, {"203.0.113.9"}, NULL, NULL},
	{APIKEY_IP_FORWARDED, {"for="}, NULL, NULL},
	{APIKEY_IP_FORWARDED, {";;"}, NULL, NULL},
};

static void
test_clients(void)
{
	ApikeyNet	trusted[2];
	bool		host_bits;
	int			i;

	apikey_net_parse("10.0.0.0/8", 10, &trusted[0], &host_bits);
	apikey_net_parse("2001:db8:1::/48", 15, &trusted[1], &host_bits);
	for (i = 0; i < LENGTH_OF(clients); i++)
	{
		ApikeySlice lines[3];
		ApikeyNet	peer;
		ApikeyNet	client;
		char		out[APIKEY_NET_TEXT_MAX] = "";
		int			nlines;

		for (nlines = 0; nlines < 3 && clients[i].line[nlines]; nlines++)
		{
			lines[nlines].len = strlen(clients[i].line[nlines]);
			lines[nlines].data = unit_copy(clients[i].line[nlines],
										   lines[nlines].len);
		}
		if (clients[i].peer)
			apikey_addr_parse(clients[i].peer, strlen(clients[i].peer), &peer);
		if (apikey_client_address(clients[i].source, lines, nlines,
								  clients[i].peer ? &peer : NULL,
								  trusted, LENGTH_OF(trusted), &client))
			apikey_net_print(&client, out);
		CHECK(strcmp(out, clients[i].client ? clients[i].client : "") == 0,
			  "case %d, %s: %s", i, clients[i].line[0], out);
		while (nlines > 0)
			free((char *) lines[--nlines].data);
	}
}

/*
 * However many entries there are, those on the right count; and a chain of
 * nothing but proxies that is too long is no answer.
 */
static void
test_long_chains(void)
{
	ApikeyNet	trusted;
	ApikeyNet	client;
	bool		host_bits;
	char		line[20 * 1000];
	char		out[APIKEY_NET_TEXT_MAX];
	size_t		len = 0;
	ApikeySlice slice = {line, 0};
	int			i;

	apikey_net_parse("10.0.0.0/8", 10, &trusted, &host_bits);
	for (i = 0; i < 1000; i++)
		len += (size_t) sprintf(line + len, "198.51.100.%d,", i % 256);
	len += (size_t) sprintf(line + len, "203.0.113.9,10.0.0.1");
	slice.len = len;
	CHECK(apikey_client_address(APIKEY_IP_XFF, &slice, 1, NULL, &trusted, 1,
								&client) &&
		  apikey_net_print(&client, out) > 0 && !strcmp(out, "203.0.113.9"),
		  "a thousand entries before the client");
	for (len = 0, i = 0; i < APIKEY_HOPS_MAX; i++)
		len += (size_t) sprintf(line + len, "10.0.0.%d,", i);
	slice.len = len;
	CHECK(apikey_client_address(APIKEY_IP_XFF, &slice, 1, NULL, &trusted, 1,
								&client) &&
		  apikey_net_print(&client, out) > 0 && !strcmp(out, "10.0.0.0"),
		  "as many proxies as may be");
	slice.len += (size_t) sprintf(line + len, "10.0.1.1");
	CHECK(!apikey_client_address(APIKEY_IP_XFF, &slice, 1, NULL, &trusted, 1,
								 &client), "one more");
}

static void
test_names(void)
{
	CHECK(apikey_same_name("X-Api-Key", 9, "x-api-key", 9), "letter case");
	CHECK(!apikey_same_name("x-api-key", 9, "x-api-ke", 8), "length");
	CHECK(!apikey_same_name("x-api-key", 9, "x_api_key", 9), "other letters");
	CHECK(apikey_same_name("", 0, "", 0), "nothing");
	CHECK(apikey_header_name_check(TEXT("x-api-key")), "a name");
	CHECK(!apikey_header_name_check(TEXT("")), "no name");
	CHECK(!apikey_header_name_check(TEXT("x api")), "a blank");
	CHECK(!apikey_header_name_check(TEXT("x:")), "a colon");
	CHECK(!apikey_header_name_check(TEXT("x\0")), "NUL");
	CHECK(!apikey_header_name_check(TEXT("\303\244")), "a letter that is none");
	CHECK(strcmp(apikey_ip_source_header(APIKEY_IP_XFF), "x-forwarded-for") == 0 &&
		  apikey_ip_source_header(APIKEY_IP_NONE) == NULL, "headers of sources");
}

int
main(void)
{
	test_authorization();
	test_several();
	test_hops();
	test_clients();
	test_long_chains();
	test_names();
	return unit_finish("test_header");
}
