/*
 * usage_partition.h
 *		The partitions of the tables by hour and by day that counts go to.
 */
#ifndef APIKEY_USAGE_PARTITION_H
#define APIKEY_USAGE_PARTITION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "catalog.h"
#include "upsert.h"

/* Columns of both tables, by their number for apikey_upsert_get(); the first
 * three are the primary key */
enum
{
	COUNT_KEY_ID, COUNT_PERIOD, COUNT_NODE, COUNT_ACCOUNT, COUNT_REQUESTS,
	COUNT_REFUSED, COUNT_ERRORS_4XX, COUNT_ERRORS_5XX, COUNT_ADDRESSES,
	COUNT_NCOLUMNS
};

#define COUNT_NKEYS	(COUNT_NODE + 1)

/* Hours or days: a table, and what a partition of it covers */
typedef struct ApikeyPeriod
{
	ApikeyRelation parent;
	const char *columns[COUNT_NCOLUMNS];
	Datum		(*of_hour) (TimestampTz hour);	/* the value of its column */
	bool		(*same) (TimestampTz hour, TimestampTz other);
	int			(*partition_of_hour) (TimestampTz hour);
	void		(*partition_name) (int number, char *name);
} ApikeyPeriod;

extern const ApikeyPeriod apikey_by_hour;
extern const ApikeyPeriod apikey_by_day;

/* A partition that is open; several numbers may lie in the default one */
typedef struct ApikeyPartition
{
	int			number;
	ApikeyUpsert *upsert;
} ApikeyPartition;

/* Partitions with these numbers, in this order; and what to write to. */
extern List *apikey_partitions_open(const ApikeyPeriod *period,
									const List *numbers, EState *estate);
extern ApikeyUpsert *apikey_partition_of(const List *partitions, int number);
extern void apikey_partitions_close(List *partitions);

#endif							/* APIKEY_USAGE_PARTITION_H */
