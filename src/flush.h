/*
 * flush.h
 *		Writing buffered events of one database to its tables.
 */
#ifndef APIKEY_FLUSH_H
#define APIKEY_FLUSH_H

#include "postgres.h"

#include "shmem.h"

/*
 * In a background worker connected to the database: write everything that is
 * buffered for it now, in one transaction, exactly once.  Errors leave the
 * events where they are.
 */
extern void apikey_flush(ApikeyDatabase *database);

/* There, too: partitions ahead, and what is past retention. */
extern void apikey_maintain(void);

#endif							/* APIKEY_FLUSH_H */
