/*
 * record.h
 *		Texts fit to be recorded, and ids.
 */
#ifndef APIKEY_RECORD_H
#define APIKEY_RECORD_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/uuid.h"

/*
 * A copy of a text that may be shown and stored: key texts of ours replaced
 * by their display mask, control characters written as \xNN, cut to max bytes
 * between characters.
 */
extern char *apikey_clean(const char *text, size_t len, size_t max);

/* A UUID version 7 (RFC 9562): microseconds, then 62 random bits. */
extern void apikey_new_id(pg_uuid_t *id);

/*
 * Raises 25006 in a READ ONLY transaction and on a standby.  Otherwise makes
 * the commit wait for the disk, also where synchronous_commit is off.
 */
extern void apikey_require_writable(const char *function);

/* The actor argument if given, else the setting; NULL if there is neither. */
extern char *apikey_effective_actor(FunctionCallInfo fcinfo, int argno);

/*
 * On while keys are stored under another pepper: they stay what they are, and
 * nobody needs to look at them anew.
 */
extern bool apikey_rehashing;

#endif							/* APIKEY_RECORD_H */
