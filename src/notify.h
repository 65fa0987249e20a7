/*
 * notify.h
 *		Announcing committed changes on channel apikey.
 */
#ifndef APIKEY_NOTIFY_H
#define APIKEY_NOTIFY_H

#include "postgres.h"

#include "utils/uuid.h"

extern void apikey_notify_init(void);

/* Announce at commit; key_id may be NULL. */
extern void apikey_announce(const char *event, const pg_uuid_t *key_id);

#endif							/* APIKEY_NOTIFY_H */
