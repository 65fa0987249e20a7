/*
 * netlist.c
 *		Network addresses: strict reading, and membership in a list.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#include "netlist.h"

#include <stdlib.h>
#include <string.h>

#include "ascii.h"

#define FAMILY_V4		4
#define FAMILY_V6		6
#define V4_BYTES		4
#define V6_BYTES		16
#define V4_BITS			32
#define V6_BITS			128
#define BYTE_BITS		8
#define BYTE_MAX		255

#define GROUPS			8		/* of an IPv6 address, two bytes each */
#define GROUP_BYTES		2
#define GROUP_DIGITS	4
#define V4_IN_V6_GROUP	6		/* where an embedded IPv4 address begins */
#define MAPPED_GROUP	5		/* the one that is ffff in IPv4-mapped ones */
#define MAPPED_VALUE	0xffff
#define MAPPED_BITS		96

#define HEX_BITS		4
#define HEX_MASK		0xf

static const uint8_t mapped_prefix[MAPPED_BITS / BYTE_BITS] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff
};

/*
 * Bits of a full-length address of the family.
 */
static int
family_bits(int family)
{
	return family == FAMILY_V4 ? V4_BITS : V6_BITS;
}

/*
 * Where does the first of these characters stand?  len if nowhere.
 */
static size_t
find_char(const char *text, size_t len, char c)
{
	const char *found = len > 0 ? memchr(text, c, len) : NULL;

	return found ? (size_t) (found - text) : len;
}

/*
 * Read four decimal numbers joined by dots.
 */
static bool
read_v4(const char *text, size_t len, uint8_t *addr)
{
	int			i;

	for (i = 0; i < V4_BYTES; i++)
	{
		size_t		end = find_char(text, len, '.');
		int			value;

		/* the last number ends the text, the others end at a dot */
		if ((i == V4_BYTES - 1) != (end == len))
			return false;
		if (!ascii_read_number(text, end, BYTE_MAX, &value))
			return false;
		addr[i] = (uint8_t) value;
		if (end < len)
		{
			text += end + 1;
			len -= end + 1;
		}
	}
	return true;
}

/*
 * Read one to four hexadecimal digits.
 */
static bool
read_group(const char *text, size_t len, uint8_t *out)
{
	int			value = 0;
	size_t		i;

	if (len == 0 || len > GROUP_DIGITS)
		return false;
	for (i = 0; i < len; i++)
	{
		int			digit = ascii_hex_value(text[i]);

		if (digit < 0)
			return false;
		value = value << HEX_BITS | digit;
	}
	out[0] = (uint8_t) (value >> BYTE_BITS);
	out[1] = (uint8_t) (value & BYTE_MAX);
	return true;
}

/*
 * Read groups joined by single colons, at most room of them, the last two of
 * which may be an IPv4 address where that is allowed.  Returns how many
 * groups were read (none from an empty text), or -1.
 */
static int
read_groups(const char *text, size_t len, int room, bool allow_v4,
			uint8_t *out)
{
	int			count = 0;

	if (len == 0)
		return 0;
	for (;;)
	{
		size_t		end = find_char(text, len, ':');
		uint8_t    *to = out + count * GROUP_BYTES;

		if (allow_v4 && end == len && count + GROUP_BYTES <= room &&
			read_v4(text, len, to))
			return count + V4_BYTES / GROUP_BYTES;
		if (count >= room || !read_group(text, end, to))
			return -1;
		count++;
		if (end == len)
			return count;
		text += end + 1;
		len -= end + 1;
		/* nothing behind the colon is found to be no group above */
	}
}

/*
 * Read an IPv6 address: eight groups, or fewer around one "::".
 */
static bool
read_v6(const char *text, size_t len, uint8_t *addr)
{
	uint8_t		tail[V6_BYTES];
	size_t		gap = 0;
	int			before;
	int			after;

	while (gap + 1 < len && (text[gap] != ':' || text[gap + 1] != ':'))
		gap++;
	if (gap + 1 >= len)
		return read_groups(text, len, GROUPS, true, addr) == GROUPS;

	/* "::" stands for at least one group */
	memset(addr, 0, V6_BYTES);
	before = read_groups(text, gap, GROUPS - 1, false, addr);
	if (before < 0)
		return false;
	after = read_groups(text + gap + 2, len - gap - 2, GROUPS - 1 - before,
						true, tail);
	if (after < 0)
		return false;
	memcpy(addr + (GROUPS - after) * GROUP_BYTES, tail,
		   (size_t) after * GROUP_BYTES);
	return true;
}

/*
 * Read an address of either family, nothing around it.
 */
static bool
read_address(const char *text, size_t len, ApikeyNet *net)
{
	memset(net, 0, sizeof(*net));
	if (find_char(text, len, ':') == len)
	{
		net->family = FAMILY_V4;
		net->bits = V4_BITS;
		return read_v4(text, len, net->addr);
	}
	net->family = FAMILY_V6;
	net->bits = V6_BITS;
	return read_v6(text, len, net->addr);
}

/*
 * Bits of a byte that belong to the network, when it has bits left from this
 * byte on.
 */
static uint8_t
byte_mask(int bits)
{
	if (bits >= BYTE_BITS)
		return BYTE_MAX;
	if (bits <= 0)
		return 0;
	return (uint8_t) (BYTE_MAX << (BYTE_BITS - bits));
}

/*
 * Clear the bits to the right of the mask; returns whether there were any.
 */
static bool
clear_host_bits(ApikeyNet *net)
{
	bool		cleared = false;
	int			i;

	/* an IPv4 address has nothing but zeros behind it */
	for (i = net->bits / BYTE_BITS;
		 i < (net->family == FAMILY_V4 ? V4_BYTES : V6_BYTES); i++)
	{
		uint8_t		network = (uint8_t)
			(net->addr[i] & byte_mask(net->bits - i * BYTE_BITS));

		if (network != net->addr[i])
			cleared = true;
		net->addr[i] = network;
	}
	return cleared;
}

/*
 * Turn an IPv4-mapped IPv6 address or network into IPv4.
 */
void
apikey_net_unmap(ApikeyNet *net)
{
	if (net->family != FAMILY_V6 || net->bits < MAPPED_BITS ||
		memcmp(net->addr, mapped_prefix, sizeof(mapped_prefix)) != 0)
		return;
	net->family = FAMILY_V4;
	net->bits = (uint8_t) (net->bits - MAPPED_BITS);
	memmove(net->addr, net->addr + sizeof(mapped_prefix), V4_BYTES);
	memset(net->addr + V4_BYTES, 0, V6_BYTES - V4_BYTES);
}

/*
 * Read an element of an allowlist.  NULL if good, else the rule broken.
 */
const char *
apikey_net_parse(const char *text, size_t len,
				 ApikeyNet *net, bool *host_bits)
{
	size_t		slash;

	memset(net, 0, sizeof(*net));
	*host_bits = false;
	ascii_trim(&text, &len);
	if (len == 0)
		return "it must not be empty";
	if (len > APIKEY_NET_TEXT_MAX)
		return "at most 64 bytes are allowed";

	slash = find_char(text, len, '/');
	if (!read_address(text, slash, net))
	{
		memset(net, 0, sizeof(*net));
		return "it must be an IPv4 address of four decimal numbers without"
			" leading zeros, or an IPv6 address, without port or zone";
	}
	if (slash < len)
	{
		int			bits;

		if (!ascii_read_number(text + slash + 1, len - slash - 1,
							   family_bits(net->family), &bits))
		{
			memset(net, 0, sizeof(*net));
			return "the number behind \"/\" must be from 0 to 32 for IPv4,"
				" to 128 for IPv6";
		}
		net->bits = (uint8_t) bits;
	}
	*host_bits = clear_host_bits(net);
	apikey_net_unmap(net);
	if (*host_bits)
		return "no bits may be set to the right of the mask";
	return NULL;
}

/*
 * Read the address a request came from: what is no single good address is
 * unknown.
 */
bool
apikey_addr_parse(const char *text, size_t len, ApikeyNet *addr)
{
	bool		host_bits;

	if (apikey_net_parse(text, len, addr, &host_bits) == NULL &&
		addr->bits == family_bits(addr->family))
		return true;
	memset(addr, 0, sizeof(*addr));
	return false;
}

/*
 * Is the address (or whole network) inside the network?
 */
bool
apikey_net_contains(const ApikeyNet *net, const ApikeyNet *addr)
{
	int			i;

	if (net->family != addr->family || net->bits > addr->bits ||
		net->bits > V6_BITS)
		return false;
	for (i = 0; i * BYTE_BITS < net->bits; i++)
		if ((net->addr[i] ^ addr->addr[i]) &
			byte_mask(net->bits - i * BYTE_BITS))
			return false;
	return true;
}

/*
 * Order by family and address.
 */
static int
compare_addresses(const ApikeyNet *a, const ApikeyNet *b)
{
	if (a->family != b->family)
		return (int) a->family - (int) b->family;
	return memcmp(a->addr, b->addr, V6_BYTES);
}

/*
 * Order by family, address and length, for qsort: a network comes before all
 * that it contains.
 */
static int
compare_nets(const void *a, const void *b)
{
	const ApikeyNet *left = a;
	const ApikeyNet *right = b;
	int			order = compare_addresses(left, right);

	return order != 0 ? order : (int) left->bits - (int) right->bits;
}

/*
 * Sort and drop networks contained in another.  Networks are nested or apart,
 * so that the last one kept is the only one that can contain the next.
 */
int
apikey_netlist_normalize(ApikeyNet *nets, int count)
{
	int			kept = 0;
	int			i;

	for (i = 0; i < count; i++)
		(void) clear_host_bits(&nets[i]);
	if (count > 1)
		qsort(nets, (size_t) count, sizeof(ApikeyNet), compare_nets);
	for (i = 0; i < count; i++)
		if (kept == 0 || !apikey_net_contains(&nets[kept - 1], &nets[i]))
			nets[kept++] = nets[i];
	return kept;
}

/*
 * Is the address in one of the networks of a normalized list?  Only the last
 * one that begins at or before the address can contain it.
 */
bool
apikey_netlist_contains(const ApikeyNet *nets, int count,
						const ApikeyNet *addr)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_addresses(&nets[middle], addr) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && apikey_net_contains(&nets[low - 1], addr);
}

/*
 * Write four decimal numbers joined by dots; returns the length.
 */
static size_t
write_v4(const uint8_t *addr, char *out)
{
	size_t		len = 0;
	int			i;

	for (i = 0; i < V4_BYTES; i++)
	{
		if (i > 0)
			out[len++] = '.';
		len += ascii_write_number(addr[i], out + len);
	}
	return len;
}

/*
 * The i-th group of an IPv6 address.
 */
static int
get_group(const uint8_t *addr, int i)
{
	return addr[i * GROUP_BYTES] << BYTE_BITS | addr[i * GROUP_BYTES + 1];
}

/*
 * Write a group without leading zeros; returns the length.
 */
static size_t
write_group(int value, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t		len = 0;
	int			shift = (GROUP_DIGITS - 1) * HEX_BITS;

	while (shift > 0 && value >> shift == 0)
		shift -= HEX_BITS;
	for (; shift >= 0; shift -= HEX_BITS)
		out[len++] = digits[(value >> shift) & HEX_MASK];
	return len;
}

/*
 * Find the longest run of zero groups, the first of equals.  Returns its
 * length and sets *begin; 0 for none of at least two groups.
 */
static int
longest_zeros(const uint8_t *addr, int *begin)
{
	int			best = 1;		/* a single group is not shortened */
	int			run = 0;
	int			i;

	*begin = GROUPS;
	for (i = 0; i < GROUPS; i++)
	{
		run = get_group(addr, i) == 0 ? run + 1 : 0;
		if (run > best)
		{
			best = run;
			*begin = i + 1 - run;
		}
	}
	return *begin < GROUPS ? best : 0;
}

/*
 * Write an IPv6 address as RFC 5952 wants it.  As in the server the last two
 * groups are dotted in IPv4-mapped addresses (::ffff:192.0.2.1) and where
 * nothing but zeros precedes them (::192.0.2.1).
 */
static size_t
write_v6(const uint8_t *addr, char *out)
{
	size_t		len = 0;
	int			begin;
	int			zeros = longest_zeros(addr, &begin);
	bool		dotted;
	int			i;

	dotted = begin == 0 &&
		(zeros == V4_IN_V6_GROUP ||
		 (zeros == MAPPED_GROUP &&
		  get_group(addr, MAPPED_GROUP) == MAPPED_VALUE));
	for (i = 0; i < GROUPS; i++)
	{
		if (i == begin)
		{
			out[len++] = ':';
			i += zeros;
			if (i == GROUPS)
				out[len++] = ':';
		}
		if (i == GROUPS)
			break;
		if (i > 0)
			out[len++] = ':';
		if (dotted && i == V4_IN_V6_GROUP)
			return len + write_v4(addr + i * GROUP_BYTES, out + len);
		len += write_group(get_group(addr, i), out + len);
	}
	return len;
}

/*
 * Print as the server's inet type does.
 */
size_t
apikey_net_print(const ApikeyNet *net, char *out)
{
	size_t		len;

	if (net->family == FAMILY_V4)
		len = write_v4(net->addr, out);
	else
		len = write_v6(net->addr, out);
	if (net->bits != family_bits(net->family))
	{
		out[len++] = '/';
		len += ascii_write_number(net->bits, out + len);
	}
	out[len] = '\0';
	return len;
}
