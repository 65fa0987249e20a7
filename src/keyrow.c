/*
 * keyrow.c
 *		Reading one row version at a known place.
 *
 * One version alone is looked at, so that no snapshot is needed: what is
 * visible to SnapshotSelf is what is in force.  Where the page still lies in
 * the buffer in which it was seen last, the table of buffers is not asked
 * either.
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
static bool
has_block(Relation rel, BlockNumber block)
{
	BlockNumber remembered = RelationGetSmgr(rel)->smgr_cached_nblocks[MAIN_FORKNUM];

	return (remembered != InvalidBlockNumber && block < remembered) ||
		block < RelationGetNumberOfBlocks(rel);
}

/*
 * The version at this place of a page, which is locked.
 */
static HeapTuple
copy_from_page(Relation rel, ItemPointer tid, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
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
	tuple.t_self = *tid;
	return HeapTupleSatisfiesVisibility(&tuple, SnapshotSelf, buffer) ?
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
apikey_row_at(Relation rel, ItemPointer tid, Buffer *buffer)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	HeapTuple	copy;

	if (rel->rd_tableam != GetHeapamTableAmRoutine())
		return has_block(rel, block) ? copy_from_table(rel, tid) : NULL;
	if (*buffer != InvalidBuffer)
	{
		Page		page = BufferGetPage(*buffer);

		/* wherever it lies now, what is looked at first was here */
		apikey_prefetch(page);
		apikey_prefetch(PageGetItemId(page, ItemPointerGetOffsetNumber(tid)));
	}
	if (*buffer == InvalidBuffer ||
		!apikey_read_recent_buffer(rel, block, *buffer))
	{
		if (!has_block(rel, block))
			return NULL;
		*buffer = ReadBuffer(rel, block);
	}
	LockBuffer(*buffer, BUFFER_LOCK_SHARE);
	copy = copy_from_page(rel, tid, *buffer);
	UnlockReleaseBuffer(*buffer);
	return copy;
}
