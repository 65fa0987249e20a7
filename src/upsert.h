/*
 * upsert.h
 *		Rows that are found by an index and changed, or added, without SQL.
 */
#ifndef APIKEY_UPSERT_H
#define APIKEY_UPSERT_H

#include "postgres.h"

#include "access/genam.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "keyrow.h"

#define APIKEY_UPSERT_COLUMNS_MAX	16
#define APIKEY_UPSERT_KEYS_MAX		3

typedef struct ApikeyUpsert
{
	Relation	rel;
	ResultRelInfo *target;
	EState	   *estate;
	EPQState	recheck;
	Relation	index;
	IndexScanDesc scan;
	int			nkeys;
	ScanKeyData key[APIKEY_UPSERT_KEYS_MAX];
	TupleTableSlot *found;
	TupleTableSlot *row;		/* as it is to be written */
	AttrNumber	column[APIKEY_UPSERT_COLUMNS_MAX];
	ExprState **defaults;		/* of other columns; NULL: none */
	bool		exists;
	ApikeyPlace place;			/* of the row, if it exists or was written */
} ApikeyUpsert;

/*
 * Open a table, which must belong to the current user, as writing to somebody
 * else's would run his triggers with our privileges.  The columns are named,
 * and may stand in any order; the first nkeys of them identify a row, and
 * there must be an index on just these.  Rows are looked for with the active
 * snapshot.  Several tables may share the state, which holds their memory; the
 * caller begins and ends the query of its triggers.
 */
extern ApikeyUpsert *apikey_upsert_begin(EState *estate, Relation rel,
										 const char *const *columns,
										 int ncolumns, int nkeys);

/*
 * Find the row with these values of its key; if there is none, one with them
 * and else NULL is to be added.  It is looked for first where the index has
 * led to before, if that is given; it need not be there.  What was computed for the row before, in the
 * state's memory per tuple, is gone.  Each row may be written once.
 */
extern void apikey_upsert_find(ApikeyUpsert *upsert, const Datum *key,
							   const ApikeyPlace *hint);

/* A column of the row, by its number among those named; NULL reads as 0. */
extern Datum apikey_upsert_get(const ApikeyUpsert *upsert, int column,
							   bool *isnull);
extern void apikey_upsert_set(ApikeyUpsert *upsert, int column, Datum value);
extern void apikey_upsert_set_null(ApikeyUpsert *upsert, int column);

/*
 * Write it.  Errors: what constraints and triggers say; 40001 and the like if
 * somebody else changes the same row.
 */
extern void apikey_upsert_write(ApikeyUpsert *upsert);

/* Close it but for the lock on the table. */
extern void apikey_upsert_end(ApikeyUpsert *upsert);

#endif							/* APIKEY_UPSERT_H */
