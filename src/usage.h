/*
 * usage.h
 *		Adding counts to the tables.
 */
#ifndef APIKEY_USAGE_H
#define APIKEY_USAGE_H

#include "postgres.h"

#include "storage/block.h"

#include "batch.h"

/*
 * Add counts, in ascending order of key and hour, to the rows of a node (a
 * text), and note when keys were last used.  Runs between SPI_connect() and SPI_finish()
 * as the owner of the tables.  Returns how many events were those of keys that
 * are gone, or are about to be, and skips these.
 */
extern uint64 apikey_usage_write(Datum node, Usage **rows, int count);

/*
 * Move hours that are still open and before this time to the tables by hour
 * and by day, and add up how many: those in the part of apikey.key_use that
 * begins with this block.  Then it says where the next part begins,
 * InvalidBlockNumber: there is none.  In the same surroundings; false if
 * keys are being removed, after which nothing was done.
 */
extern bool apikey_usage_settle(TimestampTz before, BlockNumber *block,
								int64 *settled);

#endif							/* APIKEY_USAGE_H */
