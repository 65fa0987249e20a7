/*
 * member.c
 *		Who may manage the keys of an account: the tables member and
 *		capability.
 *
 * Both are read at each call as they are at that moment, whatever snapshot the
 * transaction uses.  Takes no locks beyond ACCESS SHARE.  Who the actor is is
 * the application's word; who the caller is, is the server's.
 */
#include "postgres.h"

#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "member.h"
#include "policy.h"
#include "rules.h"
#include "settings.h"

/* Columns, as 52_members.sql creates them */
enum
{
	MEMBER_ACCOUNT = 1, MEMBER_SUBJECT, MEMBER_ROLE
};

static const char *const action_names[] = {
	[APIKEY_MAY_CREATE] = "create",
	[APIKEY_MAY_VIEW] = "view",
	[APIKEY_MAY_UPDATE] = "update",
	[APIKEY_MAY_REVOKE] = "revoke",
};

/* The roles of one actor: in the account, and in every account */
typedef struct Roles
{
	int			count;
	text	   *role[2];
} Roles;

ApikeyText
apikey_named_actor(FunctionCallInfo fcinfo, int argno)
{
	ApikeyText	actor = apikey_text_argument(fcinfo, argno, APIKEY_ACTOR_MAX);

	if (actor.data == NULL && apikey_actor != NULL && apikey_actor[0] != '\0')
	{
		actor.data = pstrdup(apikey_actor);
		actor.len = strlen(actor.data);
		actor.too_long = actor.len > APIKEY_ACTOR_MAX;
	}
	return actor;
}

/*
 * Has the caller access of level admin?  Whoever may hand out access has it,
 * superusers and the owner included.  The functions run as their owner: the
 * role that counts is the session's, or the one it SET.  What is run by the
 * way in somebody else's maintenance command has nobody's level.
 */
static bool
caller_is_admin(void)
{
	Oid			arguments[] = {NAMEOID, TEXTOID};
	Oid			function;

	if (InSecurityRestrictedOperation())
		return false;
	function = LookupFuncName(list_make2(makeString(pstrdup("apikey")),
										 makeString(pstrdup("grant_access"))),
							  lengthof(arguments), arguments, true);
	return OidIsValid(function) &&
		DatumGetBool(DirectFunctionCall3(has_function_privilege_id_id,
										 ObjectIdGetDatum(GetOuterUserId()),
										 ObjectIdGetDatum(function),
										 CStringGetTextDatum("EXECUTE")));
}

/*
 * Rows of a table whose primary key consists of two texts.
 */
static void
scan_pair(ApikeyRelation which, ApikeyRelation pkey, text *first, text *second,
		  ApikeyRowCallback callback, void *arg)
{
	Relation	rel = table_open(apikey_relation(which), AccessShareLock);
	ScanKeyData keys[2];
	text	   *values[2] = {first, second};

	for (int i = 0; i < 2; i++)
	{
		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(values[i]));
		keys[i].sk_collation =
			TupleDescAttr(RelationGetDescr(rel), i)->attcollation;
	}
	apikey_scan(rel, apikey_relation(pkey), keys, 2, callback, arg);
	table_close(rel, AccessShareLock);
}

static bool
note_role(TupleTableSlot *slot, void *arg)
{
	Roles	   *roles = arg;
	bool		isnull;

	roles->role[roles->count++] =
		DatumGetTextPCopy(slot_getattr(slot, MEMBER_ROLE, &isnull));
	return false;
}

static bool
note_found(TupleTableSlot *slot, void *arg)
{
	*(bool *) arg = true;
	return false;
}

static void
find_roles(const char *account, ApikeyText actor, Roles *roles)
{
	text	   *subject;

	roles->count = 0;
	if (actor.data == NULL || actor.too_long)
		return;
	subject = cstring_to_text_with_len(actor.data, actor.len);
	scan_pair(APIKEY_REL_MEMBER, APIKEY_REL_MEMBER_PKEY,
			  cstring_to_text(account), subject, note_role, roles);
	scan_pair(APIKEY_REL_MEMBER, APIKEY_REL_MEMBER_PKEY,
			  cstring_to_text("*"), subject, note_role, roles);
}

static bool
role_can(text *role, ApikeyAction action)
{
	bool		found = false;

	scan_pair(APIKEY_REL_CAPABILITY, APIKEY_REL_CAPABILITY_PKEY, role,
			  cstring_to_text(action_names[action]), note_found, &found);
	return found;
}

void
apikey_require_capability(const char *account, ApikeyAction action,
						  ApikeyText actor)
{
	const ApikeyAccount *policy = apikey_policy_account(apikey_policy(),
														account, strlen(account));
	Roles		roles;

	if (!policy->enforce_members ||
		(actor.data == NULL && caller_is_admin()))
		return;
	find_roles(account, actor, &roles);
	for (int i = 0; i < roles.count; i++)
	{
		if (role_can(roles.role[i], action))
			return;
	}
	if (roles.count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_FORBIDDEN),
				 errmsg("Insufficient permissions"),
				 errdetail("This needs a role with action \"%s\" in apikey.capability, and the actor's has none.",
						   action_names[action]),
				 errhint("Ask a member who may do this.")));
	ereport(ERROR,
			(errcode(ERRCODE_APIKEY_FORBIDDEN),
			 errmsg("Not a member of the selected organization"),
			 actor.data == NULL ?
			 errdetail("account_policy.enforce_members is on, and no actor was named.") :
			 errdetail("account_policy.enforce_members is on, and the actor has no row for this account in apikey.member."),
			 actor.data == NULL ?
			 errhint("Pass the argument \"actor\" or set apikey.actor; only level admin may leave it out.") :
			 errhint("Name an actor who is a member, or make this one a member.")));
}

static ApikeyAction
action_argument(text *name)
{
	for (int i = 0; i < lengthof(action_names); i++)
	{
		if (strlen(action_names[i]) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(action_names[i], VARDATA_ANY(name), strlen(action_names[i])) == 0)
			return (ApikeyAction) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"action\""),
			 errdetail("It must be create, view, update or revoke."),
			 errhint("These are the actions of apikey.capability.")));
	return APIKEY_MAY_VIEW;		/* keep compiler quiet */
}

PG_FUNCTION_INFO_V1(apikey_sql_require_capability);

/*
 * apikey.require_capability(account, action, actor) returns void
 *		Errors: KA403, 22023 for what is no account or no action.
 */
Datum
apikey_sql_require_capability(PG_FUNCTION_ARGS)
{
	char	   *account = apikey_rule_account(apikey_text_argument(fcinfo, 0,
																   APIKEY_ACCOUNT_MAX));
	text	   *action = PG_ARGISNULL(1) ? cstring_to_text("") :
		PG_GETARG_TEXT_PP(1);

	apikey_require_capability(account, action_argument(action),
							  apikey_named_actor(fcinfo, 2));
	PG_RETURN_VOID();
}
