/*
 * usage_open.h
 *		The rows of apikey.key_use: when a key was last used, and its open hour.
 */
#ifndef APIKEY_USAGE_OPEN_H
#define APIKEY_USAGE_OPEN_H

#include "postgres.h"

#include "nodes/execnodes.h"

#include "usage_key.h"
#include "usage_period.h"

/* Columns of apikey.key_use, as 45_usage.sql creates it */
enum
{
	USE_KEY_ID, USE_NODE, USE_LAST_USED_AT, USE_HOUR, USE_ACCOUNT, USE_REQUESTS,
	USE_REFUSED, USE_ERRORS_4XX, USE_ERRORS_5XX, USE_ADDRESSES, USE_NCOLUMNS
};

/*
 * Add counts, in ascending order of key and hour, to the open hours of their
 * keys, and note when these were last used.  What belongs to other hours, those
 * closed here among them, is added to a list.  Keys that are gone are skipped;
 * if the finder is not NULL, it is asked for keys whose accounts are needed, and
 * what it says is noted with the counts.
 */
extern void apikey_open_hours_add(EState *estate, ApikeyCounts *counts,
								  ApikeyKeyFinder *finder,
								  ApikeyCounts *closed);

/* Close the hours, which are open, of these keys and nodes. */
extern void apikey_open_hours_close(EState *estate, Datum (*keys)[USE_NODE + 1],
									int n, ApikeyCounts *closed);

#endif							/* APIKEY_USAGE_OPEN_H */
