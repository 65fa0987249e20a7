/*
 * policy.h
 *		What a DBA decided in the tables kind, scope and account_policy,
 *		decoded and kept in the backend.
 */
#ifndef APIKEY_POLICY_H
#define APIKEY_POLICY_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "apikey.h"
#include "scope.h"
#include "token.h"

/* A row of apikey.kind; APIKEY_INHERIT or a flag says what is NULL */
typedef struct ApikeyKind
{
	char		name[APIKEY_KIND_MAX + 1];
	ApikeyFormat format;
	ApikeyMask	mask;
	bool		enabled;
	bool		origin_locked;
	bool		allow_localhost;
	int			name_max;
	bool		has_default_lifetime;
	Interval	default_lifetime;
	bool		has_default_scopes;
	struct varlena *default_scopes; /* apikey.scopes */
	char	   *db_role;		/* or NULL */
} ApikeyKind;

/* A row of apikey.scope */
typedef struct ApikeyScopeRow
{
	char	   *scope;
	size_t		len;
	bool		wildcard;
	bool		enabled;
	bool		has_listed_below;	/* of a wildcard: a more specific row exists */
} ApikeyScopeRow;

/* The row of apikey.account_policy with its gaps filled from the row "*" */
typedef struct ApikeyAccount
{
	bool		api_enabled;
	struct varlena *allowed_scopes; /* apikey.scopes */
	int			max_keys;
	int			name_max;
	int64		max_requests_per_day;
	Interval	default_lifetime;
	Interval	max_lifetime;
	bool		require_allowed_ips;
	bool		enforce_members;
	Interval	rotate_after;
} ApikeyAccount;

typedef struct ApikeyPolicy ApikeyPolicy;

/*
 * The policy in force.  Good until the end of the (sub)transaction; ask again
 * rather than keep it across anything that runs SQL.
 */
extern ApikeyPolicy *apikey_policy(void);

/*
 * Tells this policy from all others that were, and will be, in this backend.
 * What points into a policy may be kept with its number.
 */
extern uint64 apikey_policy_number(const ApikeyPolicy *policy);

/*
 * What is found out under one policy holds as long as the next call of
 * apikey_policy() gives one with the same serial; 0: no longer than the call.
 */
extern uint64 apikey_policy_serial(const ApikeyPolicy *policy);

extern int	apikey_policy_kinds(const ApikeyPolicy *policy,
								const ApikeyKind **kinds,
								const ApikeyFormat **formats);
extern const ApikeyKind *apikey_policy_kind(const ApikeyPolicy *policy,
											const char *name, size_t len);
extern const ApikeyAccount *apikey_policy_account(ApikeyPolicy *policy,
												  const char *account,
												  size_t len);

/* The catalogue: does it list a scope, is the scope on, are all? */
extern bool apikey_policy_all_scopes_are_on(const ApikeyPolicy *policy);
extern bool apikey_policy_lists_scope(const ApikeyPolicy *policy,
									  const char *scope, size_t len);
extern bool apikey_policy_scope_is_on(const ApikeyPolicy *policy,
									  const char *scope, size_t len);

/*
 * May this grant be given?  A grant without wildcard must be listed; one with
 * must cover something that is.
 */
extern bool apikey_policy_knows_grant(const ApikeyPolicy *policy,
									  const char *grant, size_t len);

/* Is an interval zero, which in policy means never or no limit? */
extern bool apikey_interval_is_zero(const Interval *interval);

#endif							/* APIKEY_POLICY_H */
