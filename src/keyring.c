/*
 * keyring.c
 *		Reads the text of a pepper file.  Pure: no server headers.
 */
#include "keyring.h"

#include <stdbool.h>
#include <string.h>

#include "ascii.h"

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/*
 * Read "id hexdigits" with nothing else on the line.
 */
static bool
parse_line(const char *p, const char *end, ApikeyKeyringEntry *entry)
{
	int64_t		id = 0;

	while (p < end && *p >= '0' && *p <= '9' && id <= INT32_MAX)
		id = id * 10 + (*p++ - '0');
	if (id <= 0 || id > INT32_MAX || p == end || !is_blank(*p))
		return false;
	entry->id = (int32_t) id;
	while (p < end && is_blank(*p))
		p++;
	if (end - p < 2 * APIKEY_PEPPER_LEN ||
		!ascii_hex_bytes(p, entry->secret, APIKEY_PEPPER_LEN))
		return false;
	p += 2 * APIKEY_PEPPER_LEN;
	while (p < end && is_blank(*p))
		p++;
	return p == end;
}

int
apikey_keyring_parse(const char *text, size_t len,
					 ApikeyKeyringEntry *entries, int max, int *faulty_line)
{
	const char *p = text;
	const char *text_end = len > 0 ? text + len : text;
	int			count = 0;

	for (*faulty_line = 1; p < text_end; (*faulty_line)++)
	{
		const char *end = memchr(p, '\n', text_end - p);

		if (end == NULL)
			end = text_end;
		while (p < end && is_blank(*p))
			p++;
		if (p < end && *p != '#')
		{
			if (count == max || !parse_line(p, end, &entries[count]))
				return -1;
			for (int i = 0; i < count; i++)
			{
				if (entries[i].id == entries[count].id)
					return -1;
			}
			count++;
		}
		p = end < text_end ? end + 1 : text_end;
	}
	return count;
}
