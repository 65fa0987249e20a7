/*
 * session.c
 *		Finding the session that a token stands for.
 *
 * A token proves no more than that we made it; what it may do is said by the
 * rows of its session and of the key that opened it, which are read each time.
 * Of its payload nothing is looked at before the signature was found good.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "crypto.h"
#include "json.h"
#include "scopes.h"
#include "session.h"
#include "signing.h"

/* The clocks of a primary and its standbys may differ by this much. */
#define NOT_BEFORE_LEEWAY	5	/* seconds */

#define UUID_TEXT_LEN		36

/* What a token says */
typedef struct Claims
{
	pg_uuid_t	session_id;
	int64		not_before;
	int64		expires;
} Claims;

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Read a uuid as we write it, without raising an error.
 */
static bool
read_uuid(const char *text, size_t len, pg_uuid_t *uuid)
{
	int			n = 0;

	if (len != UUID_TEXT_LEN)
		return false;
	memset(uuid, 0, sizeof(*uuid));
	for (int i = 0; i < UUID_TEXT_LEN; i++)
	{
		int			digit = hex_digit(text[i]);

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text[i] != '-')
				return false;
			continue;
		}
		if (digit < 0)
			return false;
		uuid->data[n / 2] |= n % 2 == 0 ? digit << 4 : digit;
		n++;
	}
	return true;
}

/*
 * Read what a token of ours says.
 */
static bool
read_claims(const ApikeyJwt *jwt, Claims *claims)
{
	unsigned char payload[APIKEY_BASE64URL_BYTES(APIKEY_JWT_MAX)];
	size_t		len;
	ApikeyJsonMember members[APIKEY_JSON_MEMBERS_MAX];
	int			count;
	const char *jti;

	if (!apikey_base64url_decode(jwt->payload.data, jwt->payload.len, payload,
								 &len))
		return false;
	count = apikey_json_read((const char *) payload, len, members);
	if (count < 0)
		return false;
	jti = apikey_json_get(members, count, "jti", APIKEY_JSON_STRING);
	return jti != NULL &&
		read_uuid(jti, strlen(jti), &claims->session_id) &&
		apikey_json_get_integer(members, count, "nbf", &claims->not_before) &&
		apikey_json_get_integer(members, count, "exp", &claims->expires);
}

/* What a scan looks for, and where it puts it */
typedef struct SessionSearch
{
	ApikeySession *session;
	bool		found;
} SessionSearch;

/*
 * Take the columns that we know out of a row; there may be others behind them.
 * What is stored out of line is fetched while the row can't go away.
 */
static bool
take_row(TupleTableSlot *slot, void *arg)
{
	SessionSearch *search = arg;
	HeapTuple	copy = ExecCopySlotHeapTuple(slot);

	for (int i = 1; i <= APIKEY_SESSION_NCOLUMNS; i++)
	{
		Datum		value = heap_getattr(copy, i, slot->tts_tupleDescriptor,
										 &search->session->null[i]);

		if (!search->session->null[i] &&
			TupleDescAttr(slot->tts_tupleDescriptor, i - 1)->attlen == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
		search->session->value[i] = value;
	}
	search->found = true;
	return false;
}

static bool
find_row(const pg_uuid_t *id, ApikeySession *session)
{
	SessionSearch search = {session, false};
	Relation	rel = table_open(apikey_relation(APIKEY_REL_SESSION),
								 AccessShareLock);
	ScanKeyData scan_key;

	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(id));
	apikey_scan(rel, apikey_relation(APIKEY_REL_SESSION_PKEY), &scan_key, 1,
				take_row, &search);
	table_close(rel, AccessShareLock);
	return search.found;
}

/*
 * Is this the session for which the token was made, with this very key?
 */
static bool
is_token_of(const Claims *claims, const ApikeySigningKey *signing_key,
			const ApikeySession *session)
{
	const char *kid = TextDatumGetCString(session->value[SESSION_KID]);
	TimestampTz end = DatumGetTimestampTz(session->value[SESSION_EXPIRES_AT]);

	return strcmp(kid, signing_key->kid) == 0 &&
		apikey_unix_seconds(end) == claims->expires;
}

bool
apikey_session_find_by_id(const pg_uuid_t *session_id, ApikeySession *session,
						  ApikeyKey *key)
{
	return find_row(session_id, session) &&
		apikey_find_by_id(DatumGetUUIDP(session->value[SESSION_KEY_ID]), key);
}

ApikeySessionFind
apikey_session_find(const ApikeyJwt *jwt, TimestampTz now,
					ApikeySession *session, ApikeyKey *key)
{
	const ApikeySigningKey *signing_key = apikey_signing_key_of(jwt);
	int64		seconds = apikey_unix_seconds(now);
	Claims		claims;

	if (signing_key == NULL || !apikey_signing_check(signing_key, jwt) ||
		!read_claims(jwt, &claims) ||
		claims.not_before > seconds + NOT_BEFORE_LEEWAY)
		return APIKEY_SESSION_UNKNOWN;
	if (apikey_session_find_by_id(&claims.session_id, session, key) &&
		is_token_of(&claims, signing_key, session))
		return APIKEY_SESSION_FOUND;
	/* expired ones are removed, sooner or later */
	return claims.expires <= seconds ? APIKEY_SESSION_OVER :
		APIKEY_SESSION_UNKNOWN;
}

/*
 * What both sets cover.  Of two grants that cover the same scope one covers
 * the other, so it is the grants of either that the other one covers.
 */
static struct varlena *
scopes_in_common(const ApikeyGrants *a, const ApikeyGrants *b)
{
	ApikeySlice items[2 * APIKEY_GRANTS_MAX];
	int			count = 0;

	for (int i = 0; i < a->count; i++)
	{
		items[count] = apikey_grants_get(a, i);
		count += apikey_grants_cover(b, items[count].data, items[count].len);
	}
	for (int i = 0; i < b->count; i++)
	{
		items[count] = apikey_grants_get(b, i);
		count += apikey_grants_cover(a, items[count].data, items[count].len);
	}
	/* a set has room for so many; to lose some is the safe side */
	count = Min(apikey_grants_normalize(items, count), APIKEY_GRANTS_MAX);
	return apikey_scopes_make(items, count, "scopes", NULL);
}

void
apikey_narrow_scopes(ApikeyKey *key, struct varlena *scopes)
{
	ApikeyGrants grants = apikey_scopes_open(scopes);
	bool		covered = true;

	for (int i = 0; i < grants.count && covered; i++)
	{
		ApikeySlice grant = apikey_grants_get(&grants, i);

		covered = apikey_grants_cover(&key->grants, grant.data, grant.len);
	}
	if (!covered)
	{
		scopes = scopes_in_common(&grants, &key->grants);
		grants = apikey_scopes_open(scopes);
	}
	key->value[KEY_SCOPES] = PointerGetDatum(scopes);
	key->grants = grants;
}

/*
 * The earlier of two times, of which the key's may be none.
 */
static void
narrow_time(ApikeyKey *key, ApikeyKeyColumn column, TimestampTz time)
{
	if (!key->null[column])
		time = Min(time, DatumGetTimestampTz(key->value[column]));
	key->value[column] = TimestampTzGetDatum(time);
	key->null[column] = false;
}

void
apikey_session_narrow(const ApikeySession *session, ApikeyKey *key)
{
	/* the key may have lost some since */
	apikey_narrow_scopes(key, (struct varlena *)
						 DatumGetPointer(session->value[SESSION_SCOPES]));
	narrow_time(key, KEY_EXPIRES_AT,
				DatumGetTimestampTz(session->value[SESSION_EXPIRES_AT]));
	if (!session->null[SESSION_CLOSED_AT])
		narrow_time(key, KEY_REVOKED_AT,
					DatumGetTimestampTz(session->value[SESSION_CLOSED_AT]));
	if (session->null[SESSION_METADATA])
		return;
	key->value[KEY_METADATA] = key->null[KEY_METADATA] ?
		session->value[SESSION_METADATA] :
		DirectFunctionCall2(jsonb_concat, key->value[KEY_METADATA],
							session->value[SESSION_METADATA]);
	key->null[KEY_METADATA] = false;
}

bool
apikey_session_is_bound_to(const ApikeySession *session,
						   const ApikeyNet *address)
{
	const inet *bound = DatumGetInetPP(session->value[SESSION_BOUND_IP]);
	int			len = address->family == 4 ? 4 : 16;

	return ip_family(bound) == (address->family == 4 ? PGSQL_AF_INET : PGSQL_AF_INET6) &&
		ip_bits(bound) == len * 8 && memcmp(ip_addr(bound), address->addr, len) == 0;
}

bool
apikey_session_names_us(const char *text, size_t len)
{
	ApikeyJwt	jwt;

	return apikey_jwt_split(text, len, &jwt) &&
		apikey_signing_key_of(&jwt) != NULL;
}
