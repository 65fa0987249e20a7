/*
 * tokens.h
 *		Formats and random key texts for the tests.
 */
#ifndef APIKEY_TOKENS_H
#define APIKEY_TOKENS_H

#include "../../src/token.h"
#include "unit.h"

static const char digits62[] =
	"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Longest key text of any format. */
#define FORMAT_TEXT_MAX \
	(APIKEY_PREFIX_MAX + APIKEY_BODY_MAX + APIKEY_CHECKSUM_LEN)

/*
 * Make a format.
 */
static inline ApikeyFormat
make_format(const char *prefix, int body, bool checksum)
{
	ApikeyFormat format;

	memset(&format, 0, sizeof(format));
	strcpy(format.prefix, prefix);
	format.prefix_len = (uint16_t) strlen(prefix);
	format.body_length = (uint16_t) body;
	format.checksum = checksum;
	return format;
}

/*
 * Write a random key text of a format; returns its length.
 */
static inline size_t
random_token(const ApikeyFormat *format, uint64_t *state, char *out)
{
	char		body[APIKEY_BODY_MAX];
	int			i;

	for (i = 0; i < format->body_length; i++)
		body[i] = digits62[unit_below(state, 62)];
	apikey_token_write(format, body, out);
	return apikey_token_length(format);
}

#endif							/* APIKEY_TOKENS_H */
