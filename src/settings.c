/*
 * settings.c
 *		All settings (GUCs) and their checks.
 *
 * The prefix is reserved: a setting apikey.x that is not defined here cannot
 * be made up by a session.
 */
#include "postgres.h"

#include <limits.h>

#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "ascii.h"
#include "compat.h"
#include "route.h"
#include "settings.h"

#define MINUTES_A_DAY	(24 * 60)

char	   *apikey_actor = NULL;
int			apikey_cache_size = 1024;
int			apikey_error_style = APIKEY_ERROR_PGRST;
int			apikey_flush_interval = 1000;
int			apikey_ip_source = APIKEY_IP_NONE;
const ApikeyKeyHeaders *apikey_key_headers = NULL;
int			apikey_key_places = 2 * 1024 * 1024;
int			apikey_limit_headers = APIKEY_LIMIT_IETF;
int			apikey_limit_slots = 100000;
double		apikey_node_share = 1.0;
bool		apikey_notify = true;
char	   *apikey_pepper_file = NULL;
int			apikey_pre_request_mode = APIKEY_MODE_OPTIONAL;
char	   *apikey_route_pattern = NULL;
bool		apikey_route_scope = false;
int			apikey_session_algorithm = 0;
char	   *apikey_session_audience = NULL;
char	   *apikey_session_issuer = NULL;
int			apikey_session_max_ttl = SECS_PER_DAY;
const ApikeyProxies *apikey_trusted_proxies = NULL;
int			apikey_usage_buffer_size = 8 * 1024;
int			apikey_audit_retention = 0;
int			apikey_usage_daily_retention = 800 * MINUTES_A_DAY;
int			apikey_usage_hourly_retention = 90 * MINUTES_A_DAY;

/* Texts of the settings that are kept decoded */
static char *key_headers_text = NULL;
static char *trusted_proxies_text = NULL;

static const struct config_enum_entry error_styles[] = {
	{"pgrst", APIKEY_ERROR_PGRST, false},
	{"pt", APIKEY_ERROR_PT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry ip_sources[] = {
	{"none", APIKEY_IP_NONE, false},
	{"xff", APIKEY_IP_XFF, false},
	{"x-real-ip", APIKEY_IP_REAL, false},
	{"forwarded", APIKEY_IP_FORWARDED, false},
	{NULL, 0, false}
};

static const struct config_enum_entry limit_headers[] = {
	{"ietf", APIKEY_LIMIT_IETF, false},
	{"legacy", APIKEY_LIMIT_LEGACY, false},
	{"both", APIKEY_LIMIT_IETF | APIKEY_LIMIT_LEGACY, false},
	{"none", 0, false},
	{NULL, 0, false}
};

static const struct config_enum_entry pre_request_modes[] = {
	{"optional", APIKEY_MODE_OPTIONAL, false},
	{"required", APIKEY_MODE_REQUIRED, false},
	{NULL, 0, false}
};

/*
 * Cut off the next element of a list separated by commas and blanks.
 */
static bool
next_element(const char **at, ApikeySlice *element)
{
	while (**at == ',' || ascii_is_blank(**at))
		(*at)++;
	element->data = *at;
	while (**at != '\0' && **at != ',' && !ascii_is_blank(**at))
		(*at)++;
	element->len = *at - element->data;
	return element->len > 0;
}

static bool
check_key_headers(char **newval, void **extra, GucSource source)
{
	ApikeyKeyHeaders headers;
	const char *at = *newval;
	ApikeySlice name;

	memset(&headers, 0, sizeof(headers));
	while (next_element(&at, &name))
	{
		if (!apikey_header_name_check(name.data, name.len))
		{
			GUC_check_errdetail("\"%.*s\" is no name of a header of at most %d bytes.",
								(int) name.len, name.data,
								APIKEY_HEADER_NAME_MAX);
			return false;
		}
		if (headers.count == APIKEY_KEY_HEADERS_MAX)
		{
			GUC_check_errdetail("At most %d headers can carry a key.",
								APIKEY_KEY_HEADERS_MAX);
			return false;
		}
		for (size_t i = 0; i < name.len; i++)
			headers.header[headers.count].name[i] = ascii_lower(name.data[i]);
		headers.header[headers.count++].len = name.len;
	}
	if (headers.count == 0)
	{
		GUC_check_errdetail("At least one header must carry the key.");
		GUC_check_errhint("The usual value is: authorization, x-api-key");
		return false;
	}
	*extra = apikey_guc_alloc(sizeof(headers));
	if (*extra == NULL)
		return false;
	memcpy(*extra, &headers, sizeof(headers));
	return true;
}

static void
assign_key_headers(const char *newval, void *extra)
{
	apikey_key_headers = extra;
}

static bool
check_route_pattern(char **newval, void **extra, GucSource source)
{
	const char *fault = apikey_route_pattern_check(*newval, strlen(*newval));

	if (fault == NULL)
		return true;
	GUC_check_errdetail("Of a pattern of paths: %s.", fault);
	GUC_check_errhint("Write it such as: /api/v1/accounts/{account}/{resource}");
	return false;
}

/*
 * Read a network of the list; if it is none, say why.
 */
static bool
read_proxy(ApikeySlice element, ApikeyNet *net)
{
	bool		host_bits;
	const char *fault = apikey_net_parse(element.data, element.len, net,
										 &host_bits);
	char		meant[APIKEY_NET_TEXT_MAX];

	if (fault == NULL)
		return true;
	GUC_check_errdetail("Of network \"%.*s\": %s.",
						(int) element.len, element.data, fault);
	if (host_bits)
	{
		apikey_net_print(net, meant);
		GUC_check_errhint("The network meant may be %s.", meant);
	}
	else
		GUC_check_errhint("List addresses and networks such as: 10.0.0.0/8, 2001:db8::7");
	return false;
}

static bool
check_trusted_proxies(char **newval, void **extra, GucSource source)
{
	const char *at = *newval;
	ApikeyProxies *proxies;
	ApikeySlice element;
	ApikeyNet	net;
	int			count = 0;

	while (next_element(&at, &element))
	{
		if (!read_proxy(element, &net))
			return false;
		count++;
	}
	proxies = apikey_guc_alloc(offsetof(ApikeyProxies, net) +
							   count * sizeof(ApikeyNet));
	if (proxies == NULL)
		return false;
	proxies->count = 0;
	at = *newval;
	while (next_element(&at, &element) && read_proxy(element, &net))
		proxies->net[proxies->count++] = net;
	*extra = proxies;
	return true;
}

static void
assign_trusted_proxies(const char *newval, void *extra)
{
	apikey_trusted_proxies = extra;
}

/*
 * How requests over HTTP are read and answered.
 */
static void
define_http_settings(void)
{
	DefineCustomEnumVariable("apikey.error_style",
							 "How pre_request refuses: with SQLSTATE PGRST, or for PostgREST before 12 with PTxyz.",
							 NULL,
							 &apikey_error_style, APIKEY_ERROR_PGRST,
							 error_styles, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomEnumVariable("apikey.ip_source",
							 "Header from which the client's address is taken.",
							 "It counts as far as apikey.trusted_proxies vouch for it.",
							 &apikey_ip_source, APIKEY_IP_NONE,
							 ip_sources, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("apikey.key_headers",
							   "Headers that carry a key.",
							   "authorization has a scheme before it, Bearer or ApiKey; the others hold the key alone.",
							   &key_headers_text, "authorization, x-api-key",
							   PGC_SUSET, 0,
							   check_key_headers, assign_key_headers, NULL);
	DefineCustomEnumVariable("apikey.limit_headers",
							 "Headers that tell of rate limits: the IETF's, X-RateLimit-*, both, or none.",
							 NULL,
							 &apikey_limit_headers, APIKEY_LIMIT_IETF,
							 limit_headers, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomEnumVariable("apikey.pre_request_mode",
							 "Whether pre_request lets requests without a key pass.",
							 NULL,
							 &apikey_pre_request_mode, APIKEY_MODE_OPTIONAL,
							 pre_request_modes, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("apikey.route_pattern",
							   "Where the path of a request names the resource, and the account.",
							   "Such as /api/v1/accounts/{account}/{resource}; * is any segment.",
							   &apikey_route_pattern, "/{resource}",
							   PGC_SUSET, 0,
							   check_route_pattern, NULL, NULL);
	DefineCustomBoolVariable("apikey.route_scope",
							 "Require the scope that apikey.scope_for gives, where none is required by an argument.",
							 NULL,
							 &apikey_route_scope, false, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("apikey.trusted_proxies",
							   "Addresses and networks of the proxies whose word on the client's address is taken.",
							   NULL,
							   &trusted_proxies_text, "", PGC_SIGHUP, 0,
							   check_trusted_proxies, assign_trusted_proxies,
							   NULL);
}

/* As enum ApikeySigningAlgorithm */
static const struct config_enum_entry session_algorithms[] = {
	{"EdDSA", 0, false},
	{"HS256", 1, false},
	{NULL, 0, false}
};

/*
 * How much shared memory there is, which is laid out when the server starts.
 */
static void
define_memory_settings(void)
{
	DefineCustomIntVariable("apikey.key_places",
							"Keys of which it is remembered where their rows lie; 0: of none.",
							"Shared memory for them, some 13 bytes for each row of apikey.key and of apikey.key_use; it saves the way through the index.",
							&apikey_key_places,
							2 * 1024 * 1024, 0, 1024 * 1024 * 1024,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.limit_slots",
							"Limits, quotas and balances that can be in use at the same time.",
							"Shared memory for them; when it is full, keys share what is left and may be refused early.",
							&apikey_limit_slots,
							100000, 64, 10 * 1000 * 1000,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.usage_buffer_size",
							"Shared memory for usage that is counted but not yet written.",
							NULL,
							&apikey_usage_buffer_size,
							8 * 1024, 64, 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
}

void
apikey_settings_init(void)
{
	DefineCustomStringVariable("apikey.actor",
							   "Who performs management actions, as the application names people.",
							   "Default of every argument called actor.",
							   &apikey_actor, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.cache_size",
							"Keys that each session keeps in memory once it has verified them; 0 keeps none.",
							"A key with long lists counts for several, 2 kB each.",
							&apikey_cache_size, 1024, 0, 1000 * 1000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.flush_interval",
							"Time between writes of counted usage to the tables.",
							"A crash loses at most what was counted since.",
							&apikey_flush_interval, 1000, 10, 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomRealVariable("apikey.node_share",
							 "Share of every rate limit's maximum that this server lets pass.",
							 "With several servers the shares should add up to 1.",
							 &apikey_node_share, 1.0, 0.001, 1.0,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("apikey.notify",
							 "Announce committed changes with NOTIFY on channel apikey.",
							 NULL,
							 &apikey_notify, true, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("apikey.pepper_file",
							   "File with the peppers that key the hashes, kept outside the database.",
							   "One pepper a line: its id and 64 hexadecimal digits.",
							   &apikey_pepper_file, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomEnumVariable("apikey.session_algorithm",
							 "With what new session tokens are signed.",
							 "EdDSA (Ed25519) can be checked by anybody with apikey.jwks(); HS256 by who knows the secret.",
							 &apikey_session_algorithm, 0, session_algorithms,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("apikey.session_audience",
							   "Claim \"aud\" of new session tokens; empty leaves it out.",
							   NULL,
							   &apikey_session_audience, "apikey", PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("apikey.session_issuer",
							   "Claim \"iss\" of new session tokens; empty leaves it out.",
							   NULL,
							   &apikey_session_issuer, "apikey", PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.session_max_ttl",
							"Longest life of a session.",
							"A longer ttl given to apikey.open_session() is cut to it.",
							&apikey_session_max_ttl, SECS_PER_DAY,
							1, 10 * 366 * SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.usage_daily_retention",
							"How long usage per day is kept; 0 keeps it for good.",
							NULL,
							&apikey_usage_daily_retention, 800 * MINUTES_A_DAY,
							0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.usage_hourly_retention",
							"How long usage per hour is kept; 0 keeps it for good.",
							NULL,
							&apikey_usage_hourly_retention, 90 * MINUTES_A_DAY,
							0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	if (process_shared_preload_libraries_in_progress)
		define_memory_settings();
	define_http_settings();
	DefineCustomIntVariable("apikey.audit_retention",
							"How long rows of the audit log are kept; 0 keeps them for good.",
							NULL,
							&apikey_audit_retention, 0,
							0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("apikey");
}
