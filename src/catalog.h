/*
 * catalog.h
 *		The module's own relations and types by number, scanning them without
 *		SQL, and working with the privileges of their owner.
 */
#ifndef APIKEY_CATALOG_H
#define APIKEY_CATALOG_H

#include "postgres.h"

#include "access/skey.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

typedef enum ApikeyRelation
{
	APIKEY_REL_KEY,
	APIKEY_REL_KEY_LOOKUP,		/* index on (lookup) */
	APIKEY_REL_KEY_PEPPER,		/* index on (pepper_id) */
	APIKEY_REL_KEY_CHANGE,		/* type whose number says that keys changed */
	APIKEY_REL_KEY_PKEY,		/* index on (key_id) */
	APIKEY_REL_SIGNING_KEY,
	APIKEY_REL_SESSION,
	APIKEY_REL_SESSION_PKEY,	/* index on (session_id) */
	APIKEY_REL_KIND,
	APIKEY_REL_SCOPE,
	APIKEY_REL_ACCOUNT_POLICY,
	APIKEY_REL_ACCOUNT_POLICY_PKEY, /* index on (account) */
	APIKEY_REL_PEPPER,
	APIKEY_REL_SECRET,
	APIKEY_REL_IMPORT_SECRET,
	APIKEY_REL_IMPORT_SCHEME,
	APIKEY_REL_IMPORTED,
	APIKEY_REL_IMPORTED_PKEY,	/* index on (key_id) */
	APIKEY_REL_IMPORTED_FINGERPRINT,	/* index on (fingerprint) */
	APIKEY_REL_KEY_USE,
	APIKEY_REL_USAGE_HOUR,
	APIKEY_REL_USAGE_DAY,
	APIKEY_REL_MEMBER,
	APIKEY_REL_MEMBER_PKEY,		/* index on (account, subject) */
	APIKEY_REL_CAPABILITY,
	APIKEY_REL_CAPABILITY_PKEY, /* index on (role, action) */
	APIKEY_REL_RATE_LIMIT,
	APIKEY_REL_RATE_LIMIT_KEY,	/* index on (key_id, name) */
	APIKEY_REL_RATE_LIMIT_ACCOUNT,	/* index on (account, name) */
	APIKEY_REL_RATE_LIMIT_KIND, /* index on (kind, name) */
	APIKEY_REL_CREDIT,
	APIKEY_REL_CREDIT_LINEAGE,	/* index on (lineage) */
	APIKEY_REL_CREDIT_ACCOUNT,	/* index on (account) */
	APIKEY_REL_CREDIT_SPENT,
	APIKEY_REL_CREDIT_SPENT_PKEY,	/* index on (epoch, node) */
	APIKEY_REL_FLUSH_STATE,
	APIKEY_REL_AUDIT_LOG
} ApikeyRelation;

#define APIKEY_NRELATIONS (APIKEY_REL_AUDIT_LOG + 1)

typedef enum ApikeyType
{
	APIKEY_TYPE_SCOPES,
	APIKEY_TYPE_VERDICT,
	APIKEY_TYPE_ISSUED_KEY
} ApikeyType;

#define APIKEY_NTYPES (APIKEY_TYPE_ISSUED_KEY + 1)

/* Registers for invalidation messages. */
extern void apikey_catalog_init(void);

extern Oid	apikey_relation(ApikeyRelation which);
extern Oid	apikey_type(ApikeyType which);

/*
 * Descriptor of a composite type, good for the current call; and a number that
 * is another one as soon as the descriptor is.
 */
extern TupleDesc apikey_type_desc(ApikeyType which);
extern uint64 apikey_type_desc_number(ApikeyType which);

/*
 * Grow when a policy table (kind, scope, account_policy), the pepper table,
 * the table of fixed secrets, that of signing keys, what says how imported
 * keys are hashed, or a row of the key table changed.  Read before taking the
 * snapshot with which a cache is filled; a cache filled under an older
 * generation is stale.
 */
extern uint64 apikey_policy_generation(void);
extern uint64 apikey_pepper_generation(void);
extern uint64 apikey_secret_generation(void);
extern uint64 apikey_key_generation(void);
extern uint64 apikey_signing_generation(void);
extern uint64 apikey_import_generation(void);

/* The same for the tables rate_limit and credit. */
extern uint64 apikey_limit_generation(void);
extern uint64 apikey_credit_generation(void);

/*
 * Will every change of this table reach us as an invalidation?  Only while
 * its trigger "invalidate" fires always; otherwise it must not be cached.
 * Warns once.
 */
extern bool apikey_relation_is_coherent(Relation rel);

/*
 * Rows of a table as of this very moment, whatever snapshot the transaction
 * uses: through an index where keys are given, else all of them.  Calls back
 * for each row with a slot that is good until the callback returns, which
 * returns false to stop.  Takes no predicate locks and writes nothing.
 */
typedef bool (*ApikeyRowCallback) (TupleTableSlot *slot, void *arg);
extern void apikey_scan(Relation rel, Oid index, ScanKey keys, int nkeys,
						ApikeyRowCallback callback, void *arg);

/*
 * A valid index of a table on just these columns, in this order; InvalidOid if
 * there is none.
 */
extern Oid	apikey_find_index(Relation rel, const AttrNumber *columns, int count);

/*
 * The default of a column (from 0) that is not ours, ready to be evaluated; NULL
 * if it has none.
 */
extern ExprState *apikey_column_default(Relation rel, int column);

/*
 * Insert a row of so many values without SQL: their defaults are the caller's
 * affair, triggers and indexes are minded, and the next command sees the row.
 * Columns that somebody has added behind them get theirs.  Returns where the
 * row lies.
 */
extern ItemPointerData apikey_insert(Relation rel, Datum *values, bool *nulls, int count);

/*
 * Work as the owner of the module's tables, under a safe search_path, until
 * apikey_leave(); an error ends it too.  actor, if not NULL, becomes
 * apikey.actor for that time.
 */
typedef struct ApikeyPrivileges
{
	Oid			caller;
	int			sec_context;
	int			guc_nest_level;
} ApikeyPrivileges;

extern void apikey_enter(ApikeyPrivileges *saved, const char *actor);

/* The same where no SQL runs meanwhile: leaves the settings alone. */
extern void apikey_enter_without_sql(ApikeyPrivileges *saved);
extern void apikey_leave(const ApikeyPrivileges *saved);

#endif							/* APIKEY_CATALOG_H */
