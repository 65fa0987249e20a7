/*
 * keyrow.h
 *		Reading one row version at a known place.
 */
#ifndef APIKEY_KEYROW_H
#define APIKEY_KEYROW_H

#include "postgres.h"

#include "access/htup.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

/*
 * A copy of the row version at this place, if it is there at this very
 * moment: committed, and not deleted by a transaction that is committed, or
 * our own.  NULL if not.  *buffer is where the page was seen last, or
 * InvalidBuffer, and becomes where it is now.  The caller holds a lock on the
 * table.  Takes no predicate locks and writes nothing.
 */
extern HeapTuple apikey_row_at(Relation rel, ItemPointer tid, Buffer *buffer);

#endif							/* APIKEY_KEYROW_H */
