/*
 * record.c
 *		Texts fit to be recorded, ids, and the small functions that triggers
 *		and management functions in SQL share.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "crypto.h"
#include "meter.h"
#include "policy.h"
#include "record.h"
#include "settings.h"
#include "token.h"

bool		apikey_rehashing = false;

/*
 * Replace every key text by its mask.
 */
static void
mask_key_texts(StringInfo out, const char *text, size_t len)
{
	const ApikeyKind *kinds;
	const ApikeyFormat *formats;
	int			nkinds = apikey_policy_kinds(apikey_policy(), &kinds, &formats);
	size_t		done = 0;
	size_t		pos;
	int			which;

	while (apikey_token_find(formats, nkinds, text, len, done, &pos, &which))
	{
		size_t		token_len = apikey_token_length(&formats[which]);
		char		display[APIKEY_DISPLAY_MAX + 1];

		appendBinaryStringInfo(out, text + done, pos - done);
		appendBinaryStringInfo(out, display,
							   apikey_token_display(&formats[which],
													&kinds[which].mask,
													text + pos, token_len,
													display));
		done = pos + token_len;
	}
	appendBinaryStringInfo(out, text + done, len - done);
}

char *
apikey_clean(const char *text, size_t len, size_t max)
{
	StringInfoData masked;
	StringInfoData clean;

	/* a key text that begins within the limit is still seen whole */
	len = Min(len, max + APIKEY_TOKEN_MAX);
	initStringInfo(&masked);
	mask_key_texts(&masked, text, len);

	initStringInfo(&clean);
	for (int i = 0; i < masked.len && clean.len < max; i++)
	{
		unsigned char c = (unsigned char) masked.data[i];

		if (c < 0x20 || c == 0x7f)
			appendStringInfo(&clean, "\\x%02x", c);
		else if (c == 0xc2 && GetDatabaseEncoding() == PG_UTF8 &&
				 i + 1 < masked.len && (unsigned char) masked.data[i + 1] < 0xa0)
			appendStringInfo(&clean, "\\x%02x",
							 (unsigned char) masked.data[++i]);	/* C1 control */
		else
			appendStringInfoChar(&clean, c);
	}
	if (clean.len > max)
		clean.len = max;
	clean.len = pg_mbcliplen(clean.data, clean.len, clean.len);
	clean.data[clean.len] = '\0';
	pfree(masked.data);
	return clean.data;
}

/*
 * After the milliseconds, 12 bits say where within the millisecond (RFC 9562,
 * section 6.2, method 3), so that ids sort by time, and those of one backend
 * in the order in which they were made.
 */
void
apikey_new_id(pg_uuid_t *id)
{
	static uint64 last = 0;
	uint64		now = GetCurrentTimestamp() +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	uint64		milliseconds;
	uint32		fraction;

	now = Max(now, last + 1);
	last = now;
	milliseconds = now / 1000;
	fraction = (now % 1000) * 4096 / 1000;

	apikey_random(id->data, UUID_LEN);
	for (int i = 0; i < 6; i++)
		id->data[i] = (unsigned char) (milliseconds >> (40 - 8 * i));
	id->data[6] = 0x70 | (fraction >> 8);
	id->data[7] = fraction & 0xff;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
}

void
apikey_require_writable(const char *function)
{
	if (!XactReadOnly && !RecoveryInProgress())
	{
		/* a key shown, and a revocation, must outlast a crash */
		ForceSyncCommit();
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot execute %s in a read-only transaction", function),
			 errdetail("It changes tables, which a READ ONLY transaction and a standby do not allow."),
			 errhint("Call it in a read-write transaction on the primary server.")));
}

char *
apikey_effective_actor(FunctionCallInfo fcinfo, int argno)
{
	if (!PG_ARGISNULL(argno))
	{
		text	   *argument = PG_GETARG_TEXT_P_SLICE(argno, 0,
													  APIKEY_ACTOR_MAX + APIKEY_TOKEN_MAX);

		return apikey_clean(VARDATA_ANY(argument), VARSIZE_ANY_EXHDR(argument),
							APIKEY_ACTOR_MAX);
	}
	if (apikey_actor != NULL && apikey_actor[0] != '\0')
		return apikey_clean(apikey_actor, strlen(apikey_actor),
							APIKEY_ACTOR_MAX);
	return NULL;
}

PG_FUNCTION_INFO_V1(apikey_sql_clean_text);

/*
 * apikey.clean_text(text, max_bytes) returns text
 */
Datum
apikey_sql_clean_text(PG_FUNCTION_ARGS)
{
	int			max = Min(Max(PG_GETARG_INT32(1), 0), MaxAllocSize / 8);
	text	   *value = PG_GETARG_TEXT_P_SLICE(0, 0, max + APIKEY_TOKEN_MAX);

	PG_RETURN_TEXT_P(cstring_to_text(apikey_clean(VARDATA_ANY(value),
												  VARSIZE_ANY_EXHDR(value),
												  max)));
}

PG_FUNCTION_INFO_V1(apikey_sql_new_id);
Datum
apikey_sql_new_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	apikey_new_id(id);
	PG_RETURN_UUID_P(id);
}

PG_FUNCTION_INFO_V1(apikey_sql_require_writable);

/*
 * apikey.require_writable(function) returns void
 *		Errors: 25006 in a READ ONLY transaction and on a standby.
 */
Datum
apikey_sql_require_writable(PG_FUNCTION_ARGS)
{
	char	   *function = psprintf("%s()",
									text_to_cstring(PG_GETARG_TEXT_PP(0)));

	apikey_require_writable(function);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(apikey_sql_acting_as);

/*
 * apikey.acting_as(actor) returns text
 *		Sets apikey.actor until the function that calls this one returns: it
 *		must have a SET clause of its own, which gives it a level of settings.
 */
Datum
apikey_sql_acting_as(PG_FUNCTION_ARGS)
{
	char	   *actor = apikey_effective_actor(fcinfo, 0);

	if (actor == NULL)
		PG_RETURN_NULL();
	(void) set_config_option("apikey.actor", actor, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	PG_RETURN_TEXT_P(cstring_to_text(actor));
}

PG_FUNCTION_INFO_V1(apikey_sql_invalidate);

/*
 * apikey.invalidate() returns trigger
 *		Sends a relcache invalidation for the table when the change commits;
 *		this transaction sees it with its next command.  Changes of keys are
 *		frequent, and told by the number of a type that nobody uses: naming
 *		the table would make every backend read its catalog entries anew.
 */
Datum
apikey_sql_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("apikey.invalidate() was not called as a trigger")));
	if (RelationGetRelid(trigger->tg_relation) != apikey_relation(APIKEY_REL_KEY))
		CacheInvalidateRelcache(trigger->tg_relation);
	else if (!apikey_rehashing)
		CacheInvalidateRelcacheByRelid(apikey_relation(APIKEY_REL_KEY_CHANGE));
	if (RelationGetRelid(trigger->tg_relation) ==
		apikey_relation(APIKEY_REL_ACCOUNT_POLICY))
		apikey_meters_forget_quotas();
	PG_RETURN_POINTER(NULL);
}

PG_FUNCTION_INFO_V1(apikey_sql_is_rehashing);

/*
 * apikey.is_rehashing() returns boolean
 */
Datum
apikey_sql_is_rehashing(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(apikey_rehashing);
}
