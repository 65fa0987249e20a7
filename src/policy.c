/*
 * policy.c
 *		Reads the tables kind, scope and account_policy and keeps what it read.
 *
 * Kinds and scopes are read whole; accounts too unless there are very many.
 * Everything read lives in one memory context, which is left behind when an
 * invalidation message for one of the tables arrives (see catalog.c), and
 * freed with the transaction.  While a table's trigger that sends those
 * messages is not enabled, nothing is kept beyond the call.
 */
#include "postgres.h"

#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "policy.h"
#include "scopes.h"

/*
 * Account rows up to this number are read together with the rest; when there
 * are more, they are read as they are asked for, and so many kept.
 */
#define ACCOUNTS_MAX	4096

/* Columns, as 30_policy.sql creates them */
enum
{
	KIND_KIND = 1, KIND_PREFIX, KIND_BODY_LENGTH, KIND_CHECKSUM,
	KIND_MASK_PREFIX, KIND_MASK_HEAD, KIND_MASK_GAP, KIND_MASK_TAIL,
	KIND_DEFAULT_SCOPES, KIND_DEFAULT_LIFETIME, KIND_ORIGIN_LOCKED,
	KIND_ALLOW_LOCALHOST, KIND_NAME_MAX, KIND_DB_ROLE, KIND_ENABLED
};

enum
{
	SCOPE_SCOPE = 1, SCOPE_DESCRIPTION, SCOPE_ENABLED
};

enum
{
	ACCOUNT_ACCOUNT = 1, ACCOUNT_API_ENABLED, ACCOUNT_ALLOWED_SCOPES,
	ACCOUNT_MAX_KEYS, ACCOUNT_NAME_MAX, ACCOUNT_MAX_REQUESTS_PER_DAY,
	ACCOUNT_DEFAULT_LIFETIME, ACCOUNT_MAX_LIFETIME,
	ACCOUNT_REQUIRE_ALLOWED_IPS, ACCOUNT_ENFORCE_MEMBERS,
	ACCOUNT_ROTATE_AFTER
};

typedef struct AccountEntry
{
	char		name[APIKEY_ACCOUNT_MAX + 1];	/* hash key */
	ApikeyAccount account;
} AccountEntry;

struct ApikeyPolicy
{
	uint64		number;			/* counts policies that were read */
	uint64		generation;
	bool		keep;			/* every table tells us of its changes */
	MemoryContext context;
	int			nkinds;
	int			kinds_size;
	ApikeyKind *kinds;
	ApikeyFormat *formats;
	int			nscopes;
	int			scopes_size;
	ApikeyScopeRow *scopes;		/* sorted bytewise */
	bool		all_scopes_on;
	bool		has_default;	/* the row "*" was there */
	ApikeyAccount default_account;
	bool		has_all_accounts;
	HTAB	   *accounts;
};

static ApikeyPolicy *current_policy = NULL;

/* What an account row is read into */
typedef struct AccountRead
{
	ApikeyAccount *account;
	bool		found;
} AccountRead;

bool
apikey_interval_is_zero(const Interval *interval)
{
	return interval->time == 0 && interval->day == 0 && interval->month == 0;
}

static struct varlena *
copy_scopes(Datum value)
{
	return (struct varlena *) PG_DETOAST_DATUM_COPY(value);
}

static bool
read_kind(TupleTableSlot *slot, void *arg)
{
	ApikeyPolicy *policy = arg;
	ApikeyKind *kind;
	bool	   *null;
	Datum	   *value;

	slot_getallattrs(slot);
	null = slot->tts_isnull - 1;
	value = slot->tts_values - 1;

	if (policy->nkinds == policy->kinds_size)
	{
		policy->kinds_size *= 2;
		policy->kinds = repalloc(policy->kinds,
								 policy->kinds_size * sizeof(ApikeyKind));
	}
	kind = &policy->kinds[policy->nkinds++];
	memset(kind, 0, sizeof(*kind));

	strlcpy(kind->name, TextDatumGetCString(value[KIND_KIND]),
			sizeof(kind->name));
	strlcpy(kind->format.prefix, TextDatumGetCString(value[KIND_PREFIX]),
			sizeof(kind->format.prefix));
	kind->format.prefix_len = strlen(kind->format.prefix);
	kind->format.body_length = DatumGetInt32(value[KIND_BODY_LENGTH]);
	kind->format.checksum = DatumGetBool(value[KIND_CHECKSUM]);
	kind->mask.prefix = DatumGetBool(value[KIND_MASK_PREFIX]);
	kind->mask.head = DatumGetInt32(value[KIND_MASK_HEAD]);
	kind->mask.tail = DatumGetInt32(value[KIND_MASK_TAIL]);
	strlcpy(kind->mask.gap, TextDatumGetCString(value[KIND_MASK_GAP]),
			sizeof(kind->mask.gap));
	kind->enabled = DatumGetBool(value[KIND_ENABLED]);
	kind->origin_locked = DatumGetBool(value[KIND_ORIGIN_LOCKED]);
	kind->allow_localhost = DatumGetBool(value[KIND_ALLOW_LOCALHOST]);
	kind->name_max = null[KIND_NAME_MAX] ? APIKEY_INHERIT :
		DatumGetInt32(value[KIND_NAME_MAX]);
	kind->has_default_lifetime = !null[KIND_DEFAULT_LIFETIME];
	if (kind->has_default_lifetime)
		kind->default_lifetime =
			*DatumGetIntervalP(value[KIND_DEFAULT_LIFETIME]);
	kind->has_default_scopes = !null[KIND_DEFAULT_SCOPES];
	if (kind->has_default_scopes)
		kind->default_scopes = copy_scopes(value[KIND_DEFAULT_SCOPES]);
	if (!null[KIND_DB_ROLE])
		kind->db_role = TextDatumGetCString(value[KIND_DB_ROLE]);
	return true;
}

static bool
read_scope(TupleTableSlot *slot, void *arg)
{
	ApikeyPolicy *policy = arg;
	ApikeyScopeRow *row;

	slot_getallattrs(slot);
	if (policy->nscopes == policy->scopes_size)
	{
		policy->scopes_size *= 2;
		policy->scopes = repalloc(policy->scopes,
								  policy->scopes_size * sizeof(ApikeyScopeRow));
	}
	row = &policy->scopes[policy->nscopes++];
	row->scope = TextDatumGetCString(slot->tts_values[SCOPE_SCOPE - 1]);
	row->len = strlen(row->scope);
	row->wildcard = apikey_grant_is_wildcard(row->scope, row->len);
	row->enabled = DatumGetBool(slot->tts_values[SCOPE_ENABLED - 1]);
	policy->all_scopes_on &= row->enabled;
	row->has_listed_below = false;
	return true;
}

/*
 * An account row fills in what it has; the rest stays as it was.
 */
static void
fill_account(TupleTableSlot *slot, ApikeyAccount *account)
{
	bool	   *null;
	Datum	   *value;

	slot_getallattrs(slot);
	null = slot->tts_isnull - 1;
	value = slot->tts_values - 1;

	if (!null[ACCOUNT_API_ENABLED])
		account->api_enabled = DatumGetBool(value[ACCOUNT_API_ENABLED]);
	if (!null[ACCOUNT_ALLOWED_SCOPES])
		account->allowed_scopes = copy_scopes(value[ACCOUNT_ALLOWED_SCOPES]);
	if (!null[ACCOUNT_MAX_KEYS])
		account->max_keys = DatumGetInt32(value[ACCOUNT_MAX_KEYS]);
	if (!null[ACCOUNT_NAME_MAX])
		account->name_max = DatumGetInt32(value[ACCOUNT_NAME_MAX]);
	if (!null[ACCOUNT_MAX_REQUESTS_PER_DAY])
		account->max_requests_per_day =
			DatumGetInt64(value[ACCOUNT_MAX_REQUESTS_PER_DAY]);
	if (!null[ACCOUNT_DEFAULT_LIFETIME])
		account->default_lifetime =
			*DatumGetIntervalP(value[ACCOUNT_DEFAULT_LIFETIME]);
	if (!null[ACCOUNT_MAX_LIFETIME])
		account->max_lifetime =
			*DatumGetIntervalP(value[ACCOUNT_MAX_LIFETIME]);
	if (!null[ACCOUNT_REQUIRE_ALLOWED_IPS])
		account->require_allowed_ips =
			DatumGetBool(value[ACCOUNT_REQUIRE_ALLOWED_IPS]);
	if (!null[ACCOUNT_ENFORCE_MEMBERS])
		account->enforce_members =
			DatumGetBool(value[ACCOUNT_ENFORCE_MEMBERS]);
	if (!null[ACCOUNT_ROTATE_AFTER])
		account->rotate_after = *DatumGetIntervalP(value[ACCOUNT_ROTATE_AFTER]);
}

static bool
read_account(TupleTableSlot *slot, void *arg)
{
	AccountRead *into = arg;

	into->found = true;
	fill_account(slot, into->account);
	return false;
}

/*
 * Keep one of all accounts; stop when they are too many.
 */
static bool
keep_account(TupleTableSlot *slot, void *arg)
{
	ApikeyPolicy *policy = arg;
	AccountEntry *entry;
	bool		isnull;
	char	   *name = TextDatumGetCString(slot_getattr(slot, ACCOUNT_ACCOUNT,
														&isnull));

	if (hash_get_num_entries(policy->accounts) >= ACCOUNTS_MAX)
	{
		policy->has_all_accounts = false;
		return false;
	}
	entry = hash_search(policy->accounts, name, HASH_ENTER, NULL);
	entry->account = policy->default_account;
	fill_account(slot, &entry->account);
	return true;
}

/*
 * Read a whole table, or the row of one account, in the policy's context.
 */
static void
read_table(ApikeyPolicy *policy, ApikeyRelation which, const char *account,
		   size_t account_len, ApikeyRowCallback callback, void *arg)
{
	Relation	rel = table_open(apikey_relation(which), AccessShareLock);
	MemoryContext old = MemoryContextSwitchTo(policy->context);

	if (!apikey_relation_is_coherent(rel))
		policy->keep = false;
	if (account != NULL)
	{
		ScanKeyData key;
		Oid			index = apikey_relation(APIKEY_REL_ACCOUNT_POLICY_PKEY);
		Datum		wanted = PointerGetDatum(cstring_to_text_with_len(account,
																	  account_len));

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, wanted);
		key.sk_collation = TupleDescAttr(RelationGetDescr(rel),
										 ACCOUNT_ACCOUNT - 1)->attcollation;
		apikey_scan(rel, index, &key, 1, callback, arg);
	}
	else
		apikey_scan(rel, InvalidOid, NULL, 0, callback, arg);
	MemoryContextSwitchTo(old);
	table_close(rel, AccessShareLock);
}

static int
compare_scope_rows(const void *a, const void *b)
{
	return strcmp(((const ApikeyScopeRow *) a)->scope,
				  ((const ApikeyScopeRow *) b)->scope);
}

/*
 * Put the catalogue in order, and note which wildcards have rows below them.
 */
static void
finish_scopes(ApikeyPolicy *policy)
{
	qsort(policy->scopes, policy->nscopes, sizeof(ApikeyScopeRow),
		  compare_scope_rows);
	for (int i = 0; i < policy->nscopes; i++)
	{
		ApikeyScopeRow *upper = &policy->scopes[i];

		/* rows with a common beginning stand side by side */
		for (int j = i - 1; upper->wildcard && j <= i + 1; j += 2)
		{
			if (j >= 0 && j < policy->nscopes &&
				apikey_grant_covers(upper->scope, upper->len,
									policy->scopes[j].scope,
									policy->scopes[j].len))
				upper->has_listed_below = true;
		}
	}
}

static ApikeyPolicy *
read_policy(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "apikey policy",
												  ALLOCSET_SMALL_SIZES);
	ApikeyPolicy *policy = MemoryContextAllocZero(context, sizeof(ApikeyPolicy));
	static uint64 policies = 0;
	AccountRead fallback = {.account = &policy->default_account};
	HASHCTL		ctl = {
		.keysize = sizeof(((AccountEntry *) NULL)->name),
		.entrysize = sizeof(AccountEntry),
		.hcxt = context,
	};

	policy->number = ++policies;
	policy->context = context;
	policy->keep = true;
	policy->all_scopes_on = true;
	policy->generation = apikey_policy_generation();
	policy->kinds_size = policy->scopes_size = 16;
	policy->kinds = MemoryContextAlloc(context, 16 * sizeof(ApikeyKind));
	policy->scopes = MemoryContextAlloc(context, 16 * sizeof(ApikeyScopeRow));
	policy->accounts = hash_create("apikey accounts", 64, &ctl,
								   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);

	read_table(policy, APIKEY_REL_KIND, NULL, 0, read_kind, policy);
	read_table(policy, APIKEY_REL_SCOPE, NULL, 0, read_scope, policy);
	finish_scopes(policy);
	read_table(policy, APIKEY_REL_ACCOUNT_POLICY, "*", 1, read_account,
			   &fallback);
	policy->has_default = fallback.found;
	policy->has_all_accounts = true;
	read_table(policy, APIKEY_REL_ACCOUNT_POLICY, NULL, 0, keep_account,
			   policy);

	policy->formats = MemoryContextAlloc(context,
										 Max(policy->nkinds, 1) * sizeof(ApikeyFormat));
	for (int i = 0; i < policy->nkinds; i++)
		policy->formats[i] = policy->kinds[i].format;
	return policy;
}

ApikeyPolicy *
apikey_policy(void)
{
	ApikeyPolicy *policy;

	AcceptInvalidationMessages();
	if (current_policy != NULL &&
		current_policy->generation == apikey_policy_generation() &&
		(current_policy->has_all_accounts ||
		 hash_get_num_entries(current_policy->accounts) < 2 * ACCOUNTS_MAX))
		return current_policy;

	/* whoever still looks at the old one may do so until the end */
	if (current_policy != NULL)
	{
		MemoryContextSetParent(current_policy->context, CurTransactionContext);
		current_policy = NULL;
	}
	policy = read_policy();
	if (policy->keep && policy->generation == apikey_policy_generation())
	{
		MemoryContextSetParent(policy->context, TopMemoryContext);
		current_policy = policy;
	}
	return policy;
}

uint64
apikey_policy_number(const ApikeyPolicy *policy)
{
	return policy->number;
}

uint64
apikey_policy_serial(const ApikeyPolicy *policy)
{
	return policy == current_policy ? policy->generation : 0;
}

int
apikey_policy_kinds(const ApikeyPolicy *policy, const ApikeyKind **kinds,
					const ApikeyFormat **formats)
{
	*kinds = policy->kinds;
	*formats = policy->formats;
	return policy->nkinds;
}

const ApikeyKind *
apikey_policy_kind(const ApikeyPolicy *policy, const char *name, size_t len)
{
	for (int i = 0; i < policy->nkinds; i++)
	{
		const ApikeyKind *kind = &policy->kinds[i];

		if (strlen(kind->name) == len && memcmp(kind->name, name, len) == 0)
			return kind;
	}
	return NULL;
}

const ApikeyAccount *
apikey_policy_account(ApikeyPolicy *policy, const char *name, size_t len)
{
	char		key[APIKEY_ACCOUNT_MAX + 1];
	AccountEntry *entry;
	AccountRead into;
	uint64		generation;
	ApikeyAccount *read;

	/* not the rule that was meant: nothing is allowed without it */
	if (!policy->has_default || len > APIKEY_ACCOUNT_MAX)
	{
		policy->default_account.api_enabled = false;
		policy->default_account.enforce_members = true;
		return &policy->default_account;
	}
	memcpy(key, name, len);
	key[len] = '\0';
	entry = hash_search(policy->accounts, key, HASH_FIND, NULL);
	if (entry != NULL)
		return &entry->account;
	if (policy->has_all_accounts)
		return &policy->default_account;

	generation = apikey_policy_generation();
	read = MemoryContextAlloc(policy->context, sizeof(ApikeyAccount));
	*read = policy->default_account;
	into.account = read;
	into.found = false;
	read_table(policy, APIKEY_REL_ACCOUNT_POLICY, name, len, read_account,
			   &into);

	/* what changed while it was read is good for this call only */
	if (generation != apikey_policy_generation() || policy != current_policy)
		return read;
	entry = hash_search(policy->accounts, key, HASH_ENTER, NULL);
	entry->account = *read;
	pfree(read);
	return &entry->account;
}

/*
 * Find the row of this very text.
 */
static const ApikeyScopeRow *
find_scope_row(const ApikeyPolicy *policy, const char *text, size_t len)
{
	int			low = 0;
	int			high = policy->nscopes;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		const ApikeyScopeRow *row = &policy->scopes[middle];
		int			order = memcmp(text, row->scope, Min(len, row->len));

		if (order == 0)
			order = (len > row->len) - (len < row->len);
		if (order == 0)
			return row;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/*
 * Find the next wildcard row above a scope: of a:b:c first a:b:*, then a:*.
 * *at is where the last one was found, the scope's length to begin with.
 */
static const ApikeyScopeRow *
next_scope_row_above(const ApikeyPolicy *policy, const char *scope,
					 size_t *at)
{
	char		wildcard[APIKEY_GRANT_MAX + 2];

	while (*at > 0)
	{
		const ApikeyScopeRow *row;

		(*at)--;
		if (scope[*at] != ':')
			continue;
		memcpy(wildcard, scope, *at + 1);
		wildcard[*at + 1] = '*';
		row = find_scope_row(policy, wildcard, *at + 2);
		if (row != NULL)
			return row;
	}
	return NULL;
}

bool
apikey_policy_lists_scope(const ApikeyPolicy *policy,
						  const char *scope, size_t len)
{
	const ApikeyScopeRow *row;
	size_t		at = len;

	if (policy->nscopes == 0 || find_scope_row(policy, scope, len) != NULL)
		return true;
	row = next_scope_row_above(policy, scope, &at);
	return row != NULL && !row->has_listed_below;
}

bool
apikey_policy_all_scopes_are_on(const ApikeyPolicy *policy)
{
	return policy->all_scopes_on;
}

bool
apikey_policy_scope_is_on(const ApikeyPolicy *policy,
						  const char *scope, size_t len)
{
	const ApikeyScopeRow *row = find_scope_row(policy, scope, len);
	size_t		at = len;

	if (row != NULL && !row->enabled)
		return false;
	while ((row = next_scope_row_above(policy, scope, &at)) != NULL)
	{
		if (!row->enabled)
			return false;
	}
	return true;
}

bool
apikey_policy_knows_grant(const ApikeyPolicy *policy,
						  const char *grant, size_t len)
{
	if (!apikey_grant_is_wildcard(grant, len))
		return apikey_policy_lists_scope(policy, grant, len);
	if (policy->nscopes == 0)
		return true;
	for (int i = 0; i < policy->nscopes; i++)
	{
		const ApikeyScopeRow *row = &policy->scopes[i];

		if (apikey_grant_covers(grant, len, row->scope, row->len))
			return true;
	}

	/* below a resource that is listed as a whole */
	return apikey_policy_lists_scope(policy, grant, len);
}
