/*
 * manage.h
 *		What the functions that make and change keys share.
 */
#ifndef APIKEY_MANAGE_H
#define APIKEY_MANAGE_H

#include "postgres.h"

#include "utils/uuid.h"

#include "keystore.h"
#include "request.h"
#include "rules.h"

/* The key_id that a function was given; 22023 if it is null. */
extern const pg_uuid_t *apikey_key_id_argument(FunctionCallInfo fcinfo,
											   int argno);

/*
 * Lock a key's row and read it; KA404 if it does not exist or belongs to
 * another account than guard.  Between SPI_connect() and SPI_finish(); what
 * is read lives in the caller's context.
 */
extern void apikey_key_open(const pg_uuid_t *key_id, ApikeyText guard,
							ApikeyKey *key);

/* Set a column of a type by reference; 0 is NULL. */
extern void apikey_key_set(ApikeyKey *key, ApikeyKeyColumn column,
						   Datum value);

/* KA409 unless the key's state allows a change: not revoked, not expired. */
extern void apikey_require_living(const ApikeyKey *key, TimestampTz now);

/* KA403 unless the actor may do this in the key's account. */
extern void apikey_require_capability_of_key(const ApikeyKey *key,
											 ApikeyAction action,
											 ApikeyText actor);

/* The rules that apply to a stored key. */
extern void apikey_rules_of_key(ApikeyRules *rules, const ApikeyKey *key);

#endif							/* APIKEY_MANAGE_H */
