/*
 * context.c
 *		Sealed contexts: an identity as a text that nobody can forge, for
 *		clients that can only set a setting, and for handing over between
 *		services.
 *
 * The text names a key, perhaps a session of it, what it was granted when the
 * context was opened, and when it ends, with a MAC of all that.  It holds for
 * the database in which it was made, and its replicas.  Everything else is
 * read when it is used: a key that has ended by then binds nothing, one that
 * was granted less since has only what is left, and nobody gains.
 *
 * It is looked at when somebody first asks who we are, once for each value and
 * transaction, and again when keys, policy or secrets have changed since.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "context.h"
#include "context_setting.h"
#include "rules.h"
#include "scopes.h"
#include "secret.h"
#include "verdict.h"
#include "verify.h"

/* Begins the text, and says what is in it */
#define CONTEXT_PREFIX		"akc1."
#define CONTEXT_PREFIX_LEN	5
#define CONTEXT_MAX			(64 * 1024)

/* No text that is sealed with the same secret for another purpose begins so */
#define CONTEXT_DOMAIN		"apikey context 1"

/* Longest life of a context */
#define CONTEXT_MAX_TTL		(60 * 60 * USECS_PER_SEC)

#define FLAG_SESSION		0x01

/*
 * What is sealed, in this order: flags, key_id, session_id or zeros, the end in
 * network byte order, the grants as text; and behind it the MAC.
 */
#define BODY_HEAD_LEN		(1 + 2 * sizeof(pg_uuid_t) + sizeof(int64))

typedef struct Sealed
{
	pg_uuid_t	key_id;
	bool		has_session;
	pg_uuid_t	session_id;
	TimestampTz expires;
	const char *grants;
	size_t		grants_len;
} Sealed;

/* The setting's value as it was found last */
typedef struct Found
{
	bool		valid;			/* for this: */
	uint64		version;
	uint64		key_generation;
	uint64		policy_generation;
	uint64		secret_generation;
	bool		in_time;		/* when it was first looked at */
	ApikeyIdentity *identity;	/* or NULL */
} Found;

/* Arguments of apikey.open_context behind those of verify */
#define ARG_TTL				10

static Found found;

static void
at_transaction_end(XactEvent event, void *arg)
{
	/* the memory goes with the transaction's */
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE &&
		event != XACT_EVENT_PARALLEL_PRE_COMMIT)
		memset(&found, 0, sizeof(found));
}

void
apikey_context_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

/*
 * The MAC over a body.  False if there is no secret.
 */
static bool
authenticate_body(const char *body, size_t len,
				  unsigned char mac[APIKEY_MAC_LEN])
{
	const unsigned char *secret = apikey_secret(APIKEY_SECRET_CONTEXTS);
	StringInfoData text;

	if (secret == NULL)
		return false;
	initStringInfo(&text);
	appendBinaryStringInfo(&text, CONTEXT_DOMAIN, sizeof(CONTEXT_DOMAIN));
	pq_sendint64(&text, GetSystemIdentifier());
	pq_sendint32(&text, MyDatabaseId);
	appendBinaryStringInfo(&text, body, len);
	apikey_hmac_sha256(mac, text.data, text.len, secret, APIKEY_SHORT_KEY_LEN);
	pfree(text.data);
	return true;
}

text *
apikey_context_seal(const ApikeyDecision *d, TimestampTz expires)
{
	static const pg_uuid_t none = {{0}};
	const pg_uuid_t *session_id = d->is_session ?
		DatumGetUUIDP(d->session.value[SESSION_SESSION_ID]) : &none;
	unsigned char mac[APIKEY_MAC_LEN];
	StringInfoData body;
	char	   *printed;
	size_t		len;

	initStringInfo(&body);
	pq_sendbyte(&body, d->is_session ? FLAG_SESSION : 0);
	appendBinaryStringInfo(&body, DatumGetPointer(d->key->value[KEY_KEY_ID]),
						   sizeof(pg_uuid_t));
	appendBinaryStringInfo(&body, (const char *) session_id,
						   sizeof(pg_uuid_t));
	pq_sendint64(&body, expires);
	for (int i = 0; i < d->grants.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&d->grants, i);

		if (i > 0)
			appendStringInfoChar(&body, ' ');
		appendBinaryStringInfo(&body, grant.data, grant.len);
	}
	if (!authenticate_body(body.data, body.len, mac))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no secret to seal a context with"),
				 errdetail("Table apikey.secret has no row \"contexts\"."),
				 errhint("Calling apikey.issue() makes it.")));
	appendBinaryStringInfo(&body, (const char *) mac, APIKEY_MAC_LEN);

	printed = palloc(CONTEXT_PREFIX_LEN + APIKEY_BASE64URL_LEN((size_t) body.len));
	memcpy(printed, CONTEXT_PREFIX, CONTEXT_PREFIX_LEN);
	len = apikey_base64url_encode(body.data, body.len,
								  printed + CONTEXT_PREFIX_LEN);
	return cstring_to_text_with_len(printed, CONTEXT_PREFIX_LEN + len);
}

/*
 * Read a text whose MAC is right.  False for anything else.
 */
static bool
unseal(const char *printed, Sealed *sealed)
{
	size_t		printed_len = strnlen(printed, CONTEXT_MAX + 1);
	unsigned char mac[APIKEY_MAC_LEN];
	unsigned char *body;
	const unsigned char *p;
	size_t		len;
	uint64		expires;

	if (printed_len > CONTEXT_MAX || printed_len < CONTEXT_PREFIX_LEN ||
		memcmp(printed, CONTEXT_PREFIX, CONTEXT_PREFIX_LEN) != 0)
		return false;
	body = palloc(APIKEY_BASE64URL_BYTES(printed_len) + 1);
	if (!apikey_base64url_decode(printed + CONTEXT_PREFIX_LEN,
								 printed_len - CONTEXT_PREFIX_LEN,
								 body, &len) ||
		len < BODY_HEAD_LEN + APIKEY_MAC_LEN)
		return false;
	len -= APIKEY_MAC_LEN;
	if (!authenticate_body((char *) body, len, mac) ||
		!apikey_equal(mac, body + len, APIKEY_MAC_LEN))
		return false;

	p = body;
	sealed->has_session = (*p++ & FLAG_SESSION) != 0;
	memcpy(&sealed->key_id, p, sizeof(pg_uuid_t));
	p += sizeof(pg_uuid_t);
	memcpy(&sealed->session_id, p, sizeof(pg_uuid_t));
	p += sizeof(pg_uuid_t);
	memcpy(&expires, p, sizeof(expires));
	p += sizeof(expires);
	sealed->expires = (TimestampTz) pg_ntoh64(expires);
	sealed->grants = (const char *) p;
	sealed->grants_len = len - BODY_HEAD_LEN;
	return true;
}

/*
 * The grants of a text that we have sealed, as apikey.scopes.
 */
static struct varlena *
sealed_scopes(const Sealed *sealed)
{
	ApikeySlice *items = palloc(APIKEY_GRANTS_MAX * sizeof(ApikeySlice));
	const char *reason;
	int			count = apikey_grants_split(sealed->grants, sealed->grants_len,
											items, APIKEY_GRANTS_MAX, &reason);

	return apikey_scopes_make(items, Max(count, 0), NULL, NULL);
}

/*
 * Whom does this text stand for?  NULL if for nobody any more.
 */
static ApikeyIdentity *
identity_of(const char *printed, bool *in_time)
{
	ApikeyRequest request;
	ApikeyDecision decision;
	Sealed		sealed;

	if (!unseal(printed, &sealed))
		return NULL;
	/* the end is compared once, or a long transaction would lose its rows */
	*in_time = *in_time || sealed.expires > GetCurrentTimestamp();
	if (!*in_time)
		return NULL;
	apikey_request_init(&request, (ApikeyText) {NULL, 0, false});
	if (!apikey_decide_alive(&decision, &request, apikey_policy(),
							 &sealed.key_id,
							 sealed.has_session ? &sealed.session_id : NULL))
		return NULL;
	apikey_narrow_scopes(&decision.key_room, sealed_scopes(&sealed));
	decision.grants = decision.key->grants;
	return apikey_identity_make(&decision);
}

static bool
is_found(uint64 version)
{
	return found.valid && found.version == version &&
		found.key_generation == apikey_key_generation() &&
		found.policy_generation == apikey_policy_generation() &&
		found.secret_generation == apikey_secret_generation();
}

const ApikeyIdentity *
apikey_context_identity(void)
{
	uint64		version;
	const char *printed = apikey_context_setting(&version);
	bool		in_time;
	MemoryContext context;
	MemoryContext old;

	if (printed == NULL || !apikey_preloaded)
		return NULL;
	AcceptInvalidationMessages();
	if (is_found(version))
		return found.identity;

	in_time = found.version == version && found.in_time;
	if (found.identity != NULL)
		MemoryContextDelete(found.identity->context);
	memset(&found, 0, sizeof(found));
	found.version = version;
	found.key_generation = apikey_key_generation();
	found.policy_generation = apikey_policy_generation();
	found.secret_generation = apikey_secret_generation();
	context = AllocSetContextCreate(CurrentMemoryContext, "apikey context",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	found.identity = identity_of(printed, &in_time);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	found.in_time = in_time;
	found.valid = true;
	return found.identity;
}

const ApikeyIdentity *
apikey_context_identity_bound(void)
{
	uint64		version;

	return apikey_context_setting(&version) != NULL && found.valid &&
		found.version == version ? found.identity : NULL;
}

PG_FUNCTION_INFO_V1(apikey_sql_open_context);

/*
 * apikey.open_context(arguments of verify, ttl) returns apikey.opened_context
 *		Verifies and counts like verify.  A refusal is a row without context.
 *		Errors: 22023 for a programmer's fault, 55000 if not preloaded.
 */
Datum
apikey_sql_open_context(PG_FUNCTION_ARGS)
{
	ApikeyRequest request;
	ApikeyDecision decision;
	ApikeyPolicy *policy;
	TupleDesc	desc;
	int64		ttl;
	Datum		values[1 + VERDICT_NCOLUMNS];
	bool		nulls[1 + VERDICT_NCOLUMNS];

	apikey_require_preload("apikey.open_context()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ttl = apikey_rule_ttl(PG_ARGISNULL(ARG_TTL) ? NULL : PG_GETARG_INTERVAL_P(ARG_TTL),
						  CONTEXT_MAX_TTL);
	policy = apikey_policy();
	apikey_request_read(&request, policy, fcinfo, false);
	apikey_verify_request(&decision, &request, policy);

	apikey_verdict_values(&decision, values + 1, nulls + 1);
	nulls[0] = decision.code != APIKEY_VALID;
	values[0] = nulls[0] ? (Datum) 0 :
		PointerGetDatum(apikey_context_seal(&decision, decision.now + ttl));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
