/*
 * usage_partition.c
 *		The partitions of the tables by hour and by day that counts go to.
 *
 * Counts go there straight, for the partitions have the primary keys
 * (45_usage.sql); to one that was the wrong one a moment later no row can be
 * added.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "usage_partition.h"

#define COUNT_COLUMNS(period) \
	{ \
		"key_id", period, "node", "account", "requests", "refused", \
		"errors_4xx", "errors_5xx", "addresses" \
	}

/* Days since 2000-01-01 of UTC */
static int64
day_of(TimestampTz at)
{
	int64		day = at / USECS_PER_DAY;

	return at % USECS_PER_DAY < 0 ? day - 1 : day;
}

static Datum
hour_itself(TimestampTz hour)
{
	return TimestampTzGetDatum(hour);
}

static Datum
date_of_hour(TimestampTz hour)
{
	return DateADTGetDatum((DateADT) day_of(hour));
}

static bool
same_hour(TimestampTz hour, TimestampTz other)
{
	return hour == other;
}

static bool
same_day(TimestampTz hour, TimestampTz other)
{
	return day_of(hour) == day_of(other);
}

static int
day_of_hour(TimestampTz hour)
{
	return (int) day_of(hour);
}

/* Months since the year 0 */
static int
month_of_hour(TimestampTz hour)
{
	int			year;
	int			month;
	int			mday;

	j2date((int) day_of(hour) + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	return year * MONTHS_PER_YEAR + month - 1;
}

static void
name_of_day(int number, char *name)
{
	int			year;
	int			month;
	int			mday;

	j2date(number + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	snprintf(name, NAMEDATALEN, "usage_hour_p%04d%02d%02d", year, month, mday);
}

static void
name_of_month(int number, char *name)
{
	snprintf(name, NAMEDATALEN, "usage_day_p%04d%02d",
			 number / MONTHS_PER_YEAR, number % MONTHS_PER_YEAR + 1);
}

const ApikeyPeriod apikey_by_hour = {
	.parent = APIKEY_REL_USAGE_HOUR,
	.columns = COUNT_COLUMNS("hour"),
	.of_hour = hour_itself,
	.same = same_hour,
	.partition_of_hour = day_of_hour,
	.partition_name = name_of_day,
};

const ApikeyPeriod apikey_by_day = {
	.parent = APIKEY_REL_USAGE_DAY,
	.columns = COUNT_COLUMNS("day"),
	.of_hour = date_of_hour,
	.same = same_day,
	.partition_of_hour = month_of_hour,
	.partition_name = name_of_month,
};

/*
 * A partition by name, or the default one if there is none.
 */
static Relation
open_partition(const ApikeyPeriod *period, int number)
{
	Oid			parent = apikey_relation(period->parent);
	Oid			schema = get_rel_namespace(parent);
	char		name[NAMEDATALEN];
	Oid			relid;

	period->partition_name(number, name);
	relid = get_relname_relid(name, schema);
	if (!OidIsValid(relid) || !get_rel_relispartition(relid) ||
		get_partition_parent(relid, true) != parent)
	{
		snprintf(name, NAMEDATALEN, "%s_default", get_rel_name(parent));
		relid = get_relname_relid(name, schema);
	}
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table apikey.%s does not exist", name),
				 errdetail("Counts for which there is no partition go there.")));
	return table_open(relid, RowExclusiveLock);
}

List *
apikey_partitions_open(const ApikeyPeriod *period, const List *numbers,
					   EState *estate)
{
	List	   *partitions = NIL;
	const ListCell *cell;

	foreach(cell, numbers)
	{
		ApikeyPartition *partition = palloc(sizeof(ApikeyPartition));
		Relation	rel = open_partition(period, lfirst_int(cell));
		ListCell   *other;

		partition->number = lfirst_int(cell);
		partition->upsert = NULL;
		foreach(other, partitions)
		{
			ApikeyPartition *before = lfirst(other);

			if (RelationGetRelid(before->upsert->rel) == RelationGetRelid(rel))
				partition->upsert = before->upsert;
		}
		if (partition->upsert != NULL)
			table_close(rel, NoLock);
		else
			partition->upsert = apikey_upsert_begin(estate, rel,
													period->columns,
													COUNT_NCOLUMNS, COUNT_NKEYS);
		partitions = lappend(partitions, partition);
	}
	return partitions;
}

ApikeyUpsert *
apikey_partition_of(const List *partitions, int number)
{
	const ListCell *cell;

	/* as a rule there is one, and when it ends there are two */
	foreach(cell, partitions)
	{
		const ApikeyPartition *partition = lfirst(cell);

		if (partition->number == number)
			return partition->upsert;
	}
	elog(ERROR, "partition %d was not opened", number);
	return NULL;				/* keep compiler quiet */
}

void
apikey_partitions_close(List *partitions)
{
	List	   *closed = NIL;
	ListCell   *cell;

	foreach(cell, partitions)
	{
		ApikeyPartition *partition = lfirst(cell);

		if (list_member_ptr(closed, partition->upsert))
			continue;
		apikey_upsert_end(partition->upsert);
		closed = lappend(closed, partition->upsert);
	}
}
