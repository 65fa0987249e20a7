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

/* Set a column of a new key to something that is not NULL. */
static inline void
apikey_newkey_set(ApikeyKey *key, ApikeyKeyColumn column, Datum value)
{
	key->value[column] = value;
	key->null[column] = false;
}

/*
 * newkey.c: making the row of a key.  First the key table is locked, until
 * the end of the transaction, against removal and change of kinds.  start
 * gives it an id and leaves all else NULL; fill takes the columns from
 * arguments, whose numbers are given, that obey the rules; store writes the
 * row and its audit row, and announces it, both under the event's name.
 */
typedef struct ApikeyNewKeyArguments
{
	int			name;
	int			scopes;
	int			allowed_ips;
	int			allowed_origins;
	int			metadata;
	int			db_role;
} ApikeyNewKeyArguments;

extern void apikey_newkey_lock_table(void);
extern void apikey_newkey_start(ApikeyKey *key, const char *actor,
								TimestampTz created);
extern void apikey_newkey_fill(FunctionCallInfo fcinfo,
							   const ApikeyNewKeyArguments *args,
							   const ApikeyRules *rules, Oid caller,
							   ApikeyKey *key);
extern void apikey_newkey_set_digest(ApikeyKey *key,
									 const unsigned char digest[APIKEY_DIGEST_LEN],
									 int32 pepper_id, int16 algorithm);
extern void apikey_newkey_set_expiry(ApikeyKey *key,
									 const ApikeyExpiry *expiry);
extern void apikey_newkey_store(const ApikeyKey *key, const char *event);

/* Give a new key, after it is stored, credits; 22023 if they can't be. */
extern void apikey_newkey_check_credits(int64 credits);
extern void apikey_newkey_credits(const ApikeyKey *key, int64 credits);

/* KA409 unless the key's state allows a change: not revoked, not expired. */
extern void apikey_require_living(const ApikeyKey *key, TimestampTz now);

/* KA403 unless the actor may do this in the key's account. */
extern void apikey_require_capability_of_key(const ApikeyKey *key,
											 ApikeyAction action,
											 ApikeyText actor);

/* The rules that apply to a stored key. */
extern void apikey_rules_of_key(ApikeyRules *rules, const ApikeyKey *key);

#endif							/* APIKEY_MANAGE_H */
