/*
 * decide.c
 *		The one decision: may this request pass?  Everything that verifies
 *		asks here.
 *
 * The checks of a known key stand in one table, in the order in which they
 * are made; the first that fails gives the verdict its code.  Nothing here
 * writes, waits or raises for what a stranger sent.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "decide.h"
#include "keycache.h"
#include "recognize.h"

/* A check; detail, if not NULL, is to be told what was compared with what. */
typedef bool (*Check) (ApikeyDecision *d, StringInfo detail);

static ApikeyText
text_of(Datum value)
{
	struct varlena *text = (struct varlena *) DatumGetPointer(value);

	return (ApikeyText) {VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), false};
}

static bool
check_revoked(ApikeyDecision *d, StringInfo detail)
{
	if (detail && !d->key->null[KEY_REVOKED_AT])
		appendStringInfo(detail, "revoked at %s",
						 timestamptz_to_str(DatumGetTimestampTz(d->key->value[KEY_REVOKED_AT])));
	return d->key->null[KEY_REVOKED_AT];
}

static bool
check_expired(ApikeyDecision *d, StringInfo detail)
{
	TimestampTz end;

	if (d->key->null[KEY_EXPIRES_AT])
	{
		if (detail)
			appendStringInfoString(detail, "never expires");
		return true;
	}
	end = DatumGetTimestampTz(d->key->value[KEY_EXPIRES_AT]);
	if (detail)
		appendStringInfo(detail, "%s at %s",
						 end <= d->now ? "expired" : "expires",
						 timestamptz_to_str(end));
	return end > d->now;
}

static bool
check_disabled(ApikeyDecision *d, StringInfo detail)
{
	bool		kind_enabled = d->kind != NULL && d->kind->enabled;

	if (detail && !d->key->null[KEY_DISABLED_AT])
		appendStringInfo(detail, "key disabled at %s",
						 timestamptz_to_str(DatumGetTimestampTz(d->key->value[KEY_DISABLED_AT])));
	else if (detail && !kind_enabled)
		appendStringInfoString(detail, d->kind ? "kind is disabled" :
							   "kind does not exist");
	return d->key->null[KEY_DISABLED_AT] && kind_enabled;
}

static bool
check_api_enabled(ApikeyDecision *d, StringInfo detail)
{
	if (detail && !d->account->api_enabled)
		appendStringInfoString(detail, "account_policy.api_enabled is off");
	return d->account->api_enabled;
}

static bool
check_kind(ApikeyDecision *d, StringInfo detail)
{
	if (detail)
	{
		ApikeyText	kind = text_of(d->key->value[KEY_KIND]);

		appendStringInfo(detail, "kind %.*s", (int) kind.len, kind.data);
	}
	if (detail && d->is_session)
		appendStringInfoString(detail, ", and this is a session");
	if (!d->request->has_kinds)
		return true;
	if (d->is_session)
		return d->request->sessions_allowed;
	for (int i = 0; i < d->request->nkinds; i++)
	{
		if (d->request->kinds[i] == d->kind)
			return true;
	}
	return false;
}

static bool
check_account(ApikeyDecision *d, StringInfo detail)
{
	const ApikeyText *wanted = &d->request->account;
	ApikeyText	account;

	if (wanted->data == NULL && detail == NULL)
		return true;
	account = text_of(d->key->value[KEY_ACCOUNT]);
	if (detail)
		appendStringInfo(detail, "key of account %.*s",
						 (int) account.len, account.data);
	return wanted->data == NULL ||
		(!wanted->too_long && wanted->len == account.len &&
		 memcmp(wanted->data, account.data, account.len) == 0);
}

/*
 * Is the address the one that the session is bound to, if it is to any?  A
 * session that is to be bound needs an address.
 */
static bool
is_bound_address(const ApikeyDecision *d)
{
	if (d->request->opening != NULL)
		return d->request->ip_known || !d->request->opening->bind_ip;
	if (!d->is_session || d->session.null[SESSION_BOUND_IP])
		return true;
	return d->request->ip_known &&
		apikey_session_is_bound_to(&d->session, &d->request->ip);
}

static bool
check_ip(ApikeyDecision *d, StringInfo detail)
{
	bool		has_list = !d->key->null[KEY_ALLOWED_IPS];
	bool		listed = has_list && d->request->ip_known &&
		apikey_netlist_contains(d->key->nets, d->key->nnets, &d->request->ip);

	if (detail && d->request->ip_known)
	{
		char		text[APIKEY_NET_TEXT_MAX];

		apikey_net_print(&d->request->ip, text);
		appendStringInfo(detail, "%s is %s", text,
						 listed ? "in the list of allowed addresses" :
						 has_list ? "not in the list of allowed addresses" :
						 "fine: there is no list of allowed addresses");
	}
	else if (detail)
		appendStringInfoString(detail, "address unknown");

	if (!is_bound_address(d))
	{
		if (detail)
			appendStringInfoString(detail, ", and not that of the session");
		return false;
	}
	if (has_list)
		return listed;
	return d->request->ip_known || !d->account->require_allowed_ips ||
		(d->kind != NULL && d->kind->origin_locked);
}

static bool
check_origin(ApikeyDecision *d, StringInfo detail)
{
	bool		passed = false;

	if (d->kind == NULL || !d->kind->origin_locked)
	{
		if (detail)
			appendStringInfoString(detail, "kind is not origin-locked");
		return true;
	}
	if (!d->request->origin_known)
	{
		if (detail)
			appendStringInfoString(detail, "origin unknown");
		return false;
	}
	if (d->kind->allow_localhost &&
		apikey_origin_is_loopback(&d->request->origin))
	{
		if (detail)
			appendStringInfoString(detail, "kind allows localhost");
		return true;
	}
	for (int i = 0; i < d->key->norigins && !passed; i++)
		passed = apikey_origin_matches(&d->key->origins[i],
									   &d->request->origin);
	if (detail)
		appendStringInfo(detail, "%s is %sin the list of allowed origins",
						 d->request->origin.host, passed ? "" : "not ");
	return passed;
}

/* Who is asked for a scope, and under which policy */
typedef struct Holder
{
	const ApikeyGrants *grants;
	const ApikeyPolicy *policy;
} Holder;

/*
 * Granted, and not kept from everybody by the catalogue.
 */
static bool
holds_scope(const char *scope, size_t len, void *arg)
{
	Holder	   *holder = arg;

	return apikey_grants_cover(holder->grants, scope, len) &&
		apikey_policy_lists_scope(holder->policy, scope, len);
}

static bool
holds_enabled_scope(const char *scope, size_t len, void *arg)
{
	Holder	   *holder = arg;

	return holds_scope(scope, len, holder) &&
		apikey_policy_scope_is_on(holder->policy, scope, len);
}

bool
apikey_decide_scopes(const ApikeyGrants *grants, const ApikeyPolicy *policy,
					 const ApikeyQuery *required)
{
	Holder		holder = {grants, policy};

	return apikey_query_eval(required, holds_enabled_scope, &holder);
}

/*
 * Was the query found satisfied by this kept key, under this policy?
 */
static bool
is_known_to_hold(const ApikeyDecision *d)
{
	return d->memo != NULL && d->request->query != 0 &&
		d->memo->query == d->request->query;
}

/*
 * Check what is required; note what is missing if the verdict is still open.
 */
static bool
check_query(ApikeyDecision *d, StringInfo detail, ApikeyQueryHeld held)
{
	ApikeySlice missing[APIKEY_QUERY_TERMS_MAX];
	Holder		holder = {&d->grants, d->policy};
	int			count;

	if (!d->request->has_required)
	{
		if (detail)
			appendStringInfoString(detail, "no scope required");
		return true;
	}
	if (is_known_to_hold(d) ||
		apikey_query_eval(&d->request->required, held, &holder))
		return true;
	count = apikey_query_missing(&d->request->required, held, &holder,
								 missing);
	for (int i = 0; detail && i < count; i++)
		appendStringInfo(detail, "%s%.*s", i == 0 ? "missing " : ", ",
						 (int) missing[i].len, missing[i].data);
	if (d->code == APIKEY_VALID)
	{
		d->nmissing = count;
		memcpy(d->missing, missing, count * sizeof(ApikeySlice));
	}
	return false;
}

static bool
check_scope(ApikeyDecision *d, StringInfo detail)
{
	const ApikeyOpening *opening = d->request->opening;

	for (int i = 0; opening && opening->has_scopes && i < opening->scopes.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&opening->scopes, i);

		if (!apikey_grants_cover(&d->grants, grant.data, grant.len))
			return false;
	}
	return check_query(d, detail, holds_scope);
}

/*
 * Whoever lacks the scope anyway is told so by the check before.
 */
static bool
check_scope_enabled(ApikeyDecision *d, StringInfo detail)
{
	Holder		holder = {&d->grants, d->policy};

	if (detail != NULL)
		return (d->request->has_required &&
				!apikey_query_eval(&d->request->required, holds_scope,
								   &holder)) ||
			check_query(d, detail, holds_enabled_scope);

	/* without a trace we are here because the check before has passed */
	if (!apikey_policy_all_scopes_are_on(d->policy) &&
		!check_query(d, NULL, holds_enabled_scope))
		return false;
	if (d->memo != NULL)
		d->memo->query = d->request->query;
	return true;
}

static const struct
{
	const char *step;
	ApikeyCode	code;			/* if it fails */
	Check		check;
}			checks[] =
{
	{"not revoked", APIKEY_KEY_REVOKED, check_revoked},
	{"not expired", APIKEY_KEY_EXPIRED, check_expired},
	{"enabled", APIKEY_KEY_DISABLED, check_disabled},
	{"account has access", APIKEY_API_DISABLED, check_api_enabled},
	{"kind allowed", APIKEY_KIND_NOT_ALLOWED, check_kind},
	{"account matches", APIKEY_ACCOUNT_MISMATCH, check_account},
	{"address allowed", APIKEY_IP_NOT_ALLOWED, check_ip},
	{"origin allowed", APIKEY_ORIGIN_NOT_ALLOWED, check_origin},
	{"scope granted", APIKEY_INSUFFICIENT_SCOPE, check_scope},
	{"scope switched on", APIKEY_SCOPE_DISABLED, check_scope_enabled},
};

/*
 * Find what policy says of the key's kind and account; of a key that is kept,
 * once for each policy.
 */
static void
find_policy(ApikeyDecision *d)
{
	ApikeyKeyMemo *memo = d->memo;
	uint64		number = apikey_policy_number(d->policy);
	ApikeyText	text;

	if (memo != NULL && memo->policy == number)
	{
		d->kind = memo->kind;
		d->account = memo->account;
		return;
	}
	text = text_of(d->key->value[KEY_KIND]);
	d->kind = apikey_policy_kind(d->policy, text.data, text.len);
	text = text_of(d->key->value[KEY_ACCOUNT]);
	d->account = apikey_policy_account(d->policy, text.data, text.len);
	if (memo != NULL)
	{
		memo->policy = number;
		memo->well_formed = d->well_formed;
		memo->kind = d->kind;
		memo->account = d->account;
		memo->query = 0;
		apikey_keycache_note_row(d->key->kept, NULL, 0);
	}
}

/*
 * Begin: nothing is known yet.
 */
static void
start_decision(ApikeyDecision *d, const ApikeyRequest *request,
			   ApikeyPolicy *policy)
{
	d->request = request;
	d->policy = policy;
	d->code = APIKEY_VALID;
	d->known = false;
	d->key = &d->key_room;
	d->memo = NULL;
	d->is_session = false;
	d->well_formed = false;
	d->nmissing = 0;
	d->admission.has_limit = d->admission.has_credits = false;
	d->admission.has_retry_after = false;
}

/*
 * The key is found: what goes with it.
 */
static void
complete_key(ApikeyDecision *d)
{
	d->known = true;
	d->memo = d->key->kept != NULL ? apikey_keycache_memo(d->key->kept) : NULL;
	d->now = GetCurrentTimestamp();
	find_policy(d);
	d->grants = d->key->grants;
}

void
apikey_decide(ApikeyDecision *d, const ApikeyRequest *request,
			  ApikeyPolicy *policy, ApikeyTrace *trace)
{
	StringInfoData detail;

	start_decision(d, request, policy);
	if (apikey_recognize(d, trace))
		return;
	complete_key(d);

	if (trace)
		initStringInfo(&detail);
	for (int i = 0; i < lengthof(checks); i++)
	{
		bool		passed;

		if (trace)
			resetStringInfo(&detail);
		passed = checks[i].check(d, trace ? &detail : NULL);
		if (!passed && d->code == APIKEY_VALID)
			d->code = checks[i].code;
		if (trace)
			trace->note(trace, checks[i].step, passed,
						detail.len > 0 ? detail.data : NULL);
		else if (!passed)
			return;
	}
	apikey_admit(d, trace);
}

bool
apikey_decide_alive(ApikeyDecision *d, const ApikeyRequest *request,
					ApikeyPolicy *policy, const pg_uuid_t *key_id,
					const pg_uuid_t *session_id)
{
	start_decision(d, request, policy);
	if (session_id != NULL)
	{
		if (!apikey_session_find_by_id(session_id, &d->session,
									   &d->key_room) ||
			memcmp(DatumGetUUIDP(d->key->value[KEY_KEY_ID]), key_id,
				   sizeof(pg_uuid_t)) != 0)
			return false;
		d->is_session = true;
		apikey_session_narrow(&d->session, &d->key_room);
	}
	else if (!apikey_find_by_id(key_id, &d->key_room))
		return false;
	complete_key(d);
	/* the table has these checks first */
	for (int i = 0; i < lengthof(checks) && checks[i].code <= APIKEY_API_DISABLED; i++)
	{
		if (!checks[i].check(d, NULL))
			return false;
	}
	return true;
}
