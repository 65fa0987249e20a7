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

/* Arguments of apikey.verify, in order */
enum
{
	ARG_KEY, ARG_REQUIRED, ARG_IP, ARG_ORIGIN, ARG_ACCOUNT, ARG_KINDS,
	ARG_COST
};

ApikeyText
apikey_text_argument(FunctionCallInfo fcinfo, int argno, size_t max)
{
	ApikeyText	result = {NULL, 0, false};
	struct varlena *value;

	if (PG_ARGISNULL(argno))
		return result;
	value = (struct varlena *) PG_GETARG_POINTER(argno);
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

static void
read_required(ApikeyRequest *request, FunctionCallInfo fcinfo)
{
	ApikeyText	text = apikey_text_argument(fcinfo, ARG_REQUIRED,
											APIKEY_QUERY_MAX);
	const char *fault;
	size_t		position = 0;

	request->has_required = text.data != NULL;
	if (text.data == NULL)
		return;
	if (text.too_long)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"required\" is too long"),
				 errdetail("A scope query has at most %d bytes.",
						   APIKEY_QUERY_MAX),
				 errhint("Write scopes, such as: calls:read & contacts:read")));
	fault = apikey_query_parse(text.data, text.len, &request->required,
							   &position);
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

static void
read_kinds(ApikeyRequest *request, ApikeyPolicy *policy,
		   FunctionCallInfo fcinfo)
{
	ApikeySlice *names;
	int			count;

	request->has_kinds = !PG_ARGISNULL(ARG_KINDS);
	if (!request->has_kinds)
		return;
	names = apikey_text_array(PG_GETARG_DATUM(ARG_KINDS), "kinds",
							  APIKEY_KINDS_MAX, &count);
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
apikey_request_read(ApikeyRequest *request, ApikeyPolicy *policy,
					FunctionCallInfo fcinfo, bool ip_is_inet)
{
	ApikeyText	text;

	request->fcinfo = fcinfo;
	request->key = apikey_text_argument(fcinfo, ARG_KEY, APIKEY_TOKEN_MAX);
	read_required(request, fcinfo);

	request->ip_known = false;
	if (ip_is_inet)
	{
		if (!PG_ARGISNULL(ARG_IP))
			request->ip_known = address_of_inet(PG_GETARG_INET_PP(ARG_IP),
												&request->ip);
	}
	else
	{
		text = apikey_text_argument(fcinfo, ARG_IP, APIKEY_NET_TEXT_MAX);
		if (text.data != NULL && !text.too_long)
			request->ip_known = apikey_addr_parse(text.data, text.len,
												  &request->ip);
	}

	text = apikey_text_argument(fcinfo, ARG_ORIGIN, APIKEY_ORIGIN_MAX);
	request->origin_known = text.data != NULL && !text.too_long &&
		apikey_origin_parse(text.data, text.len, &request->origin);

	request->account = apikey_text_argument(fcinfo, ARG_ACCOUNT,
											APIKEY_ACCOUNT_MAX);
	request->nkinds = 0;
	request->sessions_allowed = false;
	read_kinds(request, policy, fcinfo);

	request->cost = PG_ARGISNULL(ARG_COST) ? 1 : PG_GETARG_INT32(ARG_COST);
	if (request->cost < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"cost\" must not be negative"),
				 errdetail("The cost of a request is 0 or more."),
				 errhint("Leave it out for the usual cost of 1.")));
}
