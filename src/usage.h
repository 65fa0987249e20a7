/*
 * usage.h
 *		Adding counts to the tables by hour and by day.
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

#endif							/* APIKEY_USAGE_H */
