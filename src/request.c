/*
 * request.c
 *		Reads the arguments of a verification.
 *
 * Nothing of what a stranger sends is trusted or reported back: a bad
 * address, origin or key text makes it unknown, never an error.  What the
 * programmer wrote (required, kinds, cost) must be right.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "access/detoast.h"
#include "utils/array.h"
#include "utils/inet.h"

#include "apikey.h"
#include "compat.h"
#include "request.h"
#include "scopes.h"

/* How many scope queries are remembered, and how long they may be */
#define QUERIES_KEPT	8
#define QUERY_KEPT_MAX	128

/* Arguments of apikey.verify, in order */
enum
{
	ARG_KEY, ARG_REQUIRED, ARG_IP, ARG_ORIGIN, ARG_ACCOUNT, ARG_KINDS,
	ARG_COST, ARG_METHOD, ARG_PATH, ARG_REQUEST_ID
};

ApikeyText
apikey_text_argument(FunctionCallInfo fcinfo, int argno, size_t max)
{
	ApikeyText	result = {NULL, 0, false};
	struct varlena *value;

	if (PG_ARGISNULL(argno))
		return result;
	value = (struct varlena *) PG_GETARG_POINTER(argno);
	if (!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value) &&
		VARSIZE_ANY_EXHDR(value) <= max)
	{
		result.data = VARDATA_ANY(value);
		result.len = VARSIZE_ANY_EXHDR(value);
		return result;
	}
	if (toast_raw_datum_size(PointerGetDatum(value)) - VARHDRSZ > max)
	{
		result.data = "";
		result.too_long = true;
		return result;
	}
	value = pg_detoast_datum_packed(value);
	result.data = VARDATA_ANY(value);
	result.len = VARSIZE_ANY_EXHDR(value);
	return result;
}

void
apikey_request_init(ApikeyRequest *request, ApikeyText key)
{
	request->key = key;
	request->has_required = false;
	request->query = 0;
	request->ip_known = false;
	request->origin_known = false;
	request->account = (ApikeyText) {NULL, 0, false};
	request->has_kinds = false;
	request->nkinds = 0;
	request->sessions_allowed = false;
	request->cost = 1;
	request->opening = NULL;
	request->method = request->path = request->request_id = NULL;
}

/*
 * Parse, remembering the last few: callers write few different ones.
 */
static const char *
parse_query(ApikeyText text, ApikeyQuery *query, uint64 *number,
			size_t *position)
{
	static struct
	{
		size_t		len;		/* 0: free */
		uint64		number;
		char		text[QUERY_KEPT_MAX];
		ApikeyQuery query;
	}			kept[QUERIES_KEPT];
	static int	oldest = 0;
	static uint64 numbers = 0;
	const char *fault;

	for (int i = 0; i < QUERIES_KEPT; i++)
	{
		if (kept[i].len != text.len || text.len == 0 ||
			memcmp(kept[i].text, text.data, text.len) != 0)
			continue;
		/* no more of it than is in use */
		memcpy(query, &kept[i].query, offsetof(ApikeyQuery, node) +
			   kept[i].query.nnodes * sizeof(ApikeyQueryNode));
		query->text = text.data;
		*number = kept[i].number;
		return NULL;
	}
	fault = apikey_query_parse(text.data, text.len, query, position);
	if (fault == NULL && text.len <= QUERY_KEPT_MAX)
	{
		*number = kept[oldest].number = ++numbers;
		kept[oldest].len = text.len;
		memcpy(kept[oldest].text, text.data, text.len);
		memcpy(&kept[oldest].query, query, offsetof(ApikeyQuery, node) +
			   query->nnodes * sizeof(ApikeyQueryNode));
		oldest = (oldest + 1) % QUERIES_KEPT;
	}
	return fault;
}

void
apikey_request_require(ApikeyRequest *request, ApikeyText text)
{
	const char *fault;
	size_t		position = 0;

	request->has_required = text.data != NULL;
	request->query = 0;
	if (text.data == NULL)
		return;
	if (text.too_long)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"required\" is too long"),
				 errdetail("A scope query has at most %d bytes.",
						   APIKEY_QUERY_MAX),
				 errhint("Write scopes, such as: calls:read & contacts:read")));
	fault = parse_query(text, &request->required, &request->query, &position);
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"required\" is no valid scope query"),
				 errdetail("At byte %zu: %s.", position + 1, fault),
				 errhint("Write scopes, such as: calls:read & (billing:read | admin). "
						 "Pass NULL where no scope is needed.")));
}

/*
 * An inet with less than its full length is a network, not a caller.
 */
static bool
address_of_inet(const inet *value, ApikeyNet *addr)
{
	memset(addr, 0, sizeof(*addr));
	addr->family = ip_family(value) == PGSQL_AF_INET ? 4 : 6;
	addr->bits = ip_bits(value);
	memcpy(addr->addr, ip_addr(value), addr->family == 4 ? 4 : 16);
	if (addr->bits != (addr->family == 4 ? 32 : 128))
		return false;
	apikey_net_unmap(addr);
	return true;
}

/*
 * The last address is remembered: many requests may come from one, through a
 * gateway for example.
 */
void
apikey_request_set_ip(ApikeyRequest *request, ApikeyText text)
{
	static struct
	{
		size_t		len;		/* 0: none */
		char		text[APIKEY_NET_TEXT_MAX];
		ApikeyNet	ip;
	}			last;

	request->ip_known = text.data != NULL && !text.too_long;
	if (request->ip_known && text.len > 0 && text.len == last.len &&
		memcmp(text.data, last.text, text.len) == 0)
	{
		request->ip = last.ip;
		return;
	}
	request->ip_known = request->ip_known &&
		apikey_addr_parse(text.data, text.len, &request->ip);
	if (request->ip_known && text.len <= sizeof(last.text))
	{
		last.len = text.len;
		memcpy(last.text, text.data, text.len);
		last.ip = request->ip;
	}
}

void
apikey_request_set_origin(ApikeyRequest *request, ApikeyText text)
{
	request->origin_known = text.data != NULL && !text.too_long &&
		apikey_origin_parse(text.data, text.len, &request->origin);
}

void
apikey_request_set_kinds(ApikeyRequest *request, ApikeyPolicy *policy,
						 Datum array)
{
	int			count;
	ApikeySlice *names = apikey_text_array(array, "kinds", APIKEY_KINDS_MAX,
										   &count);

	request->has_kinds = true;
	for (int i = 0; i < count; i++)
	{
		const ApikeyKind *kind;

		if (names[i].len == strlen("session") &&
			memcmp(names[i].data, "session", names[i].len) == 0)
		{
			request->sessions_allowed = true;
			continue;
		}
		kind = apikey_policy_kind(policy, names[i].data, names[i].len);
		if (kind == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"kinds\" names a kind that does not exist"),
					 errdetail("Element %d is no row of apikey.kind, and not \"session\".",
							   i + 1),
					 errhint("SELECT kind FROM apikey.kind lists the kinds.")));
		request->kinds[request->nkinds++] = kind;
	}
}

void
apikey_request_set_cost(ApikeyRequest *request, int32 cost)
{
	if (cost < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"cost\" must not be negative"),
				 errdetail("The cost of a request is 0 or more."),
				 errhint("Leave it out for the usual cost of 1.")));
	request->cost = cost;
}

struct varlena *
apikey_raw_argument(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL :
		(struct varlena *) PG_GETARG_POINTER(argno);
}

void
apikey_request_read(ApikeyRequest *request, ApikeyPolicy *policy,
					FunctionCallInfo fcinfo, bool ip_is_inet)
{
	apikey_request_init(request, apikey_text_argument(fcinfo, ARG_KEY,
													  APIKEY_CREDENTIAL_MAX));
	apikey_request_require(request, apikey_text_argument(fcinfo, ARG_REQUIRED,
														 APIKEY_QUERY_MAX));
	if (!ip_is_inet)
		apikey_request_set_ip(request, apikey_text_argument(fcinfo, ARG_IP,
															APIKEY_NET_TEXT_MAX));
	else if (!PG_ARGISNULL(ARG_IP))
		request->ip_known = address_of_inet(PG_GETARG_INET_PP(ARG_IP),
											&request->ip);
	apikey_request_set_origin(request, apikey_text_argument(fcinfo, ARG_ORIGIN,
															APIKEY_ORIGIN_MAX));
	request->account = apikey_text_argument(fcinfo, ARG_ACCOUNT,
											APIKEY_ACCOUNT_MAX);
	if (!PG_ARGISNULL(ARG_KINDS))
		apikey_request_set_kinds(request, policy, PG_GETARG_DATUM(ARG_KINDS));
	if (!PG_ARGISNULL(ARG_COST))
		apikey_request_set_cost(request, PG_GETARG_INT32(ARG_COST));
	request->method = apikey_raw_argument(fcinfo, ARG_METHOD);
	request->path = apikey_raw_argument(fcinfo, ARG_PATH);
	request->request_id = apikey_raw_argument(fcinfo, ARG_REQUEST_ID);
}
