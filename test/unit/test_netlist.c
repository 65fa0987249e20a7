/*
 * test_netlist.c
 *		Network addresses: reading, printing, membership.  The C library's
 *		inet_pton() and inet_ntop() are the reference for single addresses.
 */
#include "../../src/netlist.h"
#include "unit.h"

#include <arpa/inet.h>

static uint64_t state = 7;

/*
 * apikey_net_parse() on a copy that ends where it ends.
 */
static const char *
parse(const char *text, size_t len, ApikeyNet *net, bool *host_bits)
{
	char	   *copy = unit_copy(text, len);
	const char *fault = apikey_net_parse(copy, len, net, host_bits);

	free(copy);
	return fault;
}

/*
 * The same of apikey_addr_parse().
 */
static bool
parse_addr(const char *text, size_t len, ApikeyNet *addr)
{
	char	   *copy = unit_copy(text, len);
	bool		good = apikey_addr_parse(copy, len, addr);

	free(copy);
	return good;
}

/*
 * Print to memory of exactly the room asked for, and copy as a string.
 */
static size_t
print(const ApikeyNet *net, char *string)
{
	char	   *out = unit_alloc(APIKEY_NET_TEXT_MAX);
	size_t		len = apikey_net_print(net, out);

	memcpy(string, out, len + 1);
	free(out);
	return len;
}

static const struct ParseCase
{
	const char *text;
	size_t		len;
	const char *printed;	/* NULL: refused */
	bool		host_bits;
}			parse_cases[] = {
	{TEXT("1.2.3.4"), "1.2.3.4", false},
	{TEXT(" \t1.2.3.4\r\n "), "1.2.3.4", false},
	{TEXT("0.0.0.0"), "0.0.0.0", false},
	{TEXT("255.255.255.255"), "255.255.255.255", false},
	{TEXT("1.2.3.4/32"), "1.2.3.4", false},
	{TEXT("0.0.0.0/0"), "0.0.0.0/0", false},
	{TEXT("10.0.0.0/8"), "10.0.0.0/8", false},
	{TEXT("10.1.0.0/15"), "10.0.0.0/15", true},
	{TEXT("10.1.2.3/8"), "10.0.0.0/8", true},
	{TEXT("1.2.3.4/31"), "1.2.3.4/31", false},
	{TEXT("1.2.3.5/31"), "1.2.3.4/31", true},
	{TEXT("0.0.0.1/0"), "0.0.0.0/0", true},
	{TEXT("::ffff:10.0.0.0/104"), "10.0.0.0/8", false},
	{TEXT("::ffff:10.1.0.0/104"), "10.0.0.0/8", true},
	{TEXT("::ffff:1.2.3.4"), "1.2.3.4", false},
	{TEXT("0:0:0:0:0:FFFF:102:304/128"), "1.2.3.4", false},
	{TEXT("::ffff:0:0/96"), "0.0.0.0/0", false},
	{TEXT("::ffff:0:0/95"), "::fffe:0:0/95", true},
	{TEXT("::1.2.3.4"), "::1.2.3.4", false},
	{TEXT("::"), "::", false}, {TEXT("::/0"), "::/0", false},
	{TEXT("::1"), "::1", false}, {TEXT("1::"), "1::", false},
	{TEXT("::1/127"), "::/127", true},
	{TEXT("2001:DB8::/32"), "2001:db8::/32", false},
	{TEXT("2001:db8::1/32"), "2001:db8::/32", true},
	{TEXT("2001:db8::/33"), "2001:db8::/33", false},
	{TEXT("1:2:3:4:5:6:7:8"), "1:2:3:4:5:6:7:8", false},
	{TEXT("1:2:3:4:5:6:1.2.3.4"), "1:2:3:4:5:6:102:304", false},
	{TEXT("1:2:3:4:5:6:7::"), "1:2:3:4:5:6:7:0", false},
	{TEXT("::2:3:4:5:6:7:8"), "0:2:3:4:5:6:7:8", false},
	{TEXT("1:2:3::1.2.3.4"), "1:2:3::102:304", false},
	{TEXT(""), NULL, false}, {TEXT("  "), NULL, false},
	{TEXT("10"), NULL, false}, {TEXT("10/8"), NULL, false},
	{TEXT("10.0/16"), NULL, false}, {TEXT("1.2.3"), NULL, false},
	{TEXT("1.2.3."), NULL, false}, {TEXT(".1.2.3"), NULL, false},
	{TEXT("1.2.3.4."), NULL, false}, {TEXT("1.2.3.4.5"), NULL, false},
	{TEXT("1..3.4"), NULL, false}, {TEXT("01.2.3.4"), NULL, false},
	{TEXT("1.2.3.04"), NULL, false}, {TEXT("1.2.3.00"), NULL, false},
	{TEXT("256.2.3.4"), NULL, false}, {TEXT("1.2.3.256"), NULL, false},
	{TEXT("1.2.3.4294967297"), NULL, false},
	{TEXT("1.2.3.-4"), NULL, false}, {TEXT("1.2.3.+4"), NULL, false},
	{TEXT("1.2.3. 4"), NULL, false}, {TEXT("0x1.2.3.4"), NULL, false},
	{TEXT("1.2.3.4/"), NULL, false}, {TEXT("1.2.3.4/33"), NULL, false},
	{TEXT("1.2.3.4/032"), NULL, false}, {TEXT("0.0.0.0/00"), NULL, false},
	{TEXT("1.2.3.4/ 32"), NULL, false}, {TEXT("1.2.3.4 /32"), NULL, false},
	{TEXT("1.2.3.4/-1"), NULL, false}, {TEXT("1.2.3.4/32/32"), NULL, false},
	{TEXT("1.2.3.4/99999999999"), NULL, false},
	{TEXT("1.2.3.4/255.255.255.0"), NULL, false},
	{TEXT("1.2.3.4:80"), NULL, false}, {TEXT("1.2.3.4, 1.2.3.5"), NULL, false},
	{TEXT("1.2.3.4 1.2.3.5"), NULL, false},
	{TEXT("1.2.3.4\0"), NULL, false}, {TEXT("1.2.3.\0"), NULL, false},
	{TEXT("\302\240""1.2.3.4"), NULL, false},
	{TEXT("example.com"), NULL, false}, {TEXT("unknown"), NULL, false},
	{TEXT(":"), NULL, false}, {TEXT(":::"), NULL, false},
	{TEXT("::/129"), NULL, false}, {TEXT("::/"), NULL, false},
	{TEXT("1::2::3"), NULL, false}, {TEXT("::1::"), NULL, false},
	{TEXT("1:2:3:4:5:6:7"), NULL, false},
	{TEXT("1:2:3:4:5:6:7:8:9"), NULL, false},
	{TEXT("1:2:3:4:5:6:7:8:"), NULL, false},
	{TEXT(":1:2:3:4:5:6:7:8"), NULL, false},
	{TEXT("1:2:3:4::5:6:7:8"), NULL, false},
	{TEXT("::1:2:3:4:5:6:7:8"), NULL, false},
	{TEXT("1:2:3:4:5:6:7:1.2.3.4"), NULL, false},
	{TEXT("1.2.3.4::"), NULL, false}, {TEXT("::1.2.3.4:5"), NULL, false},
	{TEXT("::1.2.3"), NULL, false}, {TEXT("::01.2.3.4"), NULL, false},
	{TEXT("12345::"), NULL, false}, {TEXT("g::"), NULL, false},
	{TEXT("::0x1"), NULL, false}, {TEXT("fe80::1%eth0"), NULL, false},
	{TEXT("[::1]"), NULL, false}, {TEXT("[::1]:80"), NULL, false},
	{TEXT("::1\0"), NULL, false},
};

static void
test_table(void)
{
	int			i;

	for (i = 0; i < LENGTH_OF(parse_cases); i++)
	{
		ApikeyNet	net;
		bool		host_bits;
		char		out[APIKEY_NET_TEXT_MAX];
		const char *fault = parse(parse_cases[i].text, parse_cases[i].len, &net,
								  &host_bits);

		CHECK((fault == NULL) == (parse_cases[i].printed != NULL &&
								  !parse_cases[i].host_bits), "%s: %s",
			  parse_cases[i].text, fault);
		CHECK(host_bits == parse_cases[i].host_bits, "host bits of %s",
			  parse_cases[i].text);
		if (parse_cases[i].printed != NULL)
		{
			print(&net, out);
			CHECK(strcmp(out, parse_cases[i].printed) == 0, "%s prints as %s",
				  parse_cases[i].text, out);
		}
		else
			CHECK(net.family == 0, "no network from %s", parse_cases[i].text);
	}
}

static void
test_lengths(void)
{
	char		text[200];
	ApikeyNet	net;
	bool		host_bits;

	memset(text, ' ', sizeof(text));
	memcpy(text + 100, "::1", 3);
	CHECK(parse(text, sizeof(text), &net, &host_bits) == NULL, "many blanks");
	memset(text, '1', sizeof(text));
	CHECK(strstr(parse(text, 65, &net, &host_bits), "64") != NULL, "65 bytes");
	CHECK(strstr(parse(text, 64, &net, &host_bits), "64") == NULL, "64 bytes");
	CHECK(!parse_addr(text, sizeof(text), &net), "200 digits");
}

static void
test_addr(void)
{
	static const struct
	{
		const char *text;
		const char *printed;	/* NULL: unknown */
	}			cases[] = {
		{"1.2.3.4", "1.2.3.4"}, {" 1.2.3.4 ", "1.2.3.4"},
		{"1.2.3.4/32", "1.2.3.4"}, {"1.2.3.4/31", NULL},
		{"1.2.3.0/24", NULL}, {"0.0.0.0/0", NULL}, {"1.2.3.4/128", NULL},
		{"::1/128", "::1"}, {"::1/32", NULL}, {"::/32", NULL},
		{"::FFFF:1.2.3.4", "1.2.3.4"}, {"::ffff:1.2.3.4/128", "1.2.3.4"},
		{"::ffff:1.2.3.4/32", NULL}, {"::ffff:0:0/96", NULL},
		{"1.2.3.4:80", NULL}, {"[::1]", NULL}, {"::1%lo", NULL},
		{"1.2.3.4,5.6.7.8", NULL}, {"", NULL}, {" ", NULL}, {"::1 /128", NULL},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyNet	addr;
		char		out[APIKEY_NET_TEXT_MAX] = "";
		bool		good = parse_addr(cases[i].text, strlen(cases[i].text),
									  &addr);

		CHECK(good == (cases[i].printed != NULL), "address %s",
			  cases[i].text);
		if (good)
			print(&addr, out);
		CHECK(!good || strcmp(out, cases[i].printed) == 0, "%s prints as %s",
			  cases[i].text, out);
	}
}

/*
 * A random network of either family whose groups are often 0 or ffff.
 */
static ApikeyNet
random_net(bool full)
{
	ApikeyNet	net;
	int			bytes;
	int			i;

	memset(&net, 0, sizeof(net));
	net.family = unit_below(&state, 2) ? 4 : 6;
	bytes = net.family == 4 ? 4 : 16;
	for (i = 0; i < bytes; i += 2)
	{
		static const int usual[] = {0, 0, 0, 0xffff};
		int			dice = unit_below(&state, 6);
		int			digits = unit_below(&state, 16);
		int			group = dice < LENGTH_OF(usual) ? usual[dice] :
			unit_below(&state, 0x10000) >> digits;

		net.addr[i] = (uint8_t) (group >> 8);
		net.addr[i + 1] = (uint8_t) group;
	}
	if (net.family == 6 && unit_below(&state, 4) == 0)
	{
		memset(net.addr, 0, 10);
		memset(net.addr + 10, 0xff, 2);
	}
	net.bits = (uint8_t) (full ? bytes * 8 : unit_below(&state, bytes * 8 + 1));
	return net;
}

/*
 * Printing as inet_ntop() does, and reading it back.
 */
static void
test_print(void)
{
	int			i;

	for (i = 0; i < 50000; i++)
	{
		ApikeyNet	net = random_net(true);
		ApikeyNet	again;
		char		out[APIKEY_NET_TEXT_MAX];
		char		want[APIKEY_NET_TEXT_MAX];
		size_t		len = print(&net, out);

		inet_ntop(net.family == 4 ? AF_INET : AF_INET6, net.addr, want,
				  sizeof(want));
		CHECK(strcmp(out, want) == 0 && len == strlen(want), "%s for %s", out,
			  want);
		apikey_net_unmap(&net);
		CHECK(parse_addr(out, len, &again) &&
			  memcmp(&net, &again, sizeof(net)) == 0, "%s again", out);
	}
}

static void
test_rfc5952(void)
{
	static const char *const cases[][2] = {
		{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"2001:db8::1:0:0:1", "2001:db8::1:0:0:1"},
		{"2001:DB8:0:0:1::1", "2001:db8::1:0:0:1"},
		{"2001:db8:aaaa:bbbb:cccc:dddd:eeee:0001",
		"2001:db8:aaaa:bbbb:cccc:dddd:eeee:1"},
		{"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
		{"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
		{"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
		{"2001:db8:0:0:1:0:0:0", "2001:db8:0:0:1::"},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyNet	net;
		char		out[APIKEY_NET_TEXT_MAX] = "";

		if (CHECK(parse_addr(cases[i][0], strlen(cases[i][0]), &net),
				  "%s parses", cases[i][0]))
			print(&net, out);
		CHECK(strcmp(out, cases[i][1]) == 0, "%s prints as %s", cases[i][0],
			  out);
	}
}

/*
 * Reading what inet_pton() reads, and nothing else, of texts with a fault or
 * two.
 */
static void
test_read(void)
{
	static const char bytes[] = "0123456789abcdefABCDEF::::....gG/%[] x";
	int			good = 0;
	int			i;

	for (i = 0; i < 200000; i++)
	{
		ApikeyNet	net = random_net(true);
		ApikeyNet	read;
		uint8_t		want[16] = {0};
		char		text[APIKEY_NET_TEXT_MAX];
		size_t		len = print(&net, text);
		int			edits = unit_below(&state, 4);
		bool		expected;

		while (edits-- > 0 && len > 1)
		{
			size_t		at = (size_t) unit_below(&state, (int) len);

			if (unit_below(&state, 3) == 0)
				memmove(text + at, text + at + 1, len-- - at);
			else
				text[at] = bytes[unit_below(&state, sizeof(bytes) - 1)];
		}
		if (text[0] == ' ' || text[len - 1] == ' ' || strchr(text, '/'))
			continue;
		expected = inet_pton(AF_INET, text, want) == 1 ||
			inet_pton(AF_INET6, text, want) == 1;
		if (!CHECK(parse_addr(text, len, &read) == expected, "reads %s",
				   text) || !expected)
			continue;
		good++;
		if (read.family == 4 && strchr(text, ':'))
			memmove(want, want + 12, 4);
		CHECK(memcmp(read.addr, want, read.family == 4 ? 4 : 16) == 0,
			  "the address %s", text);
	}
	CHECK(good > 20000, "%d good addresses", good);
}

/*
 * Does the network contain the address?  Bit by bit.
 */
static bool
naive_contains(const ApikeyNet *net, const ApikeyNet *addr)
{
	int			i;

	if (net->family != addr->family)
		return false;
	for (i = 0; i < net->bits; i++)
		if ((net->addr[i / 8] >> (7 - i % 8) & 1) !=
			(addr->addr[i / 8] >> (7 - i % 8) & 1))
			return false;
	return true;
}

/*
 * An address in or near one of the networks.
 */
static ApikeyNet
near_net(const ApikeyNet *nets, int count)
{
	ApikeyNet	addr = random_net(true);
	int			bit;

	if (count == 0 || unit_below(&state, 4) == 0)
		return addr;
	addr = nets[unit_below(&state, count)];
	addr.bits = addr.family == 4 ? 32 : 128;
	bit = unit_below(&state, addr.bits + 1);
	if (bit < addr.bits)
		addr.addr[bit / 8] ^= (uint8_t) (0x80 >> bit % 8);
	return addr;
}

/*
 * Random lists: sorted, without needless members, and of the same membership
 * as before; IPv4-mapped addresses are members as IPv4.
 */
static void
test_lists(void)
{
	enum
	{
		NETS = 12
	};
	int			round;

	for (round = 0; round < 5000; round++)
	{
		ApikeyNet	given[NETS];
		ApikeyNet	nets[NETS];
		int			ngiven = unit_below(&state, NETS + 1);
		int			count;
		int			wrong = 0;
		int			i;
		int			j;

		for (i = 0; i < ngiven; i++)
		{
			given[i] = i > 0 && unit_below(&state, 2) ?
				near_net(given, i) : random_net(false);
			if (unit_below(&state, 3) == 0)
				given[i].bits /= 2;
			apikey_net_unmap(&given[i]);
			nets[i] = given[i];
		}
		count = apikey_netlist_normalize(nets, ngiven);
		for (i = 0; i < count; i++)
			for (j = 0; j < count; j++)
				if (i != j && apikey_net_contains(&nets[i], &nets[j]))
					wrong++;
		CHECK(wrong == 0 && count <= ngiven, "needless members");
		for (i = 0; i < 60; i++)
		{
			ApikeyNet	addr = near_net(given, ngiven);
			bool		member = false;

			apikey_net_unmap(&addr);
			for (j = 0; j < ngiven; j++)
			{
				member |= naive_contains(&given[j], &addr);
				wrong += apikey_net_contains(&given[j], &addr) !=
					naive_contains(&given[j], &addr);
			}
			wrong += apikey_netlist_contains(nets, count, &addr) != member;
		}
		CHECK(wrong == 0, "%d wrong answers of a list of %d", wrong, ngiven);
	}
}

/*
 * A network is inside of itself and of larger ones, not of smaller ones.
 */
static void
test_nested(void)
{
	static const char *const texts[] = {
		"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/32"
	};
	ApikeyNet	outer;
	ApikeyNet	inner;
	bool		host_bits;
	int			i;
	int			j;

	for (i = 0; i < LENGTH_OF(texts); i++)
		for (j = 0; j < LENGTH_OF(texts); j++)
		{
			(void) parse(texts[i], strlen(texts[i]), &outer, &host_bits);
			(void) parse(texts[j], strlen(texts[j]), &inner, &host_bits);
			CHECK(apikey_net_contains(&outer, &inner) == (i <= j),
				  "%s inside %s", texts[j], texts[i]);
		}
}

int
main(void)
{
	ApikeyNet	net = random_net(true);

	CHECK(apikey_netlist_normalize(NULL, 0) == 0, "nothing to normalize");
	CHECK(!apikey_netlist_contains(NULL, 0, &net), "nothing is in nothing");
	test_table();
	test_lengths();
	test_addr();
	test_print();
	test_rfc5952();
	test_read();
	test_nested();
	test_lists();
	return unit_finish("test_netlist");
}
