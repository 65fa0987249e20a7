/*
 * purge.c
 *		Removing what was counted for keys that are removed, while the flush
 *		worker may be counting.
 *
 * A flush that is writing usage of a key keeps apikey.purge() waiting, which
 * then removes that usage as well.  A flush that finds keys being removed
 * waits for nobody: it leaves out those that may be among them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"

#include "apikey.h"
#include "catalog.h"
#include "locks.h"
#include "spi_plan.h"

PG_FUNCTION_INFO_V1(apikey_sql_lock_for_purge);

/*
 * apikey.lock_for_purge() returns void
 */
Datum
apikey_sql_lock_for_purge(PG_FUNCTION_ARGS)
{
	apikey_lock_for_purge();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(apikey_sql_try_lock_for_usage);

/*
 * apikey.try_lock_for_usage() returns boolean
 */
Datum
apikey_sql_try_lock_for_usage(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(apikey_try_lock_for_usage());
}

PG_FUNCTION_INFO_V1(apikey_sql_forget_usage);

/*
 * apikey.forget_usage(key_ids) returns void
 *		In every isolation level removes what has been counted by now: the
 *		snapshot of a transaction may be older than the last flush.
 */
Datum
apikey_sql_forget_usage(PG_FUNCTION_ARGS)
{
#define FORGET(table) { \
		.query = "DELETE FROM apikey." table " t USING unnest($1) gone (key_id)" \
		" WHERE t.key_id = gone.key_id", \
		.nargs = 1, \
		.types = {UUIDARRAYOID}, \
	}
	static ApikeyPlan plans[] = {
		FORGET("usage_hour"), FORGET("usage_day"), FORGET("key_use"),
		FORGET("recent_error")
	};
	Datum		key_ids = PG_GETARG_DATUM(0);

	SPI_connect();
	for (int i = 0; i < lengthof(plans); i++)
		apikey_plan_execute_latest(&plans[i], &key_ids, SPI_OK_DELETE);
	SPI_finish();
	PG_RETURN_VOID();
}
