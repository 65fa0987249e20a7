/*
 * flush.h
 *		Writing buffered events of one database to its tables.
 */
#ifndef APIKEY_FLUSH_H
#define APIKEY_FLUSH_H

#include "postgres.h"

#include "catalog.h"
#include "shmem.h"

/*
 * In a background worker connected to the database: write everything that is
 * buffered for it now, exactly once, in one transaction or, where there is
 * much, one after the other.  Errors leave events where they are.
 */
extern void apikey_flush(ApikeyDatabase *database);

/*
 * Become the owner of the extension, with a limit to waiting for locks, until
 * apikey_leave(); false if there is no extension.
 */
extern bool apikey_become_owner(ApikeyPrivileges *saved);

#endif							/* APIKEY_FLUSH_H */
