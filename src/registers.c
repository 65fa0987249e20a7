/*
 * registers.c
 *		The registers of a HyperLogLog sketch, and a short form of those that
 *		are mostly zero.
 */
#include "registers.h"

#include <string.h>

#define WORD	sizeof(uint64_t)	/* so many zeros are passed over at once */

static unsigned
number_at(const uint8_t *entry)
{
	return (unsigned) entry[0] << 8 | entry[1];
}

uint8_t *
apikey_sparse_append(uint8_t *end, unsigned number, uint8_t value)
{
	end[0] = (uint8_t) (number >> 8);
	end[1] = (uint8_t) number;
	end[2] = value;
	return end + APIKEY_SPARSE_ENTRY;
}

bool
apikey_sparse_check(const uint8_t *bytes, size_t len)
{
	size_t		i;

	if (len % APIKEY_SPARSE_ENTRY != 0 || len > APIKEY_SPARSE_BYTES_MAX)
		return false;
	for (i = 0; i < len; i += APIKEY_SPARSE_ENTRY)
	{
		if (number_at(bytes + i) >= APIKEY_SKETCH_REGISTERS ||
			bytes[i + 2] == 0 || bytes[i + 2] > APIKEY_SKETCH_RANK_MAX)
			return false;
		if (i > 0 && number_at(bytes + i) <=
			number_at(bytes + i - APIKEY_SPARSE_ENTRY))
			return false;
	}
	return true;
}

void
apikey_sparse_expand(const uint8_t *bytes, size_t len,
					 uint8_t registers[APIKEY_SKETCH_REGISTERS])
{
	size_t		i;

	for (i = 0; i < len; i += APIKEY_SPARSE_ENTRY)
		registers[number_at(bytes + i)] = bytes[i + 2];
}

bool
apikey_sparse_pack(const uint8_t registers[APIKEY_SKETCH_REGISTERS],
				   uint8_t *out, size_t *len)
{
	uint8_t    *end = out;
	size_t		i;
	size_t		j;

	for (i = 0; i < APIKEY_SKETCH_REGISTERS; i += WORD)
	{
		uint64_t	word;

		memcpy(&word, registers + i, WORD);
		for (j = i; word != 0 && j < i + WORD; j++)
		{
			if (registers[j] == 0)
				continue;
			if (end == out + APIKEY_SPARSE_BYTES_MAX)
				return false;
			end = apikey_sparse_append(end, (unsigned) j, registers[j]);
		}
	}
	*len = (size_t) (end - out);
	return true;
}

size_t
apikey_sparse_merge(const uint8_t *a, size_t alen,
					const uint8_t *b, size_t blen,
					uint8_t *out, bool *changed)
{
	uint8_t    *end = out;
	size_t		i = 0;
	size_t		j = 0;

	*changed = false;
	while (i < alen || j < blen)
	{
		unsigned	from_a = i < alen ? number_at(a + i) : APIKEY_SKETCH_REGISTERS;
		unsigned	from_b = j < blen ? number_at(b + j) : APIKEY_SKETCH_REGISTERS;
		uint8_t		of_a = from_a <= from_b ? a[i + 2] : 0;
		uint8_t		of_b = from_b <= from_a ? b[j + 2] : 0;

		*changed |= of_b > of_a;
		end = apikey_sparse_append(end, from_a < from_b ? from_a : from_b,
								   of_a > of_b ? of_a : of_b);
		i += from_a <= from_b ? APIKEY_SPARSE_ENTRY : 0;
		j += from_b <= from_a ? APIKEY_SPARSE_ENTRY : 0;
	}
	return (size_t) (end - out);
}
