/*
 * member.h
 *		Who may manage the keys of an account.
 */
#ifndef APIKEY_MEMBER_H
#define APIKEY_MEMBER_H

#include "postgres.h"

#include "fmgr.h"

#include "request.h"

/* What a role may be able to do; apikey.capability.action */
typedef enum ApikeyAction
{
	APIKEY_MAY_CREATE,
	APIKEY_MAY_VIEW,
	APIKEY_MAY_UPDATE,
	APIKEY_MAY_REVOKE
} ApikeyAction;

/*
 * The actor argument as it was given, else the setting apikey.actor as it is
 * now: to be asked for before anything sets that for the audit log.
 */
extern ApikeyText apikey_named_actor(FunctionCallInfo fcinfo, int argno);

/*
 * KA403 where the account's policy enforces members, unless the actor is a
 * member whose role may do this; without an actor, unless the caller has
 * access of level admin.
 */
extern void apikey_require_capability(const char *account, ApikeyAction action,
									  ApikeyText actor);

#endif							/* APIKEY_MEMBER_H */
