/*
 * rules.c
 *		What a key may be: arguments of management functions against the
 *		rules of their form and of policy.
 *
 * Errors name the argument and the rule, and what to do; values are repeated
 * only where they cannot be a secret.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "compat.h"
#include "record.h"
#include "rules.h"
#include "scopes.h"

/* Longest lifetime that can be asked for: keeps timestamps in range */
#define LIFETIME_MONTHS_MAX	(12 * 1000)

void
apikey_bad_argument(const char *argument, const char *rule, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\"", argument),
			 errdetail("%s", rule),
			 errhint("%s", hint)));
}

static void
forbidden(const ApikeyRules *rules, const char *what, const char *rule,
		  const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_APIKEY_FORBIDDEN),
			 errmsg("policy of account \"%s\" forbids this: %s",
					rules->account_name, what),
			 errdetail("%s", rule),
			 errhint("%s", hint)));
}

bool
apikey_has_control_characters(ApikeyText text)
{
	for (size_t i = 0; i < text.len; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		if (c < 0x20 || c == 0x7f)
			return true;
	}
	return false;
}

/*
 * Characters that do not show or turn the direction of others around would
 * let two names look alike.
 */
static bool
has_invisible_characters(ApikeyText text)
{
	const unsigned char *p = (const unsigned char *) text.data;
	const unsigned char *end = p + text.len;

	if (GetDatabaseEncoding() != PG_UTF8)
		return false;
	for (; p < end; p += pg_utf_mblen(p))
	{
		pg_wchar	c = utf8_to_unicode(p);

		if ((c >= 0x80 && c <= 0x9f) || c == 0xad || c == 0x61c ||
			(c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
			(c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
			(c >= 0xe0000 && c <= 0xe007f))
			return true;
	}
	return false;
}

char *
apikey_rule_account(ApikeyText account)
{
	if (account.data == NULL || account.too_long || account.len == 0 ||
		apikey_has_control_characters(account) ||
		(account.len == 1 && account.data[0] == '*'))
		apikey_bad_argument("account",
					 "An account is a text of 1 to 255 bytes without control characters, and not \"*\".",
					 "Pass the application's id of the organisation, team or customer.");
	return pnstrdup(account.data, account.len);
}

PG_FUNCTION_INFO_V1(apikey_sql_check_account);

/*
 * apikey.check_account(account) returns void
 *		Errors: 22023 if it cannot be an account.
 */
Datum
apikey_sql_check_account(PG_FUNCTION_ARGS)
{
	(void) apikey_rule_account(apikey_text_argument(fcinfo, 0,
													APIKEY_ACCOUNT_MAX));
	PG_RETURN_VOID();
}

void
apikey_rules_find(ApikeyRules *rules, const char *account, ApikeyText kind)
{
	rules->policy = apikey_policy();
	rules->account_name = account;
	rules->account = apikey_policy_account(rules->policy, account,
										   strlen(account));
	rules->kind = NULL;
	if (kind.data != NULL && !kind.too_long)
		rules->kind = apikey_policy_kind(rules->policy, kind.data, kind.len);
	if (rules->kind == NULL)
		apikey_bad_argument("kind", "It must be a row of apikey.kind.",
					 "SELECT kind FROM apikey.kind lists the kinds.");
}

void
apikey_rule_may_issue(const ApikeyRules *rules)
{
	if (!rules->account->api_enabled)
		forbidden(rules, "API access is disabled",
				  "account_policy.api_enabled is off.",
				  "Switch it on for this account first.");
	if (!rules->kind->enabled)
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_FORBIDDEN),
				 errmsg("kind \"%s\" is disabled", rules->kind->name),
				 errdetail("No keys of a disabled kind are made."),
				 errhint("Set enabled in apikey.kind, or use another kind.")));
}

/*
 * Unicode has several spellings of some letters: store the composed one.
 */
static text *
normalized(ApikeyText name)
{
	text	   *value = cstring_to_text_with_len(name.data, name.len);

	for (size_t i = 0; i < name.len; i++)
	{
		if (IS_HIGHBIT_SET(name.data[i]) && GetDatabaseEncoding() == PG_UTF8)
			return DatumGetTextPP(DirectFunctionCall2(unicode_normalize_func,
													  PointerGetDatum(value),
													  CStringGetTextDatum("NFC")));
	}
	return value;
}

text *
apikey_rule_name(const ApikeyRules *rules, ApikeyText name)
{
	text	   *value;
	char	   *clean;
	int			max = rules->account->name_max;
	int			kind_max = rules->kind->name_max;
	bool		blank = true;

	for (size_t i = 0; i < name.len; i++)
		blank &= name.data[i] == ' ';
	if (name.data == NULL || (blank && !name.too_long))
		apikey_bad_argument("name", "A name must not be empty.",
					 "Say what the key is for, such as \"Billing, production\".");
	if (apikey_has_control_characters(name) || has_invisible_characters(name))
		apikey_bad_argument("name",
					 "A name has no control characters, and none that do not show or change the direction of writing.",
					 "Remove them.");
	if (kind_max > 0 && (max < 0 || kind_max < max))
		max = kind_max;
	if (!name.too_long)
	{
		value = normalized(name);
		clean = apikey_clean(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
							 APIKEY_NAME_BYTES_MAX);
		if (max < 0 || pg_mbstrlen(clean) <= max)
			return cstring_to_text(clean);
	}
	if (max < 0)
		max = APIKEY_NAME_BYTES_MAX;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"name\""),
			 errdetail("A name has at most %d characters here: name_max in apikey.kind and apikey.account_policy.",
					   max),
			 errhint("Choose a shorter name.")));
	return NULL;				/* keep compiler quiet */
}

struct varlena *
apikey_rule_scopes(const ApikeyRules *rules, bool given, Datum scopes)
{
	struct varlena *value = rules->kind->default_scopes;
	ApikeyGrants set;
	ApikeyGrants allowed = apikey_scopes_open(rules->account->allowed_scopes);

	if (given)
	{
		int			count;
		ApikeySlice *items = apikey_text_array(scopes, "scopes",
											   4 * APIKEY_GRANTS_MAX, &count);

		value = apikey_scopes_make(items, count, "scopes", NULL);
	}
	else if (value == NULL)
		apikey_bad_argument("scopes", "Keys of this kind have no default scopes.",
					 "Pass at least one scope, such as '{calls:read}'.");
	set = apikey_scopes_open(value);
	if (set.count == 0)
		apikey_bad_argument("scopes", "A key has at least one scope.",
					 "Pass at least one scope, such as '{calls:read}'.");

	for (int i = 0; i < set.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&set, i);
		char	   *text = pnstrdup(grant.data, grant.len);

		if (!apikey_policy_knows_grant(rules->policy, grant.data, grant.len))
			forbidden(rules, psprintf("scope \"%s\"", text),
					  "It is not listed in apikey.scope, and covers none that is.",
					  "SELECT scope, description FROM apikey.scope lists the scopes.");
		if (!apikey_grants_cover(&allowed, grant.data, grant.len))
			forbidden(rules, psprintf("scope \"%s\"", text),
					  "account_policy.allowed_scopes does not cover it.",
					  "Grant only what the account may assign.");
	}
	return value;
}

PG_FUNCTION_INFO_V1(apikey_sql_unlisted_scopes);

/*
 * apikey.unlisted_scopes(apikey.scopes) returns text[]
 *		Grants that could not be given any more, as the catalogue is now.
 */
Datum
apikey_sql_unlisted_scopes(PG_FUNCTION_ARGS)
{
	ApikeyGrants set = apikey_scopes_open(PG_GETARG_VARLENA_PP(0));
	ApikeyPolicy *policy = apikey_policy();
	ApikeySlice *unlisted = palloc(Max(set.count, 1) * sizeof(ApikeySlice));
	int			count = 0;

	for (int i = 0; i < set.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&set, i);

		if (!apikey_policy_knows_grant(policy, grant.data, grant.len))
			unlisted[count++] = grant;
	}
	PG_RETURN_DATUM(apikey_slices_to_array(unlisted, count));
}

Datum
apikey_rule_ips(const ApikeyRules *rules, bool given, Datum ips)
{
	int			count = 0;
	ApikeySlice *items = NULL;
	Datum	   *elements;

	if (given)
		items = apikey_text_array(ips, "allowed_ips", APIKEY_IPS_MAX, &count);
	elements = palloc(Max(count, 1) * sizeof(Datum));
	for (int i = 0; i < count; i++)
	{
		ApikeyNet	net;
		bool		host_bits = false;
		char		text[APIKEY_NET_TEXT_MAX];
		const char *fault = apikey_net_parse(items[i].data, items[i].len,
											 &net, &host_bits);

		if (fault != NULL && !host_bits)
			apikey_bad_argument("allowed_ips",
						 psprintf("Element %d: %s.", i + 1, fault),
						 "Pass addresses and networks such as '{203.0.113.7,198.51.100.0/24,2001:db8::/32}'.");
		apikey_net_print(&net, text);
		if (fault != NULL)
			apikey_bad_argument("allowed_ips",
						 psprintf("Element %d: %s.", i + 1, fault),
						 psprintf("The network meant is %s.", text));
		elements[i] = DirectFunctionCall1(inet_in, CStringGetDatum(text));
	}
	if (count == 0 && rules->account->require_allowed_ips &&
		!rules->kind->origin_locked)
		forbidden(rules, "a key without allowed_ips",
				  "account_policy.require_allowed_ips is on.",
				  "Pass the addresses from which the key may be used.");
	if (count == 0)
		return (Datum) 0;
	return PointerGetDatum(construct_array(elements, count, INETOID, -1,
										   false, TYPALIGN_INT));
}

/*
 * Add the comma separated origins of one element to a list.
 */
static int
add_origins(ApikeySlice element, int number, ApikeySlice *origins, int count)
{
	const char *p = element.data;
	const char *end = element.data + element.len;

	while (p < end)
	{
		const char *comma = memchr(p, ',', end - p);
		const char *stop = comma ? comma : end;
		const char *fault;
		ApikeyOrigin rule;
		char	   *text = palloc(APIKEY_ORIGIN_MAX + 1);

		while (p < stop && *p == ' ')
			p++;
		if (p < stop)
		{
			fault = apikey_origin_rule_parse(p, stop - p, &rule);
			if (fault != NULL)
				apikey_bad_argument("allowed_origins",
							 psprintf("Element %d: %s.", number, fault),
							 "Pass host names such as '{mysite.com,https://app.example.org:8443}'; subdomains are covered.");
			if (count == APIKEY_ORIGINS_MAX)
				apikey_bad_argument("allowed_origins", "There are too many origins.",
							 "A domain covers its subdomains: list that.");
			origins[count].len = apikey_origin_print(&rule, text);
			origins[count++].data = text;
		}
		p = stop + 1;
	}
	return count;
}

Datum
apikey_rule_origins(const ApikeyRules *rules, bool given, Datum origins)
{
	ApikeySlice *items = NULL;
	ApikeySlice *list = palloc(APIKEY_ORIGINS_MAX * sizeof(ApikeySlice));
	int			nitems = 0;
	int			count = 0;

	if (given)
		items = apikey_text_array(origins, "allowed_origins",
								  APIKEY_ORIGINS_MAX, &nitems);
	for (int i = 0; i < nitems; i++)
		count = add_origins(items[i], i + 1, list, count);
	if (count > 0 && !rules->kind->origin_locked)
		apikey_bad_argument("allowed_origins",
					 "Only kinds with origin_locked have a list of origins.",
					 "Use allowed_ips, or a kind such as \"widget\".");
	if (count == 0 && rules->kind->origin_locked)
		apikey_bad_argument("allowed_origins",
					 "A key of an origin-locked kind has at least one origin.",
					 "Pass the web site's host name, such as '{mysite.com}'.");
	return count > 0 ? apikey_slices_to_array(list, count) : (Datum) 0;
}

Datum
apikey_rule_metadata(bool given, Datum metadata)
{
	Jsonb	   *value;

	if (!given)
		return (Datum) 0;
	if (toast_raw_datum_size(metadata) <= 16 * APIKEY_METADATA_MAX)
	{
		value = DatumGetJsonbP(metadata);
		if (!JB_ROOT_IS_OBJECT(value))
			apikey_bad_argument("metadata", "Metadata is a JSON object.",
						 "Pass an object such as '{\"env\": \"production\"}'.");
		if (strlen(JsonbToCString(NULL, &value->root, VARSIZE(value))) <=
			APIKEY_METADATA_MAX)
			return JB_ROOT_COUNT(value) > 0 ? JsonbPGetDatum(value) : (Datum) 0;
	}
	apikey_bad_argument("metadata", "Metadata has at most 8192 bytes as text.",
				 "Keep what is larger in a table of your own, by key_id.");
	return (Datum) 0;			/* keep compiler quiet */
}

text *
apikey_rule_db_role(Oid caller, ApikeyText role)
{
	char	   *name;
	Oid			oid;

	if (role.data == NULL)
		return NULL;
	name = pnstrdup(role.data, role.len);
	oid = role.too_long ? InvalidOid : get_role_oid(name, true);
	if (!OidIsValid(oid) || superuser_arg(oid) ||
		!apikey_can_set_role(caller, oid))
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_FORBIDDEN),
				 errmsg("this role cannot be given to a key"),
				 errdetail("Argument \"db_role\" must name a role that exists, is no superuser, "
						   "and to which the caller may SET ROLE."),
				 errhint("Ask a role that may GRANT it to you.")));
	return cstring_to_text(name);
}

/*
 * Later by an interval; infinity where that is out of range.
 */
static TimestampTz
later_by(TimestampTz start, const Interval *interval)
{
	if (interval->month > LIFETIME_MONTHS_MAX ||
		interval->day > LIFETIME_MONTHS_MAX * 30 ||
		interval->time / USECS_PER_DAY > LIFETIME_MONTHS_MAX * 30)
		return DT_NOEND;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(start),
												   IntervalPGetDatum(interval)));
}

/*
 * What was asked for: with one of the arguments, or what is in *expiry.
 */
static void
read_expiry(const TimestampTz *at, const Interval *in, TimestampTz now,
			ApikeyExpiry *expiry)
{
	if (at != NULL && in != NULL)
		apikey_bad_argument("expires_in", "Either expires_at or expires_in can be given.",
					 "Leave one of them out.");
	if (at != NULL)
		expiry->at = *at;
	else if (in != NULL)
	{
		if (in->month < -LIFETIME_MONTHS_MAX ||
			in->day < -LIFETIME_MONTHS_MAX * 30 ||
			in->time / USECS_PER_DAY < -LIFETIME_MONTHS_MAX * 30)
			expiry->at = DT_NOBEGIN;
		else
			expiry->at = later_by(now, in);
	}
	else
		return;
	if (expiry->at <= now)
		apikey_bad_argument(at != NULL ? "expires_at" : "expires_in",
					 "A key must expire in the future.",
					 at != NULL ? "Pass a later time, or \"infinity\" for never." :
					 "Pass a positive interval such as '90 days'.");
	if (in != NULL && TIMESTAMP_IS_NOEND(expiry->at))
		apikey_bad_argument("expires_in", "A lifetime is at most 1000 years.",
					 "Pass expires_at => 'infinity' for a key that never expires.");
	expiry->given = true;
	expiry->never = TIMESTAMP_IS_NOEND(expiry->at);
}

void
apikey_rule_expiry(const ApikeyRules *rules,
				   const TimestampTz *at, const Interval *in,
				   TimestampTz created, TimestampTz now, ApikeyExpiry *expiry)
{
	const Interval *longest = &rules->account->max_lifetime;
	const Interval *usual = rules->kind->has_default_lifetime ?
		&rules->kind->default_lifetime : &rules->account->default_lifetime;
	TimestampTz latest = apikey_interval_is_zero(longest) ? DT_NOEND :
		later_by(created, longest);

	read_expiry(at, in, now, expiry);
	if (!expiry->given)
		expiry->at = apikey_interval_is_zero(usual) ? DT_NOEND :
			later_by(created, usual);
	else if (expiry->never)
		expiry->at = DT_NOEND;
	if (at == NULL && in == NULL)
		expiry->at = Min(expiry->at, latest);
	expiry->never = TIMESTAMP_IS_NOEND(expiry->at);
	if (expiry->at > latest)
		forbidden(rules, "an expiry that late",
				  "account_policy.max_lifetime is shorter.",
				  psprintf("Keys may live until %s.",
						   timestamptz_to_str(latest)));
}

int64
apikey_rule_ttl(Interval *ttl, int64 longest)
{
	Interval	zero = {0};
	Interval	max = {.time = longest};

	if (ttl == NULL)
		apikey_bad_argument("ttl", "A lifetime is needed.",
					 "Leave it out for the usual one.");
	if (!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(ttl),
										  IntervalPGetDatum(&zero))))
		apikey_bad_argument("ttl", "A lifetime must be positive.",
					 "Pass an interval such as '15 minutes'.");
	if (DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(ttl),
										 IntervalPGetDatum(&max))))
		return longest;
	return ttl->time +
		((int64) ttl->month * DAYS_PER_MONTH + ttl->day) * USECS_PER_DAY;
}
