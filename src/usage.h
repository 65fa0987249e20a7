/*
 * usage.h
 *		Adding counts to the tables.
 */
#ifndef APIKEY_USAGE_H
#define APIKEY_USAGE_H

#include "postgres.h"

#include "batch.h"

/*
 * Add counts, in ascending order of key and hour, to the rows of a node (a
 * text), and note when keys were last used.  Runs between SPI_connect() and SPI_finish()
 * as the owner of the tables.  Returns how many events were those of keys that
 * are gone, or are about to be, and skips these.
 */
extern uint64 apikey_usage_write(Datum node, Usage **rows, int count);

/*
 * Move some of the hours that are still open and before this time to the
 * tables by hour and by day.  Returns how many; 0 also while keys are being
 * removed.
 */
extern int	apikey_usage_settle(TimestampTz before);

#endif							/* APIKEY_USAGE_H */
