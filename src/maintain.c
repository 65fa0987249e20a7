/*
 * maintain.c
 *		What the flush worker looks after besides the flush: partitions,
 *		retention, and hours of keys that are not used any more.
 *
 * Each is a transaction of its own, or several, so that counts never wait for
 * it for long.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "flush.h"
#include "maintain.h"
#include "settings.h"
#include "spi_plan.h"
#include "usage.h"

/*
 * Do something in a transaction, as the owner, if there is an extension.
 */
static void
run(void (*work) (ApikeyDatabase *), ApikeyDatabase *database,
	const char *activity)
{
	ApikeyPrivileges saved;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
	if (apikey_become_owner(&saved))
	{
		SPI_connect();
		work(database);
		SPI_finish();
		apikey_leave(&saved);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
execute_with_retention(ApikeyPlan *plan)
{
	Datum		values[2];

	values[0] = Int32GetDatum(apikey_usage_hourly_retention);
	values[1] = Int32GetDatum(apikey_usage_daily_retention);
	apikey_plan_execute(plan, values, NULL, SPI_OK_SELECT);
}

/*
 * Begin to settle hours when the day has turned, or retention has changed.  Not
 * before there are keys: a restore may be about to bring the rows that would be
 * added.
 */
static void
begin_to_settle(ApikeyDatabase *database)
{
	static ApikeyPlan plan = {
		.query = "SELECT CASE WHEN apikey.is_in_use() THEN apikey.usage_kept_from("
		"clock_timestamp(), make_interval(mins => $1), make_interval(mins => $2)) END",
		.nargs = 2,
		.types = {INT4OID, INT4OID},
	};
	TimestampTz kept_from;
	bool		isnull;

	execute_with_retention(&plan);
	kept_from = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
												  SPI_tuptable->tupdesc, 1,
												  &isnull));
	if (isnull)
		kept_from = DT_NOBEGIN;
	if (database->kept_from == kept_from)
		return;
	database->kept_from = kept_from;
	database->settle_block = isnull ? InvalidBlockNumber : 0;
}

static void
maintain(ApikeyDatabase *database)
{
	static ApikeyPlan usage = {
		.query = "SELECT apikey.maintain_usage(clock_timestamp(), make_interval(mins => $1), make_interval(mins => $2))",
		.nargs = 2,
		.types = {INT4OID, INT4OID},
	};
	static ApikeyPlan sessions = {
		.query = "SELECT apikey.maintain_sessions(clock_timestamp())",
	};
	static ApikeyPlan credits = {.query = "SELECT apikey.maintain_credits()"};
	static ApikeyPlan audit = {
		.query = "SELECT apikey.maintain_audit(clock_timestamp() - make_interval(mins => $1))",
		.nargs = 1,
		.types = {INT4OID},
	};
	Datum		audit_retention = Int32GetDatum(apikey_audit_retention);

	execute_with_retention(&usage);
	begin_to_settle(database);
	apikey_plan_execute(&sessions, NULL, NULL, SPI_OK_SELECT);
	apikey_plan_execute(&credits, NULL, NULL, SPI_OK_SELECT);
	if (apikey_audit_retention > 0)
		apikey_plan_execute(&audit, &audit_retention, NULL, SPI_OK_SELECT);
}

void
apikey_maintain(ApikeyDatabase *database)
{
	run(maintain, database, "looking after partitions of API key usage");
}

static void
settle(ApikeyDatabase *database)
{
	BlockNumber block = database->settle_block;
	int64		settled = 0;

	if (apikey_usage_settle(database->kept_from, &block, &settled))
		database->settle_block = block;
}

bool
apikey_settle(ApikeyDatabase *database)
{
	BlockNumber block = database->settle_block;

	if (block == InvalidBlockNumber)
		return false;
	run(settle, database, "settling API key usage");
	return database->settle_block != block &&
		database->settle_block != InvalidBlockNumber;
}
