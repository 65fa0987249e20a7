/*
 * token.h
 *		The text of a key: prefix + body + checksum.
 *
 * Pure: no server headers, no allocation, no global state.  All lengths are
 * in bytes; texts need not be NUL terminated.
 */
#ifndef APIKEY_TOKEN_H
#define APIKEY_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define APIKEY_TOKEN_MAX		512 /* longest key text */
#define APIKEY_PREFIX_MAX		32
#define APIKEY_BODY_MIN			22	/* 128 bits */
#define APIKEY_BODY_MAX			200
#define APIKEY_CHECKSUM_LEN		6
#define APIKEY_GAP_MAX			32	/* bytes of a display mask's gap */
#define APIKEY_DISPLAY_MAX		(APIKEY_TOKEN_MAX + APIKEY_GAP_MAX)

/* How the keys of one kind are written. */
typedef struct ApikeyFormat
{
	char		prefix[APIKEY_PREFIX_MAX + 1];
	uint16_t	prefix_len;
	uint16_t	body_length;
	bool		checksum;
} ApikeyFormat;

/* How the keys of one kind are shown once they have been handed out. */
typedef struct ApikeyMask
{
	bool		prefix;			/* show prefix, and count head from the body */
	uint16_t	head;
	uint16_t	tail;
	char		gap[APIKEY_GAP_MAX + 1];
} ApikeyMask;

/* The CRC-32 of zlib and IEEE 802.3. */
extern uint32_t apikey_crc32(const char *data, size_t len);

/* Length of every key text of this format. */
extern size_t apikey_token_length(const ApikeyFormat *format);

/*
 * Fill in base62 digits from random bytes, without bias (bytes from 248 up
 * are skipped).  Returns how many digits were written, at most want.
 */
extern size_t apikey_token_digits(const uint8_t *random, size_t nrandom,
								  char *digits, size_t want);

/*
 * Write prefix + body + checksum to out, which has room for
 * apikey_token_length() bytes; body has format->body_length base62 digits.
 */
extern void apikey_token_write(const ApikeyFormat *format, const char *body,
							   char *out);

/* Does the text have this format, checksum included? */
extern bool apikey_token_matches(const ApikeyFormat *format,
								 const char *text, size_t len);

/*
 * Write the display mask of a key text.  Head and tail are left out where
 * they would leave fewer than APIKEY_BODY_MIN characters hidden.  out has
 * room for APIKEY_DISPLAY_MAX + 1 bytes and is NUL terminated; returns the
 * length.
 */
extern size_t apikey_token_display(const ApikeyFormat *format,
								   const ApikeyMask *mask,
								   const char *text, size_t len, char *out);

/*
 * Find the next key text of any of the formats in a document, from offset
 * start on.  Returns false when there is none; otherwise *pos and *which say
 * where and of which format.  Of several formats that fit at one place one
 * with checksum wins, then the longer, then the first in the list.  A text of
 * a format without prefix counts only where no base62 digit precedes or
 * follows it; with a prefix anything may.  Linear in the length of the
 * document for a fixed list of formats, also when called again and again
 * with start behind the last find.
 */
extern bool apikey_token_find(const ApikeyFormat *formats, int nformats,
							  const char *doc, size_t len, size_t start,
							  size_t *pos, int *which);

/* Is there a key text of this format at this place of the document? */
extern bool apikey_token_fits(const ApikeyFormat *format, const char *doc,
							  size_t len, size_t pos);

#endif							/* APIKEY_TOKEN_H */
