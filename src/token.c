/*
 * token.c
 *		The text of a key: making, checking, masking and finding it.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#include "token.h"

#include <string.h>

#include "ascii.h"

#define BASE62			62
#define UNBIASED_BYTES	248		/* the largest multiple of 62 up to 256 */

#define CRC_START		UINT32_C(0xffffffff)
#define CRC_LOW_BYTE	0xff
#define CRC_BYTE_BITS	8

/* What a byte of a document can begin. */
#define BEGINS_PREFIX	1
#define BEGINS_BODY		2		/* of a format without prefix */
#define BYTE_VALUES		256

static const char base62_digits[BASE62 + 1] =
	"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Remainders of all bytes by the reflected polynomial 0xedb88320. */
static const uint32_t crc_table[BYTE_VALUES] = {
	0x00000000, 0x77073096, 0xee0e612c, 0x990951ba, 0x076dc419, 0x706af48f,
	0xe963a535, 0x9e6495a3, 0x0edb8832, 0x79dcb8a4, 0xe0d5e91e, 0x97d2d988,
	0x09b64c2b, 0x7eb17cbd, 0xe7b82d07, 0x90bf1d91, 0x1db71064, 0x6ab020f2,
	0xf3b97148, 0x84be41de, 0x1adad47d, 0x6ddde4eb, 0xf4d4b551, 0x83d385c7,
	0x136c9856, 0x646ba8c0, 0xfd62f97a, 0x8a65c9ec, 0x14015c4f, 0x63066cd9,
	0xfa0f3d63, 0x8d080df5, 0x3b6e20c8, 0x4c69105e, 0xd56041e4, 0xa2677172,
	0x3c03e4d1, 0x4b04d447, 0xd20d85fd, 0xa50ab56b, 0x35b5a8fa, 0x42b2986c,
	0xdbbbc9d6, 0xacbcf940, 0x32d86ce3, 0x45df5c75, 0xdcd60dcf, 0xabd13d59,
	0x26d930ac, 0x51de003a, 0xc8d75180, 0xbfd06116, 0x21b4f4b5, 0x56b3c423,
	0xcfba9599, 0xb8bda50f, 0x2802b89e, 0x5f058808, 0xc60cd9b2, 0xb10be924,
	0x2f6f7c87, 0x58684c11, 0xc1611dab, 0xb6662d3d, 0x76dc4190, 0x01db7106,
	0x98d220bc, 0xefd5102a, 0x71b18589, 0x06b6b51f, 0x9fbfe4a5, 0xe8b8d433,
	0x7807c9a2, 0x0f00f934, 0x9609a88e, 0xe10e9818, 0x7f6a0dbb, 0x086d3d2d,
	0x91646c97, 0xe6635c01, 0x6b6b51f4, 0x1c6c6162, 0x856530d8, 0xf262004e,
	0x6c0695ed, 0x1b01a57b, 0x8208f4c1, 0xf50fc457, 0x65b0d9c6, 0x12b7e950,
	0x8bbeb8ea, 0xfcb9887c, 0x62dd1ddf, 0x15da2d49, 0x8cd37cf3, 0xfbd44c65,
	0x4db26158, 0x3ab551ce, 0xa3bc0074, 0xd4bb30e2, 0x4adfa541, 0x3dd895d7,
	0xa4d1c46d, 0xd3d6f4fb, 0x4369e96a, 0x346ed9fc, 0xad678846, 0xda60b8d0,
	0x44042d73, 0x33031de5, 0xaa0a4c5f, 0xdd0d7cc9, 0x5005713c, 0x270241aa,
	0xbe0b1010, 0xc90c2086, 0x5768b525, 0x206f85b3, 0xb966d409, 0xce61e49f,
	0x5edef90e, 0x29d9c998, 0xb0d09822, 0xc7d7a8b4, 0x59b33d17, 0x2eb40d81,
	0xb7bd5c3b, 0xc0ba6cad, 0xedb88320, 0x9abfb3b6, 0x03b6e20c, 0x74b1d29a,
	0xead54739, 0x9dd277af, 0x04db2615, 0x73dc1683, 0xe3630b12, 0x94643b84,
	0x0d6d6a3e, 0x7a6a5aa8, 0xe40ecf0b, 0x9309ff9d, 0x0a00ae27, 0x7d079eb1,
	0xf00f9344, 0x8708a3d2, 0x1e01f268, 0x6906c2fe, 0xf762575d, 0x806567cb,
	0x196c3671, 0x6e6b06e7, 0xfed41b76, 0x89d32be0, 0x10da7a5a, 0x67dd4acc,
	0xf9b9df6f, 0x8ebeeff9, 0x17b7be43, 0x60b08ed5, 0xd6d6a3e8, 0xa1d1937e,
	0x38d8c2c4, 0x4fdff252, 0xd1bb67f1, 0xa6bc5767, 0x3fb506dd, 0x48b2364b,
	0xd80d2bda, 0xaf0a1b4c, 0x36034af6, 0x41047a60, 0xdf60efc3, 0xa867df55,
	0x316e8eef, 0x4669be79, 0xcb61b38c, 0xbc66831a, 0x256fd2a0, 0x5268e236,
	0xcc0c7795, 0xbb0b4703, 0x220216b9, 0x5505262f, 0xc5ba3bbe, 0xb2bd0b28,
	0x2bb45a92, 0x5cb36a04, 0xc2d7ffa7, 0xb5d0cf31, 0x2cd99e8b, 0x5bdeae1d,
	0x9b64c2b0, 0xec63f226, 0x756aa39c, 0x026d930a, 0x9c0906a9, 0xeb0e363f,
	0x72076785, 0x05005713, 0x95bf4a82, 0xe2b87a14, 0x7bb12bae, 0x0cb61b38,
	0x92d28e9b, 0xe5d5be0d, 0x7cdcefb7, 0x0bdbdf21, 0x86d3d2d4, 0xf1d4e242,
	0x68ddb3f8, 0x1fda836e, 0x81be16cd, 0xf6b9265b, 0x6fb077e1, 0x18b74777,
	0x88085ae6, 0xff0f6a70, 0x66063bca, 0x11010b5c, 0x8f659eff, 0xf862ae69,
	0x616bffd3, 0x166ccf45, 0xa00ae278, 0xd70dd2ee, 0x4e048354, 0x3903b3c2,
	0xa7672661, 0xd06016f7, 0x4969474d, 0x3e6e77db, 0xaed16a4a, 0xd9d65adc,
	0x40df0b66, 0x37d83bf0, 0xa9bcae53, 0xdebb9ec5, 0x47b2cf7f, 0x30b5ffe9,
	0xbdbdf21c, 0xcabac28a, 0x53b39330, 0x24b4a3a6, 0xbad03605, 0xcdd70693,
	0x54de5729, 0x23d967bf, 0xb3667a2e, 0xc4614ab8, 0x5d681b02, 0x2a6f2b94,
	0xb40bbe37, 0xc30c8ea1, 0x5a05df1b, 0x2d02ef8d
};

/*
 * Compute the CRC-32 of zlib and IEEE 802.3.
 */
uint32_t
apikey_crc32(const char *data, size_t len)
{
	uint32_t	crc = CRC_START;
	size_t		i;

	for (i = 0; i < len; i++)
		crc = (crc >> CRC_BYTE_BITS) ^
			crc_table[(crc ^ (unsigned char) data[i]) & CRC_LOW_BYTE];
	return crc ^ CRC_START;
}

/* Of each byte: is it a base62 digit? */
static const unsigned char is_digit[BYTE_VALUES] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0,
	0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,
	0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
};

/*
 * Are all these bytes base62 digits?
 */
static bool
all_base62(const char *text, size_t len)
{
	unsigned char all = 1;
	size_t		i;

	for (i = 0; i < len; i++)
		all &= is_digit[(unsigned char) text[i]];
	return all == 1;
}

/*
 * Value of a base62 digit.  Only for bytes known to be one.
 */
static uint64_t
base62_value(char c)
{
	if (ascii_is_digit(c))
		return (uint64_t) (c - '0');
	if (c >= 'a')
		return (uint64_t) (c - 'a' + ('z' - 'a' + 1) + ASCII_DECIMAL_BASE);
	return (uint64_t) (c - 'A' + ASCII_DECIMAL_BASE);
}

/*
 * Length of prefix and body: what the checksum is computed over.
 */
static size_t
payload_length(const ApikeyFormat *format)
{
	return (size_t) format->prefix_len + format->body_length;
}

/*
 * Length of every key text of this format.
 */
size_t
apikey_token_length(const ApikeyFormat *format)
{
	return payload_length(format) +
		(format->checksum ? APIKEY_CHECKSUM_LEN : 0);
}

/*
 * Turn random bytes into base62 digits.  248 to 255 are skipped, for they
 * would make the digits 0 to 7 more frequent than the others.
 */
size_t
apikey_token_digits(const uint8_t *random, size_t nrandom,
					char *digits, size_t want)
{
	size_t		done = 0;
	size_t		i;

	for (i = 0; i < nrandom && done < want; i++)
		if (random[i] < UNBIASED_BYTES)
			digits[done++] = base62_digits[random[i] % BASE62];
	return done;
}

/*
 * Write prefix, body and, if the format has one, the checksum of both.
 */
void
apikey_token_write(const ApikeyFormat *format, const char *body, char *out)
{
	size_t		payload = payload_length(format);
	uint32_t	crc;
	int			i;

	memcpy(out, format->prefix, format->prefix_len);
	memcpy(out + format->prefix_len, body, format->body_length);
	if (!format->checksum)
		return;

	crc = apikey_crc32(out, payload);
	for (i = APIKEY_CHECKSUM_LEN - 1; i >= 0; i--)
	{
		out[payload + (size_t) i] = base62_digits[crc % BASE62];
		crc /= BASE62;
	}
}

/*
 * Is the checksum right?  The text has the format's length and base62 digits
 * only behind the prefix.  Numbers of more than 32 bits are refused first:
 * that spares the CRC of most texts that merely look like a key.
 */
static bool
checksum_matches(const ApikeyFormat *format, const char *text)
{
	size_t		payload = payload_length(format);
	uint64_t	stated = 0;
	int			i;

	for (i = 0; i < APIKEY_CHECKSUM_LEN; i++)
		stated = stated * BASE62 + base62_value(text[payload + (size_t) i]);
	return stated <= UINT32_MAX && stated == apikey_crc32(text, payload);
}

/*
 * Does the text have this format, checksum included?
 */
bool
apikey_token_matches(const ApikeyFormat *format, const char *text, size_t len)
{
	size_t		prefix_len = format->prefix_len;

	if (len != apikey_token_length(format))
		return false;
	if (memcmp(text, format->prefix, prefix_len) != 0)
		return false;
	if (!all_base62(text + prefix_len, len - prefix_len))
		return false;
	return !format->checksum || checksum_matches(format, text);
}

/*
 * Append to a display mask; returns the new length.
 */
static size_t
append(char *out, size_t outlen, const char *data, size_t len)
{
	if (len > 0)
		memcpy(out + outlen, data, len);
	return outlen + len;
}

/*
 * Write the display mask of a key text.  Where head and tail would leave
 * fewer than APIKEY_BODY_MIN characters of body and checksum hidden, or the
 * text is longer than any key, neither of them is shown.
 */
size_t
apikey_token_display(const ApikeyFormat *format, const ApikeyMask *mask,
					 const char *text, size_t len, char *out)
{
	const char *gap_end = memchr(mask->gap, '\0', APIKEY_GAP_MAX);
	size_t		gap_len = gap_end ? (size_t) (gap_end - mask->gap) :
		APIKEY_GAP_MAX;
	size_t		from = mask->prefix ? format->prefix_len : 0;
	size_t		head = mask->head;
	size_t		tail = mask->tail;
	size_t		secret = format->prefix_len;	/* where hidden text begins */
	size_t		outlen = 0;

	if (from + head > secret)
		secret = from + head;
	if (len > APIKEY_TOKEN_MAX || secret + tail + APIKEY_BODY_MIN > len)
	{
		head = 0;
		tail = 0;
	}

	if (mask->prefix)
		outlen = append(out, outlen, format->prefix, format->prefix_len);
	if (head > 0)
		outlen = append(out, outlen, text + from, head);
	outlen = append(out, outlen, mask->gap, gap_len);
	if (tail > 0)
		outlen = append(out, outlen, text + (len - tail), tail);
	out[outlen] = '\0';
	return outlen;
}

/*
 * Is there a key text of this format at this place of the document?
 */
bool
apikey_token_fits(const ApikeyFormat *format, const char *doc, size_t len,
				  size_t pos)
{
	size_t		want = apikey_token_length(format);
	size_t		left = len - pos;

	if (left < want)
		return false;
	if (format->prefix_len > 0)
	{
		/* spares most places the whole comparison */
		if (doc[pos] != format->prefix[0])
			return false;
	}
	else
	{
		/* any word would do: it must be all of a run of digits */
		if (pos > 0 && ascii_is_alnum(doc[pos - 1]))
			return false;
		if (left > want && ascii_is_alnum(doc[pos + want]))
			return false;
	}
	return apikey_token_matches(format, doc + pos, want);
}

/*
 * Is one format a better find than another at the same place?
 */
static bool
format_precedes(const ApikeyFormat *format, const ApikeyFormat *other)
{
	if (format->checksum != other->checksum)
		return format->checksum;
	return apikey_token_length(format) > apikey_token_length(other);
}

/*
 * Which format fits best at this place?  -1 if none does.
 */
static int
best_format(const ApikeyFormat *formats, int nformats,
			const char *doc, size_t len, size_t pos)
{
	int			best = -1;
	int			i;

	for (i = 0; i < nformats; i++)
	{
		if (best >= 0 && !format_precedes(&formats[i], &formats[best]))
			continue;
		if (apikey_token_fits(&formats[i], doc, len, pos))
			best = i;
	}
	return best;
}

/*
 * Fill the table of what each byte can begin, and return the length of the
 * shortest key text.
 */
static size_t
classify_bytes(const ApikeyFormat *formats, int nformats,
			   uint8_t begins[BYTE_VALUES])
{
	size_t		shortest = SIZE_MAX;
	int			i;
	int			d;

	memset(begins, 0, BYTE_VALUES);
	for (i = 0; i < nformats; i++)
	{
		size_t		want = apikey_token_length(&formats[i]);

		if (want < shortest)
			shortest = want;
		if (formats[i].prefix_len > 0)
			begins[(unsigned char) formats[i].prefix[0]] |= BEGINS_PREFIX;
		else
			for (d = 0; d < BASE62; d++)
				begins[(unsigned char) base62_digits[d]] |= BEGINS_BODY;
	}
	return shortest;
}

/*
 * Find the next key text in a document.  One pass from left to right; the
 * formats are tried only where the table says that one of them can begin,
 * and those without prefix at the beginning of a run of digits only.
 */
bool
apikey_token_find(const ApikeyFormat *formats, int nformats,
				  const char *doc, size_t len, size_t start,
				  size_t *pos, int *which)
{
	uint8_t		begins[BYTE_VALUES];
	size_t		shortest = classify_bytes(formats, nformats, begins);
	size_t		at;

	for (at = start; at < len && len - at >= shortest; at++)
	{
		uint8_t		what = begins[(unsigned char) doc[at]];
		int			found;

		if (what == 0)
			continue;
		if (what == BEGINS_BODY && at > 0 && ascii_is_alnum(doc[at - 1]))
			continue;
		found = best_format(formats, nformats, doc, len, at);
		if (found >= 0)
		{
			*pos = at;
			*which = found;
			return true;
		}
	}
	return false;
}
