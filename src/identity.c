/*
 * identity.c
 *		Who the current transaction works for, and the helpers by which
 *		policies and application code ask.
 *
 * The identity is memory of the backend and no setting: no SQL can set, copy
 * or widen it but by presenting a key.  It is bound to the (sub)transaction in
 * which it was taken.  Rolling back to a savepoint brings back the one before;
 * releasing a savepoint hands it up; commit, abort and prepare end it, so the
 * next client of a pooled connection finds none.  Without one, the setting
 * apikey.context may bind one (see context.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "apikey.h"
#include "compat.h"
#include "context.h"
#include "count.h"
#include "identity.h"
#include "sqlstate.h"
#include "verdict.h"

/* Queries given to apikey.allows() that are kept, parsed */
#define QUERIES_MAX		8

typedef struct KeptQuery
{
	size_t		len;			/* of text; 0: free */
	char		text[APIKEY_QUERY_MAX];
	ApikeyQuery query;

	/* the last answer, which holds for: */
	uint64		identity;		/* its serial; 0: none */
	uint64		policy;
	bool		held;
} KeptQuery;

/* One for each level of (sub)transactions that has its own, innermost first */
static ApikeyIdentity *top = NULL;

static void
drop_top(void)
{
	ApikeyIdentity *gone = top;

	top = gone->below;
	MemoryContextDelete(gone->context);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			/* the memory goes with the transaction's */
			top = NULL;
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id,
					  SubTransactionId parent, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (top != NULL && top->nest_level >= nest_level)
			drop_top();
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB &&
			 top != NULL && top->nest_level >= nest_level)
	{
		ApikeyIdentity *kept = top;

		kept->nest_level = nest_level - 1;
		if (kept->below != NULL && kept->below->nest_level >= nest_level - 1)
		{
			top = kept->below;
			drop_top();
			kept->below = top;
			top = kept;
		}
	}
}

void
apikey_identity_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/*
 * A copy of a set of grants, in the current memory context.
 */
static ApikeyGrants
copy_grants(const ApikeyGrants *grants)
{
	ApikeySlice *items = palloc(Max(grants->count, 1) * sizeof(ApikeySlice));
	size_t		size;
	char	   *packed;
	ApikeyGrants copy;

	for (int i = 0; i < grants->count; i++)
		items[i] = apikey_grants_get(grants, i);
	size = apikey_grants_packed_size(items, grants->count);
	packed = palloc(size);
	apikey_grants_pack(items, grants->count, packed);
	if (!apikey_grants_open(packed, size, &copy))
		elog(ERROR, "packed grants cannot be opened");
	pfree(items);
	return copy;
}

static Datum
copy_varlena(Datum value)
{
	return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}

/*
 * The event of a failure: the code is to be overwritten.
 */
static void
prepare_failure(ApikeyIdentity *identity, const ApikeyRequest *request)
{
	static const char code[APIKEY_SQLSTATE_LEN + 1] = "00000";
	ApikeyEvent *event = &identity->failure;

	event->head.key_id = identity->key_id;
	event->head.of.len.code = apikey_event_append(event, &identity->failure_len,
											   code, APIKEY_SQLSTATE_LEN,
											   APIKEY_EVENT_CODE_MAX);
	apikey_event_append_request(event, &identity->failure_len,
								request->method, request->path,
								request->request_id);
}

ApikeyIdentity *
apikey_identity_make(const ApikeyDecision *decision)
{
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];
	MemoryContext context;
	MemoryContext old;
	ApikeyIdentity *identity;
	static uint64 serial = 0;

	Assert(decision->code == APIKEY_VALID && decision->known);
	apikey_verdict_values(decision, values, nulls);
	/* until all of it is there, an error frees it */
	context = AllocSetContextCreate(CurrentMemoryContext, "apikey identity",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	identity = palloc0(sizeof(ApikeyIdentity));
	identity->context = context;
	identity->serial = ++serial;
	identity->key_id = *DatumGetUUIDP(values[VERDICT_KEY_ID]);
	identity->account = copy_varlena(values[VERDICT_ACCOUNT]);
	identity->scopes = copy_varlena(values[VERDICT_SCOPES]);
	identity->metadata = copy_varlena(values[VERDICT_METADATA]);
	identity->grants = copy_grants(&decision->grants);
	prepare_failure(identity, decision->request);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, TopTransactionContext);
	return identity;
}

void
apikey_identity_take(const ApikeyDecision *decision)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	ApikeyIdentity *identity = apikey_identity_make(decision);

	identity->nest_level = nest_level;
	if (top != NULL && top->nest_level >= nest_level)
		drop_top();
	identity->below = top;
	top = identity;
}

const ApikeyIdentity *
apikey_identity(void)
{
	return top != NULL ? top : apikey_context_identity();
}

const ApikeyIdentity *
apikey_identity_bound(void)
{
	return top != NULL ? top : apikey_context_identity_bound();
}

PG_FUNCTION_INFO_V1(apikey_sql_current_key_id);

/*
 * apikey.current_key_id() returns uuid
 */
Datum
apikey_sql_current_key_id(PG_FUNCTION_ARGS)
{
	const ApikeyIdentity *identity = apikey_identity();
	pg_uuid_t  *copy;

	if (identity == NULL)
		PG_RETURN_NULL();
	copy = palloc(sizeof(pg_uuid_t));
	*copy = identity->key_id;
	PG_RETURN_UUID_P(copy);
}

PG_FUNCTION_INFO_V1(apikey_sql_current_account);

/*
 * apikey.current_account() returns text
 */
Datum
apikey_sql_current_account(PG_FUNCTION_ARGS)
{
	const ApikeyIdentity *identity = apikey_identity();

	if (identity == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datumCopy(identity->account, false, -1));
}

PG_FUNCTION_INFO_V1(apikey_sql_current_scopes);

/*
 * apikey.current_scopes() returns text[]
 */
Datum
apikey_sql_current_scopes(PG_FUNCTION_ARGS)
{
	const ApikeyIdentity *identity = apikey_identity();

	if (identity == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datumCopy(identity->scopes, false, -1));
}

PG_FUNCTION_INFO_V1(apikey_sql_current_metadata);

/*
 * apikey.current_metadata() returns jsonb
 */
Datum
apikey_sql_current_metadata(PG_FUNCTION_ARGS)
{
	const ApikeyIdentity *identity = apikey_identity();

	if (identity == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datumCopy(identity->metadata, false, -1));
}

PG_FUNCTION_INFO_V1(apikey_sql_is_authenticated);

/*
 * apikey.is_authenticated() returns boolean
 */
Datum
apikey_sql_is_authenticated(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(apikey_identity() != NULL);
}

/*
 * Parse a query, or find it among those of the last calls: policies ask the
 * same few again and again.
 */
static KeptQuery *
parsed_query(FunctionCallInfo fcinfo, int argno)
{
	static KeptQuery kept[QUERIES_MAX];
	static int	last = 0;
	ApikeyText	text = apikey_text_argument(fcinfo, argno, APIKEY_QUERY_MAX);
	ApikeyRequest request;
	KeptQuery  *slot;

	for (int i = 0; i < QUERIES_MAX; i++)
	{
		slot = &kept[(last + i) % QUERIES_MAX];
		if (slot->len > 0 && slot->len == text.len &&
			memcmp(slot->text, text.data, text.len) == 0)
			return slot;
	}
	/* as verify does, which errors for what is no query */
	apikey_request_require(&request, text);
	last = (last + QUERIES_MAX - 1) % QUERIES_MAX;
	slot = &kept[last];
	memcpy(slot->text, text.data, text.len);
	slot->query = request.required;
	slot->query.text = slot->text;
	slot->len = text.len;
	slot->identity = 0;
	return slot;
}

PG_FUNCTION_INFO_V1(apikey_sql_allows);

/*
 * apikey.allows(required text) returns boolean
 *		What verify would say about this query for the current identity, under
 *		the policy in force.  False without identity and for NULL; error
 *		22023 for what is no query.
 */
Datum
apikey_sql_allows(PG_FUNCTION_ARGS)
{
	KeptQuery  *query;
	const ApikeyIdentity *identity;
	const ApikeyPolicy *policy;
	uint64		serial;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	query = parsed_query(fcinfo, 0);
	identity = apikey_identity();
	if (identity == NULL)
		PG_RETURN_BOOL(false);
	policy = apikey_policy();
	serial = apikey_policy_serial(policy);
	if (query->identity != identity->serial || query->policy != serial ||
		serial == 0)
	{
		query->identity = 0;
		query->held = apikey_decide_scopes(&identity->grants, policy,
										   &query->query);
		query->policy = serial;
		query->identity = identity->serial;
	}
	PG_RETURN_BOOL(query->held);
}
