/*
 * keycache.h
 *		Decoded keys that a backend keeps, by their text.
 */
#ifndef APIKEY_KEYCACHE_H
#define APIKEY_KEYCACHE_H

#include "postgres.h"

#include "keystore.h"
#include "limits.h"
#include "policy.h"

typedef struct ApikeyCachedKey ApikeyCachedKey;

/* So many limits of a key are remembered; who has more is looked up each time */
#define APIKEY_MEMO_LIMITS		4

/* The limits that bind a key, and the hashes of their meters */
typedef struct ApikeyLimitsMemo
{
	uint64		number;			/* of apikey_limits_number(); 0: not known */
	int			count;
	const ApikeyLimit *limit[APIKEY_MEMO_LIMITS];
	uint64		hash[APIKEY_MEMO_LIMITS];
} ApikeyLimitsMemo;

/*
 * The verdict on a key that passes, as a row, with room for what differs from
 * call to call, and behind it what verdict.c adds.
 */
typedef struct ApikeyVerdictMemo
{
	void	   *row;			/* NULL: none */
	Size		len;
	uint64		desc;			/* number of the descriptor it was formed under */
	uint64		limit;			/* serial of the limit in it; 0: none */
	int32		limit_max;
	bool		has_limit;
	bool		has_credits;
} ApikeyVerdictMemo;

/*
 * What others have worked out from a key; all zero to begin with, and
 * forgotten with the key.
 */
typedef struct ApikeyKeyMemo
{
	/* of the peppers of this serial one is that of the key */
	uint64		peppers;
	bool		on_standby;		/* and lasts only there */

	/* of the policy of this number */
	uint64		policy;
	bool		well_formed;	/* a kind has such keys */
	const ApikeyKind *kind;
	const ApikeyAccount *account;
	uint64		query;			/* serial of a query that is satisfied */

	uint64		account_hash;	/* 0: not known */
	ApikeyLimitsMemo limits;
	bool		used;			/* a verdict was asked for before */
	ApikeyVerdictMemo verdict;
} ApikeyKeyMemo;

/*
 * The key with this text, if it is kept; whether it still is what the table
 * says is to be asked of keystore.h.
 */
extern ApikeyCachedKey *apikey_keycache_find(const char *text, size_t len);

/*
 * Let the processor fetch what a call will look at if it passes: where many
 * sessions take turns, little of it is near.
 */
extern void apikey_keycache_prefetch(const ApikeyCachedKey *cached);

/* Look at it.  Good until the next call that adds or removes one. */
extern const ApikeyKey *apikey_keycache_key(const ApikeyCachedKey *cached);

/*
 * The generation (see apikey_key_generation) under which its row was last
 * looked at.
 */
extern uint64 apikey_keycache_generation(const ApikeyCachedKey *cached);
extern void apikey_keycache_confirm(ApikeyCachedKey *cached,
									uint64 generation);

/*
 * Keep a copy of a key, that of the text which was last looked for; NULL if it
 * is not to be kept.  When there is no room
 * others give way, those first that were not used for longest, but only to a
 * key that was offered before not long ago: keys that come once in a while
 * are not worth a copy.
 */
extern ApikeyCachedKey *apikey_keycache_add(const ApikeyKey *key,
											TupleDesc desc,
											uint64 generation);

extern ApikeyKeyMemo *apikey_keycache_memo(ApikeyCachedKey *cached);

/* Set the row of its verdict to a copy of this, or (NULL) to nothing. */
extern void apikey_keycache_note_row(ApikeyCachedKey *cached,
									 const void *row, Size len);

extern void apikey_keycache_remove(ApikeyCachedKey *cached);

#endif							/* APIKEY_KEYCACHE_H */
