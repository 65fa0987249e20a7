/*
 * audit.h
 *		Writing rows of apikey.audit_log from C.
 */
#ifndef APIKEY_AUDIT_H
#define APIKEY_AUDIT_H

#include "postgres.h"

#include "keystore.h"

/* Note that a key was made: issued or imported. */
extern void apikey_audit_issue(const ApikeyKey *key, const char *action);

#endif							/* APIKEY_AUDIT_H */
