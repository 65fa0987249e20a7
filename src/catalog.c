/*
 * catalog.c
 *		The module's own relations and types by number, scanning them without
 *		SQL, and working with the privileges of their owner.
 *
 * Numbers are looked up once and forgotten when an invalidation message names
 * one of the relations, which also covers DROP and CREATE EXTENSION.
 *
 * Scans use SnapshotAny and judge each tuple version by the latest snapshot:
 * a scan with an MVCC snapshot inside a SERIALIZABLE transaction would take
 * predicate locks, and could then fail it or make others fail.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/reltrigger.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "catalog.h"
#include "compat.h"

static const char *const relation_names[APIKEY_NRELATIONS] = {
	[APIKEY_REL_KEY] = "key",
	[APIKEY_REL_KEY_LOOKUP] = "key_lookup",
	[APIKEY_REL_KEY_PEPPER] = "key_pepper",
	[APIKEY_REL_KEY_CHANGE] = "key_change",
	[APIKEY_REL_KEY_PKEY] = "key_pkey",
	[APIKEY_REL_SIGNING_KEY] = "signing_key",
	[APIKEY_REL_SESSION] = "session",
	[APIKEY_REL_SESSION_PKEY] = "session_pkey",
	[APIKEY_REL_KIND] = "kind",
	[APIKEY_REL_SCOPE] = "scope",
	[APIKEY_REL_ACCOUNT_POLICY] = "account_policy",
	[APIKEY_REL_ACCOUNT_POLICY_PKEY] = "account_policy_pkey",
	[APIKEY_REL_PEPPER] = "pepper",
	[APIKEY_REL_SECRET] = "secret",
	[APIKEY_REL_IMPORT_SECRET] = "import_secret",
	[APIKEY_REL_IMPORT_SCHEME] = "import_scheme",
	[APIKEY_REL_IMPORTED] = "imported",
	[APIKEY_REL_IMPORTED_PKEY] = "imported_pkey",
	[APIKEY_REL_IMPORTED_FINGERPRINT] = "imported_fingerprint",
	[APIKEY_REL_KEY_USE] = "key_use",
	[APIKEY_REL_USAGE_HOUR] = "usage_hour",
	[APIKEY_REL_USAGE_DAY] = "usage_day",
	[APIKEY_REL_MEMBER] = "member",
	[APIKEY_REL_MEMBER_PKEY] = "member_pkey",
	[APIKEY_REL_CAPABILITY] = "capability",
	[APIKEY_REL_CAPABILITY_PKEY] = "capability_pkey",
	[APIKEY_REL_RATE_LIMIT] = "rate_limit",
	[APIKEY_REL_RATE_LIMIT_KEY] = "rate_limit_is_unique_per_key_and_name",
	[APIKEY_REL_RATE_LIMIT_ACCOUNT] = "rate_limit_is_unique_per_account_and_name",
	[APIKEY_REL_RATE_LIMIT_KIND] = "rate_limit_is_unique_per_kind_and_name",
	[APIKEY_REL_CREDIT] = "credit",
	[APIKEY_REL_CREDIT_LINEAGE] = "credit_lineage",
	[APIKEY_REL_CREDIT_ACCOUNT] = "credit_account",
	[APIKEY_REL_CREDIT_SPENT] = "credit_spent",
	[APIKEY_REL_CREDIT_SPENT_PKEY] = "credit_spent_pkey",
	[APIKEY_REL_FLUSH_STATE] = "flush_state",
	[APIKEY_REL_AUDIT_LOG] = "audit_log",
};

static const char *const type_names[APIKEY_NTYPES] = {
	[APIKEY_TYPE_SCOPES] = "scopes",
	[APIKEY_TYPE_VERDICT] = "verdict",
	[APIKEY_TYPE_ISSUED_KEY] = "issued_key",
};

static bool numbers_known = false;
static Oid	relation_oids[APIKEY_NRELATIONS];
static Oid	type_oids[APIKEY_NTYPES];
static uint64 policy_generation = 1;
static uint64 pepper_generation = 1;
static uint64 secret_generation = 1;
static uint64 key_generation = 1;
static uint64 signing_generation = 1;
static uint64 limit_generation = 1;
static uint64 credit_generation = 1;
static uint64 import_generation = 1;

/*
 * An invalidation message arrived for a relation, or (InvalidOid) for all.
 */
static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid)
	{
		numbers_known = false;
		policy_generation++;
		pepper_generation++;
		secret_generation++;
		key_generation++;
		signing_generation++;
		limit_generation++;
		credit_generation++;
		import_generation++;
		return;
	}
	for (int i = 0; i < APIKEY_NRELATIONS; i++)
	{
		if (relation_oids[i] != relid)
			continue;
		if (i == APIKEY_REL_KEY_CHANGE || i == APIKEY_REL_KEY)
			key_generation++;
		/* frequent, and says nothing about the relations themselves */
		if (i == APIKEY_REL_KEY_CHANGE)
			continue;
		numbers_known = false;
		if (i == APIKEY_REL_PEPPER)
			pepper_generation++;
		else if (i == APIKEY_REL_SECRET)
			secret_generation++;
		else if (i == APIKEY_REL_SIGNING_KEY)
			signing_generation++;
		else if (i == APIKEY_REL_RATE_LIMIT)
			limit_generation++;
		else if (i == APIKEY_REL_CREDIT)
			credit_generation++;
		else if (i == APIKEY_REL_IMPORT_SECRET ||
				 i == APIKEY_REL_IMPORT_SCHEME)
			import_generation++;
		else if (i == APIKEY_REL_KIND || i == APIKEY_REL_SCOPE ||
				 i == APIKEY_REL_ACCOUNT_POLICY)
			policy_generation++;
	}
}

void
apikey_catalog_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

uint64
apikey_policy_generation(void)
{
	return policy_generation;
}

uint64
apikey_pepper_generation(void)
{
	return pepper_generation;
}

uint64
apikey_secret_generation(void)
{
	return secret_generation;
}

uint64
apikey_key_generation(void)
{
	return key_generation;
}

uint64
apikey_signing_generation(void)
{
	return signing_generation;
}

uint64
apikey_limit_generation(void)
{
	return limit_generation;
}

uint64
apikey_credit_generation(void)
{
	return credit_generation;
}

uint64
apikey_import_generation(void)
{
	return import_generation;
}

/*
 * Look all numbers up.  A change of number is a change of content as well.
 */
static void
learn_numbers(void)
{
	Oid			schema = get_namespace_oid("apikey", true);
	Oid			relations[APIKEY_NRELATIONS];
	Oid			types[APIKEY_NTYPES];
	bool		complete = OidIsValid(schema);

	for (int i = 0; complete && i < APIKEY_NRELATIONS; i++)
	{
		relations[i] = get_relname_relid(relation_names[i], schema);
		complete = OidIsValid(relations[i]);
	}
	for (int i = 0; complete && i < APIKEY_NTYPES; i++)
	{
		types[i] = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
								   CStringGetDatum(type_names[i]),
								   ObjectIdGetDatum(schema));
		complete = OidIsValid(types[i]);
	}
	if (!complete)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"apikey\" is not installed completely in this database"),
				 errdetail("A table or type of schema apikey is missing."),
				 errhint("Use CREATE EXTENSION apikey CASCADE, or ALTER EXTENSION apikey UPDATE.")));

	if (memcmp(relations, relation_oids, sizeof(relations)) != 0)
	{
		policy_generation++;
		pepper_generation++;
		secret_generation++;
		key_generation++;
		signing_generation++;
		limit_generation++;
		credit_generation++;
		import_generation++;
	}
	memcpy(relation_oids, relations, sizeof(relations));
	memcpy(type_oids, types, sizeof(types));
	numbers_known = true;
}

Oid
apikey_relation(ApikeyRelation which)
{
	if (!numbers_known)
		learn_numbers();
	return relation_oids[which];
}

Oid
apikey_type(ApikeyType which)
{
	if (!numbers_known)
		learn_numbers();
	return type_oids[which];
}

TupleDesc
apikey_type_desc(ApikeyType which)
{
	TypeCacheEntry *entry = lookup_type_cache(apikey_type(which),
											  TYPECACHE_TUPDESC);

	return entry->tupDesc;
}

uint64
apikey_type_desc_number(ApikeyType which)
{
	/* entries of the cache stay where they are; a stale one has no descriptor */
	static TypeCacheEntry *entries[APIKEY_NTYPES];
	Oid			type = apikey_type(which);

	if (entries[which] == NULL || entries[which]->type_id != type ||
		entries[which]->tupDesc == NULL)
		entries[which] = lookup_type_cache(type, TYPECACHE_TUPDESC);
	return entries[which]->tupDesc_identifier;
}

bool
apikey_relation_is_coherent(Relation rel)
{
	static bool warned = false;
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, "invalidate") == 0 &&
			trigger->tgenabled == TRIGGER_FIRES_ALWAYS)
			return true;
	}
	if (!warned)
	{
		warned = true;
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"invalidate\" of table apikey.%s is not enabled always",
						RelationGetRelationName(rel)),
				 errdetail("Changes of the table could go unnoticed, so it is read anew each time."),
				 errhint("Use ALTER TABLE apikey.%s ENABLE ALWAYS TRIGGER invalidate.",
						 RelationGetRelationName(rel))));
	}
	return false;
}

/*
 * A snapshot of this very moment.  GetLatestSnapshot() refuses in parallel
 * mode, where the helpers that RLS policies use may have to read; the catalog
 * snapshot is taken anew for every table that is no catalog.
 */
static Snapshot
latest_snapshot(Relation rel)
{
	return IsInParallelMode() ?
		GetNonHistoricCatalogSnapshot(RelationGetRelid(rel)) :
		GetLatestSnapshot();
}

void
apikey_scan(Relation rel, Oid index, ScanKey keys, int nkeys,
			ApikeyRowCallback callback, void *arg)
{
	Snapshot	latest = RegisterSnapshot(latest_snapshot(rel));
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	if (OidIsValid(index))
	{
		Relation	index_rel = index_open(index, AccessShareLock);
		IndexScanDesc scan = apikey_index_beginscan(rel, index_rel,
													SnapshotAny, nkeys);

		index_rescan(scan, keys, nkeys, NULL, 0);
		while (index_getnext_slot(scan, ForwardScanDirection, slot))
		{
			if (table_tuple_satisfies_snapshot(rel, slot, latest) &&
				!callback(slot, arg))
				break;
		}
		index_endscan(scan);
		index_close(index_rel, AccessShareLock);
	}
	else
	{
		TableScanDesc scan = apikey_table_beginscan(rel, SnapshotAny);

		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		{
			if (table_tuple_satisfies_snapshot(rel, slot, latest) &&
				!callback(slot, arg))
				break;
		}
		table_endscan(scan);
	}
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(latest);
}

Oid
apikey_find_index(Relation rel, const AttrNumber *columns, int count)
{
	Oid			found = InvalidOid;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisvalid && index->rd_index->indnatts == count &&
			memcmp(index->rd_index->indkey.values, columns,
				   count * sizeof(AttrNumber)) == 0 &&
			RelationGetIndexPredicate(index) == NIL)
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	return found;
}

ExprState *
apikey_column_default(Relation rel, int column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), column);
	Expr	   *expr;

	if (attribute->attisdropped || attribute->attgenerated != '\0')
		return NULL;
	expr = (Expr *) build_column_default(rel, column + 1);
	return expr == NULL ? NULL : ExecInitExpr(expression_planner(expr), NULL);
}

/*
 * Columns that somebody has added behind ours get their defaults.
 */
static void
add_defaults(TupleTableSlot *slot, Relation rel, int count, EState *estate)
{
	for (int i = count; i < RelationGetDescr(rel)->natts; i++)
	{
		ExprState  *expr = apikey_column_default(rel, i);

		if (expr != NULL)
			slot->tts_values[i] = ExecEvalExprSwitchContext(expr,
															GetPerTupleExprContext(estate),
															&slot->tts_isnull[i]);
	}
}

ItemPointerData
apikey_insert(Relation rel, Datum *values, bool *nulls, int count)
{
	ItemPointerData place;
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
													&TTSOpsVirtual);

	/* range table index 0: in no range table */
	InitResultRelInfo(target, rel, 0, NULL, 0);
	ExecOpenIndices(target, false);
	count = Min(count, RelationGetDescr(rel)->natts);
	ExecStoreAllNullTuple(slot);
	memcpy(slot->tts_values, values, count * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, count * sizeof(bool));
	ExecClearTuple(slot);
	add_defaults(slot, rel, count, estate);
	ExecStoreVirtualTuple(slot);
	estate->es_output_cid = GetCurrentCommandId(true);

	AfterTriggerBeginQuery();
	ExecSimpleRelationInsert(target, estate, slot);
	place = slot->tts_tid;
	AfterTriggerEndQuery(estate);

	ExecCloseIndices(target);
	ExecCloseResultRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	CommandCounterIncrement();
	return place;
}

void
apikey_enter_without_sql(ApikeyPrivileges *saved)
{
	HeapTuple	tuple = SearchSysCache1(RELOID,
										ObjectIdGetDatum(apikey_relation(APIKEY_REL_KEY)));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation apikey.key");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	GetUserIdAndSecContext(&saved->caller, &saved->sec_context);
	SetUserIdAndSecContext(owner,
						   saved->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	saved->guc_nest_level = 0;
}

void
apikey_enter(ApikeyPrivileges *saved, const char *actor)
{
	apikey_enter_without_sql(saved);
	saved->guc_nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (actor != NULL)
		(void) set_config_option("apikey.actor", actor,
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

void
apikey_leave(const ApikeyPrivileges *saved)
{
	if (saved->guc_nest_level > 0)
		AtEOXact_GUC(false, saved->guc_nest_level);
	SetUserIdAndSecContext(saved->caller, saved->sec_context);
}
