/*
 * notify.c
 *		Announces committed changes with NOTIFY on channel apikey.
 *
 * A hint, not a record: it is left out of prepared transactions, which could
 * not be prepared otherwise, and while the server's queue is more than half
 * full, so that it never makes a commit fail.  What is to be said is kept per
 * (sub)transaction, follows savepoints, and is handed to the server just
 * before commit: one message a change up to MESSAGES_MAX, else a single one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "apikey.h"
#include "notify.h"
#include "settings.h"

#define CHANNEL			"apikey"
#define MESSAGES_MAX	100
#define EVENT_MAX		32
#define QUEUE_USAGE_MAX	0.5

typedef struct Message
{
	char		event[EVENT_MAX];
	bool		has_key;
	pg_uuid_t	key_id;
} Message;

/* What one level of (sub)transactions has to say */
typedef struct Level
{
	struct Level *below;
	int			nest_level;
	uint64		count;			/* all changes, */
	Message		message[MESSAGES_MAX];	/* of which these were first */
} Level;

static Level *top = NULL;		/* in TopTransactionContext */

static void
say_all(const Level *level)
{
	char		payload[128];

	if (DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage,
										   (Datum) 0)) > QUEUE_USAGE_MAX)
		return;
	if (level->count > MESSAGES_MAX)
	{
		snprintf(payload, sizeof(payload),
				 "{\"event\":\"bulk\",\"count\":" UINT64_FORMAT "}",
				 level->count);
		Async_Notify(CHANNEL, payload);
		return;
	}
	for (uint64 i = 0; i < level->count; i++)
	{
		const Message *message = &level->message[i];

		if (message->has_key)
			snprintf(payload, sizeof(payload),
					 "{\"event\":\"%s\",\"key_id\":\"%s\"}", message->event,
					 DatumGetCString(DirectFunctionCall1(uuid_out,
														 UUIDPGetDatum(&message->key_id))));
		else
			snprintf(payload, sizeof(payload),
					 "{\"event\":\"%s\",\"key_id\":null}", message->event);
		Async_Notify(CHANNEL, payload);
	}
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	Level	   *level = top;

	if (event == XACT_EVENT_PRE_COMMIT)
	{
		top = NULL;
		if (level != NULL)
			say_all(level);
	}
	else if (event == XACT_EVENT_PRE_PREPARE || event == XACT_EVENT_ABORT ||
			 event == XACT_EVENT_PREPARE || event == XACT_EVENT_COMMIT)
		top = NULL;
}

/*
 * A savepoint that ends hands what it has to say to the level below, or loses
 * it.
 */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id,
					  SubTransactionId parent, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	Level	   *level = top;

	if (level == NULL || level->nest_level < nest_level)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		top = level->below;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		Level	   *below = level->below;

		if (below == NULL || below->nest_level < nest_level - 1)
		{
			level->nest_level = nest_level - 1;
			return;
		}
		for (uint64 i = 0; i < level->count && below->count + i < MESSAGES_MAX; i++)
			below->message[below->count + i] = level->message[i];
		below->count += level->count;
		top = below;
	}
}

void
apikey_notify_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

void
apikey_announce(const char *event, const pg_uuid_t *key_id)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	if (!apikey_notify)
		return;
	if (top == NULL || top->nest_level < nest_level)
	{
		Level	   *level = MemoryContextAllocZero(TopTransactionContext,
												   sizeof(Level));

		level->below = top;
		level->nest_level = nest_level;
		top = level;
	}
	if (top->count < MESSAGES_MAX)
	{
		Message    *message = &top->message[top->count];

		strlcpy(message->event, event, sizeof(message->event));
		message->has_key = key_id != NULL;
		if (key_id != NULL)
			message->key_id = *key_id;
	}
	top->count++;
}

PG_FUNCTION_INFO_V1(apikey_sql_announce);

/*
 * apikey.announce(event, key_id) returns void
 *		For the triggers that audit changes; events are their own words.
 */
Datum
apikey_sql_announce(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	apikey_announce(text_to_cstring(PG_GETARG_TEXT_PP(0)),
					PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1));
	PG_RETURN_VOID();
}
