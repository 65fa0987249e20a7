/*
 * upsert.c
 *		Rows that are found by an index and changed, or added, without SQL.
 *
 * What the server's own apply workers of logical replication do, but for rows
 * that nobody else writes: they need not be locked before they are changed.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "upsert.h"

/* Room beside another version of a row, in bytes, where a page need not be pruned */
#define ROOM_MIN	(BLCKSZ / 8)

static void
require_owner(Relation rel)
{
	if (rel->rd_rel->relowner == GetUserId())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table apikey.%s does not belong to role \"%s\"",
					RelationGetRelationName(rel),
					GetUserNameFromId(GetUserId(), false)),
			 errdetail("Nothing is written to it: its triggers would act for the wrong role."),
			 errhint("Use ALTER TABLE apikey.%s OWNER TO %s.",
					 RelationGetRelationName(rel),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

static const char *
key_names(const char *const *columns, int nkeys)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", columns[i]);
	return names.data;
}

static void
prepare_key(ApikeyUpsert *upsert)
{
	Relation	index = upsert->index;

	for (int i = 0; i < upsert->nkeys; i++)
	{
		Oid			equal = get_opfamily_member(index->rd_opfamily[i],
												index->rd_opcintype[i],
												index->rd_opcintype[i],
												BTEqualStrategyNumber);

		ScanKeyInit(&upsert->key[i], i + 1, BTEqualStrategyNumber,
					get_opcode(equal), (Datum) 0);
		upsert->key[i].sk_collation = index->rd_indcollation[i];
	}
}

/*
 * Columns that somebody has added get their defaults.
 */
static void
prepare_defaults(ApikeyUpsert *upsert, int ncolumns)
{
	TupleDesc	desc = RelationGetDescr(upsert->rel);

	upsert->defaults = palloc0(desc->natts * sizeof(ExprState *));
	for (int i = 0; i < desc->natts; i++)
	{
		bool		ours = false;

		for (int j = 0; j < ncolumns; j++)
			ours |= upsert->column[j] == i + 1;
		if (!ours)
			upsert->defaults[i] = apikey_column_default(upsert->rel, i);
	}
}

static void
set_defaults(ApikeyUpsert *upsert)
{
	TupleTableSlot *row = upsert->row;

	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		if (upsert->defaults[i] != NULL)
			row->tts_values[i] = ExecEvalExprSwitchContext(upsert->defaults[i],
														   GetPerTupleExprContext(upsert->estate),
														   &row->tts_isnull[i]);
	}
}

ApikeyUpsert *
apikey_upsert_begin(EState *estate, Relation rel, const char *const *columns,
					int ncolumns, int nkeys)
{
	ApikeyUpsert *upsert = palloc0(sizeof(ApikeyUpsert));
	Oid			index;

	Assert(ncolumns <= APIKEY_UPSERT_COLUMNS_MAX);
	Assert(nkeys <= APIKEY_UPSERT_KEYS_MAX);
	require_owner(rel);
	for (int i = 0; i < ncolumns; i++)
	{
		upsert->column[i] = get_attnum(RelationGetRelid(rel), columns[i]);
		if (upsert->column[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table apikey.%s does not exist",
							columns[i], RelationGetRelationName(rel))));
	}
	index = apikey_find_index(rel, upsert->column, nkeys);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table apikey.%s has lost its primary key",
						RelationGetRelationName(rel)),
				 errdetail("Rows are looked up by %s.", key_names(columns, nkeys)),
				 errhint("Use ALTER TABLE apikey.%s ADD PRIMARY KEY (%s).",
						 RelationGetRelationName(rel), key_names(columns, nkeys))));

	upsert->rel = rel;
	upsert->estate = estate;
	upsert->nkeys = nkeys;
	upsert->target = makeNode(ResultRelInfo);
	/* range table index 0: in no range table */
	InitResultRelInfo(upsert->target, rel, 0, NULL, 0);
	ExecOpenIndices(upsert->target, false);
	apikey_recheck_init(&upsert->recheck, estate);
	upsert->row = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	upsert->found = table_slot_create(rel, NULL);
	upsert->index = index_open(index, AccessShareLock);
	upsert->scan = apikey_index_beginscan(rel, upsert->index,
										  GetActiveSnapshot(), nkeys);
	prepare_key(upsert);
	prepare_defaults(upsert, ncolumns);
	return upsert;
}

/*
 * Fetch the row at the place from its page, if this has room for another
 * version of it.
 *
 * The server's own way looks first whether the page is to be pruned, which it
 * finds whenever the page is fuller than the table's fillfactor: here nearly
 * each time, for a page that the versions of many updates would still fit on.
 */
static bool
fetch_from_roomy_page(ApikeyUpsert *upsert)
{
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) upsert->found;
	HeapTuple	tuple = &slot->base.tupdata;
	ItemPointerData tid = upsert->place.tid;
	Buffer		buffer;
	Size		room;
	bool		found;

	if (upsert->rel->rd_tableam != GetHeapamTableAmRoutine() ||
		!apikey_place_pin(upsert->rel, &upsert->place))
		return false;
	buffer = upsert->place.buffer;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	room = PageGetHeapFreeSpace(BufferGetPage(buffer));
	found = heap_hot_search_buffer(&tid, upsert->rel, buffer,
								   upsert->scan->xs_snapshot, tuple, NULL, true) &&
		room >= ROOM_MIN + tuple->t_len;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (!found)
	{
		ReleaseBuffer(buffer);
		return false;
	}
	tuple->t_tableOid = RelationGetRelid(upsert->rel);
	ExecStorePinnedBufferHeapTuple(tuple, upsert->found, buffer);
	return true;
}

/*
 * Has the row that was fetched these values of its key?
 */
static bool
is_wanted(ApikeyUpsert *upsert, const Datum *key)
{
	for (int i = 0; i < upsert->nkeys; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(upsert->found, upsert->column[i], &isnull);

		if (isnull ||
			!DatumGetBool(FunctionCall2Coll(&upsert->key[i].sk_func,
											upsert->key[i].sk_collation,
											value, key[i])))
			return false;
	}
	return true;
}

static bool
fetch_by_hint(ApikeyUpsert *upsert, const Datum *key, const ApikeyPlace *hint)
{
	ItemPointerData tid = hint->tid;
	bool		more = false;

	upsert->place = *hint;
	return (fetch_from_roomy_page(upsert) ||
			(apikey_block_exists(upsert->rel, ItemPointerGetBlockNumber(&tid)) &&
			 table_index_fetch_tuple(upsert->scan->xs_heapfetch, &tid,
									 upsert->scan->xs_snapshot,
									 upsert->found, &more, NULL))) &&
		is_wanted(upsert, key);
}

static bool
fetch_by_index(ApikeyUpsert *upsert, const Datum *key)
{
	ItemPointer tid;

	for (int i = 0; i < upsert->nkeys; i++)
		upsert->key[i].sk_argument = key[i];
	index_rescan(upsert->scan, upsert->key, upsert->nkeys, NULL, 0);
	while ((tid = index_getnext_tid(upsert->scan, ForwardScanDirection)) != NULL)
	{
		upsert->place.tid = *tid;
		upsert->place.buffer = InvalidBuffer;
		if (fetch_from_roomy_page(upsert) ||
			index_fetch_heap(upsert->scan, upsert->found))
			return true;
	}
	return false;
}

void
apikey_upsert_find(ApikeyUpsert *upsert, const Datum *key,
				   const ApikeyPlace *hint)
{
	TupleTableSlot *row = upsert->row;
	int			natts = row->tts_tupleDescriptor->natts;

	ExecClearTuple(row);
	ResetPerTupleExprContext(upsert->estate);
	upsert->exists = (hint != NULL && fetch_by_hint(upsert, key, hint)) ||
		fetch_by_index(upsert, key);
	if (upsert->exists)
	{
		slot_getallattrs(upsert->found);
		memcpy(row->tts_values, upsert->found->tts_values, natts * sizeof(Datum));
		memcpy(row->tts_isnull, upsert->found->tts_isnull, natts * sizeof(bool));
	}
	else
	{
		memset(row->tts_values, 0, natts * sizeof(Datum));
		memset(row->tts_isnull, true, natts * sizeof(bool));
		set_defaults(upsert);
		for (int i = 0; i < upsert->nkeys; i++)
			apikey_upsert_set(upsert, i, key[i]);
	}
	ExecStoreVirtualTuple(row);
}

Datum
apikey_upsert_get(const ApikeyUpsert *upsert, int column, bool *isnull)
{
	int			at = upsert->column[column] - 1;

	*isnull = upsert->row->tts_isnull[at];
	return *isnull ? (Datum) 0 : upsert->row->tts_values[at];
}

void
apikey_upsert_set(ApikeyUpsert *upsert, int column, Datum value)
{
	int			at = upsert->column[column] - 1;

	upsert->row->tts_values[at] = value;
	upsert->row->tts_isnull[at] = false;
}

void
apikey_upsert_set_null(ApikeyUpsert *upsert, int column)
{
	int			at = upsert->column[column] - 1;

	upsert->row->tts_values[at] = (Datum) 0;
	upsert->row->tts_isnull[at] = true;
}

void
apikey_upsert_write(ApikeyUpsert *upsert)
{
	if (upsert->exists)
		ExecSimpleRelationUpdate(upsert->target, upsert->estate,
								 &upsert->recheck, upsert->found, upsert->row);
	else
		ExecSimpleRelationInsert(upsert->target, upsert->estate, upsert->row);

	/* an update that stays on its page leaves the index alone as a rule */
	if (!upsert->exists ||
		ItemPointerGetBlockNumber(&upsert->place.tid) !=
		ItemPointerGetBlockNumber(&upsert->row->tts_tid))
	{
		upsert->place.tid = upsert->row->tts_tid;
		upsert->place.buffer = InvalidBuffer;
	}
}

void
apikey_upsert_end(ApikeyUpsert *upsert)
{
	index_endscan(upsert->scan);
	index_close(upsert->index, AccessShareLock);
	ExecDropSingleTupleTableSlot(upsert->found);
	ExecDropSingleTupleTableSlot(upsert->row);
	EvalPlanQualEnd(&upsert->recheck);
	ExecCloseIndices(upsert->target);
	table_close(upsert->rel, NoLock);
}
