/*
 * rules.h
 *		What a key may be: arguments of management functions against the
 *		rules of their form (22023) and of policy (KA403, KA409).
 */
#ifndef APIKEY_RULES_H
#define APIKEY_RULES_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "member.h"
#include "policy.h"
#include "request.h"

/* Whose rules */
typedef struct ApikeyRules
{
	ApikeyPolicy *policy;
	const ApikeyKind *kind;
	const ApikeyAccount *account;
	const char *account_name;
} ApikeyRules;

/* When a key ends */
typedef struct ApikeyExpiry
{
	bool		given;			/* asked for, not a default */
	bool		never;
	TimestampTz at;
} ApikeyExpiry;

/* 22023: what is wrong with an argument, and what to pass instead. */
extern void apikey_bad_argument(const char *argument, const char *rule,
								const char *hint);
extern bool apikey_has_control_characters(ApikeyText text);

/* A well-formed account, NUL terminated. */
extern char *apikey_rule_account(ApikeyText account);

/* Look up what applies; unknown kinds are refused. */
extern void apikey_rules_find(ApikeyRules *rules, const char *account,
							  ApikeyText kind);

/* May keys be made at all? */
extern void apikey_rule_may_issue(const ApikeyRules *rules);

extern text *apikey_rule_name(const ApikeyRules *rules, ApikeyText name);
extern struct varlena *apikey_rule_scopes(const ApikeyRules *rules,
										  bool given, Datum scopes);

/* These three give 0, to be stored as NULL, for what is empty. */
extern Datum apikey_rule_ips(const ApikeyRules *rules, bool given, Datum ips);
extern Datum apikey_rule_origins(const ApikeyRules *rules, bool given,
								 Datum origins);
extern Datum apikey_rule_metadata(bool given, Datum metadata);

extern text *apikey_rule_db_role(Oid caller, ApikeyText role);

/*
 * The expiry of a key made at created: at, or in from now, or a default.
 * Neither argument given: *expiry holds what to use if it says given, such as
 * a predecessor's.  What was not asked for is cut to policy's maximum.
 */
extern void apikey_rule_expiry(const ApikeyRules *rules,
							   const TimestampTz *at, const Interval *in,
							   TimestampTz created, TimestampTz now,
							   ApikeyExpiry *expiry);

/*
 * How long something is to live, in microseconds, but no longer than longest.
 * Days of an interval have 24 hours, and months 30 days.
 */
extern int64 apikey_rule_ttl(Interval *ttl, int64 longest);

#endif							/* APIKEY_RULES_H */
