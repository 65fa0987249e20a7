/*
 * settings.h
 *		All settings (GUCs) of the module.
 */
#ifndef APIKEY_SETTINGS_H
#define APIKEY_SETTINGS_H

#include "postgres.h"

#include "header.h"

/* Names of headers that carry a key, in lower case, decoded */
#define APIKEY_KEY_HEADERS_MAX	16
typedef struct ApikeyKeyHeaders
{
	int			count;
	struct
	{
		size_t		len;
		char		name[APIKEY_HEADER_NAME_MAX];
	}			header[APIKEY_KEY_HEADERS_MAX];
} ApikeyKeyHeaders;

/* Networks whose word on where a request came from is taken */
typedef struct ApikeyProxies
{
	int			count;
	ApikeyNet	net[FLEXIBLE_ARRAY_MEMBER];
} ApikeyProxies;

typedef enum ApikeyErrorStyle
{
	APIKEY_ERROR_PGRST,			/* SQLSTATE PGRST, from PostgREST 12 on */
	APIKEY_ERROR_PT				/* SQLSTATE PTxyz, any PostgREST */
} ApikeyErrorStyle;

typedef enum ApikeyPreRequestMode
{
	APIKEY_MODE_OPTIONAL,		/* no key: an anonymous request */
	APIKEY_MODE_REQUIRED
} ApikeyPreRequestMode;

/* Which rate limit headers are sent: bits */
#define APIKEY_LIMIT_IETF		1	/* RateLimit, RateLimit-Policy */
#define APIKEY_LIMIT_LEGACY		2	/* X-RateLimit-Limit, ... */

extern char *apikey_actor;		/* default of every actor argument */
extern int	apikey_audit_retention; /* minutes; 0: keep */
extern int	apikey_cache_size;	/* keys a backend */
extern int	apikey_error_style;	/* ApikeyErrorStyle */
extern int	apikey_flush_interval;	/* milliseconds */
extern int	apikey_ip_source;	/* ApikeyIpSource */
extern const ApikeyKeyHeaders *apikey_key_headers;
extern int	apikey_key_places;	/* in shared memory */
extern int	apikey_limit_headers;	/* APIKEY_LIMIT_* */
extern int	apikey_limit_slots;	/* of shared memory */
extern double apikey_node_share; /* of every limit's maximum */
extern bool apikey_notify;		/* announce changes on channel apikey */
extern char *apikey_pepper_file;	/* key ring outside the database */
extern int	apikey_pre_request_mode;	/* ApikeyPreRequestMode */
extern char *apikey_route_pattern;	/* see route.h */
extern bool apikey_route_scope; /* required comes from method and path */
extern int	apikey_session_algorithm;	/* enum ApikeySigningAlgorithm */
extern char *apikey_session_audience;
extern char *apikey_session_issuer;
extern int	apikey_session_max_ttl; /* seconds */
extern const ApikeyProxies *apikey_trusted_proxies;
extern int	apikey_usage_buffer_size;	/* kB */
extern int	apikey_usage_daily_retention;	/* minutes; 0: keep */
extern int	apikey_usage_hourly_retention;	/* minutes; 0: keep */

extern void apikey_settings_init(void);

#endif							/* APIKEY_SETTINGS_H */
