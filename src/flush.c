/*
 * flush.c
 *		Writing buffered events of one database to its tables.
 *
 * Exactly once: a batch has a number, which is written to apikey.flush_state
 * in the same transaction.  Its number and limits stand in shared memory
 * before that transaction begins; whoever flushes next and finds a batch in
 * flight asks the table whether it was committed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inet.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "batch.h"
#include "buffer.h"
#include "catalog.h"
#include "compat.h"
#include "flush.h"
#include "keystore.h"
#include "record.h"
#include "settings.h"
#include "shmem.h"
#include "spi_plan.h"
#include "usage.h"

/* Below deadlock_timeout: the user's statement is never the one to give way */
#define LOCK_TIMEOUT		"500ms"
#define ERRORS_MAX			50	/* kept per key, so more need not be written */

/*
 * Keys and errors of a batch at most, by how many quarters of a ring are full:
 * many, so that some neighbours lie on one page of the index, where there is
 * time; where calls are slowed down, so few that writing them takes less than
 * the time for which who finds no room waits for it.
 */
static const int batch_max[] = {32768, 32768, 8192, 2048, 1024};

/* How long a reader of quotas can keep the next batch from beginning */
#define HOLD_MAX_MS			500
#define HOLD_USECS			5000

static Datum
make_array(Datum *values, bool *nulls, int count, Oid type, int16 len,
		   bool byval, char align)
{
	int			dims[1] = {count};
	int			lower[1] = {1};

	if (count == 0)
		return PointerGetDatum(construct_empty_array(type));
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lower,
											  type, len, byval, align));
}

static Datum
node_datum(void)
{
	char		text[32];

	snprintf(text, sizeof(text), UINT64_FORMAT, GetSystemIdentifier());
	return CStringGetTextDatum(text);
}

/*
 * Add the counts to their tables.
 */
static uint64
apply_usage(Batch *batch)
{
	int			count;
	Usage	  **rows = apikey_batch_usage(batch, &count);

	return apikey_usage_write(node_datum(), rows, count);
}

/*
 * Hand the newest errors of each key to apikey.apply_errors().
 */
static void
apply_errors(Batch *batch)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.apply_errors($1, $2, $3, $4, $5, $6, $7, $8)",
		.nargs = 8,
		.types = {TEXTOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID},
	};
	Datum	   *column[7];
	bool	   *nulls[4];
	Datum		values[8];
	int			count = 0;
	int			of_key = 0;

	if (batch->nfailures == 0)
		return;
	apikey_batch_sort_failures(batch);
	for (int i = 0; i < 7; i++)
		column[i] = palloc_extended(batch->nfailures * sizeof(Datum), MCXT_ALLOC_HUGE);
	for (int i = 0; i < 4; i++)
		nulls[i] = palloc(batch->nfailures * sizeof(bool));
	for (int i = 0; i < batch->nfailures; i++)
	{
		Failure    *failure = &batch->failures[i];

		of_key = i > 0 && memcmp(&failure->head.key_id, &failure[-1].head.key_id,
								 UUID_LEN) == 0 ? of_key + 1 : 0;
		if (of_key >= ERRORS_MAX)
			continue;
		column[0][count] = UUIDPGetDatum(&failure->head.key_id);
		column[1][count] = TimestampTzGetDatum(failure->head.at);
		column[2][count] = Int32GetDatum(failure->head.status);
		for (int j = 0; j < 4; j++)
		{
			nulls[j][count] = failure->text[j] == NULL;
			column[3 + j][count] = failure->text[j] == NULL ? (Datum) 0 :
				CStringGetTextDatum(failure->text[j]);
		}
		count++;
	}
	values[0] = node_datum();
	values[1] = make_array(column[0], NULL, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	values[2] = make_array(column[1], NULL, count, TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE);
	values[3] = make_array(column[2], NULL, count, INT4OID, 4, true, TYPALIGN_INT);
	for (int j = 0; j < 4; j++)
		values[4 + j] = make_array(column[3 + j], nulls[j], count, TEXTOID, -1, false, TYPALIGN_INT);
	apikey_plan_execute(&plan, values, NULL, SPI_OK_SELECT);
}

/*
 * Hand what was spent to apikey.apply_credits().
 */
static void
apply_spent(Batch *batch)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.apply_credits($1, $2, $3)",
		.nargs = 3,
		.types = {TEXTOID, INT8ARRAYOID, INT8ARRAYOID},
	};
	int			count;
	Spent	  **rows = apikey_batch_spent(batch, &count);
	Datum	   *epochs = palloc(Max(count, 1) * sizeof(Datum));
	Datum	   *amounts = palloc(Max(count, 1) * sizeof(Datum));
	Datum		values[3];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		epochs[i] = Int64GetDatum((int64) rows[i]->epoch);
		amounts[i] = Int64GetDatum(rows[i]->amount);
	}
	values[0] = node_datum();
	values[1] = make_array(epochs, NULL, count, INT8OID, 8, true, TYPALIGN_DOUBLE);
	values[2] = make_array(amounts, NULL, count, INT8OID, 8, true, TYPALIGN_DOUBLE);
	apikey_plan_execute(&plan, values, NULL, SPI_OK_SELECT);
}

/*
 * Hand the digests of keys under the current pepper to apikey.apply_rehashes().
 */
static void
apply_rehashes(Batch *batch)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.apply_rehashes($1, $2, $3, $4, $5)",
		.nargs = 5,
		.types = {UUIDARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT8ARRAYOID,
		BYTEAARRAYOID},
	};
	int			count = hash_get_num_entries(batch->rehash);
	Datum	   *column[5];
	Datum		values[5];
	HASH_SEQ_STATUS status;
	Rehash	   *rehash;
	int			i = 0;

	if (count == 0)
		return;
	for (int j = 0; j < 5; j++)
		column[j] = palloc_extended(count * sizeof(Datum), MCXT_ALLOC_HUGE);
	hash_seq_init(&status, batch->rehash);
	while ((rehash = hash_seq_search(&status)) != NULL)
	{
		bytea	   *digest = palloc(VARHDRSZ + APIKEY_DIGEST_LEN);

		SET_VARSIZE(digest, VARHDRSZ + APIKEY_DIGEST_LEN);
		memcpy(VARDATA(digest), rehash->to.digest, APIKEY_DIGEST_LEN);
		column[0][i] = UUIDPGetDatum(&rehash->key_id);
		column[1][i] = Int32GetDatum(rehash->to.pepper_id);
		column[2][i] = Int32GetDatum(rehash->to.algorithm);
		column[3][i] = Int64GetDatum(apikey_lookup_of(rehash->to.digest));
		column[4][i++] = PointerGetDatum(digest);
	}
	values[0] = make_array(column[0], NULL, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	values[1] = make_array(column[1], NULL, count, INT4OID, 4, true, TYPALIGN_INT);
	values[2] = make_array(column[2], NULL, count, INT4OID, 4, true, TYPALIGN_INT);
	values[3] = make_array(column[3], NULL, count, INT8OID, 8, true, TYPALIGN_DOUBLE);
	values[4] = make_array(column[4], NULL, count, BYTEAOID, -1, false, TYPALIGN_INT);
	apikey_rehashing = true;
	PG_TRY();
	{
		apikey_plan_execute(&plan, values, NULL, SPI_OK_SELECT);
	}
	PG_FINALLY();
	{
		apikey_rehashing = false;
	}
	PG_END_TRY();
}

/*
 * Note when sessions were used.
 */
static void
apply_sessions(Batch *batch)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.apply_session_use($1, $2, $3)",
		.nargs = 3,
		.types = {TEXTOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID},
	};
	int			size = hash_get_num_entries(batch->sessions);
	Datum	   *ids = palloc(Max(size, 1) * sizeof(Datum));
	Datum	   *times = palloc(Max(size, 1) * sizeof(Datum));
	Datum		values[3];
	HASH_SEQ_STATUS status;
	SessionUse *use;
	int			count = 0;

	if (size == 0)
		return;
	hash_seq_init(&status, batch->sessions);
	while ((use = hash_seq_search(&status)) != NULL)
	{
		ids[count] = UUIDPGetDatum(&use->session_id);
		times[count++] = TimestampTzGetDatum(use->last_used);
	}
	values[0] = node_datum();
	values[1] = make_array(ids, NULL, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	values[2] = make_array(times, NULL, count, TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE);
	apikey_plan_execute(&plan, values, NULL, SPI_OK_SELECT);
}

/*
 * The number of the last batch that was committed here.  Learns on the way
 * which numbers of files have been used.
 */
static int64
last_batch(void)
{
	static ApikeyPlan plan = {
		.query = "SELECT coalesce(max(batch), 0), coalesce(max(restored), 0)"
		" FROM apikey.flush_state WHERE node = $1",
		.nargs = 1,
		.types = {TEXTOID},
	};
	Datum		node = node_datum();
	int64		file_number;
	bool		isnull;

	apikey_plan_execute(&plan, &node, NULL, SPI_OK_SELECT);
	file_number = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 2,
											  &isnull));
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	apikey_shared->file_number = Max(apikey_shared->file_number, file_number);
	LWLockRelease(apikey_shared->lock);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

static void
record_batch(int64 number)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.apply_batch($1, $2)",
		.nargs = 2,
		.types = {TEXTOID, INT8OID},
	};
	Datum		values[2];
	bool		isnull;

	values[0] = node_datum();
	values[1] = Int64GetDatum(number);
	apikey_plan_execute(&plan, values, NULL, SPI_OK_SELECT);
	if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 1, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("usage batch " INT64_FORMAT " was written already",
						number)));
}

/*
 * Events saved at a clean stop count once: a file that was put back, with a
 * copy of the data directory for example, is known by its number.  The number
 * is stored in the transaction that writes its events.
 */
static void
check_restored(ApikeyDatabase *database)
{
	static ApikeyPlan plan = {
		.query = "INSERT INTO apikey.flush_state AS f (node, batch, flushed_at, restored)"
		" VALUES ($1, 0, clock_timestamp(), $2)"
		" ON CONFLICT (node) DO UPDATE SET restored = excluded.restored"
		" WHERE f.restored IS NULL OR f.restored < excluded.restored",
		.nargs = 2,
		.types = {TEXTOID, INT8OID},
	};
	Datum		values[2];

	values[0] = node_datum();
	values[1] = Int64GetDatum(database->restored);
	apikey_plan_execute(&plan, values, NULL, SPI_OK_INSERT);
	if (SPI_processed > 0)
		return;
	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("dropping usage that was saved when the server stopped"),
			 errdetail("It was written before; the file must have been put back.")));
	(void) apikey_buffer_done(database, database->restored_limit);
}

/*
 * Settle a batch that was begun and not seen to end.
 */
static void
settle_batch(ApikeyDatabase *database)
{
	uint64		limit[APIKEY_RINGS];
	int64		number;
	bool		in_flight;

	LWLockAcquire(apikey_shared->lock, LW_SHARED);
	in_flight = database->in_flight;
	number = database->batch;
	memcpy(limit, database->limit, sizeof(limit));
	LWLockRelease(apikey_shared->lock);
	if (in_flight && last_batch() >= number)
		pg_atomic_fetch_add_u64(&apikey_shared->events_flushed,
								apikey_buffer_done(database, limit));
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	database->in_flight = false;
	LWLockRelease(apikey_shared->lock);
}

bool
apikey_become_owner(ApikeyPrivileges *saved)
{
	if (!OidIsValid(get_extension_oid("apikey", true)))
		return false;
	apikey_enter(saved, NULL);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return true;
}

/*
 * Write what is buffered before these limits, or a part of it: then they say
 * where it ends.  Returns the number of events that were dropped.
 */
static uint64
write_batch(ApikeyDatabase *database, uint64 limit[APIKEY_RINGS])
{
	Batch		batch;
	int64		number = last_batch() + 1;
	uint64		dropped;
	bool		restored = database->restored != 0;

	if (restored)
		check_restored(database);
	/* whether a file was written is noted once for all of it */
	apikey_batch_collect(&batch, database->oid, limit,
						 restored ? INT_MAX :
						 batch_max[apikey_buffer_quarters(apikey_buffer_fullest())]);
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	database->batch = number;
	memcpy(database->limit, limit, sizeof(database->limit));
	database->in_flight = true;
	LWLockRelease(apikey_shared->lock);

	record_batch(number);
	dropped = apply_usage(&batch);
	apply_errors(&batch);
	apply_sessions(&batch);
	apply_spent(&batch);
	apply_rehashes(&batch);
	return dropped;
}

/*
 * Write one batch of what is buffered before these limits, in a transaction of
 * its own.  Returns whether there is more.
 */
static bool
flush_batch(ApikeyDatabase *database, const uint64 limit[APIKEY_RINGS])
{
	ApikeyPrivileges saved;
	uint64		end[APIKEY_RINGS];
	uint64		dropped = 0;
	uint64		done;
	bool		installed;

	memcpy(end, limit, sizeof(end));
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "writing counted API key usage");
	installed = apikey_become_owner(&saved);
	if (installed)
	{
		SPI_connect();
		settle_batch(database);
		dropped = write_batch(database, end);
		SPI_finish();
		apikey_leave(&saved);
	}
	PopActiveSnapshot();

	/*
	 * What apikey.flush_usage() has confirmed must outlast a crash, and be in
	 * the statistics of the tables.
	 */
	ForceSyncCommit();
	CommitTransactionCommand();
	pgstat_report_stat(true);

	/* what belongs to keys or an extension that are gone was not written */
	done = apikey_buffer_done(database, end);
	if (installed)
		pg_atomic_fetch_add_u64(&apikey_shared->events_flushed, done - dropped);
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	database->in_flight = false;
	database->restored = 0;
	database->failures = 0;
	apikey_shared->last_flush_at = GetCurrentTimestamp();
	if (apikey_shared->flush_error_database == database->oid)
		apikey_shared->last_flush_error[0] = '\0';
	LWLockRelease(apikey_shared->lock);
	return memcmp(end, limit, sizeof(end)) != 0;
}

void
apikey_flush(ApikeyDatabase *database)
{
	uint64		limit[APIKEY_RINGS];

	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	database->flushing = true;
	LWLockRelease(apikey_shared->lock);
	apikey_buffer_limits(limit);
	while (flush_batch(database, limit))
	{
		int64		held_until = apikey_clock() + HOLD_MAX_MS;

		CHECK_FOR_INTERRUPTS();
		while (apikey_clock() < Min(database->hold_until, held_until))
			pg_usleep(HOLD_USECS);
	}
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	database->flushing = false;
	database->flushes++;
	LWLockRelease(apikey_shared->lock);
	pgstat_report_activity(STATE_IDLE, NULL);
}
