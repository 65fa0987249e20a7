/*
 * unit.h
 *		What the unit tests of the pure layer share: checks that are counted,
 *		inputs that end where their memory ends, and repeatable randomness.
 */
#ifndef APIKEY_UNIT_H
#define APIKEY_UNIT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_OF(array)	((int) (sizeof(array) / sizeof((array)[0])))

/* A text of a table, NUL bytes included. */
#define TEXT(literal)		(literal), sizeof(literal) - 1

static int	unit_passed = 0;
static int	unit_failed = 0;

/*
 * Count a check; say where and what when it failed.
 */
static inline bool __attribute__((format(printf, 4, 5)))
unit_check(bool good, const char *file, int line, const char *format,...)
{
	va_list		args;

	if (good)
	{
		unit_passed++;
		return true;
	}
	unit_failed++;
	printf("%s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	return false;
}

#define CHECK(condition, ...) \
	unit_check((condition), __FILE__, __LINE__, __VA_ARGS__)

/*
 * Print the result line; returns the exit status.
 */
static inline int
unit_finish(const char *name)
{
	printf("%s: %d passed, %d failed\n", name, unit_passed, unit_failed);
	return unit_failed > 0;
}

/*
 * Get memory of exactly this size, so that the address sanitizer sees a read
 * behind the end; none at all for size 0.  To be freed.
 */
static inline char *
unit_alloc(size_t size)
{
	char	   *memory = size > 0 ? malloc(size) : NULL;

	if (size > 0 && memory == NULL)
		abort();
	return memory;
}

/*
 * Copy bytes to memory of exactly their length.  To be freed.
 */
static inline char *
unit_copy(const char *data, size_t len)
{
	char	   *copy = unit_alloc(len);

	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

/*
 * The same for len times one byte.
 */
static inline char *
unit_repeat(char c, size_t len)
{
	char	   *text = unit_alloc(len);

	if (len > 0)
		memset(text, c, len);
	return text;
}

/*
 * The next number of a repeatable sequence (splitmix64).
 */
static inline uint64_t
unit_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/*
 * A number from 0 up to, not including, limit.
 */
static inline int
unit_below(uint64_t *state, int limit)
{
	return (int) (unit_random(state) % (uint64_t) limit);
}

#endif							/* APIKEY_UNIT_H */
