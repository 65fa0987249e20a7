/*
 * target.h
 *		Rows that are about one key or about one account, kept in the backend
 *		by their target.
 */
#ifndef APIKEY_TARGET_H
#define APIKEY_TARGET_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/hsearch.h"
#include "utils/uuid.h"

#include "catalog.h"

/*
 * Such a table; the last members start as zero.  Its rows are decoded by
 * read(), into the current memory context.
 */
typedef struct ApikeyTargets
{
	ApikeyRelation table;
	ApikeyRelation by_key;		/* indexes on these columns */
	ApikeyRelation by_account;
	int			key_column;
	int			account_column;
	uint64		(*generation) (void);
	void	   *(*read) (TupleTableSlot *slot);

	uint64		filled_under;	/* generation; 0: to be filled */
	uint64		fillings;		/* counts them: what was handed out before the
								 * last one is gone */
	bool		has_all;
	MemoryContext context;
	HTAB	   *keys;
	HTAB	   *accounts;
	int			nkeys;			/* entries of these; asked for at each call */
	int			naccounts;
} ApikeyTargets;

/*
 * Make sure that what is kept is current; true if it was filled anew.  To be
 * called before the next two, whose answers are good until the next call.
 */
extern bool apikey_targets_refresh(ApikeyTargets *targets);

/* The rows of one target; NIL: none. */
extern List *apikey_target_key(ApikeyTargets *targets, const pg_uuid_t *key_id);
extern List *apikey_target_account(ApikeyTargets *targets,
								   const char *account, size_t len);

#endif							/* APIKEY_TARGET_H */
