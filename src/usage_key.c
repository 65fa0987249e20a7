/*
 * usage_key.c
 *		Whose the keys are that are counted, and whether they are still there.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "keystore.h"
#include "spi_plan.h"
#include "usage_key.h"

struct ApikeyKeyFinder
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
};

ApikeyKeyFinder *
apikey_key_finder_begin(void)
{
	ApikeyKeyFinder *finder = palloc(sizeof(ApikeyKeyFinder));

	finder->rel = table_open(apikey_relation(APIKEY_REL_KEY), AccessShareLock);
	finder->index = index_open(apikey_relation(APIKEY_REL_KEY_PKEY), AccessShareLock);
	finder->scan = apikey_index_beginscan(finder->rel, finder->index,
										  GetActiveSnapshot(), 1);
	finder->slot = table_slot_create(finder->rel, NULL);
	return finder;
}

/*
 * Look where the key's row is said to lie.
 */
static Datum
account_at(ApikeyKeyFinder *finder, const pg_uuid_t *key_id, ApikeyPlace place)
{
	TupleDesc	desc = RelationGetDescr(finder->rel);
	HeapTuple	row = apikey_row_at(finder->rel, &place);
	Datum		account = (Datum) 0;
	bool		isnull;

	if (row == NULL)
		return (Datum) 0;
	if (memcmp(DatumGetUUIDP(heap_getattr(row, KEY_KEY_ID, desc, &isnull)),
			   key_id, UUID_LEN) == 0)
		account = datumCopy(heap_getattr(row, KEY_ACCOUNT, desc, &isnull),
							false, -1);
	heap_freetuple(row);
	return account;
}

Datum
apikey_key_account(ApikeyKeyFinder *finder, const pg_uuid_t *key_id,
				   const ApikeyPlace *hint)
{
	ScanKeyData key;
	bool		isnull;
	Datum		account = ItemPointerIsValid(&hint->tid) ?
		account_at(finder, key_id, *hint) : (Datum) 0;

	if (account != (Datum) 0)
		return account;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(key_id));
	index_rescan(finder->scan, &key, 1, NULL, 0);
	if (!index_getnext_slot(finder->scan, ForwardScanDirection, finder->slot))
		return (Datum) 0;
	return datumCopy(slot_getattr(finder->slot, KEY_ACCOUNT, &isnull), false, -1);
}

void
apikey_key_finder_end(ApikeyKeyFinder *finder)
{
	index_endscan(finder->scan);
	ExecDropSingleTupleTableSlot(finder->slot);
	index_close(finder->index, AccessShareLock);
	table_close(finder->rel, AccessShareLock);
}

void
apikey_ask_for_accounts(ApikeyCounts *counts)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.accounts_to_count($1)",
		.nargs = 1,
		.types = {UUIDARRAYOID},
	};
	Datum	   *ids = palloc(counts->n * sizeof(Datum));
	Datum		value;
	Datum	   *accounts;
	bool	   *nulls;
	bool		isnull;
	int			count;

	for (int i = 0; i < counts->n; i++)
		ids[i] = UUIDPGetDatum(&counts->counts[i].usage->key.key_id);
	value = PointerGetDatum(construct_array(ids, counts->n, UUIDOID,
											UUID_LEN, false, TYPALIGN_CHAR));
	apikey_plan_execute(&plan, &value, NULL, SPI_OK_SELECT);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &isnull);
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &accounts, &nulls, &count);
	Assert(count == counts->n);
	for (int i = 0; i < count; i++)
	{
		counts->counts[i].account = nulls[i] ? (Datum) 0 : accounts[i];
		counts->counts[i].gone = nulls[i];
	}
}
