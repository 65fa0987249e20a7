/*
 * compat.h
 *		Every difference between server versions 15 to 19; no other file asks
 *		for PG_VERSION_NUM.
 */
#ifndef APIKEY_COMPAT_H
#define APIKEY_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/tupdesc.h"
#include "common/jsonapi.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#else
#include "storage/backendid.h"
#endif
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#include "varatt.h"
#endif

/* For files that are read by the same server version only */
#define APIKEY_SERVER_VERSION	PG_VERSION_NUM

/* Asks the processor for a cache line that is wanted soon; from 19 on the
 * server has such a macro. */
#ifdef __GNUC__
#define apikey_prefetch(address)	__builtin_prefetch(address)
#else
#define apikey_prefetch(address)	((void) 0)
#endif

/* Calls another handler from that of a signal: 19 tells it who has sent it. */
#if PG_VERSION_NUM >= 190000
#define apikey_handle_signal(handler)	handler(postgres_signal_arg, pg_siginfo)
#else
#define apikey_handle_signal(handler)	handler(postgres_signal_arg)
#endif

/* Stands before the declaration of a function that does not return. */
#if PG_VERSION_NUM >= 180000
#define apikey_noreturn	pg_noreturn
#else
#define apikey_noreturn	pg_attribute_noreturn()
#endif

/* Module identity carries name and version from 18 on. */
#if PG_VERSION_NUM >= 180000
#define APIKEY_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "apikey", .version = APIKEY_VERSION)
#else
#define APIKEY_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Soft errors of input functions exist from 16 on. */
#if PG_VERSION_NUM >= 160000
#define apikey_soft_context(fcinfo)	((fcinfo)->context)
#else
#define apikey_soft_context(fcinfo)	((Node *) NULL)
#define ereturn(context, dummy_value, ...) \
	do { \
		ereport(ERROR, __VA_ARGS__); \
		return dummy_value; \
	} while (0)
#endif

/*
 * A small number of this backend that no other one has at the same time; 0
 * before it has one and after.
 */
static inline int
apikey_backend_number(void)
{
#if PG_VERSION_NUM >= 170000
	return Max(MyProcNumber, 0);
#else
	return Max(MyBackendId, 0);
#endif
}

/* Calls an input function with one cstring, soft where the server can. */
static inline bool
apikey_input_call(PGFunction func, char *str, Oid typioparam, int32 typmod,
				  Node *escontext, Datum *result)
{
#if PG_VERSION_NUM >= 160000
	return DirectInputFunctionCallSafe(func, str, typioparam, typmod,
									   escontext, result);
#else
	*result = DirectFunctionCall3(func, CStringGetDatum(str),
								  ObjectIdGetDatum(typioparam),
								  Int32GetDatum(typmod));
	return true;
#endif
}

/* The same for array_in, which wants to be looked up first. */
static inline bool
apikey_array_input(char *str, Oid element_type, Node *escontext, Datum *result)
{
	FmgrInfo	array_in;

	fmgr_info(F_ARRAY_IN, &array_in);
#if PG_VERSION_NUM >= 160000
	return InputFunctionCallSafe(&array_in, str, element_type, -1,
								 escontext, result);
#else
	*result = InputFunctionCall(&array_in, str, element_type, -1);
	return true;
#endif
}

/* 18 wants to count index searches for EXPLAIN. */
static inline IndexScanDesc
apikey_index_beginscan(Relation heap, Relation index, Snapshot snapshot,
					   int nkeys)
{
#if PG_VERSION_NUM >= 190000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0, 0);
#elif PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* A scan of the whole table; 19 has flags of the caller's. */
static inline TableScanDesc
apikey_table_beginscan(Relation rel, Snapshot snapshot)
{
#if PG_VERSION_NUM >= 190000
	return table_beginscan(rel, snapshot, 0, NULL, 0);
#else
	return table_beginscan(rel, snapshot, 0, NULL);
#endif
}

/* A jsonb value in the making; from 19 on the server keeps the result there. */
#if PG_VERSION_NUM >= 190000
typedef JsonbInState ApikeyJsonb;
#else
typedef struct ApikeyJsonb
{
	JsonbParseState *state;
	JsonbValue *result;
} ApikeyJsonb;
#endif

static inline void
apikey_jsonb_push(ApikeyJsonb *jsonb, JsonbIteratorToken token,
				  JsonbValue *value)
{
#if PG_VERSION_NUM >= 190000
	pushJsonbValue(jsonb, token, value);
#else
	jsonb->result = pushJsonbValue(&jsonb->state, token, value);
#endif
}

/* 16 wants to know which result relations a recheck may touch: all. */
static inline void
apikey_recheck_init(EPQState *recheck, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(recheck, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(recheck, estate, NULL, NIL, -1);
#endif
}

/*
 * Pins a block in the buffer in which it was seen last, if it is there still.
 * 16 renamed where relations say which files are theirs.
 */
static inline bool
apikey_read_recent_buffer(Relation rel, BlockNumber block, Buffer buffer)
{
#if PG_VERSION_NUM >= 160000
	return ReadRecentBuffer(rel->rd_locator, MAIN_FORKNUM, block, buffer);
#else
	return ReadRecentBuffer(rel->rd_node, MAIN_FORKNUM, block, buffer);
#endif
}

/* 16 split membership into inheriting and SET ROLE. */
static inline bool
apikey_can_set_role(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return superuser_arg(member) || member_can_set_role(member, role);
#else
	return is_member_of_role(member, role);
#endif
}

/*
 * For a worker, whose transactions nobody waits for: from 17 on the settings of
 * a database or of the server can limit how long they take.
 */
static inline void
apikey_lift_transaction_timeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* Memory for what a setting's check hook hands to its assign hook. */
static inline void *
apikey_guc_alloc(size_t size)
{
#if PG_VERSION_NUM >= 160000
	return guc_malloc(LOG, size);
#else
	return malloc(size);
#endif
}

/*
 * Actions of the JSON parser return something from 16 on, and 17 changed who
 * allocates its lexer.
 */
#if PG_VERSION_NUM >= 160000
#define APIKEY_JSON_ACTION		JsonParseErrorType
#define APIKEY_JSON_GO_ON()		return JSON_SUCCESS
#else
#define APIKEY_JSON_ACTION		void
#define APIKEY_JSON_GO_ON()		return
#endif

/* Parse JSON, escapes resolved; false where it is none, never with an error. */
static inline bool
apikey_json_parse(char *text, size_t len, const JsonSemAction *actions)
{
	JsonLexContext *lex;

#if PG_VERSION_NUM >= 170000
	lex = makeJsonLexContextCstringLen(NULL, text, len, GetDatabaseEncoding(),
									   true);
#else
	lex = makeJsonLexContextCstringLen(text, len, GetDatabaseEncoding(), true);
#endif
	return pg_parse_json(lex, (JsonSemAction *) actions) == JSON_SUCCESS;
}

#endif							/* APIKEY_COMPAT_H */
