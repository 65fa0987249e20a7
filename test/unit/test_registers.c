/*
 * test_registers.c
 *		The short form of registers against the registers themselves.
 */
#include "../../src/registers.h"
#include "unit.h"

/*
 * So many registers at random places that are not zero.
 */
static void
make(uint64_t *state, int count, uint8_t registers[APIKEY_SKETCH_REGISTERS])
{
	memset(registers, 0, APIKEY_SKETCH_REGISTERS);
	while (count > 0)
	{
		int			at = unit_below(state, APIKEY_SKETCH_REGISTERS);

		if (registers[at] != 0)
			continue;
		registers[at] = (uint8_t) (1 + unit_below(state, APIKEY_SKETCH_RANK_MAX));
		count--;
	}
}

/*
 * The short form, in memory of its very length; to be freed.
 */
static uint8_t *
pack(const uint8_t *registers, size_t *len)
{
	uint8_t		bytes[APIKEY_SPARSE_BYTES_MAX];

	*len = 0;
	CHECK(apikey_sparse_pack(registers, bytes, len), "it can be packed");
	return (uint8_t *) unit_copy((const char *) bytes, *len);
}

static void
test_there_and_back(uint64_t *state, int count)
{
	uint8_t		registers[APIKEY_SKETCH_REGISTERS];
	uint8_t		back[APIKEY_SKETCH_REGISTERS] = {0};
	uint8_t    *bytes;
	size_t		len;

	make(state, count, registers);
	bytes = pack(registers, &len);
	CHECK(len == (size_t) count * APIKEY_SPARSE_ENTRY, "%d registers: %zu bytes", count, len);
	CHECK(apikey_sparse_check(bytes, len), "%d registers: a good form", count);
	apikey_sparse_expand(bytes, len, back);
	CHECK(memcmp(registers, back, sizeof(back)) == 0, "%d registers: there and back", count);
	for (size_t cut = 1; cut < APIKEY_SPARSE_ENTRY && cut < len; cut++)
		CHECK(!apikey_sparse_check(bytes, len - cut), "cut off");
	free(bytes);
}

static void
test_merge(uint64_t *state, int na, int nb)
{
	uint8_t		a[APIKEY_SKETCH_REGISTERS];
	uint8_t		b[APIKEY_SKETCH_REGISTERS];
	uint8_t		back[APIKEY_SKETCH_REGISTERS] = {0};
	uint8_t    *packed_a;
	uint8_t    *packed_b;
	uint8_t    *out;
	size_t		alen;
	size_t		blen;
	size_t		len;
	bool		changed;
	bool		differs = false;

	make(state, na, a);
	make(state, nb, b);
	/* some in common, greater, equal and less */
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		if (a[i] != 0 && unit_below(state, 2) == 0 && nb < APIKEY_SPARSE_MAX / 2 && b[i] == 0)
			b[i] = (uint8_t) (a[i] > 1 && unit_below(state, 2) ? a[i] - 1 : a[i]);
	}
	packed_a = pack(a, &alen);
	packed_b = pack(b, &blen);
	out = (uint8_t *) unit_alloc(alen + blen);
	len = apikey_sparse_merge(packed_a, alen, packed_b, blen, out, &changed);
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		differs |= b[i] > a[i];
		a[i] = b[i] > a[i] ? b[i] : a[i];
	}
	apikey_sparse_expand(out, len, back);
	CHECK(memcmp(a, back, sizeof(back)) == 0, "%d and %d merged", na, nb);
	CHECK(changed == differs, "%d and %d: is it another?", na, nb);
	free(packed_a);
	free(packed_b);
	free(out);
}

static void
test_bad(void)
{
	static const struct
	{
		const char *what;
		const char *bytes;
		size_t		len;
	}			bad[] =
	{
		{"a value of 0", "\0\1\0", 3},
		{"a value that is too great", "\0\1\26", 3},
		{"a number that is too great", "\20\0\1", 3},
		{"the same number twice", "\0\1\1\0\1\1", 6},
		{"descending", "\0\2\1\0\1\1", 6},
		{"half an entry", "\0\1\1\0", 4},
	};
	uint8_t		registers[APIKEY_SKETCH_REGISTERS];
	uint8_t		bytes[APIKEY_SPARSE_BYTES_MAX];
	size_t		len;
	uint64_t	state = 1;

	for (int i = 0; i < LENGTH_OF(bad); i++)
		CHECK(!apikey_sparse_check((const uint8_t *) bad[i].bytes, bad[i].len), "%s", bad[i].what);
	CHECK(apikey_sparse_check((const uint8_t *) "\0\1\25\17\377\1", 6), "the last register, the greatest value");
	make(&state, APIKEY_SPARSE_MAX + 1, registers);
	CHECK(!apikey_sparse_pack(registers, bytes, &len), "too many registers");
}

int
main(void)
{
	test_bad();
	for (uint64_t seed = 1; seed <= 300; seed++)
	{
		uint64_t	state = seed;

		test_there_and_back(&state, unit_below(&state, APIKEY_SPARSE_MAX + 1));
		test_merge(&state, unit_below(&state, APIKEY_SPARSE_MAX / 2), unit_below(&state, APIKEY_SPARSE_MAX / 2));
	}
	test_there_and_back(&(uint64_t) {7}, 0);
	test_there_and_back(&(uint64_t) {7}, APIKEY_SPARSE_MAX);
	test_merge(&(uint64_t) {7}, APIKEY_SPARSE_MAX, APIKEY_SPARSE_MAX);
	return unit_finish("test_registers");
}
