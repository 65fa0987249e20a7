/*
 * usage_period.h
 *		Adding counts to the tables by hour and by day.
 */
#ifndef APIKEY_USAGE_PERIOD_H
#define APIKEY_USAGE_PERIOD_H

#include "postgres.h"

#include "nodes/execnodes.h"

#include "batch.h"
#include "upsert.h"

/* Counts of a key in an hour, and where they belong */
typedef struct ApikeyCount
{
	Usage	   *usage;
	const struct varlena *sketch;	/* more addresses; NULL: none */
	Datum		node;			/* text */
	Datum		account;		/* text; 0: not known */
	bool		gone;			/* the key is, or is about to be */
} ApikeyCount;

/* An array of them that grows in the context in which it was made */
typedef struct ApikeyCounts
{
	ApikeyCount *counts;
	int			n;
	int			size;
	MemoryContext context;
} ApikeyCounts;

extern void apikey_counts_init(ApikeyCounts *counts, int size);
extern ApikeyCount *apikey_counts_add(ApikeyCounts *counts);

/*
 * Add counts to the rows of their hours, and to those of their days, in any
 * order; sorts them.
 */
extern void apikey_counts_write(EState *estate, ApikeyCounts *counts);

/*
 * Add a count to the columns of a row that an upsert has found; the columns
 * are those from requests to addresses, in this order.
 */
extern void apikey_count_add_to(ApikeyUpsert *upsert, int requests,
								const ApikeyCount *count);

#endif							/* APIKEY_USAGE_PERIOD_H */
