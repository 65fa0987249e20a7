/*
 * import_scheme.h
 *		The ways in which keys of other systems are written and hashed.
 */
#ifndef APIKEY_IMPORT_SCHEME_H
#define APIKEY_IMPORT_SCHEME_H

#include "postgres.h"

#include "utils/uuid.h"

#include "hashtext.h"

#define APIKEY_SEPARATOR_MAX	16	/* bytes */
#define APIKEY_LOOKUP_MAX		255 /* bytes */
#define APIKEY_SCHEMES_MAX		32	/* each costs a hash for unknown texts */

/*
 * A row of apikey.import_scheme: the text is cut at the first occurrence of
 * the separator, else behind lookup_length bytes, else not at all.
 */
typedef struct ApikeyScheme
{
	int32		id;
	ApikeyHashAlgorithm algorithm;
	char		separator[APIKEY_SEPARATOR_MAX + 1];
	size_t		separator_len;	/* 0: none */
	size_t		lookup_length;	/* 0: none */
	bool		after;			/* only what is behind the cut was hashed */
	int32		secret_id;		/* of the HMAC; 0: none */
	const unsigned char *secret;
	size_t		secret_len;
} ApikeyScheme;

/* A text, cut as a scheme says */
typedef struct ApikeyCut
{
	const char *before;			/* NULL: not cut */
	size_t		before_len;
	const char *part;			/* what was hashed */
	size_t		part_len;
} ApikeyCut;

/* The schemes as of now; good until the next call of a function here. */
extern const ApikeyScheme *apikey_schemes(int *count);

/* Were keys ever imported, so that any text may be a key? */
extern bool apikey_imports_exist(void);

/* Cut a text; false if it can't be a key of this scheme. */
extern bool apikey_scheme_cut(const ApikeyScheme *scheme, const char *text,
							  size_t len, ApikeyCut *cut);

/* Hash without a salt; returns the length, 0 if the algorithm is salted. */
extern size_t apikey_scheme_hash(const ApikeyScheme *scheme,
								 const char *part, size_t len,
								 unsigned char hash[APIKEY_HASH_BYTES_MAX]);

/*
 * What recognises a hash that was imported before; false if nothing was
 * imported yet, then this hash was not, either.
 */
extern bool apikey_import_fingerprint(const ApikeyHash *hash,
									  pg_uuid_t *fingerprint);

/*
 * The number of such a scheme; its own numbers are not looked at.  False if
 * there is none.
 */
extern bool apikey_scheme_find(const ApikeyScheme *wanted, int32 *id);

/* Make what is missing, as the owner and with apikey_import_lock() held. */
extern void apikey_import_ensure_fingerprints(void);
extern int32 apikey_scheme_ensure(const ApikeyScheme *wanted);

#endif							/* APIKEY_IMPORT_SCHEME_H */
