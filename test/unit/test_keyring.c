/*
 * test_keyring.c
 *		Reading the text of a pepper file.
 */
#include "../../src/keyring.h"
#include "unit.h"

/* 64 hexadecimal digits: 32 bytes of one value each */
#define HEX8(digits)	digits digits digits digits digits digits digits digits
#define HEX64(digits)	HEX8(digits) HEX8(digits) HEX8(digits) HEX8(digits)
#define A64				HEX64("aa")
#define B64				HEX64("0B")

/*
 * apikey_keyring_parse() on a copy that ends where it ends, into memory of
 * exactly max entries.
 */
static int
parse(const char *text, size_t len, ApikeyKeyringEntry *entries, int max,
	  int *faulty_line)
{
	char	   *copy = unit_copy(text, len);
	ApikeyKeyringEntry *exact = (ApikeyKeyringEntry *)
		unit_alloc((size_t) max * sizeof(ApikeyKeyringEntry));
	int			count;

	*faulty_line = -1;
	count = apikey_keyring_parse(copy, len, exact, max, faulty_line);
	if (count > 0)
		memcpy(entries, exact, (size_t) count * sizeof(ApikeyKeyringEntry));
	free(exact);
	free(copy);
	return count;
}

/*
 * Are all bytes of the secret this one?
 */
static bool
is_all(const ApikeyKeyringEntry *entry, unsigned char byte)
{
	int			i;

	for (i = 0; i < APIKEY_PEPPER_LEN; i++)
		if (entry->secret[i] != byte)
			return false;
	return true;
}

/* Good texts: how many entries, and the id of the last one */
static void
test_good(void)
{
	static const struct
	{
		const char *text;
		size_t		len;
		int			count;
		int32_t		last_id;
	}			cases[] = {
		{TEXT(""), 0, 0},
		{TEXT("\n"), 0, 0},
		{TEXT("\n\n \t\r\n"), 0, 0},
		{TEXT("# nothing but a comment"), 0, 0},
		{TEXT("  # 1 " A64 "\n"), 0, 0},
		{TEXT("#\n#\n"), 0, 0},
		{TEXT("1 " A64), 1, 1},
		{TEXT("1 " A64 "\n"), 1, 1},
		{TEXT("1 " A64 "\r\n"), 1, 1},
		{TEXT("1 " A64 "\r\n\r\n2 " A64 "\r\n"), 2, 2},
		{TEXT(" \t1 \t " A64 " \t "), 1, 1},
		{TEXT("1\t" A64), 1, 1},
		{TEXT("01 " A64), 1, 1},
		{TEXT("0000000000000000000000000000007 " A64), 1, 7},
		{TEXT("2147483647 " A64), 1, 2147483647},
		{TEXT("2 " A64 "\n1 " B64), 2, 1},
		{TEXT("# first\n1 " A64 "\n\n# second\n2 " A64 "\n#end"), 2, 2},
		{TEXT("1 " A64 "\n2 " A64), 2, 2},	/* one secret, two ids */
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyKeyringEntry entries[4];
		int			faulty_line;
		int			count = parse(cases[i].text, cases[i].len, entries, 4,
								  &faulty_line);

		CHECK(count == cases[i].count, "case %d: %d entries, line %d of: %s",
			  i, count, faulty_line, cases[i].text);
		if (count == cases[i].count && count > 0)
			CHECK(entries[count - 1].id == cases[i].last_id,
				  "case %d: id %d", i, (int) entries[count - 1].id);
	}
}

/* Faulty texts, and the line that is to be named */
static void
test_faulty(void)
{
	static const struct
	{
		const char *text;
		size_t		len;
		int			line;
	}			cases[] = {
		{TEXT("1"), 1},
		{TEXT("1 "), 1},
		{TEXT("1" A64), 1},		/* no blank between */
		{TEXT(A64), 1},
		{TEXT("x " A64), 1},
		{TEXT("0 " A64), 1},
		{TEXT("00 " A64), 1},
		{TEXT("-1 " A64), 1},
		{TEXT("+1 " A64), 1},
		{TEXT("1.0 " A64), 1},
		{TEXT("2147483648 " A64), 1},
		{TEXT("4294967297 " A64), 1},	/* 1, did it wrap around */
		{TEXT("18446744073709551617 " A64), 1},
		{TEXT("99999999999999999999999999999999 " A64), 1},
		{TEXT("1 " A64 "a"), 1},
		{TEXT("1 " A64 "aa"), 1},
		{TEXT("1 " A64 " x"), 1},
		{TEXT("1 " A64 " # comment"), 1},
		{TEXT("1 " A64 A64), 1},
		{TEXT("1 " A64 "\0"), 1},
		{TEXT("1\0" A64), 1},
		{TEXT("\0"), 1},
		{TEXT("1 0x" A64), 1},
		{TEXT("1 " HEX8("aa") HEX8("aa") HEX8("aa") "aaaaaaaaaaaaaaa"), 1},
		{TEXT("1 " HEX8("aa") HEX8("aa") HEX8("aa") "aaaaaaaaaaaaaa"), 1},
		{TEXT("1 " HEX8("ag") HEX8("aa") HEX8("aa") HEX8("aa")), 1},
		{TEXT("1 " HEX8("aa") HEX8("aa") HEX8("aa") HEX8("a ")), 1},
		{TEXT("1 " HEX8("aa") HEX8("aa") "\n" HEX8("aa") HEX8("aa")), 1},
		{TEXT("\v1 " A64), 1},
		{TEXT("\357\273\2771 " A64), 1},	/* byte order mark */
		{TEXT("1 " A64 "\n1 " B64), 2}, /* one id, two secrets */
		{TEXT("1 " A64 "\n01 " A64), 2},
		{TEXT("1 " A64 "\n2 " A64 "\n1 " A64), 3},
		{TEXT("# good\n\n1 " A64 "\nbad\n"), 4},
		{TEXT("\n\n\nbad"), 4},
		{TEXT("1 " A64 "\r2 " A64), 1}, /* carriage return ends no line */
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyKeyringEntry entries[4];
		int			faulty_line;
		int			count = parse(cases[i].text, cases[i].len, entries, 4,
								  &faulty_line);

		CHECK(count == -1, "case %d: %d entries of: %s", i, count,
			  cases[i].text);
		CHECK(faulty_line == cases[i].line, "case %d: line %d of: %s", i,
			  faulty_line, cases[i].text);
	}
}

/*
 * Digits of either case, and every byte.
 */
static void
test_secrets(void)
{
	static const char lower[] = "0123456789abcdef";
	static const char upper[] = "0123456789ABCDEF";
	ApikeyKeyringEntry entries[2];
	int			faulty_line;
	int			byte;

	CHECK(parse(TEXT("1 " A64 "\n2 " B64), entries, 2, &faulty_line) == 2 &&
		  is_all(&entries[0], 0xaa) && is_all(&entries[1], 0x0b) &&
		  entries[0].id == 1 && entries[1].id == 2, "two secrets");
	CHECK(parse(TEXT("1 000102030405060708090a0b0c0d0e0f"
					 "F0e1D2c3B4a5968778695a4B3c2D1e0f"), entries, 2,
				&faulty_line) == 1 && entries[0].secret[0] == 0 &&
		  entries[0].secret[1] == 1 && entries[0].secret[15] == 15 &&
		  entries[0].secret[16] == 0xf0 && entries[0].secret[20] == 0xb4 &&
		  entries[0].secret[31] == 0x0f, "bytes in their order");
	for (byte = 0; byte < 256; byte++)
	{
		char		text[2 + 2 * APIKEY_PEPPER_LEN];
		int			i;

		text[0] = '5';
		text[1] = ' ';
		for (i = 0; i < APIKEY_PEPPER_LEN; i++)
		{
			const char *digits = i % 2 ? lower : upper;

			text[2 + 2 * i] = digits[byte >> 4];
			text[3 + 2 * i] = digits[byte & 15];
		}
		CHECK(parse(text, sizeof(text), entries, 2, &faulty_line) == 1 &&
			  is_all(&entries[0], (unsigned char) byte), "byte %d", byte);

		/* only hexadecimal digits are digits */
		text[40] = (char) byte;
		CHECK((parse(text, sizeof(text), entries, 2, &faulty_line) == 1) ==
			  (byte != 0 && strchr("0123456789abcdefABCDEF", byte) != NULL),
			  "character %d", byte);
	}
}

/*
 * As many entries as there is room for, and not one more.
 */
static void
test_room(void)
{
	enum
	{
		LINES = APIKEY_KEYRING_MAX + 1, LINE_MAX_BYTES = 80
	};
	char	   *text = unit_alloc(LINES * LINE_MAX_BYTES);
	ApikeyKeyringEntry *entries = (ApikeyKeyringEntry *)
		unit_alloc(APIKEY_KEYRING_MAX * sizeof(ApikeyKeyringEntry));
	size_t		len = 0;
	size_t		full = 0;
	int			faulty_line;
	int			i;

	for (i = 1; i <= LINES; i++)
	{
		full = len;
		len += (size_t) sprintf(text + len, "%d %s\n", i, A64);
	}
	CHECK(full <= APIKEY_KEYRING_BYTES_MAX, "a full file is not too large");
	CHECK(parse(text, full, entries, APIKEY_KEYRING_MAX,
				&faulty_line) == APIKEY_KEYRING_MAX, "full");
	CHECK(entries[APIKEY_KEYRING_MAX - 1].id == APIKEY_KEYRING_MAX,
		  "last entry");
	CHECK(parse(text, len, entries, APIKEY_KEYRING_MAX, &faulty_line) == -1 &&
		  faulty_line == LINES, "one too many, line %d", faulty_line);
	CHECK(parse(TEXT("# c\n\n"), entries, 0, &faulty_line) == 0, "no room needed");
	CHECK(parse(TEXT("1 " A64), entries, 0, &faulty_line) == -1 &&
		  faulty_line == 1, "no room at all");
	free(entries);
	free(text);
}

/*
 * Good lines with a byte changed, cut off or doubled: never more than what a
 * naive look at the lines allows, and no read outside of the text.
 */
static void
test_random(void)
{
	enum
	{
		ROUNDS = 20000
	};
	static const char good[] = "# pepper\n1 " A64 "\n\n 22 " B64 " \n333\t" A64;
	uint64_t	state = 7;
	int			i;

	for (i = 0; i < ROUNDS; i++)
	{
		char		text[sizeof(good)];
		size_t		len = sizeof(good) - 1;
		ApikeyKeyringEntry entries[3];
		int			faulty_line;
		int			lines = 1;
		int			count;
		size_t		j;

		memcpy(text, good, sizeof(good));
		if (unit_below(&state, 3) == 0)
			len = (size_t) unit_below(&state, (int) len + 1);
		else
			text[unit_below(&state, (int) len)] =
				" \t\r\n#09afg\0\377"[unit_below(&state, 12)];
		for (j = 0; j < len; j++)
			lines += text[j] == '\n';
		count = parse(text, len, entries, 3, &faulty_line);
		CHECK(count >= -1 && count <= 3, "%d entries", count);
		CHECK(count >= 0 || (faulty_line >= 1 && faulty_line <= lines),
			  "line %d of %d", faulty_line, lines);
		for (j = 0; count > 0 && j < (size_t) count; j++)
			CHECK(entries[j].id > 0, "id %d", (int) entries[j].id);
	}
}

int
main(void)
{
	test_good();
	test_faulty();
	test_secrets();
	test_room();
	test_random();
	return unit_finish("test_keyring");
}
