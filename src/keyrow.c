/*
 * keyrow.c
 *		Rows at known places.
 *
 * Where the page still lies in the buffer in which it was seen last, the table
 * of buffers is not asked.  One version alone is read, so that no snapshot is
 * needed: what is visible to SnapshotSelf is what is in force.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"

#include "compat.h"
#include "keyrow.h"

/*
 * Has the table a block of this number?  It may have become shorter, and then
 * the number that the storage manager remembers was forgotten: whoever cuts a
 * table off says so before he releases the lock that keeps us out.
 */
bool
apikey_block_exists(Relation rel, BlockNumber block)
{
	BlockNumber remembered = RelationGetSmgr(rel)->smgr_cached_nblocks[MAIN_FORKNUM];

	return (remembered != InvalidBlockNumber && block < remembered) ||
		block < RelationGetNumberOfBlocks(rel);
}

/*
 * May a page be in the buffer of a place?  What was noted before a start of
 * the server may be the number of a buffer that is no more.
 */
static bool
has_buffer(const ApikeyPlace *place)
{
	return place->buffer > InvalidBuffer && place->buffer <= NBuffers;
}

void
apikey_place_prefetch(const ApikeyPlace *place)
{
	Page		page;

	if (!has_buffer(place))
		return;
	page = BufferGetPage(place->buffer);
	apikey_prefetch(page);
	apikey_prefetch(PageGetItemId(page, ItemPointerGetOffsetNumber(&place->tid)));
}

bool
apikey_place_pin(Relation rel, ApikeyPlace *place)
{
	BlockNumber block = ItemPointerGetBlockNumber(&place->tid);

	if (has_buffer(place) &&
		apikey_read_recent_buffer(rel, block, place->buffer))
		return true;
	if (!apikey_block_exists(rel, block))
		return false;
	place->buffer = ReadBuffer(rel, block);
	return true;
}

/*
 * The version at this place of a page, which is locked.
 */
static HeapTuple
copy_from_page(Relation rel, const ApikeyPlace *place)
{
	Page		page = BufferGetPage(place->buffer);
	OffsetNumber offset = ItemPointerGetOffsetNumber(&place->tid);
	HeapTupleData tuple;
	ItemId		item;

	if (offset < FirstOffsetNumber || offset > PageGetMaxOffsetNumber(page))
		return NULL;
	item = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(item))
		return NULL;
	tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple.t_len = ItemIdGetLength(item);
	tuple.t_tableOid = RelationGetRelid(rel);
	tuple.t_self = place->tid;
	return HeapTupleSatisfiesVisibility(&tuple, SnapshotSelf, place->buffer) ?
		heap_copytuple(&tuple) : NULL;
}

/*
 * The same for a table that is no heap, through its own methods.
 */
static HeapTuple
copy_from_table(Relation rel, ItemPointer tid)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	HeapTuple	copy = NULL;

	if (table_tuple_fetch_row_version(rel, tid, SnapshotSelf, slot))
		copy = ExecCopySlotHeapTuple(slot);
	ExecDropSingleTupleTableSlot(slot);
	return copy;
}

HeapTuple
apikey_row_at(Relation rel, ApikeyPlace *place)
{
	HeapTuple	copy;

	if (rel->rd_tableam != GetHeapamTableAmRoutine())
		return apikey_block_exists(rel, ItemPointerGetBlockNumber(&place->tid)) ?
			copy_from_table(rel, &place->tid) : NULL;
	/* wherever it lies now, what is looked at first was here */
	apikey_place_prefetch(place);
	if (!apikey_place_pin(rel, place))
		return NULL;
	LockBuffer(place->buffer, BUFFER_LOCK_SHARE);
	copy = copy_from_page(rel, place);
	UnlockReleaseBuffer(place->buffer);
	return copy;
}

void
apikey_page_visit(Relation rel, ApikeyPlace at, ApikeyRowVisitor visit,
				  void *arg)
{
	OffsetNumber roots[MaxHeapTuplesPerPage];
	Page		page;

	if (rel->rd_tableam != GetHeapamTableAmRoutine() ||
		!apikey_place_pin(rel, &at))
		return;
	page = BufferGetPage(at.buffer);
	LockBuffer(at.buffer, BUFFER_LOCK_SHARE);
	heap_get_root_tuples(page, roots);
	for (OffsetNumber offset = FirstOffsetNumber;
		 offset <= PageGetMaxOffsetNumber(page); offset++)
	{
		ItemId		item = PageGetItemId(page, offset);
		OffsetNumber root = roots[offset - 1];
		HeapTupleData row;

		if (!ItemIdIsNormal(item))
			continue;
		row.t_data = (HeapTupleHeader) PageGetItem(page, item);
		if (!(row.t_data->t_infomask & HEAP_XMAX_INVALID))
			continue;
		row.t_len = ItemIdGetLength(item);
		row.t_tableOid = RelationGetRelid(rel);
		ItemPointerSet(&row.t_self, ItemPointerGetBlockNumber(&at.tid), offset);
		ItemPointerSetOffsetNumber(&at.tid, OffsetNumberIsValid(root) ? root : offset);
		visit(&row, &at, arg);
	}
	UnlockReleaseBuffer(at.buffer);
}
