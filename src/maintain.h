/*
 * maintain.h
 *		What the flush worker looks after besides the flush.
 */
#ifndef APIKEY_MAINTAIN_H
#define APIKEY_MAINTAIN_H

#include "postgres.h"

#include "shmem.h"

/*
 * In a background worker connected to the database: partitions ahead, and what
 * is past retention.  Notes which open hours are to be settled from now on.
 */
extern void apikey_maintain(ApikeyDatabase *database);

/*
 * There, too: settle open hours that are past retention, a part of the table
 * in each call.  True if there is more to do now.
 */
extern bool apikey_settle(ApikeyDatabase *database);

#endif							/* APIKEY_MAINTAIN_H */
