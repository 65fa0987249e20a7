/*
 * count.c
 *		Counting what is verified and recorded, in memory; and the functions
 *		by which the counters are looked at.
 *
 * Nothing here writes a table or assigns a transaction id, so it works in
 * READ ONLY transactions and is not undone by a rollback.
 */
#include "postgres.h"

#include "fmgr.h"
#include "access/htup_details.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

#include "address.h"
#include "apikey.h"
#include "ascii.h"
#include "buffer.h"
#include "compat.h"
#include "count.h"
#include "meter.h"
#include "pepper.h"
#include "record.h"
#include "shmem.h"
#include "consumed.h"

/* Arguments of apikey.record */
enum
{
	RECORD_KEY_ID, RECORD_STATUS, RECORD_CODE, RECORD_METHOD, RECORD_PATH,
	RECORD_REQUEST_ID
};

/* Columns of apikey.stats_now() */
enum
{
	STATS_VERIFICATIONS, STATS_REFUSALS, STATS_CACHE_HITS,
	STATS_CACHE_MISSES, STATS_BUFFERED, STATS_FLUSHED, STATS_LOST,
	STATS_FLUSH_LAG, STATS_LAST_FLUSH_AT, STATS_LAST_FLUSH_ERROR,
	STATS_LIMIT_SLOTS_USED, STATS_LIMIT_SLOTS, STATS_RESET,
	STATS_LIMIT_OVERFLOWS, STATS_NCOLUMNS
};

/* How long apikey.flush_usage() waits for the worker, in rounds */
#define FLUSH_WAIT_MS		20
#define FLUSH_WAITS_MAX		1500

/*
 * Cut a path before its query, and write letters, digits, "-", ".", "_" and
 * "~" as themselves where they are percent-encoded (RFC 3986, 6.2.2.2): a key
 * text must be recognised in any spelling.  Returns the new length.
 */
static size_t
normalize_path(char *path, size_t len)
{
	size_t		out = 0;

	for (size_t i = 0; i < len && path[i] != '?' && path[i] != '#'; i++)
	{
		int			high = i + 2 < len && path[i] == '%' ? ascii_hex_value(path[i + 1]) : -1;
		int			low = high >= 0 ? ascii_hex_value(path[i + 2]) : -1;
		int			c = low >= 0 ? high << 4 | low : -1;

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			(c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_' ||
			c == '~')
		{
			path[out++] = (char) c;
			i += 2;
		}
		else
			path[out++] = path[i];
	}
	return out;
}

/*
 * Append a text, perhaps compressed, cleaned and cut.
 */
static uint8
append_text(ApikeyEvent *event, size_t *len, struct varlena *value,
			size_t max, bool is_path)
{
	text	   *copy;
	char	   *data;
	size_t		data_len;
	char	   *clean;

	if (value == NULL)
		return 0;
	/* a copy, also of what is stored uncompressed */
	copy = DatumGetTextPSlice(PointerGetDatum(value), 0,
							  max + 3 * APIKEY_TOKEN_MAX);
	data = VARDATA_ANY(copy);
	data_len = VARSIZE_ANY_EXHDR(copy);
	if (is_path)
		data_len = normalize_path(data, data_len);
	clean = apikey_clean(data, data_len, max);
	return apikey_event_append(event, len, clean, strlen(clean), max);
}

void
apikey_event_append_request(ApikeyEvent *event, size_t *len,
							struct varlena *method, struct varlena *path,
							struct varlena *request_id)
{
	event->head.of.len.method = append_text(event, len, method,
										 APIKEY_EVENT_METHOD_MAX, false);
	event->head.of.len.path = append_text(event, len, path,
									   APIKEY_EVENT_PATH_MAX, true);
	event->head.of.len.request_id = append_text(event, len, request_id,
											 APIKEY_EVENT_REQUEST_ID_MAX,
											 false);
}

/*
 * A key that is still stored under an older pepper, or as it was imported:
 * now that its text is here, have the worker store its own digest under the
 * current pepper.
 */
static void
move_to_current_pepper(const ApikeyDecision *d)
{
	const ApikeyPeppers *peppers = apikey_peppers();
	const ApikeyPepper *current = &peppers->pepper[0];
	ApikeyRehash rehash;
	ApikeyEvent event;
	size_t		len = 0;

	if (peppers->count == 0 || !current->is_current ||
		current->secret == NULL || RecoveryInProgress() ||
		(current->id == DatumGetInt32(d->key->value[KEY_PEPPER_ID]) &&
		 d->hashed.algorithm == DatumGetInt16(d->key->value[KEY_ALGORITHM])))
		return;
	memset(&event.head, 0, sizeof(event.head));
	event.head.flags = APIKEY_EVENT_REHASH;
	event.head.key_id = *DatumGetUUIDP(d->key->value[KEY_KEY_ID]);
	event.head.at = d->now;
	rehash.pepper_id = current->id;
	rehash.algorithm = d->hashed.algorithm;
	apikey_hashed_digest(rehash.digest, &d->hashed, current->secret);
	(void) apikey_event_append(&event, &len, (const char *) &rehash,
							   sizeof(rehash), sizeof(rehash));
	(void) apikey_buffer_put(&event, len);
}

/*
 * Of a kept key its account's hash is worked out once.
 */
static uint64
account_hash(const ApikeyDecision *d)
{
	text	   *account;
	uint64		hash;

	if (d->memo != NULL && d->memo->account_hash != 0)
		return d->memo->account_hash;
	account = DatumGetTextPP(d->key->value[KEY_ACCOUNT]);
	hash = apikey_account_hash(VARDATA_ANY(account), VARSIZE_ANY_EXHDR(account));
	if (d->memo != NULL)
		d->memo->account_hash = hash;
	return hash;
}

/*
 * What quota and credits need to know of a call that passed, or else what helps
 * the flush worker.
 */
static void
add_pass(ApikeyEvent *event, size_t *len, const ApikeyDecision *d)
{
	ApikeyEventPass pass = {
		.account_hash = account_hash(d),
		.of.epoch.key = d->admission.key_epoch,
		.of.epoch.account = d->admission.account_epoch,
	};

	event->head.flags |= APIKEY_EVENT_PASS;
	if (pass.of.epoch.key == 0 && pass.of.epoch.account == 0)
	{
		event->head.has_place = true;
		pass.of.place.tid = d->key->tuple->t_self;
		pass.of.place.buffer = d->key->buffer;
	}
	event->head.of.cost = d->request->cost;
	(void) apikey_event_append(event, len, (const char *) &pass, sizeof(pass),
							   sizeof(pass));
}

void
apikey_count_verify(const ApikeyDecision *d)
{
	ApikeyEvent event;
	size_t		texts_len = 0;
	const ApikeyCodeInfo *info = &apikey_codes[d->code];

	apikey_tally_add(d->code);
	if (!d->known)
	{
		/* who tries keys that do not exist? */
		if (d->code == APIKEY_KEY_INVALID && d->request->ip_known)
		{
			LWLockAcquire(apikey_shared->guess_lock, LW_EXCLUSIVE);
			apikey_heavy_add(apikey_shared->guess, &d->request->ip,
							 GetCurrentTimestamp());
			LWLockRelease(apikey_shared->guess_lock);
		}
		return;
	}
	memset(&event.head, 0, sizeof(event.head));
	event.head.flags = APIKEY_EVENT_VERIFY;
	event.head.status = info->status;
	event.head.key_id = *DatumGetUUIDP(d->key->value[KEY_KEY_ID]);
	event.head.at = d->now;
	if (d->request->ip_known &&
		apikey_address_hash(&d->request->ip, &event.head.address_hash))
		event.head.flags |= APIKEY_EVENT_HAS_ADDRESS;
	if (d->code != APIKEY_VALID)
	{
		event.head.flags |= APIKEY_EVENT_REFUSED;
		event.head.of.len.code = apikey_event_append(&event, &texts_len, info->name,
												  strlen(info->name),
												  APIKEY_EVENT_CODE_MAX);
		apikey_event_append_request(&event, &texts_len, d->request->method,
									d->request->path, d->request->request_id);
	}
	else
	{
		add_pass(&event, &texts_len, d);
		if (!d->key->null[KEY_ROTATED_TO])
			event.head.flags |= APIKEY_EVENT_ROTATED;
		if (d->is_session)
		{
			/* its id, behind that */
			event.head.flags |= APIKEY_EVENT_SESSION;
			(void) apikey_event_append(&event, &texts_len,
									   DatumGetPointer(d->session.value[SESSION_SESSION_ID]),
									   UUID_LEN, UUID_LEN);
		}
		else if (d->memo == NULL)	/* no key is kept that has to move */
			move_to_current_pepper(d);
	}
	(void) apikey_buffer_put(&event, texts_len);
}

static bool
is_refusal_code(FunctionCallInfo fcinfo)
{
	ApikeyText	code = apikey_text_argument(fcinfo, RECORD_CODE,
											APIKEY_EVENT_CODE_MAX);

	for (int i = 0; code.data != NULL && !code.too_long && i < APIKEY_VALID; i++)
	{
		const char *name = apikey_codes[i].name;

		if (strlen(name) == code.len && memcmp(name, code.data, code.len) == 0)
			return true;
	}
	return false;
}

PG_FUNCTION_INFO_V1(apikey_sql_record);

/*
 * apikey.record(key_id, status, code, method, path, request_id)
 *		returns boolean: was it kept?
 *		Notes how a request ended.  Errors: 22023 for a missing key_id or a
 *		status that is none, 55000 if not preloaded.
 */
Datum
apikey_sql_record(PG_FUNCTION_ARGS)
{
	ApikeyEvent event;
	size_t		texts_len = 0;
	int32		status = PG_ARGISNULL(RECORD_STATUS) ? 0 :
		PG_GETARG_INT32(RECORD_STATUS);

	apikey_require_preload("apikey.record()");
	if (PG_ARGISNULL(RECORD_KEY_ID) || status < 100 || status > 599)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"%s\"",
						PG_ARGISNULL(RECORD_KEY_ID) ? "key_id" : "status"),
				 errdetail("A key_id and an HTTP status from 100 to 599 are needed."),
				 errhint("Pass the key_id of the verdict and the status that was answered.")));
	if (status < 400 || is_refusal_code(fcinfo))
		PG_RETURN_BOOL(false);

	memset(&event.head, 0, sizeof(event.head));
	event.head.status = status;
	event.head.key_id = *PG_GETARG_UUID_P(RECORD_KEY_ID);
	event.head.at = GetCurrentTimestamp();
	event.head.of.len.code = append_text(&event, &texts_len,
									  apikey_raw_argument(fcinfo, RECORD_CODE),
									  APIKEY_EVENT_CODE_MAX, false);
	apikey_event_append_request(&event, &texts_len,
								apikey_raw_argument(fcinfo, RECORD_METHOD),
								apikey_raw_argument(fcinfo, RECORD_PATH),
								apikey_raw_argument(fcinfo, RECORD_REQUEST_ID));
	PG_RETURN_BOOL(apikey_buffer_put(&event, texts_len));
}

PG_FUNCTION_INFO_V1(apikey_sql_stats_now);

/*
 * apikey.stats_now() returns record
 *		The counters of this server since its start or the last reset.
 */
Datum
apikey_sql_stats_now(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[STATS_NCOLUMNS];
	bool		nulls[STATS_NCOLUMNS] = {false};
	uint64		all = 0;
	TimestampTz last_flush_at;
	TimestampTz oldest;

	apikey_require_preload("apikey.stats");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < APIKEY_NCODES; i++)
		all += apikey_tally_sum(i);
	values[STATS_VERIFICATIONS] = Int64GetDatum(all);
	values[STATS_REFUSALS] =
		Int64GetDatum(all - apikey_tally_sum(APIKEY_VALID));
	values[STATS_CACHE_HITS] = Int64GetDatum(apikey_tally_sum(APIKEY_TALLY_CACHE_HIT));
	values[STATS_CACHE_MISSES] = Int64GetDatum(apikey_tally_sum(APIKEY_TALLY_CACHE_MISS));
	values[STATS_BUFFERED] = Int64GetDatum(apikey_buffer_pending(NULL));
	values[STATS_FLUSHED] = Int64GetDatum(pg_atomic_read_u64(&apikey_shared->events_flushed));
	values[STATS_LOST] = Int64GetDatum(pg_atomic_read_u64(&apikey_shared->events_lost));
	values[STATS_LIMIT_SLOTS_USED] = Int64GetDatum(apikey_meters_slots_used());
	values[STATS_LIMIT_SLOTS] = Int64GetDatum(apikey_meters_slots());
	values[STATS_LIMIT_OVERFLOWS] = Int64GetDatum(apikey_meters_overflows());
	LWLockAcquire(apikey_shared->lock, LW_SHARED);
	last_flush_at = apikey_shared->last_flush_at;
	values[STATS_RESET] = TimestampTzGetDatum(apikey_shared->stats_reset);
	values[STATS_LAST_FLUSH_ERROR] = (Datum) 0;
	if (apikey_shared->last_flush_error[0] == '\0')
		nulls[STATS_LAST_FLUSH_ERROR] = true;
	LWLockRelease(apikey_shared->lock);
	if (!nulls[STATS_LAST_FLUSH_ERROR])
		values[STATS_LAST_FLUSH_ERROR] = CStringGetTextDatum(apikey_shared->last_flush_error);
	nulls[STATS_LAST_FLUSH_AT] = last_flush_at == 0;
	values[STATS_LAST_FLUSH_AT] = TimestampTzGetDatum(last_flush_at);
	oldest = apikey_buffer_oldest();
	values[STATS_FLUSH_LAG] =
		Float8GetDatum(oldest == 0 ? 0.0 :
					   Max(GetCurrentTimestamp() - oldest, 0) / (double) USECS_PER_SEC);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

PG_FUNCTION_INFO_V1(apikey_sql_code_counts);

/*
 * apikey.code_counts() returns table (code, count)
 */
Datum
apikey_sql_code_counts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	apikey_require_preload("apikey.stats_by_code");
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < APIKEY_NCODES; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = CStringGetTextDatum(apikey_codes[i].name);
		values[1] = Int64GetDatum(apikey_tally_sum(i));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(apikey_sql_guesses_now);

/*
 * apikey.guesses_now() returns table (address, attempts, last_at)
 */
Datum
apikey_sql_guesses_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ApikeyHeavy *copy = palloc(sizeof(apikey_shared->guess));

	apikey_require_preload("apikey.guesses");
	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(apikey_shared->guess_lock, LW_SHARED);
	memcpy(copy, apikey_shared->guess, sizeof(apikey_shared->guess));
	LWLockRelease(apikey_shared->guess_lock);
	for (int i = 0; i < APIKEY_HEAVY_MAX; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};
		char		text[APIKEY_NET_TEXT_MAX];

		if (copy[i].count == 0)
			continue;
		apikey_net_print(&copy[i].net, text);
		values[0] = DirectFunctionCall1(inet_in, CStringGetDatum(text));
		values[1] = Int64GetDatum(copy[i].count);
		values[2] = TimestampTzGetDatum(copy[i].last_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(apikey_sql_reset_stats);

/*
 * apikey.reset_stats() returns void
 */
Datum
apikey_sql_reset_stats(PG_FUNCTION_ARGS)
{
	apikey_require_preload("apikey.reset_stats()");
	apikey_tally_reset();
	pg_atomic_write_u64(&apikey_shared->events_flushed, 0);
	pg_atomic_write_u64(&apikey_shared->events_lost, 0);
	apikey_meters_reset_stats();
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	apikey_shared->stats_reset = GetCurrentTimestamp();
	apikey_shared->last_flush_error[0] = '\0';
	LWLockRelease(apikey_shared->lock);
	LWLockAcquire(apikey_shared->guess_lock, LW_EXCLUSIVE);
	memset(apikey_shared->guess, 0, sizeof(apikey_shared->guess));
	LWLockRelease(apikey_shared->guess_lock);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(apikey_sql_flush_usage);

/*
 * apikey.flush_usage() returns bigint: how many events were written meanwhile
 *		Asks the worker to write what is buffered for this database and waits
 *		for it.  Errors: 55000 if the worker does not come or fails.
 */
Datum
apikey_sql_flush_usage(PG_FUNCTION_ARGS)
{
	ApikeyDatabase *database;
	uint64		pending;
	uint64		target;

	apikey_require_preload("apikey.flush_usage()");
	database = apikey_buffer_database();
	pending = database == NULL ? 0 : apikey_buffer_pending(database);
	if (pending == 0)
		PG_RETURN_INT64(0);
	/* one that is under way may have begun too early: wait for the next */
	LWLockAcquire(apikey_shared->lock, LW_SHARED);
	target = database->flushes + (database->flushing ? 2 : 1);
	LWLockRelease(apikey_shared->lock);
	for (int i = 0; i < FLUSH_WAITS_MAX && !RecoveryInProgress(); i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (database->flushes >= target ||
			apikey_buffer_pending(database) == 0)
			PG_RETURN_INT64(pending);
		/* urgent once: a worker that fails is not to be started all the time */
		apikey_ask_flush(database, i == 0);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 FLUSH_WAIT_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("counted usage could not be written"),
			 RecoveryInProgress() ?
			 errdetail("This server is a standby.") :
			 errdetail("The flush worker did not come, or it failed."),
			 errhint("Look at last_flush_error in apikey.stats, at the server log and at max_worker_processes.")));
}
