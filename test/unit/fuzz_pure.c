/*
 * fuzz_pure.c
 *		Arbitrary bytes for everything in the pure layer that reads them.
 *
 * The first byte of an input chooses the target, the rest is its text.  Built
 * with -fsanitize=fuzzer this is a libFuzzer program; with APIKEY_FUZZ_MAIN
 * it has a main program that makes its own inputs, always the same ones for
 * the same arguments:	fuzz_pure [iterations [seed]]
 */
#include "../../src/header.h"
#include "../../src/jwt.h"
#include "../../src/hashtext.h"
#include "../../src/netlist.h"
#include "../../src/origin.h"
#include "../../src/query.h"
#include "../../src/route.h"
#include "../../src/token.h"
#include "unit.h"

static int	violations = 0;

/* What must be so whatever the input. */
#define HOLDS(condition) \
	((condition) ? (void) 0 : violated(__LINE__, #condition))

/*
 * Report a broken invariant; under libFuzzer it ends the program, which then
 * keeps the input.
 */
static void
violated(int line, const char *condition)
{
	printf("%s:%d: not so: %s\n", __FILE__, line, condition);
	violations++;
#ifndef APIKEY_FUZZ_MAIN
	abort();
#endif
}

/* Formats that fuzzed texts are held against. */
static const ApikeyFormat formats[] = {
	{"ak_", 3, 22, true},
	{"ak_", 3, 22, false},
	{"ak", 2, 43, true},
	{"", 0, 22, true},
	{"", 0, 22, false},
	{"tif_live_", 9, 43, true},
	{"a", 1, 200, false},
};

static void
fuzz_token(const char *text, size_t len)
{
	static const ApikeyMask masks[] = {
		{true, 3, 4, "..."}, {false, 8, 0, "*"}, {true, 500, 300, ""}
	};
	char		out[APIKEY_DISPLAY_MAX + 1];
	int			i;
	int			j;

	for (i = 0; i < LENGTH_OF(formats); i++)
	{
		const ApikeyFormat *format = &formats[i];

		if (apikey_token_matches(format, text, len))
		{
			HOLDS(len == apikey_token_length(format));
			apikey_token_write(format, text + format->prefix_len, out);
			HOLDS(memcmp(out, text, len) == 0);
		}
		for (j = 0; j < LENGTH_OF(masks); j++)
		{
			size_t		shown = apikey_token_display(format, &masks[j], text,
													 len, out);

			HOLDS(shown <= APIKEY_DISPLAY_MAX && strlen(out) <= shown);
			HOLDS(out[shown] == '\0');
			HOLDS(shown <= len + strlen(format->prefix) +
				  strlen(masks[j].gap));
		}
	}
}

static void
fuzz_digits(const char *text, size_t len)
{
	char		body[APIKEY_BODY_MAX];
	char		token[APIKEY_TOKEN_MAX];
	size_t		count;
	int			i;

	count = apikey_token_digits((const uint8_t *) text, len, body,
								sizeof(body));
	HOLDS(count <= len && count <= sizeof(body));
	for (i = 0; i < LENGTH_OF(formats); i++)
	{
		size_t		token_len = apikey_token_length(&formats[i]);
		size_t		pos;
		int			which;

		if (count < formats[i].body_length)
			continue;
		apikey_token_write(&formats[i], body, token);
		HOLDS(apikey_token_matches(&formats[i], token, token_len));
		HOLDS(apikey_token_find(formats, LENGTH_OF(formats), token, token_len,
								0, &pos, &which) && pos == 0);
	}
}

static void
fuzz_find(const char *text, size_t len)
{
	size_t		start = 0;
	size_t		pos;
	int			which;
	int			finds = 0;

	while (apikey_token_find(formats, LENGTH_OF(formats), text, len, start,
							 &pos, &which))
	{
		size_t		found_len;

		HOLDS(pos >= start && pos < len);
		HOLDS(which >= 0 && which < LENGTH_OF(formats));
		found_len = apikey_token_length(&formats[which]);
		HOLDS(found_len <= len - pos);
		HOLDS(apikey_token_matches(&formats[which], text + pos, found_len));
		start = pos + found_len;
		finds++;
	}
	HOLDS((size_t) finds <= len / APIKEY_BODY_MIN);
}

static void
fuzz_grant(const char *text, size_t len)
{
	const char *as_grant = apikey_grant_check(text, len, true);
	const char *as_scope = apikey_grant_check(text, len, false);

	HOLDS(as_grant == NULL || as_scope != NULL);
	if (as_grant != NULL)
		return;
	HOLDS(len >= 1 && len <= APIKEY_GRANT_MAX);
	HOLDS(apikey_grant_is_wildcard(text, len) == (as_scope != NULL));
	HOLDS(apikey_grant_covers(text, len, text, len));
	HOLDS(apikey_grant_covers("*", 1, text, len));
	HOLDS(apikey_grant_covers(text, len, "*", 1) == (len == 1 && *text == '*'));
}

/*
 * Nothing read from an opened set lies outside of its bytes.
 */
static void
use_set(const ApikeyGrants *set, const char *packed, size_t len)
{
	int			i;

	for (i = 0; i < set->count; i++)
	{
		ApikeySlice grant = apikey_grants_get(set, i);

		HOLDS(grant.data >= packed && grant.len >= 1);
		HOLDS(grant.data + grant.len <= packed + len);
		if (apikey_grants_contain(set, grant.data, grant.len))
			HOLDS(apikey_grants_cover(set, grant.data, grant.len));
	}
	(void) apikey_grants_cover(set, "a:b:c", strlen("a:b:c"));
}

static void
fuzz_open(const char *text, size_t len)
{
	ApikeyGrants set;

	if (apikey_grants_open(text, len, &set))
		use_set(&set, text, len);
}

static void
fuzz_list(const char *text, size_t len)
{
	ApikeySlice items[APIKEY_GRANTS_MAX];
	ApikeyGrants set;
	const char *reason;
	char	   *packed;
	size_t		size;
	int			count = apikey_grants_split(text, len, items,
											APIKEY_GRANTS_MAX, &reason);
	int			good = 0;
	int			i;

	HOLDS((count < 0) == (reason != NULL));
	for (i = 0; i < count; i++)
		if (apikey_grant_check(items[i].data, items[i].len, true) == NULL)
			items[good++] = items[i];
	if (count < 0)
		return;

	good = apikey_grants_normalize(items, good);
	size = apikey_grants_packed_size(items, good);
	packed = unit_alloc(size);
	apikey_grants_pack(items, good, packed);
	if (apikey_grants_open(packed, size, &set))
	{
		HOLDS(set.count == good);
		use_set(&set, packed, size);
		for (i = 0; i < good; i++)
		{
			ApikeySlice grant = apikey_grants_get(&set, i);

			HOLDS(apikey_grants_contain(&set, items[i].data, items[i].len));
			HOLDS(grant.len == items[i].len &&
				  memcmp(grant.data, items[i].data, grant.len) == 0);
		}
	}
	else
		HOLDS(!"a packed set opens");
	free(packed);
}

/*
 * Is a term held?  As good as random, but always the same for the same.
 */
static bool
held(const char *scope, size_t len, void *arg)
{
	HOLDS(apikey_grant_check(scope, len, false) == NULL);
	return (apikey_crc32(scope, len) + *(uint32_t *) arg) % 3 != 0;
}

static void
fuzz_query(const char *text, size_t len)
{
	ApikeyQuery query;
	ApikeyQuery again;
	ApikeySlice missing[APIKEY_QUERY_TERMS_MAX];
	ApikeySlice missing_again[APIKEY_QUERY_TERMS_MAX];
	char		out[APIKEY_QUERY_CANONICAL_MAX];
	char		out_again[APIKEY_QUERY_CANONICAL_MAX];
	size_t		position = SIZE_MAX;
	size_t		out_len;
	uint32_t	round;

	if (apikey_query_parse(text, len, &query, &position) != NULL)
	{
		HOLDS(position <= len);
		return;
	}
	HOLDS(query.nterms >= 1 && query.nterms <= APIKEY_QUERY_TERMS_MAX);
	HOLDS(query.nnodes == 2 * query.nterms - 1);
	out_len = apikey_query_print(&query, out);
	HOLDS(out_len >= 1 && out_len <= APIKEY_QUERY_MAX);
	HOLDS(apikey_query_parse(out, out_len, &again, &position) == NULL);
	HOLDS(again.nterms == query.nterms);
	HOLDS(apikey_query_print(&again, out_again) == out_len &&
		  memcmp(out, out_again, out_len) == 0);
	for (round = 0; round < 3; round++)
	{
		bool		passed = apikey_query_eval(&query, held, &round);
		int			count = apikey_query_missing(&query, held, &round,
												 missing);
		int			i;

		HOLDS(passed == (count == 0));
		HOLDS(apikey_query_eval(&again, held, &round) == passed);
		HOLDS(apikey_query_missing(&again, held, &round, missing_again) ==
			  count);
		for (i = 0; i < count; i++)
		{
			HOLDS(!held(missing[i].data, missing[i].len, &round));
			HOLDS(missing[i].len == missing_again[i].len &&
				  memcmp(missing[i].data, missing_again[i].data,
						 missing[i].len) == 0);
		}
	}
}

static void
fuzz_net(const char *text, size_t len)
{
	ApikeyNet	net;
	ApikeyNet	again;
	bool		host_bits;
	char		out[APIKEY_NET_TEXT_MAX];
	const char *fault = apikey_net_parse(text, len, &net, &host_bits);

	HOLDS(!host_bits || fault != NULL);
	if (fault == NULL || host_bits)
	{
		size_t		out_len = apikey_net_print(&net, out);

		HOLDS(out_len == strlen(out) && out_len < sizeof(out));
		HOLDS(apikey_net_parse(out, out_len, &again, &host_bits) == NULL);
		HOLDS(memcmp(&net, &again, sizeof(net)) == 0);
		HOLDS(apikey_net_contains(&net, &again));
	}
	if (apikey_addr_parse(text, len, &again))
		HOLDS(fault == NULL && memcmp(&net, &again, sizeof(net)) == 0);
}

static void
fuzz_nets(const char *text, size_t len)
{
	enum
	{
		NETS = 20
	};
	ApikeyNet	given[NETS];
	ApikeyNet	nets[NETS];
	int			ngiven = 0;
	int			count;
	int			i;

	while (len >= sizeof(ApikeyNet) && ngiven < NETS)
	{
		ApikeyNet  *net = &given[ngiven++];
		int			bits;

		memcpy(net, text, sizeof(ApikeyNet));
		net->family = net->family % 2 ? 4 : 6;
		bits = net->family == 4 ? 32 : 128;
		net->bits = (uint8_t) (net->bits % (bits + 1));
		memset(net->addr + bits / 8, 0, (size_t) (16 - bits / 8));
		apikey_net_unmap(net);
		text += sizeof(ApikeyNet);
		len -= sizeof(ApikeyNet);
	}
	memcpy(nets, given, sizeof(nets));
	count = apikey_netlist_normalize(nets, ngiven);
	HOLDS(count <= ngiven && (count > 0) == (ngiven > 0));
	for (i = 0; i < ngiven; i++)
		HOLDS(apikey_netlist_contains(nets, count, &given[i]));
}

/*
 * What is taken as a string is written as it will be read again.
 */
static void
fuzz_hash(const char *text, size_t len)
{
	ApikeyHash	hash;
	ApikeyHash	again;
	int			i;

	for (i = 0; i < APIKEY_HASH_NALGORITHMS; i++)
	{
		if (apikey_hash_parse((ApikeyHashAlgorithm) i, text, len, &hash) != NULL)
			continue;
		HOLDS(hash.len > 0);
		if (!apikey_hash_is_salted(hash.algorithm))
			continue;
		HOLDS(strlen(hash.u.string) == hash.len);
		HOLDS(apikey_hash_parse(hash.algorithm, hash.u.string, hash.len,
								&again) == NULL);
		HOLDS(memcmp(&hash, &again, sizeof(hash)) == 0);
	}
}

static void
fuzz_origin(const char *text, size_t len)
{
	ApikeyOrigin rule;
	ApikeyOrigin again;
	ApikeyOrigin origin;
	char		out[APIKEY_ORIGIN_MAX + 1];
	size_t		out_len;
	bool		is_origin = apikey_origin_parse(text, len, &origin);
	bool		is_rule = apikey_origin_rule_parse(text, len, &rule) == NULL;

	(void) apikey_origin_is_loopback(&origin);
	if (is_rule)
	{
		out_len = apikey_origin_print(&rule, out);
		HOLDS(out_len == strlen(out) && out_len < sizeof(out));
		HOLDS(apikey_origin_rule_parse(out, out_len, &again) == NULL);
		HOLDS(memcmp(&rule, &again, sizeof(rule)) == 0);
		HOLDS(apikey_origin_parse(out, out_len, &again));
		HOLDS(apikey_origin_matches(&rule, &again));
	}
	if (is_origin && is_rule)
		HOLDS(apikey_origin_matches(&rule, &origin));
	if (!is_origin && !is_rule)
		HOLDS(!apikey_origin_matches(&rule, &origin));
}

/*
 * Nothing read from a header lies outside of it.
 */
static void
fuzz_credentials(const char *text, size_t len)
{
	ApikeyCredentials found = {{NULL, 0}, false, false};
	ApikeyCredentials twice;

	apikey_credentials_authorization(&found, text, len, NULL);
	HOLDS(!found.foreign_bearer);
	HOLDS(!found.bad || found.key.data != NULL);
	twice = found;
	apikey_credentials_authorization(&twice, text, len, NULL);
	HOLDS(twice.bad == found.bad);
	apikey_credentials_bare(&found, text, len);
	if (found.key.data != NULL)
		HOLDS(found.key.len > 0 && found.key.data >= text &&
			  found.key.data + found.key.len <= text + len);
}

/*
 * What a stranger writes before the address that the proxy appends changes
 * nothing, but for what Forwarded cannot tell apart.
 */
static void
fuzz_client(const char *text, size_t len)
{
	static const char appended[] = ", 203.0.113.9, 10.0.0.2";
	static const ApikeyNet trusted = {4, 8, {10}};
	ApikeySlice lines[2] = {{text, len}, {appended + 2, sizeof(appended) - 3}};
	ApikeyNet	client;
	char		out[APIKEY_NET_TEXT_MAX];
	int			source;

	for (source = APIKEY_IP_XFF; source <= APIKEY_IP_FORWARDED; source++)
	{
		if (apikey_client_address(source, lines, 1, NULL, &trusted, 1, &client))
		{
			HOLDS(apikey_net_print(&client, out) > 0);
			HOLDS(apikey_hop_parse(out, strlen(out), &client));
		}
	}
	if (len == 0 || memchr(text, '"', len) == NULL)
	{
		HOLDS(apikey_client_address(APIKEY_IP_XFF, lines, 2, NULL, &trusted, 1,
									&client));
		apikey_net_print(&client, out);
		HOLDS(strcmp(out, "203.0.113.9") == 0);
	}
}

static void
fuzz_route(const char *text, size_t len)
{
	static const char *const some[] = {
		"/{resource}", "/api/{account}/{resource}", "/*/*/{resource}"
	};
	ApikeyRoute route;
	int			i;

	for (i = 0; i < LENGTH_OF(some); i++)
	{
		apikey_route(some[i], strlen(some[i]), "GET", 3, text, len, &route);
		HOLDS(apikey_grant_check(route.scope, route.scope_len, false) == NULL);
		HOLDS(route.account_len <= len);
		HOLDS(route.certain || strcmp(route.scope, "_:read") == 0);
	}
	if (apikey_route_pattern_check(text, len) == NULL)
	{
		apikey_route(text, len, text, len, text, len, &route);
		HOLDS(apikey_grant_check(route.scope, route.scope_len, false) == NULL);
		HOLDS(route.has_account == apikey_route_pattern_has_account(text, len) ||
			  !route.certain);
	}
}

static void
fuzz_jwt(const char *text, size_t len)
{
	ApikeyJwt	jwt;

	if (apikey_jwt_split(text, len, &jwt))
	{
		HOLDS(jwt.header.len > 0 && jwt.payload.len > 0 && jwt.signature.len > 0);
		HOLDS(jwt.header.data == text && text[jwt.header.len] == '.');
		HOLDS(jwt.signed_len == jwt.header.len + 1 + jwt.payload.len);
		HOLDS(jwt.signed_len + 1 + jwt.signature.len == len);
	}
}

typedef void (*Target) (const char *text, size_t len);

static const Target targets[] = {
	fuzz_token, fuzz_digits, fuzz_find, fuzz_grant, fuzz_open, fuzz_list,
	fuzz_query, fuzz_net, fuzz_nets, fuzz_hash, fuzz_origin, fuzz_credentials, fuzz_client,
	fuzz_route, fuzz_jwt
};

/*
 * Called by libFuzzer.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text;

	if (size == 0)
		return 0;
	text = unit_copy((const char *) data + 1, size - 1);
	targets[data[0] % LENGTH_OF(targets)] (text, size - 1);
	free(text);
	return 0;
}

#ifdef APIKEY_FUZZ_MAIN

#define INPUT_MAX		2000

/* Something to begin with, for each target. */
static const char *const seeds[LENGTH_OF(targets)][3] = {
	{"ak_AAAAAAAAAAAAAAAAAAAAAA3Zkj8b", "0123456789ABCDEFGHIJKL0o29GM",
	"tif_live_aBcxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxhijk2MofgH"},
	{"abcdefghijklmnopqrstuvwxyz", "\377\370\367\200", ""},
	{"x ak_AAAAAAAAAAAAAAAAAAAAAA3Zkj8b y", "0123456789ABCDEFGHIJKL0o29GM ",
	"ak_tif_live_aBcxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxhijk2MofgH"},
	{"calls:read", "a:b:c:*", "*"},
	{"\002\0\003\0\006\0a:ba:*", "\001\0\001\0*", "\001\0\002\0ab"},
	{"calls:read contacts:*", "a,b , c", "* a a:b a:*"},
	{"a & (b:c | d) or e and f", "((a|b)c(d|e))", "abcdefgh(ij|klm),"},
	{"10.0.0.0/8", "2001:db8::1:0:0:1/64", " ::ffff:192.0.2.1/128 "},
	{"123456789012345678", "\001\040\300\250\001\001", "\002\200"},
	{"sha512$$0123456789abcdef", "$2b$10$0123456789./ABCDEFabcdefghijklmnopqrstuvwxyzGHIJKLMNO",
	"$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0$0123456789ABCDEFabcdef"},
	{"https://a.mysite.com:8443", "[2001:db8::1]:80", "localhost"},
	{"Bearer abc, ApiKey abc", "apikey a", "Digest a=\"b\\\"\", Bearer c"},
	{"203.0.113.9, 10.0.0.2:80", "for=\"[2001:db8::1]:80\";by=x, for=10.0.0.1", "10.0.0.1, [::1]"},
	{"/calls/17", "/api/acme/calls?x", "/api/{account}/{resource}"},
	{"eyJhbGciOiJFZERTQSJ9.eyJqdGkiOiJ4In0.AAAA", "Zm9vYmFy", "a.b.c"},
};

/*
 * Change an input at one place; returns the new length.
 */
static size_t
mutate(char *input, size_t len, uint64_t *state)
{
	static const char interesting[] = " ,:*&|()./[]{}\"\\%-_0Aaz9\0\n\377\200";
	size_t		at = (size_t) unit_below(state, (int) len + 1);
	size_t		part;

	switch (unit_below(state, 5))
	{
		case 0:					/* any byte */
			if (at < len)
				input[at] = (char) unit_random(state);
			return len;
		case 1:					/* a byte that may matter */
			if (at < len)
				input[at] = interesting[unit_below(state,
												   sizeof(interesting))];
			return len;
		case 2:					/* one more byte */
			if (len == INPUT_MAX)
				return len;
			memmove(input + at + 1, input + at, len - at);
			input[at] = interesting[unit_below(state, sizeof(interesting))];
			return len + 1;
		case 3:					/* a part twice, or often */
			part = (size_t) unit_below(state, (int) (len - at) + 1);
			if (part > (INPUT_MAX - len) / 2)
				return len;
			memmove(input + at + part, input + at, len - at);
			return len + part;
		default:				/* a part lost */
			part = (size_t) unit_below(state, (int) (len - at) + 1);
			if (part > len / 4)
				return len;
			memmove(input + at, input + at + part, len - at - part);
			return len - part;
	}
}

/*
 * Make an input for a target; returns its length.
 */
static size_t
make_input(int target, uint64_t *state, char *input)
{
	int			choice = unit_below(state, LENGTH_OF(seeds[0]) + 1);
	size_t		len = 0;
	int			changes = unit_below(state, 8);

	if (choice < LENGTH_OF(seeds[0]))
	{
		const char *seed = seeds[target][choice];

		/* those of packed sets contain NUL bytes */
		len = targets[target] == fuzz_open ? 6 : strlen(seed);
		if (targets[target] == fuzz_open && choice == 0)
			len = 12;
		memcpy(input, seed, len);
		if (unit_below(state, 4) == 0)
			changes *= 8;
	}
	else
	{
		size_t		want = (size_t) unit_below(state, 400);

		while (len < want)
			input[len++] = (char) unit_random(state);
	}
	while (changes-- > 0)
		len = mutate(input, len, state);
	return len;
}

int
main(int argc, char **argv)
{
	long		iterations = argc > 1 ? atol(argv[1]) : 200000;
	uint64_t	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	long		i;
	long		failed = 0;

	for (i = 0; i < iterations; i++)
	{
		int			target = (int) (i % LENGTH_OF(targets));
		char		input[1 + INPUT_MAX];
		size_t		len = make_input(target, &state, input + 1);

		input[0] = (char) target;
		violations = 0;
		(void) LLVMFuzzerTestOneInput((const uint8_t *) input, len + 1);
		failed += violations > 0;
	}
	printf("fuzz_pure: %ld passed, %ld failed\n", iterations - failed, failed);
	return failed > 0;
}

#endif							/* APIKEY_FUZZ_MAIN */
