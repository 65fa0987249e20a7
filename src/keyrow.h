/*
 * keyrow.h
 *		Rows at known places.
 */
#ifndef APIKEY_KEYROW_H
#define APIKEY_KEYROW_H

#include "postgres.h"

#include "access/htup.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

/* Where the index leads to, and the buffer in which that page was seen last */
typedef struct ApikeyPlace
{
	ItemPointerData tid;
	Buffer		buffer;			/* InvalidBuffer: not known */
} ApikeyPlace;

/* Has the table a block of this number?  The caller holds a lock on it. */
extern bool apikey_block_exists(Relation rel, BlockNumber block);

/*
 * Pin the page of a place, and note which buffer it is in.  False if the table
 * has no such page.  The caller holds a lock on the table.
 */
extern bool apikey_place_pin(Relation rel, ApikeyPlace *place);

/* Let the processor fetch what looking at a place begins with. */
extern void apikey_place_prefetch(const ApikeyPlace *place);

/*
 * A copy of the row version at this place, if it is there at this very
 * moment: committed, and not deleted by a transaction that is committed, or
 * our own.  NULL if not.  The caller holds a lock on the table.  Takes no
 * predicate locks and writes nothing.
 */
extern HeapTuple apikey_row_at(Relation rel, ApikeyPlace *place);

/* Called with a row version and the place that an index has of the row */
typedef void (*ApikeyRowVisitor) (HeapTuple row, const ApikeyPlace *place,
								  void *arg);

/*
 * Visit the row versions on the page of a place that nobody has deleted, as far
 * as their headers tell: of each row the newest.  Nothing happens if there is
 * no such page, or the table is no heap.  The caller holds a lock on the table;
 * the page is locked meanwhile.
 */
extern void apikey_page_visit(Relation rel, ApikeyPlace at,
							  ApikeyRowVisitor visit, void *arg);

#endif							/* APIKEY_KEYROW_H */
