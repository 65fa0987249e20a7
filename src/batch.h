/*
 * batch.h
 *		The buffered events of one database, added up.
 */
#ifndef APIKEY_BATCH_H
#define APIKEY_BATCH_H

#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/uuid.h"

#include "buffer.h"

/* Counts of one key in one hour */
typedef struct UsageKey
{
	pg_uuid_t	key_id;
	TimestampTz hour;
} UsageKey;

typedef struct Usage
{
	UsageKey	key;			/* hash key */
	int64		requests;
	int64		refused;
	int64		errors_4xx;
	int64		errors_5xx;
	TimestampTz last_used;		/* 0: never */
	uint32	   *hashes;			/* of addresses, with duplicates */
	int			nhashes;
	int			hashes_size;
	ApikeyPlace place;			/* of the key's row, if the tid is valid: a hint */
	bool		rotated;		/* the key may have had a successor */
	uint32		status;			/* of the hash table */
} Usage;

/* An error; texts live in the batch's context */
typedef struct Failure
{
	ApikeyEventHead head;
	int			number;			/* in the order of the buffer */
	char	   *text[4];		/* code, method, path, request id */
} Failure;

/* A key to be stored under the current pepper */
typedef struct Rehash
{
	pg_uuid_t	key_id;			/* hash key */
	ApikeyRehash to;
} Rehash;

/* When a session was last used */
typedef struct SessionUse
{
	pg_uuid_t	session_id;		/* hash key */
	TimestampTz last_used;
} SessionUse;

/* Credits spent under an epoch */
typedef struct Spent
{
	uint64		epoch;			/* hash key */
	int64		amount;
} Spent;

typedef struct Batch
{
	struct usagehash_hash *usage;
	HTAB	   *sessions;
	HTAB	   *spent;
	HTAB	   *rehash;
	Failure    *failures;
	int			nfailures;
	int			failures_size;
	int			max;
} Batch;

/*
 * Add up what is buffered before these limits, in the current context, but of
 * no more than so many keys and errors; the limits then say how far it came.
 */
extern void apikey_batch_collect(Batch *batch, Oid database,
								 uint64 limit[APIKEY_RINGS], int max);

/* The counts in ascending order of key and hour. */
extern Usage **apikey_batch_usage(const Batch *batch, int *count);

/* What was spent, in ascending order of epochs as the table sorts them. */
extern Spent **apikey_batch_spent(const Batch *batch, int *count);

/* Errors by key, the newest of each key first. */
extern void apikey_batch_sort_failures(Batch *batch);

/* Sort counts like that. */
extern void apikey_usage_sort(Usage **rows, int count);

#endif							/* APIKEY_BATCH_H */
