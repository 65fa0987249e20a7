/*
 * ascii.h
 *		Bytes as ASCII, whatever the locale says, and small decimal numbers.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_ASCII_H
#define APIKEY_ASCII_H

#include <stdbool.h>
#include <stddef.h>

#define ASCII_DECIMAL_BASE	10

/* Is it one of the blanks that separate or surround: space, tab, LF, CR? */
static inline bool
ascii_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline bool
ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Is it a letter or digit, in other words a base62 digit? */
static inline bool
ascii_is_alnum(char c)
{
	return ascii_is_digit(c) || (c >= 'a' && c <= 'z') ||
		(c >= 'A' && c <= 'Z');
}

/* The value of a hexadecimal digit, -1 for anything else */
static inline int
ascii_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static inline char
ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/* Leave out the blanks at both ends of a text. */
static inline void
ascii_trim(const char **text, size_t *len)
{
	while (*len > 0 && ascii_is_blank((*text)[*len - 1]))
		(*len)--;
	while (*len > 0 && ascii_is_blank(**text))
	{
		(*text)++;
		(*len)--;
	}
}

/*
 * Read a decimal number from 0 to max, without sign or leading zeros; max
 * must be well below INT_MAX / 10.  False for everything else.
 */
static inline bool
ascii_read_number(const char *text, size_t len, int max, int *value)
{
	size_t		i;

	if (len == 0 || (len > 1 && text[0] == '0'))
		return false;
	*value = 0;
	for (i = 0; i < len; i++)
	{
		if (!ascii_is_digit(text[i]))
			return false;
		*value = *value * ASCII_DECIMAL_BASE + (text[i] - '0');
		if (*value > max)
			return false;
	}
	return true;
}

/* Read nbytes bytes, of two hexadecimal digits each; false if there are others. */
static inline bool
ascii_hex_bytes(const char *text, unsigned char *bytes, size_t nbytes)
{
	size_t		i;

	for (i = 0; i < nbytes; i++)
	{
		int			high = ascii_hex_value(text[2 * i]);
		int			low = ascii_hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (unsigned char) (high << 4 | low);
	}
	return true;
}

/* Write a number from 0 up in decimal, without NUL; returns the length. */
static inline size_t
ascii_write_number(int value, char *out)
{
	size_t		len = 1;
	size_t		i;
	int			rest;

	for (rest = value; rest >= ASCII_DECIMAL_BASE; rest /= ASCII_DECIMAL_BASE)
		len++;
	for (i = len; i > 0; i--)
	{
		out[i - 1] = (char) ('0' + value % ASCII_DECIMAL_BASE);
		value /= ASCII_DECIMAL_BASE;
	}
	return len;
}

#endif							/* APIKEY_ASCII_H */
