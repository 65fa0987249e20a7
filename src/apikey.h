/*
 * apikey.h
 *		What the whole module shares: SQLSTATEs, limits of arguments, and
 *		whether it was preloaded.
 */
#ifndef APIKEY_H
#define APIKEY_H

#include "postgres.h"

/* Own class KA; the last three digits are the HTTP status. */
#define ERRCODE_APIKEY_STATUS(status) \
	MAKE_SQLSTATE('K', 'A', '0' + (status) / 100, '0' + (status) / 10 % 10, \
				  '0' + (status) % 10)
#define ERRCODE_APIKEY_FORBIDDEN	MAKE_SQLSTATE('K', 'A', '4', '0', '3')
#define ERRCODE_APIKEY_NOT_FOUND	MAKE_SQLSTATE('K', 'A', '4', '0', '4')
#define ERRCODE_APIKEY_CONFLICT		MAKE_SQLSTATE('K', 'A', '4', '0', '9')

/* Limits of arguments, in bytes unless said otherwise */
#define APIKEY_CREDENTIAL_MAX		8192	/* a session token; keys are shorter */
#define APIKEY_ACCOUNT_MAX			255
#define APIKEY_ACTOR_MAX			255
#define APIKEY_REASON_MAX			255
#define APIKEY_NAME_BYTES_MAX		4096	/* characters are policy's affair */
#define APIKEY_METADATA_MAX			8192	/* as text */
#define APIKEY_KIND_MAX				63
#define APIKEY_ARRAY_BYTES_MAX		(1024 * 1024)
#define APIKEY_IPS_MAX				10000	/* elements */
#define APIKEY_ORIGINS_MAX			1000	/* elements */
#define APIKEY_KINDS_MAX			64	/* elements */
#define APIKEY_DOCUMENT_MAX			(64 * 1024 * 1024)

/* In policy, what NULL and -1 mean */
#define APIKEY_INHERIT				(-2)
#define APIKEY_NO_LIMIT				(-1)

/* apikey.c: was the library in shared_preload_libraries? */
extern bool apikey_preloaded;
extern void apikey_require_preload(const char *function);	/* else 55000 */

#endif							/* APIKEY_H */
